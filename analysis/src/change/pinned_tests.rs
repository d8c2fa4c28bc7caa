//! All of what is said of made changes, held against a file. See [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Noise;
use crate::pinned::Pinned;
use crate::testing::weighted_sum;

/// Sizes of the dimensions of a made world.
const SIZES: [u32; 4] = [3, 5, 2, 7];

/// What cells are of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Count,
    /// Squares are known.
    Money,
    /// Squares are not known.
    Sums,
    /// Gains and losses.
    Net,
    /// Successes of trials.
    Rate,
    /// Successes of rows, whose squares are known.
    Mean,
    /// Of another unit than its denominators.
    Cost,
}

/// How cells of a world changed: by what rows and levels are multiplied, and what is added to the level.
type Change = fn(&[u32]) -> (f64, f64, f64);

struct World {
    dimensions: Vec<Dimension>,
    periods: [Period; 2],
}

/// Rows of about `rows` in each period.
fn world(of: Of, rows: f64, change: Change, seed: u64) -> World {
    let mut noise = Noise::new(seed);
    let cells: usize = SIZES.iter().map(|size| *size as usize).product();
    let code = |cell: usize, at: usize| {
        let before: u32 = SIZES[..at].iter().product();
        cell as u32 / before % SIZES[at]
    };
    let mut periods = [Period::default(), Period::default()];
    let has_squares = matches!(of, Of::Money | Of::Mean | Of::Net);
    let has_denominators = matches!(of, Of::Rate | Of::Mean | Of::Cost);
    for (late, period) in periods.iter_mut().enumerate() {
        let mut squares = Vec::new();
        for cell in 0..cells {
            let codes: Vec<u32> = (0..SIZES.len()).map(|at| code(cell, at)).collect();
            let (more, by, plus) = if late == 1 { change(&codes) } else { (1.0, 1.0, 0.0) };
            let weight = 1.0 / f64::from(1 + codes[1] + codes[3] % 3);
            let expected = (rows / cells as f64 * 2.0 * weight * more).max(0.0);
            let found = (expected + expected.sqrt() * noise.normal()).round().max(0.0);
            let level = (1.0 + 0.3 * f64::from(codes[0]) + 0.2 * f64::from(codes[2])) * by + plus;
            let spread = found.sqrt() * noise.normal();
            let (n, d) = match of {
                Of::Count => (found, 0.0),
                Of::Money | Of::Sums => (found * level + 0.4 * spread, 0.0),
                Of::Net => (found * (level - 1.4) + 2.0 * spread, 0.0),
                Of::Rate => ((found * 0.1 * level + 0.3 * spread).round().clamp(0.0, found), found),
                Of::Mean => (found * level + 0.4 * spread, found),
                Of::Cost => (
                    found * 9.0 * level + 3.0 * spread.abs(),
                    found * (1.0 + 0.5 * f64::from(codes[3] % 2)),
                ),
            };
            period.numerators.push(n);
            period.rows.push(found as u64);
            if has_denominators {
                period.denominators.push(d);
            }
            squares.push(if found > 0.0 { n * n / found + found } else { 0.0 });
        }
        period.squares = has_squares.then_some(squares);
    }
    let dimension = |at: usize| Dimension {
        name: format!("d{at}"),
        values: SIZES[at],
        codes: (0..cells).map(|cell| code(cell, at)).collect(),
    };
    World { dimensions: (0..SIZES.len()).map(dimension).collect(), periods }
}

impl World {
    fn cells(&self, of: Of) -> Cells {
        let measure = match of {
            Of::Rate | Of::Mean | Of::Cost => Measure::Ratio,
            _ => Measure::Sum,
        };
        let [earlier, later] = self.periods.clone();
        Cells::new(measure, self.dimensions.clone(), earlier, later).unwrap()
    }
}

/// Makes a world another one.
type Edit = fn(&mut World);

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

const CHANGES: [(&str, Change); 14] = [
    ("nothing", |_| (1.0, 1.0, 0.0)),
    ("all alike", |_| (1.3, 1.0, 0.0)),
    ("all levels", |_| (1.0, 1.5, 0.0)),
    ("one value", |of| if of[0] == 1 { (1.6, 1.4, 0.0) } else { (1.0, 1.0, 0.0) }),
    ("a pair", |of| if of[0] == 2 && of[1] == 0 { (2.0, 1.8, 0.0) } else { (1.0, 1.0, 0.0) }),
    ("three", |of| {
        if of[0] == 0 && of[1] == 1 && of[2] == 1 { (4.0, 3.0, 0.0) } else { (1.0, 1.0, 0.0) }
    }),
    ("two apart", |of| match (of[1], of[3]) {
        (0, _) => (1.0, 1.6, 0.0),
        (_, 4) => (1.0, 0.4, 0.0),
        _ => (1.0, 1.0, 0.0),
    }),
    ("two that cancel", |of| match of[1] {
        1 => (1.5, 1.3, 0.0),
        2 => (0.4, 0.7, 0.0),
        _ => (1.0, 1.0, 0.0),
    }),
    ("one goes", |of| if of[3] == 2 { (0.0, 1.0, 0.0) } else { (1.0, 1.0, 0.0) }),
    ("mix", |of| if of[0] == 2 { (3.0, 1.0, 0.0) } else { (0.7, 1.0, 0.0) }),
    ("all but one", |of| if of[2] == 0 { (1.0, 1.0, 0.0) } else { (1.5, 1.3, 0.0) }),
    (
        "all but a few",
        |of| if of[1] == 3 || of[3] == 1 { (1.0, 1.0, 0.0) } else { (1.7, 1.5, 0.0) },
    ),
    ("many", |of| {
        if of[3] % 2 == 0 { (1.2, 1.0 + 0.2 * f64::from(of[1]), 0.0) } else { (1.0, 1.0, 0.0) }
    }),
    ("a shift", |of| if of[1] == 0 { (1.0, 1.0, 2.0) } else { (1.0, 1.0, 0.3) }),
];

#[test]
fn changes() {
    let mut pinned = Pinned::default();
    let usual = Options::default();
    for (seed, (name, change)) in CHANGES.into_iter().enumerate() {
        for of in [Of::Count, Of::Money, Of::Sums, Of::Net, Of::Rate, Of::Mean, Of::Cost] {
            for rows in [3_000.0, 30_000.0] {
                let cells = world(of, rows, change, 10 + seed as u64).cells(of);
                let found = explain(&cells, &usual, NEVER).unwrap();
                let Explanation { findings, .. } = &found;
                pinned.line(
                    &format!("{name}, {of:?} {rows}"),
                    &(
                        found.outcome,
                        found.background,
                        found.before,
                        found.after,
                        found.change,
                        found.change_z,
                        found.rest,
                        found.judged,
                        findings.len(),
                    ),
                );
                for finding in findings.iter().take(2) {
                    pinned.line(" ", finding);
                }
                let of_each = findings.iter().map(|of| of.excess + of.own + of.z);
                pinned.line(" in all", &weighted_sum(of_each));
            }
        }
    }
    assert_eq!(pinned.against("change_explained"), Ok(()));
}

#[test]
fn as_asked() {
    let mut pinned = Pinned::default();
    let usual = Options::default();
    let asked = [
        Options { depth_max: 1, ..usual },
        Options { depth_max: 2, findings_max: 1, ..usual },
        Options { depth_max: 4, findings_max: 3, explained: 0.5, ..usual },
        Options { explained: 1.0, significance: 0.5, ..usual },
        Options { significance: 1e-9, ..usual },
        Options { dispersion: 9.0, ..usual },
        Options { dispersion: 0.2, findings_max: 40, explained: 1.0, ..usual },
    ];
    for (name, change) in &CHANGES[4..] {
        for of in [Of::Money, Of::Rate] {
            let cells = world(of, 20_000.0, *change, 77).cells(of);
            for options in &asked {
                let found = explain(&cells, options, NEVER).unwrap();
                let groups: Vec<_> =
                    found.findings.iter().map(|of| (&of.group, of.excess, of.p)).take(5).collect();
                pinned.line(
                    &format!("{name}, {of:?}"),
                    &(
                        found.outcome,
                        found.depth,
                        found.judged,
                        found.rest,
                        found.findings.len(),
                        groups,
                    ),
                );
            }
        }
    }
    // Limits that are exactly what is found, and the next number on either side.
    for (name, change) in &CHANGES[3..8] {
        let cells = world(Of::Money, 3_000.0, *change, 78).cells(Of::Money);
        let all = Options { significance: 0.9, explained: 1.0, findings_max: 40, ..usual };
        let found = explain(&cells, &all, NEVER).unwrap();
        let Some(last) = found.findings.last() else { continue };
        for significance in [last.p.next_down(), last.p, last.p.next_up()] {
            let found = explain(&cells, &Options { significance, ..all }, NEVER).unwrap();
            pinned.line(&format!("{name} as likely"), &(found.outcome, found.findings.len()));
        }
        let part: f64 = found.findings.iter().take(2).map(|of| of.gross_share).sum();
        for explained in [part - 1e-9, part, part + 1e-9] {
            let found = explain(&cells, &Options { explained, ..all }, NEVER).unwrap();
            pinned.line(&format!("{name} as much"), &found.findings.len());
        }
    }
    // So many cells and dimensions that groups of three are too many.
    let depths: Vec<usize> = [1, 2, 3, 4, 5]
        .into_iter()
        .flat_map(|wanted| {
            [
                (1, 1),
                (100, 4),
                (1 << 20, 10),
                (1 << 22, 20),
                (1 << 24, 31),
                (1 << 24, 32),
                (1 << 26, 7),
                (1 << 26, 8),
                (1 << 30, 40),
            ]
            .map(|(cells, dimensions)| explain::depth(cells, dimensions, wanted))
        })
        .collect();
    pinned.line("depths", &depths);
    assert_eq!(pinned.against("change_as_asked"), Ok(()));
}

#[test]
fn edges_of_periods() {
    let mut pinned = Pinned::default();
    let made = |of: Of, change: Change, edit: Edit| {
        let mut world = world(of, 6_000.0, change, 5);
        edit(&mut world);
        explain(&world.cells(of), &Options::default(), NEVER).unwrap()
    };
    let grows: Change = |of| if of[1] == 2 { (3.0, 1.0, 0.0) } else { (1.0, 1.0, 0.0) };
    let edits: [(&str, Edit); 9] = [
        ("no rows earlier", |world| {
            let Period { numerators, denominators, rows, squares } = &mut world.periods[0];
            numerators.fill(0.0);
            denominators.fill(0.0);
            rows.fill(0);
            if let Some(squares) = squares {
                squares.fill(0.0);
            }
        }),
        ("no rows later", |world| world.periods[1].rows.fill(0)),
        ("nothing earlier", |world| world.periods[0].numerators.fill(0.0)),
        ("nothing later", |world| world.periods[1].numerators.fill(0.0)),
        ("almost nothing earlier", |world| {
            let numerators = world.periods[0].numerators.iter_mut().enumerate();
            numerators.for_each(|(at, of)| *of = if at % 9 == 0 { 1.0 } else { 0.0 });
        }),
        ("one value", |world| world.dimensions.iter_mut().for_each(|of| of.codes.fill(0))),
        ("no dimensions", |world| world.dimensions.clear()),
        ("the same twice", |world| {
            world.dimensions[2].codes =
                world.dimensions[1].codes.iter().map(|code| code % 2).collect()
        }),
        ("few rows", |world| {
            for period in &mut world.periods {
                period.rows.iter_mut().for_each(|rows| *rows = 0);
                period.rows[..9].fill(2);
            }
        }),
    ];
    for (name, edit) in edits {
        for of in [Of::Count, Of::Money, Of::Net, Of::Rate, Of::Cost] {
            let found = made(of, grows, edit);
            let findings: Vec<_> = found.findings.iter().take(1).collect();
            pinned.line(
                &format!("{name}, {of:?}"),
                &(
                    found.outcome,
                    found.background,
                    found.before,
                    found.after,
                    found.change_z,
                    found.rest,
                    found.judged,
                    found.findings.len(),
                    findings,
                ),
            );
        }
    }
    assert_eq!(
        explain(
            &world(Of::Count, 3_000.0, grows, 5).cells(Of::Count),
            &Options::default(),
            &|| true
        ),
        Err(Halted)
    );
    let factors = [(1.0, 0.5), (0.0, 0.5), (1.0, 0.0), (0.0, 0.0), (-3.0, 2.0)];
    pinned.line("factors", &factors.map(|(change, share)| quantile_factor(change, share)));
    // Numbers as large as they may be, and larger.
    let period = |n: f64, d: f64| Period {
        numerators: vec![n],
        denominators: vec![d],
        rows: vec![1],
        squares: Some(vec![1.0]),
    };
    let of = |earlier, later| {
        Cells::new(Measure::Ratio, vec![], earlier, later).map(|cells| cells.len())
    };
    for (n, d) in [
        (1e150, 1.0),
        (1.1e150, 1.0),
        (-1e150, 1.0),
        (-1.1e150, 1.0),
        (1.0, 1e150),
        (1.0, 1.9e150),
        (1.0, 0.0),
        (1.0, -1.0),
    ] {
        pinned.line(
            &format!("{n:e} {d:e}"),
            &(of(period(n, d), period(1.0, 1.0)), of(period(1.0, 1.0), period(n, d))),
        );
    }
    assert_eq!(pinned.against("change_edges"), Ok(()));
}
