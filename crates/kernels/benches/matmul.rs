//! Matrix products of a recurrent model's training step in GFLOP/s, `f32`, beside Candle's.
//!
//! Shapes are those of two LSTM layers of 512 units over a batch of 4,096 target tokens and a
//! vocabulary of 8,000. Run with `RAYON_NUM_THREADS=1` for one thread.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use kernels::matmul::{Matrix, MatrixMut, Packed, Target, matmul, matmul_packed};

struct Case {
    name: &'static str,
    m: usize,
    n: usize,
    k: usize,
    /// Which operand is stored transposed: `nn`, `nt` (a weight `[out, in]`) or `tn` (a weight's
    /// gradient).
    layout: &'static str,
}

const CASES: [Case; 8] = [
    Case { name: "gates of one step", m: 256, n: 2048, k: 1024, layout: "nt" },
    Case { name: "gates of one step, beam 5", m: 5, n: 2048, k: 1024, layout: "nt" },
    Case { name: "back through one step", m: 256, n: 1024, k: 2048, layout: "nn" },
    Case { name: "inputs of all steps", m: 4096, n: 2048, k: 512, layout: "nt" },
    Case { name: "gradient of a gate weight", m: 2048, n: 1024, k: 4096, layout: "tn" },
    Case { name: "logits", m: 512, n: 8000, k: 512, layout: "nt" },
    Case { name: "back through logits", m: 512, n: 512, k: 8000, layout: "nn" },
    Case { name: "gradient of the logits' weight", m: 8000, n: 512, k: 512, layout: "tn" },
];

fn main() {
    println!("{:32} {:>20} {:>8} {:>8} {:>8}", "GFLOP/s", "m × n × k", "ours", "packed", "candle");
    for case in &CASES {
        let Case { name, m, n, k, layout } = *case;
        let random = |n| (0..n).map(|i| (0.37 * i as f32).sin()).collect::<Vec<f32>>();
        let (a, b, mut c) = (random(m * k), random(k * n), vec![0f32; m * n]);
        let a_view = if layout == "tn" { Matrix::new(&a, k, m).t() } else { Matrix::new(&a, m, k) };
        let b_view = if layout == "nt" { Matrix::new(&b, n, k).t() } else { Matrix::new(&b, k, n) };
        let work = 2.0 * (m * n * k) as f64 / 1e9;

        let ours = work
            / seconds(|| {
                matmul(a_view, b_view, MatrixMut::new(&mut c, m, n), Target::Replace);
            });
        let packed = Packed::new(b_view);
        let ahead = work
            / seconds(|| {
                matmul_packed(a_view, &packed, MatrixMut::new(&mut c, m, n), Target::Replace);
            });
        let (a, b) = (
            tensor(&a, if layout == "tn" { (k, m) } else { (m, k) }),
            tensor(&b, if layout == "nt" { (n, k) } else { (k, n) }),
        );
        let a = if layout == "tn" { a.t().expect("a matrix") } else { a };
        let b = if layout == "nt" { b.t().expect("a matrix") } else { b };
        let candle = work
            / seconds(|| {
                black_box(a.matmul(&b).expect("shapes that fit"));
            });
        println!(
            "{name:32} {:>20} {ours:8.1} {ahead:8.1} {candle:8.1}",
            format!("{m} × {n} × {k}")
        );
    }
}

fn tensor(values: &[f32], shape: (usize, usize)) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor")
}

/// The best of five rounds of at least 50 ms, in seconds a run.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let start = Instant::now();
    run();
    let rounds = (0.05 / start.elapsed().as_secs_f64()).ceil().max(1.0) as u32;
    (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| run());
            start.elapsed().as_secs_f64() / f64::from(rounds)
        })
        .fold(f64::INFINITY, f64::min)
}
