//! What the operator calls to run a kernel: compiles it for the device at hand when it is first
//! needed, keeps it, launches it.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::sync::{Mutex, PoisonError};
use std::{ptr, slice};

use super::Element;
use super::driver::{Driver, DriverError, Loaded};
use super::nvrtc::{Nvrtc, NvrtcError};

/// `struct AutorepLaunch` of `launcher.h`.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Launch {
    /// The device's number.
    pub(super) device: i32,
    /// An [`Element`].
    pub(super) element: i32,
    /// An index into [`super::driver::KERNELS`].
    pub(super) kernel: i32,
    /// Blocks.
    pub(super) grid: [u32; 2],
    /// Threads of a block.
    pub(super) block: [u32; 2],
    /// A `CUstream`.
    pub(super) stream: *mut c_void,
    /// The kernel's argument.
    pub(super) arguments: *mut c_void,
}

type Callback = extern "C" fn(&Engine, &Launch, *mut c_char, usize) -> i32;

/// `struct AutorepLauncher` of `launcher.h`.
#[derive(Debug)]
#[repr(C)]
pub(in crate::fused) struct Launcher {
    engine: &'static Engine,
    launch: Callback,
}

impl Launcher {
    /// A launcher for the life of the process: graphs of autograd refer to it.
    pub(super) fn new(engine: Engine) -> &'static Self {
        Box::leak(Box::new(Self {
            engine: Box::leak(Box::new(engine)),
            launch: launched,
        }))
    }

    /// Compiles and loads the kernels for a device and a type of map, unless they are. An error is
    /// kept, too.
    pub(super) fn prepare(&self, device: i32, element: Element) -> Result<(), String> {
        self.engine.loaded(device, element).map(|_loaded| ())
    }
}

/// Why kernels cannot be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error(transparent)]
    Nvrtc(#[from] NvrtcError),
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// The two libraries, and what was made with them.
#[derive(Debug)]
pub(super) struct Engine {
    nvrtc: Nvrtc,
    driver: Driver,
    /// By device and type of map.
    loaded: Mutex<BTreeMap<(i32, Element), Result<Loaded, String>>>,
}

impl Engine {
    /// Finds NVRTC and the driver.
    pub(super) fn open() -> Result<Self, EngineError> {
        Ok(Self::new(Nvrtc::open()?, Driver::open()?))
    }

    /// With these libraries.
    pub(super) fn new(nvrtc: Nvrtc, driver: Driver) -> Self {
        Self {
            nvrtc,
            driver,
            loaded: Mutex::default(),
        }
    }

    fn loaded(&self, device: i32, element: Element) -> Result<Loaded, String> {
        let mut all = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((device, element))
            .or_insert_with(|| self.load(device, element).map_err(|it| it.to_string()))
            .clone()
    }

    fn load(&self, device: i32, element: Element) -> Result<Loaded, EngineError> {
        let capability = self.driver.capability(device)?;
        let target = self.nvrtc.target(capability)?;
        let code = self.nvrtc.compile(target, element, &[])?;
        Ok(self.driver.load(device, &code.bytes)?)
    }

    fn run(&self, launch: &Launch) -> Result<(), String> {
        let element = Element::ALL
            .into_iter()
            .find(|element| *element as i32 == launch.element)
            .ok_or_else(|| format!("expected a type of map, found {}", launch.element))?;
        let loaded = self.loaded(launch.device, element)?;
        self.driver
            .launch(&loaded, launch)
            .map_err(|error| error.to_string())
    }
}

/// The callback of a [`Launcher`].
extern "C" fn launched(engine: &Engine, launch: &Launch, why: *mut c_char, room: usize) -> i32 {
    let Err(error) = engine.run(launch) else {
        return 0;
    };
    let fits = error.len().min(room.saturating_sub(1));
    if room > 0 {
        #[expect(unsafe_code, reason = "the caller's buffer is C++'s")]
        // SAFETY: the buffer has `room` bytes, of which this takes at most all.
        unsafe {
            ptr::copy_nonoverlapping(error.as_ptr(), why.cast(), fits);
            slice::from_raw_parts_mut(why.cast::<u8>(), room)[fits] = 0;
        }
    }
    1
}
