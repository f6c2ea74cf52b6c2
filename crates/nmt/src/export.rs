//! `nmt export`: a model in another form.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{console::Console, output::ensure_new};

/// Write a model in another form
///
/// With `--precision int8` the matrices of the model have eight bits: a quarter of the space, and
/// faster translations. The new directory is used like any other; training that starts from it
/// starts from the rounded weights.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt export runs/toy/best --precision int8 --out toy-int8
  nmt translate toy-int8 input.txt")]
pub(crate) struct Export {
    /// Directory of a model, such as `RUN/best` of `nmt train`
    model: PathBuf,

    /// What the matrices of the model become
    #[arg(long, value_name = "PRECISION", help_heading = "Output")]
    precision: Precision,

    /// Write the new model to DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
}

/// The precisions of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Precision {
    /// Eight bits, with a scale for each output
    Int8,
}

impl Export {
    /// Reads the model, and writes it into a new directory.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        let out = &self.out;
        ensure_new(out)?;
        match self.precision {
            Precision::Int8 => train::quantize(&self.model, out, &self.card())?,
        }
        let megabytes = |dir: &Path| -> anyhow::Result<f64> {
            Ok(fs::metadata(dir.join(model::checkpoint::WEIGHTS))?.len() as f64 / 1e6)
        };
        let (new, old) = (megabytes(out)?, megabytes(&self.model)?);
        console.note("done", format!("{} · {new:.1} MB, was {old:.1} MB", out.display()));
        Ok(())
    }

    /// The description that the directory gets.
    fn card(&self) -> String {
        format!(
            "# A model of eight bits\n\nThe matrices are those of `{}`, rounded to eight bits with a \
             scale for each output.\n",
            self.model.display()
        )
    }
}
