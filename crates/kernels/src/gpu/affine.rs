//! Linear layers.

use candle_core::{Result, Tensor, bail};

use super::grid::Grid;
use super::launch::{Launch, in_place};
use super::operation::{Operation, apply};
use super::sums;

/// `x Wᵀ + b` of `x` `[rows, input]`, `weight` `[output, input]` of the same type, and `bias`
/// `[output]` of `f32`.
///
/// # Errors
/// If shapes or types do not fit.
pub fn affine(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    super::launch::check(x.device())?;
    apply(Affine, &[x, weight, bias])
}

struct Affine;

impl Operation for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let [x, weight, bias] = inputs else { bail!("affine: {} inputs", inputs.len()) };
        let out = x.matmul(&weight.t()?)?; // [rows, output]
        add_bias(&out, bias)?;
        Ok((out, Vec::new()))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        _saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let to_x = grad.matmul(weight)?;
        let to_weight = grad.t()?.matmul(x)?;
        Ok(vec![Some(to_x), Some(to_weight), Some(sums::columns(grad)?)])
    }
}

/// Adds `bias` `[columns]` to each row of `x` `[rows, columns]`, in place.
fn add_bias(x: &Tensor, bias: &Tensor) -> Result<()> {
    let (n, columns) = (x.elem_count(), x.dims2()?.1);
    if bias.dims() != [columns] {
        bail!("affine: {columns} outputs and a bias {:?}", bias.dims())
    }
    in_place(x, |address| {
        Launch::of("add_bias", x.dtype(), x.device())?
            .u64(address)
            .input(bias)?
            .u64(n as u64)
            .u32(columns as u32)
            .run(Grid::elements(n))
    })
}
