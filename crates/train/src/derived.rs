//! Model directories that are made from others, or from models of others.
//!
//! The mean of the last checkpoints of a run is often better than each. Averaging checkpoints of
//! one run goes back to Polyak and Juditsky (1992); Vaswani et al. (2017), §6.1, do it for
//! translation.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Device;
use model::{Model, SHORTLIST};
use text::Tokenizers;
use translate::{SearchConfig, alignment::Calibration};

use crate::{Error, Result, checkpoint::sync_dir};

/// Writes the mean of the models in `dirs` to the new directory `out`, with the tokenizers and
/// the search defaults of the last of them, and with `card` as its description.
///
/// # Errors
/// If `dirs` is empty, or the models differ in more than their parameters' values, or a file cannot
/// be read or written. `out` then does not change.
pub fn average(dirs: &[PathBuf], out: &Path, card: &str) -> Result<()> {
    let Some(last) = dirs.last() else {
        return Err(Error::Derive { dir: out.into(), reason: "there is no model".into() });
    };
    let models = dirs.iter().map(|dir| Model::open(dir, &Device::Cpu));
    derive(last, out, card, || model::checkpoint::average(models))
}

/// Writes the model in `dir` with its matrices rounded to eight bits to the new directory `out`,
/// with tokenizers and search defaults, and with `card` as its description.
///
/// # Errors
/// If a file cannot be read or written. `out` then does not change.
pub fn quantize(dir: &Path, out: &Path, card: &str) -> Result<()> {
    derive(dir, out, card, || Model::open(dir, &Device::Cpu)?.quantized())
}

/// Writes the model in `from` to the new directory `out`, once all of it has been read, with `card` as
/// its description.
///
/// # Errors
/// If a file cannot be read or written. `out` then does not change.
pub fn copy(from: &Path, out: &Path, card: &str) -> Result<()> {
    whole(out, |partial| {
        Model::open(from, &Device::Cpu)?.save(partial)?;
        let shortlist = from.join(SHORTLIST);
        if shortlist.exists() {
            let to = partial.join(SHORTLIST);
            fs::copy(&shortlist, &to).map_err(|source| Error::write(&to, source))?;
        }
        copy_rest(from, partial, card)
    })
}

/// Writes a model to the new directory `out`, with its tokenizers, how it is searched, and `card` as
/// its description.
///
/// # Errors
/// If a file cannot be written. `out` then does not change.
pub fn write(
    model: &Model,
    tokenizers: &Tokenizers,
    search: &SearchConfig,
    card: &str,
    out: &Path,
) -> Result<()> {
    whole(out, |partial| {
        model.save(partial)?;
        tokenizers.save(partial)?;
        search.save(partial)?;
        describe(partial, card)
    })
}

/// Writes a model to `out`, with everything else that `from` holds.
fn derive(
    from: &Path,
    out: &Path,
    card: &str,
    model: impl FnOnce() -> model::Result<Model>,
) -> Result<()> {
    whole(out, |partial| {
        model()?.save(partial)?;
        copy_rest(from, partial, card)
    })
}

/// A new directory `out` that appears with all that `write` puts into the folder it is given, or not at
/// all.
///
/// # Errors
/// As `write`, or if the folder cannot be made or get its name.
pub fn whole(out: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = beside(out, ".partial")?;
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|source| Error::write(&partial, source))?;
    }
    fs::create_dir_all(&partial).map_err(|source| Error::write(&partial, source))?;
    let written = write(&partial).and_then(|()| put(&partial, out));
    written.map_err(|error| {
        // The first error is the one that tells what is wrong.
        let _ = fs::remove_dir_all(&partial);
        error.named(&partial, out)
    })
}

/// Writes what a model directory holds besides the model.
fn copy_rest(from: &Path, to: &Path, card: &str) -> Result<()> {
    Tokenizers::open(from)?.save(to)?;
    SearchConfig::open(from)?.save(to)?;
    if let Some(calibration) = Calibration::open(from)? {
        calibration.save(to)?;
    }
    describe(to, card)
}

/// Writes the description, and waits until the folder is on the disk.
fn describe(to: &Path, card: &str) -> Result<()> {
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
    let name = path.file_name().ok_or_else(|| Error::Derive {
        dir: path.into(),
        reason: "it is no name for a new folder".into(),
    })?;
    Ok(path.with_file_name(format!("{mark}-{}", name.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use model::{ModelConfig, Special, Vocabs};
    use text::{Tokenizer, TokenizerConfig};

    use super::*;

    /// A model directory with initial values of some seed.
    fn model(dir: &Path, seed: u64, rnn: &str) -> PathBuf {
        let config: ModelConfig = toml::from_str(&format!("[rnn]\n{rnn}")).unwrap();
        let tokenizer = Tokenizer::train(
            &TokenizerConfig { vocab: 270, ..TokenizerConfig::default() },
            ["to be or not to be".to_string()].into_iter(),
        );
        let tokenizers = Tokenizers::one(tokenizer.unwrap());
        let vocab = tokenizers.src.vocab_size();
        let vocabs = Vocabs { src: vocab, tgt: vocab, joint: true, ..Vocabs::default() };
        let special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
        let dir = dir.join(format!("model-{seed}"));
        fs::create_dir(&dir).unwrap();
        Model::new(&config, vocabs, special, seed, &Device::Cpu).unwrap().save(&dir).unwrap();
        tokenizers.save(&dir).unwrap();
        dir
    }

    fn values(dir: &Path) -> Vec<Vec<f32>> {
        let model = Model::open(dir, &Device::Cpu).unwrap();
        let values = |var: &candle_core::Var| var.flatten_all()?.to_vec1::<f32>();
        model.parameters().iter().map(|(_, var)| values(var).unwrap()).collect()
    }

    const SMALL: &str = "dim = 4\nembed_dim = 3\nlayers = 1";

    #[test]
    fn each_number_is_the_mean_of_its_namesakes() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [1, 2, 3].map(|seed| model(dir.path(), seed, SMALL));
        let out = dir.path().join("mean");
        average(&dirs, &out, "the card").unwrap();
        average(&dirs, &out, "another card").unwrap(); // in place of the first
        let all = dirs.each_ref().map(|dir| values(dir));
        for (p, means) in values(&out).iter().enumerate() {
            for (i, mean) in means.iter().enumerate() {
                let sum: f64 = all.iter().map(|values| f64::from(values[p][i])).sum();
                assert_eq!(*mean, (sum / 3.0) as f32);
            }
        }
        assert_eq!(fs::read_to_string(out.join("README.md")).unwrap(), "another card");
        assert!(Tokenizers::open(&out).is_ok() && SearchConfig::open(&out).is_ok());
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["mean", "model-1", "model-2", "model-3"]);
    }

    #[test]
    fn a_quantised_model_stays_what_it_is_when_it_is_quantised_again() {
        let dir = tempfile::tempdir().unwrap();
        let from = model(dir.path(), 1, SMALL);
        let [once, twice] = ["once", "twice"].map(|name| dir.path().join(name));
        quantize(&from, &once, "the card").unwrap();
        quantize(&once, &twice, "the card").unwrap();
        assert_eq!(values(&once), values(&twice));
        assert_ne!(values(&once), values(&from));
        let bytes = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
        assert_eq!(bytes(&once), bytes(&twice));
        let opened = Model::open(&once, &Device::Cpu).unwrap();
        assert_eq!(opened.stored(), model::SearchPrecision::Int8);
        assert!(Tokenizers::open(&twice).is_ok() && SearchConfig::open(&twice).is_ok());
    }

    #[test]
    fn the_mean_of_quantised_models_is_not_rounded_again() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [1, 2].map(|seed| {
            let small = dir.path().join(format!("small-{seed}"));
            quantize(&model(dir.path(), seed, SMALL), &small, "").unwrap();
            small
        });
        let out = dir.path().join("mean");
        average(&dirs, &out, "").unwrap();
        let [one, other] = dirs.each_ref().map(|dir| values(dir));
        for (p, means) in values(&out).iter().enumerate() {
            for (i, mean) in means.iter().enumerate() {
                let sum = f64::from(one[p][i]) + f64::from(other[p][i]);
                assert_eq!(*mean, (sum / 2.0) as f32);
            }
        }
    }

    #[test]
    fn different_models_have_no_mean_and_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [model(dir.path(), 1, SMALL), model(dir.path(), 2, "dim = 4\nlayers = 2")];
        let out = dir.path().join("mean");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("README.md"), "as it was").unwrap();
        assert!(average(&dirs, &out, "").is_err());
        assert!(average(&[], &out, "").is_err());
        assert_eq!(fs::read_to_string(out.join("README.md")).unwrap(), "as it was");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
