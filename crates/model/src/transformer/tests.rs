//! The network layer by layer against an independent implementation
//! (`scripts/reference/transformer.py`), in `f64`.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use kernels::Mode;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::{EncoderDecoder, Model, ModelConfig, Special};

/// The sums are some ten thousand terms long, of numbers around one.
const TOLERANCE: f64 = 1e-11;
const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Value,
    vocab: Value,
    pairs: Vec<(Vec<u32>, Vec<u32>)>,
    encoder_layers: Vec<Vec<f64>>,
    encoder: Vec<f64>,
    decoder: Vec<f64>,
    cross_attention: CrossWeights,
    losses: Vec<LossAt>,
    gradients: std::collections::BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct CrossWeights {
    sentence: usize,
    /// Heads, target words, source words.
    shape: [usize; 3],
    layers: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct LossAt {
    smoothing: f64,
    objective: f64,
}

fn cases() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.to_string_lossy().contains("transformer-"));
    let cases: Vec<Case> =
        files.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect();
    assert_eq!(cases.len(), 5);
    cases
}

impl Case {
    fn config(&self) -> TransformerConfig {
        let c = &self.config;
        let place = if c["norm_first"].as_bool().unwrap() { "before" } else { "after" };
        let config = serde_json::json!({
            "dim": c["dim"], "ffn_dim": c["ffn_dim"], "max_len": c["max_len"],
            "heads": c["heads"], "encoder_layers": c["encoder_layers"],
            "decoder_layers": c["decoder_layers"], "norm": c["norm"], "norm_place": place,
            "activation": c["activation"], "gated": c["gated"], "positions": c["positions"],
            "tie": c["tie"],
        });
        serde_json::from_value(config).unwrap()
    }

    /// The model with the parameters of the script.
    fn model(&self, dtype: DType) -> Model {
        let size = |side: &str| self.vocab[side].as_u64().unwrap() as usize;
        let vocabs = Vocabs {
            src: size("src"),
            tgt: size("tgt"),
            joint: self.vocab["joint"].as_bool().unwrap(),
            ..Default::default()
        };
        let config = ModelConfig::Transformer(self.config());
        let model = Model::with_dtype(&config, vocabs, SPECIAL, 1, dtype, &Device::Cpu).unwrap();
        for (p, (name, var)) in model.parameters().iter().enumerate() {
            fill(var, p, name.ends_with("norm.weight"));
        }
        model
    }

    fn batch(&self) -> Batch {
        let pairs: Vec<(&[u32], &[u32])> =
            self.pairs.iter().map(|(src, tgt)| (src.as_slice(), tgt.as_slice())).collect();
        Batch::new(&pairs, SPECIAL).unwrap()
    }
}

/// Element `i` of parameter `p` is `0.3 sin(1.7 p + 0.61 i + 0.017 i²)`, and one more in a norm.
fn fill(var: &Var, p: usize, norm: bool) {
    let value = |i: usize| {
        let i = i as f64;
        0.3 * (1.7 * p as f64 + 0.61 * i + 0.017 * i * i).sin() + f64::from(u8::from(norm))
    };
    let values: Vec<f64> = (0..var.elem_count()).map(value).collect();
    let tensor = Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap();
    var.set(&tensor.to_dtype(var.dtype()).unwrap()).unwrap();
}

#[track_caller]
fn assert_close(found: &Tensor, expected: &[f64], what: &str) {
    let found = found.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error < TOLERANCE * (1.0 + expected.abs()), "{what}[{i}]: {found}, {expected}");
    }
}

#[test]
fn every_layer_of_the_encoder_and_both_ends_are_those_of_the_reference() -> Result<()> {
    for case in cases() {
        let (model, config) = (case.model(DType::F64), case.config());
        let network = Transformer { config: &config, parameters: model.parameters() };
        let (batch, stack) = (case.batch(), Stack::Encoder);
        let src = &batch.src.sentences;
        let mut x = network.embed::<f64>(stack, src, &Mode::Eval)?;
        for (l, expected) in case.encoder_layers.iter().enumerate() {
            x = network.self_attention::<f64>(stack, l, &x, src, &Mode::Eval)?;
            x = network.feed_forward::<f64>(stack, l, &x, stack.layer_site(l), &Mode::Eval)?;
            assert_close(&x, expected, &format!("{}, encoder layer {l}", case.name));
        }
        let memory = network.encode::<f64>(src, &Mode::Eval)?;
        assert_close(&memory, &case.encoder, &format!("{}, encoder", case.name));
        let source = (&memory, &src.offsets);
        let states = network.decode::<f64>(&batch.reads, source, None, &Mode::Eval)?.states;
        assert_close(&states, &case.decoder, &format!("{}, decoder", case.name));
    }
    Ok(())
}

#[test]
fn losses_and_all_gradients_are_those_of_the_reference() -> Result<()> {
    for case in cases() {
        let model = case.model(DType::F64);
        let mode = Mode::Train(kernels::Random::new(1, kernels::Purpose::Dropout, 1));
        // Nothing is dropped: the rates of the configuration below are zero.
        let ModelConfig::Transformer(mut config) = model.config().clone() else { unreachable!() };
        config.dropout = 0.0.try_into().unwrap();
        let network = Transformer { config: &config, parameters: model.parameters() };
        for at in &case.losses {
            let objective = Objective { smoothing: at.smoothing, ..Default::default() };
            let loss = network.loss::<f64>(&case.batch(), &objective, &mode)?;
            let what = format!("{}, loss at smoothing {}", case.name, at.smoothing);
            assert_close(&loss.objective, &[at.objective], &what);
            if at.smoothing == 0.0 {
                continue; // the gradients are those of the other loss
            }
            let grads = loss.objective.backward()?;
            assert_eq!(case.gradients.len(), model.parameters().iter().len());
            for (name, var) in model.parameters().iter() {
                let grad = grads.get(var).unwrap_or_else(|| panic!("no gradient of {name}"));
                assert_close(grad, &case.gradients[name], &format!("{}, {name}", case.name));
            }
        }
    }
    Ok(())
}

#[test]
fn the_weights_of_every_layer_and_head_are_those_of_the_reference() -> Result<()> {
    for case in cases() {
        let mut ready = case.model(DType::F32).ready()?;
        let (src, tgt) = &case.pairs[case.cross_attention.sentence];
        let [heads, rows, cols] = case.cross_attention.shape;
        for (layer, expected) in case.cross_attention.layers.iter().enumerate() {
            for head in 0..heads {
                ready.attend(Attended::Layer { layer: Some(layer), head: Some(head) })?;
                let mut state = ready.start(std::slice::from_ref(src))?;
                let read = [SPECIAL.bos].into_iter().chain(tgt.iter().copied());
                for (row, last) in read.enumerate() {
                    let found = ready.step(&mut state, &[last])?.weights.remove(0);
                    let expected = &expected[(head * rows + row) * cols..][..cols];
                    for (found, expected) in found.iter().zip(expected) {
                        // f32 against f64, through some layers.
                        assert!((f64::from(*found) - expected).abs() < 1e-4, "{}", case.name);
                    }
                }
            }
        }
    }
    Ok(())
}
