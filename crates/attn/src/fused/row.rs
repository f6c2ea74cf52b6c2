//! One target position: its weights and context, and the way back.

use std::ops::Range;

use kernels::{Real, slices};

use super::{
    Kernel, Queries,
    loops::{tanh_dot_backward, tanh_score, tanh_score_backward},
};
use crate::{Kind, Score};

/// A row and the source positions it sees.
pub(super) struct View<'q, T> {
    /// `h_t`: `[dim]`.
    query: &'q [T],
    /// The concat score's part of its projections: `[score_dim]`.
    projected: &'q [T],
    /// Local-p's part: `[position_dim]`.
    hidden: &'q [T],
    /// First seen position, counted from the start of the sentence.
    pub(super) start: usize,
    /// The seen positions, counted from the start of all sentences.
    pub(super) seen: Range<usize>,
    /// `S`, as far as it can be seen.
    src_len: usize,
}

/// What a row's forward pass reads and writes.
pub(super) struct Forward<'q, T> {
    pub(super) row: View<'q, T>,
    pub(super) gate: T,
    pub(super) weights: &'q mut [T],
    pub(super) aligned: &'q mut [T],
    pub(super) context: &'q mut [T],
}

/// What a row's backward pass reads and writes.
pub(super) struct Backward<'q, T> {
    pub(super) row: View<'q, T>,
    pub(super) gate: T,
    pub(super) weights: &'q [T],
    pub(super) aligned: &'q [T],
    pub(super) grad_context: &'q [T],
    pub(super) grad_weights: &'q [T],
    pub(super) grad_logs: &'q [T],
    pub(super) grad_scores: &'q mut [T],
    pub(super) grad_gate: &'q mut [T],
    pub(super) grad_query: &'q mut [T],
    pub(super) grad_projected: &'q mut [T],
}

impl<T: Real> Kernel<'_, T> {
    pub(super) fn view<'q>(
        &self,
        queries: &Queries<'q, T>,
        row: usize,
        support: Range<usize>,
    ) -> View<'q, T> {
        let (projected, hidden) = self.projected(queries, row);
        let sentence = queries.rows[row].sentence;
        let base = self.source.offsets[sentence];
        View {
            query: &queries.states[row * self.dim..][..self.dim],
            projected,
            hidden,
            start: support.start,
            seen: base + support.start..base + support.end,
            src_len: self.src_len(sentence),
        }
    }

    /// `h̄_s`, counted from the start of all sentences.
    fn state(&self, s: usize) -> &[T] {
        &self.source.states[s * self.memory_dim..][..self.memory_dim]
    }

    pub(super) fn key(&self, s: usize) -> &[T] {
        &self.source.keys[s * self.key_dim..][..self.key_dim]
    }

    /// Row `position` of the location score's `W_a`.
    fn location(&self, position: usize) -> &[T] {
        &self.vectors.score[position * self.dim..][..self.dim]
    }

    /// Scores, softmax over what is seen, and for local-p the Gaussian; then the weighted sum.
    pub(super) fn forward_row(&self, job: Forward<T>) {
        let Forward { row, gate, weights, aligned, context } = job;
        self.scores(&row, weights);
        if self.kind == Kind::LocalP && self.renormalize {
            // softmax(score) · exp(−d²/2σ²), scaled to one, is softmax(score − d²/2σ²).
            for (index, score) in weights.iter_mut().enumerate() {
                let distance = self.distance(&row, gate, index);
                *score -= self.sharpness * distance * distance;
            }
        }
        slices::softmax(weights);
        if self.kind == Kind::LocalP && !self.renormalize {
            aligned.copy_from_slice(weights);
            for (index, weight) in weights.iter_mut().enumerate() {
                *weight *= self.gaussian(&row, gate, index);
            }
        }
        context.fill(T::ZERO);
        for (&weight, s) in weights.iter().zip(row.seen) {
            slices::add_scaled(context, weight, self.state(s));
        }
    }

    fn scores(&self, row: &View<T>, scores: &mut [T]) {
        for (index, score) in scores.iter_mut().enumerate() {
            *score = match self.score {
                Score::Dot | Score::General => {
                    slices::dot(row.query, self.key(row.seen.start + index))
                }
                Score::Concat => {
                    tanh_score(self.vectors.score, row.projected, self.key(row.seen.start + index))
                }
                Score::Location => slices::dot(row.query, self.location(row.start + index)),
            };
        }
    }

    /// `s − p_t`. Both count from 1, as in the paper.
    fn distance(&self, row: &View<T>, gate: T, index: usize) -> T {
        T::of((row.start + index + 1) as f64) - T::of(row.src_len as f64) * gate
    }

    /// `exp(−(s − p_t)² / 2σ²)`.
    fn gaussian(&self, row: &View<T>, gate: T, index: usize) -> T {
        let distance = self.distance(row, gate, index);
        (-(self.sharpness * distance * distance)).exp()
    }

    /// With `g_s = ∂L/∂a_t(s) = ∂L/∂c_t · h̄_s` (and what the loss says of the weights
    /// themselves; what it says of their logarithms joins `a_s g_s`) and `w_s` the softmax of the
    /// scores:
    ///
    /// ```text
    /// ∂L/∂score_s = a_s g_s − w_s Σ a g          w = a without a Gaussian, or scaled to one
    /// ∂L/∂p_t     = Σ b_s (s − p_t) / σ²         b = a g; ∂L/∂score if scaled to one
    /// ```
    pub(super) fn backward_row(&self, job: Backward<T>) {
        let Backward { row, gate, weights, aligned, grad_scores, grad_context, .. } = job;
        for (index, (grad, s)) in grad_scores.iter_mut().zip(row.seen.clone()).enumerate() {
            let extra = job.grad_weights.get(index).copied().unwrap_or(T::ZERO);
            *grad = weights[index] * (slices::dot(grad_context, self.state(s)) + extra);
        }
        slices::add(&mut grad_scores[..job.grad_logs.len()], job.grad_logs);
        let mut grad_position = self.position_gradient(&row, gate, grad_scores); // of b = a g
        let softmax = if aligned.is_empty() { weights } else { aligned };
        let total = slices::sum(grad_scores);
        slices::add_scaled(grad_scores, -total, softmax);
        if self.renormalize {
            grad_position = self.position_gradient(&row, gate, grad_scores);
        }

        let (grad_projected, grad_hidden) = job.grad_projected.split_at_mut(self.score_dim);
        if let [grad_gate] = job.grad_gate {
            // p_t = S · sigmoid(u)
            *grad_gate = grad_position * T::of(row.src_len as f64) * gate * (T::ONE - gate);
            tanh_dot_backward(grad_hidden, *grad_gate, self.vectors.position, row.hidden);
        }
        grad_projected.fill(T::ZERO);
        for (index, &grad) in grad_scores.iter().enumerate() {
            let s = row.seen.start + index;
            match self.score {
                Score::Dot | Score::General => {
                    slices::add_scaled(job.grad_query, grad, self.key(s));
                }
                Score::Concat => {
                    let v = self.vectors.score;
                    tanh_score_backward(grad_projected, grad, v, row.projected, self.key(s));
                }
                Score::Location => {
                    slices::add_scaled(job.grad_query, grad, self.location(row.start + index));
                }
            }
        }
    }

    /// `Σ b_s (s − p_t) / σ²`; zero unless the kind predicts.
    fn position_gradient(&self, row: &View<T>, gate: T, b: &[T]) -> T {
        if self.kind != Kind::LocalP {
            return T::ZERO;
        }
        let mut total = T::ZERO;
        for (index, &b) in b.iter().enumerate() {
            total = b.mul_add(self.distance(row, gate, index), total);
        }
        T::of(2.0) * self.sharpness * total
    }
}
