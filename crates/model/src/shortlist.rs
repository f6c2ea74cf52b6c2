//! A lexical shortlist: the target tokens that are likely in the translation of a sentence, given
//! its source tokens. Nothing else is computed or produced.
//!
//! (Jean et al., 2015, “On Using Very Large Target Vocabulary for Neural Machine Translation”, §4.2;
//! L'Hostis et al., 2016, “Vocabulary Selection Strategies for NMT”.)

use std::fs;
use std::path::Path;

use kernels::logits::{self, CHUNK, Depth};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::checkpoint::{self, Matrix};
use crate::linear::{Linear, Room};
use crate::{Error, Result, SearchPrecision, Special, Step};

/// The file of a model directory that holds it.
pub const SHORTLIST: &str = "shortlist.safetensors";

/// Which target tokens come into question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortlist {
    /// Those that any sentence may have.
    always: Vec<u32>,
    /// `[src vocab + 1]`: where the tokens of a source token stand.
    ends: Vec<u32>,
    tokens: Vec<u32>,
}

impl Shortlist {
    /// A list for each token of the source's vocabulary, and one for all sentences.
    pub fn new(always: Vec<u32>, of_source: &[Vec<u32>]) -> Self {
        let mut ends = vec![0];
        let mut tokens = Vec::new();
        for list in of_source {
            tokens.extend_from_slice(list);
            ends.push(tokens.len() as u32);
        }
        Self { always, ends, tokens }
    }

    /// The tokens that may stand in the translation of `src`, in ascending order: those of its
    /// tokens, those of all sentences, and the end of the sentence.
    pub fn candidates(&self, src: &[u32], special: Special) -> Vec<u32> {
        let own = src.iter().flat_map(|&token| {
            let ends = self.ends.get(token as usize..token as usize + 2);
            ends.map_or(&[][..], |ends| &self.tokens[ends[0] as usize..ends[1] as usize])
        });
        let mut candidates: Vec<u32> =
            self.always.iter().chain(own).copied().chain([special.eos]).collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    /// Writes it into a model directory, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(SHORTLIST);
        let parts = [("always", &self.always), ("ends", &self.ends), ("tokens", &self.tokens)];
        let bytes = parts.map(|(name, ids)| {
            (name, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())
        });
        let mut views = Vec::new();
        for (name, bytes) in &bytes {
            let view = TensorView::new(Dtype::U32, vec![bytes.len() / 4], bytes);
            views.push((
                *name,
                view.map_err(|source| Error::Safetensors { path: path.clone(), source })?,
            ));
        }
        let bytes = safetensors::serialize(views, None)
            .map_err(|source| Error::Safetensors { path: path.clone(), source })?;
        checkpoint::write(&path, &bytes)
    }

    /// Reads that of a model directory, made for these sizes of vocabularies; none if there is
    /// none.
    ///
    /// # Errors
    /// If the file is damaged, or was made for other vocabularies.
    pub fn open(dir: &Path, [src, tgt]: [usize; 2]) -> Result<Option<Self>> {
        let path = dir.join(SHORTLIST);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let foreign = |reason: String| Error::Foreign { path: path.clone(), reason };
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|source| Error::Safetensors { path: path.clone(), source })?;
        let ids = |name: &str| -> Result<Vec<u32>> {
            let view = tensors.tensor(name).map_err(|_| foreign(format!("{name} is missing")))?;
            if view.dtype() != Dtype::U32 {
                return Err(foreign(format!("{name} is of type {:?}, expected U32", view.dtype())));
            }
            Ok(view.data().as_chunks().0.iter().map(|&id| u32::from_le_bytes(id)).collect())
        };
        let list = Self { always: ids("always")?, ends: ids("ends")?, tokens: ids("tokens")? };
        if list.ends.len() != src + 1 {
            let found = list.ends.len().saturating_sub(1);
            return Err(foreign(format!("it is for {found} source tokens, the model has {src}")));
        }
        if !list.ends.is_sorted() || list.ends.last() != Some(&(list.tokens.len() as u32)) {
            return Err(foreign("the lists of source tokens are out of order".into()));
        }
        if let Some(id) = list.always.iter().chain(&list.tokens).find(|&&id| id as usize >= tgt) {
            return Err(foreign(format!("it has target token {id}, the model has {tgt}")));
        }
        Ok(Some(list))
    }
}

/// An output layer of which each sentence uses its candidates only.
#[derive(Debug)]
pub(crate) struct ShortOutput {
    pub(crate) list: Shortlist,
    pub(crate) weight: Matrix,
    pub(crate) sizes: [usize; 2],
    pub(crate) bias: Vec<f32>,
    pub(crate) precision: SearchPrecision,
}

/// The candidates of a sentence, and the rows of the output layer that are theirs.
#[derive(Debug)]
pub(crate) struct Candidates {
    tokens: Vec<u32>,
    layer: Linear,
}

impl ShortOutput {
    /// What a sentence needs of it.
    pub(crate) fn of(&self, src: &[u32], special: Special) -> Result<Candidates> {
        let tokens = self.list.candidates(src, special);
        let weight = self.weight.select(self.sizes[1], &tokens)?;
        let bias = tokens.iter().map(|&token| self.bias[token as usize]).collect();
        let layer = Linear::new([tokens.len(), self.sizes[1]], weight, bias, self.precision);
        Ok(Candidates { tokens, layer })
    }
}

impl Candidates {
    /// Adds rows to a step: what follows `x`, `[rows, dim]`, in a vocabulary of this size.
    /// Everything that is no candidate has probability zero.
    pub(crate) fn predict(
        &self,
        x: &[f32],
        vocab: usize,
        (room, short): (&mut Room, &mut Step),
        step: &mut Step,
    ) {
        self.layer.predict(x, Depth::Sums, room, short);
        let chunks = vocab.div_ceil(CHUNK);
        let rows = short.scores.chunks_exact(self.tokens.len()).zip(&short.shifts);
        for (scores, shift) in rows {
            let first = step.scores.len();
            step.scores.resize(first + vocab, f32::NEG_INFINITY);
            let row = &mut step.scores[first..];
            self.tokens.iter().zip(scores).for_each(|(&id, &score)| row[id as usize] = score);
            step.shifts.push(*shift);
            let first = step.peaks.len();
            step.peaks.resize(first + chunks, f32::NEG_INFINITY);
            logits::peaks(row, &mut step.peaks[first..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

    fn list() -> Shortlist {
        Shortlist::new(vec![9, 4], &[vec![], vec![7, 5], vec![5, 8, 4]])
    }

    #[test]
    fn candidates_are_those_of_the_tokens_and_of_all_sentences() {
        assert_eq!(list().candidates(&[1, 2, 1], SPECIAL), [3, 4, 5, 7, 8, 9]);
        assert_eq!(list().candidates(&[0], SPECIAL), [3, 4, 9]);
        assert_eq!(list().candidates(&[3, 77], SPECIAL), [3, 4, 9], "a token without a list");
    }

    #[test]
    fn a_list_comes_back_from_its_directory_and_foreign_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Shortlist::open(dir.path(), [3, 10]).unwrap(), None);
        list().save(dir.path()).unwrap();
        assert_eq!(Shortlist::open(dir.path(), [3, 10]).unwrap(), Some(list()));
        let error = |sizes| Shortlist::open(dir.path(), sizes).unwrap_err().to_string();
        assert!(error([4, 10]).contains("for 3 source tokens, the model has 4"));
        assert!(error([3, 9]).contains("target token 9, the model has 9"));
        fs::write(dir.path().join(SHORTLIST), b"no tensors").unwrap();
        assert!(Shortlist::open(dir.path(), [3, 10]).is_err());
    }
}
