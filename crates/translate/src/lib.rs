//! From source sentences to the best target sentences, with their alignment.
//!
//! | module | what it does |
//! |---|---|
//! | [`translator`] | lines in, translations out |
//! | [`search`](mod@search) | source ids → the best target ids: greedy, beam, sampling |
//! | [`rescore`] | log-probability of a given translation |
//! | [`alignment`] | attention weights → word links; how good links are |
//! | [`aligner`] | links without a network, from the statistics of a parallel text |
//! | [`shortlist`] | which target tokens come into question for which source tokens |
//! | [`translation`] | text, score, tokens and alignment together |
//!
//! A model is whatever implements [`model::EncoderDecoder`].

pub mod aligner;
pub mod alignment;
mod error;
pub mod rescore;
pub mod search;
pub mod shortlist;
#[cfg(test)]
mod toy;
pub mod translation;
pub mod translator;

pub use aligner::Aligner;
pub use alignment::Alignment;
pub use error::{Error, Result};
pub use rescore::{Scored, score};
pub use search::{Hypothesis, SearchConfig, search};
pub use translation::Translation;
pub use translator::Translator;
