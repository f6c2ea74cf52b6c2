//! From a line to what search is given, on any thread.

use std::sync::{Arc, OnceLock};

use text::{Encoding, Tokenizer, Tokenizers};

use super::required::{Required, Words, required};
use crate::{Error, Result, request::Line, translation::Tokenized};

/// Cuts lines into tokens.
#[derive(Clone, Debug)]
pub(super) struct Preparer {
    pub(super) tokenizers: Tokenizers,
    pub(super) max_src_len: usize,
    /// Found out when they are first needed, once for all.
    pub(super) words: Arc<OnceLock<Words>>,
}

/// A line in tokens, and what is required of its translation.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) source: Tokenized,
    pub(super) required: Required,
}

impl Preparer {
    pub(super) fn line(&self, line: &impl Line, number: usize) -> Result<Prepared> {
        let source = self.source(line.text(), number)?;
        let Some(request) = line.request() else {
            return Ok(Prepared { source, required: Required::default() });
        };
        if request.prefix.is_empty() && request.phrases.is_empty() {
            return Ok(Prepared { source, required: Required::default() });
        }
        let Tokenizers { tgt, normalize, .. } = &self.tokenizers;
        let words = self.words.get_or_init(|| Words::of(tgt));
        Ok(Prepared { source, required: required(request, number, words, tgt, normalize)? })
    }

    pub(super) fn source(&self, text: &str, line: usize) -> Result<Tokenized> {
        self.tokenized(&self.tokenizers.src, text, line)
    }

    pub(super) fn pair(
        &self,
        (src, tgt): &(String, String),
        line: usize,
    ) -> Result<(Tokenized, Tokenized)> {
        let tgt = self.tokenized(&self.tokenizers.tgt, tgt, line)?;
        Ok((self.source(src, line)?, tgt))
    }

    fn tokenized(&self, tokenizer: &Tokenizer, text: &str, line: usize) -> Result<Tokenized> {
        if text.trim().is_empty() {
            let encoding = Encoding { ids: Vec::new(), spans: Vec::new() };
            return Ok(Tokenized { text: String::new(), encoding });
        }
        let text = self.tokenizers.normalize.apply(text);
        let encoding = tokenizer.encode(&text)?;
        let (found, limit) = (encoding.ids.len(), self.max_src_len);
        if found > limit {
            return Err(Error::TooLong { line, found, limit });
        }
        Ok(Tokenized { text: text.into_owned(), encoding })
    }
}
