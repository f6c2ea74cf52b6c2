//! Guards against a decoder that repeats itself.

/// Longest cycle, in tokens, that counts as a loop.
pub const LONGEST_CYCLE: usize = 8;

/// How a sequence of tokens repeats itself at its end; grows with the sequence.
///
/// `runs[p - 1]` counts the last tokens that each equal the token `p` places before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cycle {
    runs: [u32; LONGEST_CYCLE],
}

impl Cycle {
    /// The cycle of a sequence after `token` was added to it. `before` yields the sequence
    /// without `token`, last token first.
    pub(super) fn extended(mut self, token: u32, before: impl Iterator<Item = u32>) -> Self {
        for (run, earlier) in self.runs.iter_mut().zip(before) {
            *run = if earlier == token { run.saturating_add(1) } else { 0 };
        }
        self
    }

    /// How many times the same cycle occurs in a row at the end: 1 for no repetition.
    pub(super) fn copies(&self) -> usize {
        let copies = |(run, period): (&u32, usize)| *run as usize / period;
        self.runs.iter().zip(1..).map(copies).max().unwrap_or(0) + 1
    }
}

/// The most times in a row that a cycle occurs anywhere in `ids`.
pub(super) fn most_copies(ids: &[u32]) -> usize {
    let mut cycle = Cycle::default();
    let mut most = 1;
    for (idx, &token) in ids.iter().enumerate() {
        cycle = cycle.extended(token, ids[..idx].iter().rev().copied());
        most = most.max(cycle.copies());
    }
    most
}

/// Every token that would repeat a sequence of `n` tokens of `ids` if it came next.
pub(super) fn repeating(ids: &[u32], n: usize) -> impl Iterator<Item = u32> {
    let recent = n.checked_sub(1).and_then(|n| ids.len().checked_sub(n)).map(|from| &ids[from..]);
    let ngrams = ids.windows(n.max(1)).map(|ngram| ngram.split_at(ngram.len() - 1));
    ngrams.filter(move |(before, _)| Some(*before) == recent).map(|(_, last)| last[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_those_one_would_count() {
        assert_eq!(most_copies(&[]), 1);
        assert_eq!(most_copies(&[1, 2, 3]), 1);
        assert_eq!(most_copies(&[1, 1, 1]), 3);
        assert_eq!(most_copies(&[9, 1, 2, 1, 2, 1, 2, 7]), 3);
        assert_eq!(most_copies(&[1, 2, 1, 2, 1]), 2); // the third copy is not complete
        let long: Vec<u32> = (0..4).flat_map(|_| 0..LONGEST_CYCLE as u32).collect();
        assert_eq!(most_copies(&long), 4);
        let too_long: Vec<u32> = (0..4).flat_map(|_| 0..=LONGEST_CYCLE as u32).collect();
        assert_eq!(most_copies(&too_long), 1);
    }

    #[test]
    fn a_sequence_seen_before_is_forbidden() {
        let forbidden = |ids: &[u32], n| repeating(ids, n).collect::<Vec<_>>();
        assert_eq!(forbidden(&[1, 2, 3, 1], 2), [2]);
        assert_eq!(forbidden(&[1, 2, 1, 3, 1], 2), [2, 3]);
        assert_eq!(forbidden(&[1, 2, 3, 1], 3), [] as [u32; 0]);
        assert_eq!(forbidden(&[1, 4], 1), [1, 4]);
        assert_eq!(forbidden(&[1, 1], 2), [1]);
        assert_eq!(forbidden(&[1, 2], 5), [] as [u32; 0]);
        assert_eq!(forbidden(&[1, 1], 3), [] as [u32; 0]);
        assert_eq!(forbidden(&[1, 2], 0), [] as [u32; 0]);
        assert_eq!(forbidden(&[], 1), [] as [u32; 0]);
    }
}
