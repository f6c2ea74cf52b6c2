//! The register tile: a few rows times a panel, for each instruction set.

use std::sync::OnceLock;

use crate::Real;
use crate::simd::{Level, level};

/// Adds `depth` products to a tile of `C`: the only code that runs `m · n · k` times.
///
/// Arguments: depth; left operand with its strides over rows and depth; a packed panel; the
/// tile of `C` with its row stride; whether `C` starts from zero.
type Run<T> = unsafe fn(usize, *const T, (usize, usize), *const T, *mut T, usize, bool);

/// How one instruction set multiplies.
pub(crate) struct Tile<T: 'static> {
    /// Rows of the tile.
    pub(crate) rows: usize,
    /// Columns of the tile and of a panel.
    pub(crate) cols: usize,
    /// One function for each number of rows from 1 to `rows`.
    run: &'static [Run<T>],
}

/// A number with register tiles.
pub trait HasTile: Sized + 'static {
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn tile() -> &'static Tile<Self>;
}

/// Room for a tile at the right edge of `C`: at least as large as any tile.
const EDGE: usize = 8 * 48;

impl<T: Real> Tile<T> {
    /// Multiplies a whole tile.
    ///
    /// # Safety
    /// The pointers must cover the tile at the given strides, `right` a whole panel, and nobody
    /// else may use the tile of `C`.
    #[allow(clippy::too_many_arguments)] // the interface of a kernel
    pub(crate) unsafe fn run(
        &self,
        rows: usize,
        depth: usize,
        left: *const T,
        strides: (usize, usize),
        right: *const T,
        c: *mut T,
        row_stride: usize,
        fresh: bool,
    ) {
        // SAFETY: promised by the caller.
        unsafe { self.run[rows - 1](depth, left, strides, right, c, row_stride, fresh) }
    }

    /// Multiplies a tile of which only the first `filled` columns exist.
    ///
    /// # Safety
    /// As for [`Self::run`], with `filled` columns of `C`.
    #[allow(clippy::too_many_arguments)] // the interface of a kernel
    pub(crate) unsafe fn run_edge(
        &self,
        rows: usize,
        filled: usize,
        depth: usize,
        left: *const T,
        strides: (usize, usize),
        right: *const T,
        c: *mut T,
        row_stride: usize,
        fresh: bool,
    ) {
        let mut edge = [T::ZERO; EDGE];
        // SAFETY: `filled` columns of each row of `C` are the caller's; `edge` holds a tile.
        unsafe {
            for row in 0..rows {
                let from = c.add(row * row_stride);
                std::ptr::copy_nonoverlapping(from, edge.as_mut_ptr().add(row * self.cols), filled);
            }
            self.run(rows, depth, left, strides, right, edge.as_mut_ptr(), self.cols, fresh);
            for row in 0..rows {
                let from = edge.as_ptr().add(row * self.cols);
                std::ptr::copy_nonoverlapping(from, c.add(row * row_stride), filled);
            }
        }
    }
}

/// A tile of `ROWS × COLS` without intrinsics: the definition, and what other processors run.
unsafe fn portable<T: Real, const ROWS: usize, const COLS: usize>(
    depth: usize,
    left: *const T,
    (row_step, depth_step): (usize, usize),
    right: *const T,
    c: *mut T,
    row_stride: usize,
    fresh: bool,
) {
    let mut sums = [[T::ZERO; COLS]; ROWS];
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        if !fresh {
            for (row, sums) in sums.iter_mut().enumerate() {
                std::ptr::copy_nonoverlapping(c.add(row * row_stride), sums.as_mut_ptr(), COLS);
            }
        }
        for k in 0..depth {
            let right = &*right.add(k * COLS).cast::<[T; COLS]>();
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

/// Defines a tile function over vector registers: `ROWS` rows of `$vectors` registers.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_tile {
    ($name:ident, $t:ty, $features:literal, $vectors:literal, $lanes:literal,
     $zero:ident, $load:ident, $splat:ident, $fma:ident, $store:ident) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(
            depth: usize,
            left: *const $t,
            (row_step, depth_step): (usize, usize),
            right: *const $t,
            c: *mut $t,
            row_stride: usize,
            fresh: bool,
        ) {
            use std::arch::x86_64::{$fma, $load, $splat, $store, $zero};
            let mut sums = [[$zero(); $vectors]; ROWS];
            // SAFETY: the caller's pointers cover the tile.
            unsafe {
                if !fresh {
                    for row in 0..ROWS {
                        for v in 0..$vectors {
                            sums[row][v] = $load(c.add(row * row_stride + v * $lanes));
                        }
                    }
                }
                let (mut left, mut right) = (left, right);
                for _ in 0..depth {
                    let mut columns = [$zero(); $vectors];
                    for v in 0..$vectors {
                        columns[v] = $load(right.add(v * $lanes));
                    }
                    for row in 0..ROWS {
                        let factor = $splat(*left.add(row * row_step));
                        for v in 0..$vectors {
                            sums[row][v] = $fma(factor, columns[v], sums[row][v]);
                        }
                    }
                    left = left.add(depth_step);
                    right = right.add($vectors * $lanes);
                }
                for row in 0..ROWS {
                    for v in 0..$vectors {
                        $store(c.add(row * row_stride + v * $lanes), sums[row][v]);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector_tile!(
    avx512_f32,
    f32,
    "avx512f",
    3,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_storeu_ps
);
#[cfg(target_arch = "x86_64")]
vector_tile!(
    avx512_f64,
    f64,
    "avx512f",
    3,
    8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_storeu_pd
);
#[cfg(target_arch = "x86_64")]
vector_tile!(
    avx2_f32,
    f32,
    "avx2,fma",
    2,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps
);
#[cfg(target_arch = "x86_64")]
vector_tile!(
    avx2_f64,
    f64,
    "avx2,fma",
    2,
    4,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_storeu_pd
);

macro_rules! has_tile {
    ($t:ty, $avx512:ident, $wide:literal, $avx2:ident, $narrow:literal) => {
        impl HasTile for $t {
            #[allow(private_interfaces)]
            fn tile() -> &'static Tile<Self> {
                static TILE: OnceLock<Tile<$t>> = OnceLock::new();
                TILE.get_or_init(|| match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => Tile {
                        rows: 8,
                        cols: $wide,
                        run: &[
                            $avx512::<1>,
                            $avx512::<2>,
                            $avx512::<3>,
                            $avx512::<4>,
                            $avx512::<5>,
                            $avx512::<6>,
                            $avx512::<7>,
                            $avx512::<8>,
                        ],
                    },
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => Tile {
                        rows: 6,
                        cols: $narrow,
                        run: &[
                            $avx2::<1>, $avx2::<2>, $avx2::<3>, $avx2::<4>, $avx2::<5>, $avx2::<6>,
                        ],
                    },
                    _ => Tile {
                        rows: 4,
                        cols: 8,
                        run: &[
                            portable::<$t, 1, 8>,
                            portable::<$t, 2, 8>,
                            portable::<$t, 3, 8>,
                            portable::<$t, 4, 8>,
                        ],
                    },
                })
            }
        }
    };
}

has_tile!(f32, avx512_f32, 48, avx2_f32, 16);
has_tile!(f64, avx512_f64, 24, avx2_f64, 8);
