//! Searching: blocks of queries, list by list.
//!
//! ```text
//!   queries of a block ──▶ coarse: products with all centres, the `probes` nearest of each
//!                          pairs (list, query), sorted by list
//!   each list            ──▶ its queries packed, 14 at a time, × its panels of 32 vectors
//!                          of 32 values those below the query's worst of k go into its heap
//! ```
//! A block belongs to one thread, unless its queries are so few that there is no other: then the threads take turns at
//! its lists, each into heaps of its own, and the best of all heaps are kept. A heap's content does not depend on the
//! order in which values come.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use rayon::prelude::*;

use super::lists::{List, Lists, prepare, relative};
use super::{Metric, Neighbour, OPERATION, SearchOptions};
use crate::budget::{largest_tile, zeroed};
use crate::element::sealed::Kernels;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::product::MicroKernel;
use crate::simd::{Work, vectorised};
use crate::stats::Stats;
use crate::view::MatrixView;

/// Queries of the largest block: enough that many share a list.
const MOST_QUERIES: usize = 2048;
/// The widest panel of any kernel.
const MOST_LANES: usize = 32;

/// A vector that may be among the k nearest: less is nearer, of equal ones the lower row.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    value: f64,
    row: u64,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.total_cmp(&other.value).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// A search, and its sizes.
struct Search<'a> {
    lists: &'a Lists,
    kernel: MicroKernel<f32>,
    queries: MatrixView<'a, f32>,
    options: SearchOptions<'a>,
    probes: usize,
    k: usize,
}

pub(super) fn run(
    lists: &Lists,
    queries: MatrixView<'_, f32>,
    options: &SearchOptions<'_>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<(Vec<Neighbour>, Vec<usize>)> {
    let pool = execution.threads()?;
    let search = Search {
        lists,
        kernel: f32::micro_kernel().for_rows(queries.rows()),
        queries,
        options: *options,
        probes: options.probes.min(lists.len()),
        k: options.k.min(lists.vectors()),
    };
    let host_bytes = execution.budget.host_bytes;
    let threads = largest_tile(OPERATION, Memory::Host, host_bytes, pool.threads(), |threads| {
        threads * search.bytes(1)
    })?;
    let is_few = queries.rows() <= search.kernel.rows;
    // A block for each thread, if that is enough queries to share lists.
    let most = if is_few { queries.rows() } else { queries.rows().div_ceil(threads) };
    let block =
        largest_tile(OPERATION, Memory::Host, host_bytes, most.clamp(1, MOST_QUERIES), |block| {
            threads * search.bytes(block)
        })?;
    stats.peak_bytes = (threads * search.bytes(block)) as u64;
    let pool = match NonZeroUsize::new(threads) {
        Some(fewer) if threads < pool.threads() => Pool::of_size(fewer)?,
        _ => pool,
    };
    let k = search.k;
    let mut sizes: Vec<usize> = zeroed(OPERATION, queries.rows())?;
    stats.tiles = queries.rows().div_ceil(block) as u64;
    execution.control.begin(stats.tiles);
    if k == 0 {
        // Without vectors nothing can be found.
        return Ok((Vec::new(), sizes));
    }
    let mut found = places(queries.rows() * k)?;
    stats.excluded_rows += if is_few && block >= queries.rows() {
        pool.run(|| search.together(threads, &mut found, &mut sizes, execution))?
    } else {
        let blocks = found.chunks_mut(block * k).zip(sizes.chunks_mut(block)).enumerate();
        let blocks = Mutex::new(blocks);
        let work = |_: usize| {
            let mut own = Block::allocate(&search, block)?;
            let (mut worker, mut excluded) = (Worker::allocate(&search, block)?, 0);
            while let Some((index, (found, sizes))) = next(&blocks) {
                excluded +=
                    search.begin(&mut own, &mut worker, index * block, sizes.len(), execution)?;
                for pairs in own.lists() {
                    execution.control.check(OPERATION)?;
                    search.scan_list(&own, &mut worker, pairs);
                }
                search.finish(std::slice::from_mut(&mut worker), found, sizes);
                execution.control.advance(1);
            }
            Ok(excluded)
        };
        pool.run(|| (0..threads).into_par_iter().map(work).try_reduce(|| 0, |a, b| Ok(a + b)))?
    };
    // Close the gaps of queries that found fewer than k.
    let mut end = 0;
    for (query, size) in sizes.iter_mut().enumerate() {
        found.copy_within(query * k..query * k + *size, end);
        end += *size;
        *size = end;
    }
    found.truncate(end);
    Ok((found, sizes))
}

/// The next piece of work, whichever thread asks.
fn next<T>(pieces: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next()
}

/// Room for `count` neighbours, or an error where the system has no memory for it.
fn places(count: usize) -> Result<Vec<Neighbour>> {
    let mut places = Vec::new();
    places.try_reserve_exact(count).map_err(|_| Error::OutOfMemory {
        operation: OPERATION,
        memory: Memory::Host,
        bytes: count.saturating_mul(size_of::<Neighbour>()),
    })?;
    places.resize(count, Neighbour { row: 0, score: 0.0 });
    Ok(places)
}

/// Some queries as they are compared, and the lists that each looks into.
struct Block {
    prepared: Vec<f32>,
    usable: Vec<bool>,
    coarse: Vec<(f64, u32)>,
    pairs: Vec<(u32, u32)>,
}

impl Block {
    fn allocate(search: &Search<'_>, block: usize) -> Result<Self> {
        Ok(Self {
            prepared: zeroed(OPERATION, block * search.lists.dimensions)?,
            usable: vec![false; block],
            coarse: Vec::with_capacity(search.kernel.rows * search.lists.len()),
            pairs: Vec::with_capacity(block * search.probes),
        })
    }

    /// The pairs of one list after another.
    fn lists(&self) -> impl Iterator<Item = &[(u32, u32)]> {
        self.pairs.chunk_by(|a, b| a.0 == b.0)
    }
}

/// What one thread multiplies, and what it has found.
struct Worker {
    /// Some queries of a list in relation to its centre, and packed, with ‖q − c‖².
    packed: Vec<f32>,
    bases: Vec<f64>,
    products: Vec<f64>,
    heaps: Vec<BinaryHeap<Candidate>>,
}

impl Worker {
    fn allocate(search: &Search<'_>, block: usize) -> Result<Self> {
        let (kernel, dimensions) = (&search.kernel, search.lists.dimensions);
        let packed = block.next_multiple_of(kernel.rows);
        Ok(Self {
            packed: zeroed(OPERATION, packed * dimensions)?,
            bases: zeroed(OPERATION, packed)?,
            products: zeroed(OPERATION, kernel.rows * kernel.cols)?,
            heaps: (0..block).map(|_| BinaryHeap::with_capacity(search.k)).collect(),
        })
    }
}

impl Search<'_> {
    /// What one thread takes for blocks of `block` queries.
    fn bytes(&self, block: usize) -> usize {
        let dimensions = self.lists.dimensions;
        let packed = block.next_multiple_of(self.kernel.rows);
        block * (dimensions * size_of::<f32>() + 1)
            + packed * (dimensions * size_of::<f32>() + size_of::<f64>())
            + self.kernel.rows * self.kernel.cols * size_of::<f64>()
            + self.kernel.rows * self.lists.len() * size_of::<(f64, u32)>()
            + block * (self.probes * size_of::<(u32, u32)>() + size_of::<u32>())
            + block * (self.k * size_of::<Candidate>() + size_of::<BinaryHeap<Candidate>>())
    }

    /// Searches for all queries as one block, whose lists the threads share. How many of them can't be compared.
    fn together(
        &self,
        threads: usize,
        found: &mut [Neighbour],
        sizes: &mut [usize],
        execution: &Execution,
    ) -> Result<u64> {
        let count = sizes.len();
        let mut block = Block::allocate(self, count)?;
        let mut workers =
            (0..threads).map(|_| Worker::allocate(self, count)).collect::<Result<Vec<_>>>()?;
        let excluded = match workers.first_mut() {
            Some(worker) => self.begin(&mut block, worker, 0, count, execution)?,
            None => 0,
        };
        let (block, lists) = (&block, Mutex::new(block.lists()));
        workers.par_iter_mut().try_for_each(|worker| {
            while let Some(pairs) = next(&lists) {
                execution.control.check(OPERATION)?;
                self.scan_list(block, worker, pairs);
            }
            Ok(())
        })?;
        self.finish(&mut workers, found, sizes);
        execution.control.advance(1);
        Ok(excluded)
    }

    /// Takes `count` queries from `first` on into `block`. How many of them can't be compared.
    fn begin(
        &self,
        block: &mut Block,
        worker: &mut Worker,
        first: usize,
        count: usize,
        execution: &Execution,
    ) -> Result<u64> {
        let dimensions = self.lists.dimensions;
        let mut excluded = 0;
        for query in 0..count {
            let into = &mut block.prepared[query * dimensions..][..dimensions];
            block.usable[query] = prepare(self.lists.metric, self.queries.row(first + query), into);
            excluded += u64::from(!block.usable[query]);
        }
        self.choose_lists(block, worker, count, execution)?;
        Ok(excluded)
    }

    /// Writes what the workers have found for as many queries as there are `sizes`, and empties their heaps.
    fn finish(&self, workers: &mut [Worker], found: &mut [Neighbour], sizes: &mut [usize]) {
        for (query, (found, size)) in found.chunks_mut(self.k).zip(sizes).enumerate() {
            let heaps = workers.iter_mut().flat_map(|worker| worker.heaps[query].drain());
            let mut best: Vec<Candidate> = heaps.collect();
            if best.len() > self.k {
                best.select_nth_unstable(self.k);
                best.truncate(self.k);
            }
            *size = best.len();
            let found = &mut found[..best.len()];
            for (found, candidate) in found.iter_mut().zip(best) {
                *found = self.neighbour(candidate);
            }
            // The values were the order; what is left of them after rounding to f32 must be in order, too.
            found.sort_unstable_by(|a, b| {
                let (first, second) = match self.lists.metric {
                    Metric::Euclidean => (a, b),
                    Metric::Cosine | Metric::Dot => (b, a),
                };
                first.score.total_cmp(&second.score).then(a.row.cmp(&b.row))
            });
        }
    }

    fn neighbour(&self, found: Candidate) -> Neighbour {
        let score = match self.lists.metric {
            Metric::Euclidean => found.value.max(0.0) as f32,
            Metric::Dot => -found.value as f32,
            Metric::Cosine => (-found.value).clamp(-1.0, 1.0) as f32,
        };
        // No negative zero: it would sort apart from the other.
        Neighbour { row: found.row, score: score + 0.0 }
    }

    /// Writes the pairs of lists and the queries that look into them, by list.
    fn choose_lists(
        &self,
        block: &mut Block,
        worker: &mut Worker,
        count: usize,
        execution: &Execution,
    ) -> Result<()> {
        block.pairs.clear();
        let (rows, centres) = (self.kernel.rows, self.lists.len());
        let coarse = &self.lists.coarse;
        let is_relative = self.lists.metric != Metric::Dot;
        for start in (0..count).step_by(rows) {
            execution.control.check(OPERATION)?;
            let own: Vec<u32> =
                (start..count.min(start + rows)).map(|query| query as u32).collect();
            self.pack(&block.prepared, worker, &own, &self.lists.middle, is_relative);
            block.coarse.clear();
            block.coarse.resize(own.len() * centres, (0.0, 0));
            for panel in 0..centres.div_ceil(self.lists.width) {
                self.multiply(worker, coarse, panel, 0);
                let first = panel * self.lists.width;
                for (lane, centre) in (first..centres.min(first + self.lists.width)).enumerate() {
                    for query in 0..own.len() {
                        let product = worker.products[query * self.kernel.cols + lane];
                        let value = if is_relative {
                            coarse.terms[centre] - 2.0 * product
                        } else {
                            -product
                        };
                        block.coarse[query * centres + centre] = (value, centre as u32);
                    }
                }
            }
            let by_value = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            for (&query, values) in own.iter().zip(block.coarse.chunks_exact_mut(centres)) {
                if block.usable[query as usize] {
                    if self.probes < centres {
                        values.select_nth_unstable_by(self.probes, by_value);
                    }
                    let nearest = values[..self.probes].iter();
                    block.pairs.extend(nearest.map(|&(_, list)| (list, query)));
                }
            }
        }
        block.pairs.sort_unstable();
        Ok(())
    }

    /// Packs queries in panels, in relation to `centre` where that is asked for.
    fn pack(
        &self,
        prepared: &[f32],
        worker: &mut Worker,
        queries: &[u32],
        centre: &[f32],
        is_relative: bool,
    ) {
        let (rows, dimensions) = (self.kernel.rows, self.lists.dimensions);
        let panels = worker.packed.chunks_exact_mut(rows * dimensions);
        for ((panel, bases), queries) in
            panels.zip(worker.bases.chunks_exact_mut(rows)).zip(queries.chunks(rows))
        {
            if queries.len() < rows {
                panel.fill(0.0);
            }
            for (lane, &query) in queries.iter().enumerate() {
                let vector = &prepared[query as usize * dimensions..][..dimensions];
                let mut square = 0.0;
                for (line, (&value, &centre)) in
                    panel.chunks_exact_mut(rows).zip(vector.iter().zip(centre))
                {
                    let value = if is_relative { relative(value, centre) } else { value };
                    line[lane] = value;
                    square += f64::from(value) * f64::from(value);
                }
                bases[lane] = if is_relative { square } else { 0.0 };
            }
        }
    }

    /// The products of a panel of vectors with packed queries from panel `queries` on.
    fn multiply(&self, worker: &mut Worker, list: &List, panel: usize, queries: usize) {
        let (rows, width, dimensions) = (self.kernel.rows, self.lists.width, self.lists.dimensions);
        let a = &worker.packed[queries * rows * dimensions..][..rows * dimensions];
        let b = &list.panels[panel * width * dimensions..][..width * dimensions];
        worker.products.fill(0.0);
        for start in (0..dimensions).step_by(self.kernel.depth) {
            let depth = self.kernel.depth.min(dimensions - start);
            let products = &mut worker.products;
            self.kernel.add(depth, &a[start * rows..], &b[start * width..], width, products, width);
        }
    }

    /// Meets the vectors of one list with the queries of `pairs`, which all look into it.
    fn scan_list(&self, block: &Block, worker: &mut Worker, pairs: &[(u32, u32)]) {
        let Some(&(list, _)) = pairs.first() else {
            return;
        };
        let (rows, width) = (self.kernel.rows, self.lists.width);
        let centre = self.lists.centre(list as usize);
        let list = &self.lists.lists[list as usize];
        let is_relative = self.lists.metric == Metric::Euclidean;
        let queries: Vec<u32> = pairs.iter().map(|&(_, query)| query).collect();
        self.pack(&block.prepared, worker, &queries, centre, is_relative);
        for (panel, own) in list.rows.chunks(width).enumerate() {
            let terms = &list.terms[panel * width..][..own.len()];
            for (group, queries) in queries.chunks(rows).enumerate() {
                self.multiply(worker, list, panel, group);
                for (lane, &query) in queries.iter().enumerate() {
                    let heap = &mut worker.heaps[query as usize];
                    let base = worker.bases[group * rows + lane];
                    let worst = match heap.peek() {
                        Some(worst) if heap.len() >= self.k => worst.value,
                        _ => f64::INFINITY,
                    };
                    let products = &worker.products[lane * width..][..own.len()];
                    let values = Values { products, terms, base, is_relative, worst };
                    let (values, mut reached) = vectorised(values);
                    while reached != 0 {
                        let at = reached.trailing_zeros() as usize;
                        reached &= reached - 1;
                        self.offer(heap, Candidate { value: values[at], row: own[at] });
                    }
                }
            }
        }
    }

    fn offer(&self, heap: &mut BinaryHeap<Candidate>, candidate: Candidate) {
        if let Some(filter) = self.options.filter {
            let word = filter.get((candidate.row / 64) as usize).copied().unwrap_or(0);
            if word >> (candidate.row % 64) & 1 == 0 {
                return;
            }
        }
        if heap.len() < self.k {
            heap.push(candidate);
        } else if let Some(mut worst) = heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }
}

/// The values of one query with a panel's vectors, and which of them reach its heap.
struct Values<'a> {
    products: &'a [f64],
    terms: &'a [f64],
    base: f64,
    is_relative: bool,
    worst: f64,
}

impl Work for Values<'_> {
    type Output = ([f64; MOST_LANES], u32);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let mut values = [f64::INFINITY; MOST_LANES];
        let factor = if self.is_relative { 2.0 } else { 1.0 };
        for ((value, &product), &term) in values.iter_mut().zip(self.products).zip(self.terms) {
            *value = (self.base + term) - factor * product;
        }
        let mut reached = 0;
        for (lane, &value) in values.iter().enumerate() {
            reached |= u32::from(value <= self.worst) << lane;
        }
        if self.products.len() < MOST_LANES {
            // What is beyond the vectors that are there is infinite, as the worst of an empty heap is.
            reached &= (1u32 << self.products.len()) - 1;
        }
        (values, reached)
    }
}
