//! Small tables whose explanation can be computed by hand.

#![allow(clippy::unwrap_used)]

use super::excess::Excess;
use super::explain::{best, depth};
use super::search::{Candidate, Level};
use super::*;
use crate::noise::Noise;

/// Values of a cell, and its earlier and later sum.
pub(super) type Line = (Vec<u32>, f64, f64);

pub(super) fn dimensions(lines: &[Line]) -> Vec<Dimension> {
    let of = |number: usize| {
        let codes: Vec<u32> = lines.iter().map(|line| line.0[number]).collect();
        let values = codes.iter().max().map_or(0, |most| most + 1);
        Dimension { name: format!("d{number}"), values, codes }
    };
    (0..lines[0].0.len()).map(of).collect()
}

/// Counts: each row is 1.
pub(super) fn counts(lines: &[Line]) -> Cells {
    let period = |pick: fn(&Line) -> f64| Period {
        numerators: lines.iter().map(pick).collect(),
        rows: lines.iter().map(|line| pick(line) as u64).collect(),
        ..Period::default()
    };
    let (earlier, later) = (period(|line| line.1), period(|line| line.2));
    Cells::new(Measure::Sum, dimensions(lines), earlier, later).unwrap()
}

/// Successes of 1,000 trials for each of `lines`, times its later and earlier traffic.
pub(super) fn rates(lines: &[Line], traffic: &[(f64, f64)]) -> Cells {
    let period = |rate: fn(&Line) -> f64, pick: fn(&(f64, f64)) -> f64| {
        let trials: Vec<f64> = traffic.iter().map(|traffic| 1_000.0 * pick(traffic)).collect();
        Period {
            numerators: lines.iter().zip(&trials).map(|(line, d)| rate(line) * d).collect(),
            rows: trials.iter().map(|&d| d as u64).collect(),
            denominators: trials,
            squares: None,
        }
    };
    let (earlier, later) = (period(|line| line.1, |t| t.0), period(|line| line.2, |t| t.1));
    Cells::new(Measure::Ratio, dimensions(lines), earlier, later).unwrap()
}

/// All combinations of values: `before` and `after` of each.
pub(super) fn grid(
    sizes: &[u32],
    before: impl Fn(&[u32]) -> f64,
    after: impl Fn(&[u32]) -> f64,
) -> Vec<Line> {
    let mut all: Vec<Vec<u32>> = vec![Vec::new()];
    for &size in sizes {
        let longer = |codes: &Vec<u32>| {
            let codes = codes.clone();
            (0..size).map(move |value| [&codes[..], &[value]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all.into_iter().map(|codes| (codes.clone(), before(&codes), after(&codes))).collect()
}

pub(super) fn explained(cells: &Cells) -> Explanation {
    explain_with(cells, Options::default())
}

pub(super) fn explain_with(cells: &Cells, options: Options) -> Explanation {
    let found = explain(cells, &options, &|| false).unwrap();
    let own: f64 = found.findings.iter().map(|finding| finding.own).sum();
    let scale = found.before.unwrap_or(0.0).abs() + found.after.unwrap_or(0.0).abs() + 1e-300;
    assert!((own + found.rest - found.change).abs() <= 1e-9 * scale, "{found:?}");
    found
}

pub(super) fn pair(dimension: usize, value: u32) -> Pair {
    Pair { dimension, value }
}

pub(super) fn groups(found: &Explanation) -> Vec<Vec<Pair>> {
    found.findings.iter().map(|finding| finding.group.clone()).collect()
}

pub(super) fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} beside {expected}");
}

#[test]
fn a_finding_has_the_numbers_of_its_group() {
    let after = |codes: &[u32]| if codes == [1, 2] { 250.0 } else { 100.0 };
    let found = explained(&counts(&grid(&[3, 4], |_| 100.0, after)));
    assert_eq!((found.outcome, found.depth, found.judged), (Outcome::Found, 2, 3 + 4 + 12));
    assert_eq!((found.before, found.after, found.change), (Some(1200.0), Some(1350.0), 150.0));
    assert_near(found.change_z, 150.0 / 2550.0_f64.sqrt());
    assert_eq!(groups(&found), [vec![pair(0, 1), pair(1, 2)]]);
    let finding = &found.findings[0];
    assert_eq!((finding.before, finding.after), (Some(100.0), Some(250.0)));
    assert_eq!((finding.rows, finding.parts), ([100, 250], None));
    assert_near(finding.contribution, 150.0);
    assert_near(finding.excess, 150.0);
    assert_eq!((finding.share, finding.own, finding.gross_share), (Some(1.0), 150.0, 1.0));
    // Its values grew from 400 to 550 and from 300 to 450, all from 1,200 to 1,350.
    assert_near(finding.interaction.unwrap(), 150.0 - 100.0 * (150.0 / 400.0 + 0.5 - 0.125));
    let (p, q): (f64, f64) = (1.0 / 12.0, 250.0 / 1350.0);
    let divergence = p * (2.0 * p / (p + q)).ln() + q * (2.0 * q / (p + q)).ln();
    assert_near(finding.surprise, divergence / 2.0);
    // The rest did not move: a row of it weighs an eleventh. Two levels, twelve groups in the second.
    let usual: f64 = 1350.0 / 1200.0;
    let variance = 250.0 + 1100.0 / 121.0 + usual * usual * (100.0 + 1100.0 / 121.0);
    assert_near(finding.z, 150.0 / variance.sqrt());
    let p = 24.0 * crate::significance::two_sided(finding.z);
    assert!((finding.p / p - 1.0).abs() < 1e-9 && p < 1e-9);
    assert_eq!(found.rest, 0.0);
}

#[test]
fn single_values_have_no_interaction_and_a_ratio_has_parts() {
    let lines = grid(&[3, 4], |_| 0.1, |codes| if codes[0] == 2 { 0.2 } else { 0.1 });
    let found = explained(&rates(&lines, &[(1.0, 1.0); 12]));
    assert_eq!(groups(&found), [vec![pair(0, 2)]]);
    let finding = &found.findings[0];
    let parts = finding.parts.unwrap();
    assert_near(parts.rate, 0.1 / 3.0);
    assert_near(parts.mix, 0.0);
    assert_near(parts.interaction, 0.0);
    assert_eq!((finding.interaction, finding.rows), (None, [4000, 4000]));
    assert_near(finding.contribution, found.change);
    assert_near(finding.excess, found.change);
    assert_eq!(found.background, Background::Factor);
}

#[test]
fn the_excess_of_a_ratio_is_in_units_of_the_whole_where_others_were_found() {
    // Two values of five move; each is judged in the end among itself and the three that did not.
    let after = |codes: &[u32]| [0.3, 0.2, 0.1, 0.1, 0.1][codes[0] as usize];
    let found = explained(&rates(&grid(&[5, 3], |_| 0.1, after), &[(1.0, 1.0); 15]));
    assert_eq!(groups(&found), [vec![pair(0, 0)], vec![pair(0, 1)]]);
    assert_near(found.findings[0].excess, 0.2 / 5.0);
    assert_near(found.findings[1].excess, 0.1 / 5.0);
    assert_near(found.findings[0].gross_share, 2.0 / 3.0);
    assert_near(found.rest, 0.0);
}

#[test]
fn the_excess_of_a_ratio_is_by_the_later_traffic() {
    // The same, and the first value has twice the traffic.
    let after = |codes: &[u32]| [0.3, 0.2, 0.1, 0.1, 0.1][codes[0] as usize];
    let lines = grid(&[5, 3], |_| 0.1, after);
    let traffic = |line: &Line| if line.0[0] == 0 { (1.0, 2.0) } else { (1.0, 1.0) };
    let found = explained(&rates(&lines, &lines.iter().map(traffic).collect::<Vec<_>>()));
    assert_eq!(groups(&found), [vec![pair(0, 0)], vec![pair(0, 1)]]);
    assert_near(found.findings[0].excess, 0.2 * 2.0 / 6.0);
    assert_near(found.findings[1].excess, 0.1 / 6.0);
}

#[test]
fn each_number_of_pairs_pays_for_its_groups() {
    let level = |pairs: u32, z: f64| {
        let excess = Excess { excess: 1.0, z, moved: 0.0 };
        let group: Vec<Pair> = (0..pairs).map(|value| pair(value as usize, value)).collect();
        Level { judged: 1, best: Some(Candidate { group, excess }) }
    };
    let pairs = |single: f64, double: f64, judged: [u64; 2]| {
        best(vec![level(1, single), level(2, double)], &judged).unwrap().group.len()
    };
    assert_eq!([pairs(5.0, 5.0, [10, 10]), pairs(5.0, 5.01, [10, 10])], [1, 2]);
    // Ten times as many groups: ln 10 of likelihood, 2 ln 10 of z².
    let even = (25.0 + 2.0 * 10.0_f64.ln()).sqrt();
    assert_eq!([pairs(5.0, even - 0.01, [10, 100]), pairs(5.0, even + 0.01, [10, 100])], [1, 2]);
    assert_eq!(pairs(5.0, 5.01, [0, 1]), 2);
    assert_eq!(best(vec![Level::default()], &[3]), None);
}

#[test]
fn where_all_rates_rise_and_the_whole_falls_traffic_moved_to_a_low_rate() {
    let rate = |codes: &[u32]| [0.1, 0.4, 0.4][codes[0] as usize];
    let lines = grid(&[3, 4], rate, |codes| 1.02 * rate(codes));
    let traffic: Vec<(f64, f64)> =
        lines.iter().map(|line| if line.0[0] == 0 { (1.0, 4.0) } else { (1.0, 1.0) }).collect();
    let found = explained(&rates(&lines, &traffic));
    assert!(found.change < 0.0);
    assert_eq!(groups(&found), [vec![pair(0, 0)]]);
    assert_near(found.findings[0].share.unwrap(), found.findings[0].contribution / found.change);
    let parts = found.findings[0].parts.unwrap();
    // A third of the traffic becomes two thirds, of a rate of 0.1 where the whole has 0.3.
    assert_near(parts.mix, -0.2 / 3.0);
    assert_near(parts.rate, 0.002 / 3.0);
    assert_near(parts.interaction, 0.002 / 3.0);
}

#[test]
fn a_conjunction_is_told_where_its_parent_hardly_moves_and_the_parent_where_it_does() {
    // Of the parent, nine tenths have value 0 of the other dimension.
    let share = |codes: &[u32]| [9.0, 1.0][(codes[1] > 0) as usize];
    for (rest, expected) in [
        (1.0, vec![pair(0, 1), pair(1, 0)]),
        (1.2, vec![pair(0, 1), pair(1, 0)]),
        (1.8, vec![pair(0, 1)]),
        (2.0, vec![pair(0, 1)]),
    ] {
        let before = |codes: &[u32]| 400.0 * share(codes);
        let after = |codes: &[u32]| {
            let factor = [1.0, if codes[1] > 0 { rest } else { 2.0 }][(codes[0] == 1) as usize];
            before(codes) * factor
        };
        let found = explained(&counts(&grid(&[6, 2], before, after)));
        assert_eq!(groups(&found)[0], expected, "{rest}");
    }
}

#[test]
fn what_is_around_a_finding_is_no_finding() {
    // Within value 1 one conjunction doubles; the rest of it grows by a quarter.
    let after = |codes: &[u32]| {
        4000.0 * [1.0, if codes[1] == 0 { 3.0 } else { 1.25 }][(codes[0] == 1) as usize]
    };
    let options = Options { explained: 1.0, ..Options::default() };
    let found = explain_with(&counts(&grid(&[6, 8], |_| 4000.0, after)), options);
    assert_eq!(groups(&found)[0], [pair(0, 1), pair(1, 0)]);
    assert!(found.findings.len() > 1 && !groups(&found).contains(&vec![pair(0, 1)]));
}

#[test]
fn three_values_together_are_found() {
    let after = |codes: &[u32]| if codes[..3] == [1, 2, 0] { 120.0 } else { 40.0 };
    let lines = grid(&[3, 4, 3, 4], |_| 40.0, after);
    let found = explained(&counts(&lines));
    assert_eq!(groups(&found), [vec![pair(0, 1), pair(1, 2), pair(2, 0)]]);
    let pairs = explain_with(&counts(&lines), Options { depth_max: 2, ..Options::default() });
    assert_eq!((pairs.depth, pairs.findings[0].group.len()), (2, 2));
}

#[test]
fn findings_end_where_they_explain_enough() {
    // Excesses of 900 and `small`.
    let found = |small: f64, options: Options| {
        let after = |codes: &[u32]| 1000.0 + [0.0, 900.0, small, 0.0, 0.0][codes[0] as usize];
        groups(&explain_with(&counts(&grid(&[5], |_| 1000.0, after)), options))
    };
    let (first, both) = (vec![vec![pair(0, 1)]], vec![vec![pair(0, 1)], vec![pair(0, 2)]]);
    let some = Options { significance: 0.5, ..Options::default() };
    assert_eq!(found(99.0, some), first);
    assert_eq!(found(101.0, some), both);
    assert_eq!(found(200.0, Options { explained: 0.81, ..some }), first);
    assert_eq!(found(200.0, Options { explained: 0.82, ..some }), both);
    assert_eq!(found(99.0, Options { explained: 1.0, ..some }), both);
    assert_eq!(found(200.0, Options { findings_max: 1, ..some }), first);
    assert_eq!(found(200.0, Options { explained: 0.0, ..some }), first);
    assert_eq!(found(200.0, Options { findings_max: 0, ..some }), Vec::<Vec<Pair>>::new());
    let fallen = |explained: f64| {
        let after = |codes: &[u32]| 1000.0 - [0.0, 900.0, 200.0, 0.0, 0.0][codes[0] as usize];
        let options = Options { explained, ..some };
        groups(&explain_with(&counts(&grid(&[5], |_| 1000.0, after)), options))
    };
    assert_eq!([0.81, 0.82].map(fallen), [first, both]);
}

#[test]
fn groups_that_cancel_each_other_are_told_by_magnitude() {
    let after = |codes: &[u32]| 1000.0 + [0.0, -300.0, 310.0, 0.0, -10.0][codes[0] as usize];
    let found = explained(&counts(&grid(&[5], |_| 1000.0, after)));
    assert_eq!((found.change, found.findings[0].share), (0.0, None));
    assert_eq!(groups(&found), [vec![pair(0, 2)], vec![pair(0, 1)]]);
    assert!((found.findings[0].gross_share - 0.51).abs() < 0.01);
    assert!(found.findings[1].excess < -290.0 && found.findings[1].gross_share > 0.48);
}

#[test]
fn what_stood_out_only_beside_other_findings_is_not_told() {
    // First it is value 0 that stood still beside most; without those that grew most it is as others are.
    let before = [1000.0, 400.0, 400.0, 400.0, 100.0];
    let after = [1000.0, 520.0, 680.0, 840.0, 100.0];
    let lines = grid(&[5], |codes| before[codes[0] as usize], |codes| after[codes[0] as usize]);
    let cells = counts(&lines);
    let first = explain_with(&cells, Options { findings_max: 1, ..Options::default() });
    assert_eq!(groups(&first), [vec![pair(0, 3)]]);
    assert_eq!(groups(&explained(&cells)), [vec![pair(0, 3)], vec![pair(0, 2)]]);
}

#[test]
fn a_change_beside_an_even_one_is_told_for_what_it_is_beyond_it() {
    let after = |codes: &[u32]| 600.0 * if codes[1] == 3 { 2.0 } else { 1.25 };
    let found = explained(&counts(&grid(&[3, 4], |_| 600.0, after)));
    assert_eq!(groups(&found), [vec![pair(1, 3)]]);
    let finding = &found.findings[0];
    assert_near(finding.excess, 1800.0 * 0.75);
    assert_near(finding.contribution, 1800.0);
    assert_near(found.rest, 5400.0 * 0.25);
    assert_near(finding.share.unwrap(), 1800.0 / 3150.0);
}

#[test]
fn an_even_change_is_told_as_one_and_a_small_one_as_noise() {
    for (factor, outcome) in [(1.2, Outcome::Even), (0.8, Outcome::Even), (1.01, Outcome::Noise)] {
        let found = explained(&counts(&grid(&[3, 4], |_| 500.0, |_| 500.0 * factor)));
        assert_eq!((found.outcome, found.findings.len()), (outcome, 0), "{factor}");
        let lines = grid(
            &[3, 4],
            |codes| 0.1 + 0.02 * f64::from(codes[1]),
            |codes| factor * (0.1 + 0.02 * f64::from(codes[1])),
        );
        let found = explained(&rates(&lines, &[(2.0, 2.0); 12]));
        assert_eq!((found.outcome, found.findings.len()), (outcome, 0), "{factor}");
    }
    // 2.58 standard deviations are one in a hundred.
    for (more, outcome) in [(118.0, Outcome::Noise), (119.0, Outcome::Even)] {
        let found = explained(&counts(&[(vec![0], 1000.0, 1000.0 + more)]));
        assert_eq!(found.outcome, outcome, "{}", found.change_z);
    }
}

#[test]
fn significance_is_over_all_groups_and_bursts_count_less() {
    let cells = |more: f64| {
        let after = |codes: &[u32]| 500.0 + if codes[0] == 1 { more } else { 0.0 };
        counts(&grid(&[20], |_| 500.0, after))
    };
    // Of 20 groups: p of 0.0005, z of 3.48; a standard deviation of about 33.
    for (more, count) in [(112.0, 0), (120.0, 1)] {
        let found = explained(&cells(more));
        assert_eq!((found.findings.len(), found.judged), (count, 20), "{found:?}");
    }
    for (dispersion, count) in [(1.0, 1), (2.0, 0)] {
        let found = explain_with(&cells(130.0), Options { dispersion, ..Options::default() });
        assert_eq!(found.findings.len(), count);
    }
    for (significance, count) in [(0.2, 1), (0.001, 0)] {
        let found = explain_with(&cells(115.0), Options { significance, ..Options::default() });
        assert_eq!(found.findings.len(), count);
    }
}

#[test]
fn of_two_values_the_one_that_moved_is_told() {
    for moved in [0, 1] {
        let after = |codes: &[u32]| {
            [600.0, 400.0][codes[0] as usize] + 300.0 * f64::from(codes[0] == moved)
        };
        let found =
            explained(&counts(&grid(&[2], |codes| [600.0, 400.0][codes[0] as usize], after)));
        assert_eq!(groups(&found), [vec![pair(0, moved)]]);
    }
}

#[test]
fn values_that_come_and_go_are_told() {
    let before = |codes: &[u32]| [200.0, 0.0, 200.0, 200.0][codes[0] as usize];
    let after = |codes: &[u32]| [200.0, 150.0, 0.0, 200.0][codes[0] as usize];
    let found = explained(&counts(&grid(&[4, 3], before, after)));
    assert_eq!(groups(&found), [vec![pair(0, 2)], vec![pair(0, 1)]]);
    assert_eq!((found.findings[0].after, found.findings[1].before), (Some(0.0), Some(0.0)));
    assert_near(found.findings[1].excess, 450.0);
    let rate = |codes: &[u32]| [0.1, 0.5, 0.1, 0.1][codes[0] as usize];
    let lines = grid(&[4, 3], rate, rate);
    let traffic: Vec<(f64, f64)> =
        lines.iter().map(|line| if line.0[0] == 1 { (0.0, 1.0) } else { (1.0, 1.0) }).collect();
    let found = explained(&rates(&lines, &traffic));
    assert_eq!(groups(&found), [vec![pair(0, 1)]]);
    assert_eq!(found.findings[0].before, None);
    assert_near(found.findings[0].parts.unwrap().mix, 0.25 * 0.4);
}

#[test]
fn a_region_of_one_city_is_told_by_the_first_dimension() {
    let after = |codes: &[u32]| if codes[0] == 1 { 200.0 } else { 100.0 };
    let mut lines = grid(&[3, 4], |_| 100.0, after);
    lines.iter_mut().for_each(|line| line.0.insert(0, line.0[0]));
    assert_eq!(groups(&explained(&counts(&lines))), [vec![pair(0, 1)]]);
}

#[test]
fn gains_and_losses_move_by_a_shift() {
    let cells = |before: [f64; 3]| {
        let lines: Vec<Line> = (0..3).map(|i| (vec![i], before[i as usize], 1000.0)).collect();
        let period = |pick: fn(&Line) -> f64| Period {
            numerators: lines.iter().map(pick).collect(),
            rows: vec![1000; 3],
            ..Period::default()
        };
        let (earlier, later) = (period(|line| line.1), period(|line| line.2));
        [(&earlier, &later), (&later, &earlier)].map(|(earlier, later)| {
            let both = (earlier.clone(), later.clone());
            let cells = Cells::new(Measure::Sum, dimensions(&lines), both.0, both.1).unwrap();
            explained(&cells).background
        })
    };
    use Background::{Factor, Shift};
    // Net 2,000 of gross 4,000.
    assert_eq!(cells([3000.0, 0.0, -1000.0]), [Factor, Factor]);
    assert_eq!(cells([3000.0, 0.0, -1010.0]), [Shift, Shift]);
    assert_eq!(cells([0.0, 0.0, 0.0]), [Shift, Factor]);
}

#[test]
fn the_weight_of_an_interaction_is_what_even_changes_go_by() {
    // Each row is 10 and −10 in turn; by a shift, one pair moves.
    let lines = grid(&[2, 3], |_| 0.0, |codes| if codes == [1, 1] { 900.0 } else { 0.0 });
    let period = |pick: fn(&Line) -> f64| Period {
        numerators: lines.iter().map(pick).collect(),
        rows: vec![50, 50, 50, 50, 100, 50],
        squares: Some(vec![5000.0; 6]),
        ..Period::default()
    };
    let (earlier, later) = (period(|line| line.1), period(|line| line.2));
    let sum = Cells::new(Measure::Sum, dimensions(&lines), earlier.clone(), later.clone());
    let found = explained(&sum.unwrap());
    assert_eq!(
        (found.background, groups(&found)),
        (Background::Shift, vec![vec![pair(0, 1), pair(1, 1)]])
    );
    let expected = 900.0 * (1.0 - 100.0 * (1.0 / 200.0 + 1.0 / 150.0 - 1.0 / 350.0));
    assert_near(found.findings[0].interaction.unwrap(), expected);
    // Denominators that are twice the rows but for that pair.
    let denominators = vec![100.0, 100.0, 100.0, 100.0, 100.0, 100.0];
    let with = |period: Period| Period { denominators: denominators.clone(), ..period };
    let ratio = Cells::new(Measure::Ratio, dimensions(&lines), with(earlier), with(later));
    let found = explained(&ratio.unwrap());
    assert_eq!(groups(&found), [vec![pair(0, 1), pair(1, 1)]]);
    let expected = 1.5 * (1.0 - 100.0 * (1.0 / 300.0 + 1.0 / 200.0 - 1.0 / 600.0));
    assert_near(found.findings[0].interaction.unwrap(), expected);
}

#[test]
fn without_rows_or_denominators_there_is_nothing_to_compare() {
    let gone = explained(&counts(&grid(&[3], |_| 100.0, |_| 0.0)));
    assert_eq!((gone.outcome, gone.change, gone.rest), (Outcome::Incomparable, -300.0, -300.0));
    assert_eq!(explained(&counts(&grid(&[3], |_| 0.0, |_| 100.0))).outcome, Outcome::Incomparable);
    let lines = grid(&[3], |_| 0.1, |_| 0.1);
    for (traffic, before) in [((0.0, 1.0), None), ((1.0, 0.0), Some(0.1))] {
        let found = explained(&rates(&lines, &[traffic; 3]));
        assert_eq!((found.outcome, found.change), (Outcome::Incomparable, 0.0));
        assert_eq!(found.before.is_some(), before.is_some());
    }
    let nothing = Cells::new(Measure::Sum, Vec::new(), Period::default(), Period::default());
    assert_eq!(explained(&nothing.unwrap()).outcome, Outcome::Incomparable);
}

#[test]
fn groups_have_fewer_pairs_where_there_would_be_too_many() {
    assert_eq!([depth(1_000_000, 6, 3), depth(5_000_000, 10, 3), depth(10, 2, 3)], [3, 2, 2]);
    assert_eq!([depth(10, 9, 0), depth(10, 9, 1), depth(10, 9, 9), depth(10, 0, 3)], [1, 1, 4, 1]);
    // 3 + 3 + 1 subsets.
    let most = (1 << 29) / 7;
    assert_eq!([depth(most, 3, 3), depth(most + 1, 3, 3)], [3, 2]);
    // 5 + 10 + 10 + 5.
    let most = (1 << 29) / 30;
    assert_eq!([depth(most, 5, 4), depth(most + 1, 5, 4)], [4, 3]);
}

#[test]
fn it_stops_when_asked_to() {
    let cells = counts(&grid(&[3, 4], |_| 100.0, |_| 100.0));
    assert_eq!(explain(&cells, &Options::default(), &|| true), Err(Halted));
}

#[test]
fn no_numbers_bring_it_down() {
    let mut noise = Noise::new(3);
    for round in 0..300 {
        let cells = (noise.uniform() * 60.0) as usize;
        let values = 1 + (noise.uniform() * 4.0) as u32;
        let dimension = |_| Dimension {
            name: String::new(),
            values,
            codes: (0..cells).map(|_| (noise.uniform() * f64::from(values)) as u32).collect(),
        };
        let dimensions: Vec<Dimension> = (0..round % 4).map(dimension).collect();
        let measure = if round % 2 == 0 { Measure::Sum } else { Measure::Ratio };
        let mut period = || {
            let mut number = |least: f64| match (noise.uniform() * 6.0) as u32 {
                0 => 0.0,
                1 => 1e150 * noise.uniform(),
                2 => least * 1e150 * noise.uniform(),
                3 => 1e-300,
                _ => 1000.0 * noise.uniform(),
            };
            let denominators = if measure == Measure::Ratio { cells } else { 0 };
            Period {
                numerators: (0..cells).map(|_| number(-1.0)).collect(),
                denominators: (0..denominators).map(|_| number(0.0)).collect(),
                squares: (round % 3 == 0).then(|| (0..cells).map(|_| number(0.0)).collect()),
                rows: (0..cells).map(|_| number(0.0) as u64).collect(),
            }
        };
        let (earlier, later) = (period(), period());
        let cells = Cells::new(measure, dimensions, earlier, later).unwrap();
        let found = explain(&cells, &Options::default(), &|| false).unwrap();
        assert!(found.findings.len() <= 10);
    }
}

/// Means of 83 rows of each line that ends in 0, and 250 of the others, with a variance of 2.
fn means(lines: &[Line]) -> Cells {
    let rows = |line: &Line| if line.0[1] == 0 { 83.0 } else { 250.0 };
    let period = |value: fn(&Line) -> f64| Period {
        numerators: lines.iter().map(|line| value(line) * rows(line)).collect(),
        denominators: lines.iter().map(rows).collect(),
        squares: Some(lines.iter().map(|line| (value(line).powi(2) + 2.0) * rows(line)).collect()),
        rows: lines.iter().map(|line| rows(line) as u64).collect(),
    };
    let (earlier, later) = (period(|line| line.1), period(|line| line.2));
    Cells::new(Measure::Ratio, dimensions(lines), earlier, later).unwrap()
}

#[test]
fn a_change_is_told_of_the_rows_that_it_is_in_though_their_noise_is_that_of_all() {
    // Means of b: those that failed are slow later, the others as before.
    let lines = grid(&[3, 2], |_| 10.0, |of| if of == [1, 0] { 50.0 } else { 10.0 });
    let found = explained(&means(&lines));
    assert_eq!(found.findings.len(), 1, "{found:?}");
    let pairs = [Pair { dimension: 0, value: 1 }, Pair { dimension: 1, value: 0 }];
    assert_eq!(found.findings[0].group, pairs);
    // Where all of b is slow it is b.
    let lines = grid(&[3, 2], |_| 10.0, |of| if of[0] == 1 { 50.0 } else { 10.0 });
    assert_eq!(explained(&means(&lines)).findings[0].group, pairs[..1]);
}
