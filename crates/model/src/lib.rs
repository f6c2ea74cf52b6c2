//! Encoder–decoder networks, their configuration and their weights.
//!
//! A [`Model`] is a configuration with parameters: it is trained through [`Model::loss`], saved
//! and opened as a directory, and searched once it is [`Ready`].

mod batch;
pub mod checkpoint;
mod config;
mod error;
mod parameters;
mod rnn;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use kernels::Mode;
use serde::{Deserialize, Serialize};

pub use attn::{AttentionConfig, Edge, Kind, Score, Sigma};
pub use batch::{Batch, SourceBatch};
pub use config::{Bridge, Cell, DropRate, ModelConfig, RnnConfig, Tie};
pub use error::{Error, Result};
pub use parameters::{Init, Parameters, Spec};
pub use rnn::{Ready, State};

/// Ids with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Special {
    /// Padding.
    pub pad: u32,
    /// An unknown token.
    pub unk: u32,
    /// The beginning of a sentence.
    pub bos: u32,
    /// The end of a sentence.
    pub eos: u32,
}

/// The vocabularies a model was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabs {
    /// Number of source tokens.
    pub src: usize,
    /// Number of target tokens.
    pub tgt: usize,
    /// Whether both are the same vocabulary.
    pub joint: bool,
    /// What tells the source tokenizer from others; empty if unknown.
    #[serde(default)]
    pub src_fingerprint: String,
    /// What tells the target tokenizer from others; empty if unknown.
    #[serde(default)]
    pub tgt_fingerprint: String,
}

/// What search needs of a model. Rows are hypotheses; a batch may mix those of many sentences.
pub trait EncoderDecoder {
    /// Where a search stands.
    type State;

    /// Size of the target vocabulary.
    fn vocab(&self) -> usize;

    /// The ids that open and close a sentence.
    fn special(&self) -> Special;

    /// Encodes sentences, given without BOS and EOS. One row for each.
    ///
    /// # Errors
    /// If there is no sentence or an id is outside the vocabulary.
    fn start(&self, src: &[Vec<u32>]) -> Result<Self::State>;

    /// One step of all rows: `last` are the tokens just produced, at first BOS.
    ///
    /// # Errors
    /// If `last` has another number of rows than `state`.
    fn step(&self, state: &mut Self::State, last: &[u32]) -> Result<Step>;

    /// Makes old row `rows[i]` the new row `i`. Rows may be repeated or left out.
    ///
    /// # Errors
    /// If there is no such row.
    fn select(&self, state: &mut Self::State, rows: &[usize]) -> Result<()>;
}

/// What a step gives for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Log-probabilities of the next token, in nats: `[rows, vocab]`, row by row.
    pub log_probs: Vec<f32>,
    /// Attention over the source, the last entry for its EOS: `[src_len + 1]` for each row.
    /// Empty for a model without attention.
    pub weights: Vec<Vec<f32>>,
}

/// What a model is trained to minimise. [`Default`] is the plain cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective {
    /// Probability mass that is spread over all tokens instead of the reference's, in `[0, 1)`
    /// (Szegedy et al., 2016, §7).
    pub smoothing: f64,
}

impl Objective {
    /// Cross-entropy with label smoothing.
    pub fn smoothed(smoothing: f64) -> Self {
        Self { smoothing }
    }
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The smoothed loss, summed over target tokens: a scalar on the tape.
    pub objective: Tensor,
    /// The plain cross-entropy, summed over target tokens, in nats.
    pub nats: f64,
    /// Number of target tokens, EOS included.
    pub tokens: usize,
}

/// A network with its parameters.
#[derive(Clone, Debug)]
pub struct Model {
    config: ModelConfig,
    vocabs: Vocabs,
    special: Special,
    parameters: Parameters,
}

impl Model {
    /// A new model in `f32` with initial values that depend on `seed` alone.
    ///
    /// # Errors
    /// If the configuration contradicts itself or the vocabularies.
    pub fn new(
        config: &ModelConfig,
        vocabs: Vocabs,
        special: Special,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        Self::with_dtype(config, vocabs, special, seed, DType::F32, device)
    }

    /// [`Self::new`] in `f32` or `f64`; the latter is for checking gradients.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_dtype(
        config: &ModelConfig,
        vocabs: Vocabs,
        special: Special,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let parameters = Parameters::new(&specs(config, &vocabs)?, seed, dtype, device)?;
        Ok(Self { config: config.clone(), vocabs, special, parameters })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// If a file is missing, foreign, damaged or of another shape than the configuration says.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        checkpoint::open(dir, device)
    }

    /// Writes `model.safetensors` and `config.json` into an existing directory, each whole or not
    /// at all.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        checkpoint::save(self, dir)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The vocabularies it was made for.
    pub fn vocabs(&self) -> &Vocabs {
        &self.vocabs
    }

    /// The ids with a meaning of their own.
    pub fn special(&self) -> Special {
        self.special
    }

    /// The parameters, in name order.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The loss of a batch. In [`Mode::Train`] its objective can be differentiated.
    ///
    /// On the CPU this is a fused computation; parameters on another device go the way of
    /// [`Self::plain_loss`].
    ///
    /// # Errors
    /// If an id is outside its vocabulary.
    pub fn loss(&self, batch: &Batch, objective: &Objective, mode: &Mode) -> Result<Loss> {
        if !self.parameters.device().is_cpu() {
            return self.plain_loss(batch, objective, mode);
        }
        let ModelConfig::Rnn(config) = &self.config;
        let network = rnn::Rnn { config, parameters: &self.parameters };
        let wide = self.parameters.iter().any(|(_, var)| var.dtype() == DType::F64);
        if wide {
            network.loss::<f64>(batch, objective, mode)
        } else {
            network.loss::<f32>(batch, objective, mode)
        }
    }

    /// What [`Self::loss`] computes, in ordinary tensor operations, on any device: the definition
    /// of the network. It differs from the fused computation by rounding alone, dropout included.
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn plain_loss(&self, batch: &Batch, objective: &Objective, mode: &Mode) -> Result<Loss> {
        let ModelConfig::Rnn(config) = &self.config;
        rnn::Rnn { config, parameters: &self.parameters }.plain_loss(batch, objective, mode)
    }

    /// Makes the model ready to search. Search runs on the CPU: parameters on another device are
    /// copied, once, as they are now.
    ///
    /// # Errors
    /// If its parameters are not `f32`.
    pub fn ready(&self) -> Result<Ready> {
        let Self { config, vocabs, special, parameters } = self.to_device(&Device::Cpu)?;
        let ModelConfig::Rnn(config) = &config;
        Ready::new(config, &parameters, vocabs, special)
    }

    /// The model on `device`: with the same parameters if they are there, else with a copy of
    /// their values.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { parameters: self.parameters.to_device(device)?, ..self.clone() })
    }
}

/// The parameters that a configuration asks for.
///
/// # Errors
/// If it contradicts itself or the vocabularies.
pub fn specs(config: &ModelConfig, vocabs: &Vocabs) -> Result<Vec<Spec>> {
    let ModelConfig::Rnn(config) = config;
    rnn::specs(config, vocabs)
}
