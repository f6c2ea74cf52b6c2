//! Cutting the same text into other subwords each time: subword regularisation.
//!
//! - Provilkov, Emelianenko and Voita (2020), “BPE-Dropout: Simple and Effective Subword
//!   Regularization”, algorithm 1.
//! - Kudo (2018), “Subword Regularization: Improving Neural Network Translation Models with
//!   Multiple Subword Candidates”, §3.2.
//!
//! The `tokenizers` crate can do either, but draws from a generator that nobody can seed. Here
//! random numbers come from the caller, so that an epoch can be cut again as it was. Work that
//! is the same whenever a piece of text occurs (a word with the space before it) is done once.

mod bpe;
mod unigram;

use std::{collections::HashMap, sync::Arc};

use rayon::prelude::*;
use tokenizers::{
    ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer as Inner,
};

use self::{bpe::Merges, unigram::Lattice};
use super::{Tokenizer, bytes::bytes_of};
use crate::{Error, Result};

/// How subwords are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// BPE-dropout: at each step every possible merge is left out with this probability, in
    /// `[0, 1)`, and the first of the others is made. At 0 the cut is the usual one.
    Dropout(f64),
    /// A cut of probability `P` is drawn in proportion to `P^α` with this `α > 0`, over all cuts
    /// of a piece. The larger `α`, the more often the cut is the usual, most probable one.
    Exponent(f64),
}

/// A source of random numbers in `[0, 1)`.
pub type Uniform<'a> = &'a mut dyn FnMut() -> f64;

/// Cuts texts into subwords at random. Whatever is drawn, the ids decode to the text.
#[derive(Debug)]
pub struct Sampler {
    tokenizer: Arc<Tokenizer>,
    cuts: Cuts,
    numbers: HashMap<String, u32>,
    pieces: Vec<Piece>,
}

/// How pieces are cut.
#[derive(Debug)]
enum Cuts {
    Bpe { merges: Box<Merges>, rate: f64 },
    Unigram { entries: unigram::Entries, exponent: f64 },
}

/// A stretch of text that subwords do not cross, and what is known about it beforehand.
#[derive(Debug)]
struct Piece {
    /// Its ids as the tokenizer cuts it.
    usual: Box<[u32]>,
    ways: Ways,
}

#[derive(Debug)]
enum Ways {
    /// The ids of its bytes.
    Bytes(Box<[u32]>),
    Lattice(Lattice),
}

impl Sampler {
    /// A sampler for the texts that `tokenizer` encodes.
    ///
    /// # Errors
    /// [`Error::Sampling`] if the tokenizer is of the other kind, or merges in a way that cannot
    /// be left out.
    pub fn new(tokenizer: Arc<Tokenizer>, sampling: Sampling) -> Result<Self> {
        let wrong = |reason: &str| Error::Sampling { reason: reason.to_owned() };
        if tokenizer.foreign.is_some() {
            return Err(wrong(
                "an imported tokenizer, which does not know every character, has none",
            ));
        }
        let cuts = match (sampling, tokenizer.inner.get_model()) {
            (Sampling::Dropout(rate), ModelWrapper::BPE(bpe)) => {
                Cuts::Bpe { merges: Box::new(Merges::of(bpe, &tokenizer.pieces)?), rate }
            }
            (Sampling::Exponent(exponent), ModelWrapper::Unigram(unigram)) => {
                let entries = unigram::Entries::of(unigram, &tokenizer.pieces);
                Cuts::Unigram { entries, exponent }
            }
            (Sampling::Dropout(_), _) => {
                return Err(wrong("BPE-dropout needs a BPE tokenizer, this one is unigram"));
            }
            (Sampling::Exponent(_), _) => {
                return Err(wrong("unigram sampling needs a unigram tokenizer, this one is BPE"));
            }
        };
        Ok(Self { tokenizer, cuts, numbers: HashMap::new(), pieces: Vec::new() })
    }

    /// Cuts `texts` into pieces that subwords never cross, and gives each piece a number, the
    /// same one wherever it occurs.
    ///
    /// # Errors
    /// [`Error::Encode`] if the `tokenizers` crate fails; no text is known for which it does.
    pub fn pieces<S: AsRef<str> + Sync>(&mut self, texts: &[S]) -> Result<Vec<Vec<u32>>> {
        let inner = &self.tokenizer.inner;
        let split: Vec<Vec<String>> =
            texts.par_iter().map(|text| split(inner, text.as_ref())).collect::<Result<_>>()?;
        let numbered = split.into_iter().map(|text| {
            text.into_iter().map(|piece| self.number(piece)).collect::<Result<Vec<u32>>>()
        });
        numbered.collect()
    }

    /// Appends the ids of a text, given by its pieces, as the tokenizer cuts it.
    pub fn usual(&self, pieces: &[u32], ids: &mut Vec<u32>) {
        for &piece in pieces {
            ids.extend_from_slice(&self.pieces[piece as usize].usual);
        }
    }

    /// Appends the ids of a text, given by its pieces, cut at random. How many numbers are drawn
    /// depends on the text and on the numbers.
    pub fn sample(&self, pieces: &[u32], uniform: Uniform<'_>, ids: &mut Vec<u32>) {
        for &piece in pieces {
            match (&self.cuts, &self.pieces[piece as usize].ways) {
                (Cuts::Bpe { merges, rate }, Ways::Bytes(bytes)) => {
                    merges.merge(bytes, &mut || uniform() < *rate, ids);
                }
                (_, Ways::Lattice(lattice)) => lattice.sample(uniform, ids),
                (Cuts::Unigram { .. }, Ways::Bytes(_)) => {
                    unreachable!("the pieces of a unigram sampler are lattices")
                }
            }
        }
    }

    /// The number of a piece in the byte alphabet; a new one if it has none.
    fn number(&mut self, piece: String) -> Result<u32> {
        if let Some(&number) = self.numbers.get(&piece) {
            return Ok(number);
        }
        let failed = |reason: &str| Error::Encode { bytes: piece.len(), reason: reason.to_owned() };
        let bytes = bytes_of(&piece).ok_or_else(|| failed("a piece is not made of bytes"))?;
        let number = u32::try_from(self.pieces.len()).map_err(|_| failed("too many pieces"))?;
        self.pieces.push(match &self.cuts {
            Cuts::Bpe { merges, .. } => {
                let bytes = merges.bytes(&bytes);
                let mut usual = Vec::new();
                merges.merge(&bytes, &mut || false, &mut usual);
                Piece { usual: usual.into(), ways: Ways::Bytes(bytes) }
            }
            Cuts::Unigram { entries, exponent } => Piece {
                usual: entries.best(&bytes).into(),
                ways: Ways::Lattice(entries.lattice(&bytes, *exponent)),
            },
        });
        self.numbers.insert(piece, number);
        Ok(number)
    }
}

/// The pieces of a text, in the byte alphabet.
pub(super) fn split(inner: &Inner, text: &str) -> Result<Vec<String>> {
    let mut pieces = PreTokenizedString::from(text);
    if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
        let failed = |error: tokenizers::Error| Error::Encode {
            bytes: text.len(),
            reason: error.to_string(),
        };
        pre_tokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
    }
    let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
    let nonempty = splits.into_iter().map(|(piece, _, _)| piece).filter(|piece| !piece.is_empty());
    Ok(nonempty.map(str::to_owned).collect())
}
