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
    alignment::{Alignment, Gold, LinkCounts, Reading},
    translation::{AlignmentView, Tokenized, shifted},
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
    /// All that one can look at: of each layer the mean and every head, and the mean of all.
    pub fn attended(self) -> Vec<Attended> {
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
        places
    }

    /// All places, each at the step that writes a word and at the step that reads it.
    fn places(self) -> Vec<Reading> {
        let both = |attended| [0, 1].map(|shift| Reading { attended, shift });
        self.attended().into_iter().flat_map(both).collect()
    }

    /// Which of [`Self::attended`] a choice stands for that leaves the layer open.
    pub fn find(self, chosen: Attended) -> Attended {
        match chosen {
            _ if (self.layers, self.heads) == (1, 1) => Attended::default(),
            Attended::Layer { layer, head } => {
                let layer = Some(layer.unwrap_or(self.layers.saturating_sub(2)));
                Attended::Layer { layer, head: head.filter(|_| self.heads > 1) }
            }
            Attended::Mean | Attended::Each if self.layers == 1 => {
                Attended::Layer { layer: Some(0), head: None }
            }
            Attended::Mean | Attended::Each => Attended::Mean,
        }
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
        let view = AlignmentView::default();
        let counted = self.each_scored(&tokenized?, |idx, pair, scored| {
            let gold = links.get(idx).cloned().unwrap_or_default();
            let of_place = |reading: &Reading| {
                let links = alignment_at(*reading, grid, view, pair, &scored.weights)?.links;
                Ok(LinkCounts::new(&links, &gold))
            };
            places.iter().map(of_place).collect::<Result<Vec<_>>>()
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

    /// Reads the alignments of given pairs at several places at once: for each pair, one at each
    /// place. The model must tell of [`Attended::Each`] of its attentions, which `grid` counts;
    /// a pair without a token has empty alignments.
    ///
    /// # Errors
    /// As [`align`](Self::align).
    pub fn align_at(
        &self,
        pairs: &[(String, String)],
        grid: Grid,
        places: &[Reading],
    ) -> Result<Vec<Vec<Alignment>>> {
        let preparer = self.preparer();
        let tokenized: Result<Vec<_>> =
            pairs.iter().zip(1..).map(|(pair, line)| preparer.pair(pair, line)).collect();
        self.each_scored(&tokenized?, |_, pair, scored| {
            let at =
                |reading: &Reading| alignment_at(*reading, grid, self.view, pair, &scored.weights);
            places.iter().map(at).collect::<Result<Vec<_>>>()
        })
    }
}

/// The alignment of a pair that is read at a place.
fn alignment_at(
    reading: Reading,
    grid: Grid,
    view: AlignmentView,
    (src, tgt): &(Tokenized, Tokenized),
    each: &[Vec<f32>],
) -> Result<Alignment> {
    if each.is_empty() {
        return Ok(Alignment::default());
    }
    let weights = grid.weights(reading.attended, each);
    let weights = shifted(&weights, tgt.encoding.ids.len(), reading.shift);
    Alignment::new(&weights, src.side(view.level), tgt.side(view.level), view.linking)
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
    fn a_choice_that_leaves_the_layer_open_is_one_of_the_places() {
        let layer = |layer, head| Attended::Layer { layer, head };
        let grid = |layers, heads| Grid { layers, heads };
        for (of, chosen, expected) in [
            (grid(4, 2), Attended::default(), layer(Some(2), None)),
            (grid(4, 2), layer(None, Some(1)), layer(Some(2), Some(1))),
            (grid(4, 2), layer(Some(0), Some(1)), layer(Some(0), Some(1))),
            (grid(4, 2), Attended::Mean, Attended::Mean),
            (grid(3, 1), layer(Some(1), Some(0)), layer(Some(1), None)),
            (grid(1, 2), Attended::default(), layer(Some(0), None)),
            (grid(1, 2), Attended::Mean, layer(Some(0), None)),
            (grid(1, 1), Attended::Mean, Attended::default()),
        ] {
            assert_eq!(of.find(chosen), expected, "{chosen:?}");
            assert!(of.attended().contains(&expected));
        }
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
