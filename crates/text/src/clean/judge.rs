//! What can be said against a line of a corpus without having seen the others.

use std::{borrow::Cow, result};

use super::{
    config::CleanConfig,
    language::Languages,
    overlap::{HeldOutSets, Overlap},
    report::Reason,
    script::Scripts,
};
use crate::{
    Error, Result,
    corpus::{Defect, Pair, Row},
    hash::Hash,
    normalize::is_unprintable,
    words::words,
};

/// Judges lines, each for itself, on as many threads as one likes.
#[derive(Clone, Debug)]
pub struct Judge {
    config: CleanConfig,
    /// Of source and target, where scripts are checked.
    scripts: Option<[Scripts; 2]>,
    languages: Option<Languages>,
    held_out: HeldOutSets,
}

/// A line that is left out of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// The line, counted from one.
    pub line: u64,
    /// Source and target, if they are text.
    pub texts: Option<[String; 2]>,
}

impl Judge {
    /// A judge of pairs in two languages, which are known by their codes.
    ///
    /// # Errors
    /// [`Error::UnknownScripts`] and [`Error::UnknownLanguage`] if these shall be checked and
    /// nothing is known of a language.
    pub fn new(config: CleanConfig, languages: [&str; 2]) -> Result<Self> {
        let scripts = |given: &Option<Scripts>, code: &str| {
            let unknown = || Error::UnknownScripts { language: code.to_owned() };
            given.clone().or_else(|| Scripts::of_language(code)).ok_or_else(unknown)
        };
        let both = || -> Result<_> {
            let [src, tgt] = languages;
            Ok([scripts(&config.src_scripts, src)?, scripts(&config.tgt_scripts, tgt)?])
        };
        let unknown = |code: &str| Error::UnknownLanguage { language: code.to_owned() };
        Ok(Self {
            scripts: config.min_script.map(|_| both()).transpose()?,
            languages: config
                .drop_other_language
                .then(|| Languages::new(languages).map_err(unknown))
                .transpose()?,
            held_out: HeldOutSets::default(),
            config,
        })
    }

    /// What is judged by.
    pub fn config(&self) -> &CleanConfig {
        &self.config
    }

    /// Adds a pair of the development set or a test set, which shall not be trained on.
    pub fn hold_out(&mut self, pair: Pair) {
        self.held_out.add(&self.normalized(pair));
    }

    /// The pair on a line, normalised, if nothing can be said against it.
    ///
    /// # Errors
    /// The line, with the first [`Reason`] against it in the order of that type.
    pub fn judge(&self, row: Row) -> result::Result<Pair, Dropped> {
        match row {
            Row::Pair(pair) => {
                let pair = self.normalized(pair);
                match self.reason(&pair) {
                    None => Ok(pair),
                    Some(reason) => Err(Dropped::pair(reason, pair)),
                }
            }
            Row::Defective { line, defect } => {
                let reason = match defect {
                    Defect::TooLong { .. } => Reason::LongLine,
                    Defect::NotUtf8 => Reason::NotUtf8,
                    Defect::NulByte => Reason::NulByte,
                };
                Err(Dropped { reason, line, texts: None })
            }
        }
    }

    /// Whether a side of `pair`, which is normalised, is one of a held-out pair.
    pub fn is_held_out(&self, pair: &Pair) -> bool {
        self.held_out.contains(pair, Overlap::Equal)
    }

    fn normalized(&self, pair: Pair) -> Pair {
        let normalized = |text: String| match self.config.normalize.apply(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(text) => text,
        };
        Pair { src: normalized(pair.src), tgt: normalized(pair.tgt), line: pair.line }
    }

    /// The first reason to drop a pair; what takes longer is looked for later.
    fn reason(&self, pair: &Pair) -> Option<Reason> {
        self.of_form(pair).or_else(|| self.of_content(pair))
    }

    /// What counting finds.
    fn of_form(&self, Pair { src, tgt, .. }: &Pair) -> Option<Reason> {
        let config = &self.config;
        let sides = [src, tgt];
        let n_words = sides.map(|text| words(text).len());
        let n_characters = sides.map(|text| text.chars().count());
        let [shorter, longer] =
            [n_characters[0].min(n_characters[1]), n_characters[0].max(n_characters[1])];
        let unprintable = || sides.iter().any(|text| text.contains(is_unprintable));
        let verdicts = [
            (n_words.contains(&0), Reason::Empty),
            (config.drop_unprintable && unprintable(), Reason::Unprintable),
            (n_words.iter().any(|&n| n < config.min_words.get()), Reason::FewWords),
            (n_words.iter().any(|&n| n > config.max_words.get()), Reason::ManyWords),
            (longer > config.max_characters.get(), Reason::ManyCharacters),
            (longer as f64 > config.max_ratio.get() * shorter as f64, Reason::Ratio),
            (config.drop_identical && src == tgt, Reason::Identical),
        ];
        verdicts.into_iter().find(|(applies, _)| *applies).map(|(_, reason)| reason)
    }

    /// What one must look at the text for.
    fn of_content(&self, pair: &Pair) -> Option<Reason> {
        let sides = [&pair.src, &pair.tgt];
        if let (Some(scripts), Some(least)) = (&self.scripts, self.config.min_script)
            && scripts.iter().zip(sides).any(|(scripts, text)| scripts.share(text) < least.get())
        {
            return Some(Reason::Script);
        }
        let overlap = self.config.drop_overlap;
        if overlap != Overlap::None && self.held_out.contains(pair, overlap) {
            return Some(Reason::Overlap);
        }
        let languages = self.languages.as_ref()?;
        let other = sides.into_iter().enumerate().any(|(side, text)| languages.other(side, text));
        other.then_some(Reason::OtherLanguage)
    }
}

impl Dropped {
    /// A pair that is left out.
    pub fn pair(reason: Reason, pair: Pair) -> Self {
        Self { reason, line: pair.line, texts: Some([pair.src, pair.tgt]) }
    }
}

/// A number that differs between pairs; no text holds the NUL byte between the sides.
pub fn key(pair: &Pair) -> u64 {
    Hash::new().with(pair.src.as_bytes()).with(&[0]).with(pair.tgt.as_bytes()).finish()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::number::{Ratio, Share};

    fn row(src: &str, tgt: &str) -> Row {
        Row::Pair(Pair { src: src.into(), tgt: tgt.into(), line: 1 })
    }

    /// Why a pair of an English and a German text would be dropped.
    fn reason(config: &CleanConfig, src: &str, tgt: &str) -> Option<Reason> {
        let judge = Judge::new(config.clone(), ["en", "de"]).expect("both are known");
        judge.judge(row(src, tgt)).err().map(|dropped| dropped.reason)
    }

    fn small() -> CleanConfig {
        let size = |n| NonZeroUsize::new(n).expect("not zero");
        CleanConfig {
            min_words: size(2),
            max_words: size(4),
            max_characters: size(20),
            max_ratio: Ratio::new(2.0).expect("more than one"),
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
            assert_eq!(reason(&small(), src, tgt), expected, "{src:?} {tgt:?}");
        }
    }

    #[test]
    fn the_first_reason_is_the_one_given() {
        assert_eq!(reason(&small(), "", "\u{1}"), Some(Reason::Empty));
        assert_eq!(reason(&small(), "a", "a b c d e"), Some(Reason::FewWords));
        assert_eq!(reason(&small(), "a a", "b b b b b b b"), Some(Reason::ManyWords));
    }

    #[test]
    fn scripts_and_languages_are_checked_where_that_is_asked_for() {
        let (english, german) = ("He is reading a newspaper.", "Er liest gerade eine Zeitung.");
        let script = CleanConfig { min_script: Share::new(0.5), ..CleanConfig::default() };
        assert_eq!(reason(&script, english, german), None);
        assert_eq!(reason(&script, english, "Он читает газету."), Some(Reason::Script));
        assert_eq!(reason(&CleanConfig::default(), english, "Он читает газету."), None);
        let language = CleanConfig { drop_other_language: true, ..CleanConfig::default() };
        assert_eq!(reason(&language, english, german), None);
        assert_eq!(reason(&language, german, english), Some(Reason::OtherLanguage));
        assert_eq!(reason(&CleanConfig::default(), german, english), None);
    }

    #[test]
    fn what_cannot_be_checked_is_refused_and_scripts_can_be_given() {
        let languages = ["en", "tlh"];
        let judge = |config: CleanConfig| Judge::new(config, languages).map_err(|e| e.to_string());
        assert!(judge(CleanConfig::default()).is_ok());
        let language = CleanConfig { drop_other_language: true, ..CleanConfig::default() };
        assert!(judge(language).expect_err("unknown").contains("tlh"));
        let script = CleanConfig { min_script: Share::new(0.5), ..CleanConfig::default() };
        assert!(judge(script.clone()).expect_err("unknown").contains("tlh"));
        let given = Scripts::try_from(vec!["Latin".to_owned()]).expect("a script");
        assert!(judge(CleanConfig { tgt_scripts: Some(given), ..script }).is_ok());
    }

    #[test]
    fn held_out_pairs_are_found_as_they_are_normalised() {
        let equal = CleanConfig { drop_overlap: Overlap::Equal, ..CleanConfig::default() };
        for (config, expected) in [(equal, Some(Reason::Overlap)), (CleanConfig::default(), None)] {
            let mut judge = Judge::new(config, ["en", "de"]).expect("nothing to know");
            judge.hold_out(Pair { src: " cafe\u{301}  x".into(), tgt: "y".into(), line: 7 });
            let judged = judge.judge(row("café x", "z"));
            assert_eq!(judged.as_ref().err().map(|dropped| dropped.reason), expected);
            if let Ok(pair) = judged {
                assert!(judge.is_held_out(&pair));
            }
            assert!(judge.judge(row("café", "z")).is_ok());
        }
    }

    #[test]
    fn options_can_be_turned_off() {
        let config = CleanConfig {
            normalize: crate::Normalize::NOTHING,
            drop_identical: false,
            drop_unprintable: false,
            ..CleanConfig::default()
        };
        assert_eq!(reason(&config, " a\u{1} e\u{301}", " a\u{1} e\u{301}"), None);
    }

    #[test]
    fn defective_lines_are_dropped_with_their_number() {
        let judge = Judge::new(CleanConfig::default(), ["en", "de"]).expect("nothing to know");
        let defects = [
            (Defect::TooLong { bytes: 9, limit: 8 }, Reason::LongLine),
            (Defect::NotUtf8, Reason::NotUtf8),
            (Defect::NulByte, Reason::NulByte),
        ];
        for (line, (defect, reason)) in (1..).zip(defects) {
            let dropped = Dropped { reason, line, texts: None };
            assert_eq!(judge.judge(Row::Defective { line, defect }), Err(dropped));
        }
    }
}
