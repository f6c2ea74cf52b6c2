//! Linear layers made ready for search: weights packed once, in the order and the precision in
//! which products read them.

use kernels::activation::{self, Activation};
use kernels::logits::{self, CHUNK, Depth, Digest};
use kernels::matmul::{
    self, MatrixMut, Packed, Target, matmul_packed, matmul_packed_biased, matmul_packed_logits,
};
use kernels::quantized::{self, Activations, Finish};
use kernels::{Mixed, slices};

use crate::checkpoint::Matrix;
use crate::{SearchPrecision, Step};

/// Memory that products work in. It is kept from one to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    activations: Activations,
    result: Vec<f32>,
    /// Of the chunks of rows of logits, the exponentials.
    sums: Vec<f32>,
}

/// A packed linear layer.
#[derive(Debug)]
pub(crate) enum Linear {
    F32(Packed<f32>, Vec<f32>),
    Bf16(Packed<Mixed>, Vec<f32>),
    Int8(quantized::Packed),
}

impl Linear {
    /// Of a weight `[output, input]` and a bias `[output]`, zeros if the layer has none.
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

    /// `x` `[rows, input]` → `[rows, output]`, which takes the place of what `out` held.
    pub(crate) fn forward(&self, x: &[f32], room: &mut Room, out: &mut Vec<f32>) {
        let (input, output) = self.sizes();
        out.resize(x.len() / input * output, 0.0);
        self.product(x, room, out, Finish::Replace);
    }

    /// [`Self::forward`], of which negative numbers become zero: ReLU.
    pub(crate) fn forward_relu(&self, x: &[f32], room: &mut Room, out: &mut Vec<f32>) {
        let (input, output) = self.sizes();
        out.resize(x.len() / input * output, 0.0);
        self.product(x, room, out, Finish::Relu);
    }

    /// Adds what [`Self::forward`] gives to `out`: a residual connection.
    pub(crate) fn add(&self, x: &[f32], room: &mut Room, out: &mut [f32]) {
        self.product(x, room, out, Finish::Add);
    }

    /// Adds `x W` to `out`, without the bias: sums go on from what is there.
    pub(crate) fn accumulate(&self, x: &[f32], room: &mut Room, out: &mut [f32]) {
        let (input, output) = self.sizes();
        let rows = x.len() / input;
        match self {
            Self::F32(weight, _) => {
                let c = MatrixMut::new(out, rows, output);
                matmul_packed(matmul::Matrix::new(x, rows, input), weight, c, Target::Add);
            }
            Self::Bf16(weight, _) => {
                let x = matmul::Matrix::new(Mixed::slice(x), rows, input);
                let c = MatrixMut::new(Mixed::slice_mut(out), rows, output);
                matmul_packed(x, weight, c, Target::Add);
            }
            // A layer that is used in this way has no bias.
            Self::Int8(_) => self.product(x, room, out, Finish::Add),
        }
    }

    /// The scores of the words of a vocabulary, of which this layer computes the logits, with
    /// their peaks and, if so deep, what makes log-probabilities of them.
    pub(crate) fn predict(&self, x: &[f32], depth: Depth, room: &mut Room, step: &mut Step) {
        let (input, output) = self.sizes();
        let (rows, chunks) = (x.len() / input, output.div_ceil(CHUNK));
        let Step { scores, shifts, peaks, possible, .. } = step;
        let Room { activations, sums, .. } = room;
        *possible = None;
        scores.resize(rows * output, 0.0);
        peaks.resize(rows * chunks, 0.0);
        sums.resize(rows * chunks, 0.0);
        match self {
            Self::F32(weight, bias) => {
                let (x, c) =
                    (matmul::Matrix::new(x, rows, input), MatrixMut::new(scores, rows, output));
                matmul_packed_logits(x, weight, bias, c, Digest { depth, peaks, sums });
            }
            Self::Bf16(weight, bias) => {
                let x = matmul::Matrix::new(Mixed::slice(x), rows, input);
                let c = MatrixMut::new(Mixed::slice_mut(scores), rows, output);
                let (peaks, sums) = (Mixed::slice_mut(peaks), Mixed::slice_mut(sums));
                let digest = Digest { depth, peaks, sums };
                matmul_packed_logits(x, weight, Mixed::slice(bias), c, digest);
            }
            Self::Int8(layer) => {
                activations.quantize(x, input);
                layer.logits(activations, scores, Digest { depth, peaks, sums });
            }
        }
        let digests = peaks.chunks_exact(chunks).zip(sums.chunks_exact(chunks));
        shifts.clear();
        shifts.extend(digests.map(|(peaks, sums)| match depth {
            Depth::Sums => logits::log_softmax_shift(peaks, sums),
            // Infinite scores have no probabilities, and neither has what is no number.
            Depth::Peaks if peaks.contains(&f32::INFINITY) => f32::NAN,
            Depth::Peaks => slices::sum(sums),
        }));
    }

    fn product(&self, x: &[f32], room: &mut Room, out: &mut [f32], finish: Finish) {
        let (input, output) = self.sizes();
        let rows = x.len() / input;
        match self {
            Self::F32(weight, bias) => finished(finish, room, out, |out| {
                let c = MatrixMut::new(out, rows, output);
                matmul_packed_biased(matmul::Matrix::new(x, rows, input), weight, bias, c);
            }),
            Self::Bf16(weight, bias) => finished(finish, room, out, |out| {
                let x = matmul::Matrix::new(Mixed::slice(x), rows, input);
                let c = MatrixMut::new(Mixed::slice_mut(out), rows, output);
                matmul_packed_biased(x, weight, Mixed::slice(bias), c);
            }),
            Self::Int8(layer) => {
                room.activations.quantize(x, input);
                layer.product(&room.activations, out, finish);
            }
        }
    }
}

/// Does with a product that only replaces what `finish` says.
fn finished(finish: Finish, room: &mut Room, out: &mut [f32], product: impl FnOnce(&mut [f32])) {
    match finish {
        Finish::Replace => product(out),
        Finish::Relu => {
            product(out);
            activation::forward_in_place(Activation::Relu, out);
        }
        Finish::Add => {
            room.result.resize(out.len(), 0.0);
            product(&mut room.result);
            slices::add(out, &room.result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of more than four chunks, the digest of which is not all of one kind.
    const VOCAB: usize = 300;

    #[test]
    fn scores_that_nobody_weighs_still_have_to_be_numbers() {
        for precision in [SearchPrecision::F32, SearchPrecision::Bf16, SearchPrecision::Int8] {
            for (place, flaw) in [(0, f32::NAN), (299, f32::NAN), (70, f32::INFINITY), (70, 1.0)] {
                let mut bias = vec![0.25; VOCAB];
                bias[place] = flaw;
                let weight = Matrix::Numbers(vec![0.5; VOCAB * 2]);
                let layer = Linear::new([VOCAB, 2], weight, bias, precision);
                let (mut room, mut step) = (Room::default(), Step::default());
                for depth in [Depth::Sums, Depth::Peaks] {
                    layer.predict(&[1.0, -2.0], depth, &mut room, &mut step);
                    let shift = step.shifts[0];
                    assert_eq!(shift.is_nan(), flaw != 1.0, "{flaw} at {place}, {precision:?}");
                    assert!(depth == Depth::Sums || shift.is_nan() || shift == 0.0, "{shift}");
                }
            }
        }
    }
}
