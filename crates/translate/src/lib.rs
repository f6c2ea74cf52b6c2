//! From source ids to the best target.
#![allow(missing_docs)]
use std::num::NonZeroUsize;

use model::EncoderDecoder;
use serde::{Deserialize, Serialize};
use text::Tokenizers;

#[derive(Debug)]
pub struct Error(model::Error);
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl std::error::Error for Error {}
impl From<model::Error> for Error {
    fn from(e: model::Error) -> Self {
        Self(e)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchConfig {
    pub beam: NonZeroUsize,
    pub max_src_len: NonZeroUsize,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self { beam: NonZeroUsize::MIN, max_src_len: NonZeroUsize::MIN.saturating_add(100) }
    }
}

pub struct Translation {
    pub text: String,
}

pub struct Translator<M> {
    model: M,
    tokenizers: Tokenizers,
    pub config: SearchConfig,
}

impl<M: EncoderDecoder> Translator<M> {
    pub fn new(model: M, tokenizers: Tokenizers, config: SearchConfig) -> Result<Self, Error> {
        Ok(Self { model, tokenizers, config })
    }
    pub fn translate(&self, lines: &[String]) -> Result<Vec<Vec<Translation>>, Error> {
        let mut out = vec![];
        for line in lines {
            let ids = self.tokenizers.src.encode(line).unwrap_or_else(|e| panic!("{e}")).ids;
            let mut state = self.model.start(&[ids.clone()])?;
            let mut last = self.model.special().bos;
            let mut found = vec![];
            while found.len() < ids.len() + 5 {
                let step = self.model.step(&mut state, &[last])?;
                let best = (0..step.log_probs.len())
                    .max_by(|&a, &b| step.log_probs[a].total_cmp(&step.log_probs[b]));
                last = best.unwrap_or(0) as u32;
                if last == self.model.special().eos {
                    break;
                }
                found.push(last);
            }
            let text = self.tokenizers.tgt.decode(&found).unwrap_or_else(|e| panic!("{e}"));
            out.push(vec![Translation { text }]);
        }
        Ok(out)
    }
}
