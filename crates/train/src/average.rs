//! The mean of several models: of the last checkpoints of a run, it is often better than each.
//!
//! Averaging checkpoints of one run goes back to Polyak and Juditsky (1992); Vaswani et al.
//! (2017), §6.1, do it for translation.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Device;
use model::Model;
use translate::SearchConfig;

use crate::{Error, Result, checkpoint::sync_dir};

/// Writes the mean of the models in `dirs` to the new directory `out`, with the tokenizers and
/// the search defaults of the last of them, and with `card` as its description.
///
/// # Errors
/// If `dirs` is empty, or the models differ in more than their parameters' values, or a file cannot be read or written. `out` then does not change.
pub fn average(dirs: &[PathBuf], out: &Path, card: &str) -> Result<()> {
    let Some(last) = dirs.last() else {
        return Err(Error::Average { dir: out.into(), reason: "there is no model".into() });
    };
    let partial = beside(out, ".partial")?;
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|source| Error::write(&partial, source))?;
    }
    fs::create_dir_all(&partial).map_err(|source| Error::write(&partial, source))?;
    let models = dirs.iter().map(|dir| Model::open(dir, &Device::Cpu));
    let written = model::checkpoint::average(models)
        .and_then(|mean| mean.save(&partial))
        .map_err(Error::from)
        .and_then(|()| copy_rest(last, &partial, card))
        .and_then(|()| put(&partial, out));
    if written.is_err() {
        // The first error is the one that tells what is wrong.
        let _ = fs::remove_dir_all(&partial);
    }
    written
}

/// Writes what a model directory holds besides the model.
fn copy_rest(from: &Path, to: &Path, card: &str) -> Result<()> {
    text::Tokenizers::open(from)?.save(to)?;
    SearchConfig::open(from)?.save(to)?;
    text::output::write_whole(&to.join("README.md"), card.as_bytes())?;
    sync_dir(to)
}

/// Gives the finished directory its name, in place of what had it.
fn put(partial: &Path, out: &Path) -> Result<()> {
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| Error::write(to, e));
    if out.exists() {
        let replaced = beside(out, ".replaced")?;
        if replaced.exists() {
            fs::remove_dir_all(&replaced).map_err(|source| Error::write(&replaced, source))?;
        }
        rename(out, &replaced)?;
        rename(partial, out)?;
        return fs::remove_dir_all(&replaced).map_err(|source| Error::write(&replaced, source));
    }
    rename(partial, out)
}

/// A name in the same folder.
fn beside(path: &Path, mark: &str) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::Average {
        dir: path.into(),
        reason: "it is no name for a new folder".into(),
    })?;
    Ok(path.with_file_name(format!("{mark}-{}", name.to_string_lossy())))
}
