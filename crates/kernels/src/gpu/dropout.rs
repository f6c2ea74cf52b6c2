//! Dropout with a residual connection.

use candle_core::{Result, Tensor, bail};

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
