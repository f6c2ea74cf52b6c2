//! Matrix products whose every element is summed in one fixed order.
//!
//! `C[i, j]` is `fma(A[i, k], B[k, j], …)` over ascending `k`, starting from zero or from what
//! `C` holds: on every processor, for any number of threads, and whatever other rows and
//! columns the matrices have. That is what makes a sentence's translation independent of its
//! batch, and two runs with different thread counts equal to the last bit. It costs nothing: a
//! register tile accumulates in that order anyway, and a tile that continues a sum loads it.
//!
//! The loops follow Goto and van de Geijn (2008), “Anatomy of High-Performance Matrix
//! Multiplication”: the right operand is packed into panels as wide as the register tile; a
//! block of rows of the left operand stays in the second-level cache while the panels pass.

mod micro;

use rayon::prelude::*;

use crate::Real;

pub use micro::HasTile;
use micro::Tile;

/// Depth of a block: how many terms a register tile adds between loading and storing `C`.
const DEPTH: usize = 256;
/// Rows of a block of the left operand; with [`DEPTH`] it fills a part of the second-level cache.
const ROWS: usize = 96;
/// Below this number of multiplications a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 18;

/// A matrix that is read: `rows × cols` numbers with any strides.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `data` row by row, without gaps.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `data` row by row, each row starting `row_stride` after the one before.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(
            data.len() >= needed && row_stride >= cols,
            "{} numbers are no {rows} × {cols} matrix of row stride {row_stride}",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose; nothing moves.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// A matrix that is written: row by row, rows `row_stride` apart.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, T> MatrixMut<'a, T> {
    /// `data` row by row, without gaps.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `data` row by row, each row starting `row_stride` after the one before.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn strided(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(
            data.len() >= needed && row_stride >= cols,
            "{} numbers are no {rows} × {cols} matrix of row stride {row_stride}",
            data.len()
        );
        Self { data, rows, cols, row_stride }
    }
}

/// Where a product goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What was there is forgotten.
    Replace,
    /// The terms are added to what is there, one after another.
    Add,
}

/// A right operand, packed once for any number of products.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    /// For each block of [`DEPTH`] rows, for each panel of columns: row by row, padded with zeros.
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Real> Packed<T> {
    /// Packs `matrix`.
    pub fn new(matrix: Matrix<'_, T>) -> Self {
        let mut data = Vec::new();
        pack(matrix, &mut data);
        Self { data, rows: matrix.rows, cols: matrix.cols }
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
    thread_local_buffer(|data: &mut Vec<T>| {
        pack(b, data);
        multiply(a, data, b.rows, b.cols, c, target);
    });
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
    multiply(a, &b.data, b.rows, b.cols, c, target);
}

/// What the products above compute, as the textbook writes it.
pub fn reference<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, c: MatrixMut<'_, T>, target: Target) {
    for i in 0..c.rows {
        for j in 0..c.cols {
            let out = &mut c.data[i * c.row_stride + j];
            let mut sum = if target == Target::Add { *out } else { T::ZERO };
            for k in 0..a.cols {
                let left = a.data[i * a.row_stride + k * a.col_stride];
                sum = left.mul_add(b.data[k * b.row_stride + j * b.col_stride], sum);
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

/// Packs `b` into `data`: blocks of [`DEPTH`] rows, in them panels as wide as the register tile.
fn pack<T: Real>(b: Matrix<'_, T>, data: &mut Vec<T>) {
    let width = T::tile().cols;
    let panels = b.cols.div_ceil(width);
    data.resize(b.rows * panels * width, T::ZERO);
    let mut rest = &mut data[..];
    let mut pieces = Vec::new();
    for k0 in (0..b.rows).step_by(DEPTH) {
        let depth = DEPTH.min(b.rows - k0);
        for panel in 0..panels {
            let (piece, tail) = rest.split_at_mut(depth * width);
            rest = tail;
            pieces.push((k0, panel * width, piece));
        }
    }
    if b.rows * b.cols < PARALLEL_FROM {
        pieces.into_iter().for_each(|(k0, j0, piece)| pack_panel(b, k0, j0, width, piece));
    } else {
        pieces.into_par_iter().for_each(|(k0, j0, piece)| pack_panel(b, k0, j0, width, piece));
    }
}

/// Copies rows `k0..` and columns `j0..` of `b` into one panel.
fn pack_panel<T: Real>(b: Matrix<'_, T>, k0: usize, j0: usize, width: usize, panel: &mut [T]) {
    let filled = width.min(b.cols - j0);
    if filled < width {
        panel.fill(T::ZERO);
    }
    if b.col_stride == 1 {
        for (row, out) in panel.chunks_exact_mut(width).enumerate() {
            let start = (k0 + row) * b.row_stride + j0;
            copy(&mut out[..filled], &b.data[start..start + filled]);
        }
    } else if b.row_stride == 1 {
        transpose_panel(b, k0, j0, filled, width, panel);
    } else {
        for (row, out) in panel.chunks_exact_mut(width).enumerate() {
            for (col, out) in out[..filled].iter_mut().enumerate() {
                *out = b.data[(k0 + row) * b.row_stride + (j0 + col) * b.col_stride];
            }
        }
    }
}

/// Copies a row of a tile or panel. The usual widths are known to the compiler, which then moves
/// a few registers instead of calling a routine for copies of any length.
#[inline(always)]
fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    fn fixed<T: Copy, const N: usize>(to: &mut [T], from: &[T]) {
        to[..N].copy_from_slice(&from[..N]);
    }
    match from.len() {
        48 => fixed::<T, 48>(to, from),
        24 => fixed::<T, 24>(to, from),
        16 => fixed::<T, 16>(to, from),
        8 => fixed::<T, 8>(to, from),
        6 => fixed::<T, 6>(to, from),
        4 => fixed::<T, 4>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Packs a panel of a transposed matrix in small squares, so that both sides stay in the cache.
fn transpose_panel<T: Real>(
    b: Matrix<'_, T>,
    k0: usize,
    j0: usize,
    filled: usize,
    width: usize,
    panel: &mut [T],
) {
    const SQUARE: usize = 16;
    let depth = panel.len() / width;
    for row0 in (0..depth).step_by(SQUARE) {
        let rows = SQUARE.min(depth - row0);
        for col in 0..filled {
            let start = (j0 + col) * b.col_stride + k0 + row0;
            let source = &b.data[start..start + rows];
            for (row, &value) in source.iter().enumerate() {
                panel[(row0 + row) * width + col] = value;
            }
        }
    }
}

/// A pointer that several threads may hold, each writing its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: `multiply` gives each thread its own rows and columns behind the pointer.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// The product with packed right operand.
fn multiply<T: Real>(
    a: Matrix<'_, T>,
    packed: &[T],
    depth: usize,
    cols: usize,
    c: MatrixMut<'_, T>,
    target: Target,
) {
    assert_eq!((a.rows, a.cols), (c.rows, depth), "left operand: rows and columns");
    assert_eq!(cols, c.cols, "columns of the right operand");
    let tile = T::tile();
    let panels = cols.div_ceil(tile.cols);
    if c.rows == 0 || panels == 0 {
        return;
    }
    if depth == 0 {
        if target == Target::Replace {
            c.data.chunks_mut(c.row_stride).for_each(|row| row[..cols].fill(T::ZERO));
        }
        return;
    }
    let threads = rayon::current_num_threads();
    let out = Shared(c.data.as_mut_ptr());
    let job = Job { a, packed, cols, depth, out, row_stride: c.row_stride, target, tile };
    if threads == 1 || c.rows * cols * depth < PARALLEL_FROM {
        job.run(0..c.rows, 0..panels);
        return;
    }
    // Rows are dealt out in whole tiles, or, if there are too few of them, the panels are.
    let tiles = c.rows.div_ceil(tile.rows);
    if tiles >= 4 * threads || tiles >= panels {
        let share = tiles.div_ceil(4 * threads).max(1) * tile.rows;
        let starts: Vec<usize> = (0..c.rows).step_by(share).collect();
        starts.into_par_iter().for_each(|start| {
            job.run(start..(start + share).min(c.rows), 0..panels);
        });
    } else {
        let share = panels.div_ceil(4 * threads).max(1);
        let starts: Vec<usize> = (0..panels).step_by(share).collect();
        starts.into_par_iter().for_each(|start| {
            job.run(0..c.rows, start..(start + share).min(panels));
        });
    }
}

/// One product, to be computed in parts.
struct Job<'a, T: 'static> {
    a: Matrix<'a, T>,
    packed: &'a [T],
    cols: usize,
    depth: usize,
    out: Shared<T>,
    row_stride: usize,
    target: Target,
    tile: &'static Tile<T>,
}

impl<T: Real> Job<'_, T> {
    /// Computes the given rows of the given panels. Parts that run at once must not overlap.
    fn run(&self, rows: std::ops::Range<usize>, panels: std::ops::Range<usize>) {
        let all_panels = self.cols.div_ceil(self.tile.cols);
        thread_local_buffer(|block: &mut Vec<T>| {
            for k0 in (0..self.depth).step_by(DEPTH) {
                let depth = DEPTH.min(self.depth - k0);
                for row0 in rows.clone().step_by(ROWS) {
                    let height = ROWS.min(rows.end - row0);
                    let left = self.left(row0, height, k0, depth, block);
                    for panel in panels.clone() {
                        let start = (k0 * all_panels + panel * depth) * self.tile.cols;
                        let right = &self.packed[start..start + depth * self.tile.cols];
                        self.column(&left, row0, height, panel, depth, right, k0 == 0);
                    }
                }
            }
        });
    }

    /// A block of the left operand: in place if its rows are contiguous, else packed.
    fn left<'b>(
        &'b self,
        row0: usize,
        height: usize,
        k0: usize,
        depth: usize,
        block: &'b mut Vec<T>,
    ) -> Left<'b, T> {
        let a = self.a;
        if a.col_stride == 1 {
            let start = row0 * a.row_stride + k0;
            let data = &a.data[start..start + (height - 1) * a.row_stride + depth];
            return Left { data, row_stride: a.row_stride, depth_stride: 1, tile_stride: None };
        }
        // Tiles of rows one after another; in a tile, the numbers of one k side by side.
        let rows = self.tile.rows;
        block.resize(height.div_ceil(rows) * rows * depth, T::ZERO);
        for (tile, out) in block.chunks_exact_mut(rows * depth).enumerate() {
            let first = row0 + tile * rows;
            let filled = rows.min(row0 + height - first);
            for (k, out) in out.chunks_exact_mut(rows).enumerate() {
                let start = first * a.row_stride + (k0 + k) * a.col_stride;
                if a.row_stride == 1 {
                    copy(&mut out[..filled], &a.data[start..start + filled]);
                } else {
                    for (i, out) in out[..filled].iter_mut().enumerate() {
                        *out = a.data[start + i * a.row_stride];
                    }
                }
            }
        }
        Left { data: block, row_stride: 1, depth_stride: rows, tile_stride: Some(rows * depth) }
    }

    /// All tiles of one block of rows and one panel.
    #[allow(clippy::too_many_arguments)] // the coordinates of a block
    fn column(
        &self,
        left: &Left<'_, T>,
        row0: usize,
        height: usize,
        panel: usize,
        depth: usize,
        right: &[T],
        first: bool,
    ) {
        let tile = self.tile;
        let col0 = panel * tile.cols;
        let filled = tile.cols.min(self.cols - col0);
        let fresh = first && self.target == Target::Replace;
        for i in (0..height).step_by(tile.rows) {
            let rows = tile.rows.min(height - i);
            let start = left.tile_stride.map_or(i * left.row_stride, |s| i / tile.rows * s);
            let a = &left.data[start..];
            debug_assert!(a.len() > (rows - 1) * left.row_stride + (depth - 1) * left.depth_stride);
            // SAFETY: `a` covers `rows × depth` numbers at these strides and `right` is a whole
            // panel; the output tile lies in rows and columns that only this thread writes.
            unsafe {
                let c = self.out.0.add((row0 + i) * self.row_stride + col0);
                if filled == tile.cols {
                    tile.run(
                        rows,
                        depth,
                        a.as_ptr(),
                        left.strides(),
                        right.as_ptr(),
                        c,
                        self.row_stride,
                        fresh,
                    );
                } else {
                    tile.run_edge(
                        rows,
                        filled,
                        depth,
                        a.as_ptr(),
                        left.strides(),
                        right.as_ptr(),
                        c,
                        self.row_stride,
                        fresh,
                    );
                }
            }
        }
    }
}

/// A block of the left operand as the register tile reads it.
struct Left<'a, T> {
    data: &'a [T],
    row_stride: usize,
    depth_stride: usize,
    /// Distance of tiles of rows, if they were packed one after another.
    tile_stride: Option<usize>,
}

impl<T> Left<'_, T> {
    fn strides(&self) -> (usize, usize) {
        (self.row_stride, self.depth_stride)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers<T: Real>(n: usize, phase: f64) -> Vec<T> {
        (0..n).map(|i| T::of((phase + 0.7 * i as f64).sin())).collect()
    }

    /// Every element of `matmul` against the textbook, to the last bit.
    fn check<T: Real>(m: usize, n: usize, k: usize, a_t: bool, b_t: bool, add: bool) {
        let (a, b) = (numbers::<T>(m * k, 0.1), numbers::<T>(k * n, 0.2));
        let a = if a_t { Matrix::new(&a, k, m).t() } else { Matrix::new(&a, m, k) };
        let b = if b_t { Matrix::new(&b, n, k).t() } else { Matrix::new(&b, k, n) };
        let target = if add { Target::Add } else { Target::Replace };
        let stride = n + 3;
        let mut fast = numbers::<T>(m * stride, 0.3);
        let mut plain = fast.clone();
        let mut packed = fast.clone();
        matmul(a, b, MatrixMut::strided(&mut fast, m, n, stride), target);
        reference(a, b, MatrixMut::strided(&mut plain, m, n, stride), target);
        matmul_packed(a, &Packed::new(b), MatrixMut::strided(&mut packed, m, n, stride), target);
        assert!(fast == plain, "{m} × {n} × {k}, transposed {a_t} {b_t}, add {add}");
        assert!(packed == plain, "packed: {m} × {n} × {k}");
    }

    #[test]
    fn edges_and_whole_tiles_equal_the_textbook_bit_for_bit() {
        for (m, n, k) in [(1, 1, 1), (8, 48, 16), (9, 49, 257), (23, 97, 31), (101, 5, 600)] {
            for flags in 0..8 {
                check::<f32>(m, n, k, flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                check::<f64>(m, n, k, flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                check::<f32>(211, 103, 307, false, true, false);
                check::<f32>(7, 1009, 307, false, true, true);
                check::<f32>(307, 103, 211, true, false, true);
            });
        }
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let mut c = [1f32; 6];
        matmul(
            Matrix::new(&[], 2, 0),
            Matrix::new(&[], 0, 3),
            MatrixMut::new(&mut c, 2, 3),
            Target::Add,
        );
        assert_eq!(c, [1.0; 6]);
        matmul(
            Matrix::new(&[], 2, 0),
            Matrix::new(&[], 0, 3),
            MatrixMut::new(&mut c, 2, 3),
            Target::Replace,
        );
        assert_eq!(c, [0.0; 6]);
    }

    proptest! {
        #[test]
        fn any_size_equals_the_textbook(
            m in 0usize..40, n in 0usize..120, k in 0usize..40, flags in 0u8..8,
        ) {
            check::<f32>(m, n, k, flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        }
    }
}
