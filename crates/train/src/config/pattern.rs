//! Patterns for names of parameters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name in which `*` stands for any letters, none among them, and any number of dots:
/// `encoder.*` is every parameter of the encoder, `*.bias` every bias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        // There is a first part always, and it stands at the beginning.
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty(); // no `*` at all
        };
        // Each part where it comes first: that leaves the most to those behind it.
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a name is meant by any of the patterns.
pub(crate) fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Checks that each pattern matches one of `names`; the message tells the nearest name.
pub(super) fn check(patterns: &[Pattern], names: &[&str]) -> Result<(), String> {
    let useless = |pattern: &&Pattern| !names.iter().any(|name| pattern.matches(name));
    let Some(pattern) = patterns.iter().find(useless) else {
        return Ok(());
    };
    let alike = |name: &&&str| strsim::jaro_winkler(&pattern.0, name);
    let nearest = names.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let hint = nearest.map_or(String::new(), |name| format!(", the nearest one is `{name}`"));
    Err(format!("no parameter matches `{pattern}`{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern(text.into())
    }

    #[test]
    fn a_star_stands_for_anything_and_all_else_for_itself() {
        for (text, name, expected) in [
            ("encoder.*", "encoder.layers.0.forward.bias", true),
            ("encoder.*", "decoder.encoder.bias", false),
            ("embedding.weight", "embedding.weight", true),
            ("embedding.weight", "encoder.embedding.weight", false),
            ("embedding", "embedding.weight", false),
            ("*.bias", "output.bias", true),
            ("*.bias", "output.bias.x", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*.0.*.bias", "encoder.0.1.0.norm.bias", true),
            ("*.0.*.bias", "encoder.0.bias", false),
            ("a*b*c", "abcbc", true),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_named_with_the_nearest_name() {
        let names = ["decoder.feed", "encoder.embedding.weight", "output.bias"];
        assert_eq!(check(&[pattern("enc*"), pattern("*bias")], &names), Ok(()));
        let message = check(&[pattern("*"), pattern("encoder.embeding.*")], &names).unwrap_err();
        assert_eq!(
            message,
            "no parameter matches `encoder.embeding.*`, the nearest one is `encoder.embedding.weight`"
        );
    }
}
