//! The same loop compiled for several instruction sets, chosen when the program runs.

/// The instruction sets the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the target guarantees: SSE2 on x86-64, NEON on Arm.
    Portable,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX-512 with products of pairs in bfloat16.
    Avx512Bf16,
}

/// The level that is used: the fastest of this processor, or the one that `NMT_SIMD` (`portable`,
/// `avx2`, `avx512`, `avx512-bf16`) forces if the processor has it: how the others are tested. They
/// all give the same bits.
pub fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let forced = match std::env::var("NMT_SIMD").as_deref() {
            Ok("portable") => Level::Portable,
            Ok("avx2") => Level::Avx2,
            Ok("avx512") => Level::Avx512,
            Ok("avx512-bf16") => Level::Avx512Bf16,
            _ => fastest(),
        };
        best().min(forced)
    })
}

/// The level that is used if none is forced.
///
/// That is the best one except on Intel's processors. These begin two fused multiply-adds a cycle
/// but a product of pairs, which is worth two, only every other cycle: half as many terms.
pub(crate) fn fastest() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let maker = std::arch::x86_64::__cpuid(0);
        let intel =
            (maker.ebx, maker.edx, maker.ecx) == (word(b"Genu"), word(b"ineI"), word(b"ntel"));
        if intel {
            return best().min(Level::Avx512);
        }
    }
    best()
}

/// Four letters as the processor names them.
#[cfg(target_arch = "x86_64")]
const fn word(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

/// The best level this processor has.
pub(crate) fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma");
        if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
            return if has!("avx512bf16") { Level::Avx512Bf16 } else { Level::Avx512 };
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Bytes that a processor fetches at once.
pub(crate) const LINE: usize = 64;

/// Asks for what is at `place`, wherever that is, to be brought near: a hint.
pub(crate) fn fetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the hint does nothing that can be observed, for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) }
    }
    let _ = place;
}

/// As [`fetch`], for what will be written.
pub(crate) fn fetch_to_write<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: as in `fetch`.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) }
    }
    let _ = place;
}

/// Defines a function over [`Real`](crate::Real) numbers whose body is compiled once for each
/// [`Level`] and entered through the best of them.
///
/// Write fused multiply-adds as such and sums with a fixed number of partial sums: then all
/// levels give the same bits.
#[macro_export]
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$t:ident: Real>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $crate::vectorized! {
            $(#[$meta])*
            $vis fn $name<$t: $crate::Real>($($arg: $ty),*) $(-> $ret)? $body
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$t:ident: $bound:path>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$t: $bound>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<$t: $bound>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512<$t: $bound>($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2<$t: $bound>($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                match $crate::simd::level() {
                    // SAFETY: `level` has found these features on this processor.
                    $crate::simd::Level::Avx512 | $crate::simd::Level::Avx512Bf16 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Portable => {}
                }
            }
            body($($arg),*)
        }
    };
}
