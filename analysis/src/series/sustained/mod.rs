//! Changes of several series together that come by and by, or last: a valve that closes for minutes.
//!
//! ```text
//!   the first part of the rows is the reference: what is usual is learned from it alone
//!   each column  ─▶  itself, and its residual given the other columns ([`others`])
//!       ─▶ normal scores by rank among the reference         whatever the distribution
//!       ─▶ means of windows of 16, 32, …, 256 rows, against how far such means stray ([`variance`])
//!       ─▶ Student's t with few degrees of freedom where the column drifts, for all windows together
//! ```
//!
//! What passes is one [`Change`] from where the mean begins to leave the usual until it is back. The trend of the reference may go
//! on, as may a drift; skewed and peaked scores need more (Cornish and Fisher 1938), and so do rows that vary more than the reference.
//!
//! Cost: O(columns² · rows), and a sort of the reference for each column. Memory: four values for each value.

mod others;
mod variance;
#[cfg(test)]
mod worlds;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use self::others::{residuals, smoothed};
use self::variance::{Scales, sums};
use super::{filled, spread};

/// Windows whose means are tested, at most an eighth of the reference long.
const WINDOWS: [usize; 5] = [16, 32, 64, 128, 256];
/// The longest window is this part of the reference.
const WINDOW_PART: usize = 8;
/// Groups without a change of which one is reported by chance, by the theory.
const ALPHA: f64 = 0.03;
/// Values further from the usual than this count as this far, in robust standard deviations.
const DISTANCE_MAX: f64 = 8.0;
/// Rows whose spread says whether the values vary more than in the reference.
const LOUD: usize = 64;
/// Rows whose mean says where a change begins and ends.
const EDGE: usize = 16;
/// Part of its height from which on a change is there.
const EDGE_PART: f64 = 0.3;
/// Changes no further apart than this are one.
const APART_MAX: usize = 16;
/// Rows that are learned from at least, and that come after them.
const LEARNED_MIN: usize = 256;
const AFTER_MIN: usize = 64;
/// The reference is the first one of this number of parts.
const REFERENCE_PART: usize = 3;
/// More columns are not regressed on each other.
const REGRESSED_MAX: usize = 128;

/// What a column is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Its own reference.
    Reference,
    /// What the other columns say.
    Others,
}

/// A column's part in a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The column.
    pub column: usize,
    /// What it is compared with.
    pub against: Against,
    /// How far it is beyond the threshold: 1 and more.
    pub ratio: f64,
    /// Its mean distance from what it is compared with, in its own unit.
    pub offset: f64,
    /// The row at which the distance, smoothed, is largest.
    pub peak: usize,
}

/// A stretch in which columns are not as they were in the reference. Rows, ends included.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The first row.
    pub first: usize,
    /// The last row.
    pub last: usize,
    /// The columns that show it, the clearest first; at least one.
    pub parts: Vec<Part>,
}

/// The reference of that many rows, if a caller knows no better; `None` of too few.
pub fn reference(rows: usize) -> Option<usize> {
    let learned = (rows / REFERENCE_PART).max(LEARNED_MIN);
    (rows >= learned + AFTER_MIN).then_some(learned)
}

/// Sustained changes in columns of equal length after their first `learned` rows, [`LEARNED_MIN`] at least; NaN is missing.
/// `part` of the threshold is enough: 1 keeps the promised rate of false findings.
pub fn sustained_changes(columns: &[Vec<f64>], learned: usize, part: f64) -> Vec<Change> {
    let rows = columns.first().map_or(0, Vec::len);
    if learned < LEARNED_MIN || rows < learned + AFTER_MIN {
        return Vec::new();
    }
    let units: Vec<_> = columns.iter().map(|column| Unit::of(column, learned)).collect();
    let scaled: Vec<Vec<f64>> =
        columns.iter().zip(&units).map(|(column, unit)| unit.scaled(column)).collect();
    let left = match scaled.len() <= REGRESSED_MAX {
        true => residuals(&scaled, learned),
        false => Vec::new(),
    };
    let lengths: Vec<usize> =
        WINDOWS.into_iter().filter(|length| *length <= learned / WINDOW_PART).collect();
    let windows: f64 = lengths.iter().map(|length| rows as f64 / *length as f64).sum();
    let test =
        Test { learned, lengths, p: ALPHA / ((scaled.len() + left.len()) as f64 * windows), part };
    let own = scaled.iter().map(|values| (Against::Reference, values));
    let given = left.iter().map(|values| (Against::Others, values));
    let all = own.enumerate().chain(given.enumerate());
    let mut found = Vec::new();
    for (column, (against, values)) in all {
        let known: Vec<bool> = columns[column].iter().map(|value| value.is_finite()).collect();
        for (first, last, ratio, peak, offset) in test.changes(values, &known) {
            let offset = offset * units[column].spread;
            let part = Part { column, against, ratio, offset, peak };
            found.push(Change { first, last, parts: vec![part] });
        }
    }
    merged(found)
}

/// Where a column lies in the reference, and how far it spreads.
struct Unit {
    centre: f64,
    spread: f64,
}

impl Unit {
    fn of(column: &[f64], learned: usize) -> Self {
        let known: Vec<f64> =
            column[..learned].iter().copied().filter(|value| value.is_finite()).collect();
        let usual = spread(&known);
        let least = f64::EPSILON * usual.centre.abs();
        Self { centre: usual.centre, spread: usual.at_least_of_mean().max(least) }
    }

    /// Standardizes a column and interpolates missing values. All 0 where nothing varies.
    fn scaled(&self, column: &[f64]) -> Vec<f64> {
        if self.spread <= 0.0 {
            return vec![0.0; column.len()];
        }
        let mut scaled: Vec<f64> = column
            .iter()
            .map(|value| ((value - self.centre) / self.spread).clamp(-DISTANCE_MAX, DISTANCE_MAX))
            .collect();
        if let Some(first) = scaled.first_mut().filter(|first| first.is_nan()) {
            *first = 0.0;
        }
        filled(&scaled)
    }
}

/// The test of one column, or of its residuals.
struct Test {
    learned: usize,
    lengths: Vec<usize>,
    /// Probability of one window by chance.
    p: f64,
    part: f64,
}

impl Test {
    /// First and last row, ratio to the threshold, peak and mean distance of each change.
    fn changes(&self, values: &[f64], known: &[bool]) -> Vec<(usize, usize, f64, usize, f64)> {
        let (learned, rows) = (self.learned, values.len());
        let mut scores = normal_scores(values, learned);
        let mean = scores[..learned].iter().sum::<f64>() / learned as f64;
        for (score, is_known) in scores.iter_mut().zip(known) {
            *score = if *is_known { *score - mean } else { 0.0 };
        }
        let reference = &scores[..learned];
        let moment = |power: i32| {
            reference.iter().map(|score| score.powi(power)).sum::<f64>() / learned as f64
        };
        let square = moment(2);
        if square <= f64::EPSILON {
            return Vec::new();
        }
        let (skew, peaked) =
            (moment(3) / square.powf(1.5), (moment(4) / square.powi(2) - 3.0).max(0.0));
        let slope = trend(reference);
        let (scales, sums) = (Scales::of(reference), sums(&scores));
        let loudness = loudness(&scores, square);
        let mut ratios = vec![0.0_f64; rows];
        for length in &self.lengths {
            let mut span = learned;
            let mut thresholds = self.thresholds(&scales, *length, span, skew, peaked);
            for first in 0..=rows - length {
                let last = first + length;
                while last > span {
                    span *= 2;
                    thresholds = self.thresholds(&scales, *length, span, skew, peaked);
                }
                let mut mean = (sums[last] - sums[first]) / *length as f64;
                mean /= loudness[first + length / 2];
                if first + length / 2 > learned {
                    let middle = (first + length / 2) as f64 - learned as f64 / 2.0;
                    let drift = slope * middle;
                    if drift * mean > 0.0 {
                        mean = mean.signum() * (mean.abs() - drift.abs()).max(0.0);
                    }
                }
                let ratio = mean.abs() / thresholds[usize::from(mean > 0.0)] / self.part;
                if ratio > 1.0 {
                    let of = &mut ratios[first..last];
                    of.iter_mut().for_each(|most| *most = most.max(ratio));
                }
            }
        }
        let smooth = smoothed(&scores, EDGE);
        let is_beyond = |row: usize| ratios[row] > 1.0;
        let mut found = Vec::new();
        let mut row = 0;
        while row < rows {
            let end = (row..rows).find(|row| !is_beyond(*row)).unwrap_or(rows);
            if end > row {
                found.extend(self.change(row..end, &ratios, &smooth, values));
            }
            row = end + 1;
        }
        found
    }

    /// Least distances of a mean below and above the usual that are reported.
    fn thresholds(
        &self,
        scales: &Scales,
        length: usize,
        span: usize,
        skew: f64,
        peaked: f64,
    ) -> [f64; 2] {
        let (variance, freedom) = scales.of_mean(length, span);
        let z = -Normal::standard().inverse_cdf(self.p / 2.0);
        // Degrees of freedom are positive and finite.
        let t = StudentsT::new(0.0, 1.0, freedom)
            .map_or(f64::INFINITY, |t| -t.inverse_cdf(self.p / 2.0));
        let more = peaked / (24.0 * length as f64) * (z.powi(3) - 3.0 * z);
        let side = skew / (6.0 * (length as f64).sqrt()) * (z * z - 1.0);
        [-side, side].map(|side| (t + more + side.max(0.0)) * variance.sqrt())
    }

    /// The part of a stretch in which the mean is away from the usual.
    fn change(
        &self,
        stretch: std::ops::Range<usize>,
        ratios: &[f64],
        smooth: &[f64],
        values: &[f64],
    ) -> Option<(usize, usize, f64, usize, f64)> {
        let mut heights = smooth[stretch.clone()].to_vec();
        let height = super::median(&mut heights)?;
        let is_away = |row: &usize| height.signum() * smooth[*row] > EDGE_PART * height.abs();
        let first = stretch.clone().find(is_away)?;
        let last = stretch.clone().rev().find(is_away)?;
        let side = |row: &usize| height.signum() * smooth[*row];
        let peak = (first..=last).max_by(|a, b| side(a).total_cmp(&side(b)))?;
        let usual = super::median(&mut values[..self.learned].to_vec())?;
        let now = super::median(&mut values[first..=last].to_vec())?;
        let ratio = ratios[stretch].iter().copied().fold(0.0, f64::max);
        Some((first, last, ratio, peak, now - usual))
    }
}

/// The normal score of each value by its mid-rank among the first `learned`.
fn normal_scores(values: &[f64], learned: usize) -> Vec<f64> {
    let mut sorted = values[..learned].to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let normal = Normal::standard();
    // By the sum of both ranks.
    let of_rank: Vec<f64> = (0..=2 * learned)
        .map(|both| normal.inverse_cdf((both as f64 / 2.0 + 0.5) / (learned + 1) as f64))
        .collect();
    let score = |value: &f64| {
        let below = sorted.partition_point(|other| other < value);
        let not_above = sorted.partition_point(|other| other <= value);
        of_rank[below + not_above]
    };
    values.iter().map(score).collect()
}

/// The part of the slope of a reference that may continue: the whole from one standard error on, and less of one that noise explains.
fn trend(reference: &[f64]) -> f64 {
    let slope = slope(reference);
    let middle = (reference.len() - 1) as f64 / 2.0;
    let level = |(at, value): (usize, &f64)| value - slope * (at as f64 - middle);
    let level: Vec<f64> = reference.iter().enumerate().map(level).collect();
    let half = 1_usize << (reference.len().ilog2() - 1);
    let (variance, _) = Scales::of(&level).of_mean(half, reference.len());
    let errors = slope.abs() * middle / (2.0 * variance).sqrt().max(f64::MIN_POSITIVE);
    slope * errors.min(1.0)
}

/// How much further the values around each row spread than `square`, the variance of the reference; 1 at least. A shift is no
/// spread.
fn loudness(scores: &[f64], square: f64) -> Vec<f64> {
    let means = smoothed(scores, LOUD);
    let squares: Vec<f64> = scores.iter().map(|score| score * score).collect();
    let around = smoothed(&squares, LOUD).into_iter().zip(means);
    around.map(|(all, mean)| ((all - mean * mean) / square).max(1.0).sqrt()).collect()
}

/// The slope of the line through values, a step apart.
fn slope(values: &[f64]) -> f64 {
    let middle = (values.len() - 1) as f64 / 2.0;
    let (mut both, mut square) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let distance = at as f64 - middle;
        both += distance * value;
        square += distance * distance;
    }
    if square > 0.0 { both / square } else { 0.0 }
}

/// Changes that touch, or nearly so, as one; the parts of one column as its clearest.
fn merged(mut found: Vec<Change>) -> Vec<Change> {
    found.sort_by_key(|change| (change.first, change.last));
    let mut merged: Vec<Change> = Vec::new();
    for next in found {
        match merged.last_mut() {
            Some(open) if next.first <= open.last + APART_MAX => {
                open.last = open.last.max(next.last);
                open.parts.extend(next.parts);
            }
            _ => merged.push(next),
        }
    }
    for change in &mut merged {
        change.parts.sort_by(|a, b| b.ratio.total_cmp(&a.ratio).then(a.column.cmp(&b.column)));
        let mut seen = Vec::new();
        change.parts.retain(|part| {
            let is_new = !seen.contains(&part.column);
            seen.push(part.column);
            is_new
        });
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    /// Three columns of noise; the second is higher by `more` in rows 700 to 1000, which comes and goes in 60 rows.
    fn columns(more: f64) -> Vec<Vec<f64>> {
        let mut noise = Noise::new(5);
        let mut columns = vec![Vec::new(); 3];
        for row in 0..1_200 {
            let row = f64::from(row);
            let there = ((row - 700.0) / 60.0).min((1_000.0 - row) / 60.0).clamp(0.0, 1.0);
            columns[0].push(30.0 + noise.normal());
            columns[1].push(1_000.0 + 100.0 * (noise.normal() + more * there));
            columns[2].push(0.5 + 0.01 * noise.normal());
        }
        columns
    }

    #[test]
    fn a_change_that_comes_by_and_by_is_one_from_its_begin_to_its_end() {
        let columns = columns(2.0);
        let learned = reference(1_200).unwrap_or(0);
        assert_eq!(learned, 400);
        let found = sustained_changes(&columns, learned, 1.0);
        assert_eq!(found.len(), 1, "{found:?}");
        let Change { first, last, parts } = &found[0];
        assert!((690..=740).contains(first) && (960..=1_010).contains(last), "{found:?}");
        assert_eq!(parts[0].column, 1);
        assert!((150.0..260.0).contains(&parts[0].offset) && parts[0].ratio > 1.5, "{found:?}");
        assert!((*first..=*last).contains(&parts[0].peak));
        assert_eq!(sustained_changes(&self::columns(0.0), learned, 1.0), []);
        // A threshold that is far higher.
        assert_eq!(sustained_changes(&columns, learned, 50.0), []);
    }

    #[test]
    fn rows_without_a_value_are_no_change() {
        let mut columns = columns(0.0);
        columns[0][600..900].fill(f64::NAN);
        columns[2][..900].fill(f64::NAN);
        columns[1].iter_mut().step_by(3).for_each(|value| *value = f64::NAN);
        assert_eq!(sustained_changes(&columns, 400, 1.0), []);
        let constant = vec![vec![4.0; 1_200], [vec![1.0; 600], vec![2.0; 600]].concat()];
        assert_eq!(sustained_changes(&constant, 400, 1.0), []);
        assert_eq!(sustained_changes(&[], 400, 1.0), []);
        assert_eq!(sustained_changes(&columns, 255, 1.0), []);
        assert_eq!([319, 320, 900].map(reference), [None, Some(256), Some(300)]);
    }

    #[test]
    fn equal_values_have_the_score_of_their_middle_rank() {
        let scores = normal_scores(&[1.0, 2.0, 2.0, 3.0, 2.0, 9.0, -9.0], 4);
        assert_eq!(scores[1], scores[2]);
        assert!(scores[1].abs() < 1e-12 && scores[4].abs() < 1e-12);
        assert!(scores[5] > scores[3] && scores[6] < scores[0]);
        assert!((scores[5] + scores[6]).abs() < 1e-12);
    }
}
