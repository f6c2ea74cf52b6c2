//! Whole updates of model R in target tokens per second, `f32`: forward, backward, clipping and
//! Adam, with the peak memory of the process.
//!
//! R: two LSTM layers of 512 units, bidirectional encoder, general attention, input feeding,
//! embeddings of 512, a vocabulary of 8,000, 4,096 target tokens a batch, dropout 0.3, label
//! smoothing 0.1. `scripts/peers/train_rnn.py` is the same in a plain PyTorch loop. Run with
//! `RAYON_NUM_THREADS=1` for one thread.

use std::time::{Duration, Instant};

use candle_core::{Device, Var};
use kernels::{Mode, Purpose, Random};
use model::{Batch, Model, ModelConfig, Objective, RnnConfig, Special, Vocabs};
use train::{
    Gradients, Optimizer, clip_factor,
    config::{AdamConfig, OptimizerConfig},
};

const VOCAB: usize = 8_000;
const SENTENCES: usize = 256;
/// Target tokens of a sentence, EOS included.
const TGT_LEN: usize = 16;
const UPDATES: u64 = 8;
const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

fn main() {
    kernels::memory::keep_freed();
    let config = RnnConfig { dropout: 0.3.try_into().expect("a rate"), ..Default::default() };
    let vocabs = Vocabs { src: VOCAB, tgt: VOCAB, joint: true, ..Default::default() };
    let config = ModelConfig::Rnn(config);
    let model = Model::new(&config, vocabs, SPECIAL, 1, &Device::Cpu).expect("a model");
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
    let (wall, processor) = (Instant::now(), processor_time());
    (1..=UPDATES).for_each(&mut update);
    let (wall, processor) = (wall.elapsed(), processor_time().zip(processor));
    let rate = |time: Duration| (UPDATES as usize * batch.tgt_tokens()) as f64 / time.as_secs_f64();
    print!("R, {} threads: {:.0} target tokens/s", rayon::current_num_threads(), rate(wall));
    if let Some((after, before)) = processor {
        print!(" ({:.0} per processor second)", rate(after - before));
    }
    println!(
        "{}",
        peak_memory().map_or(String::new(), |gib| format!(", peak memory {gib:.2} GiB"))
    );
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
