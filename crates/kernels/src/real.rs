//! Arithmetic that the operations of this crate need of a number, for every type alike.
//!
//! `f32` and [`Mixed`](crate::Mixed) are what models run in; `f64` runs the very same code, so
//! that a fused operation and its backward pass can be checked against finite differences to
//! many digits. Every product that
//! is added to something is one fused multiply-add, on any processor: where the hardware lacks
//! one the result is the same and only slower.

use candle_core::WithDType;

use crate::logits::Depth;

/// A floating-point number that the kernels can compute with: `f32`, `f64` or
/// [`Mixed`](crate::Mixed).
pub trait Real: WithDType + std::ops::Neg<Output = Self> + crate::matmul::HasTile {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The most negative finite number: what a maximum starts from.
    const LOWEST: Self;

    /// The nearest number to `value`.
    fn of(value: f64) -> Self;
    /// `self · a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The larger of two numbers, neither of them NaN.
    fn maximum(self, other: Self) -> Self;
    /// `eˣ`. In `f32` a polynomial without a branch, so that loops over it become vector code.
    fn exp(self) -> Self;
    /// The hyperbolic tangent, accurate also near zero.
    fn tanh(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Whether the number is neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// Digests chunks of scores from the first on, as [`logits::digest`](crate::logits::digest)
    /// does, and returns how many: for types for which the processor has a faster way.
    #[doc(hidden)]
    fn digest_chunks(depth: Depth, x: &[Self], peaks: &mut [Self], sums: &mut [Self]) -> usize {
        let _ = (depth, x, peaks, sums);
        0
    }

    /// The logistic function, `1 / (1 + e⁻ˣ)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f64::MIN;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f32::MIN;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let (power, fraction) = reduce(self.clamp(exponential::LOWEST, exponential::HIGHEST));
        power.mul_add(expm1_reduced(fraction), power)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        // tanh x = m / (m + 2) with m = e²ˣ − 1, which keeps its digits where e²ˣ is near one.
        let (power, fraction) = reduce((2.0 * self.abs()).min(40.0));
        let m = power.mul_add(expm1_reduced(fraction), power - 1.0);
        (m / (m + 2.0)).copysign(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    fn digest_chunks(depth: Depth, x: &[Self], peaks: &mut [Self], sums: &mut [Self]) -> usize {
        crate::logits::digest_chunks(depth, x, peaks, sums)
    }
}

/// Splits `x` into `2ⁿ` and `r = x − n ln 2` with `|r| ≤ ln 2 / 2`; returns `(2ⁿ, r)`.
#[inline(always)]
fn reduce(x: f32) -> (f32, f32) {
    use exponential::{LN2_HIGH, LN2_LOW, LOG2_E, ROUND};
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_HIGH, x);
    let r = n.mul_add(-LN2_LOW, r);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    (f32::from_bits(exponent << 23), r)
}

/// `eʳ − 1` for `|r| ≤ ln 2 / 2`, by its Taylor series to the seventh power: the next term is
/// below 6·10⁻⁹, a tenth of a unit in the last place of `eʳ`.
#[inline(always)]
fn expm1_reduced(r: f32) -> f32 {
    let [seventh, terms @ ..] = exponential::TERMS;
    let p = terms.into_iter().fold(seventh, |p, term| r.mul_add(p, term));
    (r * r).mul_add(p, r)
}

/// The constants of the exponential, for whoever computes many of them at once.
pub(crate) mod exponential {
    /// What is smaller counts as this.
    pub(crate) const LOWEST: f32 = -87.3;
    /// What is larger counts as this.
    pub(crate) const HIGHEST: f32 = 88.3;
    pub(crate) use std::f32::consts::LOG2_E;
    /// 1.5 · 2²³: a number to which it is added leaves its nearest integer in the low bits.
    pub(crate) const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with so few digits that a multiple of it is exact.
    pub(crate) const LN2_HIGH: f32 = 355.0 / 512.0;
    pub(crate) const LN2_LOW: f32 = -2.121_944_4e-4;
    /// One over seven factorial, down to one over two.
    pub(crate) const TERMS: [f32; 6] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest relative error of `f` against `g` (in `f64`) over a grid of `[low, high]`.
    fn worst(f: fn(f32) -> f32, g: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        (0..=200_000).fold(0.0, |worst, i| {
            let x = low + (high - low) * i as f32 / 200_000.0;
            let expected = g(f64::from(x));
            let error = (f64::from(f(x)) - expected).abs() / expected.abs().max(1e-30);
            if expected == 0.0 { worst } else { error.max(worst) }
        })
    }

    #[test]
    fn the_exponential_is_accurate_to_two_units_in_the_last_place() {
        assert!(worst(<f32 as Real>::exp, f64::exp, -80.0, 80.0) < 2.0 * 6e-8 * 2.0);
        assert_eq!(<f32 as Real>::exp(0.0), 1.0);
        assert!(<f32 as Real>::exp(-1000.0) < 1e-37);
        assert!(<f32 as Real>::exp(1000.0).is_finite());
    }

    #[test]
    fn the_hyperbolic_tangent_is_accurate_also_near_zero() {
        for (low, high) in [(-20.0, 20.0), (-1e-2, 1e-2), (-1e-5, 1e-5)] {
            assert!(worst(<f32 as Real>::tanh, f64::tanh, low, high) < 4e-7, "[{low}, {high}]");
        }
        assert_eq!(<f32 as Real>::tanh(0.0), 0.0);
        assert_eq!(<f32 as Real>::tanh(-100.0), -1.0);
    }

    #[test]
    fn the_logistic_function_has_its_limits_and_its_middle() {
        assert_eq!(<f32 as Real>::sigmoid(0.0), 0.5);
        assert_eq!(<f32 as Real>::sigmoid(100.0), 1.0);
        assert!(<f32 as Real>::sigmoid(-100.0) < 1e-37);
    }
}
