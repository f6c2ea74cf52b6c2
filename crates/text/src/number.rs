//! Checked numbers of experiment files, model directories and command lines: who holds one need
//! not check it again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Defines a number in `f64` of which only some values are allowed.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $allowed:literal, $number:ident => $test:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// The number, if it is allowed.
            pub const fn new($number: f64) -> Option<Self> {
                if $test { Some(Self($number)) } else { None }
            }

            /// The number.
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = String;

            fn try_from(number: f64) -> Result<Self, String> {
                Self::new(number).ok_or_else(|| refusal(number, $allowed))
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let number: f64 = text.parse().map_err(|_| refusal(text, $allowed))?;
                Self::try_from(number)
            }
        }

        impl From<$name> for f64 {
            fn from(number: $name) -> f64 {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

fn refusal(found: impl fmt::Display, allowed: &str) -> String {
    format!("found {found}, allowed is {allowed}")
}

checked! {
    /// A finite number above zero.
    Positive, "a finite number above 0", x => x.is_finite() && x > 0.0
}

checked! {
    /// A finite number, zero or more. Where it is a limit, zero turns it off.
    NonNegative, "0 or a finite number above it", x => x.is_finite() && x >= 0.0
}

checked! {
    /// A number in `[0, 1)`: a rate, a decay, a probability mass.
    Rate, "a number from 0 up to, but not including, 1", x => x >= 0.0 && x < 1.0
}

checked! {
    /// A number in `(0, 1]`: a part of a whole that is not empty.
    Share, "a number above 0, up to 1", x => x > 0.0 && x <= 1.0
}

checked! {
    /// How many times larger than the smaller the larger of two things is: one or more, also
    /// infinitely many.
    Ratio, "a number of at least 1", x => x >= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_in_or_out_as_the_words_say() {
        for number in [f64::NAN, f64::NEG_INFINITY, -0.1] {
            assert!(Positive::new(number).is_none() && NonNegative::new(number).is_none());
            assert!(Rate::new(number).is_none() && Share::new(number).is_none());
            assert!(Ratio::new(number).is_none());
        }
        let in_range =
            |x| (Positive::new(x).is_some(), NonNegative::new(x).is_some(), Rate::new(x).is_some());
        assert_eq!(in_range(0.0), (false, true, true));
        assert_eq!(in_range(0.999), (true, true, true));
        assert_eq!(in_range(1.0), (true, true, false));
        assert_eq!(in_range(f64::INFINITY), (false, false, false));
        assert!(Share::new(0.0).is_none() && Share::new(1.0).is_some());
        assert!(Share::new(1.1).is_none());
        assert!(Ratio::new(0.9).is_none() && Ratio::new(1.0).is_some());
        assert!(Ratio::new(f64::INFINITY).is_some());
    }

    #[test]
    fn text_and_json_come_back_and_a_refusal_names_what_was_found() {
        let rate: Rate = "0.25".parse().unwrap();
        assert_eq!((rate.get(), rate.to_string()), (0.25, "0.25".into()));
        assert_eq!(serde_json::from_str::<Rate>("0.25").unwrap(), rate);
        assert_eq!(serde_json::to_string(&rate).unwrap(), "0.25");
        let refused = "found 1, allowed is a number from 0 up to, but not including, 1";
        assert_eq!("1".parse::<Rate>().unwrap_err(), refused);
        assert!(serde_json::from_str::<Rate>("1").unwrap_err().to_string().contains(refused));
        let refused = "found half, allowed is a number above 0, up to 1";
        assert_eq!("half".parse::<Share>().unwrap_err(), refused);
    }
}
