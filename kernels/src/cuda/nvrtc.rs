//! Compiling CUDA sources at run time, and remembering what came out.
//!
//! A binary with machine code for every architecture would be large and soon out of date. The sources are in
//! the binary instead; NVRTC makes machine code for the device at hand in a fraction of a second, and a cubin
//! is kept under the hash of all that it was made from. Compiling needs no GPU.

use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::nvrtc::{result, sys};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Folders with CUDA headers, separated as in `PATH`.
const INCLUDE_VARIABLE: &str = "COLONNADE_CUDA_INCLUDE";
/// Where headers lie on machines with a CUDA toolkit.
const INCLUDE_FOLDERS: [&str; 2] = ["/usr/local/cuda/include", "/opt/cuda/include"];
/// What every source is compiled with.
const OPTIONS: [&str; 2] = ["--std=c++17", "--extra-device-vectorization"];

/// A CUDA source that is part of the crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Its file name.
    pub(crate) file: &'static str,
    /// Its text.
    pub(crate) text: &'static str,
}

/// The source in a file beside the caller's `mod.rs`, behind what all sources share and, in square brackets, the
/// files that come before it.
macro_rules! source {
    ($file:literal) => {
        source!([] $file)
    };
    ([$($before:literal),*] $file:literal) => {
        $crate::cuda::nvrtc::Source {
            file: $file,
            text: concat!(
                include_str!("../cuda/common.cuh"),
                $("#line 1 \"", $before, "\"\n", include_str!($before),)*
                "#line 1 \"",
                $file,
                "\"\n",
                include_str!($file)
            ),
        }
    };
}
pub(crate) use source;

/// Whether NVRTC can be loaded.
#[allow(unsafe_code)]
pub(crate) fn is_available() -> bool {
    // SAFETY: tries to open the library, and closes it again.
    unsafe { sys::is_culib_present() }
}

#[cfg(feature = "cubins")]
include!(concat!(env!("OUT_DIR"), "/cubins.rs"));
/// Machine code that is part of the binary, by [`built_in_name`].
#[cfg(not(feature = "cubins"))]
const BUILT_IN: &[(&str, &[u8])] = &[];

/// Machine code of `source` for an architecture such as `sm_90a`: from the binary, from the cache, or compiled now.
pub(crate) fn cubin(source: &Source, architecture: &str) -> Result<Vec<u8>> {
    if !BUILT_IN.is_empty() {
        let name = built_in_name(source, architecture);
        if let Some((_, cubin)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Ok(cubin.to_vec());
        }
    }
    let folder = cache_folder().map(|folder| folder.join("cubins"));
    cubin_in(folder.as_deref(), source, architecture)
}

/// As [`cubin`], with the cache in `folder`; without one it compiles each time.
fn cubin_in(folder: Option<&Path>, source: &Source, architecture: &str) -> Result<Vec<u8>> {
    let version = version(source, architecture)?;
    let options = options(architecture);
    let Some(folder) = folder else {
        return compile(source, architecture, &options);
    };
    let path = folder.join(cache_name(source, architecture, &options, version));
    // A file that is no ELF image is from a broken disk or a stranger: it is made anew.
    if let Ok(cubin) = std::fs::read(&path)
        && cubin.starts_with(b"\x7fELF")
    {
        return Ok(cubin);
    }
    let cubin = compile(source, architecture, &options)?;
    if let Err(error) = store(folder, &path, &cubin) {
        // The result is there; only the next start will be slower.
        tracing::warn!(path = %path.display(), %error, "cubin was not cached");
    }
    Ok(cubin)
}

/// The file of a cubin that is to be part of a binary.
fn built_in_name(source: &Source, architecture: &str) -> String {
    cache_name(source, architecture, &[], (0, 0))
}

/// Compiles `source` into `folder`, to be part of a binary.
#[cfg(any(test, feature = "suite"))]
pub(crate) fn write_built_in(folder: &Path, source: &Source, architecture: &str) -> Result<()> {
    version(source, architecture)?;
    let cubin = compile(source, architecture, &options(architecture))?;
    let path = folder.join(built_in_name(source, architecture));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, cubin))
        .map_err(|error| Error::Io { attempted: "write a cubin to", path, source: error })
}

fn options(architecture: &str) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture={architecture}")];
    options.extend(OPTIONS.map(String::from));
    let given = std::env::var_os(INCLUDE_VARIABLE).unwrap_or_default();
    let folders = std::env::split_paths(&given).chain(INCLUDE_FOLDERS.map(PathBuf::from));
    options.extend(
        folders
            .filter(|folder| folder.is_dir())
            .map(|folder| format!("--include-path={}", folder.display())),
    );
    options
}

/// The cache of this crate, where the system says where caches are.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("colonnade"))
}

fn cache_name(
    source: &Source,
    architecture: &str,
    options: &[String],
    version: (i32, i32),
) -> String {
    let mut hash = Sha256::new();
    for part in [source.text, architecture, &format!("{version:?}"), &options.join("\n")] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{architecture}-{hash}.cubin", source.file.trim_end_matches(".cu"))
}

/// Writes beside the place and renames, so that no reader sees half a file.
fn store(folder: &Path, path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    std::fs::create_dir_all(folder)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_extension(format!("{}-{count}.draft", std::process::id()));
    let written = std::fs::write(&draft, cubin).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

#[allow(unsafe_code)]
fn version(source: &Source, architecture: &str) -> Result<(i32, i32)> {
    if !is_available() {
        return Err(Error::CompilerUnavailable {
            file: source.file,
            architecture: architecture.to_owned(),
            probed: "libnvrtc.so and libnvrtc.so.13 on the loader's path".into(),
        });
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there; two ints are written.
    let status = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    status.result().map_err(|error| compiler_error(source, architecture, &error))?;
    Ok((major, minor))
}

/// Compiles `source`. The library must have been found.
#[allow(unsafe_code)]
fn compile(source: &Source, architecture: &str, options: &[String]) -> Result<Vec<u8>> {
    let text =
        CString::new(source.text).map_err(|error| compiler_error(source, architecture, &error))?;
    let name =
        CString::new(source.file).map_err(|error| compiler_error(source, architecture, &error))?;
    let program = Program(
        result::create_program(&text, Some(&name))
            .map_err(|error| compiler_error(source, architecture, &error))?,
    );
    // SAFETY: the program was just created and lives until the end of this function.
    if let Err(error) = unsafe { result::compile_program(program.0, options) } {
        return Err(Error::Compile {
            file: source.file,
            architecture: architecture.to_owned(),
            log: format!("{error}\n{}", program.log()),
        });
    }
    tracing::debug!(file = source.file, architecture, log = program.log(), "compiled");
    let mut bytes = 0;
    // SAFETY: the program was compiled; one size is written.
    unsafe { sys::nvrtcGetCUBINSize(program.0, &mut bytes) }
        .result()
        .map_err(|error| compiler_error(source, architecture, &error))?;
    let mut cubin = vec![0u8; bytes];
    // SAFETY: the buffer has the size that the compiler just stated.
    unsafe { sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast::<c_char>()) }
        .result()
        .map_err(|error| compiler_error(source, architecture, &error))?;
    Ok(cubin)
}

fn compiler_error(source: &Source, architecture: &str, found: &dyn std::fmt::Display) -> Error {
    Error::Compile {
        file: source.file,
        architecture: architecture.to_owned(),
        log: found.to_string(),
    }
}

struct Program(sys::nvrtcProgram);

impl Program {
    #[allow(unsafe_code)]
    fn log(&self) -> String {
        // SAFETY: the program lives as long as this value.
        let log = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> =
            log.into_iter().map(|c| c as u8).take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl Drop for Program {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: created once and destroyed once. There is nobody to tell of an error here.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
    use std::sync::LazyLock;

    use super::*;
    use crate::cuda::SOURCES;
    use crate::cuda::emulated::DECLARED_BYTES;

    /// Whether to go on. Absent NVRTC skips, and says so; `make test` does not allow that.
    fn nvrtc(test: &str) -> bool {
        if is_available() {
            return true;
        }
        assert!(
            std::env::var("COLONNADE_REQUIRE_NVRTC").as_deref() != Ok("1"),
            "{test}: COLONNADE_REQUIRE_NVRTC=1, but NVRTC could not be loaded; put its folder on LD_LIBRARY_PATH"
        );
        eprintln!("SKIPPED {test}: NVRTC could not be loaded; put its folder on LD_LIBRARY_PATH");
        false
    }

    fn files_ending_in_cu(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_ending_in_cu(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "cu") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_source_in_the_folder_is_listed() {
        let mut files = Vec::new();
        files_ending_in_cu(Path::new("src"), &mut files);
        files.sort();
        let mut names: Vec<_> =
            files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let mut listed: Vec<_> = SOURCES.iter().map(|source| source.file).collect();
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed, "cuda::SOURCES must name every .cu file");
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                SOURCES.iter().any(|source| source.text.ends_with(&text)),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn every_source_compiles_for_every_architecture() {
        if !nvrtc("every_source_compiles_for_every_architecture") {
            return;
        }
        LazyLock::force(&SM_80);
        for architecture in ["sm_90a", "sm_100"] {
            SOURCES.iter().for_each(|source| drop(compiled(source, architecture)));
        }
    }

    /// From the cache, where the same compiler was given the same text before.
    fn compiled(source: &Source, architecture: &str) -> Vec<u8> {
        let image = cubin(source, architecture)
            .unwrap_or_else(|error| panic!("{} for {architecture}: {error}", source.file));
        assert!(image.starts_with(b"\x7fELF"), "{} for {architecture}", source.file);
        image
    }

    /// All sources for the architecture that more than one test looks at.
    static SM_80: LazyLock<Vec<Vec<u8>>> =
        LazyLock::new(|| SOURCES.iter().map(|source| compiled(source, "sm_80")).collect());

    /// Names and sizes of the sections of a 64-bit ELF image.
    fn sections(image: &[u8]) -> Vec<(String, usize)> {
        let number = |at: usize, bytes: usize| {
            image[at..at + bytes].iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
        };
        let header = |index: usize| number(0x28, 8) + index * number(0x3a, 2);
        let names = number(header(number(0x3e, 2)) + 0x18, 8);
        let section = |index: usize| {
            let name = image[names + number(header(index), 4)..].split(|&byte| byte == 0).next();
            let name = String::from_utf8_lossy(name.unwrap()).into_owned();
            (name, number(header(index) + 0x20, 8))
        };
        (0..number(0x3c, 2)).map(section).collect()
    }

    #[test]
    fn kernels_declare_the_shared_memory_that_the_emulation_counts() {
        if !nvrtc("kernels_declare_the_shared_memory_that_the_emulation_counts") {
            return;
        }
        // Later architectures add what they keep for themselves, which no limit counts.
        let found: Vec<(String, usize)> = SM_80.iter().flat_map(|image| sections(image)).collect();
        let size = |name: String| found.iter().find(|(own, _)| *own == name).map(|(_, size)| *size);
        for (kernel, bytes) in DECLARED_BYTES {
            assert!(size(format!(".text.{kernel}")).is_some(), "there is no kernel {kernel}");
            let declared = size(format!(".nv.shared.{kernel}")).unwrap_or(0);
            assert_eq!(declared, bytes, "{kernel}");
        }
    }

    #[test]
    fn a_source_with_an_error_gives_the_compilers_words() {
        if !nvrtc("a_source_with_an_error_gives_the_compilers_words") {
            return;
        }
        let source =
            Source { file: "wrong.cu", text: "extern \"C\" __global__ void f() { nothing(); }" };
        let error = compile(&source, "sm_80", &options("sm_80")).unwrap_err().to_string();
        assert!(
            error.contains("wrong.cu") && error.contains("identifier \"nothing\" is undefined"),
            "{error}"
        );
    }

    #[test]
    fn a_cubin_is_compiled_once_and_a_broken_one_again() {
        if !nvrtc("a_cubin_is_compiled_once_and_a_broken_one_again") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let source =
            Source { file: "small.cu", text: "extern \"C\" __global__ void f(int* x) { *x = 1; }" };
        let first = cubin_in(Some(folder.path()), &source, "sm_80").unwrap();
        let files: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "one file and no draft: {files:?}");
        std::fs::write(&files[0], b"\x7fELF marked").unwrap();
        assert_eq!(
            cubin_in(Some(folder.path()), &source, "sm_80").unwrap(),
            b"\x7fELF marked",
            "read from the cache"
        );
        std::fs::write(&files[0], b"broken").unwrap();
        assert_eq!(cubin_in(Some(folder.path()), &source, "sm_80").unwrap(), first);
        assert_eq!(std::fs::read(&files[0]).unwrap(), first);
    }

    #[test]
    fn the_cache_tells_apart_all_that_a_cubin_depends_on() {
        let base = Source { file: "a.cu", text: "x" };
        let options = vec!["-O".to_owned()];
        let name = cache_name(&base, "sm_80", &options, (13, 0));
        let others = [
            cache_name(&Source { text: "y", ..base }, "sm_80", &options, (13, 0)),
            cache_name(&base, "sm_90a", &options, (13, 0)),
            cache_name(&base, "sm_80", &[], (13, 0)),
            cache_name(&base, "sm_80", &options, (13, 1)),
        ];
        assert!(others.iter().all(|other| *other != name));
    }
}
