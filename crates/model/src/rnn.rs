//! The recurrent encoder–decoder of Luong, Pham and Manning (2015).

pub(crate) mod decoder;
mod encoder;
mod network;
mod search;

use attn::{Keys, Row};
use candle_core::Tensor;
use kernels::embedding::embedding;
use kernels::linear::{Activation, linear};
use kernels::recurrent::{self, Weights};
use kernels::{Mode, Real, dropout};

pub(crate) use search::{Ready, State, gpu};

use crate::config::{Bridge, RnnConfig, Tie};
use crate::parameters::{Init, Parameters, Spec};
use crate::{Batch, Loss, Objective, Result, Vocabs, guide};

/// Places where dropout draws its numbers. Layers are counted from each.
mod site {
    pub(super) const SRC_EMBEDDING: u32 = 1;
    pub(super) const TGT_EMBEDDING: u32 = 2;
    pub(super) const ATTENTIONAL: u32 = 3;
    pub(super) const ENCODER: u32 = 0x100;
    pub(super) const DECODER: u32 = 0x200;
}

/// Standard deviation of embeddings at the start. Much smaller, and the gates hardly hear the
/// words: attention then stays flat for epochs (`docs/experiments.md`, “The start of training”).
const EMBEDDING_DEVIATION: f64 = 0.3;

/// A network: its configuration and where its parameters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rnn<'a> {
    pub(crate) config: &'a RnnConfig,
    pub(crate) parameters: &'a Parameters,
}

/// Names of the tables that embeddings and output are read from.
pub(crate) fn tables(tie: Tie) -> (&'static str, &'static str, &'static str) {
    const SHARED: &str = "embedding.weight";
    const SRC: &str = "encoder.embedding.weight";
    const TGT: &str = "decoder.embedding.weight";
    const OUTPUT: &str = "output.weight";
    match tie {
        Tie::None => (SRC, TGT, OUTPUT),
        Tie::Target => (SRC, TGT, TGT),
        Tie::Source => (SHARED, SHARED, OUTPUT),
        Tie::All => (SHARED, SHARED, SHARED),
    }
}

/// The parameters that a configuration asks for.
pub(crate) fn specs(config: &RnnConfig, vocabs: &Vocabs) -> Result<Vec<Spec>> {
    config.check(vocabs.joint)?;
    let (dim, embed_dim) = (config.dim.get(), config.embed_dim.get());
    let mut specs: Vec<Spec> = Vec::new();
    let mut add = |name: String, shape: &[usize], init| {
        if specs.iter().all(|spec| spec.name != name) {
            specs.push(Spec { name, shape: shape.to_vec(), init });
        }
    };
    let (src, tgt, output) = tables(config.tie);
    let table = Init::with_deviation(EMBEDDING_DEVIATION);
    add(src.into(), &[vocabs.src, embed_dim], table);
    add(tgt.into(), &[vocabs.tgt, embed_dim], table);
    add(output.into(), &[vocabs.tgt, dim], Init::fan_in(dim));
    add("output.bias".into(), &[vocabs.tgt], Init::ZERO);

    let cell = recurrent::Cell::from(config.cell);
    let mut layer = |prefix: String, input: usize, dim: usize| {
        let width = cell.gates() * dim;
        add(format!("{prefix}.input"), &[width, input], Init::fan_in(input));
        add(format!("{prefix}.hidden"), &[width, dim], Init::fan_in(dim));
        let bias = match cell {
            // Open forget gates let the gradient through from the start (Gers et al., 2000).
            recurrent::Cell::Lstm => Init::ZeroExcept { from: dim, to: 2 * dim },
            recurrent::Cell::Gru => Init::ZERO,
        };
        add(format!("{prefix}.bias"), &[width], bias);
        if cell == recurrent::Cell::Gru {
            add(format!("{prefix}.hidden_bias"), &[dim], Init::ZERO);
        }
    };
    for l in 0..config.layers.get() {
        let input = if l == 0 { embed_dim } else { dim };
        for direction in encoder::directions(config) {
            layer(encoder::layer_name(l, direction), input, config.direction_dim());
        }
        layer(decoder::layer_name(l), input, dim);
    }
    if config.input_feeding {
        add(decoder::FEED.into(), &[cell.gates() * dim, dim], Init::fan_in(dim));
    }
    if config.bridge == Bridge::Dense {
        for l in 0..config.layers.get() {
            for state in &["hidden", "cell"][..cell.states()] {
                add(format!("bridge.{l}.{state}.weight"), &[dim, dim], Init::fan_in(dim));
                add(format!("bridge.{l}.{state}.bias"), &[dim], Init::ZERO);
            }
        }
    }
    for parameter in config.attention.parameters(dim, dim)? {
        let name = format!("attention.{}", parameter.name);
        add(name, &parameter.shape, Init::fan_in(parameter.fan_in));
    }
    if config.attends() {
        add(decoder::COMBINE.into(), &[dim, 2 * dim], Init::fan_in(2 * dim));
    }
    Ok(specs)
}

impl Rnn<'_> {
    /// The loss of a batch.
    pub(crate) fn loss<T: Real>(
        &self,
        batch: &Batch,
        objective: &Objective,
        mode: &Mode,
    ) -> Result<Loss> {
        let guide = objective.guide(batch).filter(|_| self.config.attends());
        let guide = guide.map(|(_, guide)| guide.by_time().clone());
        let (states, alignment) = self.decode::<T>(batch, guide, mode)?; // [tgt rows, dim]
        let output = (self.parameters, self.config.tie);
        let loss = objective.loss::<T>(output, &states, &batch.tgt_out, || batch.twins(), mode)?;
        objective.with_alignment(loss, alignment, batch, mode)
    }

    /// The attentional states `h̃_t` of a batch, `[tgt rows, dim]`, packed as its target side; and
    /// the loss of its attention, `[1]`, if that is guided.
    fn decode<T: Real>(
        &self,
        batch: &Batch,
        guide: Option<guide::Rows>,
        mode: &Mode,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let encoded = self.encode::<T>(&batch.src, mode)?;
        let (rows, offsets) = batch.src.by_sentence(&batch.tgt_order);
        let states = embedding::<T>(&encoded.states, &rows)?; // [src rows, dim], by sentence
        let ranks = batch.src.ranks();
        let places = batch.tgt_order.iter().map(|&i| ranks[i] as u32).collect();
        let initial = self.bridge::<T>(&encoded.finals, &places)?;
        let keys = self.keys::<T>(&states)?;

        let (_, table, _) = tables(self.config.tie);
        let embedded = embedding::<T>(self.parameters.get(table), &batch.tgt_in)?;
        let embedded = self.drop::<T>(&embedded, &batch.tgt_steps, mode, site::TGT_EMBEDDING)?;

        let steps = batch.tgt_steps.clone();
        let rows = (0..steps.len())
            .flat_map(|position| {
                (0..steps.range(position).len()).map(move |sentence| Row { sentence, position })
            })
            .collect();
        let guided = guide.is_some();
        let operation = decoder::Decoder::new(self.config, steps, offsets, rows, guide, mode);
        let out =
            operation.apply::<T>(self.parameters, &embedded, &states, keys.as_ref(), &initial)?;
        if !guided {
            return Ok((out, None));
        }
        // The loss stands behind the rows.
        let (rows, dim) = (batch.tgt_tokens(), self.config.dim.get());
        let states = out.narrow(0, 0, rows * dim)?.reshape((rows, dim))?;
        Ok((states, Some(out.narrow(0, rows * dim, 1)?)))
    }

    /// What queries are compared with, `[src rows, key_dim]`, if it is not the states.
    fn keys<T: Real>(&self, states: &Tensor) -> Result<Option<Tensor>> {
        match self.config.attention.key_projection(self.config.dim.get()) {
            Keys::Projected(projection) => {
                let name = format!("attention.{}", projection.parameter);
                let weight = self.parameters.get(&name);
                Ok(Some(linear::<T>(states, weight, None, Activation::None)?))
            }
            Keys::States | Keys::Absent => Ok(None),
        }
    }

    /// The decoder's first states, layer by layer, `h` before `c`, each `[batch, dim]`: those of
    /// the encoder at `places`. Empty if it starts from zero.
    fn bridge<T: Real>(
        &self,
        finals: &[Tensor],
        places: &std::sync::Arc<[u32]>,
    ) -> Result<Vec<Tensor>> {
        let states = recurrent::Cell::from(self.config.cell).states();
        let picked = |state: &Tensor| embedding::<T>(state, places);
        match self.config.bridge {
            Bridge::Zero => Ok(Vec::new()),
            Bridge::Copy => Ok(finals.iter().map(picked).collect::<candle_core::Result<_>>()?),
            Bridge::Dense => finals
                .iter()
                .enumerate()
                .map(|(i, state)| {
                    let part = ["hidden", "cell"][i % states];
                    let name = |what| format!("bridge.{}.{part}.{what}", i / states);
                    let weight = self.parameters.get(&name("weight"));
                    let bias = self.parameters.get(&name("bias"));
                    Ok(linear::<T>(&picked(state)?, weight, Some(bias), Activation::Tanh)?)
                })
                .collect(),
        }
    }

    /// Dropout of packed rows, as configured.
    fn drop<T: Real>(
        &self,
        x: &Tensor,
        steps: &std::sync::Arc<recurrent::Steps>,
        mode: &Mode,
        site: u32,
    ) -> Result<Tensor> {
        let rate = self.config.dropout.get();
        Ok(if self.config.variational {
            dropout::variational::<T>(x, steps, rate, mode, site)?
        } else {
            dropout::dropout::<T>(x, rate, mode, site)?
        })
    }

    /// The weights of a recurrent layer.
    fn weights(&self, prefix: &str) -> Weights {
        let get = |part: &str| self.parameters.get(&format!("{prefix}.{part}")).clone();
        Weights {
            input: get("input"),
            hidden: get("hidden"),
            bias: get("bias"),
            hidden_bias: self
                .parameters
                .find(&format!("{prefix}.hidden_bias"))
                .map(|var| var.as_tensor().clone()),
        }
    }
}
