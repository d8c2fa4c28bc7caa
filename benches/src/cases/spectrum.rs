//! Periodograms of every row.

use std::error::Error;

use kernels::spectrum::{SpectrumOptions, periodogram, spectrum};
use kernels::{MatrixView, MatrixViewMut};

use super::{Case, timed};
use crate::setup::{Setup, wandering};

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 2_000), setup.size("cols", 8_760));
    let values = wandering(rows, cols);
    setup.write("x.f64", &values, f64::to_le_bytes)?;
    let ordinates = cols / 2 + 1;
    let mut power = vec![0.0; rows * ordinates];
    let again = values.clone();
    let options = SpectrumOptions::default();
    Ok(vec![
        Case {
            name: "periodogram",
            peers: &["scipy"],
            tolerance: 1e-9,
            note: "Hann's taper, line taken off; scipy has one thread".into(),
            run: Box::new(move || {
                let (power, values) = (&mut power, &values[..]);
                let work = move || {
                    let mut out = MatrixViewMut::new(power, rows, ordinates)?;
                    let x = MatrixView::new(values, rows, cols)?;
                    periodogram(x, &options, &mut out, &setup.execution)?;
                    Ok(power)
                };
                timed(work, |power| {
                    let step = (rows / 16).max(1);
                    (0..rows).step_by(step).map(|row| power[row * ordinates + 7]).collect()
                })
            }),
        },
        Case {
            name: "seasons",
            peers: &["scipy, periodogram alone"],
            tolerance: 0.0,
            note:
                "ours also transforms twice for the autocorrelation and tests peaks; compared: rows"
                    .into(),
            run: Box::new(move || {
                let work =
                    || spectrum(MatrixView::new(&again, rows, cols)?, &options, &setup.execution);
                timed(work, |found| vec![found.series.len() as f64])
            }),
        },
    ])
}
