//! Dropout whose mask is computed, not stored.
//!
//! Srivastava et al. (2014). Element `i` is kept or dropped by a number that depends on the
//! [`Random`] family and on `i` alone, so the backward pass draws the same mask again, a resumed
//! run needs no state, and threads and devices agree.
//!
//! That number has 16 bits, so rates are rounded to multiples of `2⁻¹⁶`, and the scale of what
//! is kept belongs to the rounded rate. Elements go in groups of 128: element `r` of group `g`
//! takes a half of word `r / 16 % 4` of block `16 g + r % 16` of [`Lanes`](crate::random::Lanes):
//! the lower half in the first 64 elements, the upper in the others. So sixteen blocks are
//! computed side by side in vector registers.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::operation::{Operation, Output, apply as apply_operation};
use crate::recurrent::Steps;
use crate::{Mode, Random, Real, vectorized};

/// Elements whose numbers are drawn together.
const GROUP: usize = 128;
/// Elements that one thread takes at a time.
const CHUNK: usize = 1 << 14;
/// The numbers that decide lie below this.
const RANGE: u32 = 1 << 16;

/// Drops elements of `x` (any shape) at `rate` and scales the others by `1 / (1 − rate)`; at
/// [`Mode::Eval`] or rate 0 returns `x` itself. `site` tells the places of a network apart.
///
/// # Errors
/// If `x` is not a contiguous `T` on the CPU.
pub fn dropout<T: Real>(x: &Tensor, rate: f32, mode: &Mode, site: u32) -> Result<Tensor> {
    match mode {
        Mode::Train(random) if rate > 0.0 => {
            let shape = x.dims().to_vec();
            apply_operation::<T, _>(
                Dropout { mask: Mask::new(random.at(site), rate), shape, steps: None },
                &[x],
            )
        }
        _ => Ok(x.clone()),
    }
}

/// [`dropout`] of packed rows `[rows, dim]` that drops the same units at every step of a sentence
/// (Gal and Ghahramani, 2016).
///
/// # Errors
/// If `x` is not a contiguous `T` on the CPU with the rows of `steps`.
pub fn variational<T: Real>(
    x: &Tensor,
    steps: &Arc<Steps>,
    rate: f32,
    mode: &Mode,
    site: u32,
) -> Result<Tensor> {
    match mode {
        Mode::Train(random) if rate > 0.0 => {
            let shape = x.dims().to_vec();
            if shape.first() != Some(&steps.rows()) {
                bail!("dropout: {shape:?} for {} rows", steps.rows())
            }
            let mask = Mask::new(random.at(site), rate);
            apply_operation::<T, _>(Dropout { mask, shape, steps: Some(steps.clone()) }, &[x])
        }
        _ => Ok(x.clone()),
    }
}

/// Which elements of an array are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    random: Random,
    /// Numbers below this drop their element.
    threshold: u32,
}

impl Mask {
    /// Drops at `rate`, a number in `[0, 1)`, by the numbers of `random`.
    pub fn new(random: Random, rate: f32) -> Self {
        let threshold = (f64::from(rate) * f64::from(RANGE)).round() as u32;
        Self { random, threshold: threshold.min(RANGE - 1) }
    }

    /// What kept elements are multiplied by, so that the mean stays.
    pub fn scale<T: Real>(&self) -> T {
        T::of(f64::from(RANGE) / f64::from(RANGE - self.threshold))
    }

    /// What a kernel needs to draw the mask: key, counter without its first word, and the number
    /// below which elements are dropped; and the scale.
    pub(crate) fn parts(&self) -> ([u32; 6], f32) {
        let ([key0, key1], [_, counter @ ..]) = (self.random.key(), self.random.counter(0));
        ([key0, key1, counter[0], counter[1], counter[2], self.threshold], self.scale())
    }

    /// Multiplies `values`, which are the elements from `start` on, by zero or by the scale.
    pub fn apply<T: Real>(&self, start: usize, values: &mut [T]) {
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(i, values)| {
            multiply(self, start + i * CHUNK, values);
        });
    }

    /// [`Self::apply`] to a copy: `outᵢ = mᵢ xᵢ`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply_to<T: Real>(&self, start: usize, x: &[T], out: &mut [T]) {
        assert_eq!(x.len(), out.len(), "as many results as elements");
        let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks.enumerate().for_each(|(i, (out, x))| {
            multiply_to(self, start + i * CHUNK, x, out);
        });
    }

    /// [`Self::apply`] and then a residual connection, in one pass: `yᵢ ← xᵢ + mᵢ yᵢ`, with the
    /// bits of both one after the other.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply_and_add<T: Real>(&self, start: usize, y: &mut [T], x: &[T]) {
        assert_eq!(x.len(), y.len(), "as many elements on either side of the sum");
        let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks.enumerate().for_each(|(i, (y, x))| {
            multiply_and_add(self, start + i * CHUNK, y, x);
        });
    }

    /// Zero or `scale` for each element of a group.
    #[inline(always)]
    fn factors<T: Real>(&self, group: usize, scale: T) -> [T; GROUP] {
        let words = self.random.lanes().words((16 * group) as u32);
        let mut factors = [T::ZERO; GROUP];
        for (part, factors) in factors.chunks_exact_mut(16).enumerate() {
            let shift = if part < 4 { 0 } else { 16 };
            for (factor, word) in factors.iter_mut().zip(words[part % 4]) {
                let number = (word >> shift) & (RANGE - 1);
                *factor = if number < self.threshold { T::ZERO } else { scale };
            }
        }
        factors
    }

    /// Calls `f` with places among `len` elements from `start` on, and their factors.
    #[inline(always)]
    fn each_group<T: Real>(&self, start: usize, len: usize, mut f: impl FnMut(Range<usize>, &[T])) {
        let scale = self.scale();
        let mut done = 0;
        while done < len {
            let factors = self.factors((start + done) / GROUP, scale);
            let skip = (start + done) % GROUP;
            let n = (GROUP - skip).min(len - done);
            f(done..done + n, &factors[skip..skip + n]);
            done += n;
        }
    }
}

vectorized! {
    fn multiply<T: Real>(mask: &Mask, start: usize, values: &mut [T]) {
        mask.each_group(start, values.len(), |places, factors: &[T]| {
            for (value, factor) in values[places].iter_mut().zip(factors) {
                *value *= *factor;
            }
        });
    }
}

vectorized! {
    fn multiply_to<T: Real>(mask: &Mask, start: usize, x: &[T], out: &mut [T]) {
        mask.each_group(start, out.len(), |places, factors: &[T]| {
            for ((out, x), factor) in out[places.clone()].iter_mut().zip(&x[places]).zip(factors) {
                *out = *x * *factor;
            }
        });
    }
}

vectorized! {
    fn multiply_and_add<T: Real>(mask: &Mask, start: usize, y: &mut [T], x: &[T]) {
        mask.each_group(start, y.len(), |places, factors: &[T]| {
            for ((y, x), factor) in y[places.clone()].iter_mut().zip(&x[places]).zip(factors) {
                *y = *x + *y * *factor;
            }
        });
    }
}

struct Dropout {
    mask: Mask,
    shape: Vec<usize>,
    /// With it, every step gets the mask of the first.
    steps: Option<Arc<Steps>>,
}

impl Dropout {
    fn apply<T: Real>(&self, values: &mut [T]) {
        match &self.steps {
            None => self.mask.apply(0, values),
            Some(steps) => {
                let dim = values.len() / steps.rows().max(1);
                for t in 0..steps.len() {
                    let rows = steps.range(t);
                    self.mask.apply(0, &mut values[rows.start * dim..rows.end * dim]);
                }
            }
        }
    }
}

impl<T: Real> Operation<T> for Dropout {
    type Saved = ();

    fn name(&self) -> &'static str {
        "dropout"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, ()>> {
        let mut values = inputs[0].to_vec();
        self.apply(&mut values);
        Ok(Output { values, shape: self.shape.clone().into(), saved: () })
    }

    fn backward(&self, _: &[&[T]], _: &[T], _: (), grad: &[T]) -> Result<Vec<Vec<T>>> {
        let mut grad = grad.to_vec();
        self.apply(&mut grad);
        Ok(vec![grad])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{largest_error, wave};
    use crate::{Purpose, storage};

    fn random() -> Random {
        Random::new(5, Purpose::Dropout, 9)
    }

    #[test]
    fn the_rate_is_kept_and_the_mean_stays() {
        let mut values = vec![1f32; 100_003];
        Mask::new(random(), 0.3).apply(0, &mut values);
        let kept = values.iter().filter(|&&v| v != 0.0).count() as f64 / values.len() as f64;
        // Standard deviation of the share: 0.0014.
        assert!((kept - 0.7).abs() < 0.007, "{kept}");
        let scale: f64 = Mask::new(random(), 0.3).scale();
        assert!((scale * 0.7 - 1.0).abs() < 1e-5, "{scale}");
        assert!(values.iter().all(|&v| v == 0.0 || v == scale as f32));
    }

    #[test]
    fn a_part_of_the_array_gets_its_part_of_the_mask() {
        let mut whole = vec![1f64; 40_000];
        Mask::new(random(), 0.5).apply(0, &mut whole);
        for (start, len) in [(0, 1), (3, 200), (64, 64), (63, 2), (100, 39_900), (20_001, 0)] {
            let mut part = vec![1f64; len];
            Mask::new(random(), 0.5).apply(start, &mut part);
            assert_eq!(part, whole[start..start + len], "{len} from {start}");
        }
    }

    #[test]
    fn both_halves_of_every_word_decide_once() {
        let mut values = vec![1f32; 2 * GROUP];
        let mask = Mask::new(random(), 0.5);
        mask.apply(0, &mut values);
        for (i, &value) in values.iter().enumerate() {
            let (group, r) = (i / GROUP, i % GROUP);
            let word = random().lanes().words((16 * group) as u32)[r / 16 % 4][r % 16];
            let number = if r < 64 { word as u16 } else { (word >> 16) as u16 };
            assert_eq!(value, if number < 1 << 15 { 0.0 } else { 2.0 }, "{i}");
        }
    }

    #[test]
    fn extreme_rates_keep_finite_scales() {
        for (rate, scale) in [(0.0, 1.0), (1e-6, 1.0), (0.999_999_9, 65_536.0)] {
            assert_eq!(Mask::new(random(), rate).scale::<f64>(), scale);
        }
    }

    #[test]
    fn copying_and_adding_have_the_bits_of_applying() -> Result<()> {
        let n = 2 * CHUNK + 77;
        let numbers =
            |phase| storage::to_vec::<f32>(&wave(n, phase)?.to_dtype(candle_core::DType::F32)?);
        let (x, y, mask) = (numbers(0.0)?, numbers(1.0)?, Mask::new(random(), 0.3));
        let mut applied = y.clone();
        mask.apply(5, &mut applied);
        let (mut copied, mut added) = (vec![f32::NAN; n], y.clone());
        mask.apply_to(5, &y, &mut copied);
        assert_eq!(copied, applied);
        let sums: Vec<f32> = x.iter().zip(&applied).map(|(x, y)| x + y).collect();
        mask.apply_and_add(5, &mut added, &x);
        assert_eq!(added, sums);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut again = y.clone();
            pool.install(|| mask.apply_and_add(5, &mut again, &x));
            assert_eq!(again, sums);
        }
        Ok(())
    }

    #[test]
    fn the_backward_pass_draws_the_same_mask() -> Result<()> {
        let mode = Mode::Train(random());
        let error = largest_error(&[wave((7, 11), 0.2)?], |x| {
            dropout::<f64>(&x[0], 0.4, &mode, 3)?.sqr()?.sum_all()
        })?;
        assert!(error < 1e-8, "{error}");
        Ok(())
    }

    #[test]
    fn variational_dropout_drops_the_same_units_at_every_step() -> Result<()> {
        let steps = Arc::new(Steps::new(vec![3, 3, 1]));
        let ones = Tensor::ones((7, 11), candle_core::DType::F64, &candle_core::Device::Cpu)?;
        let dropped = variational::<f64>(&ones, &steps, 0.5, &Mode::Train(random()), 1)?;
        let rows = dropped.to_vec2::<f64>()?;
        assert_eq!((&rows[0], &rows[1]), (&rows[3], &rows[4]));
        assert_eq!((&rows[0], &rows[1]), (&rows[5], &rows[6]));
        assert_ne!(rows[0], rows[1]);
        Ok(())
    }

    #[test]
    fn nothing_is_dropped_when_not_training() -> Result<()> {
        let x = wave(13, 0.0)?;
        let y = dropout::<f64>(&x, 0.9, &Mode::Eval, 0)?;
        assert_eq!(x.to_vec1::<f64>()?, y.to_vec1::<f64>()?);
        Ok(())
    }
}
