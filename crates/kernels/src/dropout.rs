//! Dropout whose mask is computed, not stored.
//!
//! Srivastava et al. (2014). Element `i` is kept or dropped by a number that depends on the
//! [`Random`] family and on `i` alone, so the backward pass draws the same mask again, a resumed
//! run needs no state, and threads and devices agree.
//!
//! Elements go in groups of 64: element `r` of group `g` takes word `r / 16` of the generator's
//! block `16 g + r % 16`. So sixteen blocks are computed side by side in vector registers.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::operation::{Operation, Output, apply as apply_operation};
use crate::random::Lanes;
use crate::recurrent::Steps;
use crate::{Mode, Random, Real, vectorized};

/// Elements whose numbers are drawn together.
const GROUP: usize = 64;
/// Elements that one thread takes at a time; a multiple of [`GROUP`].
const CHUNK: usize = 1 << 14;

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
    /// Words below this drop their element.
    threshold: u32,
    scale: f32,
}

impl Mask {
    /// Drops at `rate`, a number in `[0, 1)`, by the numbers of `random`.
    pub fn new(random: Random, rate: f32) -> Self {
        let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
        Self { random, threshold, scale: 1.0 / (1.0 - rate) }
    }

    /// Multiplies `values`, which are the elements from `start` on, by zero or by the scale.
    pub fn apply<T: Real>(&self, start: usize, values: &mut [T]) {
        // A first piece up to the next whole group, then pieces of whole groups.
        let head = (GROUP - start % GROUP) % GROUP;
        let (head, rest) = values.split_at_mut(head.min(values.len()));
        if !head.is_empty() {
            let lanes = self.random.lanes();
            mask_group(head, &lanes, start, self.threshold, T::of(f64::from(self.scale)));
        }
        let start = start + head.len();
        rest.par_chunks_mut(CHUNK).enumerate().for_each(|(i, chunk)| {
            let lanes = self.random.lanes();
            let scale = T::of(f64::from(self.scale));
            mask_groups(chunk, &lanes, start + i * CHUNK, self.threshold, scale);
        });
    }
}

/// Masks elements that lie in one group.
fn mask_group<T: Real>(values: &mut [T], lanes: &Lanes, start: usize, threshold: u32, scale: T) {
    let words = lanes.words((start / GROUP * 16) as u32);
    for (i, value) in values.iter_mut().enumerate() {
        let r = (start + i) % GROUP;
        *value *= if words[r / 16][r % 16] < threshold { T::ZERO } else { scale };
    }
}

vectorized! {
    /// Masks elements from the start of a group on.
    fn mask_groups<T: Real>(values: &mut [T], lanes: &Lanes, start: usize, threshold: u32, scale: T) {
        let mut groups = values.chunks_exact_mut(GROUP);
        let mut block = (start / GROUP * 16) as u32;
        for group in &mut groups {
            let words = lanes.words(block);
            for (part, words) in group.chunks_exact_mut(16).zip(&words) {
                for lane in 0..16 {
                    part[lane] *= if words[lane] < threshold { T::ZERO } else { scale };
                }
            }
            block = block.wrapping_add(16);
        }
        let words = lanes.words(block);
        for (r, value) in groups.into_remainder().iter_mut().enumerate() {
            *value *= if words[r / 16][r % 16] < threshold { T::ZERO } else { scale };
        }
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
    use crate::Purpose;
    use crate::gradient::{largest_error, wave};

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
        assert!(values.iter().all(|&v| v == 0.0 || v == 1.0 / 0.7));
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
    fn lanes_are_the_generators_blocks() {
        let words = random().lanes().words(32);
        for (lane, index) in (32..48).enumerate() {
            assert_eq!(random().block(index), words.map(|words| words[lane]));
        }
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
