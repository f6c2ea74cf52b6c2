//! `nmt evaluate`: how good translations are, with signatures.

mod by_length;
mod significance;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use text::metrics::{Metric, Statistics, Tokenization};

use crate::{cli::Session, input::read_lines, output::Output};

/// Score translations, with signatures
///
/// Computes BLEU, chrF and TER as sacreBLEU does, to the printed digit. The signature behind
/// the name of a score holds all settings that can change it: two scores are comparable if
/// their signatures are the same but for the version.
///
/// With `--src`, the scores are also given by the length of the source. With two `--hyp`, the
/// second system is compared with the first: would the difference remain on other sentences
/// of the same kind?
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt evaluate --hyp output.de --ref test.de
  nmt evaluate --hyp output.de --ref test.de --src test.en --metric bleu,chrf++,ter
  nmt evaluate --hyp baseline.de --hyp output.de --ref test.de")]
pub(crate) struct Evaluate {
    /// Translations to score, one a line; a second file is compared with the first
    #[arg(long, value_name = "FILE", required = true, help_heading = "Translations")]
    hyp: Vec<PathBuf>,

    /// What they should be; give several files if there are several right translations
    #[arg(long = "ref", value_name = "FILE", required = true, help_heading = "Translations")]
    refs: Vec<PathBuf>,

    /// What was translated: adds scores by the length of the source
    #[arg(long, value_name = "FILE", help_heading = "Translations")]
    src: Option<PathBuf>,

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
    trials: std::num::NonZeroUsize,
}

impl Evaluate {
    /// Writes the scores to standard output.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let refs = self.refs.iter().map(|path| read_lines(path)).collect::<Result<Vec<_>, _>>()?;
        let mut systems = Vec::new();
        for path in &self.hyp {
            let hyps = read_lines(path)?;
            let metrics =
                self.metric.iter().map(|metric| configured(*metric, self.tokenize, self.lowercase));
            let statistics = metrics
                .map(|metric| metric.statistics(&hyps, &refs))
                .collect::<Result<Vec<_>, _>>()
                .with_context(|| format!("cannot score {}", path.display()))?;
            systems.push((path.as_path(), statistics));
        }
        let mut out = Output::open(None)?;
        write_scores(&mut out, &systems)?;
        if let Some(src) = &self.src {
            by_length::write(&mut out, &read_lines(src)?, src, &systems)?;
        }
        if let [baseline, others @ ..] = systems.as_slice() {
            for system in others {
                significance::write(&mut out, baseline, system, self.trials, session.seed)?;
            }
        }
        out.finish()
    }
}

/// A system: the file of its translations, and its counts for each metric.
type System<'a> = (&'a Path, Vec<Statistics>);

/// The metric with the options of the command line.
fn configured(metric: Metric, tokenization: Tokenization, lowercase: bool) -> Metric {
    match metric {
        Metric::Bleu(mut config) => {
            config.tokenization = tokenization;
            config.lowercase = lowercase;
            Metric::Bleu(config)
        }
        Metric::Chrf(mut config) => {
            config.lowercase = lowercase;
            Metric::Chrf(config)
        }
        // Lower case is TER's own default.
        other => other,
    }
}

/// Writes one line for each score, under the name of the file if there are several.
fn write_scores(out: &mut impl Write, systems: &[System<'_>]) -> std::io::Result<()> {
    for (path, statistics) in systems {
        if systems.len() > 1 {
            writeln!(out, "{}", path.display())?;
        }
        for statistics in statistics {
            writeln!(out, "{}", statistics.score())?;
        }
    }
    Ok(())
}
