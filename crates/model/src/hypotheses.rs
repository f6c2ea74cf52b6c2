//! What searches on a GPU have in common: whose rows there are, what they said, and what they saw.

use std::ops::Range;

use candle_core::{Device, Tensor};
use kernels::gpu::search::{self, Best, Spans};

use crate::{Interest, Result, Special, Step};

/// The hypotheses of a batch of sentences, a row each.
#[derive(Debug)]
pub(crate) struct Hypotheses {
    /// Where the rows of each encoded sentence begin, and how many they are.
    sources: Vec<(usize, usize)>,
    /// The sentence of each hypothesis.
    sentences: Vec<usize>,
    /// What each hypothesis sees of the encoded sentences.
    pub(crate) spans: Spans,
    /// Where the rows were when they read last, if they have moved since.
    parents: Option<Vec<u32>>,
    /// What will be looked at.
    interest: Interest,
    scores: Scores,
    /// What each row saw of the source.
    weights: Vec<Vec<f32>>,
}

/// What the rows said when they were read.
#[derive(Debug)]
enum Scores {
    /// `[rows, vocab]`.
    All(Vec<f32>),
    Best(Vec<Best>),
}

impl Hypotheses {
    /// One for each sentence; `offsets` say where the rows of sentences begin, and where the last end.
    pub(crate) fn new(offsets: &[usize], device: &Device) -> Result<Self> {
        let sources: Vec<(usize, usize)> =
            offsets.windows(2).map(|ends| (ends[0], ends[1] - ends[0])).collect();
        Ok(Self {
            sentences: (0..sources.len()).collect(),
            spans: Spans::new(&sources, device)?,
            sources,
            parents: None,
            interest: Interest::default(),
            scores: Scores::All(Vec::new()),
            weights: Vec::new(),
        })
    }

    /// Which row each row was when it read last, if that is another; asked for at each read.
    pub(crate) fn moved(&mut self, device: &Device) -> Result<Option<Vec<u32>>> {
        let Some(parents) = self.parents.take() else { return Ok(None) };
        let spans: Vec<_> = self.sentences.iter().map(|&s| self.sources[s]).collect();
        self.spans = Spans::new(&spans, device)?;
        Ok(Some(parents))
    }

    /// Makes old row `rows[i]`, which there is, the new row `i`.
    pub(crate) fn select(&mut self, rows: &[usize]) {
        self.sentences = rows.iter().map(|&row| self.sentences[row]).collect();
        let parent = |&row: &usize| match &self.parents {
            Some(parents) => parents[row],
            None => row as u32,
        };
        self.parents = Some(rows.iter().map(parent).collect());
    }

    /// What will be looked at.
    pub(crate) fn expect(&mut self, interest: Interest) {
        self.interest = interest;
    }

    /// Whether what the rows see will be looked at.
    pub(crate) fn are_watched(&self) -> bool {
        self.interest.weights
    }

    /// Keeps what the rows say: `scores` `[rows, vocab]`.
    pub(crate) fn say(&mut self, scores: Tensor, special: Special) -> Result<()> {
        self.scores = match self.interest.best {
            Some(most) => Scores::Best(search::best(scores, most, special.eos)?),
            None => Scores::All(scores.flatten_all()?.to_vec1()?),
        };
        Ok(())
    }

    /// Keeps what the rows saw: `weights`, packed to the lengths of their sentences.
    pub(crate) fn see(&mut self, weights: Vec<Vec<f32>>) {
        self.weights = weights;
    }

    /// Weights `[rows, parts · longest sentence]`, part by part as long as the sentence of each row.
    pub(crate) fn packed(&self, rows: impl Iterator<Item = Vec<f32>>) -> Vec<Vec<f32>> {
        let packed = |(row, &sentence): (Vec<f32>, &usize)| -> Vec<f32> {
            let parts = row.chunks_exact(self.spans.longest());
            parts.flat_map(|part| &part[..self.sources[sentence].1]).copied().collect()
        };
        rows.zip(&self.sentences).map(packed).collect()
    }

    /// How many there are.
    pub(crate) fn rows(&self) -> usize {
        self.sentences.len()
    }

    /// What some of the rows said and saw, once after they were read.
    pub(crate) fn predict(
        &mut self,
        rows: Range<usize>,
        (vocab, special): (usize, Special),
        step: &mut Step,
    ) {
        step.weights.clear();
        step.weights.extend(self.weights[rows.clone()].iter_mut().map(std::mem::take));
        match &self.scores {
            Scores::All(scores) => step.fill(&scores[rows.start * vocab..rows.end * vocab], vocab),
            Scores::Best(best) => {
                step.list_rows(rows.len(), vocab);
                for Best { tokens, shift, end } in &best[rows] {
                    let end = (special.eos, *end);
                    let known = tokens.iter().any(|&(token, _)| token == end.0);
                    let tokens = tokens.iter().copied().chain((!known).then_some(end));
                    step.list(vocab, *shift, tokens);
                }
            }
        }
    }
}
