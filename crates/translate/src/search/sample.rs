//! Sampling: tokens drawn at random by their probability.
//!
//! Each draw is a function of the seed, the source sentence, the number of the sample and the
//! position, and of nothing else: neighbours and order within a batch change nothing, and the
//! same sentence is translated the same way wherever it stands.
//!
//! Log-probabilities and scores are the model's own, before temperature and truncation.

use kernels::{Purpose, Random};

use super::{
    Hypothesis, Next, Row, Rows, Sampling, Sentence,
    hypothesis::Path,
    rules::Rules,
    top::{Top, most_likely},
};
use crate::Result;

/// Tokens looked at first for the nucleus of a distribution; then four times as many, and so on.
const NUCLEUS: usize = 64;

/// One sentence with its samples.
#[derive(Debug)]
pub(super) struct Sample {
    rules: Rules,
    how: Sampling,
    random: Random,
    position: u32,
    /// Samples that go on, with their numbers. One row each, but at first one row for all.
    live: Vec<(u32, Path)>,
    ended: Vec<(u32, Hypothesis)>,
    top: Top,
}

impl Sample {
    pub(super) fn new(rules: Rules, how: Sampling, n_samples: usize, src: &[u32]) -> Self {
        Self {
            rules,
            random: Random::new(how.seed, Purpose::Sampling, key(src)),
            how,
            position: 0,
            live: (0..n_samples).map(|number| (number as u32, Path::default())).collect(),
            ended: Vec::new(),
            top: Top::default(),
        }
    }
}

/// A number for the content of a sentence: FNV-1a over its ids (Fowler, Noll and Vo; IETF draft
/// `draft-eastlake-fnv`). Should two sentences share a number, they share their draws, no more.
fn key(src: &[u32]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    src.iter()
        .flat_map(|id| id.to_le_bytes())
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

impl Sentence for Sample {
    fn rows(&self) -> usize {
        if self.position == 0 { 1 } else { self.live.len() }
    }

    fn weighs_coverage(&self) -> bool {
        self.rules.weighs_coverage()
    }

    fn advance(&mut self, mut rows: Rows<'_>, next: &mut Next) -> Result<()> {
        let shared = (self.position == 0).then(|| rows.take_weights(0));
        for (idx, (number, path)) in std::mem::take(&mut self.live).into_iter().enumerate() {
            let row_idx = if shared.is_some() { 0 } else { idx };
            let mut row = rows.row(row_idx);
            path.restrict(&mut row, &self.rules);
            let uniform = uniform(self.random.at(number).block(self.position));
            let choice = draw(&row, &self.how, uniform, &mut self.top)?;
            let weights = shared.clone().unwrap_or_else(|| rows.take_weights(row_idx));
            match path.follow(choice, weights, &self.rules) {
                Ok((path, token)) => {
                    self.live.push((number, path));
                    next.push(row_idx, token);
                }
                Err(hypothesis) => self.ended.push((number, hypothesis)),
            }
        }
        self.position += 1;
        Ok(())
    }

    /// All samples, best score first. Samples are independent, so they may be equal.
    fn finish(mut self) -> Vec<Hypothesis> {
        self.ended.sort_by(|(a_number, a), (b_number, b)| {
            b.score.total_cmp(&a.score).then(a_number.cmp(b_number))
        });
        self.ended.into_iter().map(|(_, hypothesis)| hypothesis).collect()
    }
}

/// A number in `[0, 1)` from 53 random bits.
fn uniform(words: [u32; 4]) -> f64 {
    let bits = (u64::from(words[0]) << 21) ^ (u64::from(words[1]) >> 11);
    bits as f64 / (1u64 << 53) as f64
}

/// The token at which `uniform` falls, and its log-probability; none if all are impossible.
fn draw(row: &Row<'_>, how: &Sampling, uniform: f64, top: &mut Top) -> Result<Option<(u32, f32)>> {
    let Some((best, peak)) = most_likely(row)? else { return Ok(None) };
    let weight = |log_prob: f32| (f64::from(log_prob - peak) / how.temperature.get()).exp();
    let share = how.top_p.get();
    if how.top_k.is_none() && share == 1.0 {
        let total: f64 = row.log_probs().map(weight).sum();
        return Ok(pick((0..).zip(row.log_probs()), weight, uniform * total).or(Some((best, peak))));
    }

    let vocab = row.scores.len();
    let limit = how.top_k.map_or(vocab, |k| k.get().min(vocab));
    let mut keep = if how.top_k.is_some() { limit } else { NUCLEUS.min(limit) };
    let total_of_row: f64 =
        if how.top_k.is_some() { 0.0 } else { row.log_probs().map(weight).sum() };
    loop {
        top.reset(keep);
        top.scan(0, 0.0, row)?;
        let candidates = top.best();
        let sum = candidates.iter().map(|c| weight(c.log_prob)).sum::<f64>();
        let enough = share * if how.top_k.is_some() { sum } else { total_of_row };
        if sum < enough && keep < limit {
            keep = keep.saturating_mul(4).min(limit);
            continue;
        }
        let mut mass = 0.0;
        let outside = candidates.iter().position(|c| {
            let reached = mass >= enough;
            mass += if reached { 0.0 } else { weight(c.log_prob) };
            reached
        });
        let nucleus = &candidates[..outside.unwrap_or(candidates.len())];
        let nucleus = nucleus.iter().map(|c| (c.token, c.log_prob));
        return Ok(pick(nucleus, weight, uniform * mass).or(Some((best, peak))));
    }
}

/// The token of positive weight at which the running sum of weights passes `target`. Where
/// rounding lets the sum stay below, the last one.
fn pick(
    tokens: impl Iterator<Item = (u32, f32)>,
    weight: impl Fn(f32) -> f64,
    target: f64,
) -> Option<(u32, f32)> {
    let mut sum = 0.0;
    let mut last = None;
    for (token, log_prob) in tokens {
        let weight = weight(log_prob);
        if weight > 0.0 {
            sum += weight;
            last = Some((token, log_prob.min(0.0)));
            if sum > target {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::search::{Positive, Share, tests::with_row};

    /// Draws at 1,000 even steps: how many thousandths of all draws each token gets.
    fn thousandths(probabilities: &[f32], how: &Sampling) -> Vec<usize> {
        let row: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let mut counts = vec![0; row.len()];
        let mut top = Top::default();
        for i in 0..1000 {
            let uniform = (f64::from(i) + 0.5) / 1000.0;
            let drawn = with_row(&row, |row| draw(row, how, uniform, &mut top));
            let (token, log_prob) = drawn.unwrap().unwrap();
            assert_eq!(log_prob, row[token as usize]);
            counts[token as usize] += 1;
        }
        counts
    }

    fn how(temperature: f64, top_k: usize, top_p: f64) -> Sampling {
        Sampling {
            temperature: Positive::try_from(temperature).unwrap(),
            top_k: NonZeroUsize::new(top_k),
            top_p: Share::try_from(top_p).unwrap(),
            seed: 1,
        }
    }

    #[test]
    fn draws_follow_the_probabilities_that_are_left() {
        let probabilities = [0.1, 0.4, 0.0, 0.2, 0.3];
        let of = |sampling: Sampling| thousandths(&probabilities, &sampling);
        assert_eq!(of(how(1.0, 0, 1.0)), [100, 400, 0, 200, 300]);
        // The best three: 0.4, 0.3 and 0.2 of 0.9.
        assert_eq!(of(how(1.0, 3, 1.0)), [0, 444, 0, 222, 334]);
        // 0.4 and 0.3 reach 0.6 together; 0.4 alone reaches 0.35.
        assert_eq!(of(how(1.0, 0, 0.6)), [0, 571, 0, 0, 429]);
        assert_eq!(of(how(1.0, 0, 0.35)), [0, 1000, 0, 0, 0]);
        // Of the best two, 0.4 has a share of 4/7 = 0.571.
        assert_eq!(of(how(1.0, 2, 0.57)), [0, 1000, 0, 0, 0]);
        assert_eq!(of(how(1.0, 2, 0.58)), [0, 571, 0, 0, 429]);
        // Halving the temperature squares: 0.01, 0.16, 0.04 and 0.09 of 0.30.
        assert_eq!(of(how(0.5, 0, 1.0)), [33, 534, 0, 133, 300]);
        assert_eq!(of(how(1e-3, 0, 1.0)), [0, 1000, 0, 0, 0]);
    }

    #[test]
    fn a_nucleus_may_be_wider_than_the_first_look() {
        let n = 5 * NUCLEUS;
        let counts = thousandths(&vec![1.0 / n as f32; n], &how(1.0, 0, 0.75));
        assert_eq!(counts.iter().filter(|&&count| count > 0).count(), n * 3 / 4);
        assert!(counts[n * 3 / 4..].iter().all(|&count| count == 0));
    }

    #[test]
    fn nothing_is_drawn_where_nothing_is_possible() {
        let row = [f32::NEG_INFINITY; 3];
        let mut top = Top::default();
        for how in [how(1.0, 0, 1.0), how(1.0, 2, 0.5)] {
            let drawn = with_row(&row, |row| draw(row, &how, 0.5, &mut top));
            assert_eq!(drawn.unwrap(), None);
        }
    }
}
