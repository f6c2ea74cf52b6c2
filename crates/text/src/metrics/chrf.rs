//! chrF: the F-score of character n-grams.
//!
//! Popović (2015), “chrF: character n-gram F-score for automatic MT evaluation”, and Popović
//! (2017), “chrF++: words helping character n-grams”.

use std::borrow::Cow;

use super::ngrams::NGrams;
use super::tokenize::{is_space, words};
use super::{Definition, case, yes_no};

/// What stands for a rate that has nothing to be a rate of, unless such orders are left out.
const EPSILON: f64 = 1e-16;

/// Settings of chrF. The defaults are sacreBLEU's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChrfConfig {
    /// The longest character n-grams that count.
    pub char_order: usize,
    /// The longest word n-grams that count; 0 for chrF, 2 for chrF++.
    pub word_order: usize,
    /// How many times as important recall is as precision.
    pub beta: u32,
    /// Compare in lower case.
    pub lowercase: bool,
    /// Count white space among the characters.
    pub whitespace: bool,
    /// Leave out orders that hypothesis or reference are too short for. Otherwise such an order
    /// scores next to nothing, as in the author's own script.
    pub effective_order: bool,
}

impl Default for ChrfConfig {
    fn default() -> Self {
        Self {
            char_order: 6,
            word_order: 0,
            beta: 2,
            lowercase: false,
            whitespace: false,
            effective_order: true,
        }
    }
}

impl ChrfConfig {
    /// chrF++: with words and pairs of words.
    pub fn plus_plus() -> Self {
        Self { word_order: 2, ..Self::default() }
    }

    fn prepare<'a>(&self, line: &'a str) -> Cow<'a, str> {
        if self.lowercase { Cow::Owned(line.to_lowercase()) } else { Cow::Borrowed(line) }
    }

    fn chars(&self, line: &str) -> Vec<char> {
        line.chars().filter(|&c| self.whitespace || !is_space(c)).collect()
    }

    fn words<'a>(&self, line: &'a str) -> Vec<&'a str> {
        if self.word_order == 0 { Vec::new() } else { words_and_marks(line) }
    }

    fn sentence<'a>(&self, chars: &'a [char], words: &'a [&'a str]) -> Sentence<'a> {
        let chars = NGrams::new(chars, self.char_order);
        Sentence { chars, words: NGrams::new(words, self.word_order) }
    }

    /// Hypothesis, reference and matching n-grams of each order, against one reference.
    fn compare(&self, hyp: &Sentence<'_>, reference: &Sentence<'_>) -> Vec<f64> {
        let mut counts = Vec::with_capacity(3 * (self.char_order + self.word_order));
        compare(&hyp.chars, &reference.chars, self.char_order, &mut counts);
        compare(&hyp.words, &reference.words, self.word_order, &mut counts);
        counts
    }
}

struct Sentence<'a> {
    chars: NGrams<'a, char>,
    words: NGrams<'a, &'a str>,
}

fn compare<T: Ord>(
    hyp: &NGrams<'_, T>,
    reference: &NGrams<'_, T>,
    orders: usize,
    counts: &mut Vec<f64>,
) {
    for n in 1..=orders {
        let (hyp_total, ref_total) = (hyp.total(n), reference.total(n));
        // An order that the reference is too short for does not count against the hypothesis.
        let hyp_total = if ref_total > 0 { hyp_total } else { 0 };
        counts.extend([hyp_total, ref_total, hyp.matches(reference, n)].map(|count| count as f64));
    }
}

/// Words, with one punctuation mark of ASCII set apart at the end or, if there is none, at the
/// beginning.
fn words_and_marks(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for word in words(line) {
        let marked = |c: Option<char>| c.is_some_and(|c| c.is_ascii_punctuation());
        if word.chars().nth(1).is_none() {
            parts.push(word);
        } else if marked(word.chars().next_back()) {
            parts.extend([&word[..word.len() - 1], &word[word.len() - 1..]]);
        } else if marked(word.chars().next()) {
            parts.extend([&word[..1], &word[1..]]);
        } else {
            parts.push(word);
        }
    }
    parts
}

impl Definition for ChrfConfig {
    fn name(&self) -> String {
        format!("chrF{}{}", self.beta, "+".repeat(self.word_order))
    }

    fn settings(&self) -> String {
        format!(
            "case:{}|eff:{}|nc:{}|nw:{}|space:{}",
            case(self.lowercase),
            yes_no(self.effective_order),
            self.char_order,
            self.word_order,
            yes_no(self.whitespace)
        )
    }

    /// The counts against that reference which is most like the hypothesis.
    fn counts(&self, hyp: &str, refs: &[&str]) -> Vec<f64> {
        let line = self.prepare(hyp);
        let (chars, words) = (self.chars(&line), self.words(&line));
        let hyp = self.sentence(&chars, &words);
        let (mut best, mut highest) = (Vec::new(), f64::NEG_INFINITY);
        for reference in refs {
            let line = self.prepare(reference);
            let (chars, words) = (self.chars(&line), self.words(&line));
            let counts = self.compare(&hyp, &self.sentence(&chars, &words));
            let value = self.value(&counts);
            if value > highest {
                (best, highest) = (counts, value);
            }
        }
        best
    }

    fn value(&self, totals: &[f64]) -> f64 {
        let factor = f64::from(self.beta).powi(2);
        let (mut precisions, mut recalls, mut scores, mut orders) = (0.0, 0.0, 0.0, 0.0);
        for counts in totals.chunks_exact(3) {
            let (hyp, reference, matches) = (counts[0], counts[1], counts[2]);
            let precision = if hyp > 0.0 { matches / hyp } else { EPSILON };
            let recall = if reference > 0.0 { matches / reference } else { EPSILON };
            let divisor = factor * precision + recall;
            scores +=
                if divisor > 0.0 { (1.0 + factor) * precision * recall / divisor } else { EPSILON };
            if hyp > 0.0 && reference > 0.0 {
                (precisions, recalls, orders) =
                    (precisions + precision, recalls + recall, orders + 1.0);
            }
        }
        if !self.effective_order {
            let all = (totals.len() / 3).max(1);
            return 100.0 * scores / all as f64;
        }
        if precisions + recalls == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precisions / orders, recalls / orders);
        let score = (1.0 + factor) * precision * recall / (factor * precision + recall);
        100.0 * score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    fn value(config: ChrfConfig, hyp: &str, refs: &[&str]) -> f64 {
        Metric::Chrf(config).sentence(hyp, refs).unwrap().value
    }

    /// One of two characters matches and none of the pairs: precision and recall are 1/4.
    #[test]
    fn the_score_is_the_f_score_of_mean_precision_and_mean_recall() {
        let config = ChrfConfig { char_order: 2, ..ChrfConfig::default() };
        assert_eq!(value(config, "a x", &["ab"]), 25.0);
    }

    /// Precision 1, recall 1/2: with β = 2, 5 · 1/2 / (4 + 1/2).
    #[test]
    fn beta_weighs_recall() {
        let config = ChrfConfig { char_order: 1, ..ChrfConfig::default() };
        assert!((value(config, "ab", &["abcd"]) - 100.0 * 2.5 / 4.5).abs() < 1e-12);
        let config = ChrfConfig { beta: 1, ..config };
        assert!((value(config, "ab", &["abcd"]) - 100.0 / 1.5).abs() < 1e-12);
    }

    #[test]
    fn the_most_similar_reference_counts() {
        assert_eq!(value(ChrfConfig::default(), "kitten", &["dog", "kitten", "cat"]), 100.0);
    }

    #[test]
    fn punctuation_is_set_apart_at_one_end_only() {
        assert_eq!(
            words_and_marks("(hi) «no» ¡oh! \"so . é,"),
            ["(hi", ")", "«no»", "¡oh", "!", "\"", "so", ".", "é", ","]
        );
    }

    #[test]
    fn white_space_counts_only_when_asked() {
        assert_eq!(value(ChrfConfig::default(), "to gether", &["together"]), 100.0);
        let config = ChrfConfig { whitespace: true, ..ChrfConfig::default() };
        assert!(value(config, "to gether", &["together"]) < 100.0);
    }
}
