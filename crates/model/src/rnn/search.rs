//! One step at a time, for many hypotheses at once: what search needs, without a tape.
//!
//! Every row of a step is computed from its own sentence and prefix alone, in an order of
//! summation that no other row changes: a hypothesis gets the same bits in any batch.

pub(crate) mod gpu;

use std::sync::Arc;

use attn::{Kernel, Keys, Queries, Row, Vectors};
use kernels::recurrent::{Cell, State as Before, forward_step_by};
use kernels::{Mode, slices, storage};

use super::decoder::{LayerSlices, ParameterSlices, Shape};
use super::{Rnn, tables};
use crate::batch::SourceBatch;
use crate::checkpoint::Matrix::Numbers;
use crate::config::RnnConfig;
use crate::linear::{Linear, Room};
use crate::parameters::Parameters;
use crate::{Result, SearchPrecision, Special};

/// A recurrent model made ready to search: its step weights packed, once for all sentences.
#[derive(Debug)]
pub(crate) struct Ready {
    config: RnnConfig,
    parameters: Parameters,
    special: Special,
    shape: Shape,
    layers: Vec<LayerWeights>,
    /// Of the attentional state that is fed back.
    feed: Option<Linear>,
    attention: AttentionWeights,
    embedding: Vec<f32>,
}

/// The weights of a layer of the decoder.
#[derive(Debug)]
struct LayerWeights {
    /// With the bias.
    input: Linear,
    hidden: Linear,
    hidden_bias: Vec<f32>,
}

/// The weights of attention; empty without it.
#[derive(Debug)]
struct AttentionWeights {
    /// Of the query, before it attends.
    projections: Vec<Linear>,
    score: Vec<f32>,
    position: Vec<f32>,
    /// `W_c`, of context and query side by side.
    combine: Option<Linear>,
}

/// Where a search stands: one row for each hypothesis.
#[derive(Clone, Debug)]
pub(crate) struct State {
    source: Arc<Encoded>,
    /// The sentence of each row, and the step that comes next.
    rows: Vec<Row>,
    layers: Vec<Layer>,
    /// What the output layer sees, `h̃` with attention: `[rows, dim]`. Input feeding reads it at the
    /// next step; before the first it is zero.
    out: Vec<f32>,
    /// Whether anybody will look at what the rows saw.
    pub(crate) watched: bool,
    /// What each row saw of the source; nothing if nobody will look at it.
    weights: Vec<Vec<f32>>,
    /// Memory to work in.
    room: Room,
}

/// Encoded sentences, one after the other.
#[derive(Debug)]
struct Encoded {
    states: Vec<f32>,
    /// Empty if the keys are the states or absent.
    keys: Vec<f32>,
    offsets: Vec<usize>,
}

/// The states of one layer: `[rows, dim]`; `c` only for the LSTM.
#[derive(Clone, Debug)]
struct Layer {
    hidden: Vec<f32>,
    cell: Vec<f32>,
}

impl State {
    /// What the output layer sees, `[rows, dim]`, and what each row saw of the source.
    pub(crate) fn results(&mut self) -> (&[f32], &mut [Vec<f32>]) {
        (&self.out, &mut self.weights)
    }
}

impl Ready {
    pub(crate) fn new(
        config: &RnnConfig,
        parameters: &Parameters,
        special: Special,
        precision: SearchPrecision,
    ) -> Result<Self> {
        let shape = Shape::new(config);
        let values = |name: &str| storage::to_vec::<f32>(parameters.get(name));
        let names = shape.parameter_names();
        let owned = names.iter().map(|n| values(n)).collect::<candle_core::Result<Vec<_>>>()?;
        let slices = ParameterSlices::new(&shape, &mut owned.iter().map(Vec::as_slice));
        let (_, embedding, _) = tables(config.tie);
        let (dim, width) = (shape.dim, shape.width());
        let linear = |weight: &[f32], sizes: [usize; 2], bias: &[f32]| {
            let bias = if bias.is_empty() { vec![0.0; sizes[0]] } else { bias.to_vec() };
            Linear::new(sizes, Numbers(weight.to_vec()), bias, precision)
        };
        let layer = |(l, layer): (usize, &LayerSlices<'_, f32>)| LayerWeights {
            input: linear(layer.input, [width, shape.input_dim(l)], layer.bias),
            hidden: linear(layer.hidden, [width, dim], &[]),
            hidden_bias: layer.hidden_bias.to_vec(),
        };
        let projections = slices.projections.iter().zip(shape.projections());
        Ok(Self {
            layers: slices.layers.iter().enumerate().map(layer).collect(),
            feed: shape.feeding.then(|| linear(slices.feed, [width, dim], &[])),
            attention: AttentionWeights {
                projections: projections.map(|(w, size)| linear(w, [size, dim], &[])).collect(),
                score: slices.vectors.score.to_vec(),
                position: slices.vectors.position.to_vec(),
                combine: shape.attends().then(|| linear(slices.combine, [dim, 2 * dim], &[])),
            },
            embedding: values(embedding)?,
            config: config.clone(),
            parameters: parameters.clone(),
            special,
            shape,
        })
    }

    /// Goes through all layers: the last one's output, `[rows, dim]`.
    fn layers(&self, state: &mut State, last: &[u32]) -> Vec<f32> {
        let (shape, n) = (&self.shape, last.len());
        let (dim, width, embed_dim) = (shape.dim, shape.width(), shape.embed_dim);
        let mut x = Vec::with_capacity(n * embed_dim);
        for &id in last {
            x.extend_from_slice(&self.embedding[id as usize * embed_dim..][..embed_dim]);
        }
        let State { layers, out: fed, room, .. } = state;
        let mut gates = Vec::with_capacity(n * width);
        for (l, (layer, weights)) in layers.iter_mut().zip(&self.layers).enumerate() {
            weights.input.forward(&x, room, &mut gates);
            if let (0, Some(feed)) = (l, &self.feed) {
                feed.accumulate(fed, room, &mut gates);
            }
            let (mut hidden, mut extra) = (vec![0.0; n * dim], vec![0.0; n * dim]);
            // What a recurrent product replaces is zero.
            let product = |out: &mut [f32], _| weights.hidden.accumulate(&layer.hidden, room, out);
            let before = Before { hidden: &layer.hidden, cell: &layer.cell };
            let bias = &weights.hidden_bias;
            forward_step_by(
                shape.cell,
                dim,
                product,
                bias,
                &mut gates,
                before,
                &mut hidden,
                &mut extra,
            );
            if shape.is_residual(l) {
                slices::add(&mut x, &hidden);
            } else {
                x.clone_from(&hidden);
            }
            layer.hidden = hidden;
            if shape.cell == Cell::Lstm {
                layer.cell = extra;
            }
        }
        x
    }

    /// Attentional states `[rows, dim]`, and what each row saw.
    fn attend(&self, state: &mut State, tops: Vec<f32>) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let (shape, n) = (&self.shape, state.rows.len());
        let AttentionWeights { score, position, combine: Some(combine), .. } = &self.attention
        else {
            return Ok((tops, vec![Vec::new(); n]));
        };
        let dim = shape.dim;
        let encoded = &state.source;
        let keys = match shape.attention.key_projection(dim) {
            Keys::States => &encoded.states,
            Keys::Projected(_) | Keys::Absent => &encoded.keys,
        };
        let source = attn::Source { states: &encoded.states, keys, offsets: &encoded.offsets };
        let vectors = Vectors { score, position };
        let kernel = Kernel::new(&shape.attention, dim, dim, source, vectors)?;
        let projected = self.project(&tops, &mut state.room);
        let mut contexts = vec![0.0; n * dim];
        let queries = Queries { rows: &state.rows, states: &tops, projected: &projected };
        let trace = kernel.forward(&queries, &mut contexts)?;
        let sides = contexts.chunks_exact(dim).zip(tops.chunks_exact(dim));
        let both: Vec<f32> = sides.flat_map(|(context, top)| [context, top].concat()).collect();
        let mut out = Vec::new();
        combine.forward(&both, &mut state.room, &mut out);
        slices::tanh(&mut out);
        if !state.watched {
            return Ok((out, vec![Vec::new(); n]));
        }
        let weights = state.rows.iter().enumerate().map(|(row, place)| {
            let offsets = &encoded.offsets;
            trace.dense(row, offsets[place.sentence + 1] - offsets[place.sentence])
        });
        Ok((out, weights.collect()))
    }
}

impl Ready {
    /// The projections of queries, side by side.
    fn project(&self, queries: &[f32], room: &mut Room) -> Vec<f32> {
        let (n, mut parts) = (queries.len() / self.shape.dim, Vec::new());
        for weight in &self.attention.projections {
            let mut part = Vec::new();
            weight.forward(queries, room, &mut part);
            parts.push(part);
        }
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let sizes = parts.iter().map(|part| part.len().checked_div(n).unwrap_or(0));
        let sizes: Vec<usize> = sizes.collect();
        let row = |row: usize| {
            let cut =
                move |(part, &size): (&'_ Vec<f32>, &usize)| part[row * size..][..size].to_vec();
            parts.iter().zip(&sizes).flat_map(cut)
        };
        (0..n).flat_map(row).collect()
    }

    /// Whether it has attention.
    pub(crate) fn attends(&self) -> bool {
        self.config.attends()
    }

    /// Encodes sentences of known ids.
    pub(crate) fn start(&self, src: &[Vec<u32>]) -> Result<State> {
        let src: Vec<&[u32]> = src.iter().map(Vec::as_slice).collect();
        let n = src.len();
        let batch = SourceBatch::new(&src, self.special)?;
        let network = Rnn { config: &self.config, parameters: &self.parameters };
        let encoded = network.encode::<f32>(&batch, &Mode::Eval)?;
        let places: Vec<usize> = (0..n).collect();
        let (rows, offsets) = batch.by_sentence(&places);
        let states = kernels::embedding::embedding::<f32>(&encoded.states, &rows)?;
        let keys = network.keys::<f32>(&states)?;
        let ranks = batch.ranks().iter().map(|&r| r as u32).collect();
        let initial = network.bridge::<f32>(&encoded.finals, &ranks)?;
        let initial =
            initial.iter().map(storage::to_vec).collect::<candle_core::Result<Vec<_>>>()?;

        let dim = self.shape.dim;
        let lstm = self.shape.cell == Cell::Lstm;
        let mut initial = initial.into_iter();
        let mut state = |wanted: bool| match wanted {
            true => initial.next().unwrap_or_else(|| vec![0.0; n * dim]),
            false => Vec::new(),
        };
        let layers = (0..self.shape.layers)
            .map(|_| Layer { hidden: state(true), cell: state(lstm) })
            .collect();
        let source = Encoded {
            states: storage::to_vec(&states)?,
            keys: keys.map(|keys| storage::to_vec(&keys)).transpose()?.unwrap_or_default(),
            offsets,
        };
        Ok(State {
            source: Arc::new(source),
            rows: (0..n).map(|sentence| Row { sentence, position: 0 }).collect(),
            layers,
            out: vec![0.0; n * dim],
            watched: true,
            weights: Vec::new(),
            room: Room::default(),
        })
    }

    /// Lets all rows read as many known ids.
    pub(crate) fn read(&self, state: &mut State, last: &[u32]) -> Result<()> {
        let tops = self.layers(state, last);
        (state.out, state.weights) = self.attend(state, tops)?;
        for row in &mut state.rows {
            row.position += 1;
        }
        Ok(())
    }

    /// Makes old row `rows[i]`, which there is, the new row `i`.
    pub(crate) fn select(&self, state: &mut State, rows: &[usize]) {
        let dim = self.shape.dim;
        let pick = |values: &mut Vec<f32>| {
            if !values.is_empty() {
                *values = rows.iter().flat_map(|&r| values[r * dim..][..dim].to_vec()).collect();
            }
        };
        for layer in &mut state.layers {
            pick(&mut layer.hidden);
            pick(&mut layer.cell);
        }
        pick(&mut state.out);
        state.rows = rows.iter().map(|&row| state.rows[row]).collect();
    }
}
