//! How a finished hypothesis is scored, so that longer ones are not at a loss.
//!
//! A log-probability only falls as tokens are added; comparing sentences of different length by
//! it prefers short ones. Wu et al. (2016), “Google's Neural Machine Translation System:
//! Bridging the Gap between Human and Machine Translation”, §7, divide it by a growing function
//! of the length.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::NonNegative;

/// What the log-probability of a hypothesis is divided by. The length counts the end of the
/// sentence, so it is at least one.
///
/// In TOML: `"none"`, `{ average = 1.0 }` or `{ gnmt = 0.6 }`; on a command line
/// `none`, `average:1.0` or `gnmt:0.6`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LengthPenalty {
    /// One: the score is the log-probability.
    None,
    /// `length^α`. With α = 1 the score is the mean log-probability of a token.
    Average(NonNegative),
    /// `((5 + length) / 6)^α` (Wu et al., 2016, eq. 14).
    Gnmt(NonNegative),
}

/// Added to the length in eq. 14 of Wu et al.; a length of one is divided by one.
const GNMT_OFFSET: f64 = 5.0;

impl LengthPenalty {
    /// The score of a hypothesis of `len` tokens, its end included, in nats.
    ///
    /// For a fixed `log_prob` (which is never above zero) it does not fall with `len`.
    pub fn score(self, log_prob: f64, len: usize) -> f64 {
        let len = len.max(1) as f64;
        match self {
            Self::None => log_prob,
            Self::Average(alpha) => log_prob / len.powf(alpha.get()),
            Self::Gnmt(alpha) => {
                log_prob / ((GNMT_OFFSET + len) / (GNMT_OFFSET + 1.0)).powf(alpha.get())
            }
        }
    }

    /// The best score that any continuation of a hypothesis with `log_prob` can reach, when no
    /// hypothesis is longer than `max_len` tokens, its end included.
    ///
    /// Further tokens cannot raise the log-probability, and the divisor grows with the length:
    /// no continuation is better than a free one up to the longest length.
    pub fn bound(self, log_prob: f64, max_len: usize) -> f64 {
        self.score(log_prob, max_len)
    }
}

impl Default for LengthPenalty {
    fn default() -> Self {
        Self::Average(const { NonNegative::new(1.0).expect("one is not negative") })
    }
}

impl fmt::Display for LengthPenalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Average(alpha) => write!(f, "average:{alpha}"),
            Self::Gnmt(alpha) => write!(f, "gnmt:{alpha}"),
        }
    }
}

impl FromStr for LengthPenalty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected none, average:ALPHA or gnmt:ALPHA";
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("average", alpha)) => Ok(Self::Average(alpha.parse()?)),
            Some(("gnmt", alpha)) => Ok(Self::Gnmt(alpha.parse()?)),
            _ => Err(format!("{expected}, got {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alpha(value: f64) -> NonNegative {
        NonNegative::try_from(value).unwrap()
    }

    #[test]
    fn scores_are_those_of_the_formulas() {
        assert_eq!(LengthPenalty::None.score(-6.0, 3), -6.0);
        assert_eq!(LengthPenalty::Average(alpha(1.0)).score(-6.0, 3), -2.0);
        assert_eq!(LengthPenalty::Average(alpha(0.0)).score(-6.0, 3), -6.0);
        // ((5 + 7) / 6)^2 = 4
        assert_eq!(LengthPenalty::Gnmt(alpha(2.0)).score(-6.0, 7), -1.5);
        assert_eq!(LengthPenalty::Gnmt(alpha(0.7)).score(-6.0, 1), -6.0);
    }

    #[test]
    fn no_continuation_beats_the_bound() {
        for penalty in [
            LengthPenalty::None,
            LengthPenalty::Average(alpha(0.6)),
            LengthPenalty::Average(alpha(2.0)),
            LengthPenalty::Gnmt(alpha(0.6)),
        ] {
            for len in 1..20 {
                for lost in [0.0, 0.1, 3.0] {
                    assert!(penalty.score(-4.0 - lost, len) <= penalty.bound(-4.0, 19));
                }
            }
        }
    }

    #[test]
    fn text_and_back_is_the_same_penalty() {
        for text in ["none", "average:1", "gnmt:0.6"] {
            assert_eq!(text.parse::<LengthPenalty>().unwrap().to_string(), text);
        }
        for text in ["", "None", "average", "none:1", "mean:1"] {
            let message = text.parse::<LengthPenalty>().unwrap_err();
            assert_eq!(message, format!("expected none, average:ALPHA or gnmt:ALPHA, got {text}"));
        }
        for (text, found) in [("average:-1", "-1"), ("gnmt:x", "x")] {
            let message = text.parse::<LengthPenalty>().unwrap_err();
            assert_eq!(message, format!("found {found}, allowed is 0 or a finite number above it"));
        }
    }
}
