//! The tokenizers of both languages, and how text is evened out for them, in one folder.

use std::{fs, io, path::Path, sync::Arc};

use super::{Tag, Tokenizer, TokenizerConfig};
use crate::{Error, Normalize, Result, output::Output};

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
    /// What is evened out in a text before it becomes ids. The tokenizers do not do it: whoever
    /// encodes does, as positions then count in the evened text.
    pub normalize: Normalize,
}

impl Tokenizers {
    /// Learns what `config` asks for: one tokenizer from the lines of both sides, or one from
    /// each. The lines are taken as they are, and so is text later, unless
    /// [`normalize`](Self::normalize) is set.
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
        Ok(Self::two(src, Arc::new(Tokenizer::train(config, tgt)?)))
    }

    /// One tokenizer for both sides, and text as it is.
    pub fn one(tokenizer: Tokenizer) -> Self {
        let src = Arc::new(tokenizer);
        Self::two(Arc::clone(&src), src)
    }

    pub(super) fn two(src: Arc<Tokenizer>, tgt: Arc<Tokenizer>) -> Self {
        Self { src, tgt, normalize: Normalize::NOTHING }
    }

    /// The same tokenizers with `tags` in the vocabulary of the source, and so in that of the
    /// target if they are joint.
    ///
    /// # Errors
    /// As [`Tokenizer::with_tags`].
    pub fn with_tags(self, tags: &[Tag]) -> Result<Self> {
        if tags.iter().all(|tag| self.src.tag(tag).is_some()) {
            return Ok(self);
        }
        let src = Arc::new(self.src.with_tags(tags)?);
        let tgt = if self.joint() { Arc::clone(&src) } else { self.tgt };
        Ok(Self { src, tgt, ..self })
    }

    /// Whether both sides are cut by one and the same tokenizer.
    pub fn joint(&self) -> bool {
        Arc::ptr_eq(&self.src, &self.tgt)
    }

    /// Whether ids stand for the same on both sides, however these are cut.
    pub fn share_ids(&self) -> bool {
        self.joint() || self.src.shares_ids(&self.tgt)
    }

    /// Reads `tokenizer.json`, or else `tokenizer.src.json` and `tokenizer.tgt.json`, of `dir`,
    /// and `normalize.json`.
    ///
    /// # Errors
    /// As [`Tokenizer::open`] and [`Normalize::open`]. If none of the files exists, the missing `tokenizer.json` is
    /// named.
    pub fn open(dir: &Path) -> Result<Self> {
        let (joint, src, tgt) = (dir.join(JOINT), dir.join(SRC), dir.join(TGT));
        let opened = if joint.exists() || !(src.exists() || tgt.exists()) {
            Self::one(Tokenizer::open(&joint)?)
        } else {
            let src = Arc::new(Tokenizer::open(&src)?);
            Self::two(src, Arc::new(Tokenizer::open(&tgt)?))
        };
        Ok(Self { normalize: Normalize::open(dir)?, ..opened })
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
        written.push(self.normalize.written(dir)?);
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
