//! Minimum-Bayes-risk decoding: of several candidates, the one that agrees most with all others.
//!
//! The most probable translation is one of very many, and often an odd one. What a model believes
//! on the whole is better shown by the candidate whose expected similarity to a translation drawn
//! from the model is greatest (Kumar and Byrne, 2004; Eikema and Aziz, 2020, “Is MAP Decoding All
//! You Need?”, §6). The expectation is over the candidates: as often as they were drawn if they
//! are samples, else by their probability among each other. A candidate is compared with itself
//! too.

use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use text::metrics::{BleuConfig, ChrfConfig, Metric};

use crate::Hypothesis;

/// Reranking by expected utility.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mbr {
    /// What makes two translations alike.
    pub utility: Utility,
    /// How many translations are compared with each other: samples, or the best of the beam.
    pub candidates: NonZeroUsize,
}

impl Default for Mbr {
    fn default() -> Self {
        let candidates = const { NonZeroUsize::new(20).expect("twenty is not zero") };
        Self { utility: Utility::default(), candidates }
    }
}

/// A similarity of two sentences, in percent: of a candidate to what stands for a reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Utility {
    /// Character n-grams.
    #[default]
    Chrf,
    /// Word n-grams, with the effective order of single sentences.
    Bleu,
}

impl FromStr for Utility {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "chrf" => Ok(Self::Chrf),
            "bleu" => Ok(Self::Bleu),
            _ => Err("expected chrf or bleu".into()),
        }
    }
}

impl Utility {
    /// How similar `candidate` is to `reference`, in percent.
    pub fn of(self, candidate: &str, reference: &str) -> f64 {
        let metric = match self {
            Self::Chrf => Metric::Chrf(ChrfConfig::default()),
            Self::Bleu => Metric::Bleu(BleuConfig::default()),
        };
        let mut counts = metric.for_sentences().of_no_sentences(1);
        // One reference for one sentence: that always fits.
        counts.push(candidate, &[reference]).map_or(0.0, |()| counts.score().value)
    }
}

/// A candidate with what it promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Which candidate.
    pub idx: usize,
    /// Its expected utility, in percent.
    pub utility: f64,
}

/// Ranks candidates by expected utility, best first; of equals the first stays first. A text that
/// occurs more than once is returned once, and weighs as much as all of its occurrences.
pub fn rank(texts: &[String], weights: &[f64], utility: Utility) -> Vec<Ranked> {
    let mut distinct: Vec<(usize, f64)> = Vec::new();
    for (idx, (text, &weight)) in texts.iter().zip(weights).enumerate() {
        match distinct.iter_mut().find(|(other, _)| texts[*other] == *text) {
            Some((_, sum)) => *sum += weight,
            None => distinct.push((idx, weight)),
        }
    }
    let total: f64 = distinct.iter().map(|(_, weight)| weight).sum();
    let expected = |&(idx, _): &(usize, f64)| {
        let similar =
            |&(other, weight): &(usize, f64)| weight * utility.of(&texts[idx], &texts[other]);
        Ranked { idx, utility: distinct.iter().map(similar).sum::<f64>() / total }
    };
    let mut ranked: Vec<Ranked> = distinct.iter().map(expected).collect();
    ranked.sort_by(|a, b| b.utility.total_cmp(&a.utility)); // stable
    ranked
}

/// How much each candidate counts: the same if they were `drawn`, else its probability.
pub(crate) fn weights(candidates: &[Hypothesis], drawn: bool) -> Vec<f64> {
    let best = candidates.iter().map(|one| one.log_prob).fold(f64::NEG_INFINITY, f64::max);
    let weight = |one: &Hypothesis| if drawn { 1.0 } else { (one.log_prob - best).exp() };
    candidates.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn what_agrees_with_most_comes_first_whatever_its_own_weight() {
        let texts = texts(&["ein roter Ball", "xyz", "der rote Ball", "ein rote Ball"]);
        for utility in [Utility::Chrf, Utility::Bleu] {
            let ranked = rank(&texts, &[1.0; 4], utility);
            assert_eq!((ranked[0].idx, ranked[3].idx), (3, 1), "{ranked:?}");
            // By hand: the mean over all four.
            let of = |one: usize| texts.iter().map(|t| utility.of(&texts[one], t)).sum::<f64>();
            assert_eq!(ranked[0].utility, of(3) / 4.0);
        }
    }

    #[test]
    fn what_was_drawn_twice_counts_twice_and_is_returned_once() {
        let ranked = rank(&texts(&["a b c d", "e f g h", "e f g h"]), &[1.0; 3], Utility::Chrf);
        assert_eq!(ranked.iter().map(|r| r.idx).collect::<Vec<_>>(), [1, 0]);
        assert!((ranked[0].utility - 200.0 / 3.0).abs() < 1e-9);
        assert!((ranked[1].utility - 100.0 / 3.0).abs() < 1e-9);
        // Equals stay in their order.
        assert_eq!(rank(&texts(&["a", "b"]), &[1.0; 2], Utility::Chrf)[0].idx, 0);
        assert_eq!(rank(&texts(&["a", "b"]), &[1.0, 2.0], Utility::Chrf)[0].idx, 1);
    }

    #[test]
    fn weights_are_probabilities_unless_drawn() {
        let one = |log_prob| Hypothesis { log_prob, ..Hypothesis::empty() };
        let candidates = [one(-2.0), one(-1.0)];
        assert_eq!(weights(&candidates, true), [1.0, 1.0]);
        assert_eq!(weights(&candidates, false), [(-1.0f64).exp(), 1.0]);
    }

    #[test]
    fn empty_translations_can_be_compared() {
        for utility in [Utility::Chrf, Utility::Bleu] {
            let ranked = rank(&texts(&["", "a"]), &[1.0; 2], utility);
            assert!(ranked.iter().all(|one| one.utility.is_finite()), "{ranked:?}");
        }
    }
}
