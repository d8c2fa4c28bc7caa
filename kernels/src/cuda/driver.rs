//! The device behind the driver.

use std::sync::{Arc, Mutex};

use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, DriverError,
    LaunchConfig, PinnedHostSlice, PushKernelArg, sys,
};
use cudarc::nvrtc::Ptx;

use super::backend::{Argument, Backend, Launch};
use super::nvrtc::{self, Source};
use crate::device::Device;
use crate::error::{Error, Memory, Result};

/// Shared memory that a block may use without asking.
const PLAIN_SHARED_BYTES: u32 = 48 * 1024;

/// A device, with the kernels of one source on it.
pub(crate) struct Gpu {
    device: Device,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// For copies beside kernels. The binding orders the two streams by the buffers that both use.
    copies: Arc<CudaStream>,
    module: Arc<CudaModule>,
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
    fn sum(&mut self) -> std::result::Result<(), DriverError> {
        for (start, end) in self.launches.drain(..) {
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
        let context = CudaContext::new(ordinal)
            .map_err(|error| format!("device {ordinal} can't be opened: {error}"))?;
        let name =
            context.name().map_err(|error| format!("device {ordinal} has no name: {error}"))?;
        let (major, minor) = context
            .compute_capability()
            .map_err(|error| format!("{name} does not tell its architecture: {error}"))?;
        let architecture = architecture(major, minor);
        let cubin = nvrtc::cubin(source, &architecture).map_err(|error| error.to_string())?;
        let module = context.load_module(Ptx::from_binary(cubin)).map_err(|error| {
            format!("{name} refuses {} for {architecture}: {error}", source.file)
        })?;
        let stream =
            || context.new_stream().map_err(|error| format!("{name} gives no stream: {error}"));
        let (stream, copies) = (stream()?, stream()?);
        let device = Device::Cuda { ordinal, name };
        Ok(Self { device, context, stream, copies, module, clock: Mutex::default() })
    }

    fn function(&self, launch: &Launch) -> Result<CudaFunction> {
        let function = self
            .module
            .load_function(launch.kernel)
            .map_err(|error| self.error(format!("find kernel {}", launch.kernel), &error))?;
        if launch.shared_bytes > PLAIN_SHARED_BYTES {
            function
                .set_attribute(
                    sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    launch.shared_bytes as i32,
                )
                .map_err(|error| {
                    self.error(
                        format!(
                            "give {} bytes of shared memory to {}",
                            launch.shared_bytes, launch.kernel
                        ),
                        &error,
                    )
                })?;
        }
        Ok(function)
    }

    /// A moment in the order of the stream.
    fn event(&self) -> std::result::Result<CudaEvent, DriverError> {
        let event = self.context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
        event.record(&self.stream)?;
        Ok(event)
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The bytes of `staging`, once its last copy has ended.
    fn locked<'a>(&self, staging: &'a mut PinnedHostSlice<u8>) -> Result<&'a mut [u8]> {
        staging
            .as_mut_slice()
            .map_err(|error| self.error("wait for a copy to the device".into(), &error))
    }

    fn error(&self, attempted: String, error: &DriverError) -> Error {
        Error::Driver { attempted, device: self.device.to_string(), found: error.to_string() }
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
    type Staging = PinnedHostSlice<u8>;

    fn free_bytes(&self) -> Result<usize> {
        self.context
            .mem_get_info()
            .map(|(free, _)| free)
            .map_err(|error| self.error("ask for free memory".into(), &error))
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
        let mut part = buffer
            .try_slice_mut(offset..offset + bytes)
            .ok_or_else(|| out_of_range("upload", offset, bytes))?;
        self.stream
            .memcpy_htod(data, &mut part)
            .map_err(|error| self.error(format!("copy {bytes} bytes to the device"), &error))
    }

    fn download(&self, buffer: &CudaSlice<u8>, offset: usize, data: &mut [u8]) -> Result<()> {
        let bytes = data.len();
        let part = buffer
            .try_slice(offset..offset + bytes)
            .ok_or_else(|| out_of_range("download", offset, bytes))?;
        self.stream
            .memcpy_dtoh(&part, data)
            .and_then(|()| self.stream.synchronize())
            .map_err(|error| self.error(format!("copy {bytes} bytes from the device"), &error))
    }

    #[allow(unsafe_code)]
    fn staging(&self, operation: &'static str, bytes: usize) -> Result<PinnedHostSlice<u8>> {
        // SAFETY: the bytes are set below, before anyone reads them.
        let allocated = unsafe { self.context.alloc_pinned::<u8>(bytes.max(1)) };
        let mut staging = allocated.map_err(|error| {
            if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                Error::OutOfMemory { operation, memory: Memory::Host, bytes }
            } else {
                self.error(format!("lock {bytes} bytes of host memory"), &error)
            }
        })?;
        self.locked(&mut staging)?.fill(0);
        Ok(staging)
    }

    fn send(
        &self,
        staging: &mut PinnedHostSlice<u8>,
        buffer: &mut CudaSlice<u8>,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> Result<()> {
        let bytes = staging.len();
        if buffer.len() < bytes {
            return Err(out_of_range("send", 0, bytes));
        }
        write(self.locked(staging)?);
        self.copies
            .memcpy_htod(&*staging, buffer)
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
        let clocked = |error| self.error("record an event".into(), &error);
        let start = self.event().map_err(clocked)?;
        // SAFETY: number, types and sizes of the arguments are those of the kernel: the emulation checks
        // the same call against the kernel's own signature, and every access against the buffers' ends.
        unsafe { builder.launch(config) }
            .map_err(|error| self.error(format!("start kernel {}", launch.kernel), &error))?;
        let end = self.event().map_err(clocked)?;
        let mut clock = self.clock();
        clock.launches.push((start, end));
        if clock.launches.len() >= MOST_EVENTS {
            clock.sum().map_err(clocked)?;
        }
        Ok(())
    }

    fn kernel_seconds(&self) -> Result<f64> {
        let mut clock = self.clock();
        clock.sum().map_err(|error| self.error("wait for kernels".into(), &error))?;
        Ok(std::mem::take(&mut clock.seconds))
    }
}

fn out_of_range(operation: &'static str, offset: usize, bytes: usize) -> Error {
    Error::Internal {
        operation,
        found: format!("{bytes} bytes at {offset} are beyond the buffer's end"),
    }
}
