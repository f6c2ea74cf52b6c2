//! From an experiment file to a checkpoint.

pub mod config;
mod error;

pub use config::Experiment;
pub use error::{Error, Result};
