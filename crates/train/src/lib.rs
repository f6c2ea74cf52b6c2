//! From an experiment file to a checkpoint.

pub mod config;
mod error;
pub mod event;
mod exact;
mod gradients;
mod log;
mod optimizer;
pub mod schedule;
mod tensorboard;

pub use config::Experiment;
pub use error::{Error, Result};
pub use gradients::{Gradients, clip_factor};
pub use optimizer::Optimizer;
