//! All that a resumed run needs besides the model and the optimizer's moments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, config::Metric, guard::Guard, log::Lengths, schedule::Plateau};

/// The newest format of a run's state this build writes.
pub(crate) const FORMAT: u32 = 1;

/// Keys that may change between the parts of an interrupted run: limits, and what does not
/// enter the numbers. Files may move: a fingerprint tells whether the data is the same.
const MAY_CHANGE: [&str; 10] = [
    "training.updates",
    "training.epochs",
    "training.max_minutes",
    "training.early_stopping.patience",
    "training.threads",
    "training.keep",
    "training.average",
    "data.train",
    "data.valid",
    "data.test",
];

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// Updates made.
    pub(crate) step: u64,
    /// The pass over the data that the next batch belongs to, counted from 1.
    pub(crate) epoch: u64,
    /// Batches of this pass that are done.
    pub(crate) batch_idx: usize,
    pub(crate) plateau: Plateau,
    pub(crate) best: Option<Best>,
    /// Validations since the best one.
    pub(crate) since_best: usize,
    /// What the next report will be about.
    pub(crate) tally: Tally,
    pub(crate) guard: Guard,
    /// Seconds of training, interruptions excluded.
    #[serde(with = "crate::exact")]
    pub(crate) elapsed_seconds: f64,
    /// The resolved experiment file.
    pub(crate) config: String,
    /// Fingerprint of the ids of the training and the development data.
    pub(crate) data: String,
    /// How long the files of the record were.
    pub(crate) logs: Lengths,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    pub(crate) step: u64,
    #[serde(with = "crate::exact")]
    pub(crate) value: f64,
}

/// Sums since the last report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    #[serde(with = "crate::exact")]
    pub(crate) nats: f64,
    pub(crate) tokens: u64,
    #[serde(default, with = "crate::exact")]
    pub(crate) alignment_nats: f64,
    #[serde(default)]
    pub(crate) linked: u64,
    #[serde(with = "crate::exact")]
    pub(crate) seconds: f64,
}

impl State {
    /// The state before the first update.
    pub(crate) fn new(config: String, data: String) -> Self {
        Self {
            format: FORMAT,
            step: 0,
            epoch: 1,
            batch_idx: 0,
            plateau: Plateau::default(),
            best: None,
            since_best: 0,
            tally: Tally::default(),
            guard: Guard::default(),
            elapsed_seconds: 0.0,
            config,
            data,
            logs: Lengths::new(),
        }
    }

    /// Records a validation's score; whether it is the best so far.
    pub(crate) fn score(&mut self, metric: Metric, value: f64) -> bool {
        let better = self.best.is_none_or(|best| match metric {
            Metric::Perplexity => value < best.value,
            Metric::Bleu | Metric::Chrf => value > best.value,
        });
        if better {
            self.best = Some(Best { step: self.step, value });
        }
        self.since_best = if better { 0 } else { self.since_best + 1 };
        better
    }

    /// Checks that a run may go on with another experiment file and with this data.
    ///
    /// # Errors
    /// [`Error::ChangedKey`] or [`Error::ChangedData`].
    pub(crate) fn check_unchanged(&self, config: &str, data: &str) -> Result<()> {
        check_config(&self.config, config)?;
        if self.data != data {
            return Err(Error::ChangedData);
        }
        Ok(())
    }
}

/// Checks that two experiment files differ at most in what may change.
///
/// # Errors
/// [`Error::ChangedKey`].
pub(crate) fn check_config(before: &str, now: &str) -> Result<()> {
    let (before, now) = (flat(before), flat(now));
    let keys = before.keys().chain(now.keys());
    for key in keys.filter(|key| !may_change(key)) {
        let value = |table: &BTreeMap<String, String>| {
            table.get(key).cloned().unwrap_or_else(|| "absent".into())
        };
        let (before, now) = (value(&before), value(&now));
        if before != now {
            return Err(Error::ChangedKey { key: key.clone(), before, now });
        }
    }
    Ok(())
}

fn may_change(key: &str) -> bool {
    MAY_CHANGE.iter().any(|free| {
        key.strip_prefix(free).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// The values of a TOML document by their full keys. A document that cannot be read has none,
/// and so differs from all that can.
fn flat(text: &str) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(&format!("{path}{dot}{key}"), value, into);
                }
            }
            other => {
                into.insert(path.into(), other.to_string());
            }
        }
    }
    let mut values = BTreeMap::new();
    walk("", &toml::Value::Table(text.parse().unwrap_or_default()), &mut values);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_with_the_same_bits() {
        let mut state = State::new("seed = 1\n".into(), "abc".into());
        state.tally = Tally {
            nats: 0.1 + 0.2,
            tokens: 17,
            alignment_nats: 0.1 + 0.7,
            linked: 11,
            seconds: 1.0 / 3.0,
        };
        state.score(Metric::Bleu, 100.0 / 3.0);
        state.guard.report(7.1).unwrap();
        state.logs.insert("train.log".into(), 12);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }

    #[test]
    fn the_best_is_the_lowest_perplexity_or_the_highest_bleu() {
        let mut state = State::new(String::new(), String::new());
        let scores = [3.0, 4.0, 3.0, 2.0].map(|value| state.score(Metric::Perplexity, value));
        assert_eq!(scores, [true, false, false, true]);
        let mut state = State::new(String::new(), String::new());
        let scores = [3.0, 4.0, 4.0].map(|value| state.score(Metric::Bleu, value));
        assert_eq!((scores, state.since_best), ([true, true, false], 1));
    }

    #[test]
    fn limits_and_places_may_change_and_everything_else_is_named() {
        let before = "seed = 1\n[training]\nlr = 0.1\nupdates = 5\n[data]\ntrain = [{ tsv = 'a' }]\n\
                      max_len = 9\n";
        let same = "seed = 1\n[training]\nlr = 0.1\nepochs = 7\nthreads = 2\n[data]\ntrain = []\n\
                    max_len = 9\n[data.test.x]\ntsv = 'b'\n";
        check_config(before, same).unwrap();
        for (from, to, key, values) in [
            ("lr = 0.1", "lr = 0.2", "training.lr", ["0.1", "0.2"]),
            ("max_len = 9", "", "data.max_len", ["9", "absent"]),
            ("seed = 1", "seed = 1\ntrainings = 3", "trainings", ["absent", "3"]),
        ] {
            let message = check_config(before, &before.replace(from, to)).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
            assert!(values.iter().all(|value| message.contains(value)), "{message}");
        }
        let state = State::new(before.into(), "abc".into());
        assert!(state.check_unchanged(same, "abc").is_ok());
        assert!(matches!(state.check_unchanged(same, "abd"), Err(Error::ChangedData)));
    }
}
