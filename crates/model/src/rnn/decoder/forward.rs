//! The decoder's forward pass over a batch.

use std::ops::Range;

use attn::{Kernel, Queries, Trace as AttentionTrace};
use kernels::matmul::{Matrix, MatrixMut, Target, matmul, matmul_packed};
use kernels::recurrent::{Before, Direction, Trace, forward_step, repeat_row};
use kernels::{Real, slices};

use super::{Decoder, Inputs, StepWeights, site};
use crate::Result;

/// What a forward pass leaves for the backward pass.
#[derive(Debug)]
pub(in crate::rnn) struct Run<T> {
    /// Of each layer.
    pub(super) traces: Vec<Trace<T>>,
    /// Inputs of each layer after the first, `[tgt rows, dim]`; empty for the first.
    pub(super) layer_inputs: Vec<Vec<T>>,
    /// Outputs of the last layer, `[tgt rows, dim]`: the queries.
    pub(super) tops: Vec<T>,
    /// Projected queries, `[tgt rows, projection_dim]`.
    pub(super) projected: Vec<T>,
    /// `c_t`: `[tgt rows, dim]`; empty without attention.
    pub(super) contexts: Vec<T>,
    /// `h̃_t` before dropout, `[tgt rows, dim]`; empty without attention.
    pub(super) squashed: Vec<T>,
    /// What attention kept, block by block.
    pub(super) attention: Vec<AttentionTrace<T>>,
}

impl Decoder {
    /// `h̃` `[tgt rows, dim]`, and what the backward pass needs.
    pub(super) fn run_forward<T: Real>(&self, inputs: &Inputs<'_, T>) -> Result<(Vec<T>, Run<T>)> {
        let (shape, n) = (&self.shape, self.rows.len());
        let (dim, width) = (shape.dim, shape.width());
        let weights = StepWeights::new(shape, &inputs.weights, true);
        let attending = if shape.attends() { n } else { 0 };
        let projection_dim: usize = shape.projections().iter().sum();
        let mut run = Run {
            traces: (0..shape.layers).map(|_| Trace::new(shape.cell, n, dim)).collect(),
            layer_inputs: (0..shape.layers)
                .map(|l| vec![T::ZERO; if l == 0 { 0 } else { n * dim }])
                .collect(),
            tops: vec![T::ZERO; n * dim],
            projected: vec![T::ZERO; n * projection_dim],
            contexts: vec![T::ZERO; attending * dim],
            squashed: vec![T::ZERO; attending * dim],
            attention: Vec::new(),
        };
        let kernel = shape
            .attends()
            .then(|| {
                let source = self.source(inputs);
                Kernel::new(&shape.attention, dim, dim, source, inputs.weights.vectors)
            })
            .transpose()?;
        let mut out = vec![T::ZERO; n * dim];

        repeat_row(inputs.weights.layers[0].bias, &mut run.traces[0].gates);
        matmul(
            Matrix::new(inputs.embedded, n, shape.embed_dim),
            Matrix::new(inputs.weights.layers[0].input, width, shape.embed_dim).t(),
            MatrixMut::new(&mut run.traces[0].gates, n, width),
            Target::Add,
        );
        let mut before = Before::new(shape.cell, self.steps.batch(), dim);
        for block in self.blocks() {
            self.feed(&weights, &block, &out, &mut run);
            for layer in 0..shape.layers {
                self.layer_input(inputs, &weights, layer, &block, &mut run);
                for t in block.clone() {
                    self.step(inputs, &weights, layer, t, &mut before, &mut run);
                }
            }
            self.top(&block, &mut run);
            self.attend(kernel.as_ref(), &weights, &block, &mut run, &mut out)?;
        }
        Ok((out, run))
    }

    /// Adds what the attentional states of the step before say to the first layer's gates.
    fn feed<T: Real>(
        &self,
        weights: &StepWeights<T>,
        block: &Range<usize>,
        out: &[T],
        run: &mut Run<T>,
    ) {
        let (dim, width) = (self.shape.dim, self.shape.width());
        let (Some(feed), t) = (&weights.feed, block.start) else { return };
        let (carried, from) = self.steps.carried(Direction::Forward, t);
        let rows = self.steps.range(t);
        let gates = &mut run.traces[0].gates[rows.start * width..(rows.start + carried) * width];
        let fed = Matrix::new(&out[from * dim..(from + carried) * dim], carried, dim);
        matmul_packed(fed, feed, MatrixMut::new(gates, carried, width), Target::Add);
    }

    /// Computes a later layer's input for a block, and its share of the gates.
    fn layer_input<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        weights: &StepWeights<T>,
        layer: usize,
        block: &Range<usize>,
        run: &mut Run<T>,
    ) {
        if layer == 0 {
            return;
        }
        let (dim, width, rows) = (self.shape.dim, self.shape.width(), self.block_rows(block));
        let span = rows.start * dim..rows.end * dim;
        let (below, this) = run.layer_inputs.split_at_mut(layer);
        let x = &mut this[0][span.clone()];
        x.copy_from_slice(&run.traces[layer - 1].hidden[span.clone()]);
        if self.shape.is_residual(layer - 1) {
            slices::add(x, &below[layer - 1][span]);
        }
        self.drop(Self::layer_site(layer), block, dim, x);
        let gates = &mut run.traces[layer].gates[rows.start * width..rows.end * width];
        repeat_row(inputs.weights.layers[layer].bias, gates);
        matmul_packed(
            Matrix::new(x, rows.len(), dim),
            &weights.input[layer],
            MatrixMut::new(gates, rows.len(), width),
            Target::Add,
        );
    }

    /// One step of one layer.
    fn step<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        weights: &StepWeights<T>,
        layer: usize,
        t: usize,
        before: &mut Before<T>,
        run: &mut Run<T>,
    ) {
        let (dim, width, rows) = (self.shape.dim, self.shape.width(), self.steps.range(t));
        let (carried, from) = self.steps.carried(Direction::Forward, t);
        let trace = &mut run.traces[layer];
        before.load(trace, from, carried, rows.len(), inputs.initial.get(layer).copied());
        forward_step(
            self.shape.cell,
            &weights.hidden[layer],
            inputs.weights.layers[layer].hidden_bias,
            &mut trace.gates[rows.start * width..rows.end * width],
            before.state(rows.len()),
            &mut trace.hidden[rows.start * dim..rows.end * dim],
            &mut trace.extra[rows.start * dim..rows.end * dim],
        );
    }

    /// The last layer's output for a block.
    fn top<T: Real>(&self, block: &Range<usize>, run: &mut Run<T>) {
        let last = self.shape.layers - 1;
        let rows = self.block_rows(block);
        let span = rows.start * self.shape.dim..rows.end * self.shape.dim;
        let top = &mut run.tops[span.clone()];
        top.copy_from_slice(&run.traces[last].hidden[span.clone()]);
        if self.shape.is_residual(last) {
            slices::add(top, &run.layer_inputs[last][span]);
        }
    }

    /// Attention and attentional states of a block.
    fn attend<T: Real>(
        &self,
        kernel: Option<&Kernel<'_, T>>,
        weights: &StepWeights<T>,
        block: &Range<usize>,
        run: &mut Run<T>,
        out: &mut [T],
    ) -> Result<()> {
        let (dim, rows) = (self.shape.dim, self.block_rows(block));
        let span = rows.start * dim..rows.end * dim;
        let out = &mut out[span.clone()];
        let tops = &run.tops[span.clone()];
        if let (Some(kernel), Some(combine)) = (kernel, &weights.combine) {
            let projection_dim: usize = self.shape.projections().iter().sum();
            let projected =
                &mut run.projected[rows.start * projection_dim..rows.end * projection_dim];
            project(weights, tops, dim, projection_dim, projected);
            let queries = Queries { rows: &self.rows[rows.clone()], states: tops, projected };
            let contexts = &mut run.contexts[span.clone()];
            run.attention.push(kernel.forward(&queries, contexts)?);
            combine_states(combine, contexts, tops, dim, out);
            run.squashed[span].copy_from_slice(out);
        } else {
            out.copy_from_slice(tops);
        }
        self.drop(site::ATTENTIONAL, block, dim, out);
        Ok(())
    }
}

/// Projects queries `[rows, dim]` by each projection in turn: `[rows, projection_dim]`.
fn project<T: Real>(
    weights: &StepWeights<T>,
    queries: &[T],
    dim: usize,
    projection_dim: usize,
    projected: &mut [T],
) {
    let rows = queries.len() / dim;
    let mut from = 0;
    for weight in &weights.projections {
        if rows > 0 {
            let out = &mut projected[from..];
            let out = MatrixMut::strided(out, rows, weight.cols(), projection_dim);
            matmul_packed(Matrix::new(queries, rows, dim), weight, out, Target::Replace);
        }
        from += weight.cols();
    }
}

/// `tanh(W_c [c_t; h_t])` of each row.
fn combine_states<T: Real>(
    (of_context, of_query): &(kernels::matmul::Packed<T>, kernels::matmul::Packed<T>),
    contexts: &[T],
    queries: &[T],
    dim: usize,
    out: &mut [T],
) {
    let rows = queries.len() / dim;
    let product = |x, weight, out: &mut [T], target| {
        matmul_packed(Matrix::new(x, rows, dim), weight, MatrixMut::new(out, rows, dim), target);
    };
    product(contexts, of_context, out, Target::Replace);
    product(queries, of_query, out, Target::Add);
    slices::tanh(out);
}
