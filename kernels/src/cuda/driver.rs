//! The device behind the driver.
//!
//! Contexts, and the modules in them, are kept for the life of the process: to make a context takes longer than many
//! an operation, and the last to let go of a device's context destroys it. So is some page-locked memory: to lock a
//! gigabyte takes longer than to send it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem::ManuallyDrop;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, CudaView, DriverError,
    HostSlice, LaunchConfig, PinnedHostSlice, PushKernelArg, SyncOnDrop, sys,
};
use cudarc::nvrtc::Ptx;

use super::backend::{Argument, Backend, Launch};
use super::nvrtc::{self, Source};
use crate::device::Device;
use crate::error::{Error, Memory, Result};

/// With `1` every launch is waited for, so that an error names the kernel that made it.
const SYNC_VARIABLE: &str = "COLONNADE_CUDA_SYNC";
static SYNC: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os(SYNC_VARIABLE).is_some_and(|value| value == "1"));

/// The devices that were opened, by number.
static OPENED: Mutex<BTreeMap<usize, Opened>> = Mutex::new(BTreeMap::new());

/// Page-locked memory that no operation uses, the oldest first: at most [`KEPT_BYTES`], and no operation's budget has it.
static KEPT: Mutex<Vec<PinnedHostSlice<u8>>> = Mutex::new(Vec::new());
const KEPT_BYTES: usize = 256 << 20;
/// What page-locked memory comes in multiples of, so that one operation's fits another's.
const STAGING_STEP: usize = 1 << 20;
/// What a large download comes in: two of them are page-locked, one is filled while the other is copied from.
const DOWNLOAD_BYTES: usize = 16 << 20;
/// Threads that copy from page-locked memory: one can not keep up with a bus of 16 lanes.
const COPIERS: usize = 4;

/// What stays of a device between operations.
struct Opened {
    context: Arc<CudaContext>,
    /// By the name of their source.
    modules: BTreeMap<&'static str, Arc<Module>>,
}

/// The kernels of one source on a device.
struct Module {
    module: Arc<CudaModule>,
    kernels: Mutex<BTreeMap<&'static str, Kernel>>,
}

struct Kernel {
    function: CudaFunction,
    /// Dynamic shared memory that its blocks may have. It only grows: other operations launch the kernel, too.
    shared_bytes: u32,
}

/// A device, with the kernels of one source on it.
pub(crate) struct Gpu {
    device: Device,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// For copies beside kernels. The binding orders the two streams by the buffers that both use.
    copies: Arc<CudaStream>,
    module: Arc<Module>,
    shared_bytes: usize,
    clock: Mutex<Clock>,
}

/// How long kernels ran: the events around the last launches, and the sum of those before.
#[derive(Default)]
struct Clock {
    launches: Vec<(CudaEvent, CudaEvent)>,
    seconds: f64,
}

/// Launches whose events are kept before they are summed.
const MOST_EVENTS: usize = 1024;

impl Clock {
    /// Adds the times of the first `count` launches. Waits for them.
    fn sum(&mut self, count: usize) -> std::result::Result<(), DriverError> {
        for (start, end) in self.launches.drain(..count) {
            self.seconds += f64::from(start.elapsed_ms(&end)?) * 1e-3;
        }
        Ok(())
    }
}

impl Gpu {
    /// Opens every device and loads `source` on it, or says why not. The report names the first; of several
    /// it says how many.
    pub(crate) fn open_all(source: &Source) -> std::result::Result<(Device, Vec<Self>), String> {
        super::driver_version()?;
        let devices = (0..super::count()?)
            .map(|ordinal| Self::open(source, ordinal))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let first = devices.first().ok_or("the CUDA driver finds no device")?;
        let device = match (&first.device, devices.len()) {
            (Device::Cuda { ordinal, name }, count) if count > 1 => {
                Device::Cuda { ordinal: *ordinal, name: format!("{name}, and {} more", count - 1) }
            }
            (device, _) => device.clone(),
        };
        Ok((device, devices))
    }

    fn open(source: &Source, ordinal: usize) -> std::result::Result<Self, String> {
        let mut opened = locked(&OPENED);
        if let Some(kept) = opened.get(&ordinal) {
            // What the drops of an earlier operation could tell nobody is not this one's error.
            let _ = kept.context.check_err();
            // That of a kernel stays with its context: another is to be made.
            if let Err(error) = kept.context.mem_get_info() {
                tracing::warn!(device = ordinal, %error, "the device is opened again");
                opened.remove(&ordinal);
                // What was locked by way of the broken context goes with it.
                free_kept();
            }
        }
        let opened = match opened.entry(ordinal) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let context = CudaContext::new(ordinal)
                    .map_err(|error| format!("device {ordinal} can't be opened: {error}"))?;
                entry.insert(Opened { context, modules: BTreeMap::new() })
            }
        };
        Self::on(opened, source, ordinal)
    }

    fn on(
        opened: &mut Opened,
        source: &Source,
        ordinal: usize,
    ) -> std::result::Result<Self, String> {
        let context = opened.context.clone();
        let name =
            context.name().map_err(|error| format!("device {ordinal} has no name: {error}"))?;
        let shared_bytes = context
            .attribute(
                sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )
            .map_err(|error| format!("{name} does not tell its shared memory: {error}"))?;
        let shared_bytes = usize::try_from(shared_bytes).unwrap_or(0);
        let stream =
            || context.new_stream().map_err(|error| format!("{name} gives no stream: {error}"));
        let (stream, copies) = (stream()?, stream()?);
        let module = match opened.modules.get(source.file) {
            Some(module) => module.clone(),
            None => {
                let module = Arc::new(Module::load(&context, source, &name)?);
                opened.modules.insert(source.file, module.clone());
                module
            }
        };
        let (device, clock) = (Device::Cuda { ordinal, name }, Mutex::default());
        Ok(Self { device, context, stream, copies, module, shared_bytes, clock })
    }

    /// The kernel of a launch, allowed the shared memory that it asks for.
    fn function(&self, launch: &Launch) -> Result<CudaFunction> {
        let find = |error| self.error(format!("find kernel {}", launch.kernel), &error);
        let mut kernels = locked(&self.module.kernels);
        let kernel = match kernels.entry(launch.kernel) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.context.bind_to_thread().map_err(find)?;
                let function = self.module.module.load_function(launch.kernel).map_err(find)?;
                entry.insert(Kernel { function, shared_bytes: 0 })
            }
        };
        // Always, and not from 48 KiB on: what the kernel declares itself counts towards those.
        if launch.shared_bytes > kernel.shared_bytes {
            let attribute =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = launch.shared_bytes;
            self.context
                .bind_to_thread()
                .and_then(|()| kernel.function.set_attribute(attribute, bytes as i32))
                .map_err(|error| {
                    let attempted =
                        format!("give {bytes} bytes of shared memory to {}", launch.kernel);
                    self.error(attempted, &error)
                })?;
            kernel.shared_bytes = launch.shared_bytes;
        }
        Ok(kernel.function.clone())
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        locked(&self.clock)
    }

    /// The bytes of `staging`, once its last copy has ended.
    fn writable<'a>(&self, staging: &'a mut Staging) -> Result<&'a mut [u8]> {
        let bytes = staging.bytes;
        staging
            .memory
            .as_mut_slice()
            .map(|memory| &mut memory[..bytes])
            .map_err(|error| self.error("wait for a copy to the device".into(), &error))
    }

    /// Downloads by way of page-locked memory, a piece while the one before is copied on.
    fn download_by(
        &self,
        stagings: &mut [Staging],
        part: &CudaView<'_, u8>,
        data: &mut [u8],
    ) -> Result<()> {
        let failed =
            |error| self.error(format!("copy {} bytes from the device", part.len()), &error);
        let mut pieces = data.chunks_mut(DOWNLOAD_BYTES);
        let mut under_way: Option<&mut [u8]> = None;
        let mut start = 0;
        for slot in (0..2).cycle() {
            let next = pieces.next();
            if let Some(piece) = &next {
                let (memory, bytes) = (&mut stagings[slot].memory, piece.len());
                let from = part.slice(start..start + bytes);
                self.stream
                    .memcpy_dtoh(&from, &mut Front { memory, bytes })
                    // Whether the end of the copy was recorded, too: it is what is waited for.
                    .and_then(|()| self.context.check_err())
                    .map_err(failed)?;
                start += bytes;
            }
            if let Some(piece) = under_way.take() {
                let found = stagings[1 - slot].memory.as_slice().map_err(failed)?;
                copy(&found[..piece.len()], piece);
            }
            match next {
                Some(piece) => under_way = Some(piece),
                None => break,
            }
        }
        Ok(())
    }

    fn error(&self, attempted: String, error: &DriverError) -> Error {
        Error::Driver { attempted, device: self.device.to_string(), found: error.to_string() }
    }
}

impl Drop for Gpu {
    /// Memory that was freed in the stream's order goes back to the system when the host next waits for the stream.
    /// The context stays, so nothing else gives it back.
    fn drop(&mut self) {
        if let Err(error) = self.stream.synchronize() {
            tracing::warn!(device = %self.device, %error, "an operation left its device with an error");
        }
    }
}

impl Module {
    fn load(
        context: &Arc<CudaContext>,
        source: &Source,
        name: &str,
    ) -> std::result::Result<Self, String> {
        let (major, minor) = context
            .compute_capability()
            .map_err(|error| format!("{name} does not tell its architecture: {error}"))?;
        let architecture = architecture(major, minor);
        let cubin = nvrtc::cubin(source, &architecture).map_err(|error| error.to_string())?;
        let module = context.load_module(Ptx::from_binary(cubin)).map_err(|error| {
            format!("{name} refuses {} for {architecture}: {error}", source.file)
        })?;
        Ok(Self { module, kernels: Mutex::default() })
    }
}

/// What a mutex holds. A thread that panicked with it left it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Page-locked memory of an operation; kept for the next when it is dropped.
pub(crate) struct Staging {
    memory: ManuallyDrop<PinnedHostSlice<u8>>,
    /// What was asked for of it.
    bytes: usize,
}

impl Staging {
    /// Memory that is kept for `context`, if any is of about this size.
    fn kept(context: &Arc<CudaContext>, bytes: usize) -> Option<Self> {
        let mut kept = locked(&KEPT);
        let fits = |memory: &PinnedHostSlice<u8>| {
            (bytes..=2 * bytes.max(STAGING_STEP)).contains(&memory.len())
                && memory.context() == context
        };
        let (at, _) = kept
            .iter()
            .enumerate()
            .filter(|(_, memory)| fits(memory))
            .min_by_key(|(_, memory)| memory.len())?;
        Some(Self { memory: ManuallyDrop::new(kept.remove(at)), bytes })
    }
}

impl Drop for Staging {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it is taken once, here, and nothing sees `self` afterwards.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        if memory.len() > KEPT_BYTES {
            return;
        }
        let mut freed = Vec::new();
        let mut kept = locked(&KEPT);
        kept.push(memory);
        while kept.iter().map(PinnedHostSlice::len).sum::<usize>() > KEPT_BYTES {
            freed.push(kept.remove(0));
        }
        drop(kept);
    }
}

/// Gives back what is kept. Not with the lock held, as that waits for the device.
fn free_kept() {
    let freed = std::mem::take(&mut *locked(&KEPT));
    drop(freed);
}

/// Copies on some threads. They are no pool's: whoever calls may hold a lock that work of a pool waits for.
fn copy(from: &[u8], to: &mut [u8]) {
    let part = from.len().div_ceil(COPIERS).max(STAGING_STEP);
    let count = from.len().div_ceil(part);
    let parts = Mutex::new(from.chunks(part).zip(to.chunks_mut(part)));
    let work = || {
        loop {
            let next = locked(&parts).next();
            let Some((from, to)) = next else { return };
            to.copy_from_slice(from);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..count {
            // One that can not be started leaves its share to the others.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

/// The first bytes of page-locked memory, to copy from or to. Waits and events are those of the whole.
struct Front<'a> {
    memory: &'a mut PinnedHostSlice<u8>,
    bytes: usize,
}

#[allow(unsafe_code)]
impl HostSlice<u8> for Front<'_> {
    fn len(&self) -> usize {
        self.bytes
    }

    unsafe fn stream_synced_slice<'a>(
        &'a self,
        stream: &'a CudaStream,
    ) -> (&'a [u8], SyncOnDrop<'a>) {
        // SAFETY: the caller uses the slice with `stream`.
        let (all, recorded) = unsafe { self.memory.stream_synced_slice(stream) };
        (&all[..self.bytes], recorded)
    }

    unsafe fn stream_synced_mut_slice<'a>(
        &'a mut self,
        stream: &'a CudaStream,
    ) -> (&'a mut [u8], SyncOnDrop<'a>) {
        let bytes = self.bytes;
        // SAFETY: the caller uses the slice with `stream`.
        let (all, recorded) = unsafe { self.memory.stream_synced_mut_slice(stream) };
        (&mut all[..bytes], recorded)
    }
}

/// The architecture that machine code is made for. Hopper and Blackwell have instructions that only
/// their own variant (`a`) has.
fn architecture(major: i32, minor: i32) -> String {
    let variant = if (major, minor) == (9, 0) { "a" } else { "" };
    format!("sm_{major}{minor}{variant}")
}

impl Backend for Gpu {
    type Buffer = CudaSlice<u8>;
    type Staging = Staging;

    fn free_bytes(&self) -> Result<usize> {
        // What was freed in the order of a stream counts as free once it was waited for.
        self.context
            .synchronize()
            .and_then(|()| self.context.mem_get_info())
            .map(|(free, _)| free)
            .map_err(|error| self.error("ask for free memory".into(), &error))
    }

    fn shared_bytes(&self) -> usize {
        self.shared_bytes
    }

    fn allocate(&self, operation: &'static str, bytes: usize) -> Result<CudaSlice<u8>> {
        self.stream.alloc_zeros::<u8>(bytes.max(1)).map_err(|error| {
            if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                Error::OutOfMemory { operation, memory: Memory::Device, bytes }
            } else {
                self.error(format!("allocate {bytes} bytes"), &error)
            }
        })
    }

    fn clear(&self, buffer: &mut CudaSlice<u8>) -> Result<()> {
        self.stream.memset_zeros(buffer).map_err(|error| self.error("clear memory".into(), &error))
    }

    fn upload(&self, buffer: &mut CudaSlice<u8>, offset: usize, data: &[u8]) -> Result<()> {
        let bytes = data.len();
        if bytes == 0 {
            return Ok(());
        }
        let mut part = buffer
            .try_slice_mut(offset..offset + bytes)
            .ok_or_else(|| out_of_range("upload", offset, bytes))?;
        self.stream
            .memcpy_htod(data, &mut part)
            .map_err(|error| self.error(format!("copy {bytes} bytes to the device"), &error))
    }

    fn download(&self, buffer: &CudaSlice<u8>, offset: usize, data: &mut [u8]) -> Result<()> {
        let bytes = data.len();
        if bytes == 0 {
            return Ok(());
        }
        let part = buffer
            .try_slice(offset..offset + bytes)
            .ok_or_else(|| out_of_range("download", offset, bytes))?;
        // Memory that the driver has to lock first costs more than to copy twice. Where none can be had, it does.
        if bytes > STAGING_STEP {
            let size = bytes.min(DOWNLOAD_BYTES);
            let stagings = (0..bytes.div_ceil(size).min(2)).map(|_| self.staging("download", size));
            if let Ok(mut stagings) = stagings.collect::<Result<Vec<_>>>() {
                return self.download_by(&mut stagings, &part, data);
            }
        }
        self.stream
            .memcpy_dtoh(&part, data)
            .and_then(|()| self.stream.synchronize())
            .map_err(|error| self.error(format!("copy {bytes} bytes from the device"), &error))
    }

    #[allow(unsafe_code)]
    fn staging(&self, operation: &'static str, bytes: usize) -> Result<Staging> {
        if let Some(kept) = Staging::kept(&self.context, bytes) {
            return Ok(kept);
        }
        // Without flags, which is cached as any memory. `alloc_pinned` would have it write-combined: fine for bytes in
        // order, but tiles are packed and transposed, and each store out of order would be a transaction of its own.
        let allocate = || {
            let size = bytes.max(1).next_multiple_of(STAGING_STEP);
            // SAFETY: the bytes are set below, before anyone reads them.
            unsafe { self.context.alloc_pinned_with_flags::<u8>(size, 0) }
        };
        let is_short = |error: &DriverError| error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let mut allocated = allocate();
        if allocated.as_ref().err().is_some_and(is_short) {
            free_kept();
            allocated = allocate();
        }
        let memory = allocated.map_err(|error| {
            if is_short(&error) {
                Error::OutOfMemory { operation, memory: Memory::Host, bytes }
            } else {
                self.error(format!("lock {bytes} bytes of host memory"), &error)
            }
        })?;
        let mut staging = Staging { memory: ManuallyDrop::new(memory), bytes };
        let whole = staging.memory.as_mut_slice();
        whole.map_err(|error| self.error("wait for locked memory".into(), &error))?.fill(0);
        Ok(staging)
    }

    fn send(
        &self,
        staging: &mut Staging,
        buffer: &mut CudaSlice<u8>,
        write: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<()> {
        let bytes = write(self.writable(staging)?);
        if bytes > staging.bytes.min(buffer.len()) {
            return Err(out_of_range("send", 0, bytes));
        }
        if bytes == 0 {
            return Ok(());
        }
        self.copies
            .memcpy_htod(&Front { memory: &mut staging.memory, bytes }, buffer)
            .map_err(|error| self.error(format!("send {bytes} bytes to the device"), &error))
    }

    #[allow(unsafe_code)]
    fn launch(&self, launch: Launch, arguments: &[Argument<'_, CudaSlice<u8>>]) -> Result<()> {
        let function = self.function(&launch)?;
        let mut builder = self.stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                Argument::Buffer(buffer) => builder.arg(*buffer),
                Argument::Int(value) => builder.arg(value),
                Argument::Unsigned(value) => builder.arg(value),
                Argument::Long(value) => builder.arg(value),
                Argument::Double(value) => builder.arg(value),
            };
        }
        let config = LaunchConfig {
            grid_dim: (launch.grid.0, launch.grid.1, 1),
            block_dim: (launch.block, 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        // Recorded by the builder, between the waits for copies and the kernel: a wait is not the kernel's time.
        builder.record_kernel_launch(sys::CUevent_flags::CU_EVENT_DEFAULT);
        // SAFETY: number, types and sizes of the arguments are those of the kernel: the emulation checks
        // the same call against the kernel's own signature, and every access against the buffers' ends.
        let events = unsafe { builder.launch(config) }
            .map_err(|error| self.error(format!("start kernel {}", launch.kernel), &error))?;
        if *SYNC {
            self.stream
                .synchronize()
                .map_err(|error| self.error(format!("run kernel {}", launch.kernel), &error))?;
        }
        let mut clock = self.clock();
        clock.launches.extend(events);
        if clock.launches.len() >= MOST_EVENTS {
            // The older half: to wait for the last would leave the device without work.
            clock
                .sum(MOST_EVENTS / 2)
                .map_err(|error| self.error("wait for kernels".into(), &error))?;
        }
        Ok(())
    }

    fn kernel_seconds(&self) -> Result<f64> {
        let mut clock = self.clock();
        let count = clock.launches.len();
        clock.sum(count).map_err(|error| self.error("wait for kernels".into(), &error))?;
        Ok(std::mem::take(&mut clock.seconds))
    }
}

fn out_of_range(operation: &'static str, offset: usize, bytes: usize) -> Error {
    Error::Internal {
        operation,
        found: format!("{bytes} bytes at {offset} are beyond the buffer's end"),
    }
}
