//! From the states that the output layer sees to the loss of a batch.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::Tensor;
use kernels::cross_entropy::{RDrop, cross_entropy, r_drop};
use kernels::{Mode, Real};

use crate::parameters::Parameters;
use crate::rnn::tables;
use crate::{Batch, Loss, Objective, Result, Special, Tie};

impl Objective {
    /// Whether every pair goes through the network twice.
    fn doubles(&self, mode: &Mode) -> bool {
        self.r_drop > 0.0 && matches!(mode, Mode::Train(_))
    }

    /// What goes through the network: the batch, or every pair of it twice.
    pub(crate) fn rows<'a>(
        &self,
        batch: &'a Batch,
        special: Special,
        mode: &Mode,
    ) -> Result<Cow<'a, Batch>> {
        Ok(if self.doubles(mode) {
            Cow::Owned(batch.twice(special)?)
        } else {
            Cow::Borrowed(batch)
        })
    }

    /// The loss of predicting `targets` from `states` `[tgt rows, dim]`. `twins` gives the two
    /// rows of each token of a doubled batch.
    pub(crate) fn loss<T: Real>(
        &self,
        (parameters, tie): (&Parameters, Tie),
        states: &Tensor,
        targets: &Arc<[u32]>,
        twins: impl FnOnce() -> Vec<[u32; 2]>,
        mode: &Mode,
    ) -> Result<Loss> {
        let (_, _, output) = tables(tie);
        let (weight, bias) = (parameters.get(output), parameters.get("output.bias"));
        let smoothing = self.smoothing;
        if self.doubles(mode) {
            let by = RDrop { alpha: self.r_drop, pairs: twins().into() };
            let loss = r_drop::<T>(states, weight, bias, targets, smoothing, &by)?;
            // Both passes see the same tokens, and count once.
            let tokens = targets.len() / 2;
            return Ok(Loss { objective: loss.objective, nats: loss.nats / 2.0, tokens });
        }
        let train = matches!(mode, Mode::Train(_));
        let loss = cross_entropy::<T>(states, weight, bias, targets, smoothing, train)?;
        Ok(Loss { objective: loss.objective, nats: loss.nats, tokens: targets.len() })
    }
}
