//! Runs the CUDA kernels of [`kernels::gpu`] on the host, so that their arithmetic, their indices
//! and their barriers are tested where there is no GPU.
//!
//! The kernels' own sources are compiled as C++; a thread of a block is a coroutine. That says
//! nothing of speed, and not everything of memory that threads of a GPU race for, but a barrier
//! that is missing shows in another order of the threads, and one that threads never reach is an
//! error.

use std::cell::Cell;
#[cfg(emulated)]
use std::ffi::{CString, c_char, c_int, c_void};
#[cfg(emulated)]
use std::sync::Mutex;

#[cfg(emulated)]
use kernels::gpu::{Host, HostLaunch};

#[cfg(emulated)]
unsafe extern "C" {
    fn emulate(
        name: *const c_char,
        grid: *const u32,
        block: *const u32,
        shared_bytes: u32,
        params: *mut *mut c_void,
        order: u32,
    ) -> c_int;
}

/// Lets kernels on tensors of the CPU run here from now on. False, with a line on standard error,
/// if the kernels could not be compiled for lack of a C++ compiler.
pub fn install() -> bool {
    #[cfg(emulated)]
    {
        kernels::gpu::install_host(&Emulator);
        true
    }
    #[cfg(not(emulated))]
    {
        eprintln!("SKIPPED: no C++ compiler was found to compile CUDA kernels for the host");
        false
    }
}

/// Orders in which the threads of a block may run: forward, backward, and in steps.
pub const ORDERS: [u32; 3] = [0, 1, 2];

thread_local! {
    static ORDER: Cell<u32> = const { Cell::new(0) };
}

/// Runs `f` with threads of kernels that it launches in one of the [`ORDERS`].
pub fn in_order<R>(order: u32, f: impl FnOnce() -> R) -> R {
    let before = ORDER.replace(order);
    let result = f();
    ORDER.set(before);
    result
}

#[cfg(emulated)]
struct Emulator;

/// The emulation has one set of threads.
#[cfg(emulated)]
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[cfg(emulated)]
impl Host for Emulator {
    fn run(&self, launch: &HostLaunch) -> Result<(), String> {
        let name = CString::new(launch.kernel).map_err(|error| error.to_string())?;
        let mut params = launch.params.to_vec();
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: `Launch` says of its parameters that they are those of the kernel, and points
        // to memory that it holds for as long as this call takes; the lock keeps the emulation's
        // own state to one thread.
        let code = unsafe {
            emulate(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.shared_bytes,
                params.as_mut_ptr(),
                ORDER.get(),
            )
        };
        match code {
            0 => Ok(()),
            1 => Err(format!("no kernel {}", launch.kernel)),
            2 => Err(format!("{}: a block of {:?} threads", launch.kernel, launch.block)),
            _ => Err(format!("{}: threads wait for others that never come", launch.kernel)),
        }
    }
}
