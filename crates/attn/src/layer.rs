//! Any cell of the grid behind one type.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::{
    Attended, AttentionConfig, Error, GlobalAttention, Kind, LocalAttention, Mask, Memory, Result,
};

/// The plain layer that a configuration asks for.
#[derive(Clone, Debug)]
pub enum Attention {
    /// All of the source.
    Global(GlobalAttention),
    /// A window.
    Local(LocalAttention),
}

impl Attention {
    /// Reads the parameters, by the names of [`AttentionConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::NoAttention`] if the kind is none; if a parameter is missing or has another
    /// shape, or if sizes do not fit the score.
    pub fn new(
        config: &AttentionConfig,
        dim: usize,
        memory_dim: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        match config.kind {
            Kind::None => Err(Error::NoAttention),
            Kind::Global => Ok(Self::Global(GlobalAttention::new(config, dim, memory_dim, vb)?)),
            Kind::LocalM | Kind::LocalP => {
                Ok(Self::Local(LocalAttention::new(config, dim, memory_dim, vb)?))
            }
        }
    }

    /// Prepares encoder states `[batch, src_len, memory_dim]` for any number of queries.
    ///
    /// # Errors
    /// [`Error::MaskMismatch`] if `mask` was made for another batch.
    pub fn memory(&self, states: Tensor, mask: Mask) -> Result<Memory> {
        match self {
            Self::Global(layer) => layer.memory(states, mask),
            Self::Local(layer) => layer.memory(states, mask),
        }
    }

    /// Attends from `query`, `[batch, tgt_len, dim]`, whose first row stands at target position
    /// `first`, counted from 0.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, query: &Tensor, memory: &Memory, first: usize) -> Result<Attended> {
        match self {
            Self::Global(layer) => layer.forward(query, memory),
            Self::Local(layer) => layer.forward(query, memory, first),
        }
    }
}

/// The attentional state `h̃_t = tanh(W_c [c_t; h_t])` (eq. 5).
///
/// `context`: `[.., memory_dim]`. `query`: `[.., dim]`. `w_c`: `[out, memory_dim + dim]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn attentional_state(context: &Tensor, query: &Tensor, w_c: &Tensor) -> Result<Tensor> {
    use candle_core::D;
    use candle_nn::{Linear, Module};

    let both = Tensor::cat(&[context, query], D::Minus1)?; // [.., memory_dim + dim]
    Ok(Linear::new(w_c.clone(), None).forward(&both)?.tanh()?) // [.., out]
}
