#![allow(clippy::unwrap_used)]

use super::worlds::{Scores, World, correlated, forest, independent, one_constant, told};
use super::*;
use crate::Noise;

fn table(world: World, rows: usize, columns: usize, seed: u64) -> Vec<f64> {
    world(&mut Noise::new(seed), rows, columns)
}

/// 2,000 rows of correlated columns; in row 700 the second is at 2 and the others at −2.
fn broken() -> Vec<f64> {
    let mut rows = table(correlated, 2_000, 3, 5);
    rows[2_100..2_103].copy_from_slice(&[-2.0, 2.4, -2.0]);
    rows
}

#[test]
fn a_broken_dependence_names_the_column_its_value_and_what_is_usual() {
    let rows = broken();
    let told = told(&rows, 3, Scores::None, 0);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].row, told[0].evidence), (700, Evidence::GivenOthers(1)));
    let first = told[0].contributions[0];
    assert_eq!((first.column, first.value), (1, 2.4));
    assert!(first.usual.abs() < 0.1 && (first.deviation - 2.4).abs() < 0.3, "{first:?}");
    // (2.4 + 2·0.8889) / √(1 − 0.7111) is 7.8; shrinking makes it less.
    assert!((5.5..8.5).contains(&first.given_others), "{first:?}");
    assert!(told[0].contributions[1].given_others < 0.0);
    let shares: Vec<f64> = told[0].contributions.iter().map(|one| one.share).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(shares.is_sorted_by(|a, b| a >= b) && shares[0] > 0.5, "{shares:?}");
}

#[test]
fn units_and_the_order_of_columns_change_nothing() {
    let rows = broken();
    let before = told(&rows, 3, Scores::None, 0);
    let other: Vec<f64> =
        rows.chunks(3).flat_map(|row| [1e6 * row[2] + 3e7, row[0], 1e-6 * row[1]]).collect();
    let after = told(&other, 3, Scores::None, 0);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].contributions[0].column, 2);
    assert!((after[0].score - before[0].score).abs() < 1e-6, "{after:?}");
}

#[test]
fn low_values_are_as_unusual_as_high_ones() {
    for off in [9.0, -9.0] {
        let mut rows = table(independent, 2_000, 2, 8);
        rows[100] = off;
        let told = told(&rows, 2, Scores::None, 0);
        let found: Vec<_> = told.iter().map(|one| (one.row, one.evidence)).collect();
        assert_eq!(found, [(50, Evidence::Column(0))]);
        assert!((told[0].contributions[0].deviation / off - 1.0).abs() < 0.1);
    }
}

#[test]
fn prepared_rows_are_uncorrelated_and_of_variance_1() {
    let rows = table(correlated, 4_000, 3, 6);
    let prepared = prepare(&rows, 3).unwrap();
    for i in 0..3 {
        for j in 0..3 {
            let product: f64 = prepared.values.chunks(3).map(|row| row[i] * row[j]).sum::<f64>();
            let wanted = f64::from(u8::from(i == j));
            assert!((product / 4_000.0 - wanted).abs() < 0.15, "{i} {j}: {product}");
        }
    }
}

#[test]
fn a_forest_ranks_a_broken_dependence_higher_when_rows_are_prepared() {
    let rows = broken();
    let prepared = prepare(&rows, 3).unwrap();
    let rank = |values: &[f64]| {
        let scores = forest(values, 3, 1);
        scores.iter().filter(|score| **score > scores[700]).count()
    };
    let (raw, prepared) = (rank(&rows), rank(&prepared.values));
    assert!(prepared == 0 && raw > 0, "{prepared} {raw}");
}

#[test]
fn a_row_that_only_the_forest_isolates_is_told_and_one_without_a_score_is_not() {
    let rows = table(independent, 1_000, 2, 9);
    let prepared = prepare(&rows, 2).unwrap();
    let mut noise = Noise::new(10);
    let mut scores: Vec<f64> = (0..1_000).map(|_| 0.45 + 0.03 * noise.normal()).collect();
    scores[20] = f64::NAN;
    let told = |scores: &[f64]| outlying(&rows, &prepared, scores, &Options::default()).unwrap();
    assert_eq!(told(&scores), []);
    scores[30] = 0.8;
    let found = told(&scores);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].row, found[0].evidence), (30, Evidence::Isolation));
    let all = Options { score_min: found[0].score + 0.01 };
    assert_eq!(outlying(&rows, &prepared, &scores, &all).unwrap(), []);
    // Too few scores say nothing.
    scores[100..].fill(f64::NAN);
    scores[40..80].fill(f64::NAN);
    assert_eq!(told(&scores), []);
}

#[test]
fn rows_with_missing_values_are_left_out_and_not_told() {
    let mut rows = broken();
    rows[0] = f64::NAN;
    rows[4] = f64::INFINITY;
    // Unlike all others, but for what is missing.
    rows[6..9].copy_from_slice(&[50.0, f64::NAN, -50.0]);
    let prepared = prepare(&rows, 3).unwrap();
    assert!(prepared.values[..9].iter().all(|value| value.is_nan()));
    assert!(prepared.values[9..].iter().all(|value| value.is_finite()));
    let told = told(&rows, 3, Scores::Forest, 0);
    assert_eq!(told.iter().map(|one| one.row).collect::<Vec<_>>(), [700]);
}

#[test]
fn constant_columns_are_dropped_and_the_others_keep_their_names() {
    let mut rows = table(one_constant, 1_000, 3, 11);
    rows[30 * 3 + 2] = 12.0;
    // A column in which only a few are different is none either.
    rows[40 * 3 + 1] = 6.0;
    let prepared = prepare(&rows, 3).unwrap();
    assert_eq!((&prepared.kept[..], &prepared.dropped[..]), (&[0, 2][..], &[1][..]));
    let told = told(&rows, 3, Scores::None, 0);
    let found: Vec<_> = told.iter().map(|one| (one.row, one.contributions[0].column)).collect();
    assert_eq!(found, [(30, 2)]);
}

#[test]
fn one_column_is_a_table_too() {
    let mut rows = table(independent, 1_000, 1, 12);
    rows[70] = -9.0;
    let told = told(&rows, 1, Scores::Forest, 0);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].row, told[0].evidence), (70, Evidence::Column(0)));
    assert_eq!(told[0].contributions[0].given_others, told[0].contributions[0].deviation);
}

#[test]
fn what_cannot_be_said_is_not() {
    let silence = |rows: &[f64], columns| prepare(rows, columns).unwrap_err();
    assert_eq!(silence(&[], 1), Silence::Few { found: 0, needed: 64 });
    assert_eq!(silence(&[1.0; 126], 2), Silence::Few { found: 63, needed: 64 });
    assert_eq!(silence(&[1.0; 128], 2), Silence::Constant);
    assert_eq!(silence(&[1.0; 129], 2), Silence::Shape);
    assert_eq!(silence(&[1.0; 129], 0), Silence::Shape);
    assert_eq!(silence(&[1.0; 6_500], 65), Silence::Shape);
    let rows = table(independent, 64, 2, 13);
    let prepared = prepare(&rows, 2).unwrap();
    let options = Options::default();
    assert_eq!(outlying(&rows, &prepared, &[0.5; 63], &options), Err(Silence::Shape));
    assert_eq!(outlying(&rows[2..], &prepared, &[0.5; 64], &options), Err(Silence::Shape));
    assert_eq!(outlying(&rows, &prepared, &[0.5; 64], &options), Ok(vec![]));
}
