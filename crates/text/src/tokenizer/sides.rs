//! The tokenizers of both languages, in one folder.

use std::{fs, io, path::Path, sync::Arc};

use super::{Tokenizer, TokenizerConfig};
use crate::{Error, Result, output::Output};

const JOINT: &str = "tokenizer.json";
const SRC: &str = "tokenizer.src.json";
const TGT: &str = "tokenizer.tgt.json";

/// The tokenizers of source and target: one for both, or one for each.
#[derive(Clone, Debug)]
pub struct Tokenizers {
    /// For the source.
    pub src: Arc<Tokenizer>,
    /// For the target; the same as the source's if they are joint.
    pub tgt: Arc<Tokenizer>,
}

impl Tokenizers {
    /// Learns what `config` asks for: one tokenizer from the lines of both sides, or one from
    /// each.
    ///
    /// # Errors
    /// As [`Tokenizer::train`].
    pub fn train<S, T>(config: &TokenizerConfig, src: S, tgt: T) -> Result<Self>
    where
        S: Iterator<Item = String> + Send,
        T: Iterator<Item = String> + Send,
    {
        if config.joint {
            return Ok(Self::one(Tokenizer::train(config, src.chain(tgt))?));
        }
        let src = Arc::new(Tokenizer::train(config, src)?);
        Ok(Self { src, tgt: Arc::new(Tokenizer::train(config, tgt)?) })
    }

    /// One tokenizer for both sides.
    pub fn one(tokenizer: Tokenizer) -> Self {
        let src = Arc::new(tokenizer);
        Self { tgt: Arc::clone(&src), src }
    }

    /// Whether both sides share one vocabulary.
    pub fn joint(&self) -> bool {
        Arc::ptr_eq(&self.src, &self.tgt)
    }

    /// Reads `tokenizer.json`, or else `tokenizer.src.json` and `tokenizer.tgt.json`, of `dir`.
    ///
    /// # Errors
    /// As [`Tokenizer::open`]. If none of the files exists, the missing `tokenizer.json` is
    /// named.
    pub fn open(dir: &Path) -> Result<Self> {
        let (joint, src, tgt) = (dir.join(JOINT), dir.join(SRC), dir.join(TGT));
        if joint.exists() || !(src.exists() || tgt.exists()) {
            return Ok(Self::one(Tokenizer::open(&joint)?));
        }
        let src = Arc::new(Tokenizer::open(&src)?);
        Ok(Self { src, tgt: Arc::new(Tokenizer::open(&tgt)?) })
    }

    /// Writes the files that [`open`](Self::open) reads. No file gets its name before all of
    /// them are on the disk; then those of an older, different set in `dir` are removed.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, dir: &Path) -> Result<()> {
        let (files, outdated) = if self.joint() {
            (vec![(JOINT, &self.src)], vec![SRC, TGT])
        } else {
            (vec![(SRC, &self.src), (TGT, &self.tgt)], vec![JOINT])
        };
        let mut written = Vec::new();
        for (name, tokenizer) in files {
            let path = dir.join(name);
            let mut output = Output::create(&path)?;
            output.line(&tokenizer.json(&path)?)?;
            written.push(output.written()?);
        }
        for file in written {
            file.named()?;
        }
        for path in outdated.into_iter().map(|name| dir.join(name)) {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Write { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
