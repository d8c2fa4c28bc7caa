//! Simulated columns of many shapes in which nothing drifts, or a planted drift does.

use std::collections::BTreeMap;

use super::Sample;
use crate::noise::Noise;
use crate::testing::poisson;

/// How the values of a column are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    ZeroOne,
    Poisson0_5,
    Poisson5,
    ZeroInflated,
    LogNormal,
    StudentT2,
    Normal,
    Uniform,
    Rounded,
    /// Values rise within each day.
    TrendWithinDay,
    /// Each row resembles the row before it.
    AutocorrelatedRows,
    /// Values depend on the time of day and on the weekday.
    Seasonal,
    FewLabels,
    ManyLabels,
    RareLabels,
    /// Each day resembles the day before it.
    AutocorrelatedDays,
    /// Some days are far from all others, in no order.
    HeavyTailedDays,
    /// Each period is an hour; values depend on the hour and on the weekday.
    Hours,
}

/// Those of days.
pub(super) const SHAPES: [Shape; 17] = [
    Shape::ZeroOne,
    Shape::Poisson0_5,
    Shape::Poisson5,
    Shape::ZeroInflated,
    Shape::LogNormal,
    Shape::StudentT2,
    Shape::Normal,
    Shape::Uniform,
    Shape::Rounded,
    Shape::TrendWithinDay,
    Shape::AutocorrelatedRows,
    Shape::Seasonal,
    Shape::FewLabels,
    Shape::ManyLabels,
    Shape::RareLabels,
    Shape::AutocorrelatedDays,
    Shape::HeavyTailedDays,
];

/// What a day has that others do not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Planted {
    Nothing,
    /// Values are half a standard deviation larger; the most frequent label has 15 points less.
    Shift,
    /// One value in ten is null, instead of one in fifty.
    Nulls,
}

/// Autocorrelation of rows and days at lag 1.
const LASTING: f64 = 0.7;
/// Usual share of nulls, and the planted one.
const NULLS: [f64; 2] = [0.02, 0.1];
/// By how many standard deviations planted values are larger, and how much less frequent the first label is.
const SHIFT: f64 = 0.5;
const LESS: f64 = 0.15;

/// A column, day by day.
pub(super) struct World {
    shape: Shape,
    rows: usize,
    noise: Noise,
    /// The last row, or the mood of the last day.
    last: f64,
    day: usize,
}

impl World {
    pub(super) fn new(shape: Shape, rows: usize, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let last = noise.normal();
        Self { shape, rows, noise, last, day: 0 }
    }

    /// The next day.
    pub(super) fn day(&mut self, planted: Planted) -> Sample {
        let shift = if planted == Planted::Shift { SHIFT } else { 0.0 };
        let nulls = NULLS[usize::from(planted == Planted::Nulls)];
        let mood = match self.shape {
            Shape::AutocorrelatedDays => {
                self.last = self.lasting();
                0.3 * self.last
            }
            Shape::HeavyTailedDays => 0.1 * self.student_t2(),
            _ => 0.0,
        };
        let weekday = self.day % 7;
        self.day += 1;
        let less = if planted == Planted::Shift { LESS } else { 0.0 };
        match self.shape {
            Shape::FewLabels => {
                self.labels(nulls, |noise| usize::from(noise.uniform() > 0.7 - less))
            }
            Shape::ManyLabels => self.labels(nulls, |noise| match noise.uniform() < 0.3 - less {
                true => 0,
                // Two hundred, of which each is less frequent than the one before.
                false => 1 + (200.0 * noise.uniform() * noise.uniform()) as usize,
            }),
            Shape::RareLabels => self.labels(nulls, |noise| match noise.uniform() < 0.98 - less {
                true => 0,
                false => 1 + (20.0 * noise.uniform()) as usize,
            }),
            _ => {
                let values: Vec<Option<f64>> = (0..self.rows)
                    .map(|row| {
                        let value = self.value(row, weekday, shift) + mood;
                        (self.noise.uniform() >= nulls).then_some(value)
                    })
                    .collect();
                Sample::of_numbers(values)
            }
        }
    }

    fn labels(&mut self, nulls: f64, label: impl Fn(&mut Noise) -> usize) -> Sample {
        let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
        for _ in 0..self.rows {
            let is_null = self.noise.uniform() < nulls;
            let label = (!is_null).then(|| format!("label {}", label(&mut self.noise)));
            *counts.entry(label).or_default() += 1;
        }
        Sample::Texts(counts)
    }

    fn value(&mut self, row: usize, weekday: usize, shift: f64) -> f64 {
        let part = row as f64 / self.rows as f64;
        let noise = &mut self.noise;
        match self.shape {
            Shape::ZeroOne => f64::from(noise.uniform() < 0.3 + 0.458 * shift),
            Shape::Poisson0_5 => poisson(noise, 0.5 + 0.707 * shift),
            Shape::Poisson5 => poisson(noise, 5.0 + 2.236 * shift),
            Shape::ZeroInflated => match noise.uniform() < 0.8 - 0.4 * shift {
                true => 0.0,
                false => -(1.0 - noise.uniform()).ln(),
            },
            Shape::LogNormal => (1.5 * (noise.normal() + shift)).exp(),
            Shape::StudentT2 => self.student_t2() + shift,
            Shape::Uniform => noise.uniform() + 0.289 * shift,
            Shape::Rounded => ((noise.normal() + shift) * 2.0).round() / 2.0,
            Shape::TrendWithinDay => noise.normal() + 2.0 * part + shift,
            Shape::AutocorrelatedRows => {
                self.last = self.lasting();
                self.last + shift
            }
            Shape::Seasonal => {
                let weekend = if weekday >= 5 { 0.5 } else { 0.0 };
                (std::f64::consts::TAU * part).sin() + weekend + noise.normal() + shift
            }
            Shape::Hours => {
                let (hour, weekday) = ((self.day - 1) % 24, (self.day - 1) / 24 % 7);
                let weekend = if weekday >= 5 { 0.5 } else { 0.0 };
                (std::f64::consts::TAU * hour as f64 / 24.0).sin() + weekend + noise.normal()
            }
            _ => noise.normal() + shift,
        }
    }

    fn lasting(&mut self) -> f64 {
        LASTING * self.last + (1.0 - LASTING * LASTING).sqrt() * self.noise.normal()
    }

    fn student_t2(&mut self) -> f64 {
        // A normal value over the root of an exponential one.
        self.noise.normal() / (-(1.0 - self.noise.uniform()).ln()).max(1e-300).sqrt()
    }
}
