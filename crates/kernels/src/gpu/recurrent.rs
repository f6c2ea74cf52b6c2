//! The gates of a recurrent step.

use candle_core::{DType, Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::Launch;
use super::operation::{Operation, apply};
use crate::recurrent::{Cell, Weights};

/// What [`crate::recurrent::reference::step`] computes, in `f32`, with the gates in one kernel.
///
/// # Errors
/// If shapes or types do not fit.
pub fn step(
    cell: Cell,
    inputs: &Tensor,
    before: &[Tensor],
    weights: &Weights,
) -> Result<Vec<Tensor>> {
    super::launch::check(inputs.device())?;
    let mut recurrent = before[0].contiguous()?.matmul(&weights.hidden.t()?)?; // [rows, gates · dim]
    let dim = weights.hidden.dim(1)?;
    if let (Cell::Gru, Some(bias)) = (cell, &weights.hidden_bias) {
        // The candidate's own bias, behind zeros for the other gates.
        let zeros = Tensor::zeros(2 * dim, bias.dtype(), bias.device())?;
        recurrent = recurrent.broadcast_add(&Tensor::cat(&[&zeros, bias], 0)?)?;
    }
    let last = &before[cell.states() - 1];
    let (rows, found) = last.dims2()?;
    for gates in [inputs, &recurrent] {
        if gates.dims() != [rows, cell.gates() * dim] || found != dim {
            bail!("{cell:?}: {:?} for states of {rows} × {dim}", gates.shape())
        }
    }
    let out = apply(Gates(cell), &[&inputs.contiguous()?, &recurrent, &last.contiguous()?])?;
    (0..cell.states()).map(|state| out.narrow(1, state * dim, dim)).collect()
}

struct Gates(Cell);

impl Gates {
    fn kernel(&self) -> &'static str {
        match self.0 {
            Cell::Lstm => "lstm",
            Cell::Gru => "gru",
        }
    }
}

impl Operation for Gates {
    fn name(&self) -> &'static str {
        self.kernel()
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let [gates, recurrent, before] = inputs else {
            bail!("{}: {} inputs", self.name(), inputs.len())
        };
        let (rows, dim) = before.dims2()?;
        let mut out = Array::new((rows, self.0.states() * dim), DType::F32, before.device())?;
        Launch::of(self.kernel(), gates.dtype(), before.device())?
            .input(gates)?
            .input(recurrent)?
            .input(before)?
            .output(&mut out)?
            .u64((rows * dim) as u64)
            .u32(dim as u32)
            .run(Grid::elements(rows * dim))?;
        Ok((out.into_tensor(), Vec::new()))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        _saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let before = &inputs[2];
        let (rows, dim) = before.dims2()?;
        let device = before.device();
        let mut to_inputs = Array::new(inputs[0].shape(), DType::F32, device)?;
        let mut to_before = Array::new((rows, dim), DType::F32, device)?;
        let mut to_recurrent = None;
        let mut launch = Launch::of(&format!("{}_backward", self.kernel()), DType::F32, device)?;
        for input in inputs {
            launch = launch.input(input)?;
        }
        launch = launch.input(grad)?.output(&mut to_inputs)?;
        if self.0 == Cell::Gru {
            // In an LSTM both shares of a gate have the same gradient.
            let array = to_recurrent.insert(Array::new(inputs[1].shape(), DType::F32, device)?);
            launch = launch.output(array)?;
        }
        let launch = launch.output(&mut to_before)?;
        launch.u64((rows * dim) as u64).u32(dim as u32).run(Grid::elements(rows * dim))?;
        let to_inputs = to_inputs.into_tensor();
        let to_recurrent = to_recurrent.map_or_else(|| to_inputs.clone(), Array::into_tensor);
        Ok(vec![Some(to_inputs), Some(to_recurrent), Some(to_before.into_tensor())])
    }
}
