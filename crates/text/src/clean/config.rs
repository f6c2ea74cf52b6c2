//! The `[data.clean]` table of an experiment: what a pair must be like to be kept.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{overlap::Overlap, script::Scripts};
use crate::{
    normalize::Normalize,
    number::{Ratio, Share},
};

/// What a pair of sentences must be like to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanConfig {
    /// What is evened out in a text before anything is checked; the result is what is kept.
    pub normalize: Normalize,
    /// The fewest words of a sentence.
    pub min_words: NonZeroUsize,
    /// The most words of a sentence. Words stand between white space; where a language writes
    /// none, [`max_characters`](Self::max_characters) is the limit that works.
    pub max_words: NonZeroUsize,
    /// The most characters of a sentence.
    pub max_characters: NonZeroUsize,
    /// How many times longer than the other, in characters, a side may be.
    pub max_ratio: Ratio,
    /// Drop pairs whose sides are the same: a model that sees them learns to copy.
    pub drop_identical: bool,
    /// Drop all but the first of equal pairs. Takes about ten bytes of memory a pair; one pair
    /// in 10¹² is dropped by mistake in a corpus of ten million.
    pub drop_duplicates: bool,
    /// Drop pairs with control or replacement characters: their encoding was broken once.
    pub drop_unprintable: bool,
    /// The least share of a side's letters that must belong to the scripts of its language. Text
    /// without letters passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_script: Option<Share>,
    /// The scripts of the source by their Unicode names; by default those that its language is
    /// usually written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_scripts: Option<Scripts>,
    /// The scripts of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tgt_scripts: Option<Scripts>,
    /// Drop pairs of which a side is clearly in another language than it should be: in that of
    /// the other side, or in a third.
    #[serde(skip_serializing_if = "is_default")]
    pub drop_other_language: bool,
    /// Drop pairs of which a side also stands in the development set or in a test set.
    #[serde(skip_serializing_if = "is_default")]
    pub drop_overlap: Overlap,
    /// The least score as translations of each other that the statistical aligner must give a
    /// pair: the share of its words that have a counterpart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_alignment: Option<Share>,
}

impl Default for CleanConfig {
    fn default() -> Self {
        let size = |size| NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN);
        Self {
            normalize: Normalize::default(),
            min_words: NonZeroUsize::MIN,
            max_words: size(200),
            max_characters: size(2000),
            max_ratio: const { Ratio::new(9.0).expect("nine is at least one") },
            drop_identical: true,
            drop_duplicates: true,
            drop_unprintable: true,
            min_script: None,
            src_scripts: None,
            tgt_scripts: None,
            drop_other_language: false,
            drop_overlap: Overlap::None,
            min_alignment: None,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_mistakes_are_named() {
        let parse = |json: &str| serde_json::from_str::<CleanConfig>(json);
        assert_eq!(parse("{}").unwrap(), CleanConfig::default());
        let read =
            parse(r#"{"max_words": 50, "max_ratio": 3, "normalize": {"nfc": false}}"#).unwrap();
        assert_eq!((read.max_words.get(), read.max_ratio.get()), (50, 3.0));
        assert_eq!(read.normalize, Normalize { nfc: false, ..Normalize::default() });
        for (bad, expected) in [
            (r#"{"max_ratio": 0.5}"#, "found 0.5, allowed is a number of at least 1"),
            (r#"{"min_words": 0}"#, "nonzero"),
            (r#"{"max_word": 5}"#, "`max_words`"),
            (r#"{"min_script": 0}"#, "found 0, allowed is a number above 0, up to 1"),
            (r#"{"src_scripts": ["latin", "Greec"]}"#, "Greec is no script of Unicode"),
            (r#"{"drop_overlap": "all"}"#, "expected one of `none`, `equal`, `near`"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_written() {
        let plain = serde_json::to_string(&CleanConfig::default()).unwrap();
        for key in ["min_script", "scripts", "other_language", "overlap", "min_alignment"] {
            assert!(!plain.contains(key), "{plain}");
        }
        let all = r#"{"min_script": 0.5, "src_scripts": ["Latin"], "drop_other_language": true,
            "drop_overlap": "near", "min_alignment": 0.25}"#;
        let config: CleanConfig = serde_json::from_str(all).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        assert!(written.contains(r#""src_scripts":["Latin"]"#), "{written}");
        assert_eq!(serde_json::from_str::<CleanConfig>(&written).unwrap(), config);
    }
}
