//! What can go wrong with text.

use std::{io, path::PathBuf};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why text could not be read, written or tokenized. Lines count from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or stream could not be opened or read.
    #[error("cannot read {path}")]
    Read {
        /// What was being read.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file could not be created, written or renamed; nothing appeared under its name.
    #[error("cannot write {path}")]
    Write {
        /// What was being written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file that is no tokenizer, or was cut short.
    #[error("{path} is not a readable tokenizer: {reason}")]
    DamagedTokenizer {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },

    /// A valid tokenizer that this program cannot use without changing the text.
    #[error("{path} holds a tokenizer of another kind: {reason}")]
    ForeignTokenizer {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },

    /// A vocabulary with no room for every byte and every special token.
    #[error(
        "a vocabulary of {found} entries is too small: {needed} are needed for the special \
         tokens and the alphabet of bytes"
    )]
    VocabTooSmall {
        /// The size asked for.
        found: usize,
        /// The smallest size possible.
        needed: usize,
    },

    /// Every line that a tokenizer was to learn from is empty.
    #[error("there is no text to learn a tokenizer from: every line is empty")]
    NoTrainingText,

    /// The trainer of the `tokenizers` crate failed.
    #[error("cannot learn a tokenizer: {reason}")]
    Training {
        /// What it said.
        reason: String,
    },

    /// A text that the tokenizer could not represent.
    #[error("cannot tokenize a text of {bytes} bytes: {reason}")]
    Encode {
        /// How long the text is.
        bytes: usize,
        /// What failed.
        reason: String,
    },

    /// An id that no entry of the vocabulary has.
    #[error("token id {id} lies outside the vocabulary of {vocab} entries")]
    UnknownId {
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        vocab: usize,
    },
}
