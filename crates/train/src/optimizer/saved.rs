//! An optimizer's state as a safetensors file: `NAME.mean` and `NAME.square`, or
//! `NAME.velocity`, for each parameter, and the number of updates in the metadata.

use std::{borrow::Cow, collections::HashMap, path::Path};

use candle_core::DType;
use kernels::Real;
use safetensors::{Dtype, SafeTensors, View, serialize_to_file};

use super::Optimizer;
use crate::{Error, Result, config::OptimizerConfig};

/// The metadata key of the number of updates. It is the only one: several would be written in
/// an order that changes from run to run.
const STEPS: &str = "steps";

impl<T: Real> Optimizer<T> {
    /// Writes the state to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for slot in &self.slots {
            for (which, suffix) in self.suffixes().into_iter().enumerate() {
                let numbers = slot.means.numbers(which)?;
                let name = || format!("{}.{suffix}", slot.name);
                let shape = slot.var.dims();
                tensors.extend(numbers.map(|values| (name(), Numbers { shape, values })));
            }
        }
        let metadata = HashMap::from([(STEPS.to_string(), self.steps.to_string())]);
        serialize_to_file(tensors, Some(metadata), path).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => Error::write(path, source),
            other => Error::optimizer(path, other),
        })
    }

    /// Reads the state that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::Optimizer`] if the file is damaged, or was written for another rule or other
    /// parameters; the state is then as before.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(|source| Error::read(path, source))?;
        let wrong = |reason: String| Error::optimizer(path, reason);
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
        let steps = header.metadata().as_ref().and_then(|metadata| metadata.get(STEPS));
        let steps = steps.and_then(|steps| steps.parse().ok());
        let steps = steps.ok_or_else(|| wrong("it does not say after how many updates".into()))?;

        let suffixes = self.suffixes();
        let mut loaded = Vec::new();
        for slot in &self.slots {
            for (which, suffix) in suffixes.iter().enumerate() {
                if !slot.means.has(which) {
                    continue;
                }
                let name = format!("{}.{suffix}", slot.name);
                let tensor = tensors.tensor(&name).map_err(|e| wrong(e.to_string()))?;
                if tensor.shape() != slot.var.dims() || tensor.dtype() != dtype::<T>() {
                    let (found, expected) = (tensor.shape(), slot.var.dims());
                    return Err(wrong(format!("{name} is {found:?}, expected {expected:?}")));
                }
                loaded.push(from_bytes(tensor.data()));
            }
        }
        if loaded.len() != tensors.len() {
            let (found, expected) = (tensors.len(), loaded.len());
            return Err(wrong(format!("it holds {found} tensors, expected {expected}")));
        }
        let mut loaded = loaded.into_iter();
        for slot in &mut self.slots {
            for which in 0..suffixes.len() {
                if slot.means.has(which) {
                    let numbers = loaded.next().expect("as many as were counted above");
                    slot.means.set(which, numbers)?;
                }
            }
        }
        self.steps = steps;
        Ok(())
    }

    /// What the two running means are called.
    fn suffixes(&self) -> [&'static str; 2] {
        match self.config {
            OptimizerConfig::Adam(_) | OptimizerConfig::AdamW(_) => ["mean", "square"],
            OptimizerConfig::Sgd(_) => ["velocity", ""],
        }
    }
}

/// One tensor of the file.
struct Numbers<'a, T> {
    shape: &'a [usize],
    values: Vec<T>,
}

impl<T: Real> View for Numbers<'_, T> {
    fn dtype(&self) -> Dtype {
        dtype::<T>()
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.values.iter().map(|x| x.to_f64());
        match T::DTYPE {
            DType::F64 => values.flat_map(f64::to_le_bytes).collect(),
            _ => values.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.values.len() * T::DTYPE.size_in_bytes()
    }
}

fn dtype<T: Real>() -> Dtype {
    match T::DTYPE {
        DType::F64 => Dtype::F64,
        _ => Dtype::F32,
    }
}

fn from_bytes<T: Real>(bytes: &[u8]) -> Vec<T> {
    match T::DTYPE {
        DType::F64 => {
            let (words, _) = bytes.as_chunks::<8>();
            words.iter().map(|word| T::of(f64::from_le_bytes(*word))).collect()
        }
        _ => {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|word| T::of(f64::from(f32::from_le_bytes(*word)))).collect()
        }
    }
}
