//! The CPU's path: a part of the base as codes, blocks of queries against it, one thread each.
//!
//! ```text
//!            part of the base: panels of 32 rows, as codes (shared by all threads)
//!          ┌────┬────┬────┬────┬───
//!  block   │ p0 │ p1 │ p2 │ …          for each panel of the base: every panel of queries multiplies with it, so that
//!  of up   │    │    │    │            it stays in the first-level cache; upper bounds that reach a query's threshold
//!  to 16   ├────┼────┼────┼───         go to its list. A full list is settled: scored in f64, best bounds first,
//!  panels                              which raises the threshold; the rest of the list mostly falls below it.
//! ```

use rayon::prelude::*;

use super::part::{Panels, Part, Plan};
use super::result::{Give, Nearest, Neighbour, Pair, PairSink, Top, shared};
use super::screen::{Kernel, MOST_COLS, MOST_DIMENSIONS, MOST_ROWS, bound};
use super::space::{Facts, Problem, quantise};
use super::{OPERATION, Pairing, direct};
use crate::budget::{halving, largest_tile, zeroed};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// Panels of queries in a block: about what stays in the second-level cache.
pub(super) const BLOCK_PANELS: usize = 16;
/// Below so many queries, coding the base costs more than scoring it directly.
const FEW_QUERIES: usize = 12;
/// Candidates of a query that are waiting, beside 2k.
pub(super) const WAITING: usize = 112;
/// Candidates that are scored before the threshold is looked at again.
const BATCH: usize = 8;
/// A screen that lets through more than this part did not pay.
const POOR: usize = 8;
/// Pairs that a block keeps back before it gives them to the sink.
const HELD_PAIRS: usize = 1024;

pub(super) fn nearest<T: Element>(
    problem: &Problem<'_, T>,
    nearest: &mut Nearest,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let (queries, base) = (problem.queries.rows.len(), problem.base.rows.len());
    let k = nearest.width();
    let tops = nearest.tops_of(&problem.queries.rows);
    if queries < FEW_QUERIES || k > base / 4 || !screens(problem) {
        return direct::nearest(problem, tops, execution, stats);
    }
    let wants: Vec<Want<'_>> = tops.into_iter().map(Want::Top).collect();
    run(problem, wants, 2 * k + WAITING, f64::NAN, None, execution, stats)
}

pub(super) fn join<T: Element>(
    problem: &Problem<'_, T>,
    threshold: f64,
    sink: &mut dyn PairSink,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let queries = problem.queries.rows.len();
    if queries < FEW_QUERIES || !screens(problem) {
        return direct::join(problem, threshold, sink, execution, stats);
    }
    let wants = (0..queries).map(|_| Want::Pairs).collect();
    run(problem, wants, WAITING, threshold, Some(&shared(sink)), execution, stats)
}

pub(super) fn screens<T: Element>(problem: &Problem<'_, T>) -> bool {
    (1..=MOST_DIMENSIONS).contains(&problem.base.view.cols())
}

/// Whether the bit of a row is set.
#[inline]
pub(super) fn is_set(bits: &[u64], row: u32) -> bool {
    bits.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
}

/// What one query is for.
pub(super) enum Want<'a> {
    /// Its nearest rows.
    Top(Top<'a>),
    /// Pairs for the sink.
    Pairs,
}

fn run<T: Element>(
    problem: &Problem<'_, T>,
    mut wants: Vec<Want<'_>>,
    waiting: usize,
    threshold: f64,
    give: Option<&Give<'_>>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let kernel = Kernel::detect();
    let (queries, base) = (wants.len(), problem.base.rows.len());
    let threads = rayon::current_num_threads();
    // Several blocks for each thread, so that none waits long for the last.
    let most_block = queries.div_ceil(4 * threads * kernel.rows).clamp(1, BLOCK_PANELS);
    let fixed = problem.bytes() + queries * (size_of::<Top<'_>>() + size_of::<Want<'_>>());
    let plan = |panels: usize| Plan {
        kernel,
        dimensions: problem.base.view.cols(),
        part_panels: panels,
        block_panels: panels.min(most_block),
        waiting,
    };
    let cost = |panels: usize| {
        let plan = plan(panels);
        fixed + plan.part_bytes() + threads * (block_bytes(&plan) + plan.row_bytes())
    };
    let most = base.div_ceil(kernel.cols);
    let budget_bytes = execution.budget.host_bytes;
    let panels = largest_tile(OPERATION, Memory::Host, budget_bytes, most, cost)?;
    let ((mut part, panels), halvings) =
        halving(panels, |panels| Ok((Part::allocate(&plan(panels))?, panels)))?;
    let plan = plan(panels);
    stats.halvings += halvings;
    stats.peak_bytes = cost(panels) as u64;
    let block_rows = plan.block_panels * kernel.rows;
    let parts = base.div_ceil(panels * kernel.cols);
    let blocks = queries.div_ceil(block_rows);
    execution.control.begin((parts * blocks) as u64);
    stats.tiles = (parts * blocks) as u64;
    let fallbacks = std::sync::atomic::AtomicU64::new(0);
    for first in (0..base).step_by(panels * kernel.cols) {
        execution.control.check(OPERATION)?;
        let space = (problem.metric, &problem.tilt[..]);
        part.fill(&problem.base, space, &plan, first, &execution.control)?;
        let panels = part.panels();
        wants.par_chunks_mut(block_rows).enumerate().try_for_each_init(
            || Block::allocate(&plan),
            |block, (index, wants)| {
                let block = block.as_mut().map_err(|error| lack(error))?;
                block.begin(problem, &plan, index * block_rows, wants, threshold);
                let limits = Limits { threshold, give, allowed: None };
                let poor = block.run(problem, &plan, panels, wants, limits, execution)?;
                fallbacks.fetch_add(poor, std::sync::atomic::Ordering::Relaxed);
                execution.control.advance(1);
                Ok(())
            },
        )?;
    }
    stats.fallbacks = fallbacks.into_inner();
    Ok(())
}

/// The error of an allocation, for each block that it stops.
fn lack(error: &crate::Error) -> crate::Error {
    let bytes = match error {
        crate::Error::OutOfMemory { bytes, .. } => *bytes,
        _ => 0,
    };
    crate::Error::OutOfMemory { operation: OPERATION, memory: Memory::Host, bytes }
}

/// What a block takes.
pub(super) fn block_bytes(plan: &Plan) -> usize {
    let rows = plan.block_panels * plan.kernel.rows;
    rows * (plan.steps() * 4
        + size_of::<Query>()
        + size_of::<i32>()
        + plan.waiting * size_of::<Candidate>())
        + 2 * plan.waiting * (size_of::<Neighbour>() + size_of::<Candidate>())
        + 2 * HELD_PAIRS * size_of::<Pair>()
}

/// A row of the base whose upper bound reached the threshold.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    upper: f32,
    position: u32,
}

/// A query of a block.
#[derive(Debug, Clone, Copy)]
struct Query {
    facts: Facts,
    threshold: f32,
    /// K; see `space.rs`.
    rest: f64,
    /// Candidates waiting.
    waiting: u32,
    /// Candidates that were scored.
    scored: u32,
}

/// A block of queries, and one thread's memory for it.
pub(super) struct Block {
    first: usize,
    codes: Vec<i8>,
    start: Vec<i32>,
    queries: Vec<Query>,
    candidates: Vec<Candidate>,
    work: Vec<f64>,
    coded: Vec<i8>,
    settling: Settling,
}

/// Memory to settle a query's candidates in.
struct Settling {
    batch: Vec<Neighbour>,
    spare: Vec<Neighbour>,
    found: Vec<Pair>,
}

impl Block {
    pub(super) fn allocate(plan: &Plan) -> Result<Self> {
        let rows = plan.block_panels * plan.kernel.rows;
        let none = Query {
            facts: Facts::default(),
            threshold: f32::INFINITY,
            rest: 0.0,
            waiting: 0,
            scored: 0,
        };
        Ok(Self {
            first: 0,
            codes: zeroed(OPERATION, rows * plan.steps() * 4)?,
            start: zeroed(OPERATION, rows)?,
            queries: vec![none; rows],
            candidates: vec![Candidate { upper: 0.0, position: 0 }; rows * plan.waiting],
            work: zeroed(OPERATION, plan.padded())?,
            coded: zeroed(OPERATION, plan.padded())?,
            settling: Settling {
                batch: Vec::with_capacity(plan.waiting),
                spare: Vec::with_capacity(plan.waiting),
                found: Vec::with_capacity(HELD_PAIRS),
            },
        })
    }

    /// Codes the queries from `first` on, one for each of `wants`.
    pub(super) fn begin<T: Element>(
        &mut self,
        problem: &Problem<'_, T>,
        plan: &Plan,
        first: usize,
        wants: &[Want<'_>],
        threshold: f64,
    ) {
        let (rows, steps) = (plan.kernel.rows, plan.steps());
        self.first = first;
        self.codes.fill(0);
        for (row, query) in self.queries.iter_mut().enumerate() {
            let Some(want) = wants.get(row) else {
                query.threshold = f32::INFINITY;
                continue;
            };
            let position = first + row;
            let measured = quantise(
                problem.queries.vector(position),
                problem.queries.factor(position),
                &problem.queries.centre,
                &[],
                plan.kernel.limit,
                &mut self.work,
                &mut self.coded,
            );
            let rest = problem.rest(position);
            let least = match want {
                Want::Top(top) => top.last(),
                Want::Pairs => Some(threshold),
            };
            *query = Query {
                facts: measured.of_query(),
                threshold: problem.threshold(least, rest),
                rest,
                waiting: 0,
                scored: 0,
            };
            self.start[row] = -128 * self.coded.iter().map(|&code| i32::from(code)).sum::<i32>();
            let panel = &mut self.codes[row / rows * rows * steps * 4..];
            for (step, four) in self.coded.chunks_exact(4).take(steps).enumerate() {
                panel[(step * rows + row % rows) * 4..][..4].copy_from_slice(four);
            }
        }
    }

    /// Goes through a part of the base. Returns for how many queries the screen did not pay.
    pub(super) fn run<T: Element>(
        &mut self,
        problem: &Problem<'_, T>,
        plan: &Plan,
        part: Panels<'_>,
        wants: &mut [Want<'_>],
        limits: Limits<'_>,
        execution: &Execution,
    ) -> Result<u64> {
        let (kernel, steps) = (plan.kernel, plan.steps());
        let (rows, cols) = (kernel.rows, kernel.cols);
        let is_half = limits.give.is_some() && problem.pairing == Pairing::Within;
        let goal = Goal { problem, limits, is_half };
        let mut sums = [0i32; MOST_ROWS * MOST_COLS];
        let mut uppers = [0f32; MOST_COLS];
        for panel in 0..part.rows.div_ceil(cols) {
            let first = part.first + panel * cols;
            // A pair of one set is looked at from its smaller row only.
            if is_half && first + cols - 1 <= self.first {
                continue;
            }
            execution.control.check(OPERATION)?;
            let codes = &part.codes[panel * steps * cols * 4..][..steps * cols * 4];
            let facts = &part.facts[panel];
            for row0 in (0..wants.len()).step_by(rows) {
                kernel.multiply(
                    steps,
                    &self.codes[row0 * steps * 4..],
                    codes,
                    &self.start[row0..],
                    &mut sums,
                );
                let real = rows.min(wants.len() - row0);
                for (row, sums) in sums.chunks_exact(cols).take(real).enumerate() {
                    let query = &mut self.queries[row0 + row];
                    if !bound(sums, query.facts, facts, query.threshold, &mut uppers) {
                        continue;
                    }
                    let list = &mut self.candidates[(row0 + row) * plan.waiting..][..plan.waiting];
                    let place = row0 + row;
                    for (col, &upper) in uppers.iter().enumerate().take(cols) {
                        let position = first + col;
                        if upper < query.threshold || goal.leaves_out(self.first + place, position)
                        {
                            continue;
                        }
                        list[query.waiting as usize] =
                            Candidate { upper, position: position as u32 };
                        query.waiting += 1;
                        if query.waiting as usize == list.len() {
                            let at = self.first + place;
                            goal.settle(at, query, list, &mut wants[place], &mut self.settling)?;
                        }
                    }
                }
            }
        }
        let mut poor = 0;
        for (row, want) in wants.iter_mut().enumerate() {
            let query = &mut self.queries[row];
            let list = &mut self.candidates[row * plan.waiting..][..plan.waiting];
            goal.settle(self.first + row, query, list, want, &mut self.settling)?;
            let is_poor =
                limits.give.is_none() && query.scored as usize > (part.rows / POOR).max(list.len());
            poor += u64::from(is_poor);
        }
        goal.give(&mut self.settling.found)?;
        Ok(poor)
    }
}

/// What becomes of candidates.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// The least score of a pair.
    threshold: f64,
    /// Where pairs go.
    give: Option<&'a Give<'a>>,
    /// Rows that may be results, as bits by index; all where the problem holds no others.
    allowed: Option<&'a [u64]>,
}

impl<'a> Limits<'a> {
    /// For the nearest of the rows that are `allowed`.
    pub(super) fn nearest_of(allowed: Option<&'a [u64]>) -> Self {
        Self { threshold: f64::NAN, give: None, allowed }
    }
}

/// What candidates are scored for.
struct Goal<'a, 'b, T> {
    problem: &'a Problem<'b, T>,
    limits: Limits<'a>,
    is_half: bool,
}

impl<T: Element> Goal<'_, '_, T> {
    /// Whether the two are no pair: one row and itself, a pair that is looked at from its other side, or a row that
    /// is not allowed.
    #[inline]
    fn leaves_out(&self, query: usize, position: usize) -> bool {
        if let Some(bits) = self.limits.allowed
            && !is_set(bits, self.problem.base.rows[position])
        {
            return true;
        }
        if self.is_half {
            return position <= query;
        }
        self.problem.pairing == Pairing::Within
            && self.problem.queries.rows[query] == self.problem.base.rows[position]
    }

    /// Scores a query's candidates as far as they can matter, and empties their list.
    fn settle(
        &self,
        at: usize,
        query: &mut Query,
        list: &mut [Candidate],
        want: &mut Want<'_>,
        settling: &mut Settling,
    ) -> Result<()> {
        let list = &mut list[..query.waiting as usize];
        query.waiting = 0;
        let (problem, metric) = (self.problem, self.problem.metric);
        let row_of = |position: u32| problem.base.rows[position as usize] as usize;
        match want {
            Want::Top(top) => {
                list.sort_unstable_by(|a, b| b.upper.total_cmp(&a.upper));
                let mut left = &*list;
                while let Some(best) = left.first()
                    && best.upper >= query.threshold
                {
                    let missing = top.places.len() - *top.count;
                    let (batch, later) = left.split_at(left.len().min(BATCH.max(missing)));
                    left = later;
                    settling.batch.extend(batch.iter().map(|candidate| Neighbour {
                        index: row_of(candidate.position),
                        score: problem.score(at, candidate.position as usize),
                    }));
                    query.scored += batch.len() as u32;
                    top.merge(metric, &mut settling.batch, &mut settling.spare);
                    query.threshold = problem.threshold(top.last(), query.rest);
                }
            }
            Want::Pairs => {
                let row = problem.queries.rows[at] as usize;
                for candidate in list {
                    let score = problem.score(at, candidate.position as usize);
                    if metric.rank(score) >= metric.rank(self.limits.threshold) {
                        settling.found.push(Pair { row, col: row_of(candidate.position), score });
                    }
                }
                if settling.found.len() >= HELD_PAIRS {
                    self.give(&mut settling.found)?;
                }
            }
        }
        Ok(())
    }

    fn give(&self, found: &mut Vec<Pair>) -> Result<()> {
        match self.limits.give {
            Some(give) => give(found),
            None => Ok(()),
        }
    }
}
