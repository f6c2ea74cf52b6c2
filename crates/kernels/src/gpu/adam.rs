//! Adam's update of a parameter, in place.

use candle_core::{Result, Tensor, bail};

use super::grid::Grid;
use super::launch::{Launch, Value, in_place};
use super::sums::Clip;

/// The numbers of an update:
///
/// ```text
/// g ← scale · g + pull · w
/// m ← mean₀ m + mean₁ g            v ← square₀ v + square₁ g²
/// w ← keep · w − rate · m / (√v · correction + ε)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What the gradient is multiplied by.
    pub scale: f32,
    /// Decay that goes through the means.
    pub pull: f32,
    /// What the weight is multiplied by.
    pub keep: f32,
    /// The learning rate, corrected for the first mean's start.
    pub rate: f32,
    /// `ε`.
    pub eps: f32,
    /// What corrects the second mean's start.
    pub correction: f32,
    /// Shares of the old and the new in the mean of gradients.
    pub mean: [f32; 2],
    /// And in that of their squares.
    pub square: [f32; 2],
}

/// Updates `weights`, `means` and `squares` with the gradient, all of one shape, `f32` and
/// contiguous. The gradient is multiplied with `clip` too, if there is one; if that is no number, nothing
/// changes.
///
/// # Errors
/// If they are not.
pub fn step(
    by: &Step,
    weights: &Tensor,
    means: &Tensor,
    squares: &Tensor,
    grad: &Tensor,
    clip: Option<&Clip>,
) -> Result<()> {
    super::launch::check(weights.device())?;
    let n = weights.elem_count();
    for tensor in [weights, means, squares, grad] {
        if tensor.elem_count() != n || tensor.dtype() != candle_core::DType::F32 {
            bail!("Adam: {:?} for a parameter {:?}", tensor.shape(), weights.shape())
        }
    }
    let mut value = Value::default();
    let numbers = [by.scale, by.pull, by.keep, by.rate, by.eps, by.correction];
    for number in numbers.into_iter().chain(by.mean).chain(by.square) {
        value = value.f32(number);
    }
    in_place(weights, |weights_at| {
        in_place(means, |means_at| {
            in_place(squares, |squares_at| {
                Launch::new("adam", grad.device())
                    .u64(weights_at)
                    .u64(means_at)
                    .u64(squares_at)
                    .input(grad)?
                    .optional(clip.map(|clip| &clip.factor))?
                    .u64(n as u64)
                    .value(value)
                    .run(Grid::elements(n))
            })
        })
    })
}
