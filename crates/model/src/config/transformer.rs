//! The table `[model.transformer]`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{DropRate, Tie};
use crate::{Error, Result};

/// Encoder and decoder of self-attention (Vaswani et al., 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerConfig {
    /// Size of the embeddings and of everything that flows between layers.
    pub dim: NonZeroUsize,
    /// Heads of every attention; they share `dim`.
    pub heads: NonZeroUsize,
    /// Inner size of the feed-forward networks.
    pub ffn_dim: NonZeroUsize,
    /// Layers of the encoder.
    pub encoder_layers: NonZeroUsize,
    /// Layers of the decoder. Fewer of them translate faster at little loss (Kasai et al., 2021).
    pub decoder_layers: NonZeroUsize,
    /// How activations are normalised.
    pub norm: Norm,
    /// Where: before each sublayer, or after its residual connection.
    pub norm_place: NormPlace,
    /// What follows the first product of a feed-forward network.
    pub activation: Activation,
    /// Whether the activation gates a second product of the same size (Shazeer, 2020).
    pub gated: bool,
    /// How the network knows the order of words.
    pub positions: Positions,
    /// Longest sentence, its end included, that learned positions can number.
    pub max_len: NonZeroUsize,
    /// How far self-attention sees to either side; everywhere without the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<NonZeroUsize>,
    /// Which embeddings are one and the same table.
    pub tie: Tie,
    /// Rate at which embeddings and the outputs of sublayers are dropped.
    pub dropout: DropRate,
    /// Rate for attention weights.
    pub attention_dropout: DropRate,
    /// Rate for the inner activations of feed-forward networks.
    pub activation_dropout: DropRate,
    /// Rate at which whole words lose their embedding (Sennrich et al., 2016, “Edinburgh neural
    /// machine translation systems for WMT 16”, §2.4).
    pub word_dropout: DropRate,
    /// Rate at which whole layers are left out in training (LayerDrop; Fan et al., 2020).
    pub layer_drop: DropRate,
    /// Whether the inner activations of sublayers are computed again in the backward pass instead
    /// of kept (Chen et al., 2016, “Training deep nets with sublinear memory cost”): less memory,
    /// more time, the same bits.
    pub recompute: bool,
}

/// How activations are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Mean and deviation (Ba et al., 2016).
    Layer,
    /// Root mean square, without a bias (Zhang and Sennrich, 2019).
    Rms,
}

impl From<Norm> for kernels::norm::Norm {
    fn from(norm: Norm) -> Self {
        match norm {
            Norm::Layer => Self::Layer,
            Norm::Rms => Self::Rms,
        }
    }
}

/// Where activations are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormPlace {
    /// `x + sublayer(norm(x))`, and once more at the end of each stack: trains without care.
    Before,
    /// `norm(x + sublayer(x))`, as in the paper.
    After,
}

/// What follows the first product of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x Φ(x)` (Hendrycks and Gimpel, 2016).
    Gelu,
    /// `x σ(x)`, also called swish (Ramachandran et al., 2017).
    Silu,
}

impl From<Activation> for kernels::activation::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Relu => Self::Relu,
            Activation::Gelu => Self::Gelu,
            Activation::Silu => Self::Swish,
        }
    }
}

/// How the network knows the order of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Sines and cosines are added to embeddings (§3.5 of the paper).
    Sinusoidal,
    /// A table that is learned is added to embeddings; it ends at `max_len`.
    Learned,
    /// Queries and keys of self-attention are rotated by their position (Su et al., 2021).
    Rotary,
}

impl Default for TransformerConfig {
    /// The paper's base model with norms before the sublayers.
    fn default() -> Self {
        const fn size(n: usize) -> NonZeroUsize {
            NonZeroUsize::new(n).expect("no size here is zero")
        }
        Self {
            dim: const { size(512) },
            heads: const { size(8) },
            ffn_dim: const { size(2048) },
            encoder_layers: const { size(6) },
            decoder_layers: const { size(6) },
            norm: Norm::Layer,
            norm_place: NormPlace::Before,
            activation: Activation::Relu,
            gated: false,
            positions: Positions::Sinusoidal,
            max_len: const { size(1024) },
            window: None,
            tie: Tie::Target,
            dropout: DropRate(0.1),
            attention_dropout: DropRate(0.0),
            activation_dropout: DropRate(0.0),
            word_dropout: DropRate(0.0),
            layer_drop: DropRate(0.0),
            recompute: false,
        }
    }
}

impl TransformerConfig {
    /// Fails if positions cannot number a sentence of `len` words.
    pub(crate) fn check_length(&self, len: usize) -> Result<()> {
        let most = self.max_len.get();
        if self.positions == Positions::Learned && len > most {
            return Err(Error::TooLong { found: len, most });
        }
        Ok(())
    }

    /// Checks what no single key can tell.
    ///
    /// # Errors
    /// [`Error::Config`] if keys contradict each other.
    pub fn check(&self, joint: bool) -> Result<()> {
        let (dim, heads) = (self.dim.get(), self.heads.get());
        let fail = |message: String| Err(Error::Config(message));
        if !dim.is_multiple_of(heads) {
            return fail(format!(
                "`heads` share `dim`: {dim} numbers cannot be dealt out to {heads} heads"
            ));
        }
        if self.positions == Positions::Rotary && !self.head_dim().is_multiple_of(2) {
            return fail(format!(
                "rotary positions turn pairs of numbers, but `dim / heads` is {}, which is odd",
                self.head_dim()
            ));
        }
        if self.positions == Positions::Sinusoidal && !dim.is_multiple_of(2) {
            return fail(format!(
                "sinusoidal positions need pairs of numbers, but `dim` is {dim}, which is odd"
            ));
        }
        if matches!(self.tie, Tie::Source | Tie::All) && !joint {
            return fail("`tie` of source and target needs a joint vocabulary".into());
        }
        Ok(())
    }

    /// The decoder layer whose attention to the source is an alignment, or is guided to become one:
    /// the last but one, unless another is asked for.
    ///
    /// # Errors
    /// [`Error::NoSuchHead`] if there is no such layer, or not one of these heads.
    pub fn cross_layer(&self, layer: Option<usize>, heads: &[usize]) -> Result<usize> {
        let fail = |what, found, has| Err(Error::NoSuchHead { what, found, has });
        let (layers, n_heads) = (self.decoder_layers.get(), self.heads.get());
        let layer = layer.unwrap_or(layers.saturating_sub(2));
        if layer >= layers {
            let has = format!("a decoder of {layers} layers, 0 to {}", layers - 1);
            return fail("layer", layer, has);
        }
        if let Some(&head) = heads.iter().find(|&&head| head >= n_heads) {
            return fail("head", head, format!("one of {n_heads} heads, 0 to {}", n_heads - 1));
        }
        Ok(layer)
    }

    /// Size of a head.
    pub fn head_dim(&self) -> usize {
        self.dim.get() / self.heads.get()
    }
}
