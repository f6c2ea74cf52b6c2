//! BLEU: the precision of word n-grams.
//!
//! Papineni, Roukos, Ward and Zhu (2002), “BLEU: a Method for Automatic Evaluation of Machine
//! Translation”. Smoothing follows Chen and Cherry (2014), “A Systematic Comparison of Smoothing
//! Techniques for Sentence-Level BLEU”, as sacreBLEU numbers them.

use std::borrow::Cow;
use std::str::FromStr;

use super::ngrams::NGrams;
use super::tokenize::{Tokenization, words};
use super::{Definition, Error, Result, case, yes_no};

/// The longest n-grams that count.
const MAX_ORDER: usize = 4;

/// What a precision of zero counts as its logarithm: low enough for a score of zero.
const LOG_ZERO: f64 = -9_999_999_999.0;

/// Settings of BLEU. The defaults are sacreBLEU's.
///
/// The older literature used `multi-bleu.perl` on tokenized text: that is
/// [`BleuConfig::literature`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BleuConfig {
    /// How lines are divided into tokens.
    pub tokenization: Tokenization,
    /// Compare in lower case.
    pub lowercase: bool,
    /// What becomes of orders without a match.
    pub smoothing: Smoothing,
    /// Leave out orders that the hypothesis is too short for, rather than score zero. Meant for
    /// single sentences.
    pub effective_order: bool,
}

/// What to count where no n-gram of an order matches, so that the geometric mean is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Smoothing {
    /// Half a match for the first such order, a quarter for the next, and so on (method 3).
    #[default]
    Exp,
    /// This many matches (method 1).
    Floor(f64),
    /// This many more matches and n-grams, in all orders but the first (method 2).
    AddK(f64),
    /// Nothing: the score is zero.
    None,
}

impl BleuConfig {
    /// As `multi-bleu.perl` scores text that is tokenized already: nothing is added to tokens or
    /// counts.
    pub fn literature() -> Self {
        Self { tokenization: Tokenization::None, smoothing: Smoothing::None, ..Self::default() }
    }

    fn prepare<'a>(&self, line: &'a str) -> Cow<'a, str> {
        if self.lowercase {
            Cow::Owned(self.tokenization.apply(&line.to_lowercase()).into_owned())
        } else {
            self.tokenization.apply(line)
        }
    }

    /// The precision of each order in percent, after smoothing, and the score they make.
    fn evaluate(&self, counts: &Counts) -> Evaluation {
        let mut evaluation =
            Evaluation { value: 0.0, precisions: [0.0; MAX_ORDER], penalty: counts.penalty() };
        if counts.matches.iter().all(|&matches| matches == 0.0) {
            return evaluation;
        }
        let (mut halving, mut order) = (1.0, MAX_ORDER);
        for idx in 0..MAX_ORDER {
            let (mut matches, mut total) = (counts.matches[idx], counts.totals[idx]);
            if let Smoothing::AddK(k) = self.smoothing
                && idx > 0
            {
                (matches, total) = (matches + k, total + k);
            }
            if total == 0.0 {
                break;
            }
            if self.effective_order {
                order = idx + 1;
            }
            evaluation.precisions[idx] = match self.smoothing {
                _ if matches > 0.0 => 100.0 * matches / total,
                Smoothing::Exp => {
                    halving *= 2.0;
                    100.0 / (halving * total)
                }
                Smoothing::Floor(floor) => 100.0 * floor / total,
                Smoothing::AddK(_) | Smoothing::None => 0.0,
            };
        }
        let log = |&p: &f64| if p == 0.0 { LOG_ZERO } else { p.ln() };
        let mean = evaluation.precisions[..order].iter().map(log).sum::<f64>() / order as f64;
        evaluation.value = evaluation.penalty * mean.exp();
        evaluation
    }
}

struct Evaluation {
    value: f64,
    precisions: [f64; MAX_ORDER],
    penalty: f64,
}

/// What is counted in a sentence and adds up over sentences.
struct Counts {
    hyp_len: f64,
    ref_len: f64,
    matches: [f64; MAX_ORDER],
    totals: [f64; MAX_ORDER],
}

impl Counts {
    fn to_vec(&self) -> Vec<f64> {
        [&[self.hyp_len, self.ref_len], &self.matches[..], &self.totals[..]].concat()
    }

    /// The inverse of [`Counts::to_vec`].
    fn from_slice(values: &[f64]) -> Self {
        let orders = |start: usize| std::array::from_fn(|idx| values[start + idx]);
        let (matches, totals) = (orders(2), orders(2 + MAX_ORDER));
        Self { hyp_len: values[0], ref_len: values[1], matches, totals }
    }

    /// The brevity penalty, in `[0, 1]`.
    fn penalty(&self) -> f64 {
        if self.hyp_len >= self.ref_len {
            1.0
        } else if self.hyp_len > 0.0 {
            (1.0 - self.ref_len / self.hyp_len).exp()
        } else {
            0.0
        }
    }
}

impl Definition for BleuConfig {
    fn name(&self) -> String {
        "BLEU".to_owned()
    }

    fn settings(&self) -> String {
        format!(
            "case:{}|eff:{}|tok:{}|smooth:{}",
            case(self.lowercase),
            yes_no(self.effective_order),
            self.tokenization.name(),
            self.smoothing.name()
        )
    }

    /// Lengths, then matches and totals of each order. With several references, an n-gram counts
    /// as often as in the one where it is most frequent, and the length is the closest.
    fn counts(&self, hyp: &str, refs: &[&str]) -> Vec<f64> {
        let lines: Vec<_> = refs.iter().map(|line| self.prepare(line)).collect();
        let refs: Vec<Vec<&str>> = lines.iter().map(|line| words(line).collect()).collect();
        let refs: Vec<_> = refs.iter().map(|words| NGrams::new(words, MAX_ORDER)).collect();
        let line = self.prepare(hyp);
        let hyp: Vec<&str> = words(&line).collect();
        let hyp = NGrams::new(&hyp, MAX_ORDER);

        let lengths = refs.iter().map(NGrams::len);
        let ref_len = lengths.min_by_key(|&len| (len.abs_diff(hyp.len()), len)).unwrap_or(0);
        let clipped = |(gram, count): (&[&str], usize)| {
            count.min(refs.iter().map(|grams| grams.count(gram)).max().unwrap_or(0))
        };
        let counts = Counts {
            hyp_len: hyp.len() as f64,
            ref_len: ref_len as f64,
            matches: std::array::from_fn(|idx| {
                hyp.distinct(idx + 1).map(clipped).sum::<usize>() as f64
            }),
            totals: std::array::from_fn(|idx| hyp.total(idx + 1) as f64),
        };
        counts.to_vec()
    }

    fn value(&self, totals: &[f64]) -> f64 {
        self.evaluate(&Counts::from_slice(totals)).value
    }

    fn details(&self, totals: &[f64]) -> Option<String> {
        let counts = Counts::from_slice(totals);
        let Evaluation { precisions, penalty, .. } = self.evaluate(&counts);
        let precisions = precisions.map(|precision| format!("{precision:.1}")).join("/");
        let Counts { hyp_len, ref_len, .. } = counts;
        let ratio = if ref_len > 0.0 { hyp_len / ref_len } else { 0.0 };
        Some(format!(
            "{precisions} (BP = {penalty:.3} ratio = {ratio:.3} \
             hyp_len = {hyp_len:.0} ref_len = {ref_len:.0})"
        ))
    }
}

impl Smoothing {
    /// The forms that can be parsed. `VALUE` is a positive number.
    pub const FORMS: [&str; 6] = ["exp", "floor", "floor:VALUE", "add-k", "add-k:VALUE", "none"];

    /// The name in a signature, such as `exp` or `floor[0.10]`.
    pub fn name(self) -> String {
        match self {
            Self::Exp => "exp".to_owned(),
            Self::Floor(floor) => format!("floor[{floor:.2}]"),
            Self::AddK(k) => format!("add-k[{k:.2}]"),
            Self::None => "none".to_owned(),
        }
    }
}

/// One of [`Smoothing::FORMS`]. Without a value, `floor` is 0.1 and `add-k` is 1, as in sacreBLEU.
impl FromStr for Smoothing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownSmoothing { found: text.to_owned() };
        let (name, value) = match text.split_once(':') {
            None => (text, None),
            Some((name, value)) => {
                let value: f64 = value.parse().map_err(|_| unknown())?;
                (name, Some(value).filter(|value| value.is_finite() && *value > 0.0))
            }
        };
        match (name, value, text.contains(':')) {
            ("exp", _, false) => Ok(Self::Exp),
            ("none", _, false) => Ok(Self::None),
            ("floor", None, false) => Ok(Self::Floor(0.1)),
            ("add-k", None, false) => Ok(Self::AddK(1.0)),
            ("floor", Some(value), _) => Ok(Self::Floor(value)),
            ("add-k", Some(value), _) => Ok(Self::AddK(value)),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    fn line(config: BleuConfig, hyp: &str, refs: &[&str]) -> String {
        Metric::Bleu(config).sentence(hyp, refs).unwrap().line
    }

    /// Four of five words match, three of four pairs, two of three, one of two.
    #[test]
    fn the_score_is_the_geometric_mean_of_precisions() {
        let config = BleuConfig::literature();
        let expected = 100.0 * (4.0 / 5.0 * 3.0 / 4.0 * 2.0 / 3.0 * 1.0 / 2.0f64).powf(0.25);
        assert_eq!(
            line(config, "a b c d x", &["a b c d e"]),
            format!(
                "BLEU = {expected:.2} 80.0/75.0/66.7/50.0 \
                 (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)"
            )
        );
    }

    /// All matches, but only four words for five: the penalty is exp(1 − 5/4).
    #[test]
    fn a_short_hypothesis_is_penalised() {
        let value = format!("{:.2}", 100.0 * (-0.25f64).exp());
        let line = line(BleuConfig::literature(), "a b c d", &["a b c d e"]);
        assert!(line.starts_with(&format!("BLEU = {value} 100.0/100.0/100.0/100.0 (BP = 0.779")));
    }

    #[test]
    fn an_n_gram_counts_as_often_as_in_the_best_reference_and_the_closest_length_counts() {
        let line =
            line(BleuConfig::default(), "the the the the", &["the cat the", "the dog a b c"]);
        assert!(line.contains(" 50.0/"), "{line}"); // two of four: “the cat the”
        assert!(line.ends_with("hyp_len = 4 ref_len = 3)"), "{line}"); // 3 and 5 are as close
    }

    #[test]
    fn no_smoothing_scores_zero_where_an_order_has_no_match() {
        let score = |smoothing| {
            let config = BleuConfig { smoothing, ..BleuConfig::default() };
            Metric::Bleu(config).sentence("a b x d e", &["a b y d e"]).unwrap().value
        };
        assert_eq!(score(Smoothing::None), 0.0);
        for smoothing in [Smoothing::Exp, Smoothing::Floor(0.1), Smoothing::AddK(1.0)] {
            assert!(score(smoothing) > 0.0, "{smoothing:?}");
        }
    }

    #[test]
    fn effective_order_rewards_a_sentence_of_three_words() {
        let metric = Metric::Bleu(BleuConfig::default());
        assert_eq!(metric.sentence("a b c", &["a b c"]).unwrap().value, 0.0);
        let value = metric.for_sentences().sentence("a b c", &["a b c"]).unwrap().value;
        assert!((value - 100.0).abs() < 1e-9, "{value}"); // the exponential of a logarithm
    }

    #[test]
    fn smoothing_is_parsed_with_its_value() {
        assert_eq!("exp".parse(), Ok(Smoothing::Exp));
        assert_eq!("floor".parse(), Ok(Smoothing::Floor(0.1)));
        assert_eq!("add-k:0.5".parse(), Ok(Smoothing::AddK(0.5)));
        for wrong in ["", "exp:1", "floor:", "floor:0", "add-k:-1", "floor:nan", "none:2", "mean"] {
            assert!(wrong.parse::<Smoothing>().is_err(), "{wrong:?}");
        }
    }
}
