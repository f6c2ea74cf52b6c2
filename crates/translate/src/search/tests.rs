//! What search promises, on a model that can be enumerated.

mod beam;
mod few;
mod invariance;
mod required;
mod sampling;
mod several;

use std::num::NonZeroUsize;

use super::*;
use crate::toy::{FIRST, SPECIAL, Toy};

/// A search that keeps `beam` hypotheses, returns `n_best` and allows `max_len` tokens.
fn config(beam: usize, n_best: usize, max_len: usize) -> SearchConfig {
    SearchConfig {
        beam: NonZeroUsize::new(beam).unwrap(),
        n_best: NonZeroUsize::new(n_best).unwrap(),
        min_len: 0,
        max_len_factor: 0.0.try_into().unwrap(),
        max_len_offset: max_len,
        ..SearchConfig::default()
    }
}

/// What `f` makes of a row with these log-probabilities.
pub(super) fn with_row<R>(log_probs: &[f32], f: impl FnOnce(&Row<'_>) -> R) -> R {
    let mut step = Step::of_log_probs(log_probs.to_vec(), log_probs.len(), Vec::new());
    f(&Row { scores: &mut step.scores, shift: step.shifts[0], peaks: &mut step.peaks })
}

#[test]
fn what_is_forbidden_is_no_peak() {
    let log_probs: Vec<f32> = (0..150).map(|i| -((i * 37 % 150) as f32)).collect();
    let mut expected = log_probs.clone();
    let mut step = Step::of_log_probs(log_probs, 150, Vec::new());
    let mut row = Row { scores: &mut step.scores, shift: -1.0, peaks: &mut step.peaks };
    for token in [149, 0, 77, 150, 0, 64, 65, 140] {
        row.forbid(token);
        if let Some(log_prob) = expected.get_mut(token as usize) {
            *log_prob = f32::NEG_INFINITY;
        }
        let largest = |x: &[f32]| x.iter().copied().fold(f32::NEG_INFINITY, f32::max) - 1.0;
        assert!(row.peaks().eq(expected.chunks(CHUNK).map(largest)), "{token}");
        assert!(row.log_probs().eq(expected.iter().map(|x| x - 1.0)), "{token}");
    }
    let all: Vec<u32> = (0..3).flat_map(|c| row.chunk(c)).map(|(token, _)| token).collect();
    assert_eq!(all, (0..150).collect::<Vec<_>>());
    (0..64).for_each(|token| row.forbid(token));
    assert_eq!(row.peaks().next(), Some(f32::NEG_INFINITY));
}

fn penalties() -> [LengthPenalty; 4] {
    ["none", "average:1.0", "average:0.3", "gnmt:0.6"].map(|text| text.parse().unwrap())
}

/// Sentences of which nothing is required.
fn tasks(sources: &[Vec<u32>]) -> Vec<Task<'_>> {
    sources.iter().map(|src| Task { src, required: None }).collect()
}

/// The same for a search that looks at all tokens.
fn all<'a>(tasks: &'a [Task<'a>]) -> Tasks<'a> {
    Tasks { tasks, interest: Interest::default() }
}

/// The hypotheses of one sentence.
fn best(model: &Toy, src: &[u32], config: &SearchConfig) -> Vec<Hypothesis> {
    search(model, &[src.to_vec()], config).unwrap().remove(0)
}

/// Every translation of `src`, scored, best first.
fn enumerate(model: &Toy, src: &[u32], config: &SearchConfig) -> Vec<(f64, Vec<u32>)> {
    let mut all = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(ids) = open.pop() {
        let token_log_probs = model.token_log_probs(src, &ids);
        let log_prob = token_log_probs.iter().map(|&x| f64::from(x)).sum();
        if ids.len() >= config.min_len {
            let score = config.length_penalty.score(log_prob, token_log_probs.len());
            all.push((score, ids.clone()));
        }
        if ids.len() < config.max_len(src.len()) {
            open.extend((FIRST..model.vocab as u32).map(|id| [&ids[..], &[id]].concat()));
        }
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all
}

/// Each finished hypothesis says of itself what the model says of it.
fn assert_consistent(model: &Toy, src: &[u32], found: &[Hypothesis], config: &SearchConfig) {
    assert!(!found.is_empty() && found.len() <= config.n_best.get());
    for hypothesis in found {
        let n_rows = hypothesis.ids.len() + usize::from(hypothesis.finished);
        let expected = model.token_log_probs(src, &hypothesis.ids);
        assert_eq!(hypothesis.token_log_probs, expected[..n_rows]);
        let log_prob: f64 = expected[..n_rows].iter().map(|&x| f64::from(x)).sum();
        assert_eq!(hypothesis.log_prob, log_prob);
        assert_eq!(hypothesis.score, config.length_penalty.score(log_prob, n_rows));
        let prefix = [&[SPECIAL.bos], &hypothesis.ids[..]].concat();
        let weights: Vec<_> = (1..=n_rows).map(|n| model.weights(src, &prefix[..n])).collect();
        assert_eq!(hypothesis.weights, weights);
        assert!(hypothesis.ids.iter().all(|&id| id >= FIRST));
        assert!(hypothesis.ids.len() <= config.max_len(src.len()));
        assert!(!hypothesis.finished || hypothesis.ids.len() >= config.min_len);
    }
    assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
}
