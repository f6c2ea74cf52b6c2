//! Layer norm and RMS norm.

use candle_core::{D, DType, Result, Tensor, bail};

use super::array::Array;
use super::grid::{Grid, chunk, chunks};
use super::launch::Launch;
use super::operation::{Operation, apply};
use super::sums;
use crate::norm::Norm;

/// Normalises the rows of `x` `[rows, dim]`; `weight` and `bias` are `[dim]` of `f32`.
///
/// # Errors
/// If shapes or types do not fit.
pub fn normalise(norm: Norm, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    super::launch::check(x.device())?;
    let dim = x.dim(D::Minus1)?;
    if weight.dims() != [dim] || bias.is_some_and(|bias| bias.dims() != [dim]) {
        bail!("{norm:?} norm: rows of {dim}, weight {:?}", weight.dims())
    }
    let x = x.contiguous()?;
    let mut inputs = vec![&x, weight];
    inputs.extend(bias);
    apply(Normalise(norm), &inputs)
}

struct Normalise(Norm);

impl Normalise {
    fn layer(&self) -> u32 {
        u32::from(self.0 == Norm::Layer)
    }
}

impl Operation for Normalise {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let x = &inputs[0];
        let (rows, dim) = x.dims2()?;
        let device = x.device();
        let mut out = Array::new((rows, dim), x.dtype(), device)?;
        let mut means = Array::new(rows, DType::F32, device)?;
        let mut factors = Array::new(rows, DType::F32, device)?;
        Launch::of("norm_forward", x.dtype(), device)?
            .input(x)?
            .input(&inputs[1])?
            .optional(inputs.get(2))?
            .output(&mut out)?
            .output(&mut means)?
            .output(&mut factors)?
            .u32(rows as u32)
            .u32(dim as u32)
            .u32(self.layer())
            .f32(self.0.eps() as f32)
            .run(Grid::warps(rows as u32))?;
        Ok((out.into_tensor(), vec![means.into_tensor(), factors.into_tensor()]))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let (rows, dim) = x.dims2()?;
        let (device, n) = (x.device(), rows as u32);
        let mut to_x = Array::new((rows, dim), x.dtype(), device)?;
        Launch::of("norm_backward", x.dtype(), device)?
            .input(x)?
            .input(weight)?
            .input(&saved[0])?
            .input(&saved[1])?
            .input(grad)?
            .output(&mut to_x)?
            .u32(n)
            .u32(dim as u32)
            .u32(self.layer())
            .run(Grid::warps(n))?;
        let parts = (chunks(n) as usize, dim);
        let mut to_weight = Array::new(parts, DType::F32, device)?;
        let mut to_bias = Array::new(parts, DType::F32, device)?;
        Launch::of("norm_backward_weights", x.dtype(), device)?
            .input(x)?
            .input(&saved[0])?
            .input(&saved[1])?
            .input(grad)?
            .output(&mut to_weight)?
            .output(&mut to_bias)?
            .u32(n)
            .u32(dim as u32)
            .u32(chunk(n))
            .run(Grid::columns(n, dim as u32))?;
        let weight = sums::columns(&to_weight.into_tensor())?;
        let bias = inputs.get(2).map(|_| sums::columns(&to_bias.into_tensor())).transpose()?;
        Ok(vec![Some(to_x.into_tensor()), Some(weight), bias])
    }
}
