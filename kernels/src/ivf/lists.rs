//! The lists: which vectors, in which order, in panels for the products.

use rayon::prelude::*;

use super::{IvfOptions, IvfParts, Metric, OPERATION};
use crate::budget::{largest_tile, zeroed};
use crate::element::sealed::Kernels;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::kmeans::{KMeansOptions, Start, kmeans, least_bytes};
use crate::product::MicroKernel;
use crate::random::Random;
use crate::stats::Stats;
use crate::view::MatrixView;

/// The largest magnitude of a value: squares and their sums stay within f32.
const LARGEST: f32 = 1e18;
/// Vectors that get their lists together, at most.
const MOST_ROWS: usize = 65_536;

/// Vectors as the index holds them.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    pub(super) rows: Vec<u64>,
    /// Panels of `width` vectors, in relation to the centre for distances.
    pub(super) panels: Vec<f32>,
    /// ‖v − c‖² for distances, else 0.
    pub(super) terms: Vec<f64>,
}

/// All lists.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    pub(super) metric: Metric,
    pub(super) dimensions: usize,
    /// Vectors in a panel.
    pub(super) width: usize,
    centres: Vec<f32>,
    /// The centres as a list of their own, in relation to `middle` for distances and cosines.
    pub(super) coarse: List,
    pub(super) middle: Vec<f32>,
    pub(super) lists: Vec<List>,
}

/// A vector as it is compared, written to `into`: divided by its length for cosines. Whether it can be compared.
pub(super) fn prepare(metric: Metric, vector: &[f32], into: &mut [f32]) -> bool {
    into.copy_from_slice(vector);
    if !vector.iter().all(|value| value.abs() <= LARGEST) {
        return false;
    }
    if metric == Metric::Cosine {
        let square: f64 = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        if square == 0.0 {
            return false;
        }
        let factor = 1.0 / square.sqrt();
        for value in into {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
    true
}

/// How k-means is asked for the centres.
fn training(options: &IvfOptions) -> KMeansOptions<'static> {
    KMeansOptions {
        iterations: options.iterations,
        start: Start::Sampled,
        seed: options.seed,
        ..KMeansOptions::new(options.lists)
    }
}

/// How k-means is asked for the lists of rows.
fn listing(centres: MatrixView<'_, f64>) -> KMeansOptions<'_> {
    KMeansOptions {
        iterations: 0,
        start: Start::Centres(centres),
        ..KMeansOptions::new(centres.rows())
    }
}

/// What finding centres from `count` rows takes: the draw, the sample, and k-means with its result.
fn training_bytes(count: usize, cols: usize, options: &IvfOptions) -> usize {
    let draw = 6 * size_of::<usize>();
    count * (cols * size_of::<f32>() + draw + size_of::<Option<u32>>())
        + options.lists * cols * size_of::<f64>()
        + least_bytes::<f32>(count, cols, &training(options))
}

/// A row that is put into its list: prepared, in the order of lists, and its label.
fn listed_bytes(cols: usize) -> usize {
    cols * size_of::<f32>() + size_of::<u64>() + size_of::<Option<u32>>()
}

/// What it takes to put `rows` rows at a time into `lists` lists, with k-means and its result.
fn listing_bytes(rows: usize, lists: usize, cols: usize) -> usize {
    // The centres in f64, and those that k-means returns.
    let centres = 2 * lists * cols * size_of::<f64>();
    let options = KMeansOptions { iterations: 0, ..KMeansOptions::new(lists) };
    rows * listed_bytes(cols)
        + centres
        + 2 * (lists + 1) * size_of::<usize>()
        + least_bytes::<f32>(rows, cols, &options)
}

/// The least budget that an index of `options` can be made with.
pub(super) fn check_budget(cols: usize, options: &IvfOptions, execution: &Execution) -> Result<()> {
    let least_bytes =
        training_bytes(options.lists, cols, options).max(listing_bytes(1, options.lists, cols));
    let budget_bytes = execution.budget.host_bytes;
    if least_bytes <= budget_bytes {
        return Ok(());
    }
    let memory = Memory::Host;
    Err(Error::BudgetTooSmall { operation: OPERATION, memory, budget_bytes, least_bytes })
}

/// Centres from a sample.
pub(super) fn train(
    x: MatrixView<'_, f32>,
    options: &IvfOptions,
    execution: &Execution,
) -> Result<Vec<f32>> {
    let wanted = options.sample.unwrap_or(options.lists.saturating_mul(128)).min(x.rows());
    let more = wanted.saturating_sub(options.lists) + 1;
    let host_bytes = execution.budget.host_bytes;
    let more = largest_tile(OPERATION, Memory::Host, host_bytes, more, |more| {
        training_bytes(options.lists + more - 1, x.cols(), options)
    })?;
    let count = (options.lists + more - 1).min(x.rows());
    let mut picked = Random::new(options.seed).different(count, x.rows());
    picked.sort_unstable();
    let mut sample: Vec<f32> = zeroed(OPERATION, count * x.cols())?;
    let mut used = 0;
    for row in picked {
        let into = &mut sample[used * x.cols()..][..x.cols()];
        used += usize::from(prepare(options.metric, x.row(row), into));
    }
    if used < options.lists {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!(
                "{used} usable vectors in a sample of {count} for {} lists",
                options.lists
            ),
            expected: "at least as many vectors as lists are needed".into(),
        });
    }
    let taken = training_bytes(count, x.cols(), options)
        - least_bytes::<f32>(count, x.cols(), &training(options));
    let found = kmeans(
        MatrixView::new(&sample[..used * x.cols()], used, x.cols())?,
        &training(options),
        &left(execution, taken),
    )?;
    Ok(found.centres.iter().map(|&value| value as f32).collect())
}

/// The same execution with a part of its budget taken.
fn left(execution: &Execution, used_bytes: usize) -> Execution {
    let mut execution = execution.clone();
    execution.budget.host_bytes = execution.budget.host_bytes.saturating_sub(used_bytes);
    execution
}

impl Lists {
    pub(super) fn new(metric: Metric, dimensions: usize, centres: Vec<f32>) -> Self {
        let kernel: MicroKernel<f32> = f32::micro_kernel();
        let width = kernel.cols;
        let count = centres.len() / dimensions;
        let mut middle = vec![0f32; dimensions];
        if metric != Metric::Dot {
            for (dimension, middle) in middle.iter_mut().enumerate() {
                let values = centres.iter().skip(dimension).step_by(dimensions);
                *middle =
                    (values.map(|&value| f64::from(value)).sum::<f64>() / count as f64) as f32;
            }
        }
        let mut coarse = List::default();
        for (index, centre) in centres.chunks_exact(dimensions).enumerate() {
            coarse.push(width, index as u64, centre, &middle, metric != Metric::Dot);
        }
        let lists = vec![List::default(); count];
        Self { metric, dimensions, width, centres, coarse, middle, lists }
    }

    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    pub(super) fn vectors(&self) -> usize {
        self.lists.iter().map(|list| list.rows.len()).sum()
    }

    pub(super) fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// What vectors of a list, and queries that look into it, are in relation to.
    pub(super) fn centre(&self, list: usize) -> &[f32] {
        &self.centres[list * self.dimensions..][..self.dimensions]
    }

    /// Where each list begins, and all rows.
    pub(super) fn rows(&self) -> (Vec<u64>, Vec<u64>) {
        let mut offsets = vec![0];
        let mut rows = Vec::with_capacity(self.vectors());
        for list in &self.lists {
            rows.extend(&list.rows);
            offsets.push(rows.len() as u64);
        }
        (offsets, rows)
    }

    /// Gives every row of `x` its list. The first is row `added` of the index.
    pub(super) fn append(
        &mut self,
        x: MatrixView<'_, f32>,
        added: u64,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<()> {
        let centres: Vec<f64> = self.centres.iter().map(|&value| f64::from(value)).collect();
        let (clusters, cols) = (self.len(), self.dimensions);
        let budget_bytes = execution.budget.host_bytes;
        let most = x.rows().min(MOST_ROWS);
        let rows = largest_tile(OPERATION, Memory::Host, budget_bytes, most, |rows| {
            listing_bytes(rows, clusters, cols)
        })?;
        let options = listing(MatrixView::new(&centres, clusters, cols)?);
        let used_bytes =
            listing_bytes(rows, clusters, cols) - least_bytes::<f32>(rows, cols, &options);
        let inner = left(execution, used_bytes);
        let pool = execution.threads()?;
        let mut prepared: Vec<f32> = zeroed(OPERATION, rows * cols)?;
        let mut order: Vec<u64> = zeroed(OPERATION, rows)?;
        for first in (0..x.rows()).step_by(rows.max(1)) {
            let count = rows.min(x.rows() - first);
            let prepared = &mut prepared[..count * cols];
            pool.run(|| {
                prepared.par_chunks_exact_mut(cols).enumerate().for_each(|(row, into)| {
                    if !prepare(self.metric, x.row(first + row), into) {
                        into.fill(f32::NAN);
                    }
                });
            });
            let found = kmeans(MatrixView::new(prepared, count, cols)?, &options, &inner)?;
            stats.excluded_rows += found.stats.excluded_rows;
            stats.fallbacks += found.stats.fallbacks;
            stats.peak_bytes = stats.peak_bytes.max(found.stats.peak_bytes + used_bytes as u64);
            stats.tiles += 1;
            // Counting sort: the rows of each list, in their order.
            let mut starts = vec![0usize; clusters + 1];
            for (start, size) in starts[1..].iter_mut().zip(&found.sizes) {
                *start = *size as usize;
            }
            for list in 0..clusters {
                starts[list + 1] += starts[list];
            }
            let mut next = starts.clone();
            for (row, label) in found.labels.iter().enumerate() {
                if let Some(list) = label {
                    order[next[*list as usize]] = row as u64;
                    next[*list as usize] += 1;
                }
            }
            let (order, starts, prepared) = (&order, &starts, &*prepared);
            let (width, centres) = (self.width, &self.centres);
            let is_relative = self.metric == Metric::Euclidean;
            pool.run(|| {
                self.lists.par_iter_mut().enumerate().try_for_each(|(index, list)| {
                    let own = &order[starts[index]..starts[index + 1]];
                    list.reserve(own.len(), width, cols)?;
                    for &row in own {
                        let vector = &prepared[row as usize * cols..][..cols];
                        let centre = &centres[index * cols..][..cols];
                        list.push(width, added + first as u64 + row, vector, centre, is_relative);
                    }
                    Ok(())
                })
            })?;
        }
        Ok(())
    }

    /// Puts the rows that `parts` names into their lists.
    pub(super) fn fill(
        &mut self,
        parts: &IvfParts,
        x: MatrixView<'_, f32>,
        execution: &Execution,
    ) -> Result<()> {
        let (metric, width, cols, centres) =
            (self.metric, self.width, self.dimensions, &self.centres);
        execution.threads()?.run(|| {
            self.lists.par_iter_mut().enumerate().try_for_each(|(index, list)| {
                execution.control.check(OPERATION)?;
                let own =
                    &parts.rows[parts.offsets[index] as usize..parts.offsets[index + 1] as usize];
                list.reserve(own.len(), width, cols)?;
                let centre = &centres[index * cols..][..cols];
                let mut prepared: Vec<f32> = zeroed(OPERATION, cols)?;
                for &row in own {
                    if !prepare(metric, x.row(row as usize), &mut prepared) {
                        return Err(Error::Shape {
                            operation: OPERATION,
                            found: format!("row {row} of a list, whose vector can't be compared"),
                            expected: "the vectors that the index was made from are needed".into(),
                        });
                    }
                    list.push(width, row, &prepared, centre, metric == Metric::Euclidean);
                }
                Ok(())
            })
        })
    }
}

impl List {
    /// Room for `more` vectors, or an error where the system has no memory for it.
    fn reserve(&mut self, more: usize, width: usize, dimensions: usize) -> Result<()> {
        let panels = (self.rows.len() + more).div_ceil(width) * width;
        let needed = (panels * dimensions).saturating_sub(self.panels.len());
        let failed = |_| Error::OutOfMemory {
            operation: OPERATION,
            memory: Memory::Host,
            bytes: needed * size_of::<f32>(),
        };
        self.panels.try_reserve_exact(needed).map_err(failed)?;
        self.terms.try_reserve_exact(panels.saturating_sub(self.terms.len())).map_err(failed)?;
        self.rows.try_reserve_exact(more).map_err(failed)
    }

    /// Adds one vector, as its difference from `centre` where it is relative.
    fn push(&mut self, width: usize, row: u64, vector: &[f32], centre: &[f32], is_relative: bool) {
        let lane = self.rows.len() % width;
        if lane == 0 {
            self.panels.resize(self.panels.len() + width * vector.len(), 0.0);
            self.terms.resize(self.terms.len() + width, 0.0);
        }
        let (panel, place) = (self.panels.len() - width * vector.len(), self.rows.len());
        let lines = self.panels[panel..].chunks_exact_mut(width);
        let mut square = 0.0;
        for (line, (&value, &centre)) in lines.zip(vector.iter().zip(centre)) {
            let value = if is_relative { relative(value, centre) } else { value };
            line[lane] = value;
            square += f64::from(value) * f64::from(value);
        }
        self.terms[place] = if is_relative { square } else { 0.0 };
        self.rows.push(row);
    }
}

/// A value in relation to a centre's, rounded once.
#[inline(always)]
pub(super) fn relative(value: f32, centre: f32) -> f32 {
    (f64::from(value) - f64::from(centre)) as f32
}

/// Whether parts fit each other and the vectors.
pub(super) fn check_parts(parts: &IvfParts, x: MatrixView<'_, f32>) -> Result<()> {
    let wrong = |found: String, expected: String| {
        Err(Error::Shape { operation: OPERATION, found, expected })
    };
    let lists = parts.offsets.len().saturating_sub(1);
    if parts.dimensions == 0 || lists == 0 || parts.centres.len() != lists * parts.dimensions {
        return wrong(
            format!(
                "{} offsets and {} values of centres of {} dimensions",
                parts.offsets.len(),
                parts.centres.len(),
                parts.dimensions
            ),
            "a centre for each list, and one offset more, are needed".into(),
        );
    }
    let is_sorted = parts.offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    let ends = (parts.offsets.first().copied(), parts.offsets.last().copied());
    if !is_sorted || ends != (Some(0), Some(parts.rows.len() as u64)) {
        return wrong(
            format!("offsets from {:?} to {:?} of {} rows", ends.0, ends.1, parts.rows.len()),
            "offsets must not fall, from 0 to the number of rows".into(),
        );
    }
    if !parts.centres.iter().all(|value| value.abs() <= LARGEST) {
        return wrong("a centre that is not finite".into(), "finite centres are needed".into());
    }
    if x.cols() != parts.dimensions {
        return wrong(
            format!("{} vectors of {} dimensions", x.rows(), x.cols()),
            format!("the index has {} dimensions", parts.dimensions),
        );
    }
    match parts.rows.iter().find(|&&row| row >= (x.rows() as u64).min(parts.added)) {
        None => Ok(()),
        Some(row) => wrong(
            format!("row {row} in a list, of {} vectors and {} added", x.rows(), parts.added),
            "every row of a list must be a vector that was added".into(),
        ),
    }
}
