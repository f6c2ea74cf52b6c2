//! What can go wrong with text.

use std::{io, path::PathBuf};

use crate::clean::Reason;

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

    /// A line that is not valid UTF-8.
    #[error("line {line} of {path} is not valid UTF-8")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },

    /// A line with a NUL byte, which no text holds.
    #[error("line {line} of {path} holds a NUL byte: the file is not plain text")]
    NulByte {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },

    /// A line too long to be a sentence.
    #[error("line {line} of {path} has {bytes} bytes, expected at most {limit}")]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: usize,
    },

    /// A gzip file that ends in the middle.
    #[error("{path} is cut short: its gzip data breaks off after line {line}")]
    TruncatedGzip {
        /// The file.
        path: PathBuf,
        /// The last whole line.
        line: u64,
    },

    /// Two files that cannot be aligned line by line.
    #[error(
        "{src} and {tgt} are not aligned: {src_lines} lines in the first, {tgt_lines} in the second"
    )]
    UnequalLines {
        /// The source file.
        src: PathBuf,
        /// All of its lines.
        src_lines: u64,
        /// The target file.
        tgt: PathBuf,
        /// All of its lines.
        tgt_lines: u64,
    },

    /// A row of a table with too few columns.
    #[error("line {line} of {path} has {found} tab-separated columns, column {needed} is needed")]
    MissingColumn {
        /// The table.
        path: PathBuf,
        /// The row.
        line: u64,
        /// The columns it has.
        found: usize,
        /// The column asked for, counted from one.
        needed: usize,
    },

    /// A parallel corpus without a line.
    #[error("{path} is empty: a corpus has at least one line")]
    EmptyCorpus {
        /// The file.
        path: PathBuf,
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

    /// A file that is no model of SentencePiece, or one that cuts text in another way.
    #[error("{path} is no SentencePiece model that can be used: {reason}")]
    NotSentencePiece {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },

    /// Models of SentencePiece that make no tokenizers.
    #[error("no tokenizers can be made of these SentencePiece models: {reason}")]
    SentencePieces {
        /// What is wrong with them.
        reason: String,
    },

    /// A file that should say what is evened out in text and does not.
    #[error("{path} does not say how text is normalised: {reason}")]
    NotNormalize {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
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

    /// Subwords cannot be drawn at random from this tokenizer.
    #[error("subwords cannot be drawn at random: {reason}")]
    Sampling {
        /// What stands in the way.
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

    /// A sentence pair longer than a whole batch may be.
    #[error(
        "sentence pair {pair} fits into no batch: {src_len} source and {tgt_len} target tokens \
         exceed the budget"
    )]
    Overlong {
        /// Its position among the pairs, from zero.
        pair: usize,
        /// Its source tokens.
        src_len: u32,
        /// Its target tokens.
        tgt_len: u32,
    },

    /// More sentence pairs than a plan of batches can number.
    #[error("{found} sentence pairs are too many for one epoch, expected at most {most}")]
    TooManyPairs {
        /// The number of pairs.
        found: usize,
        /// The largest number possible.
        most: u32,
    },

    /// The scripts of a language shall be checked, and are not known.
    #[error(
        "it is not known in which scripts {language} is written: `src_scripts` and `tgt_scripts` \
         can say it, as in [\"Latin\"]"
    )]
    UnknownScripts {
        /// The code of the language.
        language: String,
    },

    /// A language shall be told from others, and is not known.
    #[error(
        "language identification does not know {language}: expected a code such as en or eng, or \
         `drop_other_language = false`"
    )]
    UnknownLanguage {
        /// The code of the language.
        language: String,
    },

    /// A corpus of which cleaning leaves nothing.
    #[error(
        "all {read} pairs of the corpus were dropped, {dropped} of them for this reason: {reason}"
    )]
    NothingKept {
        /// The lines looked at.
        read: u64,
        /// The most frequent reason.
        reason: Reason,
        /// How many lines were dropped for it.
        dropped: u64,
    },
}
