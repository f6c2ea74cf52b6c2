//! Which GPUs there are, and opening one.

use candle_core::{Device, Result};

/// A GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its model.
    pub name: String,
    /// Bytes of memory, in all and free.
    pub memory: [u64; 2],
    /// Major and minor number of its compute capability.
    pub capability: [u32; 2],
}

/// What is known of GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This build cannot use any.
    NotBuilt,
    /// The driver says why there are none.
    None(String),
    /// One after the other, by number; of one that does not answer, why.
    Some(Vec<std::result::Result<Description, String>>),
}

/// The oldest compute capability that the kernels of a build run on.
pub const OLDEST: [u32; 2] = [8, 0];

impl Description {
    /// Whether the kernels of this build run there, and that with products in bfloat16.
    pub fn fits(&self) -> bool {
        self.capability >= OLDEST
    }
}

/// Looks for GPUs. Never fails: it says what it found.
pub fn find() -> Found {
    #[cfg(feature = "cuda")]
    {
        super::driver::find()
    }
    #[cfg(not(feature = "cuda"))]
    {
        Found::NotBuilt
    }
}

/// Opens GPU number `ordinal` for computing: with one stream of work, whatever thread gives it, and
/// memory that stays with the process.
///
/// # Errors
/// If this build has no CUDA, or the driver or the GPU does not answer.
pub fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    #[cfg(feature = "cuda")]
    super::driver::prepare(&device)?;
    Ok(device)
}

/// Whether the library's products in `f32` are computed from now on by tensor cores, of factors that are
/// rounded to TF32 (an exponent of eight bits, a fraction of ten).
pub fn tensor_cores_for_f32(on: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(on);
}

/// Whether an error says that a GPU has no memory left.
pub fn out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY") {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_older_than_the_kernels_does_not_fit() {
        let of = |capability| Description { name: String::new(), memory: [0; 2], capability };
        assert!([[8, 0], [8, 6], [9, 0], [12, 0]].map(of).iter().all(Description::fits));
        assert!(![[7, 5], [6, 1]].map(of).iter().any(Description::fits));
    }

    #[test]
    fn a_lack_of_memory_is_told_from_other_errors() {
        let error = |text: &str| candle_core::Error::msg(text).context("while training");
        assert!(out_of_memory(&error("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")));
        assert!(!out_of_memory(&error("DriverError(CUDA_ERROR_LAUNCH_FAILED, \"\")")));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert_eq!(find(), Found::NotBuilt);
        assert!(open(0).is_err());
    }
}
