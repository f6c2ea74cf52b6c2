//! Random numbers that can be replayed: the counter-based generator Philox4x32-10.
//!
//! Salmon, Moraes, Dror and Shaw (2011), “Parallel Random Numbers: As Easy as 1, 2, 3”. Number
//! `i` is a function of (seed, purpose, step, site, `i`) and of nothing before it: a dropout
//! mask is not stored but computed again, a resumed run needs no generator state, and any
//! thread or device can compute any part.

/// What random numbers are for. Different purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial values of parameters.
    Init = 1,
    /// The order of the training data.
    Shuffle = 2,
    /// Activations to drop.
    Dropout = 3,
    /// Tokens to draw while translating.
    Sampling = 4,
    /// The subwords that training sentences are cut into.
    Subwords = 5,
}

/// A family of random numbers, addressed by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    seed: u64,
    purpose: Purpose,
    step: u64,
    site: u32,
}

/// Whether a network trains, with the random numbers of this update, or is only used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout is on; its masks come from these numbers.
    Train(Random),
    /// Dropout is off and nothing is kept for a backward pass.
    Eval,
}

impl Random {
    /// Numbers for `purpose` at `step` (an update, an epoch or a sentence).
    pub fn new(seed: u64, purpose: Purpose, step: u64) -> Self {
        Self { seed, purpose, step, site: 0 }
    }

    /// The family of one place within a step: a layer, a parameter, a sentence.
    pub fn at(self, site: u32) -> Self {
        Self { site, ..self }
    }

    /// Four random words: block `index` of the family.
    #[inline]
    pub fn block(&self, index: u32) -> [u32; 4] {
        philox::<ROUNDS>(self.counter(index), self.key())
    }

    pub(crate) fn counter(&self, index: u32) -> [u32; 4] {
        let step_high = (self.step >> 32) as u32 & 0x00ff_ffff;
        [index, self.site, self.step as u32, ((self.purpose as u32) << 24) | step_high]
    }

    pub(crate) fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// The family's blocks, sixteen at a time.
    pub fn lanes(&self) -> Lanes {
        Lanes(*self)
    }

    /// The sequence of the family's numbers, from its first.
    pub fn stream(self) -> Stream {
        Stream { random: self, block: 0, words: [0; 4], used: 4 }
    }
}

/// Blocks of a [`Random`] side by side, for code that runs in vector registers.
///
/// They come from seven rounds of Philox instead of ten: the fewest that pass all statistical
/// tests of the paper (table 2), and enough for masks, of which many are drawn. So they are
/// other numbers than those of [`Random::block`].
#[derive(Clone, Copy, Debug)]
pub struct Lanes(Random);

impl Lanes {
    /// Blocks `first` to `first + 15`: `words[w][lane]` is word `w` of block `first + lane`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // a lane is the same place in several arrays
    pub fn words(&self, first: u32) -> [[u32; 16]; 4] {
        // A word is the lower half of 64 bits, which is where a vector multiplication expects
        // its factors; the upper half is not looked at.
        let mut counter = [[0u64; 16]; 4];
        for lane in 0..16 {
            counter[0][lane] = u64::from(first.wrapping_add(lane as u32));
        }
        let rest = self.0.counter(0);
        for word in 1..4 {
            counter[word] = [u64::from(rest[word]); 16];
        }
        let mut key = self.0.key();
        for round in 0..FEW_ROUNDS {
            if round > 0 {
                key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
            }
            for lane in 0..16 {
                let first = u64::from(MULTIPLIER[0]) * (counter[0][lane] & LOWER);
                let second = u64::from(MULTIPLIER[1]) * (counter[2][lane] & LOWER);
                counter[0][lane] = (second >> 32) ^ counter[1][lane] ^ u64::from(key[0]);
                counter[1][lane] = second;
                counter[2][lane] = (first >> 32) ^ counter[3][lane] ^ u64::from(key[1]);
                counter[3][lane] = first;
            }
        }
        // Loops, as `array::map` is not compiled for the instruction set of its caller.
        let mut words = [[0; 16]; 4];
        for (words, counter) in words.iter_mut().zip(&counter) {
            for (word, counter) in words.iter_mut().zip(counter) {
                *word = *counter as u32;
            }
        }
        words
    }
}

/// The numbers of a [`Random`] one after another.
#[derive(Clone, Debug)]
pub struct Stream {
    random: Random,
    block: u32,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The next 32 bits.
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.words = self.random.block(self.block);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A number in `[0, 1)`, a multiple of `2⁻²⁴`.
    pub fn uniform(&mut self) -> f32 {
        unit(self.word())
    }

    /// A number in `[0, 1)`, a multiple of `2⁻⁵³`.
    pub fn uniform_f64(&mut self) -> f64 {
        let bits = (u64::from(self.word()) << 21) ^ (u64::from(self.word()) >> 11);
        bits as f64 / (1u64 << 53) as f64
    }

    /// A number from the standard normal distribution (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform_f64()).cos()
    }

    /// An integer in `0..bound`, each equally likely.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a size fits 64 bits");
        assert!(bound > 0, "no integer lies below zero");
        // Draws that fall into the incomplete last repetition of `0..bound` are drawn again.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = (u64::from(self.word()) << 32) | u64::from(self.word());
            if draw < limit {
                return (draw % bound) as usize;
            }
        }
    }

    /// Puts `items` into a random order, each equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The number in `[0, 1)` that the upper 24 bits of a word stand for.
#[inline(always)]
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / (1u32 << 24) as f32
}

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// Rounds of a block on its own: the paper's choice, with a margin of safety.
const ROUNDS: usize = 10;
/// Rounds of the blocks in [`Lanes`].
const FEW_ROUNDS: usize = 7;
/// The lower half of a 64-bit word.
const LOWER: u64 = 0xffff_ffff;

#[inline(always)]
fn philox<const ROUNDS: usize>(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let first = u64::from(MULTIPLIER[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIER[1]) * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with their implementation (Random123).
    #[test]
    fn agrees_with_the_published_vectors() {
        const PI: ([u32; 4], [u32; 2]) =
            ([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
        let ten = philox::<10>;
        assert_eq!(ten([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            ten([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(ten(PI.0, PI.1), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
        let seven = philox::<7>;
        assert_eq!(seven([0; 4], [0; 2]), [0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48]);
        assert_eq!(
            seven([u32::MAX; 4], [u32::MAX; 2]),
            [0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662]
        );
        assert_eq!(seven(PI.0, PI.1), [0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a]);
    }

    #[test]
    fn lanes_are_blocks_of_seven_rounds() {
        for random in [Random::new(5, Purpose::Dropout, 9), Random::new(!0, Purpose::Init, !0)] {
            let random = random.at(0x8000_0003);
            let words = random.lanes().words(u32::MAX - 7);
            for lane in 0..16 {
                let index = (u32::MAX - 7).wrapping_add(lane as u32);
                let block = philox::<7>(random.counter(index), random.key());
                assert_eq!(block, words.map(|words| words[lane]));
            }
        }
    }

    #[test]
    fn purposes_steps_and_sites_do_not_share_numbers() {
        let base = Random::new(7, Purpose::Dropout, 3);
        let others = [
            Random::new(8, Purpose::Dropout, 3),
            Random::new(7, Purpose::Init, 3),
            Random::new(7, Purpose::Dropout, 4),
            Random::new(7, Purpose::Dropout, 3 + (1 << 32)),
            base.at(1),
        ];
        for other in others {
            assert_ne!(base.block(0), other.block(0), "{other:?}");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_every_order_comes_up() {
        let mut stream = Random::new(1, Purpose::Shuffle, 0).stream();
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            stream.shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        // 1,000 expected of each; the standard deviation is 29.
        assert!(seen.values().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut stream = Random::new(1, Purpose::Init, 0).stream();
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
