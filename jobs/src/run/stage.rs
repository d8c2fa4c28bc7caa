//! A step of a run, from its beginning to its record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernels::{Device, Stats};
use parking_lot::Mutex;
use serde_json::Value;

use crate::run::cpu::CpuTime;
use crate::run::logs::RunLog;
use crate::run::memory::PeakMemory;
use crate::run::record::StageRecord;

/// What a record calls the processor.
const CPU: &str = "cpu";

/// A step under way.
pub struct Stage {
    /// What is known of it so far; times and memory are filled in at the end.
    pub record: StageRecord,
    began: Instant,
    elsewhere: Elsewhere,
    /// Whether another process does the work.
    is_outside: bool,
    memory: PeakMemory,
    cpu: CpuTime,
    stages: Arc<Mutex<Vec<StageRecord>>>,
    log: RunLog,
}

impl Stage {
    pub(super) fn begin(name: &str, stages: Arc<Mutex<Vec<StageRecord>>>, log: RunLog) -> Self {
        Self {
            record: StageRecord {
                name: name.into(),
                device: CPU.into(),
                reason: "relational work and input/output stay on the CPU".into(),
                ..StageRecord::default()
            },
            began: Instant::now(),
            elsewhere: Elsewhere::default(),
            is_outside: false,
            memory: PeakMemory::watch(),
            cpu: CpuTime::count(),
            stages,
            log,
        }
    }

    /// What counts its time that is another step's, while it waits for that.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        self.elsewhere.clone()
    }

    /// Says that another process does the work, whose memory is its own.
    pub(crate) fn is_outside(&mut self) {
        self.is_outside = true;
    }

    /// Ends the step.
    pub fn finish(self) {}

    /// Names the device that did the step and why.
    pub fn on_device(&mut self, device: impl Into<String>, reason: impl Into<String>) {
        self.record.device = device.into();
        self.record.reason = reason.into();
    }

    /// Adds the GPU that kernels took, if any did, whatever else the step did on the processor.
    pub(crate) fn took(&mut self, gpu: &GpuUse) {
        if let Some((device, reason)) = &gpu.device {
            self.on_device(device.clone(), reason.clone());
            self.record.gpu_seconds += gpu.seconds;
        }
    }

    /// Adds facts by the step's own names.
    pub fn facts(&mut self, facts: Value) {
        self.record.facts = facts;
    }
}

/// The time of a step that is another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elsewhere(Arc<AtomicU64>);

impl Elsewhere {
    /// From `began` until now it was another's.
    pub(crate) fn since(&self, began: Instant) {
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(us, Ordering::Relaxed);
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The GPU that kernels took in a step, if any did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GpuUse {
    device: Option<(String, String)>,
    seconds: f64,
}

impl GpuUse {
    /// What one call took.
    pub(crate) fn of(stats: &Stats) -> Self {
        let mut gpu = Self::default();
        gpu.add(stats);
        gpu
    }

    /// Adds what one call took.
    pub(crate) fn add(&mut self, stats: &Stats) {
        if stats.device.device != Device::Cpu {
            let named = || (stats.device.device.to_string(), stats.device.reason.clone());
            self.device.get_or_insert_with(named);
            self.seconds += stats.kernel_seconds;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut record = std::mem::take(&mut self.record);
        let own = self.began.elapsed().saturating_sub(self.elsewhere.time());
        record.wall_seconds = own.as_secs_f64();
        record.cpu_seconds += self.cpu.seconds();
        // Where no kernel says how long it worked, it was held for the whole step.
        if record.device != CPU && record.gpu_seconds == 0.0 {
            record.gpu_seconds = record.wall_seconds;
        }
        if !self.is_outside {
            record.peak_memory_bytes = self.memory.bytes();
        }
        let StageRecord { name, device, wall_seconds, rows_in, rows_out, .. } = &record;
        self.log.info(format!(
            "{name}: {rows_in} rows in, {rows_out} rows out, {wall_seconds:.3} s on {device}"
        ));
        self.stages.lock().push(record);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::{RunId, TenantId};

    use super::*;
    use crate::run::logs::LogBook;

    fn recorded(step: impl FnOnce(&mut Stage)) -> StageRecord {
        let stages = Arc::<Mutex<Vec<StageRecord>>>::default();
        let book = Arc::<LogBook>::default();
        let log = book.of_run(&TenantId::default(), RunId::new(), 1, "job");
        let mut stage = Stage::begin("step", stages.clone(), log);
        step(&mut stage);
        std::thread::sleep(Duration::from_millis(30));
        stage.finish();
        stages.lock().pop().unwrap()
    }

    #[test]
    fn a_gpu_is_named_with_the_time_that_it_was_held() {
        let on_cpu = recorded(|_| {});
        assert_eq!((on_cpu.device.as_str(), on_cpu.gpu_seconds), (CPU, 0.0));
        assert!(on_cpu.wall_seconds >= 0.03 && on_cpu.peak_memory_bytes > 0, "{on_cpu:?}");
        // A model's forward passes are not timed one by one.
        let held = recorded(|stage| stage.on_device("a GPU", "it pays"));
        assert_eq!(held.gpu_seconds, held.wall_seconds);
        let gpu = GpuUse { device: Some(("a GPU".into(), "it pays".into())), seconds: 0.25 };
        let kernels = recorded(|stage| {
            stage.on_device(CPU, "the rest");
            stage.took(&gpu);
            stage.took(&GpuUse::default());
        });
        assert_eq!((kernels.device.as_str(), kernels.gpu_seconds), ("a GPU", 0.25));
    }

    #[test]
    fn time_and_memory_of_others_are_not_its_own() {
        let waits = recorded(|stage| {
            stage.elsewhere().0.fetch_add(60_000_000, Ordering::Relaxed);
        });
        assert_eq!(waits.wall_seconds, 0.0);
        let outside = recorded(|stage| {
            stage.is_outside();
            stage.record.peak_memory_bytes = 7;
        });
        assert_eq!(outside.peak_memory_bytes, 7);
        assert_eq!(recorded(Stage::is_outside).peak_memory_bytes, 0);
    }
}
