//! Which words translate each other: a probability for every two words that stand in a pair of
//! sentences together, in both directions.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rayon::prelude::*;

use super::{
    BackOff, CHUNK,
    backoff::ClassPairs,
    bitext::{Bitext, Side},
};
use crate::{Error, Result};

/// The least probability of a translation: what training has ruled out stays possible where a
/// sentence leaves no choice, and no sentence gets probability zero.
pub(super) const LEAST: f32 = 1e-12;

/// What one is counted as. Counts are whole numbers, so that their sums do not depend on the
/// order in which threads add to them.
const ONE: f32 = (1u64 << 32) as f32;

/// Cells, over all sentence pairs, whose places in the table are kept in memory: 1 GiB of them. In
/// larger corpora they are searched each time.
const CELLS_KEPT: usize = 1 << 28;

/// Translation probabilities of word pairs, and counts from which new ones are made.
///
/// Entries are those of a sparse matrix in compressed rows: one row for each source word, in it the
/// target words in ascending order. An entry serves both directions.
#[derive(Debug)]
pub(super) struct Lexicon {
    /// `[src vocab + 1]`: where rows start.
    starts: Vec<usize>,
    /// `[entries]`: their target words.
    tgt: Vec<u32>,
    /// For each chunk of sentence pairs the entries of its cells, pair after pair, `[src_len,
    /// tgt_len]`; empty if there are too many to keep.
    cells: Vec<Vec<u32>>,
    /// `[entries]`: `t(target | source)` and `t(source | target)`.
    probabilities: Vec<[f32; 2]>,
    /// `[entries]`: how often one was made from the other, in either direction.
    counts: Vec<[AtomicU64; 2]>,
    /// What no word of the other side made: target words, then source words.
    unaligned: [Unaligned; 2],
    classes: ClassPairs,
    vocabs: [usize; 2],
}

/// The words of one side that have no counterpart.
#[derive(Debug)]
struct Unaligned {
    /// Of each word of the vocabulary.
    probabilities: Vec<f32>,
    counts: Vec<AtomicU64>,
}

impl Lexicon {
    /// A lexicon in which all translations are alike probable, but for words that begin alike.
    ///
    /// # Errors
    /// [`Error::WordPairs`] if there are too many word pairs.
    pub(super) fn new(bitext: &Bitext, back_off: Option<BackOff>) -> Result<Self> {
        let vocabs = [bitext.src.vocab(), bitext.tgt.vocab()];
        let (starts, tgt) = entries(bitext);
        if u32::try_from(tgt.len()).is_err() {
            return Err(Error::WordPairs { found: tgt.len(), limit: u32::MAX });
        }
        let classes = ClassPairs::new(bitext, &starts, &tgt);
        let alike = back_off.map_or(1.0, |back_off| back_off.alike_at_first);
        let even = [1.0 / vocabs[1].max(1) as f32, 1.0 / vocabs[0].max(1) as f32];
        let first = |entry| {
            let factor = if classes.alike(entry) { alike } else { 1.0 };
            even.map(|probability| factor * probability)
        };
        let mut lexicon = Self {
            cells: Vec::new(),
            probabilities: (0..tgt.len()).map(first).collect(),
            counts: (0..tgt.len()).map(|_| Default::default()).collect(),
            unaligned: [&bitext.tgt, &bitext.src].map(Unaligned::new),
            starts,
            tgt,
            classes,
            vocabs,
        };
        lexicon.cells = lexicon.all_cells(bitext);
        Ok(lexicon)
    }

    /// Gives back the memory that only training needs.
    pub(super) fn settle(&mut self) {
        (self.cells, self.counts) = (Vec::new(), Vec::new());
    }

    /// The entries of all cells, chunk by chunk, if there is room for them.
    fn all_cells(&self, bitext: &Bitext) -> Vec<Vec<u32>> {
        let cells = (0..bitext.len()).map(|idx| cells_of(bitext.pair(idx)));
        if cells.sum::<usize>() > CELLS_KEPT {
            return Vec::new();
        }
        let chunks = (0..bitext.len()).into_par_iter().step_by(CHUNK);
        let found = chunks.map(|first| {
            let mut cells = Vec::new();
            for idx in first..(first + CHUNK).min(bitext.len()) {
                self.push_cells(bitext.pair(idx), &mut cells);
            }
            cells
        });
        found.collect()
    }

    /// Gives the entries of the cells of a chunk's pairs, one after the other: from memory, or
    /// searched.
    pub(super) fn cells<'a>(&'a self, chunk: usize, bitext: &'a Bitext) -> Cells<'a> {
        Cells { lexicon: self, bitext, kept: self.cells.get(chunk), at: 0, found: Vec::new() }
    }

    /// The entries of one pair, `[src_len, tgt_len]`; none if it does not take part.
    pub(super) fn cells_of_pair(&self, pair: (&[u32], &[u32])) -> Vec<u32> {
        let mut cells = Vec::new();
        self.push_cells(pair, &mut cells);
        cells
    }

    /// Searches the entries of a pair, if it takes part.
    fn push_cells(&self, (src, tgt): (&[u32], &[u32]), cells: &mut Vec<u32>) {
        if cells_of((src, tgt)) == 0 {
            return;
        }
        for &word in src {
            let start = self.starts[word as usize];
            let row = &self.tgt[start..self.starts[word as usize + 1]];
            // Every word of the sentence is in the row, as the row was made from the sentence.
            cells.extend(tgt.iter().map(|word| (start + row.partition_point(|w| w < word)) as u32));
        }
    }

    /// The entry of two words, if they stand in a pair of sentences together.
    pub(super) fn entry(&self, src: u32, tgt: u32) -> Option<u32> {
        let start = self.starts[src as usize];
        let row = &self.tgt[start..self.starts[src as usize + 1]];
        row.binary_search(&tgt).ok().map(|at| (start + at) as u32)
    }

    /// `t(target | source)` and `t(source | target)` of an entry.
    pub(super) fn probabilities(&self, entry: u32) -> [f32; 2] {
        self.probabilities[entry as usize].map(|probability| probability.max(LEAST))
    }

    /// The probability of a word that no word of the other side made: in direction 0 of a target
    /// word, in direction 1 of a source word.
    pub(super) fn unaligned(&self, direction: usize, word: u32) -> f32 {
        self.unaligned[direction].probabilities[word as usize].max(LEAST)
    }

    /// Counts that the words of an entry were linked.
    pub(super) fn count(&self, entry: u32, times: [f32; 2]) {
        let counts = &self.counts[entry as usize];
        for (count, times) in counts.iter().zip(times) {
            add(count, times);
        }
    }

    /// Counts that a word was made by none.
    pub(super) fn count_unaligned(&self, direction: usize, word: u32, times: f32) {
        add(&self.unaligned[direction].counts[word as usize], times);
    }

    /// Makes probabilities from the counts, which start again from zero.
    pub(super) fn maximize(&mut self, back_off: Option<BackOff>) {
        let counts: Vec<[f64; 2]> =
            self.counts.par_iter().map(|counts| counts.each_ref().map(take)).collect();
        let sums = self.sums(&counts);
        let strength = back_off.map_or(0.0, |back_off| back_off.strength);
        let expected = back_off.map(|back_off| self.classes.expected(&counts, back_off.alike));
        let mut rest = &mut self.probabilities[..];
        let mut rows = Vec::with_capacity(self.vocabs[0]);
        for (word, ends) in self.starts.windows(2).enumerate() {
            let (row, after) = mem::take(&mut rest).split_at_mut(ends[1] - ends[0]);
            rows.push((word, ends[0], row));
            rest = after;
        }
        let (classes, tgt) = (&self.classes, &self.tgt);
        rows.into_par_iter().for_each(|(src_word, start, row)| {
            for (entry, probabilities) in (start..).zip(row) {
                let tgt_word = tgt[entry] as usize;
                let prior = expected.as_ref().map_or([0.0; 2], |expected| {
                    classes.probabilities(expected, entry, src_word, tgt_word)
                });
                let sums = [sums[0][src_word], sums[1][tgt_word]];
                for (direction, probability) in probabilities.iter_mut().enumerate() {
                    let count = counts[entry][direction] + strength * prior[direction];
                    let all = sums[direction] + strength;
                    *probability = if all > 0.0 { (count / all) as f32 } else { 0.0 };
                }
            }
        });
        self.unaligned.iter_mut().for_each(Unaligned::maximize);
    }

    /// How often each source word made a target word, and each target word a source word.
    fn sums(&self, counts: &[[f64; 2]]) -> [Vec<f64>; 2] {
        let mut sums = self.vocabs.map(|vocab| vec![0.0; vocab]);
        for (src_word, ends) in self.starts.windows(2).enumerate() {
            for entry in ends[0]..ends[1] {
                sums[0][src_word] += counts[entry][0];
                sums[1][self.tgt[entry] as usize] += counts[entry][1];
            }
        }
        sums
    }

    /// The sum of `t(· | word)` for each word that makes any: source words, then target words.
    #[cfg(test)]
    pub(super) fn totals(&self) -> [Vec<f64>; 2] {
        let wide = |pair: &[f32; 2]| pair.map(f64::from);
        self.sums(&self.probabilities.iter().map(wide).collect::<Vec<_>>())
    }

    /// The sum of the probabilities of unaligned words in each direction.
    #[cfg(test)]
    pub(super) fn unaligned_totals(&self) -> [f64; 2] {
        let total = |unaligned: &Unaligned| {
            unaligned.probabilities.iter().map(|probability| f64::from(*probability)).sum()
        };
        self.unaligned.each_ref().map(total)
    }
}

/// The cells of a chunk's sentence pairs.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    lexicon: &'a Lexicon,
    bitext: &'a Bitext,
    kept: Option<&'a Vec<u32>>,
    at: usize,
    found: Vec<u32>,
}

impl Cells<'_> {
    /// The entries of the next pair of the chunk, `[src_len, tgt_len]`; `idx` says which that is.
    pub(super) fn next(&mut self, idx: usize) -> &[u32] {
        let pair = self.bitext.pair(idx);
        let Some(kept) = self.kept else {
            self.found.clear();
            self.lexicon.push_cells(pair, &mut self.found);
            return &self.found;
        };
        let start = self.at;
        self.at += cells_of(pair);
        &kept[start..self.at]
    }
}

impl Unaligned {
    /// Words that are unaligned as often as they occur.
    fn new(side: &Side) -> Self {
        let counts = side.frequencies.iter().map(|&n| AtomicU64::new(u64::from(n))).collect();
        let mut unaligned = Self { probabilities: vec![0.0; side.vocab()], counts };
        unaligned.maximize();
        unaligned
    }

    fn maximize(&mut self) {
        let counts: Vec<f64> = self.counts.iter().map(take).collect();
        let all: f64 = counts.iter().sum();
        if all > 0.0 {
            let probabilities = counts.iter().map(|count| (count / all) as f32);
            self.probabilities = probabilities.collect();
        }
    }
}

/// Cells of a sentence pair that takes part.
pub(super) fn cells_of((src, tgt): (&[u32], &[u32])) -> usize {
    let cells = src.len().saturating_mul(tgt.len());
    if cells > super::LARGEST_PAIR { 0 } else { cells }
}

/// For each source word, the target words that stand in a sentence with it: where its row starts,
/// and the rows.
fn entries(bitext: &Bitext) -> (Vec<usize>, Vec<u32>) {
    let vocab = bitext.src.vocab();
    let mut ends = vec![0usize; vocab + 1];
    let all = || (0..bitext.len()).filter(|&idx| cells_of(bitext.pair(idx)) > 0);
    for idx in all() {
        for &word in bitext.pair(idx).0 {
            ends[word as usize + 1] += 1;
        }
    }
    for word in 0..vocab {
        ends[word + 1] += ends[word];
    }
    let mut sentences = vec![0u32; ends[vocab]];
    let mut next = ends.clone();
    for idx in all() {
        for &word in bitext.pair(idx).0 {
            sentences[next[word as usize]] = idx as u32;
            next[word as usize] += 1;
        }
    }
    let seen_by = || vec![u32::MAX; bitext.tgt.vocab()];
    let rows = (0..vocab).into_par_iter().map_init(seen_by, |seen_by, word| {
        let mut row = Vec::new();
        for &idx in &sentences[ends[word]..ends[word + 1]] {
            for &other in bitext.pair(idx as usize).1 {
                if mem::replace(&mut seen_by[other as usize], word as u32) != word as u32 {
                    row.push(other);
                }
            }
        }
        row.sort_unstable();
        row
    });
    let rows: Vec<Vec<u32>> = rows.collect();
    let mut starts = vec![0];
    let mut tgt = Vec::with_capacity(rows.iter().map(Vec::len).sum());
    for row in rows {
        tgt.extend(row);
        starts.push(tgt.len());
    }
    (starts, tgt)
}

fn add(count: &AtomicU64, times: f32) {
    let times = (times * ONE) as u64;
    if times > 0 {
        count.fetch_add(times, Relaxed);
    }
}

fn take(count: &AtomicU64) -> f64 {
    count.swap(0, Relaxed) as f64 / f64::from(ONE)
}
