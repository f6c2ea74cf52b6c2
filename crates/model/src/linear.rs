//! Linear layers made ready for search: weights packed once, in the order in which products read
//! them.

use candle_core::Tensor;
use kernels::matmul::{Matrix, MatrixMut, Packed, matmul_packed_biased};
use kernels::storage;

use crate::Result;

/// A packed linear layer.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Packed<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// Of a weight `[output, input]` and a bias `[output]`.
    pub(crate) fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (output, input) = weight.dims2()?;
        let weight = storage::to_vec::<f32>(weight)?;
        let weight = Packed::new(Matrix::new(&weight, output, input).t());
        Ok(Self { weight, bias: storage::to_vec(bias)? })
    }

    /// `x` `[rows, input]` → `[rows, output]`, which takes the place of what `out` held.
    pub(crate) fn forward(&self, x: &[f32], out: &mut Vec<f32>) {
        let (input, output) = (self.weight.rows(), self.weight.cols());
        let rows = x.len() / input;
        out.resize(rows * output, 0.0);
        let c = MatrixMut::new(out, rows, output);
        matmul_packed_biased(Matrix::new(x, rows, input), &self.weight, &self.bias, c);
    }
}
