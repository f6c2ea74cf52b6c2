//! The recurrent network as a whole: its gradients, its invariances, and that search and
//! training see the same model.

mod common;

use candle_core::{DType, Device};
use common::{SPECIAL, SRC, TGT, batch, configs, model, size, small, training};
use kernels::Mode;
use model::{AttentionConfig, Batch, EncoderDecoder, Kind, Objective, Result, RnnConfig, Tie};

#[test]
fn every_parameter_receives_the_gradient_of_finite_differences() -> Result<()> {
    for config in configs() {
        let (model, batch) = (model(&config, DType::F64)?, batch(&[0, 1, 2])?);
        let objective = || -> Result<f64> {
            Ok(model
                .loss(&batch, &Objective::smoothed(0.1), &training())?
                .objective
                .to_scalar::<f64>()?)
        };
        let grads =
            model.loss(&batch, &Objective::smoothed(0.1), &training())?.objective.backward()?;
        for (name, var) in model.parameters().iter() {
            let grad = grads.get(var).unwrap_or_else(|| panic!("{name} receives no gradient"));
            let grad = grad.flatten_all()?.to_vec1::<f64>()?;
            let norm: f64 = grad.iter().map(|g| g * g).sum();
            assert!(norm.is_finite() && norm > 0.0, "{config:?}: {name} has gradient norm² {norm}");
            // Some elements of each parameter, chosen without regard to its layout.
            let values = var.flatten_all()?.to_vec1::<f64>()?;
            for element in (0..values.len()).step_by(1 + values.len() / 7) {
                const STEP: f64 = 1e-5;
                let at = |delta: f64| -> Result<f64> {
                    let mut moved = values.clone();
                    moved[element] += delta;
                    var.set(&candle_core::Tensor::from_vec(moved, var.shape(), &Device::Cpu)?)?;
                    objective()
                };
                let numeric = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
                at(0.0)?;
                let error = (numeric - grad[element]).abs();
                assert!(error < 1e-7, "{config:?}: {name}[{element}] errs by {error}");
            }
        }
    }
    Ok(())
}

#[test]
fn search_and_training_see_the_same_model() -> Result<()> {
    for config in configs() {
        let model = model(&config, DType::F32)?;
        let ready = model.ready()?;
        for (src, tgt) in SRC.iter().zip(TGT) {
            let loss = model.loss(
                &Batch::new(&[(src, tgt)], SPECIAL)?,
                &Objective::default(),
                &Mode::Eval,
            )?;
            let mut state = ready.start(&[src.to_vec()])?;
            let (mut last, mut nats) = (SPECIAL.bos, 0.0);
            for &next in tgt.iter().chain([&SPECIAL.eos]) {
                let step = ready.step(&mut state, &[last])?;
                nats -= f64::from(step.log_probs[next as usize]);
                let seen: f32 = step.weights[0].iter().sum();
                let attends = config.attends();
                assert_eq!(step.weights[0].len(), if attends { src.len() + 1 } else { 0 });
                assert!(seen <= 1.0 + 1e-6 && (seen > 0.0) == attends, "{config:?}: {seen}");
                last = next;
            }
            // Some fifty f32 operations deep, on numbers around one.
            assert!((nats - loss.nats).abs() < 2e-5, "{config:?}: {nats} and {}", loss.nats);
        }
    }
    Ok(())
}

#[test]
fn neighbours_and_their_order_change_no_bit_of_a_search() -> Result<()> {
    for config in configs() {
        let ready = model(&config, DType::F32)?.ready()?;
        let alone = |i: usize| -> Result<_> {
            let mut state = ready.start(&[SRC[i].to_vec()])?;
            ready.step(&mut state, &[SPECIAL.bos])?;
            ready.step(&mut state, &[4 + i as u32])
        };
        for order in [[0, 1, 2], [2, 0, 1]] {
            let src: Vec<Vec<u32>> = order.iter().map(|&i| SRC[i].to_vec()).collect();
            let mut state = ready.start(&src)?;
            ready.step(&mut state, &[SPECIAL.bos; 3])?;
            // Two hypotheses of the last sentence, then one of the first; the second is gone.
            ready.select(&mut state, &[2, 2, 0])?;
            let rows = [order[2], order[2], order[0]];
            let last: Vec<u32> = rows.iter().map(|&i| 4 + i as u32).collect();
            let step = ready.step(&mut state, &last)?;
            for (row, &i) in rows.iter().enumerate() {
                let expected = alone(i)?;
                assert_eq!(step.weights[row], expected.weights[0], "{config:?}");
                assert_eq!(step.log_probs[row * 11..][..11], expected.log_probs, "{config:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_loss_of_a_batch_is_the_sum_of_its_sentences() -> Result<()> {
    for config in configs() {
        let model = model(&config, DType::F64)?;
        let nats = |places: &[usize]| -> Result<f64> {
            Ok(model.loss(&batch(places)?, &Objective::default(), &Mode::Eval)?.nats)
        };
        let sum = nats(&[0])? + nats(&[1])? + nats(&[2])?;
        assert!((nats(&[2, 0, 1])? - sum).abs() < 1e-12, "{config:?}");
    }
    Ok(())
}

#[test]
fn threads_do_not_change_a_bit_of_the_gradients() -> Result<()> {
    let config = RnnConfig { embed_dim: size(48), dim: size(96), ..Default::default() };
    let run = || -> Result<Vec<Vec<f32>>> {
        let model = model(&config, DType::F32)?;
        let grads = model
            .loss(&batch(&[0, 1, 2])?, &Objective::smoothed(0.1), &training())?
            .objective
            .backward()?;
        let grads = model.parameters().iter().map(|(_, var)| {
            Ok(grads.get(var).expect("a gradient").flatten_all()?.to_vec1::<f32>()?)
        });
        grads.collect()
    };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads");
    let one = pool(1).install(run)?;
    assert!(one == pool(2).install(run)?);
    assert!(one == pool(3).install(run)?);
    Ok(())
}

#[test]
fn names_of_parameters_are_an_interface() -> Result<()> {
    let config = RnnConfig { layers: size(1), ..small() };
    let names: Vec<String> =
        model(&config, DType::F32)?.parameters().iter().map(|(n, _)| n.to_owned()).collect();
    let expected = [
        "attention.combine.weight",
        "attention.score.weight",
        "decoder.embedding.weight",
        "decoder.feed",
        "decoder.layers.0.bias",
        "decoder.layers.0.hidden",
        "decoder.layers.0.input",
        "encoder.embedding.weight",
        "encoder.layers.0.backward.bias",
        "encoder.layers.0.backward.hidden",
        "encoder.layers.0.backward.input",
        "encoder.layers.0.forward.bias",
        "encoder.layers.0.forward.hidden",
        "encoder.layers.0.forward.input",
        "output.bias",
        "output.weight",
    ];
    assert_eq!(names, expected);
    Ok(())
}

#[test]
fn contradictions_in_a_configuration_are_named() {
    let none = AttentionConfig { kind: Kind::None, ..Default::default() };
    for (config, expected) in [
        (RnnConfig { dim: size(5), ..small() }, "which is odd"),
        (RnnConfig { tie: Tie::All, ..small() }, "`embed_dim` is 3, expected `dim`, 4"),
        (RnnConfig { attention: none, ..small() }, "`input_feeding`"),
    ] {
        let message = model(&config, DType::F32).expect_err("a contradiction").to_string();
        assert!(message.contains(expected), "{message}");
    }
}
