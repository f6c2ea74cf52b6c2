//! `nmt average`: one model from several checkpoints.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use candle_core::Device;
use model::{Model, checkpoint};
use text::Tokenizers;

use crate::{
    console::{Console, Hint, count},
    load,
};

/// Average the parameters of several models
///
/// The mean of the last checkpoints of one run often translates better than each of them. All
/// models must have the same configuration and vocabulary; tokenizer and search settings are
/// those of the first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt average runs/toy/best runs/toy/last --out runs/toy/mean")]
pub(crate) struct Average {
    /// Directories of the models
    #[arg(required = true, num_args = 1..)]
    models: Vec<PathBuf>,

    /// Write the new model to DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
}

impl Average {
    /// Reads the models, and writes their mean into a new directory.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        ensure_new(&self.out)?;
        let mut models = Vec::new();
        for dir in &self.models {
            let model = Model::open(dir, &Device::Cpu);
            models.push(
                model.with_context(|| format!("cannot load a model from {}", dir.display()))?,
            );
        }
        let mean = checkpoint::average(&models).context("cannot average these models")?;
        let first = &self.models[0];
        let tokenizers = Tokenizers::open(first)
            .with_context(|| format!("cannot load a tokenizer from {}", first.display()))?;
        load::check(&mean, &tokenizers)?;
        let save = || {
            fs::create_dir_all(&self.out)?;
            tokenizers.save(&self.out)?;
            let search = first.join(load::SEARCH);
            if search.is_file() {
                text::output::write_whole(&self.out.join(load::SEARCH), &fs::read(&search)?)?;
            }
            anyhow::Ok(mean.save(&self.out)?)
        };
        save().with_context(|| format!("cannot write {}", self.out.display()))?;
        let parameters = count(mean.parameters().count());
        console.note(
            "done",
            format_args!(
                "{} · mean of {} models · {parameters} parameters",
                self.out.display(),
                models.len()
            ),
        );
        Ok(())
    }
}

/// Makes sure that nothing is overwritten.
fn ensure_new(dir: &Path) -> anyhow::Result<()> {
    let check = || {
        ensure!(!dir.join(checkpoint::CONFIG).exists(), "{} holds a model already", dir.display());
        Ok(())
    };
    check().hint("choose another directory with `--out`, or remove the model")
}
