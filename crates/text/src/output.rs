//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::{Compression, write::GzEncoder};

use crate::{Error, Result};

/// A file in the making: written under a temporary name beside its own, which it gets in
/// [`finish`](Self::finish). Dropped before, it leaves nothing behind.
///
/// A name that ends in `.gz` is compressed. What already exists and is no ordinary file, such
/// as a pipe, is written to directly.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    temporary: Option<PathBuf>,
    sink: Option<Sink>,
}

#[derive(Debug)]
enum Sink {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

/// How temporary names end.
const PARTIAL: &str = ".partial";

/// Keeps temporary names of one process apart.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Output {
    /// Starts to write what will be `path`.
    ///
    /// # Errors
    /// [`Error::Write`] if the folder does not exist or cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        // A link is followed, so that what it points to is replaced and not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let special = fs::metadata(&target).is_ok_and(|found| !found.is_file());
        let temporary = if special { None } else { Some(temporary_name(&target)?) };
        let file = File::create(temporary.as_ref().unwrap_or(&target)).map_err(failed)?;
        let file = BufWriter::with_capacity(1 << 16, file);
        let sink = if target.extension().is_some_and(|extension| extension == "gz") {
            Sink::Gzip(GzEncoder::new(file, Compression::default()))
        } else {
            Sink::Plain(file)
        };
        Ok(Self { path: target, temporary, sink: Some(sink) })
    }

    /// Writes `line` and a line feed.
    ///
    /// # Errors
    /// [`Error::Write`], for instance when the disk is full.
    pub fn line(&mut self, line: &str) -> Result<()> {
        self.write_all(line.as_bytes())
            .and_then(|()| self.write_all(b"\n"))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Waits until all is on the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Write`]; then nothing, or what was there before, is under the name.
    pub fn finish(self) -> Result<()> {
        self.written()?.named()
    }

    /// Waits until all is on the disk; the file still needs its name.
    pub(crate) fn written(mut self) -> Result<Written> {
        let sink = self.sink.take();
        let temporary = self.temporary.clone();
        sink.map_or(Ok(()), |sink| close(sink, temporary.is_some()))
            .map_err(|source| Error::Write { path: self.path.clone(), source })?;
        Ok(Written(self))
    }
}

/// A file whose content is safe and that only lacks its name.
#[derive(Debug)]
pub(crate) struct Written(Output);

impl Written {
    /// Gives the file its name, over whatever had it.
    pub(crate) fn named(mut self) -> Result<()> {
        let Output { path, temporary, .. } = &mut self.0;
        if let Some(from) = temporary {
            fs::rename(&*from, &*path)
                .map_err(|source| Error::Write { path: path.clone(), source })?;
            *temporary = None;
            // The new name itself is on the disk once the folder is. Not every system can
            // open folders, and the file is whole either way.
            if let Some(folder) = path.parent() {
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
            }
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Some(Sink::Plain(file)) => file.write(bytes),
            Some(Sink::Gzip(file)) => file.write(bytes),
            None => Err(io::Error::other("the file is already finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Some(Sink::Plain(file)) => file.flush(),
            Some(Sink::Gzip(file)) => file.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.sink = None;
        if let Some(temporary) = &self.temporary {
            // Nothing can be done about a failure here, and the file's own name is free of it.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Writes `content` to `path`, whole or not at all.
///
/// # Errors
/// [`Error::Write`].
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let mut output = Output::create(path)?;
    output.write_all(content).map_err(|source| Error::Write { path: path.to_owned(), source })?;
    output.finish()
}

/// Removes what processes that were killed left half-written in `folder`. Nobody else may be writing
/// there.
///
/// # Errors
/// [`Error::Read`] if the folder cannot be listed, [`Error::Write`] if a file cannot be removed.
pub fn remove_half_written(folder: &Path) -> Result<()> {
    let unread = |source| Error::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| Error::Write { path, source })?;
        }
    }
    Ok(())
}

fn close(sink: Sink, ordinary: bool) -> io::Result<()> {
    let file = match sink {
        Sink::Plain(file) => file,
        Sink::Gzip(file) => file.finish()?,
    };
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    if ordinary { file.sync_all() } else { Ok(()) }
}

fn temporary_name(target: &Path) -> Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| Error::Write {
        path: target.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"),
    })?;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let name = format!(".{}.{process}-{count}{PARTIAL}", name.to_string_lossy());
    Ok(target.with_file_name(name))
}

/// Whether [`temporary_name`] makes such names.
fn is_temporary(name: &str) -> bool {
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(PARTIAL))
        .and_then(|rest| rest.rsplit_once('.'))
        .and_then(|(name, mark)| Some((name, mark.split_once('-')?)))
        .is_some_and(|(name, (process, count))| {
            !name.is_empty() && number(process) && number(count)
        })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.line("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        output.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::create(&folder.path().join("a.txt")).unwrap();
        output.line("half").unwrap();
        drop(output);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let others = [".a.1-.partial", ".a.1-2.part", ".a.partial", "a.1-2.partial", "a.txt"];
        for name in others.iter().chain(&[".a.html.731-0.partial", ".b.4-12.partial"]) {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        // Dropped without its destructor, as if the process were killed.
        std::mem::forget(Output::create(&folder.path().join("c")).unwrap());
        assert_eq!(names(folder.path()).len(), others.len() + 3);
        remove_half_written(folder.path()).unwrap();
        assert_eq!(names(folder.path()), others);
    }

    #[test]
    fn the_extension_gz_compresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let mut output = Output::create(&path).unwrap();
        output.line("Straße").unwrap();
        output.finish().unwrap();
        let mut text = String::new();
        GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "Straße\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_a_device_stays_a_device() {
        let error = write_whole(Path::new("/dev/full"), &[b'x'; 100]).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/full");
        write_whole(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/file.txt");
        let error = Output::create(&path).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write {}", path.display()));
        assert!(Output::create(Path::new("/")).is_err());
    }
}
