//! Multi-head attention forward and forward + backward, fused against plain, in microseconds and
//! GFLOP/s; and a search step.
//!
//! Run with `RAYON_NUM_THREADS=1 cargo bench -p attn --bench heads`. Inputs are random (seeded).
//! The projections around attention are not timed. A forward pass counts two products, a backward
//! pass four; that the fused backward pass computes the scores once more is not counted, nor what
//! a causal mask leaves out. The plain form gets padded heads, without the copies that make them.

use std::{hint::black_box, time::Instant};

use attn::multi_head::{
    Grads, Hypotheses, MultiHead, Past, Rows, Seen, Visible, Words, reference, step,
};
use candle_core::{Device, Tensor, Var};
use kernels::dropout::Mask;
use kernels::{Purpose, Random};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A batch of equally long sentences that attend to themselves.
struct Case {
    name: &'static str,
    sentences: usize,
    len: usize,
    heads: usize,
    head_dim: usize,
    visible: Visible,
    rate: f32,
}

const SMALL: Case = Case {
    name: "250 sentences of 16 words, 4 heads of 32",
    sentences: 250,
    len: 16,
    heads: 4,
    head_dim: 32,
    visible: Visible::ALL,
    rate: 0.0,
};

const CASES: [Case; 7] = [
    SMALL,
    Case { name: "  16 sentences: all in the cache", sentences: 16, ..SMALL },
    Case { name: "  causal", visible: Visible::PAST, ..SMALL },
    Case { name: "  dropout 0.1", rate: 0.1, ..SMALL },
    Case { name: "  27 words", sentences: 150, len: 27, ..SMALL },
    Case { name: "  8 heads of 64", heads: 8, head_dim: 64, ..SMALL },
    Case {
        name: "1 sentence of 1,000 words, 8 heads of 64",
        sentences: 1,
        len: 1_000,
        heads: 8,
        head_dim: 64,
        ..SMALL
    },
];

impl Case {
    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    fn rows(&self) -> usize {
        self.sentences * self.len
    }

    /// Seconds of the fused form: forward, and forward + backward.
    fn fused(&self) -> Result<[f64; 2]> {
        let (dim, rows) = (self.dim(), self.rows());
        let joint = random(1, rows * 3 * dim);
        let probe = random(2, rows * dim);
        let offsets: Vec<usize> = (0..=self.sentences).map(|b| b * self.len).collect();
        let mask = Mask::new(Random::new(1, Purpose::Dropout, 1), self.rate);
        let layer = MultiHead {
            heads: self.heads,
            head_dim: self.head_dim,
            query_offsets: &offsets,
            key_offsets: &offsets,
            visible: self.visible,
            dropout: (self.rate > 0.0).then_some(&mask),
        };
        let of = |col| Rows::columns(&joint, 3 * dim, col * dim);
        let mut out = vec![0f32; rows * dim];
        let mut grads = vec![0f32; joint.len()];
        let forward = time(|| {
            black_box(layer.forward(of(0), of(1), of(2), &mut out)?);
            Ok(())
        })?;
        let both = time(|| {
            let saved = layer.forward(of(0), of(1), of(2), &mut out)?;
            let grads = Grads::Joint(&mut grads);
            layer.backward(of(0), of(1), of(2), &out, &saved, &probe, grads)?;
            Ok(())
        })?;
        Ok([forward, both])
    }

    /// Seconds of the plain form, without dropout.
    fn plain(&self) -> Result<[f64; 2]> {
        let shape = (self.sentences, self.heads, self.len, self.head_dim);
        let var = |purpose| -> Result<Var> {
            let values = random(purpose, self.rows() * self.dim());
            Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?)
        };
        let (query, key, value, probe) = (var(1)?, var(2)?, var(3)?, var(4)?.as_detached_tensor());
        let lengths = vec![self.len; self.sentences];
        let mask = reference::mask(self.visible, &lengths, &lengths, &Device::Cpu)?;
        let [q, k, v] = [&query, &key, &value].map(|var| var.as_detached_tensor());
        let forward = time(|| {
            black_box(reference::attend(&q, &k, &v, &mask)?.context);
            Ok(())
        })?;
        let both = time(|| {
            let context = reference::attend(&query, &key, &value, &mask)?.context;
            black_box((context * &probe)?.sum_all()?.backward()?);
            Ok(())
        })?;
        Ok([forward, both])
    }

    fn report(&self) -> Result<()> {
        let product = 2.0 * (self.rows() * self.len * self.dim()) as f64;
        let [fused, plain] = [self.fused()?, self.plain()?];
        print!("{:<42}", self.name);
        for [forward, both] in [fused, plain] {
            print!(" {:>9.0} {:>5.1}", forward * 1e6, 2.0 * product / forward * 1e-9);
            print!(" {:>9.0} {:>5.1}", both * 1e6, 6.0 * product / both * 1e-9);
        }
        println!();
        Ok(())
    }
}

/// A step of 32 sentences with five hypotheses each, 16 words on either side, in microseconds.
fn search(name: &str, heads: usize, head_dim: usize) -> Result<()> {
    const SENTENCES: usize = 32;
    const BEAM: usize = 5;
    const LEN: usize = 16;
    let dim = heads * head_dim;
    let query = random(1, SENTENCES * BEAM * dim);
    let memory = random(2, LEN * 2 * dim);
    let mut out = vec![0f32; query.len()];
    let (keys, values) = (Rows::new(&memory, 2 * dim), Rows::columns(&memory, 2 * dim, dim));
    let mut words = Words::new(1, dim);
    words.reserve(LEN);
    words.fill(0, keys, values, LEN)?;
    let sources = vec![words; SENTENCES];
    // Each hypothesis goes on alone after half of its words.
    let mut past = Past::new(1, dim);
    for word in memory.chunks_exact(2 * dim).take(LEN / 2) {
        past.push();
        past.write(0, 0, &word[..dim], &word[dim..]);
    }
    past.select(&[0; BEAM]);
    for word in memory.chunks_exact(2 * dim).skip(LEN / 2) {
        past.push();
        (0..BEAM).for_each(|row| past.write(0, row, &word[..dim], &word[dim..]));
    }
    let pasts = vec![past; SENTENCES];
    let places: Vec<u32> = (0..LEN as u32).collect();
    let own: Vec<Hypotheses<f32>> = pasts
        .iter()
        .map(|past| Hypotheses { words: past.layer(0), seen: Seen::Last(past.paths(), None) })
        .collect();
    let shared: Vec<Hypotheses<f32>> = sources
        .iter()
        .map(|words| Hypotheses { words: words.layer(0), seen: Seen::Same(BEAM, &places) })
        .collect();
    let mut run = |hypotheses: &[Hypotheses<f32>]| {
        time(|| {
            step(heads, head_dim, Rows::new(&query, dim), hypotheses, &mut out, None)?;
            Ok(())
        })
    };
    println!("{name:<42} {:>12.0} {:>14.0}", run(&own)? * 1e6, run(&shared)? * 1e6);
    Ok(())
}

fn random(purpose: u64, n: usize) -> Vec<f32> {
    let mut stream = Random::new(1, Purpose::Sampling, purpose).stream();
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// The fastest of several runs, which the machine's other business disturbed least.
fn time(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    const SECONDS: f64 = 0.3;
    const LEAST: usize = 3;
    let (mut best, mut runs) = (f64::INFINITY, 0);
    let all = Instant::now();
    while runs < LEAST || all.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best)
}

fn main() -> Result<()> {
    println!("f32, cpu, {} threads; µs and GFLOP/s", rayon::current_num_threads());
    println!(
        "{:<42} {:>15} {:>15} {:>15} {:>15}",
        "self-attention", "fused forward", "both", "plain forward", "both"
    );
    CASES.iter().try_for_each(Case::report)?;
    println!(
        "\n{:<42} {:>12} {:>14}",
        "search step, 32 sentences, beam 5, µs", "own past", "same source"
    );
    search("4 heads of 32, 16 words", 4, 32)?;
    search("8 heads of 64, 16 words", 8, 64)
}
