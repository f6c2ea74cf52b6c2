//! Several models as one: each token is predicted by all of them.
//!
//! The members may be of any family, size and precision. They must share the target vocabulary,
//! as they predict the same tokens; a source each may cut in its own way.

use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use kernels::{Real, logits, slices};
use model::{EncoderDecoder, Interest, Special, Step};
use rayon::prelude::*;
use text::{Tokenizer, Tokenizers};

use crate::{Error, Result};

/// What the predictions of several models become one by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mean {
    /// The mean of probabilities: what one of the models finds likely is likely.
    #[default]
    Probabilities,
    /// The mean of log-probabilities, made to probabilities that sum to one: what one of the
    /// models finds unlikely is unlikely.
    LogProbabilities,
}

impl FromStr for Mean {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "probabilities" => Ok(Self::Probabilities),
            "log-probabilities" => Ok(Self::LogProbabilities),
            _ => Err("expected probabilities or log-probabilities".into()),
        }
    }
}

/// One model, or several that predict together. One alone is what it is, at no cost.
#[derive(Debug)]
pub struct Ensemble<M> {
    first: M,
    others: Vec<Member<M>>,
    mean: Mean,
}

/// A model beside the first.
#[derive(Debug)]
struct Member<M> {
    model: M,
    /// From the first model's source tokenizer to its own, where that is another.
    recode: Option<(Arc<Tokenizer>, Arc<Tokenizer>)>,
}

/// Where the searches of all members stand.
#[derive(Clone, Debug)]
pub struct State<S> {
    first: S,
    others: Vec<S>,
    /// What one of the others says.
    step: Step,
}

impl<M> From<M> for Ensemble<M> {
    fn from(first: M) -> Self {
        Self { first, others: Vec::new(), mean: Mean::default() }
    }
}

impl<M: EncoderDecoder> Ensemble<M> {
    /// Puts models together, `first` with its tokenizers and others with theirs.
    ///
    /// # Errors
    /// [`Error::Ensemble`] if one does not predict the tokens of the first.
    pub fn new(
        (first, tokenizers): (M, &Tokenizers),
        others: Vec<(M, Tokenizers)>,
        mean: Mean,
    ) -> Result<Self> {
        let member = |(number, (model, own)): (usize, (M, Tokenizers))| {
            check(number, (&first, tokenizers), (&model, &own))?;
            let same = tokenizers.src.fingerprint() == own.src.fingerprint();
            let recode = (!same).then(|| (Arc::clone(&tokenizers.src), own.src));
            Ok(Member { model, recode })
        };
        let others = (2..).zip(others).map(member).collect::<Result<_>>()?;
        Ok(Self { first, others, mean })
    }

    /// How many models there are.
    pub fn size(&self) -> usize {
        1 + self.others.len()
    }
}

/// Makes sure that a model fits the first one.
fn check<M: EncoderDecoder>(
    number: usize,
    (first, tokenizers): (&M, &Tokenizers),
    (model, own): (&M, &Tokenizers),
) -> Result<()> {
    let differs =
        |what, found, expected| Err(Error::Ensemble { model: number, what, found, expected });
    let (found, expected) = (model.vocab(), first.vocab());
    if found != expected {
        return differs("target vocabulary size", found.to_string(), expected.to_string());
    }
    let (found, expected) = (own.tgt.fingerprint(), tokenizers.tgt.fingerprint());
    if found != expected {
        return differs("target tokenizer (fingerprint)", found, expected);
    }
    let (found, expected) = (model.special(), first.special());
    if found != expected {
        return differs("special ids", format!("{found:?}"), format!("{expected:?}"));
    }
    let (found, expected) = (&own.normalize, &tokenizers.normalize);
    if found != expected {
        return differs("normalisation of text", format!("{found:?}"), format!("{expected:?}"));
    }
    Ok(())
}

impl<M> Member<M> {
    /// Sentences in the tokens of this member.
    fn own(&self, src: &[Vec<u32>]) -> model::Result<Option<Vec<Vec<u32>>>> {
        let Some((from, to)) = &self.recode else { return Ok(None) };
        let recode = |ids: &Vec<u32>| Ok(to.encode(&from.decode(ids)?)?.ids);
        let recoded: text::Result<_> = src.iter().map(recode).collect();
        recoded.map(Some).map_err(|error| model::Error::Source(error.to_string()))
    }
}

impl<M: EncoderDecoder> EncoderDecoder for Ensemble<M> {
    type State = State<M::State>;

    fn vocab(&self) -> usize {
        self.first.vocab()
    }

    fn special(&self) -> Special {
        self.first.special()
    }

    fn start(&self, src: &[Vec<u32>]) -> model::Result<Self::State> {
        let start = |member: &Member<M>| match member.own(src)? {
            Some(own) => member.model.start(&own),
            None => member.model.start(src),
        };
        let others = self.others.iter().map(start).collect::<model::Result<_>>()?;
        Ok(State { first: self.first.start(src)?, others, step: Step::default() })
    }

    fn read(&self, state: &mut Self::State, last: &[u32]) -> model::Result<()> {
        for (member, state) in self.others.iter().zip(&mut state.others) {
            member.model.read(state, last)?;
        }
        self.first.read(&mut state.first, last)
    }

    fn predict(
        &self,
        state: &mut Self::State,
        rows: Range<usize>,
        step: &mut Step,
    ) -> model::Result<()> {
        let State { first, others, step: other } = state;
        self.first.predict(first, rows.clone(), step)?;
        if self.others.is_empty() {
            return Ok(());
        }
        let vocab = self.vocab();
        make_log_probs(step, vocab);
        let mut seen = usize::from(step.weights.iter().all(|row| !row.is_empty()));
        for (n, (member, state)) in (1..).zip(self.others.iter().zip(others)) {
            member.model.predict(state, rows.clone(), other)?;
            make_log_probs(other, vocab);
            join(self.mean, n, &mut step.scores, &other.scores);
            if member.recode.is_none() && other.weights.iter().all(|row| !row.is_empty()) {
                seen += 1;
                add_weights(&mut step.weights, &mut other.weights, seen);
            }
        }
        let (mean, chunks) = (self.mean, vocab.div_ceil(logits::CHUNK));
        let rows = step.scores.par_chunks_mut(vocab).zip(step.peaks.par_chunks_mut(chunks));
        rows.for_each(|(row, peaks)| {
            if mean == Mean::LogProbabilities {
                let peak = slices::max(row);
                let total = peak + slices::sum_exp_shifted(row, peak).ln();
                row.iter_mut().for_each(|log_prob| *log_prob -= total);
            }
            logits::peaks(row, peaks);
        });
        Ok(())
    }

    fn expect(&self, state: &mut Self::State, interest: Interest) {
        // What is best together need not be among the best of one.
        if self.others.is_empty() {
            self.first.expect(&mut state.first, interest);
        }
    }

    fn select(&self, state: &mut Self::State, rows: &[usize]) -> model::Result<()> {
        for (member, state) in self.others.iter().zip(&mut state.others) {
            member.model.select(state, rows)?;
        }
        self.first.select(&mut state.first, rows)
    }
}

/// Makes log-probabilities of the scores of a step. Its peaks are wrong from here on.
fn make_log_probs(step: &mut Step, vocab: usize) {
    for (row, shift) in step.scores.chunks_exact_mut(vocab).zip(&mut step.shifts) {
        let shift = std::mem::take(shift);
        row.iter_mut().for_each(|score| *score += shift);
    }
}

/// Numbers of one thread's share.
const SHARE: usize = 4096;

/// Makes means over `n` models to means over one more.
fn join(mean: Mean, n: usize, means: &mut [f32], others: &[f32]) {
    let (old, new) = (n as f32 / (n + 1) as f32, 1.0 / (n + 1) as f32);
    let (old_log, new_log) = (old.ln(), new.ln());
    let pairs = means.par_chunks_mut(SHARE).zip(others.par_chunks(SHARE));
    pairs.for_each(|(means, others)| {
        for (mean_so_far, &other) in means.iter_mut().zip(others) {
            *mean_so_far = match mean {
                Mean::Probabilities => log_add(*mean_so_far + old_log, other + new_log),
                Mean::LogProbabilities => *mean_so_far * old + other * new,
            };
        }
    });
}

/// `log(exp(a) + exp(b))`; NaN if one is.
fn log_add(a: f32, b: f32) -> f32 {
    let (high, low) = if a < b { (b, a) } else { (a, b) };
    if low == f32::NEG_INFINITY {
        return high; // which may be no more, or NaN
    }
    high + (1.0 + Real::exp(low - high)).ln()
}

/// Makes means over all but one of `n` models to means over all of them. Where there was none yet,
/// `others` are the first.
fn add_weights(means: &mut [Vec<f32>], others: &mut [Vec<f32>], n: usize) {
    for (means, others) in means.iter_mut().zip(others) {
        if means.is_empty() {
            std::mem::swap(means, others);
            continue;
        }
        let new = 1.0 / n as f32;
        for (mean, other) in means.iter_mut().zip(others) {
            *mean += (*other - *mean) * new;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use text::{Normalize, TokenizerConfig};

    use super::*;
    use crate::{
        SearchConfig, score, search,
        toy::{SPECIAL, Toy},
    };

    fn tokenizers(line: &str) -> Tokenizers {
        let lines = vec![line.to_owned(); 3].into_iter();
        Tokenizers::one(Tokenizer::train(&TokenizerConfig::default(), lines).unwrap())
    }

    /// Toys of these seeds with the same tokenizer.
    fn toys(seeds: &[u64], mean: Mean) -> Ensemble<Toy> {
        let tokenizers = tokenizers("the cat");
        let toy = |&seed: &u64| (Toy { eos_bonus: 1.0, ..Toy::new(11, seed) }, tokenizers.clone());
        let others = seeds[1..].iter().map(toy).collect();
        Ensemble::new((toy(&seeds[0]).0, &tokenizers), others, mean).unwrap()
    }

    fn step(model: &Ensemble<Toy>) -> Step {
        let mut state = model.start(&[vec![4, 5], vec![6]]).unwrap();
        model.step(&mut state, &[SPECIAL.bos; 2]).unwrap()
    }

    #[test]
    fn predictions_are_means_of_those_of_the_models() {
        let seeds = [1, 2, 3];
        let singles = seeds.map(|seed| step(&toys(&[seed], Mean::Probabilities)));
        let own = singles.each_ref().map(|step| &step.scores); // a toy has no shift
        for mean in [Mean::Probabilities, Mean::LogProbabilities] {
            let joined = step(&toys(&seeds, mean));
            for row in 0..2 {
                let ids = row * 11..(row + 1) * 11;
                let raw: Vec<f64> = (ids.clone())
                    .map(|id| {
                        let of_all = own.map(|log_probs| f64::from(log_probs[id]));
                        match mean {
                            Mean::Probabilities => of_all.map(f64::exp).iter().sum::<f64>() / 3.0,
                            Mean::LogProbabilities => (of_all.iter().sum::<f64>() / 3.0).exp(),
                        }
                    })
                    .collect();
                let total: f64 = raw.iter().sum();
                for (id, expected) in ids.zip(&raw) {
                    // Log-probabilities below 8 in size, rounded to `f32` a few times.
                    let difference = f64::from(joined.scores[id]) - (expected / total).ln();
                    assert!(difference.abs() < 1e-5, "{mean:?} {id} {difference}");
                }
                let seen = |source: usize| -> f32 {
                    singles.iter().map(|step| step.weights[row][source]).sum::<f32>() / 3.0
                };
                for (source, weight) in joined.weights[row].iter().enumerate() {
                    assert!((weight - seen(source)).abs() < 1e-6);
                }
            }
            let again = Step::of_log_probs(joined.scores.clone(), 11, joined.weights.clone());
            assert_eq!(again, joined);
        }
    }

    #[test]
    fn one_model_alone_is_what_it_is() {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(11, 1) };
        let sources = [vec![4, 5, 6], vec![], vec![7]];
        let config = SearchConfig::default();
        let expected = search(&model, &sources, &config).unwrap();
        let ensemble = Ensemble::from(model);
        assert_eq!(ensemble.size(), 1);
        assert_eq!(search(&ensemble, &sources, &config).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn neighbours_change_nothing_and_scores_are_those_of_the_search(
            seeds in prop::collection::vec(0u64..100, 1..4),
            sources in prop::collection::vec(prop::collection::vec(4u32..9, 0..5), 1..5),
            log in any::<bool>(),
        ) {
            let mean = if log { Mean::LogProbabilities } else { Mean::Probabilities };
            let model = toys(&seeds, mean);
            let config = SearchConfig::default();
            let together = search(&model, &sources, &config).unwrap();
            let best = together.iter().map(|found| found[0].ids.clone()).collect::<Vec<_>>();
            let scored = score(&model, &sources, &best).unwrap();
            for ((src, found), scored) in sources.iter().zip(&together).zip(&scored) {
                let alone = search(&model, std::slice::from_ref(src), &config).unwrap();
                prop_assert_eq!(&alone[0], found);
                if found[0].finished {
                    prop_assert_eq!(scored.log_prob, found[0].log_prob);
                    prop_assert_eq!(&scored.weights, &found[0].weights);
                }
            }
        }
    }

    #[test]
    fn a_source_is_cut_as_each_member_cuts_it() {
        let (ours, theirs) = (tokenizers("the cat the cat"), tokenizers("zz"));
        let tokenizers =
            |src: &Tokenizers| Tokenizers { src: Arc::clone(&src.src), ..ours.clone() };
        let toy = |seed| Toy::new(ours.tgt.vocab_size(), seed);
        let member = vec![(toy(2), tokenizers(&theirs))];
        let model = Ensemble::new((toy(1), &tokenizers(&ours)), member, Mean::default()).unwrap();
        let ids = |of: &Tokenizers| vec![of.src.encode("the cat").unwrap().ids];
        assert_ne!(ids(&ours), ids(&theirs));
        let mut state = model.start(&ids(&ours)).unwrap();
        let found = model.step(&mut state, &[SPECIAL.bos]).unwrap();
        // What the other read has another length: its attention is left out.
        assert_eq!(found.weights[0], toy(1).weights(&ids(&ours)[0], &[SPECIAL.bos]));
        let other = toy(2).log_probs(&ids(&theirs)[0], &[SPECIAL.bos]);
        let own = toy(1).log_probs(&ids(&ours)[0], &[SPECIAL.bos]);
        let mut expected = own;
        join(Mean::Probabilities, 1, &mut expected, &other);
        assert_eq!(found.scores, expected);
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let ours = tokenizers("the cat the cat");
        let size = ours.tgt.vocab_size();
        let refused = |model: Toy, own: Tokenizers| {
            let first = (Toy::new(size, 1), &ours);
            Ensemble::new(first, vec![(model, own)], Mean::default()).unwrap_err().to_string()
        };
        let message = refused(Toy::new(size + 1, 2), ours.clone());
        let expected = format!("its target vocabulary size is {}, expected {size}", size + 1);
        assert!(message.starts_with("model 2 ") && message.ends_with(&expected), "{message}");
        let message = refused(Toy::new(size, 2), tokenizers("zz"));
        assert!(message.contains("target tokenizer (fingerprint) is"), "{message}");
        let message = refused(
            Toy::new(size, 2),
            Tokenizers { normalize: Normalize::default(), ..ours.clone() },
        );
        assert!(message.contains("normalisation of text"), "{message}");
    }

    #[test]
    fn sums_of_probabilities_know_their_odd_cases() {
        let nothing = f32::NEG_INFINITY;
        assert_eq!(log_add(nothing, nothing), nothing);
        assert_eq!(log_add(-1.0, nothing), -1.0);
        assert_eq!(log_add(nothing, -1.0), -1.0);
        assert!((log_add(0.5f32.ln(), 0.25f32.ln()) - 0.75f32.ln()).abs() < 1e-6);
        assert!(log_add(f32::NAN, -1.0).is_nan() && log_add(-1.0, f32::NAN).is_nan());
        assert!(log_add(nothing, f32::NAN).is_nan() && log_add(f32::NAN, nothing).is_nan());
    }
}
