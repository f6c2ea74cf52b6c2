//! What [`MultiHead`](super::MultiHead) computes, in ordinary tensor operations on padded batches,
//! on any device.

use candle_core::{DType, Device, Tensor};
use kernels::Real;
use kernels::dropout::Mask;

use super::head::{mask_len, width};
use super::{Guided, MultiHead, Visible, rotary};
use crate::{Result, masked_softmax};

/// What [`MultiHead::forward`] computes of `query` `[query rows, heads · head_dim]`, `key` and
/// `value` `[key rows, heads · head_dim]`: `[query rows, heads · head_dim]`. Differentiable in all
/// three.
///
/// # Errors
/// If the shapes do not fit.
pub fn forward(
    attention: &MultiHead,
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
) -> Result<Tensor> {
    let MultiHead { heads, query_offsets, key_offsets, .. } = *attention;
    let value = pad(value, key_offsets, heads)?; // [batch, heads, src_len, head_dim]
    let mut weights = weights_of(attention, query, key)?; // [batch, heads, tgt_len, src_len]
    if let Some(dropout) = attention.dropout {
        let factors = match weights.dtype() {
            DType::F64 => Tensor::new(factors::<f64>(attention, dropout), query.device()),
            _ => Tensor::new(factors::<f32>(attention, dropout), query.device()),
        };
        weights = (&weights * factors?.reshape(weights.shape())?)?;
    }
    pack(&weights.matmul(&value)?, query_offsets)
}

/// The weights of [`forward`] before dropout: `[batch, heads, tgt_len, src_len]` for the longest
/// sentence of either side. Differentiable.
///
/// # Errors
/// If the shapes do not fit.
pub fn weights_of(attention: &MultiHead, query: &Tensor, key: &Tensor) -> Result<Tensor> {
    let MultiHead { heads, query_offsets, key_offsets, .. } = *attention;
    let query = pad(query, query_offsets, heads)?; // [batch, heads, tgt_len, head_dim]
    let key = pad(key, key_offsets, heads)?;
    let lengths = [lengths(query_offsets), lengths(key_offsets)];
    let mask = mask(attention.visible, &lengths[0], &lengths[1], query.device())?;
    weights(&query, &key, &mask)
}

/// The loss of guided heads, `−Σ p log w` over the rows, averaged over the heads: what
/// [`MultiHead::guided_loss`] computes, `[1]`. Every place must be one that its row sees.
/// Differentiable.
///
/// # Errors
/// If the shapes do not fit.
pub fn guided_loss(
    attention: &MultiHead,
    query: &Tensor,
    key: &Tensor,
    guided: &Guided,
) -> Result<Tensor> {
    let weights = weights_of(attention, query, key)?;
    let (_batch, heads, tgt_len, src_len) = weights.dims4()?;
    let (mut at, mut masses) = (Vec::new(), Vec::new());
    for (b, rows) in attention.query_offsets.windows(2).enumerate() {
        for (t, row) in (rows[0]..rows[1]).enumerate() {
            let places = guided.guide.row(row);
            for (&s, &head) in places.iter().flat_map(|s| guided.heads.iter().map(move |h| (s, h)))
            {
                at.push((((b * heads + head) * tgt_len + t) * src_len + s as usize) as u32);
                masses.push(1.0 / (places.len() * guided.heads.len()) as f64);
            }
        }
    }
    expected_surprise(&weights.flatten_all()?, &at, masses)
}

/// `−Σ mass · log weight` of the weights at these indices, `[1]`.
///
/// # Errors
/// If there is no such index.
pub fn expected_surprise(weights: &Tensor, at: &[u32], masses: Vec<f64>) -> Result<Tensor> {
    if at.is_empty() {
        return Ok(Tensor::zeros(1, weights.dtype(), weights.device())?);
    }
    let masses = Tensor::new(masses, &Device::Cpu)?.to_dtype(weights.dtype())?;
    let weights = weights.index_select(&Tensor::new(at, weights.device())?, 0)?;
    let surprise = weights.maximum(f64::from(f32::MIN_POSITIVE))?.log()?.neg()?;
    let masses = masses.to_device(weights.device())?;
    Ok((surprise * masses)?.sum_all()?.reshape(1)?)
}

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
    let weights = weights(query, key, mask)?; // [batch, heads, tgt_len, src_len]
    let context = weights.matmul(value)?; // [batch, heads, tgt_len, head_dim]
    Ok(Attended { context, weights })
}

/// The weights of [`attend`].
fn weights(query: &Tensor, key: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (_batch, _heads, _tgt_len, head_dim) = query.dims4()?;
    let scores = query.matmul(&key.t()?.contiguous()?)?; // [batch, heads, tgt_len, src_len]
    let scores = (scores / (head_dim as f64).sqrt())?;
    let mask = mask.unsqueeze(1)?.broadcast_as(scores.shape())?.contiguous()?;
    masked_softmax(&scores, &mask)
}

/// What dropout multiplies weights with, `[batch, heads, tgt_len, src_len]`; of padding, zero.
fn factors<T: Real>(attention: &MultiHead, dropout: &Mask) -> Vec<T> {
    let (sentences, heads) = (attention.sentences(), attention.heads);
    let of_head = |s: &super::Sentence| mask_len(s.queries.len(), s.keys.len());
    let numbers = sentences.last().map_or(0, |last| last.mask_start + heads * of_head(last));
    let mut drawn = vec![T::ONE; numbers];
    dropout.apply(0, &mut drawn);

    let (tgt_len, src_len) = (longest(attention.query_offsets), longest(attention.key_offsets));
    let mut factors = vec![T::ZERO; sentences.len() * heads * tgt_len * src_len];
    let padded = factors.chunks_exact_mut((tgt_len * src_len).max(1)).enumerate();
    for (i, padded) in padded {
        let (sentence, head) = (&sentences[i / heads], i % heads);
        let (start, keys) = (sentence.mask_start + head * of_head(sentence), sentence.keys.len());
        for row in 0..sentence.queries.len() {
            let drawn = &drawn[start + row * width(keys)..][..keys];
            padded[row * src_len..][..keys].copy_from_slice(drawn);
        }
    }
    factors
}

/// What [`rotary::rotate`] computes forward of `rows` `[rows, heads · head_dim]` at `places`, one
/// for each. Differentiable.
///
/// # Errors
/// If the shapes do not fit, or a head has an odd number of columns.
pub fn rotate(rows: &Tensor, heads: usize, places: &[u32]) -> Result<Tensor> {
    let (n, dim) = rows.dims2()?;
    let head_dim = dim / heads;
    let half = head_dim / 2;
    let turn = |i: usize| rotary::BASE.powf(-2.0 * i as f64 / head_dim as f64);
    let angles = places.iter().flat_map(|&p| (0..half).map(move |i| f64::from(p) * turn(i)));
    let angles = Tensor::from_iter(angles, &Device::Cpu)?.reshape((n, 1, half))?;
    let like = |x: Tensor| x.to_dtype(rows.dtype())?.to_device(rows.device());
    let (cos, sin) = (like(angles.cos()?)?, like(angles.sin()?)?);
    let split = rows.reshape((n, heads, 2, half))?;
    let (x, y) = (split.narrow(2, 0, 1)?.squeeze(2)?, split.narrow(2, 1, 1)?.squeeze(2)?); // [rows, heads, half]
    let left = (x.broadcast_mul(&cos)? - y.broadcast_mul(&sin)?)?;
    let right = (x.broadcast_mul(&sin)? + y.broadcast_mul(&cos)?)?;
    Ok(Tensor::stack(&[left, right], 2)?.reshape((n, dim))?)
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
    let (n, dim) = rows.dims2()?;
    let longest = longest(offsets);
    // What pads is one more row.
    let padding = Tensor::zeros((1, dim), rows.dtype(), rows.device())?;
    let rows = Tensor::cat(&[rows, &padding], 0)?;
    let sentence = |pair: &[usize]| {
        let (start, end) = (pair[0], pair[1]);
        (start..start + longest).map(move |row| if row < end { row as u32 } else { n as u32 })
    };
    let places: Vec<u32> = offsets.windows(2).flat_map(sentence).collect();
    let padded = rows.index_select(&Tensor::new(places, rows.device())?, 0)?;
    let split = padded.reshape((offsets.len() - 1, longest, heads, dim / heads))?;
    Ok(split.transpose(1, 2)?.contiguous()?)
}

/// The inverse of [`pad`]: `[batch, heads, longest, head_dim]` → `[rows, heads · head_dim]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn pack(padded: &Tensor, offsets: &[usize]) -> Result<Tensor> {
    let (batch, heads, longest, head_dim) = padded.dims4()?;
    let joined = padded.transpose(1, 2)?.contiguous()?;
    let joined = joined.reshape((batch * longest, heads * head_dim))?;
    let sentence = |(b, len): (usize, usize)| (0..len).map(move |i| (b * longest + i) as u32);
    let places: Vec<u32> = lengths(offsets).into_iter().enumerate().flat_map(sentence).collect();
    Ok(joined.index_select(&Tensor::new(places, joined.device())?, 0)?)
}

fn lengths(offsets: &[usize]) -> Vec<usize> {
    offsets.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn longest(offsets: &[usize]) -> usize {
    lengths(offsets).into_iter().max().unwrap_or(0)
}
