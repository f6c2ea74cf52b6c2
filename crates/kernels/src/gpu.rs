//! Operations on a graphics processor, on Candle's tape: kernels of our own in `cuda/`, products by
//! cuBLAS.
//!
//! | operation | what it computes | plain definition |
//! |---|---|---|
//! | [`affine()`] | `x Wᵀ + b` | Candle's `matmul` |
//! | [`normalise`] | layer norm and RMS norm | [`crate::norm::reference`] |
//! | [`drop_and_add`], [`dropout_factors`] | dropout and a residual connection | [`crate::dropout`] |
//! | [`activate`] | an activation, plain or gated, with dropout | [`crate::activation::reference`] |
//! | [`embed`] | words with positions and dropout | [`crate::positions`] |
//! | [`attention`] | attention in heads over packed rows | `attn::multi_head::reference` |
//! | [`cross_entropy()`] | projection and label-smoothed loss | [`crate::cross_entropy::reference`] |
//! | [`recurrent`] | the gates of an LSTM or GRU step | [`crate::recurrent::reference`] |
//! | [`adam`] | an optimizer's update in place | `train::Optimizer` |
//! | [`Linear`] | `x Wᵀ + b` and what follows, with one order of summation | [`crate::affine`] |
//! | [`luong`] | a step of Luong's attention | `attn::Kernel` |
//! | [`search`] | a step of search: attention to what was read, the best tokens | `attn::multi_head` |
//!
//! Numbers are `f32` or `bf16`; parameters of norms and biases, statistics and sums are `f32`
//! always. Dropout draws the masks of the CPU. No sum depends on the order in which threads come
//! to it, so the same input gives the same bits.
//!
//! Tensors are on a GPU, in a build with the feature `cuda`. Tests run the same kernels on tensors
//! of the CPU through [`install_host`]: the crate `emulator` does that.

mod activation;
pub mod adam;
mod affine;
mod array;
pub mod attention;
mod cross_entropy;
mod device;
#[cfg(feature = "cuda")]
mod driver;
mod dropout;
mod embedding;
mod grid;
mod launch;
pub mod luong;
mod norm;
mod operation;
mod product;
pub mod recurrent;
pub mod search;
mod sums;

pub use self::activation::activate;
pub use self::affine::affine;
pub use self::cross_entropy::cross_entropy;
pub use self::device::{
    Description, Found, OLDEST, find, open, out_of_memory, tensor_cores_for_f32,
};
pub use self::dropout::{drop_and_add, factors as dropout_factors};
pub use self::embedding::{Embedding, Occurrences, embed};
pub use self::launch::{Host, HostLaunch, install_host};
pub use self::norm::normalise;
pub use self::product::Linear;
pub use self::sums::{Clip, clip, norm as gradient_norm};
