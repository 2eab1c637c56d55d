//! CUDA's driver, as far as kernels need it: the functions of `libcuda.so.1` in a table, so that
//! tests have one of their own.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::{mem, ptr};

use libloading::os::unix::Library;

use super::launcher::Launch;
use crate::cuda::reason;

/// The driver's library. It comes with the driver, not with CUDA or libtorch.
const LIBRARY: &str = "libcuda.so.1";

/// The kernels' names, in the order of `AutorepKernel`.
pub(super) const KERNELS: [&CStr; 6] = [
    c"masked_forward",
    c"masked_forward_wide",
    c"masked_watched",
    c"masked_watched_wide",
    c"masked_backward",
    c"masked_backward_wide",
];

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`, and `…_MINOR`.
const CAPABILITY: [c_int; 2] = [75, 76];

/// What went wrong with the driver.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriverError {
    #[error("cannot load CUDA's driver: {}; check it with `nvidia-smi`", reason(.0))]
    Open(#[from] libloading::Error),
    #[error("CUDA's driver failed in {call} with code {code}: {text}")]
    Call {
        call: &'static str,
        code: c_int,
        text: String,
    },
    #[error("expected the number of a kernel, found {0}")]
    Kernel(i32),
}

/// Functions of the driver's interface, under its names without `cu`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    pub(super) init: unsafe extern "C" fn(c_uint) -> c_int,
    pub(super) device_get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int,
    pub(super) device_get_attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int,
    pub(super) device_primary_ctx_retain: unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int,
    pub(super) ctx_push_current: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) ctx_pop_current: unsafe extern "C" fn(*mut *mut c_void) -> c_int,
    pub(super) module_load_data: unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> c_int,
    pub(super) module_get_function:
        unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> c_int,
    pub(super) launch_kernel: LaunchKernel,
    pub(super) get_error_string: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
}

/// Function; grid; block; bytes of shared memory; stream; parameters; further options.
pub(super) type LaunchKernel = unsafe extern "C" fn(
    *mut c_void,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut c_void,
    *mut *mut c_void,
    *mut *mut c_void,
) -> c_int;

/// Kernels on a device: addresses that are the driver's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    context: usize,
    functions: [usize; KERNELS.len()],
}

#[expect(unsafe_code, reason = "the driver's interface is C")]
impl Driver {
    pub(super) fn open() -> Result<Self, DriverError> {
        // SAFETY: loading the driver's library initialises nothing yet; the types of the functions
        // are those of its interface. It is never closed.
        unsafe {
            let library = Library::open(Some(LIBRARY), libloading::os::unix::RTLD_NOW)?;
            let driver = Self {
                init: *library.get(c"cuInit")?,
                device_get: *library.get(c"cuDeviceGet")?,
                device_get_attribute: *library.get(c"cuDeviceGetAttribute")?,
                device_primary_ctx_retain: *library.get(c"cuDevicePrimaryCtxRetain")?,
                ctx_push_current: *library.get(c"cuCtxPushCurrent_v2")?,
                ctx_pop_current: *library.get(c"cuCtxPopCurrent_v2")?,
                module_load_data: *library.get(c"cuModuleLoadData")?,
                module_get_function: *library.get(c"cuModuleGetFunction")?,
                launch_kernel: *library.get(c"cuLaunchKernel")?,
                get_error_string: *library.get(c"cuGetErrorString")?,
            };
            mem::forget(library);
            Ok(driver)
        }
    }

    /// The device's compute capability, for example 90 for 9.0.
    pub(super) fn capability(&self, device: i32) -> Result<i32, DriverError> {
        let handle = self.device(device)?;
        let mut parts = [0; 2];
        for (part, attribute) in parts.iter_mut().zip(CAPABILITY) {
            // SAFETY: a place for one number.
            let code = unsafe { (self.device_get_attribute)(part, attribute, handle) };
            self.checked("cuDeviceGetAttribute", code)?;
        }
        Ok(parts[0] * 10 + parts[1])
    }

    fn device(&self, device: i32) -> Result<c_int, DriverError> {
        let mut handle = 0;
        // SAFETY: no pointers but to a place for one number.
        let (began, got) = unsafe { ((self.init)(0), (self.device_get)(&raw mut handle, device)) };
        self.checked("cuInit", began)?;
        self.checked("cuDeviceGet", got)?;
        Ok(handle)
    }

    /// Loads compiled kernels (a cubin, or PTX with its zero) for the life of the process.
    pub(super) fn load(&self, device: i32, code: &[u8]) -> Result<Loaded, DriverError> {
        let handle = self.device(device)?;
        let mut context = ptr::null_mut();
        // SAFETY: a place for one pointer. It is libtorch's context, which is never given back.
        let retained = unsafe { (self.device_primary_ctx_retain)(&raw mut context, handle) };
        self.checked("cuDevicePrimaryCtxRetain", retained)?;
        let mut functions = [0; KERNELS.len()];
        self.within(context, || {
            let mut module = ptr::null_mut();
            // SAFETY: the code is whole, and ends with a zero where it is a text.
            let loaded = unsafe { (self.module_load_data)(&raw mut module, code.as_ptr().cast()) };
            self.checked("cuModuleLoadData", loaded)?;
            for (name, address) in KERNELS.into_iter().zip(&mut functions) {
                let mut function = ptr::null_mut();
                // SAFETY: the name ends with a zero.
                let found =
                    unsafe { (self.module_get_function)(&raw mut function, module, name.as_ptr()) };
                self.checked("cuModuleGetFunction", found)?;
                *address = function as usize;
            }
            Ok(())
        })?;
        Ok(Loaded {
            context: context as usize,
            functions,
        })
    }

    /// Puts a kernel on the launch's stream, and does not wait for it.
    pub(super) fn launch(&self, loaded: &Loaded, launch: &Launch) -> Result<(), DriverError> {
        let kernel = usize::try_from(launch.kernel).ok();
        let function = kernel.and_then(|kernel| loaded.functions.get(kernel));
        let function = *function.ok_or(DriverError::Kernel(launch.kernel))?;
        let ([blocks, parts], [lanes, slices]) = (launch.grid, launch.block);
        let mut parameters = [launch.arguments];
        self.within(loaded.context as *mut c_void, || {
            // SAFETY: a function of this context, and the one parameter that it has.
            let code = unsafe {
                (self.launch_kernel)(
                    function as *mut c_void,
                    blocks,
                    parts,
                    1,
                    lanes,
                    slices,
                    1,
                    0,
                    launch.stream,
                    parameters.as_mut_ptr(),
                    ptr::null_mut(),
                )
            };
            self.checked("cuLaunchKernel", code)
        })
    }

    /// With a context as this thread's current one: autograd's threads may have none, or another
    /// device's.
    fn within(
        &self,
        context: *mut c_void,
        body: impl FnOnce() -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        // SAFETY: a context that was retained.
        let pushed = unsafe { (self.ctx_push_current)(context) };
        self.checked("cuCtxPushCurrent", pushed)?;
        let done = body();
        let mut popped = ptr::null_mut();
        // SAFETY: a place for one pointer.
        let code = unsafe { (self.ctx_pop_current)(&raw mut popped) };
        done.and(self.checked("cuCtxPopCurrent", code))
    }

    fn checked(&self, call: &'static str, code: c_int) -> Result<(), DriverError> {
        if code == 0 {
            return Ok(());
        }
        let mut text = ptr::null();
        // SAFETY: a place for one pointer, to a text that is never freed.
        let text = unsafe {
            (self.get_error_string)(code, &raw mut text);
            if text.is_null() {
                "an unknown error".to_owned()
            } else {
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        };
        Err(DriverError::Call { call, code, text })
    }
}
