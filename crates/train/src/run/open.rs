//! Beginning a run, or taking one up again.

use std::{
    fs::{self, File},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Instant,
};

use candle_core::Device;
use model::{Model, Special, Vocabs};
use text::{Tokenizers, vocab};

use super::{Job, Observer, Run, Start};
use crate::{
    Error, Result,
    checkpoint::Checkpoints,
    config::{BatchTokens, Experiment},
    data::{Data, Filter, first_tokenizers, total},
    event::{Event, Preparation, Started, TrainedOn},
    lock::lock,
    log::Logs,
    memory::{Forecast, Memory, available},
    state::{State, check_config},
    step::Learner,
};

/// The file that tells other processes that a run is in use.
const LOCK: &str = ".lock";
/// The resolved experiment file.
const CONFIG: &str = "config.toml";

/// The ids with a meaning of their own, as the tokenizers have them.
const SPECIAL: Special =
    Special { pad: vocab::PAD, unk: vocab::UNK, bos: vocab::BOS, eos: vocab::EOS };

impl<'a> Run<'a> {
    /// Reads data and checkpoint, and makes everything ready for the first update. A new run that
    /// cannot begin leaves no directory behind.
    pub(super) fn open(job: &'a Job<'a>, observer: Observer<'a>) -> Result<Self> {
        let new = !job.dir.exists();
        let lock = claim(job)?;
        let opened = Self::claimed(job, observer, lock);
        if new && opened.is_err() {
            // Whether this works or not, the error is what the caller needs to know. A folder
            // with anything else in it stays.
            let _ = fs::remove_file(job.dir.join(LOCK)).and_then(|()| fs::remove_dir(job.dir));
        }
        opened
    }

    fn claimed(job: &'a Job<'a>, observer: Observer<'a>, lock: File) -> Result<Self> {
        let experiment = job.experiment;
        text::output::remove_half_written(job.dir)?;
        let checkpoints = Checkpoints::open(job.dir)?;
        let known = known_budget(job)?;
        let resolved = |tokens| experiment.with_batch_tokens(tokens).to_toml();
        let begun = known.map_or_else(|| experiment.to_toml(), resolved);
        let resumed = resume(job, &checkpoints, &begun, observer)?;

        if experiment.data.clean.min_alignment.is_some() {
            observer(&Event::Preparing(Preparation::Filter));
        }
        let filter = Filter::new(&experiment.data)?;
        let from = resumed.as_ref().map(|(dir, _)| dir.as_path());
        let tokenizers = match from {
            Some(dir) => Tokenizers::open(dir)?,
            None => first_tokenizers(experiment, &filter, observer)?,
        };
        let memory = memory(experiment, &tokenizers, known, job.device)?;
        let batch_tokens = memory.batch_tokens;
        let config = resolved(batch_tokens);
        let data = Data::load(experiment, &filter, tokenizers, batch_tokens, job.dir, observer)?;
        let fingerprint = data.fingerprint();
        let state = match &resumed {
            Some((_, state)) => {
                state.check_unchanged(&config, &fingerprint)?;
                State { config: config.clone(), ..state.clone() }
            }
            None => State::new(config.clone(), fingerprint),
        };
        let new_model = || {
            let vocabs = vocabs(&data.tokenizers);
            Model::new(&experiment.model, vocabs, SPECIAL, experiment.seed, job.device)
        };
        let learner = match from {
            Some(dir) => Learner::open(dir, experiment, new_model, job.device)?,
            None => Learner::begin(experiment, new_model)?,
        };
        if from.is_some() {
            checkpoints.link(&state)?;
        }
        text::output::write_whole(&job.dir.join(CONFIG), config.as_bytes())?;
        let logs = Logs::open(job.dir, &state.logs)?;
        let (before, saved) = (state.elapsed_seconds, state.step);
        let mut run = Self {
            job,
            observer,
            data,
            memory,
            learner,
            state,
            logs,
            checkpoints,
            begun: Instant::now(),
            before,
            updates_per_epoch: 0,
            parts: 1,
            saved,
            _lock: lock,
        };
        let started = run.started(from.is_some());
        run.emit(Event::Started(started))?;
        if let Some(warning) = memory.warning() {
            run.emit(Event::Warning(warning))?;
        }
        Ok(run)
    }

    fn started(&self, resumed: bool) -> Started {
        let (data, training) = (&self.data, self.training());
        Started {
            parameters: self.learner.n_trained(),
            frozen: self.learner.model.parameters().count() - self.learner.n_trained(),
            pairs: data.train.n_pairs(),
            tgt_tokens: data.train.tgt_tokens(),
            dropped: total(&data.dropped).into_iter().collect(),
            corpora: self.corpora(),
            linked: data.links.as_ref().map(|links| links.counts().flatten().sum()),
            valid_pairs: data.valid.len(),
            vocab: [data.tokenizers.src.vocab_size(), data.tokenizers.tgt.vocab_size()],
            threads: rayon::current_num_threads(),
            memory: self.memory,
            resumed: resumed.then_some(self.state.step),
            updates: training.updates.map(|n| n.get()),
            epochs: training.epochs.map(|n| n.get()),
        }
    }

    /// What each corpus contributes.
    fn corpora(&self) -> Vec<TrainedOn> {
        let (data, corpora) = (&self.data, &self.job.experiment.data.train);
        (corpora.iter().zip(data.train.sizes()).zip(&data.dropped))
            .map(|((corpus, (pairs, per_epoch)), dropped)| TrainedOn {
                name: corpus.files.name().to_owned(),
                pairs,
                per_epoch,
                dropped: dropped.clone().into_iter().collect(),
            })
            .collect()
    }
}

/// Makes sure that the directory is there, is right for a run to start or go on, and is ours.
fn claim(job: &Job<'_>) -> Result<File> {
    let dir = job.dir;
    let occupied = fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOCK))
    });
    match job.start {
        Start::New if occupied => return Err(Error::Occupied { dir: dir.into() }),
        Start::Resume if !dir.join(CONFIG).is_file() => {
            return Err(Error::NoRun { dir: dir.into() });
        }
        _ => {}
    }
    fs::create_dir_all(dir).map_err(|source| Error::write(dir, source))?;
    lock(&dir.join(LOCK), dir)
}

/// The token budget, unless it is still to be found: the number of the experiment file, or the one
/// that the run began with.
fn known_budget(job: &Job<'_>) -> Result<Option<NonZeroUsize>> {
    let budget = match (job.experiment.training.batch_tokens, job.start) {
        (BatchTokens::Fit, Start::Resume) => {
            Experiment::load(&job.dir.join(CONFIG), &[])?.training.batch_tokens
        }
        (budget, _) => budget,
    };
    Ok(match budget {
        BatchTokens::Tokens(n) => Some(n),
        BatchTokens::Fit => None,
    })
}

/// The memory that training needs and has, with the token budget that fits if none is `known`.
fn memory(
    experiment: &Experiment,
    tokenizers: &Tokenizers,
    known: Option<NonZeroUsize>,
    device: &Device,
) -> Result<Memory> {
    let forecast = Forecast::new(experiment, &vocabs(tokenizers))?;
    let available = available(device);
    let batch_tokens = match known {
        Some(tokens) => tokens,
        None => forecast.fit(available.ok_or(Error::UnknownMemory)?)?,
    };
    Ok(Memory { batch_tokens, needed: forecast.bytes(batch_tokens), available })
}

/// The checkpoint to go on from, if the run has one.
fn resume(
    job: &Job<'_>,
    checkpoints: &Checkpoints,
    config: &str,
    observer: &mut dyn FnMut(&Event),
) -> Result<Option<(PathBuf, State)>> {
    if job.start == Start::New {
        return Ok(None);
    }
    let newest = checkpoints.newest(&mut |warning| observer(&Event::Warning(warning)))?;
    match &newest {
        Some((_, state)) => check_config(&state.config, config)?,
        None => observer(&Event::Warning(no_checkpoint(job.dir))),
    }
    Ok(newest)
}

fn no_checkpoint(dir: &Path) -> String {
    format!("{} holds no checkpoint yet: training starts from the beginning", dir.display())
}

fn vocabs(tokenizers: &Tokenizers) -> Vocabs {
    Vocabs {
        src: tokenizers.src.vocab_size(),
        tgt: tokenizers.tgt.vocab_size(),
        joint: tokenizers.share_ids(),
        src_fingerprint: tokenizers.src.fingerprint(),
        tgt_fingerprint: tokenizers.tgt.fingerprint(),
    }
}
