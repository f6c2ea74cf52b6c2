//! The `[model]` table of an experiment file, and of a model directory's `config.json`.

mod transformer;

use std::num::NonZeroUsize;

use attn::{AttentionConfig, Kind};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use transformer::{Activation, Norm, NormPlace, Positions, TransformerConfig};

/// Which network to build. In TOML the variant is the table's name: `[model.rnn]`,
/// `[model.transformer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ModelConfig {
    /// Recurrent encoder and decoder with Luong's attention.
    Rnn(RnnConfig),
    /// Encoder and decoder of self-attention.
    Transformer(TransformerConfig),
}

impl ModelConfig {
    /// Checks what no single key can tell.
    ///
    /// # Errors
    /// [`Error::Config`] if keys contradict each other.
    pub fn check(&self, joint: bool) -> Result<()> {
        match self {
            Self::Rnn(config) => config.check(joint),
            Self::Transformer(config) => config.check(joint),
        }
    }
}

/// Recurrent encoder and decoder with attention (Luong et al., 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RnnConfig {
    /// The recurrent cell, `lstm` or `gru`.
    pub cell: Cell,
    /// Size of the word embeddings.
    pub embed_dim: NonZeroUsize,
    /// Size of the hidden states `h_t` and `h̄_s`. A bidirectional encoder gives each direction
    /// half of it.
    pub dim: NonZeroUsize,
    /// Recurrent layers, in the encoder and in the decoder alike.
    pub layers: NonZeroUsize,
    /// Whether the encoder reads in both directions.
    pub bidirectional: bool,
    /// Whether layers after the first add their input to their output.
    pub residual: bool,
    /// How the decoder's first states come from the encoder's last ones.
    pub bridge: Bridge,
    /// Which embeddings are one and the same table.
    pub tie: Tie,
    /// Feed the attentional state `h̃_t` into the next step (§3.3 of the paper).
    pub input_feeding: bool,
    /// Rate at which embeddings, activations between layers and attentional states are dropped.
    pub dropout: DropRate,
    /// Drop the same units at every step of a sentence (Gal and Ghahramani, 2016).
    pub variational: bool,
    /// Kind of attention and score.
    pub attention: AttentionConfig,
}

/// The recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// Long short-term memory (Hochreiter and Schmidhuber, 1997).
    Lstm,
    /// Gated recurrent unit (Cho et al., 2014).
    Gru,
}

impl From<Cell> for kernels::recurrent::Cell {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Lstm => Self::Lstm,
            Cell::Gru => Self::Gru,
        }
    }
}

/// From the encoder's last states to the decoder's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bridge {
    /// Layer by layer as they are, both directions side by side.
    Copy,
    /// Layer by layer through a matrix and the hyperbolic tangent.
    Dense,
    /// Not at all: the decoder starts from zero.
    Zero,
}

/// Which embeddings are one and the same table (Press and Wolf, 2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tie {
    /// None: source, target and output have their own.
    None,
    /// Target and output. Needs `embed_dim = dim`.
    Target,
    /// Source and target. Needs a joint vocabulary.
    Source,
    /// All three. Needs both.
    All,
}

impl Tie {
    /// Whether the source's embeddings are another table, too.
    pub(crate) fn ties_source(self) -> bool {
        matches!(self, Self::Source | Self::All)
    }

    /// Whether the target's embeddings are the output weight, too.
    pub(crate) fn ties_target(self) -> bool {
        matches!(self, Self::Target | Self::All)
    }
}

impl Default for RnnConfig {
    /// Two layers of 512 LSTM units, bidirectional, general global attention, input feeding.
    fn default() -> Self {
        const SIZE: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not zero");
        Self {
            cell: Cell::Lstm,
            embed_dim: SIZE,
            dim: SIZE,
            layers: const { NonZeroUsize::new(2).expect("two is not zero") },
            bidirectional: true,
            residual: false,
            bridge: Bridge::Copy,
            tie: Tie::None,
            input_feeding: true,
            dropout: DropRate(0.2),
            variational: false,
            attention: AttentionConfig::default(),
        }
    }
}

impl RnnConfig {
    /// Checks what no single key can tell.
    ///
    /// # Errors
    /// [`Error::Config`] if keys contradict each other.
    pub fn check(&self, joint: bool) -> Result<()> {
        let (dim, embed_dim) = (self.dim.get(), self.embed_dim.get());
        let fail = |message: String| Err(Error::Config(message));
        if self.bidirectional && !dim.is_multiple_of(2) {
            return fail(format!(
                "a bidirectional encoder gives each direction half of `dim`, found {dim}, which is \
                 odd"
            ));
        }
        if matches!(self.tie, Tie::Target | Tie::All) && dim != embed_dim {
            return fail(format!(
                "`tie` makes the output weight an embedding: `embed_dim` is {embed_dim}, expected \
                 `dim`, {dim}"
            ));
        }
        if matches!(self.tie, Tie::Source | Tie::All) && !joint {
            return fail("`tie` of source and target needs a joint vocabulary".into());
        }
        if self.input_feeding && self.attention.kind == Kind::None {
            return fail(
                "`input_feeding` feeds what attention saw, but `attention.kind` is none".into(),
            );
        }
        self.attention.parameters(dim, dim)?;
        Ok(())
    }

    /// Size of the hidden state of one encoder direction.
    pub fn direction_dim(&self) -> usize {
        self.dim.get() / if self.bidirectional { 2 } else { 1 }
    }

    /// Whether the decoder attends at all.
    pub fn attends(&self) -> bool {
        self.attention.kind != Kind::None
    }
}

/// A probability in `[0, 1)`. A value of this type has been checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct DropRate(f64);

impl DropRate {
    /// The rate.
    pub fn get(self) -> f32 {
        self.0 as f32
    }
}

impl TryFrom<f64> for DropRate {
    type Error = String;

    fn try_from(rate: f64) -> std::result::Result<Self, String> {
        if (0.0..1.0).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(format!("a drop rate lies in [0, 1), got {rate}"))
        }
    }
}

impl From<DropRate> for f64 {
    fn from(rate: DropRate) -> Self {
        rate.0
    }
}
