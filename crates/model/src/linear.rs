//! Linear layers made ready for search: weights packed once, in the order and the precision in
//! which products read them.

use kernels::matmul::{self, MatrixMut, Packed, matmul_packed_biased};
use kernels::quantized::{self, Activations, Finish};
use kernels::{Mixed, slices};
use rayon::prelude::*;

use crate::checkpoint::Matrix;
use crate::{SearchPrecision, Step};

/// A packed linear layer.
#[derive(Debug)]
pub(crate) enum Linear {
    F32(Packed<f32>, Vec<f32>),
    Bf16(Packed<Mixed>, Vec<f32>),
    Int8(quantized::Packed),
}

impl Linear {
    /// Of a weight `[output, input]` and a bias `[output]`.
    pub(crate) fn new(
        [output, input]: [usize; 2],
        weight: Matrix,
        bias: Vec<f32>,
        precision: SearchPrecision,
    ) -> Self {
        match precision {
            SearchPrecision::F32 => {
                let weight = weight.numbers();
                Self::F32(Packed::new(matmul::Matrix::new(&weight, output, input).t()), bias)
            }
            SearchPrecision::Bf16 => {
                let weight = weight.numbers();
                let weight = Mixed::slice(&weight);
                Self::Bf16(Packed::new(matmul::Matrix::new(weight, output, input).t()), bias)
            }
            SearchPrecision::Int8 => {
                let weights = weight.rounded([output, input]);
                Self::Int8(quantized::Packed::new(&weights, Some(&bias)))
            }
        }
    }

    /// Sizes of input and output.
    fn sizes(&self) -> (usize, usize) {
        match self {
            Self::F32(weight, _) => (weight.rows(), weight.cols()),
            Self::Bf16(weight, _) => (weight.rows(), weight.cols()),
            Self::Int8(layer) => (layer.input(), layer.output()),
        }
    }

    /// `x` `[rows, input]` → `[rows, output]`, which takes the place of what `out` held. `room`
    /// is memory to work in.
    pub(crate) fn forward(&self, x: &[f32], room: &mut Activations, out: &mut Vec<f32>) {
        let (input, output) = self.sizes();
        out.resize(x.len() / input * output, 0.0);
        self.product(x, room, out);
    }

    /// The scores of the words of a vocabulary, of which this layer computes the logits, with
    /// their peaks and what makes log-probabilities of them.
    pub(crate) fn predict(&self, x: &[f32], room: &mut Activations, step: &mut Step) {
        let output = self.sizes().1;
        let chunks = output.div_ceil(slices::PEAK_CHUNK);
        let Step { scores, shifts, peaks, .. } = step;
        self.forward(x, room, scores);
        let rows = scores.len() / output;
        peaks.resize(rows * chunks, 0.0);
        shifts.resize(rows, 0.0);
        let rows = scores.par_chunks(output).zip(peaks.par_chunks_mut(chunks)).zip(shifts);
        rows.for_each(|((scores, peaks), shift)| {
            slices::peaks(scores, peaks);
            *shift = slices::log_softmax_shift(scores, peaks);
        });
    }

    fn product(&self, x: &[f32], room: &mut Activations, out: &mut [f32]) {
        let (input, output) = self.sizes();
        let rows = x.len() / input;
        match self {
            Self::F32(weight, bias) => {
                let c = MatrixMut::new(out, rows, output);
                matmul_packed_biased(matmul::Matrix::new(x, rows, input), weight, bias, c);
            }
            Self::Bf16(weight, bias) => {
                let x = matmul::Matrix::new(Mixed::slice(x), rows, input);
                let c = MatrixMut::new(Mixed::slice_mut(out), rows, output);
                matmul_packed_biased(x, weight, Mixed::slice(bias), c);
            }
            Self::Int8(layer) => {
                room.quantize(x, input);
                layer.product(room, out, Finish::Replace);
            }
        }
    }
}
