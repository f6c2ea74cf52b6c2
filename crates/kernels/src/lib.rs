//! Fused, differentiable tensor operations on Candle's tape, and the loops they are made of.

pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gradient;
pub mod linear;
pub mod matmul;
pub mod operation;
pub mod random;
mod real;
pub mod recurrent;
pub mod simd;
pub mod slices;
pub mod storage;

pub use operation::{Operation, Output, apply};
pub use random::{Mode, Purpose, Random};
pub use real::Real;
