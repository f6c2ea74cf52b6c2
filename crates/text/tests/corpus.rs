//! A corpus is read line by line, whatever its file looks like, and what is wrong is named.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Cursor, Read, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::TempDir;
use text::{
    Columns, Error, Lines, Pair, Pairs,
    corpus::{Defect, Line, Row},
};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Everything that `content` holds as lines.
fn read(content: impl Into<Vec<u8>>) -> text::Result<Vec<String>> {
    Lines::new(Path::new("stream"), Cursor::new(content.into()))?.collect()
}

fn columns(src: usize, tgt: usize) -> Columns {
    Columns { src: NonZeroUsize::new(src).unwrap(), tgt: NonZeroUsize::new(tgt).unwrap() }
}

/// A folder with the files `src` and `tgt`.
struct Folder(TempDir);

impl Folder {
    fn new(src: impl AsRef<[u8]>, tgt: impl AsRef<[u8]>) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path("src"), src).unwrap();
        fs::write(folder.path("tgt"), tgt).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pairs(&self) -> Pairs {
        Pairs::open(&self.path("src"), &self.path("tgt")).unwrap()
    }

    /// The error that reading ends with; the folder's name is left out of it.
    fn error(&self) -> String {
        let error = self.pairs().collect::<text::Result<Vec<_>>>().unwrap_err().to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn lines_end_in_line_feeds_with_or_without_carriage_return() {
    assert_eq!(read("a\nb\r\n\n c \nd").unwrap(), ["a", "b", "", " c ", "d"]);
    assert_eq!(read("a\rb\n\r\n").unwrap(), ["a\rb", ""]);
    assert_eq!(read("a\n").unwrap(), ["a"]);
    assert_eq!(read("\n").unwrap(), [""]);
    assert!(read("").unwrap().is_empty());
}

#[test]
fn a_byte_order_mark_is_removed_where_a_file_begins() {
    assert_eq!(read("\u{feff}a\n\u{feff}b\n").unwrap(), ["a", "\u{feff}b"]);
}

#[test]
fn gzip_is_recognised_by_its_content_and_may_have_several_members() {
    let two = [gzip(b"a\nb"), gzip("ü\nc\n".as_bytes())].concat();
    assert_eq!(read(two).unwrap(), ["a", "bü", "c"]);
    assert!(read(gzip(b"")).unwrap().is_empty());
    assert_eq!(read([0x1f]).unwrap(), ["\u{1f}"]);
}

#[test]
fn a_stream_that_comes_in_small_parts_is_read_alike() {
    struct Drops(Cursor<Vec<u8>>);
    impl Read for Drops {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }
    for content in [b"a\r\nbc\n".to_vec(), gzip(b"a\r\nbc\n")] {
        let lines = Lines::new(Path::new("drops"), Drops(Cursor::new(content))).unwrap();
        assert_eq!(lines.collect::<text::Result<Vec<_>>>().unwrap(), ["a", "bc"]);
    }
}

#[test]
fn a_truncated_gzip_file_is_an_error_at_every_place() {
    let content: String = (0..2000).map(|n| format!("{n} {}\n", n * n % 977)).collect();
    let whole = gzip(content.as_bytes());
    for length in (3..whole.len()).step_by(97) {
        let error = read(&whole[..length]).unwrap_err();
        assert!(matches!(error, Error::TruncatedGzip { .. }), "{length} bytes: {error}");
    }
    let error = read(&whole[..whole.len() - 1]).unwrap_err().to_string();
    assert_eq!(error, "stream is cut short: its gzip data breaks off after line 2000");
}

#[test]
fn a_damaged_gzip_file_is_an_error() {
    let mut damaged = gzip("some text\n".repeat(1000).as_bytes());
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let error = read(damaged).unwrap_err();
    assert!(matches!(error, Error::Read { .. } | Error::TruncatedGzip { .. }), "{error}");
}

#[test]
fn what_is_no_text_is_named_with_its_line() {
    let cases: [(&[u8], &str); 3] = [
        (b"a\n\xff\n", "line 2 of stream is not valid UTF-8"),
        (b"\xfe\xff\0a\0\n", "line 1 of stream holds a NUL byte: the file is not plain text"),
        (b"a\nb\nc\0\n", "line 3 of stream holds a NUL byte: the file is not plain text"),
    ];
    for (content, expected) in cases {
        assert_eq!(read(content).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_line_of_ten_megabytes_is_passed_over() {
    let content = format!("a\n{}\nb\n", "x".repeat(10_000_000));
    for content in [content.clone().into_bytes(), gzip(content.as_bytes())] {
        let error = read(content.clone()).unwrap_err().to_string();
        assert_eq!(error, "line 2 of stream has 10000001 bytes, expected at most 1048576");

        let mut lines = Lines::new(Path::new("stream"), Cursor::new(content)).unwrap();
        let mut next = || lines.next_line().unwrap();
        assert_eq!(next(), Some(Line::Text("a".into())));
        let defect = Defect::TooLong { bytes: 10_000_001, limit: 1 << 20 };
        assert_eq!(next(), Some(Line::Defective(defect)));
        assert_eq!(next(), Some(Line::Text("b".into())));
        assert_eq!(next(), None);
    }
}

#[test]
fn the_limit_counts_the_text_and_not_how_the_line_ends() {
    for (content, fits) in [
        ("abc", true),
        ("abc\n", true),
        ("abc\r\n", true),
        ("abcd", false),
        ("abcd\n", false),
        ("abcd\r\n", false),
        ("abcde\r\nxyz", false),
    ] {
        let lines = Lines::new(Path::new("stream"), Cursor::new(content)).unwrap().with_limit(3);
        assert_eq!(lines.collect::<text::Result<Vec<_>>>().is_ok(), fits, "{content:?}");
    }
}

#[test]
fn two_files_are_paired_line_by_line() {
    let folder = Folder::new("a\nb\r\n\n", gzip(b"x\n\nz"));
    let pairs: Vec<Pair> = folder.pairs().map(Result::unwrap).collect();
    let pair = |src: &str, tgt: &str, line| Pair { src: src.into(), tgt: tgt.into(), line };
    assert_eq!(pairs, [pair("a", "x", 1), pair("b", "", 2), pair("", "z", 3)]);
}

#[test]
fn unequal_files_are_reported_with_both_counts() {
    let error = Folder::new("a\nb\nc", "x\n").error();
    assert_eq!(error, "src and tgt are not aligned: 3 lines in the first, 1 in the second");
    let many = "x\n".repeat(100_000);
    let error = Folder::new("a\n", gzip(many.as_bytes())).error();
    assert_eq!(error, "src and tgt are not aligned: 1 lines in the first, 100000 in the second");
    let error = Folder::new("", "x").error();
    assert_eq!(error, "src and tgt are not aligned: 0 lines in the first, 1 in the second");
}

#[test]
fn an_empty_corpus_is_an_error() {
    assert_eq!(Folder::new("", gzip(b"")).error(), "src is empty: a corpus has at least one line");
    let lines = Lines::new(Path::new("table"), Cursor::new("")).unwrap();
    let error = Pairs::of_table(lines, columns(1, 2)).next().unwrap().unwrap_err();
    assert!(matches!(error, Error::EmptyCorpus { .. }), "{error}");
}

#[test]
fn the_file_with_the_defect_is_named() {
    let (good, bad) = (b"a\nb\n".as_slice(), b"x\n\xff\n".as_slice());
    assert_eq!(Folder::new(good, bad).error(), "line 2 of tgt is not valid UTF-8");
    assert_eq!(Folder::new(bad, good).error(), "line 2 of src is not valid UTF-8");
}

#[test]
fn defective_rows_can_be_passed_over() {
    let folder = Folder::new(b"a\nb\0\nc\nd\n".as_slice(), b"x\ny\n\xff\nz\n".as_slice());
    let mut pairs = folder.pairs();
    let mut rows = Vec::new();
    while let Some(row) = pairs.next_row().unwrap() {
        rows.push(match row {
            Row::Pair(pair) => (pair.line, None),
            Row::Defective { line, defect } => (line, Some(defect)),
        });
    }
    let expected = [(1, None), (2, Some(Defect::NulByte)), (3, Some(Defect::NotUtf8)), (4, None)];
    assert_eq!(rows, expected);
}

#[test]
fn a_table_gives_the_columns_asked_for() {
    let table = "1\tHi.\t2\t¡Hola!\tx\r\n3\t\t4\t\n";
    let lines = Lines::new(Path::new("table"), Cursor::new(table)).unwrap();
    let pairs: Vec<Pair> = Pairs::of_table(lines, columns(4, 2)).map(Result::unwrap).collect();
    assert_eq!(pairs[0], Pair { src: "¡Hola!".into(), tgt: "Hi.".into(), line: 1 });
    assert_eq!(pairs[1], Pair { src: String::new(), tgt: String::new(), line: 2 });
    assert_eq!(pairs.len(), 2);
}

#[test]
fn a_missing_column_is_named() {
    let lines = Lines::new(Path::new("table"), Cursor::new("a\tb\tc\nd\te\n")).unwrap();
    let error = Pairs::of_table(lines, columns(1, 3)).last().unwrap().unwrap_err();
    let expected = "line 2 of table has 2 tab-separated columns, column 3 is needed";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_file_that_is_missing_or_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("missing"), folder.path().to_owned()] {
        let error = Lines::open(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn after_an_error_nothing_follows() {
    let folder = Folder::new("a\nb\n", "x\n");
    let mut pairs = folder.pairs();
    assert!(pairs.next().unwrap().is_ok());
    assert!(pairs.next().unwrap().is_err());
    assert!(pairs.next().is_none());
}

proptest! {
    #[test]
    fn lines_come_back_as_they_were_written(
        lines in prop::collection::vec("[^\n\r\0]{0,30}", 0..20),
        carriage: bool,
        zipped: bool,
    ) {
        prop_assume!(lines.first().is_none_or(|line| !line.starts_with('\u{feff}')));
        let end = if carriage { "\r\n" } else { "\n" };
        let content: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        prop_assume!(!content.as_bytes().starts_with(&[0x1f, 0x8b]));
        let content = if zipped { gzip(content.as_bytes()) } else { content.into_bytes() };
        prop_assert_eq!(read(content).unwrap(), lines);
    }
}
