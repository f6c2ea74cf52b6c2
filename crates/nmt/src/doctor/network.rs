//! Whether a GPU computes what the processor computes: losses and gradients of whole networks, and what
//! they say while they are searched.

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use kernels::{Mode, Purpose, Random};
use model::{
    Batch, EncoderDecoder, Loss, Model, ModelConfig, Objective, Precision, Ready, SearchPrecision,
    Special, Step, Vocabs,
};
use serde_json::json;

const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
const VOCAB: usize = 50;

/// What a network in single precision may err by, of the length of its gradient.
const SINGLE: f64 = 1e-5;
/// The same with rows and products in bfloat16, which has eight bits.
const HALF: f64 = 0.05;

/// How far a network is from what it should be.
pub(super) struct Finding {
    /// The network.
    pub(super) name: String,
    /// The length of the error of the gradient, or of log-probabilities, by the length of these.
    pub(super) error: f64,
    /// What is to be expected of the precision.
    pub(super) tolerance: f64,
}

/// Losses and gradients of some networks on `device`, against the definition in double precision on
/// the processor. Dropout is on, so its masks are compared as well.
pub(super) fn compare(device: &Device) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, config) in networks()? {
        let precisions: &[_] = match config {
            ModelConfig::Rnn(_) => &[(Precision::F32, "f32", SINGLE)],
            ModelConfig::Transformer(_) => {
                &[(Precision::F32, "f32", SINGLE), (Precision::Bf16, "bf16", HALF)]
            }
        };
        let exact = gradients(&model(&config, DType::F64, &Device::Cpu)?, Model::plain_loss)?;
        for &(precision, called, tolerance) in precisions {
            let there = model(&config, DType::F32, device)?.in_precision(precision);
            let error = distance(&gradients(&there, Model::gpu_loss)?, &exact)?;
            findings.push(Finding { name: format!("{name}, {called}"), error, tolerance });
        }
        let exact = said(&model(&config, DType::F32, &Device::Cpu)?.ready()?)?;
        let half = matches!(config, ModelConfig::Transformer(_)).then_some((
            SearchPrecision::Bf16,
            "bf16",
            HALF,
        ));
        for (precision, called, tolerance) in
            [(SearchPrecision::F32, "f32", SINGLE)].into_iter().chain(half)
        {
            let there = said(&model(&config, DType::F32, device)?.ready_on_gpu(precision)?)?;
            let error = distance(&[there], std::slice::from_ref(&exact))?;
            findings.push(Finding { name: format!("search, {name}, {called}"), error, tolerance });
        }
    }
    Ok(findings)
}

/// The log-probabilities of all tokens in some steps of a search, while hypotheses multiply and end.
fn said(model: &Ready) -> anyhow::Result<Tensor> {
    let texts = texts();
    let src: Vec<Vec<u32>> = texts.iter().map(|(src, _)| src.clone()).collect();
    let steps: [(&[usize], &[u32]); 4] = [
        (&[0, 1, 2], &[SPECIAL.bos; 3]),
        (&[0, 0, 1, 2, 2], &[4, 9, 30, 12, 5]),
        (&[1, 0, 2, 4, 3], &[6, 6, 5, 40, 4]),
        (&[0, 0, 3], &[11, 4, 7]),
    ];
    let (mut state, mut step, mut all) = (model.start(&src)?, Step::default(), Vec::new());
    for (rows, last) in steps {
        model.select(&mut state, rows)?;
        model.read(&mut state, last)?;
        model.predict(&mut state, 0..rows.len(), &mut step)?;
        all.extend((0..rows.len()).flat_map(|row| step.log_probs(row, VOCAB)).map(f64::from));
    }
    Ok(Tensor::new(all, &Device::Cpu)?)
}

/// Networks that between them take every kernel.
fn networks() -> anyhow::Result<Vec<(&'static str, ModelConfig)>> {
    let transformer = |changes: serde_json::Value| {
        let mut config = json!({
            "dim": 36, "heads": 2, "ffn_dim": 40, "encoder_layers": 2, "decoder_layers": 2,
            "tie": "all", "dropout": 0.1, "attention_dropout": 0.1,
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        serde_json::from_value(config).map(ModelConfig::Transformer)
    };
    let recurrent = serde_json::from_value(json!({ "dim": 32, "embed_dim": 24, "layers": 2 }));
    Ok(vec![
        ("Transformer", transformer(json!({}))?),
        (
            "Transformer with rotary positions, RMS norm, gates",
            transformer(json!({
                "positions": "rotary", "norm": "rms", "activation": "silu", "gated": true,
            }))?,
        ),
        (
            "Transformer with learned positions, norm after, GELU",
            transformer(json!({
                "positions": "learned", "norm_place": "after", "activation": "gelu", "max_len": 64,
            }))?,
        ),
        ("recurrent network", ModelConfig::Rnn(recurrent?)),
    ])
}

fn model(config: &ModelConfig, dtype: DType, device: &Device) -> anyhow::Result<Model> {
    let vocabs = Vocabs { src: VOCAB, tgt: VOCAB, joint: true, ..Default::default() };
    Ok(Model::with_dtype(config, vocabs, SPECIAL, 7, dtype, device)?)
}

/// The gradient of every parameter, on the processor in double precision.
fn gradients(
    model: &Model,
    loss: impl Fn(&Model, &Batch, &Objective, &Mode) -> model::Result<Loss>,
) -> anyhow::Result<Vec<Tensor>> {
    let texts = texts();
    let pairs: Vec<_> = texts.iter().map(|(src, tgt)| (&src[..], &tgt[..])).collect();
    let batch = Batch::new(&pairs, SPECIAL)?;
    let mode = Mode::Train(Random::new(3, Purpose::Dropout, 17));
    let grads = loss(model, &batch, &Objective::smoothed(0.1), &mode)?.objective.backward()?;
    let of = |(name, var): (&str, &candle_core::Var)| {
        let grad = grads.get(var).with_context(|| format!("no gradient of {name}"))?;
        Ok(grad.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
    };
    model.parameters().iter().map(of).collect()
}

/// Pairs of sentences of several lengths, with more words than a tile of a kernel has rows.
fn texts() -> [(Vec<u32>, Vec<u32>); 3] {
    let sentence = |len: u32, step: u32| -> Vec<u32> {
        (0..len).map(|i| 4 + (i * step + len) % (VOCAB as u32 - 4)).collect()
    };
    [(3, 5), (19, 18), (1, 9)].map(|(src, tgt)| (sentence(src, 7), sentence(tgt, 11)))
}

/// The Euclidean distance of `grads` from `exact`, by the length of those. Not a number if any is.
fn distance(grads: &[Tensor], exact: &[Tensor]) -> anyhow::Result<f64> {
    let (mut squares, mut size) = (0.0, 0.0);
    for (grad, exact) in grads.iter().zip(exact) {
        squares += (grad - exact)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        size += exact.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    Ok((squares / size).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_computes_what_the_processor_computes() {
        let Some(device) = emulator::device() else { return };
        let findings = compare(&device).unwrap();
        assert_eq!(findings.len(), 14);
        for Finding { name, error, tolerance } in findings {
            assert!(error > 0.0 && error < tolerance, "{name}: {error}");
        }
    }
}
