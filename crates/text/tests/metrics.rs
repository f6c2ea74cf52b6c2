//! Scores against those of sacreBLEU, case by case, and properties that every score has.
//!
//! `scripts/reference/metrics.py` writes the cases. The variable `NMT_METRIC_CASES` replaces them
//! by others that the script made, for instance from thousands of generated sentences.

use std::error::Error;

use proptest::prelude::*;
use serde_json::Value;
use text::metrics::significance::{self, Interval, Test};
use text::metrics::{BleuConfig, ChrfConfig, Metric, SACREBLEU, Smoothing, TerConfig, VERSION};

type Outcome = Result<(), Box<dyn Error>>;

/// The reference cases, with the texts that they name by number.
struct Reference {
    data: Value,
    texts: Vec<Vec<String>>,
}

impl Reference {
    fn read() -> Result<Self, Box<dyn Error>> {
        let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/metrics.json");
        let path = std::env::var("NMT_METRIC_CASES").unwrap_or_else(|_| bundled.to_owned());
        let data: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let texts = serde_json::from_value(data["texts"].clone())?;
        Ok(Self { data, texts })
    }

    fn list(&self, key: &str) -> &[Value] {
        self.data[key].as_array().unwrap()
    }

    fn text(&self, number: &Value) -> Vec<String> {
        self.texts[number.as_u64().unwrap() as usize].clone()
    }

    fn texts(&self, numbers: &Value) -> Vec<Vec<String>> {
        numbers.as_array().unwrap().iter().map(|number| self.text(number)).collect()
    }
}

/// The metric that a case names, with its options. Options nobody knows fail the test.
fn metric(case: &Value) -> Result<Metric, Box<dyn Error>> {
    let mut metric: Metric = case["metric"].as_str().unwrap().parse()?;
    for (key, value) in case["options"].as_object().unwrap() {
        match &mut metric {
            Metric::Bleu(config) => set_bleu(config, key, value)?,
            Metric::Chrf(config) => set_chrf(config, key, value),
            Metric::Ter(config) => set_ter(config, key, value),
        }
    }
    Ok(metric)
}

fn set_bleu(config: &mut BleuConfig, key: &str, value: &Value) -> Outcome {
    match key {
        "lowercase" => config.lowercase = value.as_bool().unwrap(),
        "tokenize" => config.tokenization = value.as_str().unwrap().parse()?,
        "effective_order" => config.effective_order = value.as_bool().unwrap(),
        "smooth_method" => config.smoothing = value.as_str().unwrap().parse()?,
        "smooth_value" => {
            let value = value.as_f64().unwrap();
            config.smoothing = match config.smoothing {
                Smoothing::Floor(_) => Smoothing::Floor(value),
                Smoothing::AddK(_) => Smoothing::AddK(value),
                other => panic!("{other:?} has no value"),
            };
        }
        _ => panic!("unknown option {key}"),
    }
    Ok(())
}

fn set_chrf(config: &mut ChrfConfig, key: &str, value: &Value) {
    match key {
        "word_order" => config.word_order = value.as_u64().unwrap() as usize,
        "char_order" => config.char_order = value.as_u64().unwrap() as usize,
        "beta" => config.beta = value.as_u64().unwrap() as u32,
        "lowercase" => config.lowercase = value.as_bool().unwrap(),
        "whitespace" => config.whitespace = value.as_bool().unwrap(),
        "eps_smoothing" => config.effective_order = !value.as_bool().unwrap(),
        _ => panic!("unknown option {key}"),
    }
}

fn set_ter(config: &mut TerConfig, key: &str, value: &Value) {
    let option = match key {
        "normalized" => &mut config.normalized,
        "no_punct" => &mut config.no_punct,
        "asian_support" => &mut config.asian_support,
        "case_sensitive" => &mut config.case_sensitive,
        _ => panic!("unknown option {key}"),
    };
    *option = value.as_bool().unwrap();
}

/// A signature as sacreBLEU would print it: with its version in place of ours.
fn theirs(signature: &str) -> String {
    let (settings, version) = signature.rsplit_once("|version:").unwrap();
    assert_eq!(version, VERSION);
    format!("{settings}|version:{SACREBLEU}")
}

/// Score, verbose line and signature, of whole texts and sentence by sentence.
#[test]
fn every_printed_digit_is_that_of_sacrebleu() -> Outcome {
    let reference = Reference::read()?;
    assert_eq!(reference.data["sacrebleu"], SACREBLEU);
    assert!(reference.list("cases").len() >= 40);
    let mut wrong = Vec::new();
    for case in reference.list("cases") {
        let metric = metric(case)?;
        let statistics =
            metric.statistics(&reference.text(&case["hyps"]), &reference.texts(&case["refs"]))?;
        let scores: Vec<_> = match case["sentence"].as_bool().unwrap() {
            true => (0..statistics.sentences()).map(|idx| statistics.score_of([idx])).collect(),
            false => vec![statistics.score()],
        };
        let expected: Vec<String> = serde_json::from_value(case["lines"].clone())?;
        assert_eq!(scores.len(), expected.len());
        for (idx, (score, line)) in scores.iter().zip(&expected).enumerate() {
            if score.line != *line || theirs(&score.signature) != case["signature"] {
                wrong.push(format!(
                    "{} {} {idx}: {} ({}), expected {line} ({})",
                    case["name"], case["options"], score.line, score.signature, case["signature"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn significance_tests_agree_with_sacrebleu_given_the_same_draws() -> Outcome {
    let reference = Reference::read()?;
    for case in reference.list("comparisons") {
        let metric = metric(case)?;
        let refs = reference.texts(&case["refs"]);
        let baseline = metric.statistics(&reference.text(&case["baseline"]), &refs)?;
        let system = metric.statistics(&reference.text(&case["system"]), &refs)?;
        let trials = case["trials"].as_u64().unwrap() as usize;
        let seed = reference.data["seed"].as_u64().unwrap();
        let mut draw = generator(seed);

        let (test, p_value) = if case["test"] == "bs" {
            let found = significance::paired_bootstrap(&baseline, &system, trials, &mut draw)?;
            for (interval, expected) in
                [found.baseline, found.system].iter().zip(case["intervals"].as_array().unwrap())
            {
                close(interval, expected);
            }
            let alone = significance::bootstrap(&system, trials, &mut generator(seed))?;
            assert_eq!(alone, found.system);
            (Test::Bootstrap, found.p_value)
        } else {
            let p = significance::paired_randomization(&baseline, &system, trials, &mut draw)?;
            (Test::Randomization, p)
        };
        let expected = case["p_value"].as_f64().unwrap(); // off by its last digit when read
        assert!((p_value - expected).abs() < 1e-12, "{p_value}, expected {expected}");
        let signature = significance::signature(&system, test, trials, 12_345);
        assert_eq!(theirs(&signature), case["signature"]);
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
fn close(found: &Interval, expected: &Value) {
    for (found, key) in [(found.mean, "mean"), (found.half_width(), "half_width")] {
        let expected = expected[key].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-4, "{key}: {found}, expected {expected}");
    }
}

fn metrics() -> [Metric; 5] {
    let named = Metric::NAMES.map(|name| name.parse().unwrap());
    [named[0], named[1], named[2], named[3], Metric::Bleu(BleuConfig::literature())]
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
