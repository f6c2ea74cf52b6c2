//! The hidden Markov model of alignment: forward and backward through a sentence.
//!
//! Vogel, Ney and Tillmann (1996); Och and Ney (2003), “A Systematic Comparison of Various
//! Statistical Alignment Models”: words of one language are made, one after the other, by words
//! of the other, and which word makes the next depends on which made the last one. A word that none
//! makes leaves the place as it is. Rabiner (1989), “A Tutorial on Hidden Markov Models”, §V.A: the
//! probabilities of each word are scaled to a sum of one, so that they do not vanish.
//!
//! Buffers are `[to_len, from_len]`: a row for each word that is made, a column for each that makes.

use super::{
    jumps::{JumpCounts, Jumps},
    sentence::{Posteriors, Sentence},
};

/// The least sum of a row, for divisions.
const LEAST: f32 = 1e-30;

/// Buffers of the algorithm, used again for the next sentence.
#[derive(Debug)]
pub(super) struct Trellis {
    /// Probability of the words up to this one, made by this column or, skipped, after it.
    linked: Vec<f32>,
    skipped: Vec<f32>,
    /// Probability of the words after this one, given that the place is this column.
    rest: Vec<f32>,
    /// What each row was divided by.
    scales: Vec<f32>,
    /// One over the sum of the weights of jumps from each column, times the chance of any jump.
    norms: Vec<f32>,
    /// Jumps from each column, over all rows.
    leaving: Vec<f32>,
    from: Vec<f32>,
    to: Vec<f32>,
    products: Vec<f32>,
}

impl Default for Trellis {
    fn default() -> Self {
        let empty = Vec::new;
        Self {
            linked: empty(),
            skipped: empty(),
            rest: empty(),
            scales: empty(),
            norms: empty(),
            leaving: empty(),
            from: empty(),
            to: empty(),
            products: JumpCounts::products(),
        }
    }
}

/// Makes a buffer of `len` zeros.
fn clear(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.resize(len, 0.0);
}

impl Trellis {
    /// Finds which word makes which, adds the jumps to `counts`, and returns the logarithm of the
    /// sentence's probability.
    pub(super) fn run(
        &mut self,
        sentence: &Sentence,
        jumps: &Jumps,
        counts: &mut JumpCounts,
        posteriors: &mut Posteriors,
    ) -> f64 {
        let into = self.prepare(sentence, jumps);
        let log_probability = self.forward(sentence, jumps, into);
        let end = self.end(sentence, jumps);
        self.backward(sentence, jumps);
        self.read(sentence, posteriors);
        self.count(sentence, jumps, into, counts);
        log_probability + end
    }

    /// Clears the buffers and normalises the jumps. Returns one over the sum of the weights of
    /// jumps into the sentence.
    fn prepare(&mut self, sentence: &Sentence, jumps: &Jumps) -> f32 {
        let (len, cells) = (sentence.from_len, sentence.from_len * sentence.to_len);
        for buffer in [&mut self.linked, &mut self.skipped, &mut self.rest] {
            clear(buffer, cells);
        }
        for buffer in [&mut self.norms, &mut self.leaving, &mut self.to] {
            clear(buffer, len);
        }
        self.scales.clear();
        self.products.fill(0.0);
        self.from.clear();
        self.from.resize(len, 1.0);
        jumps.trace(&self.from, &mut self.norms);
        for (from, norm) in self.norms.iter_mut().enumerate() {
            *norm = (1.0 - sentence.p_unaligned) / (*norm + jumps.leaving(from, len));
        }
        1.0 / (0..len).map(|to| jumps.entering(to)).sum::<f32>()
    }

    /// Fills `linked`, `skipped` and `scales`. Returns the logarithm of the words' probability.
    fn forward(&mut self, sentence: &Sentence, jumps: &Jumps, into: f32) -> f64 {
        let len = sentence.from_len;
        let mut log_probability = 0.0;
        for row in 0..sentence.to_len {
            let translations = &sentence.translations[row * len..][..len];
            let unaligned = sentence.p_unaligned * sentence.unaligned[row];
            let (linked_before, linked) = self.linked.split_at_mut(row * len);
            let (skipped_before, skipped) = self.skipped.split_at_mut(row * len);
            let (linked, skipped) = (&mut linked[..len], &mut skipped[..len]);
            if row == 0 {
                for column in 0..len {
                    let jump = into * jumps.entering(column);
                    linked[column] = (1.0 - sentence.p_unaligned) * jump;
                    skipped[column] = unaligned * jump;
                }
            } else {
                let before = linked_before[(row - 1) * len..].iter();
                let before = before.zip(&skipped_before[(row - 1) * len..]);
                for (column, (linked, skipped_before)) in before.enumerate() {
                    let place = linked + skipped_before;
                    skipped[column] = unaligned * place;
                    self.from[column] = place * self.norms[column];
                }
                jumps.follow(&self.from, linked);
            }
            linked.iter_mut().zip(translations).for_each(|(linked, t)| *linked *= t);
            let sum = linked.iter().chain(&*skipped).sum::<f32>().max(LEAST);
            let scale = 1.0 / sum;
            linked.iter_mut().chain(skipped).for_each(|probability| *probability *= scale);
            self.scales.push(scale);
            log_probability += f64::from(sum).ln();
        }
        log_probability
    }

    /// Fills the last row of `rest` with jumps out of the sentence. Returns the logarithm of their
    /// probability.
    fn end(&mut self, sentence: &Sentence, jumps: &Jumps) -> f64 {
        let len = sentence.from_len;
        let last = (sentence.to_len - 1) * len;
        let mut sum = 0.0;
        for column in 0..len {
            let jump = self.norms[column] * jumps.leaving(column, len);
            self.rest[last + column] = jump;
            sum += jump * (self.linked[last + column] + self.skipped[last + column]);
        }
        let sum = sum.max(LEAST);
        self.rest[last..].iter_mut().for_each(|probability| *probability /= sum);
        f64::from(sum).ln()
    }

    /// Fills `rest`, `leaving` and `products`.
    fn backward(&mut self, sentence: &Sentence, jumps: &Jumps) {
        let len = sentence.from_len;
        for row in (0..sentence.to_len - 1).rev() {
            let scale = self.scales[row + 1];
            let translations = &sentence.translations[(row + 1) * len..][..len];
            let unaligned = scale * sentence.p_unaligned * sentence.unaligned[row + 1];
            let (rest, after) = self.rest.split_at_mut((row + 1) * len);
            let (rest, after) = (&mut rest[row * len..], &after[..len]);
            for ((to, t), after) in self.to.iter_mut().zip(translations).zip(after) {
                *to = scale * t * after;
            }
            jumps.trace(&self.to, rest);
            let places = self.linked[row * len..].iter().zip(&self.skipped[row * len..]);
            for (column, (linked, skipped)) in places.take(len).enumerate() {
                let place = linked + skipped;
                let jump = rest[column] * self.norms[column];
                self.leaving[column] += place * jump;
                self.from[column] = place * self.norms[column];
                rest[column] = jump + unaligned * after[column];
            }
            JumpCounts::add_products(&mut self.products, &self.from, &self.to);
        }
    }

    /// Writes down how probable each link is.
    fn read(&self, sentence: &Sentence, posteriors: &mut Posteriors) {
        let paths = self.linked.iter().zip(&self.rest);
        posteriors.links.clear();
        posteriors.links.extend(paths.map(|(linked, rest)| linked * rest));
        posteriors.unaligned.clear();
        let rows = self.skipped.chunks(sentence.from_len).zip(self.rest.chunks(sentence.from_len));
        let sum = |(skipped, rest): (&[f32], &[f32])| -> f32 {
            skipped.iter().zip(rest).map(|(skipped, rest)| skipped * rest).sum()
        };
        posteriors.unaligned.extend(rows.map(sum));
    }

    /// Adds the jumps of this sentence, and their opportunities, to the counts.
    fn count(&self, sentence: &Sentence, jumps: &Jumps, into: f32, counts: &mut JumpCounts) {
        let len = sentence.from_len;
        let last = (sentence.to_len - 1) * len;
        jumps.weigh(&self.products, counts);
        let place = |cell: usize| (self.linked[cell] + self.skipped[cell]) * self.rest[cell];
        let mut entering = 0.0;
        for column in 0..len {
            let first = f64::from(place(column));
            counts.add_into(column, first);
            entering += first;
            let leaving = place(last + column);
            counts.add_out(column, len, f64::from(leaving));
            let chances = (self.leaving[column] + leaving) * self.norms[column];
            let chances = f64::from(chances) / f64::from(1.0 - sentence.p_unaligned);
            counts.add_possible(column, len, chances);
        }
        counts.add_possible_into(len, entering * f64::from(into));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_LEN: usize = 3;
    const TO_LEN: usize = 4;
    const P_UNALIGNED: f64 = 0.25;

    fn sentence() -> Sentence {
        let wave = |n: usize| 0.3 + 0.25 * (n as f32 * 1.3).sin();
        Sentence {
            from_len: FROM_LEN,
            to_len: TO_LEN,
            translations: (0..FROM_LEN * TO_LEN).map(wave).collect(),
            unaligned: vec![0.1, 0.3, 0.05, 0.2],
            p_unaligned: P_UNALIGNED as f32,
        }
    }

    /// Adds the probabilities of all ways to go on after `path`, whose last place is `at`; `visit`
    /// gets each whole way, as places and whether they made the word.
    fn walk(
        (sentence, jumps): (&Sentence, &Jumps),
        path: &mut Vec<(usize, bool)>,
        probability: f64,
        visit: &mut impl FnMut(&[(usize, bool)], f64),
    ) {
        let jump = |to: usize| -> f64 {
            let weight = |to: usize| match path.last() {
                None => f64::from(jumps.entering(to)),
                Some(&(from, _)) => {
                    let mut sums = vec![0.0; FROM_LEN];
                    let mut values = vec![0.0; FROM_LEN];
                    values[from] = 1.0;
                    jumps.follow(&values, &mut sums);
                    f64::from(sums[to])
                }
            };
            let out =
                path.last().map_or(0.0, |&(from, _)| f64::from(jumps.leaving(from, FROM_LEN)));
            let all: f64 = out + (0..FROM_LEN).map(weight).sum::<f64>();
            if to == FROM_LEN { out / all } else { weight(to) / all }
        };
        let row = path.len();
        if row == TO_LEN {
            return visit(path, probability * (1.0 - P_UNALIGNED) * jump(FROM_LEN));
        }
        let unaligned = P_UNALIGNED * f64::from(sentence.unaligned[row]);
        let mut steps = Vec::new();
        for to in 0..FROM_LEN {
            let translation = f64::from(sentence.translations[row * FROM_LEN + to]);
            steps.push(((to, true), (1.0 - P_UNALIGNED) * jump(to) * translation));
            match path.last() {
                None => steps.push(((to, false), unaligned * jump(to))),
                Some(&(at, _)) if at == to => steps.push(((to, false), unaligned)),
                Some(_) => {}
            }
        }
        for (step, factor) in steps {
            path.push(step);
            walk((sentence, jumps), path, probability * factor, visit);
            path.pop();
        }
    }

    #[test]
    fn sums_over_all_ways_through_a_sentence_are_those_of_trying_each() {
        let (sentence, mut jumps) = (sentence(), Jumps::new());
        let mut told = JumpCounts::default();
        told.add_into(0, 2.0);
        told.add_possible(1, FROM_LEN, 0.7);
        jumps.maximize(&told, true); // weights without symmetry
        let (mut all, mut links, mut unaligned) = (0.0, vec![0.0; 12], [0.0; TO_LEN]);
        walk((&sentence, &jumps), &mut Vec::new(), 1.0, &mut |path, probability| {
            all += probability;
            for (row, &(column, made)) in path.iter().enumerate() {
                let sum =
                    if made { &mut links[row * FROM_LEN + column] } else { &mut unaligned[row] };
                *sum += probability;
            }
        });

        let (mut counts, mut posteriors) = (JumpCounts::default(), Posteriors::default());
        let mut trellis = Trellis::default();
        for _ in 0..2 {
            // The second time with used buffers.
            let log = trellis.run(&sentence, &jumps, &mut counts, &mut posteriors);
            assert!((log - all.ln()).abs() < 1e-5, "{log} against {}", all.ln());
        }
        let pairs = posteriors.links.iter().zip(&links);
        for (found, sum) in pairs.chain(posteriors.unaligned.iter().zip(&unaligned)) {
            assert!((f64::from(*found) - sum / all).abs() < 1e-5, "{found} against {}", sum / all);
        }
    }
}
