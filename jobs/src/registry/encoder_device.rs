//! Which device an encoder of a run works on, and why that one.

use std::sync::Arc;

use engine::{Code, Error, Result};
use kernels::{Device, Devices, GpuPolicy};
use models::{Embedder, EncoderDevice, TextEmbedder, embedder_on};

use crate::run::stage::Stage;

/// Fewer texts than these are embedded before a device has compiled its kernels: an estimate.
const TEXTS_MIN: usize = 20_000;

/// What an encoder has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// So many texts get vectors.
    Embed(usize),
    /// It is trained.
    Train,
}

/// A device that is ready, and why it is that one.
pub(crate) struct OnDevice {
    pub(crate) device: EncoderDevice,
    /// The encoder there.
    pub(crate) embedder: Arc<dyn TextEmbedder>,
    name: String,
    reason: String,
}

impl OnDevice {
    /// Chooses the device for `encoder`. `DEVICE_UNAVAILABLE` where one is required and can't be used. On the numeric
    /// threads.
    pub(crate) fn choose(gpu: GpuPolicy, work: Work, encoder: &Arc<Embedder>) -> Result<Self> {
        let on_cpu = |reason: String| Self {
            device: EncoderDevice::Cpu,
            embedder: encoder.clone(),
            name: "cpu".into(),
            reason,
        };
        let (ordinal, name) = match candidate(gpu, work, kernels::devices) {
            Ok(found) => found,
            Err(reason) if gpu == GpuPolicy::Required => return Err(unavailable(&reason)),
            Err(reason) => return Ok(on_cpu(reason)),
        };
        let device = EncoderDevice::Cuda(ordinal);
        match embedder_on(device, encoder) {
            Ok(embedder) => {
                let reason = "it gives the vectors that the processor gives".into();
                Ok(Self { device, embedder, name, reason })
            }
            Err(error) if gpu == GpuPolicy::Required => {
                Err(unavailable(&format!("{name}: {error}")))
            }
            Err(error) => Ok(on_cpu(format!("{name}: {error}"))),
        }
    }

    /// Notes it in a stage.
    pub(crate) fn note(&self, stage: &mut Stage) {
        stage.on_device(self.name.clone(), self.reason.clone());
    }
}

/// The number and name of the device to be tried, or why there is none.
fn candidate(
    gpu: GpuPolicy,
    work: Work,
    devices: impl FnOnce() -> Devices,
) -> std::result::Result<(usize, String), String> {
    if gpu == GpuPolicy::Off {
        return Err("gpu = off".into());
    }
    if let Work::Embed(texts) = work
        && texts < TEXTS_MIN
        && gpu == GpuPolicy::Preferred
    {
        return Err(format!("{texts} texts; a device pays from {TEXTS_MIN} on"));
    }
    let Devices { found, cuda_absent } = devices();
    let cuda = found.into_iter().find_map(|facts| match &facts.device {
        Device::Cuda { ordinal, .. } => Some((*ordinal, facts.device.to_string())),
        Device::Cpu => None,
    });
    cuda.ok_or_else(|| cuda_absent.unwrap_or_else(|| "no CUDA device was found".into()))
}

fn unavailable(reason: &str) -> Error {
    let problem = format!("an encoder can't use a GPU, though gpu = required: {reason}");
    Error::user(Code::DeviceUnavailable, problem)
}

#[cfg(test)]
mod tests {
    use kernels::DeviceFacts;

    use super::*;

    fn devices(cuda: bool) -> Devices {
        let facts = |device| DeviceFacts { device, memory_bytes: None, details: Vec::new() };
        let h200 = Device::Cuda { ordinal: 1, name: "H200".into() };
        let mut found = vec![facts(Device::Cpu)];
        found.extend(cuda.then(|| facts(h200)));
        Devices { found, cuda_absent: (!cuda).then(|| "no driver".into()) }
    }

    #[test]
    fn a_device_is_tried_where_it_is_there_allowed_and_worth_it() {
        use GpuPolicy::{Off, Preferred, Required};
        let found = |gpu, work, cuda| candidate(gpu, work, || devices(cuda));
        let h200 = || Ok((1, "cuda:1 (H200)".to_owned()));
        assert_eq!(found(Preferred, Work::Train, true), h200());
        assert_eq!(found(Preferred, Work::Embed(TEXTS_MIN), true), h200());
        assert_eq!(found(Required, Work::Embed(1), true), h200());
        assert_eq!(found(Off, Work::Train, true), Err("gpu = off".into()));
        assert_eq!(found(Preferred, Work::Train, false), Err("no driver".into()));
        let few = Err("12 texts; a device pays from 20000 on".to_owned());
        assert_eq!(found(Preferred, Work::Embed(12), true), few);
    }
}
