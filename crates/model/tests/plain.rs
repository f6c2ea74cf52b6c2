//! The fused network against its plain definition, in every configuration.

mod family;
mod recurrent;
mod transformers;

use candle_core::{DType, Device, Tensor};
use family::{SPECIAL, batch, guided, guided_batch, model, model_on, size, training};
use kernels::gradient::distance;
use kernels::{Mode, Purpose, Random};
use model::{
    Batch, Error, Loss, Model, ModelConfig, Objective, Result, RnnConfig, Tie, TransformerConfig,
    Vocabs,
};

/// Where the plain definition runs: on the CPU, unless this build can use another device.
fn device() -> Result<Device> {
    Ok(Device::cuda_if_available(0)?)
}

fn objective() -> Objective {
    Objective::smoothed(0.1)
}

/// With and without two passes and guided attention.
fn objectives() -> [Objective; 4] {
    let twice = |objective| Objective { r_drop: 2.0, ..objective };
    [objective(), twice(objective()), guided(), twice(guided())]
}

fn smallest() -> [ModelConfig; 2] {
    [ModelConfig::Rnn(recurrent::small()), ModelConfig::Transformer(transformers::small())]
}

/// A Transformer some of whose layers are left out, on either side.
fn layer_drop() -> ModelConfig {
    ModelConfig::Transformer(TransformerConfig {
        layer_drop: 0.5.try_into().expect("a rate"),
        encoder_layers: size(5),
        decoder_layers: size(5),
        ..transformers::small()
    })
}

fn configs() -> Vec<ModelConfig> {
    let recurrent = recurrent::configs().into_iter().map(ModelConfig::Rnn);
    let transformers = transformers::configs().into_iter().map(ModelConfig::Transformer);
    recurrent.chain(transformers).chain([layer_drop()]).collect()
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
    let batch = guided_batch(&[0, 1, 2])?;
    for config in configs() {
        let fused = model(&config, DType::F64)?;
        let plain = model_on(&device()?, &config, DType::F64)?;
        for mode in [Mode::Eval, training()] {
            for objective in objectives() {
                let fused = fused.loss(&batch, &objective, &mode)?;
                let plain = plain.plain_loss(&batch, &objective, &mode)?;
                // Some hundred operations deep, in f64, on sums of at most a dozen products:
                // rounding stays near 1e-15.
                let (a, b) = (fused.objective.to_scalar()?, plain.objective.to_scalar()?);
                assert!(close(a, b, 1e-13), "{config:?}, {objective:?}, {mode:?}: {a} and {b}");
                assert!(
                    close(fused.nats.get()?, plain.nats.get()?, 1e-13),
                    "{config:?}, {objective:?}"
                );
                let [a, b] = [fused.alignment_nats.get()?, plain.alignment_nats.get()?];
                assert!(close(a, b, 1e-13), "{config:?}, {objective:?}: {a} and {b}");
                assert_eq!((fused.tokens, fused.linked), (plain.tokens, plain.linked));
            }
        }
    }
    Ok(())
}

#[test]
fn the_fused_gradients_are_those_of_the_definition() -> Result<()> {
    let batch = guided_batch(&[0, 1, 2])?;
    for config in configs() {
        let fused = model(&config, DType::F64)?;
        let plain = model_on(&device()?, &config, DType::F64)?;
        for objective in objectives() {
            let loss = fused.loss(&batch, &objective, &training())?;
            let fused = gradients(&fused, &loss)?;
            let sizes = fused.iter().map(|(_, grad)| largest(grad)).collect::<Result<Vec<_>>>()?;
            let largest_of_all = sizes.into_iter().fold(0.0, f64::max);
            let loss = plain.plain_loss(&batch, &objective, &training())?;
            for ((name, fused), (_, plain)) in fused.iter().zip(gradients(&plain, &loss)?) {
                // Rounding as in the loss, and some of it cancels in no order that both share:
                // three digits of room. Where the terms of a gradient themselves nearly cancel,
                // the rounding of the terms stays.
                let (error, size) = (distance(fused, &plain)?, largest(&plain)?);
                let what = format!("{config:?}, {objective:?}, {name}: {error:e} of {size:e}");
                assert!(size > 0.0 || config == layer_drop(), "{what}");
                assert!(error <= 1e-12 * size + f64::EPSILON * largest_of_all, "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_definition_leaves_out_layers_and_their_gradients_are_zero() -> Result<()> {
    let model = model(&layer_drop(), DType::F64)?;
    let loss = model.plain_loss(&batch(&[0, 1, 2])?, &objective(), &training())?;
    let grads = gradients(&model, &loss)?;
    for stack in ["encoder", "decoder"] {
        let left_out = |layer: usize| -> Result<bool> {
            let prefix = format!("{stack}.{layer}.");
            let mine = grads.iter().filter(|(name, _)| name.starts_with(&prefix));
            let zeros =
                mine.map(|(_, grad)| Ok(largest(grad)? == 0.0)).collect::<Result<Vec<_>>>()?;
            assert!(zeros.iter().all(|&zero| zero == zeros[0]), "{prefix}: {zeros:?}");
            Ok(zeros[0])
        };
        let left_out = (0..5).map(left_out).collect::<Result<Vec<_>>>()?;
        assert!(left_out.contains(&true) && left_out.contains(&false), "{stack}: {left_out:?}");
    }
    Ok(())
}

#[test]
fn in_single_precision_the_fused_network_errs_at_most_twice_as_much() -> Result<()> {
    const DRAWS: u64 = 8;
    let batch = batch(&[0, 1, 2])?;
    // Root of the squared error over all gradients: the largest would be a matter of luck.
    let error = |grads: &[(String, Tensor)], exact: &[(String, Tensor)]| -> Result<f64> {
        let mut squares = 0.0;
        for ((_, grad), (_, exact)) in grads.iter().zip(exact) {
            squares += (grad - exact)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
        Ok(squares.sqrt())
    };
    for config in configs() {
        // Initial values are numbers of single precision, so both precisions start from the same.
        let (exact, single) = (model(&config, DType::F64)?, model(&config, DType::F32)?);
        let mut ratios = Vec::new();
        for step in 0..DRAWS {
            let mode = Mode::Train(Random::new(3, Purpose::Dropout, step));
            let exact = gradients(&exact, &exact.plain_loss(&batch, &objective(), &mode)?)?;
            let fused = gradients(&single, &single.loss(&batch, &objective(), &mode)?)?;
            let plain = gradients(&single, &single.plain_loss(&batch, &objective(), &mode)?)?;
            ratios.push(error(&fused, &exact)? / error(&plain, &exact)?);
        }
        // Under some masks a norm divides by almost nothing and magnifies whatever rounding it is
        // given, a hundred times and more; in a product no draw outweighs the others.
        let ratio = ratios.iter().product::<f64>().powf(1.0 / DRAWS as f64);
        assert!(ratio > 0.0 && ratio <= 2.0, "{config:?}: {ratios:?}");
    }
    Ok(())
}

/// The comparison above would not see dropout that never happens, or that ignores its numbers.
#[test]
fn the_definition_drops_by_the_numbers_of_the_step() -> Result<()> {
    let batch = batch(&[0, 1, 2])?;
    let rnn = |variational| ModelConfig::Rnn(RnnConfig { variational, ..recurrent::small() });
    for config in [rnn(false), rnn(true)].into_iter().chain(one_rate_each()) {
        let model = model(&config, DType::F64)?;
        let nats = |mode: &Mode| -> Result<f64> {
            Ok(model.plain_loss(&batch, &Objective::default(), mode)?.nats.get()?)
        };
        let other = Mode::Train(Random::new(3, Purpose::Dropout, 18));
        let (eval, one, other) = (nats(&Mode::Eval)?, nats(&training())?, nats(&other)?);
        assert!(eval != one && one != other, "{config:?}: {eval} {one} {other}");
        assert_eq!(one, nats(&training())?);
    }
    Ok(())
}

/// Transformers that drop in one way only.
fn one_rate_each() -> impl Iterator<Item = ModelConfig> {
    let (none, half) = (0.0.try_into().expect("a rate"), 0.5.try_into().expect("a rate"));
    (0..5).map(move |chosen| {
        let rate = |which| if which == chosen { half } else { none };
        ModelConfig::Transformer(TransformerConfig {
            dropout: rate(0),
            attention_dropout: rate(1),
            activation_dropout: rate(2),
            word_dropout: rate(3),
            layer_drop: rate(4),
            encoder_layers: size(5),
            ..transformers::small()
        })
    })
}

#[test]
fn without_training_the_definition_keeps_nothing_for_a_backward_pass() -> Result<()> {
    for config in smallest() {
        let model = model(&config, DType::F64)?;
        let loss = model.plain_loss(&batch(&[0, 1])?, &objective(), &Mode::Eval)?;
        let grads = loss.objective.backward()?;
        assert!(model.parameters().iter().all(|(_, var)| grads.get(var).is_none()));
    }
    Ok(())
}

#[test]
fn the_definition_names_an_id_outside_its_vocabulary() -> Result<()> {
    let vocabs = Vocabs { src: 7, tgt: 5, ..Default::default() };
    let tie = Tie::None;
    for config in [
        ModelConfig::Rnn(RnnConfig { tie, ..recurrent::small() }),
        ModelConfig::Transformer(TransformerConfig { tie, ..transformers::small() }),
    ] {
        let model = Model::new(&config, vocabs.clone(), SPECIAL, 1, &device()?)?;
        for (src, tgt, expected) in [
            (7, 4, "id 7 lies outside the source vocabulary of 7"),
            (6, 5, "id 5 lies outside the target vocabulary of 5"),
        ] {
            let batch = Batch::new(&[(&[src], &[tgt])], SPECIAL)?;
            let error = model.plain_loss(&batch, &Objective::default(), &Mode::Eval);
            let error = error.expect_err("an unknown id");
            assert!(matches!(error, Error::UnknownId { .. }) && error.to_string() == expected);
        }
    }
    Ok(())
}

/// Candle walks the tape by recursion. A thread of two megabytes, as tests have, is enough.
#[test]
fn the_definition_goes_back_through_long_sentences() -> Result<()> {
    const LENGTH: u32 = 200;
    let ids: Vec<u32> = (0..LENGTH).map(|i| 4 + i % 7).collect();
    for config in smallest() {
        let model = model(&config, DType::F32)?;
        let batch = Batch::new(&[(&ids, &ids)], SPECIAL)?;
        let loss = model.plain_loss(&batch, &objective(), &training())?;
        for (name, grad) in gradients(&model, &loss)? {
            let size = largest(&grad)?;
            assert!(size.is_finite() && size > 0.0, "{name}: largest gradient {size}");
        }
    }
    Ok(())
}
