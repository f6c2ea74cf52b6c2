//! Word links without a network: statistics of which words stand in sentences that translate each
//! other.
//!
//! Two models, one in which source words make target words and one the other way round, learn by
//! expectation maximisation from nothing but the text that is to be aligned. Each has a lexicon, the
//! probability of a word given the word that makes it, and a model of positions ([`Method`]). As
//! Liang, Taskar and Klein (2006), “Alignment by Agreement”, found, links become much better
//! if the two are made to agree while they learn ([`Coupling::Agreement`]): what is counted is the
//! product of the probabilities that both give a link. Rare words profit from words that look like
//! them ([`BackOff`]).
//!
//! | module | what it is for |
//! |---|---|
//! | `bitext` | words → numbers |
//! | `lexicon`, `backoff` | which words translate each other |
//! | `positions`, `hmm`, `jumps`, `diagonal` | where translations stand |
//! | `pass` | expectation, over all sentences, on all threads |
//! | `scorer` | whether two sentences translate each other at all |
//!
//! Results are the same bits for any number of threads: chunks of sentences are added up in their
//! order, and what many threads add to is whole numbers.

mod backoff;
mod bitext;
mod diagonal;
mod hmm;
mod jumps;
mod lexicon;
mod pass;
mod positions;
mod scorer;
mod sentence;

use std::num::NonZeroUsize;

pub use self::{
    backoff::BackOff,
    bitext::Bitext,
    scorer::{PairScorer, Sample, ScorerState},
};
use self::{
    lexicon::{Lexicon, cells_of},
    pass::{Model, Worker},
    positions::Positions,
};
use crate::{
    Result,
    alignment::{Link, Symmetrization, symmetrize},
};

/// Sentence pairs that a thread works on at once.
const CHUNK: usize = 256;

/// Source words times target words beyond which a pair is no sentence: it is left out.
const LARGEST_PAIR: usize = 1 << 22;

/// How often a word is made by none.
const P_UNALIGNED: f32 = 0.1;

/// Iterations of model 1 that other models begin with.
const FIRST_ITERATIONS: usize = 3;

/// A model of the places where translations stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// Any place is as good as another (Brown et al., 1993, model 1).
    Ibm1,
    /// The place is the same share of the sentence, about (Dyer et al., 2013).
    Diagonal,
    /// The place is near that of the word before, about (Vogel et al., 1996).
    #[default]
    Hmm,
}

/// Whether two directions learn from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coupling {
    /// Each learns for itself.
    None,
    /// A link counts as far as both think it probable.
    #[default]
    Agreement,
}

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The model that finds the links.
    pub method: Method,
    /// Passes over the text to learn it from; models other than [`Method::Ibm1`] begin with three
    /// passes of that.
    pub iterations: NonZeroUsize,
    /// Whether the two directions learn from each other.
    pub coupling: Coupling,
    /// How much words are told by words that look like them; none for the bare models of the
    /// papers, in which no prior takes part.
    pub back_off: Option<BackOff>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            method: Method::default(),
            iterations: NonZeroUsize::new(5).expect("not zero"),
            coupling: Coupling::default(),
            back_off: Some(BackOff::default()),
        }
    }
}

/// A pass over the text that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iteration {
    /// The model that learned.
    pub method: Method,
    /// Which pass of this model, counted from one.
    pub number: usize,
    /// Nats per target word given the source, and per source word given the target, before the pass
    /// changed anything: minus the mean logarithm of the probability.
    pub nats_per_word: [f64; 2],
}

/// A text whose words can be linked.
#[derive(Debug)]
pub struct Aligner {
    bitext: Bitext,
    model: Model,
}

/// How probable each link of a pair is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairWeights {
    /// `[tgt_words, src_words]`: that the source word made the target word. A row together with its
    /// entry of `forward_unaligned` sums to one, up to rounding.
    pub forward: Vec<Vec<f32>>,
    /// `[tgt_words]`: that no source word made the target word.
    pub forward_unaligned: Vec<f32>,
    /// `[tgt_words, src_words]`: that the target word made the source word.
    pub reverse: Vec<Vec<f32>>,
}

impl Aligner {
    /// Learns from the text that is to be aligned. `observe` is told of each pass.
    ///
    /// # Errors
    /// [`Error::WordPairs`](crate::Error::WordPairs) if the text has too many different words.
    pub fn train(
        bitext: Bitext,
        config: &Config,
        mut observe: impl FnMut(Iteration),
    ) -> Result<Self> {
        let lexicon = Lexicon::new(&bitext, config.back_off)?;
        let mut model = Model { lexicon, positions: [Positions::Alike, Positions::Alike] };
        let mut learn = |model: &mut Model, method, iterations| {
            model.positions = [Positions::new(method), Positions::new(method)];
            for number in 1..=iterations {
                let nats_per_word = model.learn(&bitext, config);
                observe(Iteration { method, number, nats_per_word });
            }
        };
        if config.method != Method::Ibm1 {
            learn(&mut model, Method::Ibm1, FIRST_ITERATIONS);
        }
        learn(&mut model, config.method, config.iterations.get());
        Ok(Self { bitext, model })
    }

    /// The links of all pairs, in their order. Those of a direction link a word to the word that
    /// most probably made it, unless it is more probable that none did.
    pub fn links(&self, symmetrization: Symmetrization) -> Vec<Vec<Link>> {
        let link =
            |forward: &[Link], reverse: &[Link]| symmetrize(symmetrization, forward, reverse);
        self.model.links(&self.bitext, link)
    }

    /// How probable the links of pair `idx` are, if it takes part.
    ///
    /// # Panics
    /// If there are not as many pairs.
    pub fn weights(&self, idx: usize) -> PairWeights {
        let (src, tgt) = self.bitext.pair(idx);
        let cells = self.model.lexicon.cells_of_pair((src, tgt));
        if cells.is_empty() {
            return PairWeights::default();
        }
        let mut worker = Worker::default();
        worker.run(&self.model, &self.bitext, idx, &cells, &mut Default::default());
        let [forward, reverse] = &worker.posteriors;
        let column =
            |tgt_idx: usize| reverse.links[tgt_idx..].iter().step_by(tgt.len()).copied().collect();
        PairWeights {
            forward: forward.links.chunks(src.len()).map(<[f32]>::to_vec).collect(),
            forward_unaligned: forward.unaligned.clone(),
            reverse: (0..tgt.len()).map(column).collect(),
        }
    }

    /// The text.
    pub fn bitext(&self) -> &Bitext {
        &self.bitext
    }

    /// How many pairs are too large to be sentences; they have no links.
    pub fn left_out(&self) -> usize {
        let pairs = (0..self.bitext.len()).map(|idx| self.bitext.pair(idx));
        pairs
            .filter(|pair| !pair.0.is_empty() && !pair.1.is_empty() && cells_of(*pair) == 0)
            .count()
    }
}

impl Model {
    /// One pass: expectation, then maximisation. Returns the nats per word of both directions.
    fn learn(&mut self, bitext: &Bitext, config: &Config) -> [f64; 2] {
        let evidence = self.expect(bitext, config.coupling);
        self.lexicon.maximize(config.back_off);
        let [src_words, tgt_words] = bitext.words();
        let words = [tgt_words, src_words];
        let mut nats_per_word = [0.0; 2];
        for direction in 0..2 {
            self.positions[direction].maximize(&evidence[direction], config.back_off.is_some());
            nats_per_word[direction] =
                -evidence[direction].log_likelihood / words[direction].max(1) as f64;
        }
        nats_per_word
    }
}

#[cfg(test)]
mod tests;
