//! Neighbours change nothing, and broken models are found out.

use std::ops::Range;

use model::Special;
use proptest::prelude::*;

use super::*;

fn sources() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(4u32..9, 0..6), 0..9)
}

proptest! {
    #[test]
    fn neighbours_and_order_do_not_change_a_result(
        sources in sources(),
        order in any::<u64>(),
        seed in 0u64..1000,
        beam in 1usize..5,
        n_best in 1usize..4,
        sample in any::<bool>(),
    ) {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(11, seed) };
        let config = SearchConfig {
            max_len_factor: 1.0.try_into().unwrap(),
            sample: sample.then(Sampling::default),
            ..config(beam, n_best, 3)
        };
        let together = search(&model, &sources, &config).unwrap();
        prop_assert_eq!(together.len(), sources.len());
        let mut shuffled: Vec<usize> = (0..sources.len()).collect();
        kernels::Random::new(order, kernels::Purpose::Shuffle, 0).stream().shuffle(&mut shuffled);
        let others: Vec<Vec<u32>> = shuffled.iter().map(|&idx| sources[idx].clone()).collect();
        let others = search(&model, &others, &config).unwrap();
        for (place, &idx) in shuffled.iter().enumerate() {
            prop_assert_eq!(&others[place], &together[idx]);
            prop_assert_eq!(&best(&model, &sources[idx], &config), &together[idx]);
        }
    }
}

/// Fails the test when it is asked for anything.
struct Unasked;

impl EncoderDecoder for Unasked {
    type State = ();

    fn vocab(&self) -> usize {
        7
    }

    fn special(&self) -> Special {
        SPECIAL
    }

    fn start(&self, src: &[Vec<u32>]) -> model::Result<()> {
        panic!("asked to encode {src:?}")
    }

    fn read(&self, _: &mut (), last: &[u32]) -> model::Result<()> {
        panic!("asked to read {last:?}")
    }

    fn predict(&self, _: &mut (), rows: Range<usize>, _: &mut Step) -> model::Result<()> {
        panic!("asked what follows {rows:?}")
    }

    fn select(&self, _: &mut (), rows: &[usize]) -> model::Result<()> {
        panic!("asked to select {rows:?}")
    }
}

#[test]
fn empty_sentences_stay_empty_and_no_model_is_asked() {
    for beam in [1, 3] {
        let found = search(&Unasked, &[vec![], vec![]], &config(beam, 1, 5)).unwrap();
        assert_eq!(found, [[Hypothesis::empty()], [Hypothesis::empty()]]);
        assert_eq!(search(&Unasked, &[], &config(beam, 1, 5)).unwrap(), [] as [Vec<_>; 0]);
    }
}

/// Computes the same step whatever it is asked.
struct Broken(Step);

impl EncoderDecoder for Broken {
    type State = ();

    fn vocab(&self) -> usize {
        5
    }

    fn special(&self) -> Special {
        SPECIAL
    }

    fn start(&self, _: &[Vec<u32>]) -> model::Result<()> {
        Ok(())
    }

    fn read(&self, _: &mut (), _: &[u32]) -> model::Result<()> {
        Ok(())
    }

    fn predict(&self, _: &mut (), _: Range<usize>, step: &mut Step) -> model::Result<()> {
        step.clone_from(&self.0);
        Ok(())
    }

    fn select(&self, _: &mut (), _: &[usize]) -> model::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_model_is_an_error() {
    let mut nan = vec![-1.0; 5];
    nan[4] = f32::NAN;
    for (log_probs, weights, message) in [
        (nan, vec![vec![]], "the model's log-probability of token 0 is NaN"),
        (vec![-1.0; 4], vec![vec![]], "returned 4 scores, expected 5"),
        (vec![-1.0; 5], vec![], "returned 0 rows of attention weights, expected 1"),
    ] {
        let model = Broken(Step::of_log_probs(log_probs, 5, weights));
        for beam in [1, 2] {
            let error = search(&model, &[vec![4]], &config(beam, 1, 3)).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
