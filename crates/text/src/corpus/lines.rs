//! Lines of text, checked, from plain or gzip files of any size.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Result};

/// The length in bytes beyond which a line is taken to be no sentence, unless told otherwise.
pub const LONGEST_LINE: usize = 1 << 20;

/// How every gzip file begins (RFC 1952, §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What many editors put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const BUFFER: usize = 1 << 16;

/// A line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its text, without the line feed or the carriage return before it.
    Text(String),
    /// It is no text, or none to keep in memory.
    Defective(Defect),
}

/// Why a line is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// It is longer than the limit.
    TooLong {
        /// Its length, with the line feed.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// It is not valid UTF-8.
    NotUtf8,
    /// It holds a NUL byte, which no text does.
    NulByte,
}

/// The lines of a file or stream, in their order.
///
/// What begins as gzip files do is decompressed, also if it has several members. A byte order
/// mark is removed. A last line without a line feed is a line. As an iterator it ends at the
/// first thing that is wrong; [`next_line`](Self::next_line) passes defective lines on.
pub struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    limit: usize,
    line: u64,
    defect: Option<Defect>,
    ended: bool,
}

impl Lines {
    /// Opens `path`; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Self::new(Path::new("standard input"), io::stdin());
        }
        match File::open(path) {
            Ok(file) => Self::new(path, file),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads from `input`, which errors will call `name`.
    ///
    /// # Errors
    /// [`Error::Read`] if its first bytes cannot be read.
    pub fn new<R: Read + Send + 'static>(name: &Path, input: R) -> Result<Self> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut start = Vec::new();
        (&mut input)
            .take(GZIP.len() as u64)
            .read_to_end(&mut start)
            .map_err(|source| Error::Read { path: name.to_owned(), source })?;
        let gzip = start == GZIP;
        let whole = io::Cursor::new(start).chain(input);
        let input: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole)))
        } else {
            Box::new(whole)
        };
        let path = name.to_owned();
        Ok(Self { path, input, limit: LONGEST_LINE, line: 0, defect: None, ended: false })
    }

    /// The same with another limit on the bytes of a line.
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// What is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next line, or none after the last. A line longer than the limit is passed over
    /// without being held in memory.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::TruncatedGzip`] if a gzip file ends too soon. After an error
    /// there are no more lines.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        // Two more than the limit: a carriage return and a line feed do not count.
        let most = self.limit.saturating_add(2) as u64;
        let found = (&mut self.input).take(most).read_until(b'\n', &mut bytes);
        let mut length = self.counted(found)?;
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        if bytes.pop_if(|byte| *byte == b'\n').is_some() {
            bytes.pop_if(|byte| *byte == b'\r');
        } else {
            let rest = self.input.skip_until(b'\n');
            length += self.counted(rest)?;
        }
        self.line += 1;
        let line = self.checked(bytes, length);
        self.defect = match line {
            Line::Defective(defect) => Some(defect),
            Line::Text(_) => None,
        };
        Ok(Some(line))
    }

    /// The next line as text, or the error that it is; none after the last. Unlike the iterator
    /// this goes on behind a line that is no text.
    ///
    /// # Errors
    /// As [`next_line`](Self::next_line).
    pub fn next_text(&mut self) -> Result<Option<Result<String>>> {
        Ok(self.next_line()?.map(|line| match line {
            Line::Text(text) => Ok(text),
            Line::Defective(defect) => Err(self.error(self.line, defect)),
        }))
    }

    /// What was wrong with the last line.
    pub(super) fn defect(&self) -> Option<Defect> {
        self.defect
    }

    /// The error that a defective line is.
    pub(super) fn error(&self, line: u64, defect: Defect) -> Error {
        let path = self.path.clone();
        match defect {
            Defect::TooLong { bytes, limit } => Error::LineTooLong { path, line, bytes, limit },
            Defect::NotUtf8 => Error::NotUtf8 { path, line },
            Defect::NulByte => Error::NulByte { path, line },
        }
    }

    /// Reads the rest and returns the number of all lines.
    pub(super) fn count_to_end(&mut self) -> Result<u64> {
        while !self.ended {
            let skipped = self.input.skip_until(b'\n');
            match self.counted(skipped)? {
                0 => self.ended = true,
                _ => self.line += 1,
            }
        }
        Ok(self.line)
    }

    fn checked(&self, mut bytes: Vec<u8>, length: usize) -> Line {
        if self.line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if bytes.len() > self.limit {
            Line::Defective(Defect::TooLong { bytes: length as u64, limit: self.limit })
        } else if bytes.contains(&0) {
            Line::Defective(Defect::NulByte)
        } else {
            String::from_utf8(bytes).map_or(Line::Defective(Defect::NotUtf8), Line::Text)
        }
    }

    /// Names the file, and the place where a gzip file broke off.
    fn counted(&mut self, bytes: io::Result<usize>) -> Result<usize> {
        bytes.map_err(|source| {
            self.ended = true;
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::UnexpectedEof => Error::TruncatedGzip { path, line: self.line },
                _ => Error::Read { path, source },
            }
        })
    }
}

impl Iterator for Lines {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_line() {
            Ok(Some(Line::Text(text))) => Some(Ok(text)),
            Ok(Some(Line::Defective(defect))) => {
                self.ended = true;
                Some(Err(self.error(self.line, defect)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lines")
            .field("path", &self.path)
            .field("line", &self.line)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
