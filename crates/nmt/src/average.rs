//! `nmt average`: one model from several checkpoints.

use std::path::PathBuf;

use crate::{console::Console, output::ensure_new};

/// Average the parameters of several models
///
/// The mean of the last checkpoints of one run often translates better than each of them. All
/// models must have the same configuration and vocabulary; tokenizer and search settings are
/// those of the last.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt average runs/toy/best runs/toy/last --out runs/toy/mean
  nmt average runs/toy/checkpoints/* --out runs/toy/mean")]
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
        train::average(&self.models, &self.out, &self.card())?;
        let told = format!("{} · mean of {} models", self.out.display(), self.models.len());
        console.note("done", told);
        Ok(())
    }

    /// The description that the directory gets.
    fn card(&self) -> String {
        let list: String =
            self.models.iter().map(|dir| format!("- `{}`\n", dir.display())).collect();
        format!("# A mean of models\n\nThe parameters are the mean of those of\n\n{list}")
    }
}
