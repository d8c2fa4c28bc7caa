//! Where coefficients go: the pairs of n series are n², too many to keep.
//!
//! A sink sees every block of coefficients once, keeps what it is for, and forgets the rest. Blocks
//! are scanned on all threads and taken in one fixed order, and what is kept is ordered by strength
//! and then by index, so that a result depends neither on the tiles nor on the threads.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// A coefficient of two series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Row of the first matrix.
    pub row: usize,
    /// Row of the second matrix; of the same one, and larger than `row`, where there is only one.
    pub col: usize,
    /// The coefficient, -1 to 1.
    pub r: f64,
}

/// What makes one coefficient stronger than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strength {
    /// Its size: -0.9 is stronger than 0.8.
    #[default]
    Magnitude,
    /// Its value: 0.8 is stronger than -0.9.
    Signed,
}

impl Strength {
    #[inline(always)]
    fn of(self, r: f64) -> f64 {
        match self {
            Self::Magnitude => r.abs(),
            Self::Signed => r,
        }
    }

    /// Strongest first, then by index.
    fn order(self, a: &Pair, b: &Pair) -> Ordering {
        self.of(b.r).total_cmp(&self.of(a.r)).then(a.row.cmp(&b.row)).then(a.col.cmp(&b.col))
    }
}

/// A block of coefficients.
#[derive(Debug, Clone, Copy)]
pub struct ScoreBlock<'a> {
    pub(super) row0: usize,
    pub(super) col0: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stride: usize,
    pub(super) symmetric: bool,
    pub(super) scores: &'a [f64],
}

impl<'a> ScoreBlock<'a> {
    /// The rows of the first matrix that the block covers.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.row0..self.row0 + self.rows
    }

    /// The rows of the second matrix that the block covers.
    pub fn cols(&self) -> std::ops::Range<usize> {
        self.col0..self.col0 + self.cols
    }

    /// The coefficients of one row: the first column they are for, and one for each column from there.
    ///
    /// Where there is only one matrix these are the columns above `row`. NaN stands for a coefficient
    /// that is not defined, because one of its series was left out.
    #[inline]
    pub fn row(&self, row: usize) -> (usize, &'a [f64]) {
        let end = self.col0 + self.cols;
        let first = if self.symmetric { self.col0.max(row + 1).min(end) } else { self.col0 };
        let start = (row - self.row0) * self.stride;
        (first, &self.scores[start + (first - self.col0)..start + self.cols])
    }
}

/// A taker of coefficients.
pub trait PairSink: Send + Sync {
    /// What one block contributes.
    type Part: Send;

    /// Finds what is worth keeping in a block. Runs on several threads at once.
    fn scan(&self, block: &ScoreBlock<'_>) -> Self::Part;

    /// Keeps a part. Called once for each block, on one thread.
    fn take(&mut self, block: &ScoreBlock<'_>, part: Self::Part) -> Result<()>;

    /// Scans all blocks of a tile and keeps their parts in order, on all threads.
    fn take_all(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()> {
        // A few at a time, so that what they contribute stays small beside a tile.
        for group in blocks.chunks(2 * rayon::current_num_threads()) {
            let scanned: Vec<Self::Part> = group.par_iter().map(|block| self.scan(block)).collect();
            for (block, part) in group.iter().zip(scanned) {
                self.take(block, part)?;
            }
        }
        Ok(())
    }

    /// A strength below which no coefficient is of interest, if there is one by now. A device sends
    /// back only what reaches it.
    fn floor(&self) -> Option<(Strength, f64)> {
        None
    }
}

/// Which pairs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Of one matrix: row < col.
    Within,
    /// Of two matrices: all.
    Between,
}

/// A sink behind a pointer, so that the code that feeds it is made once, in this crate.
pub trait Taker: Send + Sync {
    /// Scans the blocks on all threads and takes their parts in order.
    fn take_blocks(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()>;

    /// As [`take_blocks`](Self::take_blocks), on this thread alone: for a sink that devices share behind a lock.
    fn take_blocks_alone(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()>;

    /// As [`PairSink::floor`].
    fn floor(&self) -> Option<(Strength, f64)>;
}

impl<S: PairSink> Taker for S {
    fn take_blocks(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()> {
        self.take_all(blocks)
    }

    fn take_blocks_alone(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()> {
        blocks.iter().try_for_each(|block| {
            let part = self.scan(block);
            self.take(block, part)
        })
    }

    fn floor(&self) -> Option<(Strength, f64)> {
        PairSink::floor(self)
    }
}

/// Keeps every pair at least as strong as a threshold.
#[derive(Debug, Clone)]
pub struct Threshold {
    strength: Strength,
    minimum: f64,
    limit: usize,
    pairs: Vec<Pair>,
}

impl Threshold {
    /// Pairs kept at most, unless told otherwise.
    pub const DEFAULT_LIMIT: usize = 10_000_000;

    /// Keeps pairs whose `strength` is at least `minimum`.
    pub fn new(strength: Strength, minimum: f64) -> Self {
        Self { strength, minimum, limit: Self::DEFAULT_LIMIT, pairs: Vec::new() }
    }

    /// Fails the operation beyond `limit` pairs.
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The pairs, by row and then by column.
    pub fn into_pairs(mut self) -> Vec<Pair> {
        self.pairs.sort_unstable_by_key(|pair| (pair.row, pair.col));
        self.pairs
    }
}

impl PairSink for Threshold {
    type Part = Vec<Pair>;

    fn scan(&self, block: &ScoreBlock<'_>) -> Vec<Pair> {
        let mut found = Vec::new();
        for row in block.rows() {
            let (first, scores) = block.row(row);
            for (offset, &r) in scores.iter().enumerate() {
                if self.strength.of(r) >= self.minimum {
                    found.push(Pair { row, col: first + offset, r });
                }
            }
            if found.len() > self.limit {
                break;
            }
        }
        found
    }

    fn take(&mut self, _block: &ScoreBlock<'_>, part: Vec<Pair>) -> Result<()> {
        self.pairs.extend(part);
        if self.pairs.len() <= self.limit {
            return Ok(());
        }
        Err(Error::LimitExceeded {
            operation: "correlate",
            what: "pairs reach the threshold",
            limit: self.limit,
            advice: "raise the threshold or the limit, or ask for the strongest pairs only",
        })
    }

    fn floor(&self) -> Option<(Strength, f64)> {
        Some((self.strength, self.minimum))
    }
}

/// Keeps the k strongest pairs of all.
#[derive(Debug, Clone)]
pub struct TopPairs {
    best: Best,
}

impl TopPairs {
    /// Keeps the `k` pairs of most `strength`; all where there are fewer.
    pub fn new(strength: Strength, k: usize) -> Self {
        Self { best: Best::new(strength, k) }
    }

    /// The pairs, strongest first; equal ones by row and then by column.
    pub fn into_pairs(self) -> Vec<Pair> {
        self.best.into_sorted()
    }
}

impl PairSink for TopPairs {
    type Part = Best;

    fn scan(&self, block: &ScoreBlock<'_>) -> Best {
        let mut best = Best { kept: Vec::new(), ..self.best };
        for row in block.rows() {
            let (first, scores) = block.row(row);
            for (offset, &r) in scores.iter().enumerate() {
                best.offer(Pair { row, col: first + offset, r });
            }
        }
        best.shrink();
        best
    }

    fn take(&mut self, _block: &ScoreBlock<'_>, part: Best) -> Result<()> {
        part.kept.into_iter().for_each(|pair| self.best.offer(pair));
        Ok(())
    }

    fn floor(&self) -> Option<(Strength, f64)> {
        Some((self.best.strength, self.best.floor))
    }
}

/// The other end of a pair, seen from one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Index of the other series.
    pub index: usize,
    /// The coefficient.
    pub r: f64,
}

/// Keeps the k strongest partners of every row of the first matrix. Where there is only one matrix,
/// a pair counts for both of its rows.
#[derive(Debug, Clone)]
pub struct TopPerRow {
    strength: Strength,
    k: usize,
    rows: Vec<Best>,
}

impl TopPerRow {
    /// Keeps the `k` partners of most `strength` of each of `rows` rows; all where there are fewer.
    pub fn new(strength: Strength, rows: usize, k: usize) -> Self {
        Self { strength, k, rows: vec![Best::new(strength, k); rows] }
    }

    /// For each row its partners, strongest first; equal ones by index.
    pub fn into_rows(self) -> Vec<Vec<Neighbour>> {
        self.rows
            .into_iter()
            .map(|best| {
                best.into_sorted()
                    .into_iter()
                    .map(|pair| Neighbour { index: pair.col, r: pair.r })
                    .collect()
            })
            .collect()
    }
}

impl PairSink for TopPerRow {
    /// Pairs as (row, partner): a symmetric pair is there twice.
    type Part = Vec<Pair>;

    fn scan(&self, block: &ScoreBlock<'_>) -> Vec<Pair> {
        let floor = |row: usize| self.rows.get(row).map_or(f64::INFINITY, |best| best.floor);
        let mut found = Vec::new();
        let mut columns = if block.symmetric {
            vec![Best::new(self.strength, self.k); block.cols]
        } else {
            Vec::new()
        };
        for (offset, best) in columns.iter_mut().enumerate() {
            best.floor = floor(block.col0 + offset);
        }
        for row in block.rows() {
            let (first, scores) = block.row(row);
            let mut best = Best { floor: floor(row), ..Best::new(self.strength, self.k) };
            for (offset, &r) in scores.iter().enumerate() {
                let col = first + offset;
                best.offer(Pair { row, col, r });
                if let Some(column) = columns.get_mut(col - block.col0) {
                    column.offer(Pair { row: col, col: row, r });
                }
            }
            best.shrink();
            found.append(&mut best.kept);
        }
        for mut best in columns {
            best.shrink();
            found.append(&mut best.kept);
        }
        found
    }

    fn take(&mut self, _block: &ScoreBlock<'_>, part: Vec<Pair>) -> Result<()> {
        for pair in part {
            if let Some(best) = self.rows.get_mut(pair.row) {
                best.offer(pair);
            }
        }
        Ok(())
    }
}

/// Hands every block to a function. The blocks come in a fixed order for a given tile.
pub struct Dense<F> {
    visit: F,
}

impl<F: FnMut(&ScoreBlock<'_>) -> Result<()> + Send + Sync> Dense<F> {
    /// Calls `visit` with each block; its error stops the operation.
    pub fn new(visit: F) -> Self {
        Self { visit }
    }
}

impl<F: FnMut(&ScoreBlock<'_>) -> Result<()> + Send + Sync> PairSink for Dense<F> {
    type Part = ();

    fn scan(&self, _block: &ScoreBlock<'_>) {}

    fn take(&mut self, block: &ScoreBlock<'_>, _part: ()) -> Result<()> {
        (self.visit)(block)
    }
}

/// The k strongest pairs offered so far, and a few more until the next clean-up.
#[derive(Debug, Clone)]
pub struct Best {
    strength: Strength,
    k: usize,
    floor: f64,
    kept: Vec<Pair>,
}

impl Best {
    fn new(strength: Strength, k: usize) -> Self {
        // Below every coefficient; nothing reaches the floor where nothing is asked for.
        Self { strength, k, floor: if k == 0 { f64::INFINITY } else { -2.0 }, kept: Vec::new() }
    }

    #[inline(always)]
    fn offer(&mut self, pair: Pair) {
        // NaN fails the comparison.
        if self.strength.of(pair.r) >= self.floor {
            self.kept.push(pair);
            if self.kept.len() >= 2 * self.k + 64 {
                self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        if self.kept.len() > self.k {
            let strength = self.strength;
            self.kept.select_nth_unstable_by(self.k, |a, b| strength.order(a, b));
            self.kept.truncate(self.k);
            self.floor =
                self.kept.iter().map(|pair| strength.of(pair.r)).fold(f64::INFINITY, f64::min);
        }
    }

    fn into_sorted(mut self) -> Vec<Pair> {
        self.shrink();
        let strength = self.strength;
        self.kept.sort_unstable_by(|a, b| strength.order(a, b));
        self.kept
    }
}
