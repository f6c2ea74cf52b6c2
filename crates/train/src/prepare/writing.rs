//! The last step: pairs that are left are written as text, and what was dropped late is counted.

use text::{
    clean::{Dropped, Report},
    output::Output,
    words::words,
};

use super::{Part, Progress, duplicates::DroppedPairs, stage::Stage};
use crate::Result;

/// Pairs between two reports of progress.
const REPORT_EVERY: u64 = 1 << 16;

/// How long sentences are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Sentences of 1 to 5 words, of 6 to 10, and so on; the last place is for all longer ones.
    pub fives: [u64; 20],
    /// All words.
    pub words: u64,
    /// All characters.
    pub characters: u64,
}

impl Lengths {
    /// Counts a sentence.
    pub fn count(&mut self, text: &str) {
        let n = words(text).len();
        let last = self.fives.len() - 1;
        self.fives[(n.saturating_sub(1) / 5).min(last)] += 1;
        self.words += n as u64;
        self.characters += text.chars().count() as u64;
    }
}

/// What was written.
pub(super) struct Written {
    pub(super) report: Report,
    /// Pairs of which a side also stands in a held-out set.
    pub(super) held_out: u64,
    pub(super) lengths: [Lengths; 2],
}

/// Writes the pairs of the stage that are not dropped.
pub(super) fn run(
    stage: &Stage,
    dropped: &DroppedPairs,
    parts: &[Part],
    observe: &mut dyn FnMut(Progress),
) -> Result<Written> {
    let create = |part: &Part| -> text::Result<_> {
        Ok((Output::create(&part.src)?, Output::create(&part.tgt)?))
    };
    let mut outputs = parts.iter().map(create).collect::<text::Result<Vec<_>>>()?;
    let last = outputs.len() - 1;
    let mut report = stage.state.report.clone();
    let mut held_out = 0;
    let mut lengths = [Lengths::default(), Lengths::default()];
    let of = stage.state.passed;
    for (passed, idx) in stage.pairs()?.zip(0..) {
        let passed = passed?;
        let pair = passed.pair;
        match dropped.reason(idx) {
            Some(reason) => report.count_dropped(passed.corpus, Dropped::pair(reason, pair)),
            None => {
                let (src, tgt) = &mut outputs[last.min(passed.corpus)];
                src.line(&pair.src)?;
                tgt.line(&pair.tgt)?;
                report.count_kept(1);
                held_out += u64::from(passed.held_out);
                lengths[0].count(&pair.src);
                lengths[1].count(&pair.tgt);
            }
        }
        if idx % REPORT_EVERY == 0 {
            observe(Progress::Written { pairs: idx, of });
        }
    }
    report.require_kept()?;
    for (src, tgt) in outputs {
        src.finish()?;
        tgt.finish()?;
    }
    Ok(Written { report, held_out, lengths })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_by_fives() {
        let mut lengths = Lengths::default();
        for words in [1, 5, 6, 96, 500] {
            lengths.count(&"ä ".repeat(words));
        }
        assert_eq!((lengths.fives[0], lengths.fives[1], lengths.fives[19]), (2, 1, 2));
        assert_eq!((lengths.words, lengths.characters), (608, 1216));
    }
}
