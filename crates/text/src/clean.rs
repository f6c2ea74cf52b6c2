//! Which pairs of a corpus are worth training on, and a count of the others.
//!
//! | module | what it is for |
//! |---|---|
//! | `config` | what a pair must be like |
//! | `judge` | what can be said against a pair without having seen the others |
//! | `script`, `language`, `languages` | whether text is what its language looks like |
//! | `overlap` | training pairs that also stand in test sets |
//! | `report` | the reasons, and counts of them with samples |
//!
//! What takes more than one pair is left to whoever goes through the corpus: a [`Cleaner`] drops
//! duplicates in memory.

mod config;
mod judge;
mod language;
mod languages;
mod overlap;
mod report;
mod script;

use std::collections::HashSet;

pub use self::{
    config::CleanConfig,
    judge::{Dropped, Judge, key},
    overlap::Overlap,
    report::{Reason, Report, Sample},
    script::Scripts,
};
use crate::corpus::{Pair, Row};

/// Goes through a corpus, line by line, and remembers what it has kept.
#[derive(Clone, Debug)]
pub struct Cleaner<'j> {
    judge: &'j Judge,
    /// Hashes of the pairs kept.
    seen: HashSet<u64>,
}

impl<'j> Cleaner<'j> {
    /// A cleaner that has seen nothing yet.
    pub fn new(judge: &'j Judge) -> Self {
        Self { judge, seen: HashSet::new() }
    }

    /// Returns the pair of a line, normalised, if it is worth keeping.
    ///
    /// # Errors
    /// The line, with the first [`Reason`] against it.
    pub fn check(&mut self, row: Row) -> Result<Pair, Dropped> {
        let pair = self.judge.judge(row)?;
        if self.judge.config().drop_duplicates && !self.seen.insert(key(&pair)) {
            return Err(Dropped::pair(Reason::Duplicate, pair));
        }
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(config: CleanConfig) -> Judge {
        Judge::new(config, ["en", "de"]).expect("both languages are known")
    }

    fn pair(src: &str, tgt: &str) -> Pair {
        Pair { src: src.into(), tgt: tgt.into(), line: 1 }
    }

    #[test]
    fn a_pair_is_kept_once_and_as_normalised() {
        let judge = judge(CleanConfig::default());
        let mut cleaner = Cleaner::new(&judge);
        let mut check =
            |src, tgt| cleaner.check(Row::Pair(pair(src, tgt))).map_err(|dropped| dropped.reason);
        assert_eq!(check(" cafe\u{301}  x", "y"), Ok(pair("café x", "y")));
        assert_eq!(check("café x", "y "), Err(Reason::Duplicate));
        assert_eq!(check("café", "x y"), Ok(pair("café", "x y")));
        assert_eq!(check("café x", "z"), Ok(pair("café x", "z")));
    }

    #[test]
    fn a_dropped_pair_is_not_remembered_and_duplicates_may_stay() {
        let keeping = judge(CleanConfig { drop_duplicates: false, ..CleanConfig::default() });
        let mut cleaner = Cleaner::new(&keeping);
        for _ in 0..2 {
            let dropped = cleaner.check(Row::Pair(pair("a", ""))).unwrap_err();
            assert_eq!(dropped.reason, Reason::Empty);
            assert_eq!(dropped.texts, Some(["a".into(), String::new()]));
            assert!(cleaner.check(Row::Pair(pair("a", "b"))).is_ok());
        }
    }
}
