//! Linear layers of a decoder's step: `f32`, products in bfloat16, and weights of eight bits.
//!
//! T is a Transformer with rows of 128 numbers and a vocabulary of 8,000, B one of 512, 2,048
//! inside. A decoder reads all of its weights in each step, so each layer has many copies, as many
//! numbers as the decoder of its shape, and every product takes the next. Rows are hypotheses: 1
//! and 5 for one sentence, 32 and more for a batch. What is timed is `x Wᵀ + b`, quantising the
//! rows included. Run with `RAYON_NUM_THREADS=1` for one thread. An argument selects layers by a
//! part of their names.

use std::time::Instant;

use kernels::matmul::{Matrix, MatrixMut, Packed, Target, matmul_packed};
use kernels::quantized::{self, Activations, Finish, Weights};
use kernels::recurrent::repeat_row;
use kernels::{Mixed, Real};

/// Name, inputs, outputs, and numbers in all weights of the decoder.
#[rustfmt::skip]
const LAYERS: [(&str, usize, usize, usize); 8] = [
    ("T query, key and value", 128, 384, 1_700_000),
    ("T output of attention", 128, 128, 1_700_000),
    ("T feed-forward in", 128, 256, 1_700_000),
    ("T feed-forward out", 256, 128, 1_700_000),
    ("T logits", 128, 8000, 1_700_000),
    ("B feed-forward in", 512, 2048, 29_000_000),
    ("B feed-forward out", 2048, 512, 29_000_000),
    ("B logits", 512, 8000, 29_000_000),
];
const ROWS: [usize; 5] = [1, 5, 32, 64, 160];

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!(
        "{:24}{:>18}    {:>9}{:>9}{:>9}{:>11}{:>11}{:>11}",
        "µs", "rows × in × out", "f32", "mixed", "int8", "f32 / int8", "mixed / i8", "int8 Gop/s"
    );
    for (name, input, output, all) in LAYERS {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted)) {
            continue;
        }
        let copies = (all / (input * output)).max(1);
        let weight = wave::<f32>(input * output);
        let bias = wave::<f32>(output);
        let float = Float::<f32>::new(&weight, &bias, input, copies);
        let mixed = Float::<Mixed>::new(Mixed::slice(&weight), Mixed::slice(&bias), input, copies);
        let weights = Weights::quantize(&weight, output, input);
        let int8: Vec<_> =
            (0..copies).map(|_| quantized::Packed::new(&weights, Some(&bias))).collect();
        for rows in ROWS {
            let x = wave::<f32>(rows * input);
            let float = float.time(&x);
            let mixed = mixed.time(Mixed::slice(&x));
            let (mut activations, mut out) = (Activations::default(), vec![0.0; rows * output]);
            let int8 = time(copies, |copy| {
                activations.quantize(&x, input);
                int8[copy].product(&activations, &mut out, Finish::Replace);
            });
            let rate = 2.0 * (rows * input * output) as f64 / int8 / 1e3;
            println!(
                "{name:24}{:>18}    {float:9.2}{mixed:9.2}{int8:9.2}{:11.2}{:11.2}{rate:11.0}",
                format!("{rows} × {input} × {output}"),
                float / int8,
                mixed / int8
            );
        }
    }
}

fn wave<T: Real>(n: usize) -> Vec<T> {
    (0..n).map(|i| T::of((0.37 * i as f64).sin())).collect()
}

/// A layer without quantisation, several times.
struct Float<T> {
    weights: Vec<Packed<T>>,
    bias: Vec<T>,
}

impl<T: Real> Float<T> {
    fn new(weight: &[T], bias: &[T], input: usize, copies: usize) -> Self {
        let weight = Matrix::new(weight, bias.len(), input).t();
        let weights = (0..copies).map(|_| Packed::new(weight)).collect();
        Self { weights, bias: bias.to_vec() }
    }

    fn time(&self, x: &[T]) -> f64 {
        let (input, output) = (self.weights[0].rows(), self.bias.len());
        let rows = x.len() / input;
        let mut out = vec![T::ZERO; rows * output];
        time(self.weights.len(), |copy| {
            repeat_row(&self.bias, &mut out);
            let c = MatrixMut::new(&mut out, rows, output);
            matmul_packed(Matrix::new(x, rows, input), &self.weights[copy], c, Target::Add);
        })
    }
}

/// Microseconds a run: the best of many rounds of at least 2 ms, so short that some are
/// undisturbed even on a machine that does other things. Each run gets the number of a copy.
fn time(copies: usize, mut run: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    (0..copies).for_each(&mut run);
    let rounds = (0.002 / start.elapsed().as_secs_f64()).ceil().max(1.0) as usize;
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.25 {
        let start = Instant::now();
        (0..rounds * copies).for_each(|i| run(i % copies));
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / (rounds * copies) as f64);
    }
    best
}
