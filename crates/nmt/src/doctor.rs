//! `nmt doctor`: what this machine and this build can do, and whether they compute right.

mod network;

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use attn::{AttentionConfig, Inputs, Places, Row};
use candle_core::{DType, Device, Tensor};
use kernels::{
    Mixed, Real,
    cross_entropy::cross_entropy,
    gpu::{self, Description, Found},
    gradient::{largest_error, wave},
    matmul::{Matrix, MatrixMut, Target, matmul},
    recurrent::{Cell, Direction, Steps, Weights, recurrent},
    simd,
};

use self::network::Finding;
use crate::{
    cli::Session,
    console::{Hint, threads_in_words},
    output::Output,
    render::terminal::Colors,
};

/// Check what this machine and this build can do
///
/// Names the processor, the memory, the devices and the terminal, measures how fast matrices
/// are multiplied, and compares the gradients of the operations that models are trained with
/// against finite differences. With `--device cuda` it also compares whole networks on the GPU
/// with the processor, and measures the GPU. Fails if a gradient is wrong: then nothing trained
/// on this machine can be trusted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt doctor
  nmt doctor --threads 1
  nmt doctor --device cuda")]
pub(crate) struct Doctor {}

/// A central difference in double precision errs by some 1e-10; a wrong gradient by far more.
const TOLERANCE: f64 = 1e-7;
/// How long matrices are multiplied.
const MEASURED: Duration = Duration::from_millis(500);
/// Rows and columns of these matrices.
const SIZE: usize = 512;

impl Doctor {
    /// Examines, and writes the findings to standard output.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut out = Output::open(None)?;
        writeln!(out, "nmt        {}", build())?;
        writeln!(out, "processor  {}", processor(session.threads))?;
        writeln!(out, "memory     {}", memory().unwrap_or_else(|| "unknown".into()))?;
        for (n, line) in cuda(&gpu::find()).into_iter().enumerate() {
            writeln!(out, "{:<10} {line}", if n == 0 { "cuda" } else { "" })?;
        }
        writeln!(out, "terminal   {}", terminal(session))?;
        let (plain, mixed) = (speed::<f32>(), speed::<Mixed>());
        writeln!(out, "speed      {plain:.0} GFLOP/s, f32 matrix product of {SIZE} × {SIZE}")?;
        writeln!(out, "           {mixed:.0} GFLOP/s in mixed precision, the factors in bfloat16")?;
        let mut wrong: Vec<String> = Vec::new();
        for (name, error) in gradients()? {
            let verdict = if error < TOLERANCE { "right" } else { "WRONG" };
            writeln!(out, "gradient   {name:13} {verdict}, within {error:.0e}")?;
            if error >= TOLERANCE {
                wrong.push(name.into());
            }
        }
        if !session.device.is_cpu() {
            for (what, speed) in device_speeds(&session.device)? {
                writeln!(out, "gpu        {speed:.0} {what}")?;
            }
            for Finding { name, error, tolerance } in network::compare(&session.device)? {
                let right = error < tolerance; // not a number is not right
                let verdict = if right { "right" } else { "WRONG" };
                writeln!(out, "gpu        {name}: {verdict}, within {error:.0e}")?;
                if !right {
                    wrong.push(name);
                }
            }
        }
        out.finish()?;
        let sound = || {
            ensure!(wrong.is_empty(), "wrong gradients: {}", wrong.join(", "));
            Ok(())
        };
        sound().hint("`NMT_SIMD=portable nmt doctor` does without vector instructions")
    }
}

/// Release, system and kind of build.
fn build() -> String {
    let kind = if cfg!(debug_assertions) { "debug build: slow" } else { "release build" };
    let (version, os, arch) =
        (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    format!("{version} · {os} {arch} · {kind}")
}

/// Name, threads and instruction set.
fn processor(threads: usize) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let name = name.map_or("unknown", str::trim);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let level = match simd::level() {
        simd::Level::Portable => "no vector instructions beyond the least",
        simd::Level::Avx2 => "AVX2",
        simd::Level::Avx512 => "AVX-512",
        simd::Level::Avx512Bf16 => "AVX-512 with bfloat16",
    };
    format!("{name} · {cores} cores · {level} · {} in use", threads_in_words(threads))
}

/// Memory in all and memory free, where the system tells.
fn memory() -> Option<String> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let gib = |name: &str| {
        let kib = info.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 =
            kib.trim_start_matches(':').trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / f64::from(1 << 20))
    };
    Some(format!("{:.1} GiB, {:.1} GiB free", gib("MemTotal")?, gib("MemAvailable")?))
}

/// What there is of GPUs, a line each.
fn cuda(found: &Found) -> Vec<String> {
    match found {
        Found::NotBuilt => {
            vec!["not in this build; `cargo build --features cuda` makes one".into()]
        }
        Found::None(reason) => vec![format!("in this build, but no GPU answers: {reason}")],
        Found::Some(gpus) => gpus.iter().enumerate().map(|(n, gpu)| describe(n, gpu)).collect(),
    }
}

fn describe(ordinal: usize, gpu: &Result<Description, String>) -> String {
    match gpu {
        Err(reason) => format!("cuda:{ordinal} does not answer: {reason}"),
        Ok(gpu) => {
            let [all, free] = gpu.memory.map(|bytes| bytes as f64 / f64::from(1 << 30));
            let [major, minor] = gpu.capability;
            let usable = if gpu.fits() { "usable" } else { "too old for this build's kernels" };
            format!(
                "cuda:{ordinal} {} · {all:.1} GiB, {free:.1} GiB free · compute capability \
                 {major}.{minor} · {usable}",
                gpu.name
            )
        }
    }
}

/// What standard output shows.
fn terminal(session: &Session<'_>) -> String {
    if !std::io::stdout().is_terminal() {
        return "standard output is none".into();
    }
    let style = session.console.style();
    let colors = match style.colors {
        Colors::None => "no colours",
        Colors::Indexed => "256 colours",
        Colors::True => "true colours",
    };
    format!("{} columns, {colors}", style.width)
}

/// Billions of operations a second in matrix products.
fn speed<T: Real>() -> f64 {
    let values = vec![T::of(0.5); SIZE * SIZE];
    let mut product = vec![T::ZERO; SIZE * SIZE];
    let mut multiply = || {
        let operand = || Matrix::new(&values, SIZE, SIZE);
        matmul(operand(), operand(), MatrixMut::new(&mut product, SIZE, SIZE), Target::Replace);
    };
    multiply(); // the first one pays for threads and caches
    let start = Instant::now();
    let mut n_products = 0;
    while start.elapsed() < MEASURED {
        multiply();
        n_products += 1;
    }
    let operations = n_products as f64 * 2.0 * (SIZE as f64).powi(3);
    operations / start.elapsed().as_secs_f64() / 1e9
}

/// What a GPU does in a second: billions of operations in products of two types, and gigabytes that are
/// read and written.
fn device_speeds(device: &Device) -> anyhow::Result<Vec<(&'static str, f64)>> {
    const LARGE: usize = 8192;
    let timed = |work: &dyn Fn() -> candle_core::Result<Tensor>| -> anyhow::Result<f64> {
        work()?;
        device.synchronize()?;
        let start = Instant::now();
        let mut times = 0;
        while start.elapsed() < MEASURED {
            work()?;
            device.synchronize()?;
            times += 1;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(times))
    };
    let product = |dtype| -> anyhow::Result<f64> {
        let x = Tensor::ones((LARGE, LARGE), dtype, device)?;
        Ok(2.0 * (LARGE as f64).powi(3) / timed(&|| x.matmul(&x))? / 1e9)
    };
    let x = Tensor::ones(1 << 28, DType::F32, device)?;
    let bytes = 2.0 * (x.elem_count() * 4) as f64;
    Ok(vec![
        ("GFLOP/s, f32 matrix product of 8192 × 8192", product(DType::F32)?),
        ("GFLOP/s in bfloat16", product(DType::BF16)?),
        ("GB/s of memory", bytes / timed(&|| x.affine(2.0, 0.0))? / 1e9),
    ])
}

/// The largest error of each operation's gradients, of losses that are sums of sines.
fn gradients() -> anyhow::Result<Vec<(&'static str, f64)>> {
    Ok(vec![
        ("LSTM", recurrent_error(Cell::Lstm)?),
        ("GRU", recurrent_error(Cell::Gru)?),
        ("attention", attention_error()?),
        ("cross-entropy", cross_entropy_error()?),
    ])
}

fn recurrent_error(cell: Cell) -> anyhow::Result<f64> {
    let (dim, input_dim, gates) = (3, 5, cell.gates());
    let steps = Arc::new(Steps::new(vec![3, 2]));
    let mut inputs = vec![
        wave((steps.rows(), input_dim), 0.1)?,
        wave((gates * dim, input_dim), 0.2)?,
        wave((gates * dim, dim), 0.3)?,
        wave(gates * dim, 0.4)?,
    ];
    if cell == Cell::Gru {
        inputs.push(wave(dim, 0.5)?);
    }
    Ok(largest_error(&inputs, |inputs| {
        let weights = Weights {
            input: inputs[1].clone(),
            hidden: inputs[2].clone(),
            bias: inputs[3].clone(),
            hidden_bias: inputs.get(4).cloned(),
        };
        let states =
            recurrent::<f64>(cell, Direction::Forward, &steps, &inputs[0], None, &weights)?;
        states.sin()?.sum_all()
    })?)
}

fn attention_error() -> anyhow::Result<f64> {
    let (dim, memory_dim) = (3, 5);
    let config = AttentionConfig::default(); // global attention, general score
    let inputs = [wave((5, memory_dim), 0.1)?, wave((5, dim), 0.2)?, wave((3, dim), 0.3)?];
    Ok(largest_error(&inputs, |inputs| {
        let row = |sentence, position| Row { sentence, position };
        let places = Places { offsets: vec![0, 3, 5], rows: vec![row(0, 0), row(0, 1), row(1, 0)] };
        let inputs = Inputs {
            states: &inputs[0],
            keys: Some(&inputs[1]),
            query: &inputs[2],
            projected: None,
            score: None,
            position: None,
        };
        let context = attn::attend(&config, &inputs, places).map_err(candle_core::Error::wrap)?;
        context.sin()?.sum_all()
    })?)
}

fn cross_entropy_error() -> anyhow::Result<f64> {
    let targets: Arc<[u32]> = [1, 6, 4].into();
    let (dim, vocab, smoothing) = (5, 7, 0.1);
    let inputs: [Tensor; 3] = [wave((3, dim), 0.1)?, wave((vocab, dim), 0.2)?, wave(vocab, 0.3)?];
    Ok(largest_error(&inputs, |inputs| {
        let loss =
            cross_entropy::<f64>(&inputs[0], &inputs[1], &inputs[2], &targets, smoothing, true)?;
        Ok(loss.objective)
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_right_on_this_machine() {
        for (name, error) in gradients().unwrap() {
            assert!(error < TOLERANCE, "{name}: {error}");
        }
    }
}
