//! Checkpoints of a run on disk: whole, verified, and never fewer than one.
//!
//! ```text
//! RUN/checkpoints/step-00001000/   a model directory, with state.json and the optimizer's state
//! RUN/last, RUN/best               links to two of them
//! ```
//!
//! A checkpoint is written under a temporary name, flushed to the disk and renamed; `state.json`
//! is its last file and holds the length and a hash of each other one. Whenever a process is
//! killed, what has its final name is complete.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use text::hash::Hash;

use crate::{
    Error, Result,
    state::{FORMAT, State},
};

/// The file that completes a checkpoint.
const STATE: &str = "state.json";
/// What a checkpoint's name begins with while it is written.
const PARTIAL: &str = ".partial-";
/// … while a new one takes its place.
const REPLACED: &str = ".replaced-";
/// … while it is being deleted.
const DELETED: &str = ".deleted-";

/// Why a checkpoint was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It was due: it counts among those that are kept and averaged.
    Regular,
    /// Somebody stopped the run. It goes when the next regular one is there, so that an
    /// interrupted run ends with the same checkpoints as one that was not.
    Interrupted,
}

/// What `state.json` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    kind: Kind,
    state: State,
    files: BTreeMap<String, Sum>,
}

/// How to tell whether a file is as it was written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    bytes: u64,
    hash: String,
}

/// The checkpoints of a run.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    run: PathBuf,
    dir: PathBuf,
}

impl Checkpoints {
    /// The checkpoints of the run in `run`. Removes what a killed process left half-written.
    pub(crate) fn open(run: &Path) -> Result<Self> {
        let dir = run.join("checkpoints");
        for entry in list(&dir)? {
            let path = dir.join(&entry);
            match entry.strip_prefix(REPLACED) {
                // The new one had not come yet.
                Some(name) if !dir.join(name).exists() => rename(&path, &dir.join(name))?,
                _ if [PARTIAL, REPLACED, DELETED].iter().any(|mark| entry.starts_with(mark)) => {
                    remove(&path)?;
                }
                _ => {}
            }
        }
        Ok(Self { run: run.into(), dir })
    }

    /// Writes a checkpoint, with the files that `write` puts into the folder it is given, and
    /// lets `RUN/last` and, if the state says so, `RUN/best` point to it.
    pub(crate) fn save(
        &self,
        kind: Kind,
        state: &State,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let name = name(state.step);
        let place = self.dir.join(&name);
        let partial = self.dir.join(format!("{PARTIAL}{name}"));
        if partial.exists() {
            remove(&partial)?;
        }
        let written = fs::create_dir_all(&partial)
            .map_err(|source| Error::write(&partial, source))
            .and_then(|()| write(&partial))
            .and_then(|()| complete(&partial, kind, state));
        if let Err(error) = written {
            // A full disk must not stay full of half a checkpoint. What made writing fail is
            // what the caller needs to know, not whether this fails as well.
            let _ = fs::remove_dir_all(&partial);
            return Err(error.named(&partial, &place));
        }
        let replaced = self.dir.join(format!("{REPLACED}{name}"));
        if place.exists() {
            rename(&place, &replaced)?;
        }
        rename(&partial, &place)?;
        sync_dir(&self.dir)?;
        if replaced.exists() {
            remove(&replaced)?;
        }
        self.link(state)?;
        Ok(place)
    }

    /// Lets `RUN/last` and `RUN/best` point to what the state says.
    pub(crate) fn link(&self, state: &State) -> Result<()> {
        link(&self.run, "last", state.step)?;
        match state.best {
            Some(best) => link(&self.run, "best", best.step),
            None => Ok(()),
        }
    }

    /// Deletes checkpoints before the last `keep` regular ones. The best one and the newest
    /// one stay, and so does what has not been reached yet.
    pub(crate) fn prune(&self, keep: usize, state: &State) -> Result<()> {
        let kept = self.regular(state.step, keep)?;
        let best = state.best.map(|best| best.step);
        for step in self.steps()? {
            let wanted = step >= state.step || kept.contains(&step) || Some(step) == best;
            if !wanted {
                let deleted = self.dir.join(format!("{DELETED}{}", name(step)));
                rename(&self.path(step), &deleted)?;
                remove(&deleted)?;
            }
        }
        Ok(())
    }

    /// The last `n` regular checkpoints up to `step`, oldest first.
    pub(crate) fn regular(&self, step: u64, n: usize) -> Result<Vec<u64>> {
        let mut regular: Vec<u64> = self
            .steps()?
            .into_iter()
            .filter(|&at| at <= step)
            .filter(|&at| self.manifest(at).is_ok_and(|found| found.kind == Kind::Regular))
            .collect();
        Ok(regular.split_off(regular.len().saturating_sub(n)))
    }

    /// The newest checkpoint that is as it was written. `warn` hears of newer ones that are not.
    ///
    /// # Errors
    /// [`Error::Damaged`] if there are checkpoints and all are damaged.
    pub(crate) fn newest(&self, warn: &mut dyn FnMut(String)) -> Result<Option<(PathBuf, State)>> {
        let mut damaged = None;
        for step in self.steps()?.into_iter().rev() {
            match self.verified(step) {
                Ok(state) => {
                    if let Some(reason) = damaged {
                        warn(format!("{reason}; using {} instead", self.path(step).display()));
                    }
                    return Ok(Some((self.path(step), state)));
                }
                Err(error) => {
                    damaged.get_or_insert(error);
                }
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    /// Where the checkpoint of a step is, or would be.
    pub(crate) fn path(&self, step: u64) -> PathBuf {
        self.dir.join(name(step))
    }

    /// The steps that have a checkpoint, in order.
    fn steps(&self) -> Result<Vec<u64>> {
        let number = |entry: &String| entry.strip_prefix("step-")?.parse().ok();
        let mut steps: Vec<u64> = list(&self.dir)?.iter().filter_map(number).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn manifest(&self, step: u64) -> Result<Manifest> {
        let path = self.path(step).join(STATE);
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        let text = fs::read_to_string(&path).map_err(|error| damaged(error.to_string()))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let format = value["state"]["format"].as_u64().unwrap_or(0);
        if format > u64::from(FORMAT) {
            return Err(damaged(format!(
                "its format {format} is newer than {FORMAT}, the newest this build reads"
            )));
        }
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
    }

    /// The state of a checkpoint of which every file is as it was written.
    fn verified(&self, step: u64) -> Result<State> {
        let manifest = self.manifest(step)?;
        for (file, expected) in &manifest.files {
            let path = self.path(step).join(file);
            let found = sum(&path).map_err(|error| Error::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            if found.bytes != expected.bytes {
                let reason = format!("{} bytes, expected {}", found.bytes, expected.bytes);
                return Err(Error::Damaged { path, reason });
            }
            if found.hash != expected.hash {
                let reason = "its content is not what was written".into();
                return Err(Error::Damaged { path, reason });
            }
        }
        Ok(manifest.state)
    }
}

/// `step-00001000`.
fn name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Flushes all files of a checkpoint and writes `state.json`.
fn complete(dir: &Path, kind: Kind, state: &State) -> Result<()> {
    let mut files = BTreeMap::new();
    for file in list(dir)? {
        let path = dir.join(&file);
        let failed = |source| Error::write(&path, source);
        File::open(&path).and_then(|file| file.sync_all()).map_err(failed)?;
        files.insert(file, sum(&path).map_err(failed)?);
    }
    let manifest = Manifest { kind, state: state.clone(), files };
    let json = serde_json::to_vec_pretty(&manifest).expect("a state has string keys");
    text::output::write_whole(&dir.join(STATE), &json)?;
    sync_dir(dir)
}

fn sum(path: &Path) -> io::Result<Sum> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let (mut hash, mut bytes) = (Hash::new(), 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sum { bytes, hash: format!("{:016x}", hash.finish()) }),
            n => {
                hash = hash.with(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Lets `RUN/name` point to the checkpoint of `step`, at once.
fn link(run: &Path, link: &str, step: u64) -> Result<()> {
    #[cfg(unix)]
    use std::os::unix::fs::symlink;
    #[cfg(windows)]
    use std::os::windows::fs::symlink_dir as symlink;

    let partial = run.join(format!("{PARTIAL}{link}"));
    if partial.is_symlink() {
        fs::remove_file(&partial).map_err(|source| Error::write(&partial, source))?;
    }
    let target = Path::new("checkpoints").join(name(step));
    symlink(target, &partial).map_err(|source| Error::write(&partial, source))?;
    rename(&partial, &run.join(link))?;
    sync_dir(run)
}

/// The names in a folder; none if there is no such folder.
fn list(dir: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::read(dir, source);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| Error::write(to, source))
}

fn remove(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir).map_err(|source| Error::write(dir, source))
}

/// A new name is on the disk once its folder is.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::write(dir, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
