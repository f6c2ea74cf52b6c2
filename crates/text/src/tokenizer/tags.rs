//! Tags: tokens that tell a model where a sentence comes from.
//!
//! Caswell, Chelba and Grangier (2019), “Tagged Back-Translation”, §3: a tag in front of sources
//! that a machine has made lets the model tell them from real ones. A tag is an id without a
//! text: no text becomes one, and none appears in a decoded text.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::vocab::SPECIALS;

/// The name of a tag: letters, digits, `-` and `_` between angle brackets, such as `<bt>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The name, brackets included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tag {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let inner = name.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if SPECIALS.contains(&name.as_str()) {
            return Err(format!("found `{name}`, which has a meaning of its own"));
        }
        match inner {
            Some(inner) if !inner.is_empty() && inner.chars().all(allowed) => Ok(Self(name)),
            _ => Err(format!(
                "found `{name}`, allowed are letters, digits, `-` and `_` between angle brackets, \
                 such as `<bt>`"
            )),
        }
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_angle_brackets_and_is_not_taken() {
        for good in ["<bt>", "<BT>", "<2de>", "<in-domain_1>"] {
            assert_eq!(Tag::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["bt", "<>", "<b t>", "<bt", "", "<ü>", "<s>", "<pad>", "<<bt>>"] {
            let message = Tag::try_from(bad.to_owned()).unwrap_err();
            assert!(message.contains(&format!("`{bad}`")), "{message}");
        }
    }
}
