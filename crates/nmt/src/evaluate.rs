//! `nmt evaluate`: how good translations and alignments are.

mod by_length;
mod links;
mod signals;
mod significance;

use std::{
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::ArgGroup;
use text::metrics::{Metric, Statistics, Tokenization};

use crate::{
    cli::Session,
    console::{Hint, Misuse},
    input::{READ_AHEAD, Together},
    load::{self, Asked},
    output::Output,
    search::Search,
};

/// Score translations and alignments, with signatures
///
/// Computes BLEU, chrF and TER as sacreBLEU does, to the printed digit. The signature behind
/// the name of a score holds all settings that can change it: two scores are comparable if
/// their signatures are the same but for the version.
///
/// With `--src`, the scores are also given by the length of the source, and with `--svg` drawn.
/// With several `--hyp`, the others are compared with the first: would the difference remain on
/// other sentences of the same kind? With `--model`, the source is translated first.
///
/// With `--gold`, word links are scored: precision, recall and alignment error rate (Och and
/// Ney, 2003), with the range that holds 95 % of the error rates of drawn texts. A gold link `0-1`
/// is sure, `0p1` only possible. With `--src`, they are also scored by the length of the source.
///
/// With `--signals`, says what weights and links tell about translations without a reference: how
/// sure and how complete they are, and which lines look as if something was left out, said twice or
/// not translated.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(true)
        .args(["hyp", "model", "gold", "signals"]),
    group = ArgGroup::new("linked").args(["gold", "signals"]),
    override_usage = "\
nmt evaluate [OPTIONS] --hyp <FILE> --ref <FILE>
       nmt evaluate [OPTIONS] --model <DIR> --src <FILE> --ref <FILE>
       nmt evaluate [OPTIONS] --gold <FILE> --links <FILE>
       nmt evaluate [OPTIONS] --signals --model <DIR> --src <FILE> [--hyp <FILE>]
       nmt evaluate [OPTIONS] --signals --src <FILE> --hyp <FILE> --links <FILE>
       nmt evaluate [OPTIONS] --signals --jsonl <FILE>",
    after_help = "\
Examples:
  nmt evaluate --hyp output.de --ref test.de
  nmt evaluate --hyp output.de --ref test.de --src test.en --metric bleu,chrf++,ter
  nmt evaluate --hyp baseline.de --hyp output.de --ref test.de
  nmt evaluate --hyp a.de --hyp b.de --ref test.de --src test.en --svg by-length.svg
  nmt evaluate --model runs/toy/best --src test.en --ref test.de
  nmt evaluate --gold gold.talp --links test.align
  nmt evaluate --gold gold.talp --links a.align --links b.align --src test.en
  nmt evaluate --signals --model runs/toy/best --src test.en --hyp output.de --flagged
  nmt evaluate --signals --jsonl output.jsonl")]
pub(crate) struct Evaluate {
    /// Translations to score, one a line; further files are compared with the first
    #[arg(long, value_name = "FILE", help_heading = "Translations")]
    hyp: Vec<PathBuf>,

    /// What they should be; give several files if there are several right translations
    #[arg(
        long = "ref",
        id = "refs",
        value_name = "FILE",
        required_unless_present = "linked",
        help_heading = "Translations"
    )]
    refs: Vec<PathBuf>,

    /// What was translated: adds scores by the length of the source
    #[arg(long, value_name = "FILE", help_heading = "Translations")]
    src: Option<PathBuf>,

    /// Translate the source with the model in DIR, and score that
    #[arg(long, value_name = "DIR", requires = "src", help_heading = "Translations")]
    model: Option<PathBuf>,

    /// Draw the scores by the length of the source into FILE, a line for each system
    ///
    /// Shows the first metric. A picture in SVG needs nothing but itself: it can stand on a web
    /// page, and a browser shows it. Systems are called after their files.
    #[arg(long, value_name = "FILE", requires = "src", help_heading = "Translations")]
    svg: Option<PathBuf>,

    /// Metrics, separated by commas: bleu, chrf, chrf++, ter
    #[arg(
        long,
        value_name = "NAMES",
        default_value = "bleu,chrf",
        value_delimiter = ',',
        help_heading = "Metrics"
    )]
    metric: Vec<Metric>,

    /// How BLEU divides lines into words: 13a, intl, char, none
    ///
    /// 13a suits most languages. Use char for Chinese and Japanese, and none for text that is
    /// tokenized already, as in much of the literature: such scores compare with each other
    /// only.
    #[arg(long, value_name = "NAME", default_value = "13a", help_heading = "Metrics")]
    tokenize: Tokenization,

    /// Let capital and small letters count as the same
    #[arg(long, help_heading = "Metrics")]
    lowercase: bool,

    /// Random texts to draw from the sentences when two systems are compared, or links scored
    ///
    /// The p-value says how probable so large a difference is between equal systems (Koehn,
    /// 2004). More texts make it more exact, and take longer.
    #[arg(long, value_name = "N", default_value = "1000", help_heading = "Metrics")]
    trials: NonZeroUsize,

    /// Word links made by people, one line for each sentence pair
    #[arg(long, value_name = "FILE", requires = "links", help_heading = "Alignments")]
    #[arg(conflicts_with_all = ["hyp", "model"])]
    gold: Vec<PathBuf>,

    /// Word links to score, as `nmt align --format pharaoh` writes them
    ///
    /// Several files are scored against the same gold links, or with as many `--gold` each
    /// against its own, and then all together.
    #[arg(long, value_name = "FILE", requires = "linked", help_heading = "Alignments")]
    links: Vec<PathBuf>,

    /// Say what weights and links tell about translations, instead of scoring them
    ///
    /// With `--model`, they are what the model attends to in the translations of `--hyp`, or in its
    /// own, as `nmt align` reads it; `--jsonl` has them from before. With `--links` there are no
    /// weights: what is said rests on links and texts alone. Flags are suspicions: see
    /// `docs/alignment.md` for how often they are right.
    #[arg(long, conflicts_with_all = ["refs", "svg"], help_heading = "Signals")]
    signals: bool,

    /// Translations with alignments, as `nmt translate` or `nmt align` writes with `--format jsonl`
    #[arg(long, value_name = "FILE", requires = "signals", help_heading = "Signals")]
    #[arg(conflicts_with_all = ["hyp", "model", "src", "links"])]
    jsonl: Option<PathBuf>,

    /// Show the lines that look wrong, with the words in question in brackets
    #[arg(long, requires = "signals", help_heading = "Signals")]
    #[arg(conflicts_with_all = ["refs", "svg", "gold"])]
    flagged: bool,

    #[command(flatten)]
    search: Search,
}

/// A system: its name, and its counts for each metric.
type System = (PathBuf, Vec<Statistics>);

/// What was compared, sentence by sentence.
struct Compared {
    systems: Vec<System>,
    /// The words of each source sentence, if there is a source.
    src_words: Vec<usize>,
}

/// A line of the source with its references.
struct Referenced(Vec<String>);

impl AsRef<str> for Referenced {
    fn as_ref(&self) -> &str {
        &self.0[0]
    }
}

impl Evaluate {
    /// Writes the scores to standard output.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut out = Output::open(None)?;
        if self.signals {
            signals::Origin::new(&self)?.write(&mut out, self.flagged, session)?;
            return out.finish();
        }
        if !self.links.is_empty() {
            let (gold, links, src) = (&self.gold, &self.links, self.src.as_deref());
            let (trials, seed) = (self.trials, session.seed);
            links::Scored { gold, links, src, trials, seed }.write(&mut out)?;
            return out.finish();
        }
        if self.model.is_some() && !self.hyp.is_empty() {
            return Err(Misuse("`--model` makes the translations that are scored".into()))
                .hint("score either those, or those of `--hyp`");
        }
        let Compared { systems, src_words } = match (&self.model, &self.src) {
            (Some(dir), Some(src)) => self.translated(dir, src, session)?,
            _ => self.read()?,
        };
        for (name, statistics) in &systems {
            let counted = statistics.iter().all(|metric| metric.sentences() > 0);
            ensure!(counted, "cannot score {}: there is no line", name.display());
        }
        write_scores(&mut out, &systems)?;
        if self.src.is_some() {
            by_length::write(&mut out, &src_words, &systems)?;
        }
        if let Some(path) = &self.svg {
            by_length::draw(path, &src_words, &systems)?;
        }
        if let [baseline, others @ ..] = systems.as_slice() {
            for system in others {
                significance::write(&mut out, baseline, system, self.trials, session.seed)?;
            }
        }
        out.finish()
    }

    /// Compares files, which are read together, line by line.
    fn read(&self) -> anyhow::Result<Compared> {
        let paths = self.hyp.iter().chain(&self.refs).chain(&self.src);
        let paths: Vec<&Path> = paths.map(PathBuf::as_path).collect();
        let mut systems: Vec<System> =
            self.hyp.iter().map(|path| (path.clone(), self.nothing_yet())).collect();
        let mut src_words = Vec::new();
        for row in Together::open(&paths)? {
            let row = row?;
            let (hyps, rest) = row.split_at(self.hyp.len());
            let (refs, src) = rest.split_at(self.refs.len());
            for ((name, statistics), hyp) in systems.iter_mut().zip(hyps) {
                count(name, statistics, hyp, refs)?;
            }
            src_words.extend(src.iter().map(|line| words(line)));
        }
        Ok(Compared { systems, src_words })
    }

    /// Translates the source as it is read, and compares that.
    fn translated(
        &self,
        dir: &Path,
        src: &Path,
        session: &Session<'_>,
    ) -> anyhow::Result<Compared> {
        let paths = std::iter::once(src).chain(self.refs.iter().map(PathBuf::as_path));
        let rows = Together::open(&paths.collect::<Vec<_>>())?;
        let asked = Asked { precision: self.search.precision, ..Asked::default() };
        let mut translator = load::translator(dir, asked, session)?;
        translator.config = self.search.over(&translator.config, session.seed);
        let (mut statistics, mut src_words) = (self.nothing_yet(), Vec::new());
        let lines = rows.map(|row| row.map(Referenced));
        for translated in translator.word_lines(lines, READ_AHEAD) {
            let (Referenced(row), wording) = translated?;
            let hyp = wording?.text;
            count(dir, &mut statistics, &hyp, &row[1..])?;
            src_words.push(words(&row[0]));
        }
        Ok(Compared { systems: vec![(dir.to_owned(), statistics)], src_words })
    }

    /// The counts of no sentence, for each metric.
    fn nothing_yet(&self) -> Vec<Statistics> {
        let metrics = self.metric.iter().map(|metric| self.configured(*metric));
        metrics.map(|metric| metric.of_no_sentences(self.refs.len())).collect()
    }

    /// The metric with the options of the command line.
    fn configured(&self, metric: Metric) -> Metric {
        match metric {
            Metric::Bleu(mut config) => {
                config.tokenization = self.tokenize;
                config.lowercase = self.lowercase;
                Metric::Bleu(config)
            }
            Metric::Chrf(mut config) => {
                config.lowercase = self.lowercase;
                Metric::Chrf(config)
            }
            // Lower case is TER's own default.
            other => other,
        }
    }
}

/// Counts one sentence of the system `name`.
fn count(
    name: &Path,
    statistics: &mut [Statistics],
    hyp: &str,
    refs: &[String],
) -> anyhow::Result<()> {
    let refs: Vec<&str> = refs.iter().map(String::as_str).collect();
    for one in statistics {
        one.push(hyp, &refs).with_context(|| format!("cannot score {}", name.display()))?;
    }
    Ok(())
}

/// The words of a line, by white space.
fn words(line: &str) -> usize {
    line.split_whitespace().count()
}

/// Writes one line for each score, under the name of the system if there are several.
fn write_scores(out: &mut impl Write, systems: &[System]) -> std::io::Result<()> {
    for (name, statistics) in systems {
        if systems.len() > 1 {
            writeln!(out, "{}", name.display())?;
        }
        for statistics in statistics {
            writeln!(out, "{}", statistics.score())?;
        }
    }
    Ok(())
}
