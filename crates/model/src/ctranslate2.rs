//! Transformers of ours in the form of CTranslate2: `model.bin` of version 6 and `config.json`.
//!
//! The file is a list of named variables in the order of their names, and of other names for some of
//! them; numbers are little-endian (`specs/model_spec.py` of CTranslate2 4.8). It has the same layout
//! of layers as ours: queries, keys and values in one matrix, and rows of outputs.

use std::{collections::BTreeMap, io, path::Path};

use serde_json::json;

use crate::checkpoint::{CONFIG, write};
use crate::config::{Activation, Norm, NormPlace, Positions, TransformerConfig};
use crate::rnn::tables;
use crate::{Error, Model, ModelConfig, Result};

/// The file with the variables.
pub const MODEL: &str = "model.bin";

const VERSION: u32 = 6;
const SPEC: &str = "TransformerSpec";
const REVISION: u32 = 7;
/// Rows of a table of sinusoids: the longest sentence that is numbered.
const LONGEST: usize = 1024;

/// A variable.
enum Value {
    /// `int8`; also truth.
    Byte(i8),
    /// `int16`.
    Short(i16),
    /// `float32`, of some shape.
    Numbers(Vec<usize>, Vec<f32>),
}

/// Writes `model.bin` and `config.json` into an existing folder. CTranslate2 rounds to another precision
/// when it loads them.
///
/// # Errors
/// [`Error::Config`] if CTranslate2 has no such network, or a file cannot be written.
pub fn save(model: &Model, dir: &Path) -> Result<()> {
    let ModelConfig::Transformer(config) = &model.config else {
        return Err(Error::Config("CTranslate2 has no recurrent models".into()));
    };
    check(config)?;
    let mut variables = Variables { model, config, found: BTreeMap::new(), aliases: Vec::new() };
    variables.all()?;
    let path = dir.join(MODEL);
    let bytes = serialize(&variables.found, &variables.aliases).map_err(|source| Error::Io {
        action: "write",
        path: path.clone(),
        source,
    })?;
    write(&path, &bytes)?;
    let config = json!({
        "add_source_bos": false,
        "add_source_eos": true,
        "bos_token": "<s>",
        "decoder_start_token": "<s>",
        "eos_token": "</s>",
        "layer_norm_epsilon": null,
        "multi_query_attention": false,
        "unk_token": "<unk>",
    });
    write(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())
}

/// Says what CTranslate2's network cannot be, or was not compared.
fn check(config: &TransformerConfig) -> Result<()> {
    let differs = [
        (config.norm != Norm::Layer, "`norm` is not \"layer\""),
        (config.positions == Positions::Rotary, "`positions` are \"rotary\""),
        (config.window.is_some(), "`window` limits what words see"),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        Some((_, key)) => {
            Err(Error::Config(format!("such a network is not written for CTranslate2: {key}")))
        }
        None => Ok(()),
    }
}

struct Variables<'a> {
    model: &'a Model,
    config: &'a TransformerConfig,
    found: BTreeMap<String, Value>,
    /// Other names, with the variable each stands for.
    aliases: Vec<(String, String)>,
}

impl Variables<'_> {
    fn all(&mut self) -> Result<()> {
        let (src, tgt, output) = tables(self.config.tie);
        let target = "decoder/embeddings/weight";
        self.numbers(tgt, target)?;
        self.tied(output == tgt, output, "decoder/projection/weight", target)?;
        self.tied(src == tgt, src, "encoder/embeddings_0/weight", target)?;
        self.numbers("output.bias", "decoder/projection/bias")?;
        self.positions()?;
        for name in ["alibi", "alibi_use_positive_positions", "scale_alibi"] {
            self.put(format!("decoder/{name}"), Value::Byte(0));
        }
        self.put("decoder/start_from_zero_embedding".into(), Value::Byte(0));
        self.put("decoder/alignment_heads".into(), Value::Short(1));
        self.put("decoder/alignment_layer".into(), Value::Short(-1));
        self.put("encoder/embeddings_merge".into(), Value::Byte(0));
        self.put("encoder/multi_query_attention".into(), Value::Byte(0));

        let before = self.config.norm_place == NormPlace::Before;
        let heads = i16::try_from(self.config.heads.get()).map_err(|_| {
            Error::Config(format!("{} heads are too many for CTranslate2", self.config.heads))
        })?;
        // In the order of `common_spec.Activation`.
        let activation = match self.config.activation {
            Activation::Relu => 0,
            Activation::Silu => 2,
            Activation::Gelu => 3,
        };
        for (stack, layers) in
            [("encoder", self.config.encoder_layers), ("decoder", self.config.decoder_layers)]
        {
            self.put(format!("{stack}/activation"), Value::Byte(activation));
            self.put(format!("{stack}/num_heads"), Value::Short(heads));
            self.put(format!("{stack}/pre_norm"), Value::Byte(before.into()));
            self.put(format!("{stack}/scale_embeddings"), Value::Byte(1));
            if before {
                self.norm(&format!("{stack}.norm"), &format!("{stack}/layer_norm"))?;
            }
            for layer in 0..layers.get() {
                self.layer(stack, layer)?;
            }
        }
        Ok(())
    }

    fn layer(&mut self, stack: &str, layer: usize) -> Result<()> {
        let (ours, theirs) = (format!("{stack}.{layer}"), format!("{stack}/layer_{layer}"));
        let mut parts = vec![("attention", "self_attention", &["input", "output"][..])];
        if stack == "decoder" {
            parts.push(("cross", "attention", &["query", "memory", "output"]));
        }
        for (from, to, linears) in parts {
            self.norm(&format!("{ours}.{from}.norm"), &format!("{theirs}/{to}/layer_norm"))?;
            for (idx, linear) in linears.iter().enumerate() {
                let to = format!("{theirs}/{to}/linear_{idx}");
                self.linear(&format!("{ours}.{from}.{linear}"), &to)?;
            }
        }
        let (from, to) = (format!("{ours}.feed_forward"), format!("{theirs}/ffn"));
        self.norm(&format!("{from}.norm"), &format!("{to}/layer_norm"))?;
        self.linear(&format!("{from}.output"), &format!("{to}/linear_1"))?;
        if !self.config.gated {
            return self.linear(&format!("{from}.input"), &format!("{to}/linear_0"));
        }
        // The rows of the gate stand before those of the value.
        for part in ["weight", "bias"] {
            let (mut shape, mut gate) = self.read(&format!("{from}.input.{part}"))?;
            let value = gate.split_off(gate.len() / 2);
            shape[0] /= 2;
            self.put(format!("{to}/linear_0/{part}"), Value::Numbers(shape.clone(), gate));
            self.put(format!("{to}/linear_0_noact/{part}"), Value::Numbers(shape, value));
        }
        Ok(())
    }

    /// The table of positions, which both sides share if it is computed.
    fn positions(&mut self) -> Result<()> {
        let name = |stack: &str| format!("{stack}/position_encodings/encodings");
        if self.config.positions == Positions::Learned {
            for stack in ["encoder", "decoder"] {
                self.numbers(&format!("{stack}.positions.weight"), &name(stack))?;
            }
            return Ok(());
        }
        let dim = self.config.dim.get();
        let table = kernels::positions::sinusoidal(LONGEST, dim);
        self.put(name("decoder"), Value::Numbers(vec![LONGEST, dim], table));
        self.aliases.push((name("encoder"), name("decoder")));
        Ok(())
    }

    fn linear(&mut self, from: &str, to: &str) -> Result<()> {
        self.numbers(&format!("{from}.weight"), &format!("{to}/weight"))?;
        self.numbers(&format!("{from}.bias"), &format!("{to}/bias"))
    }

    fn norm(&mut self, from: &str, to: &str) -> Result<()> {
        self.numbers(&format!("{from}.weight"), &format!("{to}/gamma"))?;
        self.numbers(&format!("{from}.bias"), &format!("{to}/beta"))
    }

    /// A table under its own name, or as another name of `of`.
    fn tied(&mut self, is_tied: bool, from: &str, to: &str, of: &str) -> Result<()> {
        if is_tied {
            self.aliases.push((to.into(), of.into()));
            return Ok(());
        }
        self.numbers(from, to)
    }

    fn numbers(&mut self, from: &str, to: &str) -> Result<()> {
        let (shape, numbers) = self.read(from)?;
        self.put(to.into(), Value::Numbers(shape, numbers));
        Ok(())
    }

    fn read(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor = self.model.parameters.get(name);
        Ok((tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?))
    }

    fn put(&mut self, name: String, value: Value) {
        self.found.insert(name, value);
    }
}

fn serialize(
    variables: &BTreeMap<String, Value>,
    aliases: &[(String, String)],
) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(VERSION.to_le_bytes());
    string(&mut out, SPEC)?;
    out.extend(REVISION.to_le_bytes());
    out.extend(word(variables.len())?);
    for (name, value) in variables {
        string(&mut out, name)?;
        let (shape, kind, bytes) = match value {
            Value::Byte(value) => (&[][..], 1, value.to_le_bytes().to_vec()),
            Value::Short(value) => (&[][..], 2, value.to_le_bytes().to_vec()),
            Value::Numbers(shape, numbers) => {
                (&shape[..], 0, numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
            }
        };
        out.push(shape.len() as u8);
        for &size in shape {
            out.extend(word(size)?);
        }
        out.push(kind);
        out.extend(word(bytes.len())?);
        out.extend(bytes);
    }
    out.extend(word(aliases.len())?);
    for (alias, name) in aliases {
        string(&mut out, alias)?;
        string(&mut out, name)?;
    }
    Ok(out)
}

/// A number of four bytes.
fn word(n: usize) -> io::Result<[u8; 4]> {
    let n = u32::try_from(n);
    Ok(n.map_err(|_| io::Error::other("a parameter has more than 4 GiB"))?.to_le_bytes())
}

/// A name with its length, which counts the NUL behind it.
fn string(out: &mut Vec<u8>, name: &str) -> io::Result<()> {
    let len = u16::try_from(name.len() + 1).map_err(|_| io::Error::other("a name is too long"))?;
    out.extend(len.to_le_bytes());
    out.extend(name.bytes());
    out.push(0);
    Ok(())
}
