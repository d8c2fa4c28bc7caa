//! Compiles every CUDA source of `kernels` to machine code, to be built into `gpu-package`.
//!
//! `cubins FOLDER ARCHITECTURE…`, for example `cubins cubins sm_90a`. Needs NVRTC, and no GPU.

// A program whose purpose is to print.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("cubins FOLDER ARCHITECTURE…")?);
    let architectures: Vec<String> = arguments.collect();
    let architectures: Vec<&str> = architectures.iter().map(String::as_str).collect();
    // What an older source left behind would be carried along.
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder)?;
    }
    let files = kernels::suite::write_cubins(&folder, &architectures)?;
    println!("{files} files in {}", folder.display());
    Ok(())
}
