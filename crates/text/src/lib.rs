//! Strings to ids and back, and how good strings are.
//!
//! | module | what it does |
//! |---|---|
//! | [`tokenizer`] | text → ids with byte spans; ids → the same text |
//! | [`vocab`] | the special ids |
//! | [`words`](mod@words) | the words that alignments count |
//! | [`output`] | files that appear whole or not at all |

pub mod error;
mod hash;
pub mod metrics;
pub mod output;
pub mod tokenizer;
pub mod vocab;
pub mod words;

pub use error::{Error, Result};
pub use tokenizer::{Decoded, Encoding, Tokenizer, TokenizerConfig, TokenizerKind, Tokenizers};
pub use words::words;
