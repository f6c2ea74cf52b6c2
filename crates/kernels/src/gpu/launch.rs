//! A kernel with its parameters: sent to the GPU, or run on the host.

use std::ffi::c_void;
use std::sync::OnceLock;

use candle_core::{DType, Device, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use crate::dropout::Mask;

/// What runs kernels on tensors of the CPU, for tests.
pub trait Host: Sync {
    /// Runs a kernel over its grid.
    ///
    /// # Errors
    /// What is wrong with the kernel or with this launch of it.
    fn run(&self, launch: &HostLaunch) -> std::result::Result<(), String>;
}

/// A kernel, as `cuLaunchKernel` would get it.
#[derive(Debug)]
pub struct HostLaunch<'a> {
    /// Its name.
    pub kernel: &'a str,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Shared memory of a block that is not the kernel's own.
    pub shared_bytes: u32,
    /// Where each parameter lies.
    pub params: &'a [*mut c_void],
}

static HOST: OnceLock<&'static dyn Host> = OnceLock::new();

/// Lets kernels on tensors of the CPU run on the host from now on. Without it they are refused.
pub fn install_host(host: &'static dyn Host) {
    // A second call brings the same host again.
    let _ = HOST.set(host);
}

/// Whether the operations of this module work on a device.
pub(super) fn check(device: &Device) -> Result<()> {
    match device {
        Device::Cpu if HOST.get().is_some() => Ok(()),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => Ok(()),
        _ => bail!("this build has no kernels for {device:?}"),
    }
}

/// A parameter of a kernel, laid out as in C.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Value {
    bytes: [u8; 48],
    used: usize,
}

impl Default for Value {
    fn default() -> Self {
        Self { bytes: [0; 48], used: 0 }
    }
}

impl Value {
    /// Appends a member of a structure, aligned to its size.
    fn push(mut self, member: &[u8]) -> Self {
        let start = self.used.next_multiple_of(member.len());
        self.bytes[start..start + member.len()].copy_from_slice(member);
        self.used = start + member.len();
        self
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.push(&value.to_ne_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.push(&value.to_ne_bytes())
    }

    pub(super) fn f32(self, value: f32) -> Self {
        self.push(&value.to_ne_bytes())
    }
}

/// A kernel and its parameters, in order.
pub(super) struct Launch<'a> {
    kernel: String,
    device: Device,
    shared_bytes: u32,
    values: Vec<Value>,
    /// Keeps what is read from being freed or written meanwhile.
    held: Vec<StorageRef<'a>>,
}

impl<'a> Launch<'a> {
    /// A kernel for one type of numbers, or for none in particular.
    pub(super) fn new(kernel: &str, device: &Device) -> Self {
        let (kernel, device) = (kernel.into(), device.clone());
        Self { kernel, device, shared_bytes: 0, values: Vec::new(), held: Vec::new() }
    }

    /// The kernel of this name for numbers of this type.
    pub(super) fn of(kernel: &str, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self::new(&format!("{kernel}_{}", suffix(dtype)?), device))
    }

    /// The same with shared memory for so many numbers.
    pub(super) fn shared(mut self, floats: usize) -> Self {
        self.shared_bytes = (floats * size_of::<f32>()) as u32;
        self
    }

    /// Where the numbers of a tensor begin. Rows may be apart, columns may not.
    pub(super) fn address(&mut self, tensor: &'a Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        let columns = layout.stride().last();
        if columns.is_some_and(|&stride| stride != 1) && layout.shape().elem_count() > 1 {
            bail!("{}: strides {:?} of columns that are apart", self.kernel, layout.stride())
        }
        let address = address(&storage, layout, &self.device)?;
        self.held.push(storage);
        Ok(address)
    }

    /// A tensor that the kernel reads, contiguous.
    pub(super) fn input(mut self, tensor: &'a Tensor) -> Result<Self> {
        if !tensor.is_contiguous() {
            bail!("{}: a tensor of strides {:?}", self.kernel, tensor.stride())
        }
        let address = self.address(tensor)?;
        Ok(self.value(Value::default().u64(address)))
    }

    /// A tensor that the kernel reads, or a null pointer.
    pub(super) fn optional(self, tensor: Option<&'a Tensor>) -> Result<Self> {
        match tensor {
            Some(tensor) => self.input(tensor),
            None => Ok(self.u64(0)),
        }
    }

    /// Memory that the kernel writes.
    pub(super) fn output(self, array: &'a mut Array) -> Result<Self> {
        let address = array.address()?;
        Ok(self.u64(address))
    }

    /// A structure, or a pointer from [`in_place`].
    pub(super) fn value(mut self, value: Value) -> Self {
        self.values.push(value);
        self
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.value(Value::default().u64(value))
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.value(Value::default().u32(value))
    }

    pub(super) fn f32(self, value: f32) -> Self {
        self.value(Value::default().f32(value))
    }

    /// A dropout mask; none drops nothing.
    pub(super) fn mask(self, mask: Option<&Mask>) -> Self {
        let mut value = Value::default();
        let (words, scale) = mask.map_or(([0; 6], 1.0), Mask::parts);
        for word in words {
            value = value.u32(word);
        }
        self.value(value.f32(scale))
    }

    /// Runs it, or on a GPU puts it in line.
    pub(super) fn run(mut self, grid: Grid) -> Result<()> {
        let values = self.values.iter_mut();
        let params: Vec<_> = values.map(|value| value.bytes.as_mut_ptr().cast()).collect();
        let launch = HostLaunch {
            kernel: &self.kernel,
            grid: grid.blocks,
            block: grid.threads,
            shared_bytes: self.shared_bytes,
            params: &params,
        };
        match (&self.device, HOST.get()) {
            (Device::Cpu, Some(host)) => host.run(&launch).map_err(candle_core::Error::msg),
            #[cfg(feature = "cuda")]
            (Device::Cuda(device), _) => super::driver::launch(device, &launch),
            (device, _) => bail!("this build has no kernels for {device:?}"),
        }
    }
}

/// What the name of a kernel ends in.
fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        _ => bail!("kernels of a GPU compute with F32 and BF16, not with {dtype:?}"),
    }
}

/// Where the numbers of a storage begin that a layout tells of.
fn address(storage: &Storage, layout: &Layout, device: &Device) -> Result<u64> {
    use candle_core::CpuStorage::{BF16, F32, F64, U32};
    let base = match (storage, device) {
        (Storage::Cpu(F32(values)), Device::Cpu) => values.as_ptr() as u64,
        (Storage::Cpu(BF16(values)), Device::Cpu) => values.as_ptr() as u64,
        (Storage::Cpu(F64(values)), Device::Cpu) => values.as_ptr() as u64,
        (Storage::Cpu(U32(values)), Device::Cpu) => values.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        (Storage::Cuda(storage), Device::Cuda(_)) => super::driver::address(storage)?,
        (storage, _) => bail!("a kernel on {device:?} cannot read {:?}", storage.device()),
    };
    Ok(base + (layout.start_offset() * storage.dtype().size_in_bytes()) as u64)
}

/// Lets `f` write the numbers of a contiguous tensor, given where they begin.
pub(super) fn in_place(tensor: &Tensor, f: impl Fn(u64) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&InPlace(f))
}

struct InPlace<F>(F);

impl<F: Fn(u64) -> Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in-place"
    }

    fn cpu_fwd(&self, storage: &mut candle_core::CpuStorage, layout: &Layout) -> Result<()> {
        use candle_core::CpuStorage::{BF16, F32};
        let (base, size) = match storage {
            F32(values) => (values.as_mut_ptr() as u64, size_of::<f32>()),
            BF16(values) => (values.as_mut_ptr() as u64, size_of::<half::bf16>()),
            _ => bail!("kernels write no such storage"),
        };
        self.at(base, size, layout)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
        let size = candle_core::backend::BackendStorage::dtype(storage).size_in_bytes();
        self.at(super::driver::address(storage)?, size, layout)
    }
}

impl<F: Fn(u64) -> Result<()>> InPlace<F> {
    fn at(&self, base: u64, size: usize, layout: &Layout) -> Result<()> {
        let Some((start, _)) = layout.contiguous_offsets() else {
            bail!("a tensor of strides {:?} cannot be written in place", layout.stride())
        };
        (self.0)(base + (start * size) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C compiler lays it out: pointers at multiples of eight, words at multiples of four.
    #[test]
    fn members_of_a_structure_are_aligned() {
        let value = Value::default().u32(1).u64(2).u32(3).f32(1.0);
        assert_eq!(value.used, 24);
        let word = |at: usize| u32::from_ne_bytes(value.bytes[at..at + 4].try_into().unwrap());
        assert_eq!([0, 8, 16, 20].map(word), [1, 2, 3, 1f32.to_bits()]);
    }

    #[test]
    fn numbers_without_kernels_are_refused() {
        let message = suffix(DType::F64).unwrap_err().to_string();
        assert!(message.contains("F64"), "{message}");
    }
}
