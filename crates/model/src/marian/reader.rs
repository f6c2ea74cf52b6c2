//! Parameters of a Marian model, in our order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use candle_core::{DType, Device, safetensors::Load};
use safetensors::SafeTensors;

use super::{MarianConfig, Rows};
use crate::{Error, Result};

/// Parameters that say nothing: sinusoids, which are computed.
const COMPUTED: [&str; 2] =
    ["model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"];

/// The weight file and what has been read of it.
pub(super) struct Reader<'a> {
    tensors: SafeTensors<'a>,
    path: &'a Path,
    config: &'a MarianConfig,
    /// For each number that flows between our layers, which one of theirs it is.
    order: Vec<usize>,
    read: BTreeSet<String>,
}

/// The tables that words are read from.
pub(super) struct Tables {
    pub(super) src: Vec<f32>,
    pub(super) tgt: Vec<f32>,
}

/// Which side of a matrix lies between layers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Input,
    Output,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], path: &'a Path, config: &'a MarianConfig) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|source| Error::Safetensors { path: path.into(), source })?;
        let half = config.d_model / 2;
        let order = (0..config.d_model).map(|i| i / 2 + if i % 2 == 0 { 0 } else { half });
        Ok(Self { tensors, path, config, order: order.collect(), read: BTreeSet::new() })
    }

    /// The tables that words of both sides are read from, in our order of columns.
    pub(super) fn tables(&mut self) -> Result<Tables> {
        const SHARED: &str = "model.shared.weight";
        let src = self.first(&["model.encoder.embed_tokens.weight", SHARED]);
        let tgt = self.first(&["model.decoder.embed_tokens.weight", SHARED]);
        Ok(Tables {
            src: self.matrix(src, [self.config.src_vocab(), self.config.d_model], Stream::Input)?,
            tgt: self.matrix(tgt, [self.config.tgt_vocab(), self.config.d_model], Stream::Input)?,
        })
    }

    /// The output layer's weight.
    pub(super) fn output(&mut self) -> Result<Vec<f32>> {
        let tied = ["lm_head.weight", "model.decoder.embed_tokens.weight", "model.shared.weight"];
        let name = if self.config.tie_word_embeddings { self.first(&tied) } else { tied[0] };
        self.matrix(name, [self.config.tgt_vocab(), self.config.d_model], Stream::Input)
    }

    /// The output layer's bias.
    pub(super) fn bias(&mut self) -> Result<Vec<f32>> {
        self.numbers("final_logits_bias", &[1, self.config.tgt_vocab()])
    }

    /// The rows of a table for our ids; zeros for an id that has none.
    pub(super) fn rows(&self, table: &[f32], rows: &Rows, vocab: usize) -> Result<Vec<f32>> {
        let dim = self.config.d_model;
        let mut out = Vec::with_capacity(rows.len() * dim);
        for row in rows {
            match row {
                Some(row) if *row as usize >= vocab => {
                    return Err(Error::UnknownId { side: "imported", id: *row, vocab });
                }
                Some(row) => out.extend_from_slice(&table[*row as usize * dim..][..dim]),
                None => out.resize(out.len() + dim, 0.0),
            }
        }
        Ok(out)
    }

    /// The parameters of a layer under our names.
    pub(super) fn layer(
        &mut self,
        stack: &str,
        layer: usize,
        out: &mut BTreeMap<String, Vec<f32>>,
    ) -> Result<()> {
        let (dim, ffn_dim) = (self.config.d_model, self.config.encoder_ffn_dim);
        let theirs = format!("model.{stack}.layers.{layer}");
        let ours = format!("{stack}.{layer}");
        let mut joined = |reader: &mut Self, name: &str, parts: &[String]| -> Result<()> {
            let (mut weight, mut bias) = (Vec::new(), Vec::new());
            for part in parts {
                weight.extend(reader.matrix(
                    &format!("{part}.weight"),
                    [dim, dim],
                    Stream::Input,
                )?);
                bias.extend(reader.numbers(&format!("{part}.bias"), &[dim])?);
            }
            out.insert(format!("{ours}.{name}.weight"), weight);
            out.insert(format!("{ours}.{name}.bias"), bias);
            Ok(())
        };
        let part = |attention: &str, part: &str| format!("{theirs}.{attention}.{part}_proj");
        let of = |attention: &str, parts: &[&str]| -> Vec<String> {
            parts.iter().map(|name| part(attention, name)).collect()
        };
        joined(self, "attention.input", &of("self_attn", &["q", "k", "v"]))?;
        let mut attentions = vec![("self_attn", "attention")];
        if stack == "decoder" {
            joined(self, "cross.query", &of("encoder_attn", &["q"]))?;
            joined(self, "cross.memory", &of("encoder_attn", &["k", "v"]))?;
            attentions.push(("encoder_attn", "cross"));
        }
        let mut affine = |reader: &mut Self, from: String, to: String, shape, stream| {
            let weight = reader.matrix(&format!("{from}.weight"), shape, stream)?;
            let bias = reader.numbers(&format!("{from}.bias"), &shape[..1])?;
            let bias = if stream == Stream::Output { reader.reordered(&bias) } else { bias };
            out.insert(format!("{to}.weight"), weight);
            out.insert(format!("{to}.bias"), bias);
            Ok::<_, Error>(())
        };
        for (from, to) in attentions {
            let to = format!("{ours}.{to}.output");
            affine(self, part(from, "out"), to, [dim, dim], Stream::Output)?;
        }
        let ffn = [
            ("fc1", "input", [ffn_dim, dim], Stream::Input),
            ("fc2", "output", [dim, ffn_dim], Stream::Output),
        ];
        for (from, to, shape, stream) in ffn {
            let to = format!("{ours}.feed_forward.{to}");
            affine(self, format!("{theirs}.{from}"), to, shape, stream)?;
        }
        let mut norms =
            vec![("self_attn_layer_norm", "attention"), ("final_layer_norm", "feed_forward")];
        if stack == "decoder" {
            norms.push(("encoder_attn_layer_norm", "cross"));
        }
        for (from, to) in norms {
            for part in ["weight", "bias"] {
                let values = self.numbers(&format!("{theirs}.{from}.{part}"), &[dim])?;
                out.insert(format!("{ours}.{to}.norm.{part}"), self.reordered(&values));
            }
        }
        Ok(())
    }

    /// Fails if the file has parameters that were not asked for.
    pub(super) fn finish(self) -> Result<()> {
        let tied = ["lm_head.weight", "model.shared.weight"];
        let known = |name: &str| {
            self.read.contains(name) || COMPUTED.contains(&name) || tied.contains(&name)
        };
        match self.tensors.names().into_iter().find(|name| !known(name)) {
            Some(name) => {
                Err(Error::UnknownParameter { path: self.path.into(), name: name.to_string() })
            }
            None => Ok(()),
        }
    }

    /// The first of these names that the file has, or the last of them.
    fn first<'n>(&self, names: &[&'n str]) -> &'n str {
        let found = names.iter().find(|name| self.tensors.tensor(name).is_ok());
        found.or(names.last()).copied().unwrap_or_default()
    }

    /// A matrix `[rows, cols]` whose side between layers is in our order.
    fn matrix(&mut self, name: &str, [rows, cols]: [usize; 2], stream: Stream) -> Result<Vec<f32>> {
        let values = self.numbers(name, &[rows, cols])?;
        Ok(match stream {
            Stream::Input => {
                values.chunks_exact(cols).flat_map(|row| self.reordered(row)).collect()
            }
            Stream::Output => {
                let row = |&from: &usize| &values[from * cols..][..cols];
                self.order.iter().flat_map(row).copied().collect()
            }
        })
    }

    fn reordered(&self, values: &[f32]) -> Vec<f32> {
        self.order.iter().map(|&from| values[from]).collect()
    }

    /// The numbers of a parameter of this shape.
    fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self
            .tensors
            .tensor(name)
            .map_err(|_| Error::MissingParameter { path: self.path.into(), name: name.into() })?;
        if view.shape() != shape {
            return Err(Error::ShapeMismatch {
                path: self.path.into(),
                name: name.into(),
                expected: shape.into(),
                found: view.shape().into(),
            });
        }
        let tensor = view.load(&Device::Cpu)?.to_dtype(DType::F32)?;
        self.read.insert(name.into());
        Ok(tensor.flatten_all()?.to_vec1()?)
    }
}
