//! Recurrent layers: a step with its gates in one kernel, and all of time in one operation.

use std::sync::Arc;

use candle_core::{D, DType, Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::Launch;
use super::operation::{Operation, apply};
use super::{Linear, affine, sums};
use crate::recurrent::{Cell, Direction, Steps, Weights};

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
    if let (Cell::Gru, Some(bias)) = (cell, &weights.hidden_bias) {
        recurrent = recurrent.broadcast_add(&widened(bias)?)?;
    }
    gates(cell, inputs, &recurrent, &before[cell.states() - 1])
}

/// A step given the shares of its inputs and of the state before in its gates, `[rows, gates · dim]` each
/// with their biases, and the last of the states before, `[rows, dim]`.
///
/// # Errors
/// If shapes or types do not fit.
pub fn gates(
    cell: Cell,
    inputs: &Tensor,
    recurrent: &Tensor,
    last: &Tensor,
) -> Result<Vec<Tensor>> {
    super::launch::check(inputs.device())?;
    let (rows, dim) = last.dims2()?;
    for gates in [inputs, recurrent] {
        if gates.dims() != [rows, cell.gates() * dim] {
            bail!("{cell:?}: {:?} for states of {rows} × {dim}", gates.shape())
        }
    }
    let out = apply(
        Gates(cell),
        &[&inputs.contiguous()?, &recurrent.contiguous()?, &last.contiguous()?],
    )?;
    (0..cell.states()).map(|state| out.narrow(1, state * dim, dim)).collect()
}

/// What [`crate::recurrent::recurrent`] computes from zero states, in `f32`: `[rows, dim]`, the states
/// `h`, and for the LSTM behind them `[batch, dim]`, the final `c` of each sentence.
///
/// # Errors
/// If shapes or types do not fit.
pub fn layer(
    cell: Cell,
    direction: Direction,
    steps: &Arc<Steps>,
    x: &Tensor,
    weights: &Weights,
) -> Result<Tensor> {
    over_time(cell, direction, (steps, x, weights), false)
}

/// [`layer`] off the tape, whose products have one order of summation: a sentence's states do not depend on
/// the others.
///
/// # Errors
/// As there.
pub fn layer_of_search(
    cell: Cell,
    direction: Direction,
    steps: &Arc<Steps>,
    x: &Tensor,
    weights: &Weights,
) -> Result<Tensor> {
    Ok(over_time(cell, direction, (steps, x, weights), true)?.detach())
}

fn over_time(
    cell: Cell,
    direction: Direction,
    (steps, x, weights): (&Arc<Steps>, &Tensor, &Weights),
    fixed: bool,
) -> Result<Tensor> {
    super::launch::check(x.device())?;
    let inputs = match fixed {
        true => fixed_product(&weights.input, Some(&weights.bias)).forward(x, None)?,
        false => affine(x, &weights.input, &weights.bias)?,
    }; // [rows, gates · dim]
    let dim = weights.hidden.dim(1)?;
    let fits = weights.hidden.dims() == [cell.gates() * dim, dim]
        && inputs.dims() == [steps.rows(), cell.gates() * dim]
        && weights.hidden_bias.is_some() == (cell == Cell::Gru);
    if !fits {
        bail!("{cell:?} layer: {:?} for {} rows of {dim}", inputs.shape(), steps.rows())
    }
    let operation = Layer { cell, direction, steps: steps.clone(), dim, fixed };
    let mut all = vec![&inputs, &weights.hidden];
    all.extend(&weights.hidden_bias);
    apply(operation, &all)
}

/// A layer over all of time. The backward pass of its steps gathers the gradients of gates, and takes
/// those of weights from all of them at once.
struct Layer {
    cell: Cell,
    direction: Direction,
    steps: Arc<Steps>,
    dim: usize,
    /// Whether products have one order of summation.
    fixed: bool,
}

fn fixed_product<'a>(weight: &'a Tensor, bias: Option<&'a Tensor>) -> Linear<'a> {
    Linear { weight, bias, activation: None }
}

/// The candidate's own bias of a GRU behind zeros for the other gates: what is added to the recurrent
/// product.
///
/// # Errors
/// If there is no memory for it.
pub fn widened(bias: &Tensor) -> Result<Tensor> {
    let zeros = Tensor::zeros(2 * bias.dim(0)?, bias.dtype(), bias.device())?;
    Tensor::cat(&[&zeros, bias], 0)
}

impl Layer {
    /// `rows` and zeros below them, `n` in all.
    fn filled(&self, rows: Option<Tensor>, n: usize, like: &Tensor) -> Result<Tensor> {
        let found = rows.as_ref().map_or(0, |rows| rows.dims()[0]);
        let zeros = |n| Tensor::zeros((n, self.dim), like.dtype(), like.device());
        match rows {
            Some(rows) if found == n => rows.contiguous(),
            Some(rows) => Tensor::cat(&[rows, zeros(n - found)?], 0),
            None => zeros(n),
        }
    }

    /// The step that sentences of step `t` come from.
    fn neighbour(&self, t: usize) -> usize {
        match self.direction {
            Direction::Forward => t.wrapping_sub(1),
            Direction::Backward => t + 1,
        }
    }

    /// State number `which` of what a step computed, `[rows, dim]`.
    fn state(&self, out: &Tensor, which: usize) -> Result<Tensor> {
        out.narrow(1, which * self.dim, self.dim)
    }
}

impl Operation for Layer {
    fn name(&self) -> &'static str {
        "recurrent"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (gates, transposed) = (&inputs[0], inputs[1].t()?);
        let bias = inputs.get(2).map(widened).transpose()?;
        let (n_steps, last) = (self.steps.len(), self.cell.states() - 1);
        let mut outs: Vec<Option<Tensor>> = vec![None; n_steps];
        let mut kept: Vec<[Option<Tensor>; 3]> = vec![[None, None, None]; n_steps];
        for t in self.steps.order(self.direction) {
            let rows = self.steps.range(t);
            let (carried, _) = self.steps.carried(self.direction, t);
            let before = |which: usize| -> Result<Tensor> {
                let out = (carried > 0).then(|| outs[self.neighbour(t)].as_ref()).flatten();
                let carry = |out: &Tensor| self.state(&out.narrow(0, 0, carried)?, which);
                self.filled(out.map(carry).transpose()?, rows.len(), gates)
            };
            let (hidden, memory) = (before(0)?, before(last)?);
            let mut recurrent = match self.fixed {
                true => fixed_product(&inputs[1], None).forward(&hidden, None)?,
                false => hidden.matmul(&transposed)?,
            };
            if let Some(bias) = &bias {
                recurrent = recurrent.broadcast_add(bias)?;
            }
            let step = [gates.narrow(0, rows.start, rows.len())?, recurrent, memory];
            let (out, _) = Gates(self.cell).forward(&step)?;
            outs[t] = Some(out);
            let [_, recurrent, memory] = step;
            kept[t] = [Some(hidden), Some(recurrent), Some(memory)];
        }
        let outs: Vec<Tensor> = outs.into_iter().flatten().collect();
        let mut parts = outs.iter().map(|out| self.state(out, 0)).collect::<Result<Vec<_>>>()?;
        if self.cell == Cell::Lstm {
            for b in 0..self.steps.batch() {
                let t = match self.direction {
                    Direction::Forward => self.steps.lengths()[b] - 1,
                    Direction::Backward => 0,
                };
                parts.push(self.state(&outs[t].narrow(0, b, 1)?, 1)?);
            }
        }
        let all = |which: usize| {
            let rows: Vec<&Tensor> = kept.iter().filter_map(|kept| kept[which].as_ref()).collect();
            Tensor::cat(&rows, 0)
        };
        Ok((Tensor::cat(&parts, 0)?, vec![all(0)?, all(1)?, all(2)?]))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (gates, weight) = (&inputs[0], &inputs[1]);
        let mut to_gates: Vec<Option<[Tensor; 2]>> = vec![None; self.steps.len()];
        // From the step after: for its first sentences, the gradients of h and c.
        let mut after: Option<[Tensor; 2]> = None;
        for t in self.steps.order(self.direction).rev() {
            let rows = self.steps.range(t);
            let n = rows.len();
            let of_step = |x: &Tensor| x.narrow(0, rows.start, n);
            let carried = |which: usize| after.as_ref().map(|after| after[which].clone());
            let mut to_out = (of_step(grad)? + self.filled(carried(0), n, gates)?)?; // [rows, dim]
            if self.cell == Cell::Lstm {
                let mut to_memory = Vec::from_iter(carried(1));
                let ended = to_memory.first().map_or(0, |rows| rows.dims()[0]);
                // Sentences that end here have a final c.
                if ended < n {
                    to_memory.push(grad.narrow(0, self.steps.rows() + ended, n - ended)?);
                }
                to_out = Tensor::cat(&[to_out, Tensor::cat(&to_memory, 0)?], D::Minus1)?;
            }
            let step = [of_step(gates)?, of_step(&saved[1])?, of_step(&saved[2])?];
            let grads = Gates(self.cell).backward(&step, &to_out, &[], &to_out)?;
            let [Some(to_inputs), Some(to_recurrent), Some(to_before)] = &grads[..] else {
                bail!("{}: a gradient is missing", self.name())
            };
            let mut to_hidden = to_recurrent.matmul(weight)?;
            if self.cell == Cell::Gru {
                to_hidden = (to_hidden + to_before)?;
            }
            let (carried, _) = self.steps.carried(self.direction, t);
            after = match carried {
                0 => None,
                n => Some([to_hidden.narrow(0, 0, n)?, to_before.narrow(0, 0, n)?]),
            };
            to_gates[t] = Some([to_inputs.clone(), to_recurrent.clone()]);
        }
        let all = |which: usize| {
            let rows: Vec<&Tensor> = to_gates.iter().flatten().map(|rows| &rows[which]).collect();
            Tensor::cat(&rows, 0)
        };
        let (to_inputs, to_recurrent) = (all(0)?, all(1)?);
        let to_weight = to_recurrent.t()?.matmul(&saved[0])?;
        let mut grads = vec![Some(to_inputs), Some(to_weight)];
        if self.cell == Cell::Gru {
            let candidate = self.state(&to_recurrent, 2)?.contiguous()?;
            grads.push(Some(sums::columns(&candidate)?));
        }
        Ok(grads)
    }
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
