//! Writes the folder of libtorch's libraries into the tests' run path, as the trainer's build does
//! for its own binaries: a dependency's build cannot do it for those who depend on it.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_LIB");
    // Where neither is set, the trainer's build says what to do.
    let root = env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH"));
    let library = root.map(|root| PathBuf::from(root).join("lib/libtorch_cpu.so"));
    let Some(Ok(library)) = library.map(|path| path.canonicalize()) else {
        return;
    };
    if let Some(folder) = library.parent() {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
