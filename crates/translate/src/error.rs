//! What can go wrong between a source sentence and its translation.

use std::path::PathBuf;

/// Why a translation, a score or an alignment could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The network failed.
    #[error(transparent)]
    Model(#[from] model::Error),

    /// A tokenizer failed.
    #[error(transparent)]
    Text(#[from] text::Error),

    /// A file holds no settings of a search.
    #[error("{path} holds no settings of a search: {reason}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A file does not say where alignments are read.
    #[error("{path} does not say where alignments are read: {reason}")]
    Reading {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Threads to translate on could not be had.
    #[error("cannot translate on several threads: {0}")]
    Threads(String),

    /// A sentence is longer than the configuration allows.
    #[error("line {line} has {found} tokens, expected at most {limit} (max_src_len)")]
    TooLong {
        /// The line, counted from 1.
        line: usize,
        /// Its tokens.
        found: usize,
        /// See [`SearchConfig::max_src_len`](crate::SearchConfig::max_src_len).
        limit: usize,
    },

    /// Model and tokenizer were not made for each other.
    #[error("the tokenizer is of another model: its {side} {what} is {found}, expected {expected}")]
    ForeignTokenizer {
        /// `source` or `target`.
        side: &'static str,
        /// What differs.
        what: &'static str,
        /// What the tokenizer has.
        found: String,
        /// What the model asks for.
        expected: String,
    },

    /// The network computed something that is not a finite number: it is broken, often by a training
    /// that diverged.
    #[error("the model's log-probability of token {token} is {found}, expected a finite number")]
    NotANumber {
        /// The token whose log-probability it is.
        token: u32,
        /// What the model computed.
        found: f32,
    },

    /// A model breaks the contract of [`model::EncoderDecoder`].
    #[error("a step of the model returned {found} {what}, expected {expected}")]
    Step {
        /// What was counted.
        what: &'static str,
        /// The count.
        found: usize,
        /// The count that the contract asks for.
        expected: usize,
    },

    /// Settings of a search that exclude each other.
    #[error("{one} and {other} do not go together: {reason}")]
    Contradiction {
        /// What was asked for.
        one: &'static str,
        /// What was asked for as well.
        other: &'static str,
        /// Why there is nothing that is both.
        reason: &'static str,
    },

    /// More is to be in a translation than can be kept track of.
    #[error("line {line} requires {found} phrases, expected at most {limit}")]
    TooManyPhrases {
        /// The line, counted from 1.
        line: usize,
        /// Its phrases.
        found: usize,
        /// See [`MOST_PHRASES`](crate::search::MOST_PHRASES).
        limit: usize,
    },

    /// A line is no entry of a glossary.
    #[error("found {found:?}, expected a source phrase and a target phrase with a tab between")]
    GlossaryEntry {
        /// The line.
        found: String,
    },

    /// Models that cannot translate together.
    #[error("model {model} does not fit the first: its {what} is {found}, expected {expected}")]
    Ensemble {
        /// Which model, counted from 1.
        model: usize,
        /// What differs.
        what: &'static str,
        /// What it has.
        found: String,
        /// What the first has.
        expected: String,
    },

    /// What was covered is to count, but the model does not say it.
    #[error("a coverage penalty needs attention weights, and the model has no attention")]
    NoAttention,

    /// Sources and targets do not pair up.
    #[error("{sources} sources but {targets} targets, expected one target for each source")]
    Unpaired {
        /// Number of source sentences.
        sources: usize,
        /// Number of target sentences.
        targets: usize,
    },

    /// A target holds an id that the model does not know.
    #[error("target {sentence} holds the token id {found}, but the model's vocabulary has {vocab}")]
    TokenOutOfRange {
        /// Which target, counted from 1.
        sentence: usize,
        /// The id.
        found: u32,
        /// Size of the target vocabulary.
        vocab: usize,
    },

    /// Attention weights and the tokens they are said to belong to differ in number.
    #[error("attention weights for {found} {side} tokens, but there are {expected}")]
    Weights {
        /// `source` or `target`.
        side: &'static str,
        /// Tokens that the weights are for.
        found: usize,
        /// Tokens that there are.
        expected: usize,
    },

    /// A text has too many different words to learn its alignment.
    #[error("{found} pairs of words stand in a sentence pair together, expected at most {limit}")]
    WordPairs {
        /// Pairs of a source and a target word.
        found: usize,
        /// As many as have a number.
        limit: u32,
    },

    /// A word link is not in Pharaoh format.
    #[error("link {position} is `{found}`, expected two word positions as in 0-1, 0p1 or 0?1")]
    Link {
        /// Which link of the line, counted from 1.
        position: usize,
        /// The text of the link.
        found: String,
    },

    /// A link is between words that are not there.
    #[error("link {src}-{tgt} is outside of {src_len} source words and {tgt_len} target words")]
    LinkOutside {
        /// The linked word of the source, counted from 0.
        src: usize,
        /// The linked word of the target, counted from 0.
        tgt: usize,
        /// Words of the source.
        src_len: usize,
        /// Words of the target.
        tgt_len: usize,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
