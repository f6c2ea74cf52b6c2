//! The `[tokenizer]` table of an experiment file.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Error, Result, vocab::SPECIALS};

/// The number of byte values, all of which every vocabulary holds.
const BYTES: usize = 256;

/// How to learn a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    /// How text is cut into subwords.
    pub kind: TokenizerKind,
    /// The most entries a vocabulary may have, special tokens included; at least
    /// [`smallest_vocab`](Self::smallest_vocab). BPE may end with fewer if the text has no more
    /// pairs to merge.
    #[serde(deserialize_with = "vocab")]
    pub vocab: usize,
    /// Whether source and target share one vocabulary.
    pub joint: bool,
}

/// How text is cut into subwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// Byte pair encoding: the most frequent pair is merged, again and again (Sennrich, Haddow
    /// and Birch, 2016).
    Bpe,
    /// The most probable cut under a unigram language model (Kudo, 2018).
    Unigram,
}

impl TokenizerConfig {
    /// The smallest vocabulary possible: the special tokens and every byte.
    pub const fn smallest_vocab() -> usize {
        SPECIALS.len() + BYTES
    }

    /// Fails unless the vocabulary holds at least what every vocabulary must hold.
    pub(super) fn check(&self) -> Result<()> {
        let needed = Self::smallest_vocab();
        match self.vocab {
            found if found < needed => Err(Error::VocabTooSmall { found, needed }),
            _ => Ok(()),
        }
    }
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { kind: TokenizerKind::Bpe, vocab: 8000, joint: true }
    }
}

fn vocab<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<usize, D::Error> {
    let vocab = usize::deserialize(deserializer)?;
    TokenizerConfig { vocab, ..TokenizerConfig::default() }.check().map_err(de::Error::custom)?;
    Ok(vocab)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> std::result::Result<TokenizerConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_read_and_written_alike() {
        let config = parse(r#"{"kind": "unigram", "vocab": 500, "joint": false}"#).unwrap();
        assert_eq!(
            config,
            TokenizerConfig { kind: TokenizerKind::Unigram, vocab: 500, joint: false }
        );
        assert_eq!(parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        assert_eq!(parse("{}").unwrap(), TokenizerConfig::default());
    }

    #[test]
    fn mistakes_are_named() {
        let error = parse(r#"{"vocab": 259}"#).unwrap_err();
        assert!(error.contains("259") && error.contains("260"), "{error}");
        assert!(parse(r#"{"vocab": 260}"#).is_ok());
        let error = parse(r#"{"vocabulary": 500}"#).unwrap_err();
        assert!(error.contains("`vocabulary`") && error.contains("`vocab`"), "{error}");
        let error = parse(r#"{"kind": "wordpiece"}"#).unwrap_err();
        assert!(error.contains("`bpe`") && error.contains("`unigram`"), "{error}");
    }
}
