//! The iterations, over whatever does the two steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::ops::{Add, AddAssign};

use rayon::prelude::*;

use super::cpu::Cpu;
use super::cuda::Cuda;
use super::distance::{Frame, squared};
use super::start::{DRAW_BYTES, Usable, plus_plus, sampled};
use super::{Clustering, KMeansOptions, NONE, OPERATION, SEGMENT, Start, too_few_rows};
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::Backend;
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::random::Random;
use crate::simd::{Work, vectorised};
use crate::stats::Stats;
use crate::view::MatrixView;

/// All rows of a matrix, or those that were picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) x: MatrixView<'a, T>,
    pub(super) picked: Option<&'a [usize]>,
}

impl<'a, T> Rows<'a, T> {
    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> &'a [T] {
        match self.picked {
            None => self.x.row(index),
            Some(picked) => picked.get(index).map_or(&[], |&row| self.x.row(row)),
        }
    }
}

/// What an assignment did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Assigned {
    /// Labels that are not what they were.
    pub(super) changed: u64,
    /// Rows that the screen could not prove.
    pub(super) fallbacks: u64,
}

impl Add for Assigned {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { changed: self.changed + other.changed, fallbacks: self.fallbacks + other.fallbacks }
    }
}

impl AddAssign for Assigned {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// A way to do the two steps. Rows whose label is [`NONE`] are not there.
pub(super) trait Steps<T> {
    /// Labels usable rows with 0, the others with [`NONE`]; sums the first, and says how many there are.
    fn sum_usable(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        execution: &Execution,
    ) -> Result<u64>;

    /// Gives every row the nearest of `centres` as its label, and then does what `sum` does.
    #[allow(clippy::too_many_arguments)]
    fn assign_and_sum(
        &mut self,
        rows: Rows<'_, T>,
        frame: &Frame,
        centres: &[f64],
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<Assigned>;

    /// Sums and counts the rows of each label; the labels stay.
    fn sum(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<()>;

    /// Every row's squared distance from the centre of its label; 0 without a label.
    fn measure(
        &mut self,
        x: MatrixView<'_, T>,
        labels: &[u32],
        centres: &[f64],
        distances: &mut [f64],
        execution: &Execution,
    ) -> Result<()>
    where
        T: Element,
    {
        measure(x, labels, centres, distances, execution)
    }
}

pub(super) fn cluster<B: Backend, T: Element>(
    devices: &[B],
    x: MatrixView<'_, T>,
    options: &KMeansOptions<'_>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<Clustering> {
    let pool = execution.threads()?;
    // Beside a device the CPU only sums all rows, as one cluster.
    let clusters = if devices.is_empty() { options.clusters } else { 1 };
    let fixed = fixed_bytes(x.rows(), x.cols(), options);
    let cost = |threads: usize| fixed + Cpu::<T>::bytes(clusters, x.cols(), threads);
    let threads =
        largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, pool.threads(), cost)?;
    let ((mut cpu, threads), halvings) = halving(threads, |threads| {
        Ok((Cpu::<T>::allocate(clusters, x.cols(), threads)?, threads))
    })?;
    stats.halvings += halvings;
    stats.peak_bytes = cost(threads) as u64;
    let pool = match NonZeroUsize::new(threads) {
        Some(fewer) if threads < pool.threads() => Pool::of_size(fewer)?,
        _ => pool,
    };
    pool.run(|| {
        let mut clusters = Clusters::begin(x, options, execution, stats)?;
        if devices.is_empty() {
            clusters.start(&mut cpu)?;
            clusters.run(&mut cpu)?;
            return clusters.finish(&mut cpu);
        }
        let (used_bytes, stats) = (cost(threads), &mut *clusters.stats);
        let mut cuda = Cuda::<B, T>::new(
            devices,
            x.rows(),
            options.clusters,
            x.cols(),
            used_bytes,
            execution,
            stats,
        )?;
        if cuda.can_hold() {
            clusters.start(&mut cuda)?;
        } else {
            clusters.start(&mut cpu)?;
        }
        cuda.set_frame(&clusters.frame)?;
        clusters.run(&mut cuda)?;
        clusters.finish(&mut cuda)
    })
}

/// The least that clustering on the CPU takes, besides its result.
pub(crate) fn least_bytes<T: Element>(
    rows: usize,
    cols: usize,
    options: &KMeansOptions<'_>,
) -> usize {
    fixed_bytes(rows, cols, options) + Cpu::<T>::bytes(options.clusters, cols, 1)
}

/// What does not depend on the number of threads.
fn fixed_bytes(rows: usize, cols: usize, options: &KMeansOptions<'_>) -> usize {
    let row_bytes = rows * (size_of::<u32>() + size_of::<f64>())
        + rows.div_ceil(SEGMENT) * (size_of::<usize>() + size_of::<f64>());
    let batch = options.batch.unwrap_or(0).min(rows) * (size_of::<usize>() + size_of::<u32>());
    let starts =
        if matches!(options.start, Start::Sampled) { options.clusters * DRAW_BYTES } else { 0 };
    row_bytes
        + batch
        + starts
        + options.clusters * (2 * size_of::<u64>() + 2 * size_of::<Far>())
        + options.clusters * cols * size_of::<f64>()
        + cols * 2 * size_of::<f64>()
}

/// What is known between two steps.
struct Clusters<'a, 'b, T> {
    x: MatrixView<'a, T>,
    options: &'a KMeansOptions<'a>,
    execution: &'a Execution,
    stats: &'b mut Stats,
    frame: Frame,
    labels: Vec<u32>,
    /// For every row a squared distance, where one is asked for.
    distances: Vec<f64>,
    centres: Vec<f64>,
    sums: Vec<f64>,
    counts: Vec<u64>,
    random: Random,
    iterations: usize,
    converged: bool,
}

impl<'a, 'b, T: Element> Clusters<'a, 'b, T> {
    fn begin(
        x: MatrixView<'a, T>,
        options: &'a KMeansOptions<'a>,
        execution: &'a Execution,
        stats: &'b mut Stats,
    ) -> Result<Self> {
        let starts = if matches!(options.start, Start::PlusPlus) { options.clusters } else { 0 };
        execution.control.begin((options.iterations + 1 + starts) as u64);
        Ok(Self {
            x,
            options,
            execution,
            stats,
            frame: Frame { means: vec![0.0; x.cols()], scale: 1.0, variance: 0.0 },
            labels: zeroed(OPERATION, x.rows())?,
            distances: zeroed(OPERATION, x.rows())?,
            centres: zeroed(OPERATION, options.clusters * x.cols())?,
            sums: zeroed(OPERATION, options.clusters * x.cols())?,
            counts: zeroed(OPERATION, options.clusters)?,
            random: Random::new(options.seed),
            iterations: 0,
            converged: false,
        })
    }

    /// Finds the usable rows, the frame and the centres to start from.
    fn start(&mut self, steps: &mut impl Steps<T>) -> Result<()> {
        self.find_frame(steps)?;
        self.place_centres()
    }

    /// Leaves out rows that are not usable, and finds the frame of the others.
    fn find_frame(&mut self, steps: &mut impl Steps<T>) -> Result<()> {
        let (cols, rows) = (self.x.cols(), Rows { x: self.x, picked: None });
        let sums = &mut self.sums[..cols];
        let usable = steps.sum_usable(rows, &mut self.labels, sums, self.execution)? as usize;
        self.stats.excluded_rows = (self.x.rows() - usable) as u64;
        if usable < self.options.needed_rows() {
            return Err(too_few_rows(usable, self.options.clusters));
        }
        // Without any row all is 0.
        let usable = usable.max(1) as f64;
        for (mean, sum) in self.frame.means.iter_mut().zip(&*sums) {
            *mean = sum / usable;
        }
        let means = &self.frame.means;
        steps.measure(self.x, &self.labels, means, &mut self.distances, self.execution)?;
        let whole: f64 = self.distances.chunks(SEGMENT).map(|part| part.iter().sum::<f64>()).sum();
        self.frame.variance = whole / usable / cols as f64;
        let mut longest = self.distances.par_iter().copied().reduce(|| 0.0, f64::max);
        if let Start::Centres(centres) = self.options.start {
            for index in 0..centres.rows() {
                longest = longest.max(squared(centres.row(index), means));
            }
        }
        self.frame.scale = Frame::scale_for(longest);
        Ok(())
    }

    fn place_centres(&mut self) -> Result<()> {
        let usable = Usable::new(&self.labels);
        let (centres, random) = (&mut self.centres, &mut self.random);
        match self.options.start {
            Start::PlusPlus => {
                plus_plus(self.x, &usable, random, centres, &mut self.distances, self.execution)
            }
            Start::Sampled => {
                sampled(self.x, &usable, random, centres);
                Ok(())
            }
            Start::Centres(given) => {
                for (index, centre) in centres.chunks_exact_mut(self.x.cols()).enumerate() {
                    centre.copy_from_slice(given.row(index));
                }
                Ok(())
            }
        }
    }

    fn run(&mut self, steps: &mut impl Steps<T>) -> Result<()> {
        match self.options.batch {
            None => self.all_rows(steps),
            Some(batch) => self.batches(steps, batch.min(self.x.rows())),
        }
    }

    /// Lloyd's iterations.
    fn all_rows(&mut self, steps: &mut impl Steps<T>) -> Result<()> {
        let mut moved = f64::INFINITY;
        loop {
            let changed = self.assign_all(steps)?;
            if self.iterations > 0 && (changed == 0 || moved <= self.still()) {
                self.converged = true;
                return Ok(());
            }
            if self.iterations == self.options.iterations {
                return Ok(());
            }
            if self.counts.contains(&0) && self.fill_empty(steps)? {
                let rows = Rows { x: self.x, picked: None };
                let (sums, counts) = (&mut self.sums, &mut self.counts);
                steps.sum(rows, &mut self.labels, sums, counts, self.execution)?;
            }
            moved = 0.0;
            let cols = self.x.cols();
            let centres = self.centres.chunks_exact_mut(cols).zip(self.sums.chunks_exact(cols));
            for ((centre, sums), &count) in centres.zip(&self.counts) {
                if count > 0 {
                    for (value, sum) in centre.iter_mut().zip(sums) {
                        let mean = sum / count as f64;
                        moved += (mean - *value) * (mean - *value);
                        *value = mean;
                    }
                }
            }
            self.iterations += 1;
        }
    }

    /// Mini-batches, and at the end all rows.
    fn batches(&mut self, steps: &mut impl Steps<T>, batch: usize) -> Result<()> {
        let cols = self.x.cols();
        let mut weights: Vec<u64> = zeroed(OPERATION, self.options.clusters)?;
        let mut picked: Vec<usize> = zeroed(OPERATION, batch)?;
        let mut labels: Vec<u32> = zeroed(OPERATION, batch)?;
        while self.iterations < self.options.iterations && !self.converged {
            let usable = Usable::new(&self.labels);
            for row in &mut picked {
                *row = usable.row(self.random.below(usable.len()));
            }
            picked.sort_unstable();
            let rows = Rows { x: self.x, picked: Some(&picked) };
            let (sums, counts) = (&mut self.sums, &mut self.counts);
            let assigned = steps.assign_and_sum(
                rows,
                &self.frame,
                &self.centres,
                &mut labels,
                sums,
                counts,
                self.execution,
            )?;
            self.stats.fallbacks += assigned.fallbacks;
            let mut moved = 0.0;
            let centres = self.centres.chunks_exact_mut(cols).zip(self.sums.chunks_exact(cols));
            for ((centre, sums), (&count, weight)) in
                centres.zip(self.counts.iter().zip(&mut weights))
            {
                if count > 0 {
                    let before = *weight as f64;
                    *weight += count;
                    for (value, sum) in centre.iter_mut().zip(sums) {
                        let mean = (*value * before + sum) / *weight as f64;
                        moved += (mean - *value) * (mean - *value);
                        *value = mean;
                    }
                }
            }
            self.iterations += 1;
            self.converged = moved <= self.still();
            self.execution.control.advance(1);
        }
        self.assign_all(steps)?;
        Ok(())
    }

    /// The movement from which on the centres stand still.
    fn still(&self) -> f64 {
        self.options.tolerance * self.frame.variance
    }

    fn assign_all(&mut self, steps: &mut impl Steps<T>) -> Result<u64> {
        let assigned = steps.assign_and_sum(
            Rows { x: self.x, picked: None },
            &self.frame,
            &self.centres,
            &mut self.labels,
            &mut self.sums,
            &mut self.counts,
            self.execution,
        )?;
        self.stats.fallbacks += assigned.fallbacks;
        self.execution.control.advance(1);
        Ok(assigned.changed)
    }

    /// Gives each centre without rows the farthest row of another. Whether any row moved.
    fn fill_empty(&mut self, steps: &mut impl Steps<T>) -> Result<bool> {
        self.measure(steps)?;
        let mut empty = (0..self.counts.len()).filter(|&centre| self.counts[centre] == 0).count();
        let mut next = 0;
        let mut has_moved = false;
        while empty > 0 {
            let farthest = farthest(&self.distances, empty);
            if farthest.is_empty() {
                break;
            }
            for Far { row, .. } in farthest {
                // Either it moves, or it is the only row of its centre: it is not looked at again.
                self.distances[row] = 0.0;
                let own = self.labels[row] as usize;
                if self.counts[own] < 2 {
                    continue;
                }
                while self.counts[next] > 0 {
                    next += 1;
                }
                self.counts[own] -= 1;
                self.counts[next] = 1;
                self.labels[row] = next as u32;
                has_moved = true;
                empty -= 1;
            }
        }
        Ok(has_moved)
    }

    /// Every row's distance from its own centre, and their sum.
    fn measure(&mut self, steps: &mut impl Steps<T>) -> Result<f64> {
        let (labels, centres, distances) = (&self.labels, &self.centres, &mut self.distances);
        steps.measure(self.x, labels, centres, distances, self.execution)?;
        Ok(self.distances.chunks(SEGMENT).map(|part| part.iter().sum::<f64>()).sum())
    }

    fn finish(mut self, steps: &mut impl Steps<T>) -> Result<Clustering> {
        let inertia = self.measure(steps)?;
        self.stats.tiles = self.x.rows().div_ceil(SEGMENT) as u64;
        let label = |&label: &u32| (label != NONE).then_some(label);
        Ok(Clustering {
            labels: self.labels.iter().map(label).collect(),
            centres: self.centres,
            sizes: self.counts,
            inertia,
            iterations: self.iterations,
            converged: self.converged,
            stats: self.stats.clone(),
        })
    }
}

/// As [`Steps::measure`], on the CPU.
pub(super) fn measure<T: Element>(
    x: MatrixView<'_, T>,
    labels: &[u32],
    centres: &[f64],
    distances: &mut [f64],
    execution: &Execution,
) -> Result<()> {
    let segments = distances.par_chunks_mut(SEGMENT).zip(labels.par_chunks(SEGMENT));
    segments.enumerate().try_for_each(|(segment, (distances, labels))| {
        execution.control.check(OPERATION)?;
        vectorised(Measure { x, first: segment * SEGMENT, labels, centres, distances });
        Ok(())
    })
}

struct Measure<'a, T> {
    x: MatrixView<'a, T>,
    first: usize,
    labels: &'a [u32],
    centres: &'a [f64],
    distances: &'a mut [f64],
}

impl<T: Element> Work for Measure<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let cols = self.x.cols();
        for (offset, (distance, &label)) in self.distances.iter_mut().zip(self.labels).enumerate() {
            *distance = match self.centres.get(label as usize * cols..) {
                Some(centre) if label != NONE => {
                    squared(self.x.row(self.first + offset), &centre[..cols])
                }
                _ => 0.0,
            };
        }
    }
}

/// A row by its distance: the farther, and of two as far the lower index, is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Far {
    /// The bits of a number that is not negative have its order.
    distance: u64,
    order: Reverse<usize>,
    row: usize,
}

/// The `count` farthest rows that are not on their centre, the farthest first.
fn farthest(distances: &[f64], count: usize) -> Vec<Far> {
    let mut least_first = BinaryHeap::with_capacity(count + 1);
    for (row, &distance) in distances.iter().enumerate() {
        if distance > 0.0 {
            let far = Far { distance: distance.to_bits(), order: Reverse(row), row };
            if least_first.len() < count {
                least_first.push(Reverse(far));
            } else if least_first.peek().is_some_and(|least| far > least.0) {
                least_first.pop();
                least_first.push(Reverse(far));
            }
        }
    }
    // Ascending in `Reverse`: the farthest first.
    least_first.into_sorted_vec().into_iter().map(|Reverse(far)| far).collect()
}
