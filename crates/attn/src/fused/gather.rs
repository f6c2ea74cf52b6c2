//! Gradients of the source and of the score's vectors: all steps at once, sentence by sentence.
//!
//! Under input feeding the decoder goes backward one step at a time. If each step added to the
//! gradients of the encoder states, it would walk over all of them every time; here every
//! sentence's gradients are touched in one go, while they are in the cache.

use kernels::{Real, slices};

use super::{
    Kernel, Queries, Trace, length,
    loops::{each, take, tanh_dot_gather, tanh_score_gather},
};
use crate::{Kind, Result, Score};

/// Source positions whose rows of the location score's `W_a` one thread takes at a time.
const LOCATION_BLOCK: usize = 8;

/// One call of [`Kernel::forward`] that went through [`Kernel::backward`].
#[derive(Clone, Copy, Debug)]
pub struct Step<'a, T> {
    /// Who attended.
    pub queries: Queries<'a, T>,
    /// What they saw.
    pub trace: &'a Trace<T>,
    /// Gradient with respect to the contexts: `[rows, memory_dim]`.
    pub grad_context: &'a [T],
}

/// Where [`Kernel::gather`] adds the gradients of source and vectors. Shapes as in
/// [`Source`](super::Source) and [`Vectors`](super::Vectors).
#[derive(Debug)]
pub struct SourceGrads<'a, T> {
    /// `[n_src, memory_dim]`; with the dot score it takes the keys' gradient too.
    pub states: &'a mut [T],
    /// `[n_src, key_dim]`; empty if the keys are the states or absent.
    pub keys: &'a mut [T],
    /// Of `v_a`, or of the location score's `W_a`.
    pub score: &'a mut [T],
    /// Of `v_p`.
    pub position: &'a mut [T],
}

/// A sentence's share of the gradients, and the rows that looked at it: step and row.
struct Sentence<'g, T> {
    start: usize,
    rows: &'g [(usize, usize)],
    states: &'g mut [T],
    keys: &'g mut [T],
    score: &'g mut [T],
    position: &'g mut [T],
}

impl<T: Real> Kernel<'_, T> {
    /// Adds up what all `steps` say about encoder states, keys and vectors.
    ///
    /// The order of each sum is fixed: by step and row within a sentence, and the vectors by
    /// sentence (the location score's by step and row).
    ///
    /// # Errors
    /// If a step did not go through [`backward`](Self::backward), or a length is wrong.
    pub fn gather(&self, steps: &[Step<T>], grads: SourceGrads<T>) -> Result<()> {
        self.check_gather(steps, &grads)?;
        let n_sentences = self.source.offsets.len() - 1;
        let (starts, rows) = by_sentence(steps, n_sentences);
        let (n_score, n_position) = (self.score_dim, self.vectors.position.len());
        let mut partial_score = vec![T::ZERO; n_sentences * n_score];
        let mut partial_position = vec![T::ZERO; n_sentences * n_position];

        let (mut states, mut keys) = (grads.states, grads.keys);
        let (mut scores, mut positions) = (&mut partial_score[..], &mut partial_position[..]);
        let keys_dim = if self.score == Score::Dot { 0 } else { self.key_dim };
        let jobs = (0..n_sentences).map(|sentence| {
            let start = self.source.offsets[sentence];
            let n = self.source.offsets[sentence + 1] - start;
            Sentence {
                start,
                rows: &rows[starts[sentence]..starts[sentence + 1]],
                states: take(&mut states, n * self.memory_dim),
                keys: take(&mut keys, n * keys_dim),
                score: take(&mut scores, n_score),
                position: take(&mut positions, n_position),
            }
        });
        let seen: usize = steps.iter().map(|step| step.trace.n_weights()).sum();
        let work = seen * (self.memory_dim + self.key_dim);
        each(jobs.collect(), work, |job| self.gather_sentence(steps, job));

        if self.score == Score::Location {
            self.gather_location(steps, grads.score, seen * self.dim);
        } else if n_score > 0 {
            partial_score.chunks_exact(n_score).for_each(|part| slices::add(grads.score, part));
        }
        if n_position > 0 {
            let parts = partial_position.chunks_exact(n_position);
            parts.for_each(|part| slices::add(grads.position, part));
        }
        Ok(())
    }

    fn gather_sentence(&self, steps: &[Step<T>], job: Sentence<T>) {
        for &(step, row) in job.rows {
            let Step { queries, trace, grad_context } = &steps[step];
            let query = &queries.states[row * self.dim..][..self.dim];
            let (projected, hidden) = self.projected(queries, row);
            let grad_context = &grad_context[row * self.memory_dim..][..self.memory_dim];
            let packed = trace.packed(row);
            let weights = &trace.weights[packed.clone()];
            let grad_scores = &trace.grad_scores[packed];
            for (index, (&weight, &grad)) in weights.iter().zip(grad_scores).enumerate() {
                let position = trace.starts[row] + index;
                let state = &mut job.states[position * self.memory_dim..][..self.memory_dim];
                slices::add_scaled(state, weight, grad_context);
                match self.score {
                    Score::Dot => slices::add_scaled(state, grad, query),
                    Score::General => {
                        let key = &mut job.keys[position * self.key_dim..][..self.key_dim];
                        slices::add_scaled(key, grad, query);
                    }
                    Score::Concat => {
                        let grad_key = &mut job.keys[position * self.key_dim..][..self.key_dim];
                        let (v, key) = (self.vectors.score, self.key(job.start + position));
                        tanh_score_gather(grad_key, job.score, grad, v, projected, key);
                    }
                    Score::Location => {} // its gradient does not belong to a sentence
                }
            }
            if self.kind == Kind::LocalP {
                tanh_dot_gather(job.position, trace.grad_gates[row], hidden);
            }
        }
    }

    /// Row `s` of the location score's `W_a` receives `Σ ∂L/∂score_t(s) h_t`.
    fn gather_location(&self, steps: &[Step<T>], grads: &mut [T], work: usize) {
        let blocks = grads.chunks_mut(LOCATION_BLOCK * self.dim).enumerate().collect();
        each(blocks, work, |(block, grads): (usize, &mut [T])| {
            let first = block * LOCATION_BLOCK;
            for Step { queries, trace, .. } in steps {
                for row in 0..trace.rows() {
                    let support = trace.support(row);
                    let query = &queries.states[row * self.dim..][..self.dim];
                    let grad_scores = &trace.grad_scores[trace.packed(row)];
                    for (index, grad) in grads.chunks_exact_mut(self.dim).enumerate() {
                        if support.contains(&(first + index)) {
                            let grad_score = grad_scores[first + index - support.start];
                            slices::add_scaled(grad, grad_score, query);
                        }
                    }
                }
            }
        });
    }

    fn check_gather(&self, steps: &[Step<T>], grads: &SourceGrads<T>) -> Result<()> {
        for Step { queries, trace, grad_context } in steps {
            self.check_queries(queries)?;
            let n_rows = queries.rows.len();
            length("rows of the trace", trace.rows(), n_rows)?;
            length("gradients of scores", trace.grad_scores.len(), trace.n_weights())?;
            length("gradients of contexts", grad_context.len(), n_rows * self.memory_dim)?;
        }
        let n_keys = if self.score == Score::Dot { 0 } else { self.source.keys.len() };
        length("gradients of encoder states", grads.states.len(), self.source.states.len())?;
        length("gradients of keys", grads.keys.len(), n_keys)?;
        length("gradients of the score's vector", grads.score.len(), self.vectors.score.len())?;
        let n_position = self.vectors.position.len();
        length("gradients of the position's vector", grads.position.len(), n_position)
    }
}

/// All rows in order of their sentence, within a sentence by step and row, and where each
/// sentence starts in that list.
fn by_sentence<T: Real>(steps: &[Step<T>], n: usize) -> (Vec<usize>, Vec<(usize, usize)>) {
    let all = || {
        steps.iter().enumerate().flat_map(|(step, s)| {
            s.queries.rows.iter().enumerate().map(move |(row, r)| (r.sentence, (step, row)))
        })
    };
    let mut starts = vec![0; n + 1];
    for (sentence, _) in all() {
        starts[sentence + 1] += 1;
    }
    for sentence in 0..n {
        starts[sentence + 1] += starts[sentence];
    }
    let mut next = starts.clone();
    let mut rows = vec![(0, 0); starts[n]];
    for (sentence, entry) in all() {
        rows[next[sentence]] = entry;
        next[sentence] += 1;
    }
    (starts, rows)
}
