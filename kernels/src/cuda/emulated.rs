//! The device that is a C++ program: the kernels of one source, compiled by the system's compiler
//! against `emulation/cuda_emulation.h`, with the address and undefined-behaviour sanitizers. Tests only.

// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::SOURCES;
use super::backend::{Argument, Backend, Launch, Results};
use super::nvrtc::{Source, cache_folder};
use crate::error::{Error, Memory, Result};

const HEADER: &str = include_str!("../../emulation/cuda_emulation.h");
const FLAGS: [&str; 7] = [
    "-std=c++17",
    "-O1",
    "-g1",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-Wno-unknown-pragmas",
];

/// Shared memory that a block may have on the devices that this is made for.
const SHARED_BYTES: usize = 227 << 10;
/// Bytes of shared memory that the kernels with dynamic shared memory declare besides. A test reads them from machine
/// code.
pub(super) const DECLARED_BYTES: [(&str, usize); 16] = [
    ("assign_f32", 0),
    ("deviations_f32", 0),
    ("deviations_f64", 0),
    ("order_f32_1", 0),
    ("order_f32_8", 0),
    ("order_f64_1", 0),
    ("order_f64_8", 0),
    ("paths_f32", 0),
    ("paths_f64", 0),
    ("screen", 3072),
    ("screen_bf16", 0),
    ("screen_pairs", 3072),
    ("settle_f32", 16),
    ("settle_f64", 16),
    ("spans_f32", 64),
    ("spans_f64", 64),
];

/// One source, emulated.
pub(crate) struct Emulated {
    process: Mutex<Process>,
    memory_bytes: usize,
    shared_bytes: usize,
    used_bytes: Arc<AtomicUsize>,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    report: Option<JoinHandle<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of the emulated device.
pub(crate) struct Bytes {
    bytes: Mutex<Vec<u8>>,
    used_bytes: Arc<AtomicUsize>,
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let bytes = self.bytes.lock().unwrap().len();
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Host memory to send from, aligned as a driver aligns it.
pub(crate) struct Staged {
    words: Vec<u64>,
    bytes: usize,
}

impl Emulated {
    /// A device of `memory_bytes` with the kernels of `source`. Compiles it where that was not done before.
    pub(crate) fn new(source: &Source, memory_bytes: usize) -> Self {
        let program = build(source);
        let mut child = Command::new(&program)
            .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        // Read all the time, so that the program never waits for a reader.
        let report = std::thread::spawn(move || {
            let mut report = String::new();
            let _ = stderr.read_to_string(&mut report);
            report
        });
        Self {
            process: Mutex::new(Process { child, stdin, stdout, report: Some(report) }),
            memory_bytes,
            shared_bytes: SHARED_BYTES,
            used_bytes: Default::default(),
        }
    }

    /// The same with less shared memory, or more.
    pub(crate) fn with_shared_bytes(self, shared_bytes: usize) -> Self {
        Self { shared_bytes, ..self }
    }

    /// Panics where a device would refuse the launch.
    fn check(&self, launch: &Launch) {
        let Launch { kernel, grid: (x, y), block, shared_bytes, .. } = *launch;
        assert!((1..=i32::MAX as u32).contains(&x), "{kernel}: {x} blocks in x");
        assert!((1..=65_535).contains(&y), "{kernel}: {y} blocks in y");
        assert!((1..=1024).contains(&block), "{kernel}: {block} threads in a block");
        let declared = DECLARED_BYTES.iter().find(|(name, _)| *name == kernel);
        let shared_bytes = shared_bytes as usize + declared.map_or(0, |(_, bytes)| *bytes);
        assert!(
            shared_bytes <= self.shared_bytes,
            "{kernel}: {shared_bytes} bytes of shared memory; a block has {}",
            self.shared_bytes
        );
    }

    /// Runs one launch with the threads of each block in one order, and returns the buffers.
    fn run(&self, launch: &Launch, arguments: &[Argument<'_, Bytes>], order: u64) -> Vec<Vec<u8>> {
        let mut request = Vec::new();
        request.extend((launch.kernel.len() as u32).to_le_bytes());
        request.extend(launch.kernel.as_bytes());
        for size in [launch.grid.0, launch.grid.1, 1, launch.block, 1, 1] {
            request.extend(size.to_le_bytes());
        }
        request.extend(u64::from(launch.shared_bytes).to_le_bytes());
        request.extend(order.to_le_bytes());
        request.extend((arguments.len() as u32).to_le_bytes());
        let mut scalar = |kind: u8, bytes: &[u8]| {
            request.push(kind);
            request.extend((bytes.len() as u64).to_le_bytes());
            request.extend(bytes);
        };
        let mut lengths = Vec::new();
        for argument in arguments {
            match argument {
                Argument::Buffer(buffer) => {
                    let bytes = buffer.bytes.lock().unwrap();
                    lengths.push(bytes.len());
                    scalar(0, &bytes);
                }
                Argument::Int(value) => scalar(1, &value.to_le_bytes()),
                Argument::Unsigned(value) => scalar(1, &value.to_le_bytes()),
                Argument::Long(value) => scalar(1, &value.to_le_bytes()),
                Argument::Double(value) => scalar(1, &value.to_le_bytes()),
            }
        }
        let mut process = self.process.lock().unwrap();
        let process = &mut *process;
        let sent = process.stdin.write_all(&request).and_then(|()| process.stdin.flush());
        let mut read = || {
            let mut buffers: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![0; length]).collect();
            buffers.iter_mut().try_for_each(|buffer| process.stdout.read_exact(buffer))?;
            Ok::<_, std::io::Error>(buffers)
        };
        match sent.and_then(|()| read()) {
            Ok(buffers) => buffers,
            Err(error) => {
                let status = process.child.wait();
                let report = process.report.take().and_then(|report| report.join().ok());
                panic!(
                    "emulated kernel {} stopped ({status:?}, {error}):\n{}",
                    launch.kernel,
                    report.unwrap_or_default()
                )
            }
        }
    }
}

impl Backend for Emulated {
    type Buffer = Bytes;
    type Staging = Staged;

    fn free_bytes(&self) -> Result<usize> {
        Ok(self.memory_bytes - self.used_bytes.load(Ordering::Relaxed))
    }

    fn shared_bytes(&self) -> usize {
        self.shared_bytes
    }

    fn allocate(&self, operation: &'static str, bytes: usize) -> Result<Bytes> {
        if bytes > self.free_bytes()? {
            return Err(Error::OutOfMemory { operation, memory: Memory::Device, bytes });
        }
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Bytes { bytes: Mutex::new(vec![0; bytes]), used_bytes: self.used_bytes.clone() })
    }

    fn clear(&self, buffer: &mut Bytes) -> Result<()> {
        buffer.bytes.lock().unwrap().fill(0);
        Ok(())
    }

    fn upload(&self, buffer: &mut Bytes, offset: usize, data: &[u8]) -> Result<()> {
        buffer.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn download(&self, buffer: &Bytes, offset: usize, data: &mut [u8]) -> Result<()> {
        data.copy_from_slice(&buffer.bytes.lock().unwrap()[offset..offset + data.len()]);
        Ok(())
    }

    fn staging(&self, _operation: &'static str, bytes: usize) -> Result<Staged> {
        // On a device something may be left there of another operation.
        Ok(Staged { words: vec![u64::MAX; bytes.div_ceil(8)], bytes })
    }

    fn send(
        &self,
        staging: &mut Staged,
        buffer: &mut Bytes,
        write: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<()> {
        let bytes = &mut bytemuck::cast_slice_mut(&mut staging.words)[..staging.bytes];
        let filled = write(bytes);
        self.upload(buffer, 0, &bytes[..filled])?;
        // On a device something is left there of what was sent before. No kernel may use it.
        buffer.bytes.lock().unwrap()[filled..].fill(0xff);
        Ok(())
    }

    /// Runs it with the threads from first to last and again from last to first. A kernel that lacks a
    /// barrier gives two results.
    fn launch(&self, launch: Launch, arguments: &[Argument<'_, Bytes>]) -> Result<()> {
        self.check(&launch);
        let first = self.run(&launch, arguments, 0);
        if launch.results == Results::Fixed {
            let second = self.run(&launch, arguments, 1);
            assert!(
                first == second,
                "{}: the result depends on the order of the threads",
                launch.kernel
            );
        }
        let buffers = arguments.iter().filter_map(|argument| match argument {
            Argument::Buffer(buffer) => Some(buffer),
            _ => None,
        });
        for (buffer, bytes) in buffers.zip(first) {
            *buffer.bytes.lock().unwrap() = bytes;
        }
        Ok(())
    }

    fn kernel_seconds(&self) -> Result<f64> {
        Ok(0.0)
    }
}

/// The program for `source`, from the cache or compiled now.
fn build(source: &Source) -> PathBuf {
    /// By the source's text. Each program is made once, whoever asks first.
    static PROGRAMS: Mutex<BTreeMap<&str, Arc<OnceLock<PathBuf>>>> = Mutex::new(BTreeMap::new());
    static AHEAD: Once = Once::new();
    // Tests of one source run one after another: what the next ones need is made beside them. Where the process ends first, what
    // is not done is made another time.
    AHEAD.call_once(|| {
        drop(std::thread::spawn(|| SOURCES.iter().for_each(|next| drop(build(next)))))
    });
    let mut programs = PROGRAMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let program = programs.entry(source.text).or_default().clone();
    drop(programs);
    program.get_or_init(|| find_or_compile(source)).clone()
}

fn find_or_compile(source: &Source) -> PathBuf {
    let code = program_text(source);
    let mut hash = Sha256::new();
    for part in [HEADER, &code, &FLAGS.join(" ")] {
        hash.update(part);
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let cache = cache_folder().unwrap_or_else(std::env::temp_dir);
    let folder = cache.join("emulation").join(hash);
    let program = folder.join("kernels");
    if program.is_file() {
        return program;
    }
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cuda_emulation.h"), HEADER).unwrap();
    compile(&folder, &code, &program);
    program
}

/// Makes files of its own first: another process may do the same.
fn compile(folder: &Path, code: &str, program: &Path) {
    let draft = folder.join(format!("kernels-{}", std::process::id()));
    let source = draft.with_extension("cpp");
    std::fs::write(&source, code).unwrap();
    let output = Command::new("c++")
        .args(FLAGS)
        .arg("-o")
        .arg(&draft)
        .arg(&source)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "the emulation of CUDA needs a C++ compiler; `c++` could not be started: {error}"
            )
        });
    assert!(
        output.status.success(),
        "the C++ compiler refuses {}:\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&draft, program).unwrap();
}

/// The source between the header and a list of its kernels.
fn program_text(source: &Source) -> String {
    let kernels = kernel_names(source.text);
    assert!(!kernels.is_empty(), "{} has no kernel", source.file);
    let list: String = kernels
        .iter()
        .map(|name| format!("    emulation::enlist(\"{name}\", {name});\n"))
        .collect();
    format!(
        "#include \"cuda_emulation.h\"\n#line 1 \"{}\"\n{}\nint main() {{\n{list}    return emulation::serve();\n}}\n",
        source.file, source.text
    )
}

/// Names of the functions that are `extern "C" __global__`, also of those that a macro `NAME(kernel, …)` at the
/// start of a line makes.
fn kernel_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in text.split("extern \"C\" __global__ void").skip(1) {
        let part = part.trim_start();
        let part = match part.strip_prefix("__launch_bounds__(") {
            Some(bounds) => bounds.split_once(')').map_or("", |(_, rest)| rest).trim_start(),
            None => part,
        };
        let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name != "name" {
            names.push(name);
        }
    }
    for line in text.lines() {
        if let Some((macro_name, rest)) = line.split_once('(')
            && !macro_name.is_empty()
            && macro_name.chars().all(|c| c.is_ascii_uppercase())
            && let Some((name, _)) = rest.split_once(',')
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Each kernel but the first has one fault.
    const FAULTS: Source = Source {
        file: "faults.cu",
        text: r#"
extern "C" __global__ void right(int* out, int count) {
    __shared__ int shown[64];
    shown[threadIdx.x] = threadIdx.x;
    __syncthreads();
    int next = __shfl_xor_sync(0xffffffffu, shown[63 - threadIdx.x], 1);
    if (blockIdx.x * blockDim.x + threadIdx.x < count) {
        out[blockIdx.x * blockDim.x + threadIdx.x] = next;
    }
}
extern "C" __global__ void without_a_barrier(int* out, int count) {
    __shared__ int shown[64];
    shown[threadIdx.x] = blockIdx.x * 64 + threadIdx.x;
    out[threadIdx.x] = shown[63 - threadIdx.x];
}
extern "C" __global__ void one_too_far(int* out, int count) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at <= count) {
        out[at] = 1;
    }
}
extern "C" __global__ void reads_shared_too_far(int* out, int count) {
    DYNAMIC_SHARED(shared);
    out[threadIdx.x] = shared[threadIdx.x + 1];
}
extern "C" __global__ void a_barrier_for_some(int* out, int count) {
    if (threadIdx.x < 32) {
        __syncthreads();
    }
}
extern "C" __global__ void overflows(int* out, int count) {
    out[0] = 2147483647 + count;
}
"#,
    };

    fn launch(kernel: &'static str, arguments: usize) -> Vec<i32> {
        let device = Emulated::new(&FAULTS, 1 << 20);
        let buffer = device.allocate("test", 70 * 4).unwrap();
        let launch =
            Launch { kernel, grid: (2, 1), block: 64, shared_bytes: 64, results: Results::Fixed };
        let all = [Argument::Buffer(&buffer), Argument::Int(70)];
        device.launch(launch, &all[..arguments]).unwrap();
        let mut out = vec![0u8; 70 * 4];
        device.download(&buffer, 0, &mut out).unwrap();
        out.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect()
    }

    #[test]
    fn a_right_kernel_runs_as_on_a_device() {
        let expected: Vec<i32> = (0..70).map(|at| (63 - at % 64) ^ 1).collect();
        assert_eq!(launch("right", 2), expected);
    }

    #[test]
    fn a_launch_that_a_device_would_refuse_is_found() {
        let device = Emulated::new(&FAULTS, 1 << 20).with_shared_bytes(1000);
        let right = Launch {
            kernel: "right",
            grid: (2, 1),
            block: 64,
            shared_bytes: 64,
            results: Results::Fixed,
        };
        device.check(&right);
        device.check(&Launch { shared_bytes: 1000, ..right });
        for wrong in [
            Launch { grid: (0, 1), ..right },
            Launch { grid: (1 << 31, 1), ..right },
            Launch { grid: (1, 0), ..right },
            Launch { grid: (1, 65_536), ..right },
            Launch { block: 0, ..right },
            Launch { block: 1025, ..right },
            Launch { shared_bytes: 1001, ..right },
            Launch { kernel: "spans_f32", shared_bytes: 937, ..right },
        ] {
            let found = catch_unwind(AssertUnwindSafe(|| device.check(&wrong)));
            assert!(found.is_err(), "{wrong:?} was let through");
        }
    }

    #[test]
    fn every_planted_fault_is_found() {
        for (kernel, arguments) in [
            ("without_a_barrier", 2),
            ("one_too_far", 2),
            ("reads_shared_too_far", 2),
            ("a_barrier_for_some", 2),
            ("overflows", 2),
            ("right", 1),
        ] {
            let found = catch_unwind(AssertUnwindSafe(|| launch(kernel, arguments)));
            assert!(found.is_err(), "{kernel} with {arguments} arguments ran through");
        }
    }
}
