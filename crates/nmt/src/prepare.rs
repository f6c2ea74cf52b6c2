//! `nmt prepare`: clean a corpus, learn a tokenizer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use text::{
    Cleaner, Columns, Lines, Pairs, Tokenizers,
    clean::{Reason, Report},
    output,
};
use train::{
    Experiment,
    config::{CorpusFiles, Tokenizer, TokenizerDir},
};

use crate::{
    cli::Session,
    console::{Console, Hint, grouped},
};

/// Clean a corpus and learn a tokenizer
///
/// Reads the training data of an experiment, leaves out what is not worth learning from, and
/// says what and why. Writes the clean corpus, the tokenizer, and the experiment file that
/// trains on them.
///
/// `nmt train` does all this by itself. Prepare when several experiments share the data, or to
/// look at it first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt prepare toy.toml
  nmt prepare toy.toml --out data/clean --set tokenizer.vocab=4000
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
    /// Writes corpus, tokenizer and experiment file.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let console = session.console;
        let mut experiment = Experiment::load(&self.config, &self.set)?;
        let name = self.config.file_stem().unwrap_or_default();
        let dir = self.out.unwrap_or_else(|| Path::new("prepared").join(name));
        let file = dir.join(name).with_extension("toml");
        let src = dir.join(format!("train.{}", experiment.data.src));
        let tgt = dir.join(format!("train.{}", experiment.data.tgt));
        // The corpus itself may lie there under such a name.
        if let Some(found) = [&file, &src, &tgt].into_iter().find(|path| path.exists()) {
            return Err(anyhow::anyhow!("{} exists already", found.display()))
                .hint("choose another directory with `--out`, or remove the file");
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;

        let report = clean(&experiment, &src, &tgt)?;
        tell(console, &report);
        if let Tokenizer::Learn(how) = &experiment.tokenizer {
            console.note("learn", "the tokenizer");
            let mut tokenizers = learn(&src, &tgt, |src, tgt| Tokenizers::train(how, src, tgt))?;
            tokenizers.normalize = experiment.data.clean.normalize;
            tokenizers.save(&dir)?;
            let (src, tgt) = (tokenizers.src.vocab_size(), tokenizers.tgt.vocab_size());
            let kind = if tokenizers.joint() { "joint" } else { "separate" };
            let sizes = format!("{kind} · {} + {}", grouped(src), grouped(tgt));
            console.note("vocab", sizes);
            experiment.tokenizer = Tokenizer::Open(TokenizerDir { dir: dir.clone() });
        }
        experiment.data.train = vec![CorpusFiles::Lines { src, tgt }];
        // Last, for it says that all is there.
        output::write_whole(&file, experiment.to_toml().as_bytes())?;
        console.note("next", format_args!("nmt train {}", file.display()));
        Ok(())
    }
}

/// Writes the pairs worth learning from, and counts the others.
fn clean(experiment: &Experiment, src: &Path, tgt: &Path) -> anyhow::Result<Report> {
    let mut cleaner = Cleaner::new(experiment.data.clean.clone());
    let (mut src, mut tgt) = (output::Output::create(src)?, output::Output::create(tgt)?);
    for files in &experiment.data.train {
        let mut pairs = open(files)?;
        while let Some(row) = pairs.next_row()? {
            if let Ok(pair) = cleaner.check_row(row) {
                src.line(&pair.src)?;
                tgt.line(&pair.tgt)?;
            }
        }
    }
    cleaner.report().require_kept()?;
    src.finish()?;
    tgt.finish()?;
    Ok(cleaner.report().clone())
}

/// Opens the files of a corpus.
fn open(files: &CorpusFiles) -> text::Result<Pairs> {
    match files {
        CorpusFiles::Lines { src, tgt } => Pairs::open(src, tgt),
        CorpusFiles::Tsv { tsv, columns: [src, tgt] } => {
            Pairs::open_table(tsv, Columns { src: *src, tgt: *tgt })
        }
    }
}

/// The lines of a file for a trainer, which takes strings and no results.
type Texts<'a> = Box<dyn Iterator<Item = String> + Send + 'a>;

/// Learns from the lines of two files; a line that cannot be read ends the learning.
fn learn(
    src: &Path,
    tgt: &Path,
    train: impl FnOnce(Texts<'_>, Texts<'_>) -> text::Result<Tokenizers>,
) -> anyhow::Result<Tokenizers> {
    let failure = Mutex::new(None);
    let texts = |path: &Path| -> text::Result<Texts<'_>> {
        let keep = |error| {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        Ok(Box::new(Lines::open(path)?.map_while(move |line| line.map_err(keep).ok())))
    };
    let learned = train(texts(src)?, texts(tgt)?);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(learned?),
    }
}

/// Says how much was kept, and what was dropped, why and where.
fn tell(console: &Console, report: &Report) {
    let number = |n: u64| train::event::grouped(n);
    let (kept, read) = (number(report.kept()), number(report.read()));
    console.note("kept", format_args!("{kept} of {read} pairs"));
    for reason in Reason::ALL {
        let n_dropped = report.dropped(reason);
        if n_dropped > 0 {
            let lines = report.samples(reason).iter().map(u64::to_string).collect::<Vec<_>>();
            let lines = lines.join(", ");
            console
                .note("dropped", format_args!("{} {reason}, as line {lines}", number(n_dropped)));
        }
    }
}
