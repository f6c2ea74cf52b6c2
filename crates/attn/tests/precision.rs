//! In single precision the fused form errs at most twice as much as the plain one.

mod common;

use attn::Attended;
use candle_core::{DType, Tensor, Var};
use common::{Result, Setup, Sizes, grid, loss};
use kernels::gradient::wave;

const SIZES: Sizes = Sizes { lengths: &[37, 5], src_len: 37, tgt_len: 17, dim: 61, memory_dim: 67 };

/// Contexts, weights, and the gradients of all inputs.
fn results(setup: &Setup, form: fn(&Setup) -> Result<Attended>) -> Result<Vec<Tensor>> {
    let vars =
        setup.inputs().iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
    let leaves: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let attended = form(&setup.with(&leaves))?;
    let dtype = attended.context.dtype();
    let context = wave(attended.context.shape(), 0.3)?.to_dtype(dtype)?;
    let weights = wave(attended.weights.shape(), 1.1)?.to_dtype(dtype)?;
    let grads = loss(&attended, &context, &weights)?.backward()?;
    let mut results = vec![attended.context, attended.weights];
    for var in &vars {
        results.push(grads.get(var).ok_or("the graph is cut")?.clone());
    }
    Ok(results)
}

/// Root of the mean squared difference: the largest one would be a matter of luck.
fn error(actual: &Tensor, expected: &Tensor) -> Result<f64> {
    let difference = (actual.to_dtype(DType::F64)? - expected)?;
    Ok(difference.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt())
}

#[test]
fn the_fused_form_errs_at_most_twice_as_much_as_the_plain_one() -> Result<()> {
    for config in grid() {
        // Inputs that single precision holds exactly, so that both precisions see the same.
        let single = Setup::new(&config, &SIZES)?.to_dtype(DType::F32)?;
        let exact = results(&single.to_dtype(DType::F64)?, Setup::plain)?;
        let plain = results(&single, Setup::plain)?;
        let fused = results(&single, Setup::fused)?;
        let names = ["context", "weights"].into_iter().chain(single.tensors.keys().map(|k| &**k));
        for (((name, exact), plain), fused) in names.zip(&exact).zip(&plain).zip(&fused) {
            let (plain, fused) = (error(plain, exact)?, error(fused, exact)?);
            assert!(fused <= 2.0 * plain, "{config:?}, {name}: {fused:e} against {plain:e}");
        }
    }
    Ok(())
}
