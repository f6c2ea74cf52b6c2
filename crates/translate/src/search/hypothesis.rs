//! Hypotheses: finished ones as they are returned, growing ones as paths or as a tree.

use super::{
    Row,
    repetition::Cycle,
    rules::{Progress, Rules},
};

/// A translation as ids, with what the model thought while it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The tokens, without begin and end of sentence.
    pub ids: Vec<u32>,
    /// `log_prob` after the length penalty and with the coverage penalty; what hypotheses are
    /// ranked by.
    pub score: f64,
    /// Log-probability in nats: the sum of `token_log_probs`.
    pub log_prob: f64,
    /// Log-probability of each token in nats and, if `finished`, of the end of the sentence.
    pub token_log_probs: Vec<f32>,
    /// What each of `token_log_probs` attended to: `[tgt_len + 1, src_len + 1]`, the last
    /// column the source's end of sentence. Rows are empty for a model without attention.
    pub weights: Vec<Vec<f32>>,
    /// Whether the model ended the sentence. Otherwise it was cut at the longest length or
    /// caught in a loop, and the last row of `weights` and `token_log_probs` is missing.
    pub finished: bool,
    /// Which of the phrases that were required it lacks, counted from zero. Of a finished
    /// hypothesis none.
    pub lacking: Vec<usize>,
}

impl Hypothesis {
    /// The translation of an empty sentence, which no model is asked for.
    pub fn empty() -> Self {
        Self {
            ids: Vec::new(),
            score: 0.0,
            log_prob: 0.0,
            token_log_probs: Vec::new(),
            weights: Vec::new(),
            finished: true,
            lacking: Vec::new(),
        }
    }
}

/// One hypothesis that grows by a token at a time and never branches.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    ids: Vec<u32>,
    log_prob: f64,
    token_log_probs: Vec<f32>,
    weights: Vec<Vec<f32>>,
    cycle: Cycle,
    progress: Progress,
}

impl Path {
    /// Gives probability zero to every token that `rules` forbid as the next one.
    pub(super) fn restrict(&self, row: &mut Row<'_>, rules: &Rules) {
        rules.forbid(row, self.ids.len(), self.progress);
        if rules.looks_back(self.progress) {
            rules.forbid_repeats(row, &self.ids);
        }
    }

    /// Adds the token that was chosen: the path goes on after it, or it is a hypothesis now,
    /// finished or cut. No choice means that nothing may follow.
    pub(super) fn follow(
        mut self,
        choice: Option<(u32, f32)>,
        weights: Vec<f32>,
        rules: &Rules,
    ) -> Result<(Self, u32), Hypothesis> {
        let Some((token, log_prob)) = choice else {
            return Err(self.close(false, rules));
        };
        if token != rules.eos() && self.ids.len() == rules.max_len {
            return Err(self.close(false, rules));
        }
        self.log_prob += f64::from(log_prob);
        self.token_log_probs.push(log_prob);
        self.weights.push(weights);
        if token == rules.eos() {
            return Err(self.close(true, rules));
        }
        let before = || self.ids.iter().rev().copied();
        self.cycle = self.cycle.extended(token, before());
        self.progress = rules.extended(self.progress, token, before());
        self.ids.push(token);
        if self.cycle.copies() > rules.max_copies {
            return Err(self.close(false, rules));
        }
        Ok((self, token))
    }

    fn close(self, finished: bool, rules: &Rules) -> Hypothesis {
        let weights = self.weights.iter().map(Vec::as_slice);
        Hypothesis {
            score: rules.score(self.log_prob, self.token_log_probs.len(), weights),
            lacking: rules.lacking(self.progress.met),
            ids: self.ids,
            log_prob: self.log_prob,
            token_log_probs: self.token_log_probs,
            weights: self.weights,
            finished,
        }
    }
}

/// All hypotheses of a sentence, sharing their beginnings.
///
/// A hypothesis is known by its last [`Node`]; the rest is found by following parents. Branching
/// costs one node, however long the hypothesis is, and attention weights are stored once for all
/// tokens that were chosen in view of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    weights: Vec<Vec<f32>>,
}

/// One token of a hypothesis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The node before; none for the first token.
    pub(super) parent: Option<usize>,
    pub(super) token: u32,
    pub(super) log_prob: f32,
    /// As [`Tree::keep_weights`] returned it.
    pub(super) weights: usize,
}

impl Tree {
    /// Stores what one hypothesis attended to when its next tokens were chosen.
    pub(super) fn keep_weights(&mut self, weights: Vec<f32>) -> usize {
        self.weights.push(weights);
        self.weights.len() - 1
    }

    pub(super) fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The nodes of a hypothesis, last first.
    fn path(&self, last: Option<usize>) -> impl Iterator<Item = &Node> {
        std::iter::successors(last, |&idx| self.nodes[idx].parent).map(|idx| &self.nodes[idx])
    }

    /// The tokens of a hypothesis, last first.
    pub(super) fn tokens(&self, last: Option<usize>) -> impl Iterator<Item = u32> {
        self.path(last).map(|node| node.token)
    }

    /// What the hypothesis that ends in `last` and has `log_prob` is worth.
    pub(super) fn score(&self, last: Option<usize>, log_prob: f64, rules: &Rules) -> f64 {
        let mut nodes: Vec<&Node> = self.path(last).collect();
        nodes.reverse();
        rules.score(log_prob, nodes.len(), nodes.iter().map(|node| &*self.weights[node.weights]))
    }

    /// The hypothesis that ends in `last`; if `finished`, that node is the end of the sentence.
    /// Nothing required is missing in it.
    pub(super) fn hypothesis(
        &self,
        last: Option<usize>,
        finished: bool,
        rules: &Rules,
    ) -> Hypothesis {
        let mut nodes: Vec<&Node> = self.path(last).collect();
        nodes.reverse();
        let token_log_probs: Vec<f32> = nodes.iter().map(|node| node.log_prob).collect();
        let log_prob = token_log_probs.iter().map(|&x| f64::from(x)).sum();
        let n_tokens = nodes.len() - usize::from(finished);
        Hypothesis {
            ids: nodes[..n_tokens].iter().map(|node| node.token).collect(),
            score: self.score(last, log_prob, rules),
            log_prob,
            token_log_probs,
            weights: nodes.iter().map(|node| self.weights[node.weights].clone()).collect(),
            finished,
            lacking: Vec::new(),
        }
    }
}
