//! Beam search: the best few hypotheses at every step.
//!
//! At each step every live hypothesis is extended by every token. Of all extensions,
//!
//! - those among the best `beam` that end the sentence are *finished*,
//! - the best `beam` that do not end it live on, but those that are caught in a loop are cut.
//!
//! A sentence is done when `beam` hypotheses have finished, or sooner, when no live hypothesis
//! can still become one of the `n_best` to return: log-probabilities only fall, so
//! [`LengthPenalty::bound`](super::LengthPenalty::bound) limits what can become of it. The second
//! rule never changes the result, it saves steps. The first is the usual one (“first come, first
//! served” in Kasai et al., 2022, “A Call for Clarity in Beam Search: How It Works and When It
//! Stops”); with a beam of one it makes beam search greedy search.
//!
//! At the longest length only the end of the sentence can follow, and all else is cut. What was
//! cut is returned only if nothing has finished.
//!
//! Equals are ranked by token, then by the rank of the hypothesis that was extended; finished
//! hypotheses of equal score by the step at which they finished, then by their rank.

use std::mem;

use super::{
    Hypothesis, Next, Rows, Sentence,
    hypothesis::{Node, Tree},
    repetition::Cycle,
    rules::Rules,
    top::{Candidate, Top},
};
use crate::Result;

/// One sentence in beam search.
#[derive(Debug)]
pub(super) struct Beam {
    rules: Rules,
    beam: usize,
    n_best: usize,
    /// Tokens of each live hypothesis.
    len: usize,
    tree: Tree,
    /// Best first.
    live: Vec<Live>,
    /// Best first.
    finished: Vec<Ended>,
    /// Best first.
    cut: Vec<Ended>,
    top: Top,
}

/// A hypothesis that goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Live {
    /// Its last node; none before the first token.
    last: Option<usize>,
    log_prob: f64,
    cycle: Cycle,
}

/// A hypothesis that does not go on.
#[derive(Clone, Copy, Debug)]
struct Ended {
    last: Option<usize>,
    score: f64,
}

impl Beam {
    pub(super) fn new(rules: Rules, beam: usize, n_best: usize) -> Self {
        Self {
            rules,
            beam,
            n_best,
            len: 0,
            tree: Tree::default(),
            live: vec![Live::default()],
            finished: Vec::new(),
            cut: Vec::new(),
            top: Top::default(),
        }
    }

    /// Finds the best extensions of all live hypotheses: `beam` that go on and those that end
    /// before the last of them.
    fn extensions(&mut self, rows: &mut Rows<'_>) -> Result<()> {
        // No more can end than there are hypotheses to end.
        self.top.reset(self.beam.saturating_add(self.live.len()));
        let mut ids = Vec::new();
        for (parent, live) in self.live.iter().enumerate() {
            let mut row = rows.row(parent);
            self.rules.forbid_specials(&mut row, self.len);
            if self.rules.looks_back() {
                ids.clear();
                ids.extend(self.tree.tokens(live.last));
                ids.reverse();
                self.rules.forbid_repeats(&mut row, &ids);
            }
            self.top.foresee(live.log_prob, &row);
        }
        self.top.settle();
        for (parent, live) in self.live.iter().enumerate() {
            self.top.scan(parent, live.log_prob, &rows.row(parent))?;
        }
        Ok(())
    }

    /// Puts an extension of `parent` where it belongs: among the finished, the cut or the live
    /// hypotheses. Says whether it lives.
    fn place(&mut self, parent: &Live, weights: usize, chosen: &Candidate) -> bool {
        let &Candidate { total, log_prob, token, .. } = chosen;
        let cycle = parent.cycle.extended(token, self.tree.tokens(parent.last));
        let last = Some(self.tree.push(Node { parent: parent.last, token, log_prob, weights }));
        let score = self.rules.penalty.score(total, self.len + 1);
        if token == self.rules.eos() {
            insert(&mut self.finished, Ended { last, score });
        } else if cycle.copies() > self.rules.max_copies {
            insert(&mut self.cut, Ended { last, score });
        } else {
            self.live.push(Live { last, log_prob: total, cycle });
            return true;
        }
        false
    }

    /// Whether what lives can no longer change what is returned.
    fn is_done(&self) -> bool {
        let (Some(best), Some(worst)) = (self.live.first(), self.finished.get(self.n_best - 1))
        else {
            return false;
        };
        let longest = self.rules.max_len.saturating_add(1);
        self.finished.len() >= self.beam
            || self.rules.penalty.bound(best.log_prob, longest) <= worst.score
    }
}

/// Puts `ended` behind everything that is at least as good.
fn insert(into: &mut Vec<Ended>, ended: Ended) {
    into.insert(into.partition_point(|other| other.score >= ended.score), ended);
}

impl Sentence for Beam {
    fn rows(&self) -> usize {
        self.live.len()
    }

    fn advance(&mut self, mut rows: Rows<'_>, next: &mut Next) -> Result<()> {
        self.extensions(&mut rows)?;
        let parents = mem::take(&mut self.live);
        let weights: Vec<usize> = (0..parents.len())
            .map(|parent| self.tree.keep_weights(rows.take_weights(parent)))
            .collect();
        let mut top = mem::take(&mut self.top);
        let mut origins = Vec::new();
        let (mut going_on, n_cut) = (0, self.cut.len());
        for (rank, chosen) in top.best().iter().enumerate() {
            let has_place = if chosen.token == self.rules.eos() {
                rank < self.beam
            } else {
                going_on += 1;
                going_on <= self.beam && self.len < self.rules.max_len
            };
            if has_place && self.place(&parents[chosen.parent], weights[chosen.parent], chosen) {
                origins.push((chosen.parent, chosen.token));
            }
        }
        self.top = top;
        if self.live.is_empty() && self.finished.is_empty() && self.cut.len() == n_cut {
            for parent in &parents {
                let score = self.rules.penalty.score(parent.log_prob, self.len);
                insert(&mut self.cut, Ended { last: parent.last, score });
            }
        }
        self.len += 1;
        if self.is_done() {
            self.live.clear();
        } else {
            origins.into_iter().for_each(|(parent, token)| next.push(parent, token));
        }
        Ok(())
    }

    fn finish(self) -> Vec<Hypothesis> {
        let finished = !self.finished.is_empty();
        let ended = if finished { self.finished } else { self.cut };
        let hypothesis =
            |ended: &Ended| self.tree.hypothesis(ended.last, finished, self.rules.penalty);
        ended.iter().take(self.n_best).map(hypothesis).collect()
    }
}
