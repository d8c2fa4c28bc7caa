//! One series after the other on each thread, with one set of buffers and transforms that all threads share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::num_complex::Complex64;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::{Detrend, OPERATION, Period, SeriesPeriods, Spectra, SpectrumOptions, Status, Taper};
use crate::budget::largest_tile;
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::view::{MatrixView, MatrixViewMut};

/// Rows between two looks at whether to stop.
const ROWS: usize = 8;
/// Ordinates on either side of a peak that Hann's taper spreads its power over.
const LOBE: usize = 2;
/// A multiple of a season is one of its own when it is this much stronger.
const AS_WELL: f64 = 0.9;

/// Transforms of one length, and the taper.
struct Transforms {
    taper: Vec<f64>,
    /// Σ wₜ².
    weight: f64,
    forward: Arc<dyn RealToComplex<f64>>,
    /// Of twice the length, so that the autocorrelation does not wrap around.
    padded: Arc<dyn RealToComplex<f64>>,
    back: Arc<dyn ComplexToReal<f64>>,
}

impl Transforms {
    fn new(samples: usize, taper: Taper) -> Self {
        let turn = std::f64::consts::TAU / samples as f64;
        let taper: Vec<f64> = (0..samples)
            .map(|t| match taper {
                Taper::None => 1.0,
                Taper::Hann => 0.5 - 0.5 * (turn * t as f64).cos(),
            })
            .collect();
        let mut planner = RealFftPlanner::new();
        let padded = (2 * samples).next_power_of_two();
        Self {
            weight: taper.iter().map(|w| w * w).sum(),
            taper,
            forward: planner.plan_fft_forward(samples),
            padded: planner.plan_fft_forward(padded),
            back: planner.plan_fft_inverse(padded),
        }
    }

    /// What the transforms keep: roots of unity of each length, and for a prime those of a longer one.
    fn bytes(samples: usize) -> usize {
        let padded = (2 * samples).next_power_of_two();
        size_of::<f64>() * samples + size_of::<Complex64>() * (8 * samples + 4 * padded)
    }
}

/// What one thread works in.
struct Scratch {
    series: Vec<f64>,
    seen: Vec<f64>,
    tapered: Vec<f64>,
    ordinates: Vec<Complex64>,
    power: Vec<f64>,
    padded: Vec<f64>,
    padded_ordinates: Vec<Complex64>,
    correlation: Vec<f64>,
    work: Vec<Complex64>,
}

impl Scratch {
    fn new(samples: usize, transforms: &Transforms) -> Self {
        let padded = (2 * samples).next_power_of_two();
        let work = transforms
            .forward
            .get_scratch_len()
            .max(transforms.padded.get_scratch_len())
            .max(transforms.back.get_scratch_len());
        let zero = Complex64::new(0.0, 0.0);
        Self {
            series: vec![0.0; samples],
            seen: vec![0.0; samples],
            tapered: vec![0.0; samples],
            ordinates: vec![zero; samples / 2 + 1],
            power: vec![0.0; samples / 2 + 1],
            padded: vec![0.0; padded],
            padded_ordinates: vec![zero; padded / 2 + 1],
            correlation: vec![0.0; samples],
            work: vec![zero; work],
        }
    }

    fn bytes(samples: usize) -> usize {
        let padded = (2 * samples).next_power_of_two();
        // The work space of a prime length is at most four times as long.
        size_of::<f64>() * (5 * samples + padded)
            + size_of::<Complex64>() * (samples / 2 + padded / 2 + 4 * samples + padded + 2)
            + size_of::<Self>()
    }
}

/// The pool, with fewer threads where the budget does not hold all of them.
fn threads(samples: usize, execution: &Execution, stats: &mut Stats) -> Result<Option<Pool>> {
    let most = rayon::current_num_threads();
    let cost = |threads: usize| Transforms::bytes(samples) + threads * Scratch::bytes(samples);
    let threads = largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, cost)?;
    stats.peak_bytes = cost(threads) as u64;
    match NonZeroUsize::new(threads) {
        Some(fewer) if threads < most => Pool::of_size(fewer).map(Some),
        _ => Ok(None),
    }
}

pub(super) fn periods<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    spectra: &mut Spectra,
    execution: &Execution,
) -> Result<()> {
    if x.rows() == 0 {
        return Ok(());
    }
    let pool = threads(x.cols(), execution, &mut spectra.stats)?;
    let transforms = Transforms::new(x.cols(), options.taper);
    let tiles = x.rows().div_ceil(ROWS) as u64;
    execution.control.begin(tiles);
    spectra.stats.tiles = tiles;
    let series = &mut spectra.series;
    let mut work = || {
        series
            .par_chunks_mut(ROWS)
            .enumerate()
            .map_init(
                || Scratch::new(x.cols(), &transforms),
                |scratch, (tile, rows)| {
                    execution.control.check(OPERATION)?;
                    let mut missing = 0;
                    for (offset, found) in rows.iter_mut().enumerate() {
                        let row = x.row(tile * ROWS + offset);
                        let (status, absent) = scratch.transform(row, options, &transforms)?;
                        missing += absent;
                        let periods = if status == Status::Searched {
                            scratch.correlate(&transforms)?;
                            scratch.search(options)
                        } else {
                            Vec::new()
                        };
                        *found = SeriesPeriods { status, periods };
                    }
                    execution.control.advance(1);
                    Ok(missing)
                },
            )
            .sum::<Result<u64>>()
    };
    spectra.stats.missing_values = match pool {
        Some(fewer) => fewer.run(work),
        None => work(),
    }?;
    Ok(())
}

pub(super) fn power<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    power: &mut MatrixViewMut<'_, f64>,
    stats: &mut Stats,
    execution: &Execution,
) -> Result<()> {
    if x.rows() == 0 {
        return Ok(());
    }
    let pool = threads(x.cols(), execution, stats)?;
    let transforms = Transforms::new(x.cols(), options.taper);
    let tiles = x.rows().div_ceil(ROWS) as u64;
    execution.control.begin(tiles);
    stats.tiles = tiles;
    let mut targets: Vec<&mut [f64]> = power.rows_mut().collect();
    let mut work = || {
        targets
            .par_chunks_mut(ROWS)
            .enumerate()
            .map_init(
                || Scratch::new(x.cols(), &transforms),
                |scratch, (tile, targets)| {
                    execution.control.check(OPERATION)?;
                    let mut missing = 0;
                    for (offset, target) in targets.iter_mut().enumerate() {
                        let row = x.row(tile * ROWS + offset);
                        let (status, absent) = scratch.transform(row, options, &transforms)?;
                        missing += absent;
                        match status {
                            Status::Gaps => target.fill(f64::NAN),
                            Status::Flat => target.fill(0.0),
                            Status::Searched => target.copy_from_slice(&scratch.power),
                        }
                    }
                    execution.control.advance(1);
                    Ok(missing)
                },
            )
            .sum::<Result<u64>>()
    };
    stats.missing_values = match pool {
        Some(fewer) => fewer.run(work),
        None => work(),
    }?;
    Ok(())
}

/// A transform refuses buffers of a wrong length only.
fn broken(error: impl std::fmt::Display) -> Error {
    Error::Internal { operation: OPERATION, found: error.to_string() }
}

impl Scratch {
    /// Detrends a row, fills its gaps, and computes its periodogram. Returns how many values are missing, too.
    fn transform<T: Element>(
        &mut self,
        row: &[T],
        options: &SpectrumOptions,
        transforms: &Transforms,
    ) -> Result<(Status, u64)> {
        let n = row.len();
        for ((value, seen), sample) in self.series.iter_mut().zip(&mut self.seen).zip(row) {
            let sample = sample.to_f64();
            *seen = if sample.is_finite() { 1.0 } else { 0.0 };
            *value = if sample.is_finite() { sample } else { 0.0 };
        }
        let count: f64 = self.seen.iter().sum();
        let missing = n as u64 - count as u64;
        if 2.0 * count < n as f64 || count < 3.0 {
            return Ok((Status::Gaps, missing));
        }
        if !self.detrend(count, options.detrend) {
            return Ok((Status::Flat, missing));
        }
        if missing > 0 {
            self.fill();
        }
        for ((out, value), weight) in
            self.tapered.iter_mut().zip(&self.series).zip(&transforms.taper)
        {
            *out = value * weight;
        }
        transforms
            .forward
            .process_with_scratch(&mut self.tapered, &mut self.ordinates, &mut self.work)
            .map_err(broken)?;
        let last = n / 2;
        for (k, (power, ordinate)) in self.power.iter_mut().zip(&self.ordinates).enumerate() {
            let once = k == 0 || (k == last && n.is_multiple_of(2));
            *power = if once { 1.0 } else { 2.0 } * ordinate.norm_sqr() / transforms.weight;
        }
        Ok((Status::Searched, missing))
    }

    /// Takes mean or line off what is there; false where nothing is left but what rounding leaves.
    fn detrend(&mut self, count: f64, detrend: Detrend) -> bool {
        let middle = (self.series.len() as f64 - 1.0) / 2.0;
        let at = |t: usize| t as f64 - middle;
        // Of the magnitudes first, so that sums of huge values do not overflow and rounding has a measure.
        let largest = self.series.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        if largest == 0.0 {
            return false;
        }
        let mean = self.series.iter().map(|value| value / count).sum::<f64>();
        let centre =
            self.seen.iter().enumerate().map(|(t, seen)| seen * at(t)).sum::<f64>() / count;
        let (mut across, mut along) = (0.0, 0.0);
        if detrend == Detrend::Line {
            for (t, (value, seen)) in self.series.iter().zip(&self.seen).enumerate() {
                let distance = seen * (at(t) - centre);
                across += distance * (value - mean);
                along += distance * distance;
            }
        }
        let slope = if along > 0.0 { across / along } else { 0.0 };
        let mut left = 0.0f64;
        for (t, (value, seen)) in self.series.iter_mut().zip(&self.seen).enumerate() {
            *value = seen * (*value - mean - slope * (at(t) - centre));
            left = left.max(value.abs());
        }
        if left <= 1e-12 * largest {
            return false;
        }
        // A power of two changes no digit, and squares neither overflow nor vanish.
        let scale = f64::from_bits(left.to_bits() & 0x7ff0_0000_0000_0000);
        if !(1e-100..1e100).contains(&scale) {
            self.series.iter_mut().for_each(|value| *value /= scale.max(f64::MIN_POSITIVE));
        }
        true
    }

    /// Fills gaps by lines between their neighbours; before the first and after the last value 0 stays.
    fn fill(&mut self) {
        let mut last = None;
        for at in 0..self.series.len() {
            if self.seen[at] == 0.0 {
                continue;
            }
            if let Some(before) = last {
                let (from, to) = (self.series[before], self.series[at]);
                for between in before + 1..at {
                    let part = (between - before) as f64 / (at - before) as f64;
                    self.series[between] = from + (to - from) * part;
                }
            }
            last = Some(at);
        }
    }

    /// The autocorrelation at every lag, unbiased: Σ xₜ·xₜ₊ₗ / (n − l), over that at lag 0.
    fn correlate(&mut self, transforms: &Transforms) -> Result<()> {
        let n = self.series.len();
        self.padded[..n].copy_from_slice(&self.series);
        self.padded[n..].fill(0.0);
        transforms
            .padded
            .process_with_scratch(&mut self.padded, &mut self.padded_ordinates, &mut self.work)
            .map_err(broken)?;
        for ordinate in &mut self.padded_ordinates {
            *ordinate = Complex64::new(ordinate.norm_sqr(), 0.0);
        }
        transforms
            .back
            .process_with_scratch(&mut self.padded_ordinates, &mut self.padded, &mut self.work)
            .map_err(broken)?;
        let all = self.padded[0] / n as f64;
        for (lag, (out, sum)) in self.correlation.iter_mut().zip(&self.padded).enumerate() {
            *out = sum / (n - lag) as f64 / all;
        }
        Ok(())
    }

    /// Peaks beyond chance, from the largest on, that are hills of the autocorrelation.
    fn search(&mut self, options: &SpectrumOptions) -> Vec<Period> {
        let n = self.series.len();
        let longest = options.longest.unwrap_or(n / 3).min(n / 2);
        let lobe = if options.taper == Taper::None { 0 } else { LOBE };
        // Without what the detrending has emptied.
        let first = 1;
        let ordinates = self.power.len() - first;
        let mut left: f64 = self.power[first..].iter().sum();
        let mut remaining = ordinates as f64;
        let mut order: Vec<usize> =
            (first..self.power.len()).filter(|&k| self.is_peak(k)).collect();
        order.sort_by(|&a, &b| self.power[b].total_cmp(&self.power[a]).then(a.cmp(&b)));
        let mut used = vec![false; self.power.len()];
        let mut periods: Vec<Period> = Vec::new();
        for k in order {
            let share = self.power[k] / left;
            let p_value = (remaining * (1.0 - share).powf(remaining - 1.0)).min(1.0);
            if p_value.is_nan() || p_value > options.significance {
                break;
            }
            if let Some((samples, strength)) = self.hill(k, options.shortest, longest)
                && strength >= options.least_strength
                && periods.iter().all(|period| period.samples.abs_diff(samples) > 1 + samples / 50)
            {
                let frequency = k as f64 / n as f64;
                periods.push(Period { samples, strength, frequency, share, p_value });
            }
            let near = k.saturating_sub(lobe).max(first)..(k + lobe + 1).min(self.power.len());
            for (power, used) in self.power[near.clone()].iter().zip(&mut used[near]) {
                if !std::mem::replace(used, true) {
                    left -= power;
                    remaining -= 1.0;
                }
            }
            if remaining < 2.0 || left <= 0.0 {
                break;
            }
        }
        // What repeats after a season repeats after two of them, about as well.
        let all = periods.clone();
        periods.retain(|long| {
            !all.iter().any(|short| {
                let times = (long.samples + short.samples / 2) / short.samples;
                times >= 2
                    && long.samples.abs_diff(times * short.samples) <= 1 + long.samples / 50
                    && short.strength >= AS_WELL * long.strength
            })
        });
        periods.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.samples.cmp(&b.samples)));
        periods.truncate(options.most);
        periods
    }

    fn is_peak(&self, k: usize) -> bool {
        let beside = |at: Option<usize>| at.and_then(|at| self.power.get(at)).copied();
        let above = |other: Option<f64>| other.is_none_or(|other| self.power[k] >= other);
        above(beside(k.checked_sub(1).filter(|&at| at > 0))) && above(beside(Some(k + 1)))
    }

    /// The top of the autocorrelation between the periods of the neighbouring ordinates, if it is a hill there.
    fn hill(&self, k: usize, shortest: usize, longest: usize) -> Option<(usize, f64)> {
        let n = self.series.len();
        let low = (n / (k + 1)).max(shortest);
        let high = n.checked_div(k - 1).unwrap_or(longest).min(longest).min(n - 2);
        let top = (low..=high)
            .max_by(|&a, &b| self.correlation[a].total_cmp(&self.correlation[b]).then(b.cmp(&a)))?;
        let value = self.correlation[top];
        let hill = value > self.correlation[top - 1] && value >= self.correlation[top + 1];
        hill.then_some((top, value.min(1.0)))
    }
}
