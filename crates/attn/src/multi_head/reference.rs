//! What [`MultiHead`](super::MultiHead) computes, in ordinary tensor operations on padded batches,
//! on any device.

use candle_core::{Device, Tensor};

use super::Visible;
use crate::{Result, masked_softmax};

/// What queries saw.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[batch, heads, tgt_len, head_dim]`.
    pub context: Tensor,
    /// `[batch, heads, tgt_len, src_len]`. A row sums to one, or to zero if it sees nothing.
    pub weights: Tensor,
}

/// `softmax(Q Kᵀ / √head_dim) V` (Vaswani et al., 2017, eq. 1) of `query`
/// `[batch, heads, tgt_len, head_dim]`, `key` and `value` `[batch, heads, src_len, head_dim]` where
/// `mask` `[batch, tgt_len, src_len]` is 1. Differentiable in the first three.
///
/// # Errors
/// If the shapes do not fit.
pub fn attend(query: &Tensor, key: &Tensor, value: &Tensor, mask: &Tensor) -> Result<Attended> {
    let (_batch, _heads, _tgt_len, head_dim) = query.dims4()?;
    let scores = query.matmul(&key.t()?.contiguous()?)?; // [batch, heads, tgt_len, src_len]
    let scores = (scores / (head_dim as f64).sqrt())?;
    let mask = mask.unsqueeze(1)?.broadcast_as(scores.shape())?.contiguous()?;
    let weights = masked_softmax(&scores, &mask)?;
    let context = weights.matmul(value)?; // [batch, heads, tgt_len, head_dim]
    Ok(Attended { context, weights })
}

/// 1 where a query sees a key: `[batch, tgt_len, src_len]` for the longest sentence of either
/// side. Padding sees nothing and is not seen.
///
/// # Errors
/// If the tensor cannot be made.
pub fn mask(
    visible: Visible,
    query_lengths: &[usize],
    key_lengths: &[usize],
    device: &Device,
) -> Result<Tensor> {
    let tgt_len = query_lengths.iter().copied().max().unwrap_or(0);
    let src_len = key_lengths.iter().copied().max().unwrap_or(0);
    let mut mask = Vec::with_capacity(query_lengths.len() * tgt_len * src_len);
    for (&queries, &keys) in query_lengths.iter().zip(key_lengths) {
        for query in 0..tgt_len {
            let seen = if query < queries { visible.keys(query, keys) } else { 0..0 };
            mask.extend((0..src_len).map(|key| u8::from(seen.contains(&key))));
        }
    }
    Ok(Tensor::from_vec(mask, (query_lengths.len(), tgt_len, src_len), device)?)
}

/// Packed rows `[rows, heads · head_dim]` as heads of a padded batch,
/// `[batch, heads, longest, head_dim]`, with zeros after the end of a sentence. Differentiable.
///
/// # Errors
/// If the shapes do not fit.
pub fn pad(rows: &Tensor, offsets: &[usize], heads: usize) -> Result<Tensor> {
    let (_rows, dim) = rows.dims2()?;
    let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    let sentences = offsets.windows(2).map(|pair| {
        let len = pair[1] - pair[0];
        rows.narrow(0, pair[0], len)?.pad_with_zeros(0, 0, longest - len)
    });
    let padded = Tensor::stack(&sentences.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    let split = padded.reshape((offsets.len() - 1, longest, heads, dim / heads))?;
    Ok(split.transpose(1, 2)?.contiguous()?)
}

/// The inverse of [`pad`]: `[batch, heads, longest, head_dim]` → `[rows, heads · head_dim]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn pack(padded: &Tensor, offsets: &[usize]) -> Result<Tensor> {
    let (_batch, heads, longest, head_dim) = padded.dims4()?;
    let joined = padded.transpose(1, 2)?.contiguous()?;
    let joined = joined.reshape(((), longest, heads * head_dim))?; // [batch, longest, dim]
    let sentence = |(b, pair): (usize, &[usize])| joined.get(b)?.narrow(0, 0, pair[1] - pair[0]);
    let rows = offsets.windows(2).enumerate().map(sentence);
    Ok(Tensor::cat(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}
