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
//!
//! [`r_drop`] regularises the model with its own dropout.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor, bail};

use self::rows::{Losses, Task};
use crate::matmul::{Matrix, MatrixMut, Packed, Target, matmul, matmul_packed};
use crate::operation::{Operation, Output, apply};
use crate::{Deferred, Real, slices, storage};

/// Tokens whose logits exist at a time; even, so that no pair is torn apart.
pub const CHUNK: usize = 512;

/// A loss over some tokens.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// The smoothed loss, summed over the tokens: a scalar on the tape.
    pub objective: Tensor,
    /// The plain cross-entropy, summed over the tokens, in nats.
    pub nats: Deferred,
    /// How far apart the pairs of [`r_drop`] are, `½ (KL(p‖q) + KL(q‖p))`, summed over them, in
    /// nats; zero without pairs.
    pub divergence: f64,
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
    let (dim, vocab) = sizes(hidden, weight, bias, targets)?;
    let targets = targets.clone();
    let twins = None;
    let operation = Projection { dim, vocab, targets, smoothing, twins, differentiable };
    project::<T>(operation, hidden, weight, bias)
}

/// How [`r_drop`] regularises.
#[derive(Clone, Debug)]
pub struct RDrop {
    /// What the divergence of a pair is multiplied by; 5 in the paper's translation models.
    pub alpha: f64,
    /// Each token of the batch once, as its two rows.
    pub pairs: Arc<[[u32; 2]]>,
}

/// [`cross_entropy`] with R-Drop (Liang et al., 2021, eq. 3 and 4): the batch holds every token
/// twice, under different dropout masks, and with the distributions `p` and `q` of the two
///
/// ```text
/// objective = loss p + loss q + α · ½ (KL(p‖q) + KL(q‖p))
/// ```
///
/// summed over the pairs. The paper's own code divides this sum by the number of pairs, not by
/// that of rows; it, too, smooths the labels of both losses and nothing else.
///
/// # Errors
/// If shapes do not fit, a target lies outside the vocabulary, a row is not in exactly one pair,
/// a pair has two targets, or the tensors are not contiguous `T`s on the CPU.
pub fn r_drop<T: Real>(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Arc<[u32]>,
    smoothing: f64,
    by: &RDrop,
) -> Result<CrossEntropy> {
    let (dim, vocab) = sizes(hidden, weight, bias, targets)?;
    let order: Vec<usize> = by.pairs.iter().flatten().map(|&row| row as usize).collect();
    let mut seen = vec![false; targets.len()];
    for &row in &order {
        match seen.get_mut(row) {
            Some(seen) if !*seen => *seen = true,
            _ => bail!("R-Drop: row {row} of {} is not in exactly one pair", targets.len()),
        }
    }
    if order.len() != targets.len() {
        bail!("R-Drop: {} pairs for {} rows", by.pairs.len(), targets.len())
    }
    let sorted: Arc<[u32]> = order.iter().map(|&row| targets[row]).collect();
    if let Some(pair) = sorted.chunks_exact(2).position(|pair| pair[0] != pair[1]) {
        bail!("R-Drop: rows {:?} are not the same token", by.pairs[pair])
    }
    let twins = Some(Twins { alpha: by.alpha, order });
    let targets = sorted;
    let operation = Projection { dim, vocab, targets, smoothing, twins, differentiable: true };
    project::<T>(operation, hidden, weight, bias)
}

/// `dim` and `vocab`, if everything fits together.
fn sizes(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[u32],
) -> Result<(usize, usize)> {
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
    Ok((dim, vocab))
}

fn project<T: Real>(
    operation: Projection,
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<CrossEntropy> {
    let all = apply::<T, _>(operation, &[hidden, weight, bias])?; // [3]
    let (nats, divergence) =
        storage::with_slice::<T, _>(&all, |v| Ok((v[1].to_f64(), v[2].to_f64())))?;
    Ok(CrossEntropy { objective: all.get(0)?, nats: nats.into(), divergence })
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
    Ok(CrossEntropy { objective, nats: Deferred::of(&plain), divergence: 0.0 })
}

/// What [`r_drop`] computes, in ordinary tensor operations, on any device.
///
/// # Errors
/// If shapes do not fit.
pub fn r_drop_reference(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[u32],
    smoothing: f64,
    by: &RDrop,
) -> Result<CrossEntropy> {
    let plain = reference(hidden, weight, bias, targets, smoothing)?;
    let of = |which: usize| {
        let rows: Vec<u32> = by.pairs.iter().map(|pair| pair[which]).collect();
        let rows = hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?;
        candle_nn::ops::log_softmax(&rows.matmul(&weight.t()?)?.broadcast_add(bias)?, 1)
    };
    let (p, q) = (of(0)?, of(1)?); // log-probabilities, [pairs, vocab]
    // KL(p‖q) + KL(q‖p) = Σ (p − q) (log p − log q)
    let divergence = (((p.exp()? - q.exp()?)? * (p - q)?)?.sum_all()? * 0.5)?;
    let objective = (plain.objective + (&divergence * by.alpha)?)?;
    let divergence = divergence.to_dtype(candle_core::DType::F64)?.to_scalar()?;
    Ok(CrossEntropy { objective, nats: plain.nats, divergence })
}

struct Projection {
    dim: usize,
    vocab: usize,
    /// Of the rows in the order in which they are worked on.
    targets: Arc<[u32]>,
    smoothing: f64,
    twins: Option<Twins>,
    differentiable: bool,
}

/// Rows that are the same token.
struct Twins {
    alpha: f64,
    /// All rows, the two of a pair side by side.
    order: Vec<usize>,
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
        let Some(twins) = &self.twins else {
            let (losses, grads) = self.run(inputs[0], inputs[1], inputs[2]);
            return Ok(self.output(losses, grads));
        };
        let rows = twins.order.iter().map(|&row| &inputs[0][row * self.dim..][..self.dim]);
        let hidden = rows.collect::<Vec<_>>().concat();
        let (losses, mut grads) = self.run(&hidden, inputs[1], inputs[2]);
        if let Some(grads) = &mut grads {
            let mut hidden = vec![T::ZERO; grads.hidden.len()];
            for (&row, grad) in twins.order.iter().zip(grads.hidden.chunks_exact(self.dim)) {
                hidden[row * self.dim..][..self.dim].copy_from_slice(grad);
            }
            grads.hidden = hidden;
        }
        Ok(self.output(losses, grads))
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
    fn output<T: Real>(
        &self,
        losses: Losses,
        saved: Option<Grads<T>>,
    ) -> Output<T, Option<Grads<T>>> {
        let values = [losses.objective, losses.nats, losses.divergence].map(T::of).to_vec();
        Output { values, shape: Shape::from(3), saved }
    }

    /// Losses, and gradients if asked for, a chunk at a time.
    fn run<T: Real>(&self, hidden: &[T], weight: &[T], bias: &[T]) -> (Losses, Option<Grads<T>>) {
        let (dim, vocab, tokens) = (self.dim, self.vocab, self.targets.len());
        let Self { smoothing, differentiable, .. } = *self;
        let alpha = self.twins.as_ref().map(|twins| twins.alpha);
        let task = Task { bias, smoothing, alpha, differentiable };
        let weight = Matrix::new(weight, vocab, dim);
        let to_logits = Packed::new(weight.t());
        let mut grads = differentiable.then(|| Grads {
            hidden: vec![T::ZERO; tokens * dim],
            weight: vec![T::ZERO; vocab * dim],
            bias: vec![T::ZERO; vocab],
        });
        let from_logits = differentiable.then(|| Packed::new(weight));
        let mut logits = vec![T::ZERO; CHUNK.min(tokens) * vocab];
        let mut losses = Losses::default();
        for start in (0..tokens).step_by(CHUNK) {
            let rows = CHUNK.min(tokens - start);
            let targets = &self.targets[start..start + rows];
            let states = start * dim..(start + rows) * dim;
            let logits = &mut logits[..rows * vocab];
            let hidden = Matrix::new(&hidden[states.clone()], rows, dim);
            let out = MatrixMut::new(logits, rows, vocab);
            matmul_packed(hidden, &to_logits, out, Target::Replace);
            let (Some(grads), Some(from_logits)) = (&mut grads, &from_logits) else {
                losses.add(task.run(targets, logits, &mut []));
                continue;
            };
            losses.add(task.run(targets, logits, &mut grads.bias));
            let upstream = Matrix::new(logits, rows, vocab);
            let out = MatrixMut::new(&mut grads.hidden[states], rows, dim);
            matmul_packed(upstream, from_logits, out, Target::Replace);
            let out = MatrixMut::new(&mut grads.weight, vocab, dim);
            matmul(upstream.t(), hidden, out, Target::Add);
        }
        (losses, grads)
    }
}
