//! What is drawn: an alignment in a terminal, as a picture, as an HTML page; scores as an SVG
//! picture.
//!
//! The renderers read no environment and write nothing: data and a style in, text out. Only pictures
//! in pixels look for fonts.

pub(crate) mod chart;
pub(crate) mod html;
pub(crate) mod markup;
pub(crate) mod png;
pub(crate) mod svg;
pub(crate) mod terminal;

use translate::Alignment;

/// Which target word looked at which source word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    /// The source words, in reading order.
    pub(crate) src: &'a [String],
    /// The target words, in reading order.
    pub(crate) tgt: &'a [String],
    /// One row per target word, one weight in `[0, 1]` per source word; a row sums to at most
    /// one. What is missing counts as zero: a model without attention has no weights at all.
    pub(crate) weights: &'a [Vec<f32>],
    /// The pairs `(src, tgt)` that count as linked.
    pub(crate) links: &'a [(usize, usize)],
}

impl<'a> From<&'a Alignment> for Matrix<'a> {
    fn from(alignment: &'a Alignment) -> Self {
        Self {
            src: &alignment.src_words,
            tgt: &alignment.tgt_words,
            weights: &alignment.weights,
            links: &alignment.links,
        }
    }
}

impl Matrix<'_> {
    /// The weight between two words, forced into `[0, 1]`; zero where there is none.
    fn weight(&self, src: usize, tgt: usize) -> f32 {
        let weight = self.weights.get(tgt).and_then(|row| row.get(src)).copied().unwrap_or(0.0);
        if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Whether two words are linked.
    fn linked(&self, src: usize, tgt: usize) -> bool {
        self.links.contains(&(src, tgt))
    }
}

/// Whether a word is written from right to left: its first letter with a direction decides.
fn right_to_left(word: &str) -> bool {
    // Hebrew to Arabic Extended-A, their presentation forms, and the historic scripts in the
    // block that Unicode reserves for right-to-left writing.
    let rtl = |c: char| {
        matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
    };
    word.chars().find(|c| c.is_alphabetic()).is_some_and(rtl)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a line into the words of a test.
    pub(crate) fn split(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_missing_or_broken_weight_is_zero() {
        let words = split("a b");
        let weights = [vec![0.25, f32::NAN], vec![2.0]];
        let matrix = Matrix { src: &words, tgt: &words, weights: &weights, links: &[(0, 1)] };
        assert_eq!(matrix.weight(0, 0), 0.25);
        assert_eq!(matrix.weight(1, 0), 0.0);
        assert_eq!(matrix.weight(0, 1), 1.0);
        assert_eq!(matrix.weight(1, 1), 0.0);
        assert!(matrix.linked(0, 1) && !matrix.linked(1, 0));
    }

    #[test]
    fn direction_is_that_of_the_first_letter() {
        assert!(right_to_left("«שלום»") && right_to_left("مرحبا") && right_to_left("3ألف"));
        assert!(!right_to_left("hello") && !right_to_left("…") && !right_to_left("2024"));
    }
}
