//! Loss and gradients of whole networks against `scripts/reference/network.py`, an independent
//! implementation in PyTorch's own layers, in `f64`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use kernels::{Mode, Purpose, Random};
use model::{Batch, Loss, Model, ModelConfig, Objective, RnnConfig, Special, Vocabs};
use serde::Deserialize;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

/// Rounding on either side is near 1e-15 of the largest number; gradients are written with
/// fourteen digits.
const TOLERANCE: f64 = 1e-12;

/// The file that the script writes.
#[derive(Deserialize)]
struct Reference {
    vocab: (usize, usize),
    smoothing: f64,
    /// Ids without BOS and EOS.
    pairs: Vec<(Vec<u32>, Vec<u32>)>,
    cases: BTreeMap<String, Case>,
}

/// A network with its parameters, and what comes out. Numbers lie row by row.
#[derive(Deserialize)]
struct Case {
    model: RnnConfig,
    objective: f64,
    nats: f64,
    parameters: BTreeMap<String, Vec<f64>>,
    gradients: BTreeMap<String, Vec<f64>>,
}

fn reference() -> Result<Reference> {
    Ok(serde_json::from_str(include_str!("data/network.json"))?)
}

impl Reference {
    /// The model of a case.
    fn model(&self, case: &Case) -> Result<Model> {
        let vocabs = Vocabs { src: self.vocab.0, tgt: self.vocab.1, ..Default::default() };
        let config = ModelConfig::Rnn(case.model.clone());
        let model = Model::with_dtype(&config, vocabs, SPECIAL, 1, DType::F64, &Device::Cpu)?;
        let names: Vec<&str> = model.parameters().iter().map(|(name, _)| name).collect();
        assert_eq!(names, Vec::from_iter(case.parameters.keys()));
        for (name, var) in model.parameters().iter() {
            let values = case.parameters[name].clone();
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
        }
        Ok(model)
    }

    fn batch(&self) -> Result<Batch> {
        let pairs: Vec<(&[u32], &[u32])> = self.pairs.iter().map(|(s, t)| (&**s, &**t)).collect();
        Ok(Batch::new(&pairs, SPECIAL)?)
    }
}

fn agrees(loss: fn(&Model, &Batch, &Objective, &Mode) -> model::Result<Loss>) -> Result<()> {
    let reference = reference()?;
    assert_eq!(reference.cases.len(), 4);
    let (batch, objective) = (reference.batch()?, Objective::smoothed(reference.smoothing));
    for (name, case) in &reference.cases {
        let model = reference.model(case)?;
        // No case drops anything.
        let mode = Mode::Train(Random::new(1, Purpose::Dropout, 1));
        let loss = loss(&model, &batch, &objective, &mode)?;
        for (actual, expected) in
            [(loss.nats.get()?, case.nats), (loss.objective.to_scalar()?, case.objective)]
        {
            let error = (actual - expected).abs();
            assert!(error <= TOLERANCE * expected, "{name}: {actual}, expected {expected}");
        }
        let grads = loss.objective.backward()?;
        for (parameter, var) in model.parameters().iter() {
            let grad = grads.get(var).ok_or_else(|| format!("{name}: {parameter} is cut off"))?;
            let actual = grad.flatten_all()?.to_vec1::<f64>()?;
            let expected = &case.gradients[parameter];
            assert_eq!(actual.len(), expected.len());
            let largest = expected.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                let error = (actual - expected).abs();
                assert!(
                    largest > 0.0 && error <= TOLERANCE * largest,
                    "{name}: {parameter}[{i}] is {actual}, expected {expected}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_fused_network_agrees_with_pytorch() -> Result<()> {
    agrees(Model::loss)
}

#[test]
fn the_plain_network_agrees_with_pytorch() -> Result<()> {
    agrees(Model::plain_loss)
}
