//! Compiles the CUDA kernels as C++ for the host. Without a C++ compiler the crate is empty and
//! says so: only tests need it.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    let kernels = Path::new("../kernels/cuda");
    for dir in [kernels, Path::new("cpp")] {
        println!("cargo::rerun-if-changed={}", dir.display());
    }
    let compiled = cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .include(kernels)
        .include("cpp")
        // Jumps between stacks are what the checks would take for a mistake.
        .flag_if_supported("-U_FORTIFY_SOURCE")
        // Kernels read four words at once where numbers of sixteen bits lie.
        .flag_if_supported("-fno-strict-aliasing")
        .flag_if_supported("-Wno-unknown-pragmas")
        .file("cpp/emulate.cpp")
        .try_compile("emulate");
    match compiled {
        Ok(()) => println!("cargo::rustc-cfg=emulated"),
        Err(error) => println!("cargo::warning=the tests of CUDA kernels are left out: {error}"),
    }
}
