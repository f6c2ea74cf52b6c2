//! What is read line by line: text, never more in memory than asked for.

use std::path::Path;

use anyhow::{Context, ensure};
use text::corpus::Lines;

/// Stands for standard input among file names.
pub(crate) const STDIN: &str = "-";

/// All lines of a file, plain or packed with gzip.
pub(crate) fn read_lines(path: &Path) -> anyhow::Result<Vec<String>> {
    Ok(Lines::open(path)?.collect::<Result<_, _>>()?)
}

/// The lines of a file, or of standard input, as they come.
pub(crate) fn stream_lines(
    path: Option<&Path>,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<String>> + use<>> {
    let lines = Lines::open(path.unwrap_or(Path::new(STDIN)))?;
    Ok(lines.map(|line| Ok(line?)))
}

/// The lines of two files that belong together.
pub(crate) fn read_pairs(src: &Path, tgt: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let (src_lines, tgt_lines) = (read_lines(src)?, read_lines(tgt)?);
    ensure_equal((src, src_lines.len()), (tgt, tgt_lines.len()))?;
    Ok(src_lines.into_iter().zip(tgt_lines).collect())
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
