//! Words with their positions as one operation: embedding, position, dropout.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use kernels::Real;
use kernels::dropout::Mask;
use kernels::embedding::{self, Lookup};
use kernels::matmul::Target;
use kernels::operation::{Operation, Output, apply};
use kernels::positions::{self, Positions};

use super::scale;
use crate::batch::Sentences;

/// How a stack's words are embedded.
pub(super) struct Embed<'a> {
    /// `[vocab, dim]`.
    pub(super) table: &'a Tensor,
    /// Learned positions, `[max_len, dim]`.
    pub(super) learned: Option<&'a Tensor>,
    /// Whether positions are sinusoids.
    pub(super) sinusoidal: bool,
    /// Which words lose their embedding.
    pub(super) words: Option<Mask>,
    /// Which elements are dropped.
    pub(super) dropout: Option<Mask>,
}

impl Embed<'_> {
    /// `dropout(√dim · table[ids] + positions)`, `[rows, dim]`.
    pub(super) fn apply<T: Real>(&self, sentences: &Sentences) -> Result<Tensor> {
        let (vocab, dim) = self.table.dims2()?;
        let ids = sentences.ids.clone();
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            bail!("id {id} lies outside a vocabulary of {vocab}")
        }
        let sinusoids = if self.sinusoidal {
            positions::sinusoidal::<T>(sentences.longest(), dim)
        } else {
            Vec::new()
        };
        let operation = Embedding {
            dim,
            kept: self.words.map(|mask| kept::<T>(mask, ids.len())),
            places: positions::places(&sentences.offsets),
            ids,
            sinusoids,
            dropout: self.dropout,
        };
        let mut inputs = vec![self.table];
        inputs.extend(self.learned);
        apply::<T, _>(operation, &inputs)
    }
}

/// Which of `n` words a mask keeps.
fn kept<T: Real>(mask: Mask, n: usize) -> Vec<bool> {
    let mut ones = vec![T::ONE; n];
    mask.apply(0, &mut ones);
    ones.into_iter().map(|one| one != T::ZERO).collect()
}

struct Embedding<T> {
    dim: usize,
    ids: Arc<[u32]>,
    /// The words that keep their embedding; all without it.
    kept: Option<Vec<bool>>,
    /// The position of each word in its sentence.
    places: Vec<u32>,
    /// `[longest, dim]`, or empty.
    sinusoids: Vec<T>,
    dropout: Option<Mask>,
}

impl<T: Real> Embedding<T> {
    fn lookup(&self) -> Lookup<'_, T> {
        Lookup { ids: &self.ids, kept: self.kept.as_deref(), scale: scale(self.dim), dim: self.dim }
    }
}

impl<T: Real> Operation<T> for Embedding<T> {
    type Saved = ();

    fn name(&self) -> &'static str {
        "embedding with positions"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, ()>> {
        let mut values = vec![T::ZERO; self.ids.len() * self.dim];
        let table = match inputs.get(1) {
            Some(learned) => Some(*learned),
            None => (!self.sinusoids.is_empty()).then_some(&self.sinusoids[..]),
        };
        let positions = table.map(|table| Positions { table, places: &self.places });
        positions::forward(self.lookup(), inputs[0], positions, &mut values);
        if let Some(mask) = &self.dropout {
            mask.apply(0, &mut values);
        }
        Ok(Output { values, shape: (self.ids.len(), self.dim).into(), saved: () })
    }

    fn backward(&self, inputs: &[&[T]], _: &[T], _: (), grad: &[T]) -> Result<Vec<Vec<T>>> {
        let mut dropped = Vec::new();
        let grad = match &self.dropout {
            Some(mask) => {
                dropped.resize(grad.len(), T::ZERO);
                mask.apply_to(0, grad, &mut dropped);
                &dropped
            }
            None => grad,
        };
        let mut table = vec![T::ZERO; inputs[0].len()];
        embedding::scatter(self.lookup(), grad, Target::Replace, &mut table);
        let mut grads = vec![table];
        if let Some(learned) = inputs.get(1) {
            let mut positions = vec![T::ZERO; learned.len()];
            positions::backward(&self.places, self.dim, grad, Target::Replace, &mut positions);
            grads.push(positions);
        }
        Ok(grads)
    }
}
