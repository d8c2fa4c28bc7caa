//! The join on the CPU: each thread takes units of diagonals and keeps its own best neighbours.
//!
//! ```text
//!   a unit:  ├─ segment ─┼─ segment ─┼ …      covariances afresh at each segment's first row
//!              strip strip strip …            8 bundles of 32 diagonals over one strip, then the next:
//!                                             what a strip needs stays in the first-level cache
//! ```

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::plan::{Plan, UNIT, Unit};
use super::sweep::{Best, NONE, Stretch, Sweep, sweep};
use super::windows::{PAD, Windows};
use super::{OPERATION, shared_bytes};
use crate::budget::{halving, largest_tile, zeroed};
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;

/// Rows of a strip.
const STRIP: usize = 512;

impl Best {
    pub(super) fn new(windows: usize) -> Result<Self> {
        let mut best = Self {
            rho: zeroed(OPERATION, windows + PAD)?,
            index: zeroed(OPERATION, windows + PAD)?,
        };
        best.rho.fill(f64::NEG_INFINITY);
        best.index.fill(NONE);
        Ok(best)
    }

    pub(super) fn bytes(windows: usize) -> usize {
        (windows + PAD) * (size_of::<f64>() + size_of::<u32>())
    }

    fn merge(&mut self, other: &Self) {
        for (window, (&rho, &index)) in other.rho.iter().zip(&other.index).enumerate() {
            self.offer(window, rho, index);
        }
    }
}

/// How many threads the budget has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) threads: usize,
    pub(super) thread_bytes: usize,
    pub(super) shared_bytes: usize,
}

impl Room {
    pub(super) fn bytes(&self) -> usize {
        self.shared_bytes + self.threads * self.thread_bytes
    }
}

pub(super) fn room(lengths: [usize; 2], window: usize, execution: &Execution) -> Result<Room> {
    let shared_bytes = shared_bytes(lengths, window);
    let [a, b] = lengths.map(|length| (length + 1).saturating_sub(window));
    let thread_bytes = Best::bytes(a) + Best::bytes(if lengths[1] == 0 { a } else { b });
    let cost = |threads: usize| shared_bytes + threads * thread_bytes;
    let most = execution.threads()?.threads();
    let host_bytes = execution.budget.host_bytes;
    let threads = largest_tile(OPERATION, Memory::Host, host_bytes, most, cost)?;
    Ok(Room { threads, thread_bytes, shared_bytes })
}

/// The best neighbours: for one series those after and those before each window, for two those of `a` in `b` and
/// those of `b` in `a`.
pub(super) fn run(
    plan: &Plan<'_>,
    room: Room,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<[Best; 2]> {
    let sizes = [plan.a.len, plan.b.unwrap_or(plan.a).len];
    let (mut found, halvings) = halving(room.threads.min(plan.units().max(1)), |threads| {
        (0..threads)
            .map(|_| Ok([Best::new(sizes[0])?, Best::new(sizes[1])?]))
            .collect::<Result<Vec<_>>>()
    })?;
    stats.halvings += halvings;

    let next = AtomicUsize::new(0);
    let worker = |best: &mut [Best; 2]| {
        let mut walker = Walker::new(plan, execution);
        while let Some(unit) = plan.unit(next.fetch_add(1, Ordering::Relaxed)) {
            walker.unit(unit, best)?;
            execution.control.advance(1);
        }
        Ok(())
    };
    match NonZeroUsize::new(found.len()) {
        Some(fewer) if found.len() < rayon::current_num_threads() => {
            Pool::of_size(fewer)?.run(|| found.par_iter_mut().try_for_each(worker))?;
        }
        _ => found.par_iter_mut().with_max_len(1).try_for_each(worker)?,
    }
    let mut parts = found.into_iter();
    let Some(mut all) = parts.next() else {
        return Ok([Best::new(sizes[0])?, Best::new(sizes[1])?]);
    };
    for part in parts {
        for (all, part) in all.iter_mut().zip(&part) {
            all.merge(part);
        }
    }
    Ok(all)
}

/// What one thread needs to go along diagonals.
struct Walker<'a> {
    plan: &'a Plan<'a>,
    execution: &'a Execution,
    sweep: Sweep,
    width: usize,
    covariance: [f64; UNIT],
}

impl<'a> Walker<'a> {
    fn new(plan: &'a Plan<'a>, execution: &'a Execution) -> Self {
        let (sweep, width) = sweep();
        Self { plan, execution, sweep, width, covariance: [0.0; UNIT] }
    }

    fn unit(&mut self, unit: Unit, best: &mut [Best; 2]) -> Result<()> {
        let (a, b) = self.plan.sides(unit.pass);
        let [first, second] = best;
        let (rows, cols) = if unit.pass == 0 { (first, second) } else { (second, first) };
        let end = a.len.min(b.len.saturating_sub(unit.first));
        let segment = self.plan.segment();
        for from in (0..end).step_by(segment) {
            self.execution.control.check(OPERATION)?;
            self.begin(a, b, from, unit.first);
            let to = end.min(from + segment);
            for strip in (from..to).step_by(STRIP) {
                self.strip(a, b, (strip, to.min(strip + STRIP)), unit.first, rows, cols);
            }
        }
        Ok(())
    }

    /// The covariances of the unit's diagonals in row `from`.
    fn begin(&mut self, a: &Windows, b: &Windows, from: usize, diagonal: usize) {
        let mut column = from + diagonal;
        for part in self.covariance.chunks_mut(32) {
            if column < b.len {
                part.copy_from_slice(&a.products(from, b, column)[..part.len()]);
            }
            column += part.len();
        }
    }

    #[allow(unsafe_code)]
    fn strip(
        &mut self,
        a: &Windows,
        b: &Windows,
        (from, to): (usize, usize),
        diagonal: usize,
        rows: &mut Best,
        cols: &mut Best,
    ) {
        for (bundle, covariance) in self.covariance.chunks_mut(self.width).enumerate() {
            let diagonal = diagonal + bundle * self.width;
            let to = to.min(b.len.saturating_sub(diagonal));
            if from < to {
                let stretch = Stretch { from, to, diagonal };
                // SAFETY: the sweep was chosen for the processor at hand.
                unsafe { (self.sweep)(a, b, stretch, covariance, rows, cols) };
            }
        }
    }
}
