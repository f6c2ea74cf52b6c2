//! What a product in mixed precision makes of its operands, so that every processor agrees.
//!
//! A factor is rounded to bfloat16, to the nearest and ties to even. Then the product of two
//! factors is exact in `f32`, and only additions round. The instruction `vdpbf16ps` (Intel 64 and
//! IA-32 Architectures Software Developer's Manual, volume 2) adds the products of a pair one
//! after another, the second first, each as a fused multiply-add to nearest even. But it takes
//! subnormal numbers for zero, which a plain fused multiply-add does not. So nothing subnormal may
//! come up: factors below [`SMALLEST`] count as zero, which makes products and their sums
//! multiples of 2⁻¹²⁶, the smallest normal number; and a sum starts from such a multiple too.

/// The smallest factor that is not taken for zero: 2⁻⁵⁶. With eight digits it is a multiple of
/// 2⁻⁶³, and a product of two such multiples is one of 2⁻¹²⁶.
pub(super) const SMALLEST: f32 = f32::from_bits((127 - 56) << 23);
/// The smallest start of a sum that is not taken for zero: 2⁻¹⁰³, with 24 digits a multiple of
/// 2⁻¹²⁶.
const SMALLEST_SUM: f32 = f32::from_bits((127 - 103) << 23);

/// The bfloat16 nearest to `x`, or zero if that is below [`SMALLEST`].
#[inline(always)]
pub(super) fn factor(x: f32) -> f32 {
    const KEPT: u32 = 0xffff_0000;
    let bits = x.to_bits();
    if x.is_nan() {
        const QUIET: u32 = 1 << 22;
        return f32::from_bits((bits | QUIET) & KEPT);
    }
    let half = 0x7fff + (bits >> 16 & 1);
    let rounded = f32::from_bits((bits + half) & KEPT);
    if rounded.abs() < SMALLEST { 0.0 } else { rounded }
}

/// `x`, or zero if that is too small for a sum to start from.
#[inline(always)]
pub(super) fn summand(x: f32) -> f32 {
    if x.abs() < SMALLEST_SUM { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_rounded_to_the_nearest_and_ties_to_even() {
        let unit = 1.0 / 128.0; // in the last place of bfloat16, from one on
        assert_eq!(factor(1.0 + unit / 2.0), 1.0);
        assert_eq!(factor(1.0 + unit * 1.5), 1.0 + 2.0 * unit);
        assert_eq!(factor(-1.0 - unit * 0.501), -1.0 - unit);
        assert_eq!(factor(1.0 + unit * 0.499), 1.0);
        assert_eq!(factor(f32::MAX), f32::INFINITY);
        assert_eq!(factor(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert!(factor(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn small_numbers_count_as_zero() {
        let below = |x: f32| f32::from_bits(x.to_bits() - 1);
        assert_eq!(factor(SMALLEST), SMALLEST);
        assert_eq!(factor(below(SMALLEST)), SMALLEST, "rounded first");
        assert_eq!(factor(SMALLEST * (1.0 - 1.0 / 256.0)), 0.0);
        assert_eq!(factor(f32::from_bits(1)), 0.0);
        assert_eq!(summand(-SMALLEST_SUM), -SMALLEST_SUM);
        assert_eq!(summand(below(SMALLEST_SUM)), 0.0);
        assert!(summand(f32::NAN).is_nan());
    }
}
