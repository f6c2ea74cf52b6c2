//! Digests of whole chunks by AVX-512, four at a time: the lanes of four registers are joined in
//! as many steps as those of one.
//!
//! Every operation, and its order, is that of the plain definition, and so are the bits.

use std::arch::x86_64::*;

use super::{CHUNK, Depth};
use crate::real::exponential::{HIGHEST, LN2_HIGH, LN2_LOW, LOG2_E, LOWEST, ROUND, TERMS};

/// Numbers in a register.
const LANES: usize = 16;
/// Registers that hold a chunk.
const REGISTERS: usize = CHUNK / LANES;
/// Chunks that are digested together.
const TOGETHER: usize = 4;

/// Defines how four registers are joined: a register with a result in the first lane of each block
/// of four. Lanes that lie half a register apart come first, then half of that, and so on.
macro_rules! join {
    ($name:ident, $join:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $name([a, b, c, d]: [__m512; TOGETHER]) -> __m512 {
            /// Of two registers the first two blocks each; the last two; every other one.
            const FIRST: i32 = 0b01_00_01_00;
            const LAST: i32 = 0b11_10_11_10;
            const EVEN: i32 = 0b10_00_10_00;
            const ODD: i32 = 0b11_01_11_01;
            /// In a block the numbers that are two and one further on.
            const TWO_ON: i32 = 0b01_00_11_10;
            const ONE_ON: i32 = 0b00_11_10_01;
            let eights = |a, b| {
                $join(_mm512_shuffle_f32x4::<FIRST>(a, b), _mm512_shuffle_f32x4::<LAST>(a, b))
            };
            let (ab, cd) = (eights(a, b), eights(c, d));
            let even = _mm512_shuffle_f32x4::<EVEN>(ab, cd);
            let fours = $join(even, _mm512_shuffle_f32x4::<ODD>(ab, cd));
            let pairs = $join(fours, _mm512_permute_ps::<TWO_ON>(fours));
            $join(pairs, _mm512_permute_ps::<ONE_ON>(pairs))
        }
    };
}

join!(largest, _mm512_max_ps);
join!(total, _mm512_add_ps);

/// [`digest`](super::digest), or [`glance`](super::glance), of as many whole chunks as can be digested
/// together; returns how many.
///
/// # Panics
/// If there are fewer peaks or sums than chunks.
#[target_feature(enable = "avx512f")]
pub(super) fn digest(depth: Depth, x: &[f32], peaks: &mut [f32], sums: &mut [f32]) -> usize {
    let (groups, _) = x.as_chunks::<{ TOGETHER * CHUNK }>();
    let n = groups.len() * TOGETHER;
    let ((peaks, _), (sums, _)) = (peaks[..n].as_chunks_mut(), sums[..n].as_chunks_mut());
    for ((group, peaks), sums) in groups.iter().zip(peaks).zip(sums) {
        let (chunks, _) = group.as_chunks::<CHUNK>();
        let mut lanes = [_mm512_setzero_ps(); TOGETHER];
        for (best, chunk) in lanes.iter_mut().zip(chunks) {
            *best = _mm512_set1_ps(chunk[0]);
            for i in 0..REGISTERS {
                *best = _mm512_max_ps(*best, load(chunk, i));
            }
        }
        let found = largest(lanes);
        store(found, peaks);
        if depth == Depth::Peaks {
            for (flaw, chunk) in sums.iter_mut().zip(chunks) {
                *flaw = if has_nan(chunk) { f32::NAN } else { 0.0 };
            }
            continue;
        }
        let base = _mm512_max_ps(_mm512_set1_ps(f32::MIN), _mm512_permute_ps::<0>(found));
        let bases = [
            _mm512_shuffle_f32x4::<0b00_00_00_00>(base, base),
            _mm512_shuffle_f32x4::<0b01_01_01_01>(base, base),
            _mm512_shuffle_f32x4::<0b10_10_10_10>(base, base),
            _mm512_shuffle_f32x4::<0b11_11_11_11>(base, base),
        ];
        for ((sum, chunk), base) in lanes.iter_mut().zip(chunks).zip(bases) {
            *sum = _mm512_setzero_ps();
            for i in 0..REGISTERS {
                *sum = _mm512_add_ps(*sum, exp(_mm512_sub_ps(load(chunk, i), base)));
            }
        }
        store(total(lanes), sums);
    }
    n
}

/// Whether one of the numbers is none.
#[inline]
#[target_feature(enable = "avx512f")]
fn has_nan(chunk: &[f32; CHUNK]) -> bool {
    let mut found = 0;
    for i in (0..REGISTERS).step_by(2) {
        found |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(load(chunk, i), load(chunk, i + 1));
    }
    found != 0
}

/// The `i`th register of a chunk.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(chunk: &[f32; CHUNK], i: usize) -> __m512 {
    let lanes = &chunk[i * LANES..][..LANES];
    // SAFETY: the slice is as long as a register.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

/// The first lane of each block.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(blocks: __m512, out: &mut [f32; TOGETHER]) {
    const FIRST_OF_BLOCKS: __mmask16 = 0x1111;
    let results = _mm512_castps512_ps128(_mm512_maskz_compress_ps(FIRST_OF_BLOCKS, blocks));
    // SAFETY: there is room for four numbers.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), results) }
}

/// What [`Real::exp`](crate::Real::exp) makes of each number.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    // Of a number and a NaN the second operand is taken.
    let x = _mm512_max_ps(_mm512_set1_ps(LOWEST), x);
    let x = _mm512_min_ps(_mm512_set1_ps(HIGHEST), x);
    let shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(LOG2_E), _mm512_set1_ps(ROUND));
    let n = _mm512_sub_ps(shifted, _mm512_set1_ps(ROUND));
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HIGH), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LOW), r);
    let exponent = const { 127u32.wrapping_sub(ROUND.to_bits()) as i32 };
    let exponent = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(exponent));
    let power = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent));
    let mut p = _mm512_set1_ps(TERMS[0]);
    for term in &TERMS[1..] {
        p = _mm512_fmadd_ps(r, p, _mm512_set1_ps(*term));
    }
    let less_one = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    _mm512_fmadd_ps(power, less_one, power)
}
