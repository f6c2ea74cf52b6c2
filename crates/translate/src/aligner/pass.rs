//! One pass over sentences: in both directions, which word makes which.

use rayon::prelude::*;

use super::{
    CHUNK, Coupling, P_UNALIGNED,
    bitext::Bitext,
    hmm::Trellis,
    lexicon::Lexicon,
    positions::{Evidence, Positions},
    sentence::{Posteriors, Sentence},
};
use crate::alignment::Link;

/// What both directions know: the forward one first, in which source words make target words.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) lexicon: Lexicon,
    pub(super) positions: [Positions; 2],
}

/// What a thread needs for one sentence pair after the other.
#[derive(Debug, Default)]
pub(super) struct Worker {
    sentences: [Sentence; 2],
    trellis: Trellis,
    /// How probable links are: `[tgt_len, src_len]` forward, `[src_len, tgt_len]` in reverse.
    pub(super) posteriors: [Posteriors; 2],
}

/// What is known of the words of a pair.
pub(super) struct Words<P, U> {
    /// Number of source and of target words.
    pub(super) lens: [usize; 2],
    /// Of a source and a target word, `t(target | source)` and `t(source | target)`.
    pub(super) probabilities: P,
    /// The probability of a word that none made: in direction 0 of a target word, in direction 1
    /// of a source word.
    pub(super) unaligned: U,
}

impl Model {
    /// Counts in the lexicon how often words are linked, and returns the other evidence of both
    /// directions. The sum over chunks has a fixed order, whoever works on them.
    pub(super) fn expect(&self, bitext: &Bitext, coupling: Coupling) -> [Evidence; 2] {
        let chunks = self.chunks(bitext, |worker, evidence, idx, cells| {
            worker.run(self, bitext, idx, cells, evidence);
            worker.count(&self.lexicon, bitext, idx, cells, coupling);
        });
        let mut all: [Evidence; 2] = Default::default();
        for (evidence, _) in &chunks {
            all.iter_mut().zip(evidence).for_each(|(all, evidence)| all.add(evidence));
        }
        all
    }

    /// What `link` makes of the forward and the reverse links of each pair.
    pub(super) fn links(
        &self,
        bitext: &Bitext,
        link: impl Fn(&[Link], &[Link]) -> Vec<Link> + Sync,
    ) -> Vec<Vec<Link>> {
        let chunks = self.chunks(bitext, |worker, evidence, idx, cells| {
            worker.run(self, bitext, idx, cells, evidence);
            let [forward, reverse] = worker.links(bitext, idx);
            link(&forward, &reverse)
        });
        chunks.into_iter().flat_map(|(_, links)| links).collect()
    }

    /// Visits all pairs, chunk by chunk.
    fn chunks<R: Send>(
        &self,
        bitext: &Bitext,
        visit: impl Fn(&mut Worker, &mut [Evidence; 2], usize, &[u32]) -> R + Sync,
    ) -> Vec<([Evidence; 2], Vec<R>)> {
        let chunks = (0..bitext.len().div_ceil(CHUNK)).into_par_iter();
        let visited = chunks.map_init(Worker::default, |worker, chunk| {
            let mut evidence = Default::default();
            let mut cells = self.lexicon.cells(chunk, bitext);
            let first = chunk * CHUNK;
            let pairs = first..(first + CHUNK).min(bitext.len());
            let results = pairs.map(|idx| visit(worker, &mut evidence, idx, cells.next(idx)));
            let results = results.collect();
            (evidence, results)
        });
        visited.collect()
    }
}

impl Worker {
    /// Finds how probable the links of a pair are; `cells` are its entries in the lexicon,
    /// `[src_len, tgt_len]`, none if it does not take part.
    pub(super) fn run(
        &mut self,
        model: &Model,
        bitext: &Bitext,
        idx: usize,
        cells: &[u32],
        evidence: &mut [Evidence; 2],
    ) {
        self.posteriors.iter_mut().for_each(Posteriors::clear);
        if cells.is_empty() {
            return;
        }
        let (src, tgt) = bitext.pair(idx);
        let words = Words {
            lens: [src.len(), tgt.len()],
            probabilities: |src_idx: usize, tgt_idx: usize| {
                model.lexicon.probabilities(cells[src_idx * tgt.len() + tgt_idx])
            },
            unaligned: |direction: usize, idx: usize| {
                model.lexicon.unaligned(direction, [tgt, src][direction][idx])
            },
        };
        self.run_words(&model.positions, words, evidence);
    }

    /// The same for a pair of which only the probabilities of its words are known.
    pub(super) fn run_words(
        &mut self,
        positions: &[Positions; 2],
        words: Words<impl Fn(usize, usize) -> [f32; 2], impl Fn(usize, usize) -> f32>,
        evidence: &mut [Evidence; 2],
    ) {
        let Words { lens: [src_len, tgt_len], probabilities, unaligned } = words;
        let [forward, reverse] = &mut self.sentences;
        forward.translations.clear();
        forward.translations.resize(src_len * tgt_len, 0.0);
        reverse.translations.clear();
        for src_idx in 0..src_len {
            for tgt_idx in 0..tgt_len {
                let [to_tgt, to_src] = probabilities(src_idx, tgt_idx);
                forward.translations[tgt_idx * src_len + src_idx] = to_tgt;
                reverse.translations.push(to_src);
            }
        }
        for (direction, (from, to)) in
            [(src_len, tgt_len), (tgt_len, src_len)].into_iter().enumerate()
        {
            let sentence = &mut self.sentences[direction];
            (sentence.from_len, sentence.to_len) = (from, to);
            sentence.p_unaligned = P_UNALIGNED;
            sentence.unaligned.clear();
            sentence.unaligned.extend((0..to).map(|idx| unaligned(direction, idx)));
            positions[direction].run(
                sentence,
                &mut self.trellis,
                &mut evidence[direction],
                &mut self.posteriors[direction],
            );
        }
    }

    /// Counts how often the words of a pair are linked.
    fn count(
        &self,
        lexicon: &Lexicon,
        bitext: &Bitext,
        idx: usize,
        cells: &[u32],
        coupling: Coupling,
    ) {
        if cells.is_empty() {
            return;
        }
        let (src, tgt) = bitext.pair(idx);
        let [forward, reverse] = &self.posteriors;
        for (src_idx, row) in cells.chunks(tgt.len()).enumerate() {
            let reverse = &reverse.links[src_idx * tgt.len()..];
            for (tgt_idx, (&entry, &reverse)) in row.iter().zip(reverse).enumerate() {
                let forward = forward.links[tgt_idx * src.len() + src_idx];
                let times = match coupling {
                    Coupling::None => [forward, reverse],
                    Coupling::Agreement => [forward * reverse; 2],
                };
                lexicon.count(entry, times);
            }
        }
        for (direction, words) in [tgt, src].into_iter().enumerate() {
            for (&word, &times) in words.iter().zip(&self.posteriors[direction].unaligned) {
                lexicon.count_unaligned(direction, word, times);
            }
        }
    }

    /// The links of both directions, as (source, target).
    fn links(&self, bitext: &Bitext, idx: usize) -> [Vec<Link>; 2] {
        let (src, tgt) = bitext.pair(idx);
        let [forward, reverse] = &self.posteriors;
        let turned = reverse.best(tgt.len()).map(|(tgt_idx, src_idx)| (src_idx, tgt_idx));
        [forward.best(src.len()).collect(), turned.collect()]
    }
}
