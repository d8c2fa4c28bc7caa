//! Scores in f64 without a screen: for few queries, where reading the base once is all there is to do, and for those
//! whose results are so many that a screen would let most rows through.
//!
//! Each thread reads its own part of the base once for a group of queries; the parts' results are merged in order.

use rayon::prelude::*;

use super::result::{Neighbour, Pair, PairSink, Top, shared};
use super::space::Problem;
use super::{OPERATION, Pairing};
use crate::budget::largest_tile;
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// Queries that share a pass over the base.
const GROUP: usize = 16;
/// Rows between two looks at the control.
const STEP: usize = 256;
/// Rows that wait to be merged, beside k.
const WAITING: usize = 64;
/// Pairs that a thread keeps back before it gives them to the sink.
const HELD_PAIRS: usize = 1024;

pub(super) fn nearest<T: Element>(
    problem: &Problem<'_, T>,
    mut tops: Vec<Top<'_>>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let threads = rayon::current_num_threads();
    let base = problem.base.rows.len();
    let width = tops.first().map_or(0, |top| top.places.len());
    let part = base.div_ceil(threads);
    let kept = width.min(part);
    // Places, those that wait and a copy of the places while they merge.
    let list_bytes = (2 * (2 * kept + WAITING) + kept) * size_of::<Neighbour>();
    let fixed = problem.bytes() + tops.len() * size_of::<Top<'_>>();
    let cost = |group: usize| fixed + group * threads * list_bytes;
    let most = tops.len().min(GROUP);
    let group = largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, cost)?;
    stats.peak_bytes = cost(group) as u64;
    stats.tiles = tops.len().div_ceil(group) as u64;
    execution.control.begin(stats.tiles);
    let mut first = 0;
    for tops in tops.chunks_mut(group) {
        let parts = (0..threads)
            .into_par_iter()
            .map(|thread| {
                let range = (thread * part).min(base)..((thread + 1) * part).min(base);
                scan(problem, first..first + tops.len(), range, kept, execution)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut spare = Vec::with_capacity(width);
        for mut lists in parts {
            for (top, list) in tops.iter_mut().zip(&mut lists) {
                top.merge(problem.metric, list, &mut spare);
            }
        }
        first += tops.len();
        execution.control.advance(1);
    }
    Ok(())
}

/// The nearest of some rows of the base, for some queries.
fn scan<T: Element>(
    problem: &Problem<'_, T>,
    queries: std::ops::Range<usize>,
    base: std::ops::Range<usize>,
    kept: usize,
    execution: &Execution,
) -> Result<Vec<Vec<Neighbour>>> {
    let metric = problem.metric;
    let shrink = |list: &mut Vec<Neighbour>| {
        if list.len() <= kept {
            return f64::NEG_INFINITY;
        }
        list.select_nth_unstable_by(kept - 1, |a, b| Neighbour::order(metric, a, b));
        list.truncate(kept);
        list.last().map_or(f64::NEG_INFINITY, |last| metric.rank(last.score))
    };
    let capacity = 2 * kept + WAITING;
    let mut lists: Vec<(Vec<Neighbour>, f64)> =
        queries.clone().map(|_| (Vec::with_capacity(capacity), f64::NEG_INFINITY)).collect();
    for position in base {
        if position % STEP == 0 {
            execution.control.check(OPERATION)?;
        }
        let index = problem.base.rows[position] as usize;
        for (query, (list, floor)) in queries.clone().zip(&mut lists) {
            if is_itself(problem, query, position) {
                continue;
            }
            let score = problem.score(query, position);
            // Rows come in ascending order: one that only equals the last of a full list has no place.
            if metric.rank(score) > *floor || list.len() < kept {
                list.push(Neighbour { index, score });
                if list.len() == capacity {
                    *floor = shrink(list);
                }
            }
        }
    }
    let finish = |(mut list, _): (Vec<Neighbour>, f64)| {
        shrink(&mut list);
        list
    };
    Ok(lists.into_iter().map(finish).collect())
}

fn is_itself<T>(problem: &Problem<'_, T>, query: usize, position: usize) -> bool {
    problem.pairing == Pairing::Within && problem.queries.rows[query] == problem.base.rows[position]
}

pub(super) fn join<T: Element>(
    problem: &Problem<'_, T>,
    threshold: f64,
    sink: &mut dyn PairSink,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let threads = rayon::current_num_threads();
    let (queries, base) = (problem.queries.rows.len(), problem.base.rows.len());
    let metric = problem.metric;
    let held_bytes = 2 * HELD_PAIRS * size_of::<Pair>();
    let cost = |threads: usize| problem.bytes() + threads * held_bytes;
    largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, 1, |_| cost(threads))?;
    stats.peak_bytes = cost(threads) as u64;
    let give = shared(sink);
    let parts = base.div_ceil(STEP);
    stats.tiles = parts as u64;
    execution.control.begin(parts as u64);
    (0..parts).into_par_iter().try_for_each_init(
        || Vec::with_capacity(HELD_PAIRS),
        |found, part| {
            for position in part * STEP..((part + 1) * STEP).min(base) {
                execution.control.check(OPERATION)?;
                let col = problem.base.rows[position] as usize;
                for query in 0..queries {
                    if problem.pairing == Pairing::Within && position <= query {
                        break;
                    }
                    let score = problem.score(query, position);
                    if metric.rank(score) >= metric.rank(threshold) {
                        found.push(Pair { row: problem.queries.rows[query] as usize, col, score });
                        if found.len() == HELD_PAIRS {
                            give(found)?;
                        }
                    }
                }
            }
            execution.control.advance(1);
            give(found)
        },
    )
}
