//! Target words that say again what was said, where the source does not repeat itself.

use super::{Flag, Kind, Thresholds, measures::linked_to, words};
use crate::Alignment;

/// Words that stood before: those from `start` on are equal to those `offset` words earlier.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    offset: usize,
    start: usize,
    len: usize,
}

impl Repeat {
    /// How often the same words stand there at once: once if they do not follow each other.
    fn copies(self) -> usize {
        self.len / self.offset + 1
    }

    /// The words that were said before; of words at once, whole copies.
    fn words(self) -> std::ops::Range<usize> {
        let len = if self.copies() > 1 { self.len / self.offset * self.offset } else { self.len };
        self.start..self.start + len
    }
}

/// A flag for each loop, short ones first: words repeated at once, or several repeated at a
/// distance. Its source words are those that the repeated words are linked to.
///
/// A source that stutters as often, or repeats nearly as many words, excuses the target.
pub(super) fn flags(alignment: &Alignment, thresholds: &Thresholds) -> Vec<Flag> {
    let source = repeats(&alignment.src_words);
    let stutters = source.iter().map(|repeat| repeat.copies()).max().unwrap_or(1);
    let repeated = source.iter().map(|repeat| repeat.len.min(repeat.offset)).max().unwrap_or(0);
    let mut looped = vec![false; alignment.tgt_words.len()];
    let mut flags = Vec::new();
    for repeat in repeats(&alignment.tgt_words) {
        let new = repeat.words().filter(|&tgt_idx| !looped[tgt_idx]);
        let n = new.filter(|&idx| !words::bare(&alignment.tgt_words[idx]).is_empty()).count();
        let is_loop = if repeat.copies() > 1 {
            n > 0 && repeat.copies() > stutters && !closes_a_clause(repeat, &alignment.tgt_words)
        } else {
            // Languages need a word more or less for the same.
            n >= thresholds.repeated && n > repeated + 1
        };
        if is_loop {
            looped[repeat.words()].fill(true);
            let tgt: Vec<usize> = repeat.words().collect();
            flags.push(Flag { kind: Kind::Loop, src: linked_to(&alignment.links, &tgt), tgt });
        }
    }
    flags
}

/// Whether a word stands there twice with a mark between: a clause may end in the word that the
/// next begins with, such as “der Mann, der dort steht, steht”.
fn closes_a_clause(repeat: Repeat, words: &[String]) -> bool {
    let before = &words[repeat.start - repeat.offset];
    repeat.offset == 1 && repeat.len == 1 && before.ends_with(|c: char| !c.is_alphanumeric())
}

/// All words that stood before, with as many neighbours as did so, nearest first.
fn repeats(words: &[String]) -> Vec<Repeat> {
    let keys: Vec<String> = words.iter().map(|word| words::key(word)).collect();
    let mut repeats = Vec::new();
    for offset in 1..keys.len() {
        let mut len = 0;
        for end in offset..=keys.len() {
            if end < keys.len() && keys[end] == keys[end - offset] {
                len += 1;
            } else if len > 0 {
                repeats.push(Repeat { offset, start: end - len, len });
                len = 0;
            }
        }
    }
    repeats
}
