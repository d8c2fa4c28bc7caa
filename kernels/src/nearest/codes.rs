//! The coarse form of a base, kept for searches by few queries: each reads it instead of the vectors, a quarter of
//! their bytes, and scores in f64 what can be among the nearest.
//!
//! ```text
//!   codes of the base:  panels 0 … p/2 ── thread 0: nearest of its own panels ─┐
//!                       panels p/2 … p ── thread 1                           ─┴─ merged, in order
//! ```
//!
//! The space that codes are made in must not depend on the queries: their centre is taken as 0. That makes the bounds
//! wider than [`super::nearest`]'s, not wrong, and the results are the same in every bit.

use std::borrow::Cow;
use std::time::Instant;

use rayon::prelude::*;

use super::cpu::{BLOCK_PANELS, Block, Limits, WAITING, Want, block_bytes, is_set, screens};
use super::part::{Part, Plan};
use super::result::{Nearest, Neighbour, Top};
use super::screen::Kernel;
use super::space::{Problem, Side, steady_tilt};
use super::{
    Metric, NearestOptions, OPERATION, Pairing, Rows, Search, devices, direct, nearest_on,
};
use crate::budget::largest_tile;
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::stats::{Exclusion, Stats};
use crate::view::MatrixView;

/// A filter that lets fewer than one row of so many through is followed row by row: a vector of 32-bit floats has four
/// times the bytes of its codes, and is not read in order.
const SPARSE: usize = 8;

/// The coarse form of a base of vectors.
pub struct Codes {
    metric: Metric,
    shape: (usize, usize),
    plan: Plan,
    part: Part,
    rows: Vec<u32>,
    inverses: Vec<f64>,
    gain: f64,
    centre: Vec<f64>,
    excluded: Vec<(usize, Exclusion)>,
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, cols) = self.shape;
        write!(f, "Codes({rows} x {cols}, {:?})", self.metric)
    }
}

impl Codes {
    /// The coarse form of `base` for searches by `metric`. Takes a byte for each value, and 28 for each row; time of
    /// two passes over the base.
    ///
    /// Fails when there is no memory for it, and when cancelled.
    pub fn of<T: Element>(
        base: MatrixView<'_, T>,
        metric: Metric,
        execution: &Execution,
    ) -> Result<Self> {
        let search =
            Search { queries: base, base, pairing: Pairing::Between, metric, allowed: Rows::All };
        T::codes(&search, execution)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.part.bytes() + self.rows.len() * (size_of::<u32>() + size_of::<f64>())
    }

    /// As [`super::nearest`], with the same result: `base` is what these codes were made of. With other vectors in its
    /// place rows are missed.
    ///
    /// Fails as that, and where the base has another shape or the metric is another.
    pub fn nearest<T: Element>(
        &self,
        queries: MatrixView<'_, T>,
        base: MatrixView<'_, T>,
        options: &NearestOptions<'_>,
        execution: &Execution,
    ) -> Result<Nearest> {
        let (metric, allowed) = (options.metric, options.allowed);
        let search = Search { queries, base, pairing: Pairing::Between, metric, allowed };
        T::nearest_by_codes(self, &search, options.k, execution)
    }

    /// What is allowed, as bits; none for all.
    fn bits<'a>(&self, allowed: Rows<'a>) -> Option<Cow<'a, [u64]>> {
        match allowed {
            Rows::All => None,
            Rows::Bits(words) => Some(Cow::Borrowed(words)),
            Rows::Listed(rows) => {
                let mut words = vec![0_u64; self.shape.0.div_ceil(64)];
                rows.iter().for_each(|row| words[row / 64] |= 1 << (row % 64));
                Some(Cow::Owned(words))
            }
        }
    }

    /// The base, as it was measured.
    fn side<'a, T>(&'a self, view: MatrixView<'a, T>) -> Side<'a, T> {
        Side {
            view,
            rows: Cow::Borrowed(&self.rows),
            inverses: Cow::Borrowed(&self.inverses),
            gain: self.gain,
            centre: self.centre.clone(),
        }
    }

    /// The rows of the base that are allowed.
    fn only<'a, T>(&'a self, view: MatrixView<'a, T>, allowed: Option<&[u64]>) -> Side<'a, T> {
        let whole = self.side(view);
        let Some(bits) = allowed else { return whole };
        let rows = self.rows.iter().zip(&self.inverses);
        let (rows, inverses): (Vec<u32>, Vec<f64>) = rows
            .filter(|(row, _)| is_set(bits, **row))
            .map(|(row, inverse)| (*row, *inverse))
            .unzip();
        Side { rows: Cow::Owned(rows), inverses: Cow::Owned(inverses), ..whole }
    }

    /// All panels for some queries at a time, a share of the panels to each thread.
    fn scan<T: Element>(
        &self,
        problem: &Problem<'_, T>,
        mut tops: Vec<Top<'_>>,
        allowed: Option<&[u64]>,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<()> {
        let threads = rayon::current_num_threads();
        let width = tops.first().map_or(0, |top| top.places.len());
        let queries = tops.len();
        let rows = self.plan.kernel.rows;
        let plan =
            |panels| Plan { block_panels: panels, waiting: 2 * width + WAITING, ..self.plan };
        let fixed = problem.bytes() + queries * size_of::<Top<'_>>();
        let cost = |panels: usize| {
            let lists =
                panels * rows * (2 * width * size_of::<Neighbour>() + size_of::<Want<'_>>());
            fixed + threads * (block_bytes(&plan(panels)) + plan(panels).row_bytes() + lists)
        };
        let most = queries.div_ceil(rows).min(BLOCK_PANELS);
        let host_bytes = execution.budget.host_bytes;
        let panels = largest_tile(OPERATION, Memory::Host, host_bytes, most, cost)?;
        let plan = plan(panels);
        stats.peak_bytes = cost(panels) as u64;
        stats.tiles = queries.div_ceil(panels * rows) as u64;
        execution.control.begin(stats.tiles);
        let mut first = 0;
        for tops in tops.chunks_mut(panels * rows) {
            let count = tops.len();
            let shares = (0..threads)
                .into_par_iter()
                .map(|thread| {
                    let share = self.part.share(&plan, threads, thread);
                    let kept = width.min(share.rows);
                    let mut places = vec![Neighbour::NONE; count * kept];
                    let mut counts = vec![0; count];
                    if kept == 0 {
                        return Ok((kept, places, counts, 0));
                    }
                    let lists = places.chunks_mut(kept).zip(&mut counts);
                    let mut wants: Vec<Want<'_>> =
                        lists.map(|(places, count)| Want::Top(Top { places, count })).collect();
                    let mut block = Block::allocate(&plan)?;
                    block.begin(problem, &plan, first, &wants, f64::NAN);
                    let limits = Limits::nearest_of(allowed);
                    let poor = block.run(problem, &plan, share, &mut wants, limits, execution)?;
                    drop(wants);
                    Ok((kept, places, counts, poor))
                })
                .collect::<Result<Vec<_>>>()?;
            let (mut batch, mut spare) = (Vec::with_capacity(width), Vec::with_capacity(width));
            for (kept, places, counts, poor) in shares {
                stats.fallbacks += poor;
                for (query, top) in tops.iter_mut().enumerate() {
                    batch.extend_from_slice(&places[query * kept..][..counts[query]]);
                    top.merge(problem.metric, &mut batch, &mut spare);
                }
            }
            first += count;
            execution.control.advance(1);
        }
        Ok(())
    }
}

/// [`Codes::of`] for one type.
pub(crate) fn code<T: Element>(search: &Search<'_, T>, execution: &Execution) -> Result<Codes> {
    let (base, metric) = (search.base, search.metric);
    search.check()?;
    execution.threads()?.run(|| {
        let (mut side, excluded) = Side::select(base, Rows::All, metric);
        side.find_centre();
        let kernel = Kernel::detect();
        let plan = Plan {
            kernel,
            dimensions: base.cols(),
            part_panels: side.rows.len().div_ceil(kernel.cols),
            block_panels: 1,
            waiting: 0,
        };
        let mut part = Part::allocate(&plan)?;
        if base.cols() > 0 {
            let tilt = steady_tilt(&side, metric);
            part.fill(&side, (metric, &tilt), &plan, 0, &execution.control)?;
        }
        let Side { rows, inverses, gain, centre, .. } = side;
        let (rows, inverses) = (rows.into_owned(), inverses.into_owned());
        let shape = (base.rows(), base.cols());
        Ok(Codes { metric, shape, plan, part, rows, inverses, gain, centre, excluded })
    })
}

/// [`Codes::nearest`] for one type.
pub(crate) fn run_by_codes<T: Element>(
    codes: &Codes,
    search: &Search<'_, T>,
    k: usize,
    execution: &Execution,
) -> Result<Nearest> {
    let Search { queries, base, metric, allowed, .. } = *search;
    search.check()?;
    if (base.rows(), base.cols()) != codes.shape || metric != codes.metric {
        let (rows, cols) = codes.shape;
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("a base of {} x {} by {metric:?}", base.rows(), base.cols()),
            expected: format!("these codes are of {rows} x {cols} by {:?}", codes.metric),
        });
    }
    let (report, gpus) =
        devices::choose(OPERATION, execution, search.work(execution), || super::open(search))?;
    let mut stats = Stats::new(report);
    if !gpus.is_empty() {
        return nearest_on(&gpus, stats, search, k, execution);
    }
    let start = Instant::now();
    let bits = codes.bits(allowed);
    let allowed = bits.as_deref();
    let found = execution.threads()?.run(|| {
        let taken = match allowed {
            None => codes.rows.len(),
            Some(bits) => codes.rows.par_iter().filter(|row| is_set(bits, **row)).count(),
        };
        let is_sparse = taken < codes.rows.len() / SPARSE || k > taken / 4;
        let side = if is_sparse { codes.only(base, allowed) } else { codes.side(base) };
        let is_allowed =
            |(row, _): &&(usize, Exclusion)| allowed.is_none_or(|bits| is_set(bits, *row as u32));
        let excluded = codes.excluded.iter().filter(is_allowed).copied().collect();
        let Some(problem) = Problem::steady(search, side, excluded, stats.clone()) else {
            return Ok(None);
        };
        let mut nearest = Nearest::allocate(queries.rows(), k.min(taken), &problem)?;
        if !problem.is_empty() && nearest.width() > 0 {
            let tops = nearest.tops_of(&problem.queries.rows);
            if is_sparse || !screens(&problem) {
                direct::nearest(&problem, tops, execution, &mut stats)?;
            } else {
                codes.scan(&problem, tops, allowed, execution, &mut stats)?;
            }
        }
        stats.excluded_rows = nearest.summary.stats.excluded_rows;
        nearest.summary.candidates = taken;
        Ok::<_, Error>(Some(nearest))
    })?;
    let Some(mut found) = found else {
        return nearest_on::<crate::cuda::driver::Gpu, T>(&[], stats, search, k, execution);
    };
    stats.seconds = start.elapsed().as_secs_f64();
    found.summary.stats = stats;
    Ok(found)
}
