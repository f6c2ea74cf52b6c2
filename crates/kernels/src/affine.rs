//! `x Wᵀ + b` over slices, forward and backward: what the sublayers of a network are made of.
//! [`linear`](crate::linear) is the same on the tape.

use crate::Real;
use crate::matmul::{Matrix, MatrixMut, Target, matmul, matmul_biased};
use crate::recurrent::add_column_sums;

/// A weight `[output, input]`, with a bias `[output]` or without.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a, T> {
    weight: &'a [T],
    bias: Option<&'a [T]>,
    input: usize,
    output: usize,
}

/// Gradients of an [`Affine`].
#[derive(Clone, Debug)]
pub struct Gradient<T> {
    /// Of the weight, `[output, input]`.
    pub weight: Vec<T>,
    /// Of the bias, `[output]`; empty without one.
    pub bias: Vec<T>,
}

impl<'a, T: Real> Affine<'a, T> {
    /// A layer with a bias that takes rows of `input` numbers.
    ///
    /// # Panics
    /// If weight and bias do not fit together.
    pub fn new(weight: &'a [T], bias: &'a [T], input: usize) -> Self {
        let output = bias.len();
        assert_eq!(weight.len(), output * input, "weight for {output} outputs of {input} inputs");
        Self { weight, bias: Some(bias), input, output }
    }

    /// A layer without a bias that takes rows of `input` numbers.
    ///
    /// # Panics
    /// If `weight` is no whole number of rows.
    pub fn unbiased(weight: &'a [T], input: usize) -> Self {
        assert!(weight.len().is_multiple_of(input), "{} numbers for {input} inputs", weight.len());
        Self { weight, bias: None, input, output: weight.len() / input }
    }

    /// Size of an output row.
    pub fn output(&self) -> usize {
        self.output
    }

    /// `x` `[rows, input]` → `[rows, output]`.
    pub fn forward(&self, x: &[T]) -> Vec<T> {
        let rows = x.len() / self.input;
        let mut out = vec![T::ZERO; rows * self.output];
        let weight = Matrix::new(self.weight, self.output, self.input).t();
        let (x, c) =
            (Matrix::new(x, rows, self.input), MatrixMut::new(&mut out, rows, self.output));
        match self.bias {
            Some(bias) => matmul_biased(x, weight, bias, c),
            None => matmul(x, weight, c, Target::Replace),
        }
        out
    }

    /// The gradient of the input, `[rows, input]`, given that of the output, `[rows, output]`:
    /// it replaces what `out` held or is added to it.
    pub fn input_gradient(&self, grad: &[T], out: &mut [T], target: Target) {
        let rows = grad.len() / self.output;
        let weight = Matrix::new(self.weight, self.output, self.input);
        let c = MatrixMut::new(out, rows, self.input);
        matmul(Matrix::new(grad, rows, self.output), weight, c, target);
    }

    /// The gradients of weight and bias.
    pub fn gradient(&self, x: &[T], grad: &[T]) -> Gradient<T> {
        let rows = x.len() / self.input;
        let mut weight = vec![T::ZERO; self.weight.len()];
        let c = MatrixMut::new(&mut weight, self.output, self.input);
        let upstream = Matrix::new(grad, rows, self.output).t();
        matmul(upstream, Matrix::new(x, rows, self.input), c, Target::Replace);
        let mut bias = vec![T::ZERO; self.bias.map_or(0, <[T]>::len)];
        if !bias.is_empty() {
            add_column_sums(grad, &mut bias);
        }
        Gradient { weight, bias }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_by_hand() {
        let layer = Affine::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[0.5, -0.5, 0.0], 2);
        let x = [1.0, 1.0, 0.0, -1.0];
        assert_eq!(layer.forward(&x), [3.5, 6.5, 11.0, -1.5, -4.5, -6.0]);
        let grad = [1.0, 0.0, 0.0, 0.0, 1.0, 2.0];
        let mut dx = vec![10.0; 4];
        layer.input_gradient(&grad, &mut dx, Target::Replace);
        assert_eq!(dx, [1.0, 2.0, 13.0, 16.0]);
        layer.input_gradient(&grad, &mut dx, Target::Add);
        assert_eq!(dx, [2.0, 4.0, 26.0, 32.0]);
        let found = layer.gradient(&x, &grad);
        assert_eq!(found.weight, [1.0, 1.0, 0.0, -1.0, 0.0, -2.0]);
        assert_eq!(found.bias, [1.0, 1.0, 2.0]);
    }
}
