//! Diverse beams and alternatives: against what they are defined to be.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const VOCAB: usize = 9;

fn diverse(groups: usize, strength: f64) -> Option<Diverse> {
    Some(Diverse {
        groups: NonZeroUsize::new(groups).unwrap(),
        strength: strength.try_into().unwrap(),
    })
}

/// Follows the definition: each group is a beam that never stops early, and pays for the tokens
/// with which the groups before it have just gone on.
fn by_definition(model: &Toy, src: &[u32], config: &SearchConfig) -> Vec<(f64, Vec<u32>)> {
    let Diverse { groups, strength } = config.diverse.unwrap();
    let widths = (0..groups.get())
        .map(|idx| config.width() / groups + usize::from(idx < config.width() % groups));
    let mut groups: Vec<_> =
        widths.map(|width| (width, vec![(0.0, Vec::<u32>::new())], Vec::new())).collect();
    for len in 0..=config.max_len(src.len()) {
        let mut used: BTreeMap<u32, usize> = BTreeMap::new();
        for (width, live, finished) in &mut groups {
            if finished.len() >= *width {
                continue;
            }
            let mut all = Vec::new();
            for (rank, (log_prob, ids)) in live.iter().enumerate() {
                let row = model.log_probs(src, &[&[SPECIAL.bos], &ids[..]].concat());
                for id in SPECIAL.eos..VOCAB as u32 {
                    let by = strength.get() as f32;
                    let dear =
                        (0..used.get(&id).copied().unwrap_or(0)).fold(0.0, |sum, _| sum + by);
                    let seen = log_prob + f64::from(row[id as usize] - dear);
                    let total: f64 = log_prob + f64::from(row[id as usize]);
                    all.push((seen, id, rank, total, [&ids[..], &[id]].concat()));
                }
            }
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
            for (_, _, _, total, ids) in all.iter().take(*width).filter(|e| e.1 == SPECIAL.eos) {
                finished.push((config.length_penalty.score(*total, len + 1), ids[..len].to_vec()));
            }
            let going_on = all.into_iter().filter(|e| e.1 != SPECIAL.eos).take(*width);
            *live = going_on.map(|(_, _, _, total, ids)| (total, ids)).collect();
            if finished.len() < *width && len < config.max_len(src.len()) {
                live.iter().for_each(|(_, ids)| *used.entry(ids[len]).or_default() += 1);
            }
        }
    }
    let mut found: Vec<(f64, Vec<u32>)> = Vec::new();
    for (_, _, mut finished) in groups {
        finished.sort_by(|a, b| b.0.total_cmp(&a.0));
        for one in finished {
            if found.iter().all(|other| other.1 != one.1) {
                found.push(one);
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(config.n_best.get());
    found
}

proptest! {
    #[test]
    fn diverse_beams_are_what_they_are_defined_to_be(
        seed in 0u64..1000,
        beam in 3usize..7,
        n_best in 1usize..3,
        groups in 1usize..4,
        strength in 0.0f64..3.0,
        eos_bonus in 0.0f32..3.0,
    ) {
        let model = Toy { eos_bonus, ..Toy::new(VOCAB, seed) };
        // Without a divisor nothing can stop early but by the number of finished hypotheses.
        let config = SearchConfig {
            loop_guard: 0,
            diverse: diverse(groups, strength),
            length_penalty: "average:6".parse().unwrap(),
            ..config(beam, n_best, 7)
        };
        let expected = by_definition(&model, &[7, 5], &config);
        let found = best(&model, &[7, 5], &config);
        if expected.is_empty() {
            prop_assert!(!found[0].finished);
        } else {
            assert_consistent(&model, &[7, 5], &found, &config);
            let found: Vec<_> = found.into_iter().map(|h| (h.score, h.ids)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn one_group_is_a_beam(seed in 0u64..1000, beam in 1usize..5, strength in 0.0f64..3.0) {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(VOCAB, seed) };
        let plain = config(beam, beam, 7);
        let grouped = SearchConfig { diverse: diverse(1, strength), ..plain.clone() };
        prop_assert_eq!(best(&model, &[7, 5], &grouped), best(&model, &[7, 5], &plain));
    }

    #[test]
    fn each_alternative_is_the_best_that_begins_with_its_token(
        seed in 0u64..1000,
        beam in 1usize..4,
        n in 1usize..7,
        prefix in prop::collection::vec(4u32..9, 0..3),
    ) {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(VOCAB, seed) };
        let plain = config(beam, 1, 7);
        let config = SearchConfig { alternatives: NonZeroUsize::new(n), ..plain.clone() };
        let search = |ids: &[u32], config: &SearchConfig| {
            let required = Requirements { prefix: Prefix::of(ids), ..Requirements::default() };
            search_required(&model, &[vec![7, 5]], &[required], config).unwrap().remove(0)
        };
        let found = search(&prefix, &config);
        prop_assert_eq!(found.len(), n.min(VOCAB - 3));

        let row = model.log_probs(&[7, 5], &[&[SPECIAL.bos], &prefix[..]].concat());
        let mut tokens: Vec<u32> = (SPECIAL.eos..VOCAB as u32).collect();
        tokens.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        for (found, &token) in found.iter().zip(&tokens) {
            if token == SPECIAL.eos {
                prop_assert_eq!(&found.ids, &prefix);
                prop_assert!(found.finished);
            } else {
                // A prefix extends the longest length.
                let plain = SearchConfig { max_len_offset: 6, ..plain.clone() };
                let expected = search(&[&prefix[..], &[token]].concat(), &plain);
                prop_assert_eq!(&found.ids, &expected[0].ids);
                prop_assert_eq!(found.score, expected[0].score);
            }
        }
    }

    #[test]
    fn neighbours_change_no_group_and_no_alternative(
        seed in 0u64..1000,
        alternatives in any::<bool>(),
    ) {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(VOCAB, seed) };
        let mut config = config(4, 3, 5);
        match alternatives {
            true => config.alternatives = NonZeroUsize::new(3),
            false => config.diverse = diverse(2, 1.0),
        }
        let sources = [vec![4], vec![], vec![5, 6], vec![8; 4]];
        let together = search(&model, &sources, &config).unwrap();
        for (src, found) in sources.iter().zip(&together) {
            prop_assert_eq!(&best(&model, src, &config), found);
        }
    }
}

#[test]
fn a_greater_strength_pushes_further_apart() {
    let distinct = |strength| -> usize {
        let firsts = (0..20).map(|seed| {
            let model = Toy { eos_bonus: 1.0, ..Toy::new(VOCAB, seed) };
            let config = SearchConfig { diverse: diverse(4, strength), ..config(4, 4, 6) };
            let found = best(&model, &[7, 5], &config);
            let mut firsts: Vec<_> = found.iter().map(|h| h.ids.first().copied()).collect();
            firsts.sort_unstable();
            firsts.dedup();
            firsts.len()
        });
        firsts.sum()
    };
    assert!(distinct(0.0) < distinct(1.0) && distinct(1.0) < distinct(9.0));
}

#[test]
fn what_does_not_go_together_is_refused_with_both_names() {
    let model = Toy::new(VOCAB, 1);
    let plain = config(3, 1, 5);
    let sample = Some(Sampling::default());
    let alternatives = NonZeroUsize::new(2);
    let mbr = Some(crate::mbr::Mbr::default());
    for (config, names) in [
        (
            SearchConfig { sample, diverse: diverse(2, 1.0), ..plain.clone() },
            "sampling and diverse",
        ),
        (
            SearchConfig { alternatives, diverse: diverse(2, 1.0), ..plain.clone() },
            "diverse beams and alternatives",
        ),
        (SearchConfig { alternatives, mbr, ..plain.clone() }, "alternatives and reranking"),
        (SearchConfig { diverse: diverse(4, 1.0), ..plain.clone() }, "groups and the beam"),
    ] {
        let refused = search(&model, &[vec![4]], &config).unwrap_err().to_string();
        assert!(refused.contains(names), "{refused}");
    }
}
