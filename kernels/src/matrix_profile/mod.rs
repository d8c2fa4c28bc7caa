//! For every window of a series the window that is most like it: the matrix profile.
//!
//! **Idea.** Compare each window of m samples with every other by shape, and keep the nearest: windows that are far
//! from all others are discords (anomalies), pairs that are near are motifs (patterns that repeat). One pass finds
//! both, at any place, with no model and one parameter. The n²/2 comparisons go along the diagonals of the distance
//! matrix, where each follows from the one before in a few operations.
//!
//! **Formula.** The z-normalised Euclidean distance of windows i and j is d = √(2m(1 − ρ)) with their Pearson
//! correlation ρ = c·a_i·a_j; c is the sum of products around the means and a = 1/‖window − mean‖. Along a diagonal
//!
//! ```text
//!   c(i+1, j+1) = c(i, j) + df(i)·dg(j) + df(j)·dg(i)
//!   df(i) = (x[i+m] − x[i]) / 2          dg(i) = (x[i+m] − μ(i+1)) + (x[i] − μ(i))
//! ```
//! (Zimmerman et al., "Matrix Profile XIV: Scaling Time Series Motif Discovery with GPUs to Break a Quintillion
//! Pairwise Comparisons a Day and Beyond", SoCC 2019.) A covariance is computed afresh every max(4096, 4m) rows. A
//! series is compared with itself beyond an exclusion zone, as neighbouring windows are trivially alike.
//!
//! **Any time.** Diagonals are taken in units of 256, in an order that `seed` shuffles: with `fraction` = 0.1 every
//! window has met a tenth of the others, for a tenth of the time. A distance is then an upper bound.
//!
//! **Windows without a shape.** As in stumpy: two windows that are constant are 0 apart, a constant one is √m from any
//! other, and one that holds a NaN or an infinity is compared with none: its distance is infinite and it has no
//! neighbour. Neither has one where the series has no window beyond the zone. No distance is NaN. Windows without a
//! shape are settled exactly whatever the `fraction`.
//!
//! **Precision.** Both types are computed in f64 and the distances are f64: in f32 the carried covariance would drift
//! by 1e-4. Neighbours are picked by correlations within [`tolerance::MATRIX_PROFILE`](crate::tolerance) of the true
//! ones, so that of two neighbours nearer in rank than that either may be picked; the distance to the picked one is
//! then computed from the samples, within [`tolerance::MATRIX_PROFILE_DISTANCE`](crate::tolerance). Of equal
//! correlations the smaller index wins. A device rounds the correlations that it compares to 2⁻⁶² × windows, for
//! which it takes series of up to 2²³. Threads, budget and the order of diagonals change no bit.
//!
//! **Hazards.** The covariance of quiet windows keeps the rounding of a loud one that it passed. A spike R times as
//! large as its surroundings costs R²·2⁻⁵² of correlation for up to a segment behind it. Distances that are
//! not confirmed by the samples are searched again, window by window ([`Stats::fallbacks`]), in O(n·m) each.
//!
//! **Cost.** n²/2 cells of 2 multiply-adds, 2 products and 2 comparisons for one series, n·k for two: time grows with
//! exponent 2 in the samples; O(n·m) besides, for moments and final distances. Memory: 45 bytes for each sample and
//! 24 for each sample and thread.
//!
//! ```
//! use kernels::Execution;
//! use kernels::matrix_profile::{ProfileOptions, matrix_profile};
//!
//! // A wave of period 16 with one beat missing.
//! let mut series: Vec<f32> = (0..400).map(|t| (t as f32 * std::f32::consts::TAU / 16.0).sin()).collect();
//! series[200..208].fill(0.0);
//! let found = matrix_profile(&series, &ProfileOptions::window(16), &Execution::default())?;
//!
//! let discord = found.discords(1)[0];
//! assert!((185..208).contains(&discord.window) && discord.distance > 1.0);
//! let motif = found.motifs(1)[0];
//! assert!(motif.distance < 1e-5 && motif.second - motif.first > 4);
//! assert_eq!(found.profile.len(), 400 - 16 + 1);
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;
mod cuda;
mod extremes;
mod finish;
mod plan;
mod sweep;
mod windows;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

use std::time::Instant;

pub use extremes::{Discord, Motif};

use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;

use finish::{Flat, Reach, nearer};
use plan::Plan;
use sweep::NONE;
use windows::Windows;

const OPERATION: &str = "matrix_profile";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!("matrix_profile.cu");

/// The shortest window: one of 2 has the same shape as every other, or its mirror.
const SHORTEST: usize = 3;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProfileOptions {
    /// Samples in a window, 3 or more.
    pub window: usize,
    /// Windows of one series that begin at most this far apart are not compared; ⌈window / 4⌉ when absent. Two series
    /// have no such zone.
    pub exclusion: Option<usize>,
    /// Share of the diagonals that is computed, above 0 and up to 1.
    pub fraction: f64,
    /// Decides which diagonals come first; it changes nothing where `fraction` is 1.
    pub seed: u64,
}

impl ProfileOptions {
    /// All diagonals for windows of `window` samples.
    pub fn window(window: usize) -> Self {
        Self { window, exclusion: None, fraction: 1.0, seed: 0 }
    }

    fn zone(&self) -> usize {
        self.exclusion.unwrap_or(self.window.div_ceil(4))
    }

    fn check(&self) -> Result<()> {
        let wrong = |option, found: String, expected: String| {
            Err(Error::Option { operation: OPERATION, option, found, expected })
        };
        if self.window < SHORTEST {
            let expected = format!("at least {SHORTEST} samples are needed");
            return wrong("window", self.window.to_string(), expected);
        }
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            let expected = "it must be above 0 and at most 1".into();
            return wrong("fraction", self.fraction.to_string(), expected);
        }
        Ok(())
    }
}

/// For each window its nearest neighbour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    distances: Vec<f64>,
    indices: Vec<u32>,
}

impl Profile {
    /// Number of windows.
    pub fn len(&self) -> usize {
        self.distances.len()
    }

    /// Whether there is no window.
    pub fn is_empty(&self) -> bool {
        self.distances.is_empty()
    }

    /// For each window, by its first sample, how far its nearest neighbour is; infinite where it has none.
    pub fn distances(&self) -> &[f64] {
        &self.distances
    }

    /// The nearest neighbour of a window, by its first sample. `None` where there is none, or no such window.
    pub fn neighbour(&self, window: usize) -> Option<usize> {
        self.indices.get(window).filter(|&&index| index != NONE).map(|&index| index as usize)
    }
}

/// The windows of a series among themselves.
#[derive(Debug, Clone)]
pub struct SelfJoin {
    /// For each window the nearest.
    pub profile: Profile,
    /// The nearest of those that begin earlier, beyond the exclusion zone.
    pub left: Profile,
    /// The nearest of those that begin later, beyond the exclusion zone.
    pub right: Profile,
    /// What was done.
    pub stats: Stats,
    zone: usize,
}

/// The windows of two series, each among those of the other.
#[derive(Debug, Clone)]
pub struct Join {
    /// For each window of the first series the nearest of the second.
    pub of_a: Profile,
    /// For each window of the second series the nearest of the first.
    pub of_b: Profile,
    /// What was done.
    pub stats: Stats,
}

/// Finds for every window of `series` the most similar other one.
///
/// Fails on a window shorter than 3 or longer than the series, on a fraction outside of 0 to 1, on a budget too
/// small, on a device that is required and not there, and when cancelled.
pub fn matrix_profile<T: Element>(
    series: &[T],
    options: &ProfileOptions,
    execution: &Execution,
) -> Result<SelfJoin> {
    let Found { profiles: [right, left], stats } =
        T::matrix_profile(series, None, options, execution)?;
    let nearest =
        left.distances.iter().zip(&left.indices).zip(&right.distances).zip(&right.indices);
    let (distances, indices) =
        nearest.map(|(((&l, &li), &r), &ri)| nearer((l, li), (r, ri))).unzip();
    let profile = Profile { distances, indices };
    Ok(SelfJoin { profile, left, right, stats, zone: options.zone() })
}

/// Finds for every window of `a` the most similar one of `b`, and the other way round.
///
/// Fails as [`matrix_profile`] does.
pub fn matrix_profile_between<T: Element>(
    a: &[T],
    b: &[T],
    options: &ProfileOptions,
    execution: &Execution,
) -> Result<Join> {
    let Found { profiles: [of_a, of_b], stats } =
        T::matrix_profile(a, Some(b), options, execution)?;
    Ok(Join { of_a, of_b, stats })
}

/// Two profiles: for one series the neighbours after and those before each window, for two those of the first series
/// in the second and the other way round.
#[derive(Debug)]
pub struct Found {
    profiles: [Profile; 2],
    stats: Stats,
}

pub(crate) fn run<T: Element>(
    a: &[T],
    b: Option<&[T]>,
    options: &ProfileOptions,
    execution: &Execution,
) -> Result<Found> {
    options.check()?;
    check_length(a.len(), options.window)?;
    check_length(b.unwrap_or(a).len(), options.window)?;
    let windows = |x: &[T]| (x.len() + 1 - options.window) as f64;
    let cells = match b {
        None => 0.5 * windows(a) * windows(a),
        Some(b) => windows(a) * windows(b),
    };
    let work = Work {
        amount: cells * options.fraction,
        unit: "cells",
        least: execution.crossover.matrix_profile,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || {
        let (longest, most) = (windows(a).max(windows(b.unwrap_or(a))), cuda::MOST_WINDOWS);
        if longest > most as f64 {
            return Err(device::Refusal::NoPath(format!(
                "{longest} windows are beyond the {most} of its kernels"
            )));
        }
        Ok(Gpu::open_all(&SOURCE)?)
    })?;
    run_on(&gpus, Stats::new(report), a, b, options, execution)
}

/// On `devices`, or on the CPU without one.
fn run_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    a: &[T],
    b: Option<&[T]>,
    options: &ProfileOptions,
    execution: &Execution,
) -> Result<Found> {
    let start = Instant::now();
    let lengths = [a.len(), b.map_or(0, <[T]>::len)];
    let room = match devices {
        [] => cpu::room(lengths, options.window, execution)?,
        _ => cuda::room(lengths, options.window, execution)?,
    };
    stats.peak_bytes = room.bytes() as u64;
    let pool = execution.threads()?;
    let control = &execution.control;
    // The units are not planned yet.
    control.begin(0);
    let (a, b) = pool.run(|| {
        let b = b.map(|b| Windows::new(b, options.window, control)).transpose()?;
        Ok::<_, Error>((Windows::new(a, options.window, control)?, b))
    })?;
    stats.missing_values = a.missing + b.as_ref().map_or(0, |b| b.missing);
    let plan = Plan::new(&a, b.as_ref(), options.zone(), options)?;
    stats.tiles = plan.units() as u64;
    execution.control.begin(stats.tiles);
    let best = match devices {
        [] => pool.run(|| cpu::run(&plan, room, execution, &mut stats))?,
        // Not in the pool: what waits for a device must not keep a thread from those that feed another.
        _ => cuda::run(devices, &plan, execution, &mut stats)?,
    };
    let reaches = if plan.b.is_some() { [Reach::All; 2] } else { [Reach::After, Reach::Before] };
    let mut profiles = [Profile::default(), Profile::default()];
    for (side, profile) in profiles.iter_mut().enumerate() {
        let (sides, reach) = (plan.sides(side), reaches[side]);
        let (found, fallbacks) =
            pool.run(|| finish::profile(&plan, sides, reach, &best[side], execution))?;
        *profile = found;
        stats.fallbacks += fallbacks;
    }
    stats.kernel_seconds = kernel_seconds(devices)?;
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(Found { profiles, stats })
}

/// Host memory for series of `lengths`, the second 0 where there is one, without what finds the neighbours.
fn shared_bytes(lengths: [usize; 2], window: usize) -> usize {
    let [a, b] = lengths.map(|length| (length + 1).saturating_sub(window));
    let series = lengths.iter().filter(|&&length| length > 0);
    series.map(|&length| Windows::bytes(length, window)).sum::<usize>()
        + Plan::bytes(a, b)
        + Flat::bytes(a.max(b))
}

fn check_length(samples: usize, window: usize) -> Result<()> {
    if samples < window {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("a series of {samples} samples"),
            expected: format!("at least the window of {window} is needed"),
        });
    }
    if samples - window >= NONE as usize {
        return Err(Error::LimitExceeded {
            operation: OPERATION,
            what: "windows",
            limit: NONE as usize,
            advice: "cut the series into parts and join each pair of them",
        });
    }
    Ok(())
}
