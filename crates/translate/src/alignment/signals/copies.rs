//! Words of the source that stand in the target as they are.

use std::collections::HashMap;

use super::{Flag, Kind, Thresholds, words};
use crate::Alignment;

/// Target words that stand in the source too.
#[derive(Default)]
struct Same {
    /// As (source, target), in the order of the target; each word is in one pair at most.
    pairs: Vec<(usize, usize)>,
    /// Words with a letter in the target.
    n_words: usize,
    /// Their letters.
    letters: usize,
}

/// A flag if the target is the source, or if it holds ordinary words of the source.
pub(super) fn flag(alignment: &Alignment, thresholds: &Thresholds) -> Option<Flag> {
    let same = Same::new(alignment);
    let src = |pair: &(usize, usize)| words::bare(&alignment.src_words[pair.0]);
    let tgt = |pair: &(usize, usize)| words::bare(&alignment.tgt_words[pair.1]);
    let ordinary = |pair: &&(usize, usize)| src(pair) == tgt(pair) && words::is_ordinary(src(pair));

    let share = same.pairs.len() as f64 / same.n_words.max(1) as f64;
    let n_ordinary = same.pairs.iter().filter(ordinary).count();
    if share >= thresholds.untranslated_share && n_ordinary >= thresholds.copied {
        return Some(of_pairs(Kind::Untranslated, &same.pairs));
    }
    let long = |pair: &&(usize, usize)| words::letters(src(pair)) >= thresholds.copied_letters;
    let copied: Vec<_> = same.pairs.iter().filter(ordinary).filter(long).copied().collect();
    let letters: usize = copied.iter().map(|pair| words::letters(src(pair))).sum();
    let share = letters as f64 / same.letters.max(1) as f64;
    (copied.len() >= thresholds.copied && share >= thresholds.copied_share)
        .then(|| of_pairs(Kind::Copied, &copied))
}

fn of_pairs(kind: Kind, pairs: &[(usize, usize)]) -> Flag {
    let mut src: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
    src.sort_unstable();
    Flag { kind, src, tgt: pairs.iter().map(|pair| pair.1).collect() }
}

impl Same {
    /// Pairs equal words, whatever their capitals, from left to right.
    fn new(alignment: &Alignment) -> Self {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (src_idx, word) in alignment.src_words.iter().enumerate().rev() {
            places.entry(words::key(word)).or_default().push(src_idx);
        }
        let mut same = Self::default();
        for (tgt_idx, word) in alignment.tgt_words.iter().enumerate() {
            let bare = words::bare(word);
            if !bare.chars().any(char::is_alphabetic) {
                continue;
            }
            same.n_words += 1;
            same.letters += words::letters(bare);
            let src_idx = places.get_mut(&words::key(word)).and_then(Vec::pop);
            same.pairs.extend(src_idx.map(|src_idx| (src_idx, tgt_idx)));
        }
        same
    }
}
