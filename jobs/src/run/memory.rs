//! The process's memory as the system sees it: the one figure of a run's memory that needs no trust
//! in our own estimates.
//!
//! The system keeps the greatest size of a process's whole life only, which says nothing of a step after a greater one. So while
//! somebody wants to know, a thread looks at the size now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// How often the thread looks: a peak that is shorter may be missed, unless it is the greatest of the process's life.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Who wants to know. The thread ends when there is nobody.
static WATCHES: Mutex<Vec<Weak<AtomicU64>>> = Mutex::new(Vec::new());

/// The greatest resident size of this process since it was made.
pub(crate) struct PeakMemory {
    seen: Arc<AtomicU64>,
    at_first: u64,
    greatest_before: u64,
}

impl PeakMemory {
    /// Looks from now on.
    pub(crate) fn watch() -> Self {
        let [now, greatest_before] = sizes();
        let seen = Arc::new(AtomicU64::new(now));
        let mut watches = WATCHES.lock();
        let is_first = watches.is_empty();
        watches.push(Arc::downgrade(&seen));
        drop(watches);
        // Where no thread can be had, the sizes at both ends have to do.
        if is_first && std::thread::Builder::new().name("memory".into()).spawn(look).is_err() {
            WATCHES.lock().clear();
        }
        Self { seen, at_first: now, greatest_before }
    }

    /// By how much the greatest so far is more than what was there at first, in bytes.
    pub(crate) fn grown_bytes(&self) -> u64 {
        self.bytes().saturating_sub(self.at_first)
    }

    /// The greatest so far, in bytes; 0 where the system does not tell.
    pub(crate) fn bytes(&self) -> u64 {
        let [now, greatest] = sizes();
        let seen = self.seen.load(Ordering::Relaxed).max(now);
        // It became so great since then: this is exact.
        if greatest > self.greatest_before { greatest } else { seen }
    }
}

fn look() {
    loop {
        std::thread::sleep(LOOK_EVERY);
        let [now, _] = sizes();
        let mut watches = WATCHES.lock();
        watches.retain(|watch| match watch.upgrade() {
            Some(seen) => {
                seen.fetch_max(now, Ordering::Relaxed);
                true
            }
            None => false,
        });
        if watches.is_empty() {
            return;
        }
    }
}

/// The resident size now, and the greatest of the process's life.
fn sizes() -> [u64; 2] {
    // proc(5): `VmHWM:    123 kB`.
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return [0, 0] };
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    })
}

/// A size for a person: `300 MiB`.
pub(crate) fn size_in_words(bytes: u64) -> String {
    let (unit, of) = match bytes {
        0..0x400 => return format!("{bytes} bytes"),
        0x400..0x10_0000 => ("KiB", 10),
        0x10_0000..0x4000_0000 => ("MiB", 20),
        _ => ("GiB", 30),
    };
    let value = bytes as f64 / f64::from(1_u32 << of);
    match value.fract() {
        0.0 => format!("{value} {unit}"),
        _ => format!("{value:.1} {unit}"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn sizes_are_said_in_words() {
        let words = [5, 300 << 20, 2 << 30, (3 << 30) / 2].map(size_in_words);
        assert_eq!(words, ["5 bytes", "300 MiB", "2 GiB", "1.5 GiB"]);
    }

    #[test]
    fn a_step_after_a_greater_one_has_a_peak_of_its_own() {
        let held = |bytes: usize| {
            let watch = PeakMemory::watch();
            let mut pages = vec![0_u8; bytes];
            pages.iter_mut().step_by(4096).for_each(|page| *page = 1);
            std::hint::black_box(&pages);
            watch.bytes()
        };
        let great = held(256 * MIB);
        let small = held(64 * MIB);
        // Other tests of the process may take memory meanwhile, and give it back.
        assert!(small >= (64 * MIB) as u64, "{small}");
        assert!(great >= (256 * MIB) as u64, "{great}");
    }
}
