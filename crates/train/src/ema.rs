//! The moving average of the weights while they are trained.
//!
//! Polyak and Juditsky (1992), “Acceleration of Stochastic Approximation by Averaging”: the mean
//! of the weights along the way is better than where the way ends. Here older weights count
//! less and less, by a factor of `decay` for each update.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var, WithDType, bail};
use kernels::{storage, vectorized};
use model::Model;
use rayon::prelude::*;
use safetensors::{SafeTensors, serialize_to_file};

use crate::{Error, Result, gradients::CHUNK};

/// A model whose weights are the average of those of another one.
#[derive(Debug)]
pub(crate) struct Ema {
    decay: f64,
    pub(crate) model: Model,
}

impl Ema {
    /// `model` holds the average so far: at first, a copy of the weights.
    pub(crate) fn new(decay: f64, model: Model) -> Self {
        Self { decay, model }
    }

    /// Takes the weights after update number `step`, counted from 1, into the average.
    pub(crate) fn update(&self, weights: &Model, step: u64) -> Result<()> {
        let share = 1.0 - decay_at(self.decay, step);
        let pairs: Vec<_> =
            self.model.parameters().iter().zip(weights.parameters().iter()).collect();
        pairs.into_par_iter().try_for_each(|((_, average), (_, weights))| {
            if !average.device().is_cpu() {
                return plain_approach(average, weights, share);
            }
            storage::with_slice::<f32, _>(weights, |weights| {
                average.inplace_op1(&Approach { weights, share: share as f32 })
            })
        })?;
        Ok(())
    }
}

/// The decay of an update: smaller in the beginning, when there is little to remember.
fn decay_at(decay: f64, step: u64) -> f64 {
    let step = step as f64;
    decay.min((1.0 + step) / (10.0 + step))
}

/// Moves an average towards weights.
struct Approach<'a> {
    weights: &'a [f32],
    /// How far: `1 − decay`.
    share: f32,
}

impl InplaceOp1 for Approach<'_> {
    fn name(&self) -> &'static str {
        "moving-average"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("an average must be contiguous, found strides {:?}", layout.stride())
        };
        if end - start != self.weights.len() {
            bail!("{} weights for an average of {}", self.weights.len(), end - start)
        }
        // The numbers are moved out and back in: Candle has no mutable view of them.
        let mut values = f32::cpu_storage_data(std::mem::replace(storage, CpuStorage::U8(vec![])))?;
        let chunks = values[start..end].par_chunks_mut(CHUNK).zip(self.weights.par_chunks(CHUNK));
        chunks.for_each(|(average, weights)| approach(average, weights, self.share));
        *storage = f32::to_cpu_storage_owned(values);
        Ok(())
    }
}

/// What [`Approach`] does, in ordinary tensor operations on any device.
fn plain_approach(average: &Var, weights: &Var, share: f64) -> candle_core::Result<()> {
    let step = (weights.as_tensor() - average.as_tensor())?.affine(share, 0.0)?;
    average.set(&(average.as_tensor() + step)?.detach())
}

vectorized! {
    /// `a ← a + (1 − d) (w − a)`, which leaves `a` alone where it equals `w`.
    fn approach<T: Real>(average: &mut [T], weights: &[T], share: T) {
        for (average, weight) in average.iter_mut().zip(weights) {
            *average = share.mul_add(*weight - *average, *average);
        }
    }
}

/// Writes the weights of a model, without its configuration.
pub(crate) fn save_weights(model: &Model, path: &Path) -> Result<()> {
    let tensors = model.parameters().iter().map(|(name, var)| (name, var.as_tensor()));
    let tensors: Vec<(&str, &Tensor)> = tensors.collect();
    serialize_to_file(tensors, None::<HashMap<String, String>>, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => Error::write(path, source),
        other => Error::damaged(path, other),
    })
}

/// Gives a model the weights that [`save_weights`] wrote.
///
/// # Errors
/// [`Error::Damaged`] if they are those of another network.
pub(crate) fn load_weights(model: &Model, path: &Path) -> Result<()> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Error::damaged(path, error))?;
    for (name, var) in model.parameters().iter() {
        let found = tensors.tensor(name).map_err(|error| Error::damaged(path, error))?;
        set(var, &candle_core::safetensors::Load::load(&found, var.device())?)
            .map_err(|reason| Error::damaged(path, format!("parameter {name} {reason}")))?;
    }
    Ok(())
}

/// Gives one parameter the values of another one, or says how they differ.
pub(crate) fn set(var: &Var, values: &Tensor) -> Result<(), String> {
    let (found, expected) = (values.dims(), var.dims());
    if found != expected {
        return Err(format!("has the shape {found:?}, expected {expected:?}"));
    }
    let values = values.to_dtype(var.dtype()).and_then(|values| values.contiguous());
    values.and_then(|values| var.set(&values)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_decay_grows_until_it_is_the_one_asked_for() {
        assert_eq!(decay_at(0.999, 1), 2.0 / 11.0);
        assert_eq!(decay_at(0.999, 90), 0.91);
        assert_eq!(decay_at(0.999, 1_000_000), 0.999);
        assert_eq!(decay_at(0.1, 1), 0.1);
    }

    #[test]
    fn an_average_is_the_weighted_mean_of_all_weights_for_any_number_of_threads() {
        let n = 2 * CHUNK + 5;
        let weights = |step: usize| -> Vec<f32> {
            (0..n).map(|i| ((i + step * 31) as f32 * 0.37).sin()).collect()
        };
        let run = |threads| {
            let average = Var::new(weights(0).as_slice(), &Device::Cpu).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for step in 1..=5 {
                let (weights, share) = (weights(step), 0.25);
                let op = Approach { weights: &weights, share };
                pool.install(|| average.inplace_op1(&op)).unwrap();
            }
            average.to_vec1::<f32>().unwrap()
        };
        let found = run(1);
        assert_eq!(found, run(3));
        let plain = Var::new(weights(0).as_slice(), &Device::Cpu).unwrap();
        for step in 1..=5 {
            let weights = Var::new(weights(step).as_slice(), &Device::Cpu).unwrap();
            plain_approach(&plain, &weights, 0.25).unwrap();
        }
        let plain = plain.to_vec1::<f32>().unwrap();
        assert!(plain.iter().zip(&found).all(|(plain, found)| (plain - found).abs() < 1e-6));
        for i in [0, CHUNK - 1, CHUNK, n - 1] {
            let mut expected = f64::from(weights(0)[i]);
            for step in 1..=5 {
                expected = 0.75 * expected + 0.25 * f64::from(weights(step)[i]);
            }
            // Five steps of two roundings, of 6e-8 each.
            assert!((f64::from(found[i]) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn an_average_of_what_does_not_change_does_not_change() {
        let weights = [0.1f32, -1.7e-30, 3.3e7];
        let average = Var::new(&weights, &Device::Cpu).unwrap();
        for share in [0.3, 0.001, 9.0 / 11.0] {
            average.inplace_op1(&Approach { weights: &weights, share }).unwrap();
        }
        assert_eq!(average.to_vec1::<f32>().unwrap(), weights);
    }
}
