//! Which word makes which word of a sentence: the models of alignment, behind one type.

use super::{
    Method,
    diagonal::{Diagonal, DiagonalCounts},
    hmm::Trellis,
    jumps::{JumpCounts, Jumps},
    sentence::{Posteriors, Sentence},
};

/// What a model knows of positions.
#[derive(Clone, Debug)]
pub(super) enum Positions {
    /// All are alike: model 1 of Brown, Della Pietra, Della Pietra and Mercer (1993), “The Mathematics of
    /// Statistical Machine Translation”, §4.1.
    Alike,
    /// Those near the diagonal are preferred.
    Diagonal(Diagonal),
    /// Those near the last are preferred.
    Jumps(Jumps),
}

/// What a pass over sentences tells a model of positions.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// The logarithm of the sentences' probability.
    pub(super) log_likelihood: f64,
    jumps: JumpCounts,
    diagonal: DiagonalCounts,
}

impl Positions {
    /// What is known before the first pass.
    pub(super) fn new(method: Method) -> Self {
        match method {
            Method::Ibm1 => Self::Alike,
            Method::Diagonal => Self::Diagonal(Diagonal::new()),
            Method::Hmm => Self::Jumps(Jumps::new()),
        }
    }

    /// Finds how probable the links of a sentence are, and collects evidence.
    pub(super) fn run(
        &self,
        sentence: &Sentence,
        trellis: &mut Trellis,
        evidence: &mut Evidence,
        posteriors: &mut Posteriors,
    ) {
        evidence.log_likelihood += match self {
            Self::Alike => alike(sentence, posteriors),
            Self::Diagonal(diagonal) => diagonal.run(sentence, &mut evidence.diagonal, posteriors),
            Self::Jumps(jumps) => trellis.run(sentence, jumps, &mut evidence.jumps, posteriors),
        };
    }

    /// Learns from the evidence; with a prior on jumps, if wanted.
    pub(super) fn maximize(&mut self, evidence: &Evidence, prior: bool) {
        match self {
            Self::Alike => {}
            Self::Diagonal(diagonal) => diagonal.maximize(&evidence.diagonal),
            Self::Jumps(jumps) => jumps.maximize(&evidence.jumps, prior),
        }
    }
}

impl Evidence {
    /// Adds the evidence of other sentences.
    pub(super) fn add(&mut self, other: &Self) {
        self.log_likelihood += other.log_likelihood;
        self.jumps.add(&other.jumps);
        self.diagonal.add(&other.diagonal);
    }
}

/// Model 1: a translation's probability is all that counts.
fn alike(sentence: &Sentence, posteriors: &mut Posteriors) -> f64 {
    posteriors.clear();
    let even = (1.0 - sentence.p_unaligned) / sentence.from_len as f32;
    let mut log_probability = 0.0;
    let rows = sentence.translations.chunks(sentence.from_len).zip(&sentence.unaligned);
    for (row, unaligned) in rows {
        let unaligned = sentence.p_unaligned * unaligned;
        let sum = even * row.iter().sum::<f32>() + unaligned;
        posteriors.links.extend(row.iter().map(|translation| even * translation / sum));
        posteriors.unaligned.push(unaligned / sum);
        log_probability += f64::from(sum).ln();
    }
    log_probability
}
