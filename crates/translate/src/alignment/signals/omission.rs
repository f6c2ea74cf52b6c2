//! Source words that were left out: nothing is linked to them, and hardly anything looked at them.

use super::{Flag, Kind, Thresholds, measures, words};
use crate::Alignment;

/// A flag for each omission, from left to right.
///
/// Words in a row that lack attention add their letters up, each as much as it lacks. Marks between
/// them count for nothing and do not end a row.
pub(super) fn flags(alignment: &Alignment, thresholds: &Thresholds) -> Vec<Flag> {
    let lost = lost_letters(alignment, thresholds.attention);
    let mut flags = Vec::new();
    let (mut row, mut letters) = (Vec::new(), 0.0);
    let mut end = |row: &mut Vec<usize>, letters: &mut f64| {
        let src = std::mem::take(row);
        if !src.is_empty() && std::mem::take(letters) >= thresholds.letters {
            flags.push(Flag { kind: Kind::Omission, src, tgt: Vec::new() });
        }
    };
    for (src_idx, lost) in lost.into_iter().enumerate() {
        match lost {
            Lost::Mark => {}
            Lost::Letters(lost) => {
                row.push(src_idx);
                letters += lost;
            }
            Lost::Nothing => end(&mut row, &mut letters),
        }
    }
    end(&mut row, &mut letters);
    flags
}

/// What is lost of a source word.
enum Lost {
    /// It is no word.
    Mark,
    /// It is linked, or looked at enough.
    Nothing,
    /// So many of its letters: all if nothing looked at it.
    Letters(f64),
}

/// What is lost of each source word.
fn lost_letters(alignment: &Alignment, attention: f64) -> Vec<Lost> {
    let coverage = measures::coverage(alignment);
    let fertility = measures::fertility(alignment);
    let words = alignment.src_words.iter().enumerate();
    let lost = words.map(|(src_idx, word)| {
        let letters = words::letters(words::bare(word));
        let covered = coverage.as_ref().map_or(0.0, |coverage| coverage[src_idx]);
        match letters {
            0 => Lost::Mark,
            _ if fertility[src_idx] > 0 || covered >= attention => Lost::Nothing,
            letters => Lost::Letters(letters as f64 * (1.0 - covered / attention)),
        }
    });
    lost.collect()
}
