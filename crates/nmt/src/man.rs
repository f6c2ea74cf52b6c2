//! `nmt man`: the help as manual pages.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::{cli::Cli, output::Output};

/// Write manual pages
///
/// Without options, the page of `nmt` itself goes to standard output. The pages of the
/// commands are separate files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt man | man -l -
  nmt man --out ~/.local/share/man/man1")]
pub(crate) struct Manual {
    /// Write one page for each command into DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

impl Manual {
    /// Writes one page, or all of them.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut nmt = Cli::command().disable_help_subcommand(true);
        nmt.build();
        let Some(dir) = self.out else {
            return write(nmt, None);
        };
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
        for verb in nmt.get_subcommands() {
            let name = format!("nmt-{}", verb.get_name());
            let page = verb.clone().display_name(&name);
            write(page, Some(&dir.join(format!("{name}.1"))))?;
        }
        write(nmt, Some(&dir.join("nmt.1")))
    }
}

/// Writes the page of one command.
fn write(command: Command, path: Option<&Path>) -> anyhow::Result<()> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    let mut output = Output::open(path)?;
    output.write_all(&page)?;
    output.finish()
}
