//! Learns a lexical shortlist from text: which target tokens translate which source tokens.
//!
//! The statistical aligner links the tokens of the text in both directions; a source token gets
//! those target tokens that it is linked to most often. The most frequent tokens of the target
//! come on every list, as much of what a sentence has is linked to nothing.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use model::{Shortlist, Special};

use crate::Result;
use crate::aligner::{Aligner, Bitext, Config};
use crate::alignment::Symmetrization;

/// How long lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Most target tokens of a source token.
    pub best: NonZeroUsize,
    /// How many of the most frequent target tokens are on every list.
    pub frequent: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { best: const { NonZeroUsize::new(50).expect("not zero") }, frequent: 200 }
    }
}

/// What a shortlist does to the text that it was learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    /// Target tokens.
    pub tokens: usize,
    /// Target tokens that are candidates of their sentence.
    pub covered: usize,
    /// Sentences all of whose tokens are.
    pub whole: usize,
    /// Sentences.
    pub sentences: usize,
    /// Candidates, over all sentences.
    pub candidates: usize,
}

/// Learns from pairs of source and target ids, of vocabularies of these sizes.
///
/// # Errors
/// If the text has too many different pairs of tokens.
pub fn learn(
    pairs: &[(Vec<u32>, Vec<u32>)],
    [src_vocab, tgt_vocab]: [usize; 2],
    sizes: Sizes,
) -> Result<Shortlist> {
    let words = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let bitext: Bitext = pairs.iter().map(|(src, tgt)| (words(src), words(tgt))).collect();
    // Numbers that begin alike have nothing in common.
    let config = Config { back_off: None, ..Config::default() };
    let aligner = Aligner::train(bitext, &config, |_| ())?;
    let mut counts: Vec<HashMap<u32, u32>> = vec![HashMap::new(); src_vocab];
    for ((src, tgt), links) in pairs.iter().zip(aligner.links(Symmetrization::Union)) {
        for (i, j) in links {
            *counts[src[i] as usize].entry(tgt[j]).or_default() += 1;
        }
    }
    let mut frequencies = vec![0; tgt_vocab];
    pairs.iter().flat_map(|(_, tgt)| tgt).for_each(|&id| frequencies[id as usize] += 1);
    let all = (0..).zip(frequencies).filter(|&(_, count)| count > 0).collect();
    let lists: Vec<Vec<u32>> =
        counts.into_iter().map(|list| most(list.into_iter().collect(), sizes.best.get())).collect();
    Ok(Shortlist::new(most(all, sizes.frequent), &lists))
}

/// The ids that count most, at most `n`; of equals the lower.
fn most(mut counted: Vec<(u32, u32)>, n: usize) -> Vec<u32> {
    counted.sort_unstable_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
    counted.into_iter().take(n).map(|(id, _)| id).collect()
}

/// How much of a text is on the lists of its sources.
pub fn coverage(list: &Shortlist, pairs: &[(Vec<u32>, Vec<u32>)], special: Special) -> Coverage {
    let mut all = Coverage { sentences: pairs.len(), ..Coverage::default() };
    for (src, tgt) in pairs {
        let candidates = list.candidates(src, special);
        let covered = tgt.iter().filter(|id| candidates.binary_search(id).is_ok()).count();
        all.tokens += tgt.len();
        all.covered += covered;
        all.whole += usize::from(covered == tgt.len());
        all.candidates += candidates.len();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source token `i` is translated as `i + 20`, and every third sentence ends in 90.
    fn pairs() -> Vec<(Vec<u32>, Vec<u32>)> {
        (0..200u32)
            .map(|n| {
                let src: Vec<u32> =
                    (0..4).map(|k| 4 + (n * 7 + k * k * 3 + n / 5 * k) % 15).collect();
                let mut tgt: Vec<u32> = src.iter().map(|id| id + 20).collect();
                tgt.extend((n % 3 == 0).then_some(90));
                (src, tgt)
            })
            .collect()
    }

    #[test]
    fn what_translates_a_token_is_on_its_list() {
        let special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
        let sizes = Sizes { best: NonZeroUsize::new(2).unwrap(), frequent: 1 };
        let list = learn(&pairs(), [20, 100], sizes).unwrap();
        for id in 4..19 {
            let candidates = list.candidates(&[id], special);
            assert!(candidates.contains(&(id + 20)), "{id}: {candidates:?}");
            assert!(candidates.len() <= 2 + 1 + 1, "{candidates:?}");
        }
        let found = coverage(&list, &pairs(), special);
        assert_eq!((found.sentences, found.tokens), (200, 867));
        assert!(found.covered >= 800 && found.whole >= 133, "{found:?}");
        let nothing = coverage(&Shortlist::new(vec![], &[]), &pairs(), special);
        assert_eq!((nothing.covered, nothing.whole, nothing.candidates), (0, 0, 200));
    }

    #[test]
    fn lists_of_equals_are_in_order() {
        assert_eq!(most(vec![(5, 2), (3, 2), (9, 7), (1, 1)], 3), [9, 3, 5]);
    }
}
