//! Where the parameters come from that a network is made ready with: memory, or a file.

use std::sync::Arc;

use candle_core::Tensor;
use kernels::storage;

use crate::checkpoint::{Matrix, ModelDir};
use crate::linear::Linear;
use crate::parameters::Parameters;
use crate::{Result, SearchPrecision, compact};

/// Parameters by name. Asking for one that the configuration does not list is a mistake of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Memory(&'a Parameters),
    /// Read when they are asked for, so that one is in memory at a time.
    File(&'a ModelDir),
}

impl Source<'_> {
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Memory(parameters) => parameters.find(name).is_some(),
            Self::File(dir) => dir.has(name),
        }
    }

    /// The numbers of a parameter.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        match self {
            Self::Memory(parameters) => values(parameters.get(name)),
            Self::File(dir) => dir.numbers(name),
        }
    }

    /// The numbers of a table `[rows, dim]`, rounded as a search in this precision has them.
    pub(crate) fn table(&self, name: &str, precision: SearchPrecision) -> Result<Arc<[f32]>> {
        let (sizes, matrix) = self.matrix(name)?;
        Ok(match precision {
            SearchPrecision::Int8 => compact::numbers(&matrix.rounded(sizes)).into(),
            SearchPrecision::F32 | SearchPrecision::Bf16 => matrix.numbers().into(),
        })
    }

    /// A linear layer.
    pub(crate) fn linear(
        &self,
        weight: &str,
        bias: &str,
        precision: SearchPrecision,
    ) -> Result<Linear> {
        let (sizes, matrix) = self.matrix(weight)?;
        Ok(Linear::new(sizes, matrix, self.numbers(bias)?, precision))
    }

    /// Sizes of output and input, and the weights `[output, input]`.
    pub(crate) fn matrix(&self, name: &str) -> Result<([usize; 2], Matrix)> {
        match self {
            Self::Memory(parameters) => {
                let tensor = parameters.get(name);
                let (output, input) = tensor.dims2()?;
                Ok(([output, input], Matrix::Numbers(values(tensor)?)))
            }
            Self::File(dir) => dir.matrix(name),
        }
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(storage::to_vec(tensor)?)
}
