//! From an experiment file to a checkpoint.

pub mod config;
mod error;
mod exact;
mod gradients;
mod optimizer;
pub mod schedule;

pub use config::Experiment;
pub use error::{Error, Result};
pub use gradients::{Gradients, clip_factor};
pub use optimizer::Optimizer;
