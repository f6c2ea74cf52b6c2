//! How far the translation of the next word lies from that of the last: probabilities of jumps.
//!
//! Vogel, Ney and Tillmann (1996), “HMM-Based Word Alignment in Statistical Translation”: a
//! jump's probability depends on its width only, `p(i | i') = c(i − i') / Σ_k c(k − i')`.
//!
//! **Differs from the paper** in four ways. Jumps into a sentence and out of it are jumps from before
//! its first and to behind its last word. Wide jumps share a weight, see [`REACH`], which keeps the
//! time that a long sentence takes linear in either length. New weights are not just counts, but counts divided by the opportunities that
//! sentences gave: so the likelihood cannot fall, because the weights maximise a lower bound of it
//! (minorisation of the normalisers' logarithms by their tangents; Hunter and Lange, 2004, “A
//! Tutorial on MM Algorithms”). And a word may be skipped, see [`super::hmm`].

/// Jumps forward or backward by more than this have the weight of a jump by this.
pub(super) const REACH: usize = 40;

/// Different widths of a jump.
const WIDTHS: usize = 2 * REACH + 1;

/// Jumps of each width that are assumed before any is counted: made, and possible.
const PRIOR: (f64, f64) = (0.5, 10.0);

/// The least weight of a jump, against the greatest: no path is ruled out for good.
const LEAST: f64 = 1e-7;

/// Weights of jumps by their width; the greatest is one.
#[derive(Clone, Debug)]
pub(super) struct Jumps {
    /// From `-REACH` to `REACH`.
    weights: Vec<f32>,
    /// The same in the other order: jumps as seen from where they lead to.
    reversed: Vec<f32>,
}

/// Jumps that were made, and opportunities for them.
#[derive(Clone, Debug)]
pub(super) struct JumpCounts {
    made: Vec<f64>,
    /// For each width, the sum over all jumps, of any width, of `1 / Σ_k c(k − i')` for each place
    /// where this width would have led.
    possible: Vec<f64>,
}

/// The places where weights begin that lead from a word to its neighbours: `(first weight, first
/// neighbour, end of neighbours)`.
fn window(word: usize, len: usize) -> (usize, usize, usize) {
    let (first, end) = (word.saturating_sub(REACH), (word + REACH + 1).min(len));
    (REACH + first - word, first, end)
}

/// `sums[to] += Σ_from values[from] · weights[to − from]`, in time linear in the length.
fn spread(weights: &[f32], values: &[f32], sums: &mut [f32]) {
    let len = values.len();
    for (from, value) in values.iter().enumerate() {
        let (weight, first, end) = window(from, len);
        let weights = &weights[weight..][..end - first];
        for (sum, weight) in sums[first..end].iter_mut().zip(weights) {
            *sum += value * weight;
        }
    }
    let (mut before, mut behind) = (0.0, 0.0);
    for to in REACH + 1..len {
        before += values[to - REACH - 1];
        sums[to] += weights[WIDTHS - 1] * before;
    }
    for to in (0..len.saturating_sub(REACH + 1)).rev() {
        behind += values[to + REACH + 1];
        sums[to] += weights[0] * behind;
    }
}

impl Jumps {
    /// Weights that favour going on to the next word.
    pub(super) fn new() -> Self {
        let weight = |width: usize| 1.0 / (1.0 + width.abs_diff(REACH + 1) as f32);
        Self::from((0..WIDTHS).map(weight).collect::<Vec<_>>())
    }

    /// `sums[to] += Σ_from values[from] · c(to − from)`.
    pub(super) fn follow(&self, values: &[f32], sums: &mut [f32]) {
        spread(&self.weights, values, sums);
    }

    /// `sums[from] += Σ_to values[to] · c(to − from)`.
    pub(super) fn trace(&self, values: &[f32], sums: &mut [f32]) {
        spread(&self.reversed, values, sums);
    }

    /// The weight of the jump from before the sentence to word `to`.
    pub(super) fn entering(&self, to: usize) -> f32 {
        self.weights[REACH + (to + 1).min(REACH)]
    }

    /// The weight of the jump from word `from` to behind a sentence of `len` words.
    pub(super) fn leaving(&self, from: usize, len: usize) -> f32 {
        self.weights[REACH + (len - from).min(REACH)]
    }

    /// The weights that explain the counted jumps best.
    pub(super) fn maximize(&mut self, counts: &JumpCounts, prior: bool) {
        let (made, possible) = if prior { PRIOR } else { (0.0, 0.0) };
        let places = counts.made.iter().zip(&counts.possible).zip(&self.weights);
        let weights: Vec<f64> = places
            .map(|((&n, &opportunities), &old)| match opportunities + possible {
                0.0 => f64::from(old),
                opportunities => (n + made) / opportunities,
            })
            .collect();
        let greatest = weights.iter().copied().fold(0.0, f64::max);
        if greatest > 0.0 {
            let weight = |weight: f64| (weight / greatest).max(LEAST) as f32;
            *self = Self::from(weights.into_iter().map(weight).collect::<Vec<_>>());
        }
    }

    /// Turns products of both ends' values, as [`JumpCounts::add_products`] sums them up, into
    /// jumps.
    pub(super) fn weigh(&self, products: &[f32], counts: &mut JumpCounts) {
        for ((made, product), weight) in counts.made.iter_mut().zip(products).zip(&self.weights) {
            *made += f64::from(product * weight);
        }
    }
}

impl From<Vec<f32>> for Jumps {
    fn from(weights: Vec<f32>) -> Self {
        let reversed = weights.iter().rev().copied().collect();
        Self { weights, reversed }
    }
}

impl Default for JumpCounts {
    fn default() -> Self {
        Self { made: vec![0.0; WIDTHS], possible: vec![0.0; WIDTHS] }
    }
}

impl JumpCounts {
    /// Room for products of all widths.
    pub(super) fn products() -> Vec<f32> {
        vec![0.0; WIDTHS]
    }

    /// `products[to − from] += from[from] · to[to]` for all pairs of words.
    pub(super) fn add_products(products: &mut [f32], from: &[f32], to: &[f32]) {
        let len = from.len();
        for (word, value) in from.iter().enumerate() {
            let (width, first, end) = window(word, len);
            for (product, other) in products[width..].iter_mut().zip(&to[first..end]) {
                *product += value * other;
            }
        }
        let (mut before, mut behind) = (0.0, 0.0);
        for word in REACH + 1..len {
            before += from[word - REACH - 1];
            products[WIDTHS - 1] += before * to[word];
        }
        for word in (0..len.saturating_sub(REACH + 1)).rev() {
            behind += from[word + REACH + 1];
            products[0] += behind * to[word];
        }
    }

    /// Jumps from word `from` of `len`: `chances` of them, each over the sum of the weights that
    /// lead from there.
    pub(super) fn add_possible(&mut self, from: usize, len: usize, chances: f64) {
        let (width, first, end) = window(from, len);
        for possible in &mut self.possible[width..][..end - first] {
            *possible += chances;
        }
        self.possible[0] += chances * from.saturating_sub(REACH) as f64;
        self.possible[WIDTHS - 1] += chances * (len - from).saturating_sub(REACH + 1) as f64;
        self.possible[REACH + (len - from).min(REACH)] += chances; // out of the sentence
    }

    /// A jump into a sentence, to word `to`.
    pub(super) fn add_into(&mut self, to: usize, times: f64) {
        self.made[REACH + (to + 1).min(REACH)] += times;
    }

    /// Jumps into a sentence of `len` words: `chances` of them, each over the sum of their weights.
    pub(super) fn add_possible_into(&mut self, len: usize, chances: f64) {
        for to in 0..len {
            self.possible[REACH + (to + 1).min(REACH)] += chances;
        }
    }

    /// A jump out of a sentence of `len` words, from word `from`.
    pub(super) fn add_out(&mut self, from: usize, len: usize, times: f64) {
        self.made[REACH + (len - from).min(REACH)] += times;
    }

    /// Adds the counts of other sentences.
    pub(super) fn add(&mut self, other: &Self) {
        let sides = [(&mut self.made, &other.made), (&mut self.possible, &other.possible)];
        for (counts, others) in sides {
            counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length beyond the reach of jumps on both sides.
    const LEN: usize = 2 * REACH + 7;

    fn weight(jumps: &Jumps, from: usize, to: usize) -> f32 {
        let width = (to as isize - from as isize).clamp(-(REACH as isize), REACH as isize);
        jumps.weights[(width + REACH as isize) as usize]
    }

    /// Numbers without pattern.
    fn wave(len: usize, phase: f32) -> Vec<f32> {
        (0..len).map(|n| 1.5 + (n as f32 * 0.7 + phase).sin()).collect()
    }

    #[test]
    fn short_ways_lead_to_the_same_sums_as_all_pairs() {
        let jumps = Jumps::from(wave(WIDTHS, 0.0));
        for len in [1, 2, REACH, REACH + 1, REACH + 2, LEN] {
            let (values, others) = (wave(len, 1.0), wave(len, 2.0));
            let (mut follow, mut trace) = (vec![0.0; len], vec![0.0; len]);
            jumps.follow(&values, &mut follow);
            jumps.trace(&values, &mut trace);
            let mut products = JumpCounts::products();
            JumpCounts::add_products(&mut products, &values, &others);
            let mut expected = vec![0.0; WIDTHS];
            for from in 0..len {
                let (mut followed, mut traced) = (0.0, 0.0);
                for to in 0..len {
                    followed += f64::from(values[to] * weight(&jumps, to, from));
                    traced += f64::from(values[to] * weight(&jumps, from, to));
                    let width =
                        (to as isize - from as isize).clamp(-(REACH as isize), REACH as isize);
                    expected[(width + REACH as isize) as usize] +=
                        f64::from(values[from] * others[to]);
                }
                // Sums of fewer than a hundred numbers near one, in `f32`.
                assert!((f64::from(follow[from]) / followed - 1.0).abs() < 1e-5);
                assert!((f64::from(trace[from]) / traced - 1.0).abs() < 1e-5);
            }
            for (product, expected) in products.iter().zip(expected) {
                assert!((f64::from(*product) - expected).abs() <= 1e-4 * expected, "{len}");
            }
        }
    }

    #[test]
    fn opportunities_are_counted_for_every_place() {
        for len in [1, 3, REACH + 1, LEN] {
            for from in [0, len / 2, len - 1] {
                let mut counts = JumpCounts::default();
                counts.add_possible(from, len, 0.5);
                let all: f64 = counts.possible.iter().sum();
                assert_eq!(all, 0.5 * (len + 1) as f64); // all words, and behind the last
            }
        }
    }

    #[test]
    fn weights_are_shares_of_the_opportunities() {
        let mut counts = JumpCounts::default();
        (counts.made[REACH + 1], counts.possible[REACH + 1]) = (3.0, 6.0);
        (counts.made[REACH], counts.possible[REACH]) = (1.0, 8.0);
        let mut jumps = Jumps::new();
        let before = jumps.weights[REACH + 2];
        jumps.maximize(&counts, false);
        assert_eq!(jumps.weights[REACH + 1], 1.0);
        assert_eq!(jumps.weights[REACH], 0.25);
        assert_eq!(jumps.weights[REACH + 2], before / 0.5); // nothing was learned of it
        assert!(jumps.reversed.iter().rev().eq(&jumps.weights));
    }
}
