//! How one sequence looks at another: the attention of Luong, Pham and Manning (2015),
//! “Effective Approaches to Attention-based Neural Machine Translation”.
//!
//! A cell of the grid is a [`Kind`] and a [`Score`], chosen in an [`AttentionConfig`]. With
//! decoder states `h_t` `[dim]` and encoder states `h̄_s` `[memory_dim]`:
//!
//! | kind      | paper | a target position sees                                              |
//! |-----------|-------|---------------------------------------------------------------------|
//! | `none`    |       | nothing                                                             |
//! | `global`  | §3.1  | the whole source                                                    |
//! | `local-m` | §3.2  | `[p_t − D, p_t + D]` with `p_t = t`                                  |
//! | `local-p` | §3.2  | the same with `p_t = S · sigmoid(v_pᵀ tanh(W_p h_t))`, times a Gaussian |
//!
//! | score      | paper      | `score(h_t, h̄_s)`          | parameters, `[out, in]`                  |
//! |------------|------------|-----------------------------|------------------------------------------|
//! | `dot`      | §3.1       | `h_tᵀ h̄_s`                 | none; `dim = memory_dim`                 |
//! | `general`  | §3.1       | `h_tᵀ W_a h̄_s`             | `score.weight` `[dim, memory_dim]`       |
//! | `concat`   | §3.1       | `v_aᵀ tanh(W_a [h_t; h̄_s])`| `score.query.weight` `[score_dim, dim]`, `score.key.weight` `[score_dim, memory_dim]`, `score.v` `[score_dim]` |
//! | `location` | §3.1, eq. 8 | row `s` of `W_a h_t`       | `score.weight` `[max_src_len, dim]`      |
//!
//! `local-p` adds `position.weight` `[position_dim, dim]` (`W_p`) and `position.v`
//! `[position_dim]` (`v_p`).
//!
//! Everything exists twice. The *plain* layers are the definition, in tensor operations, on any
//! device and in any precision; the *fused* ones are what models train with, on the CPU:
//!
//! | form  | entry                                  | source                         | memory and time of a window |
//! |-------|----------------------------------------|--------------------------------|-----------------------------|
//! | plain | [`Attention`], [`GlobalAttention`], [`LocalAttention`] | padded, with a [`Mask`] | those of the whole source |
//! | fused | [`Kernel`], step by step or all at once | packed, sentence after sentence | those of the window       |
//! | fused | [`attend`], on Candle's tape           | packed                         | those of the window         |
//!
//! [`multi_head`] is the attention of the Transformer (Vaswani et al., 2017), in both forms too.

mod attend;
mod config;
mod error;
mod fused;
mod global;
mod guide;
mod layer;
mod local;
mod mask;
pub mod multi_head;
mod score;

pub use attend::{Inputs, Places, attend, attend_with_weights};
pub use config::{AttentionConfig, Edge, Keys, Kind, Parameter, Projection, Score, Sigma};
pub use error::{Error, Result};
pub use fused::{
    Kernel, OutputGrads, Queries, QueryGrads, Row, Source, SourceGrads, Step, Trace, Vectors,
};
pub use global::{Attended, GlobalAttention, Memory};
pub use guide::Guide;
pub use layer::{Attention, attentional_state};
pub use local::LocalAttention;
pub use mask::{Mask, masked_softmax};
