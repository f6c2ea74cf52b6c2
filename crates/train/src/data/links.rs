//! Word links of the training pairs, and how they become links between subwords.
//!
//! Links are kept between words. An epoch may cut a sentence into other subwords than the one
//! before, so what each word is made of is found out when a batch is formed: ids spell the text,
//! and say which bytes of it each covers.
//!
//! Files of links count words as Pharaoh does, between white space. The statistical aligner is
//! given words and marks ([`text::words_and_marks`]): a word at the end of a sentence is no other
//! word than in its middle.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
};

use text::{Pair, Tokenizer, Tokenizers, corpus::Lines, hash::Hash, output::Output, words};
use translate::{
    Aligner,
    aligner::{Bitext, Config},
    alignment::{Link, Symmetrization, parse_links, write_links},
};

use super::Train;
use crate::{
    Error, Result,
    config::{GuidedStep, TrainCorpus, Unlinked},
};

/// The links of the pairs of a corpus, in their order.
#[derive(Debug)]
pub(crate) struct WordLinks {
    /// What links count on either side.
    units: fn(&str) -> Vec<Range<usize>>,
    links: Vec<(u32, u32)>,
    /// Where in `links` each pair's end.
    ends: Vec<usize>,
}

/// How many links there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Training pairs with a link.
    pub pairs: usize,
    /// Training pairs without any, which guide nothing.
    pub without: usize,
    /// Links between words.
    pub links: usize,
}

impl std::iter::Sum for Linked {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            pairs: sum.pairs + one.pairs,
            without: sum.without + one.without,
            links: sum.links + one.links,
        })
    }
}

impl WordLinks {
    /// No pairs yet, with links between words as Pharaoh counts them.
    fn between_words() -> Self {
        Self { units: words, links: Vec::new(), ends: Vec::new() }
    }

    fn push(&mut self, links: impl IntoIterator<Item = Link>) {
        self.links.extend(links.into_iter().map(|(src, tgt)| (src as u32, tgt as u32)));
        self.ends.push(self.links.len());
    }

    fn of(&self, pair: usize) -> &[(u32, u32)] {
        let start = if pair == 0 { 0 } else { self.ends[pair - 1] };
        &self.links[start..self.ends[pair]]
    }

    fn count(&self) -> Linked {
        let pairs = (0..self.ends.len()).filter(|&pair| !self.of(pair).is_empty()).count();
        Linked { pairs, without: self.ends.len() - pairs, links: self.links.len() }
    }

    /// The links of a pair between the tokens `src` and `tgt` that it is cut into: every token of
    /// a word with every token of each word it is linked to.
    fn between_tokens(
        &self,
        pair: usize,
        tokenizers: &Tokenizers,
        (src, tgt): (&[u32], &[u32]),
    ) -> Result<Vec<(u32, u32)>> {
        let links = self.of(pair);
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let src = self.tokens(&tokenizers.src, src)?;
        let tgt = self.tokens(&tokenizers.tgt, tgt)?;
        let both = |(s, t): &(u32, u32)| Some((src.get(s)?, tgt.get(t)?));
        let of_words = links.iter().filter_map(both);
        Ok(of_words
            .flat_map(|(src, tgt)| tgt.iter().flat_map(move |&t| src.iter().map(move |&s| (s, t))))
            .collect())
    }

    /// The places of the tokens of each word.
    fn tokens(&self, tokenizer: &Tokenizer, ids: &[u32]) -> Result<HashMap<u32, Vec<u32>>> {
        let decoded = tokenizer.decode_with_spans(ids)?;
        let units = (self.units)(&decoded.text);
        let words = text::words::word_of_subwords(&decoded.text, &decoded.spans, &units);
        let mut tokens: HashMap<u32, Vec<u32>> = HashMap::new();
        for (word, place) in words.into_iter().zip(0..) {
            if let Some(word) = word {
                tokens.entry(word as u32).or_default().push(place);
            }
        }
        Ok(tokens)
    }

    fn hash(&self, hash: Hash) -> Hash {
        let numbers = self.links.iter().flat_map(|&(src, tgt)| [src, tgt]);
        let hash = numbers.fold(hash, |hash, number| hash.with(&number.to_le_bytes()));
        self.ends.iter().fold(hash, |hash, end| hash.with(&(*end as u64).to_le_bytes()))
    }
}

/// The file of links of a corpus, read along with its pairs.
pub(super) struct LinkFile {
    path: PathBuf,
    lines: Lines,
    /// The line that was read last, counted from one.
    at: u64,
    pub(super) links: WordLinks,
}

impl LinkFile {
    /// Opens the file that a corpus names, if it does.
    pub(super) fn open(corpus: &TrainCorpus) -> Result<Option<Self>> {
        let open = |path: &PathBuf| {
            let lines = Lines::open(path)?;
            Ok(Self { path: path.clone(), lines, at: 0, links: WordLinks::between_words() })
        };
        corpus.links.as_ref().map(open).transpose()
    }

    /// Reads the links of a pair that is kept, or of one that is not, whose line is only checked.
    /// Behind the end of the file there are none.
    pub(super) fn read(&mut self, pair: &Pair, keep: bool) -> Result<()> {
        let mut line = None;
        while self.at < pair.line {
            self.at += 1;
            line = self.lines.next().transpose()?;
        }
        let bad =
            |reason: String| Error::Links { path: self.path.clone(), line: pair.line, reason };
        let links = parse_links(line.as_deref().unwrap_or_default())
            .map_err(|error| bad(error.to_string()))?;
        let n_words = [&pair.src, &pair.tgt].map(|text| words(text).len());
        if let Some(link) =
            links.possible.iter().find(|link| link.0 >= n_words[0] || link.1 >= n_words[1])
        {
            let [src, tgt] = n_words;
            let reason = format!(
                "{}-{} links no two words of its pair, which has {src} source and {tgt} target \
                 words",
                link.0, link.1
            );
            return Err(bad(reason));
        }
        if keep {
            self.links.push(links.possible);
        }
        Ok(())
    }
}

/// The links of the training pairs by corpus; none of a corpus that guides nothing.
#[derive(Debug)]
pub(crate) struct Links {
    corpora: Vec<Option<WordLinks>>,
    /// Which step of a target token they guide.
    step: GuidedStep,
    unlinked: Unlinked,
}

impl Links {
    pub(super) fn new(
        corpora: Vec<Option<WordLinks>>,
        step: GuidedStep,
        unlinked: Unlinked,
    ) -> Self {
        Self { corpora, step, unlinked }
    }

    /// Finds links of the corpora that have none, all together, or reads what was found when the
    /// run in `dir` began.
    pub(super) fn align(
        &mut self,
        train: &Train,
        tokenizers: &Tokenizers,
        dir: &Path,
    ) -> Result<()> {
        let ranges: Vec<Range<usize>> = train.places().collect();
        let missing: Vec<usize> =
            (0..ranges.len()).filter(|&corpus| self.corpora[corpus].is_none()).collect();
        let pairs = || missing.iter().flat_map(|&corpus| ranges[corpus].clone());
        if pairs().next().is_none() {
            return Ok(());
        }
        let hash = pairs()
            .fold(train.hash(Hash::new()), |hash, pair| hash.with(&(pair as u64).to_le_bytes()));
        let path = dir.join(format!("links.{:016x}.gz", hash.finish()));
        let mut found = match read(&path, pairs().count()) {
            Some(found) => found,
            None => {
                let found = statistical(pairs(), train, tokenizers)?;
                write(&path, &found)?;
                found
            }
        }
        .into_iter();
        for corpus in missing {
            let mut links =
                WordLinks { units: text::words_and_marks, ..WordLinks::between_words() };
            found.by_ref().take(ranges[corpus].len()).for_each(|pair| links.push(pair));
            self.corpora[corpus] = Some(links);
        }
        Ok(())
    }

    /// Which source tokens each step of the decoder is guided to look at in pair `pair` of a corpus,
    /// cut into the tokens `ids`, as (source token, step).
    pub(super) fn of_steps(
        &self,
        corpus: usize,
        pair: usize,
        tokenizers: &Tokenizers,
        ids: (&[u32], &[u32]),
    ) -> Result<Vec<(u32, u32)>> {
        let Some(links) = self.corpora.get(corpus).and_then(Option::as_ref) else {
            return Ok(Vec::new());
        };
        let mut of_tokens = links.between_tokens(pair, tokenizers, ids)?;
        if self.unlinked == Unlinked::End && !of_tokens.is_empty() {
            let mut linked = vec![false; ids.1.len()];
            of_tokens.iter().for_each(|&(_, tgt)| linked[tgt as usize] = true);
            let end = ids.0.len() as u32;
            let unlinked = (0..).zip(linked).filter(|&(_, linked)| !linked);
            of_tokens.extend(unlinked.map(|(tgt, _)| (end, tgt)));
        }
        let later = self.step.shift() as u32;
        Ok(of_tokens.into_iter().map(|(src, tgt)| (src, tgt + later)).collect())
    }

    /// How many there are of each corpus.
    pub(crate) fn counts(&self) -> impl Iterator<Item = Option<Linked>> {
        self.corpora.iter().map(|links| links.as_ref().map(WordLinks::count))
    }

    /// Adds all links.
    pub(super) fn hash(&self, hash: Hash) -> Hash {
        self.corpora.iter().flatten().fold(hash, |hash, links| links.hash(hash))
    }
}

/// The links of these pairs, found by the aligner.
fn statistical(
    pairs: impl Iterator<Item = usize>,
    train: &Train,
    tokenizers: &Tokenizers,
) -> Result<Vec<Vec<Link>>> {
    let spaced = |tokenizer: &Tokenizer, ids: &[u32]| -> Result<String> {
        let text = tokenizer.decode(ids)?;
        Ok(text::words_and_marks(&text)
            .into_iter()
            .map(|unit| &text[unit])
            .collect::<Vec<_>>()
            .join(" "))
    };
    let mut failure = None;
    let mut ids = [Vec::new(), Vec::new()];
    let texts = pairs.map_while(|pair| {
        for (side, ids) in ids.iter_mut().enumerate() {
            ids.clear();
            train.usual(side, pair, ids);
        }
        let both = spaced(&tokenizers.src, &ids[0])
            .and_then(|src| Ok((src, spaced(&tokenizers.tgt, &ids[1])?)));
        both.map_err(|error| failure = Some(error)).ok()
    });
    let bitext: Bitext = texts.collect();
    if let Some(error) = failure {
        return Err(error);
    }
    let aligner = Aligner::train(bitext, &Config::default(), |_| {})?;
    Ok(aligner.links(Symmetrization::default()))
}

/// The links in a file, if it holds those of so many pairs.
fn read(path: &Path, pairs: usize) -> Option<Vec<Vec<Link>>> {
    let lines = Lines::open(path).ok()?;
    let links = |line: text::Result<String>| {
        Some(parse_links(&line.ok()?).ok()?.possible.into_iter().collect::<Vec<_>>())
    };
    let found = lines.map(links).collect::<Option<Vec<_>>>()?;
    (found.len() == pairs).then_some(found)
}

fn write(path: &Path, links: &[Vec<Link>]) -> Result<()> {
    let mut file = Output::create(path)?;
    for links in links {
        file.line(&write_links(links))?;
    }
    Ok(file.finish()?)
}

#[cfg(test)]
mod tests;
