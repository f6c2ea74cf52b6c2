//! Paths of AVX2 and of AVX-512 VNNI.
//!
//! Both multiply bytes without sign by bytes with one. VNNI adds four such products to a sum of 32
//! bits. There the weights lose their sign by adding 128, so each sum starts from −128 times the sum
//! of the activations. AVX2 adds two products into 16 bits, with saturation:
//! there the activations lose their sign to the weights, and magnitudes of at most 127 cannot
//! saturate. (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, `VPDPBUSD`
//! and `VPMADDUBSW`.)

use std::arch::x86_64::*;

use super::Finish;
use super::path::{GROUP, LINE, Path, Row, Tile, quantize};

/// Lines side by side in a panel of AVX-512: with six rows, the sums, the weights and a value of the
/// activations fill 29 of 32 registers.
const LINES: usize = 4;
/// Numbers in a register of AVX2.
const HALF: usize = LINE / 2;

pub(super) static VNNI: Path = Path {
    name: "AVX-512 VNNI",
    rows: 6,
    lines: LINES,
    flip: 0x80,
    quantize: quantize_avx512,
    run: &[vnni::<1>, vnni::<2>, vnni::<3>, vnni::<4>, vnni::<5>, vnni::<6>],
};

pub(super) static AVX2: Path = Path {
    name: "AVX2",
    rows: 4,
    lines: 1,
    flip: 0,
    quantize: quantize_avx2,
    run: &[avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>],
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn quantize_avx512(x: &[f32], values: &mut [i8]) -> Row {
    quantize(x, values)
}

#[target_feature(enable = "avx2,fma")]
fn quantize_avx2(x: &[f32], values: &mut [i8]) -> Row {
    quantize(x, values)
}

/// `ROWS` rows times a panel, with all sums in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn vnni<const ROWS: usize>(tile: &Tile<'_>) {
    let mut sums = [[_mm512_setzero_si512(); LINES]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = [_mm512_set1_epi32(tile.rows[row].sum.wrapping_mul(-128)); LINES];
    }
    // SAFETY: the caller's pointers cover the rows and the panel.
    unsafe {
        let (mut left, mut right) = (tile.left, tile.right);
        for _ in 0..tile.groups {
            let mut weights = [_mm512_setzero_si512(); LINES];
            for (line, weights) in weights.iter_mut().enumerate() {
                *weights = _mm512_load_si512(right.add(line).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = left.add(row * tile.stride).cast::<i32>().read_unaligned();
                let x = _mm512_set1_epi32(x);
                for (sum, &weights) in sums.iter_mut().zip(&weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, weights, x);
                }
            }
            left = left.add(GROUP);
            right = right.add(LINES);
        }
        finish_rows(tile, &{ sums });
    }
}

/// Turns all sums of a tile into results. It stands apart, so that the compiler keeps the sums in
/// registers until they are whole.
///
/// # Safety
/// The tile must be valid.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn finish_rows(tile: &Tile<'_>, sums: &[[__m512i; LINES]]) {
    for (row, sums) in sums.iter().enumerate() {
        let scale = _mm512_set1_ps(tile.rows[row].scale);
        let out = tile.out.wrapping_add(row * tile.out_stride);
        for (line, &sum) in sums.iter().enumerate() {
            // SAFETY: promised by the caller.
            unsafe { finish_avx512(tile, scale, sum, line * LINE, out) }
        }
    }
}

/// Turns the sums of 16 outputs from `col` on into results, and writes those that there are.
///
/// # Safety
/// The tile must be valid, and `out` its row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn finish_avx512(tile: &Tile<'_>, scale: __m512, sum: __m512i, col: usize, out: *mut f32) {
    let n = tile.cols.saturating_sub(col);
    let mask = if n >= LINE { !0 } else { (1u16 << n) - 1 };
    let out = out.wrapping_add(col);
    // SAFETY: scales and bias have whole panels; masked numbers are neither read nor written.
    unsafe {
        let factor = _mm512_mul_ps(scale, _mm512_loadu_ps(tile.scales.add(col)));
        let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor);
        let value = _mm512_add_ps(value, _mm512_loadu_ps(tile.bias.add(col)));
        let value = match tile.finish {
            Finish::Replace => value,
            // The second operand if one is a NaN.
            Finish::Relu => _mm512_max_ps(_mm512_setzero_ps(), value),
            Finish::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), value),
        };
        if n >= LINE {
            _mm512_storeu_ps(out, value);
        } else {
            _mm512_mask_storeu_ps(out, mask, value);
        }
    }
}

/// `ROWS` rows times a panel, with all sums in registers.
#[target_feature(enable = "avx2")]
unsafe fn avx2<const ROWS: usize>(tile: &Tile<'_>) {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    // SAFETY: the caller's pointers cover the rows and the panel.
    unsafe {
        let (mut left, mut right) = (tile.left, tile.right);
        for _ in 0..tile.groups {
            let halves = right.cast::<__m256i>();
            let weights = [_mm256_load_si256(halves), _mm256_load_si256(halves.add(1))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = left.add(row * tile.stride).cast::<i32>().read_unaligned();
                let x = _mm256_set1_epi32(x);
                let magnitudes = _mm256_abs_epi8(x);
                for (sum, &weights) in sums.iter_mut().zip(&weights) {
                    let pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(weights, x));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
            left = left.add(GROUP);
            right = right.add(1);
        }
        for (row, sums) in sums.iter().enumerate() {
            let scale = _mm256_set1_ps(tile.rows[row].scale);
            let out = tile.out.wrapping_add(row * tile.out_stride);
            for (half, &sum) in sums.iter().enumerate() {
                finish_avx2(tile, scale, sum, half * HALF, out);
            }
        }
    }
}

/// Turns the sums of eight outputs from `col` on into results, and writes those that there are.
///
/// # Safety
/// The tile must be valid, and `out` its row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish_avx2(tile: &Tile<'_>, scale: __m256, sum: __m256i, col: usize, out: *mut f32) {
    let n = tile.cols.saturating_sub(col).min(HALF);
    let out = out.wrapping_add(col);
    let mut edge = [0f32; HALF];
    // SAFETY: scales and bias have whole panels; of the result only `n` numbers are touched.
    unsafe {
        let place = if n == HALF { out } else { edge.as_mut_ptr() };
        if n < HALF && tile.finish == Finish::Add {
            std::ptr::copy_nonoverlapping(out, place, n);
        }
        let factor = _mm256_mul_ps(scale, _mm256_loadu_ps(tile.scales.add(col)));
        let value = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), factor);
        let value = _mm256_add_ps(value, _mm256_loadu_ps(tile.bias.add(col)));
        let value = match tile.finish {
            Finish::Replace => value,
            // The second operand if one is a NaN.
            Finish::Relu => _mm256_max_ps(_mm256_setzero_ps(), value),
            Finish::Add => _mm256_add_ps(_mm256_loadu_ps(place), value),
        };
        _mm256_storeu_ps(place, value);
        if n < HALF {
            std::ptr::copy_nonoverlapping(place, out, n);
        }
    }
}
