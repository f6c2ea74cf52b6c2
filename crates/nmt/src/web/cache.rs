//! Downloaded files, kept for the next time and shared by all processes of a user.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::console::{Console, Hint};

/// A folder of downloaded files.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

/// What belongs to one address: the file, what there is of it until it is whole, what is known
/// about it, and the lock that whoever downloads it holds.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) url: String,
    file: PathBuf,
    pub(super) partial: PathBuf,
    about: PathBuf,
    lock: PathBuf,
}

/// What is known about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// Where it is from.
    pub(super) url: String,
    /// What the server calls this version: an entity tag or a date.
    pub(super) validator: Option<String>,
    /// Bytes of the whole file.
    pub(super) bytes: Option<u64>,
    /// Of the whole file, once it is here.
    pub(super) sha256: Option<String>,
}

impl Cache {
    /// The given folder, or that of the user.
    pub(super) fn new(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let dir = dir
            .or_else(of_the_user)
            .context("found no folder of the user to keep downloads in")
            .hint("choose one with `--cache`")?;
        Ok(Self { dir })
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What belongs to an address.
    pub(super) fn entry(&self, url: &str) -> Entry {
        let digest = hexadecimal(&Sha256::digest(url));
        let path =
            |ending: &str| self.dir.join(format!("{}-{}{ending}", &digest[..16], file_name(url)));
        Entry {
            url: url.to_owned(),
            file: path(""),
            partial: path(".partial"),
            about: path(".json"),
            lock: path(".lock"),
        }
    }
}

impl Entry {
    /// The file, if it is whole and as it was when it came. A damaged one is removed.
    pub(super) fn complete(&self, console: &Console) -> anyhow::Result<Option<PathBuf>> {
        if !self.file.exists() {
            return Ok(None);
        }
        let about = self.about();
        if about.sha256.is_some() && about.sha256 == Some(checksum(&self.file)?) {
            return Ok(Some(self.file.clone()));
        }
        console.warn(format_args!("{} was damaged since it was downloaded", self.file.display()));
        self.forget();
        Ok(None)
    }

    /// Waits until no other process downloads this file; then it is ours while the lock lives.
    pub(super) fn lock(&self, console: &Console) -> anyhow::Result<File> {
        let context = || format!("cannot lock {}", self.lock.display());
        if let Some(dir) = self.lock.parent() {
            fs::create_dir_all(dir)
                .with_context(|| format!("cannot make the directory {}", dir.display()))
                .hint("choose another with `--cache`")?;
        }
        let lock = File::create(&self.lock).with_context(context)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                console.note("wait", format_args!("another process downloads {}", self.url));
                lock.lock().with_context(context)?;
            }
            locked => locked.with_context(context)?,
        }
        Ok(lock)
    }

    /// What is known; nothing if that cannot be read.
    pub(super) fn about(&self) -> About {
        let text = fs::read_to_string(&self.about).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Notes what is known.
    pub(super) fn describe(&self, about: &About) -> anyhow::Result<()> {
        Ok(text::output::write_whole(&self.about, &serde_json::to_vec_pretty(about)?)?)
    }

    /// Bytes that are here of a file that is not whole.
    pub(super) fn len(&self) -> u64 {
        fs::metadata(&self.partial).map_or(0, |found| found.len())
    }

    /// Gives the file its name, now that all of it is here.
    pub(super) fn finish(&self) -> anyhow::Result<PathBuf> {
        let sha256 = Some(checksum(&self.partial)?);
        self.describe(&About { bytes: Some(self.len()), sha256, ..self.about() })?;
        fs::rename(&self.partial, &self.file)
            .with_context(|| format!("cannot write {}", self.file.display()))?;
        Ok(self.file.clone())
    }

    /// Removes the file and what is known about it.
    pub(super) fn forget(&self) {
        for path in [&self.file, &self.partial, &self.about] {
            _ = fs::remove_file(path); // it may not be there
        }
    }
}

/// The last part of an address as the name of a file that cannot leave its folder.
pub(crate) fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or("");
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).unwrap_or("");
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = last.trim_start_matches('.').chars().map(safe).take(100).collect();
    if name.is_empty() { "data".into() } else { name }
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn checksum(path: &Path) -> anyhow::Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut digest = Sha256::new();
    let mut file = File::open(path).with_context(context)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => break,
            n => digest.update(&buffer[..n]),
        }
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder where the programs of a user keep what they can get again
/// (<https://specifications.freedesktop.org/basedir-spec>).
fn of_the_user() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    };
    Some(dir?.join("nmt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_in_their_folder() {
        let names = [
            "https://a.org/x/train.en.gz?raw=1#top",
            "https://a.org/..%2F..",
            "https://a.org/../..",
            "https://a.org",
            "http://a.org/b\\c d",
        ]
        .map(file_name);
        assert_eq!(names, ["train.en.gz", "_2F..", "data", "data", "b_c_d"]);
    }

    #[test]
    fn what_was_downloaded_is_there_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::new(Default::default(), crate::console::Verbosity::Quiet);
        let entry = Cache::new(Some(dir.path().into())).unwrap().entry("https://a.org/b");
        let lock = entry.lock(&console).unwrap();
        assert_eq!(entry.complete(&console).unwrap(), None);
        fs::write(&entry.partial, "content").unwrap();
        let path = entry.finish().unwrap();
        assert_eq!(entry.about().bytes, Some(7));
        assert_eq!(entry.complete(&console).unwrap(), Some(path.clone()));
        fs::write(&path, "contemt").unwrap();
        assert_eq!(entry.complete(&console).unwrap(), None);
        assert!(!path.exists());
        drop(lock);
    }
}
