//! Made worlds: rows of six dimensions in two periods, one thing changed; how often it is found.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use super::*;
use crate::noise::Noise;

/// Of all worlds; each has one of its own from it.
const SEED: u64 = 20_140_402;
const WORLDS: u64 = 100;
/// Of each period, about.
const ROWS: f64 = 10_000.0;
const DIMENSIONS: usize = 6;

/// Rows of both periods as cells.
struct World {
    noise: Noise,
    /// Of each dimension, the share of each value.
    shares: Vec<Vec<f64>>,
    /// Of each dimension, by what each value multiplies the level of a row.
    effects: Vec<Vec<f64>>,
    /// Of each dimension, values as often as their share says.
    tables: Vec<Vec<u32>>,
    base: f64,
    codes: Vec<Vec<u32>>,
    periods: [Period; 2],
}

/// What a row of the later period has changed: how often it is there, its level.
type Change<'a> = &'a dyn Fn(&Row) -> (f64, f64);

/// Its values.
type Row = [u32; DIMENSIONS];

/// How a level becomes a numerator.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Count,
    Money,
    Rate,
    Above(f64),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let mut shares = Vec::new();
        let mut effects = Vec::new();
        let mut tables = Vec::new();
        for _ in 0..DIMENSIONS {
            let values = 3 + (noise.uniform() * 38.0) as usize;
            let skew = 0.5 + 0.7 * noise.uniform();
            let weights: Vec<f64> = (0..values).map(|i| (1.0 + i as f64).powf(-skew)).collect();
            let total: f64 = weights.iter().sum();
            let counts = weights.iter().map(|weight| (weight / total * 4096.0).round() as usize);
            let table: Vec<u32> =
                (0..).zip(counts).flat_map(|(value, count)| vec![value; count]).collect();
            let share = |value| {
                table.iter().filter(|&&other| other == value).count() as f64 / table.len() as f64
            };
            shares.push((0..values as u32).map(share).collect::<Vec<f64>>());
            tables.push(table);
            effects.push((0..values).map(|_| (0.15 * noise.normal()).exp()).collect());
        }
        let base = 0.1 + 0.1 * noise.uniform();
        Self {
            noise,
            shares,
            effects,
            tables,
            base,
            codes: vec![Vec::new(); DIMENSIONS],
            periods: [Period::default(), Period::default()],
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.noise.uniform() * bound as f64) as usize
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.noise.uniform()
    }

    /// A value with a share within bounds, of a dimension that has one.
    fn value(&mut self, low: f64, high: f64) -> Pair {
        loop {
            let dimension = self.below(DIMENSIONS);
            let value = self.below(self.shares[dimension].len());
            if (low..high).contains(&self.shares[dimension][value]) {
                return Pair { dimension, value: value as u32 };
            }
        }
    }

    fn row(&mut self) -> Row {
        let mut row = Row::default();
        for (value, table) in row.iter_mut().zip(&self.tables) {
            *value = table[(self.noise.uniform() * table.len() as f64) as usize];
        }
        // A quarter of the last dimension goes with the first.
        if self.noise.uniform() < 0.25 {
            row[5] = row[0] % self.shares[5].len() as u32;
        }
        row
    }

    fn fill(mut self, kind: Kind, change: Change) -> Cells {
        for later in 0..2 {
            let rows = ROWS + ROWS.sqrt() * (2.0 + self.noise.normal());
            let mut left = rows as usize;
            while left > 0 {
                left -= 1;
                let row = self.row();
                let (traffic, level) = if later == 1 { change(&row) } else { (1.0, 1.0) };
                let mut copies = traffic.floor();
                copies += f64::from(u8::from(self.noise.uniform() < traffic - copies));
                for copy in 0..copies as usize {
                    // Not the same row twice.
                    let row = if copy == 0 { row } else { self.like(&row, change, traffic) };
                    self.push(&row, later, level, kind);
                }
            }
        }
        let measure = match kind {
            Kind::Count | Kind::Money => Measure::Sum,
            Kind::Rate | Kind::Above(_) => Measure::Ratio,
        };
        let dimension = |(codes, shares): (Vec<u32>, &Vec<f64>)| Dimension {
            name: String::new(),
            values: shares.len() as u32,
            codes,
        };
        let dimensions = self.codes.into_iter().zip(&self.shares).map(dimension).collect();
        let [mut earlier, mut later] = self.periods;
        if measure == Measure::Sum {
            (earlier.denominators, later.denominators) = (Vec::new(), Vec::new());
        }
        Cells::new(measure, dimensions, earlier, later).unwrap()
    }

    /// Another row that has as much traffic.
    fn like(&mut self, row: &Row, change: Change, traffic: f64) -> Row {
        for _ in 0..1_000 {
            let other = self.row();
            if change(&other).0 == traffic {
                return other;
            }
        }
        *row
    }

    fn push(&mut self, row: &Row, later: usize, level: f64, kind: Kind) {
        let effects: f64 =
            self.effects.iter().zip(row).map(|(effects, code)| effects[*code as usize]).product();
        let level = level * effects;
        let numerator = match kind {
            Kind::Count => 1.0,
            Kind::Money => level * (0.8 * self.noise.normal()).exp(),
            Kind::Rate => f64::from(u8::from(self.noise.uniform() < self.base * level)),
            Kind::Above(bound) => {
                f64::from(u8::from(level * (0.8 * self.noise.normal()).exp() > bound))
            }
        };
        for (codes, code) in self.codes.iter_mut().zip(row) {
            codes.push(*code);
        }
        for (place, period) in self.periods.iter_mut().enumerate() {
            let is_here = f64::from(u8::from(place == later));
            period.numerators.push(numerator * is_here);
            period.denominators.push(is_here);
            period.rows.push(u64::from(place == later));
            period.squares.get_or_insert_default().push(numerator * numerator * is_here);
        }
    }
}

/// What must be first, and the cells.
type Made = (Vec<Vec<Pair>>, Cells);

fn hits(
    name: &str,
    make: impl Fn(World) -> Made,
    also: impl Fn(&Cells, &Explanation) -> bool,
) -> u64 {
    let mut hits = 0;
    let mut only = 0;
    for number in 0..WORLDS {
        let (planted, cells) = make(World::new(SEED + number));
        let found = explain(&cells, &Options::default(), &|| false).unwrap();
        let mut first: Vec<Vec<Pair>> = found
            .findings
            .iter()
            .take(planted.len())
            .map(|finding| finding.group.clone())
            .collect();
        let mut expected = planted.clone();
        first.sort();
        expected.sort();
        if first == expected && also(&cells, &found) {
            hits += 1;
            only += u64::from(found.findings.len() == planted.len());
        }
    }
    println!("{name}: first in {hits} of {WORLDS} worlds, and nothing else in {only}; seed {SEED}");
    hits
}

fn is_in(row: &Row, pair: Pair) -> bool {
    row[pair.dimension] == pair.value
}

#[test]
fn a_value_whose_sum_changed_is_first() {
    let make = |mut world: World| {
        let pair = world.value(0.05, 0.7);
        let factor =
            if world.below(2) == 0 { world.between(0.4, 0.65) } else { world.between(1.5, 2.5) };
        let kind = if world.below(2) == 0 { Kind::Count } else { Kind::Money };
        let cells = world.fill(kind, &|row| (if is_in(row, pair) { factor } else { 1.0 }, 1.0));
        (vec![vec![pair]], cells)
    };
    assert!(hits("sum", make, |_, _| true) >= 95);
}

#[test]
fn a_value_whose_rate_changed_is_first() {
    let make = |mut world: World| {
        let pair = world.value(0.1, 0.7);
        let factor =
            if world.below(2) == 0 { world.between(0.3, 0.5) } else { world.between(1.6, 2.2) };
        let cells =
            world.fill(Kind::Rate, &|row| (1.0, if is_in(row, pair) { factor } else { 1.0 }));
        (vec![vec![pair]], cells)
    };
    let is_rate = |_: &Cells, found: &Explanation| {
        let parts = found.findings[0].parts.unwrap();
        parts.rate.abs() > 3.0 * parts.mix.abs()
    };
    assert!(hits("rate", make, is_rate) >= 95);
}

#[test]
fn two_values_whose_rates_rise_from_nothing_are_first() {
    for base in [1e-9, 0.001] {
        let make = |mut world: World| {
            let (a, b) = loop {
                let (a, b) = (world.value(0.08, 0.3), world.value(0.08, 0.3));
                if a != b && a.dimension == b.dimension {
                    break (a, b);
                }
            };
            world.base = base;
            let rate = world.between(0.15, 0.3);
            let change = move |row: &Row| {
                (1.0, if is_in(row, a) || is_in(row, b) { rate / base } else { 1.0 })
            };
            (vec![vec![a], vec![b]], world.fill(Kind::Rate, &change))
        };
        let carries = |_: &Cells, found: &Explanation| {
            found.findings.iter().all(|finding| finding.contribution > 0.0)
        };
        assert!(hits("from nothing", make, carries) >= 95, "{base}");
    }
}

#[test]
fn an_even_rise_from_nothing_is_even_whatever_the_groups() {
    for number in 0..20 {
        let mut world = World::new(SEED + number);
        world.effects.iter_mut().for_each(|effects| effects.fill(1.0));
        world.base = 1e-9;
        let cells = world.fill(Kind::Rate, &|_| (1.0, 0.1 / 1e-9));
        let found = explain(&cells, &Options::default(), &|| false).unwrap();
        assert_eq!((found.outcome, found.findings.len()), (Outcome::Even, 0), "{number}");
    }
}

#[test]
fn a_value_of_another_rate_whose_traffic_changed_is_first() {
    let make = |mut world: World| {
        let pair = world.value(0.08, 0.3);
        let factor = world.between(2.0, 3.0);
        world.effects[pair.dimension][pair.value as usize] =
            if world.below(2) == 0 { world.between(0.1, 0.25) } else { world.between(2.5, 3.2) };
        let cells =
            world.fill(Kind::Rate, &|row| (if is_in(row, pair) { factor } else { 1.0 }, 1.0));
        (vec![vec![pair]], cells)
    };
    let is_mix = |_: &Cells, found: &Explanation| {
        let parts = found.findings[0].parts.unwrap();
        parts.mix.abs() > 2.0 * parts.rate.abs()
    };
    assert!(hits("mix", make, is_mix) >= 95);
}

#[test]
fn where_all_rates_rise_and_the_whole_falls_it_is_the_mix() {
    let make = |mut world: World| {
        let pair = world.value(0.1, 0.3);
        let (traffic, rise) = (world.between(2.5, 4.0), world.between(1.03, 1.08));
        world.effects[pair.dimension][pair.value as usize] = 0.2;
        let cells =
            world.fill(Kind::Rate, &|row| (if is_in(row, pair) { traffic } else { 1.0 }, rise));
        (vec![vec![pair]], cells)
    };
    let is_mix = |_: &Cells, found: &Explanation| {
        let parts = found.findings[0].parts.unwrap();
        found.change < 0.0 && parts.mix < 0.0 && parts.mix.abs() > 5.0 * parts.rate.abs()
    };
    assert!(hits("Simpson", make, is_mix) >= 95);
}

#[test]
fn a_pair_that_changed_is_first_and_not_its_values() {
    let make = |mut world: World| {
        let (a, b) = loop {
            let (a, b) = (world.value(0.12, 0.5), world.value(0.12, 0.5));
            if a.dimension < b.dimension {
                break (a, b);
            }
        };
        let factor = world.between(1.8, 3.0);
        let kind = if world.below(2) == 0 { Kind::Count } else { Kind::Money };
        let cells = world
            .fill(kind, &|row| (if is_in(row, a) && is_in(row, b) { factor } else { 1.0 }, 1.0));
        (vec![vec![a, b]], cells)
    };
    let interacts = |_: &Cells, found: &Explanation| {
        let finding = &found.findings[0];
        finding.interaction.unwrap() > 0.2 * finding.contribution
    };
    assert!(hits("pair", make, interacts) >= 95);
}

#[test]
fn a_value_of_which_more_is_above_the_earlier_quantile_is_first() {
    let make = |mut world: World| {
        let pair = world.value(0.08, 0.5);
        let factor = world.between(1.5, 2.0);
        // Near the 85th percentile.
        let kind = Kind::Above(2.4);
        let cells = world.fill(kind, &|row| (1.0, if is_in(row, pair) { factor } else { 1.0 }));
        (vec![vec![pair]], cells)
    };
    assert!(hits("quantile", make, |_, _| true) >= 95);
}

#[test]
fn two_values_that_cancel_each_other_are_both_first() {
    let make = |mut world: World| {
        let (a, b) = loop {
            let (a, b) = (world.value(0.08, 0.25), world.value(0.08, 0.25));
            if a != b && a.dimension == b.dimension {
                break (a, b);
            }
        };
        let share = |pair: Pair| world.shares[pair.dimension][pair.value as usize];
        let moved = 0.6 * share(a).min(share(b));
        let (up, down) = (1.0 + moved / share(a), 1.0 - moved / share(b));
        let change = move |row: &Row| {
            let traffic = match (is_in(row, a), is_in(row, b)) {
                (true, _) => up,
                (_, true) => down,
                _ => 1.0,
            };
            (traffic, 1.0)
        };
        (vec![vec![a], vec![b]], world.fill(Kind::Count, &change))
    };
    let cancels = |_: &Cells, found: &Explanation| {
        found.change.abs() < found.findings[0].contribution.abs()
            && found.findings[0].contribution * found.findings[1].contribution < 0.0
    };
    assert!(hits("cancelling", make, cancels) >= 95);
}

#[test]
fn in_noise_nothing_stands_out() {
    let mut found = 0;
    for number in 0..WORLDS {
        let kind = [Kind::Count, Kind::Money, Kind::Rate, Kind::Above(2.4)][number as usize % 4];
        let cells = World::new(SEED + number).fill(kind, &|_| (1.0, 1.0));
        let explanation = explain(&cells, &Options::default(), &|| false).unwrap();
        found += u64::from(!explanation.findings.is_empty());
    }
    println!("noise: findings in {found} of {WORLDS} worlds; seed {SEED}");
    assert!(found <= 5);
}

#[test]
fn an_even_change_is_said_to_be_even() {
    for number in 0..20 {
        let is_money = number % 2 == 0;
        let kind = if is_money { Kind::Money } else { Kind::Rate };
        let cells = World::new(SEED + number).fill(kind, &|_| (1.0, 1.2));
        let explanation = explain(&cells, &Options::default(), &|| false).unwrap();
        assert_eq!((explanation.outcome, explanation.findings.len()), (Outcome::Even, 0));
        assert!((explanation.rest - explanation.change).abs() < 1e-9 * explanation.change.abs());
    }
}
