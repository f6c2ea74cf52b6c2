//! Dropout with a residual connection, and masks as numbers.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::Launch;
use super::operation::{Operation, apply};
use crate::dropout::Mask;

/// `residual + mask ⊙ x`, or `mask ⊙ x` without a residual; element for element, any shape.
///
/// # Errors
/// If shapes or types differ.
pub fn drop_and_add(x: &Tensor, residual: Option<&Tensor>, mask: Option<&Mask>) -> Result<Tensor> {
    super::launch::check(x.device())?;
    let x = x.contiguous()?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    if let Some(residual) = &residual
        && (residual.dims() != x.dims() || residual.dtype() != x.dtype())
    {
        bail!("a residual connection of {:?} around {:?}", residual.shape(), x.shape())
    }
    if residual.is_none() && mask.is_none() {
        return Ok(x);
    }
    let mut inputs = vec![&x];
    inputs.extend(&residual);
    apply(DropAndAdd(mask.copied()), &inputs)
}

/// What a mask multiplies rows with, `[rows, dim]`: zeros, and for what is kept the scale. `parts` of the
/// rows, one after the other, draw the same numbers each. Not on the tape.
///
/// # Errors
/// If the device runs out of memory, or has no kernels for the type.
pub fn factors(
    mask: &Mask,
    parts: &[Range<usize>],
    dim: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    super::launch::check(device)?;
    let rows = parts.last().map_or(0, |part| part.end);
    let origins = match parts {
        [] | [Range { start: 0, .. }] => None,
        parts => {
            let origin = |part: &Range<usize>| 0..part.len() as u32;
            Some(Tensor::from_iter(parts.iter().flat_map(origin), device)?)
        }
    };
    let mut out = Array::new((rows, dim), dtype, device)?;
    Launch::of("dropout_factors", dtype, device)?
        .output(&mut out)?
        .optional(origins.as_ref())?
        .u64((rows * dim) as u64)
        .u32(dim as u32)
        .mask(Some(mask))
        .run(Grid::elements(rows * dim))?;
    Ok(out.into_tensor())
}

struct DropAndAdd(Option<Mask>);

impl DropAndAdd {
    fn run(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let n = x.elem_count();
        let mut out = Array::new(x.shape(), x.dtype(), x.device())?;
        Launch::of("drop_and_add", x.dtype(), x.device())?
            .input(x)?
            .optional(residual)?
            .output(&mut out)?
            .u64(n as u64)
            .mask(self.0.as_ref())
            .run(Grid::elements(n))?;
        Ok(out.into_tensor())
    }
}

impl Operation for DropAndAdd {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((self.run(&inputs[0], inputs.get(1))?, Vec::new()))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        _saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let to_x = if self.0.is_some() { self.run(grad, None)? } else { grad.clone() };
        Ok(vec![Some(to_x), inputs.get(1).map(|_| grad.clone())])
    }
}
