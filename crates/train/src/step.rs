//! One update: forward, loss, backward, clip, apply.

use std::path::Path;

use candle_core::{Device, Var};
use kernels::{Deferred, Mode, Purpose, Random, gpu};
use model::{Batch, Model, Objective};

use crate::{
    Result,
    config::{Experiment, pattern},
    ema::{self, Ema},
    gradients::{Gradients, clip_factor},
    init::start_from,
    optimizer::Optimizer,
};

/// The file with what the optimizer remembers.
const OPTIMIZER: &str = "optimizer.safetensors";
/// The file with the weights that are trained, where those of the model are their average.
const WEIGHTS: &str = "training.safetensors";

/// What the parts of a batch are apart in the numbers that dropout follows from. More batches are in
/// no training.
const PART: u64 = 1 << 40;

/// A model that learns.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    /// The average of its weights, if that is what shall be used.
    pub(crate) ema: Option<Ema>,
    gradients: Gradients,
    /// In how many parts the memory at hand makes it compute a batch.
    parts: usize,
}

/// What an update saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Update {
    /// Cross-entropy without label smoothing, summed, in nats.
    pub(crate) nats: f64,
    /// Target tokens.
    pub(crate) tokens: usize,
    /// How far guided attention is from its links, summed, in nats.
    pub(crate) alignment_nats: f64,
    /// Target tokens with links.
    pub(crate) linked: usize,
    /// Norm of the mean gradient before clipping. If it is not finite, nothing was changed.
    pub(crate) norm: f64,
    /// In how many parts each batch was computed, for want of memory.
    pub(crate) parts: usize,
}

/// What the batches of an update sum up to, besides their gradients.
#[derive(Clone, Debug, Default)]
struct Sums {
    nats: Vec<Deferred>,
    alignment_nats: Vec<Deferred>,
    linked: usize,
}

impl Learner {
    /// A learner with a fresh optimizer. Frozen parameters are unknown to it and to the sum of
    /// gradients.
    pub(crate) fn new(model: Model, ema: Option<Ema>, experiment: &Experiment) -> Result<Self> {
        let freeze = &experiment.training.freeze;
        let parameters: Vec<(String, Var)> = (model.parameters().iter())
            .filter(|(name, _)| !pattern::any(freeze, name))
            .map(|(name, var)| (name.into(), var.clone()))
            .collect();
        let optimizer = Optimizer::new(&experiment.training.optimizer, &parameters)?;
        let model = model.in_precision(experiment.training.precision);
        Ok(Self { model, optimizer, ema, gradients: Gradients::new(parameters), parts: 1 })
    }

    /// A learner before its first update, on a model that `new` makes.
    pub(crate) fn begin(
        experiment: &Experiment,
        new: impl Fn() -> model::Result<Model>,
    ) -> Result<Self> {
        let model = new()?;
        if let Some(init) = &experiment.init {
            start_from(&model, init)?;
        }
        let ema = match experiment.training.ema {
            None => None,
            Some(decay) => {
                let copy = new()?;
                for ((_, to), (_, from)) in copy.parameters().iter().zip(model.parameters().iter())
                {
                    to.set(from)?;
                }
                Some(Ema::new(decay.get(), copy))
            }
        };
        Self::new(model, ema, experiment)
    }

    /// The learner that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If a file cannot be read, or belongs to another experiment.
    pub(crate) fn open(
        dir: &Path,
        experiment: &Experiment,
        new: impl Fn() -> model::Result<Model>,
        device: &Device,
    ) -> Result<Self> {
        let saved = Model::open(dir, device)?;
        let (model, ema) = match experiment.training.ema {
            None => (saved, None),
            Some(decay) => {
                let model = new()?;
                ema::load_weights(&model, &dir.join(WEIGHTS))?;
                (model, Some(Ema::new(decay.get(), saved)))
            }
        };
        let mut learner = Self::new(model, ema, experiment)?;
        learner.optimizer.load(&dir.join(OPTIMIZER))?;
        Ok(learner)
    }

    /// Writes the model as it is used, and all that its training needs to go on.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        self.result().save(dir)?;
        if self.ema.is_some() {
            ema::save_weights(&self.model, &dir.join(WEIGHTS))?;
        }
        self.optimizer.save(&dir.join(OPTIMIZER))
    }

    /// The model as it is validated and saved: the averaged one, if there is an average.
    pub(crate) fn result(&self) -> &Model {
        self.ema.as_ref().map_or(&self.model, |ema| &ema.model)
    }

    /// Numbers that training changes.
    pub(crate) fn n_trained(&self) -> usize {
        self.gradients.n_numbers()
    }

    /// Makes update number `step`, counted from 1, with the mean gradient over the batches of a
    /// group, each given by the numbers of its pairs.
    ///
    /// Dropout follows from the seed, the step and the place of a batch in the group. If a GPU has not
    /// enough memory, batches are computed in twice as many parts, from then on.
    pub(crate) fn update(
        &mut self,
        experiment: &Experiment,
        step: u64,
        lr: f64,
        group: &[Vec<u32>],
        batch: impl Fn(&[u32]) -> Result<Batch>,
    ) -> Result<Update> {
        let training = &experiment.training;
        let largest = group.iter().map(Vec::len).max().unwrap_or(0);
        let Sums { nats, alignment_nats, linked } = loop {
            match self.sum(experiment, step, group, &batch) {
                Err(error) if gpu::out_of_memory(&error) && self.parts < largest => self.parts *= 2,
                sums => break sums?,
            }
        };
        let limit = training.clip_norm.get();
        let norm = if self.optimizer.clips() {
            let clip = self.gradients.clip(limit)?;
            self.optimizer.step_clipped(&self.gradients, lr, &clip)?;
            clip.norm
        } else {
            let norm = self.gradients.norm::<f32>()?;
            if norm.is_finite() {
                self.optimizer.step(&self.gradients, lr, clip_factor(norm, limit))?;
            }
            norm.into()
        };
        if let Some(ema) = &self.ema {
            ema.update(&self.model, step)?;
        }
        // Asked for last: a device has then been given all there is to do.
        let (nats, alignment_nats, norm) = (sum(&nats)?, sum(&alignment_nats)?, norm.get()?);
        if self.optimizer.clips() && !norm.is_finite() {
            self.optimizer.take_back();
        }
        let (tokens, parts) = (self.gradients.tokens(), self.parts);
        Ok(Update { nats, tokens, alignment_nats, linked, norm, parts })
    }

    /// Sums the gradients of a group of batches.
    fn sum(
        &mut self,
        experiment: &Experiment,
        step: u64,
        group: &[Vec<u32>],
        batch: impl Fn(&[u32]) -> Result<Batch>,
    ) -> Result<Sums> {
        let training = &experiment.training;
        let first = (step - 1) * training.accumulate.get() as u64;
        let (smoothing, r_drop) = (training.label_smoothing.get(), training.r_drop.get());
        let guided = training.guided.as_ref().map(|guided| guided.objective());
        let objective = Objective { smoothing, r_drop, guided };
        self.gradients.clear();
        let mut sums = Sums::default();
        for (numbers, idx) in group.iter().zip(first..) {
            let parts = numbers.chunks(numbers.len().div_ceil(self.parts).max(1));
            for (numbers, part) in parts.zip(0u64..) {
                let random = Random::new(experiment.seed, Purpose::Dropout, idx + part * PART);
                let loss = self.model.loss(&batch(numbers)?, &objective, &Mode::Train(random))?;
                sums.nats.push(loss.nats);
                sums.alignment_nats.push(loss.alignment_nats);
                sums.linked += loss.linked;
                self.gradients.add(loss.objective.backward()?, loss.tokens)?;
            }
        }
        Ok(sums)
    }
}

fn sum(numbers: &[Deferred]) -> Result<f64> {
    Ok(numbers.iter().map(Deferred::get).sum::<candle_core::Result<f64>>()?)
}

#[cfg(test)]
mod tests {
    use model::{Special, Vocabs};

    use super::*;

    const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
    const PAIRS: [(&[u32], &[u32]); 5] = [
        (&[4, 5, 6], &[7, 8]),
        (&[9], &[10, 11, 12, 13]),
        (&[14, 15], &[16]),
        (&[5, 5, 5, 5], &[17, 18]),
        (&[16, 4], &[4, 5, 6, 7, 8, 9]),
    ];
    /// The numbers of all pairs.
    const ALL: [u32; 5] = [0, 1, 2, 3, 4];

    fn batch(numbers: &[u32]) -> Result<Batch> {
        let pairs: Vec<_> = numbers.iter().map(|&number| PAIRS[number as usize]).collect();
        Ok(Batch::new(&pairs, SPECIAL)?)
    }

    fn group(batches: &[&[u32]]) -> Vec<Vec<u32>> {
        batches.iter().map(|batch| batch.to_vec()).collect()
    }

    /// A learner of a small model, by plain descent and without dropout.
    fn learner(experiment: &Experiment) -> Learner {
        let vocabs = Vocabs { src: 17, tgt: 19, ..Vocabs::default() };
        let new = || Model::new(&experiment.model, vocabs.clone(), SPECIAL, 5, &Device::Cpu);
        Learner::begin(experiment, new).unwrap()
    }

    fn experiment() -> Experiment {
        let text = "[data]\nsrc = 'a'\ntgt = 'b'\ntrain = [{ tsv = 'x' }]\nvalid = { tsv = 'y' }\n\
                    [model.rnn]\ndim = 6\nembed_dim = 5\nlayers = 1\ndropout = 0\n\
                    [training]\nupdates = 1\noptimizer = 'sgd'\nclip_norm = 0.01\n\
                    label_smoothing = 0.1\n";
        Experiment::parse("test", text, &[]).unwrap()
    }

    fn values(learner: &Learner) -> Vec<f32> {
        let parameters = learner.model.parameters();
        let values = parameters.iter().map(|(_, var)| var.flatten_all()?.to_vec1::<f32>());
        values.collect::<candle_core::Result<Vec<_>>>().unwrap().concat()
    }

    /// Batches of unequal size weigh by their tokens, as they would in one batch.
    #[test]
    fn an_update_from_several_batches_is_that_of_all_their_pairs_in_one() {
        let experiment = experiment();
        let update = |batches: &[&[u32]]| {
            let mut learner = learner(&experiment);
            let before = values(&learner);
            let update = learner.update(&experiment, 1, 0.5, &group(batches), batch).unwrap();
            let moved: Vec<f32> =
                values(&learner).iter().zip(&before).map(|(now, before)| now - before).collect();
            (update, moved)
        };
        let (one, expected) = update(&[&ALL]);
        assert!(one.norm > 0.01, "clipping takes part");
        for cut in 1..ALL.len() {
            let (several, moved) = update(&[&ALL[..cut], &ALL[cut..]]);
            assert_eq!(several.tokens, one.tokens);
            assert!((several.nats / one.nats - 1.0).abs() < 1e-6);
            assert!((several.norm / one.norm - 1.0).abs() < 1e-5);
            // Sums of a few hundred products in 32 bits, in another order.
            let far = moved.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-6);
            assert!(!far, "cut at {cut}");
        }
    }

    #[test]
    fn without_memory_for_a_batch_its_parts_are_added() {
        let experiment = experiment();
        let mut whole = learner(&experiment);
        let expected = whole.update(&experiment, 1, 0.5, &group(&[&ALL]), batch).unwrap();
        assert_eq!(expected.parts, 1);
        // Memory for two pairs: five are computed in four parts, of two, two and one.
        let scarce = |most: usize| {
            move |numbers: &[u32]| match numbers.len() {
                n if n <= most => batch(numbers),
                _ => Err(candle_core::Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY)").into()),
            }
        };
        let mut parted = learner(&experiment);
        let update = parted.update(&experiment, 1, 0.5, &group(&[&ALL]), scarce(2)).unwrap();
        assert_eq!((update.parts, update.tokens), (4, expected.tokens));
        assert!((update.norm / expected.norm - 1.0).abs() < 1e-5);
        for (a, b) in values(&parted).iter().zip(values(&whole)) {
            assert!((a - b).abs() < 1e-6);
        }
        // The next update knows.
        let again = parted.update(&experiment, 2, 0.5, &group(&[&ALL]), scarce(2)).unwrap();
        assert_eq!(again.parts, 4);
        // A pair for which there is none is an error, and so is any other error.
        let mut none = learner(&experiment);
        assert!(none.update(&experiment, 1, 0.5, &group(&[&ALL]), scarce(0)).is_err());
        let other = |_: &[u32]| Err(candle_core::Error::msg("lost").into());
        assert!(learner(&experiment).update(&experiment, 1, 0.5, &group(&[&ALL]), other).is_err());
    }
}
