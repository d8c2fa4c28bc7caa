//! What is measured beside what is usual, or what is known to be right, and what that is worth.

use std::collections::BTreeMap;

use analysis::quality::{Limits, Reading, judge};

use super::params::{Check, Dimension, Params};
use super::read::{Measured, Read};
use super::window::Window;
use crate::kinds::drift::Seen;
use crate::series::words::{number, severity};

/// The part of values that may be repeated or refer to nothing, whatever was usual.
const AT_MOST_WRONG: f64 = 0.5;

/// Who says how far a value may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    Learned,
    Known,
}

impl Origin {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Known => "known",
        }
    }
}

/// A check of a period.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) check: Check,
    pub(super) column: String,
    pub(super) reading: Reading,
    pub(super) limits: Limits,
    pub(super) origin: Origin,
    pub(super) is_fine: bool,
    /// Of distributions what the values are like, and what they were.
    pub(super) like: Option<(String, String)>,
}

impl Checked {
    /// 0 at the limit, 50 at twice as far from what is usual; of a limit that somebody told no less than 50, and of rows no less than how many
    /// of a hundred did not come.
    pub(super) fn severity(&self) -> f64 {
        let Self { check, reading, limits, .. } = self;
        let beyond = match (self.is_fine, check) {
            (true, _) => return 0.0,
            (false, Check::Distribution) => return severity(reading.value, limits.upper),
            // Of a limit that what is usual is not within there is no measure.
            (false, _) if !limits.hold(limits.usual) => 50.0,
            (false, _) => severity(limits.beyond(reading.value), 1.0),
        };
        let told = if self.origin == Origin::Known { 50.0 } else { 0.0 };
        let missing = match check {
            Check::Rows if limits.usual > 0.0 => 100.0 * (1.0 - reading.value / limits.usual),
            _ => 0.0,
        };
        beyond.max(told).max(missing)
    }

    /// What is so, in words.
    pub(super) fn words(&self) -> String {
        let Self { check, column, reading: Reading { rows, value, .. }, limits, .. } = self;
        if let Some((before, after)) = &self.like {
            return format!("{column} has drifted: {after}; before, {before}");
        }
        let as_said = |value: f64| match check {
            Check::Nulls | Check::Empty | Check::Repeated | Check::Orphans => {
                format!("{} %", number(100.0 * value))
            }
            Check::Gap => format!("{} h", number(value / 3_600.0)),
            _ => number(value),
        };
        let rows = number(*rows as f64);
        let found = as_said(*value);
        let what = match check {
            Check::Gap => format!("no row came for {found}"),
            Check::Rows => format!("{found} rows came"),
            Check::Nulls => format!("{column} has no value in {found} of {rows} rows"),
            Check::Empty => format!("{column} is empty in {found} of {rows} rows"),
            Check::Least => format!("the smallest {column} is {found}"),
            Check::Greatest => format!("the largest {column} is {found}"),
            Check::Mean => format!("the mean of {column} is {found}"),
            Check::Shortest => format!("the shortest {column} has {found} characters"),
            Check::Longest => format!("the longest {column} has {found} characters"),
            Check::Repeated => format!("{found} of {rows} values of {column} are repeated"),
            Check::Orphans => format!("{found} of {rows} values of {column} refer to nothing"),
            Check::Distribution => format!("{column} is {found} from what it was"),
        };
        let side = match *value > limits.upper {
            true => format!("at most {}", as_said(limits.upper)),
            false => format!("at least {}", as_said(limits.lower)),
        };
        match (self.is_fine, limits.usual.is_finite()) {
            (true, _) if *check == Check::Distribution && *value > limits.upper => {
                format!("{what}, {side} is usual: it fails where that lasts")
            }
            (true, true) => format!("{what}, usually {}", as_said(limits.usual)),
            (true, false) => what,
            (false, true) => format!("{what}, expected {side}, usually {}", as_said(limits.usual)),
            (false, false) => format!("{what}, expected {side}"),
        }
    }
}

/// Holds all of it against what is known and what is usual, with so many false alarms of each check in a quarter of a year: the periods that are asked for, in order of checks, columns and periods.
pub(super) fn checked(
    params: &Params,
    window: &Window,
    read: &Read,
    seen: &[(&str, Seen)],
    alarms_of_one: f64,
) -> Vec<Checked> {
    let chance = (alarms_of_one / window.periods.per_quarter()).min(0.5);
    let first = window.last - params.periods as i64 + 1;
    let mut all = Vec::new();
    for measured in &read.measured {
        let learned =
            judge(&measured.readings, params.history, measured.measure(params.period), chance);
        let known = params.known(measured.check, &measured.column);
        for of in learned.into_iter().filter(|of| of.reading.at >= first) {
            let usual = of.limits.map_or(f64::NAN, |limits| limits.usual);
            let (limits, origin) = match (known, of.limits) {
                (Some(known), _) => {
                    let lower = known.min.unwrap_or(f64::NEG_INFINITY);
                    let upper = known.max.unwrap_or(f64::INFINITY);
                    (Limits { lower, upper, usual }, Origin::Known)
                }
                (None, Some(mut limits)) => {
                    // What is asked to be unique, or to refer to something, mostly is; else it is the wrong column.
                    if matches!(measured.check, Check::Repeated | Check::Orphans) {
                        limits.upper = limits.upper.min(AT_MOST_WRONG);
                    }
                    (limits, Origin::Learned)
                }
                (None, None) => continue,
            };
            let is_fine = limits.hold(of.reading.value);
            let Measured { check, column, .. } = measured;
            all.push(Checked {
                check: *check,
                column: column.clone(),
                reading: of.reading,
                limits,
                origin,
                is_fine,
                like: None,
            });
        }
    }
    for (column, seen) in seen {
        for score in seen.scores.iter().filter(|score| !score.is_reference && score.at >= first) {
            let Some(upper) = score.limit else { continue };
            let drift = seen.drifts.iter().find(|of| (of.told..=of.ended).contains(&score.at));
            all.push(Checked {
                check: Check::Distribution,
                column: (*column).to_owned(),
                reading: Reading { at: score.at, rows: score.rows, value: score.distance },
                limits: Limits { lower: 0.0, upper, usual: f64::NAN },
                origin: Origin::Learned,
                is_fine: drift.is_none(),
                like: drift.map(|of| of.words.clone()),
            });
        }
    }
    all.sort_by(|a, b| (a.check, &a.column, a.reading.at).cmp(&(b.check, &b.column, b.reading.at)));
    all
}

/// What all checks of a period are worth.
#[derive(Clone, Debug)]
pub(super) struct Score {
    pub(super) at: i64,
    /// 0 to 100.
    pub(super) score: f64,
    pub(super) checks: usize,
    /// Those that failed, the dearest first: the points that each costs, and what is so.
    pub(super) failed: Vec<Failed>,
    /// Of each dimension that there are checks of, the part of them that did not fail.
    pub(super) dimensions: BTreeMap<Dimension, f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) check: Check,
    pub(super) column: String,
    /// The period that it is of.
    pub(super) at: i64,
    pub(super) points: f64,
    pub(super) words: String,
}

/// The score of each period. One that goes on takes of the one before it what is not known before a period is over.
pub(super) fn scores(window: &Window, checked: &[Checked]) -> Vec<Score> {
    let mut periods: BTreeMap<i64, Vec<&Checked>> = BTreeMap::new();
    for of in checked {
        periods.entry(of.reading.at).or_default().push(of);
    }
    let before = periods.get(&(window.last - 1)).cloned().unwrap_or_default();
    let going_on = periods.get_mut(&window.last).filter(|_| !window.is_over(window.last));
    if let Some(newest) = going_on {
        for of in before {
            let is_there = |other: &&Checked| other.check == of.check && other.column == of.column;
            if !newest.iter().any(is_there) {
                newest.push(of);
            }
        }
    }
    periods.into_iter().map(|(at, of)| score(at, &of)).collect()
}

fn score(at: i64, checks: &[&Checked]) -> Score {
    let mut counts: BTreeMap<Dimension, (usize, usize)> = BTreeMap::new();
    for of in checks {
        let (all, fine) = counts.entry(of.check.dimension()).or_default();
        *all += 1;
        *fine += usize::from(of.is_fine);
    }
    let dimensions: BTreeMap<Dimension, f64> =
        counts.iter().map(|(of, (all, fine))| (*of, *fine as f64 / *all as f64)).collect();
    let score = 100.0 * dimensions.values().sum::<f64>() / dimensions.len().max(1) as f64;
    let points = |check: Check| {
        let all = counts.get(&check.dimension()).map_or(1, |(all, _)| *all);
        100.0 / (dimensions.len().max(1) * all) as f64
    };
    let failed = checks.iter().filter(|of| !of.is_fine);
    let mut failed: Vec<Failed> = failed
        .map(|of| Failed {
            check: of.check,
            column: of.column.clone(),
            at: of.reading.at,
            points: points(of.check),
            words: of.words(),
        })
        .collect();
    failed.sort_by(|a, b| {
        b.points.total_cmp(&a.points).then_with(|| (a.check, &a.column).cmp(&(b.check, &b.column)))
    });
    Score { at, score, checks: checks.len(), failed, dimensions }
}
