//! The register tile: a few rows times a panel, for each number type and instruction set.
//!
//! Operands are packed into *cells* of the size of a number. A cell holds one factor or, for
//! [`Mixed`] on a processor that multiplies pairs, the bits of two factors in bfloat16.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::bf16;
use super::pack::{self, Pack};
use crate::simd::Level;
use crate::{Mixed, Real};
#[cfg(target_arch = "x86_64")]
use x86::{avx2_f32, avx2_f64, avx512_bf16, avx512_f32, avx512_f64};

/// What the sums of a tile start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<T> {
    /// Zero, whatever `C` holds.
    Zero,
    /// Numbers of the caller's in `C`, of which [`HasTile::summand`] is taken.
    Given,
    /// Sums in `C` that go on.
    Continued,
    /// The same numbers in every row of the tile: a register's worth for each of its registers.
    Row(*const T),
}

impl<T> Start<T> {
    /// Where sums are loaded from, and the distance of its rows; nowhere for zeros.
    #[inline(always)]
    fn place(self, c: *const T, row_stride: usize) -> Option<(*const T, usize)> {
        match self {
            Self::Zero => None,
            Self::Given | Self::Continued => Some((c, row_stride)),
            Self::Row(row) => Some((row, 0)),
        }
    }
}

/// Adds the products of `depth` cells to a tile of `C`: the only code that runs `m · n · k` times.
///
/// Arguments: depth; left operand with its strides over rows and depth; a packed panel; the
/// tile of `C` with its row stride; where sums start.
type Run<T> = unsafe fn(usize, *const T, (usize, usize), *const T, *mut T, usize, Start<T>);

/// How one instruction set multiplies.
pub(crate) struct Tile<T: 'static> {
    /// Rows of the tile.
    pub(super) rows: usize,
    /// Columns of the tile and of a panel.
    pub(super) cols: usize,
    /// Columns in a register: the last panel is only padded to a multiple of these.
    pub(super) lanes: usize,
    /// Factors in a cell.
    pub(super) factors: usize,
    /// Terms that the tile adds between loading and storing `C`, an even number.
    pub(super) depth: usize,
    /// Packs an operand.
    pub(super) pack: Pack<T>,
    /// For each number of registers in a row of the tile, for each number of rows.
    run: &'static [&'static [Run<T>]],
}

/// How numbers of a type are multiplied and added in a matrix product.
pub trait HasTile: Copy + Send + Sync + 'static {
    /// How many terms of a sum are taken together. Of these the last is added first.
    const TOGETHER: usize = 1;

    /// The number that is multiplied in place of this one.
    #[inline(always)]
    fn factor(self) -> Self {
        self
    }

    /// The number that a sum starts from in place of this one.
    #[inline(always)]
    fn summand(self) -> Self {
        self
    }

    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn tile(level: Level) -> &'static Tile<Self>;
}

/// Cells along the depth of a panel, which should stay near the processor while rows pass.
const CELLS: usize = 512;

/// Room for a tile at the right edge of `C`: at least as large as any tile.
const EDGE: usize = 8 * WIDEST;

/// Most columns of a tile.
pub(super) const WIDEST: usize = 48;

/// Where a tile of `C` lies, and how much of it exists.
#[derive(Clone, Copy)]
pub(super) struct Place<T> {
    pub(super) start: *mut T,
    pub(super) row_stride: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl<T: Real> Tile<T> {
    /// Cells that hold `depth` factors.
    pub(super) fn cells(&self, depth: usize) -> usize {
        depth.next_multiple_of(T::TOGETHER) / self.factors
    }

    /// Columns that a packed operand of `cols` columns has with its padding.
    pub(super) fn padded(&self, cols: usize) -> usize {
        cols.next_multiple_of(self.lanes)
    }

    /// Adds products to a tile of `C`.
    ///
    /// # Safety
    /// `left` must cover the rows of `c` times `depth` cells at the given strides, `right` a
    /// panel of as many columns as `c` has with padding, and so must a row to start from; nobody
    /// else may use `c`.
    pub(super) unsafe fn run(
        &self,
        depth: usize,
        left: *const T,
        strides: (usize, usize),
        right: *const T,
        c: Place<T>,
        start: Start<T>,
    ) {
        let width = self.padded(c.cols);
        let run = self.run[width / self.lanes - 1][c.rows - 1];
        if c.cols == width {
            // SAFETY: promised by the caller.
            unsafe { run(depth, left, strides, right, c.start, c.row_stride, start) }
            return;
        }
        let mut edge = [T::ZERO; EDGE];
        // SAFETY: as above; `edge` holds a tile of any width.
        unsafe {
            for row in 0..c.rows {
                let from = c.start.add(row * c.row_stride);
                std::ptr::copy_nonoverlapping(from, edge.as_mut_ptr().add(row * width), c.cols);
            }
            run(depth, left, strides, right, edge.as_mut_ptr(), width, start);
            for row in 0..c.rows {
                let from = edge.as_ptr().add(row * width);
                std::ptr::copy_nonoverlapping(from, c.start.add(row * c.row_stride), c.cols);
            }
        }
    }
}

/// A tile without intrinsics, of numbers stored as `N`: the definition, and what other
/// processors run.
unsafe fn portable<T: HasTile, N: Real, const ROWS: usize, const COLS: usize>(
    depth: usize,
    left: *const T,
    (row_step, depth_step): (usize, usize),
    right: *const T,
    c: *mut T,
    row_stride: usize,
    start: Start<T>,
) {
    let mut sums = [[N::ZERO; COLS]; ROWS];
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        settle(c, row_stride, ROWS, COLS, start);
        if let Some((from, row_step)) = start.place(c, row_stride) {
            let from = from.cast::<N>();
            for (row, sums) in sums.iter_mut().enumerate() {
                std::ptr::copy_nonoverlapping(from.add(row * row_step), sums.as_mut_ptr(), COLS);
            }
        }
        let (left, right, c) = (left.cast::<N>(), right.cast::<N>(), c.cast::<N>());
        for k in 0..depth {
            let right = &*right.add(k * COLS).cast::<[N; COLS]>();
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = *left.add(row * row_step + k * depth_step);
                for col in 0..COLS {
                    sums[col] = left.mul_add(right[col], sums[col]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            std::ptr::copy_nonoverlapping(sums.as_ptr(), c.add(row * row_stride), COLS);
        }
    }
}

/// Replaces what is given by what sums start from, which is the same for most types.
///
/// # Safety
/// `c` must cover the tile.
#[inline(always)]
unsafe fn settle<T: HasTile>(
    c: *mut T,
    row_stride: usize,
    rows: usize,
    cols: usize,
    start: Start<T>,
) {
    if matches!(start, Start::Given) {
        for row in 0..rows {
            for col in 0..cols {
                // SAFETY: promised by the caller.
                let x = unsafe { &mut *c.add(row * row_stride + col) };
                *x = x.summand();
            }
        }
    }
}

/// The functions of a tile for 1 to 8, 6 or 4 rows.
macro_rules! rows {
    (8, $f:ident::<$($t:ty),+>, $width:literal) => {
        &[
            $f::<$($t),+, 1, $width>,
            $f::<$($t),+, 2, $width>,
            $f::<$($t),+, 3, $width>,
            $f::<$($t),+, 4, $width>,
            $f::<$($t),+, 5, $width>,
            $f::<$($t),+, 6, $width>,
            $f::<$($t),+, 7, $width>,
            $f::<$($t),+, 8, $width>,
        ]
    };
    (6, $f:ident::<$($t:ty),+>, $width:literal) => {
        &[
            $f::<$($t),+, 1, $width>,
            $f::<$($t),+, 2, $width>,
            $f::<$($t),+, 3, $width>,
            $f::<$($t),+, 4, $width>,
            $f::<$($t),+, 5, $width>,
            $f::<$($t),+, 6, $width>,
        ]
    };
    (4, $f:ident::<$($t:ty),+>, $width:literal) => {
        &[
            $f::<$($t),+, 1, $width>,
            $f::<$($t),+, 2, $width>,
            $f::<$($t),+, 3, $width>,
            $f::<$($t),+, 4, $width>,
        ]
    };
}

/// The tile of eight rows and three AVX-512 registers.
macro_rules! tile_8x3 {
    ($f:ident::<$($t:ty),+>, $lanes:literal, $factors:literal, $pack:expr) => {
        &Tile {
            rows: 8,
            cols: 3 * $lanes,
            lanes: $lanes,
            factors: $factors,
            depth: CELLS * $factors,
            pack: $pack,
            run: &[rows!(8, $f::<$($t),+>, 1), rows!(8, $f::<$($t),+>, 2), rows!(8, $f::<$($t),+>, 3)],
        }
    };
}

/// The tile of six rows and two AVX2 registers.
macro_rules! tile_6x2 {
    ($f:ident::<$($t:ty),+>, $lanes:literal, $pack:expr) => {
        &Tile {
            rows: 6,
            cols: 2 * $lanes,
            lanes: $lanes,
            factors: 1,
            depth: CELLS,
            pack: $pack,
            run: &[rows!(6, $f::<$($t),+>, 1), rows!(6, $f::<$($t),+>, 2)],
        }
    };
}

/// The tile of four rows and eight columns that needs no instruction set.
macro_rules! tile_4x8 {
    ($f:ident::<$($t:ty),+>, $pack:expr) => {
        &Tile {
            rows: 4,
            cols: 8,
            lanes: 8,
            factors: 1,
            depth: CELLS,
            pack: $pack,
            run: &[rows!(4, $f::<$($t),+>, 8)],
        }
    };
}

impl HasTile for f32 {
    #[allow(private_interfaces)]
    fn tile(level: Level) -> &'static Tile<Self> {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 | Level::Avx512 => {
                tile_8x3!(avx512_f32::<f32>, 16, 1, pack::avx512::numbers)
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => tile_6x2!(avx2_f32::<f32>, 8, pack::plain::<f32>),
            _ => tile_4x8!(portable::<f32, f32>, pack::plain::<f32>),
        }
    }
}

impl HasTile for f64 {
    #[allow(private_interfaces)]
    fn tile(level: Level) -> &'static Tile<Self> {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 | Level::Avx512 => {
                tile_8x3!(avx512_f64::<f64>, 8, 1, pack::plain::<f64>)
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => tile_6x2!(avx2_f64::<f64>, 4, pack::plain::<f64>),
            _ => tile_4x8!(portable::<f64, f64>, pack::plain::<f64>),
        }
    }
}

impl HasTile for Mixed {
    const TOGETHER: usize = 2;

    #[inline(always)]
    fn factor(self) -> Self {
        bf16::factor(self.into()).into()
    }

    #[inline(always)]
    fn summand(self) -> Self {
        bf16::summand(self.into()).into()
    }

    #[allow(private_interfaces)]
    fn tile(level: Level) -> &'static Tile<Self> {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => tile_8x3!(avx512_bf16::<Mixed>, 16, 2, pack::avx512::pairs),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                tile_8x3!(avx512_f32::<Mixed>, 16, 1, pack::avx512::factors)
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => tile_6x2!(avx2_f32::<Mixed>, 8, pack::plain::<Mixed>),
            _ => tile_4x8!(portable::<Mixed, f32>, pack::plain::<Mixed>),
        }
    }
}
