//! A corpus made ready for training: read once as a stream, judged on all threads, and written clean,
//! in memory that does not grow with it.
//!
//! | step | what happens | on the disk meanwhile |
//! |---|---|---|
//! | `judging` | lines are judged one by one | pairs that pass, and their keys |
//! | `duplicates` | keys are compared, one part of them at a time | |
//! | `alignment` | an aligner learns from a sample and scores all pairs | a score for each pair |
//! | `writing` | what is left is written as text | the clean corpus, not under its name yet |
//!
//! What is on the disk lies in a hidden folder beside the result. Who is interrupted goes on there the
//! next time, and gets the same result to the byte.

mod alignment;
mod duplicates;
mod judging;
mod stage;
mod writing;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use text::{Lines, Tag, Tokenizers, clean::Report, hash::Hash, output};

pub use self::{
    alignment::{Scores, Spread},
    writing::Lengths,
};
use self::{stage::Stage, writing::Written};
use crate::{
    Error, Experiment, Result,
    config::{CorpusFiles, Positive, Tokenizer, TokenizerDir, TrainCorpus},
};

/// The folder for what is not ready yet.
const STAGE: &str = ".prepare";

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// An interrupted preparation goes on after so many lines.
    Resumed {
        /// Lines that were judged before.
        lines: u64,
    },
    /// Lines were judged.
    Judged {
        /// All so far.
        lines: u64,
        /// Those of them that passed.
        passed: u64,
    },
    /// Pairs are compared with each other.
    Comparing,
    /// An aligner learns from so many pairs.
    Aligning {
        /// The size of the sample.
        pairs: usize,
    },
    /// Pairs were scored as translations of each other.
    Scored {
        /// All so far.
        pairs: u64,
        /// All there are.
        of: u64,
    },
    /// Pairs were written, or left out.
    Written {
        /// All so far.
        pairs: u64,
        /// All there are.
        of: u64,
    },
    /// The tokenizer is being learned.
    Tokenizing,
}

/// What became of a corpus.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The experiment file that trains on the result.
    pub file: PathBuf,
    /// The same, as it was read.
    pub experiment: Experiment,
    /// What was kept, and what was dropped for which reason.
    pub report: Report,
    /// Pairs that were kept and of which a side also stands in the development set or a test set,
    /// where that was not asked to be a reason.
    pub held_out: u64,
    /// How long the sentences are that were kept: source and target.
    pub lengths: [Lengths; 2],
    /// How pairs score as translations, if that was asked for.
    pub scores: Option<Scores>,
    /// The tokenizers, if they were learned.
    pub tokenizers: Option<Tokenizers>,
}

/// Writes the training data of `experiment`, cleaned, into the folder `dir`, with the tokenizer if one
/// is to be learned, and an experiment file called `name` that trains on them.
///
/// # Errors
/// If the folder already holds files of these names, or what is left of preparing something else; if a
/// corpus cannot be read, or nothing is left of it. What was done is kept if a file could not be read
/// or written, and then goes on from there the next time.
pub fn prepare(
    experiment: &Experiment,
    dir: &Path,
    name: &str,
    observe: &mut dyn FnMut(Progress),
) -> Result<Prepared> {
    let parts = parts(experiment, dir);
    let file = dir.join(name).with_extension("toml");
    let mut stage = Stage::open(dir, &fingerprint(experiment)?, || unused(&file, &parts))?;
    let prepared = staged(experiment, &mut stage, parts, (dir, file), observe);
    match &prepared {
        Err(
            Error::Read { .. }
            | Error::Write { .. }
            | Error::Text(text::Error::Read { .. } | text::Error::Write { .. }),
        ) => {}
        _ => stage.remove()?,
    }
    prepared
}

/// Does all there is to do in a stage.
fn staged(
    experiment: &Experiment,
    stage: &mut Stage,
    parts: Vec<Part>,
    (dir, file): (&Path, PathBuf),
    observe: &mut dyn FnMut(Progress),
) -> Result<Prepared> {
    output::remove_half_written(dir)?;
    let data = &experiment.data;
    judging::run(data, stage, observe)?;
    let mut dropped = duplicates::find(stage, data.clean.drop_duplicates, observe)?;
    let scored = data
        .clean
        .min_alignment
        .map(|least| alignment::run(stage, &mut dropped, least.get(), observe));
    let scores = scored.transpose()?;
    let Written { report, held_out, lengths } = writing::run(stage, &dropped, &parts, observe)?;
    let mut experiment = experiment.clone();
    let tokenizers = match &experiment.tokenizer {
        Tokenizer::Open(_) => None,
        Tokenizer::Learn(how) => {
            observe(Progress::Tokenizing);
            let tags: Vec<_> = parts.iter().filter_map(|part| part.tag.clone()).collect();
            let learned = learn(&parts, |src, tgt| Tokenizers::train(how, src, tgt))?;
            let mut learned = learned.with_tags(&tags)?;
            learned.normalize = experiment.data.clean.normalize.clone();
            learned.save(dir)?;
            experiment.tokenizer = Tokenizer::Open(TokenizerDir { dir: dir.into() });
            Some(learned)
        }
    };
    experiment.data.train = parts.into_iter().map(Part::corpus).collect();
    // Last, for it says that all is there.
    output::write_whole(&file, experiment.to_toml().as_bytes())?;
    Ok(Prepared { file, experiment, report, held_out, lengths, scores, tokenizers })
}

/// A clean corpus and how it is mixed with the others.
#[derive(Clone, Debug)]
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

/// Fails if a file that would be written exists: the corpus itself may lie there under such a name.
fn unused(file: &Path, parts: &[Part]) -> Result<()> {
    let written = parts.iter().flat_map(|part| [part.src.as_path(), &part.tgt]);
    match [file].into_iter().chain(written).find(|path| path.exists()) {
        Some(path) => Err(Error::Exists { path: path.into() }),
        None => Ok(()),
    }
}

/// What tells this preparation from others: the experiment, and the size and age of its files.
fn fingerprint(experiment: &Experiment) -> Result<String> {
    let mut hash = Hash::new().with(env!("CARGO_PKG_VERSION").as_bytes());
    hash = hash.with(experiment.to_toml().as_bytes());
    for corpus in &experiment.data.train {
        let files = match &corpus.files {
            CorpusFiles::Lines { src, tgt } => vec![src, tgt],
            CorpusFiles::Tsv { tsv, .. } => vec![tsv],
        };
        for path in files {
            let about = fs::metadata(path).map_err(|source| Error::read(path, source))?;
            let changed = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let changed = changed.map_or(0, |since| since.as_nanos());
            hash = hash.with(&about.len().to_le_bytes()).with(&changed.to_le_bytes());
        }
    }
    Ok(format!("{:016x}", hash.finish()))
}

/// The lines of a file for a trainer, which takes strings and no results.
type Texts<'a> = Box<dyn Iterator<Item = String> + Send + 'a>;

/// Learns from the lines of all files; a line that cannot be read ends the learning.
fn learn(
    parts: &[Part],
    train: impl FnOnce(Texts<'_>, Texts<'_>) -> text::Result<Tokenizers>,
) -> Result<Tokenizers> {
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
