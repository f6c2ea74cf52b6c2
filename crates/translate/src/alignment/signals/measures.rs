//! The measures: entropy, coverage, fertility and order.

use crate::{Alignment, alignment::Link};

/// How much target words hesitate: the mean entropy of their weights over source words and the end
/// of the source, each row normalised, in bits. None without weights.
pub fn entropy(alignment: &Alignment) -> Option<f64> {
    let rows = alignment.weights.iter().zip(&alignment.eos);
    mean(rows.filter_map(|(row, eos)| bits(row.iter().chain([eos]).copied())))
}

/// Mean entropy of columns in bits.
pub(super) fn src_entropy(alignment: &Alignment) -> Option<f64> {
    if !alignment.has_weights() {
        return None;
    }
    let column = |src_idx: usize| bits(alignment.weights.iter().map(move |row| row[src_idx]));
    mean((0..alignment.src_words.len()).filter_map(column))
}

/// The entropy in bits of weights that are normalised first; none if there is no weight.
fn bits(weights: impl Iterator<Item = f32> + Clone) -> Option<f64> {
    let sum: f64 = weights.clone().map(f64::from).sum();
    let share = |weight: f32| f64::from(weight) / sum;
    let shares = weights.filter(|weight| *weight > 0.0).map(share);
    (sum > 0.0).then(|| shares.map(|p| -p * p.log2()).sum::<f64>().max(0.0))
}

/// The attention that each source word gets; none without weights.
pub(super) fn coverage(alignment: &Alignment) -> Option<Vec<f64>> {
    let of_word =
        |src_idx: usize| alignment.weights.iter().map(|row| f64::from(row[src_idx])).sum();
    alignment.has_weights().then(|| (0..alignment.src_words.len()).map(of_word).collect())
}

/// How far coverage is from one.
pub(super) fn coverage_deviation(coverage: &[f64]) -> Option<f64> {
    mean(coverage.iter().map(|covered| (1.0 - covered).powi(2).ln_1p()))
}

/// The links of each source word.
pub(super) fn fertility(alignment: &Alignment) -> Vec<usize> {
    let mut fertility = vec![0; alignment.src_words.len()];
    for &(src, _) in &alignment.links {
        fertility[src] += 1;
    }
    fertility
}

/// Where the linked target words come from, in the order of the target.
pub(super) struct Order(Vec<Place>);

/// The mean position of the source words of one target word, as a fraction.
struct Place {
    sum: usize,
    n: usize,
}

impl Place {
    /// Compares two means without rounding.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.sum * other.n).cmp(&(other.sum * self.n))
    }
}

impl Order {
    pub(super) fn new(alignment: &Alignment) -> Self {
        let mut places: Vec<Place> =
            alignment.tgt_words.iter().map(|_| Place { sum: 0, n: 0 }).collect();
        for &(src, tgt) in &alignment.links {
            places[tgt].sum += src;
            places[tgt].n += 1;
        }
        places.retain(|place| place.n > 0);
        Self(places)
    }

    /// Share of neighbours that do not go back.
    pub(super) fn forward(&self) -> Option<f64> {
        mean(self.0.windows(2).map(|pair| f64::from(u8::from(pair[0].cmp(&pair[1]).is_le()))))
    }

    /// Kendall's tau over pairs that are not tied.
    pub(super) fn tau(&self) -> Option<f64> {
        let Self(places) = self;
        let (mut kept, mut turned) = (0usize, 0usize);
        for (idx, place) in places.iter().enumerate() {
            for later in &places[idx + 1..] {
                kept += usize::from(place.cmp(later).is_lt());
                turned += usize::from(place.cmp(later).is_gt());
            }
        }
        let pairs = kept + turned;
        (pairs > 0).then(|| (kept as f64 - turned as f64) / pairs as f64)
    }
}

/// The mean of numbers, if there are any.
fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = numbers.fold((0.0, 0usize), |(sum, n), number| (sum + number, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// The source words that any of these target words, in ascending order, is linked to.
pub(super) fn linked_to(links: &[Link], tgt: &[usize]) -> Vec<usize> {
    let of_these = links.iter().filter(|link| tgt.binary_search(&link.1).is_ok());
    let mut src: Vec<usize> = of_these.map(|link| link.0).collect();
    src.sort_unstable();
    src.dedup();
    src
}
