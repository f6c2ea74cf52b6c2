//! `nmt align --calibrate`: which attention of a model is its alignment.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use model::Attended;
use translate::{
    alignment::{Calibration, Gold, parse_links},
    translator::{Candidate, Grid},
};

use super::{Align, direction::Direction};
use crate::{
    cli::Session,
    console::{Misuse, Verbosity},
    input::{ensure_equal, parse_lines, stream_pairs},
    load,
    output::Output,
};

/// Candidates that are shown unless all are asked for.
const SHOWN: usize = 12;

/// How to find the attention that alignments are read from.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrateArgs {
    /// Find the layer, head and step whose links are best, and keep them in the model
    ///
    /// Compares all layers and heads of the decoder and their means, at the step that writes a word
    /// and at the step that reads it, with other links of the two files: those of `--gold`, or
    /// those of the model of `--reverse`, or those of the statistical aligner, for which the
    /// files should have a few thousand lines. The best place is written to
    /// `alignment.json` in MODEL, and alignments are read from there as long as no option
    /// says otherwise.
    #[arg(long, conflicts_with_all = [
        "statistical", "subwords", "threshold", "links", "symmetrize", "format", "line",
        "layer", "head", "shift", "others",
    ])]
    pub(super) calibrate: bool,

    /// Links that people made, one line for each pair, to calibrate with or to show in a page
    ///
    /// A page shows them beside those of the model, with the alignment error rate of each sentence.
    #[arg(long, value_name = "FILE")]
    pub(super) gold: Option<PathBuf>,
}

impl Align {
    /// Finds the best place to read alignments from, shows what there was to choose from, and
    /// keeps the choice in the model's directory.
    pub(super) fn run_calibration(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let Some(tgt) = &self.tgt else {
            return Err(Misuse("`--calibrate` takes a source and its translation".into()).into());
        };
        let pairs = stream_pairs(&self.src, tgt)?.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!pairs.is_empty(), "cannot calibrate: {} has no line", self.src.display());
        let asked = self.asked();
        let before = load::reading(&self.model, &asked)?;
        let asked = load::Asked { reading: Some(Attended::Each.into()), ..asked };
        let translator = load::single(&self.model, &asked, session)?;
        let (layers, heads) = translator.model().attentions();
        ensure!(layers > 0, "this model has no attention");
        let (against, links) = self.compared_with(&pairs, session)?;
        let candidates = translator.calibrate(&pairs, &links, Grid { layers, heads })?;
        let best = candidates.first().context("there is nothing to choose from")?;
        let mut out = Output::open(self.out.as_deref())?;
        table(&mut out, &candidates, session)?;
        out.finish()?;
        let (reading, aer) = (best.reading, best.counts.quality().aer);
        let calibration = Calibration { reading, against, pairs: pairs.len(), aer };
        calibration
            .save(&self.model)
            .with_context(|| format!("cannot keep the choice in {}", self.model.display()))?;
        session.console.note("before", before);
        session.console.note("now", format!("{reading} · {}", calibration_in_words(&calibration)));
        Ok(())
    }

    /// What links are compared with, and its links.
    fn compared_with(
        &self,
        pairs: &[(String, String)],
        session: &Session<'_>,
    ) -> anyhow::Result<(String, Vec<Gold>)> {
        if let Some(gold) = &self.calibrate.gold {
            let links = parse_lines(gold, parse_links)?;
            ensure_equal((gold, links.len()), (&self.src, pairs.len()))?;
            return Ok((name(gold), links));
        }
        let (against, links) = match &self.direction.reverse {
            Some(dir) => {
                let reverse = Direction::open(dir, self.search.precision, session)?;
                (name(dir), reverse.links(pairs)?)
            }
            None => {
                let aligner = self.statistical.train(pairs, session)?;
                ("statistical aligner".to_owned(), aligner.links(Default::default()))
            }
        };
        let sure = |links: Vec<(usize, usize)>| {
            let links: std::collections::BTreeSet<_> = links.into_iter().collect();
            Gold { sure: links.clone(), possible: links }
        };
        Ok((against, links.into_iter().map(sure).collect()))
    }
}

/// What a choice rests on.
pub(crate) fn calibration_in_words(found: &Calibration) -> String {
    let Calibration { against, pairs, aer, .. } = found;
    if *pairs == 0 {
        return against.clone();
    }
    format!("AER {:.2} on {pairs} pairs against {against}", 100.0 * aer)
}

/// The best candidates, in percent.
fn table(
    out: &mut impl Write,
    candidates: &[Candidate],
    session: &Session<'_>,
) -> std::io::Result<()> {
    let all = session.console.verbosity() >= Verbosity::Verbose;
    let shown = if all { candidates.len() } else { SHOWN.min(candidates.len()) };
    writeln!(out, "   AER  precision  recall  read from")?;
    for Candidate { reading, counts } in &candidates[..shown] {
        let quality = counts.quality();
        let [aer, precision, recall] =
            [quality.aer, quality.precision, quality.recall].map(|value| 100.0 * value);
        writeln!(out, "{aer:6.2}  {precision:9.2}  {recall:6.2}  {reading}")?;
    }
    match candidates.len() - shown {
        0 => Ok(()),
        n => writeln!(out, "and {n} worse ones, shown with --verbose"),
    }
}

/// A file by the last part of its path.
fn name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
