//! Compiles the C++ that reaches what tch does not offer. Writes the folder of libtorch's libraries
//! into the binaries' run path, so that `cargo run` and `cargo test` find them. As RUNPATH, which `LD_LIBRARY_PATH` overrides: a machine with a GPU
//! puts a CUDA build's folder first there.

use std::env;
use std::path::PathBuf;

/// The C++.
const SOURCES: [&str; 5] = [
    "src/autocast.cpp",
    "src/ranks/batch_norm.cpp",
    "src/ranks/buckets.cpp",
    "src/ranks/group.cpp",
    "src/ranks/nccl.cpp",
];

/// What they include beside libtorch's headers.
const HEADERS: [&str; 2] = ["src/ranks/native.h", "src/ranks/declared"];

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
    for source in SOURCES.iter().chain(&HEADERS) {
        println!("cargo:rerun-if-changed={source}");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        // Before libtorch's: Gloo's headers are not among those.
        .include("src/ranks/declared")
        .define("USE_C10D_GLOO", None)
        .files(SOURCES)
        .compile("autorep_native");
    if let Some(folder) = cpu.parent() {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
