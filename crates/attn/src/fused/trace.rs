//! What a row saw, kept for the backward pass and for whoever wants to look.

use std::ops::Range;

use kernels::Real;

/// The weights of every row of one [`Kernel::forward`](crate::Kernel::forward), and what its
/// backward pass needs. Only seen positions take room.
#[derive(Clone, Debug)]
pub struct Trace<T> {
    /// First source position each row sees.
    pub(super) starts: Vec<usize>,
    /// Row `r` owns `offsets[r]..offsets[r + 1]` of the packed lists below.
    pub(super) offsets: Vec<usize>,
    /// `a_t(s)`, packed.
    pub(super) weights: Vec<T>,
    /// `align(h_t, h̄_s)` before the Gaussian, packed; empty where it equals the weights.
    pub(super) aligned: Vec<T>,
    /// `p_t / S` of each row; empty unless predicted.
    pub(super) gates: Vec<T>,
    /// Gradient with respect to the scores, packed; empty before the backward pass.
    pub(super) grad_scores: Vec<T>,
    /// Gradient with respect to the logit of each gate; empty before the backward pass.
    pub(super) grad_gates: Vec<T>,
}

impl<T: Real> Trace<T> {
    /// Room for rows that see these source positions.
    pub(super) fn new(supports: impl ExactSizeIterator<Item = Range<usize>>) -> Self {
        let mut starts = Vec::with_capacity(supports.len());
        let mut offsets = Vec::with_capacity(supports.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for support in supports {
            starts.push(support.start);
            end += support.len();
            offsets.push(end);
        }
        Self {
            starts,
            offsets,
            weights: vec![T::ZERO; end],
            aligned: Vec::new(),
            gates: Vec::new(),
            grad_scores: Vec::new(),
            grad_gates: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Number of weights of all rows together: the length of a packed list.
    pub fn n_weights(&self) -> usize {
        self.weights.len()
    }

    /// The source positions that `row` saw.
    pub fn support(&self, row: usize) -> Range<usize> {
        let start = self.starts[row];
        start..start + self.packed(row).len()
    }

    /// Where the weights of `row` lie in a packed list.
    pub fn packed(&self, row: usize) -> Range<usize> {
        self.offsets[row]..self.offsets[row + 1]
    }

    /// The first source position that `row` saw, and `a_t(s)` from there on.
    pub fn weights(&self, row: usize) -> (usize, &[T]) {
        (self.starts[row], &self.weights[self.packed(row)])
    }

    /// `a_t(s)` of every source position, `[src_len]`: zero where `row` did not look.
    pub fn dense(&self, row: usize, src_len: usize) -> Vec<T> {
        let mut dense = vec![T::ZERO; src_len];
        dense[self.support(row)].copy_from_slice(&self.weights[self.packed(row)]);
        dense
    }
}
