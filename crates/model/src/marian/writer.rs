//! Models of ours in Marian's form.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::json;

use crate::checkpoint::{CONFIG, WEIGHTS, write};
use crate::config::{Activation, Norm, NormPlace, Positions, TransformerConfig};
use crate::parameters::Parameters;
use crate::rnn::tables;
use crate::{Error, Model, ModelConfig, Result};

/// How a translation is looked for, as `transformers` reads it.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Hypotheses kept at each step.
    pub beam: usize,
    /// The exponent of the length that scores are divided by.
    pub length_penalty: f64,
    /// Most tokens of a translation, the first and the last one included.
    pub max_len: usize,
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into an existing folder, in
/// the form of the `transformers` library. Ids stay as they are.
///
/// # Errors
/// [`Error::Config`] if Marian's network is another one, or a file cannot be written.
pub fn save(model: &Model, generation: Generation, dir: &Path) -> Result<()> {
    let ModelConfig::Transformer(config) = &model.config else {
        return Err(Error::Config("a recurrent model is no Marian model".into()));
    };
    check(config)?;
    let tensors = Writer { parameters: &model.parameters, config, tensors: Vec::new() }.all()?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let path = dir.join(WEIGHTS);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|source| Error::Safetensors { path: path.clone(), source })?;
    write(&path, &bytes)?;
    let json = |name: &str, content: serde_json::Value| {
        write(&dir.join(name), format!("{content:#}\n").as_bytes())
    };
    let Generation { beam, length_penalty, max_len } = generation;
    let special = model.special;
    json(
        "generation_config.json",
        json!({
            "bad_words_ids": [[special.pad], [special.unk], [special.bos]],
            "decoder_start_token_id": special.bos,
            "eos_token_id": special.eos,
            "forced_eos_token_id": special.eos,
            "pad_token_id": special.pad,
            "num_beams": beam,
            "early_stopping": true,
            "length_penalty": length_penalty,
            "max_length": max_len,
        }),
    )?;
    json(CONFIG, describe(model, config, max_len))
}

/// Says what Marian's network, as `transformers` has it, cannot be.
fn check(config: &TransformerConfig) -> Result<()> {
    let differs = [
        (config.norm_place != NormPlace::After, "`norm_place` is not \"after\""),
        (config.norm != Norm::Layer, "`norm` is not \"layer\""),
        (config.gated, "`gated` is true"),
        (config.positions != Positions::Sinusoidal, "`positions` are not \"sinusoidal\""),
        (config.window.is_some(), "`window` limits what words see"),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        Some((_, key)) => Err(Error::Config(format!("no Marian model is like this one: {key}"))),
        None => Ok(()),
    }
}

/// `config.json`.
fn describe(model: &Model, config: &TransformerConfig, max_len: usize) -> serde_json::Value {
    let (tie, special) = (config.tie, model.special);
    json!({
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": true,
        "d_model": config.dim,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "num_hidden_layers": config.encoder_layers,
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.ffn_dim,
        "decoder_ffn_dim": config.ffn_dim,
        "activation_function": match config.activation {
            Activation::Relu => "relu",
            Activation::Gelu => "gelu",
            Activation::Silu => "swish",
        },
        "vocab_size": model.vocabs.src,
        "decoder_vocab_size": model.vocabs.tgt,
        "share_encoder_decoder_embeddings": tie.ties_source(),
        "tie_word_embeddings": tie.ties_target(),
        "scale_embedding": true,
        "static_position_embeddings": true,
        "normalize_before": false,
        "normalize_embedding": false,
        "add_final_layer_norm": false,
        "max_position_embeddings": max_len.max(1024),
        "dropout": f64::from(config.dropout),
        "attention_dropout": f64::from(config.attention_dropout),
        "activation_dropout": f64::from(config.activation_dropout),
        "pad_token_id": special.pad,
        "eos_token_id": special.eos,
        "bos_token_id": special.bos,
        "decoder_start_token_id": special.bos,
        "forced_eos_token_id": special.eos,
        "torch_dtype": "float32",
    })
}

struct Writer<'a> {
    parameters: &'a Parameters,
    config: &'a TransformerConfig,
    tensors: Vec<(String, Tensor)>,
}

impl Writer<'_> {
    fn all(mut self) -> Result<Vec<(String, Tensor)>> {
        let (src, tgt, output) = tables(self.config.tie);
        if self.config.tie.ties_source() {
            self.columns(src, "model.shared.weight")?;
        } else {
            self.columns(src, "model.encoder.embed_tokens.weight")?;
            self.columns(tgt, "model.decoder.embed_tokens.weight")?;
        }
        if output != tgt {
            self.columns(output, "lm_head.weight")?;
        }
        let bias = self.parameters.get("output.bias").unsqueeze(0)?;
        self.tensors.push(("final_logits_bias".into(), bias));
        for (stack, layers) in
            [("encoder", self.config.encoder_layers), ("decoder", self.config.decoder_layers)]
        {
            for layer in 0..layers.get() {
                self.layer(stack, layer)?;
            }
        }
        Ok(self.tensors)
    }

    fn layer(&mut self, stack: &str, layer: usize) -> Result<()> {
        let (ours, theirs) = (format!("{stack}.{layer}"), format!("model.{stack}.layers.{layer}"));
        self.parts(&format!("{ours}.attention.input"), &format!("{theirs}.self_attn"), "qkv")?;
        let mut attentions = vec![("attention", "self_attn")];
        if stack == "decoder" {
            let theirs = format!("{theirs}.encoder_attn");
            self.parts(&format!("{ours}.cross.query"), &theirs, "q")?;
            self.parts(&format!("{ours}.cross.memory"), &theirs, "kv")?;
            attentions.push(("cross", "encoder_attn"));
        }
        for (from, to) in attentions {
            self.rows(&format!("{ours}.{from}.output"), &format!("{theirs}.{to}.out_proj"))?;
            self.rows(&format!("{ours}.{from}.norm"), &format!("{theirs}.{to}_layer_norm"))?;
        }
        let (from, to) = (format!("{ours}.feed_forward.input"), format!("{theirs}.fc1"));
        self.columns(&format!("{from}.weight"), &format!("{to}.weight"))?;
        self.push(self.parameters.get(&format!("{from}.bias")).clone(), format!("{to}.bias"));
        self.rows(&format!("{ours}.feed_forward.output"), &format!("{theirs}.fc2"))?;
        self.rows(&format!("{ours}.feed_forward.norm"), &format!("{theirs}.final_layer_norm"))
    }

    /// The projections that stand in one matrix of ours, under their letters.
    fn parts(&mut self, from: &str, to: &str, letters: &str) -> Result<()> {
        let dim = self.config.dim.get();
        let weight = self.theirs(self.parameters.get(&format!("{from}.weight")), 1)?;
        let bias = self.parameters.get(&format!("{from}.bias")).clone();
        for (idx, letter) in letters.chars().enumerate() {
            let part = |tensor: &Tensor| tensor.narrow(0, idx * dim, dim)?.contiguous();
            self.push(part(&weight)?, format!("{to}.{letter}_proj.weight"));
            self.push(part(&bias)?, format!("{to}.{letter}_proj.bias"));
        }
        Ok(())
    }

    /// A matrix that reads what flows between layers.
    fn columns(&mut self, from: &str, to: &str) -> Result<()> {
        let tensor = self.theirs(self.parameters.get(from), 1)?;
        self.push(tensor, to.into());
        Ok(())
    }

    /// A weight and a bias of what is written between layers.
    fn rows(&mut self, from: &str, to: &str) -> Result<()> {
        for part in ["weight", "bias"] {
            let tensor = self.theirs(self.parameters.get(&format!("{from}.{part}")), 0)?;
            self.push(tensor, format!("{to}.{part}"));
        }
        Ok(())
    }

    fn push(&mut self, tensor: Tensor, name: String) {
        self.tensors.push((name, tensor));
    }

    /// A tensor whose dimension `side` is in Marian's order: all sines, then all cosines.
    fn theirs(&self, tensor: &Tensor, side: usize) -> Result<Tensor> {
        let dim = self.config.dim.get() as u32;
        let order: Vec<u32> = (0..dim).step_by(2).chain((1..dim).step_by(2)).collect();
        let order = Tensor::new(order, &Device::Cpu)?;
        Ok(tensor.to_device(&Device::Cpu)?.index_select(&order, side)?)
    }
}
