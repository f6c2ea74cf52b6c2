//! Batches of similar length under a token budget; shuffled, and the same again on request.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How large a batch may be.
///
/// A budget is compared with what a padded batch costs, longest sentence × sentences, where a
/// sentence is as long as its tokens and the end-of-sentence token after them. With a budget of
/// target tokens alone, this is the rule of `--max-tokens` and `batch_type: tokens` elsewhere,
/// for the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// The most target tokens, padding included.
    pub tokens: NonZeroUsize,
    /// The most source tokens, padding included; without it, the source is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_tokens: Option<NonZeroUsize>,
    /// The most sentences; without it, as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sentences: Option<NonZeroUsize>,
}

impl BatchConfig {
    /// Whether a sentence pair of these lengths, end-of-sentence tokens not counted, fits into a
    /// batch at all.
    pub fn fits(&self, src_len: u32, tgt_len: u32) -> bool {
        self.allows(1, src_len, tgt_len)
    }

    fn allows(&self, sentences: usize, src_len: u32, tgt_len: u32) -> bool {
        let within = |budget: NonZeroUsize, len: u32| {
            (len as usize + 1).checked_mul(sentences).is_some_and(|cost| cost <= budget.get())
        };
        within(self.tokens, tgt_len)
            && self.src_tokens.is_none_or(|budget| within(budget, src_len))
            && self.max_sentences.is_none_or(|most| sentences <= most.get())
    }
}

/// Plans one epoch: which sentences form which batch, in the order of training.
///
/// `lengths` holds source and target length of each sentence pair, end-of-sentence tokens not
/// counted; a batch lists positions in it. Each pair is in exactly one batch. `pick(n)` draws
/// from `0..n`; the plan is a function of the arguments and of what `pick` returns and of
/// nothing else, so a resumed run plans the epoch again and goes on with batch `k`.
///
/// Pairs are shuffled, sorted by target and then source length, and cut wherever the next one
/// would break a budget; then the batches are shuffled. Which of the pairs of equal length
/// share a batch is thus new in each epoch.
///
/// # Errors
/// [`Error::Overlong`] for a pair that breaks a budget by itself. Leave such pairs out
/// beforehand, with [`BatchConfig::fits`], and say so: nothing is left out here.
pub fn plan(
    lengths: &[(u32, u32)],
    config: &BatchConfig,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Result<Vec<Vec<u32>>> {
    let n = u32::try_from(lengths.len())
        .map_err(|_| Error::TooManyPairs { found: lengths.len(), most: u32::MAX })?;
    if let Some(pair) = lengths.iter().position(|&(src, tgt)| !config.fits(src, tgt)) {
        let (src_len, tgt_len) = lengths[pair];
        return Err(Error::Overlong { pair, src_len, tgt_len });
    }
    let mut order: Vec<u32> = (0..n).collect();
    shuffle(&mut order, pick);
    order.sort_by_key(|&pair| {
        let (src_len, tgt_len) = lengths[pair as usize];
        (tgt_len, src_len)
    });

    let mut batches = Vec::new();
    let mut batch: Vec<u32> = Vec::new();
    let mut longest_src = 0;
    for pair in order {
        let (src_len, tgt_len) = lengths[pair as usize]; // no pair before it has a longer target
        if !config.allows(batch.len() + 1, src_len.max(longest_src), tgt_len) {
            batches.push(std::mem::take(&mut batch));
            longest_src = 0;
        }
        longest_src = longest_src.max(src_len);
        batch.push(pair);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    shuffle(&mut batches, pick);
    Ok(batches)
}

/// Puts `items` into a random order (Fisher and Yates).
fn shuffle<T>(items: &mut [T], pick: &mut dyn FnMut(usize) -> usize) {
    for last in (1..items.len()).rev() {
        items.swap(last, pick(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(tokens: usize, src: Option<usize>, sentences: Option<usize>) -> BatchConfig {
        BatchConfig {
            tokens: NonZeroUsize::new(tokens).unwrap(),
            src_tokens: src.and_then(NonZeroUsize::new),
            max_sentences: sentences.and_then(NonZeroUsize::new),
        }
    }

    /// Numbers from a linear congruential generator (Knuth's constants), upper bits.
    fn picks(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |bound| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % bound
        }
    }

    fn planned(lengths: &[(u32, u32)], config: &BatchConfig, seed: u64) -> Vec<Vec<u32>> {
        plan(lengths, config, &mut picks(seed)).unwrap()
    }

    /// Three targets of 3 tokens are 12 with their ends; a fourth would make 16.
    #[test]
    fn a_batch_is_cut_where_the_next_pair_would_break_the_budget() {
        let lengths = [(9, 3); 5];
        let mut sizes: Vec<usize> =
            planned(&lengths, &config(15, None, None), 1).iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [2, 3]);
        // The source has 10 tokens with its end: two fit into 20, one into 19.
        assert_eq!(planned(&lengths, &config(15, Some(20), None), 1).len(), 3);
        assert_eq!(planned(&lengths, &config(15, Some(19), None), 1).len(), 5);
        assert_eq!(planned(&lengths, &config(15, None, Some(1)), 1).len(), 5);
    }

    #[test]
    fn a_short_target_with_a_long_source_counts_as_its_longest() {
        // In order of target: sources of 9, 1 and 1. Two make 20 source tokens, three 30.
        let lengths = [(9, 1), (1, 2), (1, 3)];
        let batches = planned(&lengths, &config(100, Some(29), None), 1);
        assert!(batches.contains(&vec![0, 1]) && batches.contains(&vec![2]), "{batches:?}");
    }

    #[test]
    fn a_pair_that_fits_no_batch_is_an_error() {
        let config = config(8, None, None);
        assert!(config.fits(1000, 7));
        assert!(!config.fits(1, 8));
        let error = plan(&[(1, 7), (5, 8)], &config, &mut picks(1)).unwrap_err();
        assert!(matches!(error, Error::Overlong { pair: 1, src_len: 5, tgt_len: 8 }), "{error}");
    }

    #[test]
    fn nothing_makes_no_batches() {
        assert!(planned(&[], &config(8, None, None), 1).is_empty());
    }

    #[test]
    fn padding_is_rare_in_a_corpus_of_usual_lengths() {
        let mut pick = picks(7);
        let lengths: Vec<(u32, u32)> = (0..20_000)
            .map(|_| {
                let tgt = 3 + (pick(20) + pick(20)) as u32;
                (tgt + pick(7) as u32, tgt)
            })
            .collect();
        let batches = planned(&lengths, &config(4096, None, None), 1);
        let (mut real, mut padded) = ([0u64; 2], [0u64; 2]);
        for batch in &batches {
            let sides = |pair: &u32| {
                let (src, tgt) = lengths[*pair as usize];
                [u64::from(src) + 1, u64::from(tgt) + 1]
            };
            for side in 0..2 {
                real[side] += batch.iter().map(|pair| sides(pair)[side]).sum::<u64>();
                let longest = batch.iter().map(|pair| sides(pair)[side]).max().unwrap();
                padded[side] += longest * batch.len() as u64;
            }
        }
        let share = |side: usize| 1.0 - real[side] as f64 / padded[side] as f64;
        assert!(share(1) < 0.01, "{} of the target is padding", share(1));
        assert!(share(0) < 0.08, "{} of the source is padding", share(0));
        let full = padded[1] as f64 / (4096 * batches.len()) as f64;
        assert!(full > 0.97, "batches use {full} of their budget");
    }

    #[test]
    fn every_pair_meets_different_company_in_another_epoch() {
        let lengths: Vec<(u32, u32)> = (0..1000u32).map(|i| (i % 7, i % 11)).collect();
        let config = config(60, None, None);
        let companions = |seed: u64| {
            let mut batch =
                planned(&lengths, &config, seed).into_iter().find(|b| b.contains(&0)).unwrap();
            batch.sort_unstable();
            batch
        };
        assert_ne!(companions(1), companions(2));
    }

    #[test]
    fn a_table_is_read_and_mistakes_are_named() {
        let parse = |json: &str| serde_json::from_str::<BatchConfig>(json);
        let read = parse(r#"{"tokens": 4096, "src_tokens": 5000, "max_sentences": 256}"#).unwrap();
        assert_eq!(read, config(4096, Some(5000), Some(256)));
        assert_eq!(parse(r#"{"tokens": 4096}"#).unwrap(), config(4096, None, None));
        assert!(parse(r#"{"tokens": 0}"#).is_err());
        assert!(parse(r#"{"tokens": 1, "sentences": 3}"#).is_err());
        assert!(parse("{}").is_err());
    }

    proptest! {
        #[test]
        fn each_pair_is_in_one_batch_and_no_budget_is_broken(
            lengths in prop::collection::vec((0u32..40, 0u32..40), 0..200),
            tokens in 40usize..300,
            src in prop::option::of(40usize..300),
            sentences in prop::option::of(1usize..9),
            seed: u64,
        ) {
            let config = config(tokens, src, sentences);
            let batches = planned(&lengths, &config, seed);
            prop_assert_eq!(&planned(&lengths, &config, seed), &batches);

            let mut all: Vec<u32> = batches.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len() as u32).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(!batch.is_empty());
                let pairs = || batch.iter().map(|&pair| lengths[pair as usize]);
                let longest_tgt = pairs().map(|(_, tgt)| tgt as usize + 1).max().unwrap();
                let longest_src = pairs().map(|(src, _)| src as usize + 1).max().unwrap();
                prop_assert!(longest_tgt * batch.len() <= tokens);
                prop_assert!(src.is_none_or(|budget| longest_src * batch.len() <= budget));
                prop_assert!(sentences.is_none_or(|most| batch.len() <= most));
            }
        }

        #[test]
        fn another_seed_gives_another_plan(seed: u64) {
            let lengths: Vec<(u32, u32)> = (0..300u32).map(|i| (i % 5, i % 3)).collect();
            let config = config(64, None, None);
            let plans = [seed, seed ^ 1 << 40].map(|seed| planned(&lengths, &config, seed));
            prop_assert_ne!(&plans[0], &plans[1]);
        }
    }
}
