//! Where results go: to standard output, or into a file that appears whole or not at all.

use std::{
    io::{self, BufWriter, StdoutLock, Write},
    path::Path,
};

use anyhow::ensure;

use crate::console::Hint;

/// Makes sure that a directory that is to be written is not there yet: nothing is overwritten.
pub(crate) fn ensure_new(dir: &Path) -> anyhow::Result<()> {
    let check = || {
        ensure!(!dir.exists(), "{} exists already", dir.display());
        Ok(())
    };
    check().hint("choose another directory with `--out`, or remove this one")
}

/// Standard output, or a file under construction. Errors say which.
#[derive(Debug)]
pub(crate) struct Output {
    name: String,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A file that gets its name in [`Output::finish`].
    File(text::output::Output),
}

impl Output {
    /// Opens standard output, or starts the file `path`.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let sink = Sink::Stdout(BufWriter::new(io::stdout().lock()));
            return Ok(Self { name: "standard output".into(), sink });
        };
        let sink = Sink::File(text::output::Output::create(path)?);
        Ok(Self { name: path.display().to_string(), sink })
    }

    /// Writes what is left, and gives a file its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        match self.sink {
            Sink::Stdout(_) => Ok(self.flush()?),
            Sink::File(file) => Ok(file.finish()?),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.sink {
            Sink::Stdout(out) => out.write(bytes),
            Sink::File(file) => file.write(bytes),
        };
        written.map_err(|source| named(&self.name, source))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.sink {
            Sink::Stdout(out) => out.flush(),
            Sink::File(file) => file.flush(),
        };
        flushed.map_err(|source| named(&self.name, source))
    }
}

/// The same error, with what could not be written: the system does not say it.
fn named(name: &str, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), format!("cannot write to {name}: {source}"))
}
