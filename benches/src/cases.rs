//! What is measured: ours, and the names of the peers for the same.

use std::time::Instant;

use kernels::correlate::{Dense, ScoreBlock, correlate};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Element, Error, Execution, GpuPolicy, MatrixView, MatrixViewMut, Pool};

use crate::data::Matrix;
use crate::options::Options;
use crate::peers::few_rows;

/// One run of ours or of a peer.
pub struct Run {
    /// Wall time.
    pub seconds: f64,
    /// Time on all cores together, which other work on the machine changes less.
    pub cpu_seconds: f64,
    /// Some values of the result.
    pub sample: Vec<f64>,
}

/// One thing to compute.
pub struct Case<'a> {
    /// Its name, as `peers.py` knows it.
    pub name: &'static str,
    /// Who else computes it.
    pub peers: &'static [&'static str],
    /// How far the samples may differ.
    pub tolerance: f64,
    /// What to know about the numbers.
    pub note: String,
    run: Box<dyn FnMut() -> Result<Run, Error> + 'a>,
}

impl Case<'_> {
    /// Runs ours once.
    pub fn run(&mut self) -> Result<Run, Error> {
        (self.run)()
    }
}

/// Every case.
pub fn all<'a>(options: &'a Options, data: &'a Matrix) -> Result<Vec<Case<'a>>, Error> {
    let pool = Some(Pool::with_threads(options.threads)?);
    let execution = Execution { gpu: GpuPolicy::Off, pool, ..Execution::default() };
    let single: Vec<f32> = data.values.iter().map(|&value| value as f32).collect();
    let single_execution = execution.clone();
    let mut cases = vec![
        Case {
            name: "correlate f64",
            peers: &["numpy"],
            tolerance: 1e-11,
            note: "whole matrix, as numpy gives it".into(),
            run: Box::new({
                let (execution, mut matrix) = (execution.clone(), Vec::new());
                move || whole_matrix(&data.values, &mut matrix, options, &execution)
            }),
        },
        Case {
            name: "correlate f32",
            peers: &["numpy, as called by default", "numpy, dtype=float32"],
            tolerance: 2e-5,
            note: "numpy by default converts to f64; with dtype=float32 its own error is 1e-6 to 1e-5 here"
                .into(),
            run: Box::new({
                let mut matrix = Vec::new();
                move || whole_matrix(&single, &mut matrix, options, &single_execution)
            }),
        },
    ];
    for (name, statistic, peers, note) in [
        (
            "rolling median",
            Statistic::Median,
            &["bottleneck", "polars"][..],
            "bottleneck has one thread; numbagg has no rolling median",
        ),
        ("rolling mean", Statistic::Mean, &["bottleneck", "numbagg", "polars"][..], ""),
        ("rolling std", Statistic::Std, &["bottleneck", "numbagg", "polars"][..], ""),
    ] {
        let execution = execution.clone();
        cases.push(Case {
            name,
            peers,
            // Running sums of the peers drift by this much.
            tolerance: 1e-7,
            note: note.into(),
            run: Box::new({
                let mut results = Vec::new();
                let rows = options.rows;
                move || window(&data.values, &mut results, rows, options, statistic, &execution)
            }),
        });
    }
    let few = few_rows(options);
    cases.push(Case {
        name: "rolling MAD, few rows",
        peers: &["numpy, sliding windows"],
        tolerance: 1e-9,
        note: format!("{few} rows; bottleneck, numbagg and polars have no rolling MAD"),
        run: Box::new({
            let mut results = Vec::new();
            move || window(&data.values, &mut results, few, options, Statistic::Mad, &execution)
        }),
    });
    Ok(cases)
}

/// Fails when two results are not the same within `tolerance`.
pub fn agree(
    case: &str,
    peer: &str,
    ours: &[f64],
    theirs: &[f64],
    tolerance: f64,
) -> Result<(), String> {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs().max(1.0);
    if ours.len() == theirs.len() && !ours.is_empty() && ours.iter().zip(theirs).all(close) {
        return Ok(());
    }
    Err(format!("{case}: ours gives {ours:?}, {peer} gives {theirs:?}"))
}

fn whole_matrix<T: Element>(
    values: &[T],
    matrix: &mut Vec<f64>,
    options: &Options,
    execution: &Execution,
) -> Result<Run, Error> {
    let rows = options.rows;
    matrix.resize(rows * rows, 0.0);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut sink = Dense::new(|block: &ScoreBlock<'_>| {
        for row in block.rows() {
            let (first, scores) = block.row(row);
            matrix[row * rows + first..][..scores.len()].copy_from_slice(scores);
            for (offset, &score) in scores.iter().enumerate() {
                matrix[(first + offset) * rows + row] = score;
            }
        }
        Ok(())
    });
    correlate(MatrixView::new(values, rows, options.cols)?, &mut sink, execution)?;
    for row in 0..rows {
        matrix[row * rows + row] = 1.0;
    }
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    Ok(Run { seconds, cpu_seconds, sample: last_column(matrix, rows, rows) })
}

fn window(
    values: &[f64],
    results: &mut Vec<f64>,
    rows: usize,
    options: &Options,
    statistic: Statistic,
    execution: &Execution,
) -> Result<Run, Error> {
    let cols = options.cols;
    results.resize(rows * cols, 0.0);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let output = RollingOutput::new(statistic, MatrixViewMut::new(results, rows, cols)?);
    let x = MatrixView::new(&values[..rows * cols], rows, cols)?;
    rolling(x, &RollingOptions::trailing(options.window), &mut [output], execution)?;
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    Ok(Run { seconds, cpu_seconds, sample: last_column(results, rows, cols) })
}

/// Time that all threads of this process have run, by the kernel's own count; NaN where it does not say.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return f64::NAN;
    };
    let nanoseconds = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.flatten().filter_map(|task| nanoseconds(task.path())).sum::<f64>() * 1e-9
}

/// The last value of every 16th part of the rows, as `peers.py` samples them.
fn last_column(values: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    (0..rows).step_by((rows / 16).max(1)).map(|row| values[row * cols + cols - 1]).collect()
}
