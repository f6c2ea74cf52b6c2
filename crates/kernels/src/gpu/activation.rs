//! Activations of feed-forward layers.

use candle_core::{Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::Launch;
use super::operation::{Operation, apply};
use crate::activation::Activation;
use crate::dropout::Mask;

/// `mask ⊙ f(x)` of `x` `[rows, width]`; if `gated`, `mask ⊙ f(g) ⊙ v` of `x` `[rows, 2 width]`
/// with rows `[g; v]`.
///
/// # Errors
/// If the types do not fit, or gated rows have an odd number of columns.
pub fn activate(
    activation: Activation,
    gated: bool,
    x: &Tensor,
    mask: Option<&Mask>,
) -> Result<Tensor> {
    super::launch::check(x.device())?;
    let columns = x.dims2()?.1;
    if gated && !columns.is_multiple_of(2) {
        bail!("a gated activation of {columns} columns")
    }
    apply(Activate { activation, gated, mask: mask.copied() }, &[&x.contiguous()?])
}

/// The number of a function in `elements.cu`.
pub(super) fn number(activation: Activation) -> u32 {
    match activation {
        Activation::Relu => 0,
        Activation::Gelu => 1,
        Activation::Swish => 2,
    }
}

struct Activate {
    activation: Activation,
    gated: bool,
    mask: Option<Mask>,
}

impl Activate {
    fn width(&self, x: &Tensor) -> Result<usize> {
        let columns = x.dims2()?.1;
        Ok(if self.gated { columns / 2 } else { columns })
    }

    /// The parameters that end both kernels.
    fn finish(&self, launch: Launch, rows: usize, width: usize) -> Result<()> {
        let n = rows * width;
        let launch = launch.u64(n as u64).u32(width as u32).u32(number(self.activation));
        launch.u32(self.gated.into()).mask(self.mask.as_ref()).run(Grid::elements(n))
    }
}

impl Operation for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let x = &inputs[0];
        let (rows, width) = (x.dim(0)?, self.width(x)?);
        let mut out = Array::new((rows, width), x.dtype(), x.device())?;
        let launch = Launch::of("activate", x.dtype(), x.device())?;
        self.finish(launch.input(x)?.output(&mut out)?, rows, width)?;
        Ok((out.into_tensor(), Vec::new()))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        _saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let x = &inputs[0];
        let mut to_x = Array::new(x.shape(), x.dtype(), x.device())?;
        let launch = Launch::of("activate_backward", x.dtype(), x.device())?;
        let launch = launch.input(x)?.input(grad)?.output(&mut to_x)?;
        self.finish(launch, x.dim(0)?, self.width(x)?)?;
        Ok(vec![Some(to_x.into_tensor())])
    }
}
