//! A model that says no more than a search looks at is searched like one that says everything.

use std::ops::Range;

use model::Special;
use proptest::prelude::*;

use super::*;

/// [`Toy`], which says no more than a search has said that it looks at.
struct Few(Toy);

impl EncoderDecoder for Few {
    type State = (<Toy as EncoderDecoder>::State, Interest);

    fn vocab(&self) -> usize {
        self.0.vocab()
    }

    fn special(&self) -> Special {
        self.0.special()
    }

    fn start(&self, src: &[Vec<u32>]) -> model::Result<Self::State> {
        Ok((self.0.start(src)?, Interest::default()))
    }

    fn read(&self, state: &mut Self::State, last: &[u32]) -> model::Result<()> {
        self.0.read(&mut state.0, last)
    }

    fn predict(
        &self,
        state: &mut Self::State,
        rows: Range<usize>,
        step: &mut Step,
    ) -> model::Result<()> {
        self.0.predict(&mut state.0, rows, step)?;
        if !state.1.weights {
            step.weights.iter_mut().for_each(Vec::clear);
        }
        if !state.1.log_probs {
            // Scores of any size.
            step.scores.iter_mut().for_each(|score| *score *= 4.0);
        }
        let most = state.1.best.unwrap_or(self.0.vocab);
        let mut log_probs = std::mem::take(&mut step.scores);
        for row in log_probs.chunks_exact_mut(self.0.vocab) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            for &token in order.iter().skip(most).filter(|&&t| t != SPECIAL.eos as usize) {
                row[token] = f32::NEG_INFINITY;
            }
        }
        *step = Step::of_log_probs(log_probs, self.0.vocab, std::mem::take(&mut step.weights));
        Ok(())
    }

    fn select(&self, state: &mut Self::State, rows: &[usize]) -> model::Result<()> {
        self.0.select(&mut state.0, rows)
    }

    fn expect(&self, state: &mut Self::State, interest: Interest) {
        state.1 = interest;
    }
}

fn toy(seed: u64) -> Toy {
    Toy { eos_bonus: 1.0, trap: seed.is_multiple_of(2).then_some(5), ..Toy::new(40, seed) }
}

proptest! {
    #[test]
    fn a_search_looks_at_no_more_than_it_says(
        seed in 0u64..10_000,
        beam in 1usize..5,
        n_best in 1usize..4,
        min_len in 0usize..4,
        penalty in 0usize..4,
        coverage in any::<bool>(),
    ) {
        let config = SearchConfig {
            min_len,
            length_penalty: penalties()[penalty],
            coverage_penalty: if coverage { 0.3.try_into().unwrap() } else { 0.0.try_into().unwrap() },
            ..config(beam, n_best, 6)
        };
        let sources = [vec![4, 7], vec![5], vec![8, 8, 6]];
        let expected = search(&toy(seed), &sources, &config).unwrap();
        prop_assert_eq!(&search(&Few(toy(seed)), &sources, &config).unwrap(), &expected);

        let found = search_for(Use::Ids, &Few(toy(seed)), &sources, &[], &config).unwrap();
        let ids = |found: &[Vec<Hypothesis>]| -> Vec<_> {
            found.concat().into_iter().map(|one| (one.ids, one.finished, one.lacking)).collect()
        };
        prop_assert_eq!(ids(&found), ids(&expected));
    }
}

/// What may choose any token is given all of them.
#[test]
fn a_search_that_may_look_anywhere_does() {
    let sources = [vec![4, 7], vec![5]];
    let configs = [
        SearchConfig { sample: Some(Sampling::default()), ..config(1, 2, 6) },
        SearchConfig { no_repeat_ngram: 1, ..config(3, 3, 6) },
        SearchConfig {
            diverse: Some(Diverse {
                groups: NonZeroUsize::new(2).unwrap(),
                strength: 0.5.try_into().unwrap(),
            }),
            ..config(4, 4, 6)
        },
        SearchConfig { alternatives: NonZeroUsize::new(20), ..config(2, 2, 6) },
    ];
    for config in configs {
        let expected = search(&toy(1), &sources, &config).unwrap();
        assert_eq!(search(&Few(toy(1)), &sources, &config).unwrap(), expected, "{config:?}");
    }
    let prefix = Prefix::of(&[30, 31]);
    let required = vec![Requirements { prefix, ..Requirements::default() }; 2];
    let config = config(2, 2, 6);
    let expected = search_required(&toy(1), &sources, &required, &config).unwrap();
    let found = search_required(&Few(toy(1)), &sources, &required, &config).unwrap();
    assert_eq!(found, expected);
    assert!(found[0][0].ids.starts_with(&[30, 31]));
}
