//! An inverted-file index: the nearest of very many vectors, approximately.
//!
//! **Idea.** The vectors are cut into lists by k-means. A query looks only into the few lists whose centres are nearest to
//! it (`probes`). A vector that is near the query but in another list is missed: [`IvfIndex::recall`] measures how often,
//! against a search of all lists, which misses nothing.
//!
//! **Formula.** H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI 33(1),
//! 2011, section IV, without their quantiser: vectors are kept whole. Within list l with centre c, a squared distance is
//! ‖q − c‖² + ‖v − c‖² − 2·(q − c)·(v − c), so that vectors far from the origin cancel nothing; a dot product is q·v; a
//! cosine is the dot product of vectors that were divided by their lengths first.
//!
//! **How it is fast.** All queries of a block that look into one list do so together: a product of matrices, whose values
//! meet each query's worst of the best k so far and are gone.
//!
//! ```text
//!   list   vectors 0 .. 31 as [dimension][32]   the next 32   …   the last panel is filled up
//!          row numbers, ‖v − c‖²
//! ```
//!
//! **Definitions.**
//! - *Score*: the squared distance, the dot product or the cosine. Best first, equal ones by row.
//! - *Vectors that are left out*: with a NaN, an infinity, a value beyond ±1e18; for cosine, those of length 0. They keep
//!   their row number and are counted in [`Stats::excluded_rows`]. A query of that kind finds nothing.
//! - Fewer than k vectors in the lists that are looked into, or let through by the filter: all that there are.
//!
//! **Hazards.** `probes` sets recall, and clustered queries share lists while uniform ones do not: measure it on
//! real queries. For dot products of vectors of very different lengths, lists by distance find less: prefer cosine.
//! A filter that lets few rows through does not make a search faster.
//!
//! **Precision.** Scores are within [`tolerance::IVF`](crate::tolerance) of f64, relative to ‖q‖·‖v‖, for distances to
//! ‖q − c‖² + ‖v − c‖². Results do not depend on threads, budget or the other queries.
//!
//! **Cost.** Building: k-means over the sample, and n·lists·d multiply-adds. A query: (lists + probes·n/lists)·d. Memory
//! of the index: 4·d + 16 bytes for each vector, and half a panel for each list.
//!
//! The index runs on the CPU; only its k-means takes a device. `gpu = required` is an error that says so.
//!
//! ```
//! use kernels::ivf::{IvfIndex, IvfOptions, Metric, SearchOptions};
//! use kernels::{Execution, MatrixView};
//!
//! let vectors: Vec<f32> = (0..200).map(|at| (at % 40) as f32 + (at / 40) as f32 * 0.1).collect();
//! let x = MatrixView::new(&vectors, 100, 2)?;
//! let options = IvfOptions { lists: 4, ..IvfOptions::new(Metric::Euclidean) };
//! let (index, _) = IvfIndex::build(x, &options, &Execution::default())?;
//!
//! let queries = MatrixView::new(&vectors[..2], 1, 2)?;
//! let found = index.search(queries, &SearchOptions::new(3, 2), &Execution::default())?;
//! assert_eq!((found.of(0)[0].row, found.of(0)[0].score), (0, 0.0));
//! # Ok::<(), kernels::Error>(())
//! ```

mod lists;
mod search;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

use std::time::Instant;

use crate::device::{DeviceReport, GpuPolicy};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

use lists::Lists;

const OPERATION: &str = "ivf";

/// What is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The cosine of the angle; more is nearer.
    Cosine,
    /// The dot product; more is nearer.
    Dot,
    /// The squared Euclidean distance; less is nearer.
    Euclidean,
}

/// How an index is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IvfOptions {
    /// What is near.
    pub metric: Metric,
    /// Number of lists. 1,024 by default; about the square root of the number of vectors, up to 16 times it, is usual.
    pub lists: usize,
    /// Most vectors, drawn at random, that the centres are found from; 128 for each list when absent, as by default.
    pub sample: Option<usize>,
    /// Iterations of k-means. 10 by default.
    pub iterations: usize,
    /// The sample and the start of k-means follow from it. 0 by default.
    pub seed: u64,
}

impl IvfOptions {
    /// All defaults.
    pub fn new(metric: Metric) -> Self {
        Self { metric, lists: 1024, sample: None, iterations: 10, seed: 0 }
    }
}

/// What is searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions<'a> {
    /// Neighbours of each query, 1 or more.
    pub k: usize,
    /// Lists that each query looks into, 1 or more; all where there are fewer.
    pub probes: usize,
    /// Rows that may be found: bit r mod 64 of word r / 64. Rows beyond its end may not. All rows when absent.
    pub filter: Option<&'a [u64]>,
}

impl SearchOptions<'_> {
    /// Without a filter.
    pub fn new(k: usize, probes: usize) -> Self {
        Self { k, probes, filter: None }
    }

    fn check(&self) -> Result<()> {
        let least = |option, value| match value {
            0 => Err(Error::Option {
                operation: OPERATION,
                option,
                found: "0".into(),
                expected: "it must be 1 or more".into(),
            }),
            _ => Ok(()),
        };
        least("k", self.k)?;
        least("probes", self.probes)
    }
}

/// A vector that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its row: the first vector that was added is 0.
    pub row: u64,
    /// How near it is, in the index's metric.
    pub score: f32,
}

/// What was found for each query.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    found: Vec<Neighbour>,
    ends: Vec<usize>,
    /// The record of the search.
    pub stats: Stats,
}

impl Neighbours {
    /// The neighbours of one query, the best first. A query that is not there has none.
    pub fn of(&self, query: usize) -> &[Neighbour] {
        let start = query.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(query).copied());
        range.and_then(|(start, end)| self.found.get(start..end)).unwrap_or(&[])
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.ends.len()
    }
}

/// An index without its vectors, as plain numbers to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct IvfParts {
    /// What is near.
    pub metric: Metric,
    /// Values of a vector.
    pub dimensions: usize,
    /// The centre of each list, one after the other.
    pub centres: Vec<f32>,
    /// Where each list begins in `rows`, and at last where the last ends: one more than there are lists.
    pub offsets: Vec<u64>,
    /// The rows of the lists, one after the other.
    pub rows: Vec<u64>,
    /// Vectors that were added in all, those that were left out included: the row of the next.
    pub added: u64,
}

/// The index.
#[derive(Debug, Clone)]
pub struct IvfIndex {
    metric: Metric,
    dimensions: usize,
    lists: Lists,
    added: u64,
}

impl IvfIndex {
    /// Finds centres from a sample of `x`, and puts all its rows into their lists.
    ///
    /// Fails on rows without columns, on fewer usable rows in the sample than lists, on options that mean nothing, on a
    /// budget too small for one thread, where a device is required, and when cancelled.
    pub fn build(
        x: MatrixView<'_, f32>,
        options: &IvfOptions,
        execution: &Execution,
    ) -> Result<(Self, Stats)> {
        let (start, stats) = (Instant::now(), begin(execution)?);
        if options.lists == 0 {
            return Err(Error::Option {
                operation: OPERATION,
                option: "lists",
                found: "0".into(),
                expected: "at least 1 list is needed".into(),
            });
        }
        if x.cols() == 0 {
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!("{} vectors without dimensions", x.rows()),
                expected: "at least 1 dimension is needed".into(),
            });
        }
        lists::check_budget(x.cols(), options, execution)?;
        let centres = lists::train(x, options, execution)?;
        let mut index = Self {
            metric: options.metric,
            dimensions: x.cols(),
            lists: Lists::new(options.metric, x.cols(), centres),
            added: 0,
        };
        let stats = index.append(x, stats, start, execution)?;
        Ok((index, stats))
    }

    /// Adds the rows of `x`. The centres stay: an index that grew to several times what it was made from is better built
    /// anew.
    pub fn add(&mut self, x: MatrixView<'_, f32>, execution: &Execution) -> Result<Stats> {
        let (start, stats) = (Instant::now(), begin(execution)?);
        self.check_dimensions(x, "vectors")?;
        self.append(x, stats, start, execution)
    }

    fn append(
        &mut self,
        x: MatrixView<'_, f32>,
        mut stats: Stats,
        start: Instant,
        execution: &Execution,
    ) -> Result<Stats> {
        self.lists.append(x, self.added, execution, &mut stats)?;
        self.added += x.rows() as u64;
        stats.seconds = start.elapsed().as_secs_f64();
        Ok(stats)
    }

    /// The nearest vectors of every query, among those in the lists that it looks into.
    ///
    /// Fails on queries of other dimensions, on options that mean nothing, on a budget too small for one query and one
    /// thread, where a device is required, and when cancelled.
    pub fn search(
        &self,
        queries: MatrixView<'_, f32>,
        options: &SearchOptions<'_>,
        execution: &Execution,
    ) -> Result<Neighbours> {
        let (start, mut stats) = (Instant::now(), begin(execution)?);
        options.check()?;
        self.check_dimensions(queries, "queries")?;
        let (found, ends) = search::run(&self.lists, queries, options, execution, &mut stats)?;
        stats.seconds = start.elapsed().as_secs_f64();
        Ok(Neighbours { found, ends, stats })
    }

    /// The share of the true k nearest that `search` finds, over all `queries`; 1 where nothing is to be found. Takes as
    /// long as searching all lists: give it a sample.
    pub fn recall(
        &self,
        queries: MatrixView<'_, f32>,
        options: &SearchOptions<'_>,
        execution: &Execution,
    ) -> Result<f64> {
        let found = self.search(queries, options, execution)?;
        let all = SearchOptions { probes: self.lists(), ..*options };
        let exact = self.search(queries, &all, execution)?;
        let (mut hits, mut total) = (0, 0);
        for query in 0..queries.rows() {
            let mut rows: Vec<u64> = found.of(query).iter().map(|found| found.row).collect();
            rows.sort_unstable();
            total += exact.of(query).len();
            let is_hit = |exact: &&Neighbour| rows.binary_search(&exact.row).is_ok();
            hits += exact.of(query).iter().filter(is_hit).count();
        }
        Ok(if total == 0 { 1.0 } else { hits as f64 / total as f64 })
    }

    /// Number of lists.
    pub fn lists(&self) -> usize {
        self.lists.len()
    }

    /// Number of vectors that can be found.
    pub fn vectors(&self) -> usize {
        self.lists.vectors()
    }

    /// What is to be stored, beside the vectors, to make the index again.
    pub fn parts(&self) -> IvfParts {
        let (offsets, rows) = self.lists.rows();
        IvfParts {
            metric: self.metric,
            dimensions: self.dimensions,
            centres: self.lists.centres().to_vec(),
            offsets,
            rows,
            added: self.added,
        }
    }

    /// Makes an index from its parts and the vectors it was made from: row r of `x` is the vector of row r.
    ///
    /// Fails where the parts do not fit each other or `x`.
    pub fn from_parts(
        parts: &IvfParts,
        x: MatrixView<'_, f32>,
        execution: &Execution,
    ) -> Result<Self> {
        begin(execution)?;
        lists::check_parts(parts, x)?;
        let mut lists = Lists::new(parts.metric, parts.dimensions, parts.centres.clone());
        lists.fill(parts, x, execution)?;
        Ok(Self { metric: parts.metric, dimensions: parts.dimensions, lists, added: parts.added })
    }

    fn check_dimensions(&self, x: MatrixView<'_, f32>, what: &str) -> Result<()> {
        if x.rows() == 0 || x.cols() == self.dimensions {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            found: format!("{} {what} of {} dimensions", x.rows(), x.cols()),
            expected: format!("the index has {} dimensions", self.dimensions),
        })
    }
}

/// The record of an operation, or why it can't be where the caller wants it.
fn begin(execution: &Execution) -> Result<Stats> {
    match execution.gpu {
        GpuPolicy::Required => Err(Error::NoDevicePath {
            operation: OPERATION,
            reason: "this operation has no CUDA path: it runs on the CPU only".into(),
        }),
        GpuPolicy::Preferred => {
            let reason =
                "gpu = preferred, but ivf runs on the CPU; only its k-means takes a device";
            Ok(Stats::new(DeviceReport::cpu(reason)))
        }
        GpuPolicy::Off => Ok(Stats::new(DeviceReport::cpu("gpu = off"))),
    }
}
