//! What is known of rare words from words that look like them.
//!
//! Forms of one word are mostly translated alike, and forms begin alike; names, numbers and
//! loanwords begin like their translations. So a rare word's translations are first guessed from
//! those of its class, which are words with the same first letters.

use rayon::prelude::*;

use super::bitext::{Bitext, Classes};

/// How much words are told by words that look like them.
///
/// With `c` for counts, `C(e)` for the class of a word and `p(f | C(f))` for the share that a word
/// has in the occurrences of its class, and alike in the other direction,
///
/// ```text
/// t(f | e) = (c(e, f) + strength · t(C(f) | C(e)) · p(f | C(f))) / (c(e) + strength)
/// t(C(f) | C(e)) = (c(C(e), C(f)) + alike · [the same letters]) / (c(C(e)) + alike)
/// ```
///
/// which is the mean of `t` after `c` under a Dirichlet prior whose mean is the guess: MacKay and Bauman
/// Peto (1995), “A Hierarchical Dirichlet Language Model”.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackOff {
    /// Occurrences of a word that count as much as its class.
    pub strength: f64,
    /// Occurrences of a class that count as much as the likeness of words of the two languages.
    pub alike: f64,
    /// How much more probable the translation into a word that begins alike is at first.
    pub alike_at_first: f32,
}

impl Default for BackOff {
    /// What did best on development sets (`docs/experiments.md`).
    fn default() -> Self {
        Self { strength: 30.0, alike: 0.5, alike_at_first: 5.0 }
    }
}

/// The pairs of classes that entries of the lexicon belong to.
#[derive(Debug)]
pub(super) struct ClassPairs {
    /// The pair of each entry.
    of_entry: Vec<u32>,
    /// The classes of each pair: source, target.
    pairs: Vec<[u32; 2]>,
    /// Whether a pair's classes are of the same letters.
    alike: Vec<bool>,
    /// The share of each word in the occurrences of its class: source words, target words.
    shares: [Vec<f64>; 2],
    /// Number of classes of either side.
    n_classes: [usize; 2],
}

impl ClassPairs {
    /// For a lexicon whose rows start at `starts` and hold the target words `tgt`.
    pub(super) fn new(bitext: &Bitext, starts: &[usize], tgt: &[u32]) -> Self {
        let (src_classes, tgt_classes) = (&bitext.src.classes, &bitext.tgt.classes);
        let mut keys = Vec::with_capacity(tgt.len());
        for (word, ends) in starts.windows(2).enumerate() {
            let class = src_classes.of_word[word];
            let others = tgt[ends[0]..ends[1]].iter();
            keys.extend(others.map(|&other| [class, tgt_classes.of_word[other as usize]]));
        }
        let mut pairs = keys.clone();
        pairs.par_sort_unstable();
        pairs.dedup();
        let of_entry = keys.par_iter().map(|key| pairs.partition_point(|pair| pair < key) as u32);
        let same = |pair: &[u32; 2]| {
            src_classes.starts[pair[0] as usize] == tgt_classes.starts[pair[1] as usize]
        };
        Self {
            of_entry: of_entry.collect(),
            alike: pairs.iter().map(same).collect(),
            pairs,
            shares: [
                shares(src_classes, &bitext.src.frequencies),
                shares(tgt_classes, &bitext.tgt.frequencies),
            ],
            n_classes: [src_classes.starts.len(), tgt_classes.starts.len()],
        }
    }

    /// Whether the words of an entry begin with the same letters.
    pub(super) fn alike(&self, entry: usize) -> bool {
        self.alike[self.of_entry[entry] as usize]
    }

    /// `t` of each pair of classes, in both directions, from the counts of all entries.
    pub(super) fn expected(&self, counts: &[[f64; 2]], alike: f64) -> Vec<[f64; 2]> {
        let mut sums = self.n_classes.map(|n| vec![0.0; n]);
        let mut expected = vec![[0.0; 2]; self.pairs.len()];
        for (pair, counts) in self.of_entry.iter().zip(counts) {
            let classes = self.pairs[*pair as usize];
            for direction in 0..2 {
                expected[*pair as usize][direction] += counts[direction];
                sums[direction][classes[direction] as usize] += counts[direction];
            }
        }
        for ((expected, classes), &same) in expected.iter_mut().zip(&self.pairs).zip(&self.alike) {
            for direction in 0..2 {
                let all = sums[direction][classes[direction] as usize] + alike;
                let count = expected[direction] + if same { alike } else { 0.0 };
                expected[direction] = if all > 0.0 { count / all } else { 0.0 };
            }
        }
        expected
    }

    /// The guess for an entry, in both directions.
    pub(super) fn probabilities(
        &self,
        expected: &[[f64; 2]],
        entry: usize,
        src_word: usize,
        tgt_word: usize,
    ) -> [f64; 2] {
        let [forward, reverse] = expected[self.of_entry[entry] as usize];
        [forward * self.shares[1][tgt_word], reverse * self.shares[0][src_word]]
    }
}

/// The share of each word in the occurrences of its class.
fn shares(classes: &Classes, frequencies: &[u32]) -> Vec<f64> {
    let mut sums = vec![0.0; classes.starts.len()];
    for (class, &frequency) in classes.of_word.iter().zip(frequencies) {
        sums[*class as usize] += f64::from(frequency);
    }
    let words = classes.of_word.iter().zip(frequencies);
    words.map(|(class, &frequency)| f64::from(frequency) / sums[*class as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two forms of a word on each side, and a name.
    #[test]
    fn a_form_that_was_never_counted_is_told_by_its_class() {
        let bitext: Bitext = [("walked walks", "gehend gehender"), ("anna", "annas anna anna")]
            .into_iter()
            .collect();
        // Source by frequency: walked, walks, anna. Target: anna, gehend, gehender, annas.
        let (starts, tgt) = ([0, 2, 4, 6], [1, 2, 1, 2, 0, 3]);
        let classes = ClassPairs::new(&bitext, &starts, &tgt);
        assert_eq!((classes.pairs.len(), classes.n_classes), (2, [2, 2]));
        assert!(classes.alike(4) && classes.alike(5) && !classes.alike(0));

        // walked made gehend three times, and anna nothing yet.
        let mut counts = [[0.0; 2]; 6];
        counts[0] = [3.0, 3.0];
        let expected = classes.expected(&counts, 0.5);
        let share = 3.0 / 3.5; // half an occurrence is kept for words that begin alike
        assert_eq!(classes.probabilities(&expected, 3, 1, 2), [share * 0.5, share * 0.5]);
        assert_eq!(classes.probabilities(&expected, 4, 2, 0), [2.0 / 3.0, 1.0]);
    }
}
