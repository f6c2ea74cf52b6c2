//! What can go wrong with a model.

use std::path::PathBuf;

use crate::checkpoint::FORMAT;

/// Why a model could not be built, read, written or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Keys of a configuration contradict each other.
    #[error("{0}")]
    Config(String),

    /// A directory lacks a file.
    #[error("{dir} holds no model: {missing} is missing")]
    Incomplete {
        /// The directory.
        dir: PathBuf,
        /// The file.
        missing: &'static str,
    },

    /// A directory was written by a newer program.
    #[error("{path}: model format {found} is newer than {FORMAT}, the newest this build reads")]
    TooNew {
        /// The configuration file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },

    /// A configuration file is no configuration of ours.
    #[error("{path} is not a configuration of this program: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// A folder holds no model of Marian's, or one that this program's network cannot be.
    #[error("{path} describes no Marian model that can be imported: {reason}")]
    NotMarian {
        /// The configuration file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },

    /// Weights in a form that runs a program when it is read.
    #[error(
        "{path} is a Python pickle, which may run any program when it is read: expected \
         model.safetensors"
    )]
    Pickled {
        /// The file.
        path: PathBuf,
    },

    /// A file is not what was written.
    #[error("{path} is damaged: its checksum is {found}, expected {expected}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The checksum of what is there.
        found: String,
        /// The checksum of what was written.
        expected: String,
    },

    /// A weight file holds something else than the configuration asks for.
    #[error(
        "{path}: parameter {name} has shape {found:?}, the configuration asks for {expected:?}"
    )]
    ShapeMismatch {
        /// The weight file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape on disk.
        found: Vec<usize>,
    },

    /// A weight file lacks a parameter.
    #[error("{path} has no parameter {name}")]
    MissingParameter {
        /// The weight file.
        path: PathBuf,
        /// The parameter.
        name: String,
    },

    /// A weight file has a parameter too many.
    #[error("{path} has a parameter {name} that the configuration does not know")]
    UnknownParameter {
        /// The weight file.
        path: PathBuf,
        /// The parameter.
        name: String,
    },

    /// A source that cannot be read.
    #[error("the source cannot be cut into the tokens of a model: {0}")]
    Source(String),

    /// An id that no vocabulary holds.
    #[error("id {id} lies outside the {side} vocabulary of {vocab}")]
    UnknownId {
        /// `source` or `target`.
        side: &'static str,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },

    /// Links for another number of pairs than a batch has.
    #[error("links of {found} pairs were given, the batch has {expected}")]
    Links {
        /// Pairs with links.
        found: usize,
        /// Pairs of the batch.
        expected: usize,
    },

    /// A link to a token that is not there.
    #[error(
        "link {}-{} of pair {} is not between two of its tokens", link.0, link.1, sentence + 1
    )]
    NoSuchLink {
        /// The pair, counted from zero.
        sentence: usize,
        /// Source and target, counted from zero.
        link: (u32, u32),
    },

    /// A batch without sentences.
    #[error("a batch needs at least one sentence")]
    EmptyBatch,

    /// Rows that do not fit the state of a search.
    #[error("a search over {expected} rows was given {found}")]
    Rows {
        /// Rows of the state.
        expected: usize,
        /// Rows given.
        found: usize,
    },

    /// A state of a search that another model began.
    #[error("the search was begun by a model of another family")]
    ForeignState,

    /// A sentence longer than learned positions can number.
    #[error(
        "a sentence of {found} tokens is too long: the model numbers {most} at most (`max_len`)"
    )]
    TooLong {
        /// Tokens of the sentence, its end included.
        found: usize,
        /// The most there may be.
        most: usize,
    },

    /// An attention that a model does not have.
    #[error("there is no {what} {found} to align with: the model is {has}")]
    NoSuchHead {
        /// `layer` or `head`.
        what: &'static str,
        /// Its number, counted from zero.
        found: usize,
        /// What there is.
        has: String,
    },

    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A weight file is no safetensors file.
    #[error("{path} is not a safetensors file")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: safetensors::SafeTensorError,
    },

    /// Attention was given what does not fit together.
    #[error(transparent)]
    Attention(#[from] attn::Error),

    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A result with an [`Error`] of this crate.
pub type Result<T> = std::result::Result<T, Error>;
