//! `nmt align`: who looked at whom.

use std::{
    io::{self, IsTerminal, Write},
    num::NonZeroUsize,
    path::PathBuf,
};

use anyhow::{Context, ensure};
use serde::Serialize;
use translate::{
    Alignment, Translation,
    alignment::{Level, Linking},
    translation::AlignmentView,
};

use crate::{
    cli::Session,
    console::{Hint, Misuse},
    input::{read_lines, read_pairs},
    load,
    output::Output,
    render::{Matrix, html, svg, terminal},
    search::Search,
};

/// Show which source words each target word looked at
///
/// With two files, aligns the given pairs: the model reads a target sentence word by word and
/// tells what it attends to before each word. With one file, translates it first and aligns
/// its own translations.
///
/// Attention is a soft alignment: a weight for each pair of words. Links are read off it, one
/// for each target word, unless `--threshold` asks for all pairs from a weight on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt align runs/toy/best test.en test.es
  nmt align runs/toy/best test.en test.es --format pharaoh > test.align
  nmt align runs/toy/best test.en --format html --out alignment.html
  nmt align runs/toy/best test.en test.es --line 3 --format svg > sentence-3.svg")]
pub(crate) struct Align {
    /// Directory of a model, such as `RUN/best` of `nmt train`
    model: PathBuf,

    /// Source sentences, one a line; `-` is standard input
    src: PathBuf,

    /// Their translations [default: what the model translates]
    tgt: Option<PathBuf>,

    /// Align line N only
    #[arg(long, value_name = "N", help_heading = "Input")]
    line: Option<NonZeroUsize>,

    #[command(flatten)]
    search: Search,

    /// Align the tokens of the model instead of words
    #[arg(long, help_heading = "Alignment")]
    subwords: bool,

    /// Link all pairs of words of at least this weight
    ///
    /// Without it, each target word is linked to the source word it looked at most, or to
    /// none if it looked at the end of the sentence.
    #[arg(long, value_name = "WEIGHT", value_parser = weight, help_heading = "Alignment")]
    threshold: Option<f32>,

    /// How to show it [default: terminal on a terminal, pharaoh elsewhere]
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    format: Option<Format>,

    /// Write to FILE [default: standard output]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// How alignments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A map of characters, in colour where the terminal has any
    Terminal,
    /// A line of `source-target` links for each pair, counted from 0
    Pharaoh,
    /// The weights as a table for each pair, with an empty line behind it
    Tsv,
    /// A line of JSON for each pair, with weights, links, scores and tokens
    Jsonl,
    /// A picture of one pair
    Svg,
    /// A page to look at in a browser, with all pairs
    Html,
}

/// A pair with its alignment, as JSON has it.
#[derive(Serialize)]
struct Record<'a> {
    line: usize,
    src: &'a str,
    #[serde(flatten)]
    tgt: &'a Translation,
}

/// A source sentence and the translation it is aligned with.
struct Aligned {
    /// The line, counted from one.
    line: usize,
    src: String,
    tgt: Translation,
}

impl Align {
    /// Aligns, and writes in the format asked for.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let terminal = self.out.is_none() && io::stdout().is_terminal();
        let usual = if terminal { Format::Terminal } else { Format::Pharaoh };
        let aligned = self.align(session)?;
        let mut out = Output::open(self.out.as_deref())?;
        write(&mut out, self.format.unwrap_or(usual), &aligned, session)?;
        out.finish()
    }

    /// Reads sentences and aligns them.
    fn align(&self, session: &Session<'_>) -> anyhow::Result<Vec<Aligned>> {
        let mut translator = load::translator(&self.model, session)?;
        translator.config = self.search.over(&translator.config, session.seed);
        translator.config.n_best = NonZeroUsize::MIN;
        let level = if self.subwords { Level::Subwords } else { Level::Words };
        let linking = self.threshold.map_or(Linking::Best, Linking::Threshold);
        translator.view = AlignmentView { level, linking };
        let (sources, translations) = match &self.tgt {
            Some(tgt) => {
                let pairs = self.chosen(read_pairs(&self.src, tgt)?)?;
                let translations = translator.align(&pairs)?;
                (pairs.into_iter().map(|(src, _)| src).collect(), translations)
            }
            None => {
                let sources: Vec<String> = self.chosen(read_lines(&self.src)?)?;
                let best = translator.translate(&sources)?.into_iter();
                let best = best.map(|found| found.into_iter().next().unwrap_or_default());
                (sources, best.collect())
            }
        };
        let first = self.line.map_or(1, NonZeroUsize::get);
        let aligned = sources.into_iter().zip(translations).enumerate();
        Ok(aligned.map(|(idx, (src, tgt))| Aligned { line: first + idx, src, tgt }).collect())
    }

    /// The line asked for, or all.
    fn chosen<T>(&self, mut lines: Vec<T>) -> anyhow::Result<Vec<T>> {
        let Some(line) = self.line else {
            return Ok(lines);
        };
        let n_lines = lines.len();
        ensure!(
            line.get() <= n_lines,
            "there is no line {line}: {} has {n_lines}",
            self.src.display()
        );
        Ok(vec![lines.swap_remove(line.get() - 1)])
    }
}

impl Aligned {
    fn alignment(&self) -> anyhow::Result<&Alignment> {
        let alignment = self.tgt.alignment.as_ref().context("this model has no attention");
        alignment
            .hint("a model with attention knows what it looked at: see `[model.rnn.attention]`")
    }

    fn title(&self) -> String {
        format!("Line {}", self.line)
    }
}

/// Writes all pairs in one format.
fn write(
    out: &mut impl Write,
    format: Format,
    pairs: &[Aligned],
    session: &Session<'_>,
) -> anyhow::Result<()> {
    match format {
        Format::Terminal => {
            let style = session.console.style();
            for pair in pairs {
                out.write_all(
                    terminal::draw(&pair.title(), &pair.alignment()?.into(), &style).as_bytes(),
                )?;
            }
        }
        Format::Pharaoh => {
            for pair in pairs {
                writeln!(out, "{}", pair.alignment()?)?;
            }
        }
        Format::Tsv => {
            for pair in pairs {
                writeln!(out, "{}", pair.alignment()?.to_tsv())?;
            }
        }
        Format::Jsonl => {
            for pair in pairs {
                pair.alignment()?;
                let record = Record { line: pair.line, src: &pair.src, tgt: &pair.tgt };
                serde_json::to_writer(&mut *out, &record)?;
                writeln!(out)?;
            }
        }
        Format::Svg => {
            let [pair] = pairs else {
                let message = format!("a picture shows one pair, but there are {}", pairs.len());
                return Err(Misuse(message))
                    .hint("choose one with `--line`, or all with `--format html`");
            };
            out.write_all(svg::draw(&pair.title(), &pair.alignment()?.into()).as_bytes())?;
        }
        Format::Html => {
            let matrices = pairs.iter().map(|pair| Ok(Matrix::from(pair.alignment()?)));
            let matrices = matrices.collect::<anyhow::Result<Vec<_>>>()?;
            out.write_all(html::draw("Alignment", &matrices).as_bytes())?;
        }
    }
    Ok(())
}

/// Reads a weight between nothing and everything.
fn weight(text: &str) -> Result<f32, String> {
    let weight = text.parse().ok().filter(|weight| (0.0..=1.0).contains(weight));
    weight.ok_or_else(|| "expected a number from 0 to 1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_lies_between_nothing_and_everything() {
        assert_eq!(weight("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.5", "nan", "", "half"] {
            assert!(weight(wrong).is_err(), "{wrong}");
        }
    }
}
