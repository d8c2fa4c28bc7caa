//! Rolling statistics on the CPU: stretches of series, eight at a time.
//!
//! ```text
//!   series      ├──────────────────────────────────────────────┤
//!   stretch k             ├── outputs ──┤
//!   its input       ├ w-1 ┤             ┤        at most `length` samples, a power of two
//! ```
//! Eight stretches, of one series or of several, share the vector lanes while they are sorted and summed.

use rayon::prelude::*;

use super::time::Recent;
use super::{
    OPERATION, RollingOutput, Statistic, Window, missing_values, moments, order, queue, spans,
};
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
    /// Window o covers samples `o + offset .. o + offset + size`, cut off at both ends; one by time those of them
    /// that are recent.
    pub(super) offset: isize,
    /// As of the window.
    pub(super) size: usize,
    /// The sample that window 0 is for.
    pub(super) own: usize,
    /// For windows by time the times of the samples, and the width.
    pub(super) times: Option<(&'a [i64], u64)>,
    /// For each output of the call this stretch's part of it.
    pub(super) outputs: Vec<&'o mut [T]>,
    /// Number of windows.
    pub(super) len: usize,
}

impl<'a, T> Stretch<'a, '_, T> {
    /// What each window covers.
    #[inline(always)]
    pub(super) fn bounds(&self) -> Bounds<'a> {
        Bounds {
            offset: self.offset,
            size: self.size,
            samples: self.samples.len(),
            own: self.own,
            recent: self.times.map(|(times, width)| Recent { times, width, start: 0 }),
        }
    }
}

/// The samples that windows cover, from one to the next.
pub(super) struct Bounds<'a> {
    offset: isize,
    size: usize,
    samples: usize,
    own: usize,
    recent: Option<Recent<'a>>,
}

impl Bounds<'_> {
    /// First sample of a window, and the one after its last. To be asked in order.
    #[inline(always)]
    pub(super) fn at(&mut self, step: usize) -> (usize, usize) {
        if let Some(recent) = &mut self.recent {
            let own = self.own + step;
            return (recent.start_of(own), own + 1);
        }
        let start = self.offset + step as isize;
        let end = start.saturating_add_unsigned(self.size).max(0) as usize;
        (start.max(0) as usize, end.min(self.samples))
    }
}

pub(super) fn run<'a, T: Element>(
    x: MatrixView<'a, T>,
    window: &Window<'a>,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let statistics: Vec<Statistic> = outputs.iter().map(|output| output.statistic).collect();
    let sorts = statistics.iter().any(|statistic| order::is_order(*statistic));
    let length = stretch_length(x.cols(), window.size, sorts);
    let sorted = if sorts { length } else { 0 };
    let by_count = moments::Scratch::bytes(window.size) + spans::Scratch::bytes(window.size);
    let thread_bytes = order::Scratch::<T>::bytes(sorted)
        + if window.times.is_some() { queue::Scratch::bytes(length) } else { by_count };
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
        let scratch = || Scratch {
            order: order::Scratch::new(sorted),
            moments: moments::Scratch::default(),
            spans: spans::Scratch::default(),
            queue: queue::Scratch::default(),
        };
        let groups = stretches.par_chunks_mut(LANES).map_init(scratch, |scratch, group| {
            execution.control.check(OPERATION)?;
            let own = group.iter().map(|stretch| &stretch.samples[stretch.own..][..stretch.len]);
            let missing: u64 = own.map(missing_values).sum();
            scratch.order.run(group, window.least, &statistics);
            if window.times.is_some() {
                scratch.queue.run(group, window.least, &statistics);
            } else {
                scratch.moments.run(group, window, &statistics);
                scratch.spans.run(group, window, &statistics);
            }
            execution.control.advance(1);
            Ok(missing)
        });
        groups.try_reduce(|| 0, |a, b| Ok(a + b))
    };
    stats.missing_values = match std::num::NonZeroUsize::new(threads) {
        Some(fewer) if threads < most => Pool::of_size(fewer)?.run(work),
        _ => work(),
    }?;
    Ok(())
}

/// The buffers of one thread.
struct Scratch<T> {
    order: order::Scratch<T>,
    moments: moments::Scratch,
    spans: spans::Scratch,
    queue: queue::Scratch,
}

/// Samples of a stretch: a whole short series, else those of a few windows.
///
/// The samples before a stretch's first window are loaded again with it: more windows make that rarer. Where samples
/// are sorted they fit worse into the cache; with 6 windows five of six sorted samples are new ones.
fn stretch_length(cols: usize, window: usize, sorts: bool) -> usize {
    let whole = cols.next_power_of_two();
    let (windows, least) = if sorts { (6, 512) } else { (24, 8192) };
    let few = window.saturating_mul(windows).min(cols).next_power_of_two().max(least);
    whole.min(few)
}

/// Outputs of a stretch. One that reaches both ends has all its samples, whatever the window.
fn step_of(cols: usize, length: usize, size: usize) -> usize {
    if length >= cols { cols } else { length - size + 1 }
}

fn cut<'a, 'o, T: Element>(
    x: MatrixView<'a, T>,
    window: &Window<'a>,
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
                samples: &x.row(row)[start..end],
                offset: (first + ahead) as isize - (size as isize - 1) - start as isize,
                size,
                own: first - start,
                times: window.times.map(|(times, width)| (&times.row(row)[start..end], width)),
                outputs: parts,
                len,
            });
        }
    }
    stretches
}
