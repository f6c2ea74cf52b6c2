//! Strings to ids and back, and how good strings are.
//!
//! | module | what it does |
//! |---|---|
//! | [`corpus`] | parallel text as a stream, from files of several forms |
//! | [`normalize`] | Unicode form, white space, control characters |
//! | [`clean`] | which pairs are worth training on, and a count of the others |
//! | [`duplicates`] | sentences all but the same; test sets without them in training |
//! | [`tokenizer`] | text → ids with byte spans; ids → the same text |
//! | [`vocab`] | the special ids |
//! | [`batching`] | batches of similar length under a token budget; seeded, resumable |
//! | [`mod@hash`] | fingerprints of data and files |
//! | [`words`](mod@words) | the words that alignments count |
//! | [`number`] | checked numbers of settings |
//! | [`metrics`] | BLEU, chrF and TER with the signatures that make them comparable |
//! | [`output`] | files that appear whole or not at all |

pub mod batching;
pub mod clean;
pub mod corpus;
pub mod duplicates;
pub mod error;
pub mod hash;
pub mod metrics;
pub mod normalize;
pub mod number;
pub mod output;
pub mod tokenizer;
pub mod vocab;
pub mod words;

pub use batching::{BatchConfig, plan};
pub use clean::{CleanConfig, Cleaner, Judge};
pub use corpus::{Columns, Lines, Pair, Pairs};
pub use duplicates::{HeldOut, NearDuplicates, hold_out};
pub use error::{Error, Result};
pub use normalize::{Charsmap, Normalize};
pub use tokenizer::{
    Decoded, Encoding, Sampler, Sampling, SentencePiece, Side, Tag, Tokenizer, TokenizerConfig,
    TokenizerKind, Tokenizers,
};
pub use words::{words, words_and_marks};
