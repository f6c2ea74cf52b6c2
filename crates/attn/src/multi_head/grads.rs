//! Where the gradients of queries, keys and values go.

use kernels::Real;

use super::{MultiHead, Sentence, layout::join_heads, length, share::take};
use crate::Result;

/// The gradients of queries, keys and values; written over. They lie as the gradients of the
/// projections that made them: `dim` is `heads · head_dim`.
#[derive(Debug)]
pub enum Grads<'a, T> {
    /// Queries, keys and values side by side: `[rows, 3 dim]`. For self-attention.
    Joint(&'a mut [T]),
    /// Queries on their own.
    Apart {
        /// `[query rows, dim]`.
        query: &'a mut [T],
        /// Keys and values side by side: `[key rows, 2 dim]`.
        memory: &'a mut [T],
    },
}

/// A head's part of a sentence's gradients, each of them in rows of its own.
pub(super) struct HeadGrads<'a, T> {
    /// `[tgt_len, head_dim]`.
    pub(super) query: &'a mut [T],
    /// `[src_len, head_dim]`.
    pub(super) key: &'a mut [T],
    /// `[src_len, head_dim]`.
    pub(super) value: &'a mut [T],
}

/// How many numbers [`HeadGrads`] takes.
pub(super) fn apart(layer: &MultiHead, sentence: &Sentence) -> usize {
    (sentence.queries.len() + 2 * sentence.keys.len()) * layer.head_dim
}

impl<'a, T> HeadGrads<'a, T> {
    /// Cuts [`apart`] numbers into gradients of queries, keys and values.
    pub(super) fn new(numbers: &'a mut [T], layer: &MultiHead, sentence: &Sentence) -> Self {
        let (query, memory) = numbers.split_at_mut(sentence.queries.len() * layer.head_dim);
        let (key, value) = memory.split_at_mut(sentence.keys.len() * layer.head_dim);
        Self { query, key, value }
    }
}

impl<'a, T: Real> Grads<'a, T> {
    /// One part for each sentence.
    pub(super) fn by_sentence(self, layer: &MultiHead) -> Result<Vec<Self>> {
        let dim = layer.dim();
        let sentences = layer.sentences();
        let (queries, keys) = (layer.query_offsets, layer.key_offsets);
        match self {
            Self::Joint(mut rest) => {
                let differs = queries.iter().zip(keys).find(|(queries, keys)| queries != keys);
                differs.map_or(Ok(()), |(&queries, &keys)| {
                    length("where a sentence's keys start beside its queries", keys, queries)
                })?;
                length("gradients of projections", rest.len(), 3 * layer.rows() * dim)?;
                let n = |sentence: &Sentence| 3 * sentence.queries.len() * dim;
                Ok(sentences.iter().map(|s| Self::Joint(take(&mut rest, n(s)))).collect())
            }
            Self::Apart { mut query, mut memory } => {
                let key_rows = keys.last().copied().unwrap_or(0);
                length("gradients of queries", query.len(), layer.rows() * dim)?;
                length("gradients of keys and values", memory.len(), 2 * key_rows * dim)?;
                let part = |sentence: &Sentence| Self::Apart {
                    query: take(&mut query, sentence.queries.len() * dim),
                    memory: take(&mut memory, 2 * sentence.keys.len() * dim),
                };
                Ok(sentences.iter().map(part).collect())
            }
        }
    }

    /// Writes the gradients of all heads of one sentence, [`HeadGrads`] after [`HeadGrads`].
    pub(super) fn join(&mut self, layer: &MultiHead, sentence: &Sentence, parts: &[T]) {
        let (apart, heads, dim) = (apart(layer, sentence), layer.heads, layer.head_dim);
        let keys = sentence.queries.len() * dim;
        let values = keys + sentence.keys.len() * dim;
        match self {
            Self::Joint(grads) => {
                join_heads(parts, &[0, keys, values], apart, heads, dim, grads);
            }
            Self::Apart { query, memory } => {
                join_heads(parts, &[0], apart, heads, dim, query);
                join_heads(parts, &[keys, values], apart, heads, dim, memory);
            }
        }
    }
}
