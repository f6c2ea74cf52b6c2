//! A sentence pair in one direction, as the models of positions see it.

/// Words that make words: in the forward direction source words make target words, in the reverse
/// direction it is the other way round.
#[derive(Clone, Debug, Default)]
pub(super) struct Sentence {
    /// Number of words that make others.
    pub(super) from_len: usize,
    /// Number of words that are made.
    pub(super) to_len: usize,
    /// `[to_len, from_len]`: probability of a word, given the word that makes it.
    pub(super) translations: Vec<f32>,
    /// `[to_len]`: probability of a word that none makes.
    pub(super) unaligned: Vec<f32>,
    /// How often none makes a word, whichever word it is.
    pub(super) p_unaligned: f32,
}

/// How probable each link is, given both sentences.
#[derive(Clone, Debug, Default)]
pub(super) struct Posteriors {
    /// `[to_len, from_len]`: a row together with its entry of `unaligned` sums to one, up to
    /// rounding.
    pub(super) links: Vec<f32>,
    /// `[to_len]`: that none makes the word.
    pub(super) unaligned: Vec<f32>,
}

impl Posteriors {
    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.unaligned.clear();
    }

    /// For each word that is made the most probable word to make it, if that is more probable than
    /// none: pairs of (from, to). Of equals the first.
    pub(super) fn best(&self, from_len: usize) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.links.chunks(from_len.max(1)).zip(&self.unaligned);
        rows.enumerate().filter_map(|(to, (row, &unaligned))| {
            let mut best = (0, f32::NEG_INFINITY);
            for (from, &probability) in row.iter().enumerate() {
                if probability > best.1 {
                    best = (from, probability);
                }
            }
            (best.1 > unaligned).then_some((best.0, to))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_word_is_linked_unless_none_is() {
        let links = vec![0.25, 0.5, 0.25, 0.25, 0.125, 0.375, 0.375, 0.0];
        let posteriors = Posteriors { links, unaligned: vec![0.25, 0.5, 0.5, 0.125] };
        assert_eq!(posteriors.best(2).collect::<Vec<_>>(), [(1, 0), (0, 3)]);
        assert_eq!(Posteriors::default().best(0).count(), 0);
    }
}
