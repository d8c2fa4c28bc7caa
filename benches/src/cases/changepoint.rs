//! Change points of the mean of every row.

use std::error::Error;
use std::rc::Rc;

use benches::Random;
use kernels::MatrixView;
use kernels::changepoint::{Changes, Cost, PeltOptions, Penalty, pelt};

use super::{Case, timed};
use crate::setup::Setup;

/// Rows of the case whose peer is too slow for all of them.
const FEW_ROWS: usize = 2;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 200), setup.size("cols", 2_000));
    let (segment, penalty) = (setup.size("segment", 100), setup.size("penalty", 20));
    let few = setup.size("few", FEW_ROWS).min(rows);
    let values = Rc::new(stepping(rows, cols, segment));
    setup.write("x.f64", &values, f64::to_le_bytes)?;
    let options =
        PeltOptions { cost: Cost::Mean, penalty: Penalty::Manual(penalty as f64), min_segment: 2 };
    let case = |name, rows, peers, note: String| {
        let values = values.clone();
        let run = move || {
            let x = MatrixView::new(&values[..rows * cols], rows, cols)?;
            timed(|| pelt(x, &options, &setup.execution), |changes| sample(&changes))
        };
        Case { name, peers, tolerance: 0.0, note, run: Box::new(run) }
    };
    Ok(vec![
        case(
            "change points of the mean",
            rows,
            &["ruptures, KernelCPD linear"],
            "the C code of ruptures for the same cost; one thread".into(),
        ),
        case(
            "change points of the mean, few rows",
            few,
            &["ruptures, Pelt l2"],
            format!("{few} rows; one thread"),
        ),
    ])
}

/// Normal noise whose mean takes a step about every `segment` samples.
fn stepping(rows: usize, cols: usize, segment: usize) -> Vec<f64> {
    let mut random = Random::new(11);
    let mut values = Vec::with_capacity(rows * cols);
    for _ in 0..rows {
        let mut level = 0.0;
        for _ in 0..cols {
            if random.uniform() * (segment as f64) < 1.0 {
                level = 6.0 * random.uniform();
            }
            values.push(level + random.normal());
        }
    }
    values
}

/// For each row how many there are, and their sum.
fn sample(changes: &Changes) -> Vec<f64> {
    let of = |points: &[usize]| [points.len() as f64, points.iter().sum::<usize>() as f64];
    changes.rows.iter().flat_map(|row| of(&row.points)).collect()
}
