//! From an experiment file to a checkpoint.

mod checkpoint;
pub mod config;
mod error;
pub mod event;
mod exact;
mod gradients;
mod guard;
mod log;
mod optimizer;
pub mod schedule;
mod state;
mod tensorboard;

pub use config::Experiment;
pub use error::{Error, Result};
pub use guard::Divergence;
pub use gradients::{Gradients, clip_factor};
pub use optimizer::Optimizer;
