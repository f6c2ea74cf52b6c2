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
//! rule never changes the result, it saves steps; a coverage penalty is never above zero. The
//! first is the usual one (“first come, first served” in Kasai et al., 2022, “A Call for Clarity in
//! Beam Search: How It Works and When It Stops”); with a beam of one it makes beam search greedy
//! search.
//!
//! With required phrases, extensions compete with those that have as many required tokens
//! (`banks`), those that come closer to having everything are looked at too, and only a hypothesis
//! that has everything can end.
//!
//! At the longest length only the end of the sentence can follow, and all else is cut. What was
//! cut is returned only if nothing has finished, that with most required tokens first.
//!
//! Equals are ranked by token, then by the rank of the hypothesis that was extended; finished
//! hypotheses of equal score by the step at which they finished, then by their rank.

use std::mem;

use super::{
    Hypothesis, Next, Row, Rows, Sentence,
    banks::places,
    hypothesis::{Node, Tree},
    phrases::{Met, Phrases},
    repetition::Cycle,
    rules::{Progress, Rules},
    top::{Candidate, Top, most_likely},
};
use crate::Result;

/// One sentence in beam search.
#[derive(Clone, Debug)]
pub(super) struct Beam {
    pub(super) rules: Rules,
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
    progress: Progress,
}

/// A hypothesis that does not go on.
#[derive(Clone, Copy, Debug)]
struct Ended {
    last: Option<usize>,
    score: f64,
    met: Met,
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

    /// The same search as far as it is, with another beam from here on.
    pub(super) fn widened(&self, beam: usize) -> Self {
        Self { beam, ..self.clone() }
    }

    /// The state of the prefix of the best live hypothesis.
    pub(super) fn prefix_state(&self) -> u32 {
        self.live.first().map_or(0, |live| live.progress.prefix)
    }

    /// Gives probability zero to what may not follow the live hypothesis `idx`.
    pub(super) fn forbid(&self, idx: usize, row: &mut Row<'_>) {
        let Live { last, progress, .. } = self.live[idx];
        self.rules.forbid(row, self.len, progress);
        if self.rules.looks_back(progress) {
            let mut ids: Vec<u32> = self.tree.tokens(last).collect();
            ids.reverse();
            self.rules.forbid_repeats(row, &ids);
        }
    }

    /// Finds the best extensions of all live hypotheses: `beam` that go on and those that end
    /// before the last of them. Tokens count for less by what `dearer` says.
    fn extensions(&mut self, rows: &mut Rows<'_>, dearer: &[(u32, f32)]) -> Result<()> {
        // No more can end than there are hypotheses to end.
        self.top.reset(self.beam.saturating_add(self.live.len()));
        let mut kept = Vec::new();
        for parent in 0..self.live.len() {
            let mut row = rows.row(parent);
            self.forbid(parent, &mut row);
            for &(token, by) in dearer {
                kept.push(row.replace(token, |score| score - by));
            }
            self.top.foresee(self.live[parent].log_prob, &row);
        }
        self.top.settle();
        for (parent, live) in self.live.iter().enumerate() {
            self.top.scan(parent, live.log_prob, &rows.row(parent))?;
        }
        let mut kept = kept.into_iter();
        for parent in 0..if dearer.is_empty() { 0 } else { self.live.len() } {
            for (&(token, _), kept) in dearer.iter().zip(&mut kept) {
                rows.row(parent).replace(token, |_| kept);
            }
        }
        Ok(())
    }

    /// Puts an extension of `parent` where it belongs: among the finished, the cut or the live
    /// hypotheses. Says whether it lives.
    fn place(&mut self, parent: &Live, weights: usize, chosen: &Candidate) -> bool {
        let &Candidate { total, log_prob, token, .. } = chosen;
        let before = || self.tree.tokens(parent.last);
        let cycle = parent.cycle.extended(token, before());
        let progress = self.rules.extended(parent.progress, token, before());
        let last = Some(self.tree.push(Node { parent: parent.last, token, log_prob, weights }));
        let is_end = token == self.rules.eos();
        if !is_end && cycle.copies() <= self.rules.max_copies {
            self.live.push(Live { last, log_prob: total, cycle, progress });
            return true;
        }
        let score = self.tree.score(last, total, &self.rules);
        let into = if is_end { &mut self.finished } else { &mut self.cut };
        insert(into, Ended { last, score, met: progress.met });
        false
    }

    /// What competes when phrases are required: the best extensions; of every hypothesis the best,
    /// those that come closer to having everything, and the best that leaves a phrase at its end
    /// whole; and which of them have a place.
    fn constrained(
        &self,
        phrases: &Phrases,
        best: &[Candidate],
        rows: &mut Rows<'_>,
    ) -> Result<(Vec<Candidate>, Vec<bool>)> {
        let mut candidates = best.to_vec();
        for (parent, live) in self.live.iter().enumerate() {
            let row = rows.row(parent);
            let likely = most_likely(&row)?.map(|(token, _)| token);
            let met = live.progress.met;
            let keeping = phrases.is_pending(met).then(|| best_of(&row, |t| phrases.ends_word(t)));
            let wanted = phrases.advancing(met, self.tree.tokens(live.last));
            for token in wanted.into_iter().chain(likely).chain(keeping.flatten()) {
                let log_prob = row.log_prob(token);
                if log_prob > f32::NEG_INFINITY {
                    let log_prob = log_prob.min(0.0);
                    let total = live.log_prob + f64::from(log_prob);
                    candidates.push(Candidate { total, log_prob, token, parent });
                }
            }
        }
        candidates.sort_unstable_by(Candidate::order);
        candidates.dedup();
        let eos = self.rules.eos();
        let ends: Vec<bool> = candidates.iter().map(|chosen| chosen.token == eos).collect();
        let bank = |chosen: &Candidate| {
            let live = &self.live[chosen.parent];
            let before = self.tree.tokens(live.last);
            self.rules.extended(live.progress, chosen.token, before).met.tokens as usize
        };
        let banks: Vec<usize> = candidates.iter().map(bank).collect();
        let places = places(&banks, &ends, phrases.tokens() as usize + 1, self.beam);
        Ok((candidates, places))
    }

    /// Whether what lives can no longer change what is returned.
    fn is_done(&self) -> bool {
        let best = self.live.iter().map(|live| live.log_prob).max_by(f64::total_cmp);
        let (Some(best), Some(worst)) = (best, self.finished.get(self.n_best - 1)) else {
            return false;
        };
        self.finished.len() >= self.beam || self.rules.bound(best) <= worst.score
    }

    /// Extends the hypotheses by a token, of which some count for less: for those of `dearer` so
    /// many nats are taken off where extensions are compared. What a hypothesis is worth stays
    /// what the model says.
    pub(super) fn advance_apart(
        &mut self,
        mut rows: Rows<'_>,
        next: &mut Next,
        dearer: &[(u32, f32)],
    ) -> Result<()> {
        self.extensions(&mut rows, dearer)?;
        let mut top = mem::take(&mut self.top);
        let (mut chosen, mut places) = (Vec::new(), None);
        if let Some(phrases) = self.rules.phrases() {
            let (candidates, which) = self.constrained(phrases, top.best(), &mut rows)?;
            (chosen, places) = (candidates, Some(which));
        } else if !dearer.is_empty() {
            let worth = |chosen: &Candidate| self.worth(chosen, &mut rows);
            chosen = top.best().iter().map(worth).collect();
        }
        let chosen = if chosen.is_empty() { top.best() } else { &chosen };
        self.go_on(chosen, places.as_deref(), &mut rows, next);
        self.top = top;
        Ok(())
    }

    /// A candidate with what the model says of it.
    fn worth(&self, chosen: &Candidate, rows: &mut Rows<'_>) -> Candidate {
        let log_prob = rows.row(chosen.parent).log_prob(chosen.token).min(0.0);
        let total = self.live[chosen.parent].log_prob + f64::from(log_prob);
        Candidate { total, log_prob, ..*chosen }
    }

    /// Puts the candidates that have a place where they belong. Without `places`, those have one
    /// that end among the best `beam`, and the best `beam` that do not end.
    fn go_on(
        &mut self,
        chosen: &[Candidate],
        places: Option<&[bool]>,
        rows: &mut Rows<'_>,
        next: &mut Next,
    ) {
        let parents = mem::take(&mut self.live);
        let weights: Vec<usize> = (0..parents.len())
            .map(|parent| self.tree.keep_weights(rows.take_weights(parent)))
            .collect();
        let mut origins = Vec::new();
        let (mut going_on, n_cut) = (0, self.cut.len());
        for (rank, chosen) in chosen.iter().enumerate() {
            let is_end = chosen.token == self.rules.eos();
            going_on += usize::from(!is_end);
            let has_place = match places {
                Some(places) => places[rank],
                None => {
                    if is_end {
                        rank < self.beam
                    } else {
                        going_on <= self.beam
                    }
                }
            };
            let parent = chosen.parent;
            if has_place
                && (is_end || self.len < self.rules.max_len)
                && self.place(&parents[parent], weights[parent], chosen)
            {
                origins.push((parent, chosen.token));
            }
        }
        if self.live.is_empty() && self.finished.is_empty() && self.cut.len() == n_cut {
            for parent in &parents {
                let score = self.tree.score(parent.last, parent.log_prob, &self.rules);
                insert(&mut self.cut, Ended { last: parent.last, score, met: parent.progress.met });
            }
        }
        self.len += 1;
        if self.is_done() {
            self.live.clear();
        } else {
            origins.into_iter().for_each(|(parent, token)| next.push(parent, token));
        }
    }
}

/// The most likely of some tokens, of equals the lowest.
fn best_of(row: &Row<'_>, among: impl Fn(u32) -> bool) -> Option<u32> {
    let tokens = (0..).zip(row.log_probs()).filter(|&(token, _)| among(token));
    let best = tokens.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    best.map(|(token, _)| token)
}

/// Puts `ended` behind everything that is at least as good.
fn insert(into: &mut Vec<Ended>, ended: Ended) {
    let rank = |ended: &Ended| (ended.met.tokens, ended.score);
    into.insert(into.partition_point(|other| rank(other) >= rank(&ended)), ended);
}

impl Sentence for Beam {
    fn rows(&self) -> usize {
        self.live.len()
    }

    fn weighs_coverage(&self) -> bool {
        self.rules.weighs_coverage()
    }

    fn advance(&mut self, rows: Rows<'_>, next: &mut Next) -> Result<()> {
        self.advance_apart(rows, next, &[])
    }

    fn finish(self) -> Vec<Hypothesis> {
        let finished = !self.finished.is_empty();
        let ended = if finished { &self.finished } else { &self.cut };
        let hypothesis = |ended: &Ended| Hypothesis {
            lacking: if finished { Vec::new() } else { self.rules.lacking(ended.met) },
            ..self.tree.hypothesis(ended.last, finished, &self.rules)
        };
        ended.iter().take(self.n_best).map(hypothesis).collect()
    }
}
