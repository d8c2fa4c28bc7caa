//! Simulated groups of series: how often a change is reported if nothing changes, and how much of a planted change is found.
//!
//! `COLONNADE_SERIES` groups of each kind, and any `COLONNADE_TEST_SEED`: `make test-rates`.

#![allow(clippy::print_stderr)]

use super::{reference, sustained_changes};
use crate::Noise;
use crate::testing::{number_from, seed};

/// Noise of variance 1 that is autocorrelated with `memory` from one value to the next.
fn correlated(noise: &mut Noise, rows: usize, memory: f64) -> Vec<f64> {
    let mut value = noise.normal();
    let part = (1.0 - memory * memory).sqrt();
    let mut next = || {
        value = memory * value + part * noise.normal();
        value
    };
    (0..rows).map(|_| next()).collect()
}

fn walk(noise: &mut Noise, rows: usize, step: f64) -> Vec<f64> {
    let mut value = 0.0;
    let mut next = || {
        value += step * noise.normal();
        value
    };
    (0..rows).map(|_| next()).collect()
}

/// How much of a change is there at each row: it comes, lasts and goes.
#[derive(Clone, Copy)]
struct Planted {
    from: usize,
    to: usize,
    comes: f64,
    goes: f64,
}

impl Planted {
    /// In the last three fifths of the rows.
    fn draw(noise: &mut Noise, rows: usize, shortest: usize, longest: usize) -> Self {
        let mut between =
            |least: usize, most: usize| least + (noise.uniform() * (most - least) as f64) as usize;
        let length = between(shortest, longest);
        let from = between(2 * rows / 5, rows - length - 10);
        let (comes, goes) = (between(5, 100) as f64, between(5, 60) as f64);
        Self { from, to: from + length, comes, goes }
    }

    fn part(self, row: usize) -> f64 {
        if !(self.from..self.to).contains(&row) {
            return 0.0;
        }
        let (since, until) = ((row - self.from) as f64, (self.to - row) as f64);
        (since / self.comes).min(until / self.goes).min(1.0)
    }
}

/// Columns, and what is planted in them.
type Group = (Vec<Vec<f64>>, Option<Planted>);

fn add(columns: &mut [Vec<f64>], planted: Option<Planted>, heights: &[(usize, f64)]) {
    let Some(planted) = planted else { return };
    for (column, height) in heights {
        let rows = columns[*column].iter_mut().enumerate();
        rows.for_each(|(row, value)| *value += height * planted.part(row));
    }
}

/// Eight sensors of a pump, a row a second: vibration, current, pressure in steps, drifting temperatures, voltage, flow in steps.
fn rig(noise: &mut Noise, is_planted: bool) -> Group {
    let rows = 1_100;
    let shaken = correlated(noise, rows, 0.2);
    let current = correlated(noise, rows, 0.9);
    let mut columns = vec![
        (0..rows).map(|row| 0.027 + 0.0004 * (0.6 * shaken[row] + 0.8 * noise.normal())).collect(),
        (0..rows).map(|row| 0.04 + 0.0009 * (0.8 * shaken[row] + 0.6 * noise.normal())).collect(),
        (0..rows)
            .map(|row| 1.0 + 0.3 * (1.5 * current[row]).tanh() + 0.1 * noise.normal())
            .collect(),
        (0..rows).map(|_| 0.055 + 0.327 * (0.9 * noise.normal()).round()).collect::<Vec<f64>>(),
        walk(noise, rows, 0.012).iter().map(|drift| 71.0 + drift + 0.1 * noise.normal()).collect(),
        walk(noise, rows, 0.002)
            .iter()
            .map(|drift| 25.5 + drift + 0.006 * noise.normal())
            .collect(),
        (0..rows).map(|row| 230.0 + 5.0 * current[row] + 8.0 * noise.normal()).collect(),
        correlated(noise, rows, 0.3).iter().map(|flow| 32.0 + 0.4 * flow).collect(),
    ];
    let planted = is_planted.then(|| Planted::draw(noise, rows, 120, 420));
    let height = 1.0 + noise.uniform();
    match (noise.uniform() * 4.0) as usize {
        0 => add(&mut columns, planted, &[(7, -2.0 * height)]),
        1 => add(&mut columns, planted, &[(7, -height), (3, 0.3 * height), (0, 0.0003)]),
        2 => add(&mut columns, planted, &[(0, 0.0005 * height), (1, 0.001 * height)]),
        _ => add(&mut columns, planted, &[(2, 0.3 * height), (6, -8.0 * height)]),
    }
    columns[7].iter_mut().for_each(|flow| *flow = flow.round());
    (columns, planted)
}

/// Six measures of a host that follow its load.
fn host(noise: &mut Noise, is_planted: bool) -> Group {
    let rows = 3_000;
    let load = correlated(noise, rows, 0.97);
    let mut columns: Vec<Vec<f64>> = (0..6)
        .map(|_| {
            let weight = 0.5 + noise.uniform();
            let own = correlated(noise, rows, 0.5);
            load.iter().zip(own).map(|(load, own)| 1.5 * weight * load + 0.4 * own).collect()
        })
        .collect();
    let planted = is_planted.then(|| Planted::draw(noise, rows, 120, 500));
    let height = 0.8 + noise.uniform();
    add(&mut columns, planted, &[(0, height), (3, -height)]);
    (columns, planted)
}

/// Twenty series of four causes.
fn factors(noise: &mut Noise, is_planted: bool) -> Group {
    let rows = 2_500;
    let causes: Vec<Vec<f64>> =
        (0..4).map(|at| correlated(noise, rows, 0.3 + 0.2 * at as f64)).collect();
    let mut columns: Vec<Vec<f64>> = (0..20)
        .map(|_| {
            let weights: Vec<f64> = (0..4).map(|_| noise.normal()).collect();
            let of = |row: usize| {
                causes.iter().zip(&weights).map(|(cause, weight)| weight * cause[row]).sum::<f64>()
            };
            (0..rows).map(|row| of(row) + 0.5 * noise.normal()).collect()
        })
        .collect();
    let planted = is_planted.then(|| Planted::draw(noise, rows, 120, 500));
    add(&mut columns, planted, &[(0, 0.8), (5, -0.8), (9, 0.8)]);
    (columns, planted)
}

/// Counts of one varying intensity.
fn counts(noise: &mut Noise, is_planted: bool) -> Group {
    let rows = 1_500;
    let load: Vec<f64> =
        correlated(noise, rows, 0.9).iter().map(|load| (0.3 * load).exp()).collect();
    let planted = is_planted.then(|| Planted::draw(noise, rows, 120, 400));
    let count = |noise: &mut Noise, mean: f64| {
        let (mut left, mut count) = (noise.uniform(), 0.0);
        let mut part = (-mean).exp();
        while left > part && count < 200.0 {
            left -= part;
            count += 1.0;
            part *= mean / count;
        }
        count
    };
    let columns = (0..5)
        .map(|column| {
            let mean = 0.5 + 5.0 * noise.uniform();
            let more =
                |row| planted.filter(|_| column == 2).map_or(1.0, |it| 1.0 + 1.5 * it.part(row));
            (0..rows).map(|row| count(noise, mean * load[row] * more(row))).collect()
        })
        .collect();
    (columns, planted)
}

/// Series that have nothing to do with each other, from white noise to almost a random walk.
fn slow(noise: &mut Noise, is_planted: bool) -> Group {
    let rows = 1_100;
    let memories = [0.0, 0.5, 0.9, 0.97, 0.99, 0.995, 0.98, 0.8];
    let mut columns: Vec<Vec<f64>> =
        memories.iter().map(|memory| correlated(noise, rows, *memory)).collect();
    let planted = is_planted.then(|| Planted::draw(noise, rows, 120, 420));
    add(&mut columns, planted, &[(0, 1.5), (1, -1.5)]);
    (columns, planted)
}

/// Six columns of a thousand independent values.
fn of_each(noise: &mut Noise, value: fn(&mut Noise) -> f64) -> Group {
    ((0..6).map(|_| (0..1_000).map(|_| value(noise)).collect()).collect(), None)
}

fn walks(noise: &mut Noise, _: bool) -> Group {
    let columns = (0..6).map(|at| {
        walk(noise, 1_000, 1.0).iter().map(|walk| walk + f64::from(at) * noise.normal()).collect()
    });
    (columns.collect(), None)
}

fn trends(noise: &mut Noise, _: bool) -> Group {
    let columns = (0..6).map(|_| {
        let slope = 0.01 * noise.normal();
        let left = correlated(noise, 900, 0.5);
        left.iter().enumerate().map(|(row, left)| slope * row as f64 + left).collect()
    });
    (columns.collect(), None)
}

fn uneven(noise: &mut Noise, _: bool) -> Group {
    let loud: Vec<f64> =
        correlated(noise, 1_500, 0.98).iter().map(|loud| (0.5 * loud).exp()).collect();
    let columns = (0..6).map(|_| loud.iter().map(|loud| loud * noise.normal()).collect());
    (columns.collect(), None)
}

type World = (&'static str, fn(&mut Noise, bool) -> Group);

/// Those in which a change can be planted, and the least F1 over their rows.
const PLANTED: [(World, f64); 5] = [
    (("rig", rig), 0.75),
    (("host", host), 0.7),
    (("factors", factors), 0.85),
    (("counts", counts), 0.5),
    (("slow", slow), 0.6),
];

const QUIET: [World; 9] = [
    ("walks", walks),
    ("trends", trends),
    ("uneven", uneven),
    ("normal", |noise, _| of_each(noise, Noise::normal)),
    ("0/1", |noise, _| of_each(noise, |noise| f64::from(u8::from(noise.uniform() < 0.3)))),
    ("rare", |noise, _| {
        of_each(
            noise,
            |noise| if noise.uniform() < 0.05 { (5.0 * noise.uniform()).ceil() } else { 0.0 },
        )
    }),
    ("lognormal", |noise, _| of_each(noise, |noise| (1.5 * noise.normal()).exp())),
    ("heavy", |noise, _| {
        of_each(noise, |noise| noise.normal() / (-(1.0 - noise.uniform()).ln()).sqrt())
    }),
    ("uniform", |noise, _| of_each(noise, Noise::uniform)),
];

/// Groups with a finding, of `count`, and the rows of each that are found, planted and both.
fn tried(world: World, count: u64, is_planted: bool) -> (u64, [f64; 3]) {
    let (mut groups, mut rows) = (0, [0.0; 3]);
    for at in 0..count {
        let mut noise = Noise::new(seed().wrapping_add(1_000_003 * at + u64::from(is_planted)));
        let (columns, planted) = world.1(&mut noise, is_planted);
        let learned = reference(columns[0].len()).unwrap_or(0);
        let found = sustained_changes(&columns, learned, 1.0);
        groups += u64::from(!found.is_empty());
        for row in 0..columns[0].len() {
            let is_found = found.iter().any(|it| (it.first..=it.last).contains(&row));
            let is_there = planted.is_some_and(|it| (it.from..it.to).contains(&row));
            for (rows, is) in rows.iter_mut().zip([is_found, is_there, is_found && is_there]) {
                *rows += f64::from(u8::from(is));
            }
        }
    }
    (groups, rows)
}

#[test]
fn changes_are_found_where_they_are_planted_and_seldom_elsewhere() {
    let count = number_from("COLONNADE_SERIES", 3);
    let (mut quiet, mut all) = (0, 0);
    for world in PLANTED.iter().map(|(world, _)| *world).chain(QUIET) {
        let (groups, _) = tried(world, count, false);
        eprintln!("{}: {groups} of {count} groups without a change have a finding", world.0);
        // A bound that one world in 10,000 passes by chance at a rate of 3 in 100.
        let bound = 0.03 * count as f64;
        assert!((groups as f64) < bound + 3.8 * bound.sqrt() + 1.0, "{}: {groups}", world.0);
        quiet += groups;
        all += count;
    }
    eprintln!("{quiet} of {all} groups without a change have a finding");
    let bound = 0.02 * all as f64;
    assert!((quiet as f64) < bound + 3.0 * bound.sqrt() + 1.0, "{quiet} of {all}");
    for (world, least) in PLANTED {
        let (groups, [found, there, both]) = tried(world, count, true);
        let f1 = 2.0 * both / (found + there);
        let (precision, recall) = (both / found.max(1.0), both / there);
        eprintln!(
            "{}: F1 {f1:.2}, precision {precision:.2}, recall {recall:.2}, {groups} of {count} groups have a finding",
            world.0
        );
        let least = if count < 20 { least - 0.3 } else { least };
        assert!(f1 > least && precision > 0.9, "{}: {f1:.3} {precision:.3}", world.0);
    }
}
