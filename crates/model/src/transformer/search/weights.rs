//! The packed weights of a network, layer by layer.

use kernels::norm;

use crate::config::TransformerConfig;
use crate::linear::Linear;
use crate::source::Source;
use crate::{Result, SearchPrecision};

/// A norm's parameters.
#[derive(Debug)]
pub(super) struct Norm {
    kind: norm::Norm,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Norm {
    /// Normalises rows into `out`, in place of what it held.
    pub(super) fn forward(&self, x: &[f32], out: &mut Vec<f32>) {
        out.resize(x.len(), 0.0);
        norm::forward(self.kind, x, &self.weight, self.bias.as_deref(), out);
    }
}

/// Attention over words of the same sentence.
#[derive(Debug)]
pub(super) struct SelfAttention {
    pub(super) norm: Norm,
    /// Queries, keys and values.
    pub(super) input: Linear,
    pub(super) output: Linear,
}

/// Attention over the source.
#[derive(Debug)]
pub(super) struct CrossAttention {
    pub(super) norm: Norm,
    pub(super) query: Linear,
    /// Keys and values.
    pub(super) memory: Linear,
    pub(super) output: Linear,
}

/// A feed-forward network.
#[derive(Debug)]
pub(super) struct FeedForward {
    pub(super) norm: Norm,
    pub(super) input: Linear,
    pub(super) output: Linear,
}

/// A layer of the encoder.
#[derive(Debug)]
pub(super) struct EncoderLayer {
    pub(super) attention: SelfAttention,
    pub(super) feed_forward: FeedForward,
}

/// A layer of the decoder.
#[derive(Debug)]
pub(super) struct DecoderLayer {
    pub(super) attention: SelfAttention,
    pub(super) cross: CrossAttention,
    pub(super) feed_forward: FeedForward,
}

/// Packs parameters.
pub(super) struct Reader<'a> {
    pub(super) config: &'a TransformerConfig,
    pub(super) source: Source<'a>,
    pub(super) precision: SearchPrecision,
}

impl Reader<'_> {
    fn linear(&self, prefix: &str) -> Result<Linear> {
        let name = |part: &str| format!("{prefix}.{part}");
        self.source.linear(&name("weight"), &name("bias"), self.precision)
    }

    pub(super) fn norm(&self, prefix: &str) -> Result<Norm> {
        let weight = self.source.numbers(&format!("{prefix}.weight"))?;
        let bias = format!("{prefix}.bias");
        let bias = self.source.has(&bias).then(|| self.source.numbers(&bias)).transpose()?;
        Ok(Norm { kind: self.config.norm.into(), weight, bias })
    }

    fn attention(&self, layer: &str) -> Result<SelfAttention> {
        let name = |part: &str| format!("{layer}.attention.{part}");
        Ok(SelfAttention {
            norm: self.norm(&name("norm"))?,
            input: self.linear(&name("input"))?,
            output: self.linear(&name("output"))?,
        })
    }

    fn feed_forward(&self, layer: &str) -> Result<FeedForward> {
        let name = |part: &str| format!("{layer}.feed_forward.{part}");
        Ok(FeedForward {
            norm: self.norm(&name("norm"))?,
            input: self.linear(&name("input"))?,
            output: self.linear(&name("output"))?,
        })
    }

    pub(super) fn encoder_layer(&self, layer: usize) -> Result<EncoderLayer> {
        let layer = format!("encoder.{layer}");
        Ok(EncoderLayer {
            attention: self.attention(&layer)?,
            feed_forward: self.feed_forward(&layer)?,
        })
    }

    pub(super) fn decoder_layer(&self, layer: usize) -> Result<DecoderLayer> {
        let layer = format!("decoder.{layer}");
        let name = |part: &str| format!("{layer}.cross.{part}");
        Ok(DecoderLayer {
            attention: self.attention(&layer)?,
            cross: CrossAttention {
                norm: self.norm(&name("norm"))?,
                query: self.linear(&name("query"))?,
                memory: self.linear(&name("memory"))?,
                output: self.linear(&name("output"))?,
            },
            feed_forward: self.feed_forward(&layer)?,
        })
    }
}
