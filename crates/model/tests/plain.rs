//! The fused network against its plain definition, in every configuration.

mod family;
mod recurrent;

use candle_core::{DType, Device, Tensor};
use family::{SPECIAL, batch, training};
use kernels::gradient::distance;
use kernels::{Mode, Random};
use model::{Batch, Error, Loss, Model, ModelConfig, Objective, Result, RnnConfig, Tie, Vocabs};
use recurrent::{configs, small};

/// Where the plain definition runs: on the CPU, unless this build can use another device.
fn device() -> Result<Device> {
    Ok(Device::cuda_if_available(0)?)
}

fn model(config: &RnnConfig, dtype: DType) -> Result<Model> {
    model_on(&Device::Cpu, config, dtype)
}

fn model_on(device: &Device, config: &RnnConfig, dtype: DType) -> Result<Model> {
    family::model_on(device, &ModelConfig::Rnn(config.clone()), dtype)
}

fn objective() -> Objective {
    Objective::smoothed(0.1)
}

/// The gradient of every parameter, in name order, in `f64` on the CPU.
fn gradients(model: &Model, loss: &Loss) -> Result<Vec<(String, Tensor)>> {
    let grads = loss.objective.backward()?;
    let wide = |(name, var): (&str, &candle_core::Var)| {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{name} receives no gradient"));
        let grad = grad.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        Ok((name.to_owned(), grad))
    };
    model.parameters().iter().map(wide).collect()
}

fn largest(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.abs()?.flatten_all()?.max(0)?.to_scalar()?)
}

fn close(actual: f64, expected: f64, tolerance: f64) -> bool {
    (actual - expected).abs() <= tolerance * expected.abs()
}

#[test]
fn the_fused_network_computes_its_definition() -> Result<()> {
    let batch = batch(&[0, 1, 2])?;
    for config in configs() {
        let fused = model(&config, DType::F64)?;
        let plain = model_on(&device()?, &config, DType::F64)?;
        for mode in [Mode::Eval, training()] {
            let fused = fused.loss(&batch, &objective(), &mode)?;
            let plain = plain.plain_loss(&batch, &objective(), &mode)?;
            // Some hundred operations deep, in f64, on sums of at most a dozen products: rounding
            // stays near 1e-15.
            let (a, b) = (fused.objective.to_scalar()?, plain.objective.to_scalar()?);
            assert!(close(a, b, 1e-13), "{config:?}, {mode:?}: {a} and {b}");
            assert!(close(fused.nats, plain.nats, 1e-13), "{config:?}, {mode:?}");
            assert_eq!(fused.tokens, plain.tokens);
        }
    }
    Ok(())
}

#[test]
fn the_fused_gradients_are_those_of_the_definition() -> Result<()> {
    let batch = batch(&[0, 1, 2])?;
    for config in configs() {
        let fused = model(&config, DType::F64)?;
        let plain = model_on(&device()?, &config, DType::F64)?;
        let loss = fused.loss(&batch, &objective(), &training())?;
        let fused = gradients(&fused, &loss)?;
        let loss = plain.plain_loss(&batch, &objective(), &training())?;
        for ((name, fused), (_, plain)) in fused.iter().zip(gradients(&plain, &loss)?) {
            // Rounding as in the loss, and some of it cancels in no order that both share: three
            // digits of room.
            let (error, size) = (distance(fused, &plain)?, largest(&plain)?);
            assert!(size > 0.0 && error <= 1e-12 * size, "{config:?}, {name}: {error:e} of {size}");
        }
    }
    Ok(())
}

#[test]
fn in_single_precision_the_fused_network_errs_at_most_twice_as_much() -> Result<()> {
    let batch = batch(&[0, 1, 2])?;
    // Root of the mean squared error over all gradients: the largest would be a matter of luck.
    let error = |grads: &[(String, Tensor)], exact: &[(String, Tensor)]| -> Result<f64> {
        let mut squares = (0.0, 0);
        for ((_, grad), (_, exact)) in grads.iter().zip(exact) {
            squares.0 += (grad - exact)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
            squares.1 += grad.elem_count();
        }
        Ok((squares.0 / squares.1 as f64).sqrt())
    };
    for config in configs() {
        // Initial values are numbers of single precision, so both precisions start from the same.
        let exact = model(&config, DType::F64)?;
        let loss = exact.plain_loss(&batch, &objective(), &training())?;
        let exact = gradients(&exact, &loss)?;
        let single = model(&config, DType::F32)?;
        let loss = single.loss(&batch, &objective(), &training())?;
        let fused = error(&gradients(&single, &loss)?, &exact)?;
        let loss = single.plain_loss(&batch, &objective(), &training())?;
        let plain = error(&gradients(&single, &loss)?, &exact)?;
        assert!(plain > 0.0 && fused <= 2.0 * plain, "{config:?}: {fused:e} against {plain:e}");
    }
    Ok(())
}

/// The comparison above would not see dropout that never happens, or that ignores its numbers.
#[test]
fn the_definition_drops_by_the_numbers_of_the_step() -> Result<()> {
    let batch = batch(&[0, 1, 2])?;
    for variational in [false, true] {
        let model = model(&RnnConfig { variational, ..small() }, DType::F64)?;
        let nats = |mode: &Mode| -> Result<f64> {
            Ok(model.plain_loss(&batch, &Objective::default(), mode)?.nats)
        };
        let other = Mode::Train(Random::new(3, kernels::Purpose::Dropout, 18));
        let (eval, one, other) = (nats(&Mode::Eval)?, nats(&training())?, nats(&other)?);
        assert!(eval != one && one != other, "{eval} {one} {other}");
        assert_eq!(one, nats(&training())?);
    }
    Ok(())
}

#[test]
fn without_training_the_definition_keeps_nothing_for_a_backward_pass() -> Result<()> {
    let model = model(&small(), DType::F64)?;
    let loss = model.plain_loss(&batch(&[0, 1])?, &objective(), &Mode::Eval)?;
    let grads = loss.objective.backward()?;
    assert!(model.parameters().iter().all(|(_, var)| grads.get(var).is_none()));
    Ok(())
}

#[test]
fn the_definition_names_an_id_outside_its_vocabulary() -> Result<()> {
    let config = RnnConfig { tie: Tie::None, ..small() };
    let vocabs = Vocabs { src: 7, tgt: 5, ..Default::default() };
    let config = model::ModelConfig::Rnn(config);
    let model = Model::new(&config, vocabs, SPECIAL, 1, &device()?)?;
    for (src, tgt, expected) in [
        (7, 4, "id 7 lies outside the source vocabulary of 7"),
        (6, 5, "id 5 lies outside the target vocabulary of 5"),
    ] {
        let batch = Batch::new(&[(&[src], &[tgt])], SPECIAL)?;
        let error = model.plain_loss(&batch, &Objective::default(), &Mode::Eval);
        let error = error.expect_err("an unknown id");
        assert!(matches!(error, Error::UnknownId { .. }) && error.to_string() == expected);
    }
    Ok(())
}

/// Candle walks the tape by recursion. A thread of two megabytes, as tests have, is enough.
#[test]
fn the_definition_goes_back_through_long_sentences() -> Result<()> {
    const LENGTH: u32 = 200;
    let ids: Vec<u32> = (0..LENGTH).map(|i| 4 + i % 7).collect();
    let model = model(&small(), DType::F32)?;
    let batch = Batch::new(&[(&ids, &ids)], SPECIAL)?;
    let loss = model.plain_loss(&batch, &objective(), &training())?;
    for (name, grad) in gradients(&model, &loss)? {
        let size = largest(&grad)?;
        assert!(size.is_finite() && size > 0.0, "{name}: largest gradient {size}");
    }
    Ok(())
}
