//! Scores by the length of the source: where a system starts to lose the thread.

use std::{io::Write, path::Path};

use super::System;
use crate::input::ensure_equal;

/// Words that the sentences of a row differ by at most.
const STEP: usize = 10;
/// Row that takes all sentences that are longer.
const LAST: usize = 6;

/// Writes a table with one row for each range of source lengths, in words.
pub(super) fn write(
    out: &mut impl Write,
    src: &[String],
    path: &Path,
    systems: &[System],
) -> anyhow::Result<()> {
    let rows: Vec<usize> = src.iter().map(|line| row(line.split_whitespace().count())).collect();
    for (file, statistics) in systems {
        let sentences = statistics.first().map_or(0, |statistics| statistics.sentences());
        ensure_equal((path, src.len()), (file, sentences))?;
        writeln!(out)?;
        if systems.len() > 1 {
            writeln!(out, "{}", file.display())?;
        }
        let names =
            statistics.iter().map(|statistics| format!("{:>8}", statistics.metric().name()));
        writeln!(out, "{:>12}  {:>9}{}", "source words", "sentences", names.collect::<String>())?;
        let columns = statistics
            .iter()
            .map(|statistics| statistics.buckets(&rows))
            .collect::<Result<Vec<_>, _>>()?;
        for (idx, bucket) in columns.first().into_iter().flatten().enumerate() {
            let scores = columns.iter().map(|column| format!("{:8.2}", column[idx].score.value));
            let scores: String = scores.collect();
            writeln!(out, "{:>12}  {:>9}{scores}", range(bucket.bucket), bucket.sentences)?;
        }
    }
    Ok(())
}

/// The row of a sentence of so many words.
fn row(words: usize) -> usize {
    (words.saturating_sub(1) / STEP).min(LAST)
}

/// The lengths of a row in words.
fn range(row: usize) -> String {
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
}
