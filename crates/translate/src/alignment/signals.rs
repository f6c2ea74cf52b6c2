//! What the weights and links of a translation say about it: how sure, how complete, in what order;
//! and flags where something looks wrong.
//!
//! Rikters and Fishel (2017), “Confidence through Attention”, §3, take the deviation of coverage and
//! the entropies of both sides as signs of a bad translation. With weights `a_ts` of target word `t`
//! on source word `s`, of `T` and `S` words:
//!
//! ```text
//! entropy            1/T Σ_t H(a_t·)             each row normalised, the end of the source included
//! source entropy     1/S Σ_s H(a_·s)             each column normalised
//! coverage           c_s = Σ_t a_ts
//! deviation          1/S Σ_s ln(1 + (1 − c_s)²)
//! fertility          links of a source word
//! forward            share of neighbouring target words whose sources do not go back
//! tau                Kendall's, of the order of linked words on both sides
//! ```
//!
//! **Differs from the paper**: measures are of words, not of subwords; entropies are in bits; rows
//! and columns without weight are left out of means; and all measures are positive, greater where
//! the paper's penalties are more negative.
//!
//! A flag is a suspicion, not a proof. [`Thresholds`] says what each of them rests on, and
//! `docs/alignment.md` how often they are right.

mod copies;
mod loops;
mod measures;
mod omission;
mod words;

use serde::{Deserialize, Serialize};

pub use measures::entropy;

use super::Alignment;

/// Measures of one translation; means over a text are means of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// How much target words hesitate: mean entropy of their weights over source words and the end
    /// of the source, in bits. None without weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// How scattered what looks at a source word is: mean entropy of the weights on a source word
    /// over target words, in bits. None without weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_entropy: Option<f64>,
    /// How far the attention that source words get is from one: mean of `ln(1 + (1 − c)²)`. None
    /// without weights or source words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage_deviation: Option<f64>,
    /// `[src_words]`: the attention that each source word gets from all target words together;
    /// empty without weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<f64>,
    /// `[src_words]`: the links of each source word.
    pub fertility: Vec<usize>,
    /// Share of neighbours among linked target words whose source words, on average, do not lie
    /// before those of the word before, from 0 to 1. None with fewer than two linked target words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<f64>,
    /// Kendall's tau over all pairs of linked target words whose source words lie at different
    /// places: 1 if all are in the order of the source, −1 if all are in the reverse order (Birch
    /// and Osborne, 2010). None without such pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
}

impl Signals {
    /// Measures an alignment whose weights and links are of its words ([`Alignment::check`]). One
    /// without weights, as [`Alignment::from_links`] makes it, has only the measures of links.
    pub fn new(alignment: &Alignment) -> Self {
        let coverage = measures::coverage(alignment);
        let order = measures::Order::new(alignment);
        Self {
            entropy: measures::entropy(alignment),
            src_entropy: measures::src_entropy(alignment),
            coverage_deviation: coverage.as_deref().and_then(measures::coverage_deviation),
            coverage: coverage.unwrap_or_default(),
            fertility: measures::fertility(alignment),
            forward: order.forward(),
            tau: order.tau(),
        }
    }
}

/// What looks wrong about a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Source words that hardly anything looked at, and nothing is linked to.
    Omission,
    /// Target words that say again what was said, where the source does not.
    Loop,
    /// Ordinary source words that stand in the target as they are.
    Copied,
    /// The target is the source, or most of it is.
    Untranslated,
}

impl Kind {
    /// All kinds, in the order in which flags are given.
    pub const ALL: [Self; 4] = [Self::Omission, Self::Loop, Self::Copied, Self::Untranslated];

    /// The name in lower case, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Omission => "omission",
            Self::Loop => "loop",
            Self::Copied => "copied",
            Self::Untranslated => "untranslated",
        }
    }
}

/// A suspicion, and the words that it is about, counted from zero, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// What looks wrong.
    pub kind: Kind,
    /// Words of the source.
    pub src: Vec<usize>,
    /// Words of the target; none for an omission.
    pub tgt: Vec<usize>,
}

/// What flags rest on.
///
/// The defaults were chosen on 500 sentences of the development set of Multi30k
/// English–German, as two models translated them, with damage done to the translations on purpose:
/// what catches the most of it while at most a tenth of what people translated is flagged
/// (`docs/experiments.md`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A source word without links, of which less than this is the attention it gets, counts as
    /// left out: wholly if it gets none, less the nearer it comes to this.
    pub attention: f64,
    /// So many letters left out in a row are an omission. Letters stand for content: the longer a
    /// word, the more it says (Piantadosi, Tily and Gibson, 2011), in any language.
    pub letters: f64,
    /// So many words repeated at a distance are a loop. One word is enough if it is repeated at
    /// once.
    pub repeated: usize,
    /// So many ordinary words of the source in the target are copies: languages share single ones.
    pub copied: usize,
    /// Letters that a word must have to count as copied: languages share short words.
    pub copied_letters: usize,
    /// Share of the target's letters that copies must have.
    pub copied_share: f64,
    /// Share of target words from which on, if they stand in the source, nothing was translated.
    pub untranslated_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            attention: 0.6,
            letters: 6.0,
            repeated: 3,
            copied: 2,
            copied_letters: 3,
            copied_share: 0.2,
            untranslated_share: 0.6,
        }
    }
}

/// All that looks wrong about a translation: omissions from left to right, loops, then copies or
/// that it is no translation. Weights and links are those of its words ([`Alignment::check`]).
pub fn flags(alignment: &Alignment, thresholds: &Thresholds) -> Vec<Flag> {
    let mut flags = omission::flags(alignment, thresholds);
    flags.extend(loops::flags(alignment, thresholds));
    flags.extend(copies::flag(alignment, thresholds));
    flags
}

#[cfg(test)]
mod tests;
