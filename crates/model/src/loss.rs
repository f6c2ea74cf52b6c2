//! From the states that the output layer sees to the loss of a batch.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::Tensor;
use kernels::cross_entropy::{
    CrossEntropy, RDrop, cross_entropy, r_drop, r_drop_reference, reference,
};
use kernels::{Deferred, Mode, Real, gpu};

use crate::parameters::Parameters;
use crate::rnn::tables;
use crate::tensors::{Tensors, Way, known};
use crate::{Batch, Guide, Guided, Loss, Objective, Result, Special, Tie};

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
        let loss = if self.doubles(mode) {
            let by = RDrop { alpha: self.r_drop, pairs: twins().into() };
            r_drop::<T>(states, weight, bias, targets, smoothing, &by)?
        } else {
            let train = matches!(mode, Mode::Train(_));
            cross_entropy::<T>(states, weight, bias, targets, smoothing, train)?
        };
        Ok(self.count(loss, targets.len(), mode))
    }

    /// What attention should look at, if the objective asks for it and the batch tells.
    pub(crate) fn guide<'a>(&'a self, batch: &'a Batch) -> Option<(&'a Guided, &'a Guide)> {
        self.guided.as_ref().filter(|guided| guided.weight > 0.0).zip(batch.guide.as_ref())
    }

    /// Adds the loss of guided attention, `[1]`, if there is one. Both passes of a doubled batch
    /// have their share of the objective, and count once.
    pub(crate) fn with_alignment(
        &self,
        loss: Loss,
        alignment: Option<Tensor>,
        batch: &Batch,
        mode: &Mode,
    ) -> Result<Loss> {
        let (Some(alignment), Some((guided, guide))) = (alignment, self.guide(batch)) else {
            return Ok(loss);
        };
        let passes = if self.doubles(mode) { 2 } else { 1 };
        let alignment = alignment.squeeze(0)?;
        let nats = Deferred::of(&alignment);
        Ok(Loss {
            objective: (loss.objective + (alignment * guided.weight)?)?,
            alignment_nats: nats.times(1.0 / passes as f64),
            linked: guide.linked() / passes,
            ..loss
        })
    }

    /// What [`Self::loss`] computes, on the device of the tensors.
    pub(crate) fn loss_by(
        &self,
        (tensors, tie): (&Tensors, Tie),
        states: &Tensor,
        targets: &[u32],
        twins: impl FnOnce() -> Vec<[u32; 2]>,
        mode: &Mode,
    ) -> Result<Loss> {
        let (_, _, output) = tables(tie);
        let (weight, bias) = (tensors.get(output), tensors.get("output.bias"));
        known("target", targets, weight)?;
        let smoothing = self.smoothing;
        let loss = if self.doubles(mode) {
            let by = RDrop { alpha: self.r_drop, pairs: twins().into() };
            let states = states.to_dtype(weight.dtype())?;
            r_drop_reference(&states, weight, bias, targets, smoothing, &by)?
        } else if let Way::Gpu(dtype) = tensors.way() {
            let (weight, train) = (weight.to_dtype(dtype)?, matches!(mode, Mode::Train(_)));
            let targets = Tensor::new(targets, states.device())?;
            gpu::cross_entropy(states, &weight, bias, &targets, smoothing, train)?
        } else {
            reference(states, weight, bias, targets, smoothing)?
        };
        Ok(self.count(loss, targets.len(), mode))
    }

    /// The loss of `rows` target rows. Both passes of a doubled batch see the same tokens, and
    /// count once.
    fn count(&self, loss: CrossEntropy, rows: usize, mode: &Mode) -> Loss {
        let passes = if self.doubles(mode) { 2 } else { 1 };
        let nats = loss.nats.times(1.0 / passes as f64);
        let tokens = rows / passes;
        Loss { objective: loss.objective, nats, tokens, alignment_nats: 0.0.into(), linked: 0 }
    }
}
