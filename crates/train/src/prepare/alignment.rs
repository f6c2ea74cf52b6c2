//! The third step: how pairs score as translations of each other.

use std::{
    fs::File,
    io::{BufReader, Read, Write},
    path::Path,
};

use rayon::prelude::*;
use text::{Pair, clean::key};
use translate::aligner::{PairScorer, Sample, ScorerState};

use super::{
    Progress,
    duplicates::DroppedPairs,
    stage::{Reader, Stage, appended},
};
use crate::{Error, Result, data::below};

/// Pairs that are scored at a time, on all threads.
const AT_ONCE: usize = 1 << 14;
/// Bytes of a score.
const SCORE: u64 = 4;
/// Pairs of the sample that are torn apart to see how what is no translation scores.
const MISMATCHED: usize = 4096;

/// How many pairs have which score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Pairs of each twentieth of the scale from 0 to 1.
    pub twentieths: [u64; 20],
    /// Pairs of which no word is known.
    pub unknown: u64,
}

/// How pairs of a corpus score as translations, and how those do that are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Pairs that the aligner has learned from.
    pub sampled: usize,
    /// The least score that was asked for.
    pub least: f64,
    /// All pairs that were no duplicates.
    pub pairs: Spread,
    /// Sources with targets of other pairs.
    pub mismatched: Spread,
}

impl Spread {
    /// The smallest multiple of a twentieth below which at least this share of the scores lies.
    pub fn quantile(&self, share: f64) -> f64 {
        let all: u64 = self.twentieths.iter().sum();
        let mut below = 0;
        let reached = self.twentieths.iter().position(|&n| {
            below += n;
            below as f64 >= share * all as f64
        });
        let place = reached.map_or(self.twentieths.len(), |place| place + 1);
        place as f64 / self.twentieths.len() as f64
    }

    /// Counts a pair.
    pub fn count(&mut self, score: Option<f32>) {
        match score {
            None => self.unknown += 1,
            Some(score) => {
                let last = self.twentieths.len() - 1;
                let place = (score * self.twentieths.len() as f32) as usize;
                self.twentieths[place.min(last)] += 1;
            }
        }
    }
}

/// Scores the pairs that are not dropped, and drops those that score less than `least`.
pub(super) fn run(
    stage: &Stage,
    dropped: &mut DroppedPairs,
    least: f64,
    observe: &mut dyn FnMut(Progress),
) -> Result<Scores> {
    let mut sample = Sample::default();
    for (passed, idx) in stage.pairs()?.zip(0..) {
        let pair = passed?.pair;
        if dropped.reason(idx).is_none() {
            sample.offer(key(&pair), &pair.src, &pair.tgt);
        }
    }
    observe(Progress::Aligning { pairs: sample.len() });
    let scorer = PairScorer::learn(&sample)?;
    let mut mismatched = Spread::default();
    let scores = sample.mismatched_scores(&scorer, MISMATCHED);
    scores.into_iter().for_each(|score| mismatched.count(Some(score)));
    let sampled = sample.len();
    drop(sample);

    let path = stage.scores_path();
    score_all(stage, dropped, &scorer, &path, observe)?;
    let mut pairs = Spread::default();
    let mut file = BufReader::new(File::open(&path).map_err(|source| Error::read(&path, source))?);
    for idx in 0..stage.state.passed {
        let mut bytes = [0; SCORE as usize];
        file.read_exact(&mut bytes).map_err(|source| Error::read(&path, source))?;
        let score = f32::from_le_bytes(bytes);
        let score = (!score.is_nan()).then_some(score);
        if dropped.reason(idx).is_none() {
            pairs.count(score);
            if below(score, least) {
                dropped.drop_unaligned(idx);
            }
        }
    }
    Ok(Scores { sampled, least, pairs, mismatched })
}

/// Writes the score of each pair, behind those that are there. How many these are says how far an
/// earlier attempt came.
fn score_all(
    stage: &Stage,
    dropped: &DroppedPairs,
    scorer: &PairScorer,
    path: &Path,
    observe: &mut dyn FnMut(Progress),
) -> Result<()> {
    let of = stage.state.passed;
    let there = path.metadata().map_or(0, |about| about.len() / SCORE).min(of);
    let mut file = appended(path, there * SCORE)?;
    let mut pairs = stage.pairs()?;
    for passed in pairs.by_ref().take(there as usize) {
        passed?;
    }
    let mut done = there;
    while done < of {
        let some = next(&mut pairs)?;
        let scores =
            some.par_iter().enumerate().map_init(ScorerState::default, |state, (i, pair)| {
                let dropped = dropped.reason(done + i as u64).is_some();
                let score = if dropped {
                    None
                } else {
                    scorer.score(state, key(pair), &pair.src, &pair.tgt)
                };
                score.unwrap_or(f32::NAN)
            });
        let scores: Vec<f32> = scores.collect();
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        file.write_all(&bytes).map_err(|source| Error::write(path, source))?;
        done += scores.len() as u64;
        observe(Progress::Scored { pairs: done, of });
    }
    file.flush().map_err(|source| Error::write(path, source))
}

fn next(pairs: &mut Reader) -> Result<Vec<Pair>> {
    pairs.by_ref().take(AT_ONCE).map(|passed| Ok(passed?.pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_place_for_every_score() {
        let mut spread = Spread::default();
        for score in [0.0, 0.049, 0.05, 0.5, 0.999, 1.0] {
            spread.count(Some(score));
        }
        spread.count(None);
        let mut expected = [0; 20];
        (expected[0], expected[1], expected[10], expected[19]) = (2, 1, 1, 2);
        assert_eq!(spread, Spread { twentieths: expected, unknown: 1 });
        assert_eq!(
            [0.3, 0.5, 0.6, 0.9].map(|share| spread.quantile(share)),
            [0.05, 0.1, 0.55, 1.0]
        );
    }
}
