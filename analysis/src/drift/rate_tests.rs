//! How often drift is reported in columns in which nothing drifts, and how often a planted drift is found. `make test-drift` tries 200
//! worlds of each shape and length.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use rayon::prelude::*;

use super::worlds::{Planted, SHAPES, Shape, World};
use super::*;

const QUARTER: usize = 91;
const REFERENCE: usize = 28;
/// Days before the planted drift that are no part of the reference, and days within which it must be reported.
const BEFORE: usize = 7;
const FOUND_WITHIN: usize = 14;
/// Standard deviations of a share above its rate that are no rarity among a hundred shares.
const BEYOND_CHANCE: f64 = 3.3;
/// Shapes with independent rows, in which half a standard deviation is more than days differ.
const PLAIN: &[Shape] = SHAPES.split_at(9).0;
/// Worlds of each shape and length: in each run of the tests, and at most.
const WORLDS: [u64; 2] = [3, 200];

fn worlds() -> (u64, &'static [usize]) {
    let asked = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok());
    match asked {
        Some(asked) => (WORLDS[1].min(asked), &[20, 60, 200, 1_000, 5_000]),
        None => (WORLDS[0], &[20, 60]),
    }
}

fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Drifts of a column with `rows` rows a period, in `periods` of which those after the first `before` have what is planted.
fn drifts(
    rule: Rule,
    (shape, rows, seed): (Shape, usize, u64),
    (planted, before, periods): (Planted, usize, usize),
) -> Vec<Drift> {
    let mut world = World::new(shape, rows, seed);
    let mut watch = Watch::new(rule);
    for at in 0..periods {
        let sample = world.day(if at >= before { planted } else { Planted::Nothing });
        watch.push(Period { at: at as i64, sample });
    }
    watch.finish().0
}

/// The share of worlds of which this is true.
fn share(worlds: u64, is_so: impl Fn(u64) -> bool + Sync) -> f64 {
    (0..worlds).into_par_iter().filter(|seed| is_so(*seed)).count() as f64 / worlds as f64
}

/// The largest share of worlds with a false alarm that chance explains. `rate`: the stated number of alarms of a world.
fn most(rate: f64, worlds: u64) -> f64 {
    let share = 1.0 - (-rate).exp();
    share + BEYOND_CHANCE * (share * (1.0 - share) / worlds as f64).sqrt()
}

#[test]
fn columns_in_which_nothing_drifts_keep_the_stated_rate() {
    let (worlds, lengths) = worlds();
    let (mut failed, mut all) = (Vec::new(), 0.0);
    for watched in [1, 5] {
        let looks = QUARTER as f64;
        let rule = Rule::of(REFERENCE, [7, 0], (watched, looks), 1.0).unwrap();
        let rate = rule.false_alarms(1, looks);
        let most = most(rate, worlds);
        report(&format!(
            "{watched} columns, {} in a row, stated rate {rate:.3}, at most {most:.3} of {worlds} worlds",
            rule.in_a_row
        ));
        for shape in SHAPES {
            let mut line = format!("{:20}", format!("{shape:?}"));
            for rows in lengths {
                let quiet = (Planted::Nothing, 0, REFERENCE + QUARTER);
                let alarms = share(worlds, |seed| {
                    !drifts(rule, (shape, *rows, 7_919 * seed), quiet).is_empty()
                });
                line += &format!("  {alarms:.3}");
                all += alarms / (lengths.len() * SHAPES.len() * 2) as f64 / rate;
                if alarms > most {
                    failed.push((watched, shape, *rows, alarms));
                }
            }
            report(&line);
        }
    }
    assert!(failed.is_empty(), "above the stated rate: {failed:?}");
    // Of all of them together no more than the stated rate.
    assert!(all <= 1.0, "{all} times the stated rate");
}

#[test]
fn planted_drifts_are_found() {
    let (worlds, lengths) = worlds();
    let worlds = worlds.div_ceil(2);
    let lengths = if lengths.len() > 2 { lengths } else { &[60, 200] };
    let rule = Rule::of(REFERENCE, [7, 0], (1, QUARTER as f64), 1.0).unwrap();
    let begin = REFERENCE + BEFORE;
    let mut plain = Vec::new();
    report("share of shifts | of nulls that are found within two weeks");
    for shape in SHAPES {
        let mut line = format!("{:20}", format!("{shape:?}"));
        for rows in lengths {
            let [shifts, nulls] = [Planted::Shift, Planted::Nulls].map(|planted| {
                share(worlds, |seed| {
                    let planted = (planted, begin, begin + FOUND_WITHIN);
                    let drifts = drifts(rule, (shape, *rows, 1 + 7_919 * seed), planted);
                    drifts.iter().any(|drift| drift.told >= begin as i64)
                })
            });
            line += &format!("  {shifts:.2}|{nulls:.2}");
            // Shapes whose days differ among each other by about as much as the shift are harder.
            if *rows >= 200 && PLAIN.contains(&shape) {
                plain.push(shifts);
            }
        }
        report(&line);
    }
    let mean = plain.iter().sum::<f64>() / plain.len() as f64;
    assert!(mean >= 0.95, "{mean} of the shifts were found");
}

/// The hours of a reference of two weeks include each hour of the week twice.
#[test]
fn hours_that_differ_by_day_and_week_keep_the_stated_rate() {
    let worlds = worlds().0.div_ceil(4);
    let (reference, looks) = (14 * 24, QUARTER * 24);
    let rule = Rule::of(reference, [24, 7 * 24], (1, looks as f64), 1.0).unwrap();
    let rate = rule.false_alarms(1, looks as f64);
    let quiet = (Planted::Nothing, 0, reference + looks);
    for rows in [20, 60] {
        let alarms = share(worlds, |seed| {
            !drifts(rule, (Shape::Hours, rows, 7_919 * seed), quiet).is_empty()
        });
        report(&format!(
            "hours of {rows} rows, {} in a row, stated rate {rate:.3}: {alarms:.3} of {worlds} worlds",
            rule.in_a_row
        ));
        assert!(alarms <= most(rate, worlds), "{alarms}, stated {rate}");
    }
}
