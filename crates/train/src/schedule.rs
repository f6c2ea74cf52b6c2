//! The learning rate as a function of how far training has come.
//!
//! Nothing is remembered between calls: the rate follows from the step, the epoch and the losses
//! of past validations, so a resumed run needs none but those.

use serde::{Deserialize, Serialize};

use crate::config::{Every, Schedule};

/// How far training has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// The update that is about to be made, counted from 1.
    pub step: u64,
    /// The pass over the data it belongs to, counted from 1.
    pub epoch: u64,
    /// How validation went so far.
    pub plateau: &'a Plateau,
}

impl Schedule {
    /// The learning rate of an update, where `peak` is the highest one.
    pub fn rate(&self, peak: f64, at: Progress<'_>) -> f64 {
        let step = at.step as f64;
        match self {
            Self::Constant => peak,
            Self::InverseSqrt { warmup } => {
                let warmup = warmup.get() as f64;
                peak * (step / warmup).min((warmup / step).sqrt())
            }
            Self::Luong { after, every } => peak * 0.5f64.powf(halvings(*after, *every, at) as f64),
            Self::Cosine { warmup, total } => {
                let (warmup, total) = (*warmup as f64, total.get() as f64);
                if step < warmup {
                    return peak * step / warmup;
                }
                let done = ((step - warmup) / (total - warmup)).min(1.0);
                peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Self::Plateau { factor, .. } => peak * factor.get().powf(at.plateau.reductions as f64),
        }
    }

    /// Records the loss of a validation, in nats per token.
    pub fn validated(&self, plateau: &mut Plateau, loss: f64) {
        if let Self::Plateau { patience, .. } = self {
            plateau.record(loss, patience.get());
        }
    }
}

/// How often Luong's schedule has halved the rate: once when `after` is over, and again each
/// time `every` is.
fn halvings(after: Every, every: Every, at: Progress<'_>) -> u64 {
    let (now, after, every) = match (after, every) {
        (Every::Updates(after), Every::Updates(every)) => (at.step, after, every),
        (Every::Epochs(after), Every::Epochs(every)) => (at.epoch, after, every),
        _ => unreachable!("an experiment is only read if both have the same unit"),
    };
    if now <= after.get() { 0 } else { 1 + (now - after.get() - 1) / every.get() }
}

/// The part of the validation history that [`Schedule::Plateau`] depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// The lowest loss so far, in nats per token.
    #[serde(with = "crate::exact::option")]
    best: Option<f64>,
    /// Validations since then, or since the rate was last reduced.
    waited: usize,
    /// How often the rate was reduced.
    reductions: u64,
}

impl Plateau {
    fn record(&mut self, loss: f64, patience: usize) {
        if self.best.is_none_or(|best| loss < best) {
            (self.best, self.waited) = (Some(loss), 0);
            return;
        }
        self.waited += 1;
        if self.waited >= patience {
            (self.waited, self.reductions) = (0, self.reductions + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::config::Rate;

    fn n(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }

    fn rate(schedule: &Schedule, peak: f64, step: u64, epoch: u64) -> f64 {
        schedule.rate(peak, Progress { step, epoch, plateau: &Plateau::default() })
    }

    #[test]
    fn the_inverse_square_root_rises_in_a_line_and_peaks_at_the_end_of_warm_up() {
        let schedule = Schedule::InverseSqrt { warmup: n(4) };
        let rates: Vec<f64> = [1, 2, 4, 16, 64].map(|step| rate(&schedule, 8.0, step, 1)).into();
        assert_eq!(rates, [2.0, 4.0, 8.0, 4.0, 2.0]);
    }

    /// Vaswani et al. (2017), eq. 3: `d^−0.5 · min(step^−0.5, step · warmup^−1.5)`.
    #[test]
    fn the_inverse_square_root_is_that_of_the_transformer_paper() {
        let (dim, warmup) = (512f64, 4000f64);
        let schedule = Schedule::InverseSqrt { warmup: n(4000) };
        let peak = dim.powf(-0.5) * warmup.powf(-0.5);
        for step in [1u64, 100, 3999, 4000, 4001, 100_000] {
            let s = step as f64;
            let paper = dim.powf(-0.5) * s.powf(-0.5).min(s * warmup.powf(-1.5));
            // A handful of roundings, each of 1.1e-16 relatively.
            assert!((rate(&schedule, peak, step, 1) / paper - 1.0).abs() < 1e-14, "step {step}");
        }
    }

    /// Luong et al. (2015), §4.1: rate 1, “after 5 epochs, we begin to halve the learning rate
    /// every epoch”; with dropout, after 8.
    #[test]
    fn luongs_schedule_halves_every_epoch_after_the_fifth() {
        let schedule = Schedule::Luong { after: Every::Epochs(n(5)), every: Every::Epochs(n(1)) };
        let rates: Vec<f64> = (1..=8).map(|epoch| rate(&schedule, 1.0, 999, epoch)).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125]);
    }

    #[test]
    fn luongs_schedule_counts_updates_as_well() {
        let schedule = Schedule::Luong { after: Every::Updates(n(3)), every: Every::Updates(n(2)) };
        let rates: Vec<f64> = (1..=8).map(|step| rate(&schedule, 8.0, step, 1)).collect();
        assert_eq!(rates, [8.0, 8.0, 8.0, 4.0, 4.0, 2.0, 2.0, 1.0]);
    }

    /// Loshchilov and Hutter (2017), “SGDR”, eq. 5, one period without restart.
    #[test]
    fn the_cosine_ends_at_zero_and_stays_there() {
        let schedule = Schedule::Cosine { warmup: 2, total: n(8) };
        let expected = [
            (1, 4.0),
            (2, 8.0),
            (4, 6.0), // a third of the way: (1 + cos 60°) / 2 = 3/4
            (5, 4.0),
            (6, 2.0),
            (8, 0.0),
            (99, 0.0),
        ];
        for (step, expected) in expected {
            assert!((rate(&schedule, 8.0, step, 1) - expected).abs() < 1e-14, "step {step}");
        }
        let schedule = Schedule::Cosine { warmup: 0, total: n(8) };
        assert!((rate(&schedule, 8.0, 4, 1) - 4.0).abs() < 1e-14);
    }

    #[test]
    fn a_plateau_shrinks_the_rate_each_time_patience_is_over() {
        let schedule = Schedule::Plateau {
            factor: Rate::try_from(0.5).unwrap(),
            patience: std::num::NonZeroUsize::new(2).unwrap(),
        };
        let mut plateau = Plateau::default();
        let mut rates = Vec::new();
        for loss in [3.0, 2.0, 2.0, 2.5, 1.9, 2.0, 1.9, 1.9, 1.9] {
            schedule.validated(&mut plateau, loss);
            rates.push(schedule.rate(8.0, Progress { step: 1, epoch: 1, plateau: &plateau }));
        }
        assert_eq!(rates, [8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 2.0, 2.0, 1.0]);
        let mut untouched = Plateau::default();
        Schedule::Constant.validated(&mut untouched, 3.0);
        assert_eq!(untouched, Plateau::default());
    }
}
