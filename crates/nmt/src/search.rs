//! The options of the search, shared by all verbs that translate.

use std::num::NonZeroUsize;

use model::SearchPrecision;
use translate::search::{LengthPenalty, NonNegative, Positive, Sampling, SearchConfig, Share};

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

    /// Translate about N source tokens at once
    ///
    /// More need more memory. The translations are the same.
    #[arg(long, value_name = "N")]
    batch_tokens: Option<NonZeroUsize>,

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
        set(&mut config.min_len, self.min_len);
        set(&mut config.max_len_factor, self.max_len_factor);
        set(&mut config.no_repeat_ngram, self.no_repeat_ngram);
        set(&mut config.batch_tokens, self.batch_tokens);
        if self.beam.is_some() {
            config.sample = None;
        }
        if self.sample {
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
            "--sample --temperature 0",
            "--sample --top-p 1.5",
            "--length-penalty google",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
