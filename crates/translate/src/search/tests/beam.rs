//! Greedy and beam search against enumeration and against each other.

use proptest::prelude::*;

use super::*;

/// Real tokens 4, 5 and 6.
const VOCAB: usize = 7;
const MAX_LEN: usize = 4;

/// As many hypotheses as there are translations of at most `MAX_LEN` tokens, and more.
const EVERYTHING: usize = 4usize.pow(MAX_LEN as u32 + 1);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_beam_wide_enough_finds_what_enumeration_finds(
        seed in 0u64..1000,
        min_len in 0usize..3,
        n_best in 1usize..20,
        penalty in 0usize..4,
    ) {
        let model = Toy::new(VOCAB, seed);
        let config = SearchConfig {
            min_len,
            length_penalty: penalties()[penalty],
            ..config(EVERYTHING, n_best, MAX_LEN)
        };
        let found = best(&model, &[9, 8], &config);
        let expected = enumerate(&model, &[9, 8], &config);
        assert_consistent(&model, &[9, 8], &found, &config);
        prop_assert_eq!(found.len(), n_best);
        for (found, (score, ids)) in found.iter().zip(&expected) {
            prop_assert!(found.finished);
            prop_assert_eq!(found.score, *score);
            prop_assert_eq!(&found.ids, ids);
        }
    }

    /// A wider beam may find something worse, but none finds more than all.
    #[test]
    fn no_beam_beats_the_best_of_all(seed in 0u64..1000, beam in 1usize..6) {
        let model = Toy::new(VOCAB, seed);
        let config = config(beam, 1, MAX_LEN);
        let found = &best(&model, &[9, 8], &config)[0];
        if found.finished {
            prop_assert!(found.score <= enumerate(&model, &[9, 8], &config)[0].0);
        }
    }
}

proptest! {
    #[test]
    fn greedy_search_is_a_beam_of_one(
        seed in 0u64..1000,
        eos_bonus in -2.0f32..3.0,
        no_repeat_ngram in 0usize..3,
        loop_guard in 0usize..3,
    ) {
        let model = Toy { eos_bonus, ..Toy::new(11, seed) };
        let config = SearchConfig { no_repeat_ngram, loop_guard, ..config(1, 1, 9) };
        let sources: Vec<Vec<u32>> = (0..5).map(|i| vec![4; i]).collect();
        let rules = |task: &Task<'_>| Rules::new(&config, SPECIAL, task);
        let tasks = tasks(&sources);
        let greedy = run(&model, all(&tasks), |task| Greedy::new(rules(task))).unwrap();
        let beam = run(&model, all(&tasks), |task| Beam::new(rules(task), 1, 1)).unwrap();
        prop_assert_eq!(&greedy, &beam);
        prop_assert_eq!(search(&model, &sources, &config).unwrap(), greedy);
    }

    #[test]
    fn what_is_returned_is_sorted_distinct_and_within_its_limits(
        seed in 0u64..1000,
        beam in 1usize..8,
        n_best in 1usize..8,
        min_len in 0usize..7,
        max_len in 0usize..7,
        eos_bonus in -3.0f32..6.0,
        penalty in 0usize..4,
    ) {
        let model = Toy { eos_bonus, ..Toy::new(13, seed) };
        let config = SearchConfig {
            min_len: min_len.min(max_len),
            length_penalty: penalties()[penalty],
            ..config(beam, n_best, max_len)
        };
        let found = best(&model, &[5, 6, 7], &config);
        assert_consistent(&model, &[5, 6, 7], &found, &config);
        for (idx, one) in found.iter().enumerate() {
            prop_assert!(found[..idx].iter().all(|other| other.ids != one.ids));
            prop_assert_eq!(one.finished, found[0].finished);
        }
    }

    #[test]
    fn no_ngram_occurs_twice(seed in 0u64..1000, n in 1usize..4, beam in 1usize..4) {
        let model = Toy { eos_bonus: -9.0, trap: Some(5), ..Toy::new(8, seed) };
        let config = SearchConfig { no_repeat_ngram: n, loop_guard: 0, ..config(beam, 1, 40) };
        for hypothesis in best(&model, &[5], &config) {
            let ngrams: Vec<&[u32]> = hypothesis.ids.windows(n).collect();
            for (idx, ngram) in ngrams.iter().enumerate() {
                prop_assert!(!ngrams[..idx].contains(ngram), "{:?}", hypothesis.ids);
            }
        }
    }
}

/// Follows the definition in the module's documentation, word for word, without any of the
/// machinery, and never stops early.
fn by_definition(model: &Toy, src: &[u32], config: &SearchConfig) -> Vec<(f64, Vec<u32>)> {
    let width = config.width();
    let mut live = vec![(0.0, Vec::new())];
    let mut finished: Vec<(f64, Vec<u32>)> = Vec::new();
    for len in 0..=config.max_len(src.len()) {
        let mut extensions = Vec::new();
        for (rank, (log_prob, ids)) in live.iter().enumerate() {
            let row = model.log_probs(src, &[&[SPECIAL.bos], &ids[..]].concat());
            for id in SPECIAL.eos..model.vocab as u32 {
                let total: f64 = log_prob + f64::from(row[id as usize]);
                extensions.push((total, id, rank, [&ids[..], &[id]].concat()));
            }
        }
        extensions.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        for (total, _, _, ids) in extensions.iter().take(width).filter(|e| e.1 == SPECIAL.eos) {
            let score = config.length_penalty.score(*total, len + 1);
            finished.push((score, ids[..len].to_vec()));
        }
        if finished.len() >= width {
            break;
        }
        let going_on = extensions.into_iter().filter(|e| e.1 != SPECIAL.eos);
        live = going_on.take(width).map(|(total, _, _, ids)| (total, ids)).collect();
    }
    finished.sort_by(|a, b| b.0.total_cmp(&a.0));
    finished.truncate(config.n_best.get());
    finished
}

proptest! {
    #[test]
    fn stopping_early_changes_nothing(
        seed in 0u64..1000,
        beam in 1usize..7,
        n_best in 1usize..7,
        penalty in 0usize..4,
        eos_bonus in -1.0f32..3.0,
    ) {
        let model = Toy { eos_bonus, ..Toy::new(11, seed) };
        let length_penalty = penalties()[penalty];
        let config = SearchConfig { loop_guard: 0, length_penalty, ..config(beam, n_best, 8) };
        let expected = by_definition(&model, &[7, 5], &config);
        let found = best(&model, &[7, 5], &config);
        if expected.is_empty() {
            prop_assert!(!found[0].finished);
        } else {
            let found: Vec<_> = found.into_iter().map(|h| (h.score, h.ids)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_sentence_that_is_decided_takes_no_further_steps() {
    // The end of the sentence is all but certain: nothing that lives can catch up.
    let model = Toy { eos_bonus: 30.0, ..Toy::new(11, 1) };
    let config = SearchConfig { length_penalty: LengthPenalty::None, ..config(5, 1, 50) };
    assert!(best(&model, &[4], &config)[0].ids.is_empty());
    assert_eq!(model.rows.into_inner(), 1);
}

#[test]
fn what_never_ends_is_cut_at_the_longest_length() {
    for beam in [1, 3] {
        let model = Toy { eos_bonus: -60.0, ..Toy::new(11, 1) };
        let config = SearchConfig { loop_guard: 0, ..config(beam, 3, 6) };
        let found = best(&model, &[4, 5], &config);
        assert_consistent(&model, &[4, 5], &found, &config);
        assert_eq!(found.len(), 3);
        for hypothesis in found {
            assert!(!hypothesis.finished);
            assert_eq!(hypothesis.ids.len(), 6);
        }
    }
}

#[test]
fn a_loop_is_left_after_as_many_copies_as_the_source_explains() {
    let model = Toy { eos_bonus: -30.0, trap: Some(4), ..Toy::new(5, 1) };
    let config = SearchConfig { loop_guard: 6, ..config(1, 1, 1000) };
    for (src, n_tokens) in [(&[4, 6, 7][..], 7), (&[4, 4, 4], 9), (&[6, 5, 6, 5, 6, 5, 6, 5], 10)] {
        let found = best(&model, src, &config);
        assert!(!found[0].finished);
        assert_eq!(found[0].ids, vec![4; n_tokens]);
        let beam = |task: &Task<'_>| Beam::new(Rules::new(&config, SPECIAL, task), 1, 1);
        assert_eq!(run(&model, all(&tasks(&[src.to_vec()])), beam).unwrap(), [found]);
    }
}

/// What ends elsewhere is found although the best start runs into a loop.
#[test]
fn a_wider_beam_goes_around_loops() {
    let model = Toy { trap: Some(4), ..Toy::new(7, 1) };
    let loops = |beam| {
        let config = config(beam, 1, 1000);
        let found = (0..20).map(|id| best(&model, &[id], &config).remove(0));
        found.filter(|found| !found.finished && found.ids.ends_with(&[4; 10])).count()
    };
    assert!(loops(1) > 3);
    assert_eq!(loops(6), 0);
}

#[test]
fn nothing_possible_is_an_unfinished_empty_hypothesis() {
    let model = Toy::new(4, 1); // special ids only
    for beam in [1, 4] {
        let config = SearchConfig { min_len: 1, ..config(beam, 1, 5) };
        let found = best(&model, &[4], &config);
        assert_eq!(found, [Hypothesis { finished: false, ..Hypothesis::empty() }]);
    }
}
