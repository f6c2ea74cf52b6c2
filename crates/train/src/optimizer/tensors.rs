//! The rules of the optimizers in ordinary tensor operations, on any device: their definition.

use candle_core::{Result, Tensor, Var};
use kernels::Real;

use super::rules::{Adam, Sgd, Step};

/// Updates a parameter and its running means with its gradient.
pub(super) fn apply<T: Real>(
    rule: &Step<T>,
    var: &Var,
    means: &mut [Option<Tensor>; 2],
    grad: &Tensor,
) -> Result<()> {
    let weights = var.as_tensor();
    let new = match (rule, means) {
        (Step::Adam(by), [Some(mean), Some(square)]) => adam(by, weights, mean, square, grad)?,
        (Step::Sgd(by), [velocity, _]) => sgd(by, weights, velocity.as_mut(), grad)?,
        (Step::Adam(_), _) => candle_core::bail!("Adam without its running means"),
    };
    var.set(&new.detach())
}

/// `g ← s g + λ w`, `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`; returns
/// `(1 − ηλ') w − η m̂ / (√v̂ + ε)`.
fn adam<T: Real>(
    by: &Adam<T>,
    weights: &Tensor,
    mean: &mut Tensor,
    square: &mut Tensor,
    grad: &Tensor,
) -> Result<Tensor> {
    let grad = pulled(grad, weights, [by.scale, by.pull])?;
    *mean = mixed(mean, &grad, by.mean)?;
    *square = mixed(square, &grad.sqr()?, by.square)?;
    let denominator = square.sqrt()?.affine(by.square_correction.to_f64(), by.eps.to_f64())?;
    times(weights, by.keep)? - times(&mean.div(&denominator)?, by.rate)?
}

/// `u ← μ u + s g + λ w`; returns `w − η u`.
fn sgd<T: Real>(
    by: &Sgd<T>,
    weights: &Tensor,
    velocity: Option<&mut Tensor>,
    grad: &Tensor,
) -> Result<Tensor> {
    let mut direction = pulled(grad, weights, [by.scale, by.pull])?;
    if let Some(velocity) = velocity {
        direction = (times(velocity, by.momentum)? + direction)?;
        *velocity = direction.clone();
    }
    weights - times(&direction, by.lr)?
}

/// `s g + λ w`.
fn pulled<T: Real>(grad: &Tensor, weights: &Tensor, [scale, pull]: [T; 2]) -> Result<Tensor> {
    let grad = times(&grad.reshape(weights.shape())?, scale)?;
    if pull == T::ZERO { Ok(grad) } else { grad + times(weights, pull)? }
}

/// A running mean with new numbers in it.
fn mixed<T: Real>(mean: &Tensor, new: &Tensor, [old, share]: [T; 2]) -> Result<Tensor> {
    times(mean, old)? + times(new, share)?
}

fn times<T: Real>(tensor: &Tensor, factor: T) -> Result<Tensor> {
    tensor.affine(factor.to_f64(), 0.0)
}
