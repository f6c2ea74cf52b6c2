//! Layer normalisation and RMS normalisation: over slices, and on the tape.
//!
//! Layer norm: Ba, Kiros and Hinton (2016), §3. RMS norm: Zhang and Sennrich (2019), eq. 4. For
//! each row `x` of a matrix, with a weight `w` and perhaps a bias `b` that all rows share,
//!
//! ```text
//! layer   x̂ = (x − mean x) / √(var x + ε)      y = w ⊙ x̂ + b
//! RMS     x̂ = x / √(mean x² + ε)               y = w ⊙ x̂ + b
//! ```
//!
//! and with `g = ∂L/∂y`, `h = w ⊙ g` and `s` the factor that normalises,
//!
//! ```text
//! ∂L/∂x = s (h − mean h − x̂ · mean(h ⊙ x̂))     RMS: without mean h
//! ∂L/∂w = Σ g ⊙ x̂      ∂L/∂b = Σ g             over the rows
//! ```
//!
//! Only mean and factor of a row are kept; the backward pass normalises once more.

use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

use crate::matmul::Target;
use crate::operation::{Operation, Output, apply};
use crate::slices::{self, sum_of};
use crate::{Real, vectorized};

/// Rows that one thread takes at a time, and whose gradients of weight and bias are summed
/// before they are added to those of other rows: always the same ones.
const BLOCK: usize = 64;

/// How a row is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// To mean 0 and variance 1.
    Layer,
    /// To mean square 1.
    Rms,
}

impl Norm {
    /// `ε`, what keeps the divisor from zero: 1e-5 for layer norm, 1e-6 for RMS norm, the values
    /// of most published models.
    pub fn eps(self) -> f64 {
        match self {
            Self::Layer => 1e-5,
            Self::Rms => 1e-6,
        }
    }
}

/// What the backward pass needs to know of each row besides its numbers.
#[derive(Clone, Debug, Default)]
pub struct Statistics<T>(Vec<Row<T>>);

/// Mean of a row (zero for RMS norm) and the factor that normalises it.
#[derive(Clone, Copy, Debug)]
struct Row<T> {
    mean: T,
    factor: T,
}

/// What the forward pass had and found.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a, T> {
    /// `[rows, dim]`.
    pub x: &'a [T],
    /// `[dim]`.
    pub weight: &'a [T],
    /// What [`forward`] returned for `x`.
    pub statistics: &'a Statistics<T>,
}

/// Where the backward pass leaves its gradients.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// `[rows, dim]`.
    pub x: &'a mut [T],
    /// Whether `x` is overwritten or added to, as where a residual connection meets.
    pub x_target: Target,
    /// `[dim]`: added to.
    pub weight: &'a mut [T],
    /// `[dim]`: added to.
    pub bias: Option<&'a mut [T]>,
}

/// Normalises the rows of `x` `[rows, dim]` into `out`; `weight` and `bias` are `[dim]`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn forward<T: Real>(
    norm: Norm,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) -> Statistics<T> {
    let dim = weight.len();
    assert!(
        x.len() == out.len()
            && x.len().is_multiple_of(dim.max(1))
            && bias.is_none_or(|b| b.len() == dim),
        "rows of {dim}: {} numbers become {}",
        x.len(),
        out.len()
    );
    let mut rows = vec![Row { mean: T::ZERO, factor: T::ZERO }; x.len() / dim.max(1)];
    let size = (BLOCK * dim).max(1);
    (x.par_chunks(size).zip(out.par_chunks_mut(size)))
        .zip(rows.par_chunks_mut(BLOCK))
        .for_each(|((x, out), rows)| forward_rows(norm, x, weight, bias, out, rows));
    Statistics(rows)
}

vectorized! {
    fn forward_rows<T: Real>(
        norm: Norm,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        out: &mut [T],
        rows: &mut [Row<T>],
    ) {
        let dim = weight.len();
        for ((x, out), row) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).zip(rows) {
            let Row { mean, factor } = statistics(norm, x);
            *row = Row { mean, factor };
            match bias {
                Some(bias) => {
                    for (((y, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                        *y = ((*x - mean) * factor).mul_add(*w, *b);
                    }
                }
                None => {
                    for ((y, x), w) in out.iter_mut().zip(x).zip(weight) {
                        *y = (*x - mean) * factor * *w;
                    }
                }
            }
        }
    }
}

/// Mean and factor of a row; the variance from differences to the mean, which loses no digits.
#[inline(always)]
fn statistics<T: Real>(norm: Norm, x: &[T]) -> Row<T> {
    let n = T::of(x.len() as f64);
    let mean = match norm {
        Norm::Layer => sum_of([x], |sum, [x]| sum + x) / n,
        Norm::Rms => T::ZERO,
    };
    let squares = sum_of([x], |sum, [x]| (x - mean).mul_add(x - mean, sum));
    Row { mean, factor: T::ONE / (squares / n + T::of(norm.eps())).sqrt() }
}

/// The gradients of [`forward`], given that of its output, `grad` `[rows, dim]`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn backward<T: Real>(norm: Norm, of: Forward<'_, T>, grad: &[T], into: Gradients<'_, T>) {
    let Forward { x, weight, statistics: Statistics(rows) } = of;
    let dim = weight.len();
    assert!(
        x.len() == rows.len() * dim
            && [grad.len(), into.x.len()] == [x.len(); 2]
            && into.weight.len() == dim
            && into.bias.as_ref().is_none_or(|bias| bias.len() == dim),
        "{} rows of {dim}: {} numbers with {} gradients",
        rows.len(),
        x.len(),
        grad.len()
    );
    let size = (BLOCK * dim).max(1);
    let sums: Vec<Sums<T>> = (x.par_chunks(size).zip(grad.par_chunks(size)))
        .zip(into.x.par_chunks_mut(size).zip(rows.par_chunks(BLOCK)))
        .map(|((x, grad), (out, rows))| {
            let mut sums = Sums { weight: vec![T::ZERO; dim], bias: vec![T::ZERO; dim] };
            backward_rows(norm, x, weight, rows, grad, into.x_target, out, &mut sums);
            sums
        })
        .collect();
    for sums in &sums {
        slices::add(into.weight, &sums.weight);
    }
    if let Some(bias) = into.bias {
        sums.iter().for_each(|sums| slices::add(bias, &sums.bias));
    }
}

/// Gradients of weight and bias, summed over the rows of a block.
struct Sums<T> {
    weight: Vec<T>,
    bias: Vec<T>,
}

vectorized! {
    fn backward_rows<T: Real>(
        norm: Norm,
        x: &[T],
        weight: &[T],
        rows: &[Row<T>],
        grad: &[T],
        target: Target,
        out: &mut [T],
        sums: &mut Sums<T>,
    ) {
        let dim = weight.len();
        let n = T::of(dim as f64);
        let both = x.chunks_exact(dim).zip(grad.chunks_exact(dim));
        for (((x, grad), out), row) in both.zip(out.chunks_exact_mut(dim)).zip(rows) {
            let Row { mean, factor } = *row;
            let level = match norm {
                Norm::Layer => sum_of([grad, weight], |sum, [g, w]| g.mul_add(w, sum)) / n,
                Norm::Rms => T::ZERO,
            };
            let tilt = sum_of([grad, weight, x], |sum, [g, w, x]| {
                (g * w).mul_add((x - mean) * factor, sum)
            }) / n;
            let (sum_w, sum_b) = (&mut sums.weight[..dim], &mut sums.bias[..dim]);
            for i in 0..dim {
                let unit = (x[i] - mean) * factor;
                let h = grad[i].mul_add(weight[i], -level);
                let g = unit.mul_add(-tilt, h) * factor;
                out[i] = if target == Target::Add { out[i] + g } else { g };
                sum_w[i] = grad[i].mul_add(unit, sum_w[i]);
                sum_b[i] += grad[i];
            }
        }
    }
}

/// Normalises the rows of `x` `[.., dim]` on the tape.
///
/// # Errors
/// If shapes do not fit or the tensors are not contiguous `T`s on the CPU.
pub fn normalise<T: Real>(
    norm: Norm,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let dim = x.dim(D::Minus1)?;
    if weight.dims() != [dim] || bias.is_some_and(|bias| bias.dims() != [dim]) {
        bail!("{norm:?} norm: rows of {dim}, weight {:?}", weight.dims())
    }
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    apply::<T, _>(Normalise { norm, shape: x.dims().to_vec() }, &inputs)
}

/// What [`normalise`] computes, in ordinary tensor operations, on any device.
///
/// # Errors
/// If shapes do not fit.
pub fn reference(norm: Norm, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let x = match norm {
        Norm::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
        Norm::Rms => x.clone(),
    };
    let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps())?.sqrt()?; // [.., 1]
    let y = x.broadcast_div(&deviation)?.broadcast_mul(weight)?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
}

struct Normalise {
    norm: Norm,
    shape: Vec<usize>,
}

impl<T: Real> Operation<T> for Normalise {
    type Saved = Statistics<T>;

    fn name(&self) -> &'static str {
        "normalisation"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, Self::Saved>> {
        let mut values = vec![T::ZERO; inputs[0].len()];
        let bias = inputs.get(2).copied();
        let saved = forward(self.norm, inputs[0], inputs[1], bias, &mut values);
        Ok(Output { values, shape: self.shape.clone().into(), saved })
    }

    fn backward(
        &self,
        inputs: &[&[T]],
        _output: &[T],
        saved: Self::Saved,
        grad: &[T],
    ) -> Result<Vec<Vec<T>>> {
        let mut grads: Vec<Vec<T>> = inputs.iter().map(|x| vec![T::ZERO; x.len()]).collect();
        let [x, weight, rest @ ..] = &mut grads[..] else { bail!("an input is missing") };
        let bias = rest.first_mut().map(Vec::as_mut_slice);
        backward(
            self.norm,
            Forward { x: inputs[0], weight: inputs[1], statistics: &saved },
            grad,
            Gradients { x, x_target: Target::Replace, weight, bias },
        );
        Ok(grads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{distance, largest_error, wave};

    #[test]
    fn a_row_gets_the_mean_and_the_deviation_asked_for() {
        let mut out = [0.0; 2];
        // Mean 3, deviation 1: normalised −1 and 1, but for ε.
        forward::<f64>(Norm::Layer, &[2.0, 4.0], &[10.0, 1.0], Some(&[0.5, 0.0]), &mut out);
        assert!((out[0] + 9.5).abs() < 1e-4 && (out[1] - 1.0).abs() < 1e-5, "{out:?}");
        // Root of the mean square: 5.
        forward::<f64>(Norm::Rms, &[1.0, 7.0], &[10.0, 1.0], None, &mut out);
        assert!((out[0] - 2.0).abs() < 1e-6 && (out[1] - 1.4).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn a_constant_row_becomes_the_bias() {
        let mut out = [7.0f32; 3];
        forward(Norm::Layer, &[5.0; 3], &[2.0; 3], Some(&[1.0, 2.0, 3.0]), &mut out);
        assert_eq!(out, [1.0, 2.0, 3.0]);
        forward(Norm::Rms, &[0.0; 3], &[2.0; 3], None, &mut out);
        assert_eq!(out, [0.0; 3]);
        forward::<f32>(Norm::Rms, &[], &[2.0; 3], None, &mut []);
    }

    #[test]
    fn agrees_with_its_definition_and_with_finite_differences() -> Result<()> {
        let inputs = [wave((5, 37), 0.3)?, wave(37, 1.0)?, wave(37, 2.0)?];
        let probe = wave((5, 37), 3.0)?;
        for norm in [Norm::Layer, Norm::Rms] {
            for n_inputs in [2, 3] {
                let fused = |x: &[Tensor]| normalise::<f64>(norm, &x[0], &x[1], x.get(2));
                let plain = reference(norm, &inputs[0], &inputs[1], inputs[..n_inputs].get(2))?;
                assert!(distance(&fused(&inputs[..n_inputs])?, &plain)? < 1e-13);
                let error =
                    largest_error(&inputs[..n_inputs], |x| (fused(x)? * &probe)?.sum_all())?;
                assert!(error < 1e-8, "{norm:?} {n_inputs}: {error}");
            }
        }
        Ok(())
    }

    #[test]
    fn errs_no_more_than_its_definition_in_the_same_precision() -> Result<()> {
        // Rows far from zero, where a variance as a difference of squares would be lost.
        let exact = [(wave((7, 131), 0.0)? + 50.0)?, wave(131, 1.0)?, wave(131, 2.0)?];
        let single = exact.iter().map(|x| x.to_dtype(candle_core::DType::F32));
        let single = single.collect::<Result<Vec<_>>>()?;
        for norm in [Norm::Layer, Norm::Rms] {
            let truth = reference(norm, &exact[0], &exact[1], Some(&exact[2]))?;
            let plain = reference(norm, &single[0], &single[1], Some(&single[2]))?;
            let fused = normalise::<f32>(norm, &single[0], &single[1], Some(&single[2]))?;
            let (plain, fused) = (distance(&plain, &truth)?, distance(&fused, &truth)?);
            assert!(fused <= 2.0 * plain, "{norm:?}: {fused} against {plain}");
        }
        Ok(())
    }

    /// Input, weight, output and all gradients of a batch of `rows` rows.
    fn run(rows: usize, dim: usize, threads: usize, target: Target) -> Vec<Vec<f32>> {
        let numbers = |n: usize, by: f32| (0..n).map(|i| (i as f32 * by).sin()).collect::<Vec<_>>();
        let (x, grad) = (numbers(rows * dim, 0.7), numbers(rows * dim, 0.3));
        let (weight, bias) = (numbers(dim, 0.9), numbers(dim, 1.1));
        let (mut out, mut grad_x) = (vec![0.0; rows * dim], vec![1.0; rows * dim]);
        let (mut grad_weight, mut grad_bias) = (vec![0.0; dim], vec![0.0; dim]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let statistics = &forward(Norm::Layer, &x, &weight, Some(&bias), &mut out);
            let into = Gradients {
                x: &mut grad_x,
                x_target: target,
                weight: &mut grad_weight,
                bias: Some(&mut grad_bias),
            };
            backward(Norm::Layer, Forward { x: &x, weight: &weight, statistics }, &grad, into);
        });
        vec![out, grad_x, grad_weight, grad_bias]
    }

    #[test]
    fn neither_threads_nor_other_rows_change_a_bit() {
        let one = run(5 * BLOCK + 3, 19, 1, Target::Replace);
        assert_eq!(one, run(5 * BLOCK + 3, 19, 4, Target::Replace));
        let few = run(3, 19, 1, Target::Replace);
        assert_eq!((&one[0][..57], &one[1][..57]), (&few[0][..], &few[1][..]));
    }

    #[test]
    fn a_gradient_is_written_or_added() {
        let (written, added) = (run(3, 19, 1, Target::Replace), run(3, 19, 1, Target::Add));
        let sums: Vec<f32> = written[1].iter().map(|g| 1.0 + g).collect();
        assert_eq!(sums, added[1]);
        assert_eq!(written[2], added[2]);
    }
}
