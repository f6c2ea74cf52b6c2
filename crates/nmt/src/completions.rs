//! `nmt completions`: a script that completes commands and options in a shell.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, output::Output};

/// Write a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt completions bash > ~/.local/share/bash-completion/completions/nmt
  nmt completions zsh > ~/.zfunc/_nmt
  nmt completions fish > ~/.config/fish/completions/nmt.fish")]
pub(crate) struct Completions {
    /// Shell to complete in
    shell: Shell,
}

impl Completions {
    /// Writes the script to standard output.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "nmt", &mut script);
        let mut output = Output::open(None)?;
        output.write_all(&script)?;
        output.finish()
    }
}
