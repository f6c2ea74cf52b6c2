//! One head of one sentence, forward and backward, a block of query rows at a time.

use std::ops::Range;

use kernels::dropout::Mask;
use kernels::matmul::Target;
use kernels::{Real, slices};

use super::grads::HeadGrads;
use super::guided::HeadGuide;
use super::product::{LANES, gather, mix, scores, transpose};
use super::softmax::{KEPT, grad_scores, restore, softmax};
use super::{Rows, RowsMut, Visible};

/// Weights of a block of rows: few enough that a core's own cache holds all that is made of them.
const BLOCK: usize = 1 << 15;
/// Rows of a block are a multiple of this (but for the last block), so that the mask of a block
/// starts with a whole group of random numbers; also the fewest rows of a block.
const BLOCK_ROWS: usize = 16;
/// Weights of a head take up a multiple of this in the order of the dropout mask.
const MASK_UNIT: usize = 64;

/// A row of weights to `src_len` keys, padded.
pub(super) fn width(src_len: usize) -> usize {
    src_len.next_multiple_of(LANES)
}

/// How many numbers of the dropout mask a head takes.
pub(super) fn mask_len(tgt_len: usize, src_len: usize) -> usize {
    (tgt_len * width(src_len)).next_multiple_of(MASK_UNIT)
}

/// Consecutive query rows, and what they may see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The first of them, counted from the start of the sentence.
    pub(super) first: usize,
    /// How many there are.
    pub(super) rows: usize,
    /// How many keys the sentence has.
    pub(super) keys: usize,
    pub(super) visible: Visible,
}

impl Block {
    /// The keys that at least one of these rows (counted from the block's first) sees.
    #[inline(always)]
    pub(super) fn seen(&self, rows: Range<usize>) -> Range<usize> {
        let (first, last) = (self.first + rows.start, self.first + rows.end - 1);
        self.visible.keys(first, self.keys).start..self.visible.keys(last, self.keys).end
    }

    /// The rows (counted from the block's first) that see at least one of these keys.
    #[inline(always)]
    pub(super) fn seeing(&self, keys: Range<usize>) -> Range<usize> {
        let Range { start, end } = self.visible.queries(keys, self.first + self.rows);
        let end = end.saturating_sub(self.first);
        start.saturating_sub(self.first).min(end)..end
    }
}

/// One head of one sentence. All rows start with the head's own columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a, T> {
    pub(super) queries: Rows<'a, T>,
    pub(super) keys: Rows<'a, T>,
    pub(super) values: Rows<'a, T>,
    pub(super) tgt_len: usize,
    pub(super) src_len: usize,
    pub(super) dim: usize,
    pub(super) visible: Visible,
    /// The mask of weights and the head's first number in it.
    pub(super) dropout: Option<(&'a Mask, usize)>,
}

/// What came of a head's forward pass, and its gradient. Rows start at the head's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadOutputs<'a, T> {
    pub(super) out: Rows<'a, T>,
    pub(super) grad_out: Rows<'a, T>,
    pub(super) kept: &'a [T],
    pub(super) guide: Option<HeadGuide<'a, T>>,
}

/// Memory that a thread uses for one head after another.
#[derive(Debug)]
pub(super) struct Scratch<T> {
    pub(super) keys: Vec<T>,
    pub(super) values: Vec<T>,
    pub(super) weights: Vec<T>,
    pub(super) dropped: Vec<T>,
    pub(super) grads: Vec<T>,
    /// For whoever goes from head to head: what goes in, and what comes out.
    pub(super) inputs: Vec<T>,
    pub(super) outputs: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        let new = Vec::new;
        Self {
            keys: new(),
            values: new(),
            weights: new(),
            dropped: new(),
            grads: new(),
            inputs: new(),
            outputs: new(),
        }
    }
}

/// The first `n` numbers of a buffer that grows when it must. What they are is anyone's guess.
pub(super) fn room<T: Real>(buffer: &mut Vec<T>, n: usize) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, T::ZERO);
    }
    &mut buffer[..n]
}

impl<'a, T: Real> Head<'a, T> {
    /// `1 / √dim`.
    pub(super) fn scale(dim: usize) -> T {
        T::ONE / T::of(dim as f64).sqrt()
    }

    /// Whether nobody attends, or to nothing.
    fn is_empty(&self) -> bool {
        self.tgt_len == 0 || self.src_len == 0
    }

    fn blocks(&self) -> impl Iterator<Item = Block> + use<'_, 'a, T> {
        let (tgt_len, src_len, visible) = (self.tgt_len, self.src_len, self.visible);
        let rows = (BLOCK / width(src_len).max(1) / BLOCK_ROWS).max(1) * BLOCK_ROWS;
        (0..tgt_len).step_by(rows).map(move |first| Block {
            first,
            rows: rows.min(tgt_len - first),
            keys: src_len,
            visible,
        })
    }

    /// Rows of this sentence's keys or values as columns, padded.
    fn columns<'b>(&self, rows: Rows<T>, buffer: &'b mut Vec<T>) -> Rows<'b, T> {
        let width = width(self.src_len);
        let columns = room(buffer, self.dim * width);
        transpose(rows, self.src_len, self.dim, RowsMut::new(columns, width));
        Rows::new(columns, width)
    }

    /// Products of a block's rows, of queries or of what is as long, with all columns.
    fn scores(&self, rows: Rows<T>, columns: Rows<T>, block: &Block, out: &mut [T]) {
        let out = RowsMut::new(out, columns.stride);
        scores(rows.from(block.first), columns, self.dim, block, out);
    }

    fn drop(&self, block: &Block, weights: &mut [T]) {
        if let Some((mask, start)) = self.dropout {
            mask.apply(start + block.first * width(self.src_len), weights);
        }
    }

    /// Writes the output of every row, `[tgt_len, dim]`, and keeps what [`Head::backward`] needs
    /// of it.
    pub(super) fn forward(&self, scratch: &mut Scratch<T>, out: &mut [T], kept: &mut [T]) {
        if self.is_empty() {
            return out.fill(T::ZERO);
        }
        let width = width(self.src_len);
        let keys = self.columns(self.keys, &mut scratch.keys);
        for block in self.blocks() {
            let weights = room(&mut scratch.weights, block.rows * width);
            let kept = &mut kept[block.first * KEPT..][..block.rows * KEPT];
            self.scores(self.queries, keys, &block, weights);
            softmax(weights, width, &block, Self::scale(self.dim), kept);
            self.drop(&block, weights);
            let weights = Rows::new(weights, width);
            let out = RowsMut::columns(out, self.dim, block.first * self.dim);
            mix(weights, self.values, self.dim, &block, out, Target::Replace);
        }
    }

    /// Adds the weights of every row before dropout, times a factor, to `out`
    /// `[tgt_len, src_len]`.
    pub(super) fn weights(&self, scratch: &mut Scratch<T>, factor: T, out: &mut [T]) {
        if self.is_empty() {
            return;
        }
        let width = width(self.src_len);
        let keys = self.columns(self.keys, &mut scratch.keys);
        for block in self.blocks() {
            let weights = room(&mut scratch.weights, block.rows * width);
            let kept = room(&mut scratch.grads, block.rows * KEPT);
            self.scores(self.queries, keys, &block, weights);
            softmax(weights, width, &block, Self::scale(self.dim), kept);
            for (i, row) in weights.chunks_exact(width).enumerate() {
                let out = &mut out[(block.first + i) * self.src_len..][..self.src_len];
                slices::add_scaled(out, factor, row);
            }
        }
    }

    /// Writes the gradients of queries, keys and values. The weights are computed again, to the
    /// bit.
    pub(super) fn backward(
        &self,
        scratch: &mut Scratch<T>,
        outputs: &HeadOutputs<T>,
        mut into: HeadGrads<T>,
    ) {
        if self.is_empty() {
            return [into.query, into.key, into.value].iter_mut().for_each(|x| x.fill(T::ZERO));
        }
        let (width, scale) = (width(self.src_len), Self::scale(self.dim));
        let Scratch { keys, values, weights, dropped, grads, .. } = scratch;
        let keys = self.columns(self.keys, keys);
        let values = self.columns(self.values, values);
        for block in self.blocks() {
            let n = block.rows * width;
            let (weights, grads) = (room(weights, n), room(grads, n));
            self.scores(self.queries, keys, &block, weights);
            restore(weights, width, &block, scale, &outputs.kept[block.first * KEPT..]);
            let weights: &[T] = weights;
            let dropped: &[T] = if self.dropout.is_some() {
                let dropped = room(dropped, n);
                dropped.copy_from_slice(weights);
                self.drop(&block, dropped);
                dropped
            } else {
                weights
            };
            self.scores(outputs.grad_out, values, &block, grads);
            let [out, grad_out] = [outputs.out, outputs.grad_out].map(|x| x.from(block.first));
            let dim = self.dim;
            grad_scores(grads, weights, dropped, width, &block, scale, out, grad_out, dim);
            if let Some(guide) = outputs.guide {
                guide.add(&block, weights, grads, width, scale);
            }
            let [dropped, grads] = [dropped, grads].map(|x| Rows::new(x, width));
            self.gather(&block, dropped, grads, grad_out, &mut into);
        }
    }

    /// From a block's weights, as dropped, and the gradients of its scores to those of queries,
    /// keys and values.
    fn gather(
        &self,
        block: &Block,
        weights: Rows<T>,
        grad_scores: Rows<T>,
        grad_out: Rows<T>,
        into: &mut HeadGrads<T>,
    ) {
        let dim = self.dim;
        let query = RowsMut::columns(&mut *into.query, dim, block.first * dim);
        mix(grad_scores, self.keys, dim, block, query, Target::Replace);
        // Every block has its say about all keys and values.
        let target = if block.first == 0 { Target::Replace } else { Target::Add };
        let key = RowsMut::new(&mut *into.key, dim);
        gather(grad_scores, self.queries.from(block.first), dim, block, key, target);
        gather(weights, grad_out, dim, block, RowsMut::new(&mut *into.value, dim), target);
    }
}
