//! What was kept and dropped, in numbers and for a reader.

use std::fmt;

use crate::{Error, Result};

/// How many lines are named as examples of each reason.
const SAMPLES: usize = 3;

/// Why a line of a corpus was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The same pair was kept before.
    Duplicate,
}

impl Reason {
    /// All reasons, in the order in which they are looked for.
    pub const ALL: [Self; 11] = [
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
        Self::Duplicate,
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
            Self::Duplicate => "seen before",
        })
    }
}

/// How many pairs were kept, and how many dropped for which reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    kept: u64,
    dropped: [Dropped; Reason::ALL.len()],
}

/// The lines that were dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Dropped {
    count: u64,
    samples: Vec<u64>,
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

    /// The first few lines dropped for `reason`, counted from one.
    pub fn samples(&self, reason: Reason) -> &[u64] {
        &self.dropped[reason as usize].samples
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

    pub(super) fn count(&mut self, line: u64, reason: Option<Reason>) {
        let Some(reason) = reason else {
            self.kept += 1;
            return;
        };
        let dropped = &mut self.dropped[reason as usize];
        dropped.count += 1;
        if dropped.samples.len() < SAMPLES {
            dropped.samples.push(line);
        }
    }
}

/// Three columns: what happened, to how many pairs, and where to look.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.read();
        let width = grouped(read).len();
        write!(formatter, "read     {}", grouped(read))?;
        let share = 100.0 * self.kept as f64 / read.max(1) as f64;
        write!(formatter, "\nkept     {:>width$}  {share:.1} %", grouped(self.kept))?;
        for reason in Reason::ALL.into_iter().filter(|&reason| self.dropped(reason) > 0) {
            let count = self.dropped(reason);
            let samples = self.samples(reason);
            let lines: Vec<String> = samples.iter().map(u64::to_string).collect();
            let noun = if count == 1 { "line" } else { "lines" };
            let more = if count > samples.len() as u64 { ", …" } else { "" };
            let lines = lines.join(", ");
            let count = grouped(count);
            write!(formatter, "\ndropped  {count:>width$}  {reason:<33}  {noun} {lines}{more}")?;
        }
        Ok(())
    }
}

/// `number` with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_its_place_in_the_list() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [0, 7, 999, 1000, 12_345, 123_456, 1_234_567];
        let expected = ["0", "7", "999", "1,000", "12,345", "123,456", "1,234,567"];
        assert_eq!(numbers.map(grouped), expected);
    }

    #[test]
    fn a_report_reads_like_a_table() {
        let mut report = Report::default();
        (1..=1190).for_each(|line| report.count(line, None));
        (0..4).for_each(|n| report.count(1191 + n * n, Some(Reason::Empty)));
        report.count(1201, Some(Reason::Unprintable));
        (0..2).for_each(|n| report.count(1202 + n, Some(Reason::Duplicate)));
        let expected = "\
read     1,197
kept     1,190  99.4 %
dropped      4  a side is empty                    lines 1191, 1192, 1195, …
dropped      1  control or replacement characters  line 1201
dropped      2  seen before                        lines 1202, 1203";
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.samples(Reason::Empty), [1191, 1192, 1195]);
        assert!(report.require_kept().is_ok());
    }

    #[test]
    fn a_corpus_of_which_nothing_is_left_is_an_error_with_the_main_reason() {
        let mut report = Report::default();
        report.count(1, Some(Reason::Empty));
        (2..5).for_each(|line| report.count(line, Some(Reason::Ratio)));
        assert_eq!(
            report.require_kept().unwrap_err().to_string(),
            "all 4 pairs of the corpus were dropped, 3 of them for this reason: lengths too different"
        );
        assert_eq!(report.to_string().lines().nth(1), Some("kept     0  0.0 %"));
    }
}
