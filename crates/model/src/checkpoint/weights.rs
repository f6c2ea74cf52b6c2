//! `model.safetensors`, read parameter by parameter: whoever needs each of them once need not hold
//! them all.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use kernels::quantized::Weights;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};
use sha2::{Digest, Sha256};

use super::{hex, io};
use crate::parameters::Spec;
use crate::{Error, Result, SearchPrecision, compact};

/// Bytes in front of the header, which tell its size.
const LENGTH: usize = 8;
/// Bytes that are hashed at once.
const BLOCK: usize = 1 << 20;

/// A weight file whose checksum, names and shapes have been checked.
#[derive(Debug)]
pub(super) struct WeightFile {
    path: PathBuf,
    file: fs::File,
    metadata: Metadata,
    /// Where the numbers begin.
    start: u64,
    precision: SearchPrecision,
}

/// A matrix as it is stored.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// Its numbers, row by row.
    Numbers(Vec<f32>),
    /// Eight bits each.
    Rounded(Weights),
}

impl Matrix {
    /// Its numbers, row by row.
    pub(crate) fn numbers(self) -> Vec<f32> {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Rounded(weights) => compact::numbers(&weights),
        }
    }

    /// Some of its rows of `input` numbers.
    pub(crate) fn select(&self, input: usize, rows: &[u32]) -> Result<Self> {
        let rows = || rows.iter().map(|&row| row as usize);
        Ok(match self {
            Self::Numbers(numbers) => {
                let row = |row| &numbers[row * input..][..input];
                Self::Numbers(rows().flat_map(row).copied().collect())
            }
            Self::Rounded(weights) => {
                let row = |row| &weights.values()[row * input..][..input];
                let scales = rows().map(|row| weights.scales()[row]).collect();
                let values = rows().flat_map(row).copied().collect();
                Self::Rounded(Weights::from_parts(values, scales, input)?)
            }
        })
    }

    /// With eight bits, given the numbers of outputs and inputs.
    pub(crate) fn rounded(self, [output, input]: [usize; 2]) -> Weights {
        match self {
            Self::Numbers(numbers) => Weights::quantize(&numbers, output, input),
            Self::Rounded(weights) => weights,
        }
    }
}

impl WeightFile {
    /// Opens a file that should have this checksum and these parameters, and nothing else.
    pub(super) fn open(
        path: PathBuf,
        sha256: &str,
        specs: &[Spec],
        precision: SearchPrecision,
    ) -> Result<Self> {
        let mut file = fs::File::open(&path).map_err(io("read", &path))?;
        let (found, len) = checksum(&mut file).map_err(io("read", &path))?;
        if found != sha256 {
            return Err(Error::Damaged { path, found, expected: sha256.to_owned() });
        }
        let (metadata, start) = header(&mut file, len, &path)?;
        let opened = Self { path, file, metadata, start, precision };
        opened.check(specs)?;
        Ok(opened)
    }

    /// Checks names and shapes.
    fn check(&self, specs: &[Spec]) -> Result<()> {
        let mut expected = 0;
        for Spec { name, shape, .. } in specs {
            let found = &self.info(name)?.shape;
            if found != shape {
                let (expected, found) = (shape.clone(), found.clone());
                let (path, name) = (self.path.clone(), name.clone());
                return Err(Error::ShapeMismatch { path, name, expected, found });
            }
            expected += 1;
            if self.is_rounded(name, shape) {
                self.info(&scale(name))?;
                expected += 1;
            }
        }
        if self.metadata.tensors().len() > expected {
            let known = |stored: &str| {
                let of = |spec: &Spec| {
                    spec.name == stored
                        || self.is_rounded(&spec.name, &spec.shape) && scale(&spec.name) == stored
                };
                specs.iter().any(of)
            };
            let mut names = self.metadata.offset_keys();
            names.sort();
            if let Some(name) = names.into_iter().find(|name| !known(name)) {
                return Err(Error::UnknownParameter { path: self.path.clone(), name });
            }
        }
        Ok(())
    }

    fn is_rounded(&self, name: &str, shape: &[usize]) -> bool {
        self.precision == SearchPrecision::Int8 && compact::is_matrix(name, shape)
    }

    /// Whether there is such a parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// The shape of a parameter.
    pub(super) fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// A matrix, as it is stored.
    pub(super) fn matrix(&self, name: &str) -> Result<Matrix> {
        let shape = &self.info(name)?.shape;
        let (true, [_, input]) = (self.is_rounded(name, shape), &shape[..]) else {
            return self.floats(name).map(Matrix::Numbers);
        };
        let bytes = self.bytes(name, Dtype::I8)?;
        let values = bytes.into_iter().map(|byte| i8::from_le_bytes([byte])).collect();
        let weights = Weights::from_parts(values, self.floats(&scale(name))?, *input);
        weights.map(Matrix::Rounded).map_err(|error| self.foreign(format!("{name}: {error}")))
    }

    /// The numbers of a parameter.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        self.matrix(name).map(Matrix::numbers)
    }

    /// A parameter in the type that it is stored in; the numbers that rounded ones stand for.
    pub(super) fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let TensorInfo { dtype, shape, .. } = self.info(name)?;
        if *dtype == Dtype::F32 || self.is_rounded(name, shape) {
            return Ok(Tensor::from_vec(self.numbers(name)?, shape.as_slice(), device)?);
        }
        let bytes = self.bytes(name, *dtype)?;
        Ok(Tensor::from_raw_buffer(&bytes, (*dtype).try_into()?, shape, device)?)
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || Error::MissingParameter { path: self.path.clone(), name: name.to_owned() };
        self.metadata.info(name).ok_or_else(missing)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name, Dtype::F32)?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    /// The bytes of a tensor, which should be of this type.
    fn bytes(&self, name: &str, dtype: Dtype) -> Result<Vec<u8>> {
        let TensorInfo { dtype: found, data_offsets: (from, to), .. } = *self.info(name)?;
        if found != dtype {
            return Err(self.foreign(format!("{name} is of type {found:?}, expected {dtype:?}")));
        }
        let mut bytes = vec![0; to - from];
        read_at(&self.file, self.start + from as u64, &mut bytes)
            .map_err(io("read", &self.path))?;
        Ok(bytes)
    }

    fn foreign(&self, reason: String) -> Error {
        Error::Foreign { path: self.path.clone(), reason }
    }
}

/// Fills `bytes` with what stands at `place`, whoever reads elsewhere at the same time.
#[cfg(unix)]
fn read_at(file: &fs::File, place: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, place)
}

/// Fills `bytes` with what stands at `place`, if nobody reads elsewhere at the same time.
#[cfg(not(unix))]
fn read_at(mut file: &fs::File, place: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(place))?;
    file.read_exact(bytes)
}

/// The name of a matrix's scales.
fn scale(name: &str) -> String {
    format!("{name}{}", compact::SCALE)
}

/// SHA-256 of a file, and its size.
fn checksum(file: &mut fs::File) -> std::io::Result<(String, u64)> {
    let (mut hash, mut block, mut len) = (Sha256::new(), vec![0; BLOCK], 0);
    loop {
        match file.read(&mut block)? {
            0 => return Ok((hex(&hash.finalize()), len)),
            n => {
                hash.update(&block[..n]);
                len += n as u64;
            }
        }
    }
}

/// Reads what a file of `len` bytes says about its tensors, and where their numbers begin.
fn header(file: &mut fs::File, len: u64, path: &Path) -> Result<(Metadata, u64)> {
    let error = |source| Error::Safetensors { path: path.to_owned(), source };
    let mut size = [0; LENGTH];
    if len < LENGTH as u64 {
        return Err(error(SafeTensorError::HeaderTooSmall));
    }
    file.seek(SeekFrom::Start(0)).map_err(io("read", path))?;
    file.read_exact(&mut size).map_err(io("read", path))?;
    let size = u64::from_le_bytes(size);
    if size > len - LENGTH as u64 {
        return Err(error(SafeTensorError::InvalidHeaderLength));
    }
    let mut text = Vec::new();
    file.take(size).read_to_end(&mut text).map_err(io("read", path))?;
    let metadata: Metadata = serde_json::from_slice(&text)
        .map_err(|e| error(SafeTensorError::InvalidHeaderDeserialization(e)))?;
    let start = LENGTH as u64 + size;
    if start + metadata.data_len() as u64 != len {
        return Err(error(SafeTensorError::MetadataIncompleteBuffer));
    }
    Ok((metadata, start))
}
