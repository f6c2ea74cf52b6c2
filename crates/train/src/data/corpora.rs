//! The corpora to train on, read and cleaned, and the tokenizers that are learned from them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use text::{
    Cleaner, Columns, Pair, Pairs, TokenizerConfig, Tokenizers,
    clean::{Dropped as DroppedLine, Reason, key},
    corpus::Row,
};

use super::filter::Filter;
use crate::{
    Error, Result,
    config::{CorpusFiles, Data as Config, TrainCorpus},
};

/// Counts of pairs that are left out, by reason.
pub(crate) type Dropped = BTreeMap<String, usize>;

/// All training pairs worth learning from, corpus after corpus, with the number of theirs.
pub(super) struct Cleaned<'a> {
    corpora: &'a [TrainCorpus],
    /// The corpus that is being read.
    corpus: usize,
    pairs: Option<Pairs>,
    cleaner: Cleaner<'a>,
    filter: &'a Filter,
    /// Why pairs of each corpus were left out so far.
    pub(super) dropped: Vec<Dropped>,
}

impl<'a> Cleaned<'a> {
    pub(super) fn new(config: &'a Config, filter: &'a Filter) -> Self {
        let corpora = config.train.as_slice();
        let cleaner = Cleaner::new(&filter.judge);
        let dropped = vec![Dropped::new(); corpora.len()];
        Self { corpora, corpus: 0, pairs: None, cleaner, filter, dropped }
    }

    /// The pair of a line, if it is worth learning from.
    fn check(&mut self, row: Row) -> std::result::Result<Pair, DroppedLine> {
        let pair = self.cleaner.check(row)?;
        let unaligned = &self.filter.unaligned;
        if !unaligned.is_empty() && unaligned.contains(&key(&pair)) {
            return Err(DroppedLine::pair(Reason::Alignment, pair));
        }
        Ok(pair)
    }

    /// The next line of the current corpus, or of the one after it.
    fn row(&mut self) -> Result<Option<Row>> {
        while let Some(corpus) = self.corpora.get(self.corpus) {
            let pairs = match &mut self.pairs {
                Some(pairs) => pairs,
                None => self.pairs.insert(open(&corpus.files)?),
            };
            match pairs.next_row()? {
                Some(row) => return Ok(Some(row)),
                None => (self.pairs, self.corpus) = (None, self.corpus + 1),
            }
        }
        Ok(None)
    }
}

impl Iterator for Cleaned<'_> {
    type Item = Result<(usize, Pair)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.row() {
                Ok(Some(row)) => row,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            match self.check(row) {
                Ok(pair) => return Some(Ok((self.corpus, pair))),
                Err(DroppedLine { reason, .. }) => {
                    *self.dropped[self.corpus].entry(reason.to_string()).or_default() += 1;
                }
            }
        }
    }
}

/// Opens the files of a corpus.
pub(crate) fn open(files: &CorpusFiles) -> text::Result<Pairs> {
    match files {
        CorpusFiles::Lines { src, tgt } => Pairs::open(src, tgt),
        CorpusFiles::Tsv { tsv, columns: [src, tgt] } => {
            Pairs::open_table(tsv, Columns { src: *src, tgt: *tgt })
        }
    }
}

/// Learns the tokenizers from the training pairs, of each corpus once. They have the tags of all
/// corpora.
pub(super) fn learn_tokenizers(
    config: &Config,
    filter: &Filter,
    how: &TokenizerConfig,
) -> Result<Tokenizers> {
    // The trainer takes strings, not results: the first failure ends a side and is kept here.
    let failure = Mutex::new(None);
    let texts = |side: fn(Pair) -> String| {
        let failure = &failure;
        Cleaned::new(config, filter).map_while(move |pair| match pair {
            Ok((_, pair)) => Some(side(pair)),
            Err(error) => {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                None
            }
        })
    };
    let learned = Tokenizers::train(how, texts(|pair| pair.src), texts(|pair| pair.tgt));
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let tags: Vec<_> = config.train.iter().filter_map(|corpus| corpus.tag.clone()).collect();
    match learned {
        Err(text::Error::NoTrainingText) => Err(nothing_to_learn_from(config, filter)),
        learned => Ok(learned?.with_tags(&tags)?),
    }
}

/// Why there is no text for a tokenizer: what was wrong with every single pair.
fn nothing_to_learn_from(config: &Config, filter: &Filter) -> Error {
    let mut cleaned = Cleaned::new(config, filter);
    match cleaned.by_ref().find_map(Result::err) {
        Some(error) => error,
        None => nothing_left(config, &cleaned.dropped),
    }
}

/// The error when no pair is left, with the counts over all corpora.
pub(super) fn nothing_left(config: &Config, dropped: &[Dropped]) -> Error {
    let corpora: Vec<PathBuf> =
        config.train.iter().map(|corpus| corpus.files.name().to_owned()).collect();
    Error::NothingLeft { corpora, dropped: total(dropped).into_iter().collect() }
}

/// The counts of several corpora together.
pub(crate) fn total(dropped: &[Dropped]) -> Dropped {
    let mut total = Dropped::new();
    for (reason, n) in dropped.iter().flatten() {
        *total.entry(reason.clone()).or_default() += n;
    }
    total
}
