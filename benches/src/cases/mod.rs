//! What is measured: for each operation a suite, with ours and the names of the peers for the same.
//!
//! The peers of a suite are in `benches/peers/<suite>.py`.

mod changepoint;
mod components;
mod correlate;
mod forecast;
mod isolation_forest;
mod ivf;
mod kmeans;
mod matrix_profile;
mod minhash;
mod nearest;
mod rolling;
mod spectrum;

use std::error::Error;
use std::time::Instant;

use crate::setup::Setup;

/// The cases of one operation.
pub struct Suite {
    /// Its name, also that of its peers' file.
    pub name: &'static str,
    /// Makes the data, writes it for the peers, and says what is to be run.
    pub cases: fn(&Setup) -> Cases<'_>,
}

/// What a suite runs, or why it can't.
pub type Cases<'a> = Result<Vec<Case<'a>>, Box<dyn Error>>;

/// Every suite.
pub const SUITES: &[Suite] = &[
    Suite { name: "changepoint", cases: changepoint::cases },
    Suite { name: "components", cases: components::cases },
    Suite { name: "correlate", cases: correlate::cases },
    Suite { name: "forecast", cases: forecast::cases },
    Suite { name: "isolation_forest", cases: isolation_forest::cases },
    Suite { name: "ivf", cases: ivf::cases },
    Suite { name: "kmeans", cases: kmeans::cases },
    Suite { name: "matrix_profile", cases: matrix_profile::cases },
    Suite { name: "minhash", cases: minhash::cases },
    Suite { name: "nearest", cases: nearest::cases },
    Suite { name: "rolling", cases: rolling::cases },
    Suite { name: "spectrum", cases: spectrum::cases },
];

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
    /// Its name, as the peers' file knows it.
    pub name: &'static str,
    /// Who else computes it.
    pub peers: &'static [&'static str],
    /// How far the samples may differ, relative to the larger of 1 and the peer's value.
    pub tolerance: f64,
    /// What to know about the numbers.
    pub note: String,
    run: Box<dyn FnMut() -> Result<Run, kernels::Error> + 'a>,
}

impl Case<'_> {
    /// Runs ours once.
    pub fn run(&mut self) -> Result<Run, kernels::Error> {
        (self.run)()
    }
}

/// Times `work`; `sample` picks the values to compare, and is not timed.
fn timed<R>(
    work: impl FnOnce() -> Result<R, kernels::Error>,
    sample: impl FnOnce(R) -> Vec<f64>,
) -> Result<Run, kernels::Error> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let result = work()?;
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    Ok(Run { seconds, cpu_seconds, sample: sample(result) })
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

/// The last value of every 16th part of the rows, as the peers sample them.
fn last_column(values: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    (0..rows).step_by((rows / 16).max(1)).map(|row| values[row * cols + cols - 1]).collect()
}
