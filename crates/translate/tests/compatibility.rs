//! A model directory of each released format stays here and must translate as it did.
//!
//! `models/format-1/README.md` says how the first was made.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use translate::{Alignment, Translation, Translator};

/// How far numbers may lie from what they were. Texts, tokens and links must be the same; the
/// last digits of a number may change with the logarithm of the system, or with the order in
/// which a later version adds. A file that is read wrongly errs by far more.
const TOLERANCE: f32 = 1e-5;

/// A line of `translations.jsonl`.
#[derive(Deserialize)]
struct Translated {
    src: String,
    translations: Vec<Translation>,
}

/// A line of `given.jsonl`: a pair that was to be scored and aligned.
#[derive(Deserialize)]
struct Given {
    src: String,
    #[serde(flatten)]
    tgt: Translation,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/format-1")
}

fn records<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All numbers of a translation.
fn numbers(translation: &Translation) -> Vec<f32> {
    let mut numbers = vec![translation.score as f32, translation.log_prob as f32];
    numbers.extend(translation.tokens.iter().map(|token| token.log_prob));
    let Alignment { weights, eos, .. } = translation.alignment.as_ref().unwrap();
    numbers.extend(weights.iter().flatten().chain(eos));
    numbers
}

/// The same text in the same pieces with the same links, and numbers that are as they were.
fn assert_same(found: &Translation, expected: &Translation) {
    let text = &expected.text;
    assert_eq!((&found.text, found.finished), (text, expected.finished));
    let pieces = |translation: &Translation| {
        let tokens = translation.tokens.iter().map(|token| (token.id, token.text.clone()));
        tokens.collect::<Vec<_>>()
    };
    assert_eq!(pieces(found), pieces(expected), "{text}");
    let words = |translation: &Translation| {
        let alignment = translation.alignment.clone().unwrap();
        (alignment.src_words, alignment.tgt_words, alignment.links)
    };
    assert_eq!(words(found), words(expected), "{text}");
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{text}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= TOLERANCE, "{text}: {found}, expected {expected}");
    }
}

#[test]
fn a_model_of_format_1_translates_as_it_did() {
    let translator = Translator::open(&folder().join("model")).unwrap();
    let expected: Vec<Translated> = records("translations.jsonl");
    let lines: Vec<String> = expected.iter().map(|line| line.src.clone()).collect();
    let found = translator.translate(&lines).unwrap();
    assert!(lines.len() > 10 && found.len() == lines.len());
    for (found, Translated { src, translations }) in found.iter().zip(&expected) {
        assert_eq!(found.len(), translations.len(), "{src}");
        found.iter().zip(translations).for_each(|(found, expected)| assert_same(found, expected));
    }
    // It has learned to turn digits around: nonsense cannot have been written down.
    let reversed = |src: &str| src.split(' ').rev().collect::<Vec<_>>().join(" ");
    let right = found.iter().zip(&lines).filter(|(found, src)| found[0].text == reversed(src));
    assert!(right.count() >= 10);
}

#[test]
fn a_model_of_format_1_scores_and_aligns_as_it_did() {
    let translator = Translator::open(&folder().join("model")).unwrap();
    let expected: Vec<Given> = records("given.jsonl");
    let pairs: Vec<(String, String)> =
        expected.iter().map(|pair| (pair.src.clone(), pair.tgt.text.clone())).collect();
    let found = translator.align(&pairs).unwrap();
    assert!(pairs.len() > 3 && found.len() == pairs.len());
    found.iter().zip(&expected).for_each(|(found, expected)| assert_same(found, &expected.tgt));
}
