//! Encoder–decoder networks: the interface that search needs.

/// Ids with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// Padding.
    pub pad: u32,
    /// What no token stands for.
    pub unk: u32,
    /// Begin of sentence.
    pub bos: u32,
    /// End of sentence.
    pub eos: u32,
}

/// What can go wrong in a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What search needs of a model.
pub trait EncoderDecoder {
    /// Encoded sentences and decoder state, one row per hypothesis.
    type State;
    /// Size of the target vocabulary.
    fn vocab(&self) -> usize;
    /// The ids with a meaning of their own.
    fn special(&self) -> Special;
    /// Encodes sentences (ids without BOS/EOS; the model appends EOS itself). One row per sentence.
    fn start(&self, src: &[Vec<u32>]) -> Result<Self::State>;
    /// One step for all rows: `last` are the tokens just produced (BOS at first).
    fn step(&self, state: &mut Self::State, last: &[u32]) -> Result<Step>;
    /// New row i is old row `rows[i]`; rows may repeat or be left out.
    fn select(&self, state: &mut Self::State, rows: &[usize]) -> Result<()>;
}

/// What the model says about the next token of every row.
#[derive(Clone, Debug)]
pub struct Step {
    /// `[rows, vocab]`, row by row.
    pub log_probs: Vec<f32>,
    /// Per row: attention over `[src_len + 1]`, the last entry the source's EOS; empty without attention.
    pub weights: Vec<Vec<f32>>,
}
