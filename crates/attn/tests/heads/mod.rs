//! A batch for multi-head attention: packed queries, keys and values, and both passes on them.
#![allow(dead_code)] // every test uses a part

use attn::multi_head::{Grads, MultiHead, Rows, Saved, Visible};
use kernels::Real;
use kernels::dropout::Mask;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Two batches of sentences, one of which attends to the other.
#[derive(Clone)]
pub(crate) struct Batch<T> {
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) query_offsets: Vec<usize>,
    pub(crate) key_offsets: Vec<usize>,
    pub(crate) visible: Visible,
    pub(crate) dropout: Option<Mask>,
    /// `[query rows, dim]`.
    pub(crate) queries: Vec<T>,
    /// Keys and values side by side: `[key rows, 2 dim]`.
    pub(crate) memory: Vec<T>,
    /// What the loss multiplies outputs with: `[query rows, dim]`.
    pub(crate) probe: Vec<T>,
}

/// All that both passes give.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Results<T> {
    pub(crate) out: Vec<T>,
    /// `[query rows, dim]`.
    pub(crate) query: Vec<T>,
    /// `[key rows, 2 dim]`.
    pub(crate) memory: Vec<T>,
}

/// Where each sentence starts, and where the last one ends.
pub(crate) fn offsets(lengths: &[usize]) -> Vec<usize> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Numbers without pattern and without chance, different for every purpose.
pub(crate) fn numbers<T: Real>(purpose: usize, n: usize) -> Vec<T> {
    (0..n).map(|i| T::of((purpose as f64 * 1.3 + i as f64 * 0.7).sin())).collect()
}

impl<T: Real> Batch<T> {
    /// Sines everywhere. `lengths`: of each sentence's queries and keys.
    pub(crate) fn new(heads: usize, head_dim: usize, lengths: &[(usize, usize)]) -> Self {
        let (queries, keys): (Vec<usize>, Vec<usize>) = lengths.iter().copied().unzip();
        let (query_offsets, key_offsets) = (offsets(&queries), offsets(&keys));
        let dim = heads * head_dim;
        let (n_queries, n_keys): (usize, usize) = (queries.iter().sum(), keys.iter().sum());
        Self {
            heads,
            head_dim,
            query_offsets,
            key_offsets,
            visible: Visible::ALL,
            dropout: None,
            queries: numbers(1, n_queries * dim),
            memory: numbers(2, n_keys * 2 * dim),
            probe: numbers(3, n_queries * dim),
        }
    }

    pub(crate) fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    pub(crate) fn layer(&self) -> MultiHead<'_> {
        MultiHead {
            heads: self.heads,
            head_dim: self.head_dim,
            query_offsets: &self.query_offsets,
            key_offsets: &self.key_offsets,
            visible: self.visible,
            dropout: self.dropout.as_ref(),
        }
    }

    pub(crate) fn q(&self) -> Rows<'_, T> {
        Rows::new(&self.queries, self.dim())
    }

    pub(crate) fn k(&self) -> Rows<'_, T> {
        Rows::new(&self.memory, 2 * self.dim())
    }

    pub(crate) fn v(&self) -> Rows<'_, T> {
        Rows::columns(&self.memory, 2 * self.dim(), self.dim())
    }

    pub(crate) fn forward(&self) -> (Vec<T>, Saved<T>) {
        let mut out = vec![T::of(f64::NAN); self.queries.len()];
        let saved =
            self.layer().forward(self.q(), self.k(), self.v(), &mut out).expect("sizes that fit");
        (out, saved)
    }

    pub(crate) fn both(&self) -> Results<T> {
        let (out, saved) = self.forward();
        let mut query = vec![T::of(f64::NAN); self.queries.len()];
        let mut memory = vec![T::of(f64::NAN); self.memory.len()];
        let grads = Grads::Apart { query: &mut query, memory: &mut memory };
        let layer = self.layer();
        layer
            .backward(self.q(), self.k(), self.v(), &out, &saved, &self.probe, grads)
            .expect("sizes that fit");
        Results { out, query, memory }
    }

    /// `Σ out ⊙ probe`.
    pub(crate) fn loss(&self) -> f64 {
        let (out, _) = self.forward();
        out.iter().zip(&self.probe).map(|(out, probe)| out.to_f64() * probe.to_f64()).sum()
    }

    pub(crate) fn weights(&self, sentence: usize, which: attn::multi_head::Heads) -> Vec<T> {
        self.layer().weights(self.q(), self.k(), sentence, which).expect("sizes that fit")
    }
}
