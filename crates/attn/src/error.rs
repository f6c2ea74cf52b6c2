//! What can go wrong when attending.

/// Why a layer cannot attend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration says `kind = "none"`: there is nothing to build.
    #[error("a layer was asked for, but the attention's kind is none")]
    NoAttention,

    /// The dot score was given vectors of two sizes.
    #[error(
        "the dot score needs queries and states of one size, found {dim} and {memory_dim}: \
         choose the general score"
    )]
    DotSizes {
        /// Size of a query.
        dim: usize,
        /// Size of an encoder state.
        memory_dim: usize,
    },

    /// A slice or a list is longer or shorter than the sizes ask for.
    #[error("{what}: found {found}, expected {expected}")]
    Length {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },

    /// Sentence offsets that do not start at zero or that fall.
    #[error("sentence offsets must start at 0 and never fall: offset {index} does not")]
    Offsets {
        /// The first offset that is wrong.
        index: usize,
    },

    /// A query that names a sentence which is not there.
    #[error("query {row} looks at sentence {sentence}, but there are {sentences}")]
    Sentence {
        /// The query.
        row: usize,
        /// The sentence it names.
        sentence: usize,
        /// How many there are.
        sentences: usize,
    },

    /// A head with an odd number of columns cannot be rotated in pairs.
    #[error("rotary positions turn pairs of columns, but a head has {head_dim}")]
    OddHead {
        /// Columns of a head.
        head_dim: usize,
    },

    /// A mask that was made for another batch.
    #[error("the mask is {mask:?}, but the states are {states:?}")]
    MaskMismatch {
        /// `(batch, src_len)` of the mask.
        mask: (usize, usize),
        /// `(batch, src_len)` of the states.
        states: (usize, usize),
    },

    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
