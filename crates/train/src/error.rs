//! Why training cannot start, or cannot go on.

use std::path::{Path, PathBuf};

use crate::{config::ConfigError, guard::Divergence, memory::Bytes};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The experiment file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A file that should be text is not.
    #[error("{path} is not UTF-8 text: byte {at} begins no character")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Offset of the first wrong byte.
        at: usize,
    },

    /// A file is in the way.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },

    /// A folder holds what is left of preparing something else.
    #[error(
        "{dir} is what is left of preparing another experiment, or other files, or by another version"
    )]
    OtherPreparation {
        /// The folder.
        dir: PathBuf,
    },

    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },

    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },

    /// A token budget was to be fitted to a memory whose size is unknown.
    #[error(
        "the system does not tell how much memory is available: `training.batch_tokens` needs a \
         number instead of \"fit\""
    )]
    UnknownMemory,

    /// Not even the smallest token budget fits into memory.
    #[error(
        "a batch of {tokens} tokens needs about {needed}, more than the {share} % of {available} \
         that training may take: a smaller model, or a number as `training.batch_tokens`"
    )]
    TooLittleMemory {
        /// The smallest token budget.
        tokens: usize,
        /// What it needs.
        needed: Bytes,
        /// How much of it may be used, in percent.
        share: u64,
        /// The memory available.
        available: Bytes,
    },

    /// A checkpoint is not as it was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A run cannot go on with another experiment.
    #[error(
        "`{key}` was {before} when the run began and is {now} now; only limits may change while \
         resuming"
    )]
    ChangedKey {
        /// The key that differs.
        key: String,
        /// Its value in the run.
        before: String,
        /// Its value in the experiment file.
        now: String,
    },

    /// A run cannot go on with other data.
    #[error("the training or development data is not what it was when the run began")]
    ChangedData,

    /// A model's weights cannot be the first ones of another.
    #[error("parameter {name} cannot start from {dir}: {reason}")]
    Init {
        /// The directory of the model.
        dir: PathBuf,
        /// The parameter.
        name: String,
        /// How the models differ.
        reason: String,
    },

    /// A model is to be trained on with other tokenizers than its own.
    #[error("the tokenizers in {dir} are not those that the model in {init} was trained with")]
    OtherTokenizer {
        /// Where the tokenizers are.
        dir: PathBuf,
        /// The directory of the model.
        init: PathBuf,
    },

    /// A tokenizer that exists has no token for a tag.
    #[error(
        "the source's tokenizer has no token for `{tag}`, the tag of {corpus}: one that is learned \
         for this experiment will have it"
    )]
    MissingTag {
        /// The tag.
        tag: text::Tag,
        /// The corpus: the file of its source, or its table.
        corpus: PathBuf,
    },

    /// A line of links is none, or not of its pair.
    #[error("{path}, line {line}: {reason}")]
    Links {
        /// The file of links.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// A line of what was recorded of alignments is something else.
    #[error("{path}, line {line}: {reason}")]
    Watched {
        /// The record.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// The loss does not depend on a parameter.
    #[error("parameter {name} receives no gradient")]
    NoGradient {
        /// The parameter.
        name: String,
    },

    /// A parameter has numbers of another type than its optimizer.
    #[error("parameter {name} has numbers of type {found:?}, expected {expected:?}")]
    OtherNumbers {
        /// Its name.
        name: String,
        /// Their type.
        found: candle_core::DType,
        /// That of the optimizer.
        expected: candle_core::DType,
    },

    /// The state of an optimizer cannot be used.
    #[error("{path} holds no state of this optimizer for this model: {reason}")]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Text could not be read, written or tokenized.
    #[error(transparent)]
    Text(#[from] text::Error),

    /// Nothing is left to train on.
    #[error("no training pair of {} is left: {}", names(corpora), reasons(dropped))]
    NothingLeft {
        /// The corpora: the file of the source, or the table.
        corpora: Vec<PathBuf>,
        /// Why pairs were left out, with their counts.
        dropped: Vec<(String, usize)>,
    },

    /// The development set has a sentence that search does not translate.
    #[error(
        "line {line} of the development set has {found} source tokens, expected at most \
         `search.max_src_len`, which is {limit}"
    )]
    LongValid {
        /// The line, counted from 1.
        line: u64,
        /// Its tokens.
        found: usize,
        /// Most tokens that search accepts.
        limit: usize,
    },

    /// A model cannot be made from others.
    #[error("cannot make {dir} from other models: {reason}")]
    Derive {
        /// Where it was to be.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// A run is already there.
    #[error("{dir} already holds files: resume the run in it, or choose another directory")]
    Occupied {
        /// The directory of the run.
        dir: PathBuf,
    },

    /// There is no run to resume.
    #[error("{dir} holds no run to resume: config.toml is missing")]
    NoRun {
        /// The directory.
        dir: PathBuf,
    },

    /// Another process works on a run.
    #[error("another process is training in {dir}")]
    Busy {
        /// The directory of the run.
        dir: PathBuf,
    },

    /// Training went wrong for good.
    #[error(
        "training has diverged at update {step}: {divergence}. Try a lower `training.lr`, a \
         longer warm-up or a smaller `training.clip_norm`; the checkpoints in {run} are from \
         before"
    )]
    Diverged {
        /// The update.
        step: u64,
        /// What was seen.
        divergence: Divergence,
        /// The directory of the run.
        run: PathBuf,
    },

    /// The threads to train with cannot be started.
    #[error("cannot start threads to train with")]
    Threads(#[from] rayon::ThreadPoolBuildError),

    /// A model could not be made, read, written or run.
    #[error(transparent)]
    Model(#[from] model::Error),

    /// Translating the development set failed.
    #[error(transparent)]
    Translate(#[from] translate::Error),

    /// Scoring the development set failed.
    #[error(transparent)]
    Metrics(#[from] text::metrics::Error),

    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn optimizer(path: &Path, reason: impl ToString) -> Self {
        Self::Optimizer { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Write { path: path.into(), source }
    }

    /// The same error of a file that was to be written below `from`, a temporary name of `to`:
    /// it is called by the name that somebody will look for.
    pub(crate) fn named(mut self, from: &Path, to: &Path) -> Self {
        let path = match &mut self {
            Self::Write { path, .. } | Self::Read { path, .. } => path,
            Self::Text(text::Error::Write { path, .. } | text::Error::Read { path, .. }) => path,
            Self::Model(model::Error::Io { path, .. }) => path,
            Self::Translate(translate::Error::Text(text::Error::Write { path, .. })) => path,
            _ => return self,
        };
        if let Ok(rest) = path.strip_prefix(from) {
            *path = if rest.as_os_str().is_empty() { to.into() } else { to.join(rest) };
        }
        self
    }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn reasons(dropped: &[(String, usize)]) -> String {
    match dropped {
        [] => "the corpora are empty".into(),
        _ => dropped.iter().map(|(why, n)| format!("{n} {why}")).collect::<Vec<_>>().join(", "),
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
