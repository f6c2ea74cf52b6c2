//! `nmt align`: who looked at whom.

mod calibrate;
mod direction;
mod statistical;

use std::{
    io::{self, IsTerminal, Write},
    num::NonZeroUsize,
    path::PathBuf,
};

use anyhow::Context;
use clap::ArgGroup;
use serde::Serialize;
use translate::{
    Alignment, Translation,
    alignment::{Level, Linking},
};

pub(crate) use self::calibrate::calibration_in_words;
use self::{
    calibrate::CalibrateArgs,
    direction::{Direction, DirectionArgs, rule},
    statistical::StatisticalArgs,
};
use crate::{
    attended::AttendedArgs,
    cli::Session,
    console::{Hint, Misuse},
    ensemble::EnsembleArgs,
    input::{READ_AHEAD, stream_lines, stream_pairs},
    load::{self, Asked, Loaded},
    output::Output,
    render::{html, svg, terminal},
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
///
/// With `--reverse`, a second model aligns the other way, and the links of both become one set. With
/// `--calibrate`, finds out which attention of a model is its best alignment, and remembers. With
/// `--statistical`, aligns two files without a model.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("directions").args(["statistical", "reverse"]))]
#[command(override_usage = "\
nmt align [OPTIONS] <MODEL> <SRC> [TGT]
       nmt align --statistical [OPTIONS] <SRC> <TGT>")]
#[command(after_help = "\
Examples:
  nmt align runs/toy/best test.en test.es
  nmt align runs/toy/best test.en test.es --format pharaoh > test.align
  nmt align runs/toy/best test.en --format html --out alignment.html
  nmt align runs/toy/best test.en test.es --line 3 --format svg > sentence-3.svg
  nmt align runs/en-es/best test.en test.es --reverse runs/es-en/best > test.align
  nmt align runs/toy/best dev.en dev.es --calibrate --gold dev.talp
  nmt align --statistical corpus.en corpus.es > corpus.align")]
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

    #[command(flatten)]
    ensemble: EnsembleArgs,

    #[command(flatten)]
    attended: AttendedArgs,

    /// Align the tokens of the model instead of words
    #[arg(long, help_heading = "Alignment")]
    subwords: bool,

    /// Link all pairs of words of at least this weight
    ///
    /// Without it, each target word is linked to the source word it looked at most, or to
    /// none if it looked at the end of the sentence.
    #[arg(long, value_name = "WEIGHT", value_parser = weight, help_heading = "Alignment")]
    threshold: Option<f32>,

    /// Link words by this rule: argmax, threshold:WEIGHT, one-to-one [default: argmax]
    ///
    /// argmax is what is done without an option; `threshold:0.3` is `--threshold 0.3`. With
    /// one-to-one each word has one link at most, so that the sum of the weights is as great as
    /// can be.
    #[arg(
        long,
        value_name = "RULE",
        value_parser = rule,
        conflicts_with = "threshold",
        help_heading = "Alignment"
    )]
    links: Option<Linking>,

    #[command(flatten)]
    direction: DirectionArgs,

    #[command(flatten)]
    calibrate: CalibrateArgs,

    #[command(flatten)]
    statistical: StatisticalArgs,

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

/// Sentences as they are aligned.
type Stream<'a, T> = Box<dyn Iterator<Item = anyhow::Result<T>> + 'a>;
/// What is aligned, as it is read on a thread of its own.
type Input<T> = Box<dyn Iterator<Item = anyhow::Result<T>> + Send>;

impl Align {
    /// Aligns, and writes in the format asked for.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        if self.statistical.statistical {
            return self.run_statistical(session);
        }
        if self.calibrate.calibrate {
            return self.run_calibration(session);
        }
        let format = self.usual_format();
        let translator = self.translator(session)?;
        let reverse = self.reverse(session)?;
        let mut aligned = self.align(format, &translator)?;
        if let Some(reverse) = &reverse {
            aligned = reverse.join(aligned, self.direction.method());
        }
        let shown = aligned.map(|pair| {
            let pair = pair?;
            let record = Record { line: pair.line, src: &pair.src, tgt: &pair.tgt };
            show(format, pair.line, pair.alignment()?, &record, session)
        });
        self.write(format, shown)
    }

    /// The format asked for, or what is usual.
    fn usual_format(&self) -> Format {
        let terminal = self.out.is_none() && io::stdout().is_terminal();
        self.format.unwrap_or(if terminal { Format::Terminal } else { Format::Pharaoh })
    }

    /// Writes pairs, and what the format has around them.
    fn write(
        &self,
        format: Format,
        pairs: impl Iterator<Item = anyhow::Result<String>>,
    ) -> anyhow::Result<()> {
        let mut out = Output::open(self.out.as_deref())?;
        let html::Frame { head, between, tail } = frame(format);
        let mut before = Some(&*head);
        for shown in pairs {
            // Nothing is written before it is clear that there is an alignment to show.
            let shown = shown?;
            out.write_all(before.take().unwrap_or(between).as_bytes())?;
            out.write_all(shown.as_bytes())?;
        }
        out.write_all(before.unwrap_or("").as_bytes())?;
        out.write_all(tail.as_bytes())?;
        out.finish()
    }

    /// The model, which searches and shows alignments as the options say.
    fn translator(&self, session: &Session<'_>) -> anyhow::Result<Loaded> {
        let mut translator = load::translator(&self.model, self.asked(), session)?;
        translator.config = self.search.over(&translator.config, session.seed);
        translator.config.n_best = NonZeroUsize::MIN;
        translator.view.level = if self.subwords { Level::Subwords } else { Level::Words };
        translator.view.linking = self.linking();
        Ok(translator)
    }

    /// How the model is to be made ready.
    fn asked(&self) -> Asked {
        let (attended, precision) = (Some(self.attended), self.search.precision);
        let ensemble = self.ensemble.clone();
        Asked { attended, precision, ensemble, ..Asked::default() }
    }

    /// When words are linked.
    fn linking(&self) -> Linking {
        self.links.or(self.threshold.map(Linking::Threshold)).unwrap_or_default()
    }

    /// The model of the other direction, if there is one.
    fn reverse(&self, session: &Session<'_>) -> anyhow::Result<Option<Direction>> {
        let open = |dir| {
            let reverse = Direction::open(dir, self.search.precision, session)?;
            Ok(reverse.linking(self.linking()))
        };
        self.direction.reverse.as_deref().map(open).transpose()
    }

    /// Aligns sentences as they are read.
    fn align<'a>(
        &self,
        format: Format,
        translator: &'a Loaded,
    ) -> anyhow::Result<Stream<'a, Aligned>> {
        let first = self.line.map_or(1, NonZeroUsize::get);
        let Some(tgt) = &self.tgt else {
            let lines = self.chosen(format, Box::new(stream_lines(Some(&self.src))?))?;
            let found = translator.translate_lines(lines, READ_AHEAD).zip(first..);
            return Ok(Box::new(found.map(|(found, line)| {
                let (src, n_best) = found?;
                Ok(Aligned { line, src, tgt: n_best?.into_iter().next().unwrap_or_default() })
            })));
        };
        let pairs = self.chosen(format, Box::new(stream_pairs(&self.src, tgt)?))?;
        let found = translator.align_pairs(pairs, READ_AHEAD).zip(first..);
        Ok(Box::new(found.map(|(found, line)| {
            let ((src, _), tgt) = found?;
            Ok(Aligned { line, src, tgt })
        })))
    }

    /// The line asked for, or all. A picture has room for one.
    fn chosen<T: Send + 'static>(
        &self,
        format: Format,
        mut lines: Input<T>,
    ) -> anyhow::Result<Input<T>> {
        let src = self.counted().display();
        if let Some(line) = self.line {
            for n_lines in 0..line.get() - 1 {
                lines.next().with_context(|| no_line(line, &src, n_lines))??;
            }
            let chosen = lines.next().with_context(|| no_line(line, &src, line.get() - 1))?;
            return Ok(Box::new(std::iter::once(chosen)));
        }
        if format != Format::Svg {
            return Ok(lines);
        }
        let (Some(only), None) = (lines.next(), lines.next()) else {
            return Err(Misuse(format!("a picture shows one pair, but {src} has not just one")))
                .hint("choose one with `--line`, or all with `--format html`");
        };
        Ok(Box::new(std::iter::once(only)))
    }
}

/// What is said about a line beyond the last.
fn no_line(line: NonZeroUsize, src: &impl std::fmt::Display, n_lines: usize) -> String {
    format!("there is no line {line}: {src} has {n_lines}")
}

impl Aligned {
    fn alignment(&self) -> anyhow::Result<&Alignment> {
        let alignment = self.tgt.alignment.as_ref().context("this model has no attention");
        alignment
            .hint("a model with attention knows what it looked at: see `[model.rnn.attention]`")
    }
}

/// What a format has around its pairs.
fn frame(format: Format) -> html::Frame {
    match format {
        Format::Html => html::frame("Alignment"),
        _ => html::Frame::default(),
    }
}

/// One pair in a format; `record` is what JSON has of it.
fn show(
    format: Format,
    line: usize,
    alignment: &Alignment,
    record: &impl Serialize,
    session: &Session<'_>,
) -> anyhow::Result<String> {
    let title = format!("Line {line}");
    Ok(match format {
        Format::Terminal => terminal::draw(&title, &alignment.into(), &session.console.style()),
        Format::Pharaoh => format!("{alignment}\n"),
        Format::Tsv => alignment.to_tsv() + "\n",
        Format::Jsonl => serde_json::to_string(record)? + "\n",
        Format::Svg => svg::draw(&title, &alignment.into()),
        Format::Html => html::sentence(&alignment.into()),
    })
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
