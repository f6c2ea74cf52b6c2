//! How search keeps the numbers of keys and values: as they are, or in half the space.

use kernels::Real;

/// A number as it is kept; computing takes it for a [`Real`] number.
pub trait Kept: Copy + Send + Sync + 'static {
    /// What it is computed with.
    type Number: Real;

    /// What is kept of a number.
    fn keep(number: Self::Number) -> Self;

    /// The number that is computed with.
    fn number(self) -> Self::Number;
}

impl<T: Real> Kept for T {
    type Number = T;

    #[inline(always)]
    fn keep(number: T) -> T {
        number
    }

    #[inline(always)]
    fn number(self) -> T {
        self
    }
}

/// A number of `f32` rounded to bfloat16, to the nearest and ties to even: half the memory, which
/// is what attending to much at once is waiting for, and eight binary digits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bf16(u16);

impl Kept for Bf16 {
    type Number = f32;

    #[inline(always)]
    fn keep(number: f32) -> Self {
        const QUIET: u32 = 1 << 22;
        let bits = number.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let bits = if number.is_nan() { bits | QUIET } else { rounded };
        Self((bits >> 16) as u16)
    }

    #[inline(always)]
    fn number(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_to_the_nearest_and_ties_to_even() {
        let kept = |x: f32| Bf16::keep(x).number();
        let unit = 1.0 / 128.0; // in the last place, from one on
        for (x, expected) in [
            (0.0, 0.0),
            (1.0 + unit / 2.0, 1.0),
            (1.0 + unit * 1.5, 1.0 + 2.0 * unit),
            (-1.0 - unit * 0.501, -1.0 - unit),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (1e-40, f32::from_bits((1e-40f32.to_bits() + 0x8000) & 0xffff_0000)),
        ] {
            assert_eq!(kept(x), expected, "{x}");
        }
        assert!(kept(f32::from_bits(0x7f80_0001)).is_nan());
        assert!(kept(f32::from_bits(0xffff_ffff)).is_nan());
        assert_eq!(f64::keep(0.1).number(), 0.1);
    }
}
