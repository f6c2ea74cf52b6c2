//! The data of an experiment: read, cleaned, and in memory as ids.

mod corpora;
mod filter;
mod links;
mod pairs;
mod train;

use std::{num::NonZeroUsize, path::Path};

use model::{Batch, Special};
use text::{Normalize, Pair, Tokenizers, hash::Hash};

use self::corpora::{Cleaned, Dropped, learn_tokenizers, nothing_left};
use self::links::LinkFile;
pub use self::links::Linked;
pub(crate) use self::{
    corpora::{open, total},
    filter::{Filter, below, held_out, judge},
    links::Links,
    pairs::IdPairs,
    train::Train,
};
use crate::{
    Error, Result,
    config::{Experiment, Guided, Init, LinkSource, Tokenizer, TrainCorpus},
    event::{Event, Preparation},
};

/// Pairs that are turned into ids at a time, on all threads.
const AT_ONCE: usize = 1 << 14;

/// What a run learns from and is judged by.
pub(crate) struct Data {
    pub(crate) tokenizers: Tokenizers,
    pub(crate) train: Train,
    /// Word links of the training pairs, if attention is guided.
    pub(crate) links: Option<Links>,
    pub(crate) valid: IdPairs,
    /// The development set as text.
    pub(crate) valid_text: Vec<Pair>,
    /// Why pairs of each corpus were left out, with their counts.
    pub(crate) dropped: Vec<Dropped>,
}

impl Data {
    /// Reads the corpora of an experiment whose run is in `dir`, for batches of at most so many
    /// tokens.
    ///
    /// # Errors
    /// If a file cannot be read or nothing is left to train on.
    pub(crate) fn load(
        experiment: &Experiment,
        filter: &Filter,
        mut tokenizers: Tokenizers,
        batch_tokens: NonZeroUsize,
        dir: &Path,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let (config, training) = (&experiment.data, &experiment.training);
        // What the corpus is cleaned with, the model must be used with. Rules that came with its
        // tokenizers stay theirs.
        let charsmap = tokenizers.normalize.charsmap.take();
        tokenizers.normalize = Normalize { charsmap, ..config.clean.normalize.clone() };
        observer(&Event::Preparing(Preparation::Data));
        let (train, dropped, mut links) =
            training_pairs(experiment, filter, &tokenizers, batch_tokens)?;
        let valid_text = open(&config.valid)?.collect::<text::Result<Vec<Pair>>>()?;
        let valid = IdPairs::new(&valid_text, &tokenizers)?;
        let limit = experiment.search.max_src_len.get();
        let long = (0..valid.len()).find(|&i| valid.get(i).0.len() > limit);
        if let Some(pair) = long {
            let (line, found) = (valid_text[pair].line, valid.get(pair).0.len());
            return Err(Error::LongValid { line, found, limit });
        }
        let statistical = |guided: &Guided| guided.links == LinkSource::Statistical;
        if let Some(links) =
            links.as_mut().filter(|_| training.guided.as_ref().is_some_and(statistical))
        {
            observer(&Event::Preparing(Preparation::Links));
            links.align(&train, &tokenizers, dir)?;
        }
        Ok(Self { tokenizers, train, links, valid, valid_text, dropped })
    }

    /// The pairs `numbers` of the current epoch as a batch, with the links that guide its steps.
    pub(crate) fn batch(&self, numbers: &[u32], special: Special) -> Result<Batch> {
        let pairs: Vec<_> = numbers.iter().map(|&i| self.train.get(i as usize)).collect();
        let batch = Batch::new(&pairs, special)?;
        let Some(links) = &self.links else { return Ok(batch) };
        let of_steps = |(&i, &ids): (&u32, &(&[u32], &[u32]))| {
            let (corpus, pair) = self.train.origin(i as usize);
            links.of_steps(corpus, pair, &self.tokenizers, ids)
        };
        let of_steps = numbers.iter().zip(&pairs).map(of_steps).collect::<Result<Vec<_>>>()?;
        Ok(batch.guided(&of_steps)?)
    }

    /// What tells this data from other data: a hash of all its ids, of the weights and the links.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = self.train.hash(Hash::new());
        for side in [|(src, _)| src, |(_, tgt)| tgt] as [fn((_, _)) -> _; 2] {
            for i in 0..self.valid.len() {
                hash = with_sentence(hash, side(self.valid.get(i)));
            }
        }
        let hash = self.links.iter().fold(hash, |hash, links| links.hash(hash));
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
    filter: &Filter,
    observer: &mut dyn FnMut(&Event),
) -> Result<Tokenizers> {
    match (&experiment.init, &experiment.tokenizer) {
        (None, Tokenizer::Learn(learn)) => {
            observer(&Event::Preparing(Preparation::Tokenizer));
            learn_tokenizers(&experiment.data, filter, learn)
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

/// The training pairs, why others of each corpus are left out, and the links that corpora have
/// files of, if attention is guided.
fn training_pairs(
    experiment: &Experiment,
    filter: &Filter,
    tokenizers: &Tokenizers,
    batch_tokens: NonZeroUsize,
) -> Result<(Train, Vec<Dropped>, Option<Links>)> {
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
    let mut cleaned = Cleaned::new(config, filter);
    let mut too_long = vec![0; config.train.len()];
    let guided = training.guided.as_ref();
    let file = |corpus: &TrainCorpus| guided.map_or(Ok(None), |_| LinkFile::open(corpus));
    let mut files = config.train.iter().map(file).collect::<Result<Vec<_>>>()?;
    loop {
        let some: Vec<(usize, Pair)> = cleaned.by_ref().take(AT_ONCE).collect::<Result<_>>()?;
        if some.is_empty() {
            break;
        }
        for of_one in some.chunk_by(|a, b| a.0 == b.0) {
            let corpus = of_one[0].0;
            let pairs: Vec<Pair> = of_one.iter().map(|(_, pair)| pair.clone()).collect();
            let kept = train.extend(corpus, &pairs, tokenizers)?;
            too_long[corpus] += kept.iter().filter(|kept| !**kept).count();
            if let Some(file) = &mut files[corpus] {
                for (pair, keep) in pairs.iter().zip(kept) {
                    file.read(pair, keep)?;
                }
            }
        }
    }
    let mut dropped = cleaned.dropped;
    for (dropped, too_long) in dropped.iter_mut().zip(too_long).filter(|(_, n)| *n > 0) {
        dropped.insert(format!("longer than {max_len} tokens"), too_long);
    }
    if train.n_pairs() == 0 {
        return Err(nothing_left(config, &dropped));
    }
    let links = files.into_iter().map(|file| file.map(|file| file.links)).collect();
    Ok((train, dropped, guided.map(|guided| Links::new(links, guided.step, guided.unlinked))))
}
