//! Packing with AVX-512: squares of 16 × 16 cells are transposed in registers. Pairs are rounded to
//! bfloat16 by processors that can; others round factors by their bits, one in a cell.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Operand, Part, STRIP};
use crate::Mixed;
use crate::matmul::HasTile;
use crate::matmul::bf16::SMALLEST;
use crate::simd::fetch;

/// Lanes and cells in a register.
const LANES: usize = 16;
/// Lanes in half a register: what panels of the left operand hold.
const HALF: usize = LANES / 2;

/// Defines how a type is packed, and the three ways that takes by how an operand lies, given the
/// factors in a cell, what loads cells along the depth of one lane, and what loads a cell of each.
macro_rules! packing {
    ($t:ty, $features:literal, $factors:literal, $along:ident, $across:ident,
     $(#[$meta:meta])* $pack:ident, $transpose:ident, $convert:ident, $join:ident) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// The processor must have the AVX-512 that is named here.
        #[target_feature(enable = $features)]
        pub(in crate::matmul) unsafe fn $pack(from: Operand<'_, $t>, part: &Part, cells: &mut [$t]) {
            if from.depth_stride != 1 {
                $join(from, part, cells);
            } else if part.width == 1 {
                $convert(from, part, cells);
            } else {
                $transpose(from, part, cells);
            }
        }

        /// Packs panels of one lane, which lies side by side along the depth.
        #[target_feature(enable = $features)]
        fn $convert(from: Operand<'_, $t>, part: &Part, cells: &mut [$t]) {
            let n_cells = cells_of::<$t>(part, $factors);
            for (lane, out) in part.lanes.clone().zip(cells.chunks_exact_mut(n_cells)) {
                let start = lane * from.lane_stride;
                let lane = &from.data[start + part.depth.start..start + part.depth.end];
                for (source, out) in lane.chunks(LANES * $factors).zip(out.chunks_mut(LANES)) {
                    store_some(out, $along(source));
                }
            }
        }

        /// Packs lanes that lie side by side along the depth, into panels of whole registers.
        #[target_feature(enable = $features)]
        fn $transpose(from: Operand<'_, $t>, part: &Part, cells: &mut [$t]) {
            let n_cells = cells_of::<$t>(part, $factors);
            for cell in (0..n_cells).step_by(LANES) {
                let first = part.depth.start + cell * $factors;
                let last = part.depth.end.min(first + LANES * $factors);
                for lane in part.lanes.clone().step_by(LANES) {
                    let mut square = [_mm512_setzero_ps(); LANES];
                    for i in 0..LANES {
                        if lane + i < part.lanes.end {
                            let start = (lane + i) * from.lane_stride;
                            square[i] = $along(&from.data[start + first..start + last]);
                        }
                    }
                    let square = transposed(square);
                    let start = part.place(lane, cell, n_cells);
                    for i in 0..LANES {
                        if cell + i < n_cells {
                            store(&mut cells[start + i * part.width..], square[i]);
                        }
                    }
                }
            }
        }

        /// Packs lanes that lie side by side, into panels of whole or half registers.
        #[target_feature(enable = $features)]
        fn $join(from: Operand<'_, $t>, part: &Part, cells: &mut [$t]) {
            let n_cells = cells_of::<$t>(part, $factors);
            for strip in (0..n_cells).step_by(STRIP) {
                for lane in part.lanes.clone().step_by(LANES) {
                    let lanes = lane..part.lanes.end.min(lane + LANES);
                    for cell in strip..n_cells.min(strip + STRIP) {
                        let k = part.depth.start + cell * $factors;
                        let loaded = $across(from, cell * $factors, &part.depth, lanes.clone());
                        // Rows lie apart, and nobody else would fetch the next strip in time.
                        for k in k..k + $factors {
                            let ahead = (k + STRIP * $factors) * from.depth_stride + lane;
                            fetch(from.data.as_ptr().wrapping_add(ahead));
                        }
                        let start = part.place(lane, cell, n_cells);
                        if part.width.is_multiple_of(LANES) {
                            store(&mut cells[start..], loaded);
                        } else {
                            store_half(&mut cells[start..], _mm512_castps512_ps256(loaded));
                            if lanes.len() > HALF {
                                let start = part.place(lane + HALF, cell, n_cells);
                                store_half(&mut cells[start..], upper(loaded));
                            }
                        }
                    }
                }
            }
        }
    };
}

packing!(
    f32,
    "avx512f",
    1,
    load,
    load_lanes,
    /// Packs numbers as they are.
    numbers,
    transpose_numbers,
    copy_lanes_of_numbers,
    join_numbers
);
packing!(
    Mixed,
    "avx512f",
    1,
    load_factors,
    load_lanes_of_factors,
    /// Packs factors rounded to bfloat16, each in a cell of its own, of a pair the second first.
    factors,
    transpose_factors,
    round_lanes,
    join_factors
);
packing!(
    Mixed,
    "avx512f,avx512bw,avx512bf16",
    2,
    load_pairs,
    load_lanes_of_pairs,
    /// Packs pairs of numbers, rounded to bfloat16, as bits.
    pairs,
    transpose_pairs,
    round_lanes_in_pairs,
    join_pairs
);

/// Cells along the depth of a part.
fn cells_of<T: HasTile>(part: &Part, factors: usize) -> usize {
    part.depth.len().next_multiple_of(T::TOGETHER) / factors
}

/// The mask of the first `n` lanes, at most all.
#[inline]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n.min(LANES)) - 1) as __mmask16
}

/// At most a register of numbers; the rest is zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(numbers: &[f32]) -> __m512 {
    // SAFETY: the mask covers what is there.
    unsafe { _mm512_maskz_loadu_ps(first(numbers.len()), numbers.as_ptr()) }
}

/// At most a register of pairs; what is missing is zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn load_pairs(numbers: &[Mixed]) -> __m512 {
    let (low, high) = Mixed::plain(numbers).split_at(numbers.len().min(LANES));
    round(load(low), load(high))
}

/// At most a register of factors, those of a pair in turned order; what is missing is zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_factors(numbers: &[Mixed]) -> __m512 {
    const TURNED: i32 = 0b10_11_00_01;
    factor(_mm512_permute_ps::<TURNED>(load(Mixed::plain(numbers))))
}

/// The `k`th number of a depth, for each lane; zeros behind its end.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_lanes(
    from: Operand<'_, f32>,
    k: usize,
    depth: &Range<usize>,
    lanes: Range<usize>,
) -> __m512 {
    if k >= depth.len() {
        return _mm512_setzero_ps();
    }
    let start = (depth.start + k) * from.depth_stride;
    load(&from.data[start + lanes.start..start + lanes.end])
}

/// The factor that the `k`th cell holds, for each lane: of a pair the second comes first.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_lanes_of_factors(
    from: Operand<'_, Mixed>,
    k: usize,
    depth: &Range<usize>,
    lanes: Range<usize>,
) -> __m512 {
    factor(load_lanes(plain(from), k ^ 1, depth, lanes))
}

/// The pair of a depth that begins with its `k`th number, for each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn load_lanes_of_pairs(
    from: Operand<'_, Mixed>,
    k: usize,
    depth: &Range<usize>,
    lanes: Range<usize>,
) -> __m512 {
    let low = load_lanes(plain(from), k, depth, lanes.clone());
    alternate(round(low, load_lanes(plain(from), k + 1, depth, lanes)))
}

/// The same operand under the plain name of its numbers.
fn plain(from: Operand<'_, Mixed>) -> Operand<'_, f32> {
    let Operand { data, lane_stride, depth_stride } = from;
    Operand { data: Mixed::plain(data), lane_stride, depth_stride }
}

/// Stores a register at the start of `cells`.
#[inline]
#[target_feature(enable = "avx512f")]
fn store<T>(cells: &mut [T], values: __m512) {
    const { assert!(size_of::<T>() == size_of::<f32>()) }
    let cells = &mut cells[..LANES];
    // SAFETY: there is room for the register.
    unsafe { _mm512_storeu_ps(cells.as_mut_ptr().cast(), values) }
}

/// Stores half a register at the start of `cells`.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_half<T>(cells: &mut [T], values: __m256) {
    const { assert!(size_of::<T>() == size_of::<f32>()) }
    let cells = &mut cells[..HALF];
    // SAFETY: as in `store`.
    unsafe { _mm256_storeu_ps(cells.as_mut_ptr().cast(), values) }
}

/// Stores as much of a register as there is room for.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_some<T>(cells: &mut [T], values: __m512) {
    const { assert!(size_of::<T>() == size_of::<f32>()) }
    // SAFETY: the mask covers what is there.
    unsafe { _mm512_mask_storeu_ps(cells.as_mut_ptr().cast(), first(cells.len()), values) }
}

/// The upper half of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper(values: __m512) -> __m256 {
    _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(values)))
}

/// Sixteen factors, each what [`bf16::factor`](crate::matmul::bf16::factor) makes of a number.
#[inline]
#[target_feature(enable = "avx512f")]
fn factor(numbers: __m512) -> __m512 {
    const KEPT: i32 = 0xffff_0000u32 as i32;
    const QUIET: i32 = 1 << 22;
    let bits = _mm512_castps_si512(numbers);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(numbers, numbers);
    let rounded = _mm512_add_epi32(bits, half);
    let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(QUIET));
    let rounded = _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(KEPT)));
    // Not below the smallest: also what cannot be compared.
    let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(rounded), _mm512_set1_ps(SMALLEST));
    _mm512_maskz_mov_ps(kept, rounded)
}

/// Sixteen numbers and sixteen more as factors in bfloat16, see [`bf16`](crate::matmul::bf16).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512 {
    const MAGNITUDE: i16 = 0x7fff;
    const LEAST: i16 = (SMALLEST.to_bits() >> 16) as i16;
    // SAFETY: the types are the same 512 bits.
    let rounded: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) };
    let magnitude = _mm512_and_si512(rounded, _mm512_set1_epi16(MAGNITUDE));
    let kept = _mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16(LEAST));
    _mm512_castsi512_ps(_mm512_maskz_mov_epi16(kept, rounded))
}

/// Takes the lower and the upper half of a register of bfloat16 in turns.
#[inline]
#[target_feature(enable = "avx512f")]
fn alternate(halves: __m512) -> __m512 {
    let halves = _mm512_castps_si512(halves);
    let even = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    let odd = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(halves));
    _mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd)))
}

/// Transposes a square, by pairs of rows, by pairs of pairs, and then by blocks of four columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512; LANES]) -> [__m512; LANES] {
    let mut pairs = rows;
    for i in (0..LANES).step_by(2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // fours[i + c] holds, in its block b of four numbers, column 4b + c of rows i to i + 3.
    let mut fours = pairs;
    for i in (0..LANES).step_by(4) {
        let [p, q, r, s] = [0, 1, 2, 3].map(|j| _mm512_castps_pd(pairs[i + j]));
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, r));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, r));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(q, s));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(q, s));
    }
    /// Blocks 0 and 2 of either operand; blocks 1 and 3.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let mut columns = fours;
    for c in 0..4 {
        let upper_even = _mm512_shuffle_f32x4::<EVEN>(fours[c], fours[4 + c]);
        let upper_odd = _mm512_shuffle_f32x4::<ODD>(fours[c], fours[4 + c]);
        let lower_even = _mm512_shuffle_f32x4::<EVEN>(fours[8 + c], fours[12 + c]);
        let lower_odd = _mm512_shuffle_f32x4::<ODD>(fours[8 + c], fours[12 + c]);
        columns[c] = _mm512_shuffle_f32x4::<EVEN>(upper_even, lower_even);
        columns[4 + c] = _mm512_shuffle_f32x4::<EVEN>(upper_odd, lower_odd);
        columns[8 + c] = _mm512_shuffle_f32x4::<ODD>(upper_even, lower_even);
        columns[12 + c] = _mm512_shuffle_f32x4::<ODD>(upper_odd, lower_odd);
    }
    columns
}
