//! Which pairs of the corpora of an experiment are trained on.

use std::collections::HashSet;

use rayon::prelude::*;
use text::{
    Judge, Pair,
    clean::{Overlap, key},
};
use translate::aligner::{PairScorer, Sample, ScorerState};

use super::{
    AT_ONCE,
    corpora::{Cleaned, open},
};
use crate::{
    Result,
    config::{CorpusFiles, Data as Config},
};

/// What decides about pairs: each for itself, and how it looks to an aligner that has learned from
/// all of them.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(super) judge: Judge,
    /// Keys of pairs that are no translations.
    pub(super) unaligned: HashSet<u64>,
}

impl Filter {
    /// Reads what pairs are compared with, which may take several passes over the corpora.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let mut filter = Self { judge: judge(config)?, unaligned: HashSet::new() };
        if let Some(least) = config.clean.min_alignment {
            let mut sample = Sample::default();
            for pair in Cleaned::new(config, &filter) {
                let (_, pair) = pair?;
                sample.offer(key(&pair), &pair.src, &pair.tgt);
            }
            let scorer = PairScorer::learn(&sample)?;
            let mut unaligned = HashSet::new();
            let mut cleaned = Cleaned::new(config, &filter);
            loop {
                let some = cleaned.by_ref().take(AT_ONCE).collect::<Result<Vec<_>>>()?;
                if some.is_empty() {
                    break;
                }
                let bad = some.par_iter().map_init(ScorerState::default, |state, (_, pair)| {
                    let bad = is_unaligned(&scorer, state, pair, least.get());
                    bad.then(|| key(pair))
                });
                unaligned.extend(bad.collect::<Vec<_>>().into_iter().flatten());
            }
            filter.unaligned = unaligned;
        }
        Ok(filter)
    }
}

/// Whether fewer words of a pair than this share have a counterpart. A pair of which nothing is known
/// is given the benefit of the doubt.
fn is_unaligned(scorer: &PairScorer, state: &mut ScorerState, pair: &Pair, least: f64) -> bool {
    let score = scorer.score(state, key(pair), &pair.src, &pair.tgt);
    below(score, least)
}

/// Whether a score is too low.
pub(crate) fn below(score: Option<f32>, least: f64) -> bool {
    score.is_some_and(|score| f64::from(score) < least)
}

/// What judges the pairs of an experiment one by one. It knows the held-out sets if they matter.
pub(crate) fn judge(config: &Config) -> Result<Judge> {
    let mut judge = Judge::new(config.clean.clone(), [&config.src, &config.tgt])?;
    if config.clean.drop_overlap != Overlap::None {
        for files in held_out(config) {
            for pair in open(files)? {
                judge.hold_out(pair?);
            }
        }
    }
    Ok(judge)
}

/// The development set and the test sets.
pub(crate) fn held_out(config: &Config) -> impl Iterator<Item = &CorpusFiles> {
    std::iter::once(&config.valid).chain(config.test.values())
}
