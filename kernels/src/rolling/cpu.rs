//! Rolling statistics on the CPU: stretches of series, eight at a time.
//!
//! ```text
//!   series      ├──────────────────────────────────────────────┤
//!   stretch k             ├── outputs ──┤
//!   its input       ├ w-1 ┤             ┤        at most `length` samples, a power of two
//! ```
//! Eight stretches, of one series or of several, share the vector lanes while they are sorted and summed.

use rayon::prelude::*;

use super::{OPERATION, RollingOutput, Statistic, Window, moments, order};
use crate::budget::largest_tile;
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::view::MatrixView;

/// Stretches that are worked on together.
pub(super) const LANES: usize = 8;

/// A part of one series: outputs `first..first + len`, and the samples that their windows reach.
pub(super) struct Stretch<'a, 'o, T> {
    /// The samples.
    pub(super) samples: &'a [T],
    /// Window o covers samples `o + offset .. o + offset + window`, cut off at both ends.
    pub(super) offset: isize,
    /// For each output of the call this stretch's part of it.
    pub(super) outputs: Vec<&'o mut [T]>,
    /// Number of windows.
    pub(super) len: usize,
}

pub(super) fn run<T: Element>(
    x: MatrixView<'_, T>,
    window: &Window,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let length = stretch_length(x.cols(), window.size);
    let statistics: Vec<Statistic> = outputs.iter().map(|output| output.statistic).collect();
    let thread_bytes = order::Scratch::<T>::bytes(length) + moments::Scratch::bytes(window.size);
    let parts = x.rows() * x.cols().div_ceil(step_of(x.cols(), length, window.size));
    let list_bytes =
        parts * (size_of::<Stretch<'_, '_, T>>() + outputs.len() * size_of::<&mut [T]>());
    let cost = |threads: usize| list_bytes + threads * thread_bytes;
    let most = rayon::current_num_threads();
    let threads = largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, cost)?;
    stats.peak_bytes = cost(threads) as u64;

    let mut stretches = cut(x, window, length, outputs);
    let groups = stretches.len().div_ceil(LANES) as u64;
    execution.control.begin(groups);
    stats.tiles = groups;
    let mut work = || {
        stretches.par_chunks_mut(LANES).try_for_each_init(
            || (order::Scratch::new(length), moments::Scratch::default()),
            |(order, moments), group| {
                execution.control.check(OPERATION)?;
                order.run(group, window, &statistics);
                moments.run(group, window, &statistics);
                execution.control.advance(1);
                Ok(())
            },
        )
    };
    match std::num::NonZeroUsize::new(threads) {
        Some(fewer) if threads < most => Pool::with_threads(fewer)?.run(work),
        _ => work(),
    }
}

/// Samples that are sorted together: a whole short series, else a few windows.
///
/// More make each sample be sorted more rarely, and fit worse into the cache; with 6 windows five of
/// six sorted samples are new ones.
fn stretch_length(cols: usize, window: usize) -> usize {
    let whole = cols.next_power_of_two();
    let few = window.saturating_mul(6).min(cols).next_power_of_two().max(512);
    whole.min(few)
}

/// Outputs of a stretch. One that reaches both ends has all its samples, whatever the window.
fn step_of(cols: usize, length: usize, size: usize) -> usize {
    if length >= cols { cols } else { length - size + 1 }
}

fn cut<'a, 'o, T: Element>(
    x: MatrixView<'a, T>,
    window: &Window,
    length: usize,
    outputs: &'o mut [RollingOutput<'_, T>],
) -> Vec<Stretch<'a, 'o, T>> {
    let (cols, ahead, size) = (x.cols(), window.ahead, window.size);
    let step = step_of(cols, length, size);
    let mut rows: Vec<_> = outputs.iter_mut().map(|output| output.values.rows_mut()).collect();
    let mut stretches = Vec::with_capacity(x.rows() * cols.div_ceil(step));
    for row in 0..x.rows() {
        let mut rests: Vec<&'o mut [T]> = rows.iter_mut().filter_map(Iterator::next).collect();
        for first in (0..cols).step_by(step) {
            let len = step.min(cols - first);
            let start = (first + ahead).saturating_sub(size - 1);
            let end = (first + len + ahead).min(cols);
            let mut parts = Vec::with_capacity(rests.len());
            for rest in &mut rests {
                let (part, later) = std::mem::take(rest).split_at_mut(len);
                parts.push(part);
                *rest = later;
            }
            stretches.push(Stretch {
                samples: &x.row(row)[start.min(end)..end],
                offset: (first + ahead) as isize - (size as isize - 1) - start as isize,
                outputs: parts,
                len,
            });
        }
    }
    stretches
}
