//! The training pairs of an epoch: how corpora are mixed, and how sentences are cut into subwords
//! this time.
//!
//! What an epoch is made of follows from the seed and its number, so a resumed run makes it again.

use std::{num::NonZeroUsize, ops::Range, sync::Arc};

use kernels::{Purpose, Random};
use rayon::prelude::*;
use text::{Pair, Sampler, Sampling, Tokenizer, Tokenizers, hash::Hash};

use super::pairs::{Sentences, lengths, normalized, plan};
use crate::Result;

/// Sentences that one thread cuts at a time.
const CHUNK: usize = 1 << 10;

/// All training pairs, and those of the current epoch.
#[derive(Debug)]
pub(crate) struct Train {
    /// Source and target.
    sides: [Side; 2],
    corpora: Vec<Corpus>,
    /// Most tokens of a side.
    max_len: usize,
    tgt_tokens: usize,
    epoch: Epoch,
}

/// One side of all pairs.
#[derive(Debug)]
enum Side {
    /// Ids, the same in each epoch.
    Usual(Sentences),
    /// The pieces that ids are drawn for in each epoch.
    Sampled { pieces: Sentences, sampler: Box<Sampler> },
}

/// Where the pairs of a corpus are, and how they are used.
#[derive(Debug)]
struct Corpus {
    pairs: Range<usize>,
    weight: f64,
    /// What stands in front of its sources.
    tag: Option<u32>,
}

/// What is trained on in one epoch.
#[derive(Debug, Default)]
struct Epoch {
    /// Its number; 0 before the first one.
    number: u64,
    /// Which pairs it has, corpus after corpus.
    pairs: Vec<u32>,
    /// For the sides that are drawn, the ids of these pairs.
    sampled: [Option<Sentences>; 2],
}

impl Train {
    /// No pairs yet. `corpora` are weights and tags; `sampling` says how each side is cut.
    pub(super) fn new(
        tokenizers: &Tokenizers,
        corpora: impl Iterator<Item = (f64, Option<u32>)>,
        sampling: [Option<Sampling>; 2],
        max_len: usize,
    ) -> Result<Self> {
        let side = |tokenizer: &Arc<Tokenizer>, sampling: Option<Sampling>| {
            Ok::<_, crate::Error>(match sampling {
                None => Side::Usual(Sentences::default()),
                Some(how) => Side::Sampled {
                    pieces: Sentences::default(),
                    sampler: Box::new(Sampler::new(Arc::clone(tokenizer), how)?),
                },
            })
        };
        let corpora = corpora.map(|(weight, tag)| Corpus { pairs: 0..0, weight, tag });
        Ok(Self {
            sides: [side(&tokenizers.src, sampling[0])?, side(&tokenizers.tgt, sampling[1])?],
            corpora: corpora.collect(),
            max_len,
            tgt_tokens: 0,
            epoch: Epoch::default(),
        })
    }

    /// Appends pairs of a corpus, behind those of the corpora before it; which of them: those of
    /// which a side has more than the most tokens are left out.
    pub(super) fn extend(
        &mut self,
        corpus: usize,
        pairs: &[Pair],
        tokenizers: &Tokenizers,
    ) -> Result<Vec<bool>> {
        let (src, tgt) = normalized(pairs, tokenizers);
        let ids = [tokenizers.src.encode_all(&src)?, tokenizers.tgt.encode_all(&tgt)?];
        let tag = self.corpora[corpus].tag;
        let n_tags = usize::from(tag.is_some());
        let fits: Vec<bool> = (ids[0].iter().zip(&ids[1]))
            .map(|(src, tgt)| (src.ids.len() + n_tags).max(tgt.ids.len()) <= self.max_len)
            .collect();
        let tgt_tokens = ids[1].iter().zip(&fits).filter(|(_, fits)| **fits);
        self.tgt_tokens += tgt_tokens.map(|(tgt, _)| tgt.ids.len() + 1).sum::<usize>();
        for ((side, texts), (ids, tag)) in
            self.sides.iter_mut().zip([&src, &tgt]).zip(ids.iter().zip([tag, None]))
        {
            let fitting = |i: &usize| fits[*i];
            match side {
                Side::Usual(all) => (0..ids.len()).filter(fitting).for_each(|i| {
                    all.push_with(|all| all.extend(tag.iter().chain(&ids[i].ids)));
                }),
                Side::Sampled { pieces, sampler } => {
                    let cut = sampler.pieces(texts)?;
                    (0..ids.len()).filter(fitting).for_each(|i| pieces.push(&cut[i]));
                }
            }
        }
        let kept = fits.iter().filter(|fits| **fits).count();
        let start = self.corpora[..=corpus].iter().map(|corpus| corpus.pairs.end).max();
        let Corpus { pairs: place, .. } = &mut self.corpora[corpus];
        let start = start.unwrap_or(0);
        let first = if place.start == place.end { start } else { place.start };
        *place = first..start + kept;
        Ok(fits)
    }

    /// Number of all pairs, whether an epoch sees them or not.
    pub(crate) fn n_pairs(&self) -> usize {
        match &self.sides[0] {
            Side::Usual(ids) => ids.len(),
            Side::Sampled { pieces, .. } => pieces.len(),
        }
    }

    /// Number of pairs of each corpus: all, and those of one epoch.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.corpora.iter().map(|corpus| (corpus.pairs.len(), corpus.per_epoch()))
    }

    /// Where the pairs of each corpus are.
    pub(super) fn places(&self) -> impl Iterator<Item = Range<usize>> {
        self.corpora.iter().map(|corpus| corpus.pairs.clone())
    }

    /// Target tokens of all pairs, cut as usual, with one end of sentence each.
    pub(crate) fn tgt_tokens(&self) -> usize {
        self.tgt_tokens
    }

    /// Makes the pairs of an epoch, counted from 1, the current ones.
    pub(crate) fn begin(&mut self, seed: u64, number: u64) {
        if self.epoch.number == number {
            return;
        }
        let corpora = self.corpora.iter().zip(1..);
        let pairs = corpora.flat_map(|(corpus, site)| corpus.seen(seed, site, number)).collect();
        // The epoch before is given up first, so that memory holds the ids of one.
        self.epoch = Epoch { number, pairs, sampled: [None, None] };
        self.epoch.sampled = [0, 1].map(|side| self.sampled(side, seed));
    }

    /// The ids of pair `i` of the current epoch, source and target.
    pub(crate) fn get(&self, i: usize) -> (&[u32], &[u32]) {
        (self.side(0, i), self.side(1, i))
    }

    /// Pair `i` of the current epoch: its corpus, and which it is of that.
    pub(super) fn origin(&self, i: usize) -> (usize, usize) {
        let pair = self.epoch.pairs[i] as usize;
        let corpus = self.corpora.iter().position(|corpus| corpus.pairs.contains(&pair));
        corpus.map_or((0, pair), |corpus| (corpus, pair - self.corpora[corpus].pairs.start))
    }

    fn side(&self, side: usize, i: usize) -> &[u32] {
        match (&self.epoch.sampled[side], &self.sides[side]) {
            (Some(sampled), _) => sampled.get(i),
            (None, Side::Usual(ids)) => ids.get(self.epoch.pairs[i] as usize),
            (None, Side::Sampled { .. }) => unreachable!("an epoch that has begun was drawn"),
        }
    }

    /// The batches of the current epoch: pairs of similar length, at most `batch_tokens` with
    /// padding on either side, in an order that follows from seed and epoch.
    pub(crate) fn shuffled(&self, batch_tokens: NonZeroUsize, seed: u64) -> Result<Vec<Vec<u32>>> {
        let lengths: Vec<_> = (0..self.epoch.pairs.len()).map(|i| lengths(self.get(i))).collect();
        let mut stream = Random::new(seed, Purpose::Shuffle, self.epoch.number).stream();
        plan(&lengths, batch_tokens, &mut |n| stream.below(n))
    }

    /// Adds all pairs, cut as usual, and how they are mixed.
    pub(super) fn hash(&self, mut hash: Hash) -> Hash {
        let mut ids = Vec::new();
        for side in 0..2 {
            for pair in 0..self.n_pairs() {
                ids.clear();
                self.usual(side, pair, &mut ids);
                hash = super::with_sentence(hash, &ids);
            }
        }
        for corpus in self.corpora.iter().filter(|corpus| corpus.weight != 1.0) {
            for number in [corpus.pairs.start as u64, corpus.weight.to_bits()] {
                hash = hash.with(&number.to_le_bytes());
            }
        }
        hash
    }

    /// Appends one side of a pair as the tokenizer cuts it, tag included.
    pub(super) fn usual(&self, side: usize, pair: usize, ids: &mut Vec<u32>) {
        match &self.sides[side] {
            Side::Usual(all) => ids.extend_from_slice(all.get(pair)),
            Side::Sampled { pieces, sampler } => {
                ids.extend(self.tag(side, pair));
                sampler.usual(pieces.get(pair), ids);
            }
        }
    }

    /// What stands in front of one side of a pair.
    fn tag(&self, side: usize, pair: usize) -> Option<u32> {
        let corpus = self.corpora.iter().find(|corpus| corpus.pairs.contains(&pair))?;
        corpus.tag.filter(|_| side == 0)
    }

    /// Draws the ids of one side of the current epoch. A sentence depends on the seed, the epoch,
    /// its place in it and the side, and on no other sentence.
    fn sampled(&self, side: usize, seed: u64) -> Option<Sentences> {
        let Side::Sampled { pieces, sampler } = &self.sides[side] else {
            return None;
        };
        let Epoch { number, pairs, .. } = &self.epoch;
        let random = Random::new(seed, Purpose::Subwords, 2 * number + side as u64);
        let draw = |ids: &mut Vec<u32>, pair: usize, place: usize| {
            let mut stream = random.at(place as u32).stream();
            let start = ids.len();
            ids.extend(self.tag(side, pair));
            sampler.sample(pieces.get(pair), &mut || f64::from(stream.uniform()), ids);
            if ids.len() - start > self.max_len {
                ids.truncate(start);
                self.usual(side, pair, ids);
            }
        };
        let chunks: Vec<Sentences> = (pairs.par_chunks(CHUNK).enumerate())
            .map(|(chunk, pairs)| {
                let mut sentences = Sentences::default();
                for (&pair, place) in pairs.iter().zip(chunk * CHUNK..) {
                    sentences.push_with(|ids| draw(ids, pair as usize, place));
                }
                sentences
            })
            .collect();
        let mut all = Sentences::default();
        chunks.into_iter().for_each(|chunk| all.append(chunk));
        Some(all)
    }
}

impl Corpus {
    /// Pairs that an epoch sees, repetitions included; at least one if there is any.
    fn per_epoch(&self) -> usize {
        let wanted = (self.pairs.len() as f64 * self.weight).round() as usize;
        wanted.max(self.pairs.len().min(1))
    }

    /// The pairs that an epoch sees. Epochs share out the pairs like cards: all are dealt, in a
    /// random order, before the first is seen again.
    fn seen(&self, seed: u64, site: u32, epoch: u64) -> Vec<u32> {
        let (all, wanted) = (self.pairs.len(), self.per_epoch());
        let mut seen = Vec::with_capacity(wanted);
        let mut next = (epoch - 1) * wanted as u64;
        while seen.len() < wanted {
            let (round, from) = (next / all as u64, (next % all as u64) as usize);
            let to = all.min(from + wanted - seen.len());
            let mut order: Vec<u32> = self.pairs.clone().map(|pair| pair as u32).collect();
            if to - from < all {
                Random::new(seed, Purpose::Shuffle, round).at(site).stream().shuffle(&mut order);
            }
            seen.extend_from_slice(&order[from..to]);
            next += (to - from) as u64;
        }
        seen
    }
}

#[cfg(test)]
mod tests;
