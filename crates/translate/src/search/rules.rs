//! What the translation of one sentence may look like, and what it is worth.

use std::sync::Arc;

use model::Special;

use super::{
    LengthPenalty, Row, SearchConfig,
    coverage::coverage,
    phrases::{Met, Phrases},
    prefix::Prefix,
    repetition,
};

/// What is asked of one translation besides being probable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirements {
    /// What it begins with.
    pub prefix: Prefix,
    /// What it contains.
    pub phrases: Phrases,
}

impl Requirements {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.prefix.is_empty() && self.phrases.is_empty()
    }
}

/// How far a hypothesis is with what is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The state of the prefix.
    pub(super) prefix: u32,
    pub(super) met: Met,
}

/// The settings of a search, worked out for one source sentence.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    special: Special,
    min_len: usize,
    /// Most tokens, the end of the sentence not counted.
    pub(super) max_len: usize,
    no_repeat_ngram: usize,
    /// Most times in a row that a cycle of tokens may occur.
    pub(super) max_copies: usize,
    pub(super) penalty: LengthPenalty,
    /// See [`SearchConfig::coverage_penalty`].
    coverage: f64,
    required: Option<Arc<Requirements>>,
}

impl Rules {
    pub(super) fn new(config: &SearchConfig, special: Special, task: &Task<'_>) -> Self {
        let Task { src, required } = *task;
        let mut max_len = config.max_len(src.len());
        let mut copies = repetition::most_copies(src);
        if let Some(Requirements { prefix, .. }) = required.map(|required| &**required) {
            // What was asked for is no loop, and not too long.
            max_len = max_len.max(prefix.len().saturating_add(config.max_len_offset));
            copies = copies.max(repetition::most_copies(&prefix.sure()));
        }
        let max_copies = match config.loop_guard {
            0 => usize::MAX,
            limit => limit.saturating_add(copies - 1),
        };
        Self {
            special,
            min_len: config.min_len.min(max_len),
            max_len,
            no_repeat_ngram: config.no_repeat_ngram,
            max_copies,
            penalty: config.length_penalty,
            coverage: config.coverage_penalty.get(),
            required: required.cloned(),
        }
    }

    pub(super) fn eos(&self) -> u32 {
        self.special.eos
    }

    /// What the translation has to begin with.
    pub(super) fn prefix(&self) -> Option<&Prefix> {
        self.required.as_ref().map(|required| &required.prefix)
    }

    /// What the translation has to contain; none if that is nothing.
    pub(super) fn phrases(&self) -> Option<&Phrases> {
        let phrases = self.required.as_ref().map(|required| &required.phrases);
        phrases.filter(|phrases| !phrases.is_empty())
    }

    /// Whether attention weights decide what hypotheses are worth.
    pub(super) fn weighs_coverage(&self) -> bool {
        self.coverage > 0.0
    }

    /// What a hypothesis of `len` tokens, its end included, is worth; `weights` are what its
    /// tokens attended to, in order.
    pub(super) fn score<'a>(
        &self,
        log_prob: f64,
        len: usize,
        weights: impl Iterator<Item = &'a [f32]>,
    ) -> f64 {
        let score = self.penalty.score(log_prob, len);
        if self.weighs_coverage() { score + self.coverage * coverage(weights) } else { score }
    }

    /// The best that can become of a hypothesis with `log_prob`: nothing is covered too much.
    pub(super) fn bound(&self, log_prob: f64) -> f64 {
        self.penalty.bound(log_prob, self.max_len.saturating_add(1))
    }

    /// Whether [`forbid_repeats`](Self::forbid_repeats) has anything to do. What a prefix dictates
    /// may repeat itself.
    pub(super) fn looks_back(&self, progress: Progress) -> bool {
        let dictated = || self.prefix().is_some_and(|prefix| prefix.dictates(progress.prefix));
        self.no_repeat_ngram > 0 && !dictated()
    }

    /// Gives probability zero to what is never produced, padding, begin of sentence and unknown
    /// token, and to what may not follow a hypothesis of `len` tokens: its end if that is too
    /// early, and what the requirements rule out. The other log-probabilities stay as they are.
    pub(super) fn forbid(&self, row: &mut Row<'_>, len: usize, progress: Progress) {
        let Special { pad, unk, bos, eos } = self.special;
        [pad, unk, bos].into_iter().for_each(|id| row.forbid(id));
        if len < self.min_len {
            row.forbid(eos);
        }
        let Some(required) = &self.required else { return };
        if !required.phrases.all(progress.met) {
            row.forbid(eos);
        }
        required.prefix.restrict(progress.prefix, row);
    }

    /// Gives probability zero to tokens that would repeat an n-gram of `ids`.
    pub(super) fn forbid_repeats(&self, row: &mut Row<'_>, ids: &[u32]) {
        repetition::repeating(ids, self.no_repeat_ngram).for_each(|id| row.forbid(id));
    }

    /// How far a hypothesis is after `token`; `before` yields its tokens, last first.
    pub(super) fn extended(
        &self,
        progress: Progress,
        token: u32,
        before: impl Iterator<Item = u32>,
    ) -> Progress {
        let Some(required) = &self.required else { return progress };
        let Requirements { prefix, phrases } = &**required;
        let met = if phrases.is_empty() || token == self.special.eos {
            progress.met
        } else {
            phrases.extended(progress.met, token, before)
        };
        Progress { prefix: prefix.next(progress.prefix, token), met }
    }

    /// The phrases that a hypothesis lacks if it ends like this.
    pub(super) fn lacking(&self, met: Met) -> Vec<usize> {
        self.phrases().map_or_else(Vec::new, |phrases| phrases.lacking(met.at_end))
    }
}

/// A sentence to translate: its source and what is required of its translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) src: &'a [u32],
    pub(super) required: Option<&'a Arc<Requirements>>,
}

impl Task<'_> {
    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.src.is_empty() && self.required.is_none()
    }
}
