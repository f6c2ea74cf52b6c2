//! One step at a time, for many hypotheses at once: what search needs, without a tape.
//!
//! Every row of a step is computed from its own sentence and prefix alone, in an order of
//! summation that no other row changes: a hypothesis gets the same bits in any batch.

use std::ops::Range;
use std::sync::Arc;

use attn::{Kernel, Keys, Queries, Row, Source, Vectors};
use kernels::matmul::{Matrix, MatrixMut, Packed, Target, matmul_packed};
use kernels::recurrent::{Cell, State as Before, forward_step, repeat_row};
use kernels::{Mode, slices, storage};

use super::decoder::{ParameterSlices, Shape, StepWeights, combine_states, project};
use super::{Rnn, tables};
use crate::batch::SourceBatch;
use crate::config::RnnConfig;
use crate::linear::{Linear, Room};
use crate::parameters::Parameters;
use crate::{Result, SearchPrecision, Special, Step};

/// A recurrent model made ready to search: its step weights packed, once for all sentences.
#[derive(Debug)]
pub(crate) struct Ready {
    config: RnnConfig,
    parameters: Parameters,
    special: Special,
    shape: Shape,
    weights: StepWeights<f32>,
    biases: Vec<Vec<f32>>,
    hidden_biases: Vec<Vec<f32>>,
    score: Vec<f32>,
    position: Vec<f32>,
    embedding: Vec<f32>,
    output: Linear,
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
    /// What each row saw of the source.
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
        let (_, embedding, output) = tables(config.tie);
        let source = crate::source::Source::Memory(parameters);
        Ok(Self {
            weights: StepWeights::new(&shape, &slices, true),
            biases: slices.layers.iter().map(|l| l.bias.to_vec()).collect(),
            hidden_biases: slices.layers.iter().map(|l| l.hidden_bias.to_vec()).collect(),
            score: slices.vectors.score.to_vec(),
            position: slices.vectors.position.to_vec(),
            embedding: values(embedding)?,
            output: source.linear(output, "output.bias", precision)?,
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
        for (l, layer) in state.layers.iter_mut().enumerate() {
            let mut gates = vec![0.0; n * width];
            repeat_row(&self.biases[l], &mut gates);
            let input = Matrix::new(&x, n, shape.input_dim(l));
            let add = |a, weight: &Packed<f32>, gates: &mut [f32]| {
                matmul_packed(a, weight, MatrixMut::new(gates, n, width), Target::Add);
            };
            add(input, &self.weights.input[l], &mut gates);
            if let (0, Some(feed)) = (l, &self.weights.feed) {
                add(Matrix::new(&state.out, n, dim), feed, &mut gates);
            }
            let (mut hidden, mut extra) = (vec![0.0; n * dim], vec![0.0; n * dim]);
            forward_step(
                shape.cell,
                &self.weights.hidden[l],
                &self.hidden_biases[l],
                &mut gates,
                Before { hidden: &layer.hidden, cell: &layer.cell },
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
    fn attend(&self, state: &State, tops: Vec<f32>) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let (shape, n) = (&self.shape, state.rows.len());
        let Some(combine) = &self.weights.combine else {
            return Ok((tops, vec![Vec::new(); n]));
        };
        let dim = shape.dim;
        let encoded = &state.source;
        let keys = match shape.attention.key_projection(dim) {
            Keys::States => &encoded.states,
            Keys::Projected(_) | Keys::Absent => &encoded.keys,
        };
        let source = Source { states: &encoded.states, keys, offsets: &encoded.offsets };
        let vectors = Vectors { score: &self.score, position: &self.position };
        let kernel = Kernel::new(&shape.attention, dim, dim, source, vectors)?;
        let projection_dim: usize = shape.projections().iter().sum();
        let mut projected = vec![0.0; n * projection_dim];
        project(&self.weights, &tops, dim, projection_dim, &mut projected);
        let mut contexts = vec![0.0; n * dim];
        let queries = Queries { rows: &state.rows, states: &tops, projected: &projected };
        let trace = kernel.forward(&queries, &mut contexts)?;
        let mut out = vec![0.0; n * dim];
        combine_states(combine, &contexts, &tops, dim, &mut out);
        let weights = state.rows.iter().enumerate().map(|(row, place)| {
            let offsets = &encoded.offsets;
            trace.dense(row, offsets[place.sentence + 1] - offsets[place.sentence])
        });
        Ok((out, weights.collect()))
    }
}

impl Ready {
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

    /// What follows some of the rows, which there are.
    pub(crate) fn predict(&self, state: &mut State, rows: Range<usize>, step: &mut Step) {
        let dim = self.shape.dim;
        let out = &state.out[rows.start * dim..rows.end * dim];
        self.output.predict(out, &mut state.room, step);
        step.weights.clear();
        step.weights.extend(state.weights[rows].iter_mut().map(std::mem::take));
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
