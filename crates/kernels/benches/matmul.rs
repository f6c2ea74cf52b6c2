//! Matrix products of training steps in GFLOP/s: `f32`, the same by Candle, and `Mixed`, whose
//! factors are rounded to bfloat16.
//!
//! R is two LSTM layers of 512 units over a batch of 4,096 target tokens and a vocabulary of
//! 8,000; T a Transformer with rows of 128 numbers, 256 inside; B one of 512, 2,048 inside.
//! Run with `RAYON_NUM_THREADS=1` for one thread. An argument selects rows by a part of their
//! names.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use kernels::matmul::{Matrix, MatrixMut, Packed, Target, matmul, matmul_packed};
use kernels::{Mixed, Real};

struct Case {
    name: &'static str,
    m: usize,
    n: usize,
    k: usize,
    /// Which operand is stored transposed: `nn`, `nt` (a weight `[out, in]`) or `tn` (a weight's
    /// gradient).
    layout: &'static str,
}

#[rustfmt::skip]
const CASES: [Case; 24] = [
    Case { name: "R gates of one step", m: 256, n: 2048, k: 512, layout: "nt" },
    Case { name: "R gates of one step, beam 5", m: 5, n: 2048, k: 1024, layout: "nt" },
    Case { name: "R back through one step", m: 256, n: 1024, k: 2048, layout: "nn" },
    Case { name: "R inputs of all steps", m: 4096, n: 2048, k: 512, layout: "nt" },
    Case { name: "R gradient of a gate weight", m: 2048, n: 1024, k: 4096, layout: "tn" },
    Case { name: "R logits", m: 512, n: 8000, k: 512, layout: "nt" },
    Case { name: "R back through logits", m: 512, n: 512, k: 8000, layout: "nn" },
    Case { name: "R gradient of the logits' weight", m: 8000, n: 512, k: 512, layout: "tn" },
    Case { name: "T query, key and value", m: 4096, n: 384, k: 128, layout: "nt" },
    Case { name: "T output of attention", m: 4096, n: 128, k: 128, layout: "nt" },
    Case { name: "T feed-forward in", m: 4096, n: 256, k: 128, layout: "nt" },
    Case { name: "T feed-forward out", m: 4096, n: 128, k: 256, layout: "nt" },
    Case { name: "T back through feed-forward", m: 4096, n: 256, k: 128, layout: "nn" },
    Case { name: "T gradient of a weight", m: 256, n: 128, k: 4096, layout: "tn" },
    Case { name: "T logits", m: 512, n: 8000, k: 128, layout: "nt" },
    Case { name: "T logits of one step", m: 1, n: 8000, k: 128, layout: "nt" },
    Case { name: "T logits of one step, beam 5", m: 5, n: 8000, k: 128, layout: "nt" },
    Case { name: "T back through logits", m: 512, n: 128, k: 8000, layout: "nn" },
    Case { name: "T gradient of the logits' weight", m: 8000, n: 128, k: 512, layout: "tn" },
    Case { name: "B output of attention", m: 4096, n: 512, k: 512, layout: "nt" },
    Case { name: "B feed-forward in", m: 4096, n: 2048, k: 512, layout: "nt" },
    Case { name: "B back through feed-forward", m: 4096, n: 512, k: 2048, layout: "nn" },
    Case { name: "B gradient of a weight", m: 512, n: 512, k: 4096, layout: "tn" },
    Case { name: "B gradient of an inner weight", m: 2048, n: 512, k: 4096, layout: "tn" },
];

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!(
        "{:33}{:>20}    {:>7}{:>7}{:>7}{:>8}{:>8}{:>9}",
        "GFLOP/s", "m × n × k", "candle", "f32", "packed", "f32 / c", "mixed", "m / f32"
    );
    for case in CASES.iter().filter(|case| wanted.as_ref().is_none_or(|w| case.name.contains(w))) {
        let Case { name, m, n, k, layout } = *case;
        let candle = candle(case);
        let ([plain, ahead], [mixed, _]) = (ours::<f32>(case), ours::<Mixed>(case));
        println!(
            "{name:33}{:>20} {layout} {candle:7.0}{plain:7.0}{ahead:7.0}{:8.2}{mixed:8.0}{:9.2}",
            format!("{m} × {n} × {k}"),
            plain / candle,
            mixed / plain
        );
    }
}

fn random<T: Real>(n: usize) -> Vec<T> {
    (0..n).map(|i| T::of((0.37 * i as f64).sin())).collect()
}

/// Billions of operations a second of our product, and with a right operand packed ahead.
fn ours<T: Real>(&Case { m, n, k, layout, .. }: &Case) -> [f64; 2] {
    let (a, b, mut c) = (random::<T>(m * k), random::<T>(k * n), random::<T>(m * n));
    let a = if layout == "tn" { Matrix::new(&a, k, m).t() } else { Matrix::new(&a, m, k) };
    let b = if layout == "nt" { Matrix::new(&b, n, k).t() } else { Matrix::new(&b, k, n) };
    let packed = Packed::new(b);
    let work = 2.0 * (m * n * k) as f64 / 1e9;
    [
        work / seconds(|| matmul(a, b, MatrixMut::new(&mut c, m, n), Target::Replace)),
        work / seconds(|| matmul_packed(a, &packed, MatrixMut::new(&mut c, m, n), Target::Replace)),
    ]
}

/// The same of Candle's product.
fn candle(&Case { m, n, k, layout, .. }: &Case) -> f64 {
    let a = tensor(if layout == "tn" { (k, m) } else { (m, k) });
    let b = tensor(if layout == "nt" { (n, k) } else { (k, n) });
    let a = if layout == "tn" { a.t().expect("a matrix") } else { a };
    let b = if layout == "nt" { b.t().expect("a matrix") } else { b };
    let work = 2.0 * (m * n * k) as f64 / 1e9;
    work / seconds(|| {
        black_box(a.matmul(&b).expect("shapes that fit"));
    })
}

fn tensor(shape: (usize, usize)) -> Tensor {
    Tensor::from_vec(random::<f32>(shape.0 * shape.1), shape, &Device::Cpu).expect("a tensor")
}

/// Seconds a run: the best of many rounds of about 2 ms, so short that some are undisturbed even
/// on a machine that does other things.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let start = Instant::now();
    run();
    let runs = (0.002 / start.elapsed().as_secs_f64()).ceil().max(1.0) as u32;
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.25 {
        let start = Instant::now();
        (0..runs).for_each(|_| run());
        best = best.min(start.elapsed().as_secs_f64() / f64::from(runs));
    }
    best
}
