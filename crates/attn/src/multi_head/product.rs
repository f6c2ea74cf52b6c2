//! The small matrix products of one head, in register tiles.
//!
//! Every element is a chain of fused multiply-adds in ascending order, as in
//! [`kernels::matmul`], and tiles leave out what their rows do not see. What is left out has
//! weight zero, which adds nothing: a sum has the same bits whatever stands beside it.

use std::ops::Range;

use kernels::matmul::Target;
use kernels::simd::{Level, level};
use kernels::{Real, vectorized};

use super::kept::Kept;
use super::{Block, Rows, RowsMut};

/// Numbers that are computed side by side; rows of scores are padded to a multiple of it.
pub(super) const LANES: usize = 16;

vectorized! {
    /// `out[i][j] ← Σ_d left[i][d] right[d][j]` for all `j` that row `i` of the block sees, and
    /// for some others; columns are padded to a multiple of [`LANES`].
    pub(super) fn scores<T: Real>(
        left: Rows<'_, T>, right: Rows<'_, T>, depth: usize, block: &Block, out: RowsMut<'_, T>,
    ) {
        by_tiles(block.rows, &mut Scores { left, right, depth, block, out });
    }
}

vectorized! {
    /// `out[i] ← Σ_j weights[i][j] values[j]` (`dim` columns), over the `j` that row `i` sees.
    pub(super) fn mix<T: Real>(
        weights: Rows<'_, T>, values: Rows<'_, T>, dim: usize, block: &Block,
        out: RowsMut<'_, T>, target: Target,
    ) {
        by_tiles(block.rows, &mut Mix { weights, values, dim, block, out, target });
    }
}

vectorized! {
    /// `out[j] ← Σ_i weights[i][j] rows[i]` (`dim` columns), over the rows `i` that see `j`.
    pub(super) fn gather<T: Real>(
        weights: Rows<'_, T>, rows: Rows<'_, T>, dim: usize, block: &Block,
        out: RowsMut<'_, T>, target: Target,
    ) {
        by_tiles(block.keys, &mut Gather { weights, rows, dim, block, out, target });
    }
}

vectorized! {
    /// Writes `n` rows of `dim` numbers as columns: `[dim, n]`, rows of `out` padded with zeros to
    /// a multiple of [`LANES`].
    pub(super) fn transpose<K: Kept>(
        rows: Rows<'_, K::Number>, n: usize, dim: usize, out: RowsMut<'_, K>,
    ) {
        const SIDE: usize = 8;
        let whole = n / SIDE * SIDE;
        for j in (0..whole).step_by(SIDE) {
            let base = &rows.data[j * rows.stride..];
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|side| side * rows.stride);
            for col in 0..dim {
                let at = |start: usize| K::keep(base[start + col]);
                let square = [at(a), at(b), at(c), at(d), at(e), at(f), at(g), at(h)];
                let start = col * out.stride + j;
                out.data[start..start + SIDE].copy_from_slice(&square);
            }
        }
        for j in whole..n.next_multiple_of(LANES) {
            for col in 0..dim {
                let number = if j < n { rows.row(j)[col] } else { K::Number::ZERO };
                out.data[col * out.stride + j] = K::keep(number);
            }
        }
    }
}

/// A product that is computed a tile of rows at a time.
trait Product {
    /// Computes the rows from `row` on that a tile has.
    fn tile<S: Tile>(&mut self, row: usize);
}

#[inline(always)]
fn by_tiles(rows: usize, product: &mut impl Product) {
    let mut row = 0;
    // Eight rows take half of the 32 registers of AVX-512, and would take all of AVX2's.
    if level() == Level::Avx512 {
        while row + Eight::ROWS <= rows {
            product.tile::<Eight>(row);
            row += Eight::ROWS;
        }
    }
    while row + Four::ROWS <= rows {
        product.tile::<Four>(row);
        row += Four::ROWS;
    }
    while row < rows {
        product.tile::<One>(row);
        row += One::ROWS;
    }
}

struct Scores<'a, T> {
    left: Rows<'a, T>,
    right: Rows<'a, T>,
    depth: usize,
    block: &'a Block,
    out: RowsMut<'a, T>,
}

impl<T: Real> Product for Scores<'_, T> {
    #[inline(always)]
    fn tile<S: Tile>(&mut self, row: usize) {
        let seen = self.block.seen(row..row + S::ROWS);
        let first = seen.start / LANES * LANES;
        for col in (first..seen.end).step_by(LANES) {
            let place = Place { row, col, target: Target::Replace };
            S::across::<T, LANES>(self.left, self.right, 0..self.depth, &mut self.out, place);
        }
    }
}

struct Mix<'a, T> {
    weights: Rows<'a, T>,
    values: Rows<'a, T>,
    dim: usize,
    block: &'a Block,
    out: RowsMut<'a, T>,
    target: Target,
}

impl<T: Real> Product for Mix<'_, T> {
    #[inline(always)]
    fn tile<S: Tile>(&mut self, row: usize) {
        let (left, right, out, target) = (self.weights, self.values, &mut self.out, self.target);
        let seen = self.block.seen(row..row + S::ROWS);
        let mut col = 0;
        while col + LANES <= self.dim {
            S::across::<T, LANES>(left, right, seen.clone(), out, Place { row, col, target });
            col += LANES;
        }
        while col + LANES / 2 <= self.dim {
            S::across::<T, { LANES / 2 }>(
                left,
                right,
                seen.clone(),
                out,
                Place { row, col, target },
            );
            col += LANES / 2;
        }
        while col < self.dim {
            S::across::<T, 1>(left, right, seen.clone(), out, Place { row, col, target });
            col += 1;
        }
    }
}

struct Gather<'a, T> {
    weights: Rows<'a, T>,
    rows: Rows<'a, T>,
    dim: usize,
    block: &'a Block,
    out: RowsMut<'a, T>,
    target: Target,
}

impl<T: Real> Product for Gather<'_, T> {
    #[inline(always)]
    fn tile<S: Tile>(&mut self, row: usize) {
        let (left, right, out, target) = (self.weights, self.rows, &mut self.out, self.target);
        let seeing = self.block.seeing(row..row + S::ROWS);
        let mut col = 0;
        while col + LANES <= self.dim {
            S::down::<T, LANES>(left, right, seeing.clone(), out, Place { row, col, target });
            col += LANES;
        }
        while col + LANES / 2 <= self.dim {
            S::down::<T, { LANES / 2 }>(
                left,
                right,
                seeing.clone(),
                out,
                Place { row, col, target },
            );
            col += LANES / 2;
        }
        while col < self.dim {
            S::down::<T, 1>(left, right, seeing.clone(), out, Place { row, col, target });
            col += 1;
        }
    }
}

/// Where a tile lies in the output.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    col: usize,
    target: Target,
}

/// A few rows of an output, times `N` columns, in registers.
trait Tile {
    const ROWS: usize;

    /// Row `r` of the tile adds `left[row + r][k] right[k]` over `k` in `range`.
    fn across<T: Real, const N: usize>(
        left: Rows<T>,
        right: Rows<T>,
        range: Range<usize>,
        out: &mut RowsMut<T>,
        place: Place,
    );

    /// Row `r` of the tile adds `left[k][row + r] right[k]` over `k` in `range`.
    fn down<T: Real, const N: usize>(
        left: Rows<T>,
        right: Rows<T>,
        range: Range<usize>,
        out: &mut RowsMut<T>,
        place: Place,
    );
}

struct Eight;
struct Four;
struct One;

/// Implements [`Tile`] with one variable for each row: rows of one array would be vectorised
/// across rows, through memory. In the loops the right operand is loaded first, so that
/// nothing stands between the load of a factor and its use and both become one instruction.
macro_rules! tile {
    ($name:ident, $rows:literal: $($i:literal $sum:ident),+) => {
        impl Tile for $name {
            const ROWS: usize = $rows;

            #[inline(always)]
            fn across<T: Real, const N: usize>(
                left: Rows<T>,
                right: Rows<T>,
                range: Range<usize>,
                out: &mut RowsMut<T>,
                Place { row, col, target }: Place,
            ) {
                // All from one place and one distance apart: few registers hold where they are.
                let base = &left.data[row * left.stride + range.start..];
                let left = [$(&base[$i * left.stride..][..range.len()]),+];
                $(let mut $sum = out.load::<N>(row + $i, col, target);)+
                for k in 0..range.len() {
                    let right = right.load::<N>(range.start + k, col);
                    $(add_products(&mut $sum, left[$i][k], &right);)+
                }
                $(out.store(row + $i, col, $sum);)+
            }

            #[inline(always)]
            fn down<T: Real, const N: usize>(
                left: Rows<T>,
                right: Rows<T>,
                range: Range<usize>,
                out: &mut RowsMut<T>,
                Place { row, col, target }: Place,
            ) {
                $(let mut $sum = out.load::<N>(row + $i, col, target);)+
                for k in range {
                    let right = right.load::<N>(k, col);
                    let left = left.load::<$rows>(k, row);
                    $(add_products(&mut $sum, left[$i], &right);)+
                }
                $(out.store(row + $i, col, $sum);)+
            }
        }
    };
}

tile!(Eight, 8: 0 a, 1 b, 2 c, 3 d, 4 e, 5 f, 6 g, 7 h);
tile!(Four, 4: 0 a, 1 b, 2 c, 3 d);
tile!(One, 1: 0 a);

#[inline(always)]
pub(super) fn add_products<T: Real, const N: usize>(sums: &mut [T; N], left: T, right: &[T; N]) {
    for lane in 0..N {
        sums[lane] = left.mul_add(right[lane], sums[lane]);
    }
}

impl<T: Real> Rows<'_, T> {
    /// A row, and all that follows.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.stride..]
    }

    #[inline(always)]
    fn load<const N: usize>(&self, row: usize, col: usize) -> [T; N] {
        *self.data[row * self.stride + col..].first_chunk().expect("a tile lies in its matrix")
    }
}

impl<T: Real> RowsMut<'_, T> {
    #[inline(always)]
    fn load<const N: usize>(&self, row: usize, col: usize, target: Target) -> [T; N] {
        match target {
            Target::Replace => [T::ZERO; N],
            Target::Add => *self.data[row * self.stride + col..]
                .first_chunk()
                .expect("a tile lies in its matrix"),
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, row: usize, col: usize, values: [T; N]) {
        let start = row * self.stride + col;
        self.data[start..start + N].copy_from_slice(&values);
    }
}
