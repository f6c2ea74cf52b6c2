//! Where results go: to standard output, or into a file that appears whole or not at all.

use std::{
    io::{self, BufWriter, StdoutLock, Write},
    path::Path,
};

use anyhow::Context;

/// Standard output, or a file under construction.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output.
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A file that gets its name in [`Output::finish`].
    File(text::output::Output),
}

impl Output {
    /// Opens standard output, or starts the file `path`.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            None => Ok(Self::Stdout(BufWriter::new(io::stdout().lock()))),
            Some(path) => Ok(Self::File(text::output::Output::create(path)?)),
        }
    }

    /// Writes what is left, and gives a file its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush().context("cannot write to standard output"),
            Self::File(file) => Ok(file.finish()?),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}
