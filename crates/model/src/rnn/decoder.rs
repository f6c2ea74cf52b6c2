//! The decoder as one operation on the tape: recurrent layers, attention, input feeding.
//!
//! With input feeding a step needs all of the step before, so layers and attention go through
//! time together; without it each layer goes through all of time, and attention follows at
//! once. Both are the same code over *blocks* of steps: one step each, or all in one.
//!
//! ```text
//! x_t = [e_t; h̃_{t−1}]            h_t = layers(x_t)
//! a_t, c_t = attention(h_t, h̄)     h̃_t = tanh(W_c [c_t; h_t])         (§3.1, eq. 5)
//! ```

mod backward;
mod forward;

use std::ops::Range;
use std::sync::Arc;

use attn::{AttentionConfig, Keys, Kind, Row, Source, Vectors};
use candle_core::Tensor;
use kernels::dropout::Mask;
use kernels::matmul::{Matrix, Packed};
use kernels::operation::{Operation, Output, apply};
use kernels::recurrent::{Cell, State, Steps};
use kernels::{Mode, Random, Real};

use super::site;
use crate::config::RnnConfig;
use crate::parameters::Parameters;
use crate::{Result, guide};

/// The weight of the fed-back attentional state.
pub(super) const FEED: &str = "decoder.feed";
/// `W_c`.
pub(super) const COMBINE: &str = "attention.combine.weight";

/// Prefix of a layer's parameters.
pub(super) fn layer_name(layer: usize) -> String {
    format!("decoder.layers.{layer}")
}

/// The decoder over one batch.
#[derive(Debug)]
pub(super) struct Decoder {
    shape: Shape,
    steps: Arc<Steps>,
    /// Where each source sentence starts.
    offsets: Vec<usize>,
    /// The target positions, in the order of the rows.
    rows: Vec<Row>,
    /// What each row should look at, if attention is guided: then its loss stands behind the
    /// rows of the output.
    guide: Option<guide::Rows>,
    /// Drop rate, numbers, and whether a sentence keeps its mask.
    dropout: Option<(f32, Random, bool)>,
}

/// Sizes and choices of a decoder.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) cell: Cell,
    pub(super) layers: usize,
    pub(super) embed_dim: usize,
    /// Size of decoder states, encoder states and attentional states.
    pub(super) dim: usize,
    pub(super) feeding: bool,
    pub(super) residual: bool,
    /// Whether the first states come from the encoder.
    pub(super) bridged: bool,
    pub(super) attention: AttentionConfig,
}

impl Shape {
    pub(super) fn new(config: &RnnConfig) -> Self {
        Self {
            cell: config.cell.into(),
            layers: config.layers.get(),
            embed_dim: config.embed_dim.get(),
            dim: config.dim.get(),
            feeding: config.input_feeding,
            residual: config.residual,
            bridged: config.bridge != crate::config::Bridge::Zero,
            attention: config.attention.clone(),
        }
    }

    /// Width of a row of gates.
    pub(super) fn width(&self) -> usize {
        self.cell.gates() * self.dim
    }

    /// Size of the input of a layer.
    pub(super) fn input_dim(&self, layer: usize) -> usize {
        if layer == 0 { self.embed_dim } else { self.dim }
    }

    pub(super) fn attends(&self) -> bool {
        self.attention.kind != Kind::None
    }

    /// Sizes of the projections that queries go through before they attend.
    pub(super) fn projections(&self) -> Vec<usize> {
        self.attention.query_projections(self.dim).iter().map(|p| p.dim).collect()
    }

    /// Whether layer `l` adds its input to its output.
    pub(super) fn is_residual(&self, layer: usize) -> bool {
        self.residual && layer > 0
    }

    /// Names of the parameters that the decoder reads, in the order of [`Inputs`].
    pub(super) fn parameter_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for l in 0..self.layers {
            let parts = ["input", "hidden", "bias", "hidden_bias"];
            let n = if self.cell == Cell::Gru { 4 } else { 3 };
            names.extend(parts[..n].iter().map(|part| format!("{}.{part}", layer_name(l))));
        }
        if self.feeding {
            names.push(FEED.into());
        }
        if self.attends() {
            let projections = self.attention.query_projections(self.dim);
            names.extend(projections.iter().map(|p| format!("attention.{}", p.parameter)));
            names.extend(self.attention.score_vector().map(|p| format!("attention.{p}")));
            names.extend(self.attention.position_vector().map(|p| format!("attention.{p}")));
            names.push(COMBINE.into());
        }
        names
    }
}

/// The operation's inputs by name.
#[derive(Debug)]
struct Inputs<'a, T> {
    embedded: &'a [T],
    states: &'a [T],
    keys: &'a [T],
    /// Whether the keys are an input of their own.
    own_keys: bool,
    initial: Vec<State<'a, T>>,
    weights: ParameterSlices<'a, T>,
}

/// The decoder's parameters.
#[derive(Debug)]
pub(super) struct ParameterSlices<'a, T> {
    pub(super) layers: Vec<LayerSlices<'a, T>>,
    pub(super) feed: &'a [T],
    pub(super) projections: Vec<&'a [T]>,
    pub(super) vectors: Vectors<'a, T>,
    pub(super) combine: &'a [T],
}

/// The parameters of one layer.
#[derive(Debug)]
pub(super) struct LayerSlices<'a, T> {
    pub(super) input: &'a [T],
    pub(super) hidden: &'a [T],
    pub(super) bias: &'a [T],
    pub(super) hidden_bias: &'a [T],
}

impl<'a, T> ParameterSlices<'a, T> {
    /// Sorts slices that stand in the order of [`Shape::parameter_names`].
    pub(super) fn new(shape: &Shape, slices: &mut impl Iterator<Item = &'a [T]>) -> Self {
        let mut next = || slices.next().expect("one slice for each name");
        let layers = (0..shape.layers)
            .map(|_| LayerSlices {
                input: next(),
                hidden: next(),
                bias: next(),
                hidden_bias: if shape.cell == Cell::Gru { next() } else { &[] },
            })
            .collect();
        let feed = if shape.feeding { next() } else { &[] };
        let projections = shape.projections().iter().map(|_| next()).collect();
        let score = if shape.attention.score_vector().is_some() { next() } else { &[] };
        let position = if shape.attention.position_vector().is_some() { next() } else { &[] };
        let combine = if shape.attends() { next() } else { &[] };
        let vectors = Vectors { score, position };
        Self { layers, feed, projections, vectors, combine }
    }
}

/// The weights that every step multiplies with, packed.
#[derive(Debug)]
pub(super) struct StepWeights<T> {
    /// Of each layer's input.
    pub(super) input: Vec<Packed<T>>,
    /// Of each layer's state.
    pub(super) hidden: Vec<Packed<T>>,
    /// Of the fed-back attentional state.
    pub(super) feed: Option<Packed<T>>,
    /// Of the query, before it attends.
    pub(super) projections: Vec<Packed<T>>,
    /// The halves of `W_c` for context and query.
    pub(super) combine: Option<(Packed<T>, Packed<T>)>,
}

impl<T: Real> StepWeights<T> {
    /// Packs the weights for going forward (`transposed`, as `x Wᵀ`) or backward (`g W`).
    pub(super) fn new(shape: &Shape, weights: &ParameterSlices<'_, T>, transposed: bool) -> Self {
        let (dim, width) = (shape.dim, shape.width());
        let pack = |m: Matrix<'_, T>| Packed::new(if transposed { m.t() } else { m });
        let layers = || weights.layers.iter().enumerate();
        Self {
            input: layers()
                .map(|(l, w)| pack(Matrix::new(w.input, width, shape.input_dim(l))))
                .collect(),
            hidden: layers().map(|(_, w)| pack(Matrix::new(w.hidden, width, dim))).collect(),
            feed: shape.feeding.then(|| pack(Matrix::new(weights.feed, width, dim))),
            projections: weights
                .projections
                .iter()
                .zip(shape.projections())
                .map(|(w, size)| pack(Matrix::new(w, size, dim)))
                .collect(),
            combine: shape.attends().then(|| {
                let half =
                    |from: usize| Matrix::strided(&weights.combine[from..], dim, dim, 2 * dim);
                (pack(half(0)), pack(half(dim)))
            }),
        }
    }
}

impl Decoder {
    /// The decoder over target positions `rows`, packed by `steps`, of sources at `offsets`.
    pub(super) fn new(
        config: &RnnConfig,
        steps: Arc<Steps>,
        offsets: Vec<usize>,
        rows: Vec<Row>,
        guide: Option<guide::Rows>,
        mode: &Mode,
    ) -> Self {
        let rate = config.dropout.get();
        let dropout = match mode {
            Mode::Train(random) if rate > 0.0 => Some((rate, *random, config.variational)),
            _ => None,
        };
        Self { shape: Shape::new(config), steps, offsets, rows, guide, dropout }
    }

    /// Runs the decoder: `embedded` `[tgt rows, embed_dim]`, `states` and `keys`
    /// `[src rows, ..]` → `h̃` `[tgt rows, dim]`.
    pub(super) fn apply<T: Real>(
        self,
        parameters: &Parameters,
        embedded: &Tensor,
        states: &Tensor,
        keys: Option<&Tensor>,
        initial: &[Tensor],
    ) -> Result<Tensor> {
        let names = self.shape.parameter_names();
        let mut inputs = vec![embedded, states];
        inputs.extend(keys);
        inputs.extend(initial);
        inputs.extend(names.iter().map(|name| parameters.get(name)));
        Ok(apply::<T, _>(self, &inputs)?)
    }

    /// Blocks of steps that go through layers and attention together.
    fn blocks(&self) -> Vec<Range<usize>> {
        if self.shape.feeding {
            (0..self.steps.len()).map(|t| t..t + 1).collect()
        } else {
            let all = 0..self.steps.len();
            vec![all]
        }
    }

    /// The rows of a block of steps.
    fn block_rows(&self, block: &Range<usize>) -> Range<usize> {
        self.steps.range(block.start).start..self.steps.range(block.end - 1).end
    }

    fn inputs<'a, T>(&self, slices: &[&'a [T]]) -> Inputs<'a, T> {
        let shape = &self.shape;
        let mut slices = slices.iter().copied();
        let mut next = || slices.next().expect("one slice for each input");
        let (embedded, states) = (next(), next());
        let key_projection = shape.attention.key_projection(shape.dim);
        let own_keys = shape.attends() && matches!(key_projection, Keys::Projected(_));
        let keys = match key_projection {
            _ if own_keys => next(),
            Keys::States => states,
            _ => &[],
        };
        let mut initial = Vec::new();
        if shape.bridged {
            for _ in 0..shape.layers {
                let hidden = next();
                let cell = if shape.cell == Cell::Lstm { next() } else { &[] };
                initial.push(State { hidden, cell });
            }
        }
        let weights = ParameterSlices::new(shape, &mut slices);
        Inputs { embedded, states, keys, own_keys, initial, weights }
    }

    /// How far attention is from what it should look at, in nats, over all rows.
    fn guided_loss<T: Real>(&self, guide: &guide::Rows, run: &forward::Run<T>) -> f64 {
        let blocks = self.blocks();
        let of_block = |(block, trace): (&Range<usize>, &attn::Trace<T>)| {
            trace.guided_loss(guide.view(), self.block_rows(block).start)
        };
        blocks.iter().zip(&run.attention).map(of_block).sum()
    }

    fn source<'a, T>(&'a self, inputs: &Inputs<'a, T>) -> Source<'a, T> {
        Source { states: inputs.states, keys: inputs.keys, offsets: &self.offsets }
    }

    /// Applies dropout to the values of `rows` of a place.
    fn drop<T: Real>(&self, site: u32, block: &Range<usize>, dim: usize, values: &mut [T]) {
        let Some((rate, random, variational)) = self.dropout else { return };
        let mask = Mask::new(random.at(site), rate);
        let first = self.steps.range(block.start).start;
        if variational {
            for t in block.clone() {
                let rows = self.steps.range(t);
                mask.apply(0, &mut values[(rows.start - first) * dim..(rows.end - first) * dim]);
            }
        } else {
            mask.apply(first * dim, values);
        }
    }

    /// The dropout site of a layer's input.
    fn layer_site(layer: usize) -> u32 {
        site::DECODER + layer as u32
    }
}

impl<T: Real> Operation<T> for Decoder {
    type Saved = forward::Run<T>;

    fn name(&self) -> &'static str {
        "decoder"
    }

    fn forward(&self, inputs: &[&[T]]) -> candle_core::Result<Output<T, Self::Saved>> {
        let inputs = self.inputs(inputs);
        let (mut values, saved) = self.run_forward(&inputs).map_err(candle_core::Error::wrap)?;
        let shape = match &self.guide {
            None => (self.rows.len(), self.shape.dim).into(),
            Some(guide) => {
                values.push(T::of(self.guided_loss(guide, &saved)));
                values.len().into()
            }
        };
        Ok(Output { values, shape, saved })
    }

    fn backward(
        &self,
        inputs: &[&[T]],
        output: &[T],
        saved: Self::Saved,
        grad: &[T],
    ) -> candle_core::Result<Vec<Vec<T>>> {
        let inputs = self.inputs(inputs);
        let rows = self.rows.len() * self.shape.dim;
        let (grad, of_loss) = (&grad[..rows], grad.get(rows).copied());
        self.run_backward(&inputs, &output[..rows], saved, (grad, of_loss))
            .map_err(candle_core::Error::wrap)
    }
}
