//! What is read line by line: text, never more in memory than asked for.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use text::corpus::Lines;

/// Stands for standard input among file names.
pub(crate) const STDIN: &str = "-";

/// Lines that are read before the first of them is worked on: enough to fill batches.
pub(crate) const READ_AHEAD: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// All lines of a file, plain or packed with gzip.
pub(crate) fn read_lines(path: &Path) -> anyhow::Result<Vec<String>> {
    Ok(Lines::open(path)?.collect::<Result<_, _>>()?)
}

/// The lines of a file, or of standard input, as they come.
pub(crate) fn stream_lines(
    path: Option<&Path>,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<String>> + Send + use<>> {
    let lines = Lines::open(path.unwrap_or(Path::new(STDIN)))?;
    Ok(lines.map(|line| Ok(line?)))
}

/// The lines of a file, or of standard input, as they come. One that is no text is an error of its
/// own, behind which the rest follows.
pub(crate) fn stream_any_lines(
    path: Option<&Path>,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<text::Result<String>>> + Send + use<>> {
    let mut lines = Lines::open(path.unwrap_or(Path::new(STDIN)))?;
    Ok(std::iter::from_fn(move || lines.next_text().map_err(anyhow::Error::from).transpose()))
}

/// Files of which line `n` of one belongs to line `n` of each other, read together: what comes is
/// a line of each.
///
/// Whether they have as many lines is found out when the shortest ends, and before the first
/// line already where that costs no more than reading: of files that can be read twice.
pub(crate) struct Together {
    files: Vec<Lines>,
    read: u64,
    ended: bool,
}

impl Together {
    /// Opens files, plain or packed with gzip; one may be standard input.
    pub(crate) fn open(paths: &[&Path]) -> anyhow::Result<Self> {
        if paths.iter().all(|path| path.is_file()) {
            let count = |path: &&Path| Ok((path.to_path_buf(), rest(&mut Lines::open(path)?)?));
            check(&paths.iter().map(count).collect::<anyhow::Result<Vec<_>>>()?)?;
        }
        let files = paths.iter().map(|path| Lines::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { files, read: 0, ended: false })
    }

    /// Rows of which one with a line that is no text is an error of its own, behind which the rest
    /// follows.
    pub(crate) fn any(
        mut self,
    ) -> impl Iterator<Item = anyhow::Result<text::Result<Vec<String>>>> + Send {
        std::iter::from_fn(move || self.next_row())
    }

    fn next_row(&mut self) -> Option<anyhow::Result<text::Result<Vec<String>>>> {
        if self.ended {
            return None;
        }
        let row = self.row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }

    /// The next line of each file, or why one of them is no text; none if all have ended.
    fn row(&mut self) -> anyhow::Result<Option<text::Result<Vec<String>>>> {
        let lines = self.files.iter_mut().map(Lines::next_text);
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        if lines.iter().any(Option::is_none) && lines.iter().any(Option::is_some) {
            let counts = self.files.iter_mut().zip(&lines).map(|(file, line)| {
                let n = self.read + u64::from(line.is_some()) + rest(file)?;
                Ok((file.path().to_owned(), n))
            });
            check(&counts.collect::<anyhow::Result<Vec<_>>>()?)?;
        }
        self.read += 1;
        let lines: Option<Vec<_>> = lines.into_iter().collect();
        Ok(lines.map(|lines| lines.into_iter().collect()))
    }
}

impl Iterator for Together {
    type Item = anyhow::Result<Vec<String>>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row()?.and_then(|row| Ok(row?));
        self.ended |= row.is_err();
        Some(row)
    }
}

/// The lines of two files that belong together.
pub(crate) fn stream_pairs(
    src: &Path,
    tgt: &Path,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(String, String)>> + Send + use<>> {
    let rows = Together::open(&[src, tgt])?;
    Ok(rows.map(|row| {
        let mut row = row?.into_iter();
        Ok((row.next().unwrap_or_default(), row.next().unwrap_or_default()))
    }))
}

/// Reads to the end, and says how many lines that were.
fn rest(lines: &mut Lines) -> anyhow::Result<u64> {
    let mut n = 0;
    while lines.next_line()?.is_some() {
        n += 1;
    }
    Ok(n)
}

/// Makes sure that all files have as many lines as the first.
fn check(counts: &[(PathBuf, u64)]) -> anyhow::Result<()> {
    for (path, n) in counts {
        let (first, expected) = &counts[0];
        ensure!(
            n == expected,
            "{} has {expected} lines, but {} has {n}",
            first.display(),
            path.display()
        );
    }
    Ok(())
}

/// Makes sure that two files have as many lines.
pub(crate) fn ensure_equal(one: (&Path, usize), other: (&Path, usize)) -> anyhow::Result<()> {
    ensure!(
        one.1 == other.1,
        "{} has {} lines, but {} has {}",
        one.0.display(),
        one.1,
        other.0.display(),
        other.1
    );
    Ok(())
}

/// Parses each line of a file; an error names the line.
pub(crate) fn parse_lines<T, E>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T, E>,
) -> anyhow::Result<Vec<T>>
where
    Result<T, E>: Context<T, E>,
{
    let lines = read_lines(path)?;
    let parsed = lines.iter().zip(1..).map(|(line, number)| {
        parse(line).with_context(|| format!("{}, line {number}", path.display()))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What reading these files together gives, or how it fails.
    fn together(texts: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> =
            (0..texts.len()).map(|n| dir.path().join(n.to_string())).collect();
        paths.iter().zip(texts).for_each(|(path, text)| fs::write(path, text).unwrap());
        let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
        let files = paths.iter().map(|path| Lines::open(path).unwrap()).collect();
        // Without the look ahead that files allow, as pipes are read.
        let streamed =
            Together { files, read: 0, ended: false }.collect::<anyhow::Result<Vec<_>>>();
        let opened = Together::open(&paths).and_then(Iterator::collect::<anyhow::Result<Vec<_>>>);
        let name = |error: anyhow::Error| {
            error.to_string().replace(&format!("{}/", dir.path().display()), "")
        };
        let (streamed, opened) = (streamed.map_err(name), opened.map_err(name));
        assert_eq!(streamed, opened);
        opened
    }

    #[test]
    fn lines_that_belong_together_come_together() {
        let rows = together(&["a\nb\n", "c\nd", "\n\n"]).unwrap();
        assert_eq!(rows, [["a", "c", ""], ["b", "d", ""]]);
        assert!(together(&["", ""]).unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_no_text_spoils_its_row_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        fs::write(&one, b"a\n\xff\nc\n").unwrap();
        fs::write(&other, b"x\ny\nz\n").unwrap();
        let open = || Together::open(&[&one, &other]).unwrap();
        let rows: Vec<_> = open().any().collect::<anyhow::Result<_>>().unwrap();
        assert_eq!(rows.len(), 3);
        assert!(rows[1].as_ref().unwrap_err().to_string().contains("line 2"), "{rows:?}");
        assert_eq!(rows[2].as_ref().unwrap(), &["c", "z"]);
        let strict: Vec<_> = open().collect();
        assert_eq!(strict.len(), 2);
        assert!(strict[1].is_err());
    }

    #[test]
    fn unequal_counts_are_both_named_however_the_files_are_read() {
        let expected = |text: &str| Err(text.to_owned());
        assert_eq!(together(&["a\nb\nc\n", "d\n"]), expected("0 has 3 lines, but 1 has 1"));
        assert_eq!(together(&["a\n", "b\n", "c\nd\n"]), expected("0 has 1 lines, but 2 has 2"));
        assert_eq!(together(&["", "b\n"]), expected("0 has 0 lines, but 1 has 1"));
    }
}
