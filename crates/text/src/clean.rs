//! Which pairs of a corpus are worth training on, and a count of the others.

mod report;

use std::{borrow::Cow, collections::HashSet, num::NonZeroUsize};

use serde::{Deserialize, Serialize};

pub use self::report::{Reason, Report};
use crate::{
    corpus::{Defect, Pair, Row},
    hash::Hash,
    normalize::{Normalize, is_unprintable},
    number::Ratio,
    words::words,
};

/// What a pair of sentences must be like to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanConfig {
    /// What is evened out in a text before anything is checked; the result is what is kept.
    pub normalize: Normalize,
    /// The fewest words of a sentence.
    pub min_words: NonZeroUsize,
    /// The most words of a sentence. Words stand between white space; where a language writes
    /// none, [`max_characters`](Self::max_characters) is the limit that works.
    pub max_words: NonZeroUsize,
    /// The most characters of a sentence.
    pub max_characters: NonZeroUsize,
    /// How many times longer than the other, in characters, a side may be.
    pub max_ratio: Ratio,
    /// Drop pairs whose sides are the same: a model that sees them learns to copy.
    pub drop_identical: bool,
    /// Drop all but the first of equal pairs. Takes about ten bytes of memory a pair; one pair
    /// in 10¹² is dropped by mistake in a corpus of ten million.
    pub drop_duplicates: bool,
    /// Drop pairs with control or replacement characters: their encoding was broken once.
    pub drop_unprintable: bool,
}

impl Default for CleanConfig {
    fn default() -> Self {
        let size = |size| NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN);
        Self {
            normalize: Normalize::default(),
            min_words: NonZeroUsize::MIN,
            max_words: size(200),
            max_characters: size(2000),
            max_ratio: const { Ratio::new(9.0).expect("nine is at least one") },
            drop_identical: true,
            drop_duplicates: true,
            drop_unprintable: true,
        }
    }
}

/// Goes through a corpus, pair by pair, and keeps count.
#[derive(Clone, Debug)]
pub struct Cleaner {
    config: CleanConfig,
    /// Hashes of the pairs kept.
    seen: HashSet<u64>,
    report: Report,
}

impl Cleaner {
    /// A cleaner that has seen nothing yet.
    pub fn new(config: CleanConfig) -> Self {
        Self { config, seen: HashSet::new(), report: Report::default() }
    }

    /// Returns `pair`, normalised, if it is worth keeping, and counts it.
    ///
    /// # Errors
    /// The first [`Reason`] against it, in the order of that type.
    pub fn check(&mut self, pair: Pair) -> Result<Pair, Reason> {
        let line = pair.line;
        let pair = self.config.normalized(pair);
        let verdict = self.config.judge(&pair).and_then(|()| {
            let new = !self.config.drop_duplicates || self.seen.insert(key(&pair));
            if new { Ok(()) } else { Err(Reason::Duplicate) }
        });
        self.report.count(line, verdict.err());
        verdict.map(|()| pair)
    }

    /// As [`check`](Self::check), for whatever a corpus has on a line.
    ///
    /// # Errors
    /// The reason to drop the line.
    pub fn check_row(&mut self, row: Row) -> Result<Pair, Reason> {
        match row {
            Row::Pair(pair) => self.check(pair),
            Row::Defective { line, defect } => {
                let reason = match defect {
                    Defect::TooLong { .. } => Reason::LongLine,
                    Defect::NotUtf8 => Reason::NotUtf8,
                    Defect::NulByte => Reason::NulByte,
                };
                self.report.count(line, Some(reason));
                Err(reason)
            }
        }
    }

    /// What was kept and dropped so far.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl CleanConfig {
    fn normalized(&self, pair: Pair) -> Pair {
        let normalized = |text: String| match self.normalize.apply(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(text) => text,
        };
        Pair { src: normalized(pair.src), tgt: normalized(pair.tgt), line: pair.line }
    }

    /// What can be said of a pair without having seen the others.
    fn judge(&self, Pair { src, tgt, .. }: &Pair) -> Result<(), Reason> {
        let sides = [src, tgt];
        let n_words = sides.map(|text| words(text).len());
        let n_characters = sides.map(|text| text.chars().count());
        let [shorter, longer] =
            [n_characters[0].min(n_characters[1]), n_characters[0].max(n_characters[1])];
        let unprintable = || sides.iter().any(|text| text.contains(is_unprintable));
        let verdicts = [
            (n_words.contains(&0), Reason::Empty),
            (self.drop_unprintable && unprintable(), Reason::Unprintable),
            (n_words.iter().any(|&n| n < self.min_words.get()), Reason::FewWords),
            (n_words.iter().any(|&n| n > self.max_words.get()), Reason::ManyWords),
            (longer > self.max_characters.get(), Reason::ManyCharacters),
            (longer as f64 > self.max_ratio.get() * shorter as f64, Reason::Ratio),
            (self.drop_identical && src == tgt, Reason::Identical),
        ];
        match verdicts.into_iter().find(|(applies, _)| *applies) {
            Some((_, reason)) => Err(reason),
            None => Ok(()),
        }
    }
}

/// A number that differs between pairs; no text holds the NUL byte between the sides.
fn key(pair: &Pair) -> u64 {
    Hash::new().with(pair.src.as_bytes()).with(&[0]).with(pair.tgt.as_bytes()).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(src: &str, tgt: &str) -> Pair {
        Pair { src: src.into(), tgt: tgt.into(), line: 1 }
    }

    /// What a new cleaner says of a pair.
    fn verdict(config: &CleanConfig, src: &str, tgt: &str) -> Result<Pair, Reason> {
        Cleaner::new(config.clone()).check(pair(src, tgt))
    }

    fn small() -> CleanConfig {
        let size = |n| NonZeroUsize::new(n).unwrap();
        CleanConfig {
            min_words: size(2),
            max_words: size(4),
            max_characters: size(20),
            max_ratio: Ratio::new(2.0).unwrap(),
            ..CleanConfig::default()
        }
    }

    #[test]
    fn each_reason_drops_what_it_says_and_not_the_case_beside_it() {
        let cases = [
            ("a b", "c d", None),
            ("a b", "", Some(Reason::Empty)),
            (" \u{a0}", "c d", Some(Reason::Empty)),
            ("a b", "c\u{1} d", Some(Reason::Unprintable)),
            ("a \u{fffd}b", "c d", Some(Reason::Unprintable)),
            ("a\tb", "c d", None),
            ("a", "c d", Some(Reason::FewWords)),
            ("a b c d", "e f g h", None),
            ("a b c d e", "e f g h", Some(Reason::ManyWords)),
            ("exactly twenty chars", "exactly twenty charß", None),
            ("exactly twenty chars", "exactly twenty charß!", Some(Reason::ManyCharacters)),
            ("a b", "ccc dd", None),
            ("a b", "ccc ddd", Some(Reason::Ratio)),
            ("a b", "a  b", Some(Reason::Identical)),
        ];
        for (src, tgt, expected) in cases {
            assert_eq!(verdict(&small(), src, tgt).err(), expected, "{src:?} {tgt:?}");
        }
    }

    #[test]
    fn the_first_reason_is_the_one_given() {
        assert_eq!(verdict(&small(), "", "\u{1}"), Err(Reason::Empty));
        assert_eq!(verdict(&small(), "a", "a b c d e"), Err(Reason::FewWords));
        assert_eq!(verdict(&small(), "a a", "b b b b b b b"), Err(Reason::ManyWords));
    }

    #[test]
    fn options_can_be_turned_off() {
        let config = CleanConfig {
            normalize: Normalize::NOTHING,
            drop_identical: false,
            drop_duplicates: false,
            drop_unprintable: false,
            ..CleanConfig::default()
        };
        let mut cleaner = Cleaner::new(config);
        for _ in 0..2 {
            let odd = pair(" a\u{1} e\u{301}", " a\u{1} e\u{301}");
            assert_eq!(cleaner.check(odd.clone()), Ok(odd));
        }
    }

    #[test]
    fn a_pair_is_kept_once_and_as_normalised() {
        let mut cleaner = Cleaner::new(CleanConfig::default());
        assert_eq!(cleaner.check(pair(" cafe\u{301}  x", "y")), Ok(pair("café x", "y")));
        assert_eq!(cleaner.check(pair("café x", "y ")), Err(Reason::Duplicate));
        assert_eq!(cleaner.check(pair("café", "x y")), Ok(pair("café", "x y")));
        assert_eq!(cleaner.check(pair("café x", "z")), Ok(pair("café x", "z")));
    }

    #[test]
    fn a_dropped_pair_is_not_remembered() {
        let mut cleaner = Cleaner::new(small());
        for _ in 0..2 {
            assert_eq!(cleaner.check(pair("a", "b")), Err(Reason::FewWords));
        }
    }

    #[test]
    fn defective_lines_are_counted_too() {
        let mut cleaner = Cleaner::new(CleanConfig::default());
        let defects = [
            (Defect::TooLong { bytes: 9, limit: 8 }, Reason::LongLine),
            (Defect::NotUtf8, Reason::NotUtf8),
            (Defect::NulByte, Reason::NulByte),
        ];
        for (line, (defect, reason)) in (1..).zip(defects) {
            assert_eq!(cleaner.check_row(Row::Defective { line, defect }), Err(reason));
        }
        assert!(cleaner.check_row(Row::Pair(pair("a", "b"))).is_ok());
        assert_eq!((cleaner.report().read(), cleaner.report().kept()), (4, 1));
    }

    #[test]
    fn a_table_is_read_and_mistakes_are_named() {
        let parse = |json: &str| serde_json::from_str::<CleanConfig>(json);
        assert_eq!(parse("{}").unwrap(), CleanConfig::default());
        let read =
            parse(r#"{"max_words": 50, "max_ratio": 3, "normalize": {"nfc": false}}"#).unwrap();
        assert_eq!((read.max_words.get(), read.max_ratio.get()), (50, 3.0));
        assert_eq!(read.normalize, Normalize { nfc: false, ..Normalize::default() });
        for (bad, expected) in [
            (r#"{"max_ratio": 0.5}"#, "found 0.5, allowed is a number of at least 1"),
            (r#"{"min_words": 0}"#, "nonzero"),
            (r#"{"max_word": 5}"#, "`max_words`"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
