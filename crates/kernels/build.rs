//! With the feature `cuda`, compiles the kernels in `cuda/` into one file that the library holds:
//! machine code for the GPUs below, and PTX that the driver translates for later ones.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compute capabilities: A100, and H100 or H200.
const MACHINES: [&str; 2] = ["80", "90"];

fn main() {
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile();
    }
}

fn compile() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let home = env::var_os("CUDA_HOME").map(PathBuf::from);
    let nvcc = home.map_or_else(|| PathBuf::from("nvcc"), |home| home.join("bin/nvcc"));
    let mut command = Command::new(&nvcc);
    command.args(["-std=c++17", "-O3", "-fatbin"]);
    for machine in MACHINES {
        command.arg(format!("-gencode=arch=compute_{machine},code=sm_{machine}"));
    }
    let oldest = MACHINES[0];
    command.arg(format!("-gencode=arch=compute_{oldest},code=compute_{oldest}"));
    command.arg(Path::new("cuda/kernels.cu")).arg("-o").arg(out.join("kernels.fatbin"));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} failed: {status}", nvcc.display()),
        Err(error) => panic!(
            "the feature `cuda` needs NVIDIA's compiler, and {} does not start: {error}; set \
             CUDA_HOME to a CUDA toolkit",
            nvcc.display()
        ),
    }
}
