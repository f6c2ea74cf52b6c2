//! Alternatives at a position: where a choice is first to be made, the most probable tokens, and
//! the best translation that goes on with each.
//!
//! Without a prefix that is the first token, with one it is the first behind it. The translations
//! are returned in the order of the probability of these tokens, not of their own.

use super::{Hypothesis, Next, Rows, Sentence, beam::Beam, prefix::Prefix, rules::Rules, top::Top};
use crate::Result;

/// One sentence on its several ways.
#[derive(Debug)]
pub(super) struct Alternatives {
    n: usize,
    width: usize,
    /// What all ways have in common, until they part.
    trunk: Option<Beam>,
    ways: Vec<Beam>,
}

impl Alternatives {
    /// The best `n` ways, each searched with a beam of `width`.
    pub(super) fn new(rules: Rules, n: usize, width: usize) -> Self {
        Self { n, width, trunk: Some(Beam::new(rules, 1, 1)), ways: Vec::new() }
    }

    /// Begins a way with each of the most probable tokens that may follow `trunk`.
    fn part(&mut self, trunk: &Beam, rows: &Rows<'_>, next: &mut Next) -> Result<()> {
        let mut top = Top::default();
        top.reset(self.n);
        rows.copied(|mut rows| {
            let mut row = rows.row(0);
            trunk.forbid(0, &mut row);
            top.scan(0, 0.0, &row)
        })?;
        for chosen in top.best() {
            let mut way = trunk.widened(self.width);
            rows.copied(|mut rows| {
                rows.row(0).keep_only(std::iter::once(chosen.token));
                way.advance(rows, next)
            })?;
            self.ways.push(way);
        }
        Ok(())
    }
}

impl Sentence for Alternatives {
    fn rows(&self) -> usize {
        self.trunk.iter().chain(&self.ways).map(Beam::rows).sum()
    }

    fn weighs_coverage(&self) -> bool {
        self.trunk.iter().chain(&self.ways).any(Beam::weighs_coverage)
    }

    fn advance(&mut self, mut rows: Rows<'_>, next: &mut Next) -> Result<()> {
        let Some(mut trunk) = self.trunk.take() else {
            let mut first = 0;
            for way in &mut self.ways {
                let n = way.rows();
                if n > 0 {
                    let own = rows.part(first, n);
                    next.further(first, |next| way.advance(own, next))?;
                    first += n;
                }
            }
            return Ok(());
        };
        let free = |prefix: &Prefix| prefix.is_free(trunk.prefix_state());
        if trunk.rules.prefix().is_none_or(free) {
            self.part(&trunk, &rows, next)?;
            if !self.ways.is_empty() {
                return Ok(());
            }
        }
        trunk.advance(rows, next)?;
        self.trunk = Some(trunk);
        Ok(())
    }

    fn finish(self) -> Vec<Hypothesis> {
        let best = |way: Beam| way.finish().into_iter().next();
        self.trunk.into_iter().chain(self.ways).filter_map(best).collect()
    }
}
