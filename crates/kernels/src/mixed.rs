//! The number of mixed precision: an `f32` whose matrix products round their factors to bfloat16.
//!
//! Micikevicius et al. (2018), “Mixed Precision Training”, keep weights and sums in `f32` and
//! multiply in a type of half the size; Kalamkar et al. (2019), “A Study of BFLOAT16 for Deep
//! Learning Training”, show that bfloat16, which has the range of `f32`, needs no loss scaling.
//! Here the choice is a type: an operation that is generic over [`Real`] runs in mixed precision
//! as `operation::<Mixed>`. Its tensors stay tensors of `f32`, everything outside of products is
//! the arithmetic of `f32` to the bit, and [`matmul`](crate::matmul) says what a product is.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{
    Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Rem, RemAssign, Sub, SubAssign,
};

use candle_core::cpu::kernels::VecOps;
use candle_core::scalar::Scalar;
use candle_core::{CpuStorage, CpuStorageRef, DType, Result, WithDType};
use num_traits::{Num, One, Zero};

use crate::Real;
use crate::logits::Depth;

/// Stored and added as `f32`, multiplied in matrix products as bfloat16.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Mixed(f32);

impl Mixed {
    /// The same numbers under the other name.
    pub fn slice(values: &[f32]) -> &[Self] {
        // SAFETY: `Mixed` is a transparent wrapper of `f32`.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }

    /// [`Self::slice`], to write to.
    pub fn slice_mut(values: &mut [f32]) -> &mut [Self] {
        // SAFETY: as in `slice`, and nobody else has the numbers meanwhile.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
    }

    /// The same numbers under their plain name.
    pub fn plain(values: &[Self]) -> &[f32] {
        // SAFETY: as in `slice`.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }

    /// [`Self::plain`], to write to.
    fn plain_mut(values: &mut [Self]) -> &mut [f32] {
        // SAFETY: as in `slice_mut`.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
    }

    /// The same memory under the other name.
    fn vec(values: Vec<f32>) -> Vec<Self> {
        let mut values = ManuallyDrop::new(values);
        let (start, len, capacity) = (values.as_mut_ptr(), values.len(), values.capacity());
        // SAFETY: `Mixed` is a transparent wrapper of `f32`, and the memory has one owner still.
        unsafe { Vec::from_raw_parts(start.cast(), len, capacity) }
    }

    /// The same memory under its plain name.
    fn plain_vec(values: Vec<Self>) -> Vec<f32> {
        let mut values = ManuallyDrop::new(values);
        let (start, len, capacity) = (values.as_mut_ptr(), values.len(), values.capacity());
        // SAFETY: as in `vec`.
        unsafe { Vec::from_raw_parts(start.cast(), len, capacity) }
    }
}

impl From<f32> for Mixed {
    #[inline(always)]
    fn from(value: f32) -> Self {
        Self(value)
    }
}

impl From<Mixed> for f32 {
    #[inline(always)]
    fn from(value: Mixed) -> Self {
        value.0
    }
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! arithmetic {
    ($($operator:ident::$method:ident, $assign:ident::$assign_method:ident;)*) => {$(
        impl $operator for Mixed {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self($operator::$method(self.0, other.0))
            }
        }
        impl $assign for Mixed {
            #[inline(always)]
            fn $assign_method(&mut self, other: Self) {
                $assign::$assign_method(&mut self.0, other.0);
            }
        }
    )*};
}

arithmetic! {
    Add::add, AddAssign::add_assign;
    Sub::sub, SubAssign::sub_assign;
    Mul::mul, MulAssign::mul_assign;
    Div::div, DivAssign::div_assign;
    Rem::rem, RemAssign::rem_assign;
}

impl Neg for Mixed {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Zero for Mixed {
    #[inline(always)]
    fn zero() -> Self {
        Self(0.0)
    }
    #[inline(always)]
    fn is_zero(&self) -> bool {
        self.0 == 0.0
    }
}

impl One for Mixed {
    #[inline(always)]
    fn one() -> Self {
        Self(1.0)
    }
}

impl Num for Mixed {
    type FromStrRadixErr = <f32 as Num>::FromStrRadixErr;
    fn from_str_radix(
        digits: &str,
        radix: u32,
    ) -> std::result::Result<Self, Self::FromStrRadixErr> {
        f32::from_str_radix(digits, radix).map(Self)
    }
}

impl VecOps for Mixed {
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(f32::min(self.0, other.0))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(f32::max(self.0, other.0))
    }
}

impl WithDType for Mixed {
    const DTYPE: DType = DType::F32;

    fn from_f64(value: f64) -> Self {
        Self(value as f32)
    }
    fn to_f64(self) -> f64 {
        f64::from(self.0)
    }
    fn to_scalar(self) -> Scalar {
        Scalar::F32(self.0)
    }
    fn cpu_storage_ref(values: &[Self]) -> CpuStorageRef<'_> {
        CpuStorageRef::F32(Self::plain(values))
    }
    fn to_cpu_storage_owned(values: Vec<Self>) -> CpuStorage {
        CpuStorage::F32(Self::plain_vec(values))
    }
    fn cpu_storage_as_slice(storage: &CpuStorage) -> Result<&[Self]> {
        f32::cpu_storage_as_slice(storage).map(Self::slice)
    }
    fn cpu_storage_data(storage: CpuStorage) -> Result<Vec<Self>> {
        f32::cpu_storage_data(storage).map(Self::vec)
    }
}

impl Real for Mixed {
    const ZERO: Self = Self(0.0);
    const ONE: Self = Self(1.0);
    const LOWEST: Self = Self(f32::MIN);

    #[inline(always)]
    fn of(value: f64) -> Self {
        Self(f32::of(value))
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self(Real::mul_add(self.0, a.0, b.0))
    }
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        Self(Real::maximum(self.0, other.0))
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Self(Real::exp(self.0))
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Self(Real::tanh(self.0))
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Self(Real::ln(self.0))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(Real::sqrt(self.0))
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        Real::is_finite(self.0)
    }
    fn digest_chunks(depth: Depth, x: &[Self], peaks: &mut [Self], sums: &mut [Self]) -> usize {
        f32::digest_chunks(depth, Self::plain(x), Self::plain_mut(peaks), Self::plain_mut(sums))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::{slices, storage};

    #[test]
    fn a_tensor_of_mixed_numbers_is_a_tensor_of_f32() {
        let values: Vec<Mixed> = (0..6u8).map(|i| f32::from(i).into()).collect();
        let start = values.as_ptr().cast::<f32>();
        let tensor = storage::tensor(values, (2, 3)).unwrap();
        assert_eq!(tensor.dtype(), DType::F32);
        assert_eq!(tensor.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        storage::with_slice::<f32, _>(&tensor, |held| {
            assert_eq!(held.as_ptr(), start, "the numbers were copied");
            Ok(())
        })
        .unwrap();
        let back = storage::to_vec::<Mixed>(&tensor).unwrap();
        assert_eq!(Mixed::plain(&back), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn only_tensors_of_f32_are_read_as_mixed() {
        let tensor = Tensor::new(&[1.5f32, -2.0], &Device::Cpu).unwrap();
        storage::with_slice::<Mixed, _>(&tensor, |x| {
            assert_eq!(x, Mixed::slice(&[1.5, -2.0]));
            Ok(())
        })
        .unwrap();
        let double = tensor.to_dtype(DType::F64).unwrap();
        assert!(storage::with_slice::<Mixed, ()>(&double, |_| Ok(())).is_err());
    }

    #[test]
    fn outside_of_products_the_arithmetic_is_that_of_f32() {
        let x: Vec<f32> = (0..103).map(|i| (0.7 * i as f32).sin() * 3.0).collect();
        let y: Vec<f32> = (0..103).map(|i| (0.3 * i as f32).cos() + 0.1).collect();
        let (mut plain, mut mixed) = (x.clone(), Mixed::slice(&x).to_vec());
        assert_eq!(slices::dot(&x, &y), slices::dot(Mixed::slice(&x), Mixed::slice(&y)).0);
        slices::add_scaled(&mut plain, 0.3, &y);
        slices::add_scaled(&mut mixed, 0.3.into(), Mixed::slice(&y));
        assert_eq!(plain, Mixed::plain(&mixed));
        slices::softmax(&mut plain);
        slices::softmax(&mut mixed);
        assert_eq!(plain, Mixed::plain(&mixed));
        for (&x, &y) in x.iter().zip(&y) {
            let (a, b) = (Mixed(x), Mixed(y));
            let results = [a + b, a - b, a * b, a / b, a % b, -a, a.tanh(), a.maximum(b)];
            let expected =
                [x + y, x - y, x * y, x / y, x % y, -x, Real::tanh(x), Real::maximum(x, y)];
            assert_eq!(Mixed::plain(&results), expected);
        }
    }
}
