//! The verbs, and the options that all of them share: device, threads, seed, verbosity.

use std::{num::NonZeroUsize, str::FromStr};

use anyhow::Context;
use candle_core::Device;
use clap::{Args, Parser, Subcommand};

use crate::{
    align::Align,
    average::Average,
    completions::Completions,
    console::{Console, Hint, Verbosity, When, threads_in_words},
    doctor::Doctor,
    evaluate::Evaluate,
    export::Export,
    fetch::Fetch,
    import::Import,
    info::Info,
    man::Manual,
    prepare::Prepare,
    quickstart::Quickstart,
    score::Score,
    shortlist::ShortlistArgs,
    train::Train,
    translate::Translate,
};

/// Neural machine translation: train, translate and see the alignment
///
/// Trains a translation model from a parallel corpus, translates with it, and shows which
/// words it looked at. Everything works on files, pipes and a terminal; nothing leaves this
/// machine.
#[derive(Debug, Parser)]
#[command(
    name = "nmt",
    version,
    subcommand_value_name = "COMMAND",
    after_help = "\
Exit codes: 0 done, 1 failed, 2 misused, 130 stopped by a signal (training is saved before)

Examples:
  nmt quickstart                 the whole way, in a few minutes
  nmt train toy.toml             what such a file holds: nmt help train
  nmt translate runs/toy/best < input.txt > output.txt"
)]
pub(crate) struct Cli {
    /// What all commands understand.
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    Quickstart(Quickstart),
    Fetch(Fetch),
    Prepare(Prepare),
    Train(Train),
    Translate(Translate),
    Align(Align),
    Evaluate(Evaluate),
    Score(Score),
    Average(Average),
    Import(Import),
    Export(Export),
    Shortlist(ShortlistArgs),
    Info(Info),
    Doctor(Doctor),
    Completions(Completions),
    #[command(name = "man")]
    Manual(Manual),
}

/// Options of all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where to compute: `cpu`, `cuda`, or `cuda:N` for GPU number N
    ///
    /// Results on a GPU differ from those of the processor in the last digits.
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,

    /// Threads to compute with [default: one for each core]
    ///
    /// The number of threads changes how long it takes, never the result.
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Start all random numbers from N
    ///
    /// The same seed gives the same model and the same samples, to the bit. Overrides the
    /// seed of an experiment file.
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,

    /// Say more on standard error
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    verbose: bool,

    /// Say nothing but errors on standard error
    #[arg(long, short, global = true)]
    quiet: bool,

    /// Use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: When,
}

/// What a verb works with: the console, the device and what the global options ask for.
#[derive(Clone, Debug)]
pub(crate) struct Session<'a> {
    /// Where to say things.
    pub(crate) console: &'a Console,
    /// Where to compute.
    pub(crate) device: Device,
    /// Threads to compute with.
    pub(crate) threads: usize,
    /// The number of threads, if one was asked for.
    pub(crate) asked_threads: Option<NonZeroUsize>,
    /// The seed, if one was asked for.
    pub(crate) seed: Option<u64>,
}

impl Cli {
    /// Runs the verb.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        let session = || self.global.session(console);
        match self.verb {
            Verb::Quickstart(verb) => verb.run(&session()?),
            Verb::Fetch(verb) => verb.run(console),
            Verb::Prepare(verb) => verb.run(&session()?),
            Verb::Train(verb) => verb.run(&session()?),
            Verb::Translate(verb) => verb.run(&session()?),
            Verb::Align(verb) => verb.run(&session()?),
            Verb::Evaluate(verb) => verb.run(&session()?),
            Verb::Score(verb) => verb.run(&session()?),
            Verb::Average(verb) => verb.run(console),
            Verb::Import(verb) => verb.run(console),
            Verb::Export(verb) => verb.run(&session()?),
            Verb::Shortlist(verb) => verb.run(&session()?),
            Verb::Info(verb) => verb.run(console),
            Verb::Doctor(verb) => verb.run(&session()?),
            Verb::Completions(verb) => verb.run(),
            Verb::Manual(verb) => verb.run(),
        }
    }
}

impl Global {
    /// The console these options ask for.
    pub(crate) fn console(&self) -> Console {
        let verbosity = match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        Console::new(self.color, verbosity)
    }

    /// Opens the device and starts the threads.
    fn session<'a>(&self, console: &'a Console) -> anyhow::Result<Session<'a>> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.threads.map_or(cores, NonZeroUsize::get);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            // This thread is one of them: work that is not shared out stays where it is.
            .use_current_thread()
            .build_global()
            .with_context(|| format!("cannot start {threads} threads"))?;
        let (device, asked_threads, seed) = (self.device.open()?, self.threads, self.seed);
        Ok(Session { console, device, threads, asked_threads, seed })
    }
}

impl Session<'_> {
    /// The device and the threads in words, for notes.
    pub(crate) fn machine(&self) -> String {
        match &self.device {
            Device::Cpu => format!("cpu, {}", threads_in_words(self.threads)),
            device => format!("{:?}", device.location()).to_lowercase(),
        }
    }
}

/// A device as the user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceName {
    Cpu,
    Cuda(usize),
}

impl DeviceName {
    fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(ordinal) => kernels::gpu::open(ordinal)
                .with_context(|| format!("cannot use GPU {ordinal}"))
                .hint("`nmt doctor` says what this machine and this build can do"),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let ordinal = match name {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()),
        };
        ordinal.map(Self::Cuda).ok_or_else(|| "expected cpu, cuda or cuda:N".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn devices_have_names() {
        for (name, device) in [
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
        ] {
            assert_eq!(name.parse(), Ok(device));
        }
        for wrong in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
