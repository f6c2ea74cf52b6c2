//! The experiment file: data, tokenizer, model, training and search, in TOML.
//!
//! Reading checks everything that can be checked without opening another file. Unknown keys are
//! errors, and every error names its place and what would be right. Relative paths are relative
//! to the current directory.

mod data;
mod document;
mod guided;
mod init;
pub(crate) mod pattern;
mod subwords;
mod training;
mod values;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use model::{ModelConfig, Vocabs};
use serde::{Deserialize, Serialize, Serializer};
pub use text::number::{NonNegative, Positive, Rate};
use text::{TokenizerConfig, TokenizerKind};
use translate::{SearchConfig, alignment::Calibration};

use self::document::Fault;
pub use self::{
    data::{CorpusFiles, Data, TrainCorpus},
    document::ConfigError,
    guided::{Guided, GuidedStep, LinkSource, Unlinked},
    init::Init,
    pattern::Pattern,
    subwords::{BpeDropout, UnigramSampling},
    training::{
        AdamConfig, AdamWConfig, EarlyStopping, Metric, OptimizerConfig, Schedule, SgdConfig,
        Training,
    },
    values::{BatchTokens, Every},
};
use crate::{Error, Result};

/// All that determines a model, and how to make it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What all random numbers derive from: initial values, order of the data, dropout.
    #[serde(default = "one")]
    pub seed: u64,
    /// What to learn from, and what to judge by.
    pub data: Data,
    /// How text becomes ids.
    #[serde(default, serialize_with = "Tokenizer::serialize_flat")]
    pub tokenizer: Tokenizer,
    /// The network, `[model.rnn]`.
    pub model: ModelConfig,
    /// The model whose weights it starts with; without the table, from random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// How it is trained.
    pub training: Training,
    /// How it translates, while validating and later.
    #[serde(default)]
    pub search: SearchConfig,
}

/// The `[tokenizer]` table: how to learn one, or with the only key `dir` where one is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Learn it from the training data.
    Learn(TokenizerConfig),
    /// Use the one in a directory: `tokenizer.json`, or `tokenizer.src.json` and
    /// `tokenizer.tgt.json`.
    Open(TokenizerDir),
}

/// An existing tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerDir {
    /// Where its files are: a folder that `nmt prepare` wrote, or a model directory.
    pub dir: PathBuf,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::Learn(TokenizerConfig::default())
    }
}

impl Tokenizer {
    /// Writes the table without a name for its kind: the keys tell it.
    fn serialize_flat<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Learn(config) => config.serialize(serializer),
            Self::Open(dir) => dir.serialize(serializer),
        }
    }
}

impl Experiment {
    /// Reads an experiment file and applies `overrides`, each of the form `table.key=value`.
    ///
    /// A value that is not TOML is a string: `data.src=en` needs no quotes. An experiment that starts
    /// from a model and says nothing about its network has that of the model.
    ///
    /// # Errors
    /// If the file or the model cannot be read, or if a key is unknown, missing or has a value that is not
    /// allowed: [`ConfigError`] says where.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::read(path, source))?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::NotText { path: path.into(), at: e.utf8_error().valid_up_to() })?;
        let inherited = init::inherited(&text, overrides)?;
        let overrides = [&inherited[..], overrides].concat();
        Ok(Self::parse(&path.display().to_string(), &text, &overrides)?)
    }

    /// As [`load`](Self::load), from text that error messages call `origin`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        document::read(origin, text, overrides, Self::check)
    }

    /// The whole experiment as TOML, with every default written out. Reading it gives the same
    /// experiment.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("an experiment has string keys and finite numbers")
    }

    /// The same with this token budget, in place of one that was to be found.
    pub(crate) fn with_batch_tokens(&self, n: NonZeroUsize) -> Self {
        let training = Training { batch_tokens: BatchTokens::Tokens(n), ..self.training.clone() };
        Self { training, ..self.clone() }
    }

    /// Rules between keys: the key at fault, and why.
    fn check(&self) -> Result<(), Fault> {
        let Training { updates, epochs, max_minutes, early_stopping, keep, average, .. } =
            &self.training;
        if self.data.train.is_empty() {
            return Err(("data.train", "found no corpus, at least one is needed".into()));
        }
        if updates.is_none()
            && epochs.is_none()
            && max_minutes.is_none()
            && early_stopping.is_none()
        {
            return Err((
                "training",
                "nothing says when to stop: give `updates`, `epochs`, `max_minutes` or \
                 `early_stopping`"
                    .into(),
            ));
        }
        if *average > keep.get() {
            let message = format!("found {average}, allowed is at most `keep`, which is {keep}");
            return Err(("training.average", message));
        }
        if let (Some(0), Some(EarlyStopping { metric: Metric::Bleu | Metric::Chrf, .. })) =
            (self.training.translate_lines, early_stopping)
        {
            let message = "found 0, but `early_stopping` needs translations for its metric";
            return Err(("training.translate_lines", message.into()));
        }
        let table = match &self.model {
            ModelConfig::Rnn(_) => "model.rnn",
            ModelConfig::Transformer(_) => "model.transformer",
        };
        self.model.check(self.joint()).map_err(|error| (table, error.to_string()))?;
        if let Some(guided) = &self.training.guided {
            guided.check(&self.model, &self.data)?;
        }
        self.check_parts()?;
        self.check_subwords()?;
        self.training.schedule.check()
    }

    /// Where alignments of the model are read, if its training says so.
    pub(crate) fn reading(&self) -> Option<Calibration> {
        self.training.guided.as_ref()?.reading(&self.model)
    }

    /// Whether the languages share a vocabulary, as far as the file tells. Tokenizers that exist
    /// say so themselves when they are read.
    fn joint(&self) -> bool {
        match &self.tokenizer {
            Tokenizer::Learn(learn) if self.init.is_none() => learn.joint,
            _ => true,
        }
    }

    /// Names of parameters do not depend on what is known only later.
    fn check_parts(&self) -> Result<(), Fault> {
        const ANY_SIZE: usize = 1000;
        let vocabs =
            Vocabs { src: ANY_SIZE, tgt: ANY_SIZE, joint: self.joint(), ..Vocabs::default() };
        let specs = model::specs(&self.model, &vocabs).map_err(|e| ("model", e.to_string()))?;
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        if let Some(init) = &self.init {
            pattern::check(&init.only, &names).map_err(|message| ("init.only", message))?;
            if matches!(&self.tokenizer, Tokenizer::Learn(how) if *how != TokenizerConfig::default())
            {
                let message = "found how to learn one, but the model in `init.dir` brings its own";
                return Err(("tokenizer", message.into()));
            }
        }
        let freeze = &self.training.freeze;
        pattern::check(freeze, &names).map_err(|message| ("training.freeze", message))?;
        if names.iter().all(|name| pattern::any(freeze, name)) {
            return Err(("training.freeze", "every parameter is frozen, none is left".into()));
        }
        Ok(())
    }

    fn check_subwords(&self) -> Result<(), Fault> {
        let Training { bpe_dropout, unigram_sampling, .. } = &self.training;
        let kind = match &self.tokenizer {
            Tokenizer::Learn(how) if self.init.is_none() => Some(how.kind),
            _ => None, // it says so itself when it is read
        };
        match (bpe_dropout, unigram_sampling, kind) {
            (Some(_), Some(_), _) => Err((
                "training.unigram_sampling",
                "`bpe_dropout` is given as well, but a tokenizer is of one kind only".into(),
            )),
            (Some(_), _, Some(TokenizerKind::Unigram)) => Err((
                "training.bpe_dropout",
                "needs a BPE tokenizer, but `tokenizer.kind` is `unigram`".into(),
            )),
            (_, Some(_), Some(TokenizerKind::Bpe)) => Err((
                "training.unigram_sampling",
                "needs a unigram tokenizer, but `tokenizer.kind` is `bpe`".into(),
            )),
            _ => Ok(()),
        }
    }
}

impl Schedule {
    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Luong { after: Every::Updates(_), every: Every::Epochs(_) }
            | Self::Luong { after: Every::Epochs(_), every: Every::Updates(_) } => Err((
                "training.schedule.luong.every",
                "found another unit than in `after`, allowed is the same".into(),
            )),
            Self::Cosine { warmup, total } if *warmup >= total.get() => Err((
                "training.schedule.cosine.warmup",
                format!("found {warmup}, allowed is less than `total`, which is {total}"),
            )),
            Self::Plateau { factor, .. } if factor.get() == 0.0 => Err((
                "training.schedule.plateau.factor",
                "found 0, allowed is a number between 0 and 1".into(),
            )),
            _ => Ok(()),
        }
    }
}

fn one() -> u64 {
    1
}
