//! Global attention: each target position looks at the whole source sentence.
//!
//! Luong, Pham and Manning (2015), “Effective Approaches to Attention-based Neural Machine
//! Translation”, §3.1. Names follow the paper: decoder state `h_t`, encoder states `h̄_s`,
//! alignment weights `a_t`, context `c_t`.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::{AttentionConfig, Error, Mask, Result, mask::masked_softmax, score::Scorer};

/// Attention to all of the source.
///
/// ```text
/// a_t = softmax over the source of score(h_t, h̄_s)   (eq. 7; eq. 8 for the location score)
/// c_t = Σ_s a_t(s) h̄_s
/// ```
///
/// Each score follows the paper. The location score tells `max_src_len` positions apart; of a
/// shorter sentence it uses the first scores only, and of a longer one it ignores the end.
#[derive(Clone, Debug)]
pub struct GlobalAttention {
    score: Scorer,
    limit: usize,
}

/// An encoded batch, prepared for attention.
///
/// Only a layer makes one, so states, keys and mask always belong together, and the keys, which
/// no decoder step changes, are computed once.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(crate) states: Tensor, // h̄_s: [batch, src_len, memory_dim]
    pub(crate) keys: Tensor,   // [batch, src_len, key_dim]
    pub(crate) mask: Mask,
}

/// What a target position saw.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `c_t`: `[batch, tgt_len, memory_dim]`.
    pub context: Tensor,
    /// `a_t`: `[batch, tgt_len, src_len]`. Positions that were not looked at are exactly zero.
    /// A row sums to one, or to zero if there was nothing to look at; with local-p's Gaussian,
    /// unless it is renormalised, to something in between.
    pub weights: Tensor,
}

impl Memory {
    pub(crate) fn new(score: &Scorer, limit: usize, states: Tensor, mask: Mask) -> Result<Self> {
        let (batch, src_len, _memory_dim) = states.dims3()?;
        if mask.dims() != (batch, src_len) {
            return Err(Error::MaskMismatch { mask: mask.dims(), states: (batch, src_len) });
        }
        Ok(Self { keys: score.keys(&states)?, states, mask: mask.limited(limit) })
    }

    /// The memory of the first `n` sentences.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn first(&self, n: usize) -> Result<Self> {
        let (states, keys) = (self.states.narrow(0, 0, n)?, self.keys.narrow(0, 0, n)?);
        Ok(Self { states, keys, mask: self.mask.first(n) })
    }
}

impl GlobalAttention {
    /// Reads the score's parameters, by the names of [`AttentionConfig::parameters`].
    ///
    /// # Errors
    /// If a parameter is missing or has another shape, or if sizes do not fit the score.
    pub fn new(
        config: &AttentionConfig,
        dim: usize,
        memory_dim: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        config.parameters(dim, memory_dim)?;
        let score = Scorer::new(config, dim, memory_dim, vb)?;
        Ok(Self { score, limit: config.limit() })
    }

    /// Prepares encoder states `[batch, src_len, memory_dim]` for any number of queries.
    ///
    /// # Errors
    /// [`Error::MaskMismatch`] if `mask` was made for another batch.
    pub fn memory(&self, states: Tensor, mask: Mask) -> Result<Memory> {
        Memory::new(&self.score, self.limit, states, mask)
    }

    /// Attends from `h_t`, `query`: `[batch, tgt_len, dim]`, to `memory`.
    ///
    /// Training passes all target positions at once; search passes one (`tgt_len` = 1).
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, query: &Tensor, memory: &Memory) -> Result<Attended> {
        let (_batch, tgt_len, _dim) = query.dims3()?;
        let scores = self.score.scores(query, &memory.keys)?; // [batch, tgt_len, src_len]
        let weights = masked_softmax(&scores, &memory.mask.for_targets(tgt_len)?)?;
        let context = weights.matmul(&memory.states)?; // [batch, tgt_len, memory_dim]
        Ok(Attended { context, weights })
    }
}
