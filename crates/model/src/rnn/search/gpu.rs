//! The same steps on a GPU, by [`kernels::gpu`]: rows never leave it, but for the scores of what may come
//! next and for what was seen of the source.
//!
//! All products have one order of summation, so a hypothesis gets the same bits in any batch here too,
//! though not those of the processor.

use attn::{Keys, Score as ScoreKind};
use candle_core::{DType, Device, Tensor};
use kernels::gpu::luong::{Luong, Score};
use kernels::gpu::recurrent::{gates, widened};
use kernels::gpu::{Linear, search};
use kernels::recurrent::Cell;

use super::super::decoder::{COMBINE, FEED, layer_name};
use super::super::network::Started;
use super::super::{Rnn, tables};
use crate::batch::SourceBatch;
use crate::config::RnnConfig;
use crate::hypotheses::Hypotheses;
use crate::parameters::Parameters;
use crate::tensors::{Tensors, pick};
use crate::{Result, Special};

/// A recurrent model made ready to search on the device of its parameters, in `f32`.
#[derive(Debug)]
pub(crate) struct Ready {
    config: RnnConfig,
    parameters: Parameters,
    special: Special,
    tensors: Tensors,
    /// What is added to the recurrent product of each layer; only the GRU has it.
    hidden_bias: Vec<Option<Tensor>>,
}

/// Where a search stands: one row for each hypothesis.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) hypotheses: Hypotheses,
    /// Encoded sentences, `[src rows, dim]`.
    states: Tensor,
    /// What queries are compared with, if that is something else.
    keys: Option<Tensor>,
    /// Of each layer, `h` before `c`: `[rows, dim]`.
    layers: Vec<Vec<Tensor>>,
    /// What the output layer sees, `h̃` with attention: `[rows, dim]`. Input feeding reads it at the next
    /// step; before the first it is zero.
    out: Tensor,
    position: usize,
}

impl Ready {
    pub(crate) fn new(
        config: &RnnConfig,
        parameters: &Parameters,
        special: Special,
    ) -> Result<Self> {
        let (src, tgt, _) = tables(config.tie);
        let tensors = Tensors::for_search(parameters, DType::F32, &[src, tgt])?;
        let bias = |l: usize| tensors.find(&format!("{}.hidden_bias", layer_name(l))).map(widened);
        let hidden_bias = (0..config.layers.get()).map(|l| bias(l).transpose());
        Ok(Self {
            hidden_bias: hidden_bias.collect::<candle_core::Result<_>>()?,
            config: config.clone(),
            parameters: parameters.clone(),
            special,
            tensors,
        })
    }

    /// Whether it has attention.
    pub(crate) fn attends(&self) -> bool {
        self.config.attends()
    }

    fn device(&self) -> &Device {
        self.tensors.device()
    }

    fn output(&self) -> &Tensor {
        self.tensors.get(tables(self.config.tie).2)
    }

    /// A parameter of attention.
    fn of_attention(&self, name: &str) -> &Tensor {
        self.tensors.get(&format!("attention.{name}"))
    }

    /// Encodes sentences of known ids.
    pub(crate) fn start(&self, src: &[Vec<u32>]) -> Result<State> {
        let src: Vec<&[u32]> = src.iter().map(Vec::as_slice).collect();
        let batch = SourceBatch::new(&src, self.special)?;
        let network = Rnn { config: &self.config, parameters: &self.parameters };
        let Started { states, offsets, layers } =
            network.start_with(self.tensors.clone(), &batch)?;
        let dim = self.config.dim.get();
        let keys = match self.config.attention.key_projection(dim) {
            Keys::Projected(projection) if self.attends() => {
                Some(plain(self.of_attention(projection.parameter)).forward(&states, None)?)
            }
            _ => None,
        };
        Ok(State {
            hypotheses: Hypotheses::new(&offsets, self.device())?,
            keys,
            layers,
            out: Tensor::zeros((src.len(), dim), DType::F32, self.device())?,
            states,
            position: 0,
        })
    }

    /// Lets all rows read as many known ids, and asks what may come next.
    pub(crate) fn read(&self, state: &mut State, last: &[u32]) -> Result<()> {
        if let Some(parents) = state.hypotheses.moved(self.device())? {
            for tensor in state.layers.iter_mut().flatten().chain([&mut state.out]) {
                *tensor = pick(tensor, &parents)?;
            }
        }
        let ids = Tensor::new(last, self.device())?;
        let table = self.tensors.get(tables(self.config.tie).1);
        let embedded = search::embed(&ids, table, None, 1.0, DType::F32)?;
        let tops = self.layers(state, embedded)?;
        let (out, weights) = self.attend(state, tops)?;
        let bias = Some(self.tensors.get("output.bias"));
        let scores = Linear { weight: self.output(), bias, activation: None }.scores(&out)?;
        state.out = out;
        state.hypotheses.say(scores, self.special)?;
        let weights = match weights {
            Some(weights) if state.hypotheses.are_watched() => {
                state.hypotheses.packed(weights.to_vec2()?.into_iter())
            }
            _ => vec![Vec::new(); last.len()],
        };
        state.hypotheses.see(weights);
        state.position += 1;
        Ok(())
    }

    /// Goes through all layers: the last one's output, `[rows, dim]`.
    fn layers(&self, state: &mut State, mut x: Tensor) -> Result<Tensor> {
        let cell = Cell::from(self.config.cell);
        for (l, before) in state.layers.iter_mut().enumerate() {
            let get = |part: &str| self.tensors.get(&format!("{}.{part}", layer_name(l)));
            let input = Linear { weight: get("input"), bias: Some(get("bias")), activation: None };
            let mut inputs = input.forward(&x, None)?; // [rows, gates · dim]
            if l == 0 && self.config.input_feeding {
                inputs = plain(self.tensors.get(FEED)).forward(&state.out, Some(&inputs))?;
            }
            let bias = self.hidden_bias[l].as_ref();
            let hidden = Linear { weight: get("hidden"), bias, activation: None };
            let recurrent = hidden.forward(&before[0], None)?;
            let after = gates(cell, &inputs, &recurrent, &before[cell.states() - 1])?;
            let residual = self.config.residual && l > 0;
            *before = after.iter().map(Tensor::contiguous).collect::<candle_core::Result<_>>()?;
            x = if residual { (&before[0] + x)? } else { before[0].clone() };
        }
        Ok(x)
    }

    /// Attentional states `[rows, dim]`, and what each row saw.
    fn attend(&self, state: &State, tops: Tensor) -> Result<(Tensor, Option<Tensor>)> {
        if !self.attends() {
            return Ok((tops, None));
        }
        let (config, dim) = (&self.config.attention, self.config.dim.get());
        let keys = state.keys.as_ref().unwrap_or(&state.states);
        let vector = config.score_vector().map(|name| self.of_attention(name));
        let score = match (config.score, vector) {
            (ScoreKind::Concat, Some(vector)) => Score::Concat(keys, vector),
            (ScoreKind::Location, Some(table)) => Score::Location(table),
            _ => Score::Product(keys),
        };
        let window = config.window_on_gpu();
        let position = config.position_vector().map(|name| self.of_attention(name));
        let projections = config
            .query_projections(dim)
            .into_iter()
            .map(|projection| plain(self.of_attention(projection.parameter)).forward(&tops, None));
        let projections: Vec<Tensor> = projections.collect::<candle_core::Result<_>>()?;
        let projected = match projections.len() {
            0 => None,
            _ => Some(Tensor::cat(&projections, 1)?),
        };
        let luong = Luong { states: &state.states, score, window, position };
        let (contexts, weights) =
            luong.step(&tops, projected.as_ref(), &state.hypotheses.spans, state.position)?;
        let both = Tensor::cat(&[&contexts, &tops], 1)?; // [rows, 2 dim]
        let out = plain(self.tensors.get(COMBINE)).forward(&both, None)?.tanh()?;
        Ok((out, Some(weights)))
    }
}

/// A product without bias.
fn plain(weight: &Tensor) -> Linear<'_> {
    Linear { weight, bias: None, activation: None }
}
