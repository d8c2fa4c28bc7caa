#![allow(clippy::unwrap_used)]

use super::*;
use crate::Noise;

const QUARTER: usize = 91;
const HISTORY: usize = 28;

/// A false alarm in all of so many checks of a quarter.
fn chance(checks: usize) -> f64 {
    1.0 / (checks * QUARTER) as f64
}

fn readings(values: impl IntoIterator<Item = f64>, rows: u64) -> Vec<Reading> {
    let of = |(at, value)| Reading { at, rows, value };
    (0..).zip(values).map(of).collect()
}

/// Checks of the kind that fail in a year and a month, of a world of each seed.
fn alarms(
    measure: Measure,
    checks: usize,
    mut world: impl FnMut(&mut Noise, usize) -> (f64, u64),
) -> f64 {
    let mut alarms = 0;
    for seed in 0..checks as u64 {
        let mut noise = Noise::new(7_919 * seed + 1);
        let of = |at: usize| {
            let (value, rows) = world(&mut noise, at);
            Reading { at: at as i64, rows, value }
        };
        let made: Vec<Reading> = (0..HISTORY + 4 * QUARTER).map(of).collect();
        let judged = judge(&made, HISTORY, measure, chance(checks));
        assert!(judged[..HISTORY_MIN].iter().all(|of| of.limits.is_none()));
        assert!(judged[HISTORY_MIN..].iter().all(|of| of.limits.is_some()));
        alarms += judged.iter().filter(|of| !of.is_fine()).count();
    }
    alarms as f64 / 4.0
}

fn poisson(noise: &mut Noise, mean: f64) -> f64 {
    let (mut count, mut left) = (0.0, mean);
    loop {
        left += (1.0 - noise.uniform()).ln();
        if left < 0.0 {
            return count;
        }
        count += 1.0;
    }
}

#[test]
fn where_nothing_changes_there_is_about_one_false_alarm_in_a_quarter() {
    let checks = 100;
    let weekend = |at: usize| if at % 7 < 5 { 1_000.0 } else { 300.0 };
    let found = [
        alarms(Measure::Value, checks, |noise, _| (50.0 + noise.normal(), 1_000)),
        alarms(Measure::Value, checks, |noise, _| (-(1.0 - noise.uniform()).ln(), 1_000)),
        alarms(Measure::Value, checks, |noise, _| ((0.5 * noise.normal()).exp(), 1_000)),
        alarms(Measure::Value, checks, |noise, _| (noise.uniform(), 1_000)),
        alarms(Measure::Value, checks, |noise, _| {
            (-(1.0 - noise.uniform()).ln() * (noise.uniform() - 0.5).signum(), 1_000)
        }),
        // The longest wait between some 200 rows of a day.
        alarms(Measure::Most, checks, |noise, _| {
            let mut wait = |_| -(1.0 - noise.uniform()).ln();
            ((0..200).map(&mut wait).fold(0.0, f64::max), 200)
        }),
        alarms(Measure::Mean, checks, |noise, at| {
            let rows = 30 + 970 * (at % 5 / 2) as u64;
            (5.0 + noise.normal() / (rows as f64).sqrt(), rows)
        }),
        alarms(Measure::Count { weekly: true }, checks, |noise, at| {
            (poisson(noise, weekend(at)).round(), 0)
        }),
        alarms(Measure::Count { weekly: true }, checks, |noise, _| (poisson(noise, 40.0), 0)),
        alarms(Measure::Count { weekly: true }, checks, |noise, at| {
            (weekend(at) * (1.0 + 0.1 * noise.normal()), 0)
        }),
        alarms(Measure::Share, checks, |noise, _| (poisson(noise, 0.02) / 1_000.0, 1_000)),
        alarms(Measure::Share, checks, |noise, _| (poisson(noise, 1.0) / 1_000.0, 1_000)),
        alarms(Measure::Share, checks, |noise, at| {
            let rows = [1_000, 50, 300][at % 3];
            (poisson(noise, 0.05 * rows as f64) / rows as f64, rows)
        }),
    ];
    assert!(found.iter().all(|alarms| *alarms <= 2.0), "{found:?}");
    // Tails that are longer are not promised.
    let far = [1.0, 2.0].map(|sigma| {
        alarms(Measure::Value, checks, |noise, _| ((sigma * noise.normal()).exp(), 1_000))
    });
    assert!(far.iter().all(|alarms| *alarms <= 6.0), "{far:?}");
}

#[test]
fn a_long_wait_that_passed_does_not_let_a_day_without_rows_pass() {
    let mut noise = Noise::new(3);
    let hours = |noise: &mut Noise| 0.4 + 0.4 * noise.uniform();
    let mut waits: Vec<f64> = (0..60).map(|_| hours(&mut noise)).collect();
    (waits[25], waits[40], waits[50]) = (1.7, 2.9, 24.0);
    let judged = judge(&readings(waits, 200), HISTORY, Measure::Most, chance(10));
    let told: Vec<i64> = judged.iter().filter(|of| !of.is_fine()).map(|of| of.reading.at).collect();
    assert!(told.contains(&50), "{told:?}");
    let upper = judged[51].limits.unwrap().upper;
    assert!(upper < 24.0, "{upper}");
}

#[test]
fn what_breaks_is_told_at_once_and_what_lasts_becomes_usual() {
    let fails = |made: &[Reading], measure| {
        let judged = judge(made, HISTORY, measure, chance(100));
        let fails = judged.iter().filter(|of| !of.is_fine());
        fails.map(|of| of.reading.at).collect::<Vec<_>>()
    };
    // A day of half the rows, where weekends have a third of them.
    let mut noise = Noise::new(5);
    let weekend = |at: usize| if at % 7 < 5 { 10_000.0 } else { 3_000.0 };
    let made = (0..100).map(|at| (weekend(at) * (1.0 + 0.02 * noise.normal())).round());
    let mut rows = readings(made, 0);
    rows[60].value *= 0.5;
    rows[75].value *= 2.0;
    assert_eq!(fails(&rows, Measure::Count { weekly: true }), [60, 75]);
    // Of two weeks it is known what working days have, and what weekends.
    let few = |at: i64| if matches!(at % 7, 2 | 3) { 3_000.0 } else { 10_000.0 };
    let mut weeks = readings((0..24).map(few), 0);
    (weeks[20].value, weeks[23].value) = (5_000.0, 5_500.0);
    assert_eq!(fails(&weeks, Measure::Count { weekly: true }), [20, 23]);
    // By hours there are no weekdays, and half is within what comes; nothing at all is not.
    assert_eq!(fails(&rows, Measure::Count { weekly: false }), [0_i64; 0]);
    rows[80].value = 0.0;
    assert_eq!(fails(&rows, Measure::Count { weekly: false }), [80]);
    // Nulls where there were none, and of a few rows one that may be by chance.
    let mut nulls = readings((0..100).map(|_| 0.0), 1_000);
    (nulls[50].value, nulls[60].value, nulls[61].value) = (0.05, 0.002, 0.003);
    (nulls[70].value, nulls[70].rows) = (0.1, 10);
    assert_eq!(fails(&nulls, Measure::Share), [50]);
    let far = judge(&nulls, HISTORY, Measure::Share, chance(100))[50].limits.unwrap();
    assert_eq!((far.lower, far.usual), (0.0, 0.0));
    assert!((far.beyond(0.05) - 0.05 / far.upper).abs() < 1e-12 && far.beyond(far.upper) == 0.0);
    // Half of the rows from day 40 on: told until a third of the history is so.
    let made = (0..100).map(|at| if at < 40 { 0.0 } else { 0.5 });
    let told: Vec<i64> = (40..50).collect();
    assert_eq!(fails(&readings(made, 1_000), Measure::Share), told);
    // The least history goes on without what was out of order.
    let short =
        judge(&readings((0..40).map(|at| f64::from(at % 20 == 15)), 9), 14, Measure::Share, 1e-4);
    let failed = short.iter().filter(|of| !of.is_fine()).map(|of| of.reading.at);
    assert_eq!(failed.collect::<Vec<_>>(), [15, 35]);
    assert!(short[14..].iter().all(|of| of.limits.is_some()));
    // The smallest of a few values is larger.
    let mut least = readings((0..40).map(|at| f64::from(at % 3)), 1_000);
    least[39] = Reading { rows: 499, value: 40.0, ..least[39] };
    assert_eq!(fails(&least, Measure::Least), [0_i64; 0]);
    assert_eq!(fails(&least, Measure::Greatest), [39]);
    least[39] = Reading { rows: 499, value: -40.0, ..least[39] };
    assert_eq!(
        (fails(&least, Measure::Least), fails(&least, Measure::Greatest)),
        (vec![39], vec![])
    );
    least[39].rows = 500;
    assert_eq!(fails(&least, Measure::Greatest), [39]);
    // A number that only grows is as it always was; the first that was never so is told.
    let mut grows = readings((0..100).map(f64::from), 10);
    assert_eq!(fails(&grows, Measure::Value), [0_i64; 0]);
    grows[80].value = 500.0;
    assert_eq!(fails(&grows, Measure::Value), [80]);
    let mut stars = readings((0..60).map(|_| 5.0), 10);
    stars[59].value = 5.1;
    assert_eq!(fails(&stars, Measure::Value), [59]);
}

/// Beside the beta function of integers, and how often exponential values really are so far beyond.
#[test]
fn widths_are_those_of_exponential_tails() {
    for (count, power) in [(28, 2), (28, 4), (14, 3), (100, 3)] {
        // n · B(n, 1 + power) = power! · n! / (n + power)!
        let chance: f64 = (1..=power).map(|of| f64::from(of) / f64::from(count + of)).product();
        let found = widths(count as usize, chance);
        assert!((found + 1.0 - f64::from(power)).abs() < 1e-9, "{count} {power}: {found}");
    }
    assert_eq!(
        (widths(28, 0.5), rows_of_nothing(28, 0.9), rows_of_nothing(9, 1e-3)),
        (0.0, 1.0, 3.0)
    );
    let (mut noise, tries, chance) = (Noise::new(3), 200_000, 1e-3);
    let width = widths(HISTORY, chance);
    let beyond = (0..tries).filter(|_| {
        let mut drawn = || -(1.0 - noise.uniform()).ln();
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for _ in 0..HISTORY {
            let value = drawn();
            (least, most) = (least.min(value), most.max(value));
        }
        drawn() > most + width * (most - least)
    });
    let found = beyond.count() as f64 / f64::from(tries);
    assert!((0.8 * chance..1.3 * chance).contains(&found), "{found}");
}

#[test]
fn nothing_is_known_by_little() {
    let few = readings((0..HISTORY_MIN - 1).map(|_| 1.0), 10);
    let next = Reading { at: 99, rows: 0, value: 2.0 };
    for measure in [Measure::Share, Measure::Mean, Measure::Value, Measure::Count { weekly: true }]
    {
        assert_eq!(limits(&few, &next, measure, 1e-3), None);
        assert_eq!(limits(&[], &next, measure, 1e-3), None);
    }
    assert!(judge(&[], HISTORY, Measure::Value, 1e-3).is_empty());
}
