//! Optimizers: by hand, against PyTorch, for any number of threads, and from disk.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use kernels::gradient::distance;
use train::{
    Gradients, Optimizer, Way, clip_factor,
    config::{AdamWConfig, NonNegative, OptimizerConfig},
};

type Anything = Box<dyn std::error::Error>;

const CPU: &Device = &Device::Cpu;

/// As it stands in an experiment file.
fn config(toml: &str) -> OptimizerConfig {
    #[derive(serde::Deserialize)]
    struct Table {
        optimizer: OptimizerConfig,
    }
    toml::from_str::<Table>(&format!("optimizer = {toml}")).unwrap().optimizer
}

/// Gradients that were chosen: those of `Σ parameter · gradient`.
fn gradients(
    parameters: &[(String, Var)],
    chosen: &[Tensor],
    tokens: usize,
) -> Result<Gradients, Anything> {
    let mut loss = Tensor::zeros((), parameters[0].1.dtype(), CPU)?;
    for ((_, var), grad) in parameters.iter().zip(chosen) {
        loss = (loss + (var.as_tensor() * grad)?.sum_all()?)?;
    }
    let mut gradients = Gradients::new(parameters.to_vec());
    gradients.add(loss.backward()?, tokens)?;
    Ok(gradients)
}

/// A one-element parameter per value.
fn scalars(values: &[f64]) -> Result<Vec<(String, Var)>, Anything> {
    let var = |(i, value): (usize, &f64)| Ok((format!("p{i}"), Var::new(&[[*value]], CPU)?));
    values.iter().enumerate().map(var).collect()
}

fn value(parameter: &(String, Var)) -> f64 {
    parameter.1.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0]
}

/// The first step of Adam has the size of the learning rate, whatever the gradient's size.
#[test]
fn the_first_step_of_adam_follows_the_sign() -> Result<(), Anything> {
    let parameters = scalars(&[1.0, 1.0])?;
    let mut optimizer = Optimizer::<f64>::new(&config("{ adam = {} }"), &parameters)?;
    let grads = [Tensor::new(&[[1000f64]], CPU)?, Tensor::new(&[[-0.5f64]], CPU)?];
    optimizer.step(&gradients(&parameters, &grads, 1)?, 0.25, 1.0)?;
    assert!((value(&parameters[0]) - 0.75).abs() < 1e-8);
    assert!((value(&parameters[1]) - 1.25).abs() < 1e-8);
    Ok(())
}

#[test]
fn descent_follows_the_mean_gradient_and_the_clipping_factor() -> Result<(), Anything> {
    let parameters = scalars(&[1.0])?;
    let mut optimizer = Optimizer::<f64>::new(&config("{ sgd = {} }"), &parameters)?;
    let grads = [Tensor::new(&[[6f64]], CPU)?];
    // A gradient of 6 over 3 tokens, clipped by one half, and a rate of 0.1: 0.1 · 2 / 2.
    optimizer.step(&gradients(&parameters, &grads, 3)?, 0.1, 0.5)?;
    assert!((value(&parameters[0]) - 0.9).abs() < 1e-15);
    Ok(())
}

#[test]
fn decoupled_decay_acts_without_a_gradient_and_spares_vectors() -> Result<(), Anything> {
    let parameters = vec![
        ("weight".to_string(), Var::new(&[[2f64]], CPU)?),
        ("bias".to_string(), Var::new(&[2f64], CPU)?),
    ];
    let mut optimizer =
        Optimizer::<f64>::new(&config("{ adamw = { weight_decay = 0.5 } }"), &parameters)?;
    let grads = [Tensor::new(&[[0f64]], CPU)?, Tensor::new(&[0f64], CPU)?];
    optimizer.step(&gradients(&parameters, &grads, 1)?, 0.1, 1.0)?;
    assert!((value(&parameters[0]) - 2.0 * (1.0 - 0.1 * 0.5)).abs() < 1e-15);
    assert_eq!(value(&parameters[1]), 2.0);
    Ok(())
}

/// Weight decay goes by the shape of a parameter: the names tell that this is right.
#[test]
fn decay_spares_the_biases_and_norms_of_models_and_nothing_else() -> Result<(), Anything> {
    for cell in ["lstm", "gru"] {
        let table = format!(
            "[rnn]\ncell = '{cell}'\ndim = 6\nembed_dim = 5\nbridge = 'dense'\nlayers = 2\n\
             attention = {{ kind = 'local-p', score = 'concat', window = 2 }}"
        );
        let config: model::ModelConfig = toml::from_str(&table)?;
        let vocabs = model::Vocabs { src: 11, tgt: 13, ..model::Vocabs::default() };
        let special = model::Special { pad: 0, unk: 1, bos: 2, eos: 3 };
        let model = model::Model::new(&config, vocabs, special, 1, CPU)?;
        let parameters: Vec<(String, Var)> =
            model.parameters().iter().map(|(name, var)| (name.into(), var.clone())).collect();
        for (_, var) in &parameters {
            var.set(&Tensor::ones(var.dims(), DType::F32, CPU)?)?;
        }
        let grads: Vec<Tensor> = parameters
            .iter()
            .map(|(_, var)| Tensor::zeros(var.dims(), DType::F32, CPU))
            .collect::<Result<_, _>>()?;
        let decay = OptimizerConfig::AdamW(AdamWConfig {
            weight_decay: NonNegative::try_from(0.5)?,
            ..AdamWConfig::default()
        });
        let mut optimizer = Optimizer::<f32>::new(&decay, &parameters)?;
        optimizer.step(&gradients(&parameters, &grads, 1)?, 0.1, 1.0)?;
        for (name, var) in &parameters {
            let found = var.flatten_all()?.to_vec1::<f32>()?;
            let last = name.rsplit('.').next().unwrap();
            let bias = last.ends_with("bias") || name.contains("norm.");
            // `v_a` and `v_p` of the attention are vectors, and stay alone as well.
            let vector = bias || var.rank() == 1;
            assert!(!bias || var.rank() == 1, "{name}");
            let expected = if vector { 1.0 } else { 1.0 - 0.1 * 0.5 };
            assert!(found.iter().all(|x| (x - expected).abs() < 1e-6), "{name}: {found:?}");
        }
    }
    Ok(())
}

/// Vectors from `scripts/reference/optimizer.py`: PyTorch in float64.
#[test]
fn agrees_with_pytorch() -> Result<(), Anything> {
    let data = safetensors::load("tests/data/optimizer.safetensors", CPU)?;
    let cases = [
        ("adam", "{ adam = { betas = [0.8, 0.95], eps = 1e-6 } }"),
        ("adam_decay", "{ adam = { betas = [0.9, 0.98], weight_decay = 0.2 } }"),
        ("adamw", "{ adamw = { weight_decay = 0.3 } }"),
        ("sgd", "{ sgd = {} }"),
        ("momentum", "{ sgd = { momentum = 0.7, weight_decay = 0.1 } }"),
    ];
    for (case, settings) in cases {
        let names = ["bias", "weight"];
        let parameters = names.map(|name| {
            (name.to_string(), Var::from_tensor(&data[&format!("start.{name}")]).unwrap())
        });
        let mut optimizer = Optimizer::<f64>::new(&config(settings), &parameters)?;
        for step in 0..5 {
            // Times seven and divided by seven tokens: the gradients of the script.
            let grads =
                names.map(|name| (data[&format!("grad.{name}")].get(step).unwrap() * 7.0).unwrap());
            optimizer.step(&gradients(&parameters, &grads, 7)?, 0.03, 1.0)?;
            for (name, var) in &parameters {
                let error = distance(var, &data[&format!("{case}.{step}.{name}")])?;
                // A dozen roundings a step of numbers near one.
                assert!(error < 1e-14, "{case}, step {step}, {name}: {error}");
            }
        }
    }
    Ok(())
}

/// Five steps over parameters of several chunks; what is in them afterwards.
fn run(settings: &str, threads: usize) -> Result<Vec<Vec<f32>>, Anything> {
    let wave = |n: usize, phase: f32| {
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
        Tensor::from_vec(values, n, CPU)
    };
    let parameters = vec![
        ("large".to_string(), Var::from_tensor(&wave(40_009, 0.0)?.reshape((1, 40_009))?)?),
        ("small".to_string(), Var::from_tensor(&wave(13, 0.5)?)?),
    ];
    let mut optimizer = Optimizer::<f32>::new(&config(settings), &parameters)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    for step in 0..5 {
        let grads = [wave(40_009, step as f32)?.reshape((1, 40_009))?, wave(13, step as f32)?];
        let gradients = gradients(&parameters, &grads, 3)?;
        pool.install(|| optimizer.step(&gradients, 0.01, 0.5))?;
    }
    parameters.iter().map(|(_, var)| Ok(var.flatten_all()?.to_vec1::<f32>()?)).collect()
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() -> Result<(), Anything> {
    for settings in ["{ adam = {} }", "{ sgd = {} }", "{ sgd = { momentum = 0.9 } }"] {
        let one = run(settings, 1)?;
        assert_eq!(one, run(settings, 2)?, "{settings}");
        assert_eq!(one, run(settings, 5)?, "{settings}");
    }
    Ok(())
}

#[test]
fn an_optimizer_read_from_disk_goes_on_with_the_same_bits() -> Result<(), Anything> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("optimizer.safetensors");
    for settings in
        ["{ adam = {} }", "{ adamw = {} }", "{ sgd = {} }", "{ sgd = { momentum = 0.9 } }"]
    {
        let parameters = vec![("w".to_string(), Var::new(&[[0.3f32, -0.7, 1.1]], CPU)?)];
        let grad = [Tensor::new(&[[0.1f32, 0.9, -0.4]], CPU)?];
        let mut optimizer = Optimizer::<f32>::new(&config(settings), &parameters)?;
        for _ in 0..3 {
            optimizer.step(&gradients(&parameters, &grad, 1)?, 0.1, 1.0)?;
        }
        optimizer.save(&path)?;
        let copies = vec![("w".to_string(), Var::from_tensor(&parameters[0].1.copy()?)?)];
        let mut copy = Optimizer::<f32>::new(&config(settings), &copies)?;
        copy.load(&path)?;
        assert_eq!(copy.steps(), 3);
        for _ in 0..2 {
            optimizer.step(&gradients(&parameters, &grad, 1)?, 0.1, 1.0)?;
            copy.step(&gradients(&copies, &grad, 1)?, 0.1, 1.0)?;
        }
        let numbers = |p: &[(String, Var)]| p[0].1.to_vec2::<f32>().unwrap();
        assert_eq!(numbers(&parameters), numbers(&copies), "{settings}");
    }
    Ok(())
}

#[test]
fn the_state_of_another_model_or_rule_is_refused() -> Result<(), Anything> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("optimizer.safetensors");
    let parameters = |shape: (usize, usize)| -> Result<Vec<(String, Var)>, Anything> {
        Ok(vec![("w".to_string(), Var::zeros(shape, DType::F32, CPU)?)])
    };
    let adam = config("{ adam = {} }");
    Optimizer::<f32>::new(&adam, &parameters((2, 3))?)?.save(&path)?;

    let mut other = Optimizer::<f32>::new(&adam, &parameters((3, 2))?)?;
    let message = other.load(&path).unwrap_err().to_string();
    assert!(message.contains("w.mean is [2, 3], expected [3, 2]"), "{message}");
    let sgd = config("{ sgd = { momentum = 0.5 } }");
    let mut other = Optimizer::<f32>::new(&sgd, &parameters((2, 3))?)?;
    assert!(other.load(&path).unwrap_err().to_string().contains("w.velocity"));
    let mut plain = Optimizer::<f32>::new(&config("{ sgd = {} }"), &parameters((2, 3))?)?;
    assert!(plain.load(&path).unwrap_err().to_string().contains("2 tensors, expected 0"));

    let whole = std::fs::read(&path)?;
    std::fs::write(&path, &whole[..whole.len() - 1])?;
    let mut same = Optimizer::<f32>::new(&adam, &parameters((2, 3))?)?;
    assert!(same.load(&path).unwrap_err().to_string().contains("optimizer.safetensors"));
    let unrelated =
        HashMap::from([("w.mean".to_string(), Tensor::zeros((2, 3), DType::F32, CPU)?)]);
    safetensors::save(&unrelated, &path)?;
    assert!(same.load(&path).unwrap_err().to_string().contains("how many updates"));
    Ok(())
}

#[test]
fn loops_over_slices_do_what_tensor_operations_do() -> Result<(), Anything> {
    let folder = tempfile::tempdir()?;
    for rule in [
        "{ adam = {} }",
        "{ adam = { weight_decay = 0.1 } }",
        "{ adamw = { weight_decay = 0.1 } }",
        "{ sgd = {} }",
        "{ sgd = { momentum = 0.9, weight_decay = 0.1 } }",
    ] {
        let parameters = || -> Result<Vec<(String, Var)>, Anything> {
            let matrix = Var::from_tensor(&wave((3, 5), 0.0)?)?;
            Ok(vec![("bias".into(), Var::from_tensor(&wave(7, 1.0)?)?), ("matrix".into(), matrix)])
        };
        let (ours, plain) = (parameters()?, parameters()?);
        let mut fused = Optimizer::<f64>::new(&config(rule), &ours)?;
        let mut tensors = Optimizer::<f64>::by(Way::Plain, &config(rule), &plain)?;
        for step in 1..=4 {
            let grads = [wave(7, step as f64)?, wave((3, 5), -step as f64)?];
            fused.step(&gradients(&ours, &grads, 3)?, 0.1, 0.5)?;
            tensors.step(&gradients(&plain, &grads, 3)?, 0.1, 0.5)?;
            // What one has remembered, the other one goes on with.
            let path = folder.path().join("state");
            tensors.save(&path)?;
            fused.load(&path)?;
            fused.save(&path)?;
            tensors.load(&path)?;
        }
        for ((name, ours), (_, plain)) in ours.iter().zip(&plain) {
            let far = distance(ours, plain)?;
            assert!(far < 1e-14, "{rule}: {name} differs by {far}"); // sums of a few terms
        }
    }
    Ok(())
}

#[test]
fn a_gpu_does_what_tensor_operations_do() -> Result<(), Anything> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for rule in ["{ adam = { weight_decay = 0.1 } }", "{ adamw = { weight_decay = 0.1 } }"] {
        let parameters = || -> Result<Vec<(String, Var)>, Anything> {
            let single = |x: Tensor| Var::from_tensor(&x.to_dtype(DType::F32)?.to_device(&device)?);
            let (bias, matrix) = (single(wave(7, 1.0)?)?, single(wave((30, 50), 0.0)?)?);
            Ok(vec![("bias".into(), bias), ("matrix".into(), matrix)])
        };
        let (ours, plain) = (parameters()?, parameters()?);
        let mut kernel = Optimizer::<f32>::by(Way::Gpu, &config(rule), &ours)?;
        let mut tensors = Optimizer::<f32>::by(Way::Plain, &config(rule), &plain)?;
        for step in 1..=4 {
            let grads = [wave(7, step as f64)?, wave((30, 50), -step as f64)?];
            let grads =
                grads.map(|grad| grad.to_dtype(DType::F32).unwrap().to_device(&device).unwrap());
            let (to_ours, to_plain) = (gradients(&ours, &grads, 3)?, gradients(&plain, &grads, 3)?);
            let norm = to_plain.norm::<f32>()?;
            if step % 2 == 0 {
                kernel.step(&to_ours, 0.1, 0.5)?;
                tensors.step(&to_plain, 0.1, 0.5)?;
            } else {
                // Once above the limit, once below.
                let limit = norm * f64::from(step);
                let clip = to_ours.clip(limit - norm / 2.0)?;
                assert!((clip.norm.get()? / norm - 1.0).abs() < 1e-6);
                kernel.step_clipped(&to_ours, 0.1, &clip)?;
                tensors.step(&to_plain, 0.1, clip_factor(norm, limit - norm / 2.0))?;
            }
        }
        assert!(kernel.clips() && !tensors.clips());
        // What is not finite is left out, and not counted.
        let infinite = wave(7, 0.0)?.affine(f64::INFINITY, 0.0)?.to_dtype(DType::F32)?;
        let grads = [infinite.to_device(&device)?, ours[1].1.zeros_like()?];
        let to_ours = gradients(&ours, &grads, 3)?;
        kernel.step_clipped(&to_ours, 0.1, &to_ours.clip(1.0)?)?;
        kernel.take_back();
        assert_eq!(kernel.steps(), tensors.steps());
        for ((name, ours), (_, plain)) in ours.iter().zip(&plain) {
            // Steps of 0.1 in numbers of about 1, with 24 bits.
            let far = distance(&ours.to_device(CPU)?, &plain.to_device(CPU)?)?;
            assert!(far > 0.0 || name == "bias", "not the same computation twice");
            assert!(far < 1e-5, "{rule}: {name} differs by {far}");
        }
    }
    Ok(())
}

/// Numbers without pattern and without chance.
fn wave(shape: impl Into<candle_core::Shape>, start: f64) -> candle_core::Result<Tensor> {
    let shape = shape.into();
    let steps = Tensor::arange(0f64, shape.elem_count() as f64, CPU)?;
    ((steps * 0.7)? + start)?.sin()?.reshape(shape)
}
