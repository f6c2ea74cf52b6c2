//! The loops of the optimizers: one pass over a parameter, its gradient and its running means.

use kernels::{Real, vectorized};

/// The formula of one update with all its numbers.
#[derive(Debug)]
pub(super) enum Step<T> {
    Adam(Adam<T>),
    Sgd(Sgd<T>),
}

/// Numbers of one update by Adam or AdamW.
#[derive(Debug)]
pub(super) struct Adam<T> {
    /// What a gradient is multiplied by first.
    pub(super) scale: T,
    /// `λ`, the share of the weight that is added to its gradient (Adam).
    pub(super) pull: T,
    /// `1 − ηλ`, what the weight is multiplied by (AdamW).
    pub(super) keep: T,
    /// `β₁` and `1 − β₁`.
    pub(super) mean: [T; 2],
    /// `β₂` and `1 − β₂`.
    pub(super) square: [T; 2],
    /// `1 / √(1 − β₂ᵗ)`.
    pub(super) square_correction: T,
    pub(super) eps: T,
    /// `η / (1 − β₁ᵗ)`.
    pub(super) rate: T,
}

impl<T: Real> From<&Adam<T>> for kernels::gpu::adam::Step {
    fn from(by: &Adam<T>) -> Self {
        let single = |number: T| number.to_f64() as f32;
        Self {
            scale: single(by.scale),
            pull: single(by.pull),
            keep: single(by.keep),
            rate: single(by.rate),
            eps: single(by.eps),
            correction: single(by.square_correction),
            mean: by.mean.map(single),
            square: by.square.map(single),
        }
    }
}

impl<T: Real> Adam<T> {
    /// The numbers of update `t`, counted from 1, without weight decay.
    pub(super) fn new(betas: [f64; 2], eps: f64, lr: f64, t: u64) -> Self {
        let corrections = betas.map(|beta| 1.0 - beta.powf(t as f64));
        let shares = betas.map(|beta| [T::of(beta), T::of(1.0 - beta)]);
        Self {
            scale: T::ONE,
            pull: T::ZERO,
            keep: T::ONE,
            mean: shares[0],
            square: shares[1],
            square_correction: T::of(1.0 / corrections[1].sqrt()),
            eps: T::of(eps),
            rate: T::of(lr / corrections[0]),
        }
    }
}

/// Numbers of one update by gradient descent.
#[derive(Debug)]
pub(super) struct Sgd<T> {
    /// What a gradient is multiplied by first.
    pub(super) scale: T,
    pub(super) momentum: T,
    /// `λ`, the share of the weight that is added to its gradient.
    pub(super) pull: T,
    pub(super) lr: T,
}

vectorized! {
    /// `g ← s g + λ w`, `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
    /// `w ← (1 − ηλ') w − η m̂ / (√v̂ + ε)`.
    pub(super) fn adam<T: Real>(
        values: &mut [T],
        mean: &mut [T],
        square: &mut [T],
        grad: &[T],
        by: &Adam<T>,
    ) {
        let n = values.len();
        let (mean, square, grad) = (&mut mean[..n], &mut square[..n], &grad[..n]);
        for i in 0..n {
            let g = by.pull.mul_add(values[i], by.scale * grad[i]);
            let m = by.mean[1].mul_add(g, by.mean[0] * mean[i]);
            let v = by.square[1].mul_add(g * g, by.square[0] * square[i]);
            let denominator = v.sqrt().mul_add(by.square_correction, by.eps);
            values[i] = by.keep * values[i] - by.rate * m / denominator;
            mean[i] = m;
            square[i] = v;
        }
    }
}

vectorized! {
    /// `w ← w − η (s g + λ w)`.
    pub(super) fn sgd<T: Real>(values: &mut [T], grad: &[T], by: &Sgd<T>) {
        for (value, grad) in values.iter_mut().zip(grad) {
            let g = by.pull.mul_add(*value, by.scale * *grad);
            *value -= by.lr * g;
        }
    }
}

vectorized! {
    /// `u ← μ u + s g + λ w`, `w ← w − η u`.
    pub(super) fn momentum<T: Real>(
        values: &mut [T],
        velocity: &mut [T],
        grad: &[T],
        by: &Sgd<T>,
    ) {
        let n = values.len();
        let (velocity, grad) = (&mut velocity[..n], &grad[..n]);
        for i in 0..n {
            let g = by.pull.mul_add(values[i], by.scale * grad[i]);
            velocity[i] = by.momentum.mul_add(velocity[i], g);
            values[i] -= by.lr * velocity[i];
        }
    }
}
