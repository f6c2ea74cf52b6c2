//! One step of search: the next row of many hypotheses, each with its own past or with a sentence
//! that it shares with others.

use kernels::Real;
use kernels::matmul::Target;

use super::head::{Block, Head, Scratch, room, width};
use super::product::{LANES, mix, scores, transpose};
use super::share::{each, take};
use super::softmax::{KEPT, softmax};
use super::{Heads, Rows, RowsMut, Visible, check_heads, length};
use crate::Result;

/// Keys of consecutive positions. In comments `dim` is `heads · head_dim`.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a, T> {
    /// `[len, dim]`. They are turned into columns at every call.
    Rows(Rows<'a, T>),
    /// `[dim, len]`, as [`columns`] makes them, with room for a multiple of 16 in each row: faster
    /// where keys are looked at more than once. What fills the room does not matter.
    Columns(Rows<'a, T>),
}

/// Keys and values of consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a, T> {
    /// The keys.
    pub keys: Keys<'a, T>,
    /// The values: `[len, dim]`.
    pub values: Rows<'a, T>,
    /// How many positions.
    pub len: usize,
}

/// Consecutive query rows that see the same positions: one hypothesis and its own past, or all
/// hypotheses of a sentence and that sentence.
#[derive(Clone, Copy, Debug)]
pub struct Hypotheses<'a, T> {
    /// How many query rows.
    pub rows: usize,
    /// What they see, in order. A past that is kept in blocks has a segment for each.
    pub seen: &'a [Segment<'a, T>],
}

impl<T> Hypotheses<'_, T> {
    fn positions(&self) -> usize {
        self.seen.iter().map(|segment| segment.len).sum()
    }
}

/// Keys `[n, dim]` as [`Keys::Columns`]: `[dim, n]`, rows `n` rounded up to 16 apart.
pub fn columns<T: Real>(keys: Rows<T>, n: usize, dim: usize) -> Vec<T> {
    let mut columns = vec![T::ZERO; dim * width(n)];
    transpose(keys, n, dim, RowsMut::new(&mut columns, width(n)));
    columns
}

/// Lets each query row attend to everything that its hypotheses see. `queries`: `[rows, dim]`, in
/// the order of `hypotheses`; `out`, which is written over: `[rows, dim]`.
///
/// Returns the weights of each row, `[positions]` for each set that `weights` asks for, and
/// nothing if it asks for none.
///
/// A row that sees the first `n` positions of a sentence gets the bits of a row of
/// [`MultiHead::forward`](super::MultiHead::forward) that sees the same.
///
/// # Errors
/// If sizes do not fit together.
pub fn step<T: Real>(
    heads: usize,
    head_dim: usize,
    queries: Rows<T>,
    hypotheses: &[Hypotheses<T>],
    out: &mut [T],
    weights: Option<Heads>,
) -> Result<Vec<Vec<T>>> {
    let dim = heads * head_dim;
    check_heads(heads, head_dim)?;
    weights.map_or(Ok(()), |which| which.check(heads))?;
    let n_rows = hypotheses.iter().map(|group| group.rows).sum();
    queries.check("queries", n_rows, dim)?;
    length("outputs of attention", out.len(), n_rows * dim)?;
    for segment in hypotheses.iter().flat_map(|group| group.seen) {
        segment.check(dim)?;
    }

    let mut wanted: Vec<Vec<T>> = Vec::new();
    if let Some(which) = weights {
        let sizes = hypotheses.iter().flat_map(|group| {
            std::iter::repeat_n(which.count(heads) * group.positions(), group.rows)
        });
        wanted = sizes.map(|size| vec![T::ZERO; size]).collect();
    }
    let (mut outs, mut rest, mut first) = (out, &mut wanted[..], 0);
    let jobs = hypotheses.iter().map(|group| {
        let queries = queries.from(first);
        first += group.rows;
        let out = take(&mut outs, group.rows * dim);
        let wanted = weights.map(|which| (which, take(&mut rest, group.rows)));
        (Job { heads, head_dim, group, queries }, out, wanted)
    });
    let work = hypotheses.iter().map(|group| 2 * group.rows * group.positions() * dim).sum();
    each(jobs.collect(), work, |scratch, (job, out, wanted)| job.run(scratch, out, wanted));
    Ok(wanted)
}

/// What a thread does at once.
struct Job<'a, T> {
    heads: usize,
    head_dim: usize,
    group: &'a Hypotheses<'a, T>,
    queries: Rows<'a, T>,
}

impl<T: Real> Job<'_, T> {
    fn run(
        &self,
        scratch: &mut Scratch<T>,
        out: &mut [T],
        mut wanted: Option<(Heads, &mut [Vec<T>])>,
    ) {
        let (rows, keys) = (self.group.rows, self.group.positions());
        if rows == 0 || keys == 0 {
            return out.fill(T::ZERO);
        }
        // Scores are written in whole vectors, which may reach beyond the last position.
        let width = width(keys + LANES - 1);
        let Scratch { keys: turned, weights, grads: kept, .. } = scratch;
        let weights = room(weights, rows * width);
        let kept = room(kept, rows * KEPT);
        let all = Block { first: 0, rows, keys, visible: Visible::ALL };
        for head in 0..self.heads {
            self.scores(head, turned, RowsMut::new(weights, width));
            softmax(weights, width, &all, Head::scale(self.head_dim), kept);
            self.mix(head, Rows::new(weights, width), out);
            let Some((which, wanted)) = &mut wanted else { continue };
            let Some((set, factor)) = which.place(head, self.heads) else { continue };
            for (row, wanted) in weights.chunks_exact(width).zip(wanted.iter_mut()) {
                kernels::slices::add_scaled(&mut wanted[set * keys..][..keys], factor, row);
            }
        }
    }

    /// Segments and where each starts.
    fn segments(&self) -> impl Iterator<Item = (usize, &Segment<'_, T>)> {
        let mut next = 0;
        self.group.seen.iter().filter(|segment| segment.len > 0).map(move |segment| {
            next += segment.len;
            (next - segment.len, segment)
        })
    }

    fn block(&self, keys: usize) -> Block {
        Block { first: 0, rows: self.group.rows, keys, visible: Visible::ALL }
    }

    fn scores(&self, head: usize, turned: &mut Vec<T>, out: RowsMut<T>) {
        let col = head * self.head_dim;
        for (start, segment) in self.segments() {
            let keys = match segment.keys {
                Keys::Columns(keys) => keys.from(col),
                Keys::Rows(keys) => {
                    let width = width(segment.len);
                    let turned = room(turned, self.head_dim * width);
                    let keys = keys.part(0, col);
                    transpose(keys, segment.len, self.head_dim, RowsMut::new(turned, width));
                    Rows::new(turned, width)
                }
            };
            let block = self.block(segment.len);
            let out = RowsMut::columns(&mut *out.data, out.stride, start);
            scores(self.queries.part(0, col), keys, self.head_dim, &block, out);
        }
    }

    fn mix(&self, head: usize, weights: Rows<T>, out: &mut [T]) {
        let (dim, col) = (self.heads * self.head_dim, head * self.head_dim);
        for (start, segment) in self.segments() {
            let target = if start == 0 { Target::Replace } else { Target::Add };
            let values = segment.values.part(0, col);
            let out = RowsMut::columns(&mut *out, dim, col);
            let block = self.block(segment.len);
            mix(weights.part(0, start), values, self.head_dim, &block, out, target);
        }
    }
}

impl<T> Segment<'_, T> {
    fn check(&self, dim: usize) -> Result<()> {
        self.values.check("values", self.len, dim)?;
        match &self.keys {
            Keys::Rows(keys) => keys.check("keys", self.len, dim),
            Keys::Columns(keys) => keys.check("keys in columns", dim, width(self.len)),
        }
    }
}
