//! How good links are, against links that people made.
//!
//! Och and Ney (2003), “A Systematic Comparison of Various Statistical Alignment Models”, §5.
//! With found links `A`, sure links `S` and possible links `P ⊇ S`:
//!
//! ```text
//! precision = |A ∩ P| / |A|      recall = |A ∩ S| / |S|
//! AER = 1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|)
//! ```

use std::{collections::BTreeSet, ops::AddAssign};

use serde::Serialize;
use text::metrics::significance::Interval;

use super::Gold;

/// Counts from which the quality of a corpus follows; those of sentences add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// `|A|`
    pub found: usize,
    /// `|S|`
    pub sure: usize,
    /// `|A ∩ S|`
    pub found_sure: usize,
    /// `|A ∩ P|`
    pub found_possible: usize,
}

/// Quality of the links of a corpus. Each number is in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Share of the found links that are possible; one if none was found.
    pub precision: f64,
    /// Share of the sure links that were found; one if there are none.
    pub recall: f64,
    /// Harmonic mean of precision and recall; zero if both are.
    pub f1: f64,
    /// Alignment error rate, lower is better; zero if nothing was found and nothing is sure.
    pub aer: f64,
}

impl LinkCounts {
    /// Counts for one sentence; `found` as (source, target). A link found twice counts once.
    pub fn new(found: &[(usize, usize)], gold: &Gold) -> Self {
        let found: BTreeSet<_> = found.iter().copied().collect();
        let possible =
            |link: &&(usize, usize)| gold.possible.contains(link) || gold.sure.contains(link);
        Self {
            found: found.len(),
            sure: gold.sure.len(),
            found_sure: found.intersection(&gold.sure).count(),
            found_possible: found.iter().filter(possible).count(),
        }
    }

    /// The quality that follows.
    pub fn quality(&self) -> Quality {
        let share = |part: usize, whole: usize| {
            if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
        };
        let precision = share(self.found_possible, self.found);
        let recall = share(self.found_sure, self.sure);
        let sum = precision + recall;
        Quality {
            precision,
            recall,
            f1: if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum },
            aer: 1.0 - share(self.found_sure + self.found_possible, self.found + self.sure),
        }
    }
}

/// Where 95 % of the alignment error rates lie of as many sentences, drawn `trials` times from these
/// with repetition (Koehn, 2004): how far the rate of the corpus can be trusted. `draw(n)` returns
/// a number below `n`, each equally likely. None without a sentence or a trial.
pub fn bootstrap(
    sentences: &[LinkCounts],
    trials: usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Option<Interval> {
    if sentences.is_empty() || trials == 0 {
        return None;
    }
    let mut drawn = || {
        let mut counts = LinkCounts::default();
        (0..sentences.len()).for_each(|_| counts += sentences[draw(sentences.len())]);
        counts.quality().aer
    };
    Some(Interval::new((0..trials).map(|_| drawn()).collect()))
}

impl AddAssign for LinkCounts {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.sure += other.sure;
        self.found_sure += other.found_sure;
        self.found_possible += other.found_possible;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::parse_links;

    fn counts(found: &str, gold: &str) -> LinkCounts {
        let found: Vec<_> = parse_links(found).unwrap().sure.into_iter().collect();
        LinkCounts::new(&found, &parse_links(gold).unwrap())
    }

    #[test]
    fn a_small_case_agrees_with_the_formulas() {
        // A = 4 links, S = 3, A ∩ S = 2, A ∩ P = 3.
        let quality = counts("0-0 1-1 2-2 5-5", "0-0 1-1 3-3 2p2 4p4").quality();
        assert_eq!(quality.precision, 3.0 / 4.0);
        assert_eq!(quality.recall, 2.0 / 3.0);
        assert!((quality.f1 - 12.0 / 17.0).abs() < 1e-15);
        assert_eq!(quality.aer, 1.0 - 5.0 / 7.0);
    }

    #[test]
    fn a_corpus_is_judged_by_the_sum_of_its_counts() {
        let mut corpus = counts("0-0", "0-0 1-1");
        corpus += counts("0-0 1-1 2-2", "0-0");
        assert_eq!(corpus, LinkCounts { found: 4, sure: 3, found_sure: 2, found_possible: 2 });
        assert_eq!(corpus.quality().aer, 1.0 - 4.0 / 7.0);
    }

    #[test]
    fn equal_sentences_leave_no_doubt_and_unequal_ones_do() {
        let (good, bad) = (counts("0-0", "0-0"), counts("1-0", "0-0"));
        let interval = bootstrap(&[good; 3], 10, &mut |n| n - 1).unwrap();
        assert_eq!((interval.mean, interval.low, interval.high), (0.0, 0.0, 0.0));
        // Texts of two sentences each: both good, both bad, and one of each twice.
        let mut draws = [0, 0, 1, 1, 0, 1, 1, 0].into_iter().cycle();
        let mut draw = |_: usize| draws.next().unwrap();
        let interval = bootstrap(&[good, bad], 4, &mut draw).unwrap();
        assert_eq!((interval.mean, interval.low, interval.high), (0.5, 0.0, 1.0));
        assert_eq!(bootstrap(&[], 8, &mut draw), None);
        assert_eq!(bootstrap(&[good], 0, &mut draw), None);
    }

    /// The standard error of the mean of `n` sentences that are right with probability ½ is
    /// `½ / √n`; 95 % lie within 1.96 of it.
    #[test]
    fn the_interval_is_that_of_the_normal_distribution() {
        let sentences: Vec<LinkCounts> =
            (0..400).map(|i| counts(["0-0", "1-0"][i % 2], "0-0")).collect();
        let mut state = 1u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % n as u64) as usize
        };
        let interval = bootstrap(&sentences, 1000, &mut draw).unwrap();
        let expected = 1.96 * 0.5 / 20.0;
        assert!((interval.half_width() / expected - 1.0).abs() < 0.1, "{interval:?}");
        assert!((interval.mean - 0.5).abs() < 0.01);
    }

    #[test]
    fn nothing_found_and_nothing_wanted_are_decided() {
        let of = |found, gold| {
            let Quality { precision, recall, f1, aer } = counts(found, gold).quality();
            [precision, recall, f1, aer]
        };
        assert_eq!(of("", ""), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(of("", "0-0"), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(of("0-0", ""), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(of("0-0", "0p0"), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(of("1-0", "0-0"), [0.0, 0.0, 0.0, 1.0]);
    }

    /// Sure links are possible even where the gold standard does not repeat them.
    #[test]
    fn a_sure_link_counts_as_possible() {
        let gold = Gold { sure: [(0, 0)].into(), possible: BTreeSet::new() };
        assert_eq!(LinkCounts::new(&[(0, 0)], &gold).quality().precision, 1.0);
    }
}
