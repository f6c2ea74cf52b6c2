//! Output projection and label-smoothed cross-entropy.

use candle_core::{DType, Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::{Launch, in_place};
use super::operation::{Operation, apply};
use super::sums;
use crate::Deferred;
use crate::cross_entropy::CrossEntropy;

/// Numbers of the logits that exist at a time.
const CHUNK: usize = 1 << 28;
/// Threads that share a row.
const THREADS: u32 = 256;

/// What [`crate::cross_entropy::cross_entropy`] computes, of `hidden` `[tokens, dim]` and `weight`
/// `[vocab, dim]` of one type, `bias` `[vocab]` of `f32` and `targets` `[tokens]` on the device.
/// With `differentiable` the gradients are computed at once, for an upstream gradient of one.
///
/// # Errors
/// If shapes or types do not fit. Targets outside the vocabulary are the caller's to refuse.
pub fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
    smoothing: f64,
    differentiable: bool,
) -> Result<CrossEntropy> {
    super::launch::check(hidden.device())?;
    let ((tokens, dim), vocab) = (hidden.dims2()?, weight.dim(0)?);
    let fits = weight.dims() == [vocab, dim] && bias.dims() == [vocab];
    if !fits || targets.dims() != [tokens] || targets.dtype() != DType::U32 {
        bail!(
            "cross-entropy: states {:?}, weight {:?}, bias {:?}, targets {:?}",
            hidden.dims(),
            weight.dims(),
            bias.dims(),
            targets.dims()
        )
    }
    let operation = Projection { targets: targets.clone(), smoothing, differentiable };
    let both = apply(operation, &[&hidden.contiguous()?, weight, bias])?; // [2]
    let nats = Deferred::of(&both.get(1)?);
    Ok(CrossEntropy { objective: both.get(0)?, nats, divergence: 0.0 })
}

struct Projection {
    targets: Tensor,
    smoothing: f64,
    differentiable: bool,
}

impl Operation for Projection {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let [hidden, weight, bias] = inputs else {
            bail!("cross-entropy: {} inputs", inputs.len())
        };
        let (tokens, vocab) = (hidden.dim(0)?, weight.dim(0)?);
        let rows = (CHUNK / vocab.max(1)).clamp(1, tokens.max(1));
        let (mut losses, mut to_hidden) = (Vec::new(), Vec::new());
        let mut sums: Option<[Tensor; 2]> = None;
        for start in (0..tokens).step_by(rows) {
            let n = rows.min(tokens - start);
            let states = hidden.narrow(0, start, n)?;
            let logits = states.matmul(&weight.t()?)?; // [n, vocab]
            losses.push(self.rows(&logits, bias, &self.targets.narrow(0, start, n)?)?);
            if self.differentiable {
                to_hidden.push(logits.matmul(weight)?);
                let new = [logits.t()?.matmul(&states)?, sums::columns(&logits)?];
                sums = Some(match sums {
                    None => new,
                    Some([weight, bias]) => [(weight + &new[0])?, (bias + &new[1])?],
                });
            }
        }
        let both = match losses.as_slice() {
            [] => Tensor::zeros(2, DType::F32, hidden.device())?,
            losses => sums::columns(&Tensor::cat(losses, 1)?.t()?.contiguous()?)?,
        };
        let mut saved = Vec::new();
        if let Some([to_weight, to_bias]) = sums {
            saved = vec![Tensor::cat(&to_hidden, 0)?, to_weight, to_bias];
        }
        Ok((both, saved))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        if saved.is_empty() {
            return inputs.iter().map(|input| input.zeros_like().map(Some)).collect();
        }
        // What the objective is multiplied with is known on the device alone.
        let scaled = |saved: &Tensor| {
            let factor = grad.narrow(0, 0, 1)?.to_dtype(saved.dtype())?;
            saved.broadcast_mul(&factor).map(Some)
        };
        saved.iter().map(scaled).collect()
    }
}

impl Projection {
    /// Losses of rows of `logits` without their bias, `[2, rows]`: the objective's share of each
    /// and its nats. Turns the logits into their gradient.
    fn rows(&self, logits: &Tensor, bias: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (rows, vocab) = logits.dims2()?;
        let device = logits.device();
        let mut objective = Array::new((1, rows), DType::F32, device)?;
        let mut nats = Array::new((1, rows), DType::F32, device)?;
        let (objective_at, nats_at) = (objective.address()?, nats.address()?);
        in_place(logits, |address| {
            Launch::of("cross_entropy", logits.dtype(), device)?
                .u64(address)
                .input(bias)?
                .input(targets)?
                .u64(objective_at)
                .u64(nats_at)
                .u32(vocab as u32)
                .f32(self.smoothing as f32)
                .u32(self.differentiable.into())
                .run(Grid::blocks(rows as u32, THREADS))
        })?;
        Tensor::cat(&[objective.into_tensor(), nats.into_tensor()], 0)
    }
}
