//! Best lags on the CPU: panels of first series against one second series after the other.

use rayon::prelude::*;

use super::{Edges, Found, OPERATION, Pairs, Sides, Span, best_lag};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::product::{MicroKernel, micro_kernel_f64, pack};
use crate::stats::Stats;

pub(super) fn run<T: Element>(
    sides: Sides<'_, T>,
    pairs: Pairs<'_>,
    span: &Span,
    fixed_bytes: usize,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<Vec<Found>> {
    let kernel = micro_kernel_f64();
    let panel_bytes = span.panel_bytes(&kernel);
    let pool = execution.threads()?;
    let host_bytes = execution.budget.host_bytes;
    let threads = (host_bytes.saturating_sub(fixed_bytes) / panel_bytes).min(pool.threads());
    if threads == 0 && sides.left.view.rows() > 0 {
        return Err(Error::BudgetTooSmall {
            operation: OPERATION,
            memory: Memory::Host,
            budget_bytes: host_bytes,
            least_bytes: fixed_bytes + panel_bytes,
        });
    }
    let pool = match std::num::NonZeroUsize::new(threads) {
        Some(fewer) if threads < pool.threads() => Pool::of_size(fewer)?,
        _ => pool,
    };
    stats.peak_bytes = (fixed_bytes + threads * panel_bytes) as u64;
    pool.run(|| {
        let own = sides.left.edges(span);
        let others = if sides.is_within { Vec::new() } else { sides.right.edges(span) };
        let edges = (&own[..], if sides.is_within { &own[..] } else { &others[..] });
        let tasks = match pairs {
            Pairs::All => all_tasks(&sides, kernel.rows),
            Pairs::Listed(list) => listed_tasks(&sides, list, kernel.rows),
        };
        execution.control.begin(tasks.len() as u64);
        stats.tiles = tasks.len() as u64;
        let found: Result<Vec<Vec<Found>>> = tasks
            .par_iter()
            .map_init(
                || Scratch::new(&kernel, span),
                |scratch, task| {
                    execution.control.check(OPERATION)?;
                    let found = task.run(&sides, edges, &kernel, span, scratch);
                    execution.control.advance(1);
                    Ok(found)
                },
            )
            .collect();
        Ok(found?.into_iter().flatten().collect())
    })
}

impl Span {
    fn padded_lags(&self, kernel: &MicroKernel<f64>) -> usize {
        self.lags().next_multiple_of(kernel.cols)
    }

    fn panel_bytes(&self, kernel: &MicroKernel<f64>) -> usize {
        let lags = self.padded_lags(kernel);
        (self.samples * kernel.rows + self.samples + lags + kernel.rows * lags) * size_of::<f64>()
    }
}

/// A panel of first series against a list of second ones.
struct Task {
    rows: Vec<usize>,
    columns: Vec<Column>,
}

/// A second series and the pairs that are wanted of it: place in the panel, place in the result.
struct Column {
    col: usize,
    wanted: Vec<(usize, u64)>,
}

/// Second series in one task: enough to make packing the panel cheap, few enough to share the work.
const COLUMNS_PER_TASK: usize = 64;

fn all_tasks<T: Element>(sides: &Sides<'_, T>, width: usize) -> Vec<Task> {
    let usable = |side: &super::Side<'_, T>| -> Vec<usize> {
        (0..side.view.rows()).filter(|&row| side.is_usable(row)).collect()
    };
    let (rows, cols) = (usable(&sides.left), usable(&sides.right));
    let total = sides.right.view.rows() as u64;
    let mut tasks = Vec::new();
    for (panel, rows) in rows.chunks(width).enumerate() {
        let first = if sides.is_within { panel * width } else { 0 };
        for cols in cols[first..].chunks(COLUMNS_PER_TASK) {
            let wanted = |col: usize| {
                let of_pair = |&(_, &row): &(usize, &usize)| !sides.is_within || row < col;
                rows.iter()
                    .enumerate()
                    .filter(of_pair)
                    .map(|(place, &row)| (place, row as u64 * total + col as u64))
                    .collect::<Vec<_>>()
            };
            let columns = cols.iter().map(|&col| Column { col, wanted: wanted(col) });
            let columns: Vec<Column> = columns.filter(|column| !column.wanted.is_empty()).collect();
            if !columns.is_empty() {
                tasks.push(Task { rows: rows.to_vec(), columns });
            }
        }
    }
    tasks
}

fn listed_tasks<T: Element>(
    sides: &Sides<'_, T>,
    list: &[(usize, usize)],
    width: usize,
) -> Vec<Task> {
    let usable = |place: &usize| {
        sides.left.is_usable(list[*place].0) && sides.right.is_usable(list[*place].1)
    };
    let mut places: Vec<usize> = (0..list.len()).filter(usable).collect();
    places.sort_unstable_by_key(|&place| (list[place].1, place));
    places
        .chunk_by(|&a, &b| list[a].1 == list[b].1)
        .flat_map(|same| same.chunks(width))
        .map(|places| Task {
            rows: places.iter().map(|&place| list[place].0).collect(),
            columns: vec![Column {
                col: list[places[0]].1,
                wanted: places
                    .iter()
                    .enumerate()
                    .map(|(panel, &place)| (panel, place as u64))
                    .collect(),
            }],
        })
        .collect()
}

/// The buffers of one thread.
struct Scratch {
    panel: Vec<f64>,
    shifted: Vec<f64>,
    sums: Vec<f64>,
}

impl Scratch {
    fn new(kernel: &MicroKernel<f64>, span: &Span) -> Self {
        let lags = span.padded_lags(kernel);
        Self {
            panel: vec![0.0; span.samples * kernel.rows],
            // max_lag zeros, the series, and zeros to the last lag of the last panel.
            shifted: vec![0.0; span.samples + lags],
            sums: vec![0.0; kernel.rows * lags],
        }
    }
}

impl Task {
    fn run<T: Element>(
        &self,
        sides: &Sides<'_, T>,
        (row_edges, col_edges): (&[Edges], &[Edges]),
        kernel: &MicroKernel<f64>,
        span: &Span,
        scratch: &mut Scratch,
    ) -> Vec<Found> {
        let (left, right) = (&sides.left, &sides.right);
        let slices: Vec<&[T]> = self.rows.iter().map(|&row| left.view.row(row)).collect();
        let apply = |place: usize, value: T| left.normals[self.rows[place]].apply(value);
        pack(&mut scratch.panel, kernel.rows, &slices, apply);
        let lags = span.padded_lags(kernel);
        let mut found = Vec::new();
        for column in &self.columns {
            let normal = &right.normals[column.col];
            let shifted = &mut scratch.shifted[span.max_lag..span.max_lag + span.samples];
            pack(shifted, 1, &[right.view.row(column.col)], |_, value| normal.apply(value));
            scratch.sums.fill(0.0);
            for start in (0..span.samples).step_by(kernel.depth) {
                let depth = kernel.depth.min(span.samples - start);
                let a = &scratch.panel[start * kernel.rows..][..depth * kernel.rows];
                for lag in (0..lags).step_by(kernel.cols) {
                    let b = &scratch.shifted[start + lag..];
                    kernel.add(depth, a, b, 1, &mut scratch.sums[lag..], lags);
                }
            }
            for &(place, result) in &column.wanted {
                let sums = &scratch.sums[place * lags..][..span.lags()];
                let (row, col) = (self.rows[place], column.col);
                let edges = (&row_edges[row], &col_edges[col]);
                found.push((result, best_lag(row, col, sums, edges, span)));
            }
        }
        found
    }
}
