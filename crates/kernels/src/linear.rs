//! A linear layer, optionally followed by the hyperbolic tangent.

use candle_core::{Result, Tensor, bail};

use crate::affine::Affine;
use crate::matmul::Target;
use crate::operation::{Operation, Output, apply};
use crate::{Real, slices};

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// The hyperbolic tangent.
    Tanh,
}

/// `activation(x Wᵀ + b)`: `x` `[rows, in]`, `weight` `[out, in]`, `bias` `[out]` → `[rows, out]`.
///
/// # Errors
/// If shapes do not fit or the tensors are not contiguous `T`s on the CPU.
pub fn linear<T: Real>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let (rows, input) = x.dims2()?;
    let (output, expected) = weight.dims2()?;
    if input != expected || bias.is_some_and(|b| b.dims() != [output]) {
        bail!("linear layer: input {:?}, weight {:?}", x.dims(), weight.dims())
    }
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    apply::<T, _>(Linear { rows, input, output, activation }, &inputs)
}

struct Linear {
    rows: usize,
    input: usize,
    output: usize,
    activation: Activation,
}

impl<T: Real> Operation<T> for Linear {
    type Saved = ();

    fn name(&self) -> &'static str {
        "linear layer"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, ()>> {
        let mut values = self.affine(inputs).forward(inputs[0]);
        if self.activation == Activation::Tanh {
            slices::tanh(&mut values);
        }
        Ok(Output { values, shape: (self.rows, self.output).into(), saved: () })
    }

    fn backward(&self, inputs: &[&[T]], output: &[T], _: (), grad: &[T]) -> Result<Vec<Vec<T>>> {
        let mut grad = grad.to_vec();
        if self.activation == Activation::Tanh {
            slices::tanh_backward(&mut grad, output);
        }
        let layer = self.affine(inputs);
        let mut grad_x = vec![T::ZERO; inputs[0].len()];
        layer.input_gradient(&grad, &mut grad_x, Target::Replace);
        let gradient = layer.gradient(inputs[0], &grad);
        let bias = inputs.get(2).map(|_| gradient.bias);
        Ok([grad_x, gradient.weight].into_iter().chain(bias).collect())
    }
}

impl Linear {
    fn affine<'a, T: Real>(&self, inputs: &[&'a [T]]) -> Affine<'a, T> {
        match inputs.get(2) {
            Some(bias) => Affine::new(inputs[1], bias, self.input),
            None => Affine::unbiased(inputs[1], self.input),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{distance, largest_error, wave};

    #[test]
    fn agrees_with_its_definition_and_with_finite_differences() -> Result<()> {
        let inputs = [wave((3, 5), 0.0)?, wave((7, 5), 1.0)?, wave(7, 2.0)?];
        for activation in [Activation::None, Activation::Tanh] {
            let out = linear::<f64>(&inputs[0], &inputs[1], Some(&inputs[2]), activation)?;
            let plain = inputs[0].matmul(&inputs[1].t()?)?.broadcast_add(&inputs[2])?;
            let plain = if activation == Activation::Tanh { plain.tanh()? } else { plain };
            assert!(distance(&out, &plain)? < 1e-14);
            let error = largest_error(&inputs, |x| {
                linear::<f64>(&x[0], &x[1], Some(&x[2]), activation)?.sqr()?.sum_all()
            })?;
            assert!(error < 1e-7, "{error}");
            let error = largest_error(&inputs[..2], |x| {
                linear::<f64>(&x[0], &x[1], None, activation)?.sqr()?.sum_all()
            })?;
            assert!(error < 1e-7, "{error}");
        }
        Ok(())
    }
}
