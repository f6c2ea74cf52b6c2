//! Parallel text as a stream: two line-aligned files, or two columns of one table.

mod lines;

use std::{num::NonZeroUsize, path::Path};

use serde::{Deserialize, Serialize};

pub use self::lines::{Defect, LONGEST_LINE, Line, Lines};
use crate::{Error, Result};

/// A sentence and its translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The source sentence.
    pub src: String,
    /// Its translation.
    pub tgt: String,
    /// The line it stands on, counted from one.
    pub line: u64,
}

/// What stands on one line of a parallel corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A pair of texts.
    Pair(Pair),
    /// A line that is no text, on one side at least.
    Defective {
        /// The line, counted from one.
        line: u64,
        /// What is wrong with it; the source's defect if both sides have one.
        defect: Defect,
    },
}

/// Which columns of a tab-separated table are source and target, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The source's column.
    pub src: NonZeroUsize,
    /// The target's column.
    pub tgt: NonZeroUsize,
}

/// The pairs of a parallel corpus in their order, read as they are asked for.
///
/// As an iterator it ends at the first thing that is wrong. [`next_row`](Self::next_row) passes
/// defective lines on instead, for whoever wants to drop and count them. A corpus without a
/// single line is an error either way.
#[derive(Debug)]
pub struct Pairs {
    input: Input,
    line: u64,
    ended: bool,
}

#[derive(Debug)]
enum Input {
    Files { src: Lines, tgt: Lines },
    Table { lines: Lines, columns: Columns },
}

impl Pairs {
    /// Opens two files, plain or gzip, of which line `n` of one translates line `n` of the
    /// other.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(src: &Path, tgt: &Path) -> Result<Self> {
        Ok(Self::of_lines(Lines::open(src)?, Lines::open(tgt)?))
    }

    /// Opens a table, plain or gzip, whose columns are separated by tabs. Nothing is quoted or
    /// escaped, and other columns are ignored.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open_table(path: &Path, columns: Columns) -> Result<Self> {
        Ok(Self::of_table(Lines::open(path)?, columns))
    }

    /// Pairs up the lines of two readers.
    pub fn of_lines(src: Lines, tgt: Lines) -> Self {
        Self { input: Input::Files { src, tgt }, line: 0, ended: false }
    }

    /// Takes pairs from the columns of a reader's lines.
    pub fn of_table(lines: Lines, columns: Columns) -> Self {
        Self { input: Input::Table { lines, columns }, line: 0, ended: false }
    }

    /// The next line, or none after the last.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::TruncatedGzip`]; [`Error::UnequalLines`] with the counts of
    /// both files, the longer of which is read to its end for it; [`Error::MissingColumn`];
    /// [`Error::EmptyCorpus`]. After an error there are no more rows.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        if self.ended {
            return Ok(None);
        }
        self.line += 1;
        let row = match &mut self.input {
            Input::Files { src, tgt } => aligned(src, tgt, self.line),
            Input::Table { lines, columns } => cells(lines, *columns, self.line),
        };
        self.ended = !matches!(row, Ok(Some(_)));
        match row {
            Ok(None) if self.line == 1 => Err(Error::EmptyCorpus { path: self.path().to_owned() }),
            row => row,
        }
    }

    /// The error for a defective line, with the file that has it.
    fn blame(&self, line: u64, defect: Defect) -> Error {
        match &self.input {
            Input::Files { src, tgt } if src.defect().is_none() => tgt.error(line, defect),
            Input::Files { src, .. } => src.error(line, defect),
            Input::Table { lines, .. } => lines.error(line, defect),
        }
    }

    /// The source or the table.
    fn path(&self) -> &Path {
        match &self.input {
            Input::Files { src, .. } => src.path(),
            Input::Table { lines, .. } => lines.path(),
        }
    }
}

impl Iterator for Pairs {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_row() {
            Ok(Some(Row::Pair(pair))) => Some(Ok(pair)),
            Ok(Some(Row::Defective { line, defect })) => {
                self.ended = true;
                Some(Err(self.blame(line, defect)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// The next line of both files.
fn aligned(src: &mut Lines, tgt: &mut Lines, line: u64) -> Result<Option<Row>> {
    match (src.next_line()?, tgt.next_line()?) {
        (None, None) => Ok(None),
        (Some(Line::Text(src)), Some(Line::Text(tgt))) => {
            Ok(Some(Row::Pair(Pair { src, tgt, line })))
        }
        (Some(Line::Defective(defect)), Some(_)) | (Some(_), Some(Line::Defective(defect))) => {
            Ok(Some(Row::Defective { line, defect }))
        }
        (None, Some(_)) | (Some(_), None) => Err(Error::UnequalLines {
            src_lines: src.count_to_end()?,
            tgt_lines: tgt.count_to_end()?,
            src: src.path().to_owned(),
            tgt: tgt.path().to_owned(),
        }),
    }
}

/// The columns of the table's next line.
fn cells(lines: &mut Lines, columns: Columns, line: u64) -> Result<Option<Row>> {
    let text = match lines.next_line()? {
        None => return Ok(None),
        Some(Line::Defective(defect)) => return Ok(Some(Row::Defective { line, defect })),
        Some(Line::Text(text)) => text,
    };
    let cell = |column: NonZeroUsize| {
        let missing = || Error::MissingColumn {
            path: lines.path().to_owned(),
            line,
            found: text.split('\t').count(),
            needed: column.get(),
        };
        text.split('\t').nth(column.get() - 1).map(str::to_owned).ok_or_else(missing)
    };
    Ok(Some(Row::Pair(Pair { src: cell(columns.src)?, tgt: cell(columns.tgt)?, line })))
}
