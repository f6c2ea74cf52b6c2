//! What a chunk of logits is turned into: losses, and gradients in place.
//!
//! A row is read twice (peak and mean, exponentials and their sum) and its gradient written once,
//! four rows at a time, so that the gradient of the bias passes through the cache a fourth as
//! often. The bias is added as the logits are read: it costs no pass of its own.

use rayon::prelude::*;

use crate::slices::{self, reduce, sum_of};
use crate::{Real, vectorized};

/// Rows that one thread takes at a time, and whose columns are summed before they are added to
/// those of other rows: always the same ones. Even, so that no pair is torn apart.
const BLOCK: usize = 32;
/// Rows whose gradients are written together.
const TOGETHER: usize = 4;

/// What is to be done with every row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a, T> {
    /// `[vocab]`, not yet in the logits.
    pub(super) bias: &'a [T],
    pub(super) smoothing: f64,
    /// With it, rows `2i` and `2i + 1` are the same token under two masks.
    pub(super) alpha: Option<f64>,
    /// Whether logits become their gradients.
    pub(super) differentiable: bool,
}

/// Losses, summed over rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) objective: f64,
    pub(super) nats: f64,
    pub(super) divergence: f64,
}

impl Losses {
    pub(super) fn add(&mut self, other: Self) {
        self.objective += other.objective;
        self.nats += other.nats;
        self.divergence += other.divergence;
    }
}

/// A row's normaliser.
#[derive(Clone, Copy, Debug)]
struct Total<T> {
    peak: T,
    /// `Σ e^(z − peak)`.
    sum: T,
}

impl<T: Real> Total<T> {
    fn log(self) -> f64 {
        self.peak.to_f64() + self.sum.to_f64().ln()
    }
}

impl<T: Real> Task<'_, T> {
    /// The losses of `logits` `[rows, vocab]`, which become their gradients if asked; `columns`
    /// `[vocab]` is then the gradient of the bias, added to.
    pub(super) fn run(&self, targets: &[u32], logits: &mut [T], columns: &mut [T]) -> Losses {
        let vocab = self.bias.len();
        let blocks: Vec<(Losses, Vec<T>)> = logits
            .par_chunks_mut(BLOCK * vocab)
            .zip(targets.par_chunks(BLOCK))
            .map(|(logits, targets)| {
                let mut columns = vec![T::ZERO; if self.differentiable { vocab } else { 0 }];
                let losses = match self.alpha {
                    Some(alpha) => self.pairs(alpha, targets, logits, &mut columns),
                    None => self.rows(targets, logits, &mut columns),
                };
                (losses, columns)
            })
            .collect();
        let mut losses = Losses::default();
        for (block, sums) in &blocks {
            losses.add(*block);
            if self.differentiable {
                slices::add(columns, sums);
            }
        }
        losses
    }

    fn rows(&self, targets: &[u32], logits: &mut [T], columns: &mut [T]) -> Losses {
        let vocab = self.bias.len();
        let mut losses = Losses::default();
        for (rows, targets) in logits.chunks_mut(TOGETHER * vocab).zip(targets.chunks(TOGETHER)) {
            let mut factors = [T::ZERO; TOGETHER];
            let parts = rows.chunks_exact_mut(vocab).zip(targets);
            for ((row, &target), factor) in parts.zip(&mut factors) {
                let (loss, sum) = self.row(target, row);
                losses.add(loss);
                *factor = T::ONE / sum;
            }
            if self.differentiable {
                let shift = T::of(-self.smoothing / vocab as f64);
                match <[T; TOGETHER]>::try_from(&factors[..targets.len()]) {
                    Ok(factors) => finish_four(rows, factors, shift, columns),
                    Err(_) => {
                        for (row, factor) in rows.chunks_exact_mut(vocab).zip(factors) {
                            finish(row, factor, shift, columns);
                        }
                    }
                }
                self.reward(targets, rows, columns);
            }
        }
        losses
    }

    /// A row's losses, and the sum of its exponentials, which it is replaced by if gradients are
    /// asked for.
    fn row(&self, target: u32, row: &mut [T]) -> (Losses, T) {
        let target = target as usize;
        let [peak, sum] = peak_and_sum(row, self.bias);
        let mean = sum.to_f64() / self.bias.len() as f64;
        let correct = (row[target] + self.bias[target]).to_f64();
        let sum = if self.differentiable {
            exponentials(row, self.bias, peak)
        } else {
            sum_of_exponentials(row, self.bias, peak)
        };
        let log = Total { peak, sum }.log();
        (self.losses(log, correct, mean), sum)
    }

    fn losses(&self, log: f64, correct: f64, mean: f64) -> Losses {
        let nats = log - correct;
        let objective = (1.0 - self.smoothing) * nats + self.smoothing * (log - mean);
        Losses { objective, nats, divergence: 0.0 }
    }

    /// The part of the gradients that only targets have.
    fn reward(&self, targets: &[u32], rows: &mut [T], columns: &mut [T]) {
        let reward = T::of(1.0 - self.smoothing);
        for (row, &target) in rows.chunks_exact_mut(self.bias.len()).zip(targets) {
            row[target as usize] -= reward;
            columns[target as usize] -= reward;
        }
    }

    fn pairs(&self, alpha: f64, targets: &[u32], logits: &mut [T], columns: &mut [T]) -> Losses {
        let vocab = self.bias.len();
        let mut losses = Losses::default();
        for (rows, targets) in logits.chunks_exact_mut(2 * vocab).zip(targets.chunks_exact(2)) {
            let (first, second) = rows.split_at_mut(vocab);
            let mut logs = [T::ZERO; 2];
            for ((row, log), &target) in [&*first, &*second].into_iter().zip(&mut logs).zip(targets)
            {
                let [peak, sum] = peak_and_sum(row, self.bias);
                let mean = sum.to_f64() / vocab as f64;
                let correct = (row[target as usize] + self.bias[target as usize]).to_f64();
                let total = Total { peak, sum: sum_of_exponentials(row, self.bias, peak) };
                losses.add(self.losses(total.log(), correct, mean));
                *log = T::of(total.log());
            }
            let divergences = divergences(first, second, self.bias, logs);
            let divergence = 0.5 * (divergences[0].to_f64() + divergences[1].to_f64());
            losses.divergence += divergence;
            losses.objective += alpha * divergence;
            if self.differentiable {
                let by = Pull {
                    logs,
                    divergences,
                    half: T::of(0.5 * alpha),
                    shift: T::of(-self.smoothing / vocab as f64),
                };
                finish_pair(first, second, self.bias, &by, columns);
                self.reward(targets, rows, columns);
            }
        }
        losses
    }
}

vectorized! {
    /// The largest of `zᵢ + bᵢ`, and their sum.
    fn peak_and_sum<T: Real>(z: &[T], bias: &[T]) -> [T; 2] {
        let add = |sum, [z, b]: [T; 2]| sum + (z + b);
        [
            reduce(T::LOWEST, [z, bias], |m, [z, b]| m.maximum(z + b), T::maximum),
            sum_of([z, bias], add),
        ]
    }
}

vectorized! {
    /// `Σ e^(zᵢ + bᵢ − peak)`.
    fn sum_of_exponentials<T: Real>(z: &[T], bias: &[T], peak: T) -> T {
        let add = |sum, [z, b]: [T; 2]| sum + (z + b - peak).exp();
        sum_of([z, bias], add)
    }
}

vectorized! {
    /// `zᵢ ← e^(zᵢ + bᵢ − peak)`; returns their sum, that of [`sum_of_exponentials`].
    fn exponentials<T: Real>(z: &mut [T], bias: &[T], peak: T) -> T {
        for (z, b) in z.iter_mut().zip(bias) {
            *z = (*z + *b - peak).exp();
        }
        sum_of([z], |sum, [z]| sum + z)
    }
}

vectorized! {
    /// `zᵢ ← factor · zᵢ + shift`, added to `columns`.
    fn finish<T: Real>(row: &mut [T], factor: T, shift: T, columns: &mut [T]) {
        for (z, sum) in row.iter_mut().zip(columns) {
            *z = z.mul_add(factor, shift);
            *sum += *z;
        }
    }
}

vectorized! {
    /// [`finish`] of four rows one after another.
    fn finish_four<T: Real>(
        rows: &mut [T],
        factors: [T; TOGETHER],
        shift: T,
        columns: &mut [T],
    ) {
        let (rows, d) = rows.split_at_mut(3 * columns.len());
        let (rows, c) = rows.split_at_mut(2 * columns.len());
        let (a, b) = rows.split_at_mut(columns.len());
        for ((((sum, a), b), c), d) in columns.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *a = a.mul_add(factors[0], shift);
            *b = b.mul_add(factors[1], shift);
            *c = c.mul_add(factors[2], shift);
            *d = d.mul_add(factors[3], shift);
            *sum = *sum + *a + *b + *c + *d;
        }
    }
}

/// The numbers of a pair that all its words share.
struct Pull<T> {
    /// `log Σ e^z` of both.
    logs: [T; 2],
    /// `KL(p‖q)` and `KL(q‖p)`.
    divergences: [T; 2],
    /// `α / 2`.
    half: T,
    /// `−ε / vocab`.
    shift: T,
}

vectorized! {
    /// `KL(p‖q)` and `KL(q‖p)` of the distributions of two rows.
    fn divergences<T: Real>(first: &[T], second: &[T], bias: &[T], logs: [T; 2]) -> [T; 2] {
        let rows = [first, second, bias];
        let forward = |sum, [y, z, b]: [T; 3]| {
            let (log_p, log_q) = (y + b - logs[0], z + b - logs[1]);
            log_p.exp().mul_add(log_p - log_q, sum)
        };
        let back = |sum, [y, z, b]: [T; 3]| {
            let (log_p, log_q) = (y + b - logs[0], z + b - logs[1]);
            log_q.exp().mul_add(log_q - log_p, sum)
        };
        [
            sum_of(rows, forward),
            sum_of(rows, back),
        ]
    }
}

vectorized! {
    /// Gradients of a pair but for their targets: with `Δ = log p − log q`,
    /// `p + α/2 (p (Δ − KL(p‖q)) + p − q) − ε/vocab`, and the same with `p` and `q` exchanged.
    fn finish_pair<T: Real>(
        first: &mut [T],
        second: &mut [T],
        bias: &[T],
        by: &Pull<T>,
        columns: &mut [T],
    ) {
        let rows = first.iter_mut().zip(second);
        for (((y, z), b), sum) in rows.zip(bias).zip(columns) {
            let (log_p, log_q) = (*y + *b - by.logs[0], *z + *b - by.logs[1]);
            let (p, q) = (log_p.exp(), log_q.exp());
            let (delta, apart) = (log_p - log_q, p - q);
            let pull_p = p.mul_add(delta - by.divergences[0], apart);
            let pull_q = q.mul_add(-delta - by.divergences[1], -apart);
            *y = by.half.mul_add(pull_p, p + by.shift);
            *z = by.half.mul_add(pull_q, q + by.shift);
            *sum = *sum + *y + *z;
        }
    }
}
