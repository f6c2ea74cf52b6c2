//! Whether two sentences translate each other at all: the share of their words that have a
//! counterpart, by what an aligner has learned from a sample of a corpus.
//!
//! A pair that is no translation has words in common with many pairs, such as articles and full
//! stops, but its other words find nobody who makes them. This is the alignment feature of corpus
//! filters in the line of Munteanu and Marcu (2005), “Improving Machine Translation Performance by
//! Exploiting Non-Parallel Corpora”, §3.1, as one number.
//!
//! An aligner that has learned from a wrong pair finds reasons for it: its rare words meet nobody else.
//! So there are two, each learns from one half of the sample, and scores what is of the other.

use std::collections::BTreeMap;

use text::words::units;

use super::{
    Aligner, Bitext, Config,
    pass::{Model, Words, Worker},
};
use crate::Result;

/// Source words times target words, over all pairs of a sample: what takes memory. 30 bytes each at
/// most, and less the more often words meet again.
const CELLS: usize = 8_000_000;

/// How often a word must stand in a half of the sample to be judged by.
const SEEN: u32 = 3;

/// Pairs drawn from a corpus of any size, evenly and always the same, in whatever order they are
/// offered.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Those with the smallest keys, which are as good as random: lower-cased units with spaces
    /// between them, and the cells of the pair.
    pairs: BTreeMap<u64, ([String; 2], usize)>,
    cells: usize,
    most: usize,
}

/// Scores pairs as translations of each other.
#[derive(Debug)]
pub struct PairScorer {
    /// What has learned from pairs with even keys, and from those with odd ones.
    halves: [Half; 2],
}

#[derive(Debug)]
struct Half {
    model: Model,
    vocab: Bitext,
}

impl Default for Sample {
    fn default() -> Self {
        Self { pairs: BTreeMap::new(), cells: 0, most: CELLS }
    }
}

impl Sample {
    /// Takes a pair in, if it is to be in the sample. Pairs with the same `key` are the same.
    pub fn offer(&mut self, key: u64, src: &str, tgt: &str) {
        let full = self.cells >= self.most;
        if full && self.pairs.last_key_value().is_some_and(|(last, _)| *last < key) {
            return;
        }
        let texts = [src, tgt].map(spaced);
        let [src_len, tgt_len] = texts.each_ref().map(|text| text.split(' ').count());
        let cells = src_len * tgt_len;
        if self.pairs.insert(key, (texts, cells)).is_none() {
            self.cells += cells;
        }
        while let Some(last) = self.pairs.last_entry()
            && self.cells - last.get().1 >= self.most
        {
            self.cells -= last.remove().1;
        }
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Scores of pairs of sources and targets that do not belong together: each source with the
    /// target of the next pair of its half.
    pub fn mismatched_scores(&self, scorer: &PairScorer, most: usize) -> Vec<f32> {
        let mut state = ScorerState::default();
        let mut scores = Vec::new();
        for half in 0..2 {
            let sources = self.half(half);
            let targets = self.half(half).skip(1);
            let both = sources.zip(targets).take(most / 2);
            scores.extend(both.filter_map(|((key, [src, _]), (_, [_, tgt]))| {
                scorer.of_units(&mut state, key, src, tgt)
            }));
        }
        scores
    }

    /// The pairs of a half, with their keys.
    fn half(&self, half: u64) -> impl Iterator<Item = (u64, &[String; 2])> {
        let pairs = self.pairs.iter().filter(move |(key, _)| *key & 1 == half);
        pairs.map(|(key, (texts, _))| (*key, texts))
    }
}

/// What a thread needs to score one pair after the other.
#[derive(Debug, Default)]
pub struct ScorerState {
    worker: Worker,
}

impl PairScorer {
    /// Learns what translates what from a sample.
    ///
    /// # Errors
    /// [`Error::WordPairs`](crate::Error::WordPairs) if there are too many different words.
    pub fn learn(sample: &Sample) -> Result<Self> {
        let half = |half| -> Result<Half> {
            let pairs = sample.half(half).map(|(_, [src, tgt])| (src, tgt));
            let Aligner { mut model, bitext: vocab, .. } =
                Aligner::train(pairs.collect(), &Config::default(), |_| ())?;
            model.lexicon.settle();
            Ok(Half { model, vocab })
        };
        Ok(Self { halves: [half(0)?, half(1)?] })
    }

    /// The share of the words of a pair that have a counterpart, as far as they are known; none if
    /// no word is. `key` is that of the pair in the sample, if it is there.
    pub fn score(&self, state: &mut ScorerState, key: u64, src: &str, tgt: &str) -> Option<f32> {
        self.of_units(state, key, &spaced(src), &spaced(tgt))
    }

    fn of_units(&self, state: &mut ScorerState, key: u64, src: &str, tgt: &str) -> Option<f32> {
        let Half { model, vocab } = &self.halves[usize::from(key & 1 == 0)];
        let known = |side: &super::bitext::Side, word: &str| side.ids.get(word).copied();
        let src: Vec<Option<u32>> = src.split(' ').map(|word| known(&vocab.src, word)).collect();
        let tgt: Vec<Option<u32>> = tgt.split(' ').map(|word| known(&vocab.tgt, word)).collect();
        if src.len().saturating_mul(tgt.len()) > super::LARGEST_PAIR {
            return None;
        }
        let worker = &mut state.worker;
        let words = Words {
            lens: [src.len(), tgt.len()],
            probabilities: |src_idx: usize, tgt_idx: usize| {
                let entry = src[src_idx].zip(tgt[tgt_idx]);
                let entry = entry.and_then(|(src, tgt)| model.lexicon.entry(src, tgt));
                entry.map_or([super::lexicon::LEAST; 2], |entry| model.lexicon.probabilities(entry))
            },
            // A word that is not known is made by none.
            unaligned: |direction: usize, idx: usize| {
                let word = [&tgt, &src][direction][idx];
                word.map_or(1.0, |word| model.lexicon.unaligned(direction, word))
            },
        };
        worker.run_words(&model.positions, words, &mut Default::default());
        let (mut sum, mut n) = (0.0, 0usize);
        let sides = [(&tgt, &vocab.tgt), (&src, &vocab.src)];
        for ((words, side), posteriors) in sides.into_iter().zip(&worker.posteriors) {
            for (word, unaligned) in words.iter().zip(&posteriors.unaligned) {
                if word.is_some_and(|word| side.frequencies[word as usize] >= SEEN) {
                    sum += 1.0 - unaligned;
                    n += 1;
                }
            }
        }
        (n > 0).then(|| sum / n as f32)
    }
}

/// The units of a text, lower-cased, with a space between them.
fn spaced(text: &str) -> String {
    let units: Vec<&str> = units(text).into_iter().map(|unit| &text[unit]).collect();
    units.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A language of numbers: `aN` is always translated by `bN`, and every sentence ends in a full
    /// stop.
    fn corpus() -> Vec<[String; 2]> {
        let sentence = |i: usize, letter: char| {
            let words = [i % 7, i % 11, i % 13].map(|word| format!("{letter}{word}"));
            format!("{}.", words.join(" "))
        };
        (0..500).map(|i| [sentence(i, 'a'), sentence(i, 'b')]).collect()
    }

    fn sample(pairs: &[[String; 2]], most: usize) -> Sample {
        let mut sample = Sample { most, ..Sample::default() };
        for (pair, number) in pairs.iter().zip(0u64..) {
            sample.offer(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), &pair[0], &pair[1]);
        }
        sample
    }

    #[test]
    fn translations_score_high_and_others_low() {
        let pairs = corpus();
        let sample = sample(&pairs, CELLS);
        let scorer = PairScorer::learn(&sample).unwrap();
        let mut state = ScorerState::default();
        let mut score = |src: &str, tgt: &str| scorer.score(&mut state, 0, src, tgt);
        assert!(score(&pairs[40][0], &pairs[40][1]).unwrap() > 0.95);
        // Only the full stops are left.
        let other = score("a1 a2 a3.", "b4 b5 b6.").unwrap();
        assert!((0.1..0.45).contains(&other), "{other}");
        // Unknown words neither help nor harm.
        let unknown = score("a1 x a2.", "b1 b2 y z.").unwrap();
        assert!(unknown > 0.9, "{unknown}");
        assert_eq!(score("x y", "z"), None);
        assert_eq!(score("", ""), None);
        let mismatched = sample.mismatched_scores(&scorer, 100);
        assert_eq!(mismatched.len(), 100);
        assert!(mismatched.iter().sum::<f32>() / 100.0 < 0.7);
    }

    #[test]
    fn a_wrong_pair_finds_no_reason_for_itself() {
        let mut pairs = corpus();
        // Words that stand nowhere else but in this pair, three times.
        pairs.push(["x1 x2 x1 x2 x1 x2.", "y1 y2 y1 y2 y1 y2."].map(str::to_owned));
        pairs.push(["a1 a2 a3.", "b4 b5 b6."].map(str::to_owned));
        let sample = sample(&pairs, CELLS);
        let scorer = PairScorer::learn(&sample).unwrap();
        for (number, expected) in [(500u64, 0.9..1.01), (501, 0.1..0.45)] {
            let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let [src, tgt] = &pairs[number as usize];
            let score = scorer.score(&mut ScorerState::default(), key, src, tgt).unwrap();
            // Of the first pair only the full stops are known to who has not seen it.
            assert!(expected.contains(&score), "{number}: {score}");
        }
    }

    #[test]
    fn a_sample_is_bounded_and_does_not_depend_on_the_order() {
        let pairs = corpus();
        let numbered: Vec<_> = pairs.iter().zip(0u64..).collect();
        let drawn = |order: &mut dyn Iterator<Item = &(&[String; 2], u64)>| {
            let mut sample = Sample { most: 1000, ..Sample::default() };
            for (pair, number) in order {
                sample.offer(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), &pair[0], &pair[1]);
            }
            sample
        };
        let forward = drawn(&mut numbered.iter());
        let backward = drawn(&mut numbered.iter().rev());
        assert_eq!(forward.pairs, backward.pairs);
        assert!(!forward.is_empty() && forward.len() < 100, "{}", forward.len());
        // Twelve cells or sixteen each, so the last one may exceed the limit by that much.
        assert!((1000..1017).contains(&forward.cells), "{}", forward.cells);
        assert_eq!(sample(&pairs, CELLS).len(), 500);
    }
}
