//! What is told where a measure starts or ends at nothing, where groups stand still, and where they move against the whole.

#![allow(clippy::unwrap_used)]

use super::tests::{Line, assert_near, counts, dimensions, explain_with, explained};
use super::tests::{grid, groups, pair, rates};
use super::*;
use crate::noise::Noise;
use crate::significance::two_sided;

/// Failures of models a to e in four regions of 1,000 rows, each row with a rate before and after.
fn failures(before: [f64; 5], after: [f64; 5]) -> Cells {
    let of = |rates: [f64; 5]| move |codes: &[u32]| rates[codes[0] as usize];
    rates(&grid(&[5, 4], of(before), of(after)), &[(1.0, 1.0); 20])
}

/// Sums of cells that have 1,000 rows in both periods, whatever their sum.
fn sums(lines: &[Line]) -> Cells {
    let period = |pick: fn(&Line) -> f64| Period {
        numerators: lines.iter().map(pick).collect(),
        rows: vec![1_000; lines.len()],
        squares: Some(lines.iter().map(pick).collect()),
        ..Period::default()
    };
    let (earlier, later) = (period(|line| line.1), period(|line| line.2));
    Cells::new(Measure::Sum, dimensions(lines), earlier, later).unwrap()
}

/// No finding has a contribution of 0, nor one against a change that is beyond noise.
fn assert_carries(found: &Explanation, significance: f64) {
    for finding in &found.findings {
        assert!(finding.contribution != 0.0 && finding.own != 0.0, "{found:?}");
        if two_sided(found.change_z) <= significance {
            assert!(finding.contribution * found.change > 0.0, "{found:?}");
        }
    }
}

const A_AND_B: [f64; 5] = [0.3, 0.3, 0.0, 0.0, 0.0];

#[test]
fn of_a_ratio_that_was_nothing_those_are_told_that_rose() {
    let both = [vec![pair(0, 0)], vec![pair(0, 1)]];
    let found = explained(&failures([0.0; 5], A_AND_B));
    assert_eq!((found.outcome, groups(&found)), (Outcome::Found, both.to_vec()));
    assert_eq!(found.background, Background::Shift);
    for finding in &found.findings {
        assert_near(finding.contribution, 0.06);
        assert_near(finding.share.unwrap(), 0.5);
        assert!(finding.p < 1e-50);
    }
    assert_near(found.rest, 0.0);
    // The same with a base that all share.
    let found = explained(&failures([0.02; 5], [0.3, 0.3, 0.02, 0.02, 0.02]));
    assert_eq!((found.background, groups(&found)), (Background::Factor, both.to_vec()));
    // Of unlike size, the larger first.
    let found = explained(&failures([0.0; 5], [0.1, 0.3, 0.0, 0.0, 0.0]));
    assert_eq!(groups(&found), [vec![pair(0, 1)], vec![pair(0, 0)]]);
    // As many moved as not, and more.
    let found = explained(&failures([0.0; 5], [0.3, 0.3, 0.3, 0.0, 0.0]));
    assert_eq!(groups(&found), [vec![pair(0, 0)], vec![pair(0, 1)], vec![pair(0, 2)]]);
    let found = explained(&failures([0.0; 5], [0.3, 0.3, 0.3, 0.3, 0.0]));
    assert_eq!(found.findings.len(), 4);
    assert!(found.findings.iter().all(|finding| finding.group[0].value < 4));
}

#[test]
fn of_many_that_rose_beside_as_many_that_did_not_the_first_are_told() {
    let after = |of: &[u32]| if of[0].is_multiple_of(2) { 0.3 } else { 0.0 };
    let cells = rates(&grid(&[40, 2], |_| 0.0, after), &[(1.0, 1.0); 80]);
    let found = explained(&cells);
    // Nine tenths of the ten that are looked for.
    assert_eq!(found.findings.len(), 9);
    assert!(
        found.findings.iter().all(|of| of.group.len() == 1 && of.group[0].value.is_multiple_of(2))
    );
    let found = explain_with(&cells, Options { findings_max: 1, ..Options::default() });
    assert_eq!(groups(&found), [vec![pair(0, 0)]]);
}

#[test]
fn single_rows_are_cells_as_well() {
    // Of two periods in turn, four models, two regions: all of one model in one region fail later.
    let ids: Vec<u32> = (0..6_000).filter(|id| id % 3 < 2).collect();
    let dimension = |values, of: fn(u32) -> u32| Dimension {
        name: String::new(),
        values,
        codes: ids.iter().map(|id| of(*id)).collect(),
    };
    let period = |later: u32, fails: fn(u32) -> bool| {
        let is_in = |id: &&u32| **id % 3 == later;
        let ones: Vec<f64> = ids.iter().map(|id| f64::from(u8::from(is_in(&id)))).collect();
        let failed = |(id, one): (&u32, &f64)| one * f64::from(u8::from(later == 1 && fails(*id)));
        let numerators: Vec<f64> = ids.iter().zip(&ones).map(failed).collect();
        Period {
            squares: Some(numerators.clone()),
            numerators,
            rows: ones.iter().map(|&one| one as u64).collect(),
            denominators: ones,
        }
    };
    let found = |fails: fn(u32) -> bool| {
        let dimensions = vec![dimension(4, |id| id / 3 % 4), dimension(2, |id| id / 12 % 2)];
        let periods = (period(0, fails), period(1, fails));
        explained(&Cells::new(Measure::Ratio, dimensions, periods.0, periods.1).unwrap())
    };
    let one = found(|id| id / 3 % 4 == 2 && id / 12 % 2 == 1);
    assert_eq!(groups(&one), [vec![pair(0, 2), pair(1, 1)]]);
    assert_eq!(one.findings[0].rows, [250, 250]);
    // Of two models some, in either region.
    let two = found(|id| id / 3 % 4 < 2 && id / 24 % 3 == 0);
    assert_eq!(groups(&two), [vec![pair(0, 0)], vec![pair(0, 1)]]);
}

#[test]
fn a_base_of_a_few_failures_is_as_none() {
    let both = [vec![pair(0, 0)], vec![pair(0, 1)]];
    for (few, background) in [
        (1.0, Background::Shift),
        (3.0, Background::Shift),
        (49.0, Background::Shift),
        (50.0, Background::Factor),
        (80.0, Background::Factor),
    ] {
        // Spread over all models.
        let base = few / 20_000.0;
        let after = A_AND_B.map(|rate| rate + base);
        let found = explained(&failures([base; 5], after));
        assert_eq!((found.background, groups(&found)), (background, both.to_vec()), "{few}");
        assert_carries(&found, 0.01);
    }
    // All in one that stays as it is.
    let before = [0.0, 0.0, 3.0 / 4_000.0, 0.0, 0.0];
    let found = explained(&failures(before, [0.3, 0.3, before[2], 0.0, 0.0]));
    assert_eq!(groups(&found), both);
    // And with more of them.
    let found = explained(&failures([0.0, 0.0, 0.02, 0.0, 0.0], [0.3, 0.3, 0.02, 0.0, 0.0]));
    assert_eq!((found.background, groups(&found)), (Background::Factor, both.to_vec()));
}

#[test]
fn a_conjunction_that_was_nothing_is_told_and_none_of_the_others() {
    let lines = grid(&[5, 4], |_| 0.0, |of| if of == [1, 2] { 0.3 } else { 0.0 });
    let found = explained(&rates(&lines, &[(1.0, 1.0); 20]));
    assert_eq!(groups(&found), [vec![pair(0, 1), pair(1, 2)]]);
    assert_near(found.findings[0].share.unwrap(), 1.0);
    // A model and a conjunction of another.
    let after = |of: &[u32]| if of[0] == 0 || of == [1, 2] { 0.3 } else { 0.0 };
    let found = explained(&rates(&grid(&[5, 4], |_| 0.0, after), &[(1.0, 1.0); 20]));
    assert_eq!(groups(&found), [vec![pair(0, 0)], vec![pair(0, 1), pair(1, 2)]]);
}

#[test]
fn a_rise_from_nothing_in_all_alike_is_even() {
    for (before, after) in [([0.0; 5], [0.1; 5]), ([0.1; 5], [0.0; 5])] {
        let found = explained(&failures(before, after));
        assert_eq!((found.outcome, found.findings.len()), (Outcome::Even, 0));
        assert_eq!(found.background, Background::Shift);
    }
    let found = explained(&failures([0.0; 5], [0.0; 5]));
    assert_eq!((found.outcome, found.change, found.change_z), (Outcome::Noise, 0.0, 0.0));
}

#[test]
fn of_a_ratio_that_falls_to_nothing_those_are_told_that_fell() {
    let both = [vec![pair(0, 0)], vec![pair(0, 1)]];
    let few = 3.0 / 20_000.0;
    for after in [0.0, few] {
        let found = explained(&failures(A_AND_B.map(|rate| rate + after), [after; 5]));
        assert_eq!((found.background, groups(&found)), (Background::Shift, both.to_vec()));
        assert_near(found.findings[0].contribution, -0.06);
        assert_near(found.rest, 0.0);
    }
}

#[test]
fn of_a_sum_that_was_nothing_or_nearly_those_are_told_that_have_it() {
    let both = [vec![pair(0, 0)], vec![pair(0, 1)]];
    let of = |rates: [f64; 5]| move |codes: &[u32]| 1_000.0 * rates[codes[0] as usize];
    for base in [0.0, 0.000_15, 0.002_45, 0.002_5, 0.02] {
        let after = of(A_AND_B.map(|rate| rate + base));
        let found = explained(&sums(&grid(&[5, 4], of([base; 5]), after)));
        assert_eq!(groups(&found), both, "{base}");
        assert_near(found.findings[0].contribution, 1_200.0);
        let expected = if base < 0.0025 { Background::Shift } else { Background::Factor };
        assert_eq!(found.background, expected, "{base}");
    }
    // What falls to nothing has fallen by the same factor everywhere.
    let found = explained(&sums(&grid(&[5, 4], of([0.3; 5]), of([0.0; 5]))));
    assert_eq!((found.outcome, found.findings.len()), (Outcome::Even, 0));
}

#[test]
fn one_that_stands_still_while_many_grow_is_no_finding() {
    // Of 50 that grow by a quarter one does not: all but it would be 49 findings.
    let after = |still: usize| {
        move |of: &[u32]| 10_000.0 * if (of[0] as usize) < still { 1.0 } else { 1.25 }
    };
    let found = explained(&counts(&grid(&[50], |_| 10_000.0, after(1))));
    assert_eq!((found.outcome, found.findings.len()), (Outcome::Even, 0));
    assert_near(found.rest, found.change);
    let one = Options { findings_max: 1, ..Options::default() };
    assert_eq!(
        explain_with(&counts(&grid(&[50], |_| 10_000.0, after(1))), one).outcome,
        Outcome::Even
    );
    // Of 50 that stand still three grow.
    let found = explained(&counts(&grid(&[50], |_| 10_000.0, after(47))));
    assert_eq!(groups(&found), [vec![pair(0, 47)], vec![pair(0, 48)], vec![pair(0, 49)]]);
    // Beside one that still stands, one that doubles.
    let after = |of: &[u32]| 10_000.0 * [1.0, 2.0, 1.25][(of[0] as usize).min(2)];
    let found = explained(&counts(&grid(&[50], |_| 10_000.0, after)));
    assert_eq!(groups(&found), [vec![pair(0, 1)]]);
    assert_near(found.findings[0].excess, 7_500.0);
}

#[test]
fn what_moves_against_the_change_does_not_explain_it() {
    let found = |up: f64, down: f64| {
        let after = move |of: &[u32]| 1_000.0 + [0.0, up, -down, 0.0, 0.0][of[0] as usize];
        explained(&counts(&grid(&[5], |_| 1_000.0, after)))
    };
    let (up, down) = ([pair(0, 1)], [pair(0, 2)]);
    // Standard deviation of the change: a hundred or a little more. The limit is 2.58 of them.
    let more = found(900.0, 600.0);
    assert!(more.change_z > 2.6);
    assert_eq!(groups(&more), [up]);
    assert_near(more.rest, -600.0);
    assert_near(more.findings[0].gross_share, 1.0);
    let fewer = found(600.0, 900.0);
    assert!(fewer.change_z < -2.6);
    assert_eq!(groups(&fewer), [down]);
    let alike = found(700.0, 600.0);
    assert!(alike.change_z < 2.5);
    assert_eq!(groups(&alike), [up, down]);
    // What is found beside both is the same.
    assert_near(more.findings[0].excess, 900.0);
}

#[test]
fn groups_that_come_or_go_at_a_ratio_of_nothing_are_no_findings() {
    // c is new and d has gone, both without failures; and in the second world the new one has all of them.
    let traffic: Vec<(f64, f64)> = (0..20)
        .map(|cell| match cell / 4 {
            2 => (0.0, 1.0),
            3 => (1.0, 0.0),
            _ => (1.0, 1.0),
        })
        .collect();
    let world = |after: [f64; 5]| {
        let lines = grid(&[5, 4], |_| 0.0, |of| after[of[0] as usize]);
        explained(&rates(&lines, &traffic))
    };
    assert_eq!(groups(&world(A_AND_B)), [vec![pair(0, 0)], vec![pair(0, 1)]]);
    let found = world([0.0, 0.0, 0.3, 0.0, 0.0]);
    assert_eq!(groups(&found), [vec![pair(0, 2)]]);
    assert_eq!((found.findings[0].before, found.findings[0].rows), (None, [0, 4_000]));
    assert_near(found.findings[0].parts.unwrap().mix, 0.3 / 4.0);
    // And the other way round: the one that goes had all of them.
    let lines = grid(&[5, 4], |of| if of[0] == 3 { 0.3 } else { 0.0 }, |_| 0.0);
    let found = explained(&rates(&lines, &traffic));
    assert_eq!(groups(&found), [vec![pair(0, 3)]]);
    assert_eq!(found.findings[0].after, None);
}

/// Rows of a model in a region, failed or not, jittering as by chance.
fn jittering(noise: &mut Noise, moves: bool) -> Vec<Line> {
    let jitter = |noise: &mut Noise, mean: f64| (mean + mean.sqrt() * noise.normal()).round();
    let mut lines = grid(&[2, 5, 7], |_| 0.0, |_| 0.0);
    for (of, before, after) in &mut lines {
        // Of a and b 30 % fail later; as many rows as before.
        let rate = if moves && of[1] < 2 { 0.3 } else { 0.02 };
        let share = |rate: f64| 600.0 * if of[0] == 1 { rate } else { 1.0 - rate };
        *before = jitter(noise, share(0.02));
        *after = jitter(noise, share(rate));
    }
    // The same in total: what is too much or too little is spread over the 35 cells of those that did not fail.
    let total: f64 = lines.iter().map(|line| line.1 - line.2).sum();
    let each = (total / 35.0).round();
    lines.iter_mut().filter(|line| line.0[0] == 0).for_each(|line| line.2 += each);
    lines[34].2 += total - 35.0 * each;
    lines
}

#[test]
fn parts_that_jitter_in_an_unchanged_total_are_no_findings() {
    let mut noise = Noise::new(21_000);
    let mut found_in_noise = 0;
    for round in 0..100 {
        let found = explained(&counts(&jittering(&mut noise, false)));
        assert_eq!(found.change, 0.0);
        found_in_noise += usize::from(!found.findings.is_empty());
        // Rows that failed take the place of others: these stand out, and what only stands beside them does not.
        let found = explained(&counts(&jittering(&mut noise, true)));
        assert!(found.change == 0.0 && found.outcome == Outcome::Found, "{round}");
        for finding in &found.findings {
            let (before, after) = (finding.before.unwrap(), finding.after.unwrap());
            assert!((after - before).abs() > 3.0 * (after + before).sqrt(), "{finding:?}");
        }
        let rest: Vec<&Finding> =
            found.findings.iter().filter(|of| of.group != [pair(0, 1)]).collect();
        let is_of_a_or_b = |of: &&&Finding| of.group.last().is_some_and(|last| last.value < 2);
        assert!(rest.len() >= 2 && rest.iter().filter(is_of_a_or_b).count() == rest.len());
    }
    assert!(found_in_noise <= 2, "{found_in_noise}");
}

#[test]
fn parts_that_stay_beside_others_that_fall_are_no_findings_in_an_unchanged_total() {
    // One has what six lose: 21,000 before and after. The last two stand out from the six by 5 standard deviations and more.
    let before = [4886.0, 2500.0, 2500.0, 2500.0, 2500.0, 2500.0, 2500.0, 573.0, 541.0];
    let after = [9362.0, 1750.0, 1750.0, 1750.0, 1750.0, 1750.0, 1750.0, 583.0, 555.0];
    let of = |sums: [f64; 9]| move |codes: &[u32]| sums[codes[0] as usize];
    let options = Options { explained: 1.0, ..Options::default() };
    let found = explain_with(&counts(&grid(&[9], of(before), of(after))), options);
    assert_eq!((found.before, found.change), (Some(21_000.0), 0.0));
    assert_eq!(groups(&found), [vec![pair(0, 0)]]);
    // Where they move beyond noise as well they are told: 573 to 783 is 5.7 standard deviations, 541 to 755 is 5.9.
    let after = [8962.0, 1750.0, 1750.0, 1750.0, 1750.0, 1750.0, 1750.0, 783.0, 755.0];
    let found = explain_with(&counts(&grid(&[9], of(before), of(after))), options);
    assert_eq!((found.before, found.change), (Some(21_000.0), 0.0));
    assert_eq!(groups(&found), [vec![pair(0, 0)], vec![pair(0, 7)], vec![pair(0, 8)]]);
}

#[test]
fn whatever_moved_findings_carry_the_change() {
    let mut noise = Noise::new(30);
    for round in 0..300 {
        let mut rate = |zero: f64, most: f64| match noise.uniform() {
            chance if chance < zero => 0.0,
            _ => most * noise.uniform(),
        };
        // A third starts at nothing or nearly, a third ends there.
        let most = [[0.001, 0.4], [0.4, 0.001], [0.4, 0.4]][round % 3];
        let before: [f64; 5] = std::array::from_fn(|_| rate(0.5, most[0]));
        let after: [f64; 5] = std::array::from_fn(|_| rate(0.5, most[1]));
        let of =
            |rates: [f64; 5]| move |codes: &[u32]| (1_000.0 * rates[codes[0] as usize]).round();
        let lines = grid(&[5, 4], of(before), of(after));
        let options = Options { explained: 1.0, ..Options::default() };
        let thousandth = |line: &Line| (line.0.clone(), line.1 / 1_000.0, line.2 / 1_000.0);
        let ratio: Vec<Line> = lines.iter().map(thousandth).collect();
        for cells in [rates(&ratio, &[(1.0, 1.0); 20]), sums(&lines)] {
            assert_carries(&explain_with(&cells, options), options.significance);
        }
    }
}
