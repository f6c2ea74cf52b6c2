//! Keys and values of words that search attends to again and again, in blocks that never move.
//!
//! A hypothesis is a list of *places*. What it has in common with others is stored once, and
//! reordering hypotheses moves nothing but their lists; a place that no hypothesis has any more is
//! given to the next word.

use kernels::{Real, vectorized};

use super::kept::Kept;
use super::product::{LANES, transpose};
use super::{Rows, RowsMut, length};
use crate::Result;

/// Keys and values of words, for each layer of a decoder. In comments `dim` is
/// `heads · head_dim`.
#[derive(Clone, Debug)]
pub struct Words<K> {
    layers: usize,
    dim: usize,
    /// Sixteen words each: for each layer keys `[dim, 16]`, a column for each word, which is what
    /// scores are computed from, then values `[16, dim]`.
    blocks: Vec<Box<[K]>>,
}

impl<K: Kept> Words<K> {
    /// No words yet.
    pub fn new(layers: usize, dim: usize) -> Self {
        Self { layers, dim, blocks: Vec::new() }
    }

    /// Makes places for at least `n` words.
    pub fn reserve(&mut self, n: usize) {
        let size = 2 * self.layers * self.dim * LANES;
        let blocks = n.div_ceil(LANES).max(self.blocks.len());
        self.blocks.resize_with(blocks, || vec![K::keep(K::Number::ZERO); size].into_boxed_slice());
    }

    /// How many words there is a place for.
    pub fn places(&self) -> usize {
        self.blocks.len() * LANES
    }

    /// Keys and values of a layer in a block.
    fn part(&mut self, layer: usize, block: usize) -> (&mut [K], &mut [K]) {
        let half = self.dim * LANES;
        self.blocks[block][2 * layer * half..][..2 * half].split_at_mut(half)
    }

    /// Writes one word.
    ///
    /// # Panics
    /// If there is no such layer or place, or key and value are not `dim` numbers.
    pub fn write(&mut self, layer: usize, place: usize, key: &[K::Number], value: &[K::Number]) {
        let dim = self.dim;
        let (keys, values) = self.part(layer, place / LANES);
        let (column, row) = (place % LANES, &mut values[place % LANES * dim..][..dim]);
        assert_eq!(key.len(), dim, "numbers of a key");
        for (keys, key) in keys.as_chunks_mut::<LANES>().0.iter_mut().zip(key) {
            keys[column] = K::keep(*key);
        }
        assert_eq!(value.len(), dim, "numbers of a value");
        keep(value, row);
    }

    /// Writes `n` words, at the first places of a layer.
    ///
    /// # Errors
    /// If there are fewer places, or fewer rows of `dim` numbers.
    pub fn fill(
        &mut self,
        layer: usize,
        keys: Rows<K::Number>,
        values: Rows<K::Number>,
        n: usize,
    ) -> Result<()> {
        let dim = self.dim;
        keys.check("keys", n, dim)?;
        values.check("values", n, dim)?;
        length("places for words", self.places().min(n), n)?;
        for first in (0..n).step_by(LANES) {
            let n = LANES.min(n - first);
            let (to_keys, to_values) = self.part(layer, first / LANES);
            transpose(keys.from(first), n, dim, RowsMut::new(to_keys, LANES));
            for (i, to) in to_values.chunks_exact_mut(dim).take(n).enumerate() {
                keep(&values.row(first + i)[..dim], to);
            }
        }
        Ok(())
    }

    /// One layer of them.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&self, layer: usize) -> Layer<'_, K> {
        assert!(layer < self.layers, "layer {layer} of {}", self.layers);
        Layer { blocks: &self.blocks, start: 2 * layer * self.dim * LANES, dim: self.dim }
    }
}

vectorized! {
    /// Keeps numbers, as many as there is room for.
    fn keep<K: Kept>(numbers: &[K::Number], kept: &mut [K]) {
        for (kept, number) in kept.iter_mut().zip(numbers) {
            *kept = K::keep(*number);
        }
    }
}

/// One layer of [`Words`].
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a, K> {
    blocks: &'a [Box<[K]>],
    start: usize,
    dim: usize,
}

impl<'a, K> Layer<'a, K> {
    /// Numbers of a key and of a value.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// How many words there is a place for.
    pub(super) fn places(&self) -> usize {
        self.blocks.len() * LANES
    }

    /// The keys of a block, `[dim, 16]`.
    #[inline(always)]
    pub(super) fn keys(&self, block: usize) -> &'a [K] {
        &self.blocks[block][self.start..][..self.dim * LANES]
    }

    /// The value at a place, `[dim]`.
    #[inline(always)]
    pub(super) fn value(&self, place: u32) -> &'a [K] {
        let (block, row) = (place as usize / LANES, place as usize % LANES);
        &self.blocks[block][self.start + (LANES + row) * self.dim..][..self.dim]
    }
}

/// What the hypotheses of one sentence have read.
#[derive(Clone, Debug)]
pub struct Past<K> {
    words: Words<K>,
    /// The places of each hypothesis, a place for each word.
    paths: Vec<Vec<u32>>,
    /// Places that no hypothesis has, of those below `used`.
    free: Vec<u32>,
    used: u32,
}

impl<K: Kept> Past<K> {
    /// One hypothesis, which has read nothing.
    pub fn new(layers: usize, dim: usize) -> Self {
        Self { words: Words::new(layers, dim), paths: vec![Vec::new()], free: Vec::new(), used: 0 }
    }

    /// The places of each hypothesis.
    pub fn paths(&self) -> &[Vec<u32>] {
        &self.paths
    }

    /// One layer of the words.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&self, layer: usize) -> Layer<'_, K> {
        self.words.layer(layer)
    }

    /// Gives each hypothesis a place for another word.
    pub fn push(&mut self) {
        for path in &mut self.paths {
            let place = self.free.pop().unwrap_or_else(|| {
                self.used += 1;
                self.used - 1
            });
            path.push(place);
        }
        self.words.reserve(self.used as usize);
    }

    /// Writes the last word of a hypothesis.
    ///
    /// # Panics
    /// If it has none, there is no such layer, or key and value are not `dim` numbers.
    pub fn write(
        &mut self,
        layer: usize,
        hypothesis: usize,
        key: &[K::Number],
        value: &[K::Number],
    ) {
        let place = self.paths[hypothesis].last().expect("a word was pushed");
        self.words.write(layer, *place as usize, key, value);
    }

    /// Makes old hypothesis `rows[i]` the new hypothesis `i`.
    ///
    /// # Panics
    /// If there is no such hypothesis.
    pub fn select(&mut self, rows: &[usize]) {
        if rows.iter().copied().eq(0..self.paths.len()) {
            return;
        }
        let chosen: Vec<Vec<u32>> = rows.iter().map(|&row| self.paths[row].clone()).collect();
        let mut kept = vec![false; self.used as usize];
        chosen.iter().flatten().for_each(|&place| kept[place as usize] = true);
        self.free = (0..self.used).rev().filter(|&place| !kept[place as usize]).collect();
        self.paths = chosen;
    }
}
