//! The data of an experiment: read, cleaned, and in memory as ids.

mod corpora;
mod pairs;
mod train;

use std::num::NonZeroUsize;

use text::{Pair, Tokenizers, hash::Hash};

use self::corpora::{Cleaned, Dropped, learn_tokenizers, nothing_left, open};
pub(crate) use self::{corpora::total, pairs::IdPairs, train::Train};
use crate::{
    Error, Result,
    config::{Experiment, Init, Tokenizer},
    event::{Event, Preparation},
};

/// Pairs that are turned into ids at a time, on all threads.
const AT_ONCE: usize = 1 << 14;

/// What a run learns from and is judged by.
pub(crate) struct Data {
    pub(crate) tokenizers: Tokenizers,
    pub(crate) train: Train,
    pub(crate) valid: IdPairs,
    /// The development set as text.
    pub(crate) valid_text: Vec<Pair>,
    /// Why pairs of each corpus were left out, with their counts.
    pub(crate) dropped: Vec<Dropped>,
}

impl Data {
    /// Reads the corpora of an experiment, for batches of at most so many tokens.
    ///
    /// # Errors
    /// If a file cannot be read or nothing is left to train on.
    pub(crate) fn load(
        experiment: &Experiment,
        mut tokenizers: Tokenizers,
        batch_tokens: NonZeroUsize,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let config = &experiment.data;
        // What the corpus is cleaned with, the model must be used with.
        tokenizers.normalize = config.clean.normalize;
        observer(&Event::Preparing(Preparation::Data));
        let (train, dropped) = training_pairs(experiment, &tokenizers, batch_tokens)?;
        let valid_text = open(&config.valid)?.collect::<text::Result<Vec<Pair>>>()?;
        let valid = IdPairs::new(&valid_text, &tokenizers)?;
        let limit = experiment.search.max_src_len.get();
        let long = (0..valid.len()).find(|&i| valid.get(i).0.len() > limit);
        if let Some(pair) = long {
            let (line, found) = (valid_text[pair].line, valid.get(pair).0.len());
            return Err(Error::LongValid { line, found, limit });
        }
        Ok(Self { tokenizers, train, valid, valid_text, dropped })
    }

    /// What tells this data from other data: a hash of all its ids and of the weights.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = self.train.hash(Hash::new());
        for side in [|(src, _)| src, |(_, tgt)| tgt] as [fn((_, _)) -> _; 2] {
            for i in 0..self.valid.len() {
                hash = with_sentence(hash, side(self.valid.get(i)));
            }
        }
        format!("{:016x}", hash.finish())
    }
}

/// Adds the ids of a sentence, and how many they are.
fn with_sentence(hash: Hash, ids: &[u32]) -> Hash {
    let hash = hash.with(&(ids.len() as u64).to_le_bytes());
    ids.iter().fold(hash, |hash, id| hash.with(&id.to_le_bytes()))
}

/// The tokenizers of a new run: those of the model it starts from, those of a folder, or new ones.
pub(crate) fn first_tokenizers(
    experiment: &Experiment,
    observer: &mut dyn FnMut(&Event),
) -> Result<Tokenizers> {
    match (&experiment.init, &experiment.tokenizer) {
        (None, Tokenizer::Learn(learn)) => {
            observer(&Event::Preparing(Preparation::Tokenizer));
            learn_tokenizers(&experiment.data, learn)
        }
        (None, Tokenizer::Open(open)) => Ok(Tokenizers::open(&open.dir)?),
        (Some(Init { dir, .. }), Tokenizer::Learn(_)) => Ok(Tokenizers::open(dir)?),
        (Some(Init { dir, .. }), Tokenizer::Open(open)) => {
            let (own, other) = (Tokenizers::open(dir)?, Tokenizers::open(&open.dir)?);
            let marks =
                |both: &Tokenizers| (both.joint(), both.src.fingerprint(), both.tgt.fingerprint());
            if marks(&own) != marks(&other) {
                return Err(Error::OtherTokenizer { dir: open.dir.clone(), init: dir.clone() });
            }
            Ok(own)
        }
    }
}

/// The training pairs, and why others of each corpus are left out.
fn training_pairs(
    experiment: &Experiment,
    tokenizers: &Tokenizers,
    batch_tokens: NonZeroUsize,
) -> Result<(Train, Vec<Dropped>)> {
    let (config, training) = (&experiment.data, &experiment.training);
    let most = batch_tokens.get() - 1; // the end is a token as well
    let max_len = config.max_len.get().min(most);
    let mut corpora = Vec::new();
    for corpus in &config.train {
        let tag = corpus.tag.as_ref().map(|tag| {
            let missing =
                || Error::MissingTag { tag: tag.clone(), corpus: corpus.files.name().to_owned() };
            tokenizers.src.tag(tag).ok_or_else(missing)
        });
        corpora.push((corpus.weight.get(), tag.transpose()?));
    }
    let mut train = Train::new(tokenizers, corpora.into_iter(), training.sampling(), max_len)?;
    let mut cleaned = Cleaned::new(config);
    let mut too_long = vec![0; config.train.len()];
    loop {
        let some: Vec<(usize, Pair)> = cleaned.by_ref().take(AT_ONCE).collect::<Result<_>>()?;
        if some.is_empty() {
            break;
        }
        for of_one in some.chunk_by(|a, b| a.0 == b.0) {
            let corpus = of_one[0].0;
            let pairs: Vec<Pair> = of_one.iter().map(|(_, pair)| pair.clone()).collect();
            too_long[corpus] += train.extend(corpus, &pairs, tokenizers)?;
        }
    }
    let mut dropped = cleaned.dropped;
    for (dropped, too_long) in dropped.iter_mut().zip(too_long).filter(|(_, n)| *n > 0) {
        dropped.insert(format!("longer than {max_len} tokens"), too_long);
    }
    if train.n_pairs() == 0 {
        return Err(nothing_left(config, &dropped));
    }
    Ok((train, dropped))
}
