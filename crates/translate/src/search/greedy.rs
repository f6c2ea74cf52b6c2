//! Greedy search: the most likely token at every step.
//!
//! The same result as beam search with a beam of one, without its bookkeeping.

use super::{Hypothesis, Next, Rows, Sentence, hypothesis::Path, rules::Rules, top::most_likely};
use crate::Result;

/// One sentence that is searched greedily.
#[derive(Debug)]
pub(super) struct Greedy {
    rules: Rules,
    path: Path,
    result: Option<Hypothesis>,
}

impl Greedy {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, path: Path::default(), result: None }
    }
}

impl Sentence for Greedy {
    fn rows(&self) -> usize {
        usize::from(self.result.is_none())
    }

    fn weighs_coverage(&self) -> bool {
        self.rules.weighs_coverage()
    }

    fn advance(&mut self, mut rows: Rows<'_>, next: &mut Next) -> Result<()> {
        let mut row = rows.row(0);
        self.path.restrict(&mut row, &self.rules);
        let choice = most_likely(&row)?;
        let path = std::mem::take(&mut self.path);
        match path.follow(choice, rows.take_weights(0), &self.rules) {
            Ok((path, token)) => {
                self.path = path;
                next.push(0, token);
            }
            Err(hypothesis) => self.result = Some(hypothesis),
        }
        Ok(())
    }

    fn finish(self) -> Vec<Hypothesis> {
        self.result.into_iter().collect()
    }
}
