//! A pass through layers: rows of numbers, and memory that sublayers use one after another.

use kernels::quantized::Activations;
use kernels::{activation, slices};

use super::weights::{FeedForward, Norm};
use crate::Result;
use crate::config::{NormPlace, TransformerConfig};

/// The rows that pass through the layers, and room for what becomes of them on the way. It keeps
/// its memory, so that a step allocates none.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// `[rows, dim]`.
    pub(super) x: Vec<f32>,
    normal: Vec<f32>,
    out: Vec<f32>,
    pub(super) work: Work,
}

/// Room for a sublayer.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// What the first product gives.
    pub(super) wide: Vec<f32>,
    /// What the last product is given.
    pub(super) inner: Vec<f32>,
    pub(super) room: Activations,
}

impl Run {
    /// A sublayer: norm, `body` and residual connection.
    pub(super) fn sublayer(
        &mut self,
        place: NormPlace,
        norm: &Norm,
        body: impl FnOnce(&[f32], &mut Work, &mut Vec<f32>) -> Result<()>,
    ) -> Result<()> {
        let Self { x, normal, out, work } = self;
        match place {
            NormPlace::Before => {
                norm.forward(x, normal);
                body(normal, work, out)?;
                slices::add(x, out);
            }
            NormPlace::After => {
                body(x, work, out)?;
                slices::add(x, out);
                norm.forward(x, normal);
                std::mem::swap(x, normal);
            }
        }
        Ok(())
    }

    /// The feed-forward sublayer.
    pub(super) fn feed_forward(
        &mut self,
        config: &TransformerConfig,
        layer: &FeedForward,
    ) -> Result<()> {
        let (activation, ffn_dim) = (config.activation.into(), config.ffn_dim.get());
        self.sublayer(config.norm_place, &layer.norm, |x, work, out| {
            let Work { wide, inner, room } = work;
            layer.input.forward(x, room, wide);
            if config.gated {
                inner.resize(wide.len() / 2, 0.0);
                activation::gated(activation, wide, ffn_dim, inner);
                layer.output.forward(inner, room, out);
            } else {
                activation::forward_in_place(activation, wide);
                layer.output.forward(wide, room, out);
            }
            Ok(())
        })
    }

    /// The end of a stack: its last norm, if it has one.
    pub(super) fn close(&mut self, norm: Option<&Norm>) {
        if let Some(norm) = norm {
            norm.forward(&self.x, &mut self.normal);
            std::mem::swap(&mut self.x, &mut self.normal);
        }
    }
}
