//! `nmt evaluate`: how good translations and alignments are.

mod by_length;
mod links;
mod significance;

use std::{
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ArgGroup;
use text::metrics::{Metric, Statistics, Tokenization};

use crate::{cli::Session, input::read_lines, load, output::Output, search::Search};

/// Score translations and alignments, with signatures
///
/// Computes BLEU, chrF and TER as sacreBLEU does, to the printed digit. The signature behind
/// the name of a score holds all settings that can change it: two scores are comparable if
/// their signatures are the same but for the version.
///
/// With `--src`, the scores are also given by the length of the source. With two `--hyp`, the
/// second system is compared with the first: would the difference remain on other sentences
/// of the same kind? With `--model`, the source is translated first.
///
/// With `--gold`, word links are scored: precision, recall and alignment error rate (Och and
/// Ney, 2003). A gold link `0-1` is sure, `0p1` only possible.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["hyp", "model", "gold"]),
    after_help = "\
Examples:
  nmt evaluate --hyp output.de --ref test.de
  nmt evaluate --hyp output.de --ref test.de --src test.en --metric bleu,chrf++,ter
  nmt evaluate --hyp baseline.de --hyp output.de --ref test.de
  nmt evaluate --model runs/toy/best --src test.en --ref test.de
  nmt evaluate --gold gold.talp --links test.align")]
pub(crate) struct Evaluate {
    /// Translations to score, one a line; a second file is compared with the first
    #[arg(long, value_name = "FILE", requires = "refs", help_heading = "Translations")]
    hyp: Vec<PathBuf>,

    /// What they should be; give several files if there are several right translations
    #[arg(long = "ref", id = "refs", value_name = "FILE", help_heading = "Translations")]
    refs: Vec<PathBuf>,

    /// What was translated: adds scores by the length of the source
    #[arg(long, value_name = "FILE", help_heading = "Translations")]
    src: Option<PathBuf>,

    /// Translate the source with the model in DIR, and score that
    #[arg(
        long,
        value_name = "DIR",
        requires = "src",
        requires = "refs",
        help_heading = "Translations"
    )]
    model: Option<PathBuf>,

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

    /// Texts to draw when two systems are compared
    ///
    /// More make the p-value more exact, and take longer.
    #[arg(long, value_name = "N", default_value = "1000", help_heading = "Metrics")]
    trials: NonZeroUsize,

    /// Word links made by people, one line for each sentence pair
    #[arg(long, value_name = "FILE", requires = "links", help_heading = "Alignments")]
    gold: Option<PathBuf>,

    /// Word links to score, as `nmt align --format pharaoh` writes them
    #[arg(long, value_name = "FILE", requires = "gold", help_heading = "Alignments")]
    links: Option<PathBuf>,

    #[command(flatten)]
    search: Search,
}

/// A system: its name, and its counts for each metric.
type System = (PathBuf, Vec<Statistics>);

impl Evaluate {
    /// Writes the scores to standard output.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut out = Output::open(None)?;
        if let (Some(gold), Some(found)) = (&self.gold, &self.links) {
            links::write(&mut out, gold, found)?;
            return out.finish();
        }
        let src = self.src.as_deref().map(read_lines).transpose()?;
        let systems = self.systems(src.as_deref(), session)?;
        write_scores(&mut out, &systems)?;
        if let (Some(path), Some(src)) = (&self.src, &src) {
            by_length::write(&mut out, src, path, &systems)?;
        }
        if let [baseline, others @ ..] = systems.as_slice() {
            for system in others {
                significance::write(&mut out, baseline, system, self.trials, session.seed)?;
            }
        }
        out.finish()
    }

    /// Reads or makes the translations, and counts what the metrics need.
    fn systems(
        &self,
        src: Option<&[String]>,
        session: &Session<'_>,
    ) -> anyhow::Result<Vec<System>> {
        let refs = self.refs.iter().map(|path| read_lines(path)).collect::<Result<Vec<_>, _>>()?;
        let mut systems = Vec::new();
        for path in &self.hyp {
            systems.push((path.clone(), self.count(path, &read_lines(path)?, &refs)?));
        }
        if let Some(dir) = &self.model {
            let mut translator = load::translator(dir, session)?;
            translator.config = self.search.over(&translator.config, session.seed);
            let found = translator.translate(src.unwrap_or_default())?.into_iter();
            let best = found.map(|found| found.into_iter().next().unwrap_or_default().text);
            let hyps: Vec<String> = best.collect();
            systems.push((dir.clone(), self.count(dir, &hyps, &refs)?));
        }
        Ok(systems)
    }

    fn count(
        &self,
        name: &Path,
        hyps: &[String],
        refs: &[Vec<String>],
    ) -> anyhow::Result<Vec<Statistics>> {
        let metrics = self.metric.iter().map(|metric| self.configured(*metric));
        let counts = metrics.map(|metric| metric.statistics(hyps, refs));
        counts.collect::<Result<_, _>>().with_context(|| format!("cannot score {}", name.display()))
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
