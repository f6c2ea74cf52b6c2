//! The decoder's backward pass: through time block by block, then all weights at once.

use std::ops::Range;

use attn::{Kernel, OutputGrads, Queries, QueryGrads, SourceGrads, Step};
use kernels::matmul::{Matrix, MatrixMut, Target, matmul, matmul_packed};
use kernels::recurrent::{
    Cell, Direction, State, StateGrad, add_column_sums, backward_step, shift,
};
use kernels::{Real, slices};

use super::forward::Run;
use super::{Decoder, Inputs, StepWeights, site};
use crate::Result;

/// Gradients on their way back through time.
struct Flow<T> {
    /// Of `h̃`, from the loss and from the steps that were fed: `[tgt rows, dim]`.
    out: Vec<T>,
    /// Of what enters the tangent of `h̃`: `[tgt rows, dim]`.
    combined: Vec<T>,
    /// Of `c_t`: `[tgt rows, dim]`.
    contexts: Vec<T>,
    /// Of projected queries: `[tgt rows, projection_dim]`.
    projected: Vec<T>,
    layers: Vec<LayerFlow<T>>,
    /// Of the loss of guided attention.
    alignment: Option<T>,
}

/// Gradients of one layer on their way back through time.
struct LayerFlow<T> {
    /// States before each step, `[tgt rows, dim]`; `c` only for the LSTM.
    hidden_before: Vec<T>,
    cell_before: Vec<T>,
    /// Of every `h`: `[tgt rows, dim]`.
    hidden: Vec<T>,
    /// Of `c`, by sentence: `[batch, dim]`; empty for the GRU.
    cell: Vec<T>,
    /// Of the recurrent products, `[tgt rows, gates · dim]`; empty for the LSTM, where they are
    /// those of the gates.
    recurrent_gates: Vec<T>,
    /// Of the initial `h`: `[batch, dim]`.
    initial: Vec<T>,
}

impl Decoder {
    /// Gradients of all inputs, in their order.
    pub(super) fn run_backward<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        output: &[T],
        mut run: Run<T>,
        (grad, of_loss): (&[T], Option<T>),
    ) -> Result<Vec<Vec<T>>> {
        let shape = &self.shape;
        let weights = StepWeights::new(shape, &inputs.weights, false);
        let kernel = shape
            .attends()
            .then(|| {
                let source = self.source(inputs);
                Kernel::new(&shape.attention, shape.dim, shape.dim, source, inputs.weights.vectors)
            })
            .transpose()?;
        let mut flow = self.flow(inputs, &run, grad);
        flow.alignment = of_loss;
        for (index, block) in self.blocks().iter().enumerate().rev() {
            let mut grad =
                self.attend_back(kernel.as_ref(), &weights, index, block, &mut run, &mut flow)?;
            for layer in (0..shape.layers).rev() {
                let rows = self.block_rows(block);
                let span = rows.start * shape.dim..rows.end * shape.dim;
                slices::add(&mut flow.layers[layer].hidden[span], &grad);
                for t in block.clone().rev() {
                    self.step_back(&weights, layer, t, &mut run, &mut flow.layers[layer]);
                }
                self.layer_input_back(&weights, layer, block, &run, &mut grad);
            }
            self.feed_back(&weights, block, &run, &mut flow.out);
        }
        self.collect(inputs, kernel.as_ref(), output, &run, flow)
    }

    fn flow<T: Real>(&self, inputs: &Inputs<'_, T>, run: &Run<T>, grad: &[T]) -> Flow<T> {
        let (shape, n, batch) = (&self.shape, self.rows.len(), self.steps.batch());
        let zeros = |len: usize| vec![T::ZERO; len];
        let lstm = shape.cell == Cell::Lstm;
        let layers = run.traces.iter().enumerate().map(|(l, trace)| {
            let initial = inputs.initial.get(l).copied();
            let (hidden_before, cell_before) =
                trace.states_before(shape.cell, &self.steps, Direction::Forward, initial);
            LayerFlow {
                hidden_before,
                cell_before,
                hidden: zeros(n * shape.dim),
                cell: zeros(if lstm { batch * shape.dim } else { 0 }),
                recurrent_gates: zeros(if lstm { 0 } else { n * shape.width() }),
                initial: zeros(batch * shape.dim),
            }
        });
        let attending = run.contexts.len();
        Flow {
            out: grad.to_vec(),
            combined: zeros(attending),
            contexts: zeros(attending),
            projected: zeros(run.projected.len()),
            layers: layers.collect(),
            alignment: None,
        }
    }

    /// From the gradient of `h̃` to that of the last layer's output, for a block.
    fn attend_back<T: Real>(
        &self,
        kernel: Option<&Kernel<'_, T>>,
        weights: &StepWeights<T>,
        index: usize,
        block: &Range<usize>,
        run: &mut Run<T>,
        flow: &mut Flow<T>,
    ) -> Result<Vec<T>> {
        let (dim, rows) = (self.shape.dim, self.block_rows(block));
        let span = rows.start * dim..rows.end * dim;
        let mut grad = flow.out[span.clone()].to_vec();
        self.drop(site::ATTENTIONAL, block, dim, &mut grad);
        let (Some(kernel), Some((of_context, of_query))) = (kernel, &weights.combine) else {
            return Ok(grad);
        };
        slices::tanh_backward(&mut grad, &run.squashed[span.clone()]);
        let n = rows.len();
        let upstream = Matrix::new(&grad, n, dim);
        let contexts = &mut flow.contexts[span.clone()];
        matmul_packed(upstream, of_context, MatrixMut::new(contexts, n, dim), Target::Replace);
        let mut tops = vec![T::ZERO; n * dim];
        matmul_packed(upstream, of_query, MatrixMut::new(&mut tops, n, dim), Target::Replace);
        flow.combined[span.clone()].copy_from_slice(&grad);

        let projection_dim: usize = self.shape.projections().iter().sum();
        let projected = rows.start * projection_dim..rows.end * projection_dim;
        let trace = &mut run.attention[index];
        let guided = self.guide.as_ref().zip(flow.alignment);
        let guided =
            guided.map(|(guide, factor)| trace.guided_gradient(guide.view(), rows.start, factor));
        kernel.backward(
            &Queries {
                rows: &self.rows[rows],
                states: &run.tops[span],
                projected: &run.projected[projected.clone()],
            },
            trace,
            OutputGrads { context: contexts, weights: None, log_weights: guided.as_deref() },
            QueryGrads { states: &mut tops, projected: &mut flow.projected[projected.clone()] },
        )?;
        let mut from = 0;
        for weight in &weights.projections {
            let part = &flow.projected[projected.clone()][from..];
            let part = Matrix::strided(part, n, weight.rows(), projection_dim);
            matmul_packed(part, weight, MatrixMut::new(&mut tops, n, dim), Target::Add);
            from += weight.rows();
        }
        Ok(tops)
    }

    /// One step of one layer.
    fn step_back<T: Real>(
        &self,
        weights: &StepWeights<T>,
        layer: usize,
        t: usize,
        run: &mut Run<T>,
        flow: &mut LayerFlow<T>,
    ) {
        let (dim, width, rows) = (self.shape.dim, self.shape.width(), self.steps.range(t));
        let (carried, from) = self.steps.carried(Direction::Forward, t);
        let (now, gates) = (rows.start * dim..rows.end * dim, rows.start * width..rows.end * width);
        let trace = &mut run.traces[layer];
        let here = rows.len() * dim;
        let mut earlier = vec![T::ZERO; here];
        let cell_len = if flow.cell.is_empty() { 0 } else { here };
        backward_step(
            self.shape.cell,
            &weights.hidden[layer],
            &mut trace.gates[gates.clone()],
            flow.recurrent_gates.get_mut(gates).unwrap_or(&mut []),
            &trace.extra[now.clone()],
            State {
                hidden: &flow.hidden_before[now.clone()],
                cell: flow.cell_before.get(now.clone()).unwrap_or(&[]),
            },
            &flow.hidden[now],
            StateGrad { hidden: &mut earlier, cell: &mut flow.cell[..cell_len] },
        );
        let (to_carried, to_initial) = earlier.split_at(carried * dim);
        slices::add(&mut flow.hidden[from * dim..(from + carried) * dim], to_carried);
        slices::add(&mut flow.initial[carried * dim..here], to_initial);
    }

    /// From the gradient of a layer's output (`grad`, a block's rows) and of its gates to that of
    /// the output of the layer below.
    fn layer_input_back<T: Real>(
        &self,
        weights: &StepWeights<T>,
        layer: usize,
        block: &Range<usize>,
        run: &Run<T>,
        grad: &mut [T],
    ) {
        if layer == 0 {
            return;
        }
        let (dim, width, rows) = (self.shape.dim, self.shape.width(), self.block_rows(block));
        let gates = &run.traces[layer].gates[rows.start * width..rows.end * width];
        let target = if self.shape.is_residual(layer) { Target::Add } else { Target::Replace };
        matmul_packed(
            Matrix::new(gates, rows.len(), width),
            &weights.input[layer],
            MatrixMut::new(grad, rows.len(), dim),
            target,
        );
        self.drop(Self::layer_site(layer), block, dim, grad);
    }

    /// Adds what the first layer's gates say about the attentional states that were fed.
    fn feed_back<T: Real>(
        &self,
        weights: &StepWeights<T>,
        block: &Range<usize>,
        run: &Run<T>,
        out: &mut [T],
    ) {
        let (Some(feed), t) = (&weights.feed, block.start) else { return };
        let (dim, width) = (self.shape.dim, self.shape.width());
        let (carried, from) = self.steps.carried(Direction::Forward, t);
        let first = self.steps.range(t).start;
        let gates = &run.traces[0].gates[first * width..(first + carried) * width];
        let out = &mut out[from * dim..(from + carried) * dim];
        let upstream = Matrix::new(gates, carried, width);
        matmul_packed(upstream, feed, MatrixMut::new(out, carried, dim), Target::Add);
    }

    /// Gradients of all inputs, once those of all gates are known.
    fn collect<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        kernel: Option<&Kernel<'_, T>>,
        output: &[T],
        run: &Run<T>,
        flow: Flow<T>,
    ) -> Result<Vec<Vec<T>>> {
        let (shape, n) = (&self.shape, self.rows.len());
        let (dim, width, embed_dim) = (shape.dim, shape.width(), shape.embed_dim);
        let gates = |l: usize| Matrix::new(&run.traces[l].gates, n, width);

        let input = Matrix::new(inputs.weights.layers[0].input, width, embed_dim);
        let embedded = product(gates(0), input, n, embed_dim);
        let mut source = Sources {
            states: vec![T::ZERO; inputs.states.len()],
            keys: vec![T::ZERO; if inputs.own_keys { inputs.keys.len() } else { 0 }],
            score: vec![T::ZERO; inputs.weights.vectors.score.len()],
            position: vec![T::ZERO; inputs.weights.vectors.position.len()],
        };
        if let Some(kernel) = kernel {
            self.gather(kernel, run, &flow, &mut source)?;
        }
        let mut grads = vec![embedded, source.states];
        if inputs.own_keys {
            grads.push(source.keys);
        }
        let mut weights = Vec::new();
        for (l, layer) in flow.layers.into_iter().enumerate() {
            let x = if l == 0 { inputs.embedded } else { &run.layer_inputs[l] };
            let input_dim = shape.input_dim(l);
            weights.push(product(gates(l).t(), Matrix::new(x, n, input_dim), width, input_dim));
            let recurrent = match shape.cell {
                Cell::Lstm => gates(l),
                Cell::Gru => Matrix::new(&layer.recurrent_gates, n, width),
            };
            let before = Matrix::new(&layer.hidden_before, n, dim);
            weights.push(product(recurrent.t(), before, width, dim));
            weights.push(column_sums(&run.traces[l].gates, width));
            if shape.cell == Cell::Gru {
                weights.push(column_sums(&layer.recurrent_gates, width).split_off(2 * dim));
            }
            if shape.bridged {
                grads.push(layer.initial);
                if shape.cell == Cell::Lstm {
                    grads.push(layer.cell);
                }
            }
        }
        if shape.feeding {
            let fed = shift(output, dim, &self.steps, Direction::Forward, None);
            weights.push(product(gates(0).t(), Matrix::new(&fed, n, dim), width, dim));
        }
        grads.extend(weights);
        if shape.attends() {
            let tops = Matrix::new(&run.tops, n, dim);
            let projection_dim: usize = shape.projections().iter().sum();
            let mut from = 0;
            for size in shape.projections() {
                let part = Matrix::strided(&flow.projected[from..], n, size, projection_dim);
                grads.push(product(part.t(), tops, size, dim));
                from += size;
            }
            for vector in [source.score, source.position] {
                if !vector.is_empty() {
                    grads.push(vector);
                }
            }
            let mut combine = vec![T::ZERO; 2 * dim * dim];
            let upstream = Matrix::new(&flow.combined, n, dim).t();
            for (from, x) in [(0, Matrix::new(&run.contexts, n, dim)), (dim, tops)] {
                let half = MatrixMut::strided(&mut combine[from..], dim, dim, 2 * dim);
                matmul(upstream, x, half, Target::Replace);
            }
            grads.push(combine);
        }
        Ok(grads)
    }

    /// What attention says about its source and vectors.
    fn gather<T: Real>(
        &self,
        kernel: &Kernel<'_, T>,
        run: &Run<T>,
        flow: &Flow<T>,
        source: &mut Sources<T>,
    ) -> Result<()> {
        let dim = self.shape.dim;
        let projection_dim: usize = self.shape.projections().iter().sum();
        let blocks = self.blocks();
        let steps: Vec<Step<'_, T>> = blocks
            .iter()
            .zip(&run.attention)
            .map(|(block, trace)| {
                let rows = self.block_rows(block);
                let projected = rows.start * projection_dim..rows.end * projection_dim;
                let span = rows.start * dim..rows.end * dim;
                let queries = Queries {
                    rows: &self.rows[rows],
                    states: &run.tops[span.clone()],
                    projected: &run.projected[projected],
                };
                Step { queries, trace, grad_context: &flow.contexts[span] }
            })
            .collect();
        kernel.gather(
            &steps,
            SourceGrads {
                states: &mut source.states,
                keys: &mut source.keys,
                score: &mut source.score,
                position: &mut source.position,
            },
        )?;
        Ok(())
    }
}

/// Gradients of what attention looks at and of its vectors.
struct Sources<T> {
    states: Vec<T>,
    keys: Vec<T>,
    score: Vec<T>,
    position: Vec<T>,
}

/// `A B`, `[rows, cols]`.
fn product<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, rows: usize, cols: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; rows * cols];
    matmul(a, b, MatrixMut::new(&mut out, rows, cols), Target::Replace);
    out
}

/// Sums over rows of `[.., width]`.
fn column_sums<T: Real>(rows: &[T], width: usize) -> Vec<T> {
    let mut sums = vec![T::ZERO; width];
    add_column_sums(rows, &mut sums);
    sums
}
