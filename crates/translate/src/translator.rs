//! Lines in, translations out: tokenizers, batches and search put together.

mod open;

use std::{collections::VecDeque, num::NonZeroUsize};

use model::EncoderDecoder;
use text::{Encoding, Tokenizer, Tokenizers};

pub use self::open::check_tokenizers;
use crate::{
    Error, Result, SearchConfig, Translation, score, search,
    translation::{AlignmentView, Context, Tokenized},
};

/// A model with its tokenizers, ready to translate.
#[derive(Debug)]
pub struct Translator<M> {
    model: M,
    tokenizers: Tokenizers,
    /// How to search.
    pub config: SearchConfig,
    /// How alignments are read off attention weights.
    pub view: AlignmentView,
}

impl<M: EncoderDecoder> Translator<M> {
    /// Puts a model and its tokenizers together.
    ///
    /// # Errors
    /// [`Error::ForeignTokenizer`] if the target vocabularies differ in size.
    pub fn new(model: M, tokenizers: Tokenizers, config: SearchConfig) -> Result<Self> {
        let found = tokenizers.tgt.vocab_size();
        if found != model.vocab() {
            return Err(Error::ForeignTokenizer {
                side: "target",
                what: "vocabulary size",
                found: found.to_string(),
                expected: model.vocab().to_string(),
            });
        }
        Ok(Self { model, tokenizers, config, view: AlignmentView::default() })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The tokenizers.
    pub fn tokenizers(&self) -> &Tokenizers {
        &self.tokenizers
    }

    /// Translates lines: for each, in the order of the lines, its best translations, best first.
    ///
    /// Lines are normalised as the tokenizers say; alignments refer to the normalised line. One
    /// that is empty or white space only has one translation, the empty one. Lines are
    /// sorted by length into batches of at most [`SearchConfig::batch_tokens`] tokens; a result
    /// does not depend on what else is in its batch.
    ///
    /// # Errors
    /// [`Error::TooLong`] if a line has too many tokens; otherwise what [`search`](search()) says.
    pub fn translate(&self, lines: &[String]) -> Result<Vec<Vec<Translation>>> {
        let tokenized: Result<Vec<_>> =
            lines.iter().zip(1..).map(|(line, number)| self.source(line, number)).collect();
        self.translate_tokenized(&tokenized?)
    }

    /// Translates lines as they come, reading at most `read_ahead` lines before it translates
    /// them, so that the input may be endless.
    ///
    /// The results are those of [`translate`](Self::translate), one for each line, in order. An
    /// error, of the input or of the translation, comes after the results of all lines before
    /// it, and is the last item.
    pub fn translate_lines<I, E>(
        &self,
        lines: I,
        read_ahead: NonZeroUsize,
    ) -> Translations<'_, M, I::IntoIter, E>
    where
        I: IntoIterator<Item = std::result::Result<String, E>>,
        E: From<Error>,
    {
        Translations {
            translator: self,
            lines: lines.into_iter().fuse(),
            read_ahead: read_ahead.get(),
            n_read: 0,
            ready: VecDeque::new(),
            error: None,
            ended: false,
        }
    }

    /// Says what the model thinks of given pairs of source and translation: log-probabilities
    /// and alignment, one for each pair in the order of the pairs. Both sides are normalised as
    /// the tokenizers say; text and alignment are those of the normalised pair.
    ///
    /// # Errors
    /// [`Error::TooLong`] if a line has too many tokens; otherwise what [`score`](score()) says.
    pub fn align(&self, pairs: &[(String, String)]) -> Result<Vec<Translation>> {
        let mut tokenized = Vec::with_capacity(pairs.len());
        for ((src, tgt), line) in pairs.iter().zip(1..) {
            let tgt = self.tokenized(&self.tokenizers.tgt, tgt, line)?;
            tokenized.push((self.source(src, line)?, tgt));
        }
        let len = |(src, tgt): &(Tokenized, Tokenized)| {
            src.encoding.ids.len().max(tgt.encoding.ids.len())
        };
        let mut results = vec![Translation::default(); pairs.len()];
        for batch in self.batches(tokenized.iter().map(len)) {
            let ids = |of: fn(&(Tokenized, Tokenized)) -> &Tokenized| -> Vec<Vec<u32>> {
                batch.iter().map(|&idx| of(&tokenized[idx]).encoding.ids.clone()).collect()
            };
            let scored = score(&self.model, &ids(|pair| &pair.0), &ids(|pair| &pair.1))?;
            for (&idx, scored) in batch.iter().zip(scored) {
                let (src, tgt) = &tokenized[idx];
                let penalty = self.config.length_penalty;
                results[idx] = self.context().given(src, tgt.clone(), scored, penalty)?;
            }
        }
        Ok(results)
    }

    fn translate_tokenized(&self, sources: &[Tokenized]) -> Result<Vec<Vec<Translation>>> {
        let mut results = vec![Vec::new(); sources.len()];
        for batch in self.batches(sources.iter().map(|source| source.encoding.ids.len())) {
            let ids: Vec<_> = batch.iter().map(|&idx| sources[idx].encoding.ids.clone()).collect();
            for (&idx, n_best) in batch.iter().zip(search(&self.model, &ids, &self.config)?) {
                let context = self.context();
                let translation = |hypothesis| context.translation(&sources[idx], hypothesis);
                results[idx] = n_best.into_iter().map(translation).collect::<Result<_>>()?;
            }
        }
        Ok(results)
    }

    /// Sentences of similar length, given their lengths: as many at a time as, all padded to the
    /// longest of them, have no more tokens than allowed; at least one.
    fn batches(&self, lens: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
        let mut by_len: Vec<(usize, usize)> = lens.zip(0..).collect();
        by_len.sort_unstable();
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for (len, idx) in by_len {
            let limit = self.config.batch_tokens.get();
            match batches.last_mut() {
                // The end of the sentence is a token too.
                Some(batch) if (batch.len() + 1) * (len + 1) <= limit => batch.push(idx),
                _ => batches.push(vec![idx]),
            }
        }
        batches
    }

    fn source(&self, text: &str, line: usize) -> Result<Tokenized> {
        self.tokenized(&self.tokenizers.src, text, line)
    }

    fn tokenized(&self, tokenizer: &Tokenizer, text: &str, line: usize) -> Result<Tokenized> {
        if text.trim().is_empty() {
            let encoding = Encoding { ids: Vec::new(), spans: Vec::new() };
            return Ok(Tokenized { text: String::new(), encoding });
        }
        let text = self.tokenizers.normalize.apply(text);
        let encoding = tokenizer.encode(&text)?;
        let (found, limit) = (encoding.ids.len(), self.config.max_src_len.get());
        if found > limit {
            return Err(Error::TooLong { line, found, limit });
        }
        Ok(Tokenized { text: text.into_owned(), encoding })
    }

    fn context(&self) -> Context<'_> {
        let eos = self.model.special().eos;
        Context { tokenizers: &self.tokenizers, eos, view: self.view }
    }
}

/// The translations of a stream of lines; see [`Translator::translate_lines`].
#[derive(Debug)]
pub struct Translations<'a, M, I, E> {
    translator: &'a Translator<M>,
    lines: std::iter::Fuse<I>,
    read_ahead: usize,
    n_read: usize,
    ready: VecDeque<Vec<Translation>>,
    /// What ended the reading, to be told once everything before it has been.
    error: Option<E>,
    ended: bool,
}

impl<M, I, E> Translations<'_, M, I, E>
where
    M: EncoderDecoder,
    I: Iterator<Item = std::result::Result<String, E>>,
    E: From<Error>,
{
    /// Reads lines and translates them.
    fn refill(&mut self) {
        let mut sources = Vec::new();
        while sources.len() < self.read_ahead && self.error.is_none() {
            let Some(line) = self.lines.next() else { break };
            self.n_read += 1;
            match line.and_then(|line| Ok(self.translator.source(&line, self.n_read)?)) {
                Ok(source) => sources.push(source),
                Err(error) => self.error = Some(error),
            }
        }
        match self.translator.translate_tokenized(&sources) {
            Ok(translations) => self.ready.extend(translations),
            Err(error) => self.error = Some(error.into()),
        }
    }
}

impl<M, I, E> Iterator for Translations<'_, M, I, E>
where
    M: EncoderDecoder,
    I: Iterator<Item = std::result::Result<String, E>>,
    E: From<Error>,
{
    type Item = std::result::Result<Vec<Translation>, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.ready.is_empty() && self.error.is_none() {
            self.refill();
        }
        let item = self.ready.pop_front().map(Ok).or_else(|| self.error.take().map(Err));
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests;
