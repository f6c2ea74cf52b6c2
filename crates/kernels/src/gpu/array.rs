//! Memory that a kernel writes, before it is a tensor.

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor, bail};
use half::bf16;

/// Numbers on a device, to be written by a kernel.
#[derive(Debug)]
pub(super) struct Array {
    storage: Storage,
    shape: Shape,
}

impl Array {
    /// Numbers of any value: a kernel writes them all. On the host they are NaNs, or no
    /// index of anything, so that one that was forgotten shows.
    pub(super) fn new(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Self> {
        let shape = shape.into();
        let n = shape.elem_count();
        let storage = match device {
            Device::Cpu => Storage::Cpu(match dtype {
                DType::F32 => CpuStorage::F32(vec![f32::NAN; n]),
                DType::BF16 => CpuStorage::BF16(vec![bf16::NAN; n]),
                DType::F64 => CpuStorage::F64(vec![f64::NAN; n]),
                DType::U32 => CpuStorage::U32(vec![u32::MAX; n]),
                _ => bail!("kernels write no {dtype:?}"),
            }),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Storage::Cuda(super::driver::alloc(device, dtype, n)?),
            _ => bail!("this build has no kernels for {device:?}"),
        };
        Ok(Self { storage, shape })
    }

    /// Where its numbers begin.
    pub(super) fn address(&mut self) -> Result<u64> {
        Ok(match &mut self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => values.as_mut_ptr() as u64,
            Storage::Cpu(CpuStorage::BF16(values)) => values.as_mut_ptr() as u64,
            Storage::Cpu(CpuStorage::F64(values)) => values.as_mut_ptr() as u64,
            Storage::Cpu(CpuStorage::U32(values)) => values.as_mut_ptr() as u64,
            #[cfg(feature = "cuda")]
            Storage::Cuda(storage) => super::driver::address(storage)?,
            _ => bail!("kernels write no such storage"),
        })
    }

    /// The tensor that it has become, not on the tape.
    pub(super) fn into_tensor(self) -> Tensor {
        Tensor::from_storage(self.storage, self.shape, BackpropOp::none(), false)
    }
}
