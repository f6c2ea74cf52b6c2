//! Local attention: each target position looks at a window of the source.
//!
//! Luong, Pham and Manning (2015), §3.2. Positions `s`, `t` and `p_t` count from 1 in the
//! formulas, as in the paper; arguments count from 0.

use candle_core::{D, DType, Tensor};
use candle_nn::{Linear, Module, VarBuilder};

use crate::{
    Attended, AttentionConfig, Edge, Kind, Mask, Memory, Result, config::name,
    mask::masked_softmax, score::Scorer,
};

/// Attention to the window `[p_t − D, p_t + D]`, as far as it lies within the sentence.
///
/// ```text
/// local-m   p_t = t
///           a_t(s) = align(h_t, h̄_s)
/// local-p   p_t = S · sigmoid(v_pᵀ tanh(W_p h_t))                        (eq. 9)
///           a_t(s) = align(h_t, h̄_s) · exp(−(s − p_t)² / 2σ²)            (eq. 10)
/// ```
///
/// with `align` the softmax of the scores *within the window*, `S` the length of the source and
/// `σ = D / 2` unless told otherwise. With the location score the scores of a window are those
/// of its positions in the sentence, and `S` is at most `max_src_len`: a longer source is cut.
///
/// The paper leaves two things open. Whether the product in eq. 10 is scaled to sum to one
/// again: it is not, as the equation says, unless
/// [`renormalize`](AttentionConfig::renormalize) is set. And what a window around a real-valued
/// `p_t` holds: see [`Edge`].
///
/// **Differs from the paper.** When a target grows longer than its source, local-m's window
/// would leave the sentence; `p_t` stays at the last position instead, `p_t = min(t, S)`.
///
/// This is the definition, in tensor operations over the whole source. [`Kernel`](crate::Kernel)
/// computes the window alone.
#[derive(Clone, Debug)]
pub struct LocalAttention {
    score: Scorer,
    center: Center,
    limit: usize,
    window: f64,
    edge: Edge,
    /// `1 / 2σ²`.
    sharpness: f64,
    renormalize: bool,
}

/// Where the window is.
#[derive(Clone, Debug)]
enum Center {
    Monotonic,
    /// `W_p`: `[position_dim, dim]`, `v_p`: `[position_dim]`.
    Predictive {
        hidden: Linear,
        v: Tensor,
    },
}

impl LocalAttention {
    /// Reads the parameters, by the names of [`AttentionConfig::parameters`].
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
        let center = if config.kind == Kind::LocalP {
            let hidden = config.position_dim(dim);
            Center::Predictive {
                hidden: Linear::new(vb.get((hidden, dim), name::POSITION)?, None),
                v: vb.get(hidden, name::POSITION_V)?,
            }
        } else {
            Center::Monotonic
        };
        Ok(Self {
            score: Scorer::new(config, dim, memory_dim, vb)?,
            center,
            limit: config.limit(),
            window: config.window.get() as f64,
            edge: config.edge,
            sharpness: config.sharpness(),
            renormalize: config.renormalize,
        })
    }

    /// Prepares encoder states `[batch, src_len, memory_dim]` for any number of queries.
    ///
    /// # Errors
    /// [`Error::MaskMismatch`](crate::Error::MaskMismatch) if `mask` was made for another batch.
    pub fn memory(&self, states: Tensor, mask: Mask) -> Result<Memory> {
        Memory::new(&self.score, self.limit, states, mask)
    }

    /// Attends from `h_t`, `query`: `[batch, tgt_len, dim]`, to `memory`. The first query stands
    /// at target position `first`, counted from 0, the next at the position after it.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, query: &Tensor, memory: &Memory, first: usize) -> Result<Attended> {
        let (_batch, tgt_len, _dim) = query.dims3()?;
        let (_, src_len) = memory.mask.dims();
        let center = self.center(query, &memory.mask, first)?; // [batch, tgt_len, 1]
        let positions = Tensor::arange(1, src_len as u32 + 1, query.device())?
            .to_dtype(query.dtype())?
            .reshape((1, 1, src_len))?;
        let rounded = match self.edge {
            Edge::Exact => center.detach(),
            Edge::Rounded => center.detach().round()?,
        };
        let near = positions.broadcast_sub(&rounded)?.abs()?.le(self.window)?;
        let seen = (near * memory.mask.for_targets(tgt_len)?)?; // [batch, tgt_len, src_len]

        let scores = self.score.scores(query, &memory.keys)?; // [batch, tgt_len, src_len]
        let weights = if matches!(self.center, Center::Predictive { .. }) {
            let distance = positions.broadcast_sub(&center)?; // [batch, tgt_len, src_len]
            let log_gaussian = (distance.sqr()? * -self.sharpness)?;
            if self.renormalize {
                // softmax(score) · exp(x), scaled to one, is softmax(score + x).
                masked_softmax(&(scores + log_gaussian)?, &seen)?
            } else {
                (masked_softmax(&scores, &seen)? * log_gaussian.exp()?)?
            }
        } else {
            masked_softmax(&scores, &seen)?
        };
        let context = weights.matmul(&memory.states)?; // [batch, tgt_len, memory_dim]
        Ok(Attended { context, weights })
    }

    /// `p_t`, counted from 1: `[batch, tgt_len, 1]`.
    fn center(&self, query: &Tensor, mask: &Mask, first: usize) -> Result<Tensor> {
        let (batch, tgt_len, _dim) = query.dims3()?;
        let lengths = mask.lengths_tensor(query.dtype())?; // [batch, 1]
        let center = match &self.center {
            Center::Monotonic => {
                let t =
                    Tensor::arange(first as u32 + 1, (first + tgt_len) as u32 + 1, query.device())?
                        .to_dtype(DType::F64)?
                        .to_dtype(query.dtype())?; // [tgt_len]
                let shape = (batch, tgt_len);
                t.broadcast_as(shape)?.minimum(&lengths.broadcast_as(shape)?)?
            }
            Center::Predictive { hidden, v } => {
                let hidden = hidden.forward(query)?.tanh()?; // [batch, tgt_len, position_dim]
                let logit = hidden.broadcast_mul(v)?.sum(D::Minus1)?; // [batch, tgt_len]
                let gate = (logit.neg()?.exp()? + 1.0)?.recip()?; // sigmoid
                gate.broadcast_mul(&lengths)?
            }
        };
        Ok(center.unsqueeze(2)?)
    }
}
