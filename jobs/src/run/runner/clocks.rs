//! Compares the clocks of the processes of a root. Correctness does not depend on them, but each process checks schedules and
//! tokens by its own clock. So an operator should know when clocks differ.

use std::collections::HashSet;

use chrono::TimeDelta;

use crate::control::Worker;

/// Tolerated difference between two clocks. A new worker is seen about a second after it joins.
const DIFFERENCE_MAX: TimeDelta = TimeDelta::seconds(5);

/// The workers whose clocks were already compared with that of this process.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// `None` before the first comparison.
    seen: Option<HashSet<String>>,
}

impl Clocks {
    /// New workers whose clocks differ, and by how much they are ahead. It is unknown when the workers of the first comparison
    /// joined, so only clocks that are ahead can be recognized among them.
    pub(super) fn differing<'a>(
        &mut self,
        workers: &'a [Worker],
        now_us: i64,
    ) -> Vec<(&'a Worker, TimeDelta)> {
        let seen = self.seen.take();
        let differs = |worker: &&Worker| {
            let ahead = TimeDelta::microseconds(worker.started_us.saturating_sub(now_us));
            match &seen {
                Some(seen) if seen.contains(&worker.id) => None,
                Some(_) if ahead < -DIFFERENCE_MAX => Some(ahead),
                _ => Some(ahead).filter(|ahead| *ahead > DIFFERENCE_MAX),
            }
        };
        let found = workers.iter().filter_map(|worker| Some((worker, differs(&worker)?))).collect();
        self.seen = Some(workers.iter().map(|worker| worker.id.clone()).collect());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: &str, started_s: i64) -> Worker {
        Worker {
            id: id.into(),
            label: id.into(),
            started_us: started_s * 1_000_000,
            runs_max: None,
            device: None,
            beat: 0,
        }
    }

    #[test]
    fn a_different_clock_is_reported_once() {
        let mut clocks = Clocks::default();
        let found = |clocks: &mut Clocks, workers: &[Worker], now_s: i64| {
            let found = clocks.differing(workers, now_s * 1_000_000);
            found
                .into_iter()
                .map(|(of, ahead)| (of.id.clone(), ahead.num_seconds()))
                .collect::<Vec<_>>()
        };
        let mut workers = vec![worker("old", 10), worker("ahead", 1_100)];
        assert_eq!(found(&mut clocks, &workers, 1_000), [("ahead".to_owned(), 100)]);
        assert_eq!(found(&mut clocks, &workers, 1_001), []);
        workers.extend([worker("same", 1_001), worker("behind", 900), worker("further", 2_000)]);
        let expected = [("behind".to_owned(), -102), ("further".to_owned(), 998)];
        assert_eq!(found(&mut clocks, &workers, 1_002), expected);
        assert_eq!(found(&mut clocks, &workers, 5_000), []);
    }
}
