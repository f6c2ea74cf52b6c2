//! `nmt shortlist`: which target tokens come into question for which source tokens.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Context;
use model::{ModelDir, SHORTLIST};
use text::Tokenizers;
use translate::{
    shortlist::{Sizes, coverage, learn},
    translator::check_tokenizers,
};

use crate::{
    cli::Session,
    console::{Hint, grouped},
    input::stream_pairs,
};

/// Learn which words may translate which, for faster translations
///
/// With `nmt translate --shortlist` the model chooses among words that are likely translations of
/// the words of the line, instead of among all: faster, above all with large vocabularies, and
/// now and then another translation. The text should be what the model was trained on. The list
/// becomes a file of the model directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt shortlist runs/toy/best train.en train.de
  nmt translate runs/toy/best input.txt --shortlist")]
pub(crate) struct ShortlistArgs {
    /// Directory of a model, such as `RUN/best` of `nmt train`
    model: PathBuf,

    /// Source sentences, one per line
    src: PathBuf,

    /// Their translations
    tgt: PathBuf,

    /// Keep the N best translations of each token
    #[arg(long, value_name = "N", default_value_t = Sizes::default().best, help_heading = "List")]
    best: NonZeroUsize,

    /// Put the N most frequent tokens on every list
    #[arg(long, value_name = "N", default_value_t = Sizes::default().frequent, help_heading = "List")]
    frequent: usize,
}

impl ShortlistArgs {
    /// Learns from the files, and writes the list into the model directory.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let load = || {
            let (model, tokenizers) =
                (ModelDir::open(&self.model)?, Tokenizers::open(&self.model)?);
            check_tokenizers(model.vocabs(), &tokenizers)?;
            anyhow::Ok((model, tokenizers))
        };
        let (model, tokenizers) = load()
            .with_context(|| format!("cannot load a model from {}", self.model.display()))
            .hint("`nmt info DIR` says what a directory holds")?;
        let mut pairs = Vec::new();
        for pair in stream_pairs(&self.src, &self.tgt)? {
            let (src, tgt) = pair?;
            let src = tokenizers.src.encode(&tokenizers.normalize.apply(&src))?.ids;
            let tgt = tokenizers.tgt.encode(&tokenizers.normalize.apply(&tgt))?.ids;
            if !src.is_empty() && !tgt.is_empty() {
                pairs.push((src, tgt));
            }
        }
        session.console.note("read", format!("{} pairs", grouped(pairs.len())));
        let sizes = Sizes { best: self.best, frequent: self.frequent };
        let list = learn(&pairs, [model.vocabs().src, model.vocabs().tgt], sizes)?;
        list.save(&self.model)?;
        let found = coverage(&list, &pairs, model.special());
        let share = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
        let told = format!(
            "{} · {} of {} tokens come into question for a line, {:.2} % of what its translation \
             has; {:.1} % of the translations have no other",
            self.model.join(SHORTLIST).display(),
            grouped(found.candidates / found.sentences.max(1)),
            grouped(model.vocabs().tgt),
            share(found.covered, found.tokens),
            share(found.whole, found.sentences),
        );
        session.console.note("done", told);
        Ok(())
    }
}
