//! The encoder: recurrent layers over the source, in one or both directions.

use candle_core::Tensor;
use kernels::embedding::embedding;
use kernels::recurrent::{Cell, Direction, recurrent};
use kernels::{Mode, Real};

use super::{Rnn, site, tables};
use crate::Result;
use crate::batch::SourceBatch;
use crate::config::RnnConfig;

/// Encoded sentences, in the order of their batch.
#[derive(Debug)]
pub(super) struct Encoded {
    /// `h̄_s`: `[src rows, dim]`, packed by time.
    pub(super) states: Tensor,
    /// The last states, layer by layer, `h` before `c`: `[batch, dim]` each.
    pub(super) finals: Vec<Tensor>,
}

/// The directions in which the encoder reads.
pub(super) fn directions(config: &RnnConfig) -> &'static [Direction] {
    const BOTH: [Direction; 2] = [Direction::Forward, Direction::Backward];
    if config.bidirectional { &BOTH } else { &BOTH[..1] }
}

/// Prefix of the parameters of a layer in one direction.
pub(super) fn layer_name(layer: usize, direction: &Direction) -> String {
    let direction = match direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    format!("encoder.layers.{layer}.{direction}")
}

impl Rnn<'_> {
    /// Encodes a batch of source sentences.
    pub(super) fn encode<T: Real>(&self, src: &SourceBatch, mode: &Mode) -> Result<Encoded> {
        let (table, _, _) = tables(self.config.tie);
        let embedded = embedding::<T>(self.parameters.get(table), &src.ids)?; // [src rows, embed_dim]
        let mut x = self.drop::<T>(&embedded, &src.steps, mode, site::SRC_EMBEDDING)?;
        let mut finals = Vec::new();
        for layer in 0..self.config.layers.get() {
            if layer > 0 {
                x = self.drop::<T>(&x, &src.steps, mode, site::ENCODER + layer as u32)?;
            }
            let (states, last) = self.encoder_layer::<T>(layer, src, &x)?;
            finals.extend(last);
            x = if self.config.residual && layer > 0 { (states + &x)? } else { states };
        }
        Ok(Encoded { states: x, finals })
    }

    /// One layer: its states `[src rows, dim]` and the last of them, `h` before `c`.
    fn encoder_layer<T: Real>(
        &self,
        layer: usize,
        src: &SourceBatch,
        x: &Tensor,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let cell = Cell::from(self.config.cell);
        let (rows, batch) = (src.steps.rows(), src.steps.batch());
        let (mut states, mut hidden, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for direction in directions(self.config) {
            let weights = self.weights(&layer_name(layer, direction));
            let out = recurrent::<T>(cell, *direction, &src.steps, x, None, &weights)?;
            let h = out.narrow(0, 0, rows)?;
            let last = (0..batch).map(|b| src.steps.last_row(*direction, b) as u32).collect();
            hidden.push(embedding::<T>(&h, &last)?);
            if cell == Cell::Lstm {
                cells.push(out.narrow(0, rows, batch)?);
            }
            states.push(h);
        }
        let mut finals = vec![Tensor::cat(&hidden, 1)?]; // [batch, dim]
        if cell == Cell::Lstm {
            finals.push(Tensor::cat(&cells, 1)?);
        }
        Ok((Tensor::cat(&states, 1)?, finals))
    }
}
