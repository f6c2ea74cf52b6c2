//! Where results go: to standard output, or into a file that appears whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, StdoutLock, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Standard output, or a file under construction.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output.
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A file that gets its name in [`Output::finish`].
    File(Draft),
}

/// A file that has not got its name yet. Dropping it removes what was written.
#[derive(Debug)]
pub(crate) struct Draft {
    file: BufWriter<File>,
    draft: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Output {
    /// Opens standard output, or starts the file `path`.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            None => Ok(Self::Stdout(BufWriter::new(io::stdout().lock()))),
            Some(path) => Draft::create(path).map(Self::File),
        }
    }

    /// Writes what is left, and gives a file its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush().context("cannot write to standard output"),
            Self::File(draft) => draft.finish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(draft) => draft.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(draft) => draft.file.flush(),
        }
    }
}

impl Draft {
    /// Starts the file `path` under a temporary name in the same directory.
    fn create(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot write {}", path.display());
        let name = path.file_name().context("found no file name").with_context(context)?;
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}.part", std::process::id()));
        let draft = path.with_file_name(draft);
        let file = BufWriter::new(File::create(&draft).with_context(context)?);
        Ok(Self { file, draft, path: path.into(), finished: false })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let mut write = || {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.draft, &self.path)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            _ = fs::remove_file(&self.draft); // it only takes up room
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.txt");
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"text").unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_and_spares_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.txt");
        fs::write(&path, "old").unwrap();
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"new").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = Output::open(Some(Path::new("no/such/dir/x"))).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot write no/such/dir/x: "), "{error:#}");
    }
}
