//! How good translations are: BLEU, chrF and TER, each with the signature that makes it comparable.
//!
//! Post (2018), “A Call for Clarity in Reporting BLEU Scores”. Scores equal those of sacreBLEU
//! [`SACREBLEU`] to the printed digit; `scripts/reference/metrics.py` makes the cases that the
//! tests hold them to.
//!
//! **Signatures** have sacreBLEU's form, keys and order. The last key, `version`, names the program
//! that computed the score, and that is this one: `version:nmt-0.1.0`, where sacreBLEU would say
//! `version:2.6.0`. Two scores are comparable if all else is equal.
//!
//! ```
//! use text::metrics::Metric;
//!
//! let bleu: Metric = "bleu".parse()?;
//! let hyps = ["The cat sat on the mat.".to_owned()];
//! let refs = [vec!["The cat sat on a mat.".to_owned()]];
//! let score = bleu.corpus(&hyps, &refs)?;
//! assert_eq!(
//!     score.line,
//!     "BLEU = 48.89 85.7/66.7/40.0/25.0 (BP = 1.000 ratio = 1.000 hyp_len = 7 ref_len = 7)"
//! );
//! # Ok::<(), text::metrics::Error>(())
//! ```

pub mod significance;

mod bleu;
mod chrf;
mod ngrams;
mod statistics;
mod ter;
mod tokenize;

use std::fmt;
use std::str::FromStr;

pub use bleu::{BleuConfig, Smoothing};
pub use chrf::ChrfConfig;
pub use statistics::{Bucket, Statistics};
pub use ter::TerConfig;
pub use tokenize::Tokenization;

/// The release of sacreBLEU whose scores these are.
pub const SACREBLEU: &str = "2.6.0";

/// What a signature's `version` says: this program and its release.
pub const VERSION: &str = concat!("nmt-", env!("CARGO_PKG_VERSION"));

/// A result of scoring, or why there is none.
pub type Result<T> = std::result::Result<T, Error>;

/// Why nothing could be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No metric has this name.
    #[error("unknown metric {found:?}, expected one of {}", Metric::NAMES.join(", "))]
    UnknownMetric {
        /// The name that was given.
        found: String,
    },

    /// No tokenization has this name.
    #[error("unknown tokenization {found:?}, expected one of {}", Tokenization::NAMES.join(", "))]
    UnknownTokenization {
        /// The name that was given.
        found: String,
    },

    /// No smoothing has this name, or its value is not a positive number.
    #[error("unknown smoothing {found:?}, expected one of {}", Smoothing::FORMS.join(", "))]
    UnknownSmoothing {
        /// The text that was given.
        found: String,
    },

    /// A file of references does not belong to the hypotheses.
    #[error("reference {reference} has {found} lines, but there are {expected} hypotheses")]
    LengthMismatch {
        /// Which of the references, counted from one.
        reference: usize,
        /// Its number of lines.
        found: usize,
        /// The number of hypotheses.
        expected: usize,
    },

    /// A sentence has more or fewer references than those before it.
    #[error("a sentence has {found} references, those before have {expected}")]
    ReferenceMismatch {
        /// Its number of references.
        found: usize,
        /// The number of references of the others.
        expected: usize,
    },

    /// There is nothing to compare with.
    #[error("no reference was given")]
    NoReferences,

    /// There is nothing to score.
    #[error("no hypothesis was given")]
    NoHypotheses,

    /// Sentences were to be put into buckets, but for some the bucket is not known.
    #[error("{found} sentences have a bucket, but {expected} have a score")]
    BucketMismatch {
        /// The number of bucket numbers.
        found: usize,
        /// The number of sentences.
        expected: usize,
    },

    /// Two systems were scored by different metrics or settings.
    #[error("the baseline was scored with {baseline}, the system with {system}")]
    DifferentMetrics {
        /// Signature of the baseline's scores.
        baseline: String,
        /// Signature of the system's scores.
        system: String,
    },

    /// Two systems translated different texts.
    #[error("the baseline has {baseline} sentences, the system {system}")]
    DifferentTexts {
        /// The number of the baseline's sentences.
        baseline: usize,
        /// The number of the system's sentences.
        system: usize,
    },

    /// A test by resampling was to be made of no samples.
    #[error("a significance test needs at least one trial, got 0")]
    NoTrials,
}

/// A metric and its settings. [`FromStr`] knows those with common settings by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Precision of word n-grams (Papineni et al., 2002).
    Bleu(BleuConfig),
    /// F-score of character n-grams (Popović, 2015), and of word n-grams: chrF++ (Popović, 2017).
    Chrf(ChrfConfig),
    /// Edits, including shifts, per reference word (Snover et al., 2006). Lower is better.
    Ter(TerConfig),
}

/// A score as one would report it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// `BLEU`, `chrF2`, `chrF2++` or `TER`.
    pub name: String,
    /// In percent. TER can exceed 100.
    pub value: f64,
    /// Name, value in two decimals, and what the metric adds: `BLEU = 37.84 71.0/…`.
    pub line: String,
    /// All settings that can change the value: `nrefs:1|case:mixed|…`.
    pub signature: String,
}

/// The line with the signature in it, `BLEU|nrefs:1|… = 37.84 71.0/…`, as sacreBLEU reports.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.line.strip_prefix(&self.name).unwrap_or(&self.line);
        write!(f, "{}|{}{rest}", self.name, self.signature)
    }
}

impl Metric {
    /// The names that can be parsed.
    pub const NAMES: [&str; 4] = ["bleu", "chrf", "chrf++", "ter"];

    /// Scores a text. `refs` holds one or more translations of it, each with one line per
    /// hypothesis. Empty lines are sentences like any other.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] if a reference has more or fewer lines than the text;
    /// [`Error::NoReferences`] and [`Error::NoHypotheses`].
    pub fn corpus(&self, hyps: &[String], refs: &[Vec<String>]) -> Result<Score> {
        Ok(self.statistics(hyps, refs)?.score())
    }

    /// Scores one sentence against one or more references. See [`Metric::for_sentences`].
    ///
    /// # Errors
    /// [`Error::NoReferences`].
    pub fn sentence(&self, hyp: &str, refs: &[&str]) -> Result<Score> {
        let refs: Vec<_> = refs.iter().map(|&line| vec![line.to_owned()]).collect();
        self.corpus(&[hyp.to_owned()], &refs)
    }

    /// Counts once what any selection of the sentences can be scored from.
    ///
    /// # Errors
    /// Those of [`Metric::corpus`].
    pub fn statistics(&self, hyps: &[String], refs: &[Vec<String>]) -> Result<Statistics> {
        Statistics::new(*self, hyps, refs)
    }

    /// The counts of no sentence yet, to which [`Statistics::push`] adds one after the other. Each
    /// has `n_refs` references. A text without a sentence has no meaningful score.
    pub fn of_no_sentences(&self, n_refs: usize) -> Statistics {
        Statistics::empty(*self, n_refs)
    }

    /// The metric with settings fit for single sentences: BLEU with effective order, so that a
    /// sentence shorter than an n-gram does not score zero.
    pub fn for_sentences(self) -> Self {
        match self {
            Self::Bleu(config) => Self::Bleu(BleuConfig { effective_order: true, ..config }),
            other => other,
        }
    }

    /// The name that stands before a score: `BLEU`, `chrF2`, `chrF2++`, `TER`.
    pub fn name(&self) -> String {
        self.definition().name()
    }

    /// All settings that can change a score against `n_refs` references.
    pub fn signature(&self, n_refs: usize) -> String {
        format!("nrefs:{n_refs}|{}|version:{VERSION}", self.definition().settings())
    }

    /// Whether a greater value means a better translation: not for TER, which counts errors.
    pub fn higher_is_better(&self) -> bool {
        !matches!(self, Self::Ter(_))
    }

    fn definition(&self) -> &dyn Definition {
        match self {
            Self::Bleu(config) => config,
            Self::Chrf(config) => config,
            Self::Ter(config) => config,
        }
    }
}

/// `bleu`, `chrf`, `chrf++` or `ter`, in any case, with sacreBLEU's default settings.
impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "bleu" => Ok(Self::Bleu(BleuConfig::default())),
            "chrf" => Ok(Self::Chrf(ChrfConfig::default())),
            "chrf++" => Ok(Self::Chrf(ChrfConfig::plus_plus())),
            "ter" => Ok(Self::Ter(TerConfig::default())),
            _ => Err(Error::UnknownMetric { found: name.to_owned() }),
        }
    }
}

/// What distinguishes one metric from another.
///
/// Each is a function of counts that add up over sentences, which makes a score of any selection
/// of sentences cheap.
trait Definition {
    fn name(&self) -> String;

    /// The signature between the number of references and the version.
    fn settings(&self) -> String;

    /// The counts of one sentence against its references; always as many.
    fn counts(&self, hyp: &str, refs: &[&str]) -> Vec<f64>;

    /// The value that counts, added up over sentences, amount to.
    fn value(&self, totals: &[f64]) -> f64;

    /// What follows the value in the line.
    fn details(&self, _totals: &[f64]) -> Option<String> {
        None
    }
}

/// How a signature tells whether case counts.
fn case(lowercase: bool) -> &'static str {
    if lowercase { "lc" } else { "mixed" }
}

/// How a signature tells whether something is on.
fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn names_are_parsed_in_any_case_and_an_unknown_one_lists_them() {
        for (name, printed) in
            [("bleu", "BLEU"), ("CHRF", "chrF2"), ("chrF++", "chrF2++"), ("Ter", "TER")]
        {
            assert_eq!(name.parse::<Metric>().unwrap().name(), printed);
        }
        let error = "blue".parse::<Metric>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown metric \"blue\", expected one of bleu, chrf, chrf++, ter"
        );
    }

    #[test]
    fn unequal_line_counts_are_both_named() {
        let metric: Metric = "bleu".parse().unwrap();
        let error =
            metric.corpus(&texts(&["a", "b"]), &[texts(&["a", "b"]), texts(&["a"])]).unwrap_err();
        assert_eq!(error.to_string(), "reference 2 has 1 lines, but there are 2 hypotheses");
    }

    #[test]
    fn nothing_to_score_is_an_error() {
        let metric: Metric = "ter".parse().unwrap();
        assert_eq!(metric.corpus(&[], &[vec![]]), Err(Error::NoHypotheses));
        assert_eq!(metric.corpus(&texts(&["a"]), &[]), Err(Error::NoReferences));
        assert_eq!(metric.sentence("a", &[]), Err(Error::NoReferences));
    }

    #[test]
    fn a_score_is_shown_with_its_signature() {
        let score = "ter".parse::<Metric>().unwrap().sentence("a b", &["a c"]).unwrap();
        assert_eq!(score.line, "TER = 50.00");
        assert_eq!(score.signature.split('|').next_back(), Some("version:nmt-0.1.0"));
        assert_eq!(score.to_string(), format!("TER|{} = 50.00", score.signature));
    }
}
