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
use std::sync::OnceLock;

use candle_core::Device;

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

/// Lets kernels on tensors of the CPU run here from now on.
fn install() -> bool {
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

/// Where tests of kernels run: on GPU number 0, in a build with the feature `cuda` on a machine that has
/// one, or else here. None, with a line on standard error, if the kernels could not be compiled.
pub fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let find = || match kernels::gpu::find() {
        kernels::gpu::Found::Some(gpus) if gpus.first().is_some_and(Result::is_ok) => {
            Some(kernels::gpu::open(0).expect("a GPU that answers"))
        }
        _ => install().then_some(Device::Cpu),
    };
    DEVICE.get_or_init(find).clone()
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

#[cfg(all(test, emulated))]
mod tests {
    use super::*;

    /// What a kernel of 64 threads writes, in one order.
    fn written(kernel: &str, order: u32) -> Result<Vec<f32>, String> {
        let mut out = vec![-1f32; 64];
        let mut address = out.as_mut_ptr();
        let params = [(&raw mut address).cast()];
        let launch = HostLaunch {
            kernel,
            grid: [1; 3],
            block: [64, 1, 1],
            shared_bytes: 256,
            params: &params,
        };
        in_order(order, || Emulator.run(&launch))?;
        Ok(out)
    }

    #[test]
    fn a_missing_barrier_shows_in_another_order() {
        let of = |kernel| ORDERS.map(|order| written(kernel, order).unwrap());
        let expected: Vec<f32> = (0..64u8).map(|i| f32::from((i + 1) % 64)).collect();
        assert_eq!(of("with_a_barrier"), [(); 3].map(|()| expected.clone()));
        assert!(of("without_a_barrier").iter().any(|found| *found != expected));
    }

    #[test]
    fn threads_that_wait_for_ever_are_an_error() {
        for order in ORDERS {
            let message = written("at_two_barriers", order).unwrap_err();
            assert!(message.contains("at_two_barriers: threads wait"), "{message}");
            // And the next kernel runs as if nothing had happened.
            assert_eq!(written("with_a_barrier", order).unwrap()[63], 0.0);
        }
    }

    #[test]
    fn memory_that_nobody_wrote_is_no_number() {
        let found = written("reads_what_nobody_wrote", 0).unwrap();
        assert!(found.iter().all(|number| number.is_nan()));
    }

    #[test]
    fn a_kernel_that_is_not_there_is_named() {
        assert_eq!(written("nothing", 0).unwrap_err(), "no kernel nothing");
    }
}
