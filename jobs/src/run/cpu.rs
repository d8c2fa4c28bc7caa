//! Processor time of a step. The system counts it for the process as a whole, and threads of a pool work for whoever asks: so what the
//! process takes is shared out equally among the steps that are under way at the time. A step that is alone gets all of it.

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

static METER: Mutex<Meter> = Mutex::new(Meter { counted: 0.0, under_way: 0, each: 0.0 });

/// The processor time of a step under way.
pub(crate) struct CpuTime {
    each_before: f64,
}

impl CpuTime {
    /// Counts from now on, until it is dropped.
    pub(crate) fn count() -> Self {
        Self { each_before: METER.lock().enter(process_seconds()) }
    }

    /// Its part so far, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        METER.lock().up_to(process_seconds()) - self.each_before
    }
}

impl Drop for CpuTime {
    fn drop(&mut self) {
        METER.lock().leave(process_seconds());
    }
}

/// Processor time of all threads since the process began, in seconds.
fn process_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What the process took, shared out.
struct Meter {
    /// The process's time up to which it is shared out.
    counted: f64,
    under_way: u32,
    /// What a step that was always under way would have got.
    each: f64,
}

impl Meter {
    fn enter(&mut self, now: f64) -> f64 {
        let each = self.up_to(now);
        self.under_way += 1;
        each
    }

    fn leave(&mut self, now: f64) {
        self.up_to(now);
        self.under_way = self.under_way.saturating_sub(1);
    }

    fn up_to(&mut self, now: f64) -> f64 {
        // Two threads that looked one after the other may come here in the other order.
        if now > self.counted {
            if self.under_way > 0 {
                self.each += (now - self.counted) / f64::from(self.under_way);
            }
            self.counted = now;
        }
        self.each
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_the_process_takes_is_shared_out_among_those_under_way() {
        let mut meter = Meter { counted: 0.0, under_way: 0, each: 0.0 };
        // Nobody was under way for the first 5 seconds.
        let first = meter.enter(5.0);
        let second = meter.enter(7.0);
        assert_eq!(meter.up_to(11.0) - first, 4.0);
        assert_eq!(meter.up_to(10.0) - first, 4.0);
        assert_eq!(meter.up_to(11.0) - second, 2.0);
        meter.leave(11.0);
        assert_eq!(meter.up_to(12.0) - first, 5.0);
        meter.leave(12.0);
        assert_eq!(meter.up_to(20.0) - first, 5.0);
    }

    #[test]
    fn who_computes_takes_time_and_who_sleeps_takes_none_of_its_own() {
        let time = CpuTime::count();
        let before = process_seconds();
        let began = Instant::now();
        while process_seconds() - before < 0.02 && began.elapsed() < Duration::from_secs(60) {
            std::hint::black_box(began.elapsed());
        }
        let (own, all) = (time.seconds(), process_seconds() - before);
        assert!(own > 0.0 && own <= all + 0.001, "{own} of {all}");
    }
}
