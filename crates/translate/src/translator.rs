//! Lines in, translations out: tokenizers, batches and search put together.

mod ahead;
mod batches;
mod calibrate;
mod open;
mod prepare;
mod required;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use model::EncoderDecoder;
use text::Tokenizers;

use self::ahead::{Ahead, strictly};
pub use self::calibrate::{Candidate, Grid};
pub use self::open::check_tokenizers;
use self::prepare::{Prepared, Preparer};
use self::required::Words;
use crate::{
    Error, Hypothesis, Result, Scored, SearchConfig, Translation,
    mbr::{self, Mbr},
    request::Line,
    score,
    search::{Use, search_for},
    translation::{AlignmentView, Context, Tokenized, Wording},
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
    /// Found when the first phrase or prefix is required.
    words: Arc<OnceLock<Words>>,
}

impl<M: EncoderDecoder + Sync> Translator<M> {
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
        let view = AlignmentView::default();
        Ok(Self { model, tokenizers, config, view, words: Arc::default() })
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
    /// [`Error::TooLong`] if a line has too many tokens, [`Error::TooManyPhrases`]; otherwise what
    /// [`search_required`] says.
    pub fn translate<L: Line>(&self, lines: &[L]) -> Result<Vec<Vec<Translation>>> {
        self.translate_prepared(&self.prepared(lines)?)
    }

    /// Translates lines as they come: what has been read when the lines before are done, at most
    /// `read_ahead` lines. So the input may be endless, and whoever waits for an answer before
    /// writing on gets it. A thread of its own reads and cuts the next lines into tokens
    /// meanwhile. A line may be anything that has a text, or a [`Request`](crate::Request), which
    /// asks for more.
    ///
    /// Each line comes back with what [`translate`](Self::translate) makes of it, in order, or with
    /// the reason why this line cannot be translated. An error of the input, or of the model, comes
    /// after the results of all lines before it, and is the last item.
    pub fn translate_lines<L, E, I>(
        &self,
        lines: I,
        read_ahead: NonZeroUsize,
    ) -> impl Iterator<Item = std::result::Result<(L, Result<Vec<Translation>>), E>>
    where
        L: Line + Send + 'static,
        E: From<Error> + Send + 'static,
        I: IntoIterator<Item = std::result::Result<L, E>, IntoIter: Send + 'static>,
    {
        self.as_they_come(lines, read_ahead, |lines| self.translate_prepared(lines))
    }

    /// The words of the best of what [`translate`](Self::translate) finds for each line. Whoever needs no
    /// more gets it sooner: what the model thinks of a translation need not be computed.
    ///
    /// # Errors
    /// As there.
    pub fn word<L: Line>(&self, lines: &[L]) -> Result<Vec<Wording>> {
        self.word_prepared(&self.prepared(lines)?)
    }

    /// [`word`](Self::word) for lines as they come, as [`translate_lines`](Self::translate_lines)
    /// reads them.
    pub fn word_lines<L, E, I>(
        &self,
        lines: I,
        read_ahead: NonZeroUsize,
    ) -> impl Iterator<Item = std::result::Result<(L, Result<Wording>), E>>
    where
        L: Line + Send + 'static,
        E: From<Error> + Send + 'static,
        I: IntoIterator<Item = std::result::Result<L, E>, IntoIter: Send + 'static>,
    {
        self.as_they_come(lines, read_ahead, |lines| self.word_prepared(lines))
    }

    /// Says what the model thinks of given pairs of source and translation: log-probabilities
    /// and alignment, one for each pair in the order of the pairs. Both sides are normalised as
    /// the tokenizers say; text and alignment are those of the normalised pair.
    ///
    /// # Errors
    /// [`Error::TooLong`] if a line has too many tokens; otherwise what [`score`](score()) says.
    pub fn align(&self, pairs: &[(String, String)]) -> Result<Vec<Translation>> {
        let preparer = self.preparer();
        let tokenized = pairs.iter().zip(1..).map(|(pair, line)| preparer.pair(pair, line));
        self.align_tokenized(&tokenized.collect::<Result<Vec<_>>>()?)
    }

    /// Does with pairs what [`translate_lines`](Self::translate_lines) does with lines: each
    /// comes back with what [`align`](Self::align) says of it. A pair of which that says nothing
    /// is an error of the input.
    pub fn align_pairs<E, I>(
        &self,
        pairs: I,
        read_ahead: NonZeroUsize,
    ) -> impl Iterator<Item = std::result::Result<((String, String), Translation), E>>
    where
        E: From<Error> + Send + 'static,
        I: IntoIterator<Item = std::result::Result<(String, String), E>, IntoIter: Send + 'static>,
    {
        let preparer = self.preparer();
        let prepare = move |pair: &(String, String), line| preparer.pair(pair, line);
        let work = |pairs: &[_]| self.align_tokenized(pairs);
        strictly(Ahead::new(pairs, read_ahead, prepare, work))
    }

    fn align_tokenized(&self, pairs: &[(Tokenized, Tokenized)]) -> Result<Vec<Translation>> {
        self.each_scored(pairs, |_, (src, tgt), scored| {
            self.context().given(src, tgt.clone(), scored, &self.config)
        })
    }

    /// Does `work` on each pair, of which it gets the index and what the model thinks of it.
    fn each_scored<R: Send + Sync>(
        &self,
        pairs: &[(Tokenized, Tokenized)],
        work: impl Fn(usize, &(Tokenized, Tokenized), Scored) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let len = |(src, tgt): &(Tokenized, Tokenized)| {
            src.encoding.ids.len().max(tgt.encoding.ids.len())
        };
        self.each_batch(pairs.iter().map(len), |batch| {
            let ids = |of: fn(&(Tokenized, Tokenized)) -> &Tokenized| -> Vec<Vec<u32>> {
                batch.iter().map(|&idx| of(&pairs[idx]).encoding.ids.clone()).collect()
            };
            let scored = score(&self.model, &ids(|pair| &pair.0), &ids(|pair| &pair.1))?;
            let found = batch.iter().zip(scored);
            found.map(|(&idx, scored)| work(idx, &pairs[idx], scored)).collect()
        })
    }

    /// All lines in tokens.
    fn prepared<L: Line>(&self, lines: &[L]) -> Result<Vec<Prepared>> {
        let preparer = self.preparer();
        lines.iter().zip(1..).map(|(line, number)| preparer.line(line, number)).collect()
    }

    /// Does `work` on lines as [`translate_lines`](Self::translate_lines) reads them.
    fn as_they_come<L, E, I, R, W>(
        &self,
        lines: I,
        read_ahead: NonZeroUsize,
        work: W,
    ) -> Ahead<L, Prepared, R, E, W>
    where
        L: Line + Send + 'static,
        E: From<Error> + Send + 'static,
        I: IntoIterator<Item = std::result::Result<L, E>, IntoIter: Send + 'static>,
        W: Fn(&[Prepared]) -> Result<Vec<R>>,
    {
        let preparer = self.preparer();
        let prepare = move |line: &L, number| preparer.line(line, number);
        Ahead::new(lines, read_ahead, prepare, work)
    }

    fn translate_prepared(&self, lines: &[Prepared]) -> Result<Vec<Vec<Translation>>> {
        self.each_found(Use::All, lines, |line, found| self.in_words(line, found))
    }

    fn word_prepared(&self, lines: &[Prepared]) -> Result<Vec<Wording>> {
        if self.config.mbr.is_some() {
            let best =
                |found: Vec<Translation>| found.into_iter().next().unwrap_or_default().into();
            return Ok(self.translate_prepared(lines)?.into_iter().map(best).collect());
        }
        let context = self.context();
        self.each_found(Use::Ids, lines, |line, found| match found.first() {
            Some(best) => context.wording(best, &line.required.names),
            None => Ok(Wording::default()),
        })
    }

    /// Searches for translations of all lines, for this use, and does `work` on those of each.
    fn each_found<R: Send + Sync>(
        &self,
        purpose: Use,
        lines: &[Prepared],
        work: impl Fn(&Prepared, Vec<Hypothesis>) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let mut config = self.config.clone();
        if let Some(Mbr { candidates, .. }) = config.mbr {
            config.n_best = candidates;
        }
        self.each_batch(lines.iter().map(|line| line.source.encoding.ids.len()), |batch| {
            let ids: Vec<_> =
                batch.iter().map(|&idx| lines[idx].source.encoding.ids.clone()).collect();
            let required = |&idx: &usize| lines[idx].required.requirements.clone();
            let nothing = batch.iter().all(|&idx| lines[idx].required.requirements.is_empty());
            let required: Vec<_> =
                if nothing { Vec::new() } else { batch.iter().map(required).collect() };
            let found = search_for(purpose, &self.model, &ids, &required, &config)?;
            let found = batch.iter().zip(found);
            found.map(|(&idx, found)| work(&lines[idx], found)).collect()
        })
    }

    /// What was found for a line, reranked if the settings say so.
    fn in_words(&self, line: &Prepared, found: Vec<Hypothesis>) -> Result<Vec<Translation>> {
        let context = self.context();
        let translation =
            |found: Hypothesis| context.translation(&line.source, found, &line.required.names);
        let Some(Mbr { utility, .. }) = self.config.mbr else {
            return found.into_iter().map(translation).collect();
        };
        let texts: Result<Vec<String>> = found.iter().map(|one| context.text(&one.ids)).collect();
        let weights = mbr::weights(&found, self.config.sample.is_some());
        let ranked = mbr::rank(&texts?, &weights, utility).into_iter();
        let best = ranked.take(self.config.n_best.get()).map(|one| {
            let translation = translation(found[one.idx].clone())?;
            Ok(Translation { utility: Some(one.utility), ..translation })
        });
        best.collect()
    }

    /// Does `work` on sentences of these lengths, batch by batch, and returns its results in the
    /// order of the sentences.
    fn each_batch<R: Send + Sync>(
        &self,
        lens: impl Iterator<Item = usize>,
        work: impl Fn(&[usize]) -> Result<Vec<R>> + Sync,
    ) -> Result<Vec<R>> {
        let batches = batches::of_similar_length(lens, self.config.batch_tokens.get());
        batches::each(&batches, |batch| batches::within_memory(batch, &work))
    }

    fn preparer(&self) -> Preparer {
        Preparer {
            tokenizers: self.tokenizers.clone(),
            max_src_len: self.config.max_src_len.get(),
            words: Arc::clone(&self.words),
        }
    }

    fn context(&self) -> Context<'_> {
        let eos = self.model.special().eos;
        Context { tokenizers: &self.tokenizers, eos, view: self.view }
    }
}

#[cfg(test)]
mod tests;
