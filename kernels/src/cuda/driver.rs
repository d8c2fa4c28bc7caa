//! The device behind the driver.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DriverError, LaunchConfig,
    PushKernelArg, sys,
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
    module: Arc<CudaModule>,
}

impl Gpu {
    /// Opens the first device and loads `source`, or says why not.
    pub(crate) fn open(source: &Source) -> std::result::Result<(Device, Self), String> {
        super::driver_version()?;
        super::count()?;
        let context =
            CudaContext::new(0).map_err(|error| format!("device 0 can't be opened: {error}"))?;
        let name = context.name().map_err(|error| format!("device 0 has no name: {error}"))?;
        let (major, minor) = context
            .compute_capability()
            .map_err(|error| format!("{name} does not tell its architecture: {error}"))?;
        let architecture = architecture(major, minor);
        let cubin = nvrtc::cubin(source, &architecture).map_err(|error| error.to_string())?;
        let module = context.load_module(Ptx::from_binary(cubin)).map_err(|error| {
            format!("{name} refuses {} for {architecture}: {error}", source.file)
        })?;
        let stream =
            context.new_stream().map_err(|error| format!("{name} gives no stream: {error}"))?;
        let device = Device::Cuda { ordinal: 0, name };
        Ok((device.clone(), Self { device, context, stream, module }))
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
    fn launch(&self, launch: Launch, arguments: &[Argument<'_, CudaSlice<u8>>]) -> Result<()> {
        let function = self.function(&launch)?;
        let mut builder = self.stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                Argument::Buffer(buffer) => builder.arg(*buffer),
                Argument::Int(value) => builder.arg(value),
                Argument::Unsigned(value) => builder.arg(value),
                Argument::Double(value) => builder.arg(value),
            };
        }
        let config = LaunchConfig {
            grid_dim: (launch.grid.0, launch.grid.1, 1),
            block_dim: (launch.block, 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        // SAFETY: number, types and sizes of the arguments are those of the kernel: the emulation checks
        // the same call against the kernel's own signature, and every access against the buffers' ends.
        unsafe { builder.launch(config) }
            .map(|_| ())
            .map_err(|error| self.error(format!("start kernel {}", launch.kernel), &error))
    }
}

fn out_of_range(operation: &'static str, offset: usize, bytes: usize) -> Error {
    Error::Internal {
        operation,
        found: format!("{bytes} bytes at {offset} are beyond the buffer's end"),
    }
}
