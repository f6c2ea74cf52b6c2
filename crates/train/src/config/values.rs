//! Values of an experiment file with a form of their own: intervals of training, sizes of batches.

use std::{
    fmt::{self, Display},
    num::{NonZeroU64, NonZeroUsize},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An interval or a moment of training: a number of updates, or of epochs.
///
/// In TOML an integer counts updates, and a string says its unit: `500`, `"500 updates"`,
/// `"1 epoch"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// So many updates.
    Updates(NonZeroU64),
    /// So many passes over the training data.
    Epochs(NonZeroU64),
}

impl Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self {
            Self::Updates(n) => (n, "update"),
            Self::Epochs(n) => (n, "epoch"),
        };
        write!(f, "{count} {unit}{}", if count.get() == 1 { "" } else { "s" })
    }
}

impl std::str::FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "found `{text}`, allowed is a count with a unit, such as `500 updates` or `1 epoch`"
            )
        };
        let (count, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let count = count.parse().map_err(|_| wrong())?;
        match unit.trim() {
            "update" | "updates" => Ok(Self::Updates(count)),
            "epoch" | "epochs" => Ok(Self::Epochs(count)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Updates(n) => n.serialize(serializer),
            Self::Epochs(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Every;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of updates above 0, or a string such as \"1 epoch\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Every, E> {
                NonZeroU64::new(count)
                    .map(Every::Updates)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Every, E> {
                let unsigned = u64::try_from(count)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(count), &self))?;
                self.visit_u64(unsigned)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Every, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The token budget of a batch: a number, or `"fit"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchTokens {
    /// So many tokens.
    Tokens(NonZeroUsize),
    /// As many as the memory at hand holds when the run begins.
    Fit,
}

/// The word for [`BatchTokens::Fit`].
const FIT: &str = "fit";

impl Serialize for BatchTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(n) => n.serialize(serializer),
            Self::Fit => serializer.serialize_str(FIT),
        }
    }
}

impl<'de> Deserialize<'de> for BatchTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = BatchTokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 on, or \"{FIT}\"")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<BatchTokens, E> {
                let positive = usize::try_from(n).ok().and_then(NonZeroUsize::new);
                positive
                    .map(BatchTokens::Tokens)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<BatchTokens, E> {
                let positive = usize::try_from(n).ok().and_then(NonZeroUsize::new);
                positive
                    .map(BatchTokens::Tokens)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BatchTokens, E> {
                match text {
                    FIT => Ok(BatchTokens::Fit),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_reads_what_it_writes() {
        for text in ["1 update", "500 updates", "1 epoch", "3 epochs"] {
            assert_eq!(text.parse::<Every>().unwrap().to_string(), text);
        }
        for text in ["0 epochs", "epoch", "1 week", "-1 epochs", "1"] {
            let message = text.parse::<Every>().unwrap_err();
            assert!(message.contains(&format!("`{text}`")), "{message}");
        }
    }
}
