//! Compiles the C++ that reaches what tch does not offer. Writes the folder of libtorch's libraries
//! into the binaries' run path, so that `cargo run` and `cargo test` find them. As RUNPATH, which `LD_LIBRARY_PATH` overrides: a machine with a GPU
//! puts a CUDA build's folder first there.

use std::env;
use std::path::{Path, PathBuf};

/// The C++.
const SOURCES: [&str; 8] = [
    "src/autocast.cpp",
    "src/fused/cuda/masked.cpp",
    "src/fused/masked.cpp",
    "src/fused/updates.cpp",
    "src/ranks/batch_norm.cpp",
    "src/ranks/buckets.cpp",
    "src/ranks/group.cpp",
    "src/ranks/nccl.cpp",
];

/// The C++ of tests alone: a library of its own, which no program but theirs is linked with.
const TESTED: &str = "src/fused/cuda/emulated.cpp";

/// What they include beside libtorch's headers.
const HEADERS: [&str; 3] = ["src/fused", "src/ranks/native.h", "src/ranks/declared"];

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_LIB");
    let Some(root) = env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH")) else {
        panic!(
            "LIBTORCH is not set; `make demo` or `make test` stage libtorch and link it as .libtorch"
        );
    };
    let lib = PathBuf::from(&root).join("lib");
    println!("cargo:rerun-if-changed={}", lib.display());
    let cpu = lib.join("libtorch_cpu.so");
    let Ok(cpu) = cpu.canonicalize() else {
        panic!(
            "{} does not exist; `make demo` or `make test` stage libtorch and link it as .libtorch",
            cpu.display()
        );
    };
    let headers = env::var_os("LIBTORCH_INCLUDE").or_else(|| env::var_os("LIBTORCH"));
    let include = PathBuf::from(headers.unwrap_or(root)).join("include");
    compile(&include);
    if let Some(folder) = cpu.parent() {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}

/// Compiles the C++ of this crate against libtorch's headers, optimised whatever the profile:
/// `src/fused` is loops over feature maps.
fn compile(include: &Path) {
    for source in SOURCES.iter().chain(&HEADERS) {
        println!("cargo:rerun-if-changed={source}");
    }
    let mut build = compiler(include);
    build
        .include(include.join("torch/csrc/api/include"))
        // Before libtorch's: Gloo's headers are not among those.
        .include("src/ranks/declared")
        .define("USE_C10D_GLOO", None)
        .files(SOURCES);
    // libtorch's own threads are those of GNU's OpenMP; another runtime beside it would have a
    // second set of them.
    if build.get_compiler().is_like_gnu() {
        build.flag("-fopenmp");
        println!("cargo:rustc-link-lib=dylib=gomp");
    } else {
        println!(
            "cargo:warning=the C++ compiler is not GNU's: masked activations will use one thread; set CXX=g++"
        );
        build.flag_if_supported("-fopenmp-simd");
    }
    build.compile("autorep_native");
    compiler(include)
        .file(TESTED)
        // Where it is linked is said beside what it is declared for, in `fused/cuda/fake.rs`.
        .cargo_metadata(false)
        .compile("autorep_emulated");
}

fn compiler(include: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .opt_level(3)
        .include(include);
    build
}
