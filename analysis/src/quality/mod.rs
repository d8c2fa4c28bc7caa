//! Whether what is measured of a period, such as the rows of a day or how many of them are null, is as it was in those before it.
//!
//! How far it may be from them follows from how seldom a false alarm may be. Values that look like normal ones have Student's prediction
//! limits. Of others, `n` of them and one more of the same kind with exponential tails, the one more lies beyond the largest by `w` times the
//! range of the `n` in about n · B(n, 2 + w) of all cases, B being Euler's beta function; of tails that end sooner more seldom. What is skewed to the
//! right is looked at in logarithms.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::gamma::ln_gamma;

/// Values before a period that are the least to know something by.
pub const HISTORY_MIN: usize = 14;
/// One in how many of them may have been out of order, and is not asked what is usual; where more were, they are what is usual.
const ASIDE: usize = 3;
/// How much further the largest is from the middle than the smallest where values are looked at in logarithms, as no exponential tail is long.
const SKEWED: f64 = 6.0;
/// How much further than Student's limits values may be, since 28 of others, too, look like normal ones at times.
const FURTHER: f64 = 1.75;
/// Values look like normal ones where the largest is no further from the middle than so many times the smallest, or the other way round, and
/// all lie within so many times the middle half of them: of 28 normal values that is 3, of Laplace's 4.6.
const EVEN: f64 = 2.0;
const NARROW: f64 = 3.3;
/// By how many times fewer rows are far fewer.
const FEWER: u64 = 2;
/// Days of a week, and how many alike are the least to know them by.
const WEEK: i64 = 7;
const ALIKE_MIN: usize = 3;
/// A season is taken out where it leaves no more than this part of the range.
const SEASON_LEAVES: f64 = 0.5;
/// Powers of a chance up to which it is looked for.
const POWER_MAX: f64 = 1e6;
/// Values that are no more apart, as a part of the larger one, are equal.
const ROUNDING: f64 = 1e-9;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A part of the rows, 0 to 1, that is never too small.
    Share,
    /// A value that is never too small, such as the longest wait of a period, whose tail is no longer than an exponential one.
    Most,
    /// A mean of rows.
    Mean,
    /// How many rows there are; of days with `weekly`, by their weekdays where these differ.
    Count {
        /// Whether periods are days.
        weekly: bool,
    },
    /// The smallest of some values.
    Least,
    /// The largest of some values.
    Greatest,
    /// Any other value.
    Value,
}

/// A period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Its number: the next one has the next.
    pub at: i64,
    /// Rows that the value is of.
    pub rows: u64,
    /// What was measured; none where there was nothing to measure it by.
    pub value: f64,
}

/// How far a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The least; below any number where there is none.
    pub lower: f64,
    /// The most; above any number where there is none.
    pub upper: f64,
    /// The middle of those before it.
    pub usual: f64,
}

impl Limits {
    /// Whether a value is within.
    pub fn hold(&self, value: f64) -> bool {
        let slack = |limit: f64| if limit.is_finite() { ROUNDING * limit.abs() } else { 0.0 };
        (self.lower - slack(self.lower)..=self.upper + slack(self.upper)).contains(&value)
    }

    /// How far a value is beyond, as a part of how far the limit on its side is from what is usual; 0 within. At the limit 1, at twice as far 2.
    pub fn beyond(&self, value: f64) -> f64 {
        if self.hold(value) {
            return 0.0;
        }
        let limit = if value > self.upper { self.upper } else { self.lower };
        (value - self.usual).abs() / (limit - self.usual).abs().max(f64::MIN_POSITIVE)
    }
}

/// By how many ranges of `count` values the next may lie beyond them, so that on one side a false alarm has the chance `chance`.
pub fn widths(count: usize, chance: f64) -> f64 {
    let n = count as f64;
    let chance_of =
        |power: f64| (ln_gamma(n + 1.0) + ln_gamma(1.0 + power) - ln_gamma(n + 1.0 + power)).exp();
    // 1 is beyond them at all.
    let (mut low, mut high) = (1.0, 2.0);
    if chance_of(low) <= chance {
        return 0.0;
    }
    while chance_of(high) > chance && high < POWER_MAX {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if chance_of(middle) > chance { low = middle } else { high = middle }
    }
    high - 1.0
}

/// Rows of a kind that was never there in `count` periods and may come in the next, so that a false alarm has the chance `chance`.
pub fn rows_of_nothing(count: usize, chance: f64) -> f64 {
    (-chance.ln() / (count as f64 + 1.0).ln()).ceil().max(1.0)
}

/// The limits of what comes after `history`, in order; none where that is too short. `chance`: of a false alarm, on both sides together.
pub fn limits(
    history: &[Reading],
    next: &Reading,
    measure: Measure,
    chance: f64,
) -> Option<Limits> {
    let chance = chance / 2.0;
    let by_weekday = match measure {
        Measure::Count { weekly: true } => of_weekdays(history, next.at, chance),
        _ => None,
    };
    let mut values: Vec<f64> = history.iter().map(|of| of.value).collect();
    values.sort_by(f64::total_cmp);
    let in_logarithms = !matches!(measure, Measure::Share | Measure::Most | Measure::Count { .. });
    let mut limits = by_weekday.or_else(|| plain(&values, chance, in_logarithms))?;
    let mut rows: Vec<u64> = history.iter().map(|of| of.rows).collect();
    rows.sort_unstable();
    let usual_rows = rows.get(rows.len() / 2).copied().unwrap_or(1).max(1);
    let Limits { lower, upper, usual } = limits;
    if matches!(measure, Measure::Share | Measure::Mean) {
        // What is of fewer rows is further by chance.
        let wider = (usual_rows as f64 / next.rows.max(1) as f64).sqrt().max(1.0);
        limits.lower = usual - wider * (usual - lower);
        limits.upper = usual + wider * (upper - usual);
    }
    match measure {
        Measure::Share => {
            let least = rows_of_nothing(values.len(), chance) / next.rows.max(1) as f64;
            limits.upper = limits.upper.max(values.last()? + least).min(1.0);
            limits.lower = 0.0;
        }
        Measure::Most => limits.lower = f64::NEG_INFINITY,
        Measure::Count { .. } => {
            // That none comes is no smaller step than any other, where some always came.
            let (first, last) = (*values.first()?, *values.last()?);
            let width = widths(values.len(), chance);
            let seldom = if first > 0.0 { first * (first / last).powf(width) } else { 0.0 };
            limits.lower = limits.lower.max(seldom);
        }
        // Of far fewer values the smallest is larger, and the largest smaller.
        Measure::Least if FEWER * next.rows < usual_rows => limits.upper = f64::INFINITY,
        Measure::Greatest if FEWER * next.rows < usual_rows => limits.lower = f64::NEG_INFINITY,
        Measure::Mean | Measure::Least | Measure::Greatest | Measure::Value => {}
    }
    Some(limits)
}

/// Limits by values in order. `in_logarithms`: whether they may be looked at so.
fn plain(sorted: &[f64], chance: f64, in_logarithms: bool) -> Option<Limits> {
    if sorted.len() < HISTORY_MIN {
        return None;
    }
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let usual = *sorted.get(sorted.len() / 2)?;
    if let Some((lower, upper)) = as_normal(sorted, chance) {
        return Some(Limits { lower, upper, usual });
    }
    let width = widths(sorted.len(), chance);
    if in_logarithms && least > 0.0 {
        let factor = (width * (most / least).ln()).exp();
        let logarithms: Vec<f64> = sorted.iter().map(|of| of.ln()).collect();
        let upper = match as_normal(&logarithms, chance) {
            Some((_, upper)) => Some(upper.exp()),
            None if most - usual > SKEWED * (usual - least) => Some(most * factor),
            None => None,
        };
        if let Some(upper) = upper {
            return Some(Limits { lower: least / factor, upper, usual });
        }
    }
    let range = most - least;
    Some(Limits { lower: least - width * range, upper: most + width * range, usual })
}

/// Where the next of some values in order lies that look like normal ones, but for that chance on either side; none of others.
fn as_normal(sorted: &[f64], chance: f64) -> Option<(f64, f64)> {
    let at = |part: f64| sorted.get((part * sorted.len() as f64) as usize).copied();
    let (least, most, middle) = (*sorted.first()?, *sorted.last()?, at(0.5)?);
    let (above, below) = (most - middle, middle - least);
    let looks_so = above <= EVEN * below
        && below <= EVEN * above
        && most - least <= NARROW * (at(0.75)? - at(0.25)?);
    if !looks_so || most <= least {
        return None;
    }
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let variance = sorted.iter().map(|of| (of - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let student = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    let half = FURTHER * student.inverse_cdf(1.0 - chance) * (variance * (1.0 + 1.0 / n)).sqrt();
    Some(((mean - half).min(least), (mean + half).max(most)))
}

/// Limits as parts of what is usual of days like it, where the weekdays differ; of few weeks working days and weekends. Each day is held
/// against the others like it, as the next one is.
fn of_weekdays(history: &[Reading], next: i64, chance: f64) -> Option<Limits> {
    // The first day of the count was a Thursday.
    let weekday = |at: i64| at.rem_euclid(WEEK) as usize;
    let is_weekend = |at: i64| usize::from(matches!(weekday(at), 2 | 3));
    of_days(history, next, chance, weekday).or_else(|| of_days(history, next, chance, is_weekend))
}

/// The same for days that `like` gives one number.
fn of_days(
    history: &[Reading],
    next: i64,
    chance: f64,
    like: impl Fn(i64) -> usize,
) -> Option<Limits> {
    let mut days: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut all: Vec<f64> = Vec::with_capacity(history.len());
    for reading in history {
        days.entry(like(reading.at)).or_default().push(reading.value);
        all.push(reading.value);
    }
    days.values_mut().chain([&mut all]).for_each(|of| of.sort_by(f64::total_cmp));
    let middle = |of: &[f64]| of.get(of.len() / 2).copied().filter(|middle| *middle > 0.0);
    let usual = middle(days.get(&like(next))?)?;
    let mut parts = Vec::with_capacity(history.len());
    for of in days.values() {
        if of.len() < ALIKE_MIN {
            return None;
        }
        for at in 0..of.len() {
            let mut others = of.clone();
            let own = others.remove(at);
            parts.push(own / middle(&others)?);
        }
    }
    parts.sort_by(f64::total_cmp);
    let range = |of: &[f64]| of.last().zip(of.first()).map_or(0.0, |(last, first)| last - first);
    if range(&parts) * middle(&all)? > SEASON_LEAVES * range(&all) {
        return None;
    }
    let of = plain(&parts, chance, false)?;
    Some(Limits { lower: of.lower * usual, upper: of.upper * usual, usual })
}

/// A period beside what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The period.
    pub reading: Reading,
    /// None where it is too early to know.
    pub limits: Option<Limits>,
}

impl Judged {
    /// Whether it is as it should be, as far as that is known.
    pub fn is_fine(&self) -> bool {
        self.limits.is_none_or(|limits| limits.hold(self.reading.value))
    }
}

/// Holds each period against up to `history` before it that were as they should be.
pub fn judge(readings: &[Reading], history: usize, measure: Measure, chance: f64) -> Vec<Judged> {
    let mut before: VecDeque<(Reading, bool)> = VecDeque::new();
    let mut judged = Vec::with_capacity(readings.len());
    for reading in readings {
        let newest = before.len().saturating_sub(history);
        let odd = before.iter().skip(newest).filter(|(_, is_fine)| !is_fine).count();
        let usual: Vec<Reading> = match odd * ASIDE > history {
            true => before.iter().skip(newest).map(|(of, _)| *of).collect(),
            false => before.iter().filter(|(_, is_fine)| *is_fine).map(|(of, _)| *of).collect(),
        };
        let limits = limits(&usual, reading, measure, chance);
        let of = Judged { reading: *reading, limits };
        before.push_back((*reading, of.is_fine()));
        if before.iter().filter(|(_, is_fine)| *is_fine).count() > history {
            before.pop_front();
        }
        judged.push(of);
    }
    judged
}
