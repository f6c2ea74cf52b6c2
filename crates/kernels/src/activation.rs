//! Activation functions of feed-forward layers, plain and gated: forward and backward over slices.
//!
//! ```text
//! ReLU    max(0, x)          Vaswani et al. (2017), eq. 2
//! GELU    x Φ(x)             Hendrycks and Gimpel (2016), with the normal distribution Φ itself
//! Swish   x / (1 + e⁻ˣ)      Ramachandran et al. (2017); also called SiLU
//! gated   f(g) ⊙ v           Shazeer (2020): ReGLU, GEGLU, SwiGLU
//! ```
//!
//! A gated layer's input row is `[g; v]`, the gate before the value.

use candle_core::{D, DType, Result, Tensor, cpu::erf::erfc_f64};
use rayon::prelude::*;

use crate::{Real, vectorized};

/// Numbers that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x Φ(x)`.
    Gelu,
    /// `x / (1 + e⁻ˣ)`.
    Swish,
}

/// What the backward pass of an activation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The function's argument: apply the function with [`forward`].
    Input,
    /// The function's value: it may be applied with [`forward_in_place`].
    Output,
}

impl Activation {
    /// What [`backward`] reads.
    pub fn kept(self) -> Kept {
        match self {
            Self::Relu => Kept::Output,
            Self::Gelu | Self::Swish => Kept::Input,
        }
    }
}

/// `outᵢ = f(xᵢ)`.
///
/// # Panics
/// If the lengths differ.
pub fn forward<T: Real>(activation: Activation, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), out.len(), "as many values as arguments");
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| values(activation, x, out));
}

/// `xᵢ ← f(xᵢ)`.
pub fn forward_in_place<T: Real>(activation: Activation, x: &mut [T]) {
    x.par_chunks_mut(CHUNK).for_each(|x| values_in_place(activation, x));
}

/// Turns the gradient of values into that of arguments: `gᵢ ← gᵢ f'(xᵢ)`. `kept` is what
/// [`Activation::kept`] says.
///
/// # Panics
/// If the lengths differ.
pub fn backward<T: Real>(activation: Activation, kept: &[T], grad: &mut [T]) {
    if activation == Activation::Relu {
        return relu_backward(kept, T::ONE, grad);
    }
    assert_eq!(kept.len(), grad.len(), "as many gradients as values");
    let chunks = grad.par_chunks_mut(CHUNK).zip(kept.par_chunks(CHUNK));
    chunks.for_each(|(grad, x)| slopes(activation, x, grad));
}

/// [`backward`] through ReLU and then dropout, from the output of both: `gᵢ ← scale · gᵢ` where
/// that is positive, and zero where it was dropped or was zero already. No mask is drawn again;
/// `scale` is [`Mask::scale`](crate::dropout::Mask::scale).
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward<T: Real>(output: &[T], scale: T, grad: &mut [T]) {
    assert_eq!(output.len(), grad.len(), "as many gradients as values");
    let chunks = grad.par_chunks_mut(CHUNK).zip(output.par_chunks(CHUNK));
    chunks.for_each(|(grad, output)| relu_slopes(output, scale, grad));
}

/// `out = f(g) ⊙ v`: `x` `[rows, 2 width]`, each row `[g; v]`; `out` `[rows, width]`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn gated<T: Real>(activation: Activation, x: &[T], width: usize, out: &mut [T]) {
    check_gated(x, width, out);
    let rows = (CHUNK / width.max(1)).max(1);
    let chunks = out.par_chunks_mut(rows * width.max(1)).zip(x.par_chunks(2 * rows * width.max(1)));
    chunks.for_each(|(out, x)| gated_values(activation, x, width, out));
}

/// The gradient of [`gated`] with respect to `x`, given that of its output: `grad`
/// `[rows, width]`, `grad_x` `[rows, 2 width]`, overwritten.
///
/// # Panics
/// If the lengths do not fit together.
pub fn gated_backward<T: Real>(
    activation: Activation,
    x: &[T],
    width: usize,
    grad: &[T],
    grad_x: &mut [T],
) {
    check_gated(x, width, grad);
    assert_eq!(x.len(), grad_x.len(), "as many gradients as numbers");
    let rows = (CHUNK / width.max(1)).max(1);
    let (narrow, wide) = (rows * width.max(1), 2 * rows * width.max(1));
    (grad_x.par_chunks_mut(wide).zip(x.par_chunks(wide)))
        .zip(grad.par_chunks(narrow))
        .for_each(|((grad_x, x), grad)| gated_slopes(activation, x, width, grad, grad_x));
}

fn check_gated<T>(x: &[T], width: usize, out: &[T]) {
    assert!(
        x.len() == 2 * out.len() && out.len().is_multiple_of(width.max(1)),
        "gated rows of {width}: {} numbers become {}",
        x.len(),
        out.len()
    );
}

/// `f(x)` in ordinary tensor operations, on any device.
///
/// # Errors
/// Only if the device runs out of memory.
pub fn reference(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Relu => x.relu(),
        // Step by step: the slope of Candle's own operation has a constant of six digits.
        Activation::Gelu => (((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * 0.5)? * x,
        Activation::Swish => x.silu(),
    }
}

/// What [`gated`] computes of `x` `[.., 2 width]`, in ordinary tensor operations, on any device.
///
/// # Errors
/// If the last dimension is odd.
pub fn gated_reference(activation: Activation, x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    reference(activation, &halves[0])? * &halves[1]
}

vectorized! {
    fn values<T: Real>(activation: Activation, x: &[T], out: &mut [T]) {
        let both = out.iter_mut().zip(x);
        match activation {
            Activation::Relu => both.for_each(|(y, x)| *y = relu(*x)),
            Activation::Gelu => both.for_each(|(y, x)| *y = gelu(*x)[0]),
            Activation::Swish => both.for_each(|(y, x)| *y = swish(*x)[0]),
        }
    }
}

vectorized! {
    fn values_in_place<T: Real>(activation: Activation, x: &mut [T]) {
        match activation {
            Activation::Relu => x.iter_mut().for_each(|x| *x = relu(*x)),
            Activation::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)[0]),
            Activation::Swish => x.iter_mut().for_each(|x| *x = swish(*x)[0]),
        }
    }
}

vectorized! {
    fn slopes<T: Real>(activation: Activation, x: &[T], grad: &mut [T]) {
        let both = grad.iter_mut().zip(x);
        match activation {
            Activation::Relu => both.for_each(|(g, x)| *g *= step(*x)),
            Activation::Gelu => both.for_each(|(g, x)| *g *= gelu(*x)[1]),
            Activation::Swish => both.for_each(|(g, x)| *g *= swish(*x)[1]),
        }
    }
}

vectorized! {
    fn relu_slopes<T: Real>(output: &[T], scale: T, grad: &mut [T]) {
        for (g, y) in grad.iter_mut().zip(output) {
            *g = if *y > T::ZERO { *g * scale } else { T::ZERO };
        }
    }
}

vectorized! {
    fn gated_values<T: Real>(activation: Activation, x: &[T], width: usize, out: &mut [T]) {
        for (x, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, value) = x.split_at(width);
            let all = out.iter_mut().zip(gate).zip(value);
            match activation {
                Activation::Relu => all.for_each(|((y, g), v)| *y = relu(*g) * *v),
                Activation::Gelu => all.for_each(|((y, g), v)| *y = gelu(*g)[0] * *v),
                Activation::Swish => all.for_each(|((y, g), v)| *y = swish(*g)[0] * *v),
            }
        }
    }
}

vectorized! {
    fn gated_slopes<T: Real>(
        activation: Activation,
        x: &[T],
        width: usize,
        grad: &[T],
        grad_x: &mut [T],
    ) {
        let rows = x.chunks_exact(2 * width).zip(grad.chunks_exact(width));
        for ((x, grad), grad_x) in rows.zip(grad_x.chunks_exact_mut(2 * width)) {
            match activation {
                Activation::Relu => gated_row(x, grad, grad_x, |g| [relu(g), step(g)]),
                Activation::Gelu => gated_row(x, grad, grad_x, gelu),
                Activation::Swish => gated_row(x, grad, grad_x, swish),
            }
        }
    }
}

/// The gradients of one gated row; `f` gives value and slope.
#[inline(always)]
fn gated_row<T: Real>(x: &[T], grad: &[T], grad_x: &mut [T], f: impl Fn(T) -> [T; 2]) {
    let (gate, value) = x.split_at(grad.len());
    let (grad_gate, grad_value) = grad_x.split_at_mut(grad.len());
    let x = gate.iter().zip(value).zip(grad);
    for (((g, v), grad), (to_gate, to_value)) in x.zip(grad_gate.iter_mut().zip(grad_value)) {
        let [y, slope] = f(*g);
        *to_gate = *grad * *v * slope;
        *to_value = *grad * y;
    }
}

#[inline(always)]
fn relu<T: Real>(x: T) -> T {
    if x > T::ZERO { x } else { T::ZERO }
}

/// The slope of ReLU; at zero, zero.
#[inline(always)]
fn step<T: Real>(x: T) -> T {
    if x > T::ZERO { T::ONE } else { T::ZERO }
}

/// `x σ(x)` and its derivative `σ (1 + x (1 − σ))`.
#[inline(always)]
fn swish<T: Real>(x: T) -> [T; 2] {
    let sigmoid = x.sigmoid();
    [x * sigmoid, sigmoid * (T::ONE - sigmoid).mul_add(x, T::ONE)]
}

/// `x Φ(x)` and its derivative `Φ(x) + x φ(x)`.
#[inline(always)]
fn gelu<T: Real>(x: T) -> [T; 2] {
    let [cumulative, density] = normal(x);
    [x * cumulative, x.mul_add(density, cumulative)]
}

/// Distribution `Φ(x)` and density `φ(x)` of the standard normal distribution.
///
/// In `f32`, `Φ(−|x|) = e^(−x²/2) t P(t)` with `t = 1 / (1 + 0.27 |x|)`, the form of Hastings
/// (1955). `P` interpolates `Φ(−|x|) e^(x²/2) / t` at the Chebyshev nodes of the `t` that belong
/// to `|x| ≤ 13.2`, beyond which the product is below all normal numbers; it errs by less than
/// 3·10⁻⁸ of the value. There is no branch, and density and distribution share one exponential.
#[inline(always)]
fn normal<T: Real>(x: T) -> [T; 2] {
    const DENSITY_AT_ZERO: f64 = 0.398_942_280_401_432_7; // 1 / √(2π)
    const SQUEEZE: f64 = 0.27;
    const P: [f64; 9] = [
        1.077_205_100_9e-1,
        1.075_451_586_0e-1,
        1.017_936_027_9e-1,
        7.212_621_236_9e-2,
        1.076_086_548_5e-1,
        -6.882_920_048_0e-2,
        1.693_859_487_3e-1,
        -1.262_578_570_9e-1,
        2.890_698_050_4e-2,
    ];
    let exponential = (x * x * T::of(-0.5)).exp();
    let density = exponential * T::of(DENSITY_AT_ZERO);
    if T::DTYPE == DType::F64 {
        let x = x.to_f64();
        return [T::of(0.5 * erfc_f64(-x * std::f64::consts::FRAC_1_SQRT_2)), density];
    }
    let magnitude = if x < T::ZERO { -x } else { x };
    let t = T::ONE / magnitude.mul_add(T::of(SQUEEZE), T::ONE);
    let mut p = T::of(P[8]);
    for coefficient in P[..8].iter().rev() {
        p = p.mul_add(t, T::of(*coefficient));
    }
    let tail = p * t * exponential;
    [if x < T::ZERO { tail } else { T::ONE - tail }, density]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{distance, largest_error, wave};
    use crate::operation::{Operation, Output, apply};
    use crate::storage;

    const ALL: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Swish];

    /// The functions above as operations on the tape, so that their gradients can be checked.
    struct Layer(Activation, Option<usize>);

    impl Operation<f64> for Layer {
        type Saved = ();

        fn name(&self) -> &'static str {
            "activation"
        }

        fn forward(&self, inputs: &[&[f64]]) -> Result<Output<f64, ()>> {
            let x = inputs[0];
            let mut values = vec![0.0; if self.1.is_some() { x.len() / 2 } else { x.len() }];
            match self.1 {
                Some(width) => gated(self.0, x, width, &mut values),
                None => forward(self.0, x, &mut values),
            }
            let shape = (values.len() / self.1.unwrap_or(7), self.1.unwrap_or(7)).into();
            Ok(Output { values, shape, saved: () })
        }

        fn backward(
            &self,
            inputs: &[&[f64]],
            output: &[f64],
            _: (),
            grad: &[f64],
        ) -> Result<Vec<Vec<f64>>> {
            let mut grads = vec![f64::NAN; inputs[0].len()];
            match (self.1, self.0.kept()) {
                (Some(width), _) => gated_backward(self.0, inputs[0], width, grad, &mut grads),
                (None, kept) => {
                    grads.copy_from_slice(grad);
                    let kept = if kept == Kept::Input { inputs[0] } else { output };
                    backward(self.0, kept, &mut grads);
                }
            }
            Ok(vec![grads])
        }
    }

    #[test]
    fn agree_with_their_definitions_and_with_finite_differences() -> Result<()> {
        let (x, wide) = ((wave((5, 7), 0.3)? * 3.0)?, (wave((5, 14), 0.3)? * 3.0)?);
        let probe = wave((5, 7), 1.0)?;
        for f in ALL {
            let plain = reference(f, &x)?;
            assert!(distance(&apply(Layer(f, None), &[&x])?, &plain)? < 1e-14, "{f:?}");
            let plain = gated_reference(f, &wide)?;
            assert!(distance(&apply(Layer(f, Some(7)), &[&wide])?, &plain)? < 1e-14, "{f:?}");
            for (x, width) in [(&x, None), (&wide, Some(7))] {
                let error = largest_error(std::slice::from_ref(x), |x| {
                    (apply(Layer(f, width), &[&x[0]])? * &probe)?.sum_all()
                })?;
                assert!(error < 1e-8, "{f:?} {width:?}: {error}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_normal_distribution_is_accurate_in_single_precision() {
        let mut worst = 0f64;
        for i in -130_000..=130_000 {
            let x = i as f32 * 1e-4;
            let exact = normal(f64::from(x));
            for (found, exact) in normal(x).into_iter().zip(exact) {
                worst = worst.max((f64::from(found) - exact).abs());
            }
        }
        // Between one and two units in the last place of a number near one.
        assert!(worst < 2e-7, "{worst}");
        // The lower tail keeps its digits; values from any table.
        for (x, exact) in [(-2.0, 2.275_013_19e-2), (-4.0, 3.167_124_18e-5), (-6.0, 9.865_876e-10)]
        {
            let found = f64::from(normal::<f32>(x)[0]);
            assert!((found / exact - 1.0).abs() < 2e-6, "{x}: {found}");
        }
    }

    #[test]
    fn values_are_those_one_knows() {
        let mut out = [0f32; 3];
        forward(Activation::Relu, &[-1.0, 0.0, 2.0], &mut out);
        assert_eq!(out, [0.0, 0.0, 2.0]);
        forward(Activation::Swish, &[-100.0, 0.0, 100.0], &mut out);
        assert!(out[0].abs() < 1e-30 && out[1] == 0.0 && out[2] == 100.0, "{out:?}");
        // Φ(1) = 0.841344746, from any table.
        forward(Activation::Gelu, &[-100.0, 1.0, 100.0], &mut out);
        assert!(out[0].abs() < 1e-30 && (out[1] - 0.841_344_7).abs() < 2e-7 && out[2] == 100.0);
    }

    #[test]
    fn in_place_and_on_any_number_of_threads_the_bits_are_the_same() {
        let x: Vec<f32> = (0..3 * CHUNK + 5).map(|i| 4.0 * (i as f32 * 0.7).sin()).collect();
        for f in ALL {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (mut out, mut grad) = (vec![0.0; x.len()], x.clone());
                pool.install(|| {
                    forward(f, &x, &mut out);
                    backward(f, if f.kept() == Kept::Input { &x } else { &out }, &mut grad);
                });
                (out, grad)
            };
            let one = run(1);
            assert_eq!(one, run(3));
            let mut in_place = x.clone();
            forward_in_place(f, &mut in_place);
            assert_eq!(in_place, one.0);
        }
    }

    #[test]
    fn relu_knows_what_dropout_dropped_behind_it() -> Result<()> {
        let mask =
            crate::dropout::Mask::new(crate::Random::new(1, crate::Purpose::Dropout, 1), 0.4);
        let x = storage::to_vec::<f64>(&wave(1_009, 0.0)?)?;
        let mut out = x.clone();
        forward_in_place(Activation::Relu, &mut out);
        let relu_out = out.clone();
        mask.apply(0, &mut out);
        let grad = storage::to_vec::<f64>(&wave(1_009, 2.0)?)?;
        let (mut short, mut long) = (grad.clone(), grad);
        relu_backward(&out, mask.scale(), &mut short);
        mask.apply(0, &mut long);
        backward(Activation::Relu, &relu_out, &mut long);
        assert_eq!(short, long);
        Ok(())
    }
}
