//! From source sentences to the best target sentences, with their alignment.

mod error;
pub mod search;
#[cfg(test)]
mod toy;

pub use error::{Error, Result};
pub use search::{Hypothesis, SearchConfig, search};
