//! Counts per sentence, from which the score of any selection of sentences is computed.

use super::{Error, Metric, Result, Score};

/// What a metric counted in each sentence of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    metric: Metric,
    n_refs: usize,
    sentences: usize,
    width: usize,     // counts per sentence
    counts: Vec<f64>, // [sentences, width]
}

/// The score of those sentences that share a bucket, for instance a range of source lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// The number of the bucket.
    pub bucket: usize,
    /// How many sentences are in it.
    pub sentences: usize,
    /// Their score as a text of their own.
    pub score: Score,
}

impl Statistics {
    pub(super) fn new(metric: Metric, hyps: &[String], refs: &[Vec<String>]) -> Result<Self> {
        if refs.is_empty() {
            return Err(Error::NoReferences);
        }
        for (idx, lines) in refs.iter().enumerate() {
            if lines.len() != hyps.len() {
                let (found, expected) = (lines.len(), hyps.len());
                return Err(Error::LengthMismatch { reference: idx + 1, found, expected });
            }
        }
        let mut statistics = Self::empty(metric, refs.len());
        for (idx, hyp) in hyps.iter().enumerate() {
            let refs: Vec<&str> = refs.iter().map(|lines| lines[idx].as_str()).collect();
            statistics.push(hyp, &refs)?;
        }
        if hyps.is_empty() { Err(Error::NoHypotheses) } else { Ok(statistics) }
    }

    pub(super) fn empty(metric: Metric, n_refs: usize) -> Self {
        Self { metric, n_refs, sentences: 0, width: 0, counts: Vec::new() }
    }

    /// Counts one more sentence: a text may be read line by line.
    ///
    /// # Errors
    /// [`Error::NoReferences`]; [`Error::ReferenceMismatch`] if there are more or fewer
    /// references than for the sentences before.
    pub fn push(&mut self, hyp: &str, refs: &[&str]) -> Result<()> {
        if refs.is_empty() {
            return Err(Error::NoReferences);
        }
        if refs.len() != self.n_refs {
            return Err(Error::ReferenceMismatch { found: refs.len(), expected: self.n_refs });
        }
        let counts = self.metric.definition().counts(hyp, refs);
        self.width = counts.len();
        self.counts.extend(counts);
        self.sentences += 1;
        Ok(())
    }

    /// The metric and its settings.
    pub fn metric(&self) -> &Metric {
        &self.metric
    }

    /// How many sentences there are.
    pub fn sentences(&self) -> usize {
        self.sentences
    }

    /// All settings that can change a score.
    pub fn signature(&self) -> String {
        self.metric.signature(self.n_refs)
    }

    /// The score of the whole text.
    pub fn score(&self) -> Score {
        self.score_of(0..self.sentences)
    }

    /// The score of the sentences with these indices, each counted as often as it is named.
    ///
    /// # Panics
    /// If there is no sentence with one of the indices.
    pub fn score_of(&self, indices: impl IntoIterator<Item = usize>) -> Score {
        let mut totals = self.zeros();
        indices.into_iter().for_each(|idx| self.add(idx, &mut totals));
        let definition = self.metric.definition();
        let (name, value) = (definition.name(), definition.value(&totals));
        let details = definition.details(&totals).map_or(String::new(), |text| format!(" {text}"));
        let line = format!("{name} = {value:.2}{details}");
        Score { name, value, line, signature: self.signature() }
    }

    /// The scores of all buckets that have a sentence, in order. `assignment` tells each
    /// sentence's bucket.
    ///
    /// # Errors
    /// [`Error::BucketMismatch`] if `assignment` is not as long as the text.
    pub fn buckets(&self, assignment: &[usize]) -> Result<Vec<Bucket>> {
        if assignment.len() != self.sentences {
            let (found, expected) = (assignment.len(), self.sentences);
            return Err(Error::BucketMismatch { found, expected });
        }
        let mut order: Vec<usize> = (0..self.sentences).collect();
        order.sort_by_key(|&idx| assignment[idx]); // stable: within a bucket, as in the text
        let buckets = order.chunk_by(|&a, &b| assignment[a] == assignment[b]);
        Ok(buckets
            .map(|indices| Bucket {
                bucket: assignment[indices[0]],
                sentences: indices.len(),
                score: self.score_of(indices.iter().copied()),
            })
            .collect())
    }

    pub(super) fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.width]
    }

    /// Adds the counts of sentence `idx` to `totals`.
    pub(super) fn add(&self, idx: usize, totals: &mut [f64]) {
        let counts = &self.counts[idx * self.width..][..self.width];
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }

    pub(super) fn value(&self, totals: &[f64]) -> f64 {
        self.metric.definition().value(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics() -> Statistics {
        let lines = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
        let hyps = lines(["a b c d e", "a b", "x y z"]);
        let refs = lines(["a b c d e", "a c", "u v w"]);
        "ter".parse::<Metric>().unwrap().statistics(&hyps, &[refs]).unwrap()
    }

    #[test]
    fn a_bucket_scores_as_a_text_of_its_own() {
        let buckets = statistics().buckets(&[7, 2, 7]).unwrap();
        let summary: Vec<_> =
            buckets.iter().map(|b| (b.bucket, b.sentences, b.score.line.as_str())).collect();
        assert_eq!(summary, [(2, 1, "TER = 50.00"), (7, 2, "TER = 37.50")]);
    }

    #[test]
    fn sentences_one_by_one_count_as_all_at_once() {
        let whole = statistics();
        let mut parts = whole.metric().of_no_sentences(1);
        for (hyp, reference) in [("a b c d e", "a b c d e"), ("a b", "a c"), ("x y z", "u v w")] {
            parts.push(hyp, &[reference]).unwrap();
        }
        assert_eq!(parts, whole);
        let error = parts.push("a", &["a", "b"]).unwrap_err().to_string();
        assert_eq!(error, "a sentence has 2 references, those before have 1");
        assert_eq!(parts.push("a", &[]), Err(Error::NoReferences));
        assert_eq!(parts.sentences(), 3);
    }

    #[test]
    fn a_bucket_for_each_sentence_is_required() {
        let error = statistics().buckets(&[1, 2]).unwrap_err();
        assert_eq!(error.to_string(), "2 sentences have a bucket, but 3 have a score");
    }

    #[test]
    fn a_sentence_named_twice_counts_twice() {
        assert_eq!(statistics().score_of([0, 0, 2]).line, "TER = 23.08"); // 3 of 13
    }
}
