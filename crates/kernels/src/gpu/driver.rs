//! The way to a GPU: memory, and kernels through CUDA's driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use candle_core::cuda::CudaStorageSlice as Slice;
use candle_core::cuda::cudarc::driver::sys::{self, CUfunction_attribute};
use candle_core::cuda::cudarc::driver::{
    CudaContext, CudaFunction, DevicePtr, DriverError, result,
};
use candle_core::cuda::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Error, Result, bail};

use super::device::{Description, Found};
use super::launch::HostLaunch;

/// All kernels for the GPUs that `build.rs` names, and as PTX for later ones.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));
/// Shared memory that a kernel may ask for when it is launched: what a block can have on every GPU from
/// compute capability 8.0 on.
const SHARED: i32 = 99 << 10;

/// Memory for `n` numbers of any value; the driver has none of no size.
pub(super) fn alloc(device: &CudaDevice, dtype: DType, n: usize) -> Result<CudaStorage> {
    let n = n.max(1);
    // SAFETY: a kernel writes all of it before anything reads it, as `Array` demands.
    let slice = unsafe {
        match dtype {
            DType::F32 => Slice::F32(device.alloc(n)?),
            DType::BF16 => Slice::BF16(device.alloc(n)?),
            DType::F64 => Slice::F64(device.alloc(n)?),
            DType::U32 => Slice::U32(device.alloc(n)?),
            DType::U8 => Slice::U8(device.alloc(n)?),
            _ => bail!("kernels write no {dtype:?}"),
        }
    };
    Ok(CudaStorage { slice, device: device.clone() })
}

/// Where the numbers of a storage begin on the device.
pub(super) fn address(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    // All work of a device is in one stream: nothing has to be waited for.
    Ok(match &storage.slice {
        Slice::F32(slice) => slice.device_ptr(&stream).0,
        Slice::BF16(slice) => slice.device_ptr(&stream).0,
        Slice::F64(slice) => slice.device_ptr(&stream).0,
        Slice::U32(slice) => slice.device_ptr(&stream).0,
        _ => bail!("kernels read no such storage"),
    })
}

/// Kernels that were looked up, by device.
static FUNCTIONS: Mutex<Option<HashMap<(usize, String), CudaFunction>>> = Mutex::new(None);

/// Puts a kernel in line on a device.
pub(super) fn launch(device: &CudaDevice, launch: &HostLaunch) -> Result<()> {
    let function = function(device, launch.kernel, launch.shared_bytes)?;
    let stream = device.cuda_stream();
    let mut params = launch.params.to_vec();
    let [x, y, z] = launch.grid;
    let [a, b, c] = launch.block;
    stream.context().bind_to_thread().map_err(Error::wrap)?;
    // SAFETY: the parameters are those of the kernel, as each operation lays them out and the
    // tests on the host check; they point to memory of this device that lives until the stream
    // comes to free it, which it does in order.
    unsafe {
        result::launch_kernel(
            function.cu_function(),
            (x, y, z),
            (a, b, c),
            launch.shared_bytes,
            stream.cu_stream(),
            &mut params,
        )
    }
    .map_err(|error| Error::wrap(error).context(format!("launching {}", launch.kernel)))
}

/// A kernel on a device, allowed as much shared memory as it asks for.
fn function(device: &CudaDevice, kernel: &str, shared_bytes: u32) -> Result<CudaFunction> {
    let context = device.cuda_stream().context().clone();
    let mut functions = FUNCTIONS.lock().expect("no thread panics with the kernels");
    let functions = functions.get_or_insert_default();
    let key = (Arc::as_ptr(&context) as usize, kernel.to_string());
    if let Some(function) = functions.get(&key) {
        return Ok(function.clone());
    }
    let module = module(device)?;
    let function = module
        .load_function(kernel)
        .map_err(|error| Error::wrap(error).context(format!("kernel {kernel}")))?;
    if shared_bytes > 0 {
        let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most, SHARED).map_err(Error::wrap)?;
    }
    functions.insert(key, function.clone());
    Ok(function)
}

type Module = Arc<candle_core::cuda::cudarc::driver::CudaModule>;

/// The kernels as loaded onto a device.
fn module(device: &CudaDevice) -> Result<Module> {
    static MODULES: Mutex<Option<HashMap<usize, Module>>> = Mutex::new(None);
    let context = device.cuda_stream().context().clone();
    let mut modules = MODULES.lock().expect("no thread panics with the modules");
    let modules = modules.get_or_insert_default();
    let key = Arc::as_ptr(&context) as usize;
    if let Some(module) = modules.get(&key) {
        return Ok(module.clone());
    }
    let module = context.load_module(Ptx::from_binary(KERNELS.to_vec())).map_err(|error| {
        Error::wrap(error).context("the kernels of this build do not load on this GPU")
    })?;
    modules.insert(key, module.clone());
    Ok(module)
}

/// What the driver knows of GPUs.
pub(super) fn find() -> Found {
    let count = match result::init().and_then(|()| result::device::get_count()) {
        Ok(count) if count > 0 => count as usize,
        Ok(_) => return Found::None("the driver finds no GPU".into()),
        Err(error) => return Found::None(error.to_string()),
    };
    let describe = |ordinal: usize| {
        let context = CudaContext::new(ordinal)?;
        let (free, total) = context.mem_get_info()?;
        let (major, minor) = context.compute_capability()?;
        let capability = [major, minor].map(|n| u32::try_from(n).unwrap_or(0));
        Ok(Description { name: context.name()?, memory: [total as u64, free as u64], capability })
    };
    let describe = |ordinal| describe(ordinal).map_err(|error: DriverError| error.to_string());
    Found::Some((0..count).map(describe).collect())
}

/// Makes a device fit for training: see [`open`](super::open).
pub(super) fn prepare(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let context = device.cuda_stream().context().clone();
    // SAFETY: all memory of this device is used in its one stream, in order, so that no use on
    // another stream has to be waited for.
    unsafe { device.disable_event_tracking() };
    // Without this the driver gives freed memory back to the system whenever it is waited for.
    context.bind_to_thread().map_err(Error::wrap)?;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let mut all = u64::MAX;
    // SAFETY: the pool is that of a device which exists, and the attribute is 64 bits wide.
    unsafe {
        let mut pool = std::ptr::null_mut();
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device())
            .result()
            .map_err(Error::wrap)?;
        sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut all).cast())
            .result()
            .map_err(Error::wrap)
    }
}
