//! What the networks over tensors share: parameters, layers in one of two ways, dropout masks.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use kernels::activation::{self, Activation};
use kernels::dropout::Mask;
use kernels::gpu::{self, Embedding, Occurrences};
use kernels::norm::{self, Norm};
use kernels::{Mode, Real};

use crate::parameters::Parameters;
use crate::{Error, Result, compact};

/// How a network over tensors computes its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By definition: ordinary tensor operations, on any device.
    Plain,
    /// By [`kernels::gpu`], with rows of this type.
    Gpu(DType),
}

/// A network's parameters by name, on the tape to train, off it otherwise; and its layers.
#[derive(Clone, Debug)]
pub(crate) struct Tensors {
    parameters: HashMap<String, Tensor>,
    way: Way,
    /// Whether a row's result must not depend on how many rows there are, as in search.
    fixed: bool,
}

impl Tensors {
    pub(crate) fn new(parameters: &Parameters, mode: &Mode, way: Way) -> Self {
        let tensor = |tensor: &Tensor| match mode {
            Mode::Train(_) => tensor.clone(),
            Mode::Eval => tensor.detach(),
        };
        let parameters = parameters.iter().map(|(name, var)| (name.into(), tensor(var))).collect();
        Self { parameters, way, fixed: false }
    }

    /// Parameters for search on a GPU with rows of this type, off the tape: matrices of products
    /// converted once, `tables` of words as they are.
    pub(crate) fn for_search(
        parameters: &Parameters,
        dtype: DType,
        tables: &[&str],
    ) -> Result<Self> {
        let tensor = |(name, var): (&str, &Var)| {
            let product = compact::is_matrix(name, var.dims()) && !tables.contains(&name);
            let tensor = if product { var.to_dtype(dtype)? } else { var.as_tensor().clone() };
            Ok((name.to_owned(), tensor.detach()))
        };
        let parameters = parameters.iter().map(tensor).collect::<Result<_>>()?;
        Ok(Self { parameters, way: Way::Gpu(dtype), fixed: true })
    }

    /// A parameter that the configuration lists.
    pub(crate) fn get(&self, name: &str) -> &Tensor {
        &self.parameters[name]
    }

    /// A parameter that the configuration may list.
    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        self.parameters.get(name)
    }

    /// The parameters whose names begin with `prefix`, in no order.
    pub(crate) fn under(&self, prefix: &str) -> impl Iterator<Item = &Tensor> {
        let parameters = self.parameters.iter();
        parameters.filter(move |(name, _)| name.starts_with(prefix)).map(|(_, tensor)| tensor)
    }

    /// The parameters as layers of other crates take them.
    pub(crate) fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.parameters.clone(), self.dtype(), self.device())
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// Whether a row's result must not depend on how many rows there are.
    pub(crate) fn fixed(&self) -> bool {
        self.fixed
    }

    /// The type of the parameters.
    pub(crate) fn dtype(&self) -> DType {
        self.get("output.bias").dtype()
    }

    pub(crate) fn device(&self) -> &Device {
        self.get("output.bias").device()
    }

    /// `W x + b` of rows `x` `[rows, input]`, with `{prefix}.weight` and `{prefix}.bias`.
    pub(crate) fn affine(&self, prefix: &str, x: &Tensor) -> Result<Tensor> {
        let get = |part: &str| self.get(&format!("{prefix}.{part}"));
        let (weight, bias) = (get("weight"), get("bias"));
        Ok(match self.way {
            Way::Plain => x.matmul(&weight.t()?)?.broadcast_add(bias)?,
            Way::Gpu(_) if self.fixed => self.linear(prefix, None).forward(x, None)?,
            Way::Gpu(dtype) => gpu::affine(x, &weight.to_dtype(dtype)?, bias)?,
        })
    }

    /// The layer of `{prefix}.weight` and `{prefix}.bias`, in the type of the rows.
    pub(crate) fn linear(&self, prefix: &str, activation: Option<Activation>) -> gpu::Linear<'_> {
        let get = |part: &str| self.get(&format!("{prefix}.{part}"));
        gpu::Linear { weight: get("weight"), bias: Some(get("bias")), activation }
    }

    /// The rows of `x` `[rows, dim]` normalised, with `{prefix}.weight` and perhaps
    /// `{prefix}.bias`.
    pub(crate) fn norm(&self, norm: Norm, prefix: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.get(&format!("{prefix}.weight"));
        let bias = self.find(&format!("{prefix}.bias"));
        Ok(match self.way {
            Way::Plain => norm::reference(norm, x, weight, bias)?,
            Way::Gpu(_) => gpu::normalise(norm, x, weight, bias)?,
        })
    }

    /// `residual + mask ⊙ x` of rows `[rows, dim]`, or `mask ⊙ x`.
    pub(crate) fn drop_and_add(
        &self,
        x: Tensor,
        residual: Option<&Tensor>,
        mask: Option<&Mask>,
    ) -> Result<Tensor> {
        if self.way != Way::Plain {
            return Ok(gpu::drop_and_add(&x, residual, mask)?);
        }
        let x = match mask {
            None => x,
            Some(mask) => {
                let (rows, dim) = x.dims2()?;
                (x * self.factors(mask, std::slice::from_ref(&(0..rows)), dim)?)?
            }
        };
        Ok(match residual {
            None => x,
            Some(residual) => (residual + x)?,
        })
    }

    /// An activation, plain or gated, with dropout.
    pub(crate) fn activate(
        &self,
        kind: Activation,
        gated: bool,
        x: &Tensor,
        mask: Option<&Mask>,
    ) -> Result<Tensor> {
        if self.way != Way::Plain {
            return Ok(gpu::activate(kind, gated, x, mask)?);
        }
        let x = match gated {
            true => activation::gated_reference(kind, x)?,
            false => activation::reference(kind, x)?,
        };
        self.drop_and_add(x, None, mask)
    }

    /// Rows of a table by ids: `[ids.len(), dim]`.
    pub(crate) fn embed(&self, table: &str, ids: &[u32], side: &'static str) -> Result<Tensor> {
        let table = self.get(table);
        known(side, ids, table)?;
        let Way::Gpu(dtype) = self.way else { return pick(table, ids) };
        let embedding = Embedding {
            words: Occurrences::new(ids, self.device())?,
            places: None,
            learned: false,
            scale: 1.0,
            word_mask: None,
            mask: None,
            dtype,
        };
        Ok(gpu::embed(embedding, table, None)?)
    }

    /// What a mask multiplies packed rows with, `[rows, dim]`: zeros, and for what is kept
    /// `1 / (1 − rate)`. `parts` of the rows, one after the other, draw the same numbers each.
    pub(crate) fn factors(
        &self,
        mask: &Mask,
        parts: &[Range<usize>],
        dim: usize,
    ) -> Result<Tensor> {
        if let Way::Gpu(dtype) = self.way {
            return Ok(gpu::dropout_factors(mask, parts, dim, dtype, self.device())?);
        }
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
