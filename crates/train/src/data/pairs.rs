//! Sentence pairs in memory, as ids, and the batches that are made of them.

use std::num::NonZeroUsize;

use text::{BatchConfig, Pair, Tokenizers};

use crate::Result;

/// Sentences one after the other.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    ids: Vec<u32>,
    /// Where in `ids` each sentence ends.
    ends: Vec<usize>,
}

impl Sentences {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start..self.ends[i]]
    }

    /// Adds the sentence that `write` appends to the ids it is given.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u32>)) {
        write(&mut self.ids);
        self.ends.push(self.ids.len());
    }

    pub(super) fn push(&mut self, ids: &[u32]) {
        self.push_with(|all| all.extend_from_slice(ids));
    }

    /// Moves all sentences of `other` behind the last one.
    pub(super) fn append(&mut self, other: Self) {
        let before = self.ids.len();
        self.ids.extend_from_slice(&other.ids);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }
}

/// Sentence pairs as ids, without beginning and end of sentence.
#[derive(Debug, Default)]
pub(crate) struct IdPairs {
    src: Sentences,
    tgt: Sentences,
}

impl IdPairs {
    /// The pairs, normalised, as the tokenizers cut them.
    pub(super) fn new(pairs: &[Pair], tokenizers: &Tokenizers) -> Result<Self> {
        let mut all = Self::default();
        let (src, tgt) = normalized(pairs, tokenizers);
        for src in tokenizers.src.encode_all(&src)? {
            all.src.push(&src.ids);
        }
        for tgt in tokenizers.tgt.encode_all(&tgt)? {
            all.tgt.push(&tgt.ids);
        }
        Ok(all)
    }

    /// Number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.src.len()
    }

    /// The ids of pair `i`, source and target.
    pub(crate) fn get(&self, i: usize) -> (&[u32], &[u32]) {
        (self.src.get(i), self.tgt.get(i))
    }

    /// The batches of a validation, which may be larger where a single pair is.
    pub(crate) fn in_order(&self, batch_tokens: NonZeroUsize) -> Result<Vec<Vec<u32>>> {
        let longer = |i| self.src.get(i).len().max(self.tgt.get(i).len());
        let longest = (0..self.len()).map(longer).max().unwrap_or(0);
        let batch_tokens = batch_tokens.max(NonZeroUsize::MIN.saturating_add(longest));
        let lengths: Vec<_> = (0..self.len()).map(|i| lengths(self.get(i))).collect();
        plan(&lengths, batch_tokens, &mut |n| n - 1) // shuffles nothing
    }
}

/// The texts of both sides, evened out as the model will be used.
pub(super) fn normalized(pairs: &[Pair], tokenizers: &Tokenizers) -> (Vec<String>, Vec<String>) {
    let even = |text: &str| tokenizers.normalize.apply(text).into_owned();
    pairs.iter().map(|pair| (even(&pair.src), even(&pair.tgt))).unzip()
}

/// The lengths of a pair.
pub(super) fn lengths((src, tgt): (&[u32], &[u32])) -> (u32, u32) {
    let len = |side: &[u32]| u32::try_from(side.len()).unwrap_or(u32::MAX);
    (len(src), len(tgt))
}

/// Which pairs form which batch, at most `batch_tokens` with padding on either side.
pub(super) fn plan(
    lengths: &[(u32, u32)],
    batch_tokens: NonZeroUsize,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Result<Vec<Vec<u32>>> {
    let limit =
        BatchConfig { tokens: batch_tokens, src_tokens: Some(batch_tokens), max_sentences: None };
    Ok(text::plan(lengths, &limit, pick)?)
}
