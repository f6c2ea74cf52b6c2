//! A tensor's numbers as a slice, and a slice's numbers as a tensor.

use std::ops::Deref;

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};

use crate::Real;

/// The numbers of a contiguous tensor on the CPU, row by row.
///
/// # Errors
/// If the tensor is not contiguous or of another type than `T`.
pub fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a fused operation needs contiguous tensors, found strides {:?}", layout.stride())
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Lets `f` read the numbers of a contiguous tensor on the CPU.
///
/// # Errors
/// If the tensor is on another device, not contiguous, or of another type than `T`.
pub fn with_slice<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match storage.deref() {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("a fused operation of the CPU was given a tensor on {:?}", tensor.device()),
    }
}

/// A copy of the numbers of any tensor, row by row.
///
/// # Errors
/// If the tensor is of another type than `T`.
pub fn to_vec<T: Real>(tensor: &Tensor) -> Result<Vec<T>> {
    tensor.flatten_all()?.to_vec1::<T>()
}

/// A tensor on the CPU that holds `values`, without a copy.
///
/// # Errors
/// If `shape` has another number of elements.
pub fn tensor<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}
