//! A run: from an experiment to checkpoints, with everything on disk that a later one needs.

mod open;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use candle_core::Device;

use crate::{
    Error, Result,
    card::card,
    checkpoint::{Checkpoints, Kind},
    config::{Every, Experiment, Metric, Training},
    data::Data,
    derived::average,
    event::{Event, Preparation, Report, Stop, Validated, best_dir},
    guard::Divergence,
    log::Logs,
    memory::Memory,
    schedule::Progress,
    state::State,
    step::Learner,
    validate, watch,
};

/// What to do, where and how.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// What to train, on what.
    pub experiment: &'a Experiment,
    /// The directory of the run.
    pub dir: &'a Path,
    /// Whether the run is new.
    pub start: Start,
    /// Where to compute.
    pub device: &'a Device,
    /// Becomes true when training shall save a checkpoint and stop, soon.
    pub stop: &'a AtomicBool,
}

/// Whether a run is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is, and its directory must be empty or absent.
    New,
    /// It goes on from its newest good checkpoint.
    Resume,
}

/// Whoever wants to know what happens.
pub type Observer<'a> = &'a mut (dyn FnMut(&Event) + Send);

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Why.
    pub stop: Stop,
    /// Updates made, with those before an interruption.
    pub step: u64,
    /// The best validation: its update and its score.
    pub best: Option<(u64, Metric, f64)>,
    /// The model directory of the best model, if there was a validation.
    pub best_dir: Option<PathBuf>,
    /// The model directory of the mean of the last checkpoints, if it was formed.
    pub averaged_dir: Option<PathBuf>,
    /// Time spent, interruptions excluded.
    pub elapsed: Duration,
}

/// Stack of the threads that train: Candle walks the graph of a loss recursively. Memory is
/// only taken for what is used.
const STACK: usize = 1 << 27;

/// Trains until a limit is reached or a stop is requested.
///
/// The same experiment gives the same model, bit for bit, on any number of threads, and however
/// often the run was interrupted and resumed.
///
/// # Errors
/// If the run's directory is occupied, in use or cannot be written; if data cannot be read or
/// is not what a resumed run began with; if training diverges. Checkpoints that exist stay.
pub fn train(job: &Job<'_>, observer: Observer<'_>) -> Result<Summary> {
    let threads = job.experiment.training.threads.map_or(0, |n| n.get());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build()?;
    pool.install(|| {
        let mut run = Run::open(job, observer)?;
        let stop = run.updates()?;
        run.finish(stop)
    })
}

/// A run that is under way.
struct Run<'a> {
    job: &'a Job<'a>,
    observer: Observer<'a>,
    data: Data,
    /// With the token budget of a batch.
    memory: Memory,
    learner: Learner,
    state: State,
    logs: Logs,
    checkpoints: Checkpoints,
    begun: Instant,
    /// Seconds of the run before that.
    before: f64,
    /// Updates of the current epoch.
    updates_per_epoch: u64,
    /// In how many parts batches are computed, for want of memory.
    parts: usize,
    /// The update after which a checkpoint was last written.
    saved: u64,
    /// Held while the run is open, so that no other process works on it.
    _lock: File,
}

impl Run<'_> {
    fn training(&self) -> &Training {
        &self.job.experiment.training
    }

    /// Makes updates until there is a reason to stop.
    fn updates(&mut self) -> Result<Stop> {
        let (seed, accumulate) = (self.job.experiment.seed, self.training().accumulate.get());
        loop {
            self.data.train.begin(seed, self.state.epoch);
            let plan = self.data.train.shuffled(self.memory.batch_tokens, seed)?;
            self.updates_per_epoch = plan.len().div_ceil(accumulate) as u64;
            for group in plan[self.state.batch_idx..].chunks(accumulate) {
                if let Some(stop) = self.stop() {
                    return Ok(stop);
                }
                let report = self.update(group)?;
                self.state.batch_idx += group.len();
                if self.state.batch_idx == plan.len() {
                    (self.state.epoch, self.state.batch_idx) = (self.state.epoch + 1, 0);
                }
                if self.state.step.is_multiple_of(self.training().report_every.get()) {
                    self.report(report)?;
                }
                if self.validation_is_due() {
                    self.validate()?;
                }
            }
        }
    }

    /// Makes one update; what to report about it.
    fn update(&mut self, group: &[Vec<u32>]) -> Result<Report> {
        let start = Instant::now();
        let (step, epoch) = (self.state.step + 1, self.state.epoch);
        let progress = Progress { step, epoch, plateau: &self.state.plateau };
        let lr = self.training().schedule.rate(self.training().lr.get(), progress);
        let (data, special) = (&self.data, self.learner.model.special());
        let batch = |numbers: &[u32]| data.batch(numbers, special);
        let update = self.learner.update(self.job.experiment, step, lr, group, batch)?;
        self.state.step = step;
        if update.parts > self.parts {
            self.parts = update.parts;
            let warning = format!(
                "the GPU has not enough memory for a batch: from update {step} on each is computed in \
                 {} parts and their gradients are added, which takes longer and changes no more than \
                 the dropout",
                update.parts
            );
            self.emit(Event::Warning(warning))?;
        }

        let guarded = self.state.guard.batch(update.nats);
        let guarded = guarded.and_then(|()| self.state.guard.gradient(update.norm));
        if !guarded.map_err(|divergence| self.diverged(divergence))? {
            let norm = update.norm;
            let warning = format!("update {step} is left out: the norm of its gradient is {norm}");
            self.emit(Event::Warning(warning))?;
        }
        self.state.tally.nats += update.nats;
        self.state.tally.tokens += update.tokens as u64;
        self.state.tally.alignment_nats += update.alignment_nats;
        self.state.tally.linked += update.linked as u64;
        self.state.tally.seconds += start.elapsed().as_secs_f64();
        self.emit(Event::Updated { step, tokens: update.tokens })?;
        let tally = &self.state.tally;
        Ok(Report {
            step,
            epoch,
            loss: tally.nats / tally.tokens as f64,
            alignment: (tally.linked > 0).then(|| tally.alignment_nats / tally.linked as f64),
            lr,
            grad_norm: update.norm,
            tokens_per_second: tally.tokens as f64 / tally.seconds.max(1e-9),
            elapsed: self.elapsed(),
            remaining: self.remaining(),
        })
    }

    fn report(&mut self, report: Report) -> Result<()> {
        let loss = report.loss;
        self.state.tally = Default::default();
        self.emit(Event::Report(report))?;
        self.state.guard.report(loss).map_err(|divergence| self.diverged(divergence))
    }

    fn diverged(&self, divergence: Divergence) -> Error {
        Error::Diverged { step: self.state.step, divergence, run: self.job.dir.into() }
    }

    /// The epoch of the last update.
    fn epoch(&self) -> u64 {
        if self.state.batch_idx == 0 { self.state.epoch - 1 } else { self.state.epoch }
    }

    fn validation_is_due(&self) -> bool {
        match self.training().validate_every {
            Every::Updates(n) => self.state.step.is_multiple_of(n.get()),
            Every::Epochs(n) => self.state.batch_idx == 0 && self.epoch().is_multiple_of(n.get()),
        }
    }

    /// Scores the model on the development set and saves a checkpoint.
    fn validate(&mut self) -> Result<()> {
        let (job, model) = (self.job, self.learner.result());
        let (training, pairs) = (&job.experiment.training, &self.data.valid_text);
        let loss = validate::loss(model, &self.data.valid, self.memory.batch_tokens)?;
        self.state.guard.batch(loss).map_err(|divergence| self.diverged(divergence))?;
        let lines = training.translate_lines.unwrap_or(usize::MAX).min(pairs.len());
        let (mut scores, mut samples) = (None, Vec::new());
        if lines > 0 {
            let search = &job.experiment.search;
            let found =
                validate::translations(model, &self.data.tokenizers, search, &pairs[..lines])?;
            (scores, samples) = (Some(found.0), found.1);
        }
        let watched = watch::choose(training.watch, pairs, &self.data.valid);
        let reading = job.experiment.reading().map(|calibration| calibration.reading);
        let (tokenizers, step) = (&self.data.tokenizers, self.state.step);
        let watched = watch::watch(model, tokenizers, &watched, reading.unwrap_or_default(), step)?;
        let metric = training.metric();
        let value = match (metric, &scores) {
            (Metric::Bleu, Some(scores)) => scores.bleu,
            (Metric::Chrf, Some(scores)) => scores.chrf,
            _ => loss.exp(),
        };
        training.schedule.validated(&mut self.state.plateau, loss);
        let best = self.state.score(metric, value);
        let validated = Validated {
            step: self.state.step,
            epoch: self.epoch(),
            loss,
            scores,
            best,
            since_best: self.state.since_best,
            best_dir: best_dir(job.dir),
            samples,
            watched,
            elapsed: self.elapsed(),
        };
        // A checkpoint holds how long the record was, so that the record comes first; who looks
        // on hears of a saved model once it is there.
        let event = Event::Validated(validated.clone());
        self.logs.record(&event)?;
        let saved = self.save(Kind::Regular, Some(&validated))?;
        (self.observer)(&event);
        self.emit(saved)?;
        self.checkpoints.prune(training.keep.get(), &self.state)
    }

    /// Writes a checkpoint; what to say about it.
    fn save(&mut self, kind: Kind, validated: Option<&Validated>) -> Result<Event> {
        self.state.elapsed_seconds = self.elapsed().as_secs_f64();
        self.state.logs = self.logs.lengths()?;
        let what = format!("The model after {} updates.", self.state.step);
        let card = card(self.job.experiment, &self.state.config, &what, validated);
        let dir = self.checkpoints.save(kind, &self.state, |dir| {
            self.learner.save(dir)?;
            self.data.tokenizers.save(dir)?;
            self.job.experiment.search.save(dir)?;
            if let Some(reading) = self.job.experiment.reading() {
                reading.save(dir)?;
            }
            Ok(text::output::write_whole(&dir.join("README.md"), card.as_bytes())?)
        })?;
        self.saved = self.state.step;
        Ok(Event::Saved { dir })
    }

    /// Why to stop now, if there is a reason.
    fn stop(&self) -> Option<Stop> {
        let (training, state) = (self.training(), &self.state);
        let minutes = self.elapsed().as_secs_f64() / 60.0;
        if let Some(updates) = training.updates.filter(|n| state.step >= n.get()) {
            Some(Stop::Updates(updates.get()))
        } else if let Some(epochs) = training.epochs.filter(|n| state.epoch > n.get()) {
            Some(Stop::Epochs(epochs.get()))
        } else if let Some(limit) = training.max_minutes.filter(|n| minutes >= n.get()) {
            Some(Stop::Minutes(limit.get()))
        } else if training.early_stopping.is_some_and(|s| state.since_best >= s.patience.get()) {
            Some(Stop::NoImprovement(state.since_best))
        } else {
            self.job.stop.load(Ordering::Relaxed).then_some(Stop::Requested)
        }
    }

    /// Writes the last checkpoint and, if this is the end of the run, the averaged model.
    fn finish(&mut self, stop: Stop) -> Result<Summary> {
        let step = self.state.step;
        let mut averaged_dir = None;
        if stop.is_final() && step > 0 {
            if self.checkpoints.regular(step, 1)? != [step] {
                self.validate()?;
            }
            averaged_dir = self.average()?;
        } else if step > self.saved {
            let saved = self.save(Kind::Interrupted, None)?;
            self.emit(saved)?;
        }
        self.emit(Event::Stopped(stop.clone()))?;
        let metric = self.training().metric();
        Ok(Summary {
            stop,
            step,
            best: self.state.best.map(|best| (best.step, metric, best.value)),
            best_dir: self.state.best.map(|_| best_dir(self.job.dir)),
            averaged_dir,
            elapsed: self.elapsed(),
        })
    }

    fn average(&mut self) -> Result<Option<PathBuf>> {
        let wanted = self.training().average;
        if wanted < 2 {
            return Ok(None);
        }
        self.emit(Event::Preparing(Preparation::Average))?;
        let steps = self.checkpoints.regular(self.state.step, wanted)?;
        let dirs: Vec<PathBuf> = steps.iter().map(|step| self.checkpoints.path(*step)).collect();
        let listed = steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let what = format!("The mean of the models after these numbers of updates: {listed}.");
        let out = self.job.dir.join("averaged");
        let card = card(self.job.experiment, &self.state.config, &what, None);
        average(&dirs, &out, &card)?;
        Ok(Some(out))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs_f64(self.before) + self.begun.elapsed()
    }

    /// The time until the nearest limit, judged by the time of the updates so far.
    fn remaining(&self) -> Option<Duration> {
        let (training, state) = (self.training(), &self.state);
        let seconds = self.elapsed().as_secs_f64();
        let per_update = seconds / state.step.max(1) as f64;
        let by_updates = training.updates.map(|n| n.get().saturating_sub(state.step));
        let by_epochs = training.epochs.map(|n| {
            let whole = (n.get() + 1).saturating_sub(state.epoch) * self.updates_per_epoch;
            let done = state.batch_idx / training.accumulate.get();
            whole.saturating_sub(done as u64)
        });
        let by_time = training.max_minutes.map(|n| n.get() * 60.0 - seconds);
        [by_updates, by_epochs]
            .into_iter()
            .flatten()
            .map(|updates| updates as f64 * per_update)
            .chain(by_time)
            .min_by(f64::total_cmp)
            .map(|seconds| Duration::from_secs_f64(seconds.max(0.0)))
    }

    /// Writes down what happened and tells the observer.
    fn emit(&mut self, event: Event) -> Result<()> {
        self.logs.record(&event)?;
        (self.observer)(&event);
        Ok(())
    }
}
