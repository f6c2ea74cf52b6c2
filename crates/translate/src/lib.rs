//! From source sentences to the best target sentences, with their alignment.
//!
//! | module | what it does |
//! |---|---|
//! | [`translator`] | lines in, translations out |
//! | [`search`](mod@search) | source ids → the best target ids: greedy, beam, sampling |
//! | [`ensemble`] | several models as one |
//! | [`request`] | a line, and what is asked of its translation |
//! | [`glossary`] | which target phrases the words of a line require |
//! | [`mbr`] | the candidate that agrees most with all others |
//! | [`rescore`] | log-probability of a given translation |
//! | [`alignment`] | attention weights → word links; how good links are |
//! | [`aligner`] | links without a network, from the statistics of a parallel text |
//! | [`shortlist`] | which target tokens come into question for which source tokens |
//! | [`translation`] | text, score, tokens and alignment together |
//!
//! A model is whatever implements [`model::EncoderDecoder`].

pub mod aligner;
pub mod alignment;
pub mod ensemble;
mod error;
pub mod glossary;
pub mod mbr;
pub mod request;
pub mod rescore;
pub mod search;
pub mod shortlist;
#[cfg(test)]
mod toy;
pub mod translation;
pub mod translator;

pub use aligner::Aligner;
pub use alignment::Alignment;
pub use ensemble::Ensemble;
pub use error::{Error, Result};
pub use glossary::Glossary;
pub use request::Request;
pub use rescore::{Scored, score};
pub use search::{Hypothesis, SearchConfig, search};
pub use translation::{Translation, Wording};
pub use translator::Translator;
