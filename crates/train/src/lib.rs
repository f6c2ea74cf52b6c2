//! From an experiment file to a checkpoint.
//!
//! [`train`] runs an [`Experiment`] in a directory and tells an observer what happens:
//!
//! | in the directory | what it is |
//! |---|---|
//! | `config.toml` | the resolved experiment file |
//! | `checkpoints/step-00001000/` | a model directory and what a resumed run needs |
//! | `last`, `best` | links to two of them |
//! | `averaged/` | a model directory with the mean of the last ones, when the run has ended |
//! | `alignments.jsonl` | what the model attended to in a few sentences: [`watch`] |
//! | `train.log`, `metrics.csv`, `samples.txt`, `tensorboard/` | the record of the run |

mod card;
mod checkpoint;
pub mod config;
mod data;
mod derived;
mod ema;
mod error;
pub mod event;
mod exact;
mod gradients;
mod guard;
mod init;
mod lock;
mod log;
pub mod memory;
mod optimizer;
pub mod prepare;
mod run;
pub mod schedule;
mod state;
mod step;
mod tensorboard;
mod validate;
pub mod watch;

pub use config::Experiment;
pub use derived::{average, copy, quantize, whole, write};
pub use error::{Error, Result};
pub use event::Event;
pub use gradients::{Gradients, clip_factor};
pub use guard::Divergence;
pub use optimizer::{Optimizer, Way};
pub use prepare::prepare;
pub use run::{Job, Observer, Start, Summary, train};
