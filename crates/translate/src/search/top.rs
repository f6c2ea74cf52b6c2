//! The best few of many candidates, in one pass and without sorting them all.

use std::cmp::Ordering;

use kernels::logits::CHUNK;

use super::Row;
use crate::{Error, Result};

/// One more token for one hypothesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Log-probability of the hypothesis with the token, in nats.
    pub(super) total: f64,
    /// Log-probability of the token.
    pub(super) log_prob: f32,
    /// The token.
    pub(super) token: u32,
    /// Row of the hypothesis among those of its sentence.
    pub(super) parent: usize,
}

impl Candidate {
    /// Better first; of equals the lower token, then the lower parent. The order is total, so
    /// that a result depends on nothing else.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        (other.total.total_cmp(&self.total))
            .then(self.token.cmp(&other.token))
            .then(self.parent.cmp(&other.parent))
    }
}

/// Keeps the best candidates of those that it is shown.
///
/// Candidates that may be among the best are gathered; when there are twice too many, the worse
/// half goes, and the worst that stays becomes the threshold below which nothing is looked at.
/// Whoever shows the peaks of all rows first has a threshold from the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Top {
    gathered: Vec<Candidate>,
    /// Totals of candidates that will be shown: the best of each chunk.
    foreseen: Vec<f64>,
    keep: usize,
    threshold: f64,
}

impl Top {
    /// Forgets everything and keeps `keep` candidates from now on.
    pub(super) fn reset(&mut self, keep: usize) {
        self.gathered.clear();
        self.foreseen.clear();
        self.keep = keep;
        self.threshold = f64::NEG_INFINITY;
    }

    /// Looks at the peaks of a row that will be scanned.
    pub(super) fn foresee(&mut self, base: f64, row: &Row<'_>) {
        let possible = row.peaks().filter(|&peak| peak > f32::NEG_INFINITY); // a NaN is not
        self.foreseen.extend(possible.map(|peak| base + f64::from(peak.min(0.0))));
    }

    /// Ends looking ahead. Each peak is a candidate of its own: what is worse than `keep` of them
    /// is not among the best.
    pub(super) fn settle(&mut self) {
        if (1..=self.foreseen.len()).contains(&self.keep) {
            let by_total = |a: &f64, b: &f64| b.total_cmp(a);
            self.threshold = *self.foreseen.select_nth_unstable_by(self.keep - 1, by_total).1;
        }
    }

    /// Looks at every token of one row; `base` is the log-probability of its hypothesis.
    ///
    /// # Errors
    /// [`Error::NotANumber`] if the row holds a NaN.
    pub(super) fn scan(&mut self, parent: usize, base: f64, row: &Row<'_>) -> Result<()> {
        let mut cutoff = self.cutoff(base);
        for (chunk, peak) in row.peaks().enumerate() {
            if peak < cutoff {
                continue; // a NaN is not
            }
            for (token, log_prob) in row.chunk(chunk) {
                if log_prob.is_nan() {
                    return Err(Error::NotANumber { token, found: log_prob });
                }
                if log_prob >= cutoff && log_prob > f32::NEG_INFINITY {
                    // Rounding may leave a log-probability above zero; a probability is not.
                    let log_prob = log_prob.min(0.0);
                    let total = base + f64::from(log_prob);
                    self.gathered.push(Candidate { total, log_prob, token, parent });
                }
            }
            if self.gathered.len() >= 2 * self.keep.max(CHUNK) {
                self.drop_worse();
                cutoff = self.cutoff(base);
            }
        }
        Ok(())
    }

    /// The kept candidates, best first.
    pub(super) fn best(&mut self) -> &[Candidate] {
        self.drop_worse();
        self.gathered.sort_unstable_by(Candidate::order);
        &self.gathered
    }

    fn drop_worse(&mut self) {
        if self.keep > 0 && self.gathered.len() > self.keep {
            let (_, worst, _) =
                self.gathered.select_nth_unstable_by(self.keep - 1, Candidate::order);
            self.threshold = worst.total;
        }
        self.gathered.truncate(self.keep);
    }

    /// A log-probability below which no token of a hypothesis with `base` reaches the
    /// threshold. Lower than need be by what rounding may do to a total, so that a tie is
    /// never lost.
    fn cutoff(&self, base: f64) -> f32 {
        let rounding = 2.0 * f64::EPSILON * self.threshold.abs();
        ((self.threshold - base - rounding) as f32).next_down()
    }
}

/// The most likely token of a row, of equals the lowest; none if all have probability zero.
///
/// # Errors
/// [`Error::NotANumber`] if the row holds a NaN.
pub(super) fn most_likely(row: &Row<'_>) -> Result<Option<(u32, f32)>> {
    if row.shift.is_nan() {
        return Err(Error::NotANumber { token: 0, found: row.shift });
    }
    let mut best = (0, f32::NEG_INFINITY);
    for (peak, (scores, tokens)) in
        row.peaks.iter().zip(row.scores.chunks(CHUNK).zip((0..).step_by(CHUNK)))
    {
        if *peak <= best.1 {
            continue;
        }
        for (&score, token) in scores.iter().zip(tokens..) {
            if score > best.1 {
                best = (token, score);
            }
        }
    }
    let (token, score) = best;
    Ok((score > f32::NEG_INFINITY).then(|| (token, (score + row.shift).min(0.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::with_row;
    use proptest::prelude::*;

    /// The token that is said to be no number.
    fn not_a_number(error: Error) -> Option<u32> {
        match error {
            Error::NotANumber { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Few distinct values, so that ties are common.
    fn rows() -> impl Strategy<Value = Vec<(f64, Vec<f32>)>> {
        let log_prob = prop_oneof![
            (0u8..7).prop_map(|x| -f32::from(x) / 3.0),
            Just(f32::NEG_INFINITY),
            -9.0f32..0.0
        ];
        let base = prop_oneof![(0u8..3).prop_map(|x| -f64::from(x) / 3.0), -5.0f64..0.0];
        prop::collection::vec((base, prop::collection::vec(log_prob, 331)), 1..7)
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_sorting_everything_finds(rows in rows(), keep in 1usize..40) {
            let mut all = Vec::new();
            for (parent, (base, row)) in rows.iter().enumerate() {
                for (token, &log_prob) in row.iter().enumerate() {
                    if log_prob > f32::NEG_INFINITY {
                        let total = base + f64::from(log_prob);
                        all.push(Candidate { total, log_prob, token: token as u32, parent });
                    }
                }
            }
            all.sort_by(Candidate::order);
            all.truncate(keep);
            for looks_ahead in [false, true] {
                let mut top = Top::default();
                top.reset(keep);
                if looks_ahead {
                    rows.iter().for_each(|(base, row)| with_row(row, |row| top.foresee(*base, row)));
                    top.settle();
                }
                for (parent, (base, row)) in rows.iter().enumerate() {
                    with_row(row, |row| top.scan(parent, *base, row)).unwrap();
                }
                prop_assert_eq!(top.best(), &all[..]);
            }
        }

        #[test]
        fn the_most_likely_token_is_the_first_of_the_top(rows in rows()) {
            let (_, row) = &rows[0];
            let mut top = Top::default();
            top.reset(1);
            with_row(row, |row| top.scan(0, 0.0, row)).unwrap();
            let first = top.best().first().map(|c| (c.token, c.log_prob));
            prop_assert_eq!(with_row(row, most_likely).unwrap(), first);
        }
    }

    #[test]
    fn a_nan_is_an_error_of_its_row_wherever_it_hides() {
        for place in [0, 63, 64, 200, 330] {
            let mut row = vec![-1.0f32; 331];
            row[0] = -0.1;
            row[place] = f32::NAN;
            let mut top = Top::default();
            top.reset(2);
            let found = [
                with_row(&row, |row| top.scan(0, 0.0, row)).err(),
                with_row(&row, most_likely).err(),
            ];
            for error in found {
                assert_eq!(error.and_then(not_a_number), Some(0), "{place}");
            }
        }
    }
}
