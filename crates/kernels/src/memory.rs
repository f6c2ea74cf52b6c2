//! How the allocator treats memory that was freed.

/// Asks the allocator to keep freed memory for the next tensors. Returns whether it will.
///
/// An update of a model frees what it allocated, and the next one allocates the same again. The
/// allocator of glibc gives the end of its heap and large blocks back to the system in between,
/// and the system clears every page before it lends it again. A program that trains calls this
/// once when it starts; other systems and libraries go on as they did.
pub fn keep_freed() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // From glibc's malloc.h.
        const TRIM_THRESHOLD: c_int = -1;
        const TOP_PAD: c_int = -2;
        const MMAP_THRESHOLD: c_int = -3;
        /// Never give back the end of the heap.
        const NEVER: c_int = -1;
        /// Grow the heap by this much, in bytes.
        const STEP: c_int = 64 << 20;
        /// Only larger blocks stand outside of the heap, in bytes.
        const LARGE: c_int = 1 << 30;
        let settings = [(TRIM_THRESHOLD, NEVER), (TOP_PAD, STEP), (MMAP_THRESHOLD, LARGE)];
        // SAFETY: the function only sets parameters of the allocator, under its lock.
        return settings
            .into_iter()
            .all(|(parameter, value)| unsafe { mallopt(parameter, value) } == 1);
    }
    #[allow(unreachable_code)] // except on Linux
    false
}
