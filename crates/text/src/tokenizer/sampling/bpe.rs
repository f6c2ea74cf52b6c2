//! Byte pair encoding with merges left out at random.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use serde::Deserialize;
use tokenizers::models::bpe::BPE;

use crate::{Error, Result};

/// No symbol on this side.
const NONE: u32 = u32::MAX;

/// What a BPE tokenizer has learned.
#[derive(Debug)]
pub(super) struct Merges {
    /// Two neighbours → the rank of their merge, and what they become.
    ranks: HashMap<(u32, u32), (u32, u32)>,
    /// The id of each byte.
    bytes: Box<[u32; 256]>,
}

/// The part of a saved model that tells its merges, in order.
#[derive(Deserialize)]
struct Saved {
    merges: Vec<(String, String)>,
}

/// A possible merge; the smallest is made first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Merge {
    rank: u32,
    /// Where its left symbol begins.
    at: u32,
    /// What both become.
    id: u32,
}

/// A subword in the making. It is known by the byte it begins with.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    before: u32,
    after: u32,
}

impl Merges {
    /// The merges of `bpe`, whose entries stand for `pieces` of text.
    pub(super) fn of(bpe: &BPE, pieces: &[Box<[u8]>]) -> Result<Self> {
        let wrong = |reason: String| Error::Sampling { reason };
        let marked = |mark: &Option<String>| mark.as_ref().is_some_and(|mark| !mark.is_empty());
        if bpe.ignore_merges
            || marked(&bpe.continuing_subword_prefix)
            || marked(&bpe.end_of_word_suffix)
        {
            return Err(wrong("this BPE tokenizer does not cut text by merging alone".into()));
        }
        // The crate shows merges to nobody, but it writes them down.
        let saved = serde_json::to_value(bpe).and_then(serde_json::from_value::<Saved>);
        let saved = saved.map_err(|error| wrong(error.to_string()))?;
        let vocab = bpe.get_vocab();
        let id = |token: &str| {
            vocab.get(token).copied().ok_or_else(|| wrong(format!("{token:?} is in a merge only")))
        };
        let mut ranks = HashMap::with_capacity(saved.merges.len());
        for ((left, right), rank) in saved.merges.iter().zip(0..) {
            let merged = id(&format!("{left}{right}"))?;
            ranks.insert((id(left)?, id(right)?), (rank, merged));
        }
        let mut bytes = Box::new([0; 256]);
        for (piece, id) in pieces.iter().zip(0..) {
            if let [byte] = **piece {
                bytes[usize::from(byte)] = id;
            }
        }
        Ok(Self { ranks, bytes })
    }

    /// The ids of single bytes.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Box<[u32]> {
        bytes.iter().map(|&byte| self.bytes[usize::from(byte)]).collect()
    }

    /// Merges neighbours, the pair of the lowest rank first and of equals the leftmost, until
    /// none can be merged, and appends what is left to `ids`.
    ///
    /// Before each merge every possible one may be left out, for this time: `drop` says so. If
    /// all are, that is the end (algorithm 1 of the paper). Asking in the order of ranks and
    /// stopping at the first that stays is the same with fewer questions.
    pub(super) fn merge(&self, bytes: &[u32], drop: &mut dyn FnMut() -> bool, ids: &mut Vec<u32>) {
        let n = bytes.len() as u32;
        let mut symbols: Vec<Symbol> = (bytes.iter().zip(0..n))
            .map(|(&id, at)| Symbol {
                id,
                before: if at == 0 { NONE } else { at - 1 },
                after: if at + 1 == n { NONE } else { at + 1 },
            })
            .collect();
        let pairs = (0..n.saturating_sub(1)).filter_map(|at| self.after(&symbols, at));
        let mut possible: BinaryHeap<Reverse<Merge>> = pairs.map(Reverse).collect();
        let mut dropped = Vec::new();
        while let Some(Reverse(merge)) = possible.pop() {
            if self.after(&symbols, merge.at) != Some(merge) {
                continue; // one of the two has become part of another
            }
            if drop() {
                dropped.push(Reverse(merge));
                continue;
            }
            possible.extend(dropped.drain(..));
            let left = symbols[merge.at as usize];
            let after = symbols[left.after as usize].after;
            symbols[left.after as usize].id = NONE;
            symbols[merge.at as usize] = Symbol { id: merge.id, after, ..left };
            if after != NONE {
                symbols[after as usize].before = merge.at;
            }
            possible.extend(self.after(&symbols, merge.at).map(Reverse));
            if left.before != NONE {
                possible.extend(self.after(&symbols, left.before).map(Reverse));
            }
        }
        ids.extend(symbols.iter().map(|symbol| symbol.id).filter(|&id| id != NONE));
    }

    /// The merge of the symbol that begins at `at` with the one after it, if there is one.
    fn after(&self, symbols: &[Symbol], at: u32) -> Option<Merge> {
        let Symbol { id, after, .. } = symbols[at as usize];
        let right = symbols.get(after as usize)?.id; // there is none at `NONE`
        let &(rank, merged) = self.ranks.get(&(id, right))?;
        Some(Merge { rank, at, id: merged })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a b c d` with the merges ab, cd, bc, abcd; ids 0 to 3 and then in that order.
    fn merges() -> Merges {
        let ranks = [((0, 1), 4), ((2, 3), 5), ((1, 2), 6), ((4, 5), 7)];
        let ranks = ranks.into_iter().zip(0..).map(|((pair, id), rank)| (pair, (rank, id)));
        Merges { ranks: ranks.collect(), bytes: Box::new([0; 256]) }
    }

    /// The result when the answers to “is this one left out?” are given.
    fn merged(answers: &[bool]) -> (Vec<u32>, usize) {
        let (mut ids, mut asked) = (Vec::new(), 0);
        let mut drop = || {
            asked += 1;
            answers.get(asked - 1).copied().unwrap_or(false)
        };
        merges().merge(&[0, 1, 2, 3], &mut drop, &mut ids);
        (ids, asked)
    }

    #[test]
    fn merges_are_made_in_order_and_a_dropped_one_gets_another_chance() {
        assert_eq!(merged(&[]), (vec![7], 3)); // ab, cd, abcd
        assert_eq!(merged(&[true]), (vec![7], 4)); // not ab, cd; then ab, abcd
        // Not ab, not cd, but bc: nothing else fits any more.
        assert_eq!(merged(&[true, true]), (vec![0, 6, 3], 3));
        // All three are left out at once: that is the end.
        assert_eq!(merged(&[true, true, true]), (vec![0, 1, 2, 3], 3));
        assert_eq!(merged(&[false, false, true]), (vec![4, 5], 3));
    }

    #[test]
    fn nothing_and_single_symbols_stay() {
        for bytes in [vec![], vec![3]] {
            let mut ids = vec![9];
            merges().merge(&bytes, &mut || false, &mut ids);
            assert_eq!(ids, [vec![9], bytes].concat());
        }
    }
}
