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
        fs::create_dir_all(&dir).map_err(|source| Error::write(&dir, source))?;
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
        let partial = self.dir.join(format!("{PARTIAL}{name}"));
        if partial.exists() {
            remove(&partial)?;
        }
        let written = fs::create_dir(&partial)
            .map_err(|source| Error::write(&partial, source))
            .and_then(|()| write(&partial))
            .and_then(|()| complete(&partial, kind, state));
        if let Err(error) = written {
            // A full disk must not stay full of half a checkpoint. What made writing fail is
            // what the caller needs to know, not whether this fails as well.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        let place = self.dir.join(&name);
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
                hash = hash.add(&buffer[..n]);
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

/// The names in a folder.
fn list(dir: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::read(dir, source);
    let entries = fs::read_dir(dir).map_err(failed)?;
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
mod tests {
    use super::*;
    use crate::{config::Metric, log::Lengths};

    fn state(step: u64) -> State {
        State { step, logs: Lengths::new(), ..State::new("seed = 1".into(), "data".into()) }
    }

    fn save(checkpoints: &Checkpoints, kind: Kind, state: &State) {
        checkpoints
            .save(kind, state, |dir| {
                fs::write(dir.join("model.safetensors"), format!("weights of {}", state.step))
                    .unwrap();
                Ok(fs::write(dir.join("config.json"), "{}").unwrap())
            })
            .unwrap();
    }

    /// The newest good checkpoint's step, and the warnings about newer ones.
    fn newest(checkpoints: &Checkpoints) -> (Option<u64>, Vec<String>) {
        let mut warnings = Vec::new();
        let newest = checkpoints.newest(&mut |warning| warnings.push(warning)).unwrap();
        (newest.map(|(_, state)| state.step), warnings)
    }

    fn resolved(run: &Path, link: &str) -> PathBuf {
        fs::canonicalize(run.join(link)).unwrap()
    }

    #[test]
    fn links_point_to_the_last_and_the_best() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        assert_eq!(newest(&checkpoints), (None, vec![]));
        let mut at = state(10);
        at.score(Metric::Bleu, 30.0);
        save(&checkpoints, Kind::Regular, &at);
        at.step = 20;
        at.score(Metric::Bleu, 29.0);
        save(&checkpoints, Kind::Regular, &at);
        assert!(resolved(run.path(), "last").ends_with("step-00000020"));
        assert!(resolved(run.path(), "best").ends_with("step-00000010"));
        assert!(fs::read_link(run.path().join("best")).unwrap().is_relative());
        assert_eq!(newest(&checkpoints), (Some(20), vec![]));
    }

    #[test]
    fn the_last_ones_and_the_best_stay() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        let mut at = state(0);
        for (step, bleu, kind) in [
            (10, 9.0, Kind::Regular),
            (20, 5.0, Kind::Regular),
            (25, 5.0, Kind::Interrupted),
            (30, 5.0, Kind::Regular),
            (40, 5.0, Kind::Regular),
        ] {
            at.step = step;
            at.score(Metric::Bleu, bleu);
            save(&checkpoints, kind, &at);
            checkpoints.prune(2, &at).unwrap();
        }
        assert_eq!(checkpoints.steps().unwrap(), [10, 30, 40]);
        assert_eq!(checkpoints.regular(40, 2).unwrap(), [30, 40]);
        assert_eq!(checkpoints.regular(30, 5).unwrap(), [10, 30]);
        at.step = 45;
        save(&checkpoints, Kind::Interrupted, &at);
        checkpoints.prune(2, &at).unwrap();
        assert_eq!(checkpoints.steps().unwrap(), [10, 30, 40, 45]);
        assert_eq!(checkpoints.regular(45, 2).unwrap(), [30, 40]);
    }

    #[test]
    fn whatever_a_killed_process_left_is_cleared_away() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        save(&checkpoints, Kind::Regular, &state(10));
        save(&checkpoints, Kind::Regular, &state(20));
        let dir = run.path().join("checkpoints");
        // While one was written; while one was deleted; between two renames.
        fs::create_dir(dir.join(".partial-step-00000030")).unwrap();
        fs::write(dir.join(".partial-step-00000030/model.safetensors"), "half").unwrap();
        fs::create_dir(dir.join(".deleted-step-00000005")).unwrap();
        fs::rename(dir.join("step-00000020"), dir.join(".replaced-step-00000020")).unwrap();
        fs::create_dir(dir.join(".replaced-step-00000010")).unwrap();

        let checkpoints = Checkpoints::open(run.path()).unwrap();
        let mut names = list(&dir).unwrap();
        names.sort();
        assert_eq!(names, ["step-00000010", "step-00000020"]);
        assert_eq!(newest(&checkpoints), (Some(20), vec![]));
    }

    #[test]
    fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        save(&checkpoints, Kind::Regular, &state(10));
        save(&checkpoints, Kind::Regular, &state(20));
        let file = run.path().join("checkpoints/step-00000020/model.safetensors");
        let cases: [(&dyn Fn(), &str); 4] = [
            (&|| fs::write(&file, "weights").unwrap(), "7 bytes, expected 13"),
            (&|| fs::write(&file, "weights of 21").unwrap(), "not what was written"),
            (&|| fs::remove_file(&file).unwrap(), "model.safetensors"),
            (&|| fs::write(file.with_file_name("state.json"), "{\"kind\":").unwrap(), "state.json"),
        ];
        for (damage, expected) in cases {
            damage();
            let (step, warnings) = newest(&checkpoints);
            assert_eq!((step, warnings.len()), (Some(10), 1));
            assert!(warnings[0].contains("step-00000020"), "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
            assert!(warnings[0].contains("using ") && warnings[0].contains("step-00000010"));
        }
        fs::remove_file(run.path().join("checkpoints/step-00000010/config.json")).unwrap();
        let error = checkpoints.newest(&mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("step-00000020"), "{error}");
    }

    #[test]
    fn a_checkpoint_of_the_same_step_is_replaced() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        save(&checkpoints, Kind::Interrupted, &state(10));
        save(&checkpoints, Kind::Regular, &state(10));
        assert_eq!(checkpoints.regular(10, 1).unwrap(), [10]);
        assert_eq!(list(&run.path().join("checkpoints")).unwrap().len(), 1);
    }

    #[test]
    fn a_failure_while_writing_leaves_what_was_there() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        save(&checkpoints, Kind::Regular, &state(10));
        let full = |dir: &Path| {
            fs::write(dir.join("model.safetensors"), "half").unwrap();
            Err(Error::write(&dir.join("model.safetensors"), io::ErrorKind::StorageFull.into()))
        };
        let error = checkpoints.save(Kind::Regular, &state(20), full).unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(list(&run.path().join("checkpoints")).unwrap(), ["step-00000010"]);
        assert_eq!(newest(&checkpoints), (Some(10), vec![]));
        assert!(resolved(run.path(), "last").ends_with("step-00000010"));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path()).unwrap();
        save(&checkpoints, Kind::Regular, &State { format: FORMAT + 1, ..state(10) });
        let error = checkpoints.newest(&mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("newer than 1"), "{error}");
    }
}
