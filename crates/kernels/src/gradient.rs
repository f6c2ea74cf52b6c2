//! Finite differences, for the tests of this and other crates.

use candle_core::{DType, Result, Tensor, Var, bail};

/// Compares the gradients of `loss` with central differences, for every element of every input.
///
/// `inputs` are `f64`. Returns the largest absolute difference; fails if an input receives no
/// gradient at all, which is how a cut graph shows.
///
/// # Errors
/// If an input is not `f64`, receives no gradient, or `loss` fails.
pub fn largest_error(inputs: &[Tensor], loss: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<f64> {
    // A central difference errs by about STEP² + ε / STEP, here some 1e-10.
    const STEP: f64 = 1e-5;
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = loss(&tensors)?.backward()?;

    let mut worst: f64 = 0.0;
    for (index, input) in inputs.iter().enumerate() {
        if input.dtype() != DType::F64 {
            bail!("gradients are checked in f64, input {index} is {:?}", input.dtype());
        }
        let Some(analytic) = grads.get(&tensors[index]) else {
            bail!("input {index} of shape {:?} receives no gradient", input.dims())
        };
        let analytic = analytic.flatten_all()?.to_vec1::<f64>()?;
        let values = input.flatten_all()?.to_vec1::<f64>()?;
        for (element, expected) in analytic.iter().enumerate() {
            let at = |delta: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[element] += delta;
                let mut inputs: Vec<Tensor> = inputs.to_vec();
                inputs[index] = Tensor::from_vec(moved, input.shape(), input.device())?;
                loss(&inputs)?.to_scalar::<f64>()
            };
            let numeric = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            worst = worst.max((numeric - expected).abs());
        }
    }
    Ok(worst)
}

/// Numbers without pattern and without chance: the sines of `phase`, `phase + 0.7`, …
///
/// # Errors
/// Only if the tensor cannot be allocated.
pub fn wave(shape: impl Into<candle_core::Shape>, phase: f64) -> Result<Tensor> {
    let shape = shape.into();
    let values: Vec<f64> =
        (0..shape.elem_count()).map(|i| (phase + 0.7 * i as f64).sin()).collect();
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu)
}

/// The largest absolute difference between two tensors of the same shape, as `f64`.
///
/// # Errors
/// If the shapes differ.
pub fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.dims() != b.dims() {
        bail!("shapes differ: {:?} and {:?}", a.dims(), b.dims());
    }
    let a = a.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let b = b.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    // A NaN must not pass as "no difference".
    Ok(a.iter().zip(&b).fold(0.0, |worst: f64, (a, b)| {
        let d = (a - b).abs();
        if d.is_nan() { f64::INFINITY } else { worst.max(d) }
    }))
}

/// The mean absolute difference between two tensors of the same shape, as `f64`: how exact a
/// computation is, where the largest difference would only tell of one unlucky element.
///
/// # Errors
/// If the shapes differ.
pub fn mean_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.dims() != b.dims() {
        bail!("shapes differ: {:?} and {:?}", a.dims(), b.dims());
    }
    (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.abs()?.mean_all()?.to_scalar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_gradient_passes_and_a_wrong_one_is_seen() -> Result<()> {
        let x = wave((2, 3), 0.1)?;
        assert!(largest_error(std::slice::from_ref(&x), |x| x[0].sqr()?.sum_all())? < 1e-9);
        let wrong = |x: &[Tensor]| (x[0].detach() * &x[0])?.sum_all();
        assert!(largest_error(std::slice::from_ref(&x), wrong)? > 0.1);
        assert!(largest_error(&[x], |x| x[0].detach().sum_all()).is_err());
        Ok(())
    }

    #[test]
    fn distance_sees_a_shape_and_a_nan() -> Result<()> {
        let x = wave(3, 0.0)?;
        assert_eq!(distance(&x, &x)?, 0.0);
        assert!((mean_distance(&x, &(&x + 0.5)?)? - 0.5).abs() < 1e-15);
        assert!(mean_distance(&x, &wave((1, 3), 0.0)?).is_err());
        assert!(distance(&x, &wave((1, 3), 0.0)?).is_err());
        assert_eq!(distance(&x, &(&x * f64::NAN)?)?, f64::INFINITY);
        Ok(())
    }
}
