//! A model for tests: what it says is a seeded function of the source and of what was produced.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{EncoderDecoder, Result, Special, Step};

/// A model without parameters, whose every sequence can be enumerated.
#[derive(Debug)]
pub(crate) struct Toy {
    pub(crate) vocab: usize,
    pub(crate) seed: u64,
    /// How much the end of the sentence is favoured, in nats.
    pub(crate) eos_bonus: f32,
    /// Always follows itself, almost surely, once it has been produced.
    pub(crate) trap: Option<u32>,
    /// Whether there are attention weights.
    pub(crate) attends: bool,
    /// Rows computed so far.
    pub(crate) rows: AtomicUsize,
}

/// The special ids, as everywhere.
pub(crate) const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

/// The first id that stands for text.
pub(crate) const FIRST: u32 = 4;

/// One hypothesis: its source and what was produced, begin of sentence first.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    src: Vec<u32>,
    prefix: Vec<u32>,
}

impl Toy {
    pub(crate) fn new(vocab: usize, seed: u64) -> Self {
        Self { vocab, seed, eos_bonus: 0.0, trap: None, attends: true, rows: AtomicUsize::new(0) }
    }

    /// Log-probabilities of the next token, `[vocab]`.
    pub(crate) fn log_probs(&self, src: &[u32], prefix: &[u32]) -> Vec<f32> {
        let mut noise = Noise::new(self.seed, src, prefix);
        let mut logits: Vec<f32> = (0..self.vocab).map(|_| 4.0 * noise.uniform()).collect();
        logits[SPECIAL.eos as usize] += self.eos_bonus;
        if let Some(trap) = self.trap.filter(|trap| prefix.last() == Some(trap)) {
            logits[trap as usize] += 20.0;
        }
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        logits.iter().map(|&x| (f64::from(x) - total.ln()) as f32).collect()
    }

    /// Attention over `[src_len + 1]`.
    pub(crate) fn weights(&self, src: &[u32], prefix: &[u32]) -> Vec<f32> {
        if !self.attends {
            return Vec::new();
        }
        let mut noise = Noise::new(self.seed + 1, src, prefix);
        let raw: Vec<f32> = (0..=src.len()).map(|_| noise.uniform() + 0.1).collect();
        let total: f32 = raw.iter().sum();
        raw.iter().map(|x| x / total).collect()
    }

    /// Log-probabilities of the tokens of `ids` and of its end.
    pub(crate) fn token_log_probs(&self, src: &[u32], ids: &[u32]) -> Vec<f32> {
        let mut prefix = vec![SPECIAL.bos];
        let mut log_probs = Vec::new();
        for &id in ids.iter().chain([&SPECIAL.eos]) {
            log_probs.push(self.log_probs(src, &prefix)[id as usize]);
            prefix.push(id);
        }
        log_probs
    }
}

impl EncoderDecoder for Toy {
    type State = Vec<Row>;

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn special(&self) -> Special {
        SPECIAL
    }

    fn start(&self, src: &[Vec<u32>]) -> Result<Vec<Row>> {
        Ok(src.iter().map(|src| Row { src: src.clone(), prefix: Vec::new() }).collect())
    }

    fn read(&self, state: &mut Vec<Row>, last: &[u32]) -> Result<()> {
        assert_eq!(state.len(), last.len(), "one token for each row");
        self.rows.fetch_add(last.len(), Ordering::Relaxed);
        state.iter_mut().zip(last).for_each(|(row, &token)| row.prefix.push(token));
        Ok(())
    }

    fn predict(&self, state: &mut Vec<Row>, rows: Range<usize>, step: &mut Step) -> Result<()> {
        let rows = &state[rows];
        let log_probs = rows.iter().flat_map(|row| self.log_probs(&row.src, &row.prefix));
        let weights = rows.iter().map(|row| self.weights(&row.src, &row.prefix));
        *step = Step::of_log_probs(log_probs.collect(), self.vocab, weights.collect());
        Ok(())
    }

    fn select(&self, state: &mut Vec<Row>, rows: &[usize]) -> Result<()> {
        *state = rows.iter().map(|&row| state[row].clone()).collect();
        Ok(())
    }
}

/// A stream of numbers that depends on everything it is made from (SplitMix64's mixing steps,
/// Steele, Lea and Flood, 2014).
struct Noise(u64);

impl Noise {
    fn new(seed: u64, src: &[u32], prefix: &[u32]) -> Self {
        let mut noise = Self(seed);
        for word in src.iter().chain([&u32::MAX]).chain(prefix) {
            noise.0 = noise.word() ^ u64::from(*word);
        }
        noise
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn uniform(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u32 << 24) as f32
    }
}

#[test]
fn the_toy_is_a_distribution_that_depends_on_all_it_sees() {
    let toy = Toy::new(11, 1);
    let base = toy.log_probs(&[5, 6], &[2, 7]);
    let total: f64 = base.iter().map(|&x| f64::from(x).exp()).sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");
    for (src, prefix) in [(&[5, 7][..], &[2, 7][..]), (&[5, 6], &[2, 8]), (&[5, 6, 2], &[7])] {
        assert_ne!(base, toy.log_probs(src, prefix));
    }
    assert_ne!(base, Toy::new(11, 2).log_probs(&[5, 6], &[2, 7]));
}
