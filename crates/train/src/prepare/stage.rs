//! What a preparation has on the disk until it is done: pairs that passed, their keys, and how far it
//! is.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use text::{Pair, clean::Report, output};

use super::STAGE;
use crate::{Error, Result, lock::lock};

/// Files that keys are spread over by their first byte, so that those of one fit into memory.
pub(super) const KEY_FILES: usize = 256;
/// Bytes of a key and the number of its pair.
const KEY: usize = 16;
/// Bytes before the texts of a pair: the corpus and both lengths, the line, and whether it is held out.
const HEAD: usize = 21;
/// A text longer than this was not written by us.
const LONGEST: u32 = 1 << 24;

/// The folder, and where it stands.
#[derive(Debug)]
pub(super) struct Stage {
    dir: PathBuf,
    pub(super) state: State,
    _lock: File,
}

/// How far judging is. What files hold beyond these lengths does not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// What is prepared.
    fingerprint: String,
    /// Whether all lines are judged.
    pub(super) finished: bool,
    /// The corpus that is being read, and the lines of it that are judged.
    pub(super) corpus: usize,
    pub(super) lines: u64,
    /// Pairs that passed.
    pub(super) passed: u64,
    pairs_bytes: u64,
    keys: Vec<u64>,
    /// What was dropped.
    pub(super) report: Report,
}

/// A pair that passed, with where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) corpus: usize,
    /// Whether a side also stands in a held-out set.
    pub(super) held_out: bool,
    pub(super) pair: Pair,
}

impl Stage {
    /// Opens the stage in `dir`, or begins a new one if `unused` finds nothing in its way.
    pub(super) fn open(
        dir: &Path,
        fingerprint: &str,
        unused: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let stage = dir.join(STAGE);
        let path = stage.join("state.json");
        if !path.exists() {
            unused()?;
        }
        fs::create_dir_all(&stage).map_err(|source| Error::write(&stage, source))?;
        let lock = lock(&stage.join("lock"), dir)?;
        let state = match fs::read(&path) {
            Ok(json) => {
                let state: State =
                    serde_json::from_slice(&json).map_err(|error| Error::damaged(&path, error))?;
                if state.fingerprint != fingerprint {
                    return Err(Error::OtherPreparation { dir: stage });
                }
                state
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => State {
                fingerprint: fingerprint.into(),
                keys: vec![0; KEY_FILES],
                ..State::default()
            },
            Err(source) => return Err(Error::read(&path, source)),
        };
        Ok(Self { dir: stage, state, _lock: lock })
    }

    /// Goes on writing where the state says, and forgets what is behind it.
    pub(super) fn writer(&self) -> Result<Writer> {
        let mut keys = Vec::new();
        for (idx, &bytes) in self.state.keys.iter().enumerate() {
            keys.push(appended(&self.keys_path(idx), bytes)?);
        }
        let pairs = appended(&self.pairs_path(), self.state.pairs_bytes)?;
        let (pairs_bytes, keys_bytes) = (self.state.pairs_bytes, self.state.keys.clone());
        let dir = self.dir.clone();
        Ok(Writer { dir, pairs, pairs_bytes, keys, keys_bytes, n: self.state.passed })
    }

    /// Makes what was written count.
    pub(super) fn save(&mut self, writer: &mut Writer) -> Result<()> {
        let failed = |source| Error::write(&self.dir, source);
        writer.pairs.flush().map_err(failed)?;
        for file in &mut writer.keys {
            file.flush().map_err(failed)?;
        }
        self.state.pairs_bytes = writer.pairs_bytes;
        self.state.keys.clone_from(&writer.keys_bytes);
        self.state.passed = writer.n;
        let json = serde_json::to_vec(&self.state).expect("a state has string keys");
        Ok(output::write_whole(&self.dir.join("state.json"), &json)?)
    }

    /// The pairs that passed, in their order.
    pub(super) fn pairs(&self) -> Result<Reader> {
        let path = self.pairs_path();
        let file = File::open(&path).map_err(|source| Error::read(&path, source))?;
        let left = self.state.passed;
        Ok(Reader { path, file: BufReader::with_capacity(1 << 18, file), left })
    }

    /// The keys in one of the files with the numbers of their pairs, which rise.
    pub(super) fn keys(&self, idx: usize) -> Result<Vec<(u64, u64)>> {
        let path = self.keys_path(idx);
        let mut bytes = vec![0; self.state.keys[idx] as usize];
        File::open(&path)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|source| Error::read(&path, source))?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let entries =
            bytes.chunks_exact(KEY).map(|entry| (number(&entry[..8]), number(&entry[8..])));
        Ok(entries.collect())
    }

    /// Where the score of each pair is kept.
    pub(super) fn scores_path(&self) -> PathBuf {
        self.dir.join("scores")
    }

    /// Removes the folder: all is done.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.dir).map_err(|source| Error::write(&self.dir, source))
    }

    fn pairs_path(&self) -> PathBuf {
        self.dir.join("pairs")
    }

    fn keys_path(&self, idx: usize) -> PathBuf {
        self.dir.join(format!("keys-{idx:02x}"))
    }
}

/// Opens a file to write behind its first `bytes`; what follows them is removed.
pub(super) fn appended(path: &Path, bytes: u64) -> Result<BufWriter<File>> {
    let open = || -> io::Result<File> {
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            return Err(io::Error::other(format!("it is shorter than {bytes} bytes")));
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    Ok(BufWriter::with_capacity(1 << 15, open().map_err(|source| Error::write(path, source))?))
}

/// Writes pairs that pass.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    pairs: BufWriter<File>,
    pairs_bytes: u64,
    keys: Vec<BufWriter<File>>,
    keys_bytes: Vec<u64>,
    n: u64,
}

impl Writer {
    /// Writes a pair and its key.
    pub(super) fn write(&mut self, passed: &Passed, key: u64) -> Result<()> {
        let failed = |source| Error::write(&self.dir, source);
        let Passed { corpus, held_out, pair } = passed;
        let number = |n: usize| (n as u32).to_le_bytes();
        let numbers = [number(*corpus), number(pair.src.len()), number(pair.tgt.len())].concat();
        let (line, held_out) = (pair.line.to_le_bytes(), [u8::from(*held_out)]);
        for bytes in [&numbers, &line[..], &held_out, pair.src.as_bytes(), pair.tgt.as_bytes()] {
            self.pairs.write_all(bytes).map_err(failed)?;
            self.pairs_bytes += bytes.len() as u64;
        }
        let file = (key >> 56) as usize;
        let entry = [key.to_le_bytes(), self.n.to_le_bytes()].concat();
        self.keys[file].write_all(&entry).map_err(failed)?;
        self.keys_bytes[file] += KEY as u64;
        self.n += 1;
        Ok(())
    }

    /// The number of pairs that passed.
    pub(super) fn passed(&self) -> u64 {
        self.n
    }
}

/// Reads pairs that passed.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    left: u64,
}

impl Reader {
    fn read(&mut self) -> io::Result<Passed> {
        let mut head = [0; HEAD];
        self.file.read_exact(&mut head)?;
        let number =
            |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let line = u64::from_le_bytes(head[12..20].try_into().expect("eight bytes"));
        let [src, tgt] = [self.text(number(4))?, self.text(number(8))?];
        let pair = Pair { src, tgt, line };
        Ok(Passed { corpus: number(0) as usize, held_out: head[20] == 1, pair })
    }

    fn text(&mut self, bytes: u32) -> io::Result<String> {
        if bytes > LONGEST {
            return Err(io::Error::other(format!("found a text of {bytes} bytes")));
        }
        let mut text = vec![0; bytes as usize];
        self.file.read_exact(&mut text)?;
        String::from_utf8(text).map_err(io::Error::other)
    }
}

impl Iterator for Reader {
    type Item = Result<Passed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().map_err(|source| Error::read(&self.path, source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(n: u64) -> Passed {
        let pair = Pair { src: format!("source {n}"), tgt: "ü".repeat(n as usize), line: n + 1 };
        Passed { corpus: n as usize % 3, held_out: n.is_multiple_of(2), pair }
    }

    #[test]
    fn what_was_saved_is_there_the_next_time_and_what_was_not_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Stage::open(dir.path(), "a", || Ok(()));
        let mut stage = open().unwrap();
        let mut writer = stage.writer().unwrap();
        (0..3).for_each(|n| writer.write(&passed(n), n << 56).unwrap());
        stage.state.lines = 3;
        stage.save(&mut writer).unwrap();
        (3..5).for_each(|n| writer.write(&passed(n), n << 56).unwrap());
        drop((writer, stage));

        let mut stage = open().unwrap();
        assert_eq!((stage.state.lines, stage.state.passed), (3, 3));
        let mut writer = stage.writer().unwrap();
        assert_eq!(writer.passed(), 3);
        writer.write(&passed(7), 1 << 56).unwrap();
        stage.save(&mut writer).unwrap();
        let found: Vec<Passed> = stage.pairs().unwrap().map(Result::unwrap).collect();
        assert_eq!(found, [0, 1, 2, 7].map(passed));
        assert_eq!(stage.keys(1).unwrap(), [(1 << 56, 1), (1 << 56, 3)]);
        assert!(stage.keys(3).unwrap().is_empty());
        stage.remove().unwrap();
        assert!(!dir.path().join(STAGE).exists());
    }

    #[test]
    fn a_stage_belongs_to_one_preparation_and_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let open = |fingerprint| Stage::open(dir.path(), fingerprint, || Ok(()));
        let mut stage = open("a").unwrap();
        let mut writer = stage.writer().unwrap();
        stage.save(&mut writer).unwrap();
        assert!(matches!(open("a"), Err(Error::Busy { .. })));
        drop(stage);
        assert!(matches!(open("b"), Err(Error::OtherPreparation { .. })));
        assert!(open("a").is_ok());
        // A file that lost its end, as after a power failure.
        fs::write(dir.path().join(STAGE).join("keys-07"), "").unwrap();
        let mut stage = open("a").unwrap();
        stage.state.keys[7] = 16;
        assert!(stage.writer().unwrap_err().to_string().contains("keys-07"));
    }

    #[test]
    fn nothing_begins_where_something_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let exists = || Err(Error::Exists { path: "x".into() });
        assert!(Stage::open(dir.path(), "a", exists).is_err());
        assert!(!dir.path().join(STAGE).exists());
    }
}
