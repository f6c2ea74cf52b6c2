//! The model directory: `config.json` and `model.safetensors`, as the Hub's folders have them.

mod weights;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use self::weights::Matrix;
use self::weights::WeightFile;
use crate::parameters::{Parameters, Spec};
use crate::source::Source;
use crate::{
    Error, Model, ModelConfig, Precision, Ready, Result, SearchPrecision, Shortlist, Special,
    Vocabs, compact, specs,
};

/// The newest format of a model directory this build writes. `CHANGELOG.md` says what each one
/// changed.
pub const FORMAT: u32 = 2;
/// The format of a directory whose weights are all `f32`, which older builds read.
const PLAIN_FORMAT: u32 = 1;

/// The file that says what the model is.
pub const CONFIG: &str = "config.json";
/// The file that holds its parameters.
pub const WEIGHTS: &str = "model.safetensors";

/// What `model_type` is in a configuration of ours.
pub const MODEL_TYPE: &str = "nmt";
/// A configuration larger than this is not read.
const MAX_CONFIG: u64 = 1 << 20;

/// `config.json`.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    model_type: String,
    format: u32,
    model: ModelConfig,
    vocab: Vocabs,
    pad_token_id: u32,
    unk_token_id: u32,
    bos_token_id: u32,
    eos_token_id: u32,
    /// SHA-256 of `model.safetensors`.
    weights_sha256: String,
    /// What its weights have been rounded to.
    #[serde(default, skip_serializing_if = "is_plain")]
    precision: SearchPrecision,
}

fn is_plain(precision: &SearchPrecision) -> bool {
    *precision == SearchPrecision::F32
}

/// The part of a configuration that tells whether the rest can be read.
#[derive(Debug, Deserialize)]
struct Head {
    model_type: Option<String>,
    format: Option<u32>,
}

pub(crate) fn save(model: &Model, dir: &Path) -> Result<()> {
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let path = dir.join(WEIGHTS);
    let parameters = model.parameters.iter();
    let bytes = match model.stored {
        SearchPrecision::Int8 => {
            safetensors::serialize(compact::tensors(&model.parameters)?, Some(metadata))
        }
        SearchPrecision::F32 | SearchPrecision::Bf16 => {
            safetensors::serialize(parameters.map(|(n, var)| (n, var.as_tensor())), Some(metadata))
        }
    };
    let bytes = bytes.map_err(|source| Error::Safetensors { path: path.clone(), source })?;
    write(&path, &bytes)?;
    let file = File {
        model_type: MODEL_TYPE.into(),
        format: if is_plain(&model.stored) { PLAIN_FORMAT } else { FORMAT },
        model: model.config.clone(),
        vocab: model.vocabs.clone(),
        pad_token_id: model.special.pad,
        unk_token_id: model.special.unk,
        bos_token_id: model.special.bos,
        eos_token_id: model.special.eos,
        weights_sha256: hex(&Sha256::digest(&bytes)),
        precision: model.stored,
    };
    let mut text = serde_json::to_string_pretty(&file)
        .map_err(|e| Error::Foreign { path: dir.join(CONFIG), reason: e.to_string() })?;
    text.push('\n');
    write(&dir.join(CONFIG), text.as_bytes())
}

/// A model directory that has been looked through: its parameters are known, and still in their
/// file.
#[derive(Debug)]
pub struct ModelDir {
    file: File,
    specs: Vec<Spec>,
    weights: WeightFile,
}

impl ModelDir {
    /// Reads the configuration and checks that the weights are what was written, of the right
    /// shapes.
    ///
    /// # Errors
    /// If a file is missing, foreign, damaged or of another shape than the configuration says.
    pub fn open(dir: &Path) -> Result<Self> {
        let file = read_config(dir)?;
        let path = dir.join(WEIGHTS);
        if !path.is_file() {
            return Err(Error::Incomplete { dir: dir.into(), missing: WEIGHTS });
        }
        let specs = specs(&file.model, &file.vocab)?;
        let weights = WeightFile::open(path, &file.weights_sha256, &specs, file.precision)?;
        Ok(Self { file, specs, weights })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.file.model
    }

    /// The vocabularies it was made for.
    pub fn vocabs(&self) -> &Vocabs {
        &self.file.vocab
    }

    /// The precision that its weights are stored in.
    pub fn stored(&self) -> SearchPrecision {
        self.file.precision
    }

    /// The ids with a meaning of their own.
    pub fn special(&self) -> Special {
        Special {
            pad: self.file.pad_token_id,
            unk: self.file.unk_token_id,
            bos: self.file.bos_token_id,
            eos: self.file.eos_token_id,
        }
    }

    /// Number of parameters, each number of a matrix counted.
    pub fn count(&self) -> usize {
        self.specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum()
    }

    /// The whole model.
    ///
    /// # Errors
    /// If a file can no longer be read, or the device runs out of memory.
    pub fn load(self, device: &Device) -> Result<Model> {
        let mut vars = BTreeMap::new();
        for Spec { name, .. } in &self.specs {
            let tensor = self.weights.tensor(name, device)?;
            vars.insert(name.clone(), Var::from_tensor(&tensor)?);
        }
        Ok(Model {
            precision: Precision::default(),
            stored: self.stored(),
            special: self.special(),
            parameters: Parameters::from_vars(vars),
            config: self.file.model,
            vocabs: self.file.vocab,
        })
    }

    /// Makes the model ready to search, without ever holding all of it as it is stored.
    ///
    /// # Errors
    /// If a file can no longer be read, or its parameters are not `f32`.
    pub fn ready(self, precision: SearchPrecision) -> Result<Ready> {
        self.ready_with(precision, None)
    }

    /// [`Self::ready`], to produce what is on a shortlist only.
    ///
    /// # Errors
    /// As there.
    pub fn ready_with(
        self,
        precision: SearchPrecision,
        shortlist: Option<Shortlist>,
    ) -> Result<Ready> {
        match &self.file.model {
            // Recurrent encoders compute with tensors.
            ModelConfig::Rnn(_) => {
                let mut model = self.load(&Device::Cpu)?;
                if precision == SearchPrecision::Int8 {
                    model = model.quantized()?;
                }
                Ready::of(&model, precision, shortlist)
            }
            ModelConfig::Transformer(config) => {
                let rest = (self.file.vocab.clone(), self.special());
                Ready::transformer(config, rest, (Source::File(&self), precision), shortlist)
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        self.weights.numbers(name)
    }

    pub(crate) fn matrix(&self, name: &str) -> Result<([usize; 2], Matrix)> {
        let &[output, input] = self.weights.shape(name)? else {
            return Err(Error::Config(format!("{name} is no matrix")));
        };
        Ok(([output, input], self.weights.matrix(name)?))
    }
}

fn read_config(dir: &Path) -> Result<File> {
    let path = dir.join(CONFIG);
    if !path.is_file() {
        return Err(Error::Incomplete { dir: dir.into(), missing: CONFIG });
    }
    let size = fs::metadata(&path).map_err(io("read", &path))?.len();
    let foreign = |reason: String| Error::Foreign { path: path.clone(), reason };
    if size > MAX_CONFIG {
        return Err(foreign(format!("it has {size} bytes, expected at most {MAX_CONFIG}")));
    }
    let bytes = read(&path)?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| foreign(e.to_string()))?;
    if head.model_type.as_deref() != Some(MODEL_TYPE) {
        let found = head.model_type.unwrap_or_else(|| "none".into());
        return Err(foreign(format!("model_type is {found}, expected {MODEL_TYPE}")));
    }
    if let Some(found) = head.format.filter(|&format| format > FORMAT) {
        return Err(Error::TooNew { path, found });
    }
    serde_json::from_slice(&bytes).map_err(|e| foreign(e.to_string()))
}

/// What kind of network the model in a directory is.
///
/// # Errors
/// If its configuration is missing or foreign.
pub fn config(dir: &Path) -> Result<ModelConfig> {
    Ok(read_config(dir)?.model)
}

/// The mean of the parameters of several models with the same configuration, added in `f64` in
/// the order given. Takes one model at a time, so that no more than two are in memory.
///
/// # Errors
/// If there is none, one cannot be had, or one differs in configuration or vocabulary.
pub fn average(models: impl IntoIterator<Item = Result<Model>>) -> Result<Model> {
    let wide = |var: &Var| var.as_tensor().to_dtype(DType::F64).map(|tensor| tensor.detach());
    let mut models = models.into_iter();
    let Some(first) = models.next().transpose()? else {
        return Err(Error::Config("a mean needs at least one model".into()));
    };
    let mut sums: Vec<Tensor> =
        first.parameters.iter().map(|(_, var)| wide(var)).collect::<candle_core::Result<_>>()?;
    let mut n_models = 1;
    for model in models {
        let model = model?;
        if model.config != first.config || model.vocabs != first.vocabs {
            return Err(Error::Config(
                "models with different configurations or vocabularies have no mean".into(),
            ));
        }
        for (sum, (_, var)) in sums.iter_mut().zip(model.parameters.iter()) {
            *sum = (&*sum + wide(var)?)?;
        }
        n_models += 1;
    }
    let mut vars = BTreeMap::new();
    for ((name, var), sum) in first.parameters.iter().zip(sums) {
        let mean = (sum / f64::from(n_models))?.to_dtype(var.dtype())?;
        vars.insert(name.to_owned(), Var::from_tensor(&mean)?);
    }
    // A mean of rounded weights is not rounded.
    let stored = SearchPrecision::default();
    Ok(Model { parameters: Parameters::from_vars(vars), stored, ..first })
}

/// Writes a file whole or not at all: under another name first, then renamed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let temporary = PathBuf::from(temporary);
    let attempt = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|source| {
        // What is half written must not stay; if it cannot be removed, the first error counts.
        let _ = fs::remove_file(&temporary);
        Error::Io { action: "write", path: path.into(), source }
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(io("read", path))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
