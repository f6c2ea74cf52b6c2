//! Scores by the length of the source: where a system starts to lose the thread.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
};

use text::metrics::{Bucket, Statistics};

use super::System;
use crate::{
    output::Output,
    render::chart::{self, Chart, Range},
};

/// Words that the sentences of a row differ by at most.
const STEP: usize = 10;
/// Row that takes all sentences that are longer.
pub(super) const LAST: usize = 6;

/// Writes a table with one row for each range of source lengths, in words.
pub(super) fn write(
    out: &mut impl Write,
    src_words: &[usize],
    systems: &[System],
) -> anyhow::Result<()> {
    for (file, statistics) in systems {
        writeln!(out)?;
        if systems.len() > 1 {
            writeln!(out, "{}", file.display())?;
        }
        let names =
            statistics.iter().map(|statistics| format!("{:>8}", statistics.metric().name()));
        writeln!(out, "{:>12}  {:>9}{}", "source words", "sentences", names.collect::<String>())?;
        let columns = statistics
            .iter()
            .map(|statistics| buckets(statistics, src_words))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (idx, bucket) in columns.first().into_iter().flatten().enumerate() {
            let scores = columns.iter().map(|column| format!("{:8.2}", column[idx].score.value));
            let scores: String = scores.collect();
            writeln!(out, "{:>12}  {:>9}{scores}", range(bucket.bucket), bucket.sentences)?;
        }
    }
    Ok(())
}

/// Draws the first metric's scores into the file `path`, with a line for each system.
pub(super) fn draw(path: &Path, src_words: &[usize], systems: &[System]) -> anyhow::Result<()> {
    let (mut ranges, mut lines, mut metric) = (Vec::new(), Vec::new(), None);
    for ((_, statistics), name) in systems.iter().zip(names(systems)) {
        let Some(first) = statistics.first() else { continue };
        let buckets = buckets(first, src_words)?;
        metric = Some((first.metric().name(), first.signature()));
        ranges = buckets
            .iter()
            .map(|found| Range { name: range(found.bucket), sentences: found.sentences })
            .collect();
        let scores = buckets.iter().map(|bucket| bucket.score.value).collect();
        lines.push(chart::System { name, scores });
    }
    let (metric, signature) = metric.unwrap_or_default();
    let picture = chart::draw(&Chart {
        title: &format!("{metric} by the length of the source"),
        score: &format!("{metric} in percent"),
        size: "source length in words",
        note: &format!("{metric}|{signature}"),
        ranges: &ranges,
        systems: &lines,
    });
    let mut out = Output::open(Some(path))?;
    out.write_all(picture.as_bytes())?;
    out.finish()
}

/// The scores of each row that has a sentence.
fn buckets(statistics: &Statistics, src_words: &[usize]) -> anyhow::Result<Vec<Bucket>> {
    let rows: Vec<usize> = src_words.iter().map(|words| row(*words)).collect();
    Ok(statistics.buckets(&rows)?)
}

/// What systems are called: the name of the file without its extension if no two are the same,
/// and the whole path otherwise.
fn names(systems: &[System]) -> Vec<String> {
    let paths = || systems.iter().map(|(path, _)| path);
    let stem = |path: &PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    let stems: BTreeSet<String> = paths().filter_map(stem).collect();
    if stems.len() == systems.len() {
        paths().filter_map(stem).collect()
    } else {
        paths().map(|path| path.display().to_string()).collect()
    }
}

/// The row of a sentence of so many words.
pub(super) fn row(words: usize) -> usize {
    (words.saturating_sub(1) / STEP).min(LAST)
}

/// The lengths of a row in words.
pub(super) fn range(row: usize) -> String {
    let first = row * STEP + 1;
    match row {
        0 => format!("0-{STEP}"),
        LAST => format!("{first} or more"),
        _ => format!("{first}-{}", first + STEP - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_the_lengths_it_names() {
        for (words, name) in [(0, "0-10"), (10, "0-10"), (11, "11-20"), (60, "51-60")] {
            assert_eq!(range(row(words)), name);
        }
        assert_eq!(range(row(61)), "61 or more");
        assert_eq!(range(row(5000)), "61 or more");
    }

    #[test]
    fn systems_are_called_as_short_as_tells_them_apart() {
        let named = |paths: &[&str]| {
            let systems: Vec<System> = paths.iter().map(|path| (path.into(), vec![])).collect();
            names(&systems)
        };
        assert_eq!(named(&["out/none.de", "out/global.de"]), ["none", "global"]);
        assert_eq!(named(&["a/hyp.de", "b/hyp.de"]), ["a/hyp.de", "b/hyp.de"]);
    }
}
