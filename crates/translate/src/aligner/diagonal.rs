//! Positions near the diagonal: words stand about where their translations stand.
//!
//! Dyer, Chahuneau and Smith (2013), “A Simple, Fast, and Effective Reparameterization of IBM Model
//! 2”, §2: `p(i | j) ∝ exp(−λ |i/I − j/J|)`, with one tension `λ` for all sentences.
//!
//! **Differs from the paper**: places are those of the words' middles, `(i + ½) / I`; and the tension
//! takes one step of Newton's method in each iteration, with the same expectations that the paper
//! has in its gradient.

use super::sentence::{Posteriors, Sentence};

/// Where the tension begins, and between which values it stays.
const TENSION: (f64, f64, f64) = (4.0, 0.1, 50.0);

/// Where words are expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Diagonal {
    tension: f64,
}

/// Distances from the diagonal, summed over all words that another word made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiagonalCounts {
    /// Of links.
    found: f64,
    /// As the tension lets expect.
    expected: f64,
    /// The variance of that.
    variance: f64,
}

impl Diagonal {
    pub(super) fn new() -> Self {
        Self { tension: TENSION.0 }
    }

    /// Finds which word makes which, adds the distances to `counts`, and returns the logarithm of
    /// the sentence's probability.
    pub(super) fn run(
        &self,
        sentence: &Sentence,
        counts: &mut DiagonalCounts,
        posteriors: &mut Posteriors,
    ) -> f64 {
        let (from_len, to_len) = (sentence.from_len, sentence.to_len);
        posteriors.clear();
        let mut log_probability = 0.0;
        let mut row = vec![(0.0, 0.0); from_len]; // distances and probabilities
        for to in 0..to_len {
            let place = (to as f64 + 0.5) / to_len as f64;
            for (from, (distance, probability)) in row.iter_mut().enumerate() {
                *distance = (place - (from as f64 + 0.5) / from_len as f64).abs();
                *probability = (-self.tension * *distance).exp();
            }
            let sum: f64 = row.iter().map(|(_, probability)| probability).sum();
            row.iter_mut().for_each(|(_, probability)| *probability /= sum);
            let mean: f64 = row.iter().map(|(distance, p)| distance * p).sum();
            let square: f64 = row.iter().map(|(distance, p)| distance * distance * p).sum();
            let linked = 1.0 - f64::from(sentence.p_unaligned);
            let unaligned = f64::from(sentence.p_unaligned * sentence.unaligned[to]);
            let translations = &sentence.translations[to * from_len..][..from_len];
            for ((_, probability), &t) in row.iter_mut().zip(translations) {
                *probability *= linked * f64::from(t);
            }
            let sum = unaligned + row.iter().map(|(_, probability)| probability).sum::<f64>();
            posteriors.links.extend(row.iter().map(|(_, probability)| (probability / sum) as f32));
            posteriors.unaligned.push((unaligned / sum) as f32);
            log_probability += sum.ln();
            let words = 1.0 - unaligned / sum;
            counts.found += row.iter().map(|(distance, p)| distance * p / sum).sum::<f64>();
            counts.expected += words * mean;
            counts.variance += words * (square - mean * mean);
        }
        log_probability
    }

    /// The tension that explains the distances better.
    pub(super) fn maximize(&mut self, counts: &DiagonalCounts) {
        if counts.variance > 0.0 {
            let step = (counts.expected - counts.found) / counts.variance;
            self.tension = (self.tension + step).clamp(TENSION.1, TENSION.2);
        }
    }
}

impl DiagonalCounts {
    /// Adds the counts of other sentences.
    pub(super) fn add(&mut self, other: &Self) {
        self.found += other.found;
        self.expected += other.expected;
        self.variance += other.variance;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(from_len: usize, to_len: usize) -> Sentence {
        Sentence {
            from_len,
            to_len,
            translations: vec![0.5; from_len * to_len],
            unaligned: vec![0.5; to_len],
            p_unaligned: 0.2,
        }
    }

    #[test]
    fn words_of_equal_lexical_probability_are_linked_along_the_diagonal() {
        let mut posteriors = Posteriors::default();
        let log =
            Diagonal { tension: 2.0 }.run(&even(2, 2), &mut Default::default(), &mut posteriors);
        let far = (-1f32).exp(); // half a sentence away, at tension 2
        let near = 0.8 / (1.0 + far);
        let expected = [near, near * far, near * far, near];
        for (found, expected) in posteriors.links.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert_eq!(posteriors.unaligned, [0.2, 0.2]);
        assert!((log - 2.0 * 0.5f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_tension_finds_the_distances_it_is_told() {
        // Links as at a tension of 7, whatever the current one is.
        let (sentence, mut posteriors) = (even(7, 11), Posteriors::default());
        let mut told = DiagonalCounts::default();
        Diagonal { tension: 7.0 }.run(&sentence, &mut told, &mut posteriors);
        let mut diagonal = Diagonal::new();
        for _ in 0..9 {
            let mut counts = DiagonalCounts::default();
            diagonal.run(&sentence, &mut counts, &mut posteriors);
            counts.found = told.found;
            diagonal.maximize(&counts);
        }
        assert!((diagonal.tension - 7.0).abs() < 1e-6, "{}", diagonal.tension);
    }
}
