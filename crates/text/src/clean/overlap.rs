//! Training pairs that also stand in what a model is judged by.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{corpus::Pair, duplicates::NearDuplicates, hash::Hash};

/// Which training pairs are taken to stand in the development or test sets as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// None: they are not looked for.
    #[default]
    None,
    /// Those of which a side is the same as on that side of a held-out pair.
    Equal,
    /// Those of which a side differs in at most one word from that side of a held-out pair; see
    /// [`duplicates`](crate::duplicates).
    Near,
}

/// The sentences of the development and test sets.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldOutSets {
    equal: [HashSet<u64>; 2],
    near: [NearDuplicates; 2],
}

impl HeldOutSets {
    pub(super) fn add(&mut self, pair: &Pair) {
        for (side, text) in [&pair.src, &pair.tgt].into_iter().enumerate() {
            self.equal[side].insert(key(text));
            self.near[side].insert(text);
        }
    }

    /// Whether a side of `pair` stands in a set.
    pub(super) fn contains(&self, pair: &Pair, overlap: Overlap) -> bool {
        let sides = [&pair.src, &pair.tgt].into_iter().enumerate();
        match overlap {
            Overlap::None => false,
            Overlap::Equal => {
                sides.into_iter().any(|(side, text)| self.equal[side].contains(&key(text)))
            }
            Overlap::Near => sides.into_iter().any(|(side, text)| self.near[side].contains(text)),
        }
    }
}

fn key(text: &str) -> u64 {
    Hash::new().with(text.as_bytes()).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_enough_and_sides_are_kept_apart() {
        let pair = |src: &str, tgt: &str| Pair { src: src.into(), tgt: tgt.into(), line: 1 };
        let mut sets = HeldOutSets::default();
        sets.add(&pair("a b c", "d e f"));
        for (pair, equal, near) in [
            (pair("a b c", "x"), true, true),
            (pair("x", "d e f"), true, true),
            (pair("a b", "x"), false, true),
            (pair("x", "D e, g."), false, true),
            (pair("d e f", "a b c"), false, false),
            (pair("a c b", "d"), false, false),
        ] {
            let found = [Overlap::None, Overlap::Equal, Overlap::Near]
                .map(|overlap| sets.contains(&pair, overlap));
            assert_eq!(found, [false, equal, near], "{pair:?}");
        }
    }
}
