//! The command line of `nmt`: parse, run, exit code.

mod align;
mod attended;
mod average;
mod card;
mod cli;
mod completions;
mod console;
mod doctor;
mod ensemble;
mod evaluate;
mod export;
mod fetch;
mod import;
mod info;
mod input;
mod judged;
mod load;
mod man;
mod output;
mod prepare;
mod progress;
mod quickstart;
mod render;
mod score;
mod search;
mod shortlist;
mod train;
mod translate;
mod web;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    kernels::memory::keep_freed();
    let cli = cli::Cli::parse();
    let console = cli.global.console();
    match cli.run(&console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => console.report(&error),
    }
}
