//! `nmt prepare`: clean a corpus, learn a tokenizer.

mod page;
mod report;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use text::output;
use train::{Error, Experiment, prepare, prepare::Progress};

use self::report::{corpora, samples, summary};
use crate::{
    cli::Session,
    console::{Console, Hint, Verbosity, grouped},
};

/// Time between two lines where there is no bar.
const PAUSE: Duration = Duration::from_secs(10);

/// Clean a corpus and learn a tokenizer
///
/// Reads the training data of an experiment, leaves out what is not worth learning from, and
/// says what and why. Writes the clean corpus, the tokenizer, the experiment file that trains on
/// them, and a report with samples of what was dropped, `report.html` and `report.txt`. Corpora
/// with different weights or tags stay apart.
///
/// What is dropped is set in `[data.clean]`: lengths, duplicates and broken characters at all
/// times; text in another script or language, sentences of the test sets, and pairs that are no
/// translations of each other where that is asked for.
///
/// The corpus may be larger than memory. Interrupted, it goes on where it was when it is started
/// again.
///
/// `nmt train` does all this by itself, in memory. Prepare when several experiments share the
/// data, when it is large, or to look at it first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt prepare toy.toml
  nmt prepare toy.toml --out data/clean --set tokenizer.vocab=4000
  nmt prepare toy.toml --set data.clean.drop_other_language=true --set data.clean.min_alignment=0.4
  nmt train data/clean/toy.toml")]
pub(crate) struct Prepare {
    /// Experiment file; `nmt help train` shows one
    config: PathBuf,

    /// Change a value of the experiment file; may be given several times
    #[arg(long, value_name = "TABLE.KEY=VALUE", help_heading = "Experiment")]
    set: Vec<String>,

    /// Write into DIR [default: prepared/ and the name of the experiment file]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

impl Prepare {
    /// Writes corpus, tokenizer, experiment file and report.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let console = session.console;
        let experiment = Experiment::load(&self.config, &self.set)?;
        let name = self.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let dir = self.out.unwrap_or_else(|| Path::new("prepared").join(&name));
        let mut told = Told::new(console);
        let prepared = prepare(&experiment, &dir, &name, &mut |progress| told.tell(progress));
        drop(told);
        let prepared = match prepared {
            Err(error @ Error::Exists { .. }) => {
                Err(error).hint("choose another directory with `--out`, or remove the file")?
            }
            Err(Error::OtherPreparation { dir }) => {
                let hint = format!("remove {} to begin anew", dir.display());
                Err(Error::OtherPreparation { dir }).hint(hint)?
            }
            prepared => prepared?,
        };
        let corpora = corpora(&experiment);
        let mut text = String::new();
        for (label, line) in summary(&prepared, &corpora) {
            console.note(&label, &line);
            text.push_str(&format!("{label:8}{line}\n"));
        }
        if prepared.held_out > 0 {
            let n = grouped(prepared.held_out as usize);
            console.warn(format_args!(
                "{n} pairs also stand in the development or test sets, on a side at least: \
                 `drop_overlap = \"equal\"` in [data.clean] leaves them out"
            ));
        }
        text.push_str(&samples(&prepared.report, &corpora));
        output::write_whole(&dir.join("report.txt"), text.as_bytes())?;
        let page = page::draw(&name, &prepared, &corpora);
        output::write_whole(&dir.join("report.html"), page.as_bytes())?;
        console.note("report", dir.join("report.html").display());
        console.note("next", format_args!("nmt train {}", prepared.file.display()));
        Ok(())
    }
}

/// Says how far the work is: a line of its own on a terminal, a note now and then elsewhere.
struct Told<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl<'a> Told<'a> {
    fn new(console: &'a Console) -> Self {
        let shown = console.verbosity() > Verbosity::Quiet && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { console, bar, said: Instant::now() }
    }

    fn tell(&mut self, progress: Progress) {
        let number = |n: u64| grouped(n as usize);
        let message = match progress {
            Progress::Resumed { lines } => {
                let line = format!("after {} lines", number(lines));
                return self.above(|console| console.note("resumed", line));
            }
            Progress::Judged { lines, passed } => {
                format!("{} lines read · {} passed", number(lines), number(passed))
            }
            Progress::Comparing => "looking for duplicates".into(),
            Progress::Aligning { pairs } => {
                format!("learning to align from {} pairs", grouped(pairs))
            }
            Progress::Scored { pairs, of } => {
                format!("{} of {} pairs scored", number(pairs), number(of))
            }
            Progress::Written { pairs, of } => {
                format!("{} of {} pairs written", number(pairs), number(of))
            }
            _ => "learning the tokenizer".into(),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.tick();
            }
            None if self.said.elapsed() >= PAUSE => {
                self.console.note("", message);
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// Writes above the bar.
    fn above(&self, write: impl FnOnce(&Console)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write(self.console)),
            None => write(self.console),
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
