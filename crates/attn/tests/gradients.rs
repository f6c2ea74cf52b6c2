//! Is the gradient right, and does it arrive?

mod common;

use attn::Attended;
use candle_core::{Tensor, Var};
use common::{Result, Setup, Sizes, grid, loss};
use kernels::gradient::{largest_error, wave};

const SIZES: Sizes = Sizes { lengths: &[7, 3], src_len: 7, tgt_len: 5, dim: 3, memory_dim: 2 };

fn probed(attended: &Attended) -> Result<Tensor> {
    let context = wave(attended.context.shape(), 0.3)?;
    loss(attended, &context, &wave(attended.weights.shape(), 1.1)?)
}

#[test]
fn gradients_agree_with_finite_differences() -> Result<()> {
    for config in grid() {
        let setup = Setup::new(&config, &SIZES)?;
        let error = largest_error(&setup.inputs(), |inputs| {
            let attended = setup.with(inputs).fused();
            let loss = attended.and_then(|attended| probed(&attended));
            loss.map_err(|error| candle_core::Error::Msg(error.to_string()))
        })?;
        // The differences themselves err by some 1e-10, times curvatures of up to ten or so.
        assert!(error < 1e-8, "{config:?}: {error:e}");
    }
    Ok(())
}

#[test]
fn every_input_and_parameter_receives_a_gradient() -> Result<()> {
    for config in grid() {
        for form in [Setup::plain, Setup::fused] {
            let setup = Setup::new(&config, &SIZES)?;
            let vars = setup.inputs().iter().map(Var::from_tensor).collect::<Vec<_>>();
            let vars = vars.into_iter().collect::<candle_core::Result<Vec<_>>>()?;
            let leaves: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
            let grads = probed(&form(&setup.with(&leaves))?)?.backward()?;
            for (name, var) in setup.tensors.keys().zip(&vars) {
                let grad = grads.get(var).ok_or_else(|| format!("{config:?}: {name} has none"))?;
                let size = grad.sqr()?.sum_all()?.to_scalar::<f64>()?;
                assert!(size.is_finite() && size > 0.0, "{config:?}, {name}: {size}");
            }
        }
    }
    Ok(())
}

#[test]
fn contexts_alone_have_the_gradient_of_contexts_with_weights() -> Result<()> {
    // The operation without weights in its output, on the simplest inputs it takes.
    let config = attn::AttentionConfig { score: attn::Score::Dot, ..Default::default() };
    let places = || attn::Places {
        offsets: vec![0, 2, 5],
        rows: [0, 1, 1, 0].map(|sentence| attn::Row { sentence, position: 0 }).to_vec(),
    };
    let states = Var::from_tensor(&wave((5, 3), 0.2)?)?;
    let query = wave((4, 3), 1.3)?;
    let inputs = attn::Inputs {
        states: &states,
        keys: None,
        query: &query,
        projected: None,
        score: None,
        position: None,
    };
    let probe = wave((4, 3), 0.5)?;
    let alone = attn::attend(&config, &inputs, places())?;
    let both = attn::attend_with_weights(&config, &inputs, places())?;
    common::close(&alone, &both.context, 0.0)?;
    let alone = (alone * &probe)?.sum_all()?.backward()?;
    let both = (both.context * &probe)?.sum_all()?.backward()?;
    let missing = "the graph is cut";
    common::close(alone.get(&states).ok_or(missing)?, both.get(&states).ok_or(missing)?, 0.0)
}
