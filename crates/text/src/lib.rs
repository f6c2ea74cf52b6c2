//! Strings to ids and back, and how good strings are.
//!
//! | module | what it does |
//! |---|---|
//! | [`corpus`] | parallel text as a stream |
//! | [`tokenizer`] | text → ids with byte spans; ids → the same text |
//! | [`vocab`] | the special ids |
//! | [`mod@hash`] | fingerprints of data and files |
//! | [`words`](mod@words) | the words that alignments count |
//! | [`metrics`] | BLEU, chrF and TER with the signatures that make them comparable |
//! | [`output`] | files that appear whole or not at all |

pub mod batching;
pub mod corpus;
pub mod error;
pub mod hash;
pub mod metrics;
pub mod normalize;
pub mod output;
pub mod tokenizer;
pub mod vocab;
pub mod words;

pub use batching::{BatchConfig, plan};
pub use corpus::{Columns, Lines, Pair, Pairs};
pub use error::{Error, Result};
pub use normalize::Normalize;
pub use tokenizer::{Decoded, Encoding, Tokenizer, TokenizerConfig, TokenizerKind, Tokenizers};
pub use words::words;
