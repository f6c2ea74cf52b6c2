//! The tables `[training.bpe_dropout]` and `[training.unigram_sampling]`: sentences that are cut
//! into other subwords in each epoch.

use serde::{Deserialize, Serialize};
use text::Sampling;

use super::{Positive, Rate};

/// BPE-dropout (Provilkov et al., 2020): in each epoch every training sentence is merged anew,
/// and each merge is left out with some probability. For BPE tokenizers. A sentence that would
/// become longer than `data.max_len` is cut as usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BpeDropout {
    /// Probability for the source; 0.1 in the paper, 0 turns it off.
    #[serde(default = "off")]
    pub src: Rate,
    /// Probability for the target.
    #[serde(default = "off")]
    pub tgt: Rate,
}

/// Subword regularisation (Kudo, 2018): in each epoch every training sentence is cut anew, a cut
/// of probability `P` being drawn in proportion to `P^α`. For unigram tokenizers. A sentence
/// that would become longer than `data.max_len` is cut as usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnigramSampling {
    /// `α` for the source, 0.1 to 0.5 in the paper: the larger, the more often the cut is the
    /// usual one. Without the key it always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<Positive>,
    /// `α` for the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tgt: Option<Positive>,
}

impl BpeDropout {
    /// What it means for source and target.
    pub(crate) fn sides(self) -> [Option<Sampling>; 2] {
        [self.src, self.tgt].map(|rate| match rate.get() {
            0.0 => None,
            rate => Some(Sampling::Dropout(rate)),
        })
    }
}

impl UnigramSampling {
    /// What it means for source and target.
    pub(crate) fn sides(self) -> [Option<Sampling>; 2] {
        [self.src, self.tgt].map(|alpha| alpha.map(|alpha| Sampling::Exponent(alpha.get())))
    }
}

fn off() -> Rate {
    Rate::try_from(0.0).expect("zero is a rate")
}
