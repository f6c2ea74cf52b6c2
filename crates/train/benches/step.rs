//! Whole updates in target tokens per second: forward, backward, clipping and Adam, with the peak
//! memory of the process.
//!
//! | shape | network |
//! |---|---|
//! | T | Transformer, 4+4 layers of 128, feed-forward 256, 4 heads, all embeddings tied, dropout 0.3 |
//! | B | Transformer, 6+6 layers of 512, feed-forward 2,048, 8 heads, all embeddings tied, dropout 0.1 |
//! | R | two LSTM layers of 512, bidirectional encoder, general attention, input feeding, embeddings of 512, dropout 0.3 |
//!
//! All with a vocabulary of 8,000, 4,096 target tokens a batch, label smoothing 0.1.
//!
//!     RAYON_NUM_THREADS=1 cargo bench --workspace --bench step -- T bf16
//!
//! `scripts/peers/` has the same in plain PyTorch loops. Without arguments: T in `f32`. One shape
//! and precision a process, so that the peak memory is its own.

use std::time::{Duration, Instant};

use candle_core::{Device, Var};
use kernels::{Mode, Purpose, Random};
use model::{
    Batch, Model, ModelConfig, Objective, Precision, RnnConfig, Special, Tie, TransformerConfig,
    Vocabs,
};
use train::{
    Gradients, Optimizer, clip_factor,
    config::{AdamConfig, OptimizerConfig},
};

const VOCAB: usize = 8_000;
const SENTENCES: usize = 256;
/// Target tokens of a sentence, EOS included.
const TGT_LEN: usize = 16;
/// How long to measure: at least so many updates, and at least so long.
const UPDATES: u64 = 4;
const LEAST: Duration = Duration::from_secs(8);
const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

fn main() {
    kernels::memory::keep_freed();
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let shape = args.iter().find(|arg| arg.len() == 1).map_or("T", String::as_str);
    let bf16 = args.iter().any(|arg| arg == "bf16");
    let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
    let vocabs = Vocabs { src: VOCAB, tgt: VOCAB, joint: true, ..Default::default() };
    let model = Model::new(&network(shape), vocabs, SPECIAL, 1, &Device::Cpu).expect("a model");
    let model = model.in_precision(precision);
    let parameters: Vec<(String, Var)> =
        model.parameters().iter().map(|(name, var)| (name.to_owned(), var.clone())).collect();
    let adam = OptimizerConfig::Adam(AdamConfig::default());
    let mut optimizer = Optimizer::<f32>::new(&adam, &parameters).expect("an optimizer");
    let mut gradients = Gradients::new(parameters);
    let batch = batch();
    let mut update = |step| {
        let mode = Mode::Train(Random::new(1, Purpose::Dropout, step));
        gradients.clear();
        let loss = model.loss(&batch, &Objective::smoothed(0.1), &mode).expect("a loss");
        gradients.add(loss.objective.backward().expect("gradients"), loss.tokens).expect("sums");
        let norm = gradients.norm::<f32>().expect("a norm");
        optimizer.step(&gradients, 1e-3, clip_factor(norm, 1.0)).expect("an update");
    };
    update(0);
    let (start, before, mut updates) = (Instant::now(), processor_time(), 0);
    while updates < UPDATES || start.elapsed() < LEAST {
        updates += 1;
        update(updates);
    }
    let (wall, processor) = (start.elapsed(), processor_time().zip(before));
    let rate = |time: Duration| (updates as usize * batch.tgt_tokens()) as f64 / time.as_secs_f64();
    let threads = rayon::current_num_threads();
    print!("{shape}, {precision:?}, {threads} threads: {:.0} target tokens/s", rate(wall));
    if let Some((after, before)) = processor {
        print!(" ({:.0} per processor second)", rate(after - before));
    }
    println!(
        "{}",
        peak_memory().map_or(String::new(), |gib| format!(", peak memory {gib:.2} GiB"))
    );
}

/// The network of a shape.
fn network(shape: &str) -> ModelConfig {
    let size = |n: usize| n.try_into().expect("no size is zero");
    let rate = |rate: f64| rate.try_into().expect("a rate");
    match shape {
        "T" => ModelConfig::Transformer(TransformerConfig {
            dim: size(128),
            heads: size(4),
            ffn_dim: size(256),
            encoder_layers: size(4),
            decoder_layers: size(4),
            tie: Tie::All,
            dropout: rate(0.3),
            ..Default::default()
        }),
        "B" => ModelConfig::Transformer(TransformerConfig { tie: Tie::All, ..Default::default() }),
        "R" => ModelConfig::Rnn(RnnConfig { dropout: rate(0.3), ..Default::default() }),
        _ => panic!("shapes are T, B and R, found {shape}"),
    }
}

/// Random sentences of 10 to 19 source tokens and [`TGT_LEN`] target tokens, EOS included.
fn batch() -> Batch {
    let mut stream = Random::new(1, Purpose::Shuffle, 0).stream();
    let mut sentence =
        |len: usize| (0..len).map(|_| 4 + stream.below(VOCAB - 4) as u32).collect::<Vec<u32>>();
    let pairs: Vec<_> =
        (0..SENTENCES).map(|i| (sentence(9 + i % 10), sentence(TGT_LEN - 1))).collect();
    let pairs: Vec<_> = pairs.iter().map(|(s, t)| (s.as_slice(), t.as_slice())).collect();
    Batch::new(&pairs, SPECIAL).expect("a batch")
}

/// Processor time of this process, where Linux tells it: in clock ticks of a hundredth second.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

/// The most memory that was resident, in GiB, where Linux tells it.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / (1 << 20) as f64)
}
