//! How good word links are, against links that people made.

use std::{
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::Result;
use kernels::{Purpose, Random};
use text::metrics::significance::Interval;
use translate::alignment::{LinkCounts, bootstrap, parse_links};

use super::{by_length, significance::SEED, words};
use crate::{
    console::Misuse,
    input::{ensure_equal, parse_lines, read_lines},
};

/// What is scored, and how.
pub(super) struct Scored<'a> {
    /// Links that people made; one file for all, or one for each file of links.
    pub(super) gold: &'a [PathBuf],
    pub(super) links: &'a [PathBuf],
    /// Source sentences, for scores by their length.
    pub(super) src: Option<&'a Path>,
    /// Texts drawn for the interval.
    pub(super) trials: NonZeroUsize,
    pub(super) seed: Option<u64>,
}

/// A file of links, and what it has in common with the gold of each sentence.
struct File<'a> {
    path: &'a Path,
    sentences: Vec<LinkCounts>,
}

impl Scored<'_> {
    /// Writes precision, recall, F1 and alignment error rate, in percent: of the only file, or of
    /// each; and by the length of the source, if there is one.
    pub(super) fn write(&self, out: &mut impl Write) -> Result<()> {
        let files = self.read()?;
        if let [file] = &files[..] {
            self.write_one(out, file)?;
        } else {
            self.write_all(out, &files)?;
        }
        let Some(src) = self.src else { return Ok(()) };
        let lengths: Vec<usize> = read_lines(src)?.iter().map(|line| words(line)).collect();
        for file in &files {
            ensure_equal((src, lengths.len()), (file.path, file.sentences.len()))?;
            writeln!(out)?;
            if files.len() > 1 {
                writeln!(out, "{}", file.path.display())?;
            }
            self.write_by_length(out, &lengths, &file.sentences)?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<File<'_>>> {
        let (n_gold, n_links) = (self.gold.len(), self.links.len());
        if n_gold != 1 && n_gold != n_links {
            return Err(Misuse(format!(
                "expected one file of gold links, or one for each of {n_links} `--links`, found \
                 {n_gold}"
            ))
            .into());
        }
        let gold = self.gold.iter().cycle();
        self.links.iter().zip(gold).map(|(links, gold)| File::read(links, gold)).collect()
    }

    fn write_one(&self, out: &mut impl Write, file: &File<'_>) -> Result<()> {
        let counts = sum(&file.sentences);
        let quality = counts.quality();
        for (name, value) in [
            ("AER", quality.aer),
            ("precision", quality.precision),
            ("recall", quality.recall),
            ("F1", quality.f1),
        ] {
            write!(out, "{name:9} {:6.2}", 100.0 * value)?;
            match self.interval(&file.sentences).filter(|_| name == "AER") {
                Some(Interval { low, high, .. }) => writeln!(
                    out,
                    "   {:.2} to {:.2} in 95 % of {} drawn texts",
                    100.0 * low,
                    100.0 * high,
                    self.trials
                ),
                None => writeln!(out),
            }?;
        }
        let (found, sure) = (counts.found, counts.sure);
        let n = file.sentences.len();
        Ok(writeln!(out, "{n} sentence pairs, {found} links, {sure} sure gold links")?)
    }

    /// A table with a row for each file and, if each has its own gold, one for all together.
    fn write_all(&self, out: &mut impl Write, files: &[File<'_>]) -> Result<()> {
        writeln!(out, "{}  links", head())?;
        for file in files {
            let name = file.path.display().to_string();
            self.write_row(out, (&name, 0), &file.sentences)?;
        }
        if self.gold.len() > 1 {
            let all: Vec<LinkCounts> =
                files.iter().flat_map(|file| file.sentences.iter().copied()).collect();
            self.write_row(out, ("all together", 0), &all)?;
        }
        Ok(())
    }

    fn write_by_length(
        &self,
        out: &mut impl Write,
        lengths: &[usize],
        sentences: &[LinkCounts],
    ) -> Result<()> {
        writeln!(out, "source words  {}", head())?;
        for row in 0..=by_length::LAST {
            let in_row = |(length, _): &(&usize, &LinkCounts)| by_length::row(**length) == row;
            let of_row: Vec<LinkCounts> =
                lengths.iter().zip(sentences).filter(in_row).map(|(_, counts)| *counts).collect();
            if !of_row.is_empty() {
                let name = format!("{:>12}", by_length::range(row));
                self.write_row(out, (&name, 12), &of_row)?;
            }
        }
        Ok(())
    }

    /// A row of a table, whose name stands in front in so many columns, or behind.
    fn write_row(
        &self,
        out: &mut impl Write,
        (name, columns): (&str, usize),
        sentences: &[LinkCounts],
    ) -> Result<()> {
        let quality = sum(sentences).quality();
        let half = self.interval(sentences).map_or(0.0, |interval| interval.half_width());
        let [aer, half, precision, recall, f1] =
            [quality.aer, half, quality.precision, quality.recall, quality.f1].map(|x| 100.0 * x);
        let aer = format!("{aer:.2} ± {half:.2}");
        let n = sentences.len();
        let row = format!("{n:>9}{aer:>15}{precision:>11.2}{recall:>8.2}{f1:>7.2}");
        match columns {
            0 => writeln!(out, "{row}  {name}"),
            _ => writeln!(out, "{name}  {row}"),
        }?;
        Ok(())
    }

    /// Where alignment error rates of texts drawn from these sentences lie. The same sentences have
    /// the same draws.
    fn interval(&self, sentences: &[LinkCounts]) -> Option<Interval> {
        let mut random = Random::new(self.seed.unwrap_or(SEED), Purpose::Sampling, 0).stream();
        bootstrap(sentences, self.trials.get(), &mut |n| random.below(n))
    }
}

/// The head of a table.
fn head() -> String {
    let [sentences, aer, precision, recall, f1] = ["sentences", "AER", "precision", "recall", "F1"];
    format!("{sentences:>9}{aer:>15}{precision:>11}{recall:>8}{f1:>7}")
}

impl<'a> File<'a> {
    fn read(links: &'a Path, gold: &Path) -> Result<Self> {
        let gold_links = parse_lines(gold, parse_links)?;
        let found_links = parse_lines(links, parse_links)?;
        ensure_equal((links, found_links.len()), (gold, gold_links.len()))?;
        let sentences = gold_links.iter().zip(&found_links).map(|(gold, found)| {
            // A link that a system calls merely possible is a link.
            let found: Vec<(usize, usize)> = found.possible.iter().copied().collect();
            LinkCounts::new(&found, gold)
        });
        Ok(Self { path: links, sentences: sentences.collect() })
    }
}

fn sum(sentences: &[LinkCounts]) -> LinkCounts {
    let mut counts = LinkCounts::default();
    sentences.iter().for_each(|sentence| counts += *sentence);
    counts
}
