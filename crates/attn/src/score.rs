//! How well a decoder state matches each encoder state.
//!
//! Luong et al. (2015), §3.1: the *dot*, *general* and *concat* scores, and the *location* score
//! of eq. 8, which does not look at the source at all.

use candle_core::{D, Tensor};
use candle_nn::{Linear, Module, VarBuilder};

use crate::{AttentionConfig, Result, Score, config::name};

/// One of the four scores with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Scorer {
    /// `h_tᵀ h̄_s`
    Dot,
    /// `h_tᵀ W_a h̄_s`, with `W_a`: `[dim, memory_dim]`.
    General { key: Linear },
    /// `v_aᵀ tanh(W_a [h_t; h̄_s])`, with `W_a` cut into a part for `h_t` and one for `h̄_s`.
    Concat { query: Linear, key: Linear, v: Tensor },
    /// `W_a h_t`, with `W_a`: `[max_src_len, dim]`.
    Location { query: Linear },
}

impl Scorer {
    pub(crate) fn new(
        config: &AttentionConfig,
        dim: usize,
        memory_dim: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let linear = |name, rows: usize, columns: usize| -> Result<Linear> {
            Ok(Linear::new(vb.get((rows, columns), name)?, None))
        };
        let hidden = config.score_dim(dim);
        Ok(match config.score {
            Score::Dot => Self::Dot,
            Score::General => Self::General { key: linear(name::SCORE, dim, memory_dim)? },
            Score::Concat => Self::Concat {
                query: linear(name::SCORE_QUERY, hidden, dim)?,
                key: linear(name::SCORE_KEY, hidden, memory_dim)?,
                v: vb.get(hidden, name::SCORE_V)?,
            },
            Score::Location => {
                Self::Location { query: linear(name::SCORE, config.max_src_len.get(), dim)? }
            }
        })
    }

    /// What queries are compared with: `[batch, src_len, key_dim]`, from states
    /// `[batch, src_len, memory_dim]`.
    pub(crate) fn keys(&self, states: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::General { key } | Self::Concat { key, .. } => key.forward(states)?,
            Self::Dot | Self::Location { .. } => states.clone(),
        })
    }

    /// `score(h_t, h̄_s)`: `[batch, tgt_len, src_len]`, from queries `[batch, tgt_len, dim]`.
    ///
    /// The location score has no opinion beyond `max_src_len` and says zero there; the mask
    /// must leave these positions out.
    pub(crate) fn scores(&self, query: &Tensor, keys: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dot | Self::General { .. } => Ok(query.matmul(&keys.t()?)?),
            Self::Concat { query: projection, v, .. } => {
                let query = projection.forward(query)?.unsqueeze(2)?; // [batch, tgt_len, 1, hidden]
                let keys = keys.unsqueeze(1)?; // [batch, 1, src_len, hidden]
                let hidden = query.broadcast_add(&keys)?.tanh()?; // [batch, tgt_len, src_len, hidden]
                Ok(hidden.broadcast_mul(v)?.sum(D::Minus1)?) // [batch, tgt_len, src_len]
            }
            Self::Location { query: projection } => {
                let scores = projection.forward(query)?; // [batch, tgt_len, max_src_len]
                let (_, src_len, _) = keys.dims3()?;
                let known = scores.dim(D::Minus1)?;
                if src_len <= known {
                    Ok(scores.narrow(D::Minus1, 0, src_len)?.contiguous()?)
                } else {
                    Ok(scores.pad_with_zeros(D::Minus1, 0, src_len - known)?)
                }
            }
        }
    }
}
