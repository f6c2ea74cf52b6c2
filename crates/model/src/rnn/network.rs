//! The recurrent network over tensors: in ordinary operations its definition, which is the test of the
//! fused path and runs on any device; with some operations of [`kernels::gpu`] in their place, what
//! trains on a GPU.
//!
//! Encoder and decoder keep the packed rows of a [`Batch`]; only attention sees a padded source,
//! through the plain layers of [`attn`]. Decoder, attention and input feeding go step by step
//! whatever the configuration. Dropout draws the same masks as the fused path, on the CPU, so
//! both train alike, number for number up to rounding.

use std::sync::Arc;

use attn::multi_head::reference::expected_surprise;
use attn::{Attention, Guide, Mask, Memory, attentional_state};
use candle_core::{DType, Tensor};
use kernels::recurrent::{Cell, Direction, Steps, Weights, reference};
use kernels::{Mode, dropout, gpu};

use super::decoder::{COMBINE, FEED, layer_name};
use super::encoder::{self, Encoded};
use super::{Rnn, site, tables};
use crate::batch::SourceBatch;
use crate::config::{Bridge, RnnConfig};
use crate::tensors::{Tensors, Way, pick};
use crate::{Batch, Error, Loss, Objective, Result};

impl Rnn<'_> {
    /// The loss of a batch, on the device and in the type of the parameters.
    pub(crate) fn loss_by(
        &self,
        way: Way,
        batch: &Batch,
        objective: &Objective,
        mode: &Mode,
    ) -> Result<Loss> {
        let tensors = Tensors::new(self.parameters, mode, way);
        let network = Network { config: self.config, mode, tensors };
        let guide = objective.guide(batch).filter(|_| self.config.attends());
        let guide = guide.map(|(_, guide)| guide.by_time().view());
        let (states, alignment) = network.decode(batch, guide)?; // [tgt rows, dim]
        let output = (&network.tensors, self.config.tie);
        let loss = objective.loss_by(output, &states, &batch.tgt_out, || batch.twins(), mode)?;
        objective.with_alignment(loss, alignment, batch, mode)
    }
}

/// Sentences as a search on a GPU starts from them.
pub(super) struct Started {
    /// Encoded sentences one after the other, `[src rows, dim]`.
    pub(super) states: Tensor,
    /// Where each sentence begins, and where the last ends.
    pub(super) offsets: Vec<usize>,
    /// The decoder's first states, layer by layer, `h` before `c`: `[sentences, dim]`.
    pub(super) layers: Vec<Vec<Tensor>>,
}

impl Rnn<'_> {
    /// Encodes sentences for a search on a GPU.
    pub(super) fn start_with(&self, tensors: Tensors, src: &SourceBatch) -> Result<Started> {
        let network = Network { config: self.config, mode: &Mode::Eval, tensors };
        let encoded = network.encode(src)?;
        let order: Vec<usize> = (0..src.ranks().len()).collect();
        let (rows, offsets) = src.by_sentence(&order);
        let ranks: Vec<u32> = src.ranks().iter().map(|&rank| rank as u32).collect();
        let shape = (order.len(), self.config.dim.get());
        let zeros = Tensor::zeros(shape, network.tensors.dtype(), network.tensors.device())?;
        let layers = network.bridge(&encoded.finals, &ranks, &zeros)?;
        Ok(Started { states: pick(&encoded.states, &rows)?, offsets, layers })
    }
}

/// The network with its parameters as tensors.
struct Network<'a> {
    config: &'a RnnConfig,
    mode: &'a Mode,
    tensors: Tensors,
}

/// What a decoder step hands on to the next.
struct State {
    /// Of each layer, `h` before `c`: `[rows, dim]`.
    layers: Vec<Vec<Tensor>>,
    /// `h̃` after dropout: `[rows, dim]`.
    attentional: Tensor,
    /// The source sentences, in the order of the rows; none without attention.
    memory: Option<Memory>,
}

/// What stays the same from decoder step to decoder step.
struct Decoder<'a> {
    steps: &'a Steps,
    /// The tokens read, after dropout: `[tgt rows, embed_dim]`.
    embedded: Tensor,
    layers: Vec<Weights>,
    /// None without attention.
    attention: Option<Attention>,
    /// What dropout multiplies each layer's input with, `[tgt rows, dim]`; the first layer's is
    /// dropped before, as an embedding.
    layer_masks: Vec<Option<Tensor>>,
    /// The same for the attentional states.
    mask: Option<Tensor>,
}

impl Network<'_> {
    /// The attentional states `h̃_t` of a batch, `[tgt rows, dim]`, packed as its target side; and
    /// the loss of its attention, `[1]`, if that is guided.
    fn decode(&self, batch: &Batch, guide: Option<Guide>) -> Result<(Tensor, Option<Tensor>)> {
        let encoded = self.encode(&batch.src)?;
        let decoder = self.decoder(batch)?;
        let mut state = self.start(decoder.attention.as_ref(), &encoded, batch)?;
        let mut out = Vec::with_capacity(decoder.steps.len());
        let mut alignment = None;
        for t in 0..decoder.steps.len() {
            let weights;
            (state, weights) = self.step(&decoder, t, state)?;
            out.push(state.attentional.clone());
            if let (Some(guide), Some(weights)) = (guide, weights) {
                let loss = surprise(&weights, guide, decoder.steps.range(t).start)?;
                alignment = Some(match alignment {
                    Some(before) => (before + loss)?,
                    None => loss,
                });
            }
        }
        Ok((Tensor::cat(&out, 0)?, alignment))
    }

    /// Encodes a batch of source sentences.
    fn encode(&self, src: &SourceBatch) -> Result<Encoded> {
        let (table, _, _) = tables(self.config.tie);
        let embedded = self.tensors.embed(table, &src.ids, "source")?; // [src rows, embed_dim]
        let mut x = self.drop(embedded, &src.steps, site::SRC_EMBEDDING)?;
        let mut finals = Vec::new();
        for layer in 0..self.config.layers.get() {
            if layer > 0 {
                x = self.drop(x, &src.steps, site::ENCODER + layer as u32)?;
            }
            let (states, last) = self.encoder_layer(layer, &src.steps, &x)?;
            finals.extend(last);
            x = if self.config.residual && layer > 0 { (states + x)? } else { states };
        }
        Ok(Encoded { states: x, finals })
    }

    /// One encoder layer: its states `[src rows, dim]` and the last of them, `h` before `c`, each
    /// `[batch, dim]`. Directions stand side by side.
    fn encoder_layer(
        &self,
        layer: usize,
        steps: &Arc<Steps>,
        x: &Tensor,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let cell = Cell::from(self.config.cell);
        let (rows, batch) = (steps.rows(), steps.batch());
        let (mut states, mut finals) = (Vec::new(), vec![Vec::new(); cell.states()]);
        for &direction in encoder::directions(self.config) {
            let weights = self.weights(&encoder::layer_name(layer, &direction));
            let out = match self.tensors.way() {
                Way::Plain => reference::recurrent(cell, direction, steps, x, None, &weights)?,
                Way::Gpu(_) if self.tensors.fixed() => {
                    gpu::recurrent::layer_of_search(cell, direction, steps, x, &weights)?
                }
                Way::Gpu(_) => gpu::recurrent::layer(cell, direction, steps, x, &weights)?,
            };
            let hidden = out.narrow(0, 0, rows)?; // [src rows, direction_dim]
            finals[0].push(pick(&hidden, &last_rows(steps, direction))?);
            if cell == Cell::Lstm {
                finals[1].push(out.narrow(0, rows, batch)?);
            }
            states.push(hidden);
        }
        let finals = finals.iter().map(|parts| Tensor::cat(parts, 1));
        Ok((Tensor::cat(&states, 1)?, finals.collect::<candle_core::Result<_>>()?))
    }

    /// Embeddings, weights, attention and masks of the decoder over a batch.
    fn decoder<'b>(&self, batch: &'b Batch) -> Result<Decoder<'b>> {
        let steps = &*batch.tgt_steps;
        let (_, table, _) = tables(self.config.tie);
        let embedded = self.tensors.embed(table, &batch.tgt_in, "target")?; // [tgt rows, embed_dim]
        let (dim, layers) = (self.config.dim.get(), self.config.layers.get());
        let attention = match self.config.attends() {
            true => {
                let parameters = self.tensors.builder().pp("attention");
                Some(Attention::new(&self.config.attention, dim, dim, &parameters)?)
            }
            false => None,
        };
        let layer_mask = |layer| match layer {
            0 => Ok(None),
            _ => self.mask(steps, dim, site::DECODER + layer as u32),
        };
        Ok(Decoder {
            steps,
            embedded: self.drop(embedded, steps, site::TGT_EMBEDDING)?,
            layers: (0..layers).map(|layer| self.weights(&layer_name(layer))).collect(),
            attention,
            layer_masks: (0..layers).map(layer_mask).collect::<Result<_>>()?,
            mask: self.mask(steps, dim, site::ATTENTIONAL)?,
        })
    }

    /// Where the decoder starts: nothing was attended to yet.
    fn start(
        &self,
        attention: Option<&Attention>,
        encoded: &Encoded,
        batch: &Batch,
    ) -> Result<State> {
        let shape = (batch.sentences(), self.config.dim.get());
        let zeros = Tensor::zeros(shape, self.tensors.dtype(), self.tensors.device())?;
        let memory = attention
            .map(|attention| {
                let (states, lengths) = padded(&encoded.states, &batch.src, &batch.tgt_order)?;
                let mask = Mask::from_lengths(&lengths, states.dim(1)?, states.device())?;
                Ok::<_, Error>(attention.memory(states, mask)?)
            })
            .transpose()?;
        let ranks = batch.src.ranks();
        let places: Vec<u32> = batch.tgt_order.iter().map(|&i| ranks[i] as u32).collect();
        let layers = self.bridge(&encoded.finals, &places, &zeros)?;
        Ok(State { layers, attentional: zeros, memory })
    }

    /// The decoder's first states, layer by layer, of the sentences whose last states are at `places`.
    fn bridge(
        &self,
        finals: &[Tensor],
        places: &[u32],
        zeros: &Tensor,
    ) -> Result<Vec<Vec<Tensor>>> {
        let states = &["hidden", "cell"][..Cell::from(self.config.cell).states()];
        let first = |layer: usize, s: usize| -> Result<Tensor> {
            let last = pick(&finals[layer * states.len() + s], places)?; // [batch, dim]
            Ok(match self.config.bridge {
                Bridge::Zero => zeros.clone(),
                Bridge::Copy => last,
                Bridge::Dense => {
                    let prefix = format!("bridge.{layer}.{}", states[s]);
                    self.tensors.affine(&prefix, &last)?.tanh()?
                }
            })
        };
        (0..self.config.layers.get())
            .map(|layer| (0..states.len()).map(|s| first(layer, s)).collect())
            .collect()
    }

    /// Step `t`, of the sentences that are still running at it, and its weights
    /// `[rows, 1, src_len]`.
    fn step(&self, decoder: &Decoder, t: usize, before: State) -> Result<(State, Option<Tensor>)> {
        let rows = decoder.steps.range(t);
        let mut state = before.first(rows.len())?;
        let mut x = decoder.embedded.narrow(0, rows.start, rows.len())?; // [rows, embed_dim]
        for (layer, weights) in decoder.layers.iter().enumerate() {
            x = masked(x, decoder.layer_masks[layer].as_ref(), rows.start)?;
            let mut inputs = x.matmul(&weights.input.t()?)?.broadcast_add(&weights.bias)?; // [rows, gates · dim]
            if layer == 0 && self.config.input_feeding {
                inputs = (inputs + state.attentional.matmul(&self.tensors.get(FEED).t()?)?)?;
            }
            let before = &state.layers[layer];
            let cell = self.config.cell.into();
            let after = match self.tensors.way() {
                Way::Plain => reference::step(cell, &inputs, before, weights)?,
                Way::Gpu(_) => gpu::recurrent::step(cell, &inputs, before, weights)?,
            };
            let residual = self.config.residual && layer > 0;
            x = if residual { (&after[0] + x)? } else { after[0].clone() }; // [rows, dim]
            state.layers[layer] = after;
        }
        let mut weights = None;
        if let (Some(attention), Some(memory)) = (&decoder.attention, &state.memory) {
            let seen = attention.forward(&x.unsqueeze(1)?, memory, t)?;
            let context = seen.context.squeeze(1)?; // [rows, dim]
            x = attentional_state(&context, &x, self.tensors.get(COMBINE))?; // [rows, dim]
            weights = Some(seen.weights);
        }
        state.attentional = masked(x, decoder.mask.as_ref(), rows.start)?;
        Ok((state, weights))
    }

    /// Dropout of packed rows, as configured.
    fn drop(&self, x: Tensor, steps: &Steps, site: u32) -> Result<Tensor> {
        let mask = self.mask(steps, x.dim(1)?, site)?;
        masked(x, mask.as_ref(), 0)
    }

    /// What dropout multiplies packed rows with, `[rows, dim]`: zeros, and for what is kept
    /// `1 / (1 − rate)`. None where nothing is dropped.
    fn mask(&self, steps: &Steps, dim: usize, site: u32) -> Result<Option<Tensor>> {
        let rate = self.config.dropout.get();
        let Mode::Train(random) = self.mode else { return Ok(None) };
        if rate == 0.0 {
            return Ok(None);
        }
        let mask = dropout::Mask::new(random.at(site), rate);
        let parts: Vec<_> = match self.config.variational {
            // Every step has the first one's mask, as far as sentences are still running.
            true => (0..steps.len()).map(|t| steps.range(t)).collect(),
            false => std::iter::once(0..steps.rows()).collect(),
        };
        Ok(Some(self.tensors.factors(&mask, &parts, dim)?))
    }

    /// The weights of a recurrent layer.
    fn weights(&self, prefix: &str) -> Weights {
        let get = |part: &str| self.tensors.get(&format!("{prefix}.{part}")).clone();
        Weights {
            input: get("input"),
            hidden: get("hidden"),
            bias: get("bias"),
            hidden_bias: self.tensors.find(&format!("{prefix}.hidden_bias")).cloned(),
        }
    }
}

impl State {
    /// The state of the first `n` rows: sentences stand by falling length, so these go on.
    fn first(self, n: usize) -> Result<Self> {
        if self.attentional.dim(0)? == n {
            return Ok(self);
        }
        let cut = |tensor: &Tensor| tensor.narrow(0, 0, n);
        let layer = |states: &Vec<Tensor>| states.iter().map(cut).collect();
        Ok(Self {
            layers: self.layers.iter().map(layer).collect::<candle_core::Result<_>>()?,
            attentional: cut(&self.attentional)?,
            memory: self.memory.map(|memory| memory.first(n)).transpose()?,
        })
    }
}

/// The loss of weights `[rows, 1, src_len]` that should go to the places of the guide's rows from
/// `first` on: `[1]`. Places that a row does not see have no say.
fn surprise(weights: &Tensor, guide: Guide, first: usize) -> Result<Tensor> {
    let (rows, _, src_len) = weights.dims3()?;
    let weights = weights.flatten_all()?;
    let values = weights.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let (mut at, mut masses) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let places = guide.row(first + row);
        for place in places.iter().map(|&place| row * src_len + place as usize) {
            if values[place] > 0.0 {
                at.push(place as u32);
                masses.push(1.0 / places.len() as f64);
            }
        }
    }
    Ok(expected_surprise(&weights, &at, masses)?)
}

/// The row at which each sentence ends.
fn last_rows(steps: &Steps, direction: Direction) -> Vec<u32> {
    (0..steps.batch()).map(|b| steps.last_row(direction, b) as u32).collect()
}

/// `x` `[n, dim]` times rows `row..row + n` of a mask.
fn masked(x: Tensor, mask: Option<&Tensor>, row: usize) -> Result<Tensor> {
    match mask {
        Some(mask) => Ok((&x * mask.narrow(0, row, x.dim(0)?)?)?),
        None => Ok(x),
    }
}

/// Packed rows `[src rows, dim]` as a padded batch `[batch, src_len, dim]` of the sentences
/// `order`, and how long these are. What pads is the first row; a mask must leave it out.
fn padded(x: &Tensor, src: &SourceBatch, order: &[usize]) -> Result<(Tensor, Vec<usize>)> {
    let (rows, offsets) = src.by_sentence(order);
    let sentences: Vec<&[u32]> = offsets.windows(2).map(|w| &rows[w[0]..w[1]]).collect();
    let src_len = src.steps.len();
    let places: Vec<u32> = sentences
        .iter()
        .flat_map(|rows| (0..src_len).map(|s| rows.get(s).copied().unwrap_or(0)))
        .collect();
    let x = pick(x, &places)?.reshape((sentences.len(), src_len, x.dim(1)?))?;
    Ok((x, sentences.iter().map(|rows| rows.len()).collect()))
}
