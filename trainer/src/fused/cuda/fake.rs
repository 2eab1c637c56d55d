//! NVRTC and a driver for tests. What the former "compiles" says for whom; the latter finds the
//! kernels of that type among the emulated ones and runs them with exactly the parameters that it is
//! given, on memory of the CPU.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;

use super::driver::Driver;
use super::launcher::{Engine, Launcher};
use super::nvrtc::Nvrtc;

/// The devices' compute capability.
const CAPABILITY: [c_int; 2] = [9, 0];

/// Where the driver's one context and the emulated kernels live.
const CONTEXT: usize = 0xc0de;

/// One launch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Launched {
    pub(super) kernel: String,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) stream: usize,
}

/// What the libraries have been asked for on this thread.
#[derive(Debug, Default)]
struct Seen {
    compiled: Vec<String>,
    launched: Vec<Launched>,
    contexts: Vec<usize>,
    found: Vec<(usize, String)>,
    programs: usize,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
    /// The function that is to fail, and its code.
    static FAILS: Cell<Option<(&'static str, c_int)>> = const { Cell::new(None) };
    /// What the emulator has said.
    static SAID: Cell<*const c_char> = const { Cell::new(ptr::null()) };
}

/// A launcher with libraries of its own, which find nothing wrong.
pub(super) fn launcher() -> &'static Launcher {
    FAILS.set(None);
    SEEN.with_borrow_mut(|seen| *seen = Seen::default());
    Launcher::new(engine())
}

pub(super) fn fail(function: &'static str, code: c_int) {
    FAILS.set(Some((function, code)));
}

/// Launches since the last call.
pub(super) fn launched() -> Vec<Launched> {
    SEEN.with_borrow_mut(|seen| std::mem::take(&mut seen.launched))
}

/// Options of every compilation.
pub(super) fn compiled() -> Vec<String> {
    SEEN.with_borrow(|seen| seen.compiled.clone())
}

/// Programs and contexts that were not given back.
pub(super) fn held() -> (usize, usize) {
    SEEN.with_borrow(|seen| (seen.programs, seen.contexts.len()))
}

fn engine() -> Engine {
    let nvrtc = Nvrtc {
        get_num_supported_archs,
        get_supported_archs,
        create_program,
        compile_program,
        get_program_log: (log_size, log),
        get_ptx: (code_size, code),
        get_cubin: (code_size, code),
        destroy_program,
    };
    let driver = Driver {
        init,
        device_get,
        device_get_attribute,
        device_primary_ctx_retain,
        ctx_push_current,
        ctx_pop_current,
        module_load_data,
        module_get_function,
        launch_kernel,
        get_error_string,
    };
    Engine::new(nvrtc, driver)
}

/// Its code if this function is to fail, otherwise zero.
fn fails(function: &str) -> c_int {
    match FAILS.get() {
        Some((name, code)) if name == function => code,
        Some(_) | None => 0,
    }
}

/// What NVRTC says when it is to fail.
const LOG: &CStr = c"kernels.cu(7): error: identifier is undefined";

const SUPPORTED: [c_int; 3] = [80, 90, 100];

#[expect(unsafe_code, reason = "the interfaces are C")]
mod interfaces {
    use super::*;

    #[link(name = "autorep_emulated", kind = "static")]
    unsafe extern "C" {
        fn autorep_emulated_find(element: *const c_char, name: *const c_char) -> *const c_void;
        fn autorep_emulated_run(
            found: *const c_void,
            grid_x: c_uint,
            grid_y: c_uint,
            block_x: c_uint,
            block_y: c_uint,
            parameters: *mut *mut c_void,
        ) -> *const c_char;
    }

    fn text(text: *const c_char) -> String {
        // SAFETY: whoever calls the libraries gives texts that end with a zero.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
    }

    fn put<T>(place: *mut T, value: T) {
        // SAFETY: whoever calls the libraries gives places for what they return.
        unsafe { place.write(value) };
    }

    pub(super) extern "C" fn get_num_supported_archs(count: *mut c_int) -> c_int {
        put(count, 3);
        0
    }

    pub(super) extern "C" fn get_supported_archs(all: *mut c_int) -> c_int {
        put(all.cast(), SUPPORTED);
        0
    }

    pub(super) extern "C" fn create_program(
        program: *mut *mut c_void,
        source: *const c_char,
        _name: *const c_char,
        _headers: c_int,
        _bodies: *const *const c_char,
        _names: *const *const c_char,
    ) -> c_int {
        assert!(text(source).contains("masked_forward_wide"));
        SEEN.with_borrow_mut(|seen| seen.programs += 1);
        // What is compiled takes its place.
        put(program, Box::into_raw(Box::new(String::new())).cast());
        0
    }

    pub(super) extern "C" fn compile_program(
        program: *mut c_void,
        count: c_int,
        options: *const *const c_char,
    ) -> c_int {
        // SAFETY: as many pointers as it is told, and a program that was made above.
        let (options, program) = unsafe {
            let count = usize::try_from(count).unwrap();
            let options = std::slice::from_raw_parts(options, count);
            (options, &mut *program.cast::<String>())
        };
        let options: Vec<String> = options.iter().map(|it| text(*it)).collect();
        let element = options.iter().find_map(|it| it.rsplit_once('='));
        assert_eq!(element.unwrap().0, "--gpu-architecture");
        let defined = options.last().unwrap().rsplit_once('=').unwrap();
        assert_eq!(defined.0, "--define-macro=AUTOREP_ELEMENT");
        defined.1.clone_into(program);
        SEEN.with_borrow_mut(|seen| seen.compiled.push(options.join(" ")));
        fails("compile")
    }

    pub(super) extern "C" fn log_size(_program: *mut c_void, size: *mut usize) -> c_int {
        put(size, LOG.to_bytes_with_nul().len());
        0
    }

    pub(super) extern "C" fn log(_program: *mut c_void, to: *mut c_char) -> c_int {
        // SAFETY: as much room as was said.
        unsafe { ptr::copy_nonoverlapping(LOG.as_ptr(), to, LOG.to_bytes_with_nul().len()) };
        0
    }

    pub(super) extern "C" fn code_size(program: *mut c_void, size: *mut usize) -> c_int {
        // SAFETY: a program that was made above.
        put(size, unsafe { &*program.cast::<String>() }.len() + 1);
        0
    }

    pub(super) extern "C" fn code(program: *mut c_void, to: *mut c_char) -> c_int {
        // SAFETY: a program that was made above, and as much room as was said.
        unsafe {
            let code = &*program.cast::<String>();
            ptr::copy_nonoverlapping(code.as_ptr(), to.cast(), code.len());
            to.add(code.len()).write(0);
        }
        0
    }

    pub(super) extern "C" fn destroy_program(program: *mut *mut c_void) -> c_int {
        // SAFETY: a program that was made above, once.
        drop(unsafe { Box::from_raw((*program).cast::<String>()) });
        SEEN.with_borrow_mut(|seen| seen.programs -= 1);
        0
    }

    pub(super) extern "C" fn init(_flags: c_uint) -> c_int {
        fails("init")
    }

    pub(super) extern "C" fn device_get(device: *mut c_int, number: c_int) -> c_int {
        put(device, number);
        0
    }

    pub(super) extern "C" fn device_get_attribute(
        value: *mut c_int,
        attribute: c_int,
        _device: c_int,
    ) -> c_int {
        put(value, CAPABILITY[usize::from(attribute == 76)]);
        0
    }

    pub(super) extern "C" fn device_primary_ctx_retain(
        context: *mut *mut c_void,
        _device: c_int,
    ) -> c_int {
        put(context, CONTEXT as *mut c_void);
        0
    }

    pub(super) extern "C" fn ctx_push_current(context: *mut c_void) -> c_int {
        SEEN.with_borrow_mut(|seen| seen.contexts.push(context as usize));
        0
    }

    pub(super) extern "C" fn ctx_pop_current(_context: *mut *mut c_void) -> c_int {
        SEEN.with_borrow_mut(|seen| seen.contexts.pop());
        0
    }

    /// A call that needs the context.
    fn within_context() {
        SEEN.with_borrow(|seen| assert_eq!(seen.contexts.last(), Some(&CONTEXT)));
    }

    pub(super) extern "C" fn module_load_data(
        module: *mut *mut c_void,
        code: *const c_void,
    ) -> c_int {
        within_context();
        put(module, Box::into_raw(Box::new(text(code.cast()))).cast());
        fails("load")
    }

    pub(super) extern "C" fn module_get_function(
        function: *mut *mut c_void,
        module: *mut c_void,
        name: *const c_char,
    ) -> c_int {
        within_context();
        // SAFETY: a module that was made above, and texts that end with a zero.
        let found = unsafe {
            let element = std::ffi::CString::new(&**module.cast::<String>()).unwrap();
            autorep_emulated_find(element.as_ptr(), name)
        };
        let name = text(name);
        SEEN.with_borrow_mut(|seen| seen.found.push((found as usize, name)));
        put(function, found.cast_mut());
        // CUDA_ERROR_NOT_FOUND
        if found.is_null() { 500 } else { 0 }
    }

    pub(super) extern "C" fn launch_kernel(
        function: *mut c_void,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared: c_uint,
        stream: *mut c_void,
        parameters: *mut *mut c_void,
        _further: *mut *mut c_void,
    ) -> c_int {
        within_context();
        assert_eq!(shared, 0);
        if fails("launch") != 0 {
            return fails("launch");
        }
        SEEN.with_borrow_mut(|seen| {
            let mut names = seen.found.iter();
            let found = names.find(|(address, _)| *address == function as usize);
            let launched = Launched {
                kernel: found.unwrap().1.clone(),
                grid: [grid_x, grid_y, grid_z],
                block: [block_x, block_y, block_z],
                stream: stream as usize,
            };
            seen.launched.push(launched);
        });
        // SAFETY: a function that was found above, with the parameters that its kernel has.
        let problem =
            unsafe { autorep_emulated_run(function, grid_x, grid_y, block_x, block_y, parameters) };
        SAID.set(problem);
        // CUDA_ERROR_LAUNCH_FAILED
        if problem.is_null() { 0 } else { 719 }
    }

    pub(super) extern "C" fn get_error_string(code: c_int, place: *mut *const c_char) -> c_int {
        let said = SAID.get();
        let known = if code == 700 {
            c"an illegal memory access was encountered".as_ptr()
        } else {
            said
        };
        put(place, known);
        0
    }
}
use interfaces::*;
