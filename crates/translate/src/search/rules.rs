//! What the translation of one sentence may look like.

use model::Special;

use super::{LengthPenalty, Row, SearchConfig, repetition};

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
}

impl Rules {
    pub(super) fn new(config: &SearchConfig, special: Special, src: &[u32]) -> Self {
        let max_len = config.max_len(src.len());
        let max_copies = match config.loop_guard {
            0 => usize::MAX,
            limit => limit.saturating_add(repetition::most_copies(src) - 1),
        };
        Self {
            special,
            min_len: config.min_len.min(max_len),
            max_len,
            no_repeat_ngram: config.no_repeat_ngram,
            max_copies,
            penalty: config.length_penalty,
        }
    }

    pub(super) fn eos(&self) -> u32 {
        self.special.eos
    }

    /// Whether [`forbid_repeats`](Self::forbid_repeats) has anything to do.
    pub(super) fn looks_back(&self) -> bool {
        self.no_repeat_ngram > 0
    }

    /// Gives probability zero to what is never produced: padding, begin of sentence and unknown
    /// token, and the end of a sentence of `len` tokens that is still too short. The other
    /// log-probabilities stay as they are.
    pub(super) fn forbid_specials(&self, row: &mut Row<'_>, len: usize) {
        let Special { pad, unk, bos, eos } = self.special;
        [pad, unk, bos].into_iter().for_each(|id| row.forbid(id));
        if len < self.min_len {
            row.forbid(eos);
        }
    }

    /// Gives probability zero to tokens that would repeat an n-gram of `ids`.
    pub(super) fn forbid_repeats(&self, row: &mut Row<'_>, ids: &[u32]) {
        repetition::repeating(ids, self.no_repeat_ngram).for_each(|id| row.forbid(id));
    }
}
