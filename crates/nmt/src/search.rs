//! The options of the search, shared by all verbs that translate.

use std::num::NonZeroUsize;

use model::SearchPrecision;
use translate::{
    mbr::{Mbr, Utility},
    search::{Diverse, LengthPenalty, NonNegative, Positive, Sampling, SearchConfig, Share},
};

/// How to look for a translation. What is left out is as the model's own settings say.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Search")]
pub(crate) struct Search {
    /// Hypotheses to keep at each step; 1 searches greedily [default: as the model says]
    ///
    /// Time grows with the beam. Beyond about ten, translations tend to get shorter rather
    /// than better.
    #[arg(long, value_name = "N")]
    pub(crate) beam: Option<NonZeroUsize>,

    /// Divide scores by the length: `none`, `average:A` or `gnmt:A`
    ///
    /// With `none`, short translations win, because every word makes a translation less
    /// probable. `average:A` divides by the number of tokens to the power of A, and `gnmt:A`
    /// by a milder function of it (Wu et al., 2016); a greater A prefers longer ones.
    #[arg(long, value_name = "KIND")]
    length_penalty: Option<LengthPenalty>,

    /// Prefer translations that read all of the source: weigh what they left out with B
    ///
    /// For each source token that was looked at less than once in all, the logarithm of how much
    /// it was, times B, is added to the score (Wu et al., 2016). 0 turns it off; needs a model
    /// with attention.
    #[arg(long, value_name = "B")]
    coverage_penalty: Option<NonNegative>,

    /// Make translations of at least N tokens
    #[arg(long, value_name = "N")]
    min_len: Option<usize>,

    /// Stop after F times as many tokens as the source has
    ///
    /// A few more are always allowed, so that short sentences may grow.
    #[arg(long, value_name = "F")]
    max_len_factor: Option<NonNegative>,

    /// Let no sequence of N tokens occur twice; 0 allows all
    #[arg(long, value_name = "N")]
    no_repeat_ngram: Option<usize>,

    /// Translate about N source tokens at once; on a GPU, sixteen times as many without it
    ///
    /// More need more memory. The translations are the same.
    #[arg(long, value_name = "N")]
    batch_tokens: Option<NonZeroUsize>,

    /// Divide the beam into N groups that keep apart, for `--nbest` that differ
    ///
    /// Each group avoids the words with which those before it have just gone on (diverse beam
    /// search, Vijayakumar et al., 2018).
    #[arg(long, value_name = "N", conflicts_with = "sample")]
    diverse_groups: Option<NonZeroUsize>,

    /// Keep groups apart by S nats for each hypothesis that has a word already [default: 0.5]
    #[arg(long, value_name = "S", requires = "diverse_groups")]
    diversity: Option<NonNegative>,

    /// Return the candidate most like all others, by `chrf` or `bleu`, not the most probable
    ///
    /// Minimum-Bayes-risk decoding (Eikema and Aziz, 2020), of the best that the beam finds or,
    /// with `--sample`, of samples. Scores stay those of the model; JSON has the expected utility
    /// as well.
    #[arg(long, value_name = "METRIC")]
    mbr: Option<Utility>,

    /// Compare N candidates with each other [default: 20]
    #[arg(long, value_name = "N", requires = "mbr")]
    candidates: Option<NonZeroUsize>,

    /// Multiply in `f32`, `bf16` or `int8` [default: as the model is stored]
    ///
    /// `bf16` and `int8` are faster on processors that have instructions for them, and round
    /// more; the translations are the same on all processors. `nmt export` writes a model that
    /// is `int8` from the start.
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<SearchPrecision>,

    /// Draw words at random, by their probability, instead of searching for the best
    ///
    /// The same `--seed` draws the same translation of a sentence, whatever stands around it.
    #[arg(long, help_heading = "Sampling", conflicts_with = "beam")]
    sample: bool,

    /// Sharpen (below 1) or flatten (above 1) the probabilities
    #[arg(long, value_name = "T", help_heading = "Sampling", requires = "sample")]
    temperature: Option<Positive>,

    /// Draw among the K most probable words only
    #[arg(long, value_name = "K", help_heading = "Sampling", requires = "sample")]
    top_k: Option<NonZeroUsize>,

    /// Draw among the most probable words that make up probability P
    #[arg(long, value_name = "P", help_heading = "Sampling", requires = "sample")]
    top_p: Option<Share>,
}

impl Search {
    /// The model's settings with these options on top.
    pub(crate) fn over(&self, config: &SearchConfig, seed: Option<u64>) -> SearchConfig {
        let mut config = config.clone();
        set(&mut config.beam, self.beam);
        set(&mut config.length_penalty, self.length_penalty);
        set(&mut config.coverage_penalty, self.coverage_penalty);
        set(&mut config.min_len, self.min_len);
        set(&mut config.max_len_factor, self.max_len_factor);
        set(&mut config.no_repeat_ngram, self.no_repeat_ngram);
        set(&mut config.batch_tokens, self.batch_tokens);
        if self.beam.is_some() {
            config.sample = None;
        }
        if let Some(groups) = self.diverse_groups {
            let mut diverse = Diverse { groups, ..config.diverse.unwrap_or_default() };
            set(&mut diverse.strength, self.diversity);
            (config.diverse, config.sample) = (Some(diverse), None);
        }
        if let Some(utility) = self.mbr {
            let mut mbr = Mbr { utility, ..config.mbr.unwrap_or_default() };
            set(&mut mbr.candidates, self.candidates);
            config.mbr = Some(mbr);
        }
        if self.sample {
            config.diverse = None;
            let mut sampling = config.sample.unwrap_or_default();
            set(&mut sampling.temperature, self.temperature);
            set(&mut sampling.top_p, self.top_p);
            sampling.top_k = self.top_k.or(sampling.top_k);
            config.sample = Some(sampling);
        }
        if let (Some(Sampling { seed: own, .. }), Some(seed)) = (&mut config.sample, seed) {
            *own = seed;
        }
        config
    }
}

/// Puts a value in its place, if there is one.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        search: Search,
    }

    fn parsed(line: &str) -> Result<Search, clap::Error> {
        let words = std::iter::once("nmt").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.search)
    }

    #[test]
    fn options_lie_over_the_settings_of_the_model() {
        let model = SearchConfig { min_len: 3, ..SearchConfig::default() };
        let config = parsed("--beam 7 --length-penalty gnmt:0.6").unwrap().over(&model, Some(9));
        assert_eq!((config.beam.get(), config.min_len), (7, 3));
        assert_eq!(config.length_penalty, "gnmt:0.6".parse().unwrap());
        assert_eq!(config.sample, None);
        assert_eq!(parsed("").unwrap().over(&model, None), model);
    }

    #[test]
    fn groups_and_reranking_keep_what_is_not_said() {
        let config = parsed("--diverse-groups 3").unwrap().over(&SearchConfig::default(), None);
        let diverse = config.diverse.unwrap();
        assert_eq!((diverse.groups.get(), diverse.strength.get()), (3, 0.5));
        let search = parsed("--mbr bleu --sample --candidates 9 --coverage-penalty 0.3").unwrap();
        let sampled = search.over(&config, None);
        assert_eq!((sampled.diverse, sampled.coverage_penalty.get()), (None, 0.3));
        let mbr = sampled.mbr.unwrap();
        assert_eq!((mbr.utility, mbr.candidates.get()), (Utility::Bleu, 9));
        assert_eq!(parsed("").unwrap().over(&sampled, None), sampled);
    }

    #[test]
    fn sampling_is_seeded() {
        let search = parsed("--sample --top-k 5 --temperature 0.5").unwrap();
        let sampling = search.over(&SearchConfig::default(), Some(9)).sample.unwrap();
        assert_eq!((sampling.seed, sampling.top_k), (9, NonZeroUsize::new(5)));
        assert_eq!(sampling.temperature.get(), 0.5);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--beam 0",
            "--top-k 3",
            "--sample --beam 3",
            "--diversity 1",
            "--diverse-groups 2 --sample",
            "--candidates 5",
            "--mbr ter",
            "--coverage-penalty -1",
            "--sample --temperature 0",
            "--sample --top-p 1.5",
            "--length-penalty google",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
