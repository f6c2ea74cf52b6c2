//! Register tiles of AVX2, AVX-512 and AVX-512 BF16.

use super::{HasTile, Start, settle};

/// Defines a tile function over vector registers of numbers stored as `$n`.
macro_rules! vector_tile {
    ($name:ident, $n:ty, $features:literal, $lanes:literal,
     $zero:ident, $load:ident, $store:ident, $cells:ident, $splat:ident, $multiply_add:ident) => {
        #[target_feature(enable = $features)]
        pub(crate) unsafe fn $name<T: HasTile, const ROWS: usize, const VECTORS: usize>(
            depth: usize,
            left: *const T,
            (row_step, depth_step): (usize, usize),
            right: *const T,
            c: *mut T,
            row_stride: usize,
            start: Start<T>,
        ) {
            use std::arch::x86_64::*;
            let mut sums = [[$zero(); VECTORS]; ROWS];
            // SAFETY: the caller's pointers cover the tile.
            unsafe {
                settle(c, row_stride, ROWS, VECTORS * $lanes, start);
                if let Some((from, row_step)) = start.place(c, row_stride) {
                    let from = from.cast::<$n>();
                    for row in 0..ROWS {
                        for v in 0..VECTORS {
                            sums[row][v] = $load(from.add(row * row_step + v * $lanes));
                        }
                    }
                }
                let (left, right, c) = (left.cast::<$n>(), right.cast::<$n>(), c.cast::<$n>());
                let (mut left, mut right) = (left, right);
                for _ in 0..depth {
                    let mut columns = [$cells(right); VECTORS];
                    for v in 1..VECTORS {
                        columns[v] = $cells(right.add(v * $lanes));
                    }
                    for row in 0..ROWS {
                        let factor = $splat(*left.add(row * row_step));
                        for v in 0..VECTORS {
                            sums[row][v] = $multiply_add(factor, columns[v], sums[row][v]);
                        }
                    }
                    left = left.add(depth_step);
                    right = right.add(VECTORS * $lanes);
                }
                for row in 0..ROWS {
                    for v in 0..VECTORS {
                        $store(c.add(row * row_stride + v * $lanes), sums[row][v]);
                    }
                }
            }
        }
    };
}

/// What [`vector_tile`] needs of pairs in bfloat16.
mod pairs {
    use std::arch::x86_64::{
        __m512, __m512bh, _mm512_castps_si512, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_set1_ps,
    };

    /// Pairs of 16 columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn load(cells: *const f32) -> __m512bh {
        // SAFETY: the caller's pointer covers 16 cells; the types are the same 512 bits.
        unsafe { std::mem::transmute(_mm512_castps_si512(_mm512_loadu_ps(cells))) }
    }

    /// One pair, for all columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn splat(cell: f32) -> __m512bh {
        // SAFETY: the types are the same 512 bits.
        unsafe { std::mem::transmute(_mm512_castps_si512(_mm512_set1_ps(cell))) }
    }

    /// Adds the product of the second factors, then that of the first.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn multiply_add(left: __m512bh, right: __m512bh, sums: __m512) -> __m512 {
        _mm512_dpbf16_ps(sums, left, right)
    }
}

vector_tile!(
    avx512_f32,
    f32,
    "avx512f",
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps
);
vector_tile!(
    avx512_f64,
    f64,
    "avx512f",
    8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_loadu_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd
);
vector_tile!(
    avx2_f32,
    f32,
    "avx2,fma",
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps
);
vector_tile!(
    avx2_f64,
    f64,
    "avx2,fma",
    4,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_loadu_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd
);
use pairs::{load as load_pairs, multiply_add as multiply_add_pairs, splat as splat_pair};
vector_tile!(
    avx512_bf16,
    f32,
    "avx512f,avx512bw,avx512bf16",
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    load_pairs,
    splat_pair,
    multiply_add_pairs
);
