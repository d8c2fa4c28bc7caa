//! The CUDA driver, as far as this crate needs it.
//!
//! The driver is loaded at run time, so that one binary serves machines with and without a GPU. The
//! binding panics when the library is not there; therefore it is looked for first, and nothing else
//! of the driver is touched until it was found and is new enough.

pub(crate) mod backend;
pub(crate) mod driver;
#[cfg(any(test, feature = "suite"))]
pub(crate) mod emulated;
pub(crate) mod nvrtc;
#[cfg(any(test, feature = "suite"))]
mod suite;

use crate::device::{Device, DeviceFacts};

use cudarc::driver::{CudaContext, sys};

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

/// The oldest driver that loads what the pinned compiler makes: CUDA 13.0.
const LEAST_DRIVER: i32 = 13000;

/// Every CUDA source of the crate.
#[cfg(any(test, feature = "suite"))]
pub(crate) const SOURCES: &[&nvrtc::Source] = &[
    &crate::correlate::SOURCE,
    &crate::forecast::SOURCE,
    &crate::isolation_forest::SOURCE,
    &crate::kmeans::SOURCE,
    &crate::matrix_profile::SOURCE,
    &crate::minhash::SOURCE,
    &crate::nearest::SOURCE,
    &crate::rolling::SOURCE,
];

/// The CUDA devices, or why there is none.
pub(crate) fn list() -> Result<Vec<DeviceFacts>, String> {
    let driver = driver_version()?;
    let count = count()?;
    (0..count).map(|ordinal| facts(ordinal, driver)).collect()
}

fn facts(ordinal: usize, driver: i32) -> Result<DeviceFacts, String> {
    let context = CudaContext::new(ordinal)
        .map_err(|error| format!("device {ordinal} can't be opened: {error}"))?;
    let name = context.name().map_err(|error| format!("device {ordinal} has no name: {error}"))?;
    let memory_bytes = context.total_mem().ok().map(|bytes| bytes as u64);
    let mut details = vec![("driver", version_text(driver))];
    if let Ok((major, minor)) = context.compute_capability() {
        details.push(("compute capability", format!("{major}.{minor}")));
    }
    Ok(DeviceFacts { device: Device::Cuda { ordinal, name }, memory_bytes, details })
}

/// Number of devices, at least 1.
fn count() -> Result<usize, String> {
    let count = CudaContext::device_count()
        .map_err(|error| format!("the CUDA driver does not start: {error}"))?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("the CUDA driver finds no device".into()),
    }
}

/// Version of a driver that is there and new enough.
#[allow(unsafe_code)]
fn driver_version() -> Result<i32, String> {
    // SAFETY: tries to open the driver's library, and closes it again.
    if !unsafe { sys::is_culib_present() } {
        return Err("no CUDA driver was found (looked for libcuda.so and libnvcuda.so)".into());
    }
    let mut version = 0;
    // SAFETY: the library is there; the call needs no initialised driver and writes one int.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    if status != sys::CUresult::CUDA_SUCCESS {
        return Err(format!("the CUDA driver does not tell its version: {status:?}"));
    }
    if version < LEAST_DRIVER {
        return Err(format!(
            "the CUDA driver supports CUDA {} and at least {} is needed",
            version_text(version),
            version_text(LEAST_DRIVER)
        ));
    }
    Ok(version)
}

fn version_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}
