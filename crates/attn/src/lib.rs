//! How one sequence looks at another: the attention of Luong, Pham and Manning (2015),
//! “Effective Approaches to Attention-based Neural Machine Translation”.

mod config;
mod error;
mod fused;

pub use config::{AttentionConfig, Edge, Keys, Kind, Parameter, Projection, Score, Sigma};
pub use error::{Error, Result};
pub use fused::{
    Kernel, OutputGrads, Queries, QueryGrads, Row, Source, SourceGrads, Step, Trace, Vectors,
};
