//! All coefficients of all pairs, as a matrix, and the best lags of some.

use std::error::Error;
use std::rc::Rc;

use kernels::correlate::{
    CoefficientMatrix, CorrelateOptions, LagOptions, Pairs, Strength, TopPairs, correlate,
    correlate_lagged, correlate_with,
};
use kernels::{Budget, Element, Execution, MatrixView};

use super::{Case, Run, last_column, timed};
use crate::setup::{Setup, wandering};

/// Rows of the cases whose peers are too slow for all of them.
const FEW_ROWS: usize = 256;
/// The largest shift of the lagged case, in samples.
const MAX_LAG: usize = 24;
/// Pairs that are kept where not all are.
const STRONGEST: usize = 1_000;
/// What they are found within: half of a matrix of 2,000 x 2,000 coefficients.
const BUDGET_BYTES: usize = 16 << 20;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 4_096), setup.size("cols", 16_384));
    let double = wandering(rows, cols);
    let single: Vec<f32> = double.iter().map(|&value| value as f32).collect();
    let few = setup.size("few", FEW_ROWS).min(rows);
    // One value of 16 is missing, elsewhere in every row.
    let gappy: Vec<f64> = double[..few * cols]
        .iter()
        .enumerate()
        .map(|(at, &value)| if (at + at / cols) * 7919 % 16 == 3 { f64::NAN } else { value })
        .collect();
    setup.write("x.f64", &double, f64::to_le_bytes)?;
    setup.write("gappy.f64", &gappy, f64::to_le_bytes)?;
    let double = Rc::new(double);
    let (values, paired, ranked, lagged) = (double.clone(), double.clone(), double.clone(), double);
    let (pearson, spearman) = (CorrelateOptions::default(), CorrelateOptions::spearman());
    let pairwise = CorrelateOptions::pairwise(2);
    let execution = &setup.execution;
    let bounded = Execution { budget: Budget::host(BUDGET_BYTES), ..execution.clone() };
    Ok(vec![
        Case {
            name: "correlate f64",
            peers: &["numpy"],
            tolerance: 1e-11,
            note: "whole matrix, as numpy gives it".into(),
            run: Box::new(move || matrix(&values, rows, cols, &pearson, execution)),
        },
        Case {
            name: "strongest pairs f64",
            peers: &["numpy, then argpartition"],
            tolerance: 1e-11,
            note: format!(
                "the {STRONGEST} strongest; ours within {} MiB besides the input, numpy with the whole matrix",
                bounded.budget.host_bytes >> 20
            ),
            run: Box::new(move || strongest(&paired, rows, cols, &bounded)),
        },
        Case {
            name: "correlate f32",
            peers: &["numpy, as called by default", "numpy, dtype=float32"],
            tolerance: 2e-5,
            note: "numpy by default converts to f64; with dtype=float32 its own error is 1e-6 to 1e-5 here"
                .into(),
            run: Box::new(move || matrix(&single, rows, cols, &pearson, execution)),
        },
        Case {
            name: "Spearman f64",
            peers: &["scipy"],
            tolerance: 1e-11,
            note: "whole matrix; scipy gives p-values besides".into(),
            run: Box::new(move || matrix(&ranked, rows, cols, &spearman, execution)),
        },
        Case {
            name: "pairwise f64, few rows",
            peers: &["pandas"],
            tolerance: 1e-10,
            note: format!("{few} rows, one value of 16 missing; pandas has one thread"),
            run: Box::new(move || matrix(&gappy, few, cols, &pairwise, execution)),
        },
        Case {
            name: "best lags f64, few rows",
            peers: &["numpy, a product for each lag"],
            tolerance: 1e-9,
            note: format!("{few} rows, {MAX_LAG} lags either way, each overlap centred by itself"),
            run: Box::new(move || best_lags(&lagged[..few * cols], few, cols, execution)),
        },
    ])
}

fn matrix<T: Element>(
    values: &[T],
    rows: usize,
    cols: usize,
    options: &CorrelateOptions,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let work = || {
        let mut sink = CoefficientMatrix::within(rows)?;
        let x = MatrixView::new(values, rows, cols)?;
        let summary = correlate_with(x, options, &mut sink, execution)?;
        Ok(sink.into_values(&summary))
    };
    timed(work, |matrix| last_column(&matrix, rows, rows))
}

/// The coefficients of the strongest pairs, strongest first.
fn strongest(
    values: &[f64],
    rows: usize,
    cols: usize,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let work = || {
        let mut sink = TopPairs::new(Strength::Magnitude, STRONGEST);
        correlate(MatrixView::new(values, rows, cols)?, &mut sink, execution)?;
        Ok(sink.into_pairs())
    };
    timed(work, |pairs| pairs.iter().map(|pair| pair.r).collect())
}

/// The best coefficients of every row with the last.
fn best_lags(
    values: &[f64],
    rows: usize,
    cols: usize,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let options = LagOptions { max_lag: MAX_LAG.min(cols / 4), min_overlap: 3 };
    let work =
        || correlate_lagged(MatrixView::new(values, rows, cols)?, Pairs::All, &options, execution);
    timed(work, |found| {
        let step = (rows / 16).max(1);
        let with_last = found.pairs.iter().filter(|pair| pair.col + 1 == rows);
        with_last.filter(|pair| pair.row % step == 0).map(|pair| pair.r).collect()
    })
}
