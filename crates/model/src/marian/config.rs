//! `config.json` of a Marian model.

use std::{fs, num::NonZeroUsize, path::Path};

use serde::Deserialize;

use crate::checkpoint::CONFIG;
use crate::config::{Activation, NormPlace, Positions, TransformerConfig};
use crate::{Error, Result};

/// A configuration larger than this is not read.
const LARGEST: u64 = 1 << 24;
/// A network larger than this is refused before memory is taken for it: its sizes, and its layers.
const MOST: usize = 1 << 20;
const MOST_LAYERS: usize = 256;

/// What `config.json` says about the network. Keys that do not change it are not read.
#[derive(Clone, Debug, Deserialize)]
pub struct MarianConfig {
    pub(super) d_model: usize,
    encoder_layers: usize,
    decoder_layers: usize,
    encoder_attention_heads: usize,
    decoder_attention_heads: usize,
    pub(super) encoder_ffn_dim: usize,
    decoder_ffn_dim: usize,
    activation_function: String,
    vocab_size: usize,
    #[serde(default)]
    decoder_vocab_size: Option<usize>,
    pub(super) scale_embedding: bool,
    #[serde(default = "yes")]
    static_position_embeddings: bool,
    #[serde(default)]
    normalize_before: bool,
    #[serde(default)]
    normalize_embedding: bool,
    #[serde(default)]
    add_final_layer_norm: bool,
    #[serde(default = "yes")]
    share_encoder_decoder_embeddings: bool,
    #[serde(default = "yes")]
    pub(super) tie_word_embeddings: bool,
    /// The token that ends a sentence.
    pub eos_token_id: u32,
    /// The token that fills batches.
    pub pad_token_id: u32,
    /// The token that a decoder reads first.
    pub decoder_start_token_id: u32,
    #[serde(default)]
    dropout: f64,
    #[serde(default)]
    attention_dropout: f64,
    #[serde(default)]
    activation_dropout: f64,
}

fn yes() -> bool {
    true
}

/// The part of a configuration that tells whether it is one of Marian's.
#[derive(Deserialize)]
struct Head {
    model_type: Option<String>,
}

impl MarianConfig {
    /// Reads and checks the configuration of a folder.
    ///
    /// # Errors
    /// If the file is missing or describes a network that ours cannot be.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        let foreign = |reason: String| Error::NotMarian { path: path.clone(), reason };
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        if !path.is_file() {
            return Err(Error::Incomplete { dir: dir.into(), missing: CONFIG });
        }
        let size = fs::metadata(&path).map_err(io)?.len();
        if size > LARGEST {
            return Err(foreign(format!("it has {size} bytes, expected at most {LARGEST}")));
        }
        let content = fs::read(&path).map_err(io)?;
        let head: Head =
            serde_json::from_slice(&content).map_err(|error| foreign(error.to_string()))?;
        match head.model_type.as_deref() {
            Some("marian") => {}
            Some(other) => {
                return Err(foreign(format!("`model_type` is {other:?}, expected \"marian\"")));
            }
            None => return Err(foreign("it has no `model_type`, expected \"marian\"".into())),
        }
        let config: Self =
            serde_json::from_slice(&content).map_err(|error| foreign(error.to_string()))?;
        config.check().map_err(foreign)?;
        Ok(config)
    }

    /// Says what our network cannot be.
    fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("d_model", self.d_model, MOST),
            ("encoder_layers", self.encoder_layers, MOST_LAYERS),
            ("decoder_layers", self.decoder_layers, MOST_LAYERS),
            ("encoder_attention_heads", self.encoder_attention_heads, MOST),
            ("encoder_ffn_dim", self.encoder_ffn_dim, MOST),
            ("vocab_size", self.vocab_size, MOST),
            ("decoder_vocab_size", self.tgt_vocab(), MOST),
        ];
        for (name, size, most) in sizes {
            if size == 0 || size > most {
                return Err(format!("`{name}` is {size}, expected 1 to {most}"));
            }
        }
        for (name, src, tgt) in [
            ("attention_heads", self.encoder_attention_heads, self.decoder_attention_heads),
            ("ffn_dim", self.encoder_ffn_dim, self.decoder_ffn_dim),
        ] {
            if src != tgt {
                return Err(format!(
                    "`encoder_{name}` is {src} and `decoder_{name}` {tgt}: here both are the same"
                ));
            }
        }
        for (name, found, expected) in [
            ("static_position_embeddings", self.static_position_embeddings, true),
            ("normalize_before", self.normalize_before, false),
            ("normalize_embedding", self.normalize_embedding, false),
            ("add_final_layer_norm", self.add_final_layer_norm, false),
        ] {
            if found != expected {
                return Err(format!("`{name}` is {found}, expected {expected}"));
            }
        }
        self.activation()?;
        for (name, rate) in [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return Err(format!("`{name}` is {rate}, expected a rate in [0, 1)"));
            }
        }
        for (name, id) in [
            ("eos_token_id", self.eos_token_id),
            ("pad_token_id", self.pad_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ] {
            let vocab = self.tgt_vocab().min(self.src_vocab());
            if id as usize >= vocab {
                return Err(format!("`{name}` is {id}, outside a vocabulary of {vocab}"));
            }
        }
        self.transformer().check(true).map_err(|error| error.to_string())
    }

    fn activation(&self) -> std::result::Result<Activation, String> {
        match self.activation_function.as_str() {
            "relu" => Ok(Activation::Relu),
            "gelu" => Ok(Activation::Gelu),
            "swish" | "silu" => Ok(Activation::Silu),
            other => Err(format!(
                "`activation_function` is {other:?}, expected \"relu\", \"gelu\", \"swish\" or \
                 \"silu\""
            )),
        }
    }

    /// The number of source tokens.
    pub fn src_vocab(&self) -> usize {
        self.vocab_size
    }

    /// The number of target tokens.
    pub fn tgt_vocab(&self) -> usize {
        match self.decoder_vocab_size {
            Some(size) if !self.share_encoder_decoder_embeddings => size,
            _ => self.vocab_size,
        }
    }

    /// Whether both languages share one table of embeddings.
    pub fn shared(&self) -> bool {
        self.share_encoder_decoder_embeddings
    }

    /// The same network in our words.
    pub(super) fn transformer(&self) -> TransformerConfig {
        // All sizes have been checked; where they have not, the check names them.
        let size = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        let rate = |rate: f64| rate.try_into().unwrap_or_default();
        TransformerConfig {
            dim: size(self.d_model),
            heads: size(self.encoder_attention_heads),
            ffn_dim: size(self.encoder_ffn_dim),
            encoder_layers: size(self.encoder_layers),
            decoder_layers: size(self.decoder_layers),
            norm_place: NormPlace::After,
            activation: self.activation().unwrap_or(Activation::Relu),
            positions: Positions::Sinusoidal,
            tie: self.tie(),
            dropout: rate(self.dropout),
            attention_dropout: rate(self.attention_dropout),
            activation_dropout: rate(self.activation_dropout),
            ..TransformerConfig::default()
        }
    }
}
