//! Search: from source ids to the target ids that a model finds most probable.
//!
//! Many sentences are searched at once: the live hypotheses of all of them are the rows of one
//! batch, and a sentence that is done leaves it. What is found for a sentence is a function of
//! that sentence alone, to the last bit, provided that the model computes its rows independently.
//!
//! Padding, begin of sentence and the unknown token are never produced: they count as impossible,
//! and the other probabilities stay what the model says. Tokens are pieces of bytes, so there is
//! no word that could not be written, and unknown words cannot occur.

mod alternatives;
mod banks;
mod beam;
mod config;
mod coverage;
mod diverse;
mod greedy;
mod hypothesis;
mod length_penalty;
mod phrases;
mod prefix;
mod repetition;
mod rules;
mod sample;
#[cfg(test)]
mod tests;
mod top;

pub use config::{Diverse, FILE, Sampling, SearchConfig};
pub use coverage::LEAST_COVERAGE;
pub use hypothesis::Hypothesis;
pub use length_penalty::LengthPenalty;
pub use phrases::{MOST_PHRASES, Phrases, WordEdges};
pub use prefix::{Fork, Prefix};
pub use repetition::LONGEST_CYCLE;
pub use rules::Requirements;
pub use text::number::{NonNegative, Positive, Share};

use std::sync::Arc;

use alternatives::Alternatives;
use beam::Beam;
use diverse::DiverseBeam;
use greedy::Greedy;
use kernels::logits::{self, CHUNK};
use model::{EncoderDecoder, Interest, Step};
use rules::{Rules, Task};
use sample::Sample;

use crate::{Error, Result};

/// Translates each source (ids without begin and end of sentence) into its best hypotheses,
/// best first: at least one, at most [`SearchConfig::n_best`].
///
/// All sources are in one batch; it is up to the caller to pass no more than fit into memory.
/// The translation of an empty source is empty, and the model is not asked for it.
///
/// # Errors
/// If the model fails, breaks its contract or computes what is not a number.
pub fn search<M: EncoderDecoder>(
    model: &M,
    sources: &[Vec<u32>],
    config: &SearchConfig,
) -> Result<Vec<Vec<Hypothesis>>> {
    search_required(model, sources, &[], config)
}

/// [`search`] for translations of which more is asked. `required` is empty, or says of each source
/// what its translation has to begin with and to contain.
///
/// An empty source of which something is required is translated like any other.
///
/// # Errors
/// As [`search`]; [`Error::Unpaired`] if there are requirements for more or fewer sources;
/// [`Error::Contradiction`] if the settings do not go together, or not with the requirements.
pub fn search_required<M: EncoderDecoder>(
    model: &M,
    sources: &[Vec<u32>],
    required: &[Requirements],
    config: &SearchConfig,
) -> Result<Vec<Vec<Hypothesis>>> {
    if !required.is_empty() && required.len() != sources.len() {
        return Err(Error::Unpaired { sources: sources.len(), targets: required.len() });
    }
    search_for(Use::All, model, sources, required, config)
}

/// What is made of the hypotheses that a search finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Everything in them may be looked at.
    All,
    /// Only ids, and whether and how they ended. What they are worth and what they saw is wrong or
    /// missing, if the search itself does not look at it.
    Ids,
}

/// [`search_required`] for this use. `required` is empty or as long as `sources`.
pub(crate) fn search_for<M: EncoderDecoder>(
    purpose: Use,
    model: &M,
    sources: &[Vec<u32>],
    required: &[Requirements],
    config: &SearchConfig,
) -> Result<Vec<Vec<Hypothesis>>> {
    let some = |required: &Requirements| (!required.is_empty()).then(|| Arc::new(required.clone()));
    let required: Vec<Option<Arc<Requirements>>> = required.iter().map(some).collect();
    let wanted = required.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let tasks: Vec<Task<'_>> =
        sources.iter().zip(wanted).map(|(src, required)| Task { src, required }).collect();
    let rules = |task: &Task<'_>| Rules::new(config, model.special(), task);
    let constrained = required.iter().flatten().any(|required| !required.phrases.is_empty());
    config.check(constrained)?;
    let (n_best, width) = (config.n_best.get(), config.width());
    let tasks = Tasks { tasks: &tasks, interest: interest(purpose, config, &required) };
    if let Some(Diverse { groups, strength }) = config.diverse {
        return run(model, tasks, |task| {
            DiverseBeam::new(&rules(task), width, groups, strength, n_best)
        });
    }
    if let Some(n) = config.alternatives {
        return run(model, tasks, |task| Alternatives::new(rules(task), n.get(), width));
    }
    match (&config.sample, width) {
        (Some(how), _) => {
            run(model, tasks, |task| Sample::new(rules(task), how.clone(), n_best, task.src))
        }
        (None, 1) if !constrained => run(model, tasks, |task| Greedy::new(rules(task))),
        (None, width) => run(model, tasks, |task| Beam::new(rules(task), width, n_best)),
    }
}

/// The sentences of a batch.
#[derive(Clone, Copy, Debug)]
struct Tasks<'a> {
    tasks: &'a [Task<'a>],
    /// What their search looks at.
    interest: Interest,
}

/// What a search looks at. Tokens are the best of a row if these settle what may be chosen: as many
/// as it may choose, and those that it never does.
fn interest(
    purpose: Use,
    config: &SearchConfig,
    required: &[Option<Arc<Requirements>>],
) -> Interest {
    let plain = required.iter().all(Option::is_none)
        && config.sample.is_none()
        && config.diverse.is_none()
        && config.alternatives.is_none();
    // As many may end as there are hypotheses; padding, begin, end and unknown may be forbidden.
    const FORBIDDEN: usize = 4;
    let best = (plain && config.no_repeat_ngram == 0).then(|| 2 * config.width() + FORBIDDEN);
    Interest {
        best,
        // The most likely token is the one with the highest score.
        log_probs: purpose == Use::All || !plain || config.width() > 1,
        weights: purpose == Use::All || config.coverage_penalty.get() != 0.0,
    }
}

/// One sentence on its way to a translation.
trait Sentence {
    /// How many rows of the batch are its hypotheses; none when it is done.
    fn rows(&self) -> usize;

    /// Whether attention weights decide what its hypotheses are worth.
    fn weighs_coverage(&self) -> bool;

    /// Extends the hypotheses by a token, given what the model says about each of them.
    fn advance(&mut self, rows: Rows<'_>, next: &mut Next) -> Result<()>;

    /// The result, best first. At least one hypothesis.
    fn finish(self) -> Vec<Hypothesis>;
}

/// What the model says about the next token of the hypotheses of one sentence.
struct Rows<'a> {
    scores: &'a mut [f32], // [rows, vocab]
    shifts: &'a [f32],     // [rows]
    peaks: &'a mut [f32],  // [rows, chunks]
    weights: &'a mut [Vec<f32>],
    vocab: usize,
}

/// Rows whose scores are computed, and looked at, together: enough to keep a product
/// busy, few enough to stay near the processor. Whole sentences, so there may be some more.
pub(crate) const TOGETHER: usize = 32;

/// What the model says about the next token of one hypothesis.
struct Row<'a> {
    scores: &'a mut [f32], // [vocab]
    shift: f32,
    /// The largest score of each chunk, of those tokens that are not forbidden.
    peaks: &'a mut [f32],
}

/// How many peaks a row has.
fn chunks(vocab: usize) -> usize {
    vocab.div_ceil(CHUNK)
}

impl Row<'_> {
    /// Gives probability zero to a token, if there is such a token. The other probabilities stay.
    fn forbid(&mut self, token: u32) {
        let Some(score) = self.scores.get_mut(token as usize) else { return };
        let before = std::mem::replace(score, f32::NEG_INFINITY);
        let chunk = token as usize / CHUNK;
        if before == self.peaks[chunk] {
            let scores = self.scores.chunks(CHUNK).nth(chunk).unwrap_or_default();
            logits::peaks(scores, &mut self.peaks[chunk..=chunk]);
        }
    }

    /// Changes the score of a token, if there is such a token, and returns what it was.
    fn replace(&mut self, token: u32, new: impl Fn(f32) -> f32) -> f32 {
        let Some(score) = self.scores.get_mut(token as usize) else { return f32::NEG_INFINITY };
        let before = *score;
        *score = new(before);
        let chunk = token as usize / CHUNK;
        let scores = self.scores.chunks(CHUNK).nth(chunk).unwrap_or_default();
        logits::peaks(scores, &mut self.peaks[chunk..=chunk]);
        before
    }

    /// Gives probability zero to all tokens but these. Their probabilities stay.
    fn keep_only(&mut self, tokens: impl Iterator<Item = u32>) {
        let score = |token: u32| Some((token as usize, *self.scores.get(token as usize)?));
        let kept: Vec<(usize, f32)> = tokens.filter_map(score).collect();
        self.scores.fill(f32::NEG_INFINITY);
        kept.into_iter().for_each(|(token, score)| self.scores[token] = score);
        logits::peaks(self.scores, self.peaks);
    }

    /// The log-probability of a token, in nats: that of nothing if there is no such token.
    fn log_prob(&self, token: u32) -> f32 {
        let score = self.scores.get(token as usize).copied();
        score.unwrap_or(f32::NEG_INFINITY) + self.shift
    }

    /// The log-probabilities of all tokens, in nats.
    fn log_probs(&self) -> impl Iterator<Item = f32> {
        self.scores.iter().map(|score| score + self.shift)
    }

    /// The largest log-probability of each chunk.
    fn peaks(&self) -> impl Iterator<Item = f32> {
        self.peaks.iter().map(|peak| peak + self.shift)
    }

    /// The tokens of a chunk, with their log-probabilities.
    fn chunk(&self, chunk: usize) -> impl Iterator<Item = (u32, f32)> {
        let first = chunk * CHUNK;
        let scores = &self.scores[first..self.scores.len().min(first + CHUNK)];
        (first as u32..).zip(scores.iter().map(|score| score + self.shift))
    }
}

impl Rows<'_> {
    /// What the model says about one hypothesis.
    fn row(&mut self, idx: usize) -> Row<'_> {
        let chunks = chunks(self.vocab);
        Row {
            scores: &mut self.scores[idx * self.vocab..][..self.vocab],
            shift: self.shifts[idx],
            peaks: &mut self.peaks[idx * chunks..][..chunks],
        }
    }

    /// A few neighbouring hypotheses.
    fn part(&mut self, first: usize, n: usize) -> Rows<'_> {
        let (vocab, chunks) = (self.vocab, chunks(self.vocab));
        Rows {
            scores: &mut self.scores[first * vocab..][..n * vocab],
            shifts: &self.shifts[first..first + n],
            peaks: &mut self.peaks[first * chunks..][..n * chunks],
            weights: &mut self.weights[first..first + n],
            vocab,
        }
    }

    /// Calls `with` on a copy of the first hypothesis alone.
    fn copied<R>(&self, with: impl FnOnce(Rows<'_>) -> R) -> R {
        let vocab = self.vocab;
        let mut scores = self.scores[..vocab].to_vec();
        let mut peaks = self.peaks[..chunks(vocab)].to_vec();
        let mut weights = [self.weights[0].clone()];
        with(Rows {
            scores: &mut scores,
            shifts: &self.shifts[..1],
            peaks: &mut peaks,
            weights: &mut weights,
            vocab,
        })
    }

    /// Attention weights of one hypothesis: `[src_len + 1]`. They can be taken once.
    fn take_weights(&mut self, idx: usize) -> Vec<f32> {
        std::mem::take(&mut self.weights[idx])
    }
}

/// The next batch: which row each hypothesis extends, and by which token.
#[derive(Default)]
struct Next {
    parents: Vec<usize>,
    tokens: Vec<u32>,
    /// First row of the sentence that is advanced.
    first: usize,
}

impl Next {
    /// Begins another batch.
    fn clear(&mut self) {
        self.parents.clear();
        self.tokens.clear();
        self.first = 0;
    }

    /// Adds a row: `parent`, counted within the sentence, extended by `token`.
    fn push(&mut self, parent: usize, token: u32) {
        self.parents.push(self.first + parent);
        self.tokens.push(token);
    }

    /// Calls `with` while parents are counted from `offset` rows further on.
    fn further<R>(&mut self, offset: usize, with: impl FnOnce(&mut Self) -> R) -> R {
        self.first += offset;
        let result = with(self);
        self.first -= offset;
        result
    }
}

/// Searches all sentences that are not empty in one batch.
fn run<M: EncoderDecoder, S: Sentence>(
    model: &M,
    Tasks { tasks, interest }: Tasks<'_>,
    sentence: impl Fn(&Task<'_>) -> S,
) -> Result<Vec<Vec<Hypothesis>>> {
    let mut results = vec![vec![Hypothesis::empty()]; tasks.len()];
    let filled = || tasks.iter().enumerate().filter(|(_, task)| !task.is_empty());
    let batch: Vec<Vec<u32>> = filled().map(|(_, task)| task.src.to_vec()).collect();
    if batch.is_empty() {
        return Ok(results);
    }
    let mut live: Vec<(usize, S)> = filled().map(|(idx, task)| (idx, sentence(task))).collect();
    let mut state = model.start(&batch)?;
    model.expect(&mut state, interest);
    let mut last = vec![model.special().bos; live.len()];
    let (mut next, mut step) = (Next::default(), Step::default());

    while !live.is_empty() {
        model.read(&mut state, &last)?;
        next.clear();
        advance_all(model, &mut state, &mut live, &mut step, &mut next)?;
        for (idx, done) in live.extract_if(.., |(_, sentence)| sentence.rows() == 0) {
            results[idx] = done.finish();
        }
        if !next.parents.is_empty() && !next.parents.iter().copied().eq(0..last.len()) {
            model.select(&mut state, &next.parents)?;
        }
        std::mem::swap(&mut last, &mut next.tokens);
    }
    Ok(results)
}

/// Advances every sentence by what the model says about its rows, a few sentences at a time.
fn advance_all<M: EncoderDecoder, S: Sentence>(
    model: &M,
    state: &mut M::State,
    live: &mut [(usize, S)],
    step: &mut Step,
    next: &mut Next,
) -> Result<()> {
    let mut rest = live;
    while !rest.is_empty() {
        let (mut n, mut n_rows) = (0, 0);
        while n < rest.len() && n_rows < TOGETHER {
            n_rows += rest[n].1.rows();
            n += 1;
        }
        let (part, others) = rest.split_at_mut(n);
        model.predict(state, next.first..next.first + n_rows, step)?;
        check(step, n_rows, model.vocab())?;
        if part.iter().any(|(_, sentence)| sentence.weighs_coverage())
            && step.weights.iter().any(Vec::is_empty)
        {
            return Err(Error::NoAttention);
        }
        advance(part, step, model.vocab(), next)?;
        rest = others;
    }
    Ok(())
}

/// Advances every sentence by what `step` says about its rows.
fn advance<S: Sentence>(
    live: &mut [(usize, S)],
    step: &mut Step,
    vocab: usize,
    next: &mut Next,
) -> Result<()> {
    let Step { scores, shifts, peaks, weights, .. } = step;
    let (mut scores, mut shifts) = (&mut scores[..], &shifts[..]);
    let (mut peaks, mut weights) = (&mut peaks[..], &mut weights[..]);
    for (_, sentence) in live {
        let n_rows = sentence.rows();
        let rows = Rows {
            scores: scores.split_off_mut(..n_rows * vocab).unwrap_or_default(),
            shifts: shifts.split_off(..n_rows).unwrap_or_default(),
            peaks: peaks.split_off_mut(..n_rows * chunks(vocab)).unwrap_or_default(),
            weights: weights.split_off_mut(..n_rows).unwrap_or_default(),
            vocab,
        };
        sentence.advance(rows, next)?;
        next.first += n_rows;
    }
    Ok(())
}

/// Holds a model to its word about the size of a step.
pub(crate) fn check(step: &Step, rows: usize, vocab: usize) -> Result<()> {
    for (what, found, expected) in [
        ("scores", step.scores.len(), rows * vocab),
        ("shifts of scores", step.shifts.len(), rows),
        ("peaks of scores", step.peaks.len(), rows * chunks(vocab)),
        ("rows of attention weights", step.weights.len(), rows),
    ] {
        if found != expected {
            return Err(Error::Step { what, found, expected });
        }
    }
    Ok(())
}
