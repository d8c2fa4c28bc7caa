//! What is found, and where it goes.

use std::cmp::Ordering;
use std::sync::Mutex;

use super::{Metric, OPERATION, space::Problem};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::stats::{Exclusion, Stats};

/// A row of the base, seen from a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// The row.
    pub index: usize,
    /// The score, as [`Metric`] defines it.
    pub score: f64,
}

impl Neighbour {
    pub(super) const NONE: Self = Self { index: usize::MAX, score: f64::NAN };

    /// Nearest first, then by index.
    #[inline]
    pub(super) fn order(metric: Metric, a: &Self, b: &Self) -> Ordering {
        metric.rank(b.score).total_cmp(&metric.rank(a.score)).then(a.index.cmp(&b.index))
    }
}

/// What was done, and which rows were left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The record of the operation.
    pub stats: Stats,
    /// Rows of the base that can be results: allowed, and not left out.
    pub candidates: usize,
    /// Queries that were left out, by index.
    pub excluded: Vec<(usize, Exclusion)>,
    /// Allowed rows of the base that were left out, by index.
    pub excluded_base: Vec<(usize, Exclusion)>,
}

/// For each query its nearest rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// What was done.
    pub summary: Summary,
    rows: usize,
    width: usize,
    counts: Vec<usize>,
    neighbours: Vec<Neighbour>,
}

impl Nearest {
    pub(super) fn allocate<T: Element>(
        rows: usize,
        k: usize,
        problem: &Problem<'_, T>,
    ) -> Result<Self> {
        let width = k.min(problem.base.rows.len());
        let places = rows.saturating_mul(width);
        let mut neighbours = Vec::new();
        let mut counts = Vec::new();
        let refused = |_| Error::OutOfMemory {
            operation: OPERATION,
            memory: Memory::Host,
            bytes: places.saturating_mul(size_of::<Neighbour>()),
        };
        neighbours.try_reserve_exact(places).map_err(refused)?;
        counts.try_reserve_exact(rows).map_err(refused)?;
        neighbours.resize(places, Neighbour::NONE);
        counts.resize(rows, 0);
        let summary = problem.summary();
        Ok(Self { summary, rows, width, counts, neighbours })
    }

    /// Number of queries.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The nearest rows of one query, nearest first; equal ones by index. Empty for a query that was left out, and
    /// for one that is not there.
    pub fn row(&self, query: usize) -> &[Neighbour] {
        let count = self.counts.get(query).copied().unwrap_or(0);
        let start = query.saturating_mul(self.width);
        self.neighbours.get(start..start.saturating_add(count)).unwrap_or(&[])
    }

    /// Places for each query.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The lists of some queries, in ascending order.
    pub(super) fn tops_of(&mut self, queries: &[u32]) -> Vec<Top<'_>> {
        let mut queries = queries.iter().copied().peekable();
        self.neighbours
            .chunks_mut(self.width.max(1))
            .zip(&mut self.counts)
            .enumerate()
            .filter(|(row, _)| queries.next_if_eq(&(*row as u32)).is_some())
            .map(|(_, (places, count))| Top { places, count })
            .collect()
    }
}

/// The nearest rows of one query so far, in order.
#[derive(Debug)]
pub(super) struct Top<'a> {
    pub(super) places: &'a mut [Neighbour],
    pub(super) count: &'a mut usize,
}

impl Top<'_> {
    /// The score that a row must reach to get a place, once all places are taken.
    pub(super) fn last(&self) -> Option<f64> {
        if *self.count < self.places.len() {
            return None;
        }
        self.places.last().map(|last| last.score)
    }

    /// Takes what belongs to the nearest out of `batch`, and empties it. `spare` is memory to work in.
    pub(super) fn merge(
        &mut self,
        metric: Metric,
        batch: &mut Vec<Neighbour>,
        spare: &mut Vec<Neighbour>,
    ) {
        batch.sort_unstable_by(|a, b| Neighbour::order(metric, a, b));
        spare.clear();
        spare.extend_from_slice(&self.places[..*self.count]);
        let (mut old, mut new) = (spare.iter().peekable(), batch.iter().peekable());
        let mut count = 0;
        for place in self.places.iter_mut() {
            let takes_old = match (old.peek(), new.peek()) {
                (Some(a), Some(b)) => Neighbour::order(metric, a, b) == Ordering::Less,
                (Some(_), None) => true,
                (None, _) => false,
            };
            let next = if takes_old { old.next() } else { new.next() };
            let Some(next) = next else { break };
            *place = *next;
            count += 1;
        }
        *self.count = count;
        batch.clear();
    }
}

/// Two rows whose score reaches a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Row of the first set.
    pub row: usize,
    /// Row of the second set; of the same one, and larger than `row`, where there is only one.
    pub col: usize,
    /// The score, as [`Metric`] defines it.
    pub score: f64,
}

/// A taker of pairs.
pub trait PairSink: Send {
    /// Takes some pairs. Each pair comes once, in an order that depends on tiles and threads. An error stops the
    /// operation.
    fn take(&mut self, pairs: &[Pair]) -> Result<()>;
}

/// Gives pairs to a sink from any thread, and empties the list of them.
pub(super) type Give<'a> = dyn Fn(&mut Vec<Pair>) -> Result<()> + Sync + 'a;

/// A sink that several threads give to.
pub(super) fn shared(sink: &mut dyn PairSink) -> impl Fn(&mut Vec<Pair>) -> Result<()> + Sync {
    let sink = Mutex::new(sink);
    move |found| {
        if !found.is_empty() {
            // A thread that panicked in the sink ends the operation anyway.
            sink.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take(found)?;
            found.clear();
        }
        Ok(())
    }
}

/// Keeps every pair, up to a limit.
#[derive(Debug, Clone)]
pub struct PairList {
    limit: usize,
    pairs: Vec<Pair>,
}

impl PairList {
    /// Fails the operation beyond `limit` pairs.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, pairs: Vec::new() }
    }

    /// The pairs, by row and then by column.
    pub fn into_pairs(mut self) -> Vec<Pair> {
        self.pairs.sort_unstable_by_key(|pair| (pair.row, pair.col));
        self.pairs
    }
}

impl PairSink for PairList {
    fn take(&mut self, pairs: &[Pair]) -> Result<()> {
        if pairs.len() > self.limit - self.pairs.len() {
            return Err(Error::LimitExceeded {
                operation: OPERATION,
                what: "pairs reach the threshold",
                limit: self.limit,
                advice: "ask for nearer pairs, raise the limit, or ask for the nearest of each row",
            });
        }
        self.pairs.extend_from_slice(pairs);
        Ok(())
    }
}
