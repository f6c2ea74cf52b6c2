//! Encoder–decoder networks, their configuration and their weights.
//!
//! A [`Model`] is a configuration with parameters: it is trained through [`Model::loss`], saved
//! and opened as a directory, and searched once it is [`Ready`].

mod batch;
pub mod checkpoint;
mod compact;
mod config;
pub mod ctranslate2;
mod error;
mod guide;
mod hypotheses;
mod linear;
mod loss;
pub mod marian;
pub mod memory;
mod parameters;
mod ready;
mod rnn;
mod shortlist;
mod source;
mod step;
mod tensors;
mod transformer;

use std::ops::Range;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use kernels::{Deferred, Mixed, Mode, Real, gpu};
use serde::{Deserialize, Serialize};

use crate::tensors::Way;

pub use attn::{AttentionConfig, Edge, Kind, Score, Sigma};
pub use batch::{Batch, Sentences, SourceBatch};
pub use checkpoint::ModelDir;
pub use config::{
    Activation, Bridge, Cell, DropRate, ModelConfig, Norm, NormPlace, Positions, RnnConfig, Tie,
    TransformerConfig,
};
pub use error::{Error, Result};
pub use guide::Guide;
pub use parameters::{Init, Parameters, Spec};
pub use ready::{Ready, State};
pub use shortlist::{SHORTLIST, Shortlist};
pub use step::{Interest, Step};
pub use transformer::Attended;

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

    /// Lets every row read a token: `last` are those just produced, at first BOS.
    ///
    /// # Errors
    /// If `last` has another number of rows than `state`, or an id is outside the vocabulary.
    fn read(&self, state: &mut Self::State, last: &[u32]) -> Result<()>;

    /// What the model says about the next token of some of the rows, once after each
    /// [`read`](Self::read). It takes the place of what `step` held, and its memory: scores are
    /// many, and those of a few rows stay near the processor until they have been looked at.
    ///
    /// # Errors
    /// If there are no such rows.
    fn predict(&self, state: &mut Self::State, rows: Range<usize>, step: &mut Step) -> Result<()>;

    /// [`read`](Self::read), and [`predict`](Self::predict) of all rows.
    ///
    /// # Errors
    /// As there.
    fn step(&self, state: &mut Self::State, last: &[u32]) -> Result<Step> {
        let mut step = Step::default();
        self.read(state, last)?;
        self.predict(state, 0..last.len(), &mut step)?;
        Ok(step)
    }

    /// Makes old row `rows[i]` the new row `i`. Rows may be repeated or left out.
    ///
    /// # Errors
    /// If there is no such row.
    fn select(&self, state: &mut Self::State, rows: &[usize]) -> Result<()>;

    /// Promises, before the first [`read`](Self::read), that nobody looks at more than this: the model
    /// may leave out the rest. By itself it leaves out nothing.
    fn expect(&self, state: &mut Self::State, interest: Interest) {
        let _ = (state, interest);
    }
}

/// What a model is trained to minimise. [`Default`] is the plain cross-entropy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objective {
    /// Probability mass that is spread over all tokens instead of the reference's, in `[0, 1)`
    /// (Szegedy et al., 2016, §7).
    pub smoothing: f64,
    /// With a value above 0, every pair goes through the network twice, under different dropout
    /// masks, and the divergence of the two predictions, times this, is added to the loss
    /// (R-Drop; Liang et al., 2021).
    pub r_drop: f64,
    /// What the loss of attention that should follow the links of a batch
    /// ([`Batch::guided`]) adds; nothing without, or for a batch without links.
    pub guided: Option<Guided>,
}

/// Guided alignment training: attention learns to look where links say.
///
/// Each target token with links should spread its weights evenly over the source tokens that it is
/// linked to; the cross-entropy `−Σ p log a` of its weights joins the objective (Chen et al., 2016,
/// §3; Garg et al., 2019, §4.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Guided {
    /// What the loss is multiplied by; 0.05 in the paper of Garg et al.
    pub weight: f64,
    /// For Transformers the decoder layer, counted from zero; the last but one, or the only one,
    /// without it. A recurrent network has one attention.
    pub layer: Option<usize>,
    /// For Transformers the heads of that layer, counted from zero, each of which is guided.
    pub heads: Vec<usize>,
}

impl Objective {
    /// Cross-entropy with label smoothing.
    pub fn smoothed(smoothing: f64) -> Self {
        Self { smoothing, ..Self::default() }
    }
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The smoothed loss, summed over target tokens: a scalar on the tape.
    pub objective: Tensor,
    /// The plain cross-entropy, summed over target tokens, in nats.
    pub nats: Deferred,
    /// Number of target tokens, EOS included.
    pub tokens: usize,
    /// How far guided attention is from its links, in nats, summed over the target tokens that
    /// have any: `−Σ p log a`, before it is weighed. Zero where nothing is guided.
    pub alignment_nats: Deferred,
    /// Number of these target tokens.
    pub linked: usize,
}

/// How the matrix products of training are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In `f32` throughout.
    #[default]
    F32,
    /// On a GPU, factors rounded to TF32, with ten bits of fraction; else as [`Self::F32`].
    Tf32,
    /// Factors rounded to bfloat16, products summed in `f32`; everything else, the parameters
    /// too, stays `f32` (Micikevicius et al., 2018; Kalamkar et al., 2019). About twice as fast
    /// where the processor has such instructions, slower where it has not; the bits are the same
    /// on both.
    Bf16,
}

/// How the matrix products of search are computed. In every precision a hypothesis has the same
/// bits whatever else is in its batch, for any number of threads, on any processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchPrecision {
    /// In `f32` throughout.
    #[default]
    F32,
    /// Factors rounded to bfloat16, products summed in `f32`.
    Bf16,
    /// Weights of eight bits with a scale for each output, activations of eight bits with a scale
    /// for each row, whole-number sums: [`kernels::quantized`]. Everything between products stays
    /// `f32`.
    Int8,
}

impl SearchPrecision {
    const NAMES: [(&str, Self); 3] =
        [("f32", Self::F32), ("bf16", Self::Bf16), ("int8", Self::Int8)];
}

impl std::str::FromStr for SearchPrecision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, precision)| precision).ok_or_else(|| "expected f32, bf16 or int8".into())
    }
}

/// A network with its parameters.
#[derive(Clone, Debug)]
pub struct Model {
    config: ModelConfig,
    precision: Precision,
    stored: SearchPrecision,
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
        let (precision, stored) = (Precision::default(), SearchPrecision::default());
        Ok(Self { config: config.clone(), precision, stored, vocabs, special, parameters })
    }

    /// The same model, trained in another precision. It is no property of the model and not
    /// saved with it.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// If a file is missing, foreign, damaged or of another shape than the configuration says.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        ModelDir::open(dir)?.load(device)
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
    /// On the CPU this is a fused computation; for parameters on another device it is
    /// [`Self::gpu_loss`].
    ///
    /// # Errors
    /// If an id is outside its vocabulary.
    pub fn loss(&self, batch: &Batch, objective: &Objective, mode: &Mode) -> Result<Loss> {
        if !self.parameters.device().is_cpu() {
            return self.gpu_loss(batch, objective, mode);
        }
        let wide = self.parameters.iter().any(|(_, var)| var.dtype() == DType::F64);
        match (wide, self.precision) {
            (true, _) => self.loss_in::<f64>(batch, objective, mode),
            (false, Precision::F32 | Precision::Tf32) => {
                self.loss_in::<f32>(batch, objective, mode)
            }
            (false, Precision::Bf16) => self.loss_in::<Mixed>(batch, objective, mode),
        }
    }

    /// [`Self::loss`] in one number type.
    fn loss_in<T: Real>(&self, batch: &Batch, objective: &Objective, mode: &Mode) -> Result<Loss> {
        let parameters = &self.parameters;
        let batch = &*objective.rows(batch, self.special, mode)?;
        match &self.config {
            ModelConfig::Rnn(config) => {
                rnn::Rnn { config, parameters }.loss::<T>(batch, objective, mode)
            }
            ModelConfig::Transformer(config) => {
                transformer::Transformer { config, parameters }.loss::<T>(batch, objective, mode)
            }
        }
    }

    /// What [`Self::loss`] computes, in ordinary tensor operations, on any device: the definition
    /// of the network. It differs from the fused computation by rounding alone, dropout included.
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn plain_loss(&self, batch: &Batch, objective: &Objective, mode: &Mode) -> Result<Loss> {
        let parameters = &self.parameters;
        let batch = &*objective.rows(batch, self.special, mode)?;
        match &self.config {
            ModelConfig::Rnn(config) => {
                rnn::Rnn { config, parameters }.loss_by(Way::Plain, batch, objective, mode)
            }
            ModelConfig::Transformer(config) => {
                let network = transformer::Transformer { config, parameters };
                network.loss_by(Way::Plain, batch, objective, mode)
            }
        }
    }

    /// What [`Self::loss`] computes, on a GPU, by [`kernels::gpu`] as far as it goes. A Transformer has
    /// rows and products in [`Precision::Bf16`] if that is the model's precision; a recurrent network
    /// is in `f32`.
    ///
    /// # Errors
    /// As [`Self::loss`], or if the build has no kernels for the device.
    pub fn gpu_loss(&self, batch: &Batch, objective: &Objective, mode: &Mode) -> Result<Loss> {
        let parameters = &self.parameters;
        let batch = &*objective.rows(batch, self.special, mode)?;
        // Until the next loss, so that its gradients are computed alike.
        gpu::tensor_cores_for_f32(self.precision == Precision::Tf32);
        match (&self.config, self.precision) {
            (ModelConfig::Rnn(config), _) => rnn::Rnn { config, parameters }.loss_by(
                Way::Gpu(DType::F32),
                batch,
                objective,
                mode,
            ),
            (ModelConfig::Transformer(config), precision) => {
                let way = Way::Gpu(match precision {
                    Precision::F32 | Precision::Tf32 => DType::F32,
                    Precision::Bf16 => DType::BF16,
                });
                let network = transformer::Transformer { config, parameters };
                network.loss_by(way, batch, objective, mode)
            }
        }
    }

    /// Makes the model ready to search where its parameters are, in the precision that it is stored in.
    ///
    /// # Errors
    /// If its parameters are not `f32`.
    pub fn ready(&self) -> Result<Ready> {
        match self.parameters.device().is_cpu() {
            true => self.ready_in(self.stored),
            false => self.ready_on_gpu(self.stored),
        }
    }

    /// Makes the model ready to search on the GPU that its parameters are on, by [`kernels::gpu`].
    /// With [`SearchPrecision::Int8`] weights are those of eight bits, and products of a Transformer in
    /// bfloat16. A recurrent model computes in `f32`. Parameters that stay `f32` are not copied: an
    /// update of the model changes them.
    ///
    /// # Errors
    /// If its parameters are not `f32`, or no kernels run there.
    pub fn ready_on_gpu(&self, precision: SearchPrecision) -> Result<Ready> {
        match precision {
            SearchPrecision::Int8 => Ready::on_gpu(&self.quantized()?, DType::BF16),
            SearchPrecision::Bf16 => Ready::on_gpu(self, DType::BF16),
            SearchPrecision::F32 => Ready::on_gpu(self, DType::F32),
        }
    }

    /// [`Self::ready`] on the CPU, in another precision.
    ///
    /// # Errors
    /// As there.
    pub fn ready_in(&self, precision: SearchPrecision) -> Result<Ready> {
        let model = self.to_device(&Device::Cpu)?;
        match precision {
            SearchPrecision::Int8 => Ready::of(&model.quantized()?, precision, None),
            SearchPrecision::F32 | SearchPrecision::Bf16 => Ready::of(&model, precision, None),
        }
    }

    /// The model with its matrices rounded to eight bits, as [`SearchPrecision::Int8`] searches
    /// it, and saves it: in a quarter of the space.
    ///
    /// # Errors
    /// If its parameters are not `f32`.
    pub fn quantized(&self) -> Result<Self> {
        if self.stored == SearchPrecision::Int8 {
            return Ok(self.clone());
        }
        let parameters = compact::rounded(&self.parameters)?;
        Ok(Self { parameters, stored: SearchPrecision::Int8, ..self.clone() })
    }

    /// The precision that its weights have been rounded to, and have in files.
    pub fn stored(&self) -> SearchPrecision {
        self.stored
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
    match config {
        ModelConfig::Rnn(config) => rnn::specs(config, vocabs),
        ModelConfig::Transformer(config) => transformer::specs(config, vocabs),
    }
}
