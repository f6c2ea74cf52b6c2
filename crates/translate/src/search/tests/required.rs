//! Prefixes, required phrases and coverage against enumeration.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::search::phrases::tests::{edges, present};

/// Real tokens 4, 5, 6 and 7; 7 ends within a word, 5 and 7 begin within one.
const VOCAB: usize = 8;
const MAX_LEN: usize = 4;
/// More than there are translations of at most `MAX_LEN` tokens, for each of up to 6 banks.
const EVERYTHING: usize = 6 * 4usize.pow(MAX_LEN as u32 + 1);

fn prefixed(prefix: Prefix) -> Requirements {
    Requirements { prefix, ..Requirements::default() }
}

fn containing(phrases: &[Vec<u32>]) -> Requirements {
    let forms = phrases.iter().map(|phrase| vec![phrase.clone()]).collect();
    Requirements { phrases: Phrases::new(forms, edges(VOCAB as u32)), ..Requirements::default() }
}

/// The hypotheses of one sentence of which something is required.
fn best_of(
    model: &Toy,
    src: &[u32],
    required: &Requirements,
    config: &SearchConfig,
) -> Vec<Hypothesis> {
    let required = std::slice::from_ref(required);
    search_required(model, &[src.to_vec()], required, config).unwrap().remove(0)
}

/// What a prefix of the tests says about a translation, without the machine: 4 first, then 5, or
/// 6 and 4; then anything but 7.
fn allowed(ids: &[u32]) -> bool {
    match ids {
        [4, 5, rest @ ..] | [4, 6, 4, rest @ ..] => rest.first() != Some(&7),
        _ => false,
    }
}

fn forked() -> Prefix {
    Prefix::new(vec![
        Fork::Only(vec![(4, 1)]),
        Fork::Only(vec![(5, 3), (6, 2)]),
        Fork::Only(vec![(4, 3)]),
        Fork::Without([7].into()),
    ])
}

fn phrases() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(4u32..VOCAB as u32, 1..3), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn with_a_prefix_is_found_the_best_of_what_begins_with_it(
        seed in 0u64..1000,
        penalty in 0usize..4,
        no_repeat_ngram in prop::sample::select(vec![0, 3]),
    ) {
        let model = Toy::new(VOCAB, seed);
        let config = SearchConfig {
            length_penalty: penalties()[penalty],
            max_len_factor: 4.0.try_into().unwrap(),
            no_repeat_ngram,
            ..config(EVERYTHING, 7, 0)
        };
        let found = best_of(&model, &[9], &prefixed(forked()), &config);
        assert_consistent(&model, &[9], &found, &config);
        let expected: Vec<_> = enumerate(&model, &[9], &config)
            .into_iter()
            .filter(|(_, ids)| allowed(ids))
            .filter(|(_, ids)| no_repeat_ngram == 0 || ids.len() < 4 || ids[..3] != ids[1..])
            .take(7)
            .collect();
        let found: Vec<_> = found.into_iter().map(|h| (h.score, h.ids)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn with_phrases_is_found_the_best_of_what_contains_them(
        seed in 0u64..1000,
        penalty in 0usize..4,
        phrases in phrases(),
    ) {
        let model = Toy::new(VOCAB, seed);
        let length_penalty = penalties()[penalty];
        let config = SearchConfig { length_penalty, ..config(EVERYTHING, 5, MAX_LEN) };
        let required = containing(&phrases);
        let found = best_of(&model, &[9, 8], &required, &config);
        let has_all = |ids: &[u32]| present(ids, &phrases, &edges(VOCAB as u32)).iter().all(|&p| p);
        let expected: Vec<_> = enumerate(&model, &[9, 8], &config)
            .into_iter()
            .filter(|(_, ids)| has_all(ids))
            .take(5)
            .collect();
        prop_assert!(found.iter().all(|h| h.finished && h.lacking.is_empty()) || expected.is_empty());
        if !expected.is_empty() {
            assert_consistent(&model, &[9, 8], &found, &config);
            let found: Vec<_> = found.into_iter().map(|h| (h.score, h.ids)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn with_a_coverage_penalty_is_found_the_best_by_it(
        seed in 0u64..1000,
        penalty in 0usize..4,
        beta in 0.1f64..3.0,
    ) {
        let model = Toy::new(VOCAB, seed);
        let config = SearchConfig {
            length_penalty: penalties()[penalty],
            coverage_penalty: beta.try_into().unwrap(),
            ..config(EVERYTHING, 6, MAX_LEN)
        };
        let src = [9, 8, 7];
        let covered = |ids: &[u32]| -> f64 {
            let prefix = [&[SPECIAL.bos], ids].concat();
            let rows: Vec<_> = (1..=prefix.len()).map(|n| model.weights(&src, &prefix[..n])).collect();
            let sum = |s: usize| rows.iter().map(|row| f64::from(row[s])).sum::<f64>();
            (0..src.len()).map(|s| sum(s).clamp(LEAST_COVERAGE, 1.0).ln()).sum()
        };
        let mut expected: Vec<_> = enumerate(&model, &src, &config)
            .into_iter()
            .map(|(score, ids)| (score + beta * covered(&ids), ids))
            .collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        expected.truncate(6);
        let found = best(&model, &src, &config);
        let found: Vec<_> = found.into_iter().map(|h| (h.score, h.ids)).collect();
        prop_assert_eq!(found, expected);
    }
}

proptest! {
    /// Whatever the width of the beam, and however it searches.
    #[test]
    fn every_translation_begins_as_it_must(
        seed in 0u64..1000,
        beam in 1usize..5,
        sample in any::<bool>(),
        coverage in 0.0f64..1.0,
    ) {
        let model = Toy { eos_bonus: 2.0, ..Toy::new(11, seed) };
        let config = SearchConfig {
            sample: sample.then(Sampling::default),
            coverage_penalty: coverage.try_into().unwrap(),
            ..config(beam, beam, 9)
        };
        let found = best_of(&model, &[9, 8], &prefixed(forked()), &config);
        for hypothesis in &found {
            prop_assert!(allowed(&hypothesis.ids), "{:?}", hypothesis.ids);
        }
        prop_assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    #[test]
    fn every_finished_translation_contains_what_it_must(
        seed in 0u64..1000,
        beam in 1usize..7,
        phrases in phrases(),
        max_len in 0usize..9,
    ) {
        let model = Toy { eos_bonus: 3.0, ..Toy::new(VOCAB, seed) };
        let config = config(beam, 2, max_len);
        let found = best_of(&model, &[9, 8], &containing(&phrases), &config);
        prop_assert!(!found.is_empty());
        for hypothesis in &found {
            let present = present(&hypothesis.ids, &phrases, &edges(VOCAB as u32));
            let lacking: Vec<usize> = (0..phrases.len()).filter(|&i| !present[i]).collect();
            prop_assert_eq!(&hypothesis.lacking, &lacking);
            prop_assert!(!hypothesis.finished || lacking.is_empty());
        }
        // Each phrase has two tokens at most; a word may have to be ended before each. Whether the
        // end of the sentence is then probable enough is another question.
        let fits = max_len > 3 * phrases.len();
        prop_assert!(!fits || found[0].lacking.is_empty(), "{:?}", found[0]);
    }

    #[test]
    fn neighbours_with_other_requirements_change_nothing(
        seed in 0u64..1000,
        beam in 1usize..5,
        phrases in phrases(),
        order in any::<bool>(),
    ) {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(VOCAB, seed) };
        let config = config(beam, 2, 6);
        let prefix = Prefix::of(&[6, 5]);
        let both = Requirements { prefix: prefix.clone(), ..containing(&phrases) };
        let mut tasks = vec![
            (vec![4], Requirements::default()),
            (vec![5, 6], containing(&phrases)),
            (vec![5, 6], prefixed(prefix)),
            (vec![], both.clone()),
            (vec![], Requirements::default()),
            (vec![7, 4, 4], both),
        ];
        if order {
            tasks.reverse();
        }
        let (sources, required): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        let together = search_required(&model, &sources, &required, &config).unwrap();
        for ((src, required), found) in sources.iter().zip(&required).zip(&together) {
            prop_assert_eq!(&best_of(&model, src, required, &config), found);
            if required.is_empty() {
                prop_assert_eq!(&best(&model, src, &config), found);
            } else if required.phrases.is_empty() {
                prop_assert!(found[0].ids.starts_with(&[6, 5]));
            }
        }
    }
}

/// Even where the model would always go on with the word that the phrase ends in.
#[test]
fn a_phrase_once_had_is_not_lost() {
    for seed in 0..20 {
        let model = Toy { trap: Some(7), eos_bonus: -9.0, ..Toy::new(VOCAB, seed) };
        for beam in [1, 3] {
            let config = SearchConfig { loop_guard: 0, ..config(beam, 1, 12) };
            let found = best_of(&model, &[9], &containing(&[vec![4, 7], vec![6]]), &config);
            assert_eq!(found[0].lacking, [] as [usize; 0], "{:?}", found[0].ids);
        }
    }
}

#[test]
fn what_does_not_fit_is_returned_with_what_it_lacks() {
    let model = Toy::new(VOCAB, 1);
    let required = containing(&[vec![4, 6], vec![6, 4]]);
    let found = best_of(&model, &[9], &required, &config(3, 1, 3));
    assert!(!found[0].finished);
    assert_eq!(found[0].lacking.len(), 1);
    assert_eq!(best_of(&model, &[9], &required, &config(3, 1, 0))[0].lacking, [0, 1]);
}

#[test]
fn a_prefix_may_be_longer_than_a_translation_is_allowed_to_be() {
    let model = Toy { eos_bonus: 9.0, ..Toy::new(VOCAB, 1) };
    for beam in [1, 3] {
        let required = prefixed(Prefix::of(&[4; 30]));
        let found = best_of(&model, &[9], &required, &config(beam, 1, 2));
        assert!(found[0].finished && found[0].ids.starts_with(&[4; 30]));
    }
}

#[test]
fn coverage_needs_attention() {
    let model = Toy { attends: false, ..Toy::new(VOCAB, 1) };
    for beam in [1, 3] {
        let coverage_penalty = 0.5.try_into().unwrap();
        let config = SearchConfig { coverage_penalty, ..config(beam, 1, 3) };
        let error = search(&model, &[vec![4]], &config).unwrap_err().to_string();
        assert!(error.contains("the model has no attention"), "{error}");
    }
}

#[test]
fn what_cannot_be_met_by_drawing_is_refused() {
    let config = SearchConfig { sample: Some(Sampling::default()), ..config(1, 1, 3) };
    let model = Toy::new(VOCAB, 1);
    let required = [containing(&[vec![4]])];
    let refused = search_required(&model, &[vec![4]], &required, &config).unwrap_err();
    assert!(refused.to_string().starts_with("required phrases and sampling"), "{refused}");
    let refused = search_required(&model, &[], &required, &config).unwrap_err();
    assert!(refused.to_string().contains("0 sources"), "{refused}");
    let none = Requirements { phrases: Phrases::new(vec![], Arc::default()), ..prefixed(forked()) };
    assert!(search_required(&model, &[vec![4]], &[none], &config).is_ok());
}
