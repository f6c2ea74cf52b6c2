//! Output projection and label-smoothed cross-entropy in one, without the logits of all tokens.
//!
//! Label smoothing: Szegedy et al. (2016), §7. With logits `z = W h + b` and smoothing `ε`,
//!
//! ```text
//! loss = (1 − ε) · (lse z − z_y) + ε · (lse z − mean z)        lse z = log Σ eᶻ
//! ∂loss/∂z = softmax z − (1 − ε) · onehot(y) − ε / vocab
//! ```
//!
//! A chunk of tokens at a time, the logits are computed, turned into their gradient in place,
//! and multiplied into the gradients of `h`, `W` and `b`: one chunk is all that ever exists. The
//! backward pass only scales what is there.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::matmul::{Matrix, MatrixMut, Packed, Target, matmul, matmul_packed};
use crate::operation::{Operation, Output, apply};
use crate::recurrent::{add_column_sums, repeat_row};
use crate::{Real, slices, storage};

/// Tokens whose logits exist at a time.
const CHUNK: usize = 512;

/// A loss over some tokens.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// The smoothed loss, summed over the tokens: a scalar on the tape.
    pub objective: Tensor,
    /// The plain cross-entropy, summed over the tokens, in nats.
    pub nats: f64,
}

/// The loss of predicting `targets` from `hidden` `[tokens, dim]` through `weight` `[vocab, dim]`
/// and `bias` `[vocab]`. With `differentiable` the gradients are computed at once.
///
/// # Errors
/// If shapes do not fit, a target lies outside the vocabulary, or the tensors are not contiguous
/// `T`s on the CPU.
pub fn cross_entropy<T: Real>(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Arc<[u32]>,
    smoothing: f64,
    differentiable: bool,
) -> Result<CrossEntropy> {
    let (tokens, dim) = hidden.dims2()?;
    let vocab = weight.dim(0)?;
    if weight.dims() != [vocab, dim] || bias.dims() != [vocab] || targets.len() != tokens {
        bail!(
            "cross-entropy: states {:?}, weight {:?}, bias {:?}, {} targets",
            hidden.dims(),
            weight.dims(),
            bias.dims(),
            targets.len()
        )
    }
    if let Some(id) = targets.iter().find(|&&id| id as usize >= vocab) {
        bail!("target {id} lies outside a vocabulary of {vocab}")
    }
    let operation = Projection { dim, vocab, targets: targets.clone(), smoothing, differentiable };
    let both = apply::<T, _>(operation, &[hidden, weight, bias])?; // [2]: objective, nats
    let nats = storage::with_slice::<T, _>(&both, |v| Ok(v[1].to_f64()))?;
    Ok(CrossEntropy { objective: both.get(0)?, nats })
}

/// What [`cross_entropy`] computes, in ordinary tensor operations, on any device.
///
/// # Errors
/// If shapes do not fit.
pub fn reference(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[u32],
    smoothing: f64,
) -> Result<CrossEntropy> {
    let logits = hidden.matmul(&weight.t()?)?.broadcast_add(bias)?; // [tokens, vocab]
    let log_probs = candle_nn::ops::log_softmax(&logits, 1)?;
    let targets = Tensor::new(targets, hidden.device())?.unsqueeze(1)?; // [tokens, 1]
    let plain = log_probs.gather(&targets, 1)?.sum_all()?.neg()?;
    let uniform = log_probs.mean(1)?.sum_all()?.neg()?;
    let objective = ((&plain * (1.0 - smoothing))? + (uniform * smoothing)?)?;
    let nats = plain.to_dtype(candle_core::DType::F64)?.to_scalar()?;
    Ok(CrossEntropy { objective, nats })
}

struct Projection {
    dim: usize,
    vocab: usize,
    targets: Arc<[u32]>,
    smoothing: f64,
    differentiable: bool,
}

/// Gradients of states, weight and bias, for an upstream gradient of one.
struct Grads<T> {
    hidden: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
}

impl<T: Real> Operation<T> for Projection {
    type Saved = Option<Grads<T>>;

    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, Self::Saved>> {
        let (dim, vocab, tokens) = (self.dim, self.vocab, self.targets.len());
        let weight = Matrix::new(inputs[1], vocab, dim);
        let to_logits = Packed::new(weight.t());
        let mut grads = self.differentiable.then(|| Grads {
            hidden: vec![T::ZERO; tokens * dim],
            weight: vec![T::ZERO; vocab * dim],
            bias: vec![T::ZERO; vocab],
        });
        let from_logits = self.differentiable.then(|| Packed::new(weight));
        let mut logits = vec![T::ZERO; CHUNK.min(tokens) * vocab];
        let (mut objective, mut nats) = (0.0, 0.0);
        for start in (0..tokens).step_by(CHUNK) {
            let rows = CHUNK.min(tokens - start);
            let logits = &mut logits[..rows * vocab];
            let hidden = Matrix::new(&inputs[0][start * dim..(start + rows) * dim], rows, dim);
            repeat_row(inputs[2], logits);
            matmul_packed(hidden, &to_logits, MatrixMut::new(logits, rows, vocab), Target::Add);
            for (smoothed, plain) in self.losses(&self.targets[start..start + rows], logits) {
                objective += smoothed;
                nats += plain;
            }
            if let (Some(grads), Some(from_logits)) = (&mut grads, &from_logits) {
                let upstream = Matrix::new(logits, rows, vocab);
                let out = &mut grads.hidden[start * dim..(start + rows) * dim];
                matmul_packed(
                    upstream,
                    from_logits,
                    MatrixMut::new(out, rows, dim),
                    Target::Replace,
                );
                let out = MatrixMut::new(&mut grads.weight, vocab, dim);
                matmul(upstream.t(), hidden, out, Target::Add);
                add_column_sums(logits, &mut grads.bias);
            }
        }
        let values = vec![T::of(objective), T::of(nats)];
        Ok(Output { values, shape: Shape::from(2), saved: grads })
    }

    fn backward(
        &self,
        _inputs: &[&[T]],
        _output: &[T],
        saved: Self::Saved,
        grad: &[T],
    ) -> Result<Vec<Vec<T>>> {
        let Some(mut grads) = saved else {
            bail!("this cross-entropy was not asked to be differentiable")
        };
        if grad[0] != T::ONE {
            for values in [&mut grads.hidden, &mut grads.weight, &mut grads.bias] {
                slices::scale(values, grad[0]);
            }
        }
        Ok(vec![grads.hidden, grads.weight, grads.bias])
    }
}

impl Projection {
    /// Smoothed and plain loss of each row of `logits`, which become their gradients if asked.
    fn losses<T: Real>(&self, targets: &[u32], logits: &mut [T]) -> Vec<(f64, f64)> {
        let uniform = self.smoothing / self.vocab as f64;
        logits
            .par_chunks_mut(self.vocab)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                let mean = slices::sum(row).to_f64() / self.vocab as f64;
                let peak = slices::max(row);
                let correct = row[target].to_f64();
                let total = slices::exp_shifted(row, peak);
                let log_total = peak.to_f64() + total.to_f64().ln();
                if self.differentiable {
                    slices::scale_shift(row, T::ONE / total, T::of(-uniform));
                    row[target] -= T::of(1.0 - self.smoothing);
                }
                let plain = log_total - correct;
                ((1.0 - self.smoothing) * plain + self.smoothing * (log_total - mean), plain)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{distance, largest_error, wave};

    #[test]
    fn with_equal_logits_every_word_costs_the_logarithm_of_the_vocabulary() -> Result<()> {
        let zeros = |shape: &[usize]| {
            Tensor::zeros(shape, candle_core::DType::F64, &candle_core::Device::Cpu)
        };
        let targets: Arc<[u32]> = [0, 3].into();
        let loss = cross_entropy::<f64>(
            &zeros(&[2, 3])?,
            &zeros(&[4, 3])?,
            &zeros(&[4])?,
            &targets,
            0.1,
            false,
        )?;
        assert!((loss.nats - 2.0 * 4f64.ln()).abs() < 1e-15);
        assert!((loss.objective.to_scalar::<f64>()? - 2.0 * 4f64.ln()).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn agrees_with_its_definition_and_with_finite_differences() -> Result<()> {
        // More tokens than a chunk, so that gradients of several chunks are added.
        let tokens = CHUNK + 3;
        let inputs = [wave((tokens, 2), 0.0)?, wave((5, 2), 1.0)?, wave(5, 2.0)?];
        let targets: Arc<[u32]> = (0..tokens).map(|i| (i * i % 5) as u32).collect();
        for smoothing in [0.0, 0.1] {
            let fused = cross_entropy::<f64>(
                &inputs[0], &inputs[1], &inputs[2], &targets, smoothing, true,
            )?;
            let plain = reference(&inputs[0], &inputs[1], &inputs[2], &targets, smoothing)?;
            assert!((fused.nats - plain.nats).abs() < 1e-10);
            assert!(distance(&fused.objective, &plain.objective)? < 1e-10);
            let error = largest_error(&inputs[1..], |x| {
                cross_entropy::<f64>(&inputs[0], &x[0], &x[1], &targets, smoothing, true)?.objective
                    * 0.5
            })?;
            assert!(error < 1e-7, "{error}");
        }
        let few = [wave((3, 2), 0.0)?, inputs[1].clone(), inputs[2].clone()];
        let error = largest_error(&few, |x| {
            Ok(cross_entropy::<f64>(&x[0], &x[1], &x[2], &[0, 4, 2].into(), 0.1, true)?.objective)
        })?;
        assert!(error < 1e-8, "{error}");
        Ok(())
    }

    #[test]
    fn huge_logits_stay_finite() -> Result<()> {
        let h = Tensor::new(&[[1e4f32]], &candle_core::Device::Cpu)?;
        let w = Tensor::new(&[[1f32], [-1.0]], &candle_core::Device::Cpu)?;
        let b = Tensor::zeros(2, candle_core::DType::F32, &candle_core::Device::Cpu)?;
        let loss = cross_entropy::<f32>(&h, &w, &b, &[1].into(), 0.0, true)?;
        assert!((loss.nats - 2e4).abs() < 1.0, "{}", loss.nats);
        Ok(())
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_named() -> Result<()> {
        let result = cross_entropy::<f64>(
            &wave((1, 2), 0.0)?,
            &wave((5, 2), 1.0)?,
            &wave(5, 2.0)?,
            &[9].into(),
            0.0,
            true,
        );
        assert!(result.expect_err("9 of 5").to_string().contains("target 9"));
        Ok(())
    }
}
