//! Drawing a cut under a unigram language model: forward filtering, backward sampling.
//!
//! Scott (2002), “Bayesian Methods for Hidden Markov Models”, §2.2, has the two passes. Kudo
//! (2018), §3.2, draws with them from all cuts at once (`l = ∞`), each in proportion to `P^α`.

use std::collections::HashMap;

use tokenizers::models::unigram::Unigram;

use super::Uniform;

/// The entries of a unigram tokenizer by the bytes they stand for.
#[derive(Debug)]
pub(super) struct Entries {
    /// Bytes → id and log-probability.
    scores: HashMap<Box<[u8]>, (u32, f64)>,
    longest: usize,
}

/// A subword that may end at some place of a piece.
#[derive(Clone, Copy, Debug)]
struct Choice {
    /// Where it begins.
    start: u32,
    id: u32,
    /// The probability of it or of one before it in the list, given that a subword ends there.
    until: f64,
}

/// All cuts of a piece.
#[derive(Debug)]
pub(super) struct Lattice {
    choices: Box<[Choice]>,
    /// Where in `choices` those end that end at byte 1, 2, …
    ends: Box<[u32]>,
}

impl Entries {
    /// The entries of `unigram`, which stand for `pieces` of text; special ones stand for none.
    pub(super) fn of(unigram: &Unigram, pieces: &[Box<[u8]>]) -> Self {
        let entries = unigram.iter().zip(pieces).zip(0..);
        let scores: HashMap<_, _> = entries
            .filter(|((_, bytes), _)| !bytes.is_empty())
            .map(|(((_, score), bytes), id)| (bytes.clone(), (id, *score)))
            .collect();
        let longest = scores.keys().map(|bytes| bytes.len()).max().unwrap_or(0);
        Self { scores, longest }
    }

    /// The entries that begin at `start`, shorter ones first: their ends, ids and scores.
    fn at<'a>(
        &'a self,
        bytes: &'a [u8],
        start: usize,
    ) -> impl Iterator<Item = (usize, u32, f64)> + 'a {
        let last = bytes.len().min(start + self.longest);
        (start + 1..=last).filter_map(move |end| {
            let &(id, score) = self.scores.get(&bytes[start..end])?;
            Some((end, id, score))
        })
    }

    /// The ids of the most probable cut; of equals, the one the `tokenizers` crate finds.
    pub(super) fn best(&self, bytes: &[u8]) -> Vec<u32> {
        // For each end: the score of the best cut up to there, and its last subword.
        let mut best: Vec<Option<(f64, usize, u32)>> = vec![None; bytes.len() + 1];
        best[0] = Some((0.0, 0, 0));
        for start in 0..bytes.len() {
            let Some((so_far, _, _)) = best[start] else { continue };
            for (end, id, score) in self.at(bytes, start) {
                let score = score + so_far;
                if best[end].is_none_or(|(other, _, _)| score > other) {
                    best[end] = Some((score, start, id));
                }
            }
        }
        let (mut ids, mut end) = (Vec::new(), bytes.len());
        while let Some((_, start, id)) = best[end].filter(|_| end > 0) {
            ids.push(id);
            end = start;
        }
        ids.reverse();
        ids
    }

    /// All cuts, with the probabilities of a draw in proportion to `P^exponent`.
    pub(super) fn lattice(&self, bytes: &[u8], exponent: f64) -> Lattice {
        // Forward: for each end, who may end there, and the log of the sum over all cuts.
        let mut ending: Vec<Vec<(u32, u32, f64)>> = vec![Vec::new(); bytes.len() + 1];
        let mut sums = vec![0.0; bytes.len() + 1];
        for start in 0..bytes.len() {
            if start > 0 {
                sums[start] = log_sum(ending[start].iter().map(|choice| choice.2));
            }
            for (end, id, score) in self.at(bytes, start) {
                ending[end].push((start as u32, id, sums[start] + exponent * score));
            }
        }
        let (mut choices, mut ends) = (Vec::new(), Vec::new());
        for ending in &ending[1..] {
            let sum = log_sum(ending.iter().map(|choice| choice.2));
            let mut until = 0.0;
            for &(start, id, weight) in ending {
                until += (weight - sum).exp();
                choices.push(Choice { start, id, until });
            }
            ends.push(choices.len() as u32);
        }
        Lattice { choices: choices.into(), ends: ends.into() }
    }
}

impl Lattice {
    /// Backward: draws the last subword, then the one before it, and so on.
    pub(super) fn sample(&self, uniform: Uniform<'_>, ids: &mut Vec<u32>) {
        let first = ids.len();
        let mut end = self.ends.len();
        while end > 0 {
            let from = if end == 1 { 0 } else { self.ends[end - 2] };
            let choices = &self.choices[from as usize..self.ends[end - 1] as usize];
            let chosen = match choices {
                [only] => *only,
                _ => {
                    let draw = uniform();
                    // Rounding may leave the last sum a little below one.
                    let chosen = choices.partition_point(|choice| choice.until <= draw);
                    choices[chosen.min(choices.len() - 1)]
                }
            };
            ids.push(chosen.id);
            end = chosen.start as usize;
        }
        ids[first..].reverse();
    }
}

/// `ln Σ exp(x)`.
fn log_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + logs.map(|log| (log - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries a, b, ab, bb with probabilities 1/2, 1/4, 1/8, 1/8 and ids from 0.
    fn entries() -> Entries {
        let entries: [(&[u8], f64); 4] =
            [(b"a", 0.5), (b"b", 0.25), (b"ab", 0.125), (b"bb", 0.125)];
        let scores = entries.iter().zip(0..);
        let scores = scores.map(|((bytes, p), id)| ((*bytes).into(), (id, p.ln()))).collect();
        Entries { scores, longest: 2 }
    }

    /// The cuts of `abb` have P = 1/32 (a b b), 1/32 (ab b) and 1/16 (a bb).
    #[test]
    fn cuts_are_drawn_in_proportion_to_their_probability() {
        for (exponent, expected) in [
            (1.0, [0.25, 0.25, 0.5]),
            // 1/1024, 1/1024, 1/256.
            (2.0, [1.0 / 6.0, 1.0 / 6.0, 2.0 / 3.0]),
        ] {
            let lattice = entries().lattice(b"abb", exponent);
            let n = 2520; // both choices fall on multiples of it
            let mut counts = HashMap::new();
            for first in 0..n {
                for second in 0..n / 10 {
                    let mut draws =
                        [first as f64 / f64::from(n), second as f64 / f64::from(n / 10)]
                            .into_iter();
                    let mut ids = Vec::new();
                    lattice.sample(&mut || draws.next().unwrap(), &mut ids);
                    *counts.entry(ids).or_insert(0) += 1;
                }
            }
            let share = |ids: &[u32]| f64::from(counts[ids]) / f64::from(n * (n / 10));
            let found = [share(&[0, 1, 1]), share(&[2, 1]), share(&[0, 3])];
            for (found, expected) in found.iter().zip(expected) {
                // A grid of 252 second draws is exact to one of them.
                assert!((found - expected).abs() < 1.0 / 252.0, "{found} {expected}");
            }
        }
    }

    #[test]
    fn the_best_cut_is_the_most_probable_one() {
        assert_eq!(entries().best(b"abb"), [0, 3]);
        assert_eq!(entries().best(b"bb"), [3]);
        assert_eq!(entries().best(b""), [] as [u32; 0]);
    }

    #[test]
    fn probabilities_of_long_pieces_do_not_vanish() {
        let bytes = [b"ab".as_slice(); 5000].concat();
        let lattice = entries().lattice(&bytes, 1.0);
        for (draw, expected) in [(0.0, vec![2; 5000]), (0.999, [0, 1].repeat(5000))] {
            let mut ids = Vec::new();
            lattice.sample(&mut || draw, &mut ids);
            assert_eq!(ids, expected);
        }
    }
}
