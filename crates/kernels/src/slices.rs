//! Loops over slices: dot product, scaled addition, softmax. Vector code on every level.

use crate::{Real, vectorized};

/// Partial sums in a reduction; fixed, so that its result depends on no instruction set.
const LANES: usize = 16;

vectorized! {
    /// `Σ aᵢ bᵢ` over the shorter of both.
    pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
        let n = a.len().min(b.len());
        let (a, b) = (&a[..n], &b[..n]);
        let mut sums = [T::ZERO; LANES];
        let whole = n / LANES * LANES;
        for (a, b) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
            for lane in 0..LANES {
                sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
            }
        }
        for (lane, (a, b)) in a[whole..].iter().zip(&b[whole..]).enumerate() {
            sums[lane] = a.mul_add(*b, sums[lane]);
        }
        fold(&sums)
    }
}

vectorized! {
    /// `Σ aᵢ`.
    pub fn sum<T: Real>(a: &[T]) -> T {
        let mut sums = [T::ZERO; LANES];
        let whole = a.len() / LANES * LANES;
        for a in a[..whole].chunks_exact(LANES) {
            for lane in 0..LANES {
                sums[lane] += a[lane];
            }
        }
        for (lane, a) in a[whole..].iter().enumerate() {
            sums[lane] += *a;
        }
        fold(&sums)
    }
}

/// Adds the partial sums, always in the same order.
#[inline(always)]
fn fold<T: Real>(sums: &[T; LANES]) -> T {
    let mut sums = *sums;
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let upper = sums[lane + width];
            sums[lane] += upper;
        }
    }
    sums[0]
}

vectorized! {
    /// `yᵢ ← yᵢ + scale · xᵢ`.
    pub fn add_scaled<T: Real>(y: &mut [T], scale: T, x: &[T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = scale.mul_add(*x, *y);
        }
    }
}

vectorized! {
    /// `yᵢ ← yᵢ + xᵢ`.
    pub fn add<T: Real>(y: &mut [T], x: &[T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += *x;
        }
    }
}

vectorized! {
    /// `xᵢ ← scale · xᵢ`.
    pub fn scale<T: Real>(x: &mut [T], scale: T) {
        for x in x {
            *x *= scale;
        }
    }
}

vectorized! {
    /// `xᵢ ← factor · xᵢ + shift`.
    pub fn scale_shift<T: Real>(x: &mut [T], factor: T, shift: T) {
        for x in x {
            *x = factor.mul_add(*x, shift);
        }
    }
}

vectorized! {
    /// The largest element; [`Real::LOWEST`] of an empty slice.
    pub fn max<T: Real>(x: &[T]) -> T {
        let mut best = [T::LOWEST; LANES];
        let whole = x.len() / LANES * LANES;
        for x in x[..whole].chunks_exact(LANES) {
            for lane in 0..LANES {
                best[lane] = best[lane].maximum(x[lane]);
            }
        }
        for x in &x[whole..] {
            best[0] = best[0].maximum(*x);
        }
        best.iter().fold(T::LOWEST, |a, b| a.maximum(*b))
    }
}

vectorized! {
    /// Replaces `x` by `exp(x − peak)` and returns the sum.
    pub fn exp_shifted<T: Real>(x: &mut [T], peak: T) -> T {
        for x in x.iter_mut() {
            *x = (*x - peak).exp();
        }
        let mut sums = [T::ZERO; LANES];
        let whole = x.len() / LANES * LANES;
        for x in x[..whole].chunks_exact(LANES) {
            for lane in 0..LANES {
                sums[lane] += x[lane];
            }
        }
        for (lane, x) in x[whole..].iter().enumerate() {
            sums[lane] += *x;
        }
        fold(&sums)
    }
}

/// Replaces scores by `softmax(scores)`. An empty slice stays empty.
pub fn softmax<T: Real>(x: &mut [T]) {
    if x.is_empty() {
        return;
    }
    let total = exp_shifted(x, max(x));
    scale(x, T::ONE / total);
}

/// Replaces scores by `log softmax(scores)`, in nats.
pub fn log_softmax<T: Real>(x: &mut [T]) {
    let peak = max(x);
    let total = sum_exp_shifted(x, peak);
    scale_shift(x, T::ONE, -(peak + total.ln()));
}

vectorized! {
    /// `Σ exp(xᵢ − peak)`.
    pub fn sum_exp_shifted<T: Real>(x: &[T], peak: T) -> T {
        let mut sums = [T::ZERO; LANES];
        let whole = x.len() / LANES * LANES;
        for x in x[..whole].chunks_exact(LANES) {
            for lane in 0..LANES {
                sums[lane] += (x[lane] - peak).exp();
            }
        }
        for (lane, x) in x[whole..].iter().enumerate() {
            sums[lane] += (*x - peak).exp();
        }
        fold(&sums)
    }
}

vectorized! {
    /// `yᵢ ← tanh(yᵢ)`.
    pub fn tanh<T: Real>(y: &mut [T]) {
        for y in y {
            *y = y.tanh();
        }
    }
}

vectorized! {
    /// Turns a gradient with respect to `y = tanh(x)` into one with respect to `x`:
    /// `gᵢ ← gᵢ (1 − yᵢ²)`.
    pub fn tanh_backward<T: Real>(grad: &mut [T], y: &[T]) {
        for (g, y) in grad.iter_mut().zip(y) {
            *g *= T::ONE - *y * *y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_product_counts_every_element_once() {
        for n in 0..70 {
            let ones = vec![1.0f32; n];
            assert_eq!(dot(&ones, &ones), n as f32);
            assert_eq!(sum(&ones), n as f32);
            let mut y = ones.clone();
            add_scaled(&mut y, 2.0, &ones);
            assert!(y.iter().all(|&y| y == 3.0));
        }
    }

    #[test]
    fn softmax_of_logarithms_is_a_fraction() {
        let mut x = [1f64.ln(), 3f64.ln()];
        softmax(&mut x);
        assert!((x[0] - 0.25).abs() < 1e-15 && (x[1] - 0.75).abs() < 1e-15, "{x:?}");
        softmax::<f64>(&mut []);
        let mut x: Vec<f64> = (1..40).map(|i| f64::from(i).ln()).collect();
        log_softmax(&mut x);
        assert!((x[38] - (39f64 / 780.0).ln()).abs() < 1e-14, "{}", x[38]);
    }

    #[test]
    fn the_maximum_of_negative_numbers_is_negative() {
        let x: Vec<f32> = (1..40).map(|i| -(i as f32)).collect();
        assert_eq!(max(&x), -1.0);
    }
}
