//! Samples: replayable, and as frequent as the model says.

use std::collections::BTreeMap;

use super::*;

fn sampling(n: usize, seed: u64) -> SearchConfig {
    let sample = Some(Sampling { seed, ..Sampling::default() });
    SearchConfig { sample, loop_guard: 0, ..config(1, n, 3) }
}

#[test]
fn the_same_seed_draws_the_same_and_another_does_not() {
    let model = Toy::new(11, 1);
    let draw = |seed| best(&model, &[4, 5], &sampling(7, seed));
    assert_consistent(&model, &[4, 5], &draw(1), &sampling(7, 1));
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0].ids, draw(1)[6].ids);
}

/// A sample does not depend on how many are drawn beside it.
#[test]
fn fewer_samples_are_among_more() {
    let model = Toy::new(11, 1);
    let many = best(&model, &[4, 5], &sampling(9, 1));
    for one in best(&model, &[4, 5], &sampling(4, 1)) {
        assert!(many.contains(&one));
    }
}

#[test]
fn translations_are_drawn_as_often_as_they_are_probable() {
    const DRAWS: usize = 20_000;
    let model = Toy::new(6, 3); // two real tokens
    let config = SearchConfig { max_len_offset: 2, ..sampling(DRAWS, 1) };
    let mut counts: BTreeMap<(Vec<u32>, bool), usize> = BTreeMap::new();
    for sample in best(&model, &[4], &config) {
        *counts.entry((sample.ids, sample.finished)).or_default() += 1;
    }

    // What is left once padding, begin of sentence and unknown token are impossible.
    let next = |ids: &[u32], id: u32| {
        let row = model.log_probs(&[4], &[&[SPECIAL.bos], ids].concat());
        let possible: f64 = row[3..].iter().map(|&x| f64::from(x).exp()).sum();
        f64::from(row[id as usize]).exp() / possible
    };
    let mut seen = 0;
    for ids in [vec![], vec![4], vec![5], vec![4, 4], vec![4, 5], vec![5, 4], vec![5, 5]] {
        let start: f64 = (0..ids.len()).map(|n| next(&ids[..n], ids[n])).product();
        let ends = next(&ids, SPECIAL.eos);
        for (finished, p) in [(true, start * ends), (false, start * (1.0 - ends))] {
            if !finished && ids.len() < 2 {
                continue; // goes on
            }
            let count = counts.get(&(ids.clone(), finished)).copied().unwrap_or(0);
            let deviation = (DRAWS as f64 * p * (1.0 - p)).sqrt();
            let expected = DRAWS as f64 * p;
            // Four standard deviations; the seed is fixed.
            assert!(
                (count as f64 - expected).abs() < 4.0 * deviation,
                "{ids:?} {count} {expected}"
            );
            seen += count;
        }
    }
    assert_eq!(seen, DRAWS);
}

#[test]
fn almost_no_temperature_is_greedy_search() {
    let model = Toy::new(11, 1);
    let mut config = sampling(3, 1);
    let greedy = best(&model, &[4, 5], &SearchConfig { sample: None, ..config.clone() });
    config.sample = Some(Sampling { temperature: 1e-6.try_into().unwrap(), ..Sampling::default() });
    let beam_of_one = SearchConfig { n_best: NonZeroUsize::MIN, sample: None, ..config.clone() };
    assert!(!greedy.is_empty());
    for sample in best(&model, &[4, 5], &config) {
        assert_eq!(sample, best(&model, &[4, 5], &beam_of_one)[0]);
    }
}
