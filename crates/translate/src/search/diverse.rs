//! Diverse beam search: groups of hypotheses that keep apart.
//!
//! Vijayakumar et al. (2018), “Diverse Beam Search for Improved Description of Complex Scenes”,
//! §3, with Hamming diversity: at each step the groups go on one after the other, and a token is
//! the dearer for a group the more hypotheses of the groups before it have just gone on with it.
//! That decides which extensions live; what they are worth stays what the model says. The first
//! group is a beam search of its own.
//!
//! **Differs from the paper**: ending a sentence is no token that others are kept from, and a
//! translation that two groups find is returned once.

use std::num::NonZeroUsize;

use super::{Hypothesis, Next, NonNegative, Rows, Sentence, beam::Beam, rules::Rules};
use crate::Result;

/// One sentence in diverse beam search.
#[derive(Debug)]
pub(super) struct DiverseBeam {
    groups: Vec<Beam>,
    strength: f32,
    n_best: usize,
    /// Whether all groups still share the row that everything begins with.
    begins: bool,
}

impl DiverseBeam {
    /// Divides `width` hypotheses into groups; the first of them are larger by one where that
    /// does not come out even.
    pub(super) fn new(
        rules: &Rules,
        width: usize,
        groups: NonZeroUsize,
        strength: NonNegative,
        n_best: usize,
    ) -> Self {
        let group = |idx: usize| {
            let width = width / groups + usize::from(idx < width % groups);
            Beam::new(rules.clone(), width, width)
        };
        let strength = strength.get() as f32;
        Self { groups: (0..groups.get()).map(group).collect(), strength, n_best, begins: true }
    }
}

impl Sentence for DiverseBeam {
    fn rows(&self) -> usize {
        if self.begins { 1 } else { self.groups.iter().map(Beam::rows).sum() }
    }

    fn weighs_coverage(&self) -> bool {
        self.groups[0].weighs_coverage()
    }

    fn advance(&mut self, mut rows: Rows<'_>, next: &mut Next) -> Result<()> {
        let mut used: Vec<(u32, f32)> = Vec::new();
        let mut first = 0;
        for group in &mut self.groups {
            let (n, begun) = (group.rows(), next.tokens.len());
            if self.begins {
                rows.copied(|row| group.advance_apart(row, next, &used))?;
            } else if n > 0 {
                let own = rows.part(first, n);
                next.further(first, |next| group.advance_apart(own, next, &used))?;
                first += n;
            }
            for &token in &next.tokens[begun..] {
                match used.iter_mut().find(|(other, _)| *other == token) {
                    Some((_, by)) => *by += self.strength,
                    None => used.push((token, self.strength)),
                }
            }
        }
        self.begins = false;
        Ok(())
    }

    fn finish(self) -> Vec<Hypothesis> {
        let mut found: Vec<Hypothesis> = Vec::new();
        for hypothesis in self.groups.into_iter().flat_map(Beam::finish) {
            if found.iter().all(|other| other.ids != hypothesis.ids) {
                found.push(hypothesis);
            }
        }
        found.sort_by(|a, b| b.finished.cmp(&a.finished).then(b.score.total_cmp(&a.score)));
        let finished = found.first().is_some_and(|best| best.finished);
        found.retain(|hypothesis| hypothesis.finished == finished);
        found.truncate(self.n_best);
        found
    }
}
