//! Scores against those of sacreBLEU, case by case, and properties that every score has.
//!
//! `scripts/reference/metrics.py` writes the cases. The variable `NMT_METRIC_CASES` replaces them
//! by others that the script made, for instance from thousands of generated sentences.

use std::error::Error;

use proptest::prelude::*;
use serde::Deserialize;
use text::metrics::significance::{self, Interval, Test};
use text::metrics::{BleuConfig, ChrfConfig, Metric, SACREBLEU, Statistics, TerConfig, VERSION};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the script wrote. Texts are named by their number.
#[derive(Deserialize)]
struct Reference {
    sacrebleu: String,
    seed: u64,
    cases: Vec<Case>,
    comparisons: Vec<Comparison>,
    texts: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    metric: String,
    options: Options,
    /// Whether there is a score for each sentence, or one for all.
    sentence: bool,
    hyps: usize,
    refs: Vec<usize>,
    lines: Vec<String>,
    signature: String,
}

#[derive(Deserialize)]
struct Comparison {
    metric: String,
    options: Options,
    test: String,
    trials: usize,
    baseline: usize,
    system: usize,
    refs: Vec<usize>,
    /// Of baseline and system, if the test has them.
    intervals: Vec<Expected>,
    p_value: f64,
    signature: String,
}

#[derive(Deserialize)]
struct Expected {
    mean: f64,
    half_width: f64,
}

/// Options of any metric, by the names and with the defaults that they have in sacreBLEU.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    lowercase: bool,
    tokenize: Option<String>,
    smooth_method: Option<String>,
    smooth_value: Option<f64>,
    effective_order: bool,
    char_order: Option<usize>,
    word_order: usize,
    beta: Option<u32>,
    whitespace: bool,
    eps_smoothing: bool,
    normalized: bool,
    no_punct: bool,
    asian_support: bool,
    case_sensitive: bool,
}

impl Options {
    fn metric(&self, name: &str) -> Result<Metric> {
        Ok(match name.parse()? {
            Metric::Bleu(default) => Metric::Bleu(BleuConfig {
                tokenization: self.tokenize.as_deref().unwrap_or("13a").parse()?,
                lowercase: self.lowercase,
                smoothing: match (&self.smooth_method, self.smooth_value) {
                    (None, _) => default.smoothing,
                    (Some(method), None) => method.parse()?,
                    (Some(method), Some(value)) => format!("{method}:{value}").parse()?,
                },
                effective_order: self.effective_order,
            }),
            Metric::Chrf(default) => Metric::Chrf(ChrfConfig {
                char_order: self.char_order.unwrap_or(default.char_order),
                word_order: self.word_order,
                beta: self.beta.unwrap_or(default.beta),
                lowercase: self.lowercase,
                whitespace: self.whitespace,
                effective_order: !self.eps_smoothing,
            }),
            Metric::Ter(_) => Metric::Ter(TerConfig {
                normalized: self.normalized,
                no_punct: self.no_punct,
                asian_support: self.asian_support,
                case_sensitive: self.case_sensitive,
            }),
        })
    }
}

impl Reference {
    fn read() -> Result<Self> {
        let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/metrics.json");
        let path = std::env::var("NMT_METRIC_CASES").unwrap_or_else(|_| bundled.to_owned());
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }

    fn statistics(&self, metric: &Metric, hyps: usize, refs: &[usize]) -> Result<Statistics> {
        let refs: Vec<_> = refs.iter().map(|&number| self.texts[number].clone()).collect();
        Ok(metric.statistics(&self.texts[hyps], &refs)?)
    }
}

/// A signature as sacreBLEU would print it: with its version in place of ours.
fn theirs(signature: &str) -> String {
    let settings = signature.strip_suffix(VERSION).expect("a signature ends in our version");
    format!("{settings}{SACREBLEU}")
}

/// Score, verbose line and signature, of whole texts and sentence by sentence.
#[test]
fn every_printed_digit_is_that_of_sacrebleu() -> Result<()> {
    let reference = Reference::read()?;
    assert_eq!(reference.sacrebleu, SACREBLEU);
    assert!(reference.cases.len() >= 40);
    let mut wrong = Vec::new();
    for case in &reference.cases {
        let metric = case.options.metric(&case.metric)?;
        let statistics = reference.statistics(&metric, case.hyps, &case.refs)?;
        let scores: Vec<_> = if case.sentence {
            (0..statistics.sentences()).map(|idx| statistics.score_of([idx])).collect()
        } else {
            vec![statistics.score()]
        };
        assert_eq!(scores.len(), case.lines.len());
        for (idx, (score, line)) in scores.iter().zip(&case.lines).enumerate() {
            if score.line != *line || theirs(&score.signature) != case.signature {
                let expected = format!("expected {line} ({})", case.signature);
                wrong.push(format!("{} {idx}: {score}, {expected}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn significance_tests_agree_with_sacrebleu_given_the_same_draws() -> Result<()> {
    let reference = Reference::read()?;
    for case in &reference.comparisons {
        let metric = case.options.metric(&case.metric)?;
        let baseline = reference.statistics(&metric, case.baseline, &case.refs)?;
        let system = reference.statistics(&metric, case.system, &case.refs)?;
        let mut draw = generator(reference.seed);

        let (test, p_value) = if case.test == "bs" {
            let found = significance::paired_bootstrap(&baseline, &system, case.trials, &mut draw)?;
            assert_eq!(case.intervals.len(), 2);
            close(&found.baseline, &case.intervals[0]);
            close(&found.system, &case.intervals[1]);
            let mut again = generator(reference.seed);
            assert_eq!(significance::bootstrap(&system, case.trials, &mut again)?, found.system);
            (Test::Bootstrap, found.p_value)
        } else {
            let p = significance::paired_randomization(&baseline, &system, case.trials, &mut draw)?;
            (Test::Randomization, p)
        };
        // A quotient of two integers, off by its last bit when read from decimal digits.
        assert!((p_value - case.p_value).abs() < 1e-12, "{p_value}, expected {}", case.p_value);
        let signature = significance::signature(&system, test, case.trials, 12_345);
        assert_eq!(theirs(&signature), case.signature);
    }
    Ok(())
}

/// The script's generator: linear congruential, upper bits, modulo.
fn generator(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |bound| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    }
}

/// sacreBLEU resamples in single precision: six digits of a score up to 100 are what it has.
fn close(found: &Interval, expected: &Expected) {
    let errors = [found.mean - expected.mean, found.half_width() - expected.half_width];
    assert!(errors.iter().all(|error| error.abs() < 1e-4), "{found:?} is wrong by {errors:?}");
}

/// The metrics with names, and BLEU as in the literature.
fn metrics() -> Vec<Metric> {
    let named = ["bleu", "chrf", "chrf++", "ter"];
    let mut metrics: Vec<Metric> = named.iter().filter_map(|name| name.parse().ok()).collect();
    assert_eq!(metrics.len(), named.len());
    metrics.push(Metric::Bleu(BleuConfig::literature()));
    metrics
}

/// Lines of a small vocabulary, so that they share words, with anything else in between.
fn lines(n: usize) -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![8 => "[a-e]", 1 => r"[0-9.,'\-]{1,4}", 1 => r"\PC{0,3}"];
    let line = prop::collection::vec(word, 0..13).prop_map(|words| words.join(" "));
    prop::collection::vec(line, n..=n)
}

proptest! {
    #[test]
    fn a_text_is_a_perfect_translation_of_itself(mut text in lines(5)) {
        text.push("four words at least".to_owned());
        for metric in metrics() {
            let score = metric.corpus(&text, std::slice::from_ref(&text)).unwrap();
            let best = if metric.higher_is_better() { 100.0 } else { 0.0 };
            prop_assert!((score.value - best).abs() < 1e-9, "{}", score.line);
        }
    }

    #[test]
    fn scores_are_percentages(hyps in lines(3), first in lines(3), second in lines(3)) {
        let refs = [first, second];
        for metric in metrics() {
            let value = metric.corpus(&hyps, &refs).unwrap().value;
            // Rounding may carry a perfect score beyond 100; errors can outnumber words.
            let highest = if metric.higher_is_better() { 100.0 + 1e-9 } else { f64::MAX };
            prop_assert!((0.0..=highest).contains(&value), "{value}");
        }
    }

    #[test]
    fn the_order_of_sentences_does_not_matter(hyps in lines(7), refs in lines(7), by in 1..7usize) {
        let turned = |text: &[String]| {
            let mut text = text.to_vec();
            text.rotate_left(by);
            text
        };
        for metric in metrics() {
            let score = metric.corpus(&hyps, std::slice::from_ref(&refs)).unwrap();
            prop_assert_eq!(score, metric.corpus(&turned(&hyps), &[turned(&refs)]).unwrap());
        }
    }

    #[test]
    fn a_sentence_scores_as_a_text_of_one_line(hyp in lines(1), refs in lines(2)) {
        let streams: Vec<Vec<String>> = refs.iter().map(|line| vec![line.clone()]).collect();
        for metric in metrics() {
            let score = metric.sentence(&hyp[0], &[&refs[0], &refs[1]]).unwrap();
            prop_assert_eq!(score, metric.corpus(&hyp, &streams).unwrap());
        }
    }
}
