//! Which device does the work, and why that one.
//!
//! A silent fallback is the worst of both worlds: slow where speed was paid for, and found out late.
//! So there are three policies, the same everywhere, and every result names its device and the reason.

use std::fmt;
use std::str::FromStr;

use crate::crossover::Work;
use crate::cuda;
use crate::error::{Error, Result};
use crate::execution::Execution;

/// Whether a CUDA device must, may or must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GpuPolicy {
    /// No usable device is an error before work starts.
    Required,
    /// A device where there is one and it helps; else the CPU, with the reason in the report.
    #[default]
    Preferred,
    /// The CPU.
    Off,
}

impl fmt::Display for GpuPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Preferred => "preferred",
            Self::Off => "off",
        })
    }
}

impl FromStr for GpuPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "required" => Ok(Self::Required),
            "preferred" => Ok(Self::Preferred),
            "off" => Ok(Self::Off),
            other => Err(Error::Option {
                operation: "gpu policy",
                option: "gpu",
                found: format!("`{other}`"),
                expected: "it must be one of required, preferred, off".into(),
            }),
        }
    }
}

/// A device that can do work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A CUDA device.
    Cuda {
        /// Its number.
        ordinal: usize,
        /// Its name, as the driver gives it.
        name: String,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal, name } => write!(f, "cuda:{ordinal} ({name})"),
        }
    }
}

/// Which device did the work, and why that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// The device.
    pub device: Device,
    /// Why, in words for a run record.
    pub reason: String,
}

impl fmt::Display for DeviceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.reason)
    }
}

impl DeviceReport {
    pub(crate) fn cpu(reason: impl Into<String>) -> Self {
        Self { device: Device::Cpu, reason: reason.into() }
    }
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The device.
    pub device: Device,
    /// Memory in all, in bytes; absent where the system does not say.
    pub memory_bytes: Option<u64>,
    /// For a CPU its model and instruction sets, for a GPU its driver and compute capability.
    pub details: Vec<(&'static str, String)>,
}

/// What there is: the CPU first, then the CUDA devices; and where there is none, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// The devices.
    pub found: Vec<DeviceFacts>,
    /// Why no CUDA device can be used, if so.
    pub cuda_absent: Option<String>,
}

/// Lists the devices of this machine. Never fails: what can't be found out is left out.
pub fn devices() -> Devices {
    let mut found = vec![cpu_facts()];
    match cuda::list() {
        Ok(gpus) => {
            found.extend(gpus);
            Devices { found, cuda_absent: None }
        }
        Err(reason) => Devices { found, cuda_absent: Some(reason) },
    }
}

/// Why no device does an operation.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// None is there, or none that can be used.
    Absent(String),
    /// None will ever do what is asked.
    NoPath(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Absent(reason)
    }
}

/// Opens the devices that `execution` asks for; none means the CPU. `open` makes every CUDA device ready for the
/// operation; its error is the reason to stay on the CPU where that is allowed.
pub(crate) fn choose<G, R: Into<Refusal>>(
    operation: &'static str,
    execution: &Execution,
    work: Work,
    open: impl FnOnce() -> std::result::Result<(Device, Vec<G>), R>,
) -> Result<(DeviceReport, Vec<G>)> {
    let policy = execution.gpu;
    if policy == GpuPolicy::Off {
        return Ok((DeviceReport::cpu("gpu = off"), Vec::new()));
    }
    if policy == GpuPolicy::Preferred
        && let Some(reason) = work.too_little()
    {
        return Ok((DeviceReport::cpu(format!("gpu = preferred, but {reason}")), Vec::new()));
    }
    match (open().map_err(Into::into), policy) {
        (Ok((device, gpus)), _) => {
            Ok((DeviceReport { device, reason: format!("gpu = {policy}") }, gpus))
        }
        (Err(Refusal::Absent(reason)), GpuPolicy::Required) => {
            Err(Error::DeviceUnavailable { operation, reason })
        }
        (Err(Refusal::NoPath(reason)), GpuPolicy::Required) => {
            Err(Error::NoDevicePath { operation, reason })
        }
        (Err(Refusal::Absent(reason) | Refusal::NoPath(reason)), _) => {
            Ok((DeviceReport::cpu(format!("gpu = preferred, but {reason}")), Vec::new()))
        }
    }
}

fn cpu_facts() -> DeviceFacts {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_bytes = field(&memory, "MemTotal")
        .and_then(|value| value.strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field(&info, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let details = vec![
        ("model", model),
        ("cores", cores.to_string()),
        ("instruction sets", instruction_sets().join(" ")),
        ("matrix block", crate::product::micro_kernel_f32().name.to_owned()),
    ];
    DeviceFacts { device: Device::Cpu, memory_bytes, details }
}

fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        [
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("bmi2", is_x86_feature_detected!("bmi2")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ]
        .into_iter()
        .filter_map(|(name, present)| present.then_some(name))
        .collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![std::env::consts::ARCH]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_written() {
        for policy in [GpuPolicy::Required, GpuPolicy::Preferred, GpuPolicy::Off] {
            assert_eq!(policy.to_string().parse::<GpuPolicy>().unwrap(), policy);
        }
        let error = "always".parse::<GpuPolicy>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "gpu policy: gpu is `always`; it must be one of required, preferred, off"
        );
    }

    #[test]
    fn required_names_what_was_probed_and_preferred_says_why_not() {
        let on = |gpu| Execution { gpu, ..Execution::default() };
        let work = |amount| Work { amount, unit: "values", least: 1e3 };
        let absent = || Err::<(Device, Vec<()>), _>("no CUDA driver".to_owned());
        let error = choose("test", &on(GpuPolicy::Required), work(1.0), absent).unwrap_err();
        assert_eq!(error.to_string(), "test: gpu = required, but no CUDA driver");
        let none = || Err::<(Device, Vec<()>), _>(Refusal::NoPath("no device does it".into()));
        let never = choose("test", &on(GpuPolicy::Required), work(1.0), none).unwrap_err();
        assert_eq!(
            (never.kind(), &*never.to_string()),
            (crate::ErrorKind::User, "test: gpu = required, but no device does it")
        );
        assert!(choose("test", &on(GpuPolicy::Preferred), work(1e9), none).unwrap().1.is_empty());
        let (report, gpus) = choose("test", &on(GpuPolicy::Preferred), work(1e9), absent).unwrap();
        assert_eq!(
            (report.to_string().as_str(), gpus.len()),
            ("cpu: gpu = preferred, but no CUDA driver", 0)
        );
        let opened = || -> std::result::Result<(Device, Vec<()>), String> {
            unreachable!("opened all the same")
        };
        let (report, _) = choose("test", &on(GpuPolicy::Preferred), work(10.0), opened).unwrap();
        assert_eq!(
            report.to_string(),
            "cpu: gpu = preferred, but 1.0e1 values are fewer than the 1.0e3 from which a device is faster"
        );
        let (report, _) = choose("test", &on(GpuPolicy::Off), work(1e9), opened).unwrap();
        assert_eq!(report.to_string(), "cpu: gpu = off");
    }

    #[test]
    fn the_cpu_is_always_listed() {
        let devices = devices();
        assert_eq!(devices.found[0].device, Device::Cpu);
        assert!(
            devices.found[0].details.iter().any(|(name, value)| *name == "cores" && value != "0")
        );
        assert_eq!(devices.found.len() == 1, devices.cuda_absent.is_some());
    }
}
