//! Recurrent layers over sentences of different lengths, without padding.
//!
//! LSTM: Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000); GRU: Cho
//! et al. (2014) with the reset gate behind the recurrent product, as in cuDNN. A step is one
//! matrix product and one fused pass over the gates; everything that does not depend on the step
//! before (the inputs' product, all gradients of weights) is one product over all steps.

pub mod gru;
pub mod lstm;
pub mod reference;
mod steps;

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::matmul::{Matrix, MatrixMut, Packed, Target, matmul, matmul_packed};
use crate::operation::{Operation, Output, apply};
use crate::{Real, slices};

pub use crate::slices::add_column_sums;
pub use steps::{Direction, Steps};

/// Which recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Long short-term memory: gates in the order input, forget, candidate, output.
    Lstm,
    /// Gated recurrent unit: gates in the order reset, update, candidate.
    Gru,
}

impl Cell {
    /// Number of gates, the candidate included.
    pub fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Number of vectors that a state consists of: `h` and `c`, or `h` alone.
    pub fn states(self) -> usize {
        match self {
            Self::Lstm => 2,
            Self::Gru => 1,
        }
    }
}

/// The weights of one layer in one direction, in the order in which the operation takes them.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[gates · dim, input_dim]`.
    pub input: Tensor,
    /// `[gates · dim, dim]`.
    pub hidden: Tensor,
    /// `[gates · dim]`.
    pub bias: Tensor,
    /// `[dim]`: added to the recurrent product of the GRU's candidate; `None` for the LSTM.
    pub hidden_bias: Option<Tensor>,
}

/// Runs a layer over packed rows.
///
/// `x`: `[rows, input_dim]`, ordered as [`Steps`] says. `initial`: the states to start from, each
/// `[batch, dim]`, `h` first; zero if absent. Returns `[rows, dim]`, the states `h`, and for the
/// LSTM behind them `[batch, dim]`, the final `c` of each sentence.
///
/// # Errors
/// If shapes do not fit or the tensors are not contiguous `f32` or `f64` on the CPU.
pub fn recurrent<T: Real>(
    cell: Cell,
    direction: Direction,
    steps: &Arc<Steps>,
    x: &Tensor,
    initial: Option<&[Tensor]>,
    weights: &Weights,
) -> Result<Tensor> {
    let mut inputs = vec![x, &weights.input, &weights.hidden, &weights.bias];
    inputs.extend(&weights.hidden_bias);
    let initial = initial.unwrap_or(&[]);
    inputs.extend(initial);
    let (gates, dim) = weights.hidden.dims2()?;
    let (rows, input_dim) = x.dims2()?;
    let states = if initial.is_empty() { 0 } else { cell.states() };
    if gates != cell.gates() * dim
        || weights.input.dims() != [gates, input_dim]
        || weights.bias.dims() != [gates]
        || weights.hidden_bias.is_some() != (cell == Cell::Gru)
        || initial.len() != states
        || initial.iter().any(|s| s.dims() != [steps.batch(), dim])
        || rows != steps.rows()
    {
        bail!(
            "{cell:?} layer: {rows} rows of {input_dim} for {} rows, weights {:?} and {:?}, bias \
             {:?}, {} initial states",
            steps.rows(),
            weights.input.dims(),
            weights.hidden.dims(),
            weights.bias.dims(),
            initial.len()
        )
    }
    let layer = Layer { cell, direction, steps: steps.clone(), dim, input_dim };
    apply::<T, _>(layer, &inputs)
}

/// A recurrent layer as an operation on the tape.
struct Layer {
    cell: Cell,
    direction: Direction,
    steps: Arc<Steps>,
    dim: usize,
    input_dim: usize,
}

/// What the steps of a layer leave for the backward pass, by rows.
#[derive(Debug)]
pub struct Trace<T> {
    /// Activated gates, `[rows, gates · dim]`; after the backward pass their gradients.
    pub gates: Vec<T>,
    /// States `h`, `[rows, dim]`.
    pub hidden: Vec<T>,
    /// The LSTM's `c`, or the recurrent product of the GRU's candidate: `[rows, dim]`.
    pub extra: Vec<T>,
}

impl<T: Real> Trace<T> {
    /// Room for `rows` rows.
    pub fn new(cell: Cell, rows: usize, dim: usize) -> Self {
        Self {
            gates: vec![T::ZERO; rows * cell.gates() * dim],
            hidden: vec![T::ZERO; rows * dim],
            extra: vec![T::ZERO; rows * dim],
        }
    }

    /// The states `h` and, for the LSTM, `c` before each step, `[rows, dim]` each: what the
    /// backward pass and the recurrent weight's gradient need.
    pub fn states_before(
        &self,
        cell: Cell,
        steps: &Steps,
        direction: Direction,
        initial: Option<State<'_, T>>,
    ) -> (Vec<T>, Vec<T>) {
        let dim = self.hidden.len() / steps.rows().max(1);
        let gather =
            |states: &[T], initial: Option<&[T]>| shift(states, dim, steps, direction, initial);
        let cells = match cell {
            Cell::Lstm => gather(&self.extra, initial.map(|s| s.cell)),
            Cell::Gru => Vec::new(),
        };
        (gather(&self.hidden, initial.map(|s| s.hidden)), cells)
    }
}

/// For every row the row of `values` `[rows, dim]` that belongs to the step before; where a
/// sentence starts, its row of `initial` `[batch, dim]`, or zero.
pub fn shift<T: Real>(
    values: &[T],
    dim: usize,
    steps: &Steps,
    direction: Direction,
    initial: Option<&[T]>,
) -> Vec<T> {
    let mut before = vec![T::ZERO; values.len()];
    for t in 0..steps.len() {
        let rows = steps.range(t);
        let (carried, from) = steps.carried(direction, t);
        let split = rows.start + carried;
        before[rows.start * dim..split * dim]
            .copy_from_slice(&values[from * dim..(from + carried) * dim]);
        if let Some(initial) = initial {
            let fresh = &initial[carried * dim..rows.len() * dim];
            before[split * dim..rows.end * dim].copy_from_slice(fresh);
        }
    }
    before
}

/// One step of a cell for some rows: `gates` holds the inputs' share and the bias.
///
/// `hidden`, `extra`: the new `h` and `c` (LSTM) or the candidate's recurrent product (GRU).
#[allow(clippy::too_many_arguments)] // the arrays of a step
pub fn forward_step<T: Real>(
    cell: Cell,
    weight: &Packed<T>,
    hidden_bias: &[T],
    gates: &mut [T],
    before: State<'_, T>,
    hidden: &mut [T],
    extra: &mut [T],
) {
    let rows = hidden.len() / weight.rows();
    let product = |out: &mut [T], target| {
        let before = Matrix::new(before.hidden, rows, weight.rows());
        matmul_packed(before, weight, MatrixMut::new(out, rows, weight.cols()), target);
    };
    forward_step_by(cell, weight.rows(), product, hidden_bias, gates, before, hidden, extra);
}

/// [`forward_step`] for states of `dim` numbers, with another recurrent product: what `before` gives
/// with the recurrent weight takes the place of what the slice holds, or is added to it.
#[allow(clippy::too_many_arguments)] // the arrays of a step
pub fn forward_step_by<T: Real>(
    cell: Cell,
    dim: usize,
    mut product: impl FnMut(&mut [T], Target),
    hidden_bias: &[T],
    gates: &mut [T],
    before: State<'_, T>,
    hidden: &mut [T],
    extra: &mut [T],
) {
    match cell {
        Cell::Lstm => {
            product(gates, Target::Add);
            lstm::forward(dim, gates, before.cell, extra, hidden);
        }
        Cell::Gru => {
            let mut recurrent = vec![T::ZERO; gates.len()];
            product(&mut recurrent, Target::Replace);
            gru::forward(dim, gates, &recurrent, hidden_bias, before.hidden, extra, hidden);
        }
    }
}

/// The state before a step: `h` and, for the LSTM, `c` (empty for the GRU), by rows.
#[derive(Clone, Copy, Debug)]
pub struct State<'a, T> {
    /// `[rows, dim]`.
    pub hidden: &'a [T],
    /// `[rows, dim]`, or empty.
    pub cell: &'a [T],
}

/// The gradients that flow from a step to the one before, by rows.
#[derive(Debug)]
pub struct StateGrad<'a, T> {
    /// `[rows, dim]`; the step adds to it.
    pub hidden: &'a mut [T],
    /// `[rows, dim]`, in: the gradient of this step's `c`; out: that of the step before. Empty
    /// for the GRU.
    pub cell: &'a mut [T],
}

/// Goes back through one step: turns activated `gates` into the gradients of what entered them.
///
/// `weight`: the recurrent weight `[gates · dim, dim]`, packed as it is. `recurrent_gates`
/// (GRU only, else empty): the gradients of the recurrent product, `[rows, gates · dim]`.
/// `grad`: of this step's `h`.
#[allow(clippy::too_many_arguments)] // the arrays of a step
pub fn backward_step<T: Real>(
    cell: Cell,
    weight: &Packed<T>,
    gates: &mut [T],
    recurrent_gates: &mut [T],
    extra: &[T],
    before: State<'_, T>,
    grad: &[T],
    grad_before: StateGrad<'_, T>,
) {
    let dim = weight.cols();
    let rows = grad.len() / dim;
    let product: &[T] = match cell {
        Cell::Lstm => {
            lstm::backward(dim, gates, before.cell, extra, grad, grad_before.cell);
            gates
        }
        Cell::Gru => {
            let hidden = &mut *grad_before.hidden;
            gru::backward(dim, gates, recurrent_gates, extra, before.hidden, grad, hidden);
            recurrent_gates
        }
    };
    matmul_packed(
        Matrix::new(product, rows, weight.rows()),
        weight,
        MatrixMut::new(grad_before.hidden, rows, dim),
        Target::Add,
    );
}

/// Fills each row of `out` with `row`.
pub fn repeat_row<T: Real>(row: &[T], out: &mut [T]) {
    for out in out.chunks_exact_mut(row.len()) {
        out.copy_from_slice(row);
    }
}

impl Layer {
    fn width(&self) -> usize {
        self.cell.gates() * self.dim
    }

    /// Splits the operation's inputs into bias of the recurrent product and initial states.
    fn rest<'a, T>(&self, inputs: &[&'a [T]]) -> (&'a [T], Option<State<'a, T>>) {
        let (bias, states) = match self.cell {
            Cell::Lstm => (&[][..], &inputs[4..]),
            Cell::Gru => (inputs[4], &inputs[5..]),
        };
        let cell = states.get(1).copied().unwrap_or(&[]);
        (bias, states.first().map(|hidden| State { hidden, cell }))
    }
}

impl<T: Real> Operation<T> for Layer {
    type Saved = Trace<T>;

    fn name(&self) -> &'static str {
        "recurrent layer"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, Self::Saved>> {
        let (rows, dim, width) = (self.steps.rows(), self.dim, self.width());
        let (hidden_bias, initial) = self.rest(inputs);
        let mut trace = Trace::new(self.cell, rows, dim);
        repeat_row(inputs[3], &mut trace.gates);
        matmul(
            Matrix::new(inputs[0], rows, self.input_dim),
            Matrix::new(inputs[1], width, self.input_dim).t(),
            MatrixMut::new(&mut trace.gates, rows, width),
            Target::Add,
        );
        let weight = Packed::new(Matrix::new(inputs[2], width, dim).t());
        let mut before = Before::new(self.cell, self.steps.batch(), dim);
        for t in self.steps.order(self.direction) {
            let rows = self.steps.range(t);
            let (carried, from) = self.steps.carried(self.direction, t);
            before.load(&trace, from, carried, rows.len(), initial);
            forward_step(
                self.cell,
                &weight,
                hidden_bias,
                &mut trace.gates[rows.start * width..rows.end * width],
                before.state(rows.len()),
                &mut trace.hidden[rows.start * dim..rows.end * dim],
                &mut trace.extra[rows.start * dim..rows.end * dim],
            );
        }
        let mut values = trace.hidden.clone();
        if self.cell == Cell::Lstm {
            for b in 0..self.steps.batch() {
                let row = self.steps.last_row(self.direction, b);
                values.extend_from_slice(&trace.extra[row * dim..(row + 1) * dim]);
            }
        }
        let shape = (values.len() / dim, dim).into();
        Ok(Output { values, shape, saved: trace })
    }

    fn backward(
        &self,
        inputs: &[&[T]],
        _output: &[T],
        mut trace: Self::Saved,
        grad: &[T],
    ) -> Result<Vec<Vec<T>>> {
        let (rows, dim, width) = (self.steps.rows(), self.dim, self.width());
        let (_, initial) = self.rest(inputs);
        let (hidden_before, cell_before) =
            trace.states_before(self.cell, &self.steps, self.direction, initial);
        let flow =
            self.back_through_time(inputs[2], &mut trace, grad, &hidden_before, &cell_before);

        let gates = Matrix::new(&trace.gates, rows, width);
        let x = Matrix::new(inputs[0], rows, self.input_dim);
        let mut grad_x = vec![T::ZERO; rows * self.input_dim];
        let input_weight = Matrix::new(inputs[1], width, self.input_dim);
        let out = MatrixMut::new(&mut grad_x, rows, self.input_dim);
        matmul(gates, input_weight, out, Target::Replace);
        let mut grad_input = vec![T::ZERO; width * self.input_dim];
        let out = MatrixMut::new(&mut grad_input, width, self.input_dim);
        matmul(gates.t(), x, out, Target::Replace);
        let mut grad_bias = vec![T::ZERO; width];
        add_column_sums(&trace.gates, &mut grad_bias);

        let recurrent = match self.cell {
            Cell::Lstm => &trace.gates,
            Cell::Gru => &flow.recurrent_gates,
        };
        let mut grad_hidden = vec![T::ZERO; width * dim];
        matmul(
            Matrix::new(recurrent, rows, width).t(),
            Matrix::new(&hidden_before, rows, dim),
            MatrixMut::new(&mut grad_hidden, width, dim),
            Target::Replace,
        );
        let mut grads = vec![grad_x, grad_input, grad_hidden, grad_bias];
        if self.cell == Cell::Gru {
            let mut sums = vec![T::ZERO; width];
            add_column_sums(&flow.recurrent_gates, &mut sums);
            grads.push(sums.split_off(2 * dim));
        }
        if initial.is_some() {
            grads.push(flow.initial_hidden);
            if self.cell == Cell::Lstm {
                grads.push(flow.initial_cell);
            }
        }
        Ok(grads)
    }
}

/// What flows out of the loop over time.
struct Flow<T> {
    initial_hidden: Vec<T>,
    initial_cell: Vec<T>,
    recurrent_gates: Vec<T>,
}

impl Layer {
    /// Replaces the gates of `trace` by their gradients, last step first.
    fn back_through_time<T: Real>(
        &self,
        weight: &[T],
        trace: &mut Trace<T>,
        grad: &[T],
        hidden_before: &[T],
        cell_before: &[T],
    ) -> Flow<T> {
        let (rows, dim, width, batch) =
            (self.steps.rows(), self.dim, self.width(), self.steps.batch());
        let weight = Packed::new(Matrix::new(weight, width, dim));
        // The gradient of every `h`: what comes from above, and in time what comes from later.
        let mut grad_hidden = grad[..rows * dim].to_vec();
        // The gradient of `c`, by sentence; it starts with that of the final one.
        let mut grad_cell = match self.cell {
            Cell::Lstm => grad[rows * dim..].to_vec(),
            Cell::Gru => Vec::new(),
        };
        let mut recurrent_gates = match self.cell {
            Cell::Lstm => Vec::new(),
            Cell::Gru => vec![T::ZERO; rows * width],
        };
        let mut initial_hidden = vec![T::ZERO; batch * dim];
        let mut earlier = vec![T::ZERO; batch * dim];
        for t in self.steps.order(self.direction).rev() {
            let range = self.steps.range(t);
            let (carried, from) = self.steps.carried(self.direction, t);
            let (now, here) = (range.start * dim..range.end * dim, range.len() * dim);
            let earlier = &mut earlier[..here];
            earlier.fill(T::ZERO);
            let (cell_len, gate_len) = match self.cell {
                Cell::Lstm => (here, 0),
                Cell::Gru => (0, range.len() * width),
            };
            backward_step(
                self.cell,
                &weight,
                &mut trace.gates[range.start * width..range.end * width],
                &mut recurrent_gates[range.start * width * usize::from(gate_len > 0)..][..gate_len],
                &trace.extra[now.clone()],
                State {
                    hidden: &hidden_before[now.clone()],
                    cell: cell_before.get(now.clone()).unwrap_or(&[]),
                },
                &grad_hidden[now],
                StateGrad { hidden: earlier, cell: &mut grad_cell[..cell_len] },
            );
            let (to_carried, to_initial) = earlier.split_at(carried * dim);
            slices::add(&mut grad_hidden[from * dim..(from + carried) * dim], to_carried);
            slices::add(&mut initial_hidden[carried * dim..here], to_initial);
        }
        Flow { initial_hidden, initial_cell: grad_cell, recurrent_gates }
    }
}

/// The states before a step, side by side for all its rows.
#[derive(Debug)]
pub struct Before<T> {
    cell: Cell,
    dim: usize,
    hidden: Vec<T>,
    extra: Vec<T>,
}

impl<T: Real> Before<T> {
    /// Room for `batch` rows.
    pub fn new(cell: Cell, batch: usize, dim: usize) -> Self {
        let extra = if cell == Cell::Lstm { batch * dim } else { 0 };
        Self { cell, dim, hidden: vec![T::ZERO; batch * dim], extra: vec![T::ZERO; extra] }
    }

    /// Collects the states of `rows` rows: the first `carried` from row `from` on of `trace`,
    /// the others from `initial`, or zero.
    pub fn load(
        &mut self,
        trace: &Trace<T>,
        from: usize,
        carried: usize,
        rows: usize,
        initial: Option<State<'_, T>>,
    ) {
        let (split, end) = (carried * self.dim, rows * self.dim);
        let source = from * self.dim..(from + carried) * self.dim;
        let fill = |out: &mut [T], states: &[T], initial: Option<&[T]>| {
            out[..split].copy_from_slice(&states[source.clone()]);
            match initial {
                Some(initial) => out[split..end].copy_from_slice(&initial[split..end]),
                None => out[split..end].fill(T::ZERO),
            }
        };
        fill(&mut self.hidden, &trace.hidden, initial.map(|s| s.hidden));
        if self.cell == Cell::Lstm {
            fill(&mut self.extra, &trace.extra, initial.map(|s| s.cell));
        }
    }

    /// The states of the first `rows` rows.
    pub fn state(&self, rows: usize) -> State<'_, T> {
        let len = rows * self.dim;
        State { hidden: &self.hidden[..len], cell: self.extra.get(..len).unwrap_or(&[]) }
    }
}
