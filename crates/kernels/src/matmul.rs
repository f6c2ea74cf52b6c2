//! Matrix products whose every element is summed in one fixed order.
//!
//! `C[i, j]` is `fma(A[i, k], B[k, j], …)` over ascending `k`, starting from zero or from what
//! `C` holds: on every processor, for any number of threads, and whatever other rows and
//! columns the matrices have. That is what makes a sentence's translation independent of its
//! batch, and two runs with different thread counts equal to the last bit. It costs nothing: a
//! register tile accumulates in that order anyway, and a tile that continues a sum loads it.
//!
//! [`Mixed`] numbers are rounded to bfloat16 before they are multiplied, and terms are added in
//! pairs, of each pair the second first: the order of the instruction that multiplies pairs.
//! An odd number of terms is followed by a zero. `matmul/bf16.rs` says how it is made certain
//! that processors without the instruction get the same bits. [`reference`] is all of this in a
//! few lines.
//!
//! The loops follow Goto and van de Geijn (2008), “Anatomy of High-Performance Matrix
//! Multiplication”: the right operand is packed into panels as wide as the register tile; a
//! block of rows of the left operand stays in the second-level cache while the panels pass.
//!
//! [`Mixed`]: crate::Mixed

mod bf16;
mod job;
mod matrix;
mod micro;
mod pack;
#[cfg(test)]
mod tests;

use crate::Real;
use crate::logits::Digest;
use crate::simd::level;

pub use matrix::{Matrix, MatrixMut};
pub use micro::HasTile;
use micro::Tile;

/// Below this number of multiplications a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 18;

/// Where a product goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What was there is forgotten.
    Replace,
    /// The terms are added to what is there, one after another.
    Add,
}

/// What the sums of a product start from.
#[derive(Clone, Copy, Debug)]
enum Sums<'a, T> {
    FromZero,
    /// From what is there.
    GoOn,
    /// From the same numbers in every row.
    FromRow(&'a [T]),
}

impl<T> From<Target> for Sums<'_, T> {
    fn from(target: Target) -> Self {
        match target {
            Target::Replace => Self::FromZero,
            Target::Add => Self::GoOn,
        }
    }
}

/// A right operand, packed once for any number of products.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    /// Blocks of rows, in them panels of columns; see [`pack::right`].
    cells: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Real> Packed<T> {
    /// Packs `matrix`.
    pub fn new(matrix: Matrix<'_, T>) -> Self {
        let mut cells = Vec::new();
        pack::right(T::tile(level()), matrix, &mut cells);
        Self { cells, rows: matrix.rows, cols: matrix.cols }
    }

    /// Rows of the matrix: the depth of a product with it.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix and of a product with it.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// `C ← A B` or `C ← C + A B`.
///
/// # Panics
/// If the sizes do not fit together.
pub fn matmul<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, c: MatrixMut<'_, T>, target: Target) {
    matmul_on(T::tile(level()), a, b, c, target.into());
}

/// `C ← A B + b` with the same `b` in every row: the sum of each element starts from it.
///
/// # Panics
/// If the sizes do not fit together.
pub fn matmul_biased<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, bias: &[T], c: MatrixMut<'_, T>) {
    assert_eq!(bias.len(), c.cols, "bias: a number for each column");
    matmul_on(T::tile(level()), a, b, c, Sums::FromRow(bias));
}

/// [`matmul`] with a right operand that is packed already.
///
/// # Panics
/// If the sizes do not fit together.
pub fn matmul_packed<T: Real>(
    a: Matrix<'_, T>,
    b: &Packed<T>,
    c: MatrixMut<'_, T>,
    target: Target,
) {
    job::multiply(T::tile(level()), a, (&b.cells, b.rows, b.cols), c, target.into(), None);
}

/// [`matmul_biased`] with a right operand that is packed already.
///
/// # Panics
/// If the sizes do not fit together.
pub fn matmul_packed_biased<T: Real>(
    a: Matrix<'_, T>,
    b: &Packed<T>,
    bias: &[T],
    c: MatrixMut<'_, T>,
) {
    assert_eq!(bias.len(), c.cols, "bias: a number for each column");
    job::multiply(T::tile(level()), a, (&b.cells, b.rows, b.cols), c, Sums::FromRow(bias), None);
}

/// [`matmul_packed_biased`], whose rows are digested as they become whole.
///
/// # Panics
/// If the sizes do not fit together.
pub fn matmul_packed_logits<T: Real>(
    a: Matrix<'_, T>,
    b: &Packed<T>,
    bias: &[T],
    c: MatrixMut<'_, T>,
    digest: Digest<'_, T>,
) {
    assert_eq!(bias.len(), c.cols, "bias: a number for each column");
    let (right, sums) = ((&b.cells[..], b.rows, b.cols), Sums::FromRow(bias));
    job::multiply(T::tile(level()), a, right, c, sums, Some(digest));
}

/// [`matmul`] by the given tile, which the processor must be able to run.
fn matmul_on<T: Real>(
    tile: &'static Tile<T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: MatrixMut<'_, T>,
    sums: Sums<'_, T>,
) {
    thread_local_buffer(|cells: &mut Vec<T>| {
        pack::right(tile, b, cells);
        job::multiply(tile, a, (cells, b.rows, b.cols), c, sums, None);
    });
}

/// What the products above compute, as the textbook writes it.
pub fn reference<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, c: MatrixMut<'_, T>, target: Target) {
    let depth = a.cols;
    for i in 0..c.rows {
        for j in 0..c.cols {
            let term = |k: usize| match k < depth {
                true => (
                    a.data[i * a.row_stride + k * a.col_stride].factor(),
                    b.data[k * b.row_stride + j * b.col_stride].factor(),
                ),
                false => (T::ZERO, T::ZERO),
            };
            let out = &mut c.data[i * c.row_stride + j];
            let mut sum = match target {
                Target::Add if depth > 0 => out.summand(),
                Target::Add => *out,
                Target::Replace => T::ZERO,
            };
            for first in (0..depth).step_by(T::TOGETHER) {
                for k in (first..first + T::TOGETHER).rev() {
                    let (left, right) = term(k);
                    sum = left.mul_add(right, sum);
                }
            }
            *out = sum;
        }
    }
}

/// Lends a buffer that keeps its memory from call to call.
fn thread_local_buffer<T: 'static, R>(f: impl FnOnce(&mut Vec<T>) -> R) -> R {
    use std::any::Any;
    use std::cell::RefCell;
    thread_local! {
        static BUFFERS: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    }
    // The buffer is taken out while in use, so that a nested call gets another one.
    let mut buffer = BUFFERS.with_borrow_mut(|buffers| {
        let found = buffers.iter().position(|b| b.is::<Vec<T>>());
        found.map_or_else(|| Box::new(Vec::<T>::new()) as Box<dyn Any>, |i| buffers.swap_remove(i))
    });
    let result = f(buffer.downcast_mut().expect("the buffer was chosen by its type"));
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}
