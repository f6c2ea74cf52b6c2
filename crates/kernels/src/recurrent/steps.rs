//! Rows of sentences of different lengths, packed by time.

use std::ops::Range;

/// In which direction a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first word to the last.
    Forward,
    /// From the last word to the first.
    Backward,
}

/// How the words of a batch lie in rows: all first words, then all second words, and so on.
///
/// Within a step sentences stand by falling length, so the sentences that are still running are
/// always the first ones, and no row is padding. Word `t` of sentence `b` is row
/// `range(t).start + b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// First row of each step, and the number of rows at the end.
    offsets: Vec<usize>,
    /// Length of each sentence.
    lengths: Vec<usize>,
}

impl Steps {
    /// The layout of sentences of these lengths.
    ///
    /// # Panics
    /// If the lengths rise anywhere, or one is zero.
    pub fn new(lengths: Vec<usize>) -> Self {
        assert!(lengths.is_sorted_by(|a, b| a >= b), "sentences stand by falling length");
        assert!(lengths.last() != Some(&0), "a sentence has at least one word");
        let longest = lengths.first().copied().unwrap_or(0);
        let mut offsets = Vec::with_capacity(longest + 1);
        offsets.push(0);
        let mut active = lengths.len();
        for t in 0..longest {
            while lengths[active - 1] <= t {
                active -= 1;
            }
            offsets.push(offsets[t] + active);
        }
        Self { offsets, lengths }
    }

    /// Number of steps: the length of the longest sentence.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Number of sentences.
    pub fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// Number of rows: words of all sentences.
    pub fn rows(&self) -> usize {
        *self.offsets.last().expect("there is always an end")
    }

    /// Length of each sentence, falling.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The rows of step `t`, one for each sentence that has a word there.
    pub fn range(&self, t: usize) -> Range<usize> {
        self.offsets[t]..self.offsets[t + 1]
    }

    /// The row of word `t` of sentence `b`.
    pub fn row(&self, b: usize, t: usize) -> usize {
        self.offsets[t] + b
    }

    /// The steps in the order in which a layer takes them.
    pub fn order(&self, direction: Direction) -> Box<dyn DoubleEndedIterator<Item = usize>> {
        match direction {
            Direction::Forward => Box::new(0..self.len()),
            Direction::Backward => Box::new((0..self.len()).rev()),
        }
    }

    /// How many of the first sentences of step `t` come from a step before it, and that step's
    /// first row. The other sentences start at `t`.
    pub fn carried(&self, direction: Direction, t: usize) -> (usize, usize) {
        match direction {
            Direction::Forward if t == 0 => (0, 0),
            Direction::Forward => (self.range(t).len(), self.offsets[t - 1]),
            Direction::Backward if t + 1 == self.len() => (0, 0),
            Direction::Backward => (self.range(t + 1).len(), self.offsets[t + 1]),
        }
    }

    /// The row at which sentence `b` ends, for a layer that reads in `direction`.
    pub fn last_row(&self, direction: Direction, b: usize) -> usize {
        match direction {
            Direction::Forward => self.row(b, self.lengths[b] - 1),
            Direction::Backward => self.row(b, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_one_step_lie_side_by_side() {
        let steps = Steps::new(vec![3, 2, 2]);
        assert_eq!((steps.rows(), steps.len(), steps.batch()), (7, 3, 3));
        assert_eq!([steps.range(0), steps.range(1), steps.range(2)], [0..3, 3..6, 6..7]);
        assert_eq!(steps.carried(Direction::Forward, 0), (0, 0));
        assert_eq!(steps.carried(Direction::Forward, 2), (1, 3));
        assert_eq!(steps.carried(Direction::Backward, 2), (0, 0));
        assert_eq!(steps.carried(Direction::Backward, 1), (1, 6));
        assert_eq!(steps.last_row(Direction::Forward, 1), 4);
        assert_eq!(steps.last_row(Direction::Backward, 1), 1);
        assert_eq!(Steps::new(vec![]).rows(), 0);
    }
}
