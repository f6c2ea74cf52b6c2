//! Networks in the kernels of GPUs against their definition: on a GPU if there is one, or else on
//! the host.

mod family;
mod recurrent;
mod transformers;

use candle_core::{DType, Device, Tensor, Var};
use family::{SPECIAL, batch, guided, guided_batch, model, model_on, size, training};
use kernels::{Mode, Purpose, Random};
use model::{
    Batch, Error, Loss, Model, ModelConfig, Objective, Precision, Result, TransformerConfig,
};

fn objective() -> Objective {
    Objective::smoothed(0.1)
}

fn configs() -> Vec<ModelConfig> {
    let learned = TransformerConfig {
        layer_drop: 0.5.try_into().expect("a rate"),
        encoder_layers: size(4),
        ..transformers::small()
    };
    let all = transformers::configs().into_iter().chain([learned]);
    all.map(ModelConfig::Transformer).collect()
}

/// Every fourth recurrent network, and those whose masks last for a sentence.
fn recurrent() -> Vec<ModelConfig> {
    let all = recurrent::configs().into_iter().enumerate();
    let some = all.filter(|(i, config)| i % 4 == 0 || config.variational);
    some.map(|(_, config)| ModelConfig::Rnn(config)).collect()
}

/// The gradient of every parameter, in name order, in `f64`.
fn gradients(model: &Model, loss: &Loss) -> Result<Vec<Tensor>> {
    let grads = loss.objective.backward()?;
    let wide = |(name, var): (&str, &Var)| {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{name} receives no gradient"));
        assert_eq!(grad.dtype(), var.dtype(), "{name}");
        Ok(grad.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
    };
    model.parameters().iter().map(wide).collect()
}

/// The Euclidean distance of gradients, and the length of the second.
fn errs(grads: &[Tensor], exact: &[Tensor]) -> Result<(f64, f64)> {
    let (mut squares, mut size) = (0.0, 0.0);
    for (grad, exact) in grads.iter().zip(exact) {
        squares += (grad - exact)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        size += exact.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    Ok((squares.sqrt(), size.sqrt()))
}

#[test]
fn in_single_precision_kernels_err_at_most_twice_as_much_as_the_definition() -> Result<()> {
    const DRAWS: u64 = 4;
    let Some(device) = emulator::device() else { return Ok(()) };
    let batch = guided_batch(&[0, 1, 2])?;
    let twice = Objective { r_drop: 2.0, ..objective() };
    for (i, config) in configs().into_iter().chain(recurrent()).enumerate() {
        let exact = model(&config, DType::F64)?;
        let single = model_on(&device, &config, DType::F32)?;
        let objective = [objective(), guided(), twice.clone()][i % 3].clone();
        let mut ratios = Vec::new();
        for step in 0..DRAWS {
            let mode = Mode::Train(Random::new(3, Purpose::Dropout, step));
            let loss = exact.plain_loss(&batch, &objective, &mode)?;
            let found = single.gpu_loss(&batch, &objective, &mode)?;
            assert!((found.nats.get()? / loss.nats.get()? - 1.0).abs() < 1e-5, "{config:?}");
            let close = (found.alignment_nats.get()? - loss.alignment_nats.get()?).abs();
            assert!(close <= 1e-5 * loss.alignment_nats.get()?, "{config:?}");
            assert_eq!((found.tokens, found.linked), (loss.tokens, loss.linked));
            let exact = gradients(&exact, &loss)?;
            let plain = gradients(&single, &single.plain_loss(&batch, &objective, &mode)?)?;
            let kernels = gradients(&single, &found)?;
            ratios.push(errs(&kernels, &exact)?.0 / errs(&plain, &exact)?.0);
        }
        // Single draws are a matter of luck: see `tests/plain.rs`.
        let ratio = ratios.iter().product::<f64>().powf(1.0 / DRAWS as f64);
        assert!(ratio > 0.0 && ratio <= 2.0, "{config:?}: {ratios:?}");
    }
    Ok(())
}

#[test]
fn in_bfloat16_gradients_keep_their_direction() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let batch = batch(&[0, 1, 2])?;
    for config in configs() {
        let exact = model(&config, DType::F64)?;
        let mixed = model_on(&device, &config, DType::F32)?.in_precision(Precision::Bf16);
        let loss = exact.plain_loss(&batch, &objective(), &training())?;
        let found = mixed.gpu_loss(&batch, &objective(), &training())?;
        let nats = found.nats.get()? / loss.nats.get()? - 1.0;
        let (error, size) = errs(&gradients(&mixed, &found)?, &gradients(&exact, &loss)?)?;
        eprintln!("{nats:+.4} {:.4}", error / size);
        // Rows are rounded to 8 bits some fifty times on the way there and back.
        assert!(nats.abs() < 0.01 && error < 0.1 * size, "{config:?}: {nats}, {error} of {size}");
    }
    Ok(())
}

#[test]
fn without_training_nothing_is_dropped_or_kept() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let config = ModelConfig::Transformer(transformers::small());
    let exact = model(&config, DType::F64)?;
    let single = model_on(&device, &config, DType::F32)?;
    let batch = batch(&[0, 1])?;
    let found = single.gpu_loss(&batch, &objective(), &Mode::Eval)?;
    let expected = exact.plain_loss(&batch, &objective(), &Mode::Eval)?;
    assert!((found.nats.get()? / expected.nats.get()? - 1.0).abs() < 1e-5);
    let grads = found.objective.backward()?;
    assert!(single.parameters().iter().all(|(_, var)| grads.get(var).is_none()));
    Ok(())
}

#[test]
fn an_id_outside_its_vocabulary_is_named() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let config = ModelConfig::Transformer(transformers::small());
    let model = model_on(&device, &config, DType::F32)?;
    for pair in [(99, 4), (4, 99)] {
        let batch = Batch::new(&[(&[pair.0], &[pair.1])], SPECIAL)?;
        let error = model.gpu_loss(&batch, &objective(), &Mode::Eval).expect_err("an unknown id");
        assert!(matches!(error, Error::UnknownId { id: 99, .. }), "{error}");
    }
    Ok(())
}

#[test]
fn the_same_update_gives_the_same_bits() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let config = ModelConfig::Transformer(transformers::small());
    let model = model_on(&device, &config, DType::F32)?;
    let bits = |order| -> Result<Vec<Vec<f64>>> {
        emulator::in_order(order, || {
            let loss = model.gpu_loss(&batch(&[0, 1, 2])?, &objective(), &training())?;
            let grads = gradients(&model, &loss)?;
            Ok(grads
                .iter()
                .map(|g| g.flatten_all()?.to_vec1())
                .collect::<candle_core::Result<_>>()?)
        })
    };
    let first = bits(0)?;
    for order in emulator::ORDERS {
        assert_eq!(bits(order)?, first);
    }
    Ok(())
}
