//! The gradient of one update: a sum over batches, its norm, and where it is not finite.

use candle_core::{Tensor, Var, backprop::GradStore};
use kernels::gpu::Clip;
use kernels::{Real, gpu, slices, storage};
use rayon::prelude::*;

use crate::{Error, Result};

/// Numbers that one thread handles at a time. Sums are formed per chunk and added in order,
/// so that no result depends on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// The sum of the gradients of some batches, and the number of target tokens in them.
///
/// Dividing the sum by the tokens gives the gradient of the mean loss, whether the tokens came
/// in one batch or in several.
#[derive(Debug)]
pub struct Gradients {
    parameters: Vec<(String, Var)>,
    sums: Vec<Tensor>,
    tokens: usize,
}

impl Gradients {
    /// The empty sum for these parameters.
    pub fn new(parameters: Vec<(String, Var)>) -> Self {
        Self { parameters, sums: Vec::new(), tokens: 0 }
    }

    /// Adds the gradients of a loss that was summed over `tokens` target tokens.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if a parameter has none: the loss does not depend on it.
    pub fn add(&mut self, mut grads: GradStore, tokens: usize) -> Result<()> {
        let mut new = Vec::with_capacity(self.parameters.len());
        for (name, var) in &self.parameters {
            let grad = grads.remove(var).ok_or_else(|| Error::NoGradient { name: name.clone() })?;
            new.push(grad.detach().contiguous()?);
        }
        drop(grads);
        if self.sums.is_empty() {
            self.sums = new;
        } else {
            for (sum, grad) in self.sums.iter_mut().zip(new) {
                *sum = (&*sum + grad)?;
            }
        }
        self.tokens += tokens;
        Ok(())
    }

    /// Empties the sum for the next update.
    pub fn clear(&mut self) {
        self.sums.clear();
        self.tokens = 0;
    }

    /// Target tokens in the sum.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The Euclidean norm of the gradient of the mean loss per token, over all parameters.
    /// Infinite or NaN if any gradient is.
    ///
    /// # Errors
    /// If the gradients are of another type than `T`.
    pub fn norm<T: Real>(&self) -> Result<f64> {
        if self.sums.iter().any(|sum| !sum.device().is_cpu()) {
            return Ok(gpu::gradient_norm(&self.sums)? / self.tokens as f64);
        }
        let mut squares = 0.0;
        for sum in &self.sums {
            let partial: Vec<f64> = storage::with_slice::<T, _>(sum, |values| {
                Ok(values
                    .par_chunks(CHUNK)
                    .map(|chunk| slices::dot(chunk, chunk).to_f64())
                    .collect())
            })?;
            squares += partial.iter().sum::<f64>();
        }
        Ok(squares.sqrt() / self.tokens as f64)
    }

    /// The norm, and what keeps it within a limit, on the GPU that the gradients are on.
    ///
    /// # Errors
    /// If no kernels run there.
    pub fn clip(&self, limit: f64) -> Result<Clip> {
        Ok(gpu::clip(&self.sums, self.tokens, limit)?)
    }

    /// Numbers in the parameters.
    pub(crate) fn n_numbers(&self) -> usize {
        self.parameters.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// The sum for each parameter, in the order in which they were given.
    pub(crate) fn sums(&self) -> &[Tensor] {
        &self.sums
    }
}

/// What gradients are multiplied by so that their norm is at most `limit`; no limit if that
/// is zero (Pascanu et al., 2013, §3.2).
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 && norm > limit { limit / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn var(values: &[f32]) -> Var {
        Var::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_sum_over_batches_is_divided_by_all_their_tokens() {
        let (a, b) = (var(&[1.0, 2.0]), var(&[3.0]));
        let mut gradients = Gradients::new(vec![("a".into(), a.clone()), ("b".into(), b.clone())]);
        for factor in [1.0, 2.0] {
            // Gradients: a: factor · (1, 1); b: factor · 2.
            let loss =
                ((a.sum_all().unwrap() + (b.sum_all().unwrap() * 2.0)).unwrap() * factor).unwrap();
            gradients.add(loss.backward().unwrap(), 5).unwrap();
        }
        // (3, 3, 6) / 10 has the norm √54 / 10.
        assert_eq!(gradients.tokens(), 10);
        let norm = gradients.norm::<f32>().unwrap();
        assert!((norm - 54f64.sqrt() / 10.0).abs() < 1e-7, "{norm}");
        gradients.clear();
        assert_eq!((gradients.tokens(), gradients.sums().len()), (0, 0));
    }

    #[test]
    fn a_parameter_without_gradient_is_named() {
        let (a, b) = (var(&[1.0]), var(&[3.0]));
        let mut gradients = Gradients::new(vec![("a".into(), a.clone()), ("b".into(), b)]);
        let error = gradients.add(a.sum_all().unwrap().backward().unwrap(), 1).unwrap_err();
        assert!(error.to_string().contains("parameter b"), "{error}");
    }

    #[test]
    fn clipping_only_shrinks() {
        assert_eq!(clip_factor(4.0, 1.0), 0.25);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(4.0, 0.0), 1.0);
    }

    #[test]
    fn the_norm_does_not_depend_on_the_number_of_threads() {
        let values: Vec<f32> = (0..3 * CHUNK + 7).map(|i| (i as f32 * 0.7).sin()).collect();
        let a = var(&values);
        let mut gradients = Gradients::new(vec![("a".into(), a.clone())]);
        gradients.add(a.sqr().unwrap().sum_all().unwrap().backward().unwrap(), 3).unwrap();
        let norm = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gradients.norm::<f32>().unwrap())
        };
        assert_eq!(norm(1).to_bits(), norm(3).to_bits());
        let exact = values.iter().map(|&x| 4.0 * f64::from(x).powi(2)).sum::<f64>().sqrt() / 3.0;
        assert!((norm(2) / exact - 1.0).abs() < 1e-6); // f32 sums of up to 16,384 squares
    }
}
