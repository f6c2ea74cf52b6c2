//! Where the gradients of queries, keys and values go.

use super::{MultiHead, RowsMut, length, share::take};
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

/// A sentence's part of the gradients.
pub(super) struct SentenceGrads<'a, T> {
    query: &'a mut [T],
    /// Keys and values, unless they lie beside the queries.
    memory: Option<&'a mut [T]>,
    /// `heads · head_dim`.
    dim: usize,
}

/// A head's part of a sentence's gradients.
pub(super) struct HeadGrads<'a, T> {
    query: &'a mut [T],
    memory: Option<&'a mut [T]>,
    query_stride: usize,
    memory_stride: usize,
    /// Where the head's columns start.
    query_col: usize,
    key_col: usize,
    value_col: usize,
}

impl<'a, T> Grads<'a, T> {
    /// One part for each sentence.
    pub(super) fn by_sentence(self, layer: &MultiHead) -> Result<Vec<SentenceGrads<'a, T>>> {
        let dim = layer.dim();
        let key_rows = layer.key_offsets.last().copied().unwrap_or(0);
        let sentences = layer.sentences().into_iter();
        match self {
            Self::Joint(mut rest) => {
                length("rows of keys beside those of queries", key_rows, layer.rows())?;
                length("gradients of projections", rest.len(), 3 * layer.rows() * dim)?;
                let part =
                    |n| SentenceGrads { query: take(&mut rest, 3 * n * dim), memory: None, dim };
                Ok(sentences.map(|sentence| sentence.queries.len()).map(part).collect())
            }
            Self::Apart { mut query, mut memory } => {
                length("gradients of queries", query.len(), layer.rows() * dim)?;
                length("gradients of keys and values", memory.len(), 2 * key_rows * dim)?;
                let parts = sentences.map(|sentence| SentenceGrads {
                    query: take(&mut query, sentence.queries.len() * dim),
                    memory: Some(take(&mut memory, 2 * sentence.keys.len() * dim)),
                    dim,
                });
                Ok(parts.collect())
            }
        }
    }
}

impl<T> SentenceGrads<'_, T> {
    /// The part of the head whose columns start at `col`.
    pub(super) fn head(&mut self, col: usize) -> HeadGrads<'_, T> {
        let dim = self.dim;
        // With queries before them, keys and values start one `dim` later.
        let (query_stride, memory_stride, before) =
            if self.memory.is_some() { (dim, 2 * dim, 0) } else { (3 * dim, 3 * dim, dim) };
        HeadGrads {
            query: self.query,
            memory: self.memory.as_deref_mut(),
            query_stride,
            memory_stride,
            query_col: col,
            key_col: before + col,
            value_col: before + dim + col,
        }
    }
}

impl<'a, T> HeadGrads<'a, T> {
    /// Gradients on their own, of `dim` columns: `[tgt_len, dim]`, and those of `src_len` keys
    /// followed by those of as many values.
    pub(super) fn alone(
        query: &'a mut [T],
        memory: &'a mut [T],
        src_len: usize,
        dim: usize,
    ) -> Self {
        Self {
            query,
            memory: Some(memory),
            query_stride: dim,
            memory_stride: dim,
            query_col: 0,
            key_col: 0,
            value_col: src_len * dim,
        }
    }

    pub(super) fn query(&mut self) -> RowsMut<'_, T> {
        RowsMut::columns(self.query, self.query_stride, self.query_col)
    }

    pub(super) fn key(&mut self) -> RowsMut<'_, T> {
        let col = self.key_col;
        self.memory(col)
    }

    pub(super) fn value(&mut self) -> RowsMut<'_, T> {
        let col = self.value_col;
        self.memory(col)
    }

    fn memory(&mut self, col: usize) -> RowsMut<'_, T> {
        let data = self.memory.as_deref_mut().unwrap_or(self.query);
        RowsMut::columns(data, self.memory_stride, col)
    }
}
