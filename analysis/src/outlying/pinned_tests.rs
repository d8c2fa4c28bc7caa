//! All of what is said of made tables, held against a file. See [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use super::{Evidence, Options, Prepared, Silence, outlying, prepare};
use crate::Noise;
use crate::pinned::Pinned;
use crate::tail::{Ranks, Tail};
use crate::testing::weighted_sum;

const NAN: f64 = f64::NAN;

/// How a column is drawn.
#[derive(Clone, Copy, Debug)]
enum Of {
    Normal,
    /// Of few different whole numbers.
    Counts,
    /// exp of a normal value.
    Lognormal,
    /// Student's t of three degrees.
    Heavy,
    Uniform,
    /// Mostly the same value.
    Rarely,
    /// Of steps of a half.
    Steps,
    Constant,
    /// As the column before, and some noise.
    Follows,
    /// Below the median wide, above narrow.
    Skewed,
}

fn value(of: Of, noise: &mut Noise, before: f64) -> f64 {
    let z = noise.normal();
    match of {
        Of::Normal => 5.0 + 2.0 * z,
        Of::Counts => (3.0 * noise.uniform() * noise.uniform() * 4.0).floor(),
        Of::Lognormal => (1.5 * z).exp(),
        Of::Heavy => {
            let squares: f64 = (0..3).map(|_| noise.normal().powi(2)).sum();
            z / (squares / 3.0).sqrt()
        }
        Of::Uniform => noise.uniform(),
        Of::Rarely => {
            if noise.uniform() < 0.75 {
                1.0
            } else {
                1.0 + z
            }
        }
        Of::Steps => (2.0 * z).round() / 2.0,
        Of::Constant => -7.0,
        Of::Follows => before + 0.3 * z,
        Of::Skewed => {
            if z < 0.0 {
                9.0 * z
            } else {
                z.min(0.5)
            }
        }
    }
}

fn table(rows: usize, columns: &[Of], seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let mut all: Vec<f64> = Vec::new();
    for _ in 0..rows {
        for of in columns {
            let before = all.last().copied().unwrap_or(0.0);
            all.push(value(*of, &mut noise, before));
        }
    }
    all
}

/// Rows far away, others that break a dependence, and missing values.
fn plant(rows: &mut [f64], columns: usize) {
    let count = rows.len() / columns;
    rows[(count / 3) * columns] += 60.0;
    rows[(count / 2) * columns + columns - 1] -= 40.0;
    if columns > 1 {
        let at = (count / 4) * columns;
        (rows[at], rows[at + 1]) = (rows[at] + 6.0, rows[at + 1] - 6.0);
        rows[(count / 5) * columns + 1] = NAN;
        rows[(count / 7) * columns] = f64::INFINITY;
    }
}

/// A depth for each row, with one that is deep within and one that stands alone.
fn isolation(prepared: &Prepared, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let count = prepared.rows;
    let mut scores: Vec<f64> = (0..count).map(|_| 0.35 + 0.12 * noise.uniform()).collect();
    scores[count / 6] = 0.93;
    scores[count / 9] = NAN;
    scores[count / 11] = 1.0;
    scores[count / 13] = 0.0;
    scores
}

const TABLES: [&[Of]; 14] = [
    &[Of::Normal],
    &[Of::Heavy],
    &[Of::Counts],
    &[Of::Lognormal],
    &[Of::Uniform],
    &[Of::Rarely],
    &[Of::Steps],
    &[Of::Skewed],
    &[Of::Normal, Of::Follows],
    &[Of::Lognormal, Of::Heavy, Of::Counts],
    &[Of::Constant, Of::Normal, Of::Follows, Of::Steps],
    &[Of::Uniform, Of::Skewed, Of::Rarely, Of::Normal, Of::Follows],
    &[Of::Counts, Of::Follows],
    &[Of::Heavy, Of::Heavy],
];

#[test]
fn tables() {
    let mut pinned = Pinned::default();
    for (seed, columns) in TABLES.into_iter().enumerate() {
        for rows in [64, 65, 100, 256, 700, 1_700] {
            if rows == 1_700 && seed % 3 != 0 {
                continue;
            }
            let seed = 100 * seed as u64 + rows as u64;
            let mut values = table(rows, columns, seed);
            if rows != 64 {
                plant(&mut values, columns.len());
            }
            let name = format!("{rows} rows of {columns:?}");
            let prepared = match prepare(&values, columns.len()) {
                Ok(prepared) => prepared,
                Err(silence) => {
                    pinned.line(&name, &silence);
                    continue;
                }
            };
            let Prepared { kept, dropped, values: levels, whitening, complete, .. } = &prepared;
            pinned.line(
                &name,
                &(kept, dropped, complete.len(), weighted_sum(levels.iter().copied()), whitening),
            );
            for (column, measure) in kept.iter().zip(&prepared.measures) {
                let of = [-60.0, -3.0, 0.0, 0.5, 1.0, 1.5, 4.0, 9.0, 1e3];
                let levels = of.map(|value| measure.level(value));
                let scores = of.map(|value| measure.score(value));
                let usual = (measure.median, measure.sigma, measure.level_step());
                pinned.line(&format!("column {column}"), &(usual, levels, scores));
            }
            let alone = isolation(&prepared, seed);
            let told = outlying(&values, &prepared, &alone, &Options { score_min: 0.0 }).unwrap();
            let scores: Vec<f64> = told.iter().map(|one| one.score).collect();
            let evidence: Vec<(usize, Evidence)> =
                told.iter().take(30).map(|one| (one.row, one.evidence)).collect();
            pinned.line("told", &(told.len(), weighted_sum(scores), evidence));
            let usual = outlying(&values, &prepared, &alone, &Options::default()).unwrap();
            if let Some(first) = usual.first() {
                let limits = [first.score.next_down(), first.score, first.score.next_up()];
                let told = limits.map(|score_min| {
                    outlying(&values, &prepared, &alone, &Options { score_min }).unwrap().len()
                });
                pinned.line("at its score", &told);
            }
            for one in usual.iter().take(4) {
                pinned.line("clearly", one);
            }
            pinned.line(
                "others",
                &usual.iter().skip(4).map(|one| (one.row, one.score)).take(12).collect::<Vec<_>>(),
            );
            let without = vec![NAN; rows];
            let told = outlying(&values, &prepared, &without, &Options { score_min: 1.0 }).unwrap();
            pinned.line(
                "without a forest",
                &told.iter().map(|one| (one.row, one.score)).take(12).collect::<Vec<_>>(),
            );
        }
    }
    assert_eq!(pinned.against("outlying_tables"), Ok(()));
}

#[test]
fn what_is_no_table() {
    let silent = |rows: &[f64], columns| prepare(rows, columns).map(|of| of.kept).unwrap_err();
    let mut rows = table(64, &[Of::Normal, Of::Uniform], 1);
    assert_eq!(silent(&rows, 0), Silence::Shape);
    assert_eq!(silent(&rows, 65), Silence::Shape);
    assert_eq!(silent(&rows[1..], 2), Silence::Shape);
    assert_eq!(silent(&[1.0; 64 * 3], 3), Silence::Constant);
    let prepared = prepare(&rows, 2).unwrap();
    let of = |rows: &[f64], alone: usize| {
        outlying(rows, &prepared, &vec![0.4; alone], &Options::default())
    };
    assert_eq!(of(&rows[2..], 64), Err(Silence::Shape));
    assert_eq!(of(&rows, 63), Err(Silence::Shape));
    assert!(of(&rows, 64).is_ok());
    rows[9] = NAN;
    assert_eq!(silent(&rows, 2), Silence::Few { found: 63, needed: 64 });
}

#[test]
fn tails() {
    let mut pinned = Pinned::default();
    let mut noise = Noise::new(9);
    for (unusual_max, spacings) in [(1, 1), (1, 2), (2, 5), (10, 50), (16, 16)] {
        let ranks = Ranks { unusual_max, spacings };
        for less in [1, 0] {
            let mut values: Vec<f64> =
                (0..ranks.needed() - less).map(|_| -noise.uniform().ln()).collect();
            values.sort_unstable_by(|a, b| b.total_cmp(a));
            for scale_min in [0.0, 3.0] {
                let tail = Tail::of(&values, ranks, scale_min);
                let scores = tail.map(|tail| [0.0, 1.0, 5.0, 50.0].map(|value| tail.score(value)));
                let from = tail.map(|tail| [0.5, 7.0].map(|usual| tail.from(usual).score(9.0)));
                pinned.line(&format!("{unusual_max} {spacings} {scale_min}"), &(scores, from));
            }
        }
        // In steps: two, three and four different values.
        for steps in 2..5 {
            let values: Vec<f64> = (0..ranks.needed())
                .map(|at| ((ranks.needed() - at) * steps / (ranks.needed() + 1)) as f64)
                .collect();
            let tail = Tail::of(&values, ranks, 0.1);
            pinned.line(
                &format!("{steps} steps"),
                &tail.map(|tail| [2.0, 9.0].map(|value| tail.score(value))),
            );
        }
    }
    assert_eq!(pinned.against("tails"), Ok(()));
}
