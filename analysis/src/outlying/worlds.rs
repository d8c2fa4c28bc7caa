//! Made tables: noise of many kinds, and rows that are planted in them; how often something is told, and how often what was planted is.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::*;
use crate::{Noise, testing};

const SEED: u64 = 20_080_415;

/// A small isolation forest (Liu, Ting & Zhou 2008): 100 trees of 256 rows, cuts along the axes; NaN for rows with missing values.
pub(super) fn forest(values: &[f64], columns: usize, seed: u64) -> Vec<f64> {
    const TREES: usize = 100;
    const SAMPLE: usize = 256;
    let mut noise = Noise::new(seed ^ 0xF0_4E57);
    let complete: Vec<usize> =
        (0..values.len() / columns).filter(|at| !values[at * columns].is_nan()).collect();
    let rows = complete.len();
    let sample = SAMPLE.min(rows);
    let mut paths = vec![0.0; values.len() / columns];
    for _ in 0..TREES {
        let drawn: Vec<usize> = (0..sample)
            .map(|_| complete[((noise.uniform() * rows as f64) as usize).min(rows - 1)])
            .collect();
        let mut tree = vec![];
        grow(&mut tree, values, columns, drawn, sample.ilog2() as usize, &mut noise);
        for row in &complete {
            let (mut at, mut depth) = (0, 0.0);
            while let Node::Cut { column, threshold, right } = tree[at] {
                depth += 1.0;
                at = if values[row * columns + column] < threshold { at + 1 } else { right };
            }
            if let Node::Leaf(rows) = tree[at] {
                paths[*row] += (depth + path(rows)) / TREES as f64;
            }
        }
    }
    let unit = path(sample);
    let mut scores = vec![f64::NAN; paths.len()];
    complete.iter().for_each(|row| scores[*row] = (-paths[*row] / unit).exp2());
    scores
}

#[derive(Clone, Copy)]
enum Node {
    /// The left one follows.
    Cut {
        column: usize,
        threshold: f64,
        right: usize,
    },
    Leaf(usize),
}

fn path(rows: usize) -> f64 {
    let n = rows as f64;
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * ((n - 1.0).ln() + 0.577_215_664_901_532_9) - 2.0 * (n - 1.0) / n,
    }
}

fn grow(
    tree: &mut Vec<Node>,
    values: &[f64],
    columns: usize,
    rows: Vec<usize>,
    depth: usize,
    noise: &mut Noise,
) {
    let range = |column: usize| {
        let of = |row: &usize| values[row * columns + column];
        rows.iter()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let varying: Vec<usize> =
        (0..columns).filter(|column| range(*column).0 < range(*column).1).collect();
    if rows.len() < 2 || depth == 0 || varying.is_empty() {
        return tree.push(Node::Leaf(rows.len()));
    }
    let column = varying[(noise.uniform() * varying.len() as f64) as usize % varying.len()];
    let (low, high) = range(column);
    let threshold = low + (high - low) * noise.uniform();
    let (left, right): (Vec<usize>, Vec<usize>) =
        rows.into_iter().partition(|row| values[row * columns + column] < threshold);
    let at = tree.len();
    tree.push(Node::Leaf(0));
    grow(tree, values, columns, left, depth - 1, noise);
    tree[at] = Node::Cut { column, threshold, right: tree.len() };
    grow(tree, values, columns, right, depth - 1, noise);
}

/// A table of rows and columns, row after row.
pub(super) type World = fn(&mut Noise, usize, usize) -> Vec<f64>;

fn each(
    noise: &mut Noise,
    rows: usize,
    columns: usize,
    of: impl Fn(&mut Noise, usize) -> f64,
) -> Vec<f64> {
    (0..rows * columns).map(|at| of(noise, at % columns)).collect()
}

pub(super) fn independent(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| noise.normal())
}

/// Each pair of columns by 0.8.
pub(super) fn correlated(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    let mut values = vec![];
    for _ in 0..rows {
        let shared = 0.8_f64.sqrt() * noise.normal();
        values.extend((0..columns).map(|_| shared + 0.2_f64.sqrt() * noise.normal()));
    }
    values
}

fn lognormal(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| noise.normal().exp())
}

/// As latencies, tokens and costs are: correlated, and lognormal.
fn correlated_lognormal(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    correlated(noise, rows, columns).into_iter().map(f64::exp).collect()
}

fn student(noise: &mut Noise) -> f64 {
    let squares: f64 = (0..3).map(|_| noise.normal().powi(2)).sum();
    noise.normal() / (squares / 3.0).sqrt()
}

fn t3(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| student(noise))
}

fn exponential(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| -(1.0 - noise.uniform()).ln())
}

fn uniform(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| noise.uniform())
}

fn poisson(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| testing::poisson(noise, 4.0))
}

/// Three of five are none, the others Poisson(4).
fn zero_inflated(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| match noise.uniform() < 0.6 {
        true => 0.0,
        false => testing::poisson(noise, 4.0),
    })
}

/// The centre of a cluster in a column: on a circle of the radius 6 in each pair of columns.
fn centre(cluster: usize, column: usize) -> f64 {
    let turn = TAU * (cluster as f64 / 3.0 + 0.07 * (column / 2) as f64);
    6.0 * if column.is_multiple_of(2) { turn.cos() } else { turn.sin() }
}

fn clusters(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    let mut values = vec![];
    for _ in 0..rows {
        let cluster = (3.0 * noise.uniform()) as usize;
        values.extend((0..columns).map(|column| centre(cluster, column) + noise.normal()));
    }
    values
}

pub(super) fn one_constant(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, column| if column == 1 { 5.0 } else { noise.normal() })
}

fn two_identical(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    let mut values = independent(noise, rows, columns);
    values.chunks_mut(columns).for_each(|row| row[1] = row[0]);
    values
}

/// 1 in half of the rows, a third, a quarter and so on down to one of ten.
fn code(noise: &mut Noise, column: usize) -> f64 {
    f64::from(u8::from(noise.uniform() < 1.0 / (2 + column % 9) as f64))
}

fn codes(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, code)
}

fn rare_codes(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, column| match column {
        0 => noise.normal(),
        _ => f64::from(u8::from(noise.uniform() < 0.01)),
    })
}

fn mixed(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, column| match column % 5 {
        0 => noise.normal().exp(),
        1 => code(noise, column),
        2 => testing::poisson(noise, 4.0),
        3 => student(noise),
        _ => noise.normal(),
    })
}

fn logistic(noise: &mut Noise, rows: usize, columns: usize) -> Vec<f64> {
    each(noise, rows, columns, |noise, _| {
        let u = noise.uniform().clamp(1e-12, 1.0 - 1e-12);
        (u / (1.0 - u)).ln()
    })
}

const QUIET: [(&str, World); 16] = [
    ("logistic", logistic),
    ("independent", independent),
    ("correlated", correlated),
    ("lognormal", lognormal),
    ("correlated lognormal", correlated_lognormal),
    ("t3", t3),
    ("exponential", exponential),
    ("uniform", uniform),
    ("poisson", poisson),
    ("zero-inflated", zero_inflated),
    ("clusters", clusters),
    ("one constant", one_constant),
    ("two identical", two_identical),
    ("codes", codes),
    ("rare codes", rare_codes),
    ("mixed", mixed),
];

/// With a forest, or without.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scores {
    Forest,
    None,
}

pub(super) fn told(rows: &[f64], columns: usize, scores: Scores, seed: u64) -> Vec<Outlying> {
    let prepared = prepare(rows, columns).unwrap();
    let isolation = match scores {
        Scores::Forest => forest(&prepared.values, prepared.kept.len(), seed),
        Scores::None => vec![f64::NAN; rows.len() / columns],
    };
    outlying(rows, &prepared, &isolation, &Options::default()).unwrap()
}

fn noise_of(seed: u64, rows: usize, columns: usize) -> Noise {
    Noise::new(SEED + 1_000_003 * seed + 31 * rows as u64 + columns as u64)
}

/// Of tables of noise, how many of which something is told; by which evidence the most, for a look.
fn quiet(world: World, rows: usize, columns: usize, scores: Scores, seeds: u64) -> (usize, String) {
    let told: Vec<String> = (0..seeds)
        .into_par_iter()
        .filter_map(|seed| {
            let table = world(&mut noise_of(seed, rows, columns), rows, columns);
            let told = told(&table, columns, scores, seed);
            told.first().map(|first| format!("{:?} {:.1}", first.evidence, first.score))
        })
        .collect();
    (told.len(), told.join(", "))
}

/// Changes a table, and says which rows it changed.
type Plant = fn(&mut [f64], usize, &mut Noise) -> Vec<usize>;

fn some_rows(values: &[f64], columns: usize, count: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = values.len() / columns;
    let first = (noise.uniform() * (rows - 200) as f64) as usize;
    (0..count).map(|at| first + 17 * at).collect()
}

/// 6 robust standard deviations above the median, and a little noise.
fn far(values: &mut [f64], columns: usize, rows: &[usize], noise: &mut Noise) {
    let column: Vec<f64> = values.iter().copied().step_by(columns).collect();
    let spread = crate::series::spread(&column);
    for (at, row) in rows.iter().enumerate() {
        let off = if at == 0 { 6.0 } else { 6.0 + 0.3 * noise.normal() };
        values[row * columns] = spread.centre + off * spread.sigma;
    }
}

fn one_far(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 1, noise);
    far(values, columns, &rows, noise);
    rows
}

fn one_25(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 1, noise);
    values[rows[0] * columns] = 25.0;
    rows
}

fn ten_far(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 10, noise);
    far(values, columns, &rows, noise);
    rows
}

/// The first column is low, the others high, all within 2.5.
fn broken(values: &mut [f64], columns: usize, rows: &[usize], noise: &mut Noise) {
    for row in rows {
        for column in 0..columns {
            let level = if column == 0 { -2.2 } else { 2.2 };
            values[row * columns + column] = level + (0.2 * noise.normal()).clamp(-0.3, 0.3);
        }
    }
}

fn one_broken(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 1, noise);
    broken(values, columns, &rows, noise);
    rows
}

fn ten_broken(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 10, noise);
    broken(values, columns, &rows, noise);
    rows
}

/// One in the middle of two clusters.
fn between(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 1, noise);
    for column in 0..columns {
        values[rows[0] * columns + column] = (centre(0, column) + centre(1, column)) / 2.0;
    }
    rows
}

/// One in the middle of all clusters.
fn amid(values: &mut [f64], columns: usize, noise: &mut Noise) -> Vec<usize> {
    let rows = some_rows(values, columns, 1, noise);
    values[rows[0] * columns..][..columns].fill(0.0);
    rows
}

/// Of tables in which rows are planted: how many of which all were found, half or more were, any was, anything else was told, and a
/// look.
fn found(
    world: World,
    plant: Plant,
    rows: usize,
    columns: usize,
    scores: Scores,
    seeds: u64,
) -> ([usize; 4], String) {
    let of = |seed: u64| {
        let mut noise = noise_of(seed, rows, columns);
        let mut table = world(&mut noise, rows, columns);
        let planted = plant(&mut table, columns, &mut noise);
        let told = told(&table, columns, scores, seed);
        let hits = told.iter().filter(|one| planted.contains(&one.row)).count();
        let counts =
            [hits == planted.len(), 2 * hits >= planted.len(), hits > 0, told.len() > hits];
        let look = told.iter().find(|one| planted.contains(&one.row));
        (counts.map(usize::from), look.map(|one| format!("{:?} {:.1}", one.evidence, one.score)))
    };
    let all: Vec<_> = (0..seeds).into_par_iter().map(of).collect();
    let mut sums = [0; 4];
    all.iter().for_each(|(one, _)| (0..4).for_each(|at| sums[at] += one[at]));
    (sums, all.into_iter().filter_map(|(_, look)| look).take(3).collect::<Vec<_>>().join(", "))
}

const PLANTED: [(&str, World, Plant); 10] = [
    ("independent, one far", independent, one_far),
    ("independent, ten far", independent, ten_far),
    ("correlated, one far", correlated, one_far),
    ("poisson, one 25", poisson, one_25),
    ("identical, one far", two_identical, one_far),
    ("uniform, one far", uniform, one_far),
    ("correlated, one broken", correlated, one_broken),
    ("correlated, ten broken", correlated, ten_broken),
    ("between two of three clusters", clusters, between),
    ("amid three clusters", clusters, amid),
];

const ROWS: [usize; 3] = [500, 2_000, 10_000];
const COLUMNS: [usize; 3] = [2, 3, 8];

#[test]
fn of_100_tables_of_noise_at_most_one_or_two_are_told_of() {
    for (name, world) in QUIET {
        for (rows, columns) in [(150, 3), (500, 2), (500, 8), (2_000, 3)] {
            let (told, which) = quiet(world, rows, columns, Scores::None, 100);
            assert!(told <= 2, "{name} {rows} {columns}: {told} of 100: {which}");
        }
    }
}

#[test]
fn with_a_forest_neither() {
    for (name, world) in QUIET {
        let (told, which) = quiet(world, 1_000, 3, Scores::Forest, 10);
        assert!(told <= 1, "{name}: {told} of 10: {which}");
    }
}

#[test]
fn what_is_planted_is_found() {
    // All that was planted in a table, or half of it.
    let least = [
        ("independent, one far", 65, 65),
        ("independent, ten far", 10, 25),
        ("correlated, one far", 95, 95),
        ("identical, one far", 95, 95),
        ("uniform, one far", 95, 95),
        ("correlated, one broken", 95, 95),
        ("correlated, ten broken", 60, 70),
    ];
    for (name, all_min, half_min) in least {
        let (_, world, plant) = PLANTED.into_iter().find(|one| one.0 == name).unwrap();
        let ([all, half, _, others], _) = found(world, plant, 2_000, 3, Scores::None, 100);
        assert!(all >= all_min && half >= half_min, "{name}: {all} {half} of 100");
        assert!(others <= 2, "{name}: {others} of 100");
    }
}

/// `cargo test --release -p analysis --lib outlying -- --ignored --nocapture`.
#[test]
#[ignore = "figures; minutes"]
fn sweep() {
    let env = |name: &str| std::env::var(name).ok();
    let seeds = env("SEEDS").map_or(100, |seeds| seeds.parse().unwrap());
    let rows_max = env("ROWS").map_or(10_000, |rows| rows.parse().unwrap());
    let rows_min = env("ROWS_MIN").map_or(0, |rows| rows.parse().unwrap());
    let scores = if env("FOREST").is_some() { Scores::Forest } else { Scores::None };
    let only = env("ONLY").unwrap_or_default();
    for (name, world) in QUIET.into_iter().filter(|(name, _)| name.contains(&only)) {
        for rows in ROWS.into_iter().filter(|rows| (rows_min..=rows_max).contains(rows)) {
            let told = COLUMNS.map(|columns| quiet(world, rows, columns, scores, seeds));
            println!(
                "{name:30} {rows:6} {:?}  {:.70}",
                told.each_ref().map(|t| t.0),
                told.map(|t| t.1).join(" | ")
            );
        }
    }
    for (name, world, plant) in PLANTED.into_iter().filter(|one| one.0.contains(&only)) {
        for rows in ROWS.into_iter().filter(|rows| (rows_min..=rows_max).contains(rows)) {
            let told = COLUMNS.map(|columns| found(world, plant, rows, columns, scores, seeds));
            println!(
                "{name:30} {rows:6} {:?}  {:.90}",
                told.each_ref().map(|t| t.0),
                told.map(|t| t.1).join(" | ")
            );
        }
    }
}
