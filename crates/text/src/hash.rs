//! A 64-bit hash that is the same on every machine and in every release.
//!
//! The bytes are folded in as in FNV-1a (Fowler, Noll and Vo); the result is spread over all
//! bits by the finaliser of MurmurHash3 (Appleby). Not for anything an adversary may choose.

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A hash in the making.
#[derive(Clone, Copy, Debug)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash {
    /// The hash of nothing, to add to.
    pub fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// Adds `bytes`. Parts are not kept apart: add a separator where that matters.
    pub fn with(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        self
    }

    /// The hash of all that was added.
    pub fn finish(self) -> u64 {
        let mut bits = self.0;
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        bits ^ (bits >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published FNV-1a 64 values of the empty string, "a" and "foobar".
    #[test]
    fn the_fold_is_fnv_1a() {
        assert_eq!(Hash::new().0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Hash::new().with(b"a").0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Hash::new().with(b"foo").with(b"bar").0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn one_changed_bit_changes_about_half_of_the_result() {
        let changed: u32 = (0..64u32)
            .map(|bit| {
                let a = Hash::new().with(&7u64.to_le_bytes()).finish();
                let b = Hash::new().with(&(7u64 ^ (1 << bit)).to_le_bytes()).finish();
                (a ^ b).count_ones()
            })
            .sum();
        // 64 × 32 expected; the standard deviation is 32.
        assert!((1900..2200).contains(&changed), "{changed} bits changed");
    }
}
