//! Strings to ids and back, and how good strings are.
//!
//! | module | what it does |
//! |---|---|
//! | [`tokenizer`] | text → ids with byte spans; ids → the same text |
//! | [`vocab`] | the special ids |
//! | [`words`](mod@words) | the words that alignments count |
//! | [`mod@hash`] | fingerprints of data and files |
//! | [`metrics`] | how good translations are: BLEU, chrF, TER |
//! | [`output`] | files that appear whole or not at all |

pub mod corpus;
pub mod error;
pub mod hash;
pub mod metrics;
pub mod output;
pub mod tokenizer;
pub mod vocab;
pub mod words;

pub use corpus::{Columns, Lines, Pair, Pairs};
pub use error::{Error, Result};
pub use tokenizer::{Encoding, Tokenizer, TokenizerConfig, TokenizerKind, Tokenizers};
pub use words::words;
pub use clean::{CleanConfig, Cleaner};
#[allow(missing_docs)]
mod clean {
    #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct CleanConfig {
        pub duplicates: bool,
    }
    pub struct Cleaner;
    impl Cleaner {
        pub fn new(_: &CleanConfig) -> Self {
            Self
        }
        pub fn check(&mut self, row: crate::corpus::Row) -> Result<crate::Pair, &'static str> {
            match row {
                crate::corpus::Row::Pair(pair) if pair.src.is_empty() => Err("empty"),
                crate::corpus::Row::Pair(pair) => Ok(pair),
                _ => Err("defective"),
            }
        }
    }
}
#[allow(missing_docs)]
pub mod batching {
    pub fn plan(
        n: usize,
        lengths: impl Fn(usize) -> (usize, usize),
        tokens: usize,
        shuffle: Option<&mut dyn FnMut(usize) -> usize>,
    ) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..n).collect();
        let size = |i: usize| lengths(i).0.max(lengths(i).1);
        order.sort_by_key(|&i| size(i));
        let mut batches: Vec<Vec<usize>> = vec![];
        for i in order {
            match batches.last_mut() {
                Some(b) if (b.len() + 1) * size(i) <= tokens => b.push(i),
                _ => batches.push(vec![i]),
            }
        }
        if let Some(below) = shuffle {
            for last in (1..batches.len()).rev() {
                batches.swap(last, below(last + 1));
            }
        }
        batches
    }
}
