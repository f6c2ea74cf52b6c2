//! The same steps on a GPU, by [`kernels::gpu`]: rows never leave it, but for the scores of what may come
//! next and for what was seen of the source.
//!
//! All products have one order of summation, so a hypothesis gets the same bits in any batch here too,
//! though not those of the processor.

use attn::multi_head::Heads;
use candle_core::{DType, Device, Tensor};
use kernels::gpu::attention::rotate;
use kernels::gpu::search::{self, Past, StepHeads, Wanted};
use kernels::gpu::{self, Linear};
use kernels::positions;

use super::super::Transformer;
use super::{Attended, Chosen, scale};
use crate::batch::SourceBatch;
use crate::config::{NormPlace, Positions, TransformerConfig};
use crate::hypotheses::Hypotheses;
use crate::parameters::Parameters;
use crate::rnn::tables;
use crate::tensors::Tensors;
use crate::{Result, Special};

/// A Transformer made ready to search on the device of its parameters.
#[derive(Debug)]
pub(crate) struct Ready {
    config: TransformerConfig,
    parameters: Parameters,
    special: Special,
    attended: Chosen,
    /// The type of rows, of keys and values, and of the matrices of products.
    dtype: DType,
    tensors: Tensors,
    /// The matrix of the output layer, which may be a table as well.
    output: Tensor,
}

/// Where a search stands: one row for each hypothesis.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) hypotheses: Hypotheses,
    /// Keys and values of the source, for each layer: `[src rows, 2 dim]`.
    memory: Vec<Tensor>,
    past: Past,
}

impl Ready {
    pub(crate) fn new(
        config: &TransformerConfig,
        parameters: &Parameters,
        special: Special,
        dtype: DType,
    ) -> Result<Self> {
        let (src, tgt, out) = tables(config.tie);
        let layers = config.decoder_layers.get();
        Ok(Self {
            attended: Chosen::usual(layers),
            tensors: Tensors::for_search(parameters, dtype, &[src, tgt])?,
            output: parameters.get(out).to_dtype(dtype)?.detach(),
            config: config.clone(),
            parameters: parameters.clone(),
            special,
            dtype,
        })
    }

    pub(crate) fn attend(&mut self, attended: Attended) -> Result<()> {
        self.attended = Chosen::new(attended, &self.config)?;
        Ok(())
    }

    /// How many layers and heads there are to read alignments from.
    pub(crate) fn attentions(&self) -> (usize, usize) {
        (self.config.decoder_layers.get(), self.config.heads.get())
    }

    fn device(&self) -> &Device {
        self.tensors.device()
    }

    /// Encodes sentences of known ids.
    pub(crate) fn start(&self, src: &[Vec<u32>]) -> Result<State> {
        let src: Vec<&[u32]> = src.iter().map(Vec::as_slice).collect();
        let sentences = SourceBatch::new(&src, self.special)?.sentences;
        let network = Transformer { config: &self.config, parameters: &self.parameters };
        let states = network.encode_with(self.tensors.clone(), &sentences)?;
        let (layers, dim) = (self.config.decoder_layers.get(), self.config.dim.get());
        let memory = |l| self.linear(&format!("decoder.{l}.cross.memory")).forward(&states, None);
        Ok(State {
            hypotheses: Hypotheses::new(&sentences.offsets, self.device())?,
            memory: (0..layers).map(memory).collect::<candle_core::Result<_>>()?,
            past: Past::new(layers, dim, self.dtype, self.device())?,
        })
    }

    /// Lets all rows read as many known ids, and asks what may come next.
    pub(crate) fn read(&self, state: &mut State, last: &[u32]) -> Result<()> {
        let position = state.past.len();
        self.config.check_length(position + 1)?;
        let moved = state.hypotheses.moved(self.device())?;
        state.past.read(last.len(), moved.as_deref())?;
        let mut x = self.embed(last, position)?;
        let mut seen = Vec::new();
        for l in 0..self.config.decoder_layers.get() {
            x = self.attend_past(l, x, position, &state.past)?;
            x = self.attend_source(l, x, state, &mut seen)?;
            x = self.feed_forward(l, x)?;
        }
        if self.config.norm_place == NormPlace::Before {
            x = self.norm("decoder.norm", &x)?;
        }
        let bias = Some(self.tensors.get("output.bias"));
        let scores = Linear { weight: &self.output, bias, activation: None }.scores(&x)?;
        state.hypotheses.say(scores, self.special)?;
        let weights = self.weights(&state.hypotheses, &seen)?;
        state.hypotheses.see(weights);
        Ok(())
    }

    fn linear(&self, prefix: &str) -> Linear<'_> {
        self.tensors.linear(prefix, None)
    }

    fn norm(&self, prefix: &str, x: &Tensor) -> Result<Tensor> {
        self.tensors.norm(self.config.norm.into(), prefix, x)
    }

    fn heads(&self) -> StepHeads {
        StepHeads { heads: self.config.heads.get(), head_dim: self.config.head_dim() }
    }

    /// Words that stand at a position, `[rows, dim]`.
    fn embed(&self, ids: &[u32], position: usize) -> Result<Tensor> {
        let dim = self.config.dim.get();
        let place = match self.config.positions {
            Positions::Sinusoidal => {
                let numbers: Vec<f32> = positions::sinusoid(position, dim).collect();
                Some(Tensor::from_vec(numbers, (1, dim), self.device())?)
            }
            Positions::Learned => {
                Some(self.tensors.get("decoder.positions.weight").narrow(0, position, 1)?)
            }
            Positions::Rotary => None,
        };
        let ids = Tensor::new(ids, self.device())?;
        let table = self.tensors.get(tables(self.config.tie).1);
        let scale = scale::<f32>(dim);
        Ok(search::embed(&ids, table, place.as_ref(), scale, self.dtype)?)
    }

    /// A sublayer: norm, `body` of its rows, and residual connection, which `body` adds.
    fn sublayer(
        &self,
        prefix: &str,
        x: &Tensor,
        body: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let norm = format!("{prefix}.norm");
        match self.config.norm_place {
            NormPlace::Before => body(&self.norm(&norm, x)?),
            NormPlace::After => self.norm(&norm, &body(x)?),
        }
    }

    /// Attention of layer `l` to the words before, which the rows join.
    fn attend_past(&self, l: usize, x: Tensor, position: usize, past: &Past) -> Result<Tensor> {
        let prefix = format!("decoder.{l}.attention");
        let most = self.config.window.map(|window| window.get() + 1);
        self.sublayer(&prefix, &x, |rows| {
            let projected = self.linear(&format!("{prefix}.input")).forward(rows, None)?;
            if self.config.positions == Positions::Rotary {
                let places = vec![position as u32; projected.dim(0)?];
                let places = Tensor::new(places, self.device())?;
                let StepHeads { heads, head_dim } = self.heads();
                rotate(&projected, &places, 2 * heads, head_dim, 1.0)?;
            }
            past.append(l, &projected)?;
            let contexts = self.heads().to_past(&projected, past, l, most)?;
            Ok(self.linear(&format!("{prefix}.output")).forward(&contexts, Some(&x))?)
        })
    }

    /// Attention of layer `l` to the source. Adds to `seen` what was, if alignments are read from this
    /// layer.
    fn attend_source(
        &self,
        l: usize,
        x: Tensor,
        state: &State,
        seen: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let prefix = format!("decoder.{l}.cross");
        self.sublayer(&prefix, &x, |rows| {
            let query = self.linear(&format!("{prefix}.query")).forward(rows, None)?;
            let (memory, spans) = (&state.memory[l], &state.hypotheses.spans);
            let heads = self.heads();
            let attended = heads.to_memory(&query, memory, spans)?;
            let watched = state.hypotheses.are_watched();
            if let Some(wanted) = self.attended.of(l).filter(|_| watched) {
                let wanted = match wanted {
                    Heads::Mean => Wanted::Mean,
                    Heads::One(head) => Wanted::One(head),
                    Heads::Each => Wanted::Each,
                };
                seen.push(heads.weights((&query, memory, spans), &attended, wanted)?);
            }
            let output = self.linear(&format!("{prefix}.output"));
            Ok(output.forward(&attended.contexts, Some(&x))?)
        })
    }

    fn feed_forward(&self, l: usize, x: Tensor) -> Result<Tensor> {
        let prefix = format!("decoder.{l}.feed_forward");
        let kind = self.config.activation.into();
        self.sublayer(&prefix, &x, |rows| {
            let inner = format!("{prefix}.input");
            let inner = if self.config.gated {
                gpu::activate(kind, true, &self.linear(&inner).forward(rows, None)?, None)?
            } else {
                self.tensors.linear(&inner, Some(kind)).forward(rows, None)?
            };
            Ok(self.linear(&format!("{prefix}.output")).forward(&inner, Some(&x))?)
        })
    }

    /// What each row saw of its source, from the weights of the layers that alignments are read from.
    fn weights(&self, hypotheses: &Hypotheses, seen: &[Tensor]) -> Result<Vec<Vec<f32>>> {
        let (layers, mut weights) = (self.config.decoder_layers.get(), Vec::new());
        if seen.is_empty() {
            return Ok(vec![Vec::new(); hypotheses.rows()]);
        }
        let all: Vec<Vec<f32>> = Tensor::cat(seen, 1)?.to_vec2()?;
        let width = all.first().map_or(0, Vec::len) / seen.len();
        for l in 0..seen.len() {
            let rows = all.iter().map(|row| row[l * width..(l + 1) * width].to_vec());
            self.attended.add((l, layers), hypotheses.packed(rows), &mut weights);
        }
        Ok(weights)
    }
}
