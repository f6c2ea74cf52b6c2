//! What a model says about the next token of some hypotheses.

use kernels::logits;

/// What will be looked at of what a model says. [`Default`] is everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// How many of the best tokens of a row, besides the end of the sentence; any of them without
    /// it. A model that computes far from the processor then leaves all others impossible.
    pub best: Option<usize>,
    /// Log-probabilities. Otherwise the shifts of a step may be zero, and only tell of a NaN.
    pub log_probs: bool,
    /// Attention weights. Otherwise there may be none.
    pub weights: bool,
}

impl Default for Interest {
    fn default() -> Self {
        Self { best: None, log_probs: true, weights: true }
    }
}

/// What a step gives for each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// A number for every token that may come next: `[rows, vocab]`, row by row. With the shift of
    /// its row it is the log-probability of the token, in nats.
    pub scores: Vec<f32>,
    /// What makes log-probabilities of the scores of a row: `[rows]`. NaN if one of the scores is.
    pub shifts: Vec<f32>,
    /// The largest of each [`CHUNK`](kernels::logits::CHUNK) scores of a row:
    /// `[rows, vocab / CHUNK]`, rounded up. What is best is found without looking at
    /// everything.
    pub peaks: Vec<f32>,
    /// Attention over the source, the last entry for its EOS: `[src_len + 1]` for each row.
    /// Empty for a model without attention.
    pub weights: Vec<Vec<f32>>,
    /// Which scores may be other than −∞, if that is known.
    pub(crate) possible: Option<Vec<usize>>,
}

impl Step {
    /// A step of these log-probabilities `[rows, vocab]`.
    ///
    /// # Panics
    /// If `vocab` is zero.
    pub fn of_log_probs(log_probs: Vec<f32>, vocab: usize, weights: Vec<Vec<f32>>) -> Self {
        let chunks = vocab.div_ceil(logits::CHUNK);
        let rows = log_probs.chunks_exact(vocab);
        let mut peaks = vec![0.0; rows.len() * chunks];
        let mut shifts = Vec::new();
        for (row, peaks) in rows.zip(peaks.chunks_exact_mut(chunks)) {
            logits::peaks(row, peaks);
            shifts.push(if row.iter().any(|x| x.is_nan()) { f32::NAN } else { 0.0 });
        }
        Self { scores: log_probs, shifts, peaks, weights, possible: None }
    }

    /// Forgets the scores of the step before.
    pub(crate) fn begin(&mut self) {
        self.possible = None;
        self.scores.clear();
        self.shifts.clear();
        self.peaks.clear();
    }

    /// Makes room for rows of which few tokens are possible, and leaves all impossible: what was
    /// [listed](Self::list) is taken back, so that it costs no more than there was.
    pub(crate) fn list_rows(&mut self, rows: usize, vocab: usize) {
        let chunks = vocab.div_ceil(logits::CHUNK);
        match &mut self.possible {
            Some(places) if self.peaks.len() * vocab == self.scores.len() * chunks => {
                for place in places.drain(..) {
                    self.scores[place] = f32::NEG_INFINITY;
                    self.peaks[place / vocab * chunks + place % vocab / logits::CHUNK] =
                        f32::NEG_INFINITY;
                }
            }
            _ => {
                self.scores.clear();
                self.peaks.clear();
                self.possible = Some(Vec::new());
            }
        }
        self.scores.resize(rows * vocab, f32::NEG_INFINITY);
        self.peaks.resize(rows * chunks, f32::NEG_INFINITY);
        self.shifts.clear();
    }

    /// Adds the next of the rows that [`Self::list_rows`] made room for: scores of some tokens.
    pub(crate) fn list(
        &mut self,
        vocab: usize,
        shift: f32,
        tokens: impl IntoIterator<Item = (u32, f32)>,
    ) {
        let (row, chunks) = (self.shifts.len(), vocab.div_ceil(logits::CHUNK));
        self.shifts.push(shift);
        for (token, score) in tokens {
            let (place, token) = (row * vocab + token as usize, token as usize);
            let peak = &mut self.peaks[row * chunks + token / logits::CHUNK];
            *peak = peak.max(score);
            self.scores[place] = score;
            self.possible.get_or_insert_default().push(place);
        }
    }

    /// Rows of all scores, `[rows, vocab]`.
    pub(crate) fn fill(&mut self, scores: &[f32], vocab: usize) {
        let chunks = vocab.div_ceil(logits::CHUNK);
        let rows = scores.len() / vocab;
        self.possible = None;
        self.scores.clear();
        self.scores.extend_from_slice(scores);
        self.peaks.resize(rows * chunks, 0.0);
        self.shifts.clear();
        let mut sums = vec![0.0; chunks];
        for (row, peaks) in scores.chunks_exact(vocab).zip(self.peaks.chunks_exact_mut(chunks)) {
            logits::digest(row, peaks, &mut sums);
            self.shifts.push(logits::log_softmax_shift(peaks, &sums));
        }
    }

    /// The log-probabilities of a row, in nats: `[vocab]`.
    pub fn log_probs(&self, row: usize, vocab: usize) -> impl Iterator<Item = f32> {
        let shift = self.shifts[row];
        self.scores[row * vocab..][..vocab].iter().map(move |score| score + shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: usize = 150;

    /// Which tokens of each row are possible, with their scores.
    fn possible(step: &Step) -> Vec<Vec<(usize, f32)>> {
        let mut peaks = vec![0.0; step.peaks.len()];
        let chunks = VOCAB.div_ceil(logits::CHUNK);
        let rows = step.scores.chunks_exact(VOCAB).zip(peaks.chunks_exact_mut(chunks));
        let rows = rows.map(|(row, peaks)| {
            logits::peaks(row, peaks);
            let scores = row.iter().copied().enumerate();
            scores.filter(|(_, score)| *score > f32::NEG_INFINITY).collect()
        });
        let rows = rows.collect();
        assert_eq!(peaks, step.peaks);
        rows
    }

    #[test]
    fn what_was_listed_is_taken_back() {
        let mut step = Step::default();
        for (rows, token) in [(2, 149), (3, 7), (1, 70)] {
            step.list_rows(rows, VOCAB);
            (0..rows).for_each(|row| step.list(VOCAB, 0.5, [(token, row as f32), (0, -1.0)]));
            let row = |row| vec![(0, -1.0), (token as usize, row as f32)];
            assert_eq!(possible(&step), (0..rows).map(row).collect::<Vec<_>>());
            assert_eq!(step.shifts, vec![0.5; rows]);
        }
        step.fill(&[0.0; 2 * VOCAB], VOCAB);
        assert_eq!(possible(&step)[1].len(), VOCAB);
        assert!((step.shifts[1] + (VOCAB as f32).ln()).abs() < 1e-5);
        // What was filled is not known, and goes.
        step.list_rows(2, VOCAB);
        step.list(VOCAB, 0.0, [(3, 1.0)]);
        step.list(VOCAB, 0.0, []);
        assert_eq!(possible(&step), [vec![(3, 1.0)], vec![]]);
    }
}
