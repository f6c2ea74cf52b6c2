//! A pass through layers: rows of numbers, and memory that sublayers use one after another.

use kernels::activation;

use super::weights::{FeedForward, Norm};
use crate::Result;
use crate::config::{Activation, NormPlace, TransformerConfig};
use crate::linear::Room;

/// The rows that pass through the layers, and room for what becomes of them on the way. It keeps
/// its memory, so that a step allocates none.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// `[rows, dim]`.
    pub(super) x: Vec<f32>,
    normal: Vec<f32>,
    pub(super) work: Work,
}

/// Room for a sublayer.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// What the first product gives.
    pub(super) wide: Vec<f32>,
    /// What the last product is given.
    pub(super) inner: Vec<f32>,
    pub(super) room: Room,
}

impl Run {
    /// A sublayer: norm, `body` and residual connection. `body` adds what it makes of its first
    /// rows to its last.
    pub(super) fn sublayer(
        &mut self,
        place: NormPlace,
        norm: &Norm,
        body: impl FnOnce(&[f32], &mut Work, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let Self { x, normal, work } = self;
        match place {
            NormPlace::Before => {
                norm.forward(x, normal);
                body(normal, work, x)
            }
            NormPlace::After => {
                normal.clone_from(x);
                body(normal, work, x)?;
                norm.forward(x, normal);
                std::mem::swap(x, normal);
                Ok(())
            }
        }
    }

    /// The feed-forward sublayer.
    pub(super) fn feed_forward(
        &mut self,
        config: &TransformerConfig,
        layer: &FeedForward,
    ) -> Result<()> {
        let ffn_dim = config.ffn_dim.get();
        self.sublayer(config.norm_place, &layer.norm, |x, work, out| {
            let Work { wide, inner, room } = work;
            if config.gated {
                layer.input.forward(x, room, wide);
                inner.resize(wide.len() / 2, 0.0);
                activation::gated(config.activation.into(), wide, ffn_dim, inner);
                layer.output.add(inner, room, out);
                return Ok(());
            }
            match config.activation {
                Activation::Relu => layer.input.forward_relu(x, room, wide),
                other => {
                    layer.input.forward(x, room, wide);
                    activation::forward_in_place(other.into(), wide);
                }
            }
            layer.output.add(wide, room, out);
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
