//! Which source word each target word looked at: attention weights of subwords, gathered to
//! words, the links that follow from them, and what both say about a translation.

mod matching;
mod pharaoh;
mod quality;
mod reading;
pub mod signals;
mod symmetrize;

pub use matching::best_matching;
pub use pharaoh::{Gold, parse_links, write_links};
pub use quality::{LinkCounts, Quality, bootstrap};
pub use reading::{Calibration, FILE, Reading};
pub use symmetrize::{Link, Symmetrization, symmetrize};

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};
use text::words::word_of_subwords;

use crate::{Error, Result};

/// A soft alignment of two sentences and the links that were read off it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// Words (or subwords) of the source.
    pub src_words: Vec<String>,
    /// Words (or subwords) of the target.
    pub tgt_words: Vec<String>,
    /// `[tgt_words, src_words]`: the attention that a target word paid to a source word. Each is
    /// in `[0, 1]`, and a row together with its entry of `eos` sums to one at most (up to
    /// rounding). Empty if only links are known.
    pub weights: Vec<Vec<f32>>,
    /// `[tgt_words]`: the attention that a target word paid to the end of the source sentence,
    /// where models look that look at nothing.
    pub eos: Vec<f32>,
    /// Linked words as (source, target), counted from zero, in ascending order.
    pub links: Vec<(usize, usize)>,
}

/// When a source word and a target word are linked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Linking {
    /// Each target word is linked to the source word of the largest weight (of equals the
    /// first), and to none if the end of the source weighs more than that word or every weight
    /// is zero.
    #[default]
    Best,
    /// Words are linked where the weight is above zero and at least this.
    Threshold(f32),
    /// Each word is linked to one word at most, so that the sum of the weights is as great as can
    /// be: [`best_matching`].
    OneToOne,
}

/// Whether words or subwords are aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// White-space separated words.
    #[default]
    Words,
    /// The tokens of the tokenizer.
    Subwords,
}

/// One side of an alignment: its units, and which of them each token belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    units: Vec<String>,
    of_token: Vec<Option<usize>>,
}

impl Side {
    /// The words of `text`, whose tokens cover the byte ranges `tokens`.
    ///
    /// A token belongs to the word of its first character that is not white space; a token of
    /// white space only belongs to none.
    pub fn words(text: &str, tokens: &[Range<usize>]) -> Self {
        let words = text::words(text);
        let of_token = word_of_subwords(text, tokens, &words);
        Self { units: words.into_iter().map(|word| text[word].to_owned()).collect(), of_token }
    }

    /// Each token for itself, under the given labels.
    pub fn subwords(labels: Vec<String>) -> Self {
        Self { of_token: (0..labels.len()).map(Some).collect(), units: labels }
    }
}

impl Alignment {
    /// Gathers attention over tokens to one over the units of both sides.
    ///
    /// `weights`: `[tgt_len, src_len + 1]`, with the source's end of sentence in the last column;
    /// a further row, of the target's end of sentence, is not used. The weight of a pair of words
    /// is the weight of the source word's tokens *summed*, *averaged* over the target word's
    /// tokens: attention to a word is attention to any of its parts, and a word written in three
    /// parts does not count three times. A target word without tokens gets zeros. Weight on
    /// source tokens of white space only belongs to no word and is left out.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights are for another number of tokens.
    pub fn new(weights: &[Vec<f32>], src: Side, tgt: Side, linking: Linking) -> Result<Self> {
        let (src_len, tgt_len) = (src.of_token.len(), tgt.of_token.len());
        if weights.len() != tgt_len && weights.len() != tgt_len + 1 {
            return Err(Error::Weights { side: "target", found: weights.len(), expected: tgt_len });
        }
        if let Some(row) = weights.iter().find(|row| row.len() != src_len + 1) {
            let found = row.len().saturating_sub(1);
            return Err(Error::Weights { side: "source", found, expected: src_len });
        }
        let width = src.units.len() + 1; // the last column is the end of the source
        let mut sums = vec![0f64; tgt.units.len() * width];
        let mut n_tokens = vec![0usize; tgt.units.len()];
        for (row, unit) in weights.iter().zip(&tgt.of_token) {
            let Some(unit) = *unit else { continue };
            n_tokens[unit] += 1;
            let sums = &mut sums[unit * width..][..width];
            for (weight, column) in row.iter().zip(&src.of_token) {
                if let Some(column) = *column {
                    sums[column] += f64::from(*weight);
                }
            }
            sums[width - 1] += f64::from(row[src_len]);
        }
        let mut rows: Vec<Vec<f32>> = sums
            .chunks(width)
            .zip(&n_tokens)
            .map(|(sums, &n)| sums.iter().map(|sum| (sum / n.max(1) as f64) as f32).collect())
            .collect();
        let eos = rows.iter_mut().filter_map(Vec::pop).collect();
        let mut alignment = Self {
            src_words: src.units,
            tgt_words: tgt.units,
            weights: rows,
            eos,
            links: Vec::new(),
        };
        alignment.links = alignment.linked(linking);
        Ok(alignment)
    }

    /// The words of two texts and links between them, where no weights are known.
    ///
    /// # Errors
    /// [`Error::LinkOutside`] if a word that is linked is not there.
    pub fn from_links(src: &str, tgt: &str, links: &[Link]) -> Result<Self> {
        let words = |text: &str| -> Vec<String> {
            text::words(text).into_iter().map(|word| text[word].to_owned()).collect()
        };
        let mut links = links.to_vec();
        links.sort_unstable();
        links.dedup();
        let alignment =
            Self { src_words: words(src), tgt_words: words(tgt), links, ..Self::default() };
        alignment.check()?;
        Ok(alignment)
    }

    /// Whether the weights are known, and not only links. Those of a target without words are.
    pub fn has_weights(&self) -> bool {
        self.weights.len() == self.tgt_words.len()
    }

    /// Makes sure that weights and links are of these words, as of an alignment that was read from
    /// a file they need not be.
    ///
    /// # Errors
    /// [`Error::Weights`] or [`Error::LinkOutside`] if they are not.
    pub fn check(&self) -> Result<()> {
        let (src_len, tgt_len) = (self.src_words.len(), self.tgt_words.len());
        let wrong = |side, found, expected| Err(Error::Weights { side, found, expected });
        let n_rows = self.weights.len();
        if n_rows != 0 && n_rows != tgt_len {
            return wrong("target", n_rows, tgt_len);
        }
        if self.eos.len() != n_rows {
            return wrong("target", self.eos.len(), n_rows);
        }
        if let Some(row) = self.weights.iter().find(|row| row.len() != src_len) {
            return wrong("source", row.len(), src_len);
        }
        let outside = |link: &&Link| link.0 >= src_len || link.1 >= tgt_len;
        match self.links.iter().find(outside) {
            Some(&(src, tgt)) => Err(Error::LinkOutside { src, tgt, src_len, tgt_len }),
            None => Ok(()),
        }
    }

    /// The links that `linking` reads off the weights, as (source, target) in ascending order.
    pub fn linked(&self, linking: Linking) -> Vec<(usize, usize)> {
        if linking == Linking::OneToOne {
            return best_matching(&self.weights);
        }
        let mut links = Vec::new();
        for (tgt_idx, (row, &eos)) in self.weights.iter().zip(&self.eos).enumerate() {
            match linking {
                Linking::Best => {
                    let mut best = (0, 0.0);
                    for (src_idx, &weight) in row.iter().enumerate() {
                        if weight > best.1 {
                            best = (src_idx, weight);
                        }
                    }
                    if best.1 > 0.0 && best.1 >= eos {
                        links.push((best.0, tgt_idx));
                    }
                }
                Linking::Threshold(least) => links.extend(
                    (0..row.len())
                        .filter(|&src_idx| row[src_idx] > 0.0 && row[src_idx] >= least)
                        .map(|src_idx| (src_idx, tgt_idx)),
                ),
                Linking::OneToOne => {}
            }
        }
        links.sort_unstable();
        links
    }

    /// The soft matrix as tab-separated lines, each ended by a line feed.
    ///
    /// The first line is the header: an empty cell, the source words, and `</s>` for the end of
    /// the source. Each further line is a target word with its weights. In words, a tab is
    /// written `\t`, a line feed `\n`, a carriage return `\r` and a backslash `\\`.
    pub fn to_tsv(&self) -> String {
        let mut tsv = String::new();
        for word in &self.src_words {
            tsv.push('\t');
            push_escaped(&mut tsv, word);
        }
        tsv.push_str("\t</s>\n");
        for ((word, row), eos) in self.tgt_words.iter().zip(&self.weights).zip(&self.eos) {
            push_escaped(&mut tsv, word);
            for weight in row.iter().chain([eos]) {
                tsv.push('\t');
                tsv.push_str(&weight.to_string());
            }
            tsv.push('\n');
        }
        tsv
    }
}

fn push_escaped(out: &mut String, word: &str) {
    for c in word.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
}

/// The links in Pharaoh format: `0-0 1-2`.
impl fmt::Display for Alignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_links(&self.links))
    }
}

#[cfg(test)]
mod tests;
