//! The number of edits between two sentences, shifts of blocks included.
//!
//! A greedy search: as long as some shift of a block that also stands in the reference makes the
//! edit distance smaller, the one that does so most is made. The limits below keep it fast and
//! are part of what TER means.

use std::cmp::Reverse;
use std::ops::Range;

/// The longest block that is shifted, in words.
const MAX_SHIFT_SIZE: usize = 10;

/// The farthest that a block may stand from its place in the reference, in words.
const MAX_SHIFT_DISTANCE: usize = 50;

/// How far the edit distance looks to either side of the diagonal, in words.
const BEAM: usize = 25;

/// When this many shifts have been tried for a sentence, no further one is made.
const MAX_CANDIDATES: usize = 1000;

/// Cost of what the beam does not reach; far from overflow when edits are added.
const UNREACHED: u32 = u32::MAX / 2;

/// How many edits turn `hyp` into `reference`. Words are compared by number.
pub(super) fn count(hyp: &[u32], reference: &[u32]) -> usize {
    if reference.is_empty() {
        return hyp.len();
    }
    let mut words = hyp.to_vec();
    let (mut shifts, mut tried) = (0, 0);
    loop {
        let distances = Distances::new(&words, reference);
        match distances.best_shift(&mut tried) {
            Some(shift) if shift.gain > 0 && tried < MAX_CANDIDATES => words = shift.words,
            _ => return shifts + distances.total() as usize,
        }
        shifts += 1;
    }
}

/// Edit distances between all beginnings of a hypothesis and of a reference.
struct Distances<'a> {
    hyp: &'a [u32],
    reference: &'a [u32],
    beam: Beam,
    rows: Vec<Vec<u32>>, // [hyp.len() + 1][reference.len() + 1]
}

/// Which part of each row is computed.
struct Beam {
    ratio: f64, // reference words per hypothesis word: the slope of the diagonal
    width: usize,
    last_row: usize,
    columns: usize,
}

/// A shift of a block in the hypothesis, and what remains to be edited after it.
struct Shift {
    gain: i64, // edits saved, the shift itself not counted
    words: Vec<u32>,
}

/// How a hypothesis and its reference belong together along the cheapest edits.
struct Alignment {
    hyp_wrong: Vec<bool>,
    ref_wrong: Vec<bool>,
    /// For each reference word, how many hypothesis words have been used up after it.
    used: Vec<usize>,
}

impl Beam {
    fn new(hyp_len: usize, ref_len: usize) -> Self {
        let ratio = if hyp_len > 0 { ref_len as f64 / hyp_len as f64 } else { 1.0 };
        // With very unequal lengths the diagonal is so steep that rows would not overlap.
        let steep = ratio / 2.0 > BEAM as f64;
        let width = if steep { (ratio / 2.0 + BEAM as f64).ceil() as usize } else { BEAM };
        Self { ratio, width, last_row: hyp_len, columns: ref_len + 1 }
    }

    fn columns(&self, row: usize) -> Range<usize> {
        let diagonal = (row as f64 * self.ratio).floor() as usize;
        let end = if row == self.last_row { self.columns } else { diagonal + self.width };
        diagonal.saturating_sub(self.width)..end.min(self.columns)
    }
}

impl<'a> Distances<'a> {
    fn new(hyp: &'a [u32], reference: &'a [u32]) -> Self {
        let beam = Beam::new(hyp.len(), reference.len());
        let mut rows = Vec::with_capacity(hyp.len() + 1);
        rows.push((0..=reference.len() as u32).collect());
        let mut distances = Self { hyp, reference, beam, rows };
        for (idx, &word) in hyp.iter().enumerate() {
            let mut row = vec![UNREACHED; reference.len() + 1];
            distances.fill(idx + 1, word, &distances.rows[idx], &mut row);
            distances.rows.push(row);
        }
        distances
    }

    /// The edit distance of the whole sentences.
    fn total(&self) -> u32 {
        self.rows[self.hyp.len()][self.reference.len()]
    }

    /// Computes row `idx`, for a hypothesis word, from the row above it.
    fn fill(&self, idx: usize, word: u32, above: &[u32], row: &mut [u32]) {
        row.fill(UNREACHED);
        for column in self.beam.columns(idx) {
            row[column] = match column.checked_sub(1) {
                None => above[0] + 1,
                Some(left) => (above[left] + u32::from(word != self.reference[left]))
                    .min(above[column] + 1)
                    .min(row[left] + 1)
                    .min(UNREACHED),
            };
        }
    }

    /// The edit distance of `words`, as long as the hypothesis and equal to it up to `same`.
    fn total_of(&self, words: &[u32], same: usize, scratch: &mut [Vec<u32>; 2]) -> u32 {
        let [above, row] = scratch;
        above.copy_from_slice(&self.rows[same]);
        for (idx, &word) in words.iter().enumerate().skip(same) {
            self.fill(idx + 1, word, above, row);
            std::mem::swap(above, row);
        }
        above[self.reference.len()]
    }

    /// Walks back along the cheapest edits, preferring to keep or substitute, then to delete.
    fn alignment(&self) -> Alignment {
        let (mut row, mut column) = (self.hyp.len(), self.reference.len());
        let mut alignment = Alignment {
            hyp_wrong: vec![true; row],
            ref_wrong: vec![true; column],
            used: vec![0; column],
        };
        while row > 0 || column > 0 {
            let cost = self.rows[row][column];
            let both = (row > 0 && column > 0)
                .then(|| u32::from(self.hyp[row - 1] != self.reference[column - 1]))
                .filter(|substitution| self.rows[row - 1][column - 1] + substitution == cost);
            if let Some(substitution) = both {
                alignment.used[column - 1] = row;
                alignment.hyp_wrong[row - 1] = substitution > 0;
                alignment.ref_wrong[column - 1] = substitution > 0;
                (row, column) = (row - 1, column - 1);
            } else if row > 0 && (column == 0 || self.rows[row - 1][column] + 1 == cost) {
                row -= 1; // the hypothesis word is deleted
            } else {
                alignment.used[column - 1] = row; // the reference word is inserted
                column -= 1;
            }
        }
        alignment
    }

    /// The shift that saves most; then that of the longest block, then that of the earliest, then
    /// that to the earliest place. Adds the number of shifts it looked at to `tried`.
    fn best_shift(&self, tried: &mut usize) -> Option<Shift> {
        let alignment = self.alignment();
        let mut scratch = [(); 2].map(|()| vec![UNREACHED; self.reference.len() + 1]);
        let mut best = None;
        for (start, place, size) in blocks(self.hyp, self.reference) {
            let used = &alignment.used;
            let right = |wrong: &[bool], from: usize| !wrong[from..from + size].contains(&true);
            if right(&alignment.hyp_wrong, start)
                || right(&alignment.ref_wrong, place)
                || (start + 1..=start + size).contains(&used[place])
            {
                continue; // nothing to gain, or the place lies within the block
            }
            let before = if place == 0 { 0 } else { used[place - 1] };
            let mut previous = None;
            for target in [before].into_iter().chain(used[place..place + size].iter().copied()) {
                if previous.replace(target) == Some(target) {
                    continue;
                }
                let words = shifted(self.hyp, start, size, target);
                let total = self.total_of(&words, start.min(target), &mut scratch);
                let gain = i64::from(self.total()) - i64::from(total);
                let rank = (gain, size, Reverse(start), Reverse(target));
                if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
                    best = Some((rank, Shift { gain, words }));
                }
                *tried += 1;
            }
            if *tried >= MAX_CANDIDATES {
                break;
            }
        }
        best.map(|(_, shift)| shift)
    }
}

/// Every block of words that stands in both sentences: where in `hyp`, where in `reference`, and
/// its size, shorter ones first.
fn blocks(hyp: &[u32], reference: &[u32]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..hyp.len()).flat_map(move |start| {
        let first = start.saturating_sub(MAX_SHIFT_DISTANCE);
        let end = reference.len().min(start + MAX_SHIFT_DISTANCE + 1);
        (first..end).flat_map(move |place| {
            let pairs = hyp[start..].iter().zip(&reference[place..]).take(MAX_SHIFT_SIZE);
            let longest = pairs.take_while(|(a, b)| a == b).count();
            (1..=longest).map(move |size| (start, place, size))
        })
    })
}

/// The words with the block of `size` at `start` moved to before position `target`. A target
/// within the block moves it that far to the right.
fn shifted(words: &[u32], start: usize, size: usize, target: usize) -> Vec<u32> {
    let block = &words[start..start + size];
    let rest = [&words[..start], &words[start + size..]].concat();
    let to = if target < start {
        target
    } else if target > start + size {
        target - size
    } else {
        target.min(rest.len())
    };
    [&rest[..to], block, &rest[to..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_shifted_as_one() {
        assert_eq!(count(&[3, 4, 0, 1, 2], &[0, 1, 2, 3, 4]), 1);
        assert_eq!(count(&[5, 1, 2, 3, 0, 6], &[5, 0, 1, 2, 3, 6]), 1);
        assert_eq!(count(&[4, 3, 2, 1, 0], &[0, 1, 2, 3, 4]), 4);
    }

    #[test]
    fn the_whole_is_no_more_than_the_edit_distance() {
        let hyp: Vec<u32> = (0..41).map(|i| i * i % 17).collect();
        let reference: Vec<u32> = (0..37).map(|i| i * 5 % 17).collect();
        let plain = Distances::new(&hyp, &reference).total();
        assert!(count(&hyp, &reference) <= plain as usize);
    }

    #[test]
    fn a_shift_keeps_all_words() {
        let words = [0, 1, 2, 3, 4, 5, 6];
        assert_eq!(shifted(&words, 3, 2, 1), [0, 3, 4, 1, 2, 5, 6]);
        assert_eq!(shifted(&words, 1, 2, 5), [0, 3, 4, 1, 2, 5, 6]);
        assert_eq!(shifted(&words, 1, 2, 2), [0, 3, 1, 2, 4, 5, 6]); // into itself: by one
        assert_eq!(shifted(&words, 4, 3, 7), [0, 1, 2, 3, 4, 5, 6]); // there is no more room
    }

    #[test]
    fn blocks_are_found_in_order() {
        let found: Vec<_> = blocks(&[7, 8], &[8, 7, 8]).collect();
        assert_eq!(found, [(0, 1, 1), (0, 1, 2), (1, 0, 1), (1, 2, 1)]);
    }

    #[test]
    fn the_beam_is_wide_enough_to_connect_and_no_wider() {
        let reference: Vec<u32> = (0..613).collect();
        // A word shared near the diagonal is found, one far from it is missed.
        assert_eq!(count(&[300, 600], &reference), 612);
        assert_eq!(count(&[5, 600], &reference), 613);
        assert_eq!(count(&[], &reference), 613);
        assert_eq!(count(&reference, &[5, 600]), 611);
    }
}
