//! Parameters whose matrices have eight bits, and how they stand in a file.
//!
//! A matrix `[output, input]` is an `I8` tensor of that shape, beside it under its name and
//! [`SCALE`] an `F32` tensor `[output]`: a weight is its value times the scale of its output. All
//! other parameters stay `F32`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use kernels::quantized::Weights;
use kernels::storage;
use safetensors::{Dtype, View};

use crate::Result;
use crate::parameters::Parameters;

/// What the name of a matrix's scales ends in.
pub(crate) const SCALE: &str = "_scale";

/// Whether a parameter is a matrix of a product or a table of words.
pub(crate) fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && !name.ends_with(".positions.weight")
}

/// Copies of parameters, matrices rounded to what their quantised form stands for.
pub(crate) fn rounded(parameters: &Parameters) -> Result<Parameters> {
    let mut vars = BTreeMap::new();
    for (name, var) in parameters.iter() {
        let tensor = match is_matrix(name, var.dims()) {
            true => Tensor::from_vec(numbers(&quantized(var)?), var.dims(), var.device())?,
            false => var.as_tensor().copy()?,
        };
        vars.insert(name.to_owned(), Var::from_tensor(&tensor)?);
    }
    Ok(Parameters::from_vars(vars))
}

fn quantized(var: &Var) -> Result<Weights> {
    let (output, input) = var.dims2()?;
    Ok(Weights::quantize(&storage::to_vec::<f32>(var)?, output, input))
}

/// The numbers that weights stand for, row by row.
pub(crate) fn numbers(weights: &Weights) -> Vec<f32> {
    let (output, input) = (weights.output(), weights.input());
    let mut numbers = vec![0.0; output * input];
    numbers.chunks_exact_mut(input).enumerate().for_each(|(i, row)| weights.row(i, row));
    numbers
}

/// A tensor as it is written.
pub(crate) struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn numbers(numbers: &[f32], shape: &[usize]) -> Self {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The tensors of a file for parameters that are [`rounded`].
pub(crate) fn tensors(parameters: &Parameters) -> Result<Vec<(String, Stored)>> {
    let mut tensors = Vec::new();
    for (name, var) in parameters.iter() {
        let shape = var.dims();
        if !is_matrix(name, shape) {
            let numbers = storage::to_vec::<f32>(var)?;
            tensors.push((name.to_owned(), Stored::numbers(&numbers, shape)));
            continue;
        }
        let weights = quantized(var)?;
        let bytes = weights.values().iter().map(|value| value.to_le_bytes()[0]).collect();
        let values = Stored { dtype: Dtype::I8, shape: shape.to_vec(), bytes };
        tensors.push((name.to_owned(), values));
        let scales = Stored::numbers(weights.scales(), &[weights.output()]);
        tensors.push((format!("{name}{SCALE}"), scales));
    }
    Ok(tensors)
}
