//! Loops over slices: dot product, scaled addition, softmax. Vector code on every level.

use std::ops::Range;

use rayon::prelude::*;

use crate::{Real, vectorized};

/// Partial sums in a reduction; fixed, so that its result depends on no instruction set.
pub(crate) const LANES: usize = 16;

/// `f(… f(f(0, x₀), x₁) …)` over elements of slices of one length, in sixteen partial sums that
/// take every sixteenth place each and are added in the end. For use inside [`vectorized!`].
#[inline(always)]
pub(crate) fn fold_lanes<T: Real, const N: usize>(
    slices: [&[T]; N],
    f: impl Fn(T, [T; N]) -> T,
) -> T {
    let n = slices.iter().map(|slice| slice.len()).min().unwrap_or(0);
    let whole = n / LANES * LANES;
    let mut lanes = pass::<T, LANES, N>(slices, 0..whole, T::ZERO, &f);
    for place in whole..n {
        lanes[place - whole] = f(lanes[place - whole], elements(slices, place));
    }
    join_lanes(lanes, &|a, b| a + b)
}

/// The same for long slices, from any `start` and with any way to `join` two results: 64 partial
/// results, so that none has to wait for the one before; what is left at the end goes into 16, 4
/// and 1 of them, which are joined to the others in this order.
#[inline(always)]
pub(crate) fn reduce<T: Real, const N: usize>(
    start: T,
    slices: [&[T]; N],
    f: impl Fn(T, [T; N]) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let n = slices.iter().map(|slice| slice.len()).min().unwrap_or(0);
    let (wide, medium, narrow) = (n / 64 * 64, n / 16 * 16, n / 4 * 4);
    let mut total = start;
    if wide > 0 {
        let lanes = pass::<T, 64, N>(slices, 0..wide, start, &f);
        total = join(total, join_lanes(lanes, &join));
    }
    if medium > wide {
        let lanes = pass::<T, 16, N>(slices, wide..medium, start, &f);
        total = join(total, join_lanes(lanes, &join));
    }
    if narrow > medium {
        let lanes = pass::<T, 4, N>(slices, medium..narrow, start, &f);
        total = join(total, join_lanes(lanes, &join));
    }
    for place in narrow..n {
        total = join(total, f(start, elements(slices, place)));
    }
    total
}

/// [`reduce`] to a sum.
#[inline(always)]
pub(crate) fn sum_of<T: Real, const N: usize>(slices: [&[T]; N], f: impl Fn(T, [T; N]) -> T) -> T {
    reduce(T::ZERO, slices, f, |a, b| a + b)
}

/// What element `place` of each slice is. A loop, as `array::map` is not compiled for the
/// instruction set of its caller.
#[inline(always)]
fn elements<T: Real, const N: usize>(slices: [&[T]; N], place: usize) -> [T; N] {
    let mut elements = [T::ZERO; N];
    for (element, slice) in elements.iter_mut().zip(slices) {
        *element = slice[place];
    }
    elements
}

/// Partial results over `places`, whose number is a multiple of that of the lanes.
#[inline(always)]
pub(crate) fn pass<T: Real, const LANES: usize, const N: usize>(
    slices: [&[T]; N],
    places: Range<usize>,
    start: T,
    f: &impl Fn(T, [T; N]) -> T,
) -> [T; LANES] {
    let mut lanes = [start; LANES];
    for place in places.step_by(LANES) {
        let mut parts = slices;
        for part in &mut parts {
            *part = &part[place..place + LANES];
        }
        for (lane, result) in lanes.iter_mut().enumerate() {
            *result = f(*result, elements(parts, lane));
        }
    }
    lanes
}

/// Joins partial results, always in the same order.
#[inline(always)]
pub(crate) fn join_lanes<T: Real, const LANES: usize>(
    mut lanes: [T; LANES],
    join: &impl Fn(T, T) -> T,
) -> T {
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
    /// `Σ aᵢ bᵢ` over the shorter of both.
    pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
        fold_lanes([a, b], |sum, [a, b]| a.mul_add(b, sum))
    }
}

vectorized! {
    /// `Σ aᵢ`.
    pub fn sum<T: Real>(a: &[T]) -> T {
        fold_lanes([a], |sum, [a]| sum + a)
    }
}

vectorized! {
    /// `yᵢ ← yᵢ + scale · xᵢ`.
    pub fn add_scaled<T: Real>(y: &mut [T], scale: T, x: &[T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = scale.mul_add(*x, *y);
        }
    }
}

vectorized! {
    /// `yᵢ ← yᵢ + xᵢ`.
    pub fn add<T: Real>(y: &mut [T], x: &[T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += *x;
        }
    }
}

/// Rows whose columns are summed before they are added to the sums of other rows.
const BLOCK: usize = 64;

/// Adds the columns of `rows` `[rows, sums.len()]` to `sums`: blocks of rows on several threads,
/// always the same ones, and then their sums in order.
pub fn add_column_sums<T: Real>(rows: &[T], sums: &mut [T]) {
    if sums.is_empty() {
        return;
    }
    let blocks = rows.par_chunks(BLOCK * sums.len()).map(|rows| {
        let mut partial = vec![T::ZERO; sums.len()];
        add_rows(rows, &mut partial);
        partial
    });
    for partial in blocks.collect::<Vec<_>>() {
        add(sums, &partial);
    }
}

vectorized! {
    /// Adds rows to `sums`, one after another: four for each time that the sums are read.
    fn add_rows<T: Real>(rows: &[T], sums: &mut [T]) {
        let n = sums.len();
        let mut four = rows.chunks_exact(4 * n);
        for rows in &mut four {
            let (rows, d) = rows.split_at(3 * n);
            let (rows, c) = rows.split_at(2 * n);
            let (a, b) = rows.split_at(n);
            for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *sum = *sum + *a + *b + *c + *d;
            }
        }
        for row in four.remainder().chunks_exact(n) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += *x;
            }
        }
    }
}

vectorized! {
    /// `xᵢ ← scale · xᵢ`.
    pub fn scale<T: Real>(x: &mut [T], scale: T) {
        for x in x {
            *x *= scale;
        }
    }
}

vectorized! {
    /// The largest element; [`Real::LOWEST`] of an empty slice.
    pub fn max<T: Real>(x: &[T]) -> T {
        reduce(T::LOWEST, [x], |best, [x]| best.maximum(x), T::maximum)
    }
}

vectorized! {
    /// Replaces `x` by `exp(x − peak)` and returns the sum.
    pub fn exp_shifted<T: Real>(x: &mut [T], peak: T) -> T {
        for x in x.iter_mut() {
            *x = (*x - peak).exp();
        }
        sum(x)
    }
}

/// Replaces scores by `softmax(scores)`. An empty slice stays empty.
pub fn softmax<T: Real>(x: &mut [T]) {
    if x.is_empty() {
        return;
    }
    let total = exp_shifted(x, max(x));
    scale(x, T::ONE / total);
}

vectorized! {
    /// `Σ exp(xᵢ − peak)`.
    pub fn sum_exp_shifted<T: Real>(x: &[T], peak: T) -> T {
        fold_lanes([x], |sum, [x]| sum + (x - peak).exp())
    }
}

vectorized! {
    /// `yᵢ ← tanh(yᵢ)`.
    pub fn tanh<T: Real>(y: &mut [T]) {
        for y in y {
            *y = y.tanh();
        }
    }
}

vectorized! {
    /// Turns a gradient with respect to `y = tanh(x)` into one with respect to `x`:
    /// `gᵢ ← gᵢ (1 − yᵢ²)`.
    pub fn tanh_backward<T: Real>(grad: &mut [T], y: &[T]) {
        for (g, y) in grad.iter_mut().zip(y) {
            *g *= T::ONE - *y * *y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_product_counts_every_element_once() {
        for n in (0..90).chain(120..150) {
            let ones = vec![1.0f32; n];
            assert_eq!(dot(&ones, &ones), n as f32);
            assert_eq!(sum(&ones), n as f32);
            assert_eq!(sum_of([&ones], |sum, [x]| sum + x), n as f32);
            let mut y = ones.clone();
            add_scaled(&mut y, 2.0, &ones);
            assert!(y.iter().all(|&y| y == 3.0));
        }
    }

    #[test]
    fn softmax_of_logarithms_is_a_fraction() {
        let mut x = [1f64.ln(), 3f64.ln()];
        softmax(&mut x);
        assert!((x[0] - 0.25).abs() < 1e-15 && (x[1] - 0.75).abs() < 1e-15, "{x:?}");
        softmax::<f64>(&mut []);
    }

    #[test]
    fn columns_are_summed_over_all_rows_and_added_on_any_number_of_threads() {
        for n_rows in [0, 1, 3, BLOCK, 3 * BLOCK + 7] {
            let rows: Vec<f32> = (0..n_rows * 5).map(|i| (i % 5) as f32).collect();
            let mut sums = [1.0, 2.0, 3.0, 4.0, 5.0];
            add_column_sums(&rows, &mut sums);
            let expected = [0, 1, 2, 3, 4].map(|i| i as f32 * n_rows as f32 + i as f32 + 1.0);
            assert_eq!(sums, expected, "{n_rows}");
        }
        add_column_sums::<f32>(&[], &mut []);
        let rows: Vec<f32> = (0..1_000 * 7).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut sums = [0.5; 7];
            pool.install(|| add_column_sums(&rows, &mut sums));
            sums
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn the_maximum_of_negative_numbers_is_negative() {
        let x: Vec<f32> = (1..40).map(|i| -(i as f32)).collect();
        assert_eq!(max(&x), -1.0);
        let x: Vec<f32> = (1..200).map(|i| -((i * 37 % 199) as f32) - 1.0).collect();
        assert_eq!(max(&x), -1.0);
        assert_eq!(max::<f32>(&[]), f32::MIN);
    }
}
