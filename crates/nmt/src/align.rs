//! `nmt align`: who looked at whom.

mod calibrate;
mod direction;
mod page;
mod show;
mod statistical;

use std::{
    collections::VecDeque,
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
    page::{Heads, Look, Page, PageArgs, View},
    show::{Format, SCALE, Show, scale},
    statistical::StatisticalArgs,
};
use crate::{
    attended::AttendedArgs,
    cli::Session,
    console::{Console, Hint, Misuse, Verbosity, When},
    ensemble::EnsembleArgs,
    input::{READ_AHEAD, stream_lines, stream_pairs},
    judged::Judged,
    load::{self, Asked, Loaded},
    output::Output,
    render::html,
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
  nmt align runs/toy/best test.en --out alignment.html
  nmt align runs/toy/best test.en test.es --heads all --compare runs/old/best --out both.html
  nmt align runs/toy/best test.en test.es --line 3 --out sentence-3.png
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

    #[command(flatten)]
    page: PageArgs,

    /// How to show it [default: as FILE is called, terminal on a terminal, or pharaoh]
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    format: Option<Format>,

    /// Make a picture in PNG so many times as large as the same in SVG [default: 2]
    #[arg(long, value_name = "N", value_parser = scale, help_heading = "Output")]
    scale: Option<f32>,

    /// Write to FILE [default: standard output]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// A pair with its alignment, as JSON has it.
#[derive(Serialize)]
struct Record<'a> {
    line: usize,
    src: &'a str,
    #[serde(flatten)]
    tgt: Judged<'a>,
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
        self.check(format)?;
        let page = if format == Format::Html { self.page(session)? } else { Page::default() };
        let translator = self.translator(session)?;
        let reverse = self.reverse(session)?;
        let mut aligned = self.align(format, &translator)?;
        if let Some(reverse) = &reverse {
            aligned = reverse.join(aligned, self.direction.method());
        }
        if format == Format::Html {
            let shown = page.sentences(aligned, session.console).map(|shown| Ok(shown?.into()));
            return self.write(html::frame(&page.about()), shown);
        }
        let show = Show { format, scale: self.scale(), page: &page, console: session.console };
        let shown = aligned.map(|pair| {
            let pair = pair?;
            let record = Record { line: pair.line, src: &pair.src, tgt: Judged(&pair.tgt) };
            show.show(pair.line, pair.alignment()?, &record)
        });
        self.write(html::Frame::default(), shown)
    }

    /// The format asked for, or what is usual.
    fn usual_format(&self) -> Format {
        let terminal = self.out.is_none() && io::stdout().is_terminal();
        let usual = if terminal { Format::Terminal } else { Format::Pharaoh };
        self.format.or_else(|| Format::of(self.out.as_deref()?)).unwrap_or(usual)
    }

    /// What is for pages or pictures is asked for with them only.
    fn check(&self, format: Format) -> anyhow::Result<()> {
        for (option, given) in [
            ("--heads", self.page.heads != Heads::Read),
            ("--compare", self.page.compare.is_some()),
            ("--gold", self.calibrate.gold.is_some()),
        ] {
            if given && format != Format::Html {
                let calibrate = if option == "--gold" { "`--calibrate` and for " } else { "" };
                let what = format!("`{option}` is for {calibrate}pages: add `--format html`");
                return Err(Misuse(what).into());
            }
        }
        if self.scale.is_some() && format != Format::Png {
            return Err(Misuse("`--scale` is for pictures: add `--format png`".into()).into());
        }
        Ok(())
    }

    /// How many times as large as in SVG a picture in PNG is.
    fn scale(&self) -> f32 {
        self.scale.unwrap_or(SCALE)
    }

    /// What the page shows beside the alignments.
    fn page(&self, session: &Session<'_>) -> anyhow::Result<Page> {
        let view = View {
            precision: self.search.precision,
            level: if self.subwords { Level::Subwords } else { Level::Words },
            linking: self.linking(),
            all: self.page.heads == Heads::All,
        };
        // The model is read once more, which need not be told.
        let quiet = Console::new(When::Never, Verbosity::Quiet);
        let quiet = Session { console: &quiet, ..session.clone() };
        let heads = || Look::open(&self.model, &self.asked(), view, &quiet);
        let beside = |dir| Look::open(dir, &Asked::default(), view, session);
        Ok(Page {
            name: self.model.display().to_string(),
            heads: view.all.then(heads).transpose()?,
            beside: self.page.compare.as_deref().map(beside).transpose()?,
            gold: Page::read_gold(self.calibrate.gold.as_deref(), &self.src)?,
        })
    }

    /// Writes pairs, and what the format has around them.
    fn write(
        &self,
        frame: html::Frame,
        pairs: impl Iterator<Item = anyhow::Result<Vec<u8>>>,
    ) -> anyhow::Result<()> {
        let mut out = Output::open(self.out.as_deref())?;
        let html::Frame { head, between, tail } = frame;
        let mut before = Some(&*head);
        for shown in pairs {
            // Nothing is written before it is clear that there is an alignment to show.
            let shown = shown?;
            out.write_all(before.take().unwrap_or(between).as_bytes())?;
            out.write_all(&shown)?;
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
        if !matches!(format, Format::Svg | Format::Png) {
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

/// Does `work` on items as they come, some at a time. An error comes after what was done before it,
/// and is the last.
fn some_at_a_time<'a, T: 'a, R: 'a>(
    items: Stream<'a, T>,
    mut work: impl FnMut(Vec<T>) -> anyhow::Result<Vec<R>> + 'a,
) -> Stream<'a, R> {
    let mut items = items.fuse();
    let (mut ready, mut error, mut ended) = (VecDeque::new(), None, false);
    Box::new(std::iter::from_fn(move || {
        if ready.is_empty() && !ended {
            let mut some = Vec::new();
            while some.len() < READ_AHEAD.get() && !ended {
                match items.next() {
                    Some(Ok(item)) => some.push(item),
                    Some(Err(found)) => (error, ended) = (Some(found), true),
                    None => ended = true,
                }
            }
            match work(some) {
                Ok(done) => ready.extend(done),
                Err(found) => (error, ended) = (Some(found), true),
            }
        }
        ready.pop_front().map(Ok).or_else(|| error.take().map(Err))
    }))
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
    fn results_come_in_order_and_an_error_is_the_last() {
        let items = |end: usize| -> Stream<'_, usize> {
            let fail = move |n| if n < end { Ok(n) } else { Err(anyhow::anyhow!("item {n}")) };
            Box::new((0..3000).map(fail))
        };
        let double = |some: Vec<usize>| Ok(some.into_iter().map(|n| 2 * n).collect());
        let all: anyhow::Result<Vec<_>> = some_at_a_time(items(3000), double).collect();
        assert_eq!(all.unwrap(), (0..3000).map(|n| 2 * n).collect::<Vec<_>>());
        let mut some = some_at_a_time(items(1500), double);
        assert_eq!(some.by_ref().take(1500).filter(Result::is_ok).count(), 1500);
        assert_eq!(some.next().unwrap().unwrap_err().to_string(), "item 1500");
        assert!(some.next().is_none());
        let mut failing = some_at_a_time(items(3000), |_| -> anyhow::Result<Vec<usize>> {
            anyhow::bail!("no work")
        });
        assert!(failing.next().unwrap().is_err() && failing.next().is_none());
    }

    #[test]
    fn a_weight_lies_between_nothing_and_everything() {
        assert_eq!(weight("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.5", "nan", "", "half"] {
            assert!(weight(wrong).is_err(), "{wrong}");
        }
    }
}
