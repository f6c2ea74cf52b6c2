//! Notices when training has gone wrong for good, so that it does not burn hours.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Reports that make up the recent level of the loss.
const RECENT: usize = 10;
/// Reports with a loss far above that level before training counts as diverged: one or two may
/// be unlucky batches.
const HIGH_IN_A_ROW: usize = 3;
/// Updates with a gradient that is not finite before training counts as diverged.
const SKIPPED_IN_A_ROW: usize = 3;
/// What is far above: half as much again, and by this many nats per token at least.
const MARGIN: f64 = 1.0;

/// What the past says about how losses should look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guard {
    recent: VecDeque<Exact>,
    high: usize,
    skipped: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Exact(#[serde(with = "crate::exact")] f64);

/// Why training cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Divergence {
    /// The loss of a batch is infinite or no number.
    Loss {
        /// What it is.
        found: f64,
    },
    /// The gradients of several updates in a row were not finite.
    Gradient {
        /// How many.
        updates: usize,
    },
    /// The loss stays far above its recent level.
    Level {
        /// The last report's loss, in nats per token.
        found: f64,
        /// The mean of earlier reports.
        level: f64,
        /// How many reports in a row were far above it.
        reports: usize,
    },
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loss { found } => write!(f, "the loss is {found}"),
            Self::Gradient { updates } => {
                write!(f, "the gradients of {updates} updates in a row are not finite")
            }
            Self::Level { found, level, reports } => write!(
                f,
                "the loss is {found:.3} nats per token, far above its recent level of \
                 {level:.3}, for {reports} reports in a row"
            ),
        }
    }
}

impl Guard {
    /// Looks at the loss of a batch, in nats.
    pub(crate) fn batch(&self, nats: f64) -> Result<(), Divergence> {
        if nats.is_finite() { Ok(()) } else { Err(Divergence::Loss { found: nats }) }
    }

    /// Looks at the norm of a gradient: whether it may be applied.
    pub(crate) fn gradient(&mut self, norm: f64) -> Result<bool, Divergence> {
        if norm.is_finite() {
            self.skipped = 0;
            return Ok(true);
        }
        self.skipped += 1;
        if self.skipped < SKIPPED_IN_A_ROW {
            Ok(false)
        } else {
            Err(Divergence::Gradient { updates: self.skipped })
        }
    }

    /// Looks at the loss of a report, in nats per token.
    pub(crate) fn report(&mut self, loss: f64) -> Result<(), Divergence> {
        let level = self.recent.iter().map(|x| x.0).sum::<f64>() / self.recent.len() as f64;
        let limit = level + (0.5 * level).max(MARGIN);
        if !self.recent.is_empty() && loss > limit {
            self.high += 1;
            let reports = self.high;
            return if reports < HIGH_IN_A_ROW {
                Ok(())
            } else {
                Err(Divergence::Level { found: loss, level, reports })
            };
        }
        self.high = 0;
        self.recent.push_back(Exact(loss));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_stops_at_once() {
        let guard = Guard::default();
        assert!(guard.batch(3.0).is_ok());
        for nats in [f64::NAN, f64::INFINITY] {
            let message = guard.batch(nats).unwrap_err().to_string();
            assert_eq!(message, format!("the loss is {nats}"));
        }
    }

    #[test]
    fn a_falling_or_noisy_loss_is_no_divergence() {
        let mut guard = Guard::default();
        for report in 0..200 {
            let noise = if report % 7 == 0 { 0.9 } else { 0.0 };
            guard.report(8.0 * (-f64::from(report) / 40.0).exp() + noise).unwrap();
        }
    }

    #[test]
    fn a_loss_that_stays_high_stops_at_the_third_report() {
        let mut guard = Guard::default();
        for loss in [4.0, 3.0, 2.0, 8.0, 8.0, 2.5] {
            guard.report(loss).unwrap(); // twice high, then well again
        }
        guard.report(8.0).unwrap();
        guard.report(7.0).unwrap();
        let divergence = guard.report(9.0).unwrap_err();
        // The level is the mean of 4, 3, 2 and 2.5.
        assert_eq!(divergence, Divergence::Level { found: 9.0, level: 2.875, reports: 3 });
    }

    #[test]
    fn a_few_infinite_gradients_are_skipped() {
        let mut guard = Guard::default();
        let infinite = f64::INFINITY;
        assert_eq!(
            [infinite, f64::NAN, 1.0].map(|norm| guard.gradient(norm)),
            [Ok(false), Ok(false), Ok(true)]
        );
        assert_eq!(guard.gradient(infinite), Ok(false));
        assert_eq!(guard.gradient(infinite), Ok(false));
        assert_eq!(guard.gradient(infinite), Err(Divergence::Gradient { updates: 3 }));
    }
}
