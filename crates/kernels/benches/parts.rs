//! The parts of a Transformer's sublayers in milliseconds, `f32`, beside their plain Candle
//! definitions: forward, and forward + backward.
//!
//! Rows are a batch of 4,096 tokens, sizes those of a base model (512, feed-forward 2,048,
//! vocabulary 8,000). Run with `RAYON_NUM_THREADS=1` for one thread; Candle follows it too.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Result, Tensor, Var};
use kernels::activation::{self, Activation, Kept};
use kernels::cross_entropy::{self, RDrop};
use kernels::dropout::{self, Mask};
use kernels::embedding::{self, Lookup};
use kernels::logits;
use kernels::matmul::Target;
use kernels::norm::{self, Norm};
use kernels::positions::{self, Positions};
use kernels::{Mode, Purpose, Random};

const ROWS: usize = 4_096;
const DIM: usize = 512;
const FFN: usize = 2_048;
const VOCAB: usize = 8_000;

fn main() -> Result<()> {
    println!("{:40} {:>17} {:>17}", "", "ours", "plain");
    println!("{:40} {:>8} {:>8} {:>8} {:>8}", "ms", "forward", "both", "forward", "both");
    norms()?;
    activations()?;
    dropouts()?;
    words()?;
    scores()?;
    losses()
}

fn norms() -> Result<()> {
    let (x, grad) = (random(ROWS * DIM), random(ROWS * DIM));
    let (weight, bias) = (random(DIM), random(DIM));
    let (mut out, mut grad_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let (mut grad_weight, mut grad_bias) = (vec![0.0; DIM], vec![0.0; DIM]);
    let vars = [var(&x, (ROWS, DIM))?, var(&weight, DIM)?, var(&bias, DIM)?];
    for norm in [Norm::Layer, Norm::Rms] {
        let forward =
            milliseconds(|| drop(norm::forward(norm, &x, &weight, Some(&bias), &mut out)));
        let both = milliseconds(|| {
            let statistics = &norm::forward(norm, &x, &weight, Some(&bias), &mut out);
            let into = norm::Gradients {
                x: &mut grad_x,
                x_target: Target::Add,
                weight: &mut grad_weight,
                bias: Some(&mut grad_bias),
            };
            norm::backward(norm, norm::Forward { x: &x, weight: &weight, statistics }, &grad, into);
        });
        let plain = || norm::reference(norm, &vars[0], &vars[1], Some(&vars[2]));
        report(&format!("{norm:?} norm [{ROWS}, {DIM}]"), [forward, both], plain)?;
    }
    Ok(())
}

fn activations() -> Result<()> {
    let (x, grad) = (random(ROWS * FFN), random(ROWS * FFN));
    let (mut out, mut grad_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let tensor = var(&x, (ROWS, FFN))?;
    for f in [Activation::Relu, Activation::Gelu, Activation::Swish] {
        let forward = milliseconds(|| activation::forward(f, &x, &mut out));
        let both = milliseconds(|| {
            activation::forward(f, &x, &mut out);
            grad_x.copy_from_slice(&grad);
            activation::backward(f, if f.kept() == Kept::Input { &x } else { &out }, &mut grad_x);
        });
        let name = format!("{f:?} [{ROWS}, {FFN}]");
        report(&name, [forward, both], || activation::reference(f, &tensor))?;
        let half = &mut out[..ROWS * FFN / 2];
        let forward = milliseconds(|| activation::gated(f, &x, FFN / 2, half));
        let both = milliseconds(|| {
            activation::gated(f, &x, FFN / 2, half);
            activation::gated_backward(f, &x, FFN / 2, &grad[..half.len()], &mut grad_x);
        });
        let name = format!("gated {f:?} [{ROWS}, 2 · {}]", FFN / 2);
        report(&name, [forward, both], || activation::gated_reference(f, &tensor))?;
    }
    Ok(())
}

fn dropouts() -> Result<()> {
    let (x, mut y) = (random(ROWS * DIM), random(ROWS * DIM));
    let mut out = vec![0.0; x.len()];
    let vars = [var(&x, (ROWS, DIM))?, var(&y, (ROWS, DIM))?];
    let numbers = Random::new(1, Purpose::Dropout, 1);
    // A mask of scale one, so that applying it again and again ends at no infinity.
    let mask = Mask::new(numbers, 1e-9);
    let forward = milliseconds(|| mask.apply(0, &mut y));
    let both = milliseconds(|| {
        mask.apply(0, &mut y);
        mask.apply_to(0, &x, &mut out);
    });
    let plain = || candle_nn::ops::dropout(&vars[0], 0.1);
    report(&format!("dropout [{ROWS}, {DIM}]"), [forward, both], plain)?;
    let forward = milliseconds(|| mask.apply_and_add(0, &mut y, &x));
    let both = milliseconds(|| {
        mask.apply_and_add(0, &mut y, &x);
        mask.apply_to(0, &x, &mut out);
    });
    let plain = || vars[1].as_tensor() + candle_nn::ops::dropout(&vars[0], 0.1)?;
    report(&format!("dropout and residual [{ROWS}, {DIM}]"), [forward, both], plain)?;
    let mode = Mode::Train(numbers);
    let ours = || dropout::dropout::<f32>(&vars[0], 0.1, &mode, 0);
    let times = [milliseconds(|| drop(black_box(ours()))), backward_too(ours)?];
    report("dropout on the tape", times, || candle_nn::ops::dropout(&vars[0], 0.1))
}

fn words() -> Result<()> {
    let (table, grad) = (random(VOCAB * DIM), random(ROWS * DIM));
    let ids: Vec<u32> = (0..ROWS as u32).map(|i| i * i % VOCAB as u32).collect();
    let offsets: Vec<usize> = (0..=ROWS / 16).map(|i| 16 * i).collect();
    let places = positions::places(&offsets);
    let sinusoids = positions::sinusoidal::<f32>(16, DIM);
    let (mut out, mut grad_table) = (vec![0.0; ROWS * DIM], vec![0.0; table.len()]);
    let words = Lookup { ids: &ids, kept: None, scale: 22.6, dim: DIM };
    let at = Positions { table: &sinusoids, places: &places };
    let forward = milliseconds(|| positions::forward(words, &table, Some(at), &mut out));
    let both = milliseconds(|| {
        positions::forward(words, &table, Some(at), &mut out);
        embedding::scatter(words, &grad, Target::Replace, &mut grad_table);
    });
    let table = var(&table, (VOCAB, DIM))?;
    let sinusoids = Tensor::new(sinusoids, &Device::Cpu)?.reshape((16, DIM))?;
    let plain = || positions::reference(&table, &ids, 22.6, &sinusoids, &places);
    report(&format!("words [{VOCAB}, {DIM}] at places"), [forward, both], plain)
}

/// What search needs of the scores of a vocabulary; “both” with what makes log-probabilities of
/// them.
fn scores() -> Result<()> {
    const SHAPE: (usize, usize) = (32, 10_000);
    let x = random(SHAPE.0 * SHAPE.1);
    let chunks = SHAPE.1.div_ceil(logits::CHUNK);
    let (mut peaks, mut sums) = (vec![0.0; chunks], vec![0.0; chunks]);
    let mut digests = |shift: bool| {
        for row in x.chunks_exact(SHAPE.1) {
            logits::digest(row, &mut peaks, &mut sums);
            if shift {
                black_box(logits::log_softmax_shift(&peaks, &sums));
            }
        }
    };
    let times = [milliseconds(|| digests(false)), milliseconds(|| digests(true))];
    let tensor = var(&x, SHAPE)?;
    let plain = || candle_nn::ops::log_softmax(tensor.as_tensor(), 1);
    report(&format!("digest [{}, {}]", SHAPE.0, SHAPE.1), times, plain)
}

fn losses() -> Result<()> {
    const TOKENS: usize = 1_024;
    for dim in [128, DIM] {
        let hidden = var(&random(TOKENS * dim), (TOKENS, dim))?;
        let weight = var(&random(VOCAB * dim), (VOCAB, dim))?;
        let bias = var(&random(VOCAB), VOCAB)?;
        let targets: std::sync::Arc<[u32]> = (0..TOKENS as u32).map(|i| i / 2 * 7).collect();
        let by = RDrop {
            alpha: 5.0,
            pairs: (0..TOKENS as u32 / 2).map(|i| [2 * i, 2 * i + 1]).collect(),
        };
        let ours = |differentiable| {
            cross_entropy::cross_entropy::<f32>(
                &hidden,
                &weight,
                &bias,
                &targets,
                0.1,
                differentiable,
            )
        };
        let times = [
            milliseconds(|| drop(black_box(ours(false)))),
            backward_too(|| Ok(ours(true)?.objective))?,
        ];
        let plain =
            || Ok(cross_entropy::reference(&hidden, &weight, &bias, &targets, 0.1)?.objective);
        report(&format!("cross-entropy [{TOKENS}, {dim}] × {VOCAB}"), times, plain)?;
        let ours = || {
            Ok(cross_entropy::r_drop::<f32>(&hidden, &weight, &bias, &targets, 0.1, &by)?.objective)
        };
        let times = [f64::NAN, backward_too(ours)?];
        let plain = || {
            let loss =
                cross_entropy::r_drop_reference(&hidden, &weight, &bias, &targets, 0.1, &by)?;
            Ok(loss.objective)
        };
        report(&format!("R-Drop [{TOKENS}, {dim}] × {VOCAB}"), times, plain)?;
    }
    Ok(())
}

/// A line: our two times beside those of the plain path.
fn report(name: &str, ours: [f64; 2], plain: impl Fn() -> Result<Tensor>) -> Result<()> {
    let forward = milliseconds(|| drop(black_box(plain())));
    let both = backward_too(&plain)?;
    println!("{name:40} {:8.2} {:8.2} {forward:8.2} {both:8.2}", ours[0], ours[1]);
    Ok(())
}

/// Time of a graph and of the gradients of its sum.
fn backward_too(run: impl Fn() -> Result<Tensor>) -> Result<f64> {
    run()?.sum_all()?.backward()?; // an error shows here
    Ok(milliseconds(|| drop(black_box(run().and_then(|x| x.sum_all()?.backward())))))
}

/// Numbers around zero.
fn random(n: usize) -> Vec<f32> {
    let mut stream = Random::new(1, Purpose::Init, n as u64).stream();
    (0..n).map(|_| 2.0 * stream.uniform() - 1.0).collect()
}

fn var(values: &[f32], shape: impl Into<candle_core::Shape>) -> Result<Var> {
    Var::from_tensor(&Tensor::from_slice(values, shape.into(), &Device::Cpu)?)
}

/// The best of five runs, in milliseconds.
fn milliseconds(mut run: impl FnMut()) -> f64 {
    run();
    let times = (0..5).map(|_| {
        let start = Instant::now();
        run();
        1e3 * start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}
