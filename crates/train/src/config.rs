//! The experiment file: data, tokenizer, model, training and search, in TOML.
//!
//! Reading checks everything that can be checked without opening another file. Unknown keys are
//! errors, and every error names its place and what would be right. Relative paths are relative
//! to the current directory.

mod document;
mod training;
mod values;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use model::ModelConfig;
use serde::{Deserialize, Serialize, Serializer};
pub use text::number::{NonNegative, Positive, Rate};
use text::{CleanConfig, TokenizerConfig};
use translate::SearchConfig;

use self::document::Fault;
pub use self::{
    document::ConfigError,
    training::{
        AdamConfig, AdamWConfig, EarlyStopping, Metric, OptimizerConfig, Schedule, SgdConfig,
        Training,
    },
    values::Every,
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
    /// How it is trained.
    pub training: Training,
    /// How it translates, while validating and later.
    #[serde(default)]
    pub search: SearchConfig,
}

/// The parallel text of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Code of the language to translate from, such as `en`.
    pub src: String,
    /// Code of the language to translate to.
    pub tgt: String,
    /// Longest sentence to train on, in tokens; pairs with a longer side are left out and
    /// counted.
    #[serde(default = "hundred")]
    pub max_len: NonZeroUsize,
    /// What to train on: one or more corpora, one after the other.
    pub train: Vec<CorpusFiles>,
    /// The development set.
    pub valid: CorpusFiles,
    /// Held-out sets by name, for `nmt evaluate`. Training does not look at them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub test: BTreeMap<String, CorpusFiles>,
    /// Which training pairs are too bad to learn from.
    #[serde(default)]
    pub clean: CleanConfig,
}

/// The files of a parallel corpus, plain or compressed with gzip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CorpusTable", into = "CorpusTable")]
pub enum CorpusFiles {
    /// Two files with as many lines: `{ src = "train.en", tgt = "train.de" }`.
    Lines {
        /// One source sentence a line.
        src: PathBuf,
        /// Their translations.
        tgt: PathBuf,
    },
    /// One file with tabs: `{ tsv = "train.tsv.gz", columns = [1, 2] }`.
    Tsv {
        /// One pair a line.
        tsv: PathBuf,
        /// The columns of source and target, counted from 1.
        columns: [NonZeroUsize; 2],
    },
}

/// [`CorpusFiles`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CorpusTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tgt: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tsv: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<[NonZeroUsize; 2]>,
}

impl TryFrom<CorpusTable> for CorpusFiles {
    type Error = String;

    fn try_from(table: CorpusTable) -> Result<Self, String> {
        match table {
            CorpusTable { src: Some(src), tgt: Some(tgt), tsv: None, columns: None } => {
                Ok(Self::Lines { src, tgt })
            }
            CorpusTable { src: None, tgt: None, tsv: Some(tsv), columns } => {
                let columns =
                    columns.unwrap_or([NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)]);
                if columns[0] == columns[1] {
                    return Err(format!("source and target are both column {}", columns[0]));
                }
                Ok(Self::Tsv { tsv, columns })
            }
            _ => Err("a corpus is either `{ src = FILE, tgt = FILE }` or \
                      `{ tsv = FILE, columns = [1, 2] }`"
                .into()),
        }
    }
}

impl From<CorpusFiles> for CorpusTable {
    fn from(files: CorpusFiles) -> Self {
        match files {
            CorpusFiles::Lines { src, tgt } => {
                Self { src: Some(src), tgt: Some(tgt), tsv: None, columns: None }
            }
            CorpusFiles::Tsv { tsv, columns } => {
                Self { src: None, tgt: None, tsv: Some(tsv), columns: Some(columns) }
            }
        }
    }
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
    /// A value that is not TOML is a string: `data.src=en` needs no quotes.
    ///
    /// # Errors
    /// If the file cannot be read, or if a key is unknown, missing or has a value that is not
    /// allowed: [`ConfigError`] says where.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::read(path, source))?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::NotText { path: path.into(), at: e.utf8_error().valid_up_to() })?;
        Ok(Self::parse(&path.display().to_string(), &text, overrides)?)
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
        let joint = match &self.tokenizer {
            Tokenizer::Learn(learn) => learn.joint,
            Tokenizer::Open(_) => true, // it says so itself when it is read
        };
        let table = match &self.model {
            ModelConfig::Rnn(_) => "model.rnn",
            ModelConfig::Transformer(_) => "model.transformer",
        };
        self.model.check(joint).map_err(|error| (table, error.to_string()))?;
        self.training.schedule.check()
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

fn hundred() -> NonZeroUsize {
    NonZeroUsize::new(100).expect("not zero")
}
