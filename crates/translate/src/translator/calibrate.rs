//! Which of a model's attentions agrees best with given links.
//!
//! A Transformer attends to the source in many heads, and few of them look at what a person would
//! link. Which ones differs from model to model. The step that *reads* a target word, whose query
//! knows it, often aligns it better than the step that *writes* it, whose query does not (Chen et
//! al., 2020, “Accurate Word Alignment Induction from Neural Machine Translation”, §3).

use model::{Attended, EncoderDecoder};

use super::Translator;
use crate::{
    Result,
    alignment::{Alignment, Gold, Level, LinkCounts, Linking, Reading},
    score,
    translation::{Tokenized, shifted},
};

/// A place to read alignments from, and how good they are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The place.
    pub reading: Reading,
    /// What its links have in common with those they were compared with.
    pub counts: LinkCounts,
}

/// How many layers and heads of its decoder a model attends to the source with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Layers.
    pub layers: usize,
    /// Heads of each.
    pub heads: usize,
}

impl Grid {
    /// All places: of each layer the mean and every head, and the mean of all, each at the step
    /// that writes a word and at the step that reads it.
    fn places(self) -> Vec<Reading> {
        let layer = |layer, head| Attended::Layer { layer: Some(layer), head };
        let mut places = Vec::new();
        for l in 0..self.layers {
            places.push(layer(l, None));
            if self.heads > 1 {
                places.extend((0..self.heads).map(|head| layer(l, Some(head))));
            }
        }
        match self {
            Self { layers: 1, heads: 1 } => places = vec![Attended::default()],
            Self { layers: 1, .. } => {}
            Self { .. } => places.push(Attended::Mean),
        }
        let both = |attended| [0, 1].map(|shift| Reading { attended, shift });
        places.into_iter().flat_map(both).collect()
    }

    /// The heads whose mean a place is, counted over all layers.
    fn heads_of(self, attended: Attended) -> std::ops::Range<usize> {
        let of_layer = |layer: usize| layer * self.heads..(layer + 1) * self.heads;
        match attended {
            Attended::Layer { layer, head: None } => of_layer(layer.unwrap_or(0)),
            Attended::Layer { layer, head: Some(head) } => {
                let first = of_layer(layer.unwrap_or(0)).start + head;
                first..first + 1
            }
            Attended::Mean | Attended::Each => 0..self.layers * self.heads,
        }
    }

    /// The weights of a place, given those of every head of every layer one after the other.
    fn weights(self, attended: Attended, each: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let heads = self.heads_of(attended);
        let factor = 1.0 / heads.len() as f32;
        let row = |row: &Vec<f32>| {
            let src_len = row.len() / (self.layers * self.heads);
            let mut mean = vec![0.0; src_len];
            for head in row[heads.start * src_len..heads.end * src_len].chunks_exact(src_len) {
                mean.iter_mut().zip(head).for_each(|(mean, weight)| *mean += factor * weight);
            }
            mean
        };
        each.iter().map(row).collect()
    }
}

impl<M: EncoderDecoder + Sync> Translator<M> {
    /// Compares what a model attends to in given pairs with links between their words, at every
    /// place that alignments can be read from, best first; of equals, the simpler first. The model
    /// must tell of [`Attended::Each`] of its attentions, which `grid` counts. Each target word is
    /// linked to the source word of the largest weight.
    ///
    /// # Errors
    /// As [`align`](Self::align).
    pub fn calibrate(
        &self,
        pairs: &[(String, String)],
        links: &[Gold],
        grid: Grid,
    ) -> Result<Vec<Candidate>> {
        let places = grid.places();
        let preparer = self.preparer();
        let tokenized: Result<Vec<_>> =
            pairs.iter().zip(1..).map(|(pair, line)| preparer.pair(pair, line)).collect();
        let tokenized = tokenized?;
        let lens =
            tokenized.iter().map(|(src, tgt)| src.encoding.ids.len().max(tgt.encoding.ids.len()));
        let counted = self.each_batch(lens, |batch| {
            let ids = |of: fn(&(Tokenized, Tokenized)) -> &Tokenized| -> Vec<Vec<u32>> {
                batch.iter().map(|&idx| of(&tokenized[idx]).encoding.ids.clone()).collect()
            };
            let scored = score(&self.model, &ids(|pair| &pair.0), &ids(|pair| &pair.1))?;
            let count = |(&idx, scored): (&usize, crate::Scored)| {
                let gold = links.get(idx).cloned().unwrap_or_default();
                let of_place = |reading: &Reading| {
                    links_at(*reading, grid, &tokenized[idx], &scored.weights)
                        .map(|links| LinkCounts::new(&links, &gold))
                };
                places.iter().map(of_place).collect::<Result<Vec<_>>>()
            };
            batch.iter().zip(scored).map(count).collect()
        })?;
        let mut candidates: Vec<Candidate> = places
            .iter()
            .map(|&reading| Candidate { reading, counts: LinkCounts::default() })
            .collect();
        for counts in counted {
            candidates.iter_mut().zip(counts).for_each(|(one, counts)| one.counts += counts);
        }
        let aer = |candidate: &Candidate| candidate.counts.quality().aer;
        candidates.sort_by(|one, other| aer(one).total_cmp(&aer(other)));
        Ok(candidates)
    }
}

/// The links of a pair that are read at a place.
fn links_at(
    reading: Reading,
    grid: Grid,
    (src, tgt): &(Tokenized, Tokenized),
    each: &[Vec<f32>],
) -> Result<Vec<(usize, usize)>> {
    if each.is_empty() {
        return Ok(Vec::new());
    }
    let weights = grid.weights(reading.attended, each);
    let weights = shifted(&weights, tgt.encoding.ids.len(), reading.shift);
    let (src, tgt) = (src.side(Level::Words), tgt.side(Level::Words));
    Ok(Alignment::new(&weights, src, tgt, Linking::Best)?.links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_and_head_is_a_place_and_a_single_one_has_no_number() {
        let places = Grid { layers: 2, heads: 3 }.places();
        assert_eq!(places.len(), 2 * (2 * (1 + 3) + 1));
        let one = Grid { layers: 1, heads: 1 }.places();
        assert_eq!(one.iter().map(|place| place.shift).collect::<Vec<_>>(), [0, 1]);
        assert!(one.iter().all(|place| place.attended == Attended::default()));
        assert_eq!(Grid { layers: 1, heads: 2 }.places().len(), 2 * 3);
    }

    #[test]
    fn a_place_is_the_mean_of_its_heads() {
        let grid = Grid { layers: 2, heads: 2 };
        let each = vec![vec![1., 0., 0., 1., 0.5, 0.5, 0.25, 0.75]]; // four heads over two words
        let of = |attended| grid.weights(attended, &each).remove(0);
        let layer = |layer, head| Attended::Layer { layer: Some(layer), head };
        assert_eq!(of(layer(0, Some(1))), [0., 1.]);
        assert_eq!(of(layer(0, None)), [0.5, 0.5]);
        assert_eq!(of(layer(1, None)), [0.375, 0.625]);
        assert_eq!(of(Attended::Mean), [0.4375, 0.5625]);
    }
}
