//! The data of an experiment: read, cleaned, and in memory as ids.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use kernels::{Purpose, Random};
use text::{
    BatchConfig, Cleaner, Columns, Pair, Pairs, TokenizerConfig, Tokenizers, corpus::Row,
    hash::Hash,
};

use crate::{
    Error, Result,
    config::{CorpusFiles, Data as Config, Experiment, Tokenizer},
    event::{Event, Preparation},
};

/// Pairs that are turned into ids at a time, on all threads.
const AT_ONCE: usize = 1 << 14;

/// What a run learns from and is judged by.
pub(crate) struct Data {
    pub(crate) tokenizers: Tokenizers,
    pub(crate) train: IdPairs,
    pub(crate) valid: IdPairs,
    /// The development set as text.
    pub(crate) valid_text: Vec<Pair>,
    /// Why training pairs were left out, with their counts.
    pub(crate) dropped: Dropped,
}

impl Data {
    /// Reads the corpora of an experiment. `tokenizers` are those of a run that is resumed.
    ///
    /// # Errors
    /// If a file cannot be read or nothing is left to train on.
    pub(crate) fn load(
        experiment: &Experiment,
        tokenizers: Option<Tokenizers>,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let config = &experiment.data;
        let mut tokenizers = match (tokenizers, &experiment.tokenizer) {
            (Some(tokenizers), _) => tokenizers,
            (None, Tokenizer::Open(open)) => Tokenizers::open(&open.dir)?,
            (None, Tokenizer::Learn(learn)) => {
                observer(&Event::Preparing(Preparation::Tokenizer));
                match learn_tokenizers(config, learn) {
                    Err(Error::Text(text::Error::NoTrainingText)) => {
                        return Err(nothing_to_learn_from(config));
                    }
                    learned => learned?,
                }
            }
        };
        // What the corpus is cleaned with, the model must be used with.
        tokenizers.normalize = config.clean.normalize;
        observer(&Event::Preparing(Preparation::Data));
        let most = experiment.training.batch_tokens.get() - 1; // the end is a token as well
        let (train, dropped) = training_pairs(config, &tokenizers, most)?;
        let valid_text = open(&config.valid)?.collect::<text::Result<Vec<Pair>>>()?;
        let mut valid = IdPairs::default();
        valid.extend(&valid_text, &tokenizers, usize::MAX)?;
        let limit = experiment.search.max_src_len.get();
        let long = (0..valid.len()).find(|&i| valid.get(i).0.len() > limit);
        if let Some(pair) = long {
            let (line, found) = (valid_text[pair].line, valid.get(pair).0.len());
            return Err(Error::LongValid { line, found, limit });
        }
        Ok(Self { tokenizers, train, valid, valid_text, dropped })
    }

    /// What tells this data from other data: a hash of all its ids.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Hash::new();
        for pairs in [&self.train, &self.valid] {
            for side in [&pairs.src, &pairs.tgt] {
                for i in 0..side.ends.len() {
                    let sentence = side.get(i);
                    hash = hash.with(&(sentence.len() as u64).to_le_bytes());
                    for id in sentence {
                        hash = hash.with(&id.to_le_bytes());
                    }
                }
            }
        }
        format!("{:016x}", hash.finish())
    }
}

/// Sentence pairs as ids, without beginning and end of sentence.
#[derive(Debug, Default)]
pub(crate) struct IdPairs {
    src: Sentences,
    tgt: Sentences,
}

/// Sentences one after the other.
#[derive(Debug, Default)]
struct Sentences {
    ids: Vec<u32>,
    /// Where in `ids` each sentence ends.
    ends: Vec<usize>,
}

impl Sentences {
    fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start..self.ends[i]]
    }

    fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len());
    }
}

impl IdPairs {
    /// Number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.src.ends.len()
    }

    /// The ids of pair `i`, source and target.
    pub(crate) fn get(&self, i: usize) -> (&[u32], &[u32]) {
        (self.src.get(i), self.tgt.get(i))
    }

    /// Target tokens of all pairs, with one end of sentence each.
    pub(crate) fn tgt_tokens(&self) -> usize {
        self.tgt.ids.len() + self.len()
    }

    /// The batches of an epoch of training: pairs of similar length, at most `batch_tokens`
    /// with padding on either side, in an order that follows from seed and epoch.
    pub(crate) fn shuffled(
        &self,
        batch_tokens: NonZeroUsize,
        seed: u64,
        epoch: u64,
    ) -> Result<Vec<Vec<u32>>> {
        let mut stream = Random::new(seed, Purpose::Shuffle, epoch).stream();
        self.plan(batch_tokens, &mut |n| stream.below(n))
    }

    /// The batches of a validation, which may be larger where a single pair is.
    pub(crate) fn in_order(&self, batch_tokens: NonZeroUsize) -> Result<Vec<Vec<u32>>> {
        let longest = (0..self.len()).map(|i| self.longer(i)).max().unwrap_or(0);
        let batch_tokens = batch_tokens.max(NonZeroUsize::MIN.saturating_add(longest));
        self.plan(batch_tokens, &mut |n| n - 1) // shuffles nothing
    }

    fn plan(
        &self,
        batch_tokens: NonZeroUsize,
        pick: &mut dyn FnMut(usize) -> usize,
    ) -> Result<Vec<Vec<u32>>> {
        let limit = BatchConfig {
            tokens: batch_tokens,
            src_tokens: Some(batch_tokens),
            max_sentences: None,
        };
        let len = |side: &Sentences, i| u32::try_from(side.get(i).len()).unwrap_or(u32::MAX);
        let lengths: Vec<(u32, u32)> =
            (0..self.len()).map(|i| (len(&self.src, i), len(&self.tgt, i))).collect();
        Ok(text::plan(&lengths, &limit, pick)?)
    }

    /// Tokens of the longer side of a pair.
    pub(crate) fn longer(&self, i: usize) -> usize {
        self.src.get(i).len().max(self.tgt.get(i).len())
    }

    /// Appends pairs, normalised, of which no side is longer than `max_len` tokens; how many are.
    fn extend(&mut self, pairs: &[Pair], tokenizers: &Tokenizers, max_len: usize) -> Result<usize> {
        let normalize = tokenizers.normalize;
        let src: Vec<_> = pairs.iter().map(|pair| normalize.apply(&pair.src)).collect();
        let tgt: Vec<_> = pairs.iter().map(|pair| normalize.apply(&pair.tgt)).collect();
        let (src, tgt) = (tokenizers.src.encode_all(&src)?, tokenizers.tgt.encode_all(&tgt)?);
        let mut too_long = 0;
        for (src, tgt) in src.iter().zip(&tgt) {
            if src.ids.len().max(tgt.ids.len()) > max_len {
                too_long += 1;
            } else {
                self.src.push(&src.ids);
                self.tgt.push(&tgt.ids);
            }
        }
        Ok(too_long)
    }
}

/// The training pairs as ids, and why others are left out.
fn training_pairs(
    config: &Config,
    tokenizers: &Tokenizers,
    most: usize,
) -> Result<(IdPairs, Dropped)> {
    let max_len = config.max_len.get().min(most);
    let mut cleaned = Cleaned::new(config);
    let mut pairs = IdPairs::default();
    let mut too_long = 0;
    loop {
        let some: Vec<Pair> = cleaned.by_ref().take(AT_ONCE).collect::<Result<_>>()?;
        if some.is_empty() {
            break;
        }
        too_long += pairs.extend(&some, tokenizers, max_len)?;
    }
    let mut dropped = cleaned.dropped;
    if too_long > 0 {
        dropped.insert(format!("longer than {max_len} tokens"), too_long);
    }
    if pairs.len() == 0 {
        return Err(nothing_left(config, dropped));
    }
    Ok((pairs, dropped))
}

/// Why there is no text for a tokenizer: what was wrong with every single pair.
fn nothing_to_learn_from(config: &Config) -> Error {
    let mut cleaned = Cleaned::new(config);
    match cleaned.by_ref().find_map(Result::err) {
        Some(error) => error,
        None => nothing_left(config, cleaned.dropped),
    }
}

fn nothing_left(config: &Config, dropped: Dropped) -> Error {
    let path = |files: &CorpusFiles| match files {
        CorpusFiles::Lines { src, .. } => src.clone(),
        CorpusFiles::Tsv { tsv, .. } => tsv.clone(),
    };
    let corpora = config.train.iter().map(path).collect();
    Error::NothingLeft { corpora, dropped: dropped.into_iter().collect() }
}

/// Counts of pairs that are left out, by reason.
pub(crate) type Dropped = BTreeMap<String, usize>;

/// All training pairs worth learning from, corpus after corpus.
struct Cleaned<'a> {
    corpora: std::slice::Iter<'a, CorpusFiles>,
    current: Option<Pairs>,
    cleaner: Cleaner,
    dropped: Dropped,
}

impl<'a> Cleaned<'a> {
    fn new(config: &'a Config) -> Self {
        let cleaner = Cleaner::new(config.clean.clone());
        Self { corpora: config.train.iter(), current: None, cleaner, dropped: Dropped::new() }
    }

    /// The next line of the current corpus, or of the one after it.
    fn row(&mut self) -> Result<Option<Row>> {
        loop {
            let row = self.current.as_mut().map(Pairs::next_row).transpose()?.flatten();
            if row.is_some() {
                return Ok(row);
            }
            match self.corpora.next() {
                Some(files) => self.current = Some(open(files)?),
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for Cleaned<'_> {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Result<Pair>> {
        loop {
            let row = match self.row() {
                Ok(Some(row)) => row,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            match self.cleaner.check_row(row) {
                Ok(pair) => return Some(Ok(pair)),
                Err(reason) => *self.dropped.entry(reason.to_string()).or_default() += 1,
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

/// Learns the tokenizers from the training pairs.
fn learn_tokenizers(config: &Config, how: &TokenizerConfig) -> Result<Tokenizers> {
    // The trainer takes strings, not results: the first failure ends a side and is kept here.
    let failure = Mutex::new(None);
    let texts = |side: fn(Pair) -> String| {
        let failure = &failure;
        Cleaned::new(config).map_while(move |pair| match pair {
            Ok(pair) => Some(side(pair)),
            Err(error) => {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                None
            }
        })
    };
    let learned = Tokenizers::train(how, texts(|pair| pair.src), texts(|pair| pair.tgt));
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(learned?),
    }
}
