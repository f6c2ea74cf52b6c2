//! Heads whose weights should go to known places: the loss, and its gradient.
//!
//! With `w` the weights of a head before dropout, `s` their scores before scaling and `p` the
//! distribution of the [`Guide`], a row's share of the loss has the gradient
//!
//! ```text
//! ∂loss/∂s_j = scale (w_j Σ p − p_j)
//! ```
//!
//! where the sum is over what the row sees. It joins the gradient of the scores where the backward
//! pass has the weights anyway.

use kernels::{Real, slices};

use super::head::{Block, Head, Scratch};
use super::share::each;
use super::{Inputs, MultiHead, Rows, Saved, length};
use crate::guide::{Guide, surprise};
use crate::{Error, Result};

/// What some heads are asked to look at.
#[derive(Clone, Copy, Debug)]
pub struct Guided<'a> {
    /// The places of each query row.
    pub guide: Guide<'a>,
    /// The heads, counted from zero, none twice. Their losses are averaged.
    pub heads: &'a [usize],
}

impl Guided<'_> {
    /// Fails unless it fits an attention.
    pub(super) fn check(&self, layer: &MultiHead) -> Result<()> {
        self.guide.check(layer.rows())?;
        match self.heads.iter().find(|&&head| head >= layer.heads) {
            Some(head) => {
                let what = "heads, of which one was asked for by its number";
                Err(Error::Length { what, found: layer.heads, expected: head + 1 })
            }
            None => length("heads to guide", self.heads.len().min(1), 1),
        }
    }
}

/// The part of a head of one sentence, in its backward pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadGuide<'a, T> {
    guide: Guide<'a>,
    /// The sentence's first query row.
    first: usize,
    /// The gradient of the head's own loss.
    grad: T,
}

impl<'a, T: Real> HeadGuide<'a, T> {
    /// The part of `head` in the sentence whose query rows begin at `first`, if it has one.
    pub(super) fn new(guided: Option<(Guided<'a>, T)>, head: usize, first: usize) -> Option<Self> {
        let (Guided { guide, heads }, grad) = guided?;
        let grad = grad / T::of(heads.len() as f64);
        heads.contains(&head).then_some(Self { guide, first, grad })
    }

    /// Adds the gradient of a block's scores, given its weights.
    pub(super) fn add(
        &self,
        block: &Block,
        weights: &[T],
        grads: &mut [T],
        width: usize,
        scale: T,
    ) {
        let rows = grads.chunks_exact_mut(width).zip(weights.chunks_exact(width));
        for (i, (grads, weights)) in rows.enumerate() {
            let places = self.guide.row(self.first + block.first + i);
            let seen = block.seen(i..i + 1);
            let seen = || places.iter().map(|&s| s as usize).filter(|s| seen.contains(s));
            let share = self.grad * scale / T::of(places.len().max(1) as f64);
            let total = share * T::of(seen().count() as f64);
            if places.is_empty() {
                continue;
            }
            slices::add_scaled(grads, total, weights);
            seen().for_each(|s| grads[s] -= share);
        }
    }
}

impl MultiHead<'_> {
    /// The loss of heads that should look at known places, in nats, summed over the rows.
    /// `queries`, `keys` and `saved` are those of the forward pass.
    ///
    /// # Errors
    /// If sizes do not fit together, or there is no such head.
    pub fn guided_loss<T: Real>(
        &self,
        queries: Rows<T>,
        keys: Rows<T>,
        saved: &Saved<T>,
        guided: &Guided,
    ) -> Result<f64> {
        let inputs = Inputs { queries, keys, values: keys };
        self.check(&inputs)?;
        guided.check(self)?;
        length("numbers kept of attention", saved.kept.len(), self.kept_len())?;
        let sentences = self.sentences();
        let mut losses = vec![0.0; sentences.len()];
        let pairs = sentences.iter().map(|s| s.queries.len() * s.keys.len()).sum::<usize>();
        let jobs = sentences.iter().zip(&mut losses).collect();
        each(jobs, pairs * self.head_dim * guided.heads.len(), |scratch, (sentence, loss)| {
            for &head in guided.heads {
                let inputs = inputs.columns(sentence, head * self.head_dim);
                let head = self.head(&inputs, sentence, head);
                *loss += head.guided_loss(scratch, guided.guide, sentence.queries.start);
            }
        });
        Ok(losses.iter().sum::<f64>() / guided.heads.len() as f64)
    }
}

impl<T: Real> Head<'_, T> {
    /// The loss of this head in the sentence whose query rows begin at `first`.
    fn guided_loss(&self, scratch: &mut Scratch<T>, guide: Guide, first: usize) -> f64 {
        let rows = first..first + self.tgt_len;
        if rows.clone().all(|row| guide.row(row).is_empty()) {
            return 0.0;
        }
        let mut weights = vec![T::ZERO; self.tgt_len * self.src_len];
        self.weights(scratch, T::ONE, &mut weights);
        let mut total = 0.0;
        for (i, row) in rows.enumerate() {
            let (seen, places) = (self.visible.keys(i, self.src_len), guide.row(row));
            let places_seen = places.iter().map(|&s| s as usize).filter(|s| seen.contains(s));
            let sum: f64 = places_seen.map(|s| surprise(weights[i * self.src_len + s])).sum();
            total += sum / places.len().max(1) as f64;
        }
        total
    }
}
