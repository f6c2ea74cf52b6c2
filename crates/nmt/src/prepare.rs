//! `nmt prepare`: clean a corpus, learn a tokenizer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use text::{
    Cleaner, Columns, Lines, Pairs, Tag, Tokenizers,
    clean::{Reason, Report},
    output,
};
use train::{
    Experiment,
    config::{CorpusFiles, Positive, Tokenizer, TokenizerDir, TrainCorpus},
};

use crate::{
    cli::Session,
    console::{Console, Hint, grouped},
};

/// Clean a corpus and learn a tokenizer
///
/// Reads the training data of an experiment, leaves out what is not worth learning from, and
/// says what and why. Writes the clean corpus, the tokenizer, and the experiment file that
/// trains on them. Corpora with different weights or tags stay apart.
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
        let parts = parts(&experiment, &dir);
        // The corpus itself may lie there under such a name.
        let written = parts.iter().flat_map(|part| [&part.src, &part.tgt]);
        if let Some(found) = [&file].into_iter().chain(written).find(|path| path.exists()) {
            return Err(anyhow::anyhow!("{} exists already", found.display()))
                .hint("choose another directory with `--out`, or remove the file");
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;

        let report = clean(&experiment, &parts)?;
        tell(console, &report);
        if let Tokenizer::Learn(how) = &experiment.tokenizer {
            console.note("learn", "the tokenizer");
            let tags: Vec<_> = parts.iter().filter_map(|part| part.tag.clone()).collect();
            let learned = learn(&parts, |src, tgt| Tokenizers::train(how, src, tgt))?;
            let mut tokenizers = learned.with_tags(&tags)?;
            tokenizers.normalize = experiment.data.clean.normalize.clone();
            tokenizers.save(&dir)?;
            let (src, tgt) = (tokenizers.src.vocab_size(), tokenizers.tgt.vocab_size());
            let kind = if tokenizers.joint() { "joint" } else { "separate" };
            let sizes = format!("{kind} · {} + {}", grouped(src), grouped(tgt));
            console.note("vocab", sizes);
            experiment.tokenizer = Tokenizer::Open(TokenizerDir { dir: dir.clone() });
        }
        experiment.data.train = parts.into_iter().map(Part::corpus).collect();
        // Last, for it says that all is there.
        output::write_whole(&file, experiment.to_toml().as_bytes())?;
        console.note("next", format_args!("nmt train {}", file.display()));
        Ok(())
    }
}

/// A clean corpus and how it is mixed with the others.
struct Part {
    src: PathBuf,
    tgt: PathBuf,
    weight: Positive,
    tag: Option<Tag>,
}

impl Part {
    fn corpus(self) -> TrainCorpus {
        let Self { src, tgt, weight, tag } = self;
        TrainCorpus { files: CorpusFiles::Lines { src, tgt }, weight, tag, links: None }
    }
}

/// Where the clean corpora go: all into one, unless they are mixed with weights or tags.
fn parts(experiment: &Experiment, dir: &Path) -> Vec<Part> {
    let data = &experiment.data;
    let like_first = |corpus: &TrainCorpus| {
        let first = &data.train[0];
        (corpus.weight, &corpus.tag) == (first.weight, &first.tag)
    };
    let joined = data.train.iter().all(like_first);
    let wanted = if joined { &data.train[..1] } else { &data.train[..] };
    let part = |(corpus, number): (&TrainCorpus, usize)| {
        let name = if joined { "train".into() } else { format!("train-{number}") };
        let path = |language: &str| dir.join(format!("{name}.{language}"));
        let (src, tgt) = (path(&data.src), path(&data.tgt));
        Part { src, tgt, weight: corpus.weight, tag: corpus.tag.clone() }
    };
    wanted.iter().zip(1..).map(part).collect()
}

/// Writes the pairs worth learning from, and counts the others.
fn clean(experiment: &Experiment, parts: &[Part]) -> anyhow::Result<Report> {
    let mut cleaner = Cleaner::new(experiment.data.clean.clone());
    let create = |part: &Part| -> text::Result<_> {
        Ok((output::Output::create(&part.src)?, output::Output::create(&part.tgt)?))
    };
    let mut outputs = parts.iter().map(create).collect::<text::Result<Vec<_>>>()?;
    let last = outputs.len() - 1;
    for (corpus, number) in experiment.data.train.iter().zip(0..) {
        let (src, tgt) = &mut outputs[last.min(number)];
        let mut pairs = open(&corpus.files)?;
        while let Some(row) = pairs.next_row()? {
            if let Ok(pair) = cleaner.check_row(row) {
                src.line(&pair.src)?;
                tgt.line(&pair.tgt)?;
            }
        }
    }
    cleaner.report().require_kept()?;
    for (src, tgt) in outputs {
        src.finish()?;
        tgt.finish()?;
    }
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

/// Learns from the lines of all files; a line that cannot be read ends the learning.
fn learn(
    parts: &[Part],
    train: impl FnOnce(Texts<'_>, Texts<'_>) -> text::Result<Tokenizers>,
) -> anyhow::Result<Tokenizers> {
    let failure = Mutex::new(None);
    let texts = |path: fn(&Part) -> &Path| -> text::Result<Texts<'_>> {
        let keep = |error| {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let files = parts.iter().map(|part| Lines::open(path(part)));
        let files = files.collect::<text::Result<Vec<Lines>>>()?;
        Ok(Box::new(files.into_iter().flatten().map_while(move |line| line.map_err(keep).ok())))
    };
    let learned = train(texts(|part| &part.src)?, texts(|part| &part.tgt)?);
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
