//! What was kept and dropped, in numbers and for a reader.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::judge::Dropped;
use crate::{Error, Result, hash::Hash};

/// How many lines are kept as samples of each reason.
const SAMPLES: usize = 12;
/// The characters of a sample that are kept.
const SAMPLE_LENGTH: usize = 300;

/// Why a line of a corpus was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The line is longer than a reader's limit.
    LongLine,
    /// The line is not valid UTF-8.
    NotUtf8,
    /// The line holds a NUL byte.
    NulByte,
    /// A side has no words.
    Empty,
    /// A side holds control or replacement characters.
    Unprintable,
    /// A side has too few words.
    FewWords,
    /// A side has too many words.
    ManyWords,
    /// A side has too many characters.
    ManyCharacters,
    /// One side is too much longer than the other.
    Ratio,
    /// Both sides are the same.
    Identical,
    /// Too few letters of a side belong to the scripts of its language.
    Script,
    /// A side also stands in the development set or a test set.
    Overlap,
    /// A side is in another language.
    OtherLanguage,
    /// The same pair was kept before.
    Duplicate,
    /// Too few words have a counterpart.
    Alignment,
}

impl Reason {
    /// All reasons, in the order in which they are looked for.
    pub const ALL: [Self; 15] = [
        Self::LongLine,
        Self::NotUtf8,
        Self::NulByte,
        Self::Empty,
        Self::Unprintable,
        Self::FewWords,
        Self::ManyWords,
        Self::ManyCharacters,
        Self::Ratio,
        Self::Identical,
        Self::Script,
        Self::Overlap,
        Self::OtherLanguage,
        Self::Duplicate,
        Self::Alignment,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::LongLine => "line too long to be read",
            Self::NotUtf8 => "not valid UTF-8",
            Self::NulByte => "NUL byte",
            Self::Empty => "a side is empty",
            Self::Unprintable => "control or replacement characters",
            Self::FewWords => "too few words",
            Self::ManyWords => "too many words",
            Self::ManyCharacters => "too many characters",
            Self::Ratio => "lengths too different",
            Self::Identical => "both sides the same",
            Self::Script => "not in the script of its language",
            Self::Overlap => "also in a test set",
            Self::OtherLanguage => "in another language",
            Self::Duplicate => "seen before",
            Self::Alignment => "no translations of each other",
        })
    }
}

/// How many pairs were kept, and how many dropped for which reason, with samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    kept: u64,
    dropped: [Tally; Reason::ALL.len()],
}

/// The lines that were dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    count: u64,
    /// Those lines with the smallest hashes, with these: a random choice that is always the same.
    samples: Vec<(u64, Sample)>,
}

/// A line that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sample {
    /// Which of several corpora it stands in, counted from zero.
    pub corpus: usize,
    /// The line, counted from one.
    pub line: u64,
    /// How source and target begin, if they are text.
    pub texts: Option<[String; 2]>,
}

impl Report {
    /// The number of lines looked at.
    pub fn read(&self) -> u64 {
        self.kept + self.dropped.iter().map(|dropped| dropped.count).sum::<u64>()
    }

    /// The number of pairs kept.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The number of lines dropped for `reason`.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].count
    }

    /// Some of the lines dropped for `reason`, in their order.
    pub fn samples(&self, reason: Reason) -> Vec<&Sample> {
        let samples = self.dropped[reason as usize].samples.iter();
        let mut samples: Vec<&Sample> = samples.map(|(_, sample)| sample).collect();
        samples.sort();
        samples
    }

    /// Counts so many pairs as kept.
    pub fn count_kept(&mut self, pairs: u64) {
        self.kept += pairs;
    }

    /// Counts a line of a corpus as dropped.
    pub fn count_dropped(&mut self, corpus: usize, dropped: Dropped) {
        let Dropped { reason, line, texts } = dropped;
        let tally = &mut self.dropped[reason as usize];
        tally.count += 1;
        let hash = Hash::new().with(&(corpus as u64).to_le_bytes()).with(&line.to_le_bytes());
        let hash = hash.finish();
        let at = tally.samples.partition_point(|(other, _)| *other < hash);
        if at < SAMPLES {
            let texts = texts.map(|texts| texts.map(shortened));
            tally.samples.insert(at, (hash, Sample { corpus, line, texts }));
            tally.samples.truncate(SAMPLES);
        }
    }

    /// Fails if nothing was kept of what was read, with the most frequent reason.
    ///
    /// # Errors
    /// [`Error::NothingKept`].
    pub fn require_kept(&self) -> Result<()> {
        let most = Reason::ALL.into_iter().rev().max_by_key(|&reason| self.dropped(reason));
        match most {
            Some(reason) if self.kept == 0 => {
                Err(Error::NothingKept { read: self.read(), reason, dropped: self.dropped(reason) })
            }
            _ => Ok(()),
        }
    }
}

/// The beginning of a text.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SAMPLE_LENGTH) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(reason: Reason, line: u64) -> Dropped {
        Dropped { reason, line, texts: Some([format!("source {line}"), "x".repeat(400)]) }
    }

    #[test]
    fn a_reason_is_its_place_in_the_list() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }

    #[test]
    fn samples_are_few_short_and_the_same_in_any_order() {
        let reports = [false, true].map(|reversed| {
            let mut lines: Vec<u64> = (1..=1000).collect();
            if reversed {
                lines.reverse();
            }
            let mut report = Report::default();
            report.count_kept(7);
            lines.iter().for_each(|&line| report.count_dropped(1, dropped(Reason::Empty, line)));
            report
        });
        let [report, other] = &reports;
        assert_eq!(report, other);
        assert_eq!((report.read(), report.kept(), report.dropped(Reason::Empty)), (1007, 7, 1000));
        let samples = report.samples(Reason::Empty);
        assert_eq!(samples.len(), SAMPLES);
        assert!(samples.windows(2).all(|two| two[0].line < two[1].line));
        // Drawn from all lines: the chance that twelve random ones all lie in one half is 1 : 2048.
        assert!(samples[0].line < 500 && samples[SAMPLES - 1].line > 500);
        let [src, tgt] = samples[0].texts.clone().expect("they are text");
        assert_eq!(src, format!("source {}", samples[0].line));
        assert_eq!(tgt.chars().count(), SAMPLE_LENGTH + 1);
        assert!(report.samples(Reason::Ratio).is_empty());
    }

    #[test]
    fn a_report_comes_back_from_a_file() {
        let mut report = Report::default();
        report.count_kept(3);
        report.count_dropped(0, dropped(Reason::Alignment, 5));
        report.count_dropped(0, Dropped { reason: Reason::NotUtf8, line: 6, texts: None });
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn a_corpus_of_which_nothing_is_left_is_an_error_with_the_main_reason() {
        let mut report = Report::default();
        report.count_dropped(0, dropped(Reason::Empty, 1));
        (2..5).for_each(|line| report.count_dropped(0, dropped(Reason::Ratio, line)));
        assert_eq!(
            report.require_kept().unwrap_err().to_string(),
            "all 4 pairs of the corpus were dropped, 3 of them for this reason: lengths too different"
        );
        report.count_kept(1);
        assert!(report.require_kept().is_ok());
    }
}
