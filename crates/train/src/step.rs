//! One update: forward, loss, backward, clip, apply.

use candle_core::Var;
use kernels::{Mode, Purpose, Random};
use model::{Batch, Model, Objective};

use crate::{
    Result,
    config::Experiment,
    gradients::{Gradients, clip_factor},
    optimizer::Optimizer,
};

/// A model that learns.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    gradients: Gradients,
}

/// What an update saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Update {
    /// Cross-entropy without label smoothing, summed, in nats.
    pub(crate) nats: f64,
    /// Target tokens.
    pub(crate) tokens: usize,
    /// Norm of the mean gradient before clipping. If it is not finite, nothing was changed.
    pub(crate) norm: f64,
}

/// A sentence pair as ids.
type Pair<'a> = (&'a [u32], &'a [u32]);

impl Learner {
    /// A learner with a fresh optimizer.
    pub(crate) fn new(model: Model, experiment: &Experiment) -> Result<Self> {
        let parameters: Vec<(String, Var)> =
            model.parameters().iter().map(|(name, var)| (name.into(), var.clone())).collect();
        let optimizer = Optimizer::new(&experiment.training.optimizer, &parameters)?;
        Ok(Self { model, optimizer, gradients: Gradients::new(parameters) })
    }

    /// Makes update number `step`, counted from 1, with the mean gradient over `batches`.
    ///
    /// Dropout follows from the seed, the step and the place of a batch among `batches`.
    pub(crate) fn update(
        &mut self,
        experiment: &Experiment,
        step: u64,
        lr: f64,
        batches: &[Vec<Pair<'_>>],
    ) -> Result<Update> {
        let training = &experiment.training;
        let first = (step - 1) * training.accumulate.get() as u64;
        let objective = Objective::smoothed(training.label_smoothing.get());
        self.gradients.clear();
        let mut nats = 0.0;
        for (pairs, number) in batches.iter().zip(first..) {
            let batch = Batch::new(pairs, self.model.special())?;
            let mode = Mode::Train(Random::new(experiment.seed, Purpose::Dropout, number));
            let loss = self.model.loss(&batch, &objective, &mode)?;
            nats += loss.nats;
            self.gradients.add(loss.objective.backward()?, loss.tokens)?;
        }
        let norm = self.gradients.norm::<f32>()?;
        if norm.is_finite() {
            let factor = clip_factor(norm, training.clip_norm.get());
            self.optimizer.step(&self.gradients, lr, factor)?;
        }
        Ok(Update { nats, tokens: self.gradients.tokens(), norm })
    }
}
