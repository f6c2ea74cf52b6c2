//! The packed weights of a decoder.

use candle_core::Tensor;
use kernels::matmul::{Matrix, MatrixMut, Packed, matmul_packed_biased};
use kernels::{norm, storage};

use crate::Result;
use crate::config::TransformerConfig;
use crate::parameters::Parameters;

/// A packed linear layer.
#[derive(Debug)]
pub(super) struct Affine {
    weight: Packed<f32>,
    bias: Vec<f32>,
}

impl Affine {
    pub(super) fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (output, input) = weight.dims2()?;
        let weight = storage::to_vec::<f32>(weight)?;
        let weight = Packed::new(Matrix::new(&weight, output, input).t());
        Ok(Self { weight, bias: storage::to_vec(bias)? })
    }

    /// `x` `[rows, input]` → `[rows, output]`.
    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (input, output) = (self.weight.rows(), self.weight.cols());
        let rows = x.len() / input;
        let mut out = vec![0.0; rows * output];
        let c = MatrixMut::new(&mut out, rows, output);
        matmul_packed_biased(Matrix::new(x, rows, input), &self.weight, &self.bias, c);
        out
    }
}

/// A norm's parameters.
#[derive(Debug)]
pub(super) struct Norm {
    kind: norm::Norm,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Norm {
    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        norm::forward(self.kind, x, &self.weight, self.bias.as_deref(), &mut out);
        out
    }
}

/// A decoder layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention: Affine,
    pub(super) attention_out: Affine,
    pub(super) attention_norm: Norm,
    pub(super) query: Affine,
    pub(super) memory: Affine,
    pub(super) cross_out: Affine,
    pub(super) cross_norm: Norm,
    pub(super) inner: Affine,
    pub(super) outer: Affine,
    pub(super) feed_forward_norm: Norm,
}

/// Packs the parameters of a decoder.
pub(super) struct Reader<'a> {
    pub(super) config: &'a TransformerConfig,
    pub(super) parameters: &'a Parameters,
}

impl Reader<'_> {
    fn affine(&self, prefix: &str) -> Result<Affine> {
        let get = |part: &str| self.parameters.get(&format!("{prefix}.{part}"));
        Affine::new(get("weight"), get("bias"))
    }

    pub(super) fn norm(&self, prefix: &str) -> Result<Norm> {
        let weight = storage::to_vec(self.parameters.get(&format!("{prefix}.weight")))?;
        let bias = self.parameters.find(&format!("{prefix}.bias"));
        let bias = bias.map(|bias| storage::to_vec(bias)).transpose()?;
        Ok(Norm { kind: self.config.norm.into(), weight, bias })
    }

    pub(super) fn layer(&self, layer: usize) -> Result<Layer> {
        let name = |part: &str| format!("decoder.{layer}.{part}");
        Ok(Layer {
            attention: self.affine(&name("attention.input"))?,
            attention_out: self.affine(&name("attention.output"))?,
            attention_norm: self.norm(&name("attention.norm"))?,
            query: self.affine(&name("cross.query"))?,
            memory: self.affine(&name("cross.memory"))?,
            cross_out: self.affine(&name("cross.output"))?,
            cross_norm: self.norm(&name("cross.norm"))?,
            inner: self.affine(&name("feed_forward.input"))?,
            outer: self.affine(&name("feed_forward.output"))?,
            feed_forward_norm: self.norm(&name("feed_forward.norm"))?,
        })
    }
}
