//! `nmt quickstart`: the whole story on the bundled corpus.

mod corpus;

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use model::Ready;
use text::metrics::Metric;
use train::{Experiment, Job, Start, train};
use translate::{Translation, Translator};

use crate::{
    cli::Session,
    console::{Console, Hint, grouped},
    progress::Progress,
    render::{
        Matrix,
        html::{self, About, Model, Sentence},
        terminal,
    },
    train::{follow, stop_on_signals},
};
use corpus::Split;

/// See the whole way in a few minutes: train, score, translate, align
///
/// Trains a small English–Spanish model on a corpus that is inside this program, scores it on
/// sentences it has not seen, translates a few more, and draws what the model looked at. Needs
/// no files and no network.
///
/// Everything stays in one directory: `model` to translate with, `run` with the log of the
/// training, `data` with the corpus, `quickstart.toml` with the experiment, and
/// `alignment.html`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt quickstart
  nmt quickstart --minutes 10 --out spanish")]
pub(crate) struct Quickstart {
    /// Train for about this long on two cores
    ///
    /// Decides the number of updates, so that the same value gives the same model on every
    /// machine that is fast enough. One that is not stops after twice this time, with what it has
    /// by then.
    #[arg(long, value_name = "N", default_value = "3.5", value_parser = minutes)]
    minutes: f64,

    /// Directory for everything
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    out: PathBuf,
}

/// The experiment; `{…}` stands for what depends on the options.
const EXPERIMENT: &str = include_str!("quickstart/experiment.toml");
/// Updates that two cores of a current server processor make in a minute.
const UPDATES_PER_MINUTE: f64 = 560.0;
/// How much longer than asked for training may take where that is not so. Whoever is not stopped gets
/// the same model, to the bit.
const PATIENCE: f64 = 2.0;
/// Everyday sentences, most of which no corpus line comes near.
const SENTENCES: [&str; 10] = [
    "My sister bought a new red car yesterday.",
    "Can you help me find my keys?",
    "We are going to the beach tomorrow.",
    "I do not want to eat fish tonight.",
    "The children are playing in the garden.",
    "Where did you put my book?",
    "He drinks coffee every morning before work.",
    "It was raining when we left the house.",
    "She has two brothers and a dog.",
    "Is there a good restaurant near the station?",
];
/// How many of them are shown.
const SHOWN: usize = 5;

impl Quickstart {
    /// Tells the whole story.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let console = session.console;
        let run = self.out.join("run");
        if std::fs::read_dir(&self.out).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(anyhow::anyhow!("{} is not empty", self.out.display()))
                .hint("choose another directory with `--out`, or remove this one");
        }
        let split = corpus::split(session.seed.unwrap_or(1))?;
        split.write(&self.out.join("data"))?;
        console.note(
            "corpus",
            format_args!(
                "Tatoeba English–Spanish, CC-BY 2.0 FR · {} pairs to train on, {} to test",
                grouped(split.train.len()),
                grouped(split.test.len())
            ),
        );
        let model = self.train(session, &run)?;
        let translator = Translator::<Ready>::open(&model)?;
        score(&translator, &split)?;
        let shown = translate(&translator, &split)?;
        self.draw(console, &shown)?;
        self.next(console, &model);
        Ok(())
    }

    /// Trains, and puts the result where it is easy to find.
    fn train(&self, session: &Session<'_>, run: &Path) -> anyhow::Result<PathBuf> {
        let updates = (self.minutes * UPDATES_PER_MINUTE).round().max(50.0);
        let text = EXPERIMENT
            .replace("{data}", &self.out.join("data").display().to_string())
            .replace("{seed}", &session.seed.unwrap_or(1).to_string())
            .replace("{updates}", &updates.to_string())
            .replace("{warmup}", &(updates / 10.0).round().to_string())
            .replace("{minutes}", &format!("{:.2}", PATIENCE * self.minutes));
        let path = self.out.join("quickstart.toml");
        text::output::write_whole(&path, text.as_bytes())?;
        let mut experiment = Experiment::load(&path, &[])?;
        experiment.training.threads = NonZeroUsize::new(session.threads);
        let stop = stop_on_signals().context("cannot listen to signals")?;
        let job = Job {
            experiment: &experiment,
            dir: run,
            start: Start::New,
            device: &session.device,
            stop: &stop,
        };
        let mut progress = Progress::new(session.console);
        let summary = train(&job, &mut |event| follow(&mut progress, run, event))?;
        drop(progress); // takes the bar away before anything else is said
        if !summary.stop.is_final() {
            bail!("stopped on request; {} holds what was trained so far", run.display());
        }
        let best = summary.averaged_dir.or(summary.best_dir).context("nothing was trained")?;
        let model = self.out.join("model");
        let card = std::fs::read_to_string(best.join("README.md"))
            .with_context(|| format!("cannot read {}", best.join("README.md").display()))?;
        train::average(&[best], &model, &card)?;
        Ok(model)
    }

    /// Draws what the model looked at: one sentence here, all of them on a page.
    fn draw(&self, console: &Console, shown: &[(String, Translation)]) -> anyhow::Result<()> {
        let alignments: Vec<_> = shown.iter().filter_map(|(_, t)| t.alignment.as_ref()).collect();
        let Some(first) = alignments.first() else { return Ok(()) };
        let title = "What each Spanish word looked at";
        let map = terminal::draw(title, &Matrix::from(*first), &console.style());
        let mut out = io::stdout().lock();
        writeln!(out)?;
        out.write_all(map.as_bytes())?;
        let sentences: Vec<Sentence<'_>> = (1..)
            .zip(&alignments)
            .map(|(line, one)| Sentence {
                line,
                alignments: vec![vec![one]],
                notes: html::notes(one),
                ..Default::default()
            })
            .collect();
        let models = vec![Model { name: "English–Spanish".into(), ..Model::default() }];
        let page = html::draw(
            &About { title: "Alignment".into(), models, frames: Vec::new() },
            &sentences,
        );
        let path = self.out.join("alignment.html");
        text::output::write_whole(&path, page.as_bytes())?;
        writeln!(out, "\nThe same for all of them, to look at in a browser: {}", path.display())?;
        Ok(out.flush()?)
    }

    /// Says what to do next.
    fn next(&self, console: &Console, model: &Path) {
        let (out, model) = (self.out.display(), model.display());
        console.note("next", format_args!("nmt translate {model}                 type sentences"));
        console.note("", format_args!("nmt align {model} FILE.en FILE.es  see the alignment"));
        console.note("", format_args!("nmt info {model}                      what the model is"));
        console.note(
            "",
            format_args!("nmt train {out}/quickstart.toml --out MY-RUN    train again, changed"),
        );
    }
}

/// Scores the model on held-out sentences.
fn score(translator: &Translator<Ready>, split: &Split) -> anyhow::Result<()> {
    let sources: Vec<String> = split.test.iter().map(|pair| pair.src.clone()).collect();
    let hyps: Vec<String> =
        translator.word(&sources)?.into_iter().map(|wording| wording.text).collect();
    let refs = vec![split.test.iter().map(|pair| pair.tgt.clone()).collect::<Vec<_>>()];
    let mut out = io::stdout().lock();
    writeln!(out, "\nHeld-out score, on {} sentences:", split.test.len())?;
    for metric in ["bleu", "chrf"] {
        let score = metric.parse::<Metric>()?.corpus(&hyps, &refs)?;
        writeln!(out, "  {score}")?;
    }
    let identical = hyps.iter().zip(&refs[0]).filter(|(hyp, reference)| hyp == reference).count();
    writeln!(
        out,
        "  {identical} translations are the reference, word for word. No test sentence has a \
         near-duplicate in\n  training (all words but one the same), so this is what the model \
         does on sentences unlike\n  those it knows; each has one reference, and a good \
         translation in other words counts as wrong."
    )?;
    Ok(out.flush()?)
}

/// Translates everyday sentences that training had nothing like.
fn translate(
    translator: &Translator<Ready>,
    split: &Split,
) -> anyhow::Result<Vec<(String, Translation)>> {
    let unseen = SENTENCES.iter().filter(|sentence| !split.knows(sentence));
    let sources: Vec<String> = unseen.take(SHOWN).map(|s| (*s).to_owned()).collect();
    let found = translator.translate(&sources)?;
    let best = found.into_iter().map(|found| found.into_iter().next().unwrap_or_default());
    let shown: Vec<(String, Translation)> = sources.into_iter().zip(best).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "\nSentences that training had nothing like:")?;
    for (src, translation) in &shown {
        writeln!(out, "  {src}\n  → {}", translation.text)?;
    }
    out.flush()?;
    Ok(shown)
}

/// Reads a duration.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|m: &f64| m.is_finite() && *m > 0.0);
    minutes.ok_or_else(|| "expected a number of minutes above 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_experiment_is_valid() {
        let text = EXPERIMENT
            .replace("{data}", "data")
            .replace("{seed}", "1")
            .replace("{updates}", "1000")
            .replace("{warmup}", "100")
            .replace("{minutes}", "3.5");
        Experiment::parse("quickstart.toml", &text, &[]).unwrap();
    }

    #[test]
    fn a_duration_is_positive() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "", "two"] {
            assert!(minutes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn enough_of_the_everyday_sentences_are_unseen() {
        let split = corpus::split(1).unwrap();
        let unseen = SENTENCES.iter().filter(|sentence| !split.knows(sentence)).count();
        assert!(unseen >= SHOWN, "only {unseen}");
    }
}
