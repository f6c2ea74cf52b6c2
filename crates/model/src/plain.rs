//! What the plain definitions of the networks share: parameters as tensors, rows by their
//! numbers, dropout masks.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use kernels::dropout::Mask;
use kernels::{Mode, Real};

use crate::parameters::Parameters;
use crate::{Error, Result};

/// A network's parameters by name: on the tape to train, off it otherwise.
pub(crate) struct Tensors(HashMap<String, Tensor>);

impl Tensors {
    pub(crate) fn new(parameters: &Parameters, mode: &Mode) -> Self {
        let tensor = |tensor: &Tensor| match mode {
            Mode::Train(_) => tensor.clone(),
            Mode::Eval => tensor.detach(),
        };
        Self(parameters.iter().map(|(name, var)| (name.into(), tensor(var))).collect())
    }

    /// A parameter that the configuration lists.
    pub(crate) fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }

    /// A parameter that the configuration may list.
    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// The parameters whose names begin with `prefix`, in no order.
    pub(crate) fn under(&self, prefix: &str) -> impl Iterator<Item = &Tensor> {
        self.0.iter().filter(move |(name, _)| name.starts_with(prefix)).map(|(_, tensor)| tensor)
    }

    /// The parameters as layers of other crates take them.
    pub(crate) fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.0.clone(), self.dtype(), self.device())
    }

    pub(crate) fn dtype(&self) -> DType {
        self.get("output.bias").dtype()
    }

    pub(crate) fn device(&self) -> &Device {
        self.get("output.bias").device()
    }

    /// `W x + b` of rows `x` `[rows, input]`, with `{prefix}.weight` and `{prefix}.bias`.
    pub(crate) fn affine(&self, prefix: &str, x: &Tensor) -> Result<Tensor> {
        let get = |part: &str| self.get(&format!("{prefix}.{part}"));
        Ok(x.matmul(&get("weight").t()?)?.broadcast_add(get("bias"))?)
    }

    /// Rows of a table by ids: `[ids.len(), dim]`.
    pub(crate) fn embed(&self, table: &str, ids: &[u32], side: &'static str) -> Result<Tensor> {
        let table = self.get(table);
        known(side, ids, table)?;
        pick(table, ids)
    }

    /// What a mask multiplies packed rows with, `[rows, dim]`: zeros, and for what is kept
    /// `1 / (1 − rate)`. `parts` of the rows, one after the other, draw the same numbers each.
    pub(crate) fn factors(
        &self,
        mask: &Mask,
        parts: &[Range<usize>],
        dim: usize,
    ) -> Result<Tensor> {
        let shape = (parts.last().map_or(0, |part| part.end), dim);
        Ok(match self.dtype() {
            DType::F64 => Tensor::from_vec(factors::<f64>(mask, parts, dim), shape, self.device()),
            _ => Tensor::from_vec(factors::<f32>(mask, parts, dim), shape, self.device()),
        }?)
    }
}

fn factors<T: Real>(mask: &Mask, parts: &[Range<usize>], dim: usize) -> Vec<T> {
    let mut factors = vec![T::ONE; parts.last().map_or(0, |part| part.end) * dim];
    for part in parts {
        mask.apply(0, &mut factors[part.start * dim..part.end * dim]);
    }
    factors
}

/// Fails with the first id that a table `[vocab, ..]` has no row for. A device would not notice.
pub(crate) fn known(side: &'static str, ids: &[u32], table: &Tensor) -> Result<()> {
    let vocab = table.dim(0)?;
    match ids.iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => Err(Error::UnknownId { side, id, vocab }),
        None => Ok(()),
    }
}

/// Rows of a matrix by their numbers.
pub(crate) fn pick(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
}
