//! NVRTC, CUDA's compiler at run time: where it is, what it can compile for, and the kernels' source.
//! Its functions are in a table, so that tests have one of their own.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::{fs, mem, ptr};

use libloading::os::unix::Library;

use super::Element;
use crate::cuda::reason;

/// Names NVRTC's library where it is not found by itself.
pub(super) const VARIABLE: &str = "AUTOREP_NVRTC";

const SOURCE: &str = include_str!("kernels.cu.h");

/// What it includes: names and texts.
const HEADERS: [(&CStr, &str); 2] = [
    (c"arguments.cu.h", include_str!("arguments.cu.h")),
    (c"numbers.cu.h", include_str!("numbers.cu.h")),
];

/// What went wrong with NVRTC.
#[derive(Debug, thiserror::Error)]
pub(super) enum NvrtcError {
    #[error(
        "cannot load NVRTC, the compiler of CUDA's kernels ({tried}); it comes with a PyTorch with CUDA, or name its library (libnvrtc.so.12 or .13) in {VARIABLE}"
    )]
    Open { tried: String },
    #[error("NVRTC lacks a function: {}; expected version 11.2 or later", reason(.0))]
    Symbol(#[from] libloading::Error),
    #[error("NVRTC failed in {call} with code {code}")]
    Call { call: &'static str, code: c_int },
    #[error("NVRTC could not compile the kernels for {target:?}: {log}")]
    Compile { target: Target, log: String },
    #[error(
        "NVRTC can compile for none of compute capability {device} and less, only for {supported:?}; a newer PyTorch with CUDA has one that can"
    )]
    Target { device: i32, supported: Vec<c_int> },
}

/// What code is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// The device's own code, which needs no newer a driver than the device does.
    Cubin(i32),
    /// PTX, which the driver compiles for a device that is newer than NVRTC.
    Ptx(i32),
}

impl Target {
    /// The best one for a device of this compute capability.
    pub(super) fn of(supported: &[c_int], device: i32) -> Option<Self> {
        if supported.contains(&device) {
            return Some(Self::Cubin(device));
        }
        let older = supported.iter().copied().filter(|it| *it < device);
        older.max().map(Self::Ptx)
    }

    fn option(self) -> String {
        match self {
            Self::Cubin(capability) => format!("--gpu-architecture=sm_{capability}"),
            Self::Ptx(capability) => format!("--gpu-architecture=compute_{capability}"),
        }
    }
}

/// Compiled kernels.
#[derive(Debug)]
pub(super) struct Code {
    /// A cubin, or PTX with its zero.
    pub(super) bytes: Vec<u8>,
    /// What NVRTC has said.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests read how many registers are used")
    )]
    pub(super) log: String,
}

type Program = *mut c_void;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Texts = *const *const c_char;

/// Functions of NVRTC's interface, under its names without `nvrtc`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nvrtc {
    pub(super) get_num_supported_archs: unsafe extern "C" fn(*mut c_int) -> c_int,
    pub(super) get_supported_archs: unsafe extern "C" fn(*mut c_int) -> c_int,
    pub(super) create_program: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        Texts,
        Texts,
    ) -> c_int,
    pub(super) compile_program: unsafe extern "C" fn(Program, c_int, Texts) -> c_int,
    pub(super) get_program_log: (Size, Get),
    pub(super) get_ptx: (Size, Get),
    pub(super) get_cubin: (Size, Get),
    pub(super) destroy_program: unsafe extern "C" fn(*mut Program) -> c_int,
}

#[expect(unsafe_code, reason = "NVRTC's interface is C")]
impl Nvrtc {
    /// Finds the library: where [`VARIABLE`] says, beside libtorch, or along the loader's paths.
    pub(super) fn open() -> Result<Self, NvrtcError> {
        let named = env::var_os(VARIABLE).map(PathBuf::from);
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let candidates = match named {
            Some(path) => vec![path],
            None => candidates(torch_folder(&maps)),
        };
        let mut tried = Vec::new();
        for path in candidates {
            match load(&path) {
                Ok(library) => {
                    // NVRTC opens its companion by name alone, and finds it if it is loaded already.
                    for companion in companions(&path) {
                        let _kept = load(&companion).map(mem::forget);
                    }
                    return Ok(Self::of(library)?);
                }
                Err(error) => tried.push(reason(&error)),
            }
        }
        Err(NvrtcError::Open {
            tried: tried.join("; "),
        })
    }

    fn of(library: Library) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of NVRTC's interface. The library is never closed.
        unsafe {
            let found = Self {
                get_num_supported_archs: *library.get(c"nvrtcGetNumSupportedArchs")?,
                get_supported_archs: *library.get(c"nvrtcGetSupportedArchs")?,
                create_program: *library.get(c"nvrtcCreateProgram")?,
                compile_program: *library.get(c"nvrtcCompileProgram")?,
                get_program_log: (
                    *library.get(c"nvrtcGetProgramLogSize")?,
                    *library.get(c"nvrtcGetProgramLog")?,
                ),
                get_ptx: (
                    *library.get(c"nvrtcGetPTXSize")?,
                    *library.get(c"nvrtcGetPTX")?,
                ),
                get_cubin: (
                    *library.get(c"nvrtcGetCUBINSize")?,
                    *library.get(c"nvrtcGetCUBIN")?,
                ),
                destroy_program: *library.get(c"nvrtcDestroyProgram")?,
            };
            mem::forget(library);
            Ok(found)
        }
    }

    /// Compute capabilities that it can compile for.
    pub(super) fn supported(&self) -> Result<Vec<c_int>, NvrtcError> {
        let mut count = 0;
        // SAFETY: a place for one number.
        let code = unsafe { (self.get_num_supported_archs)(&raw mut count) };
        checked("nvrtcGetNumSupportedArchs", code)?;
        let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: a place for as many numbers as it has said.
        let code = unsafe { (self.get_supported_archs)(all.as_mut_ptr()) };
        checked("nvrtcGetSupportedArchs", code)?;
        Ok(all)
    }

    /// What to compile for, for a device of this compute capability.
    pub(super) fn target(&self, device: i32) -> Result<Target, NvrtcError> {
        let supported = self.supported()?;
        Target::of(&supported, device).ok_or(NvrtcError::Target { device, supported })
    }

    /// Compiles the kernels for maps of this type.
    pub(super) fn compile(
        &self,
        target: Target,
        element: Element,
        further: &[&str],
    ) -> Result<Code, NvrtcError> {
        let mut program = ptr::null_mut();
        let created = self.create(&mut program);
        let code = created.and_then(|()| self.compiled(program, target, element, further));
        if !program.is_null() {
            // SAFETY: a program that was made, and is not used again.
            unsafe { (self.destroy_program)(&raw mut program) };
        }
        code
    }

    fn create(&self, program: &mut Program) -> Result<(), NvrtcError> {
        let source = text(SOURCE);
        let bodies = HEADERS.map(|(_, body)| text(body));
        let bodies = bodies.each_ref().map(|body| body.as_ptr());
        let names = HEADERS.map(|(name, _)| name.as_ptr());
        // SAFETY: every text ends with a zero and outlives the call, which copies it.
        let code = unsafe {
            (self.create_program)(
                program,
                source.as_ptr(),
                c"kernels.cu".as_ptr(),
                count_of(HEADERS.len()),
                bodies.as_ptr(),
                names.as_ptr(),
            )
        };
        checked("nvrtcCreateProgram", code)
    }

    fn compiled(
        &self,
        program: Program,
        target: Target,
        element: Element,
        further: &[&str],
    ) -> Result<Code, NvrtcError> {
        let mut options = vec![
            target.option(),
            "--std=c++17".to_owned(),
            format!("--define-macro=AUTOREP_ELEMENT={}", element.name()),
        ];
        options.extend(further.iter().map(|it| (*it).to_owned()));
        let options: Vec<CString> = options.iter().map(|it| text(it)).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|it| it.as_ptr()).collect();
        let count = count_of(pointers.len());
        // SAFETY: as many texts that end with a zero as it is told.
        let code = unsafe { (self.compile_program)(program, count, pointers.as_ptr()) };
        let log = got("nvrtcGetProgramLog", self.get_program_log, program)?;
        let log = String::from_utf8_lossy(&log);
        let log = log.trim_end_matches(['\0', '\n']).to_owned();
        if code != 0 {
            return Err(NvrtcError::Compile { target, log });
        }
        let bytes = match target {
            Target::Cubin(_) => got("nvrtcGetCUBIN", self.get_cubin, program)?,
            Target::Ptx(_) => got("nvrtcGetPTX", self.get_ptx, program)?,
        };
        Ok(Code { bytes, log })
    }
}

/// What one of NVRTC's pairs of functions has to give.
fn got(
    call: &'static str,
    (size, get): (Size, Get),
    program: Program,
) -> Result<Vec<u8>, NvrtcError> {
    let mut length = 0;
    let mut bytes = Vec::new();
    #[expect(unsafe_code, reason = "NVRTC's interface is C")]
    // SAFETY: a place for one number, then as much room as it has said.
    unsafe {
        checked(call, size(program, &raw mut length))?;
        bytes.resize(length, 0_u8);
        checked(call, get(program, bytes.as_mut_ptr().cast()))?;
    }
    Ok(bytes)
}

fn checked(call: &'static str, code: c_int) -> Result<(), NvrtcError> {
    if code == 0 {
        Ok(())
    } else {
        Err(NvrtcError::Call { call, code })
    }
}

/// A library that runs nothing that depends on this process.
fn load(path: &Path) -> Result<Library, libloading::Error> {
    #[expect(unsafe_code, reason = "loading a library runs code of its own")]
    // SAFETY: NVRTC's initialisers set up nothing but itself.
    unsafe {
        Library::open(Some(path), libloading::os::unix::RTLD_NOW)
    }
}

fn count_of(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// A text of our own, none of which holds a zero.
fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// The folder from which libtorch's CUDA part was loaded, by this process's map of memory.
fn torch_folder(maps: &str) -> Option<PathBuf> {
    let mut paths = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let library = paths.find(|path| path.ends_with("/libtorch_cuda.so"))?;
    Path::new(library).parent().map(Path::to_path_buf)
}

/// What may be NVRTC: beside libtorch, where the wheels that `PyTorch` depends on put it, then what the
/// loader finds. libtorch's own comes first: it is of the version that the driver is known to serve.
fn candidates(torch: Option<PathBuf>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if let Some(torch) = torch {
        let wheels = torch.join("../../nvidia");
        for folder in [
            torch,
            wheels.join("cu13/lib"),
            wheels.join("cuda_nvrtc/lib"),
        ] {
            all.extend(libraries(&folder));
        }
    }
    all.extend(["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"].map(PathBuf::from));
    all
}

/// Files in a folder that are called as NVRTC's library is, also with a digest in the name
/// (`libnvrtc-672ee683.so.11.2`); not its companions.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    named(folder, |name| {
        name.starts_with("libnvrtc") && !name.contains("builtins")
    })
}

/// What NVRTC needs of the folder in which it was found.
fn companions(nvrtc: &Path) -> Vec<PathBuf> {
    let folder = nvrtc.parent().filter(|it| !it.as_os_str().is_empty());
    folder.map_or_else(Vec::new, |folder| {
        named(folder, |name| name.starts_with("libnvrtc-builtins"))
    })
}

/// Shared libraries in a folder whose names are wanted; `.alt` ones are builds for other needs.
fn named(folder: &Path, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        wanted(&name) && name.contains(".so") && !name.contains(".alt.")
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_one)
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests;
