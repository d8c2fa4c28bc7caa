//! What a run is thought to need, what it is given, and what it took.
//!
//! A worker's memory is divided among the runs that it is at. Each is given what it is thought to need, and an even share where that is
//! more; a great one gets what is there, but for a little that every other place keeps. What does not fit waits.

use std::sync::atomic::Ordering;

use datasets::DatasetName;
use engine::{Catalog, Code, Error, Result, TenantId};
use kernels::{Device, GpuPolicy};
use serde_json::Value;

use super::{Shared, bound};
use crate::control::{Cost, DeviceNeed, DeviceRoom, Need};
use crate::job::{Estimate, InputSize, Job};
use crate::run::memory::size_in_words;
use crate::run::record::DatasetVersion;

/// Of an even share, the part that each place keeps whatever others need.
const KEPT_PART: usize = 8;
/// Of a GPU's memory, what runs may have: the rest is the driver's, and of who uses it beside them.
const DEVICE_PARTS: [u64; 2] = [9, 10];

/// A worker's memory and the places that share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    budget: usize,
    places: usize,
    /// What runs at work were given, and how many there are.
    given: usize,
    at_work: usize,
}

impl Memory {
    /// What every place keeps.
    fn kept(self) -> usize {
        self.budget / self.places.max(1) / KEPT_PART
    }

    /// What one more run could be given.
    fn free(self) -> usize {
        let others = self.places.saturating_sub(self.at_work + 1);
        self.budget.saturating_sub(self.given + self.kept() * others)
    }

    /// The most that one may be thought to need to begin now.
    pub(super) fn fits(self) -> i64 {
        let (free, share) = (self.free(), self.budget / self.places.max(1));
        match () {
            // Who is alone gets as much as there is, and fails or not by its own bounds.
            () if self.at_work == 0 => i64::MAX,
            () if free >= share => bound(free),
            () => bound(free / 2),
        }
    }

    /// What a run is given.
    pub(super) fn grant(self, needs: i64) -> usize {
        let share = self.budget / self.places.max(1);
        let needs = usize::try_from(needs).unwrap_or(usize::MAX);
        needs.max(share).min(self.free()).max(self.kept())
    }

    /// The most that any run is given.
    pub(super) fn most(self) -> usize {
        Self { given: 0, at_work: 0, ..self }.free()
    }
}

impl Shared {
    /// What is left of the memory.
    pub(super) fn memory(&self) -> Memory {
        let at_work = self.at_work.lock();
        Memory {
            budget: self.options.memory_budget_bytes,
            places: self.options.concurrent_runs.max(1),
            given: at_work.values().map(|run| run.memory_bytes).sum(),
            at_work: at_work.len(),
        }
    }

    /// What a run would need: by its inputs, and by what runs of its kind took before.
    pub(super) async fn estimate(
        &self,
        tenant: &TenantId,
        job: &dyn Job,
        params: &Value,
        inputs: &[DatasetVersion],
        catalog: &Catalog,
    ) -> Result<Estimate> {
        let sizes: Vec<InputSize> = inputs.iter().map(|input| size_of(input, catalog)).collect();
        let estimate = job.estimate(params, &sizes)?;
        let cost = self.records.store().cost(tenant.as_str(), job.name()).await?;
        Ok(cost.map_or(estimate, |cost| with_history(estimate, &cost)))
    }

    /// What it needs of a GPU; fails where it needs more than the one that is here has.
    pub(super) fn device_need(
        &self,
        job: &dyn Job,
        gpu: GpuPolicy,
        estimate: &Estimate,
    ) -> Result<DeviceNeed> {
        let need = match gpu {
            GpuPolicy::Required => Need::Required,
            GpuPolicy::Preferred if job.uses_gpu() => Need::Preferred,
            GpuPolicy::Preferred | GpuPolicy::Off => Need::None,
        };
        let bytes = match need {
            Need::None => 0,
            _ => i64::try_from(estimate.device_bytes).unwrap_or(i64::MAX),
        };
        match &self.device {
            // Where others work at it, theirs is the device.
            Some(room) if need == Need::Required && bytes > room.bytes && self.works() => {
                Err(Error::user(
                    Code::ResourcesExhausted,
                    format!(
                        "{}: gpu = required, and it needs {} of a GPU's memory, where {} has {}; give it fewer rows, or gpu = preferred",
                        job.name(),
                        size_in_words(estimate.device_bytes),
                        room.id,
                        size_in_words(room.bytes.unsigned_abs()),
                    ),
                ))
            }
            _ => Ok(DeviceNeed { need, bytes }),
        }
    }

    /// Whether runs are worked at here.
    pub(super) fn works(&self) -> bool {
        self.options.concurrent_runs > 0
    }

    /// Fails before any work when a GPU is required and none can be used.
    pub(super) fn require_device(&self, job: &str, gpu: GpuPolicy) -> Result<()> {
        if gpu != GpuPolicy::Required || self.device.is_some() {
            return Ok(());
        }
        let absent = kernels::devices().cuda_absent;
        let reason = absent.unwrap_or_else(|| "no CUDA device was found".into());
        Err(Error::user(Code::DeviceUnavailable, format!("{job}: gpu = required, but {reason}")))
    }

    /// Whether others are at work beside a run that begins now; then none of them is alone any more.
    pub(super) fn has_company(&self) -> bool {
        let at_work = self.at_work.lock();
        let has_company = !at_work.is_empty();
        if has_company {
            at_work.values().for_each(|run| run.is_alone.store(false, Ordering::Relaxed));
        }
        has_company
    }
}

/// The GPU of this machine, as all of its processes call it; of several the memory of the smallest, since a run uses all.
pub(super) fn device_here() -> Option<DeviceRoom> {
    let devices = kernels::devices();
    let gpus = devices.found.iter().filter(|facts| facts.device != Device::Cpu);
    let least = gpus.clone().filter_map(|facts| facts.memory_bytes).min()?;
    let names: Vec<String> = gpus.map(|facts| facts.device.to_string()).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let [part, of] = DEVICE_PARTS;
    let bytes = i64::try_from(least / of * part).unwrap_or(i64::MAX);
    Some(DeviceRoom { id: format!("{} of {}", names.join(" and "), host.trim()), bytes })
}

fn size_of(input: &DatasetVersion, catalog: &Catalog) -> InputSize {
    let entry = catalog.datasets.get(&input.dataset);
    let rows = input.rows.or_else(|| entry.and_then(|entry| entry.rows));
    let bytes = entry.map_or(0, |entry| entry.bytes);
    InputSize { dataset: DatasetName::clone(&input.dataset), rows, bytes }
}

/// The estimate, by what runs of the kind took: their time goes with the rows, and what they took of memory, when alone, is the least
/// for as many rows.
fn with_history(estimate: Estimate, cost: &Cost) -> Estimate {
    let positive = |value: i64| u64::try_from(value).unwrap_or(0);
    let rows = estimate.rows as f64;
    let per_row = if rows > 0.0 { estimate.memory_bytes as f64 / rows } else { 0.0 };
    let more_rows = (rows - cost.memory_rows as f64).max(0.0);
    let measured = match positive(cost.memory_bytes) {
        0 => 0.0,
        bytes if estimate.rows >= positive(cost.memory_rows) => bytes as f64 + per_row * more_rows,
        bytes => bytes as f64 * rows / (cost.memory_rows as f64).max(1.0),
    };
    let wall_s = cost.wall_us as f64 / 1e6;
    let seconds = match cost.rows {
        1.. if estimate.rows > 0 => wall_s * rows / cost.rows as f64,
        _ => wall_s,
    };
    Estimate {
        memory_bytes: estimate.memory_bytes.max(measured as u64),
        seconds: Some(seconds),
        ..estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    #[test]
    fn each_run_has_an_even_share_and_a_great_one_more() {
        let idle = Memory { budget: GIB, places: 2, given: 0, at_work: 0 };
        assert_eq!((idle.fits(), idle.grant(0)), (i64::MAX, GIB / 2));
        let one = Memory { given: GIB / 2, at_work: 1, ..idle };
        assert_eq!((one.fits(), one.grant(0)), (bound(GIB / 2), GIB / 2));
        // One that asks for more than there is gets all but what the other place keeps.
        let great = idle.grant(i64::MAX);
        assert_eq!((great, great), (GIB - GIB / 16, idle.most()));
        let beside = Memory { given: great, at_work: 1, ..idle };
        assert_eq!((beside.fits(), beside.grant(0)), (bound(GIB / 32), GIB / 16));
    }

    #[test]
    fn no_more_is_given_than_there_is_in_whatever_order_runs_come() {
        for seed in 0..200_i64 {
            let mut memory = Memory { budget: GIB, places: 5, given: 0, at_work: 0 };
            for place in 0..5_i64 {
                let needs = (seed * 7_919 + place * 104_729) % bound(GIB) * 2;
                if needs > memory.fits() {
                    continue;
                }
                memory.given += memory.grant(needs);
                memory.at_work += 1;
                assert!(memory.given <= GIB, "{seed}: {memory:?}");
            }
            assert!(memory.at_work > 0);
        }
    }

    #[test]
    fn what_runs_took_before_tells_what_the_next_takes() {
        let estimate =
            Estimate { rows: 1_000, memory_bytes: 100_000, bytes_read: 9, ..Estimate::default() };
        let cost =
            Cost { rows: 500, wall_us: 2_000_000, memory_rows: 900, memory_bytes: 5_000_000 };
        let known = with_history(estimate, &cost);
        assert_eq!((known.memory_bytes, known.seconds), (5_010_000, Some(4.0)));
        let few = with_history(Estimate { rows: 9, memory_bytes: 900, ..estimate }, &cost);
        assert_eq!(few.memory_bytes, 50_000);
        // Without a figure of memory the guess stands; without rows the time does.
        let none = Cost { rows: 0, memory_bytes: 0, ..cost };
        assert_eq!(with_history(estimate, &none).memory_bytes, 100_000);
        assert_eq!(with_history(estimate, &none).seconds, Some(2.0));
    }
}
