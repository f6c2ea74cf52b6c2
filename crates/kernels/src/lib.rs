//! Fused, differentiable tensor operations on Candle's tape, and the loops they are made of.
//!
//! | operation | what it computes | types | backward | bench |
//! |---|---|---|---|---|
//! | [`recurrent`](recurrent::recurrent) | an LSTM or GRU layer over packed sentences | any | yes | `model` `rnn` |
//! | [`cross_entropy`](cross_entropy::cross_entropy) | projection and label-smoothed loss, a chunk of logits at a time | any | yes | `model` `rnn` |
//! | [`linear`](linear::linear) | `x Wᵀ + b`, with or without tanh | any | yes | `matmul` |
//! | [`embedding`](embedding::embedding) | rows of a table | any | yes | |
//! | [`dropout`](dropout::dropout) | dropout with a computed mask | any | yes | `parts` |
//! | [`norm`](norm::normalise) | layer norm and RMS norm | any | yes | `parts` |
//!
//! A type is any [`Real`]: `f32`, `f64`, or [`Mixed`], which is `f32` with products in bfloat16.
//! All run on the CPU, on any number of threads, with bits that do not depend on it. The plain
//! definitions beside them ([`recurrent::reference`], [`cross_entropy::reference`],
//! [`matmul::reference`]) run on any device.
//!
//! | part | what it is for |
//! |---|---|
//! | [`matmul`] | matrix products in one fixed order of summation |
//! | [`quantized`] | linear layers with weights of eight bits, for translating |
//! | [`logits`] | scores of a vocabulary, and what a product finds out of them at once |
//! | [`activation`] | ReLU, GELU and Swish, plain and gated, forward and backward |
//! | [`operation`] | operations with any number of inputs on Candle's tape |
//! | [`positions`] | words with their positions: scaled embeddings, sinusoidal table |
//! | [`affine`], [`activation`], [`positions`] | what sublayers are made of, over slices |
//! | [`random`] | random numbers that can be replayed; [`Mode`] |
//! | [`slices`], [`simd`] | loops, compiled for each instruction set |
//! | [`storage`] | tensors as slices |
//! | [`memory`] | what the allocator does with freed memory |
//! | [`gpu`] | the same operations on a graphics processor |
//! | [`gradient`] | finite differences, for tests |

pub mod activation;
pub mod affine;
pub mod cross_entropy;
mod deferred;
pub mod dropout;
pub mod embedding;
pub mod gpu;
pub mod gradient;
pub mod linear;
pub mod logits;
pub mod matmul;
pub mod memory;
mod mixed;
pub mod norm;
pub mod operation;
pub mod positions;
pub mod quantized;
pub mod random;
mod real;
pub mod recurrent;
pub mod simd;
pub mod slices;
pub mod storage;

pub use deferred::Deferred;
pub use mixed::Mixed;
pub use operation::{Operation, Output, apply};
pub use random::{Mode, Purpose, Random};
pub use real::Real;
