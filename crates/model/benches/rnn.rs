//! Forward and backward pass of model R in target tokens per second, `f32`: two LSTM layers of
//! 512 units, bidirectional encoder, general attention, input feeding, embeddings of 512, a
//! vocabulary of 8,000, 4,096 target tokens a batch. Run with `RAYON_NUM_THREADS=1` for one
//! thread. The whole step with its optimizer stands in `crates/train/benches/step.rs`.

use std::time::Instant;

use candle_core::Device;
use kernels::{Mode, Purpose, Random};
use model::{Batch, Model, ModelConfig, Objective, RnnConfig, Special, Vocabs};

const VOCAB: usize = 8_000;
const SENTENCES: usize = 256;
const TGT_LEN: usize = 15;
const UPDATES: u64 = 8;

fn main() {
    kernels::memory::keep_freed();
    let config = RnnConfig { dropout: 0.3.try_into().expect("a rate"), ..Default::default() };
    let vocabs = Vocabs { src: VOCAB, tgt: VOCAB, joint: true, ..Default::default() };
    let special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
    let config = ModelConfig::Rnn(config);
    let model = Model::new(&config, vocabs, special, 1, &Device::Cpu).expect("a model");
    let mut stream = Random::new(1, Purpose::Shuffle, 0).stream();
    let mut sentence =
        |len: usize| (0..len).map(|_| 4 + stream.below(VOCAB - 4) as u32).collect::<Vec<u32>>();
    let pairs: Vec<_> = (0..SENTENCES).map(|i| (sentence(9 + i % 10), sentence(TGT_LEN))).collect();
    let pairs: Vec<_> = pairs.iter().map(|(s, t)| (s.as_slice(), t.as_slice())).collect();
    let batch = Batch::new(&pairs, special).expect("a batch");
    let update = |step| {
        let mode = Mode::Train(Random::new(1, Purpose::Dropout, step));
        let loss = model.loss(&batch, &Objective::smoothed(0.1), &mode).expect("a loss");
        let forward = Instant::now();
        loss.objective.backward().expect("gradients");
        forward.elapsed().as_secs_f64()
    };
    update(0);
    let start = Instant::now();
    let backward: f64 = (1..=UPDATES).map(update).sum();
    let seconds = start.elapsed().as_secs_f64();
    let rate = (UPDATES as usize * batch.tgt_tokens()) as f64 / seconds;
    println!(
        "R, {} threads: {rate:.0} target tokens/s; {:.0} ms an update, {:.0} % of it backward",
        rayon::current_num_threads(),
        1e3 * seconds / UPDATES as f64,
        100.0 * backward / seconds
    );
}
