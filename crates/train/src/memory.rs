//! How much memory training will need, how much there is, and the token budget that fits.
//!
//! To what [`model::memory`] forecasts of a batch come the parameters, what the optimizer remembers
//! of each that is trained (Adam: two numbers), the moving average of the weights and, where the
//! gradients of several batches make one update, their sum. The training data, which is in memory
//! as ids, and what translates at validations are not in the forecast: [`SHARE`] leaves room for
//! them.

mod available;

use std::{fmt, num::NonZeroUsize};

use model::{Vocabs, memory::NUMBER};

use crate::{
    Error, Result,
    config::{Experiment, OptimizerConfig, pattern},
};

pub use self::available::available;

/// How much of the available memory a fitted budget may need, in percent.
pub const SHARE: u64 = 80;
/// Fitted budgets are multiples of this, and at least this.
const STEP: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// The largest fitted budget. Larger batches are no faster.
const MOST: usize = 65_536;
/// The program itself and what its threads hold.
const PROGRAM: u64 = 24 << 20;

/// What training needs and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The token budget of a batch.
    pub batch_tokens: NonZeroUsize,
    /// What training with it is forecast to need.
    pub needed: Bytes,
    /// What there was when the run began, if the system tells.
    pub available: Option<Bytes>,
}

impl Memory {
    /// What is wrong, if the forecast exceeds what there is.
    pub(crate) fn warning(&self) -> Option<String> {
        let available = self.available.filter(|available| self.needed > *available)?;
        Some(format!(
            "training needs about {}, more than the {available} available: with a smaller \
             `training.batch_tokens` it needs less, with `accumulate` in return an update is the \
             same",
            self.needed
        ))
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// In GiB with two digits or so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.0 as f64 / f64::from(1 << 30);
        let digits = match gib {
            _ if gib < 0.995 => 2,
            _ if gib < 9.95 => 1,
            _ => 0,
        };
        write!(f, "{gib:.digits$} GiB")
    }
}

/// What an experiment needs, whatever its token budget.
#[derive(Clone, Debug)]
pub struct Forecast {
    batch: model::memory::Forecast,
    /// Bytes that do not depend on the batch.
    fixed: u64,
    /// How often a token goes through the network.
    passes: usize,
}

impl Forecast {
    /// For an experiment with these vocabularies.
    ///
    /// # Errors
    /// If its configuration contradicts the vocabularies.
    pub fn new(experiment: &Experiment, vocabs: &Vocabs) -> Result<Self> {
        let training = &experiment.training;
        let specs = model::specs(&experiment.model, vocabs)?;
        let trained = specs.iter().filter(|spec| !pattern::any(&training.freeze, &spec.name));
        let trained: u64 =
            trained.map(|spec| spec.shape.iter().map(|&n| n as u64).product::<u64>()).sum();
        let batch = model::memory::Forecast::new(&experiment.model, vocabs)?;
        let batch = if training.guided.is_some() { batch.guided() } else { batch };
        let parameters = batch.parameters() as u64;
        let remembered = match &training.optimizer {
            OptimizerConfig::Adam(_) | OptimizerConfig::AdamW(_) => 2,
            OptimizerConfig::Sgd(sgd) if sgd.momentum.get() > 0.0 => 1,
            OptimizerConfig::Sgd(_) => 0,
        };
        let average = if training.ema.is_some() { parameters } else { 0 };
        let sum = if training.accumulate.get() > 1 { trained } else { 0 };
        let numbers = parameters + remembered * trained + average + sum;
        let passes = if training.r_drop.get() > 0.0 { 2 } else { 1 };
        Ok(Self { batch, fixed: PROGRAM + NUMBER * numbers, passes })
    }

    /// What training with batches of so many tokens on either side needs.
    pub fn bytes(&self, batch_tokens: NonZeroUsize) -> Bytes {
        let tokens = batch_tokens.get().saturating_mul(self.passes);
        Bytes(self.fixed.saturating_add(self.batch.batch_bytes(tokens, tokens)))
    }

    /// The largest token budget whose forecast is at most [`SHARE`] percent of `available`.
    ///
    /// # Errors
    /// [`Error::TooLittleMemory`] if there is none.
    pub fn fit(&self, available: Bytes) -> Result<NonZeroUsize> {
        let limit = Bytes((u128::from(available.0) * u128::from(SHARE) / 100) as u64);
        let budgets = (STEP.get()..=MOST).step_by(STEP.get()).filter_map(NonZeroUsize::new);
        let fitting = budgets.take_while(|&tokens| self.bytes(tokens) <= limit);
        fitting.last().ok_or(Error::TooLittleMemory {
            tokens: STEP.get(),
            needed: self.bytes(STEP),
            share: SHARE,
            available,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(overrides: &[&str]) -> Forecast {
        let text = "[data]\nsrc = 'a'\ntgt = 'b'\ntrain = [{ tsv = 'x' }]\nvalid = { tsv = 'y' }\n\
                    [model.transformer]\n[training]\nupdates = 1\n";
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        let experiment = Experiment::parse("test", text, &overrides).unwrap();
        let vocabs = Vocabs { src: 1000, tgt: 1000, joint: true, ..Vocabs::default() };
        Forecast::new(&experiment, &vocabs).unwrap()
    }

    fn tokens(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn a_fitted_budget_is_the_largest_that_fits() {
        let forecast = forecast(&[]);
        for gib in [2, 3, 5] {
            let available = Bytes(gib << 30);
            let found = forecast.fit(available).unwrap();
            assert!(found.get().is_multiple_of(256) && found.get() < MOST, "{found}");
            let limit = available.0 / 100 * SHARE;
            assert!(forecast.bytes(found).0 <= limit);
            assert!(forecast.bytes(tokens(found.get() + 256)).0 > limit);
        }
        assert_eq!(forecast.fit(Bytes(u64::MAX)).unwrap().get(), MOST);
    }

    #[test]
    fn too_little_memory_is_an_error_that_says_how_much() {
        let message = forecast(&[]).fit(Bytes(100 << 20)).unwrap_err().to_string();
        assert!(message.contains("256 tokens") && message.contains("0.10 GiB"), "{message}");
    }

    #[test]
    fn every_copy_of_the_parameters_counts() {
        let (adam, n) = (forecast(&[]), tokens(512));
        let copy = NUMBER * adam.batch.parameters() as u64;
        let fixed = |overrides: &[&str]| forecast(overrides).bytes(n).0;
        let base = adam.bytes(n).0;
        assert_eq!(fixed(&["training.optimizer=sgd"]), base - 2 * copy);
        assert_eq!(fixed(&["training.optimizer.sgd.momentum=0.9"]), base - copy);
        assert_eq!(fixed(&["training.ema=0.99"]), base + copy);
        assert_eq!(fixed(&["training.accumulate=2"]), base + copy);
        assert!(fixed(&["training.freeze=[\"encoder.*\"]"]) < base);
        assert!(fixed(&["training.guided.weight=0.1"]) > base);
        assert_eq!(fixed(&["training.r_drop=5"]), adam.bytes(tokens(1024)).0);
    }

    #[test]
    fn who_has_too_little_is_warned() {
        let memory = |available: Option<u64>| Memory {
            batch_tokens: tokens(4096),
            needed: Bytes(3 << 30),
            available: available.map(Bytes),
        };
        assert_eq!(memory(None).warning(), None);
        assert_eq!(memory(Some(3 << 30)).warning(), None);
        let warning = memory(Some(5 << 28)).warning().unwrap();
        assert!(warning.contains("3.0 GiB") && warning.contains("1.2 GiB"), "{warning}");
    }
}
