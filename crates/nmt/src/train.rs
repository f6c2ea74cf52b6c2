//! `nmt train`: run an experiment, or resume it.

mod watched;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use train::{Error, Event, Experiment, Job, Start, Summary, train};

use crate::{
    cli::Session,
    console::{Console, Hint, Stopped},
    progress::Progress,
};

/// Train a model, or go on training it
///
/// Runs the experiment that a TOML file describes, and writes all that it finds into the
/// directory of the run: `best` and `last` are models to translate with, `train.log`,
/// `metrics.csv` and `samples.txt` say how it went, `alignments.html` plays how attention came to
/// align, and `config.toml` is the experiment with every default written out.
///
/// Ctrl-C or SIGTERM saves and stops, with exit code 130; a second Ctrl-C stops at once. With
/// `--resume` the run goes on as if it had never been stopped: the result is the same to the bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An experiment file says at least this much:
  [data]
  src = \"en\"
  tgt = \"es\"
  train = [{ src = \"train.en\", tgt = \"train.es\" }]
  valid = { src = \"valid.en\", tgt = \"valid.es\" }
  [model.rnn]
  [training]
  epochs = 10

Examples:
  nmt train toy.toml
  nmt train toy.toml --out runs/small --set model.rnn.dim=256
  nmt train --resume --out runs/toy")]
pub(crate) struct Train {
    /// Experiment file [default with --resume: the run's own]
    #[arg(required_unless_present = "resume")]
    config: Option<PathBuf>,

    /// Change a value of the experiment file; may be given several times
    ///
    /// A value that is not TOML is a string: `--set data.src=en`.
    #[arg(long, value_name = "TABLE.KEY=VALUE", help_heading = "Experiment")]
    set: Vec<String>,

    /// Directory of the run [default: runs/ and the name of the experiment file]
    #[arg(long, value_name = "RUN", required_unless_present = "config", help_heading = "Run")]
    out: Option<PathBuf>,

    /// Go on from the newest good checkpoint
    ///
    /// Only limits may have changed since, such as `training.updates`.
    #[arg(long, help_heading = "Run")]
    resume: bool,
}

impl Train {
    /// Trains until the experiment's end or a signal.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let dir = self.dir();
        let mut experiment = self.experiment(&dir)?;
        if let Some(threads) = session.asked_threads {
            experiment.training.threads = Some(threads);
        }
        if let Some(seed) = session.seed {
            experiment.seed = seed;
        }
        let stop = stop_on_signals().context("cannot listen to signals")?;
        let start = if self.resume { Start::Resume } else { Start::New };
        let device = &session.device;
        let job = Job { experiment: &experiment, dir: &dir, start, device, stop: &stop };
        let mut progress = Progress::new(session.console);
        let summary = train(&job, &mut |event| follow(&mut progress, &dir, event));
        drop(progress); // takes the bar away before anything else is said
        let summary = match summary {
            Err(error @ Error::Occupied { .. }) => Err(error)
                .hint("`--resume` goes on with the run, `--out` chooses another directory"),
            Err(error @ Error::NoRun { .. }) => {
                Err(error).hint("without `--resume`, `nmt train CONFIG` starts a new run")
            }
            other => Ok(other?),
        }?;
        tell(session.console, &dir, &summary);
        if summary.stop.is_final() { Ok(()) } else { Err(Stopped.into()) }
    }

    /// The directory of the run.
    fn dir(&self) -> PathBuf {
        let name = || Path::new("runs").join(self.config.as_deref()?.file_stem()?).into();
        self.out.clone().or_else(name).unwrap_or_default()
    }

    fn experiment(&self, dir: &Path) -> anyhow::Result<Experiment> {
        match &self.config {
            Some(path) => Ok(Experiment::load(path, &self.set)?),
            None => {
                let own = dir.join("config.toml");
                Experiment::load(&own, &self.set)
                    .with_context(|| format!("{} holds no run to resume", dir.display()))
            }
        }
    }
}

/// Says what happened in the run `dir`, and keeps its page up to date.
pub(crate) fn follow(progress: &mut Progress<'_>, dir: &Path, event: &Event) {
    progress.event(event);
    if let Event::Validated(_) = event
        && let Err(error) = watched::write(dir)
    {
        // Nothing is lost: the record is there, and the page is written anew at each validation.
        progress.event(&Event::Warning(format!("no {}: {error:#}", watched::PAGE)));
    }
}

/// A flag that the first Ctrl-C or SIGTERM raises; the second one ends the program.
pub(crate) fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: a raised flag ends the program, an unraised one is raised.
        flag::register_conditional_shutdown(signal, i32::from(Stopped::CODE), stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Says how the run ended, and what to do next.
fn tell(console: &Console, dir: &Path, summary: &Summary) {
    let Summary { step, best, best_dir, averaged_dir, .. } = summary;
    let elapsed = train::event::clock(summary.elapsed);
    let updates = train::event::grouped(*step);
    console.note("done", format_args!("{} · {updates} updates · {elapsed}", dir.display()));
    if let (Some((step, metric, score)), Some(best_dir)) = (best, best_dir) {
        let metric = format!("{metric:?}").to_lowercase();
        let best_dir = best_dir.display();
        console.note("best", format_args!("{best_dir} · update {step} · {metric} {score:.2}"));
        let model =
            averaged_dir.as_deref().map_or(best_dir.to_string(), |dir| dir.display().to_string());
        console.note("next", format_args!("nmt translate {model}"));
    }
    if !summary.stop.is_final() {
        console.note("resume", format_args!("nmt train --resume --out {}", dir.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_after_its_experiment() {
        let train = |config: Option<&str>, out: Option<&str>| Train {
            config: config.map(Into::into),
            set: Vec::new(),
            out: out.map(Into::into),
            resume: false,
        };
        assert_eq!(train(Some("configs/toy.toml"), None).dir(), Path::new("runs/toy"));
        assert_eq!(train(Some("configs/toy.toml"), Some("x")).dir(), Path::new("x"));
        assert_eq!(train(None, Some("x")).dir(), Path::new("x"));
    }
}
