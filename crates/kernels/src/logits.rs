//! The scores of a vocabulary, and what search wants to know of them: where the best ones are, and
//! what makes log-probabilities of them.
//!
//! Both follow from two numbers for each [`CHUNK`] of scores: the largest, and the sum of the
//! exponentials of the differences from it. A product finds them as soon as it has a few chunks,
//! while these are still in the nearest cache: [`matmul_packed_logits`] and
//! [`quantized::Packed::logits`]. Afterwards only the chunks with the best scores are read again.
//!
//! [`matmul_packed_logits`]: crate::matmul::matmul_packed_logits
//! [`quantized::Packed::logits`]: crate::quantized::Packed::logits

#[cfg(target_arch = "x86_64")]
mod avx512;

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::slices::{LANES, fold_lanes, join_lanes, max, pass};
use crate::{Real, vectorized};

/// How many scores are digested together.
pub const CHUNK: usize = 64;

/// Chunks that are digested at a time, if a product has no end before: a few kilobytes of each row.
const AT_ONCE: usize = 4;
/// Panels of a product that end with a chunk together, however wide they are: their widths are
/// multiples of eight.
pub(crate) const PANELS: usize = CHUNK / 8;

/// The largest of some scores; which, if one of them is NaN, is left open.
#[inline(always)]
fn largest<T: Real>(x: &[T]) -> T {
    match x.as_chunks::<CHUNK>() {
        ([chunk], _) => {
            let better = |best, [x]: [T; 1]| T::maximum(best, x);
            let lanes = pass::<T, LANES, 1>([chunk], 0..CHUNK, chunk[0], &better);
            join_lanes(lanes, &T::maximum)
        }
        _ => x.iter().fold(x[0], |peak, &x| T::maximum(peak, x)),
    }
}

vectorized! {
    /// The largest of each [`CHUNK`] numbers; which, if one of them is NaN, is left open.
    ///
    /// # Panics
    /// If there is not a peak for each chunk.
    pub fn peaks<T: Real>(x: &[T], peaks: &mut [T]) {
        assert_eq!(peaks.len(), x.len().div_ceil(CHUNK), "a peak for each chunk");
        for (peak, chunk) in peaks.iter_mut().zip(x.chunks(CHUNK)) {
            *peak = largest(chunk);
        }
    }
}

/// [`peaks`], and for each chunk `Σ exp(xᵢ − peak)`: as good as zero where nothing is possible,
/// NaN where one of the numbers is.
///
/// # Panics
/// If there is not a peak and a sum for each chunk.
pub fn digest<T: Real>(x: &[T], peaks: &mut [T], sums: &mut [T]) {
    digest_to(Depth::Sums, x, peaks, sums);
}

/// [`peaks`], and for each chunk zero, or NaN where one of the numbers is: whether the best token
/// can be trusted, for whoever need not know how probable it is.
///
/// # Panics
/// If there is not a peak and a place for each chunk.
pub fn glance<T: Real>(x: &[T], peaks: &mut [T], flaws: &mut [T]) {
    digest_to(Depth::Peaks, x, peaks, flaws);
}

/// How much of a digest is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What [`digest`] finds.
    Sums,
    /// What [`glance`] finds.
    Peaks,
}

fn digest_to<T: Real>(depth: Depth, x: &[T], peaks: &mut [T], sums: &mut [T]) {
    assert_eq!(peaks.len(), x.len().div_ceil(CHUNK), "a peak for each chunk");
    assert_eq!(sums.len(), peaks.len(), "a sum for each chunk");
    let n = T::digest_chunks(depth, x, peaks, sums);
    let (x, peaks, sums) = (&x[n * CHUNK..], &mut peaks[n..], &mut sums[n..]);
    match depth {
        Depth::Sums => plain_digest(x, peaks, sums),
        Depth::Peaks => plain_glance(x, peaks, sums),
    }
}

/// Digests chunks of scores from the first on if the processor has AVX-512, and returns how many.
pub(crate) fn digest_chunks(depth: Depth, x: &[f32], peaks: &mut [f32], sums: &mut [f32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: `level` has found these features on this processor.
        return unsafe { avx512::digest(depth, x, peaks, sums) };
    }
    let _ = (depth, x, peaks, sums);
    0
}

vectorized! {
    /// What [`digest`] is.
    fn plain_digest<T: Real>(x: &[T], peaks: &mut [T], sums: &mut [T]) {
        for ((chunk, peak), sum) in x.chunks(CHUNK).zip(peaks).zip(sums) {
            *peak = largest(chunk);
            let base = T::LOWEST.maximum(*peak);
            *sum = fold_lanes([chunk], |sum, [x]| sum + (x - base).exp());
        }
    }
}

vectorized! {
    /// What [`glance`] is.
    fn plain_glance<T: Real>(x: &[T], peaks: &mut [T], flaws: &mut [T]) {
        for ((chunk, peak), flaw) in x.chunks(CHUNK).zip(peaks).zip(flaws) {
            *peak = largest(chunk);
            let nan_or = |flaw, [x]: [T; 1]| if x.partial_cmp(&x).is_some() { flaw } else { x };
            *flaw = fold_lanes([chunk], nan_or);
        }
    }
}

vectorized! {
    /// `Σ sumᵢ exp(peakᵢ − peak)`.
    fn sum_of_chunks<T: Real>(peaks: &[T], sums: &[T], peak: T) -> T {
        fold_lanes([peaks, sums], |total, [p, sum]| sum.mul_add((p - peak).exp(), total))
    }
}

/// What is to be added to scores to make them `log softmax(scores)`, in nats, given their
/// [`digest`]. Whoever needs few of the results need not compute them all. NaN if a score is.
pub fn log_softmax_shift<T: Real>(peaks: &[T], sums: &[T]) -> T {
    let peak = max(peaks);
    -(peak + sum_of_chunks(peaks, sums, peak).ln())
}

/// Where the digest of a product's rows goes: `[rows, chunks]` each.
#[derive(Debug)]
pub struct Digest<'a, T> {
    /// How much is wanted.
    pub depth: Depth,
    /// The largest of each chunk.
    pub peaks: &'a mut [T],
    /// The sum of the exponentials of the differences from it; with [`Depth::Peaks`] what
    /// [`glance`] says.
    pub sums: &'a mut [T],
}

/// [`Digest`] for threads that each have their own rows or whole chunks of columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<T> {
    depth: Depth,
    peaks: *mut T,
    sums: *mut T,
    cols: usize,
}
// SAFETY: `Follower::digest` obliges its callers to write different places.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Real> Digest<'_, T> {
    /// For a product of this size.
    ///
    /// # Panics
    /// If there is not a place for each chunk of each row.
    pub(crate) fn share(self, rows: usize, cols: usize) -> Shared<T> {
        let expected = rows * cols.div_ceil(CHUNK);
        assert_eq!(self.peaks.len(), expected, "a peak for each chunk of each row");
        assert_eq!(self.sums.len(), expected, "a sum for each chunk of each row");
        let (peaks, sums) = (self.peaks.as_mut_ptr(), self.sums.as_mut_ptr());
        Shared { depth: self.depth, peaks, sums, cols }
    }
}

/// Goes along with a product, from left to right, and digests what is finished.
pub(crate) struct Follower<T> {
    shared: Shared<T>,
    /// The first column that is not digested.
    from: usize,
}

impl<T: Real> Follower<T> {
    /// From a column on that begins a chunk.
    pub(crate) fn new(shared: Shared<T>, from: usize) -> Self {
        debug_assert_eq!(from % CHUNK, 0, "columns are divided between chunks");
        Self { shared, from }
    }

    /// Digests what is whole of `rows` now that columns below `to` are, `last` if it must not
    /// wait for more. Row `i` of the product starts at `c + i · row_stride`.
    ///
    /// # Safety
    /// These columns of these rows must be readable at `c`, and nobody else may write there or use
    /// their digest.
    pub(crate) unsafe fn digest(
        &mut self,
        rows: &Range<usize>,
        to: usize,
        last: bool,
        (c, row_stride): (*const T, usize),
    ) {
        let Shared { depth, peaks, sums, cols } = self.shared;
        let to = if to == cols { to } else { to / CHUNK * CHUNK };
        if to - self.from < AT_ONCE * CHUNK && !last {
            return;
        }
        let (from, n, chunks) = (self.from, to - self.from, cols.div_ceil(CHUNK));
        self.from = to;
        for row in rows.clone() {
            let first = row * chunks + from / CHUNK;
            let n_chunks = n.div_ceil(CHUNK);
            // SAFETY: promised by the caller; `share` has counted the chunks.
            unsafe {
                let x = std::slice::from_raw_parts(c.add(row * row_stride + from), n);
                let peaks = std::slice::from_raw_parts_mut(peaks.add(first), n_chunks);
                let sums = std::slice::from_raw_parts_mut(sums.add(first), n_chunks);
                digest_to(depth, x, peaks, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digested<T: Real>(x: &[T]) -> (Vec<T>, Vec<T>) {
        let chunks = x.len().div_ceil(CHUNK);
        let (mut peaks, mut sums) = (vec![T::ZERO; chunks], vec![T::ZERO; chunks]);
        digest(x, &mut peaks, &mut sums);
        (peaks, sums)
    }

    fn shift<T: Real>(x: &[T]) -> T {
        let (peaks, sums) = digested(x);
        log_softmax_shift(&peaks, &sums)
    }

    #[test]
    fn shifted_logarithms_are_those_of_fractions() {
        for n in [39, 64, 65, 300] {
            let x: Vec<f64> = (1..=n).map(|i| f64::from(i).ln()).collect();
            let log_prob = x[n as usize - 1] + shift(&x);
            let expected = (f64::from(n) / f64::from(n * (n + 1) / 2)).ln();
            assert!((log_prob - expected).abs() < 1e-13, "{n}: {log_prob} {expected}");
        }
    }

    #[test]
    fn peaks_are_the_largest_of_their_chunks() {
        for n in [1, 15, 63, 64, 65, 150, 331] {
            let mut x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() - 3.0).collect();
            let mut found = vec![0.0; x.len().div_ceil(CHUNK)];
            let largest = |x: &[f32]| x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for impossible in [0, n / 2, n] {
                x[..impossible].fill(f32::NEG_INFINITY);
                peaks(&x, &mut found);
                let expected: Vec<f32> = x.chunks(CHUNK).map(largest).collect();
                assert_eq!(found, expected, "{n}");
                assert_eq!(digested(&x).0, expected, "{n}");
            }
        }
        peaks::<f32>(&[], &mut []);
        digest::<f32>(&[], &mut [], &mut []);
    }

    #[test]
    fn what_is_impossible_weighs_nothing() {
        let mut x = vec![0.5f32; 200];
        let all = shift(&x);
        assert!((all + 0.5 + 200f32.ln()).abs() < 1e-5, "{all}");
        x[10..150].fill(f32::NEG_INFINITY);
        let rest = shift(&x);
        assert!((rest + 0.5 + 60f32.ln()).abs() < 1e-5, "{rest}");
        assert!(digested(&x).1[1] < 1e-30, "as good as nothing");
    }

    #[test]
    fn what_is_no_number_shows_in_the_shift() {
        for hidden in [0, 40, 63, 64, 149] {
            let mut x = vec![0.5f32; 150];
            x[hidden] = f32::NAN;
            assert!(shift(&x).is_nan(), "{hidden}");
        }
    }

    /// Scores as a model gives them, now and then impossible, of no size or no number.
    fn wild() -> impl Strategy<Value = f32> {
        prop_oneof![
            500 => -30f32..30.0,
            50 => any::<f32>(),
            20 => Just(f32::NEG_INFINITY),
            20 => Just(-0.0),
            1 => Just(f32::NAN),
        ]
    }

    proptest! {
        #[test]
        fn every_processor_digests_to_the_same_bits(x in prop::collection::vec(wild(), 0..900)) {
            let chunks = x.len().div_ceil(CHUNK);
            let (mut peaks, mut sums) = (vec![0f32; chunks], vec![0f32; chunks]);
            plain_digest(&x, &mut peaks, &mut sums);
            let found = digested(&x);
            let (mut glanced, mut flaws) = (peaks.clone(), vec![1f32; chunks]);
            glance(&x, &mut glanced, &mut flaws);
            let bits = |x: &[f32]| x.iter().map(|x| (x.is_nan(), x.to_bits())).collect::<Vec<_>>();
            let same = |a: &[f32], b: &[f32]| {
                let pairs = bits(a).into_iter().zip(bits(b));
                pairs.into_iter().all(|(a, b)| a == b || (a.0 && b.0))
            };
            prop_assert!(same(&found.0, &peaks), "{:?} {:?}", found.0, peaks);
            prop_assert!(same(&found.1, &sums), "{:?} {:?}", found.1, sums);
            prop_assert!(same(&glanced, &peaks), "{glanced:?} {peaks:?}");
            for (chunk, flaw) in x.chunks(CHUNK).zip(flaws) {
                let sound = chunk.iter().all(|x| !x.is_nan());
                prop_assert!(if sound { flaw == 0.0 } else { flaw.is_nan() }, "{flaw} {chunk:?}");
            }
        }
    }
}
