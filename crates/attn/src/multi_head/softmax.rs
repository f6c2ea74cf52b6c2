//! From scores to weights, and from the gradient of weights to that of scores, a block of rows at
//! a time.

use std::ops::Range;

use kernels::{Real, vectorized};

use super::{Block, Rows, product::LANES};

/// Numbers that are kept of each row of weights: the largest score, and what its exponentials
/// were multiplied by.
pub(super) const KEPT: usize = 2;

vectorized! {
    /// Replaces scores by `softmax(scale · scores)` over what each row sees and by zero elsewhere.
    /// A row that sees nothing becomes all zeros.
    ///
    /// Lanes are counted from the first position that is seen: a row has the same bits when it is
    /// given nothing but what it sees.
    pub(super) fn softmax<T: Real>(
        scores: &mut [T], width: usize, block: &Block, scale: T, kept: &mut [T],
    ) {
        // Step by step for all rows: a row alone would wait for the end of each of its sums.
        for (i, (row, kept)) in pairs(scores, width, kept).enumerate() {
            let seen = block.seen(i..i + 1);
            let n = seen.len();
            if seen.start > 0 {
                row.copy_within(seen, 0);
            }
            kept[0] = scale_row(row, n, scale);
        }
        for (i, (row, kept)) in pairs(scores, width, kept).enumerate() {
            let n = block.seen(i..i + 1).len();
            let total = exp_row(row, n, kept[0]);
            kept[1] = if n == 0 { T::ZERO } else { T::ONE / total };
        }
        for (i, (row, kept)) in pairs(scores, width, kept).enumerate() {
            let seen = block.seen(i..i + 1);
            normalize_row(row, seen.len(), kept[1]);
            if seen.start > 0 {
                row.copy_within(0..seen.len(), seen.start);
                row[..seen.start].fill(T::ZERO);
            }
        }
    }
}

/// Each row with the numbers kept of it.
#[inline(always)]
fn pairs<'a, T>(
    scores: &'a mut [T],
    width: usize,
    kept: &'a mut [T],
) -> impl Iterator<Item = (&'a mut [T], &'a mut [T])> {
    scores.chunks_exact_mut(width).zip(kept.chunks_exact_mut(KEPT))
}

/// Scales the first `n` scores of a row, and returns the largest of them. What follows them in
/// their last lanes becomes the lowest number.
#[inline(always)]
fn scale_row<T: Real>(row: &mut [T], n: usize, scale: T) -> T {
    let (chunks, rest) = (row.as_chunks_mut::<LANES>().0, n % LANES);
    let mut best = [T::LOWEST; LANES];
    for chunk in &mut chunks[..n / LANES] {
        for lane in 0..LANES {
            chunk[lane] *= scale;
            best[lane] = best[lane].maximum(chunk[lane]);
        }
    }
    if rest > 0 {
        let chunk = &mut chunks[n / LANES];
        for lane in 0..LANES {
            chunk[lane] = if lane < rest { chunk[lane] * scale } else { T::LOWEST };
            best[lane] = best[lane].maximum(chunk[lane]);
        }
    }
    fold(best, T::maximum)
}

/// Replaces the first `n` numbers of a row by their exponentials, and returns the sum of these.
/// What follows them in their last lanes becomes zero.
#[inline(always)]
fn exp_row<T: Real>(row: &mut [T], n: usize, peak: T) -> T {
    let (chunks, rest) = (row.as_chunks_mut::<LANES>().0, n % LANES);
    let mut sums = [T::ZERO; LANES];
    for chunk in &mut chunks[..n / LANES] {
        for lane in 0..LANES {
            chunk[lane] = (chunk[lane] - peak).exp();
            sums[lane] += chunk[lane];
        }
    }
    if rest > 0 {
        let chunk = &mut chunks[n / LANES];
        for lane in 0..LANES {
            let power = (chunk[lane] - peak).exp();
            chunk[lane] = if lane < rest { power } else { T::ZERO };
            sums[lane] += chunk[lane];
        }
    }
    fold(sums, |a, b| a + b)
}

/// Multiplies the first `n` numbers of a row, and clears the lanes behind theirs.
#[inline(always)]
fn normalize_row<T: Real>(row: &mut [T], n: usize, factor: T) {
    let (seen, unseen) = row.as_chunks_mut::<LANES>().0.split_at_mut(n.div_ceil(LANES));
    seen.as_flattened_mut().iter_mut().for_each(|value| *value *= factor);
    unseen.as_flattened_mut().fill(T::ZERO);
}

/// Joins the lanes, always in the same order.
#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

vectorized! {
    /// Replaces scores by the very weights that [`softmax`] made of them.
    pub(super) fn restore<T: Real>(
        scores: &mut [T], width: usize, block: &Block, scale: T, kept: &[T],
    ) {
        let rows = scores.chunks_exact_mut(width).zip(kept.chunks_exact(KEPT));
        for (i, (row, kept)) in rows.enumerate() {
            let seen = block.seen(i..i + 1);
            let (peak, factor) = (kept[0], kept[1]);
            for (c, chunk) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let inside = inside(&seen, c);
                for (lane, score) in chunk.iter_mut().enumerate() {
                    let weight = (*score * scale - peak).exp() * factor;
                    let visible = lane >= inside.start && lane < inside.end;
                    *score = if visible { weight } else { T::ZERO };
                }
            }
        }
    }
}

vectorized! {
    /// Replaces gradients of the dropped weights, `g̃`, by those of the scores before scaling:
    /// with weights `w`, dropped weights `w̃` and the row's output `o`,
    ///
    /// ```text
    /// ∂L/∂s_j = scale (w̃_j g̃_j − w_j Σ_k w̃_k g̃_k)      Σ_k w̃_k g̃_k = ∂L/∂o · o
    /// ```
    ///
    /// `out` and its gradient have `dim` columns. Where a row sees nothing the result is zero.
    pub(super) fn grad_scores<T: Real>(
        grads: &mut [T], weights: &[T], dropped: &[T], width: usize, block: &Block, scale: T,
        out: Rows<'_, T>, grad_out: Rows<'_, T>, dim: usize,
    ) {
        let weights = weights.chunks_exact(width).zip(dropped.chunks_exact(width));
        for (i, (grads, (weights, dropped))) in grads.chunks_exact_mut(width).zip(weights).enumerate() {
            let seen = block.seen(i..i + 1);
            let expected = dot(&out.row(i)[..dim], &grad_out.row(i)[..dim]);
            let weights = weights.as_chunks::<LANES>().0.iter().zip(dropped.as_chunks::<LANES>().0);
            let grads = grads.as_chunks_mut::<LANES>().0.iter_mut();
            for (c, (grads, (weights, dropped))) in grads.zip(weights).enumerate() {
                let inside = inside(&seen, c);
                for lane in 0..LANES {
                    let mean = weights[lane] * expected;
                    let grad = scale * dropped[lane].mul_add(grads[lane], -mean);
                    let visible = lane >= inside.start && lane < inside.end;
                    grads[lane] = if visible { grad } else { T::ZERO };
                }
            }
        }
    }
}

/// Which lanes of chunk `c` of a row lie in `seen`.
#[inline(always)]
fn inside(seen: &Range<usize>, c: usize) -> Range<usize> {
    seen.start.saturating_sub(c * LANES)..seen.end.saturating_sub(c * LANES)
}

/// `Σ aᵢ bᵢ`, in [`LANES`] partial sums.
#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    let mut sums = [T::ZERO; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    for (lane, (a, b)) in rest_a.iter().zip(rest_b).enumerate() {
        sums[lane] = a.mul_add(*b, sums[lane]);
    }
    fold(sums, |a, b| a + b)
}
