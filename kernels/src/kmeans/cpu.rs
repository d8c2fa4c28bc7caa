//! The two steps on the CPU: rows to centres, and centres' sums.
//!
//! ```text
//!            32 rows of x, packed                  one wave: some segments of 4,096 rows
//!          ┌────────────────────┐                    1. blocks of 256 rows: products with all centres, least kept
//!  14      │ ‖c‖² − 2·x·c       │ centre by          2. one segment each: sums of its rows by label
//!  centres │ least, second      │ centre,            3. the segments' sums are added, in their order
//!          └────────────────────┘ lane = row
//! ```
//! The rows are the lanes, so that the least of all centres needs no step across lanes.

use std::sync::Mutex;

use rayon::prelude::*;

use super::distance::{Frame, is_usable};
use super::lloyd::{Assigned, Rows, Steps};
use super::screen::{Block, Scanned, Screen};
use super::{GROUP, NONE, OPERATION, SEGMENT};
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::Result;
use crate::execution::Execution;
use crate::product::MicroKernel;
use crate::simd::{Work, vectorised};

/// Rows that meet all centres together: about what stays in the second-level cache.
pub(super) const BLOCK: usize = 256;

/// Segments of a wave for each thread: a thread that ends early takes another's.
const SHARE: usize = 4;

/// Bytes of sums up to which a wave is a whole group: threads wait for each other at the end of each.
const WAVE_BYTES: usize = 2 << 20;

/// What one thread needs.
struct Worker<T> {
    framed: Vec<T>,
    panels: Vec<T>,
    lengths: Vec<f64>,
    scan: Scanned,
}

/// The sums of one segment of a wave.
struct Partial {
    sums: Vec<f64>,
    counts: Vec<u64>,
}

/// The steps on the CPU.
pub(super) struct Cpu<T: Element> {
    kernel: MicroKernel<T>,
    cols: usize,
    screen: Screen<T>,
    group: Vec<f64>,
    workers: Vec<Worker<T>>,
    partials: Vec<Partial>,
}

/// What happens to labels before rows are summed.
#[derive(Clone, Copy)]
enum Labelling<'a> {
    /// They stay.
    Kept,
    /// 0, or [`NONE`] where squares of a row's values can't be summed.
    Usable,
    /// The nearest of some centres.
    Nearest(&'a Frame, &'a [f64]),
}

/// Rows that meet all centres together.
struct Job<'a> {
    first: usize,
    labels: &'a mut [u32],
}

impl<T: Element> Cpu<T> {
    /// What it takes for `clusters` of `cols` columns, with `threads` threads.
    pub(super) fn bytes(clusters: usize, cols: usize, threads: usize) -> usize {
        let kernel = T::micro_kernel().for_rows(clusters);
        let centres = clusters.next_multiple_of(kernel.rows);
        let screen = centres * (cols * size_of::<T>() + 2 * size_of::<f64>());
        let sums = clusters * cols * size_of::<f64>();
        let block = BLOCK.next_multiple_of(kernel.cols);
        let worker = block * (cols * size_of::<T>() + 4 * size_of::<f64>())
            + kernel.rows * kernel.cols * size_of::<f64>()
            + kernel.cols * cols * size_of::<T>();
        let partial = Self::partial_bytes(clusters, cols);
        screen + sums + threads * worker + Self::partials(clusters, cols, threads) * partial
    }

    /// What the sums of a segment take.
    fn partial_bytes(clusters: usize, cols: usize) -> usize {
        clusters * (cols * size_of::<f64>() + size_of::<u64>())
    }

    /// Segments of a wave.
    fn partials(clusters: usize, cols: usize, threads: usize) -> usize {
        if threads == 1 {
            1
        } else if GROUP * Self::partial_bytes(clusters, cols) <= WAVE_BYTES {
            GROUP
        } else {
            (SHARE * threads).min(GROUP)
        }
    }

    pub(super) fn allocate(clusters: usize, cols: usize, threads: usize) -> Result<Self> {
        let kernel = T::micro_kernel().for_rows(clusters);
        let centres = clusters.next_multiple_of(kernel.rows);
        let block = BLOCK.next_multiple_of(kernel.cols);
        let worker = || {
            Ok(Worker {
                framed: zeroed(OPERATION, kernel.cols * cols)?,
                panels: zeroed(OPERATION, block * cols)?,
                lengths: zeroed(OPERATION, block)?,
                scan: Scanned::allocate(block, kernel.rows * kernel.cols)?,
            })
        };
        let partial = || {
            Ok(Partial {
                sums: zeroed(OPERATION, clusters * cols)?,
                counts: zeroed(OPERATION, clusters)?,
            })
        };
        Ok(Self {
            kernel,
            cols,
            screen: Screen::allocate(centres, cols)?,
            group: zeroed(OPERATION, clusters * cols)?,
            workers: (0..threads).map(|_| worker()).collect::<Result<_>>()?,
            partials: (0..Self::partials(clusters, cols, threads))
                .map(|_| partial())
                .collect::<Result<_>>()?,
        })
    }

    /// The blocks of a wave.
    fn jobs(first: usize, labels: &mut [u32]) -> Vec<Job<'_>> {
        let blocks = labels.chunks_mut(BLOCK).enumerate();
        blocks.map(|(index, labels)| Job { first: first + index * BLOCK, labels }).collect()
    }

    /// Labels the rows of a wave, and leaves the sums of each segment in a partial. Where there are segments enough
    /// for all threads, a worker adds each block's rows as soon as it has labelled them, while they are at hand.
    #[allow(clippy::too_many_arguments)]
    fn wave(
        &mut self,
        rows: Rows<'_, T>,
        first: usize,
        labelling: Labelling<'_>,
        labels: &mut [u32],
        clusters: usize,
        is_long: bool,
        execution: &Execution,
    ) -> Result<Assigned> {
        let Self { kernel, cols, screen, workers, partials, .. } = self;
        let cols = *cols;
        let label = |worker: &mut Worker<T>, job: &mut Job<'_>| {
            execution.control.check(OPERATION)?;
            let first = job.first;
            Ok(match labelling {
                Labelling::Kept => Assigned::default(),
                Labelling::Usable => {
                    for (offset, label) in job.labels.iter_mut().enumerate() {
                        *label = if is_usable(rows.row(first + offset)) { 0 } else { NONE };
                    }
                    Assigned::default()
                }
                Labelling::Nearest(frame, centres) => {
                    let block = Block { kernel, cols, screen, frame, centres, rows, first };
                    let Worker { framed, panels, lengths, scan } = worker;
                    block.label(scan, framed, panels, lengths, job.labels)
                }
            })
        };
        let add = |partial: &mut Partial, first: usize, labels: &[u32]| {
            let (sums, counts) =
                (&mut partial.sums[..clusters * cols], &mut partial.counts[..clusters]);
            vectorised(AddRows { rows, first, labels, sums, counts });
        };
        let clear = |partial: &mut Partial| {
            partial.sums[..clusters * cols].fill(0.0);
            partial.counts[..clusters].fill(0);
        };
        let mut assigned = Assigned::default();
        if is_long {
            let mut jobs = Self::jobs(first, labels);
            let waiting = Mutex::new(partials.iter_mut().zip(jobs.chunks_mut(SEGMENT / BLOCK)));
            let next = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let run = |worker: &mut Worker<T>| {
                let mut assigned = Assigned::default();
                while let Some((partial, jobs)) = next() {
                    clear(partial);
                    for job in jobs {
                        assigned += label(worker, job)?;
                        add(partial, job.first, job.labels);
                    }
                }
                Ok(assigned)
            };
            let done = workers.par_iter_mut().map(run);
            return done.try_reduce(Assigned::default, |a, b| Ok(a + b));
        }
        if !matches!(labelling, Labelling::Kept) {
            let mut jobs = Self::jobs(first, labels);
            let waiting = Mutex::new(jobs.iter_mut());
            let next = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let run = |worker: &mut Worker<T>| {
                let mut assigned = Assigned::default();
                while let Some(job) = next() {
                    assigned += label(worker, job)?;
                }
                Ok(assigned)
            };
            let done = workers.par_iter_mut().map(run);
            assigned = done.try_reduce(Assigned::default, |a, b| Ok(a + b))?;
        }
        let segments = labels.par_chunks(SEGMENT).enumerate();
        partials.par_iter_mut().zip(segments).for_each(|(partial, (segment, labels))| {
            clear(partial);
            add(partial, first + segment * SEGMENT, labels);
        });
        Ok(assigned)
    }

    /// Adds the sums of a wave's segments, which its first partials hold, in their order.
    fn add_wave(&mut self, segments: usize, counts: &mut [u64]) {
        const PART: usize = 4096;
        let partials = &self.partials[..segments];
        let size = counts.len() * self.cols;
        self.group[..size].par_chunks_mut(PART).enumerate().for_each(|(part, group)| {
            for partial in partials {
                for (group, sum) in group.iter_mut().zip(&partial.sums[part * PART..]) {
                    *group += sum;
                }
            }
        });
        for partial in partials {
            for (count, more) in counts.iter_mut().zip(&partial.counts) {
                *count += more;
            }
        }
    }

    /// Runs over all rows wave by wave: labels and sums.
    fn waves(
        &mut self,
        rows: Rows<'_, T>,
        labelling: Labelling<'_>,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<Assigned> {
        sums.fill(0.0);
        counts.fill(0);
        self.group.fill(0.0);
        let mut assigned = Assigned::default();
        let threads = self.workers.len();
        let is_long = labels.len() >= 4 * threads * SEGMENT;
        // A wave ends where its group does.
        let wave = self.partials.len() * SEGMENT;
        for (index, labels) in labels.chunks_mut(GROUP * SEGMENT).enumerate() {
            for (part, labels) in labels.chunks_mut(wave).enumerate() {
                let first = index * GROUP * SEGMENT + part * wave;
                let clusters = counts.len();
                assigned +=
                    self.wave(rows, first, labelling, labels, clusters, is_long, execution)?;
                self.add_wave(labels.len().div_ceil(SEGMENT), counts);
            }
            for (sum, group) in sums.iter_mut().zip(&mut self.group) {
                *sum += *group;
                *group = 0.0;
            }
        }
        Ok(assigned)
    }
}

impl<T: Element> Steps<T> for Cpu<T> {
    fn sum_usable(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        execution: &Execution,
    ) -> Result<u64> {
        let mut usable = [0];
        self.waves(rows, Labelling::Usable, labels, sums, &mut usable, execution)?;
        Ok(usable[0])
    }

    fn assign_and_sum(
        &mut self,
        rows: Rows<'_, T>,
        frame: &Frame,
        centres: &[f64],
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<Assigned> {
        self.screen.pack(&self.kernel, frame, centres);
        self.waves(rows, Labelling::Nearest(frame, centres), labels, sums, counts, execution)
    }

    fn sum(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<()> {
        self.waves(rows, Labelling::Kept, labels, sums, counts, execution).map(|_| ())
    }
}

/// Adds rows to the sums of their labels, in order.
struct AddRows<'a, T> {
    rows: Rows<'a, T>,
    first: usize,
    labels: &'a [u32],
    sums: &'a mut [f64],
    counts: &'a mut [u64],
}

impl<T: Element> Work for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (offset, &label) in self.labels.iter().enumerate() {
            if label == NONE {
                continue;
            }
            let (row, label) = (self.rows.row(self.first + offset), label as usize);
            self.counts[label] += 1;
            for (sum, value) in self.sums[label * row.len()..].iter_mut().zip(row) {
                *sum += value.to_f64();
            }
        }
    }
}
