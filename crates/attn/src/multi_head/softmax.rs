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
        let rows = scores.chunks_exact_mut(width).zip(kept.chunks_exact_mut(KEPT));
        for (i, (row, kept)) in rows.enumerate() {
            let seen = block.seen(i..i + 1);
            let (start, n) = (seen.start, seen.len());
            if start > 0 {
                row.copy_within(seen, 0);
            }
            let (peak, factor) = softmax_row(row, n, scale);
            (kept[0], kept[1]) = (peak, factor);
            if start > 0 {
                row.copy_within(0..n, start);
                row[..start].fill(T::ZERO);
            }
        }
    }
}

/// Replaces the first `n` scores of a row by their softmax and the others by zero; returns the
/// largest score and the factor.
#[inline(always)]
fn softmax_row<T: Real>(row: &mut [T], n: usize, scale: T) -> (T, T) {
    let whole = n / LANES;
    let (chunks, _) = row.as_chunks_mut::<LANES>();
    let mut best = [T::LOWEST; LANES];
    for chunk in &mut chunks[..whole] {
        for lane in 0..LANES {
            chunk[lane] *= scale;
            best[lane] = best[lane].maximum(chunk[lane]);
        }
    }
    let rest = n % LANES;
    if rest > 0 {
        let chunk = &mut chunks[whole];
        for lane in 0..LANES {
            chunk[lane] = if lane < rest { chunk[lane] * scale } else { T::LOWEST };
            best[lane] = best[lane].maximum(chunk[lane]);
        }
    }
    let peak = fold(best, T::maximum);
    let mut sums = [T::ZERO; LANES];
    for chunk in &mut chunks[..whole] {
        for lane in 0..LANES {
            chunk[lane] = (chunk[lane] - peak).exp();
            sums[lane] += chunk[lane];
        }
    }
    if rest > 0 {
        let chunk = &mut chunks[whole];
        for lane in 0..LANES {
            let power = (chunk[lane] - peak).exp();
            chunk[lane] = if lane < rest { power } else { T::ZERO };
            sums[lane] += chunk[lane];
        }
    }
    let total = fold(sums, |a, b| a + b);
    let factor = if n == 0 { T::ZERO } else { T::ONE / total };
    let seen = n.div_ceil(LANES);
    for chunk in &mut chunks[..seen] {
        for value in chunk {
            *value *= factor;
        }
    }
    for chunk in &mut chunks[seen..] {
        *chunk = [T::ZERO; LANES];
    }
    (peak, factor)
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
                for lane in 0..LANES {
                    let weight = (chunk[lane] * scale - peak).exp() * factor;
                    let visible = lane >= inside.start && lane < inside.end;
                    chunk[lane] = if visible { weight } else { T::ZERO };
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
