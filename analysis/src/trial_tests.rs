#![allow(clippy::unwrap_used)]
use super::*;

fn tried(of: &[(u64, u64)]) -> impl Iterator<Item = Tried> + Clone {
    of.iter().map(|(trials, successes)| Tried { trials: *trials, successes: *successes })
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

/// Intervals of statsmodels' `proportion_confint(8, 10, method="wilson")`, and of 0 and all of them.
#[test]
fn rates_and_their_intervals() {
    let of = rate(tried(&[(1, 1); 8]).chain(tried(&[(1, 0); 2]))).unwrap();
    near(of.rate, 0.8);
    near(of.lower, 0.490_162_471_5);
    near(of.upper, 0.943_317_848_5);
    let none = rate(tried(&[(1, 0); 10])).unwrap();
    assert_eq!((none.rate, none.lower), (0.0, 0.0));
    near(none.upper, 0.277_532_799_9);
    assert_eq!(rate(tried(&[])), None);
    assert_eq!(rate(tried(&[(0, 0)])), None);
    // Ten trials of each of ten tasks that always or never succeed tell as much as ten trials.
    let alike = rate(tried(&[(10, 10); 5]).chain(tried(&[(10, 0); 5]))).unwrap();
    let single = rate(tried(&[(1, 1); 5]).chain(tried(&[(1, 0); 5]))).unwrap();
    let wider = alike.upper - single.upper;
    assert!((0.0..0.06).contains(&wider), "{alike:?} {single:?}");
    let sure = rate(tried(&[(10, 10); 5])).unwrap();
    assert!(sure.lower < rate(tried(&[(1, 1); 5])).unwrap().lower, "{sure:?}");
    // A hundred trials of one task are one observation.
    let one = rate(tried(&[(100, 99)])).unwrap();
    assert!(one.lower < 0.1, "{one:?}");
}

#[test]
fn chances_that_all_trials_succeed_are_their_definition() {
    let some = [(4, 4), (4, 2), (4, 0), (2, 2)];
    // All pairs of trials: 6 of 6, 1 of 6, 0 of 6, 1 of 1.
    near(pass_all(tried(&some), 2).unwrap().rate, (1.0 + 1.0 / 6.0 + 0.0 + 1.0) / 4.0);
    near(pass_all(tried(&some), 1).unwrap().rate, (1.0 + 0.5 + 0.0 + 1.0) / 4.0);
    near(pass_all(tried(&some), 4).unwrap().rate, 1.0 / 3.0);
    assert_eq!(pass_all(tried(&some), 5), None);
    // Beside each subset counted.
    let mut noise = Noise::new(7);
    for _ in 0..50 {
        let trials: Vec<bool> = (0..7).map(|_| noise.uniform() < 0.7).collect();
        let successes = trials.iter().filter(|of| **of).count() as u64;
        for k in 1..=7u32 {
            let subsets: Vec<u32> = (0..1u32 << 7).filter(|of| of.count_ones() == k).collect();
            let all = |of: &&u32| (0..7).all(|at| *of >> at & 1 == 0 || trials[at]);
            let expected = subsets.iter().filter(all).count() as f64 / subsets.len() as f64;
            near(pass_all(tried(&[(7, successes)]), k.into()).unwrap().rate, expected);
        }
    }
}

fn pairs<'a>(a: &'a [f64], b: &'a [f64]) -> Vec<Pair<'a>> {
    a.chunks(1).zip(b.chunks(1)).collect()
}

fn of_differences(of: &[f64]) -> Option<Difference> {
    let zeros = vec![0.0; of.len()];
    paired(&pairs(&zeros, of))
}

/// Intervals of `scipy.stats.ttest_rel` and `ttest_ind(equal_var=False)`; chances of the signs' normal, and of
/// `mannwhitneyu(use_continuity=False, method="asymptotic")`.
#[test]
fn means_are_compared_as_student_and_welch_do() {
    let a: Vec<f64> = (0..40).map(|at| f64::from(at % 7) + 0.1 * f64::from(at)).collect();
    let b: Vec<f64> = (0..40).map(|at| f64::from(at % 5) + 0.13 * f64::from(at)).collect();
    let of = paired(&pairs(&a, &b)).unwrap();
    near(of.difference, -0.29);
    near(of.lower, -1.049_971_974_3);
    near(of.upper, 0.469_971_974_3);
    assert!((of.p - 0.444_858).abs() < 0.02, "{of:?}");
    let of = apart(&[(&a, &b)]).unwrap();
    near(of.difference, -0.29);
    near(of.lower, -1.312_018_451_7);
    near(of.upper, 0.732_018_451_7);
    near(of.p, MANN_WHITNEY);
}

const MANN_WHITNEY: f64 = 0.570_215_316_6;

/// McNemar's exact test, and Fisher's.
#[test]
fn few_that_differ_are_counted_out() {
    let mut some = vec![0.0; 1_000];
    some[..5].fill(1.0);
    near(of_differences(&some).unwrap().p, 2.0 / 32.0);
    some[5] = -1.0;
    near(of_differences(&some).unwrap().p, 14.0 / 64.0);
    let alike = of_differences(&[0.0; 9]).unwrap();
    assert!(alike.p == 1.0 && alike.lower.is_nan() && alike.detectable.is_nan(), "{alike:?}");
    assert_eq!(of_differences(&[1.0]), None);
    // 29 of 29: rarer than can be tried.
    assert!(of_differences(&[1.0; 29]).unwrap().p < 1.1e-6);
    // Three successes of three beside 600 of 1,000: no finding, though Welch's t is beyond all doubt.
    let of = |count: usize, successes: usize| {
        let mut all = vec![0.0; count];
        all[..successes].fill(1.0);
        all
    };
    let p = |a: Vec<f64>, b: Vec<f64>| apart(&[(&a, &b)]).unwrap().p;
    near(p(of(3, 3), of(1_000, 600)), 2.0 * FISHER[0]);
    near(p(of(400, 0), of(400, 5)), 2.0 * FISHER[1]);
    near(p(of(30, 30), of(3_000, 2_700)), 2.0 * FISHER[2]);
    near(p(of(10_000, 0), of(10_000, 29)) * 1e9, 2.0 * FISHER[3] * 1e9);
    assert_eq!(p(of(400, 0), of(400, 0)), 1.0);
    assert_eq!(apart(&[(&[1.0], &of(9, 3))]), None);
    assert_eq!(apart(&[]), None);
    // Over kinds: R's `mantelhaen.test(exact = TRUE)` doubles the smaller side as well.
    let (a, b, c, d) = (of(20, 15), of(30, 12), of(15, 4), of(8, 1));
    near(apart(&[(&a, &b), (&c, &d)]).unwrap().p, STRATA);
}

/// One-sided, by `scipy.stats.hypergeom`.
const FISHER: [f64; 4] = [0.216_863_040_9, 0.030_859_622_2, 0.043_122_280_0, 1.825_161_771_5e-9];
const STRATA: f64 = 0.022_487_430_8;

/// What is no difference but rounding, or no number, is no finding.
#[test]
fn rounding_is_no_difference() {
    let thirds = [0.1, 0.1, 0.1];
    let tasks: Vec<Pair<'_>> = (0..50).map(|_| (&thirds[..], &thirds[..1])).collect();
    assert_eq!(paired(&tasks).unwrap().p, 1.0);
    let (low, high) = (vec![0.1; 100], vec![0.7; 100]);
    let found = apart(&[(&low, &low[..30]), (&high, &high[..40])]).unwrap();
    assert_eq!((found.p, found.difference), (1.0, 0.0));
    let huge = [f64::MAX; 40];
    assert_eq!(apart(&[(&huge, &huge[..20])]), None);
}

/// Each is better at its kind than the other, and had more of the easy ones: of all together the worse one looks better.
#[test]
fn easier_tasks_are_no_merit() {
    let of = |count: usize, successes: usize| {
        let mut all = vec![0.0; count];
        all[..successes].fill(1.0);
        all
    };
    // Easy: 90 % and 98 %; hard: 20 % and 30 %. The first had mostly easy ones.
    let (a_easy, b_easy) = (of(900, 810), of(100, 98));
    let (a_hard, b_hard) = (of(100, 20), of(900, 270));
    let all = |x: &[f64], y: &[f64]| [x, y].concat();
    let mixed = apart(&[(&all(&a_easy, &a_hard), &all(&b_easy, &b_hard))]).unwrap();
    assert!(mixed.difference < -0.4 && mixed.p < 1e-10, "{mixed:?}");
    let fair = apart(&[(&a_easy, &b_easy), (&a_hard, &b_hard)]).unwrap();
    near(fair.difference, 0.09);
    assert!(fair.p < 0.01, "{fair:?}");
}

#[test]
fn chances_of_several_comparisons_are_raised() {
    let raised = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (found, expected) in raised.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        near(*found, expected);
    }
    assert_eq!(holm(&[]), Vec::<f64>::new());
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
}

/// Two that are equally good, in the ways that mislead: in at most one of twenty worlds, and one of a thousand, they are said not to be.
#[test]
fn who_is_not_better_is_not_said_to_be() {
    let mut noise = Noise::new(11);
    let worlds = 400;
    type World = fn(&mut Noise) -> Option<Difference>;
    let few: World = |noise| {
        let mut of = |count: usize| -> Vec<f64> {
            (0..count).map(|_| f64::from(noise.uniform() < 0.95)).collect()
        };
        let (a, b) = (of(30), of(2_000));
        apart(&[(&a, &b)])
    };
    let skewed: World = |noise| {
        let mut of = |count: usize| -> Vec<f64> {
            (0..count).map(|_| (1.5 * noise.normal()).exp()).collect()
        };
        let (a, b) = (of(30), of(2_000));
        apart(&[(&a, &b)])
    };
    let mostly_nothing: World = |noise| {
        let mut of = |count: usize| -> Vec<f64> {
            let mut one = || if noise.uniform() < 0.01 { noise.uniform() } else { 0.0 };
            (0..count).map(|_| one()).collect()
        };
        let (a, b) = (of(100), of(1_500));
        apart(&[(&a, &b)])
    };
    let more_tries: World = |noise| {
        let mut of = |count: usize| -> Vec<f64> {
            (0..count).map(|_| f64::from(noise.uniform() < 0.96)).collect()
        };
        let tasks: Vec<(Vec<f64>, Vec<f64>)> = (0..30).map(|_| (of(1), of(10))).collect();
        let tasks: Vec<Pair<'_>> = tasks.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        paired(&tasks)
    };
    let own_strengths: World = |noise| {
        let mut of = || vec![f64::from(noise.uniform() < 0.5); 5];
        let tasks: Vec<(Vec<f64>, Vec<f64>)> = (0..40).map(|_| (of(), of())).collect();
        let tasks: Vec<Pair<'_>> = tasks.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        paired(&tasks)
    };
    for (name, world) in [
        ("few fail", few),
        ("skewed", skewed),
        ("mostly nothing", mostly_nothing),
        ("more tries", more_tries),
        ("own strengths", own_strengths),
    ] {
        let chances: Vec<f64> =
            (0..worlds).filter_map(|_| world(&mut noise)).map(|of| of.p).collect();
        let below = |p: f64| chances.iter().filter(|of| **of <= p).count();
        // 20 are expected at most; 34 is three standard deviations above. At 0.1 %, 3 are.
        assert!(
            chances.len() == worlds && below(0.05) <= 34 && below(0.001) <= 3,
            "{name}: {} at 5 %",
            below(0.05)
        );
    }
    let better: Vec<f64> =
        (0..200).map(|at| f64::from(at % 5 == 0) - f64::from(at % 20 == 1)).collect();
    assert!(of_differences(&better).unwrap().p < 1e-4);
}

/// The median of ten lies between the second and the ninth of them with 97.9 %, by the binomial distribution; a 95th percentile has an upper end
/// from 72 on.
#[test]
fn quantiles_lie_between_ranks() {
    let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(quantile_interval(&sorted[..10], 0.5, 10), [Some(2.0), Some(9.0)]);
    assert_eq!(quantile_interval(&sorted[..5], 0.5, 5), [None, None]);
    assert_eq!(quantile_interval(&sorted[..71], 0.95, 71)[1], None);
    assert_eq!(quantile_interval(&sorted[..72], 0.95, 72)[1], Some(72.0));
    assert_eq!(quantile_interval(&[], 0.5, 0), [None, None]);
    // A hundred trials of ten tasks tell as much as ten.
    assert_eq!(quantile_interval(&sorted, 0.5, 10), [Some(11.0), Some(90.0)]);
}

#[test]
fn figures_of_few_tasks_lie_within_their_intervals() {
    let worlds = 400;
    for tasks in [3_usize, 10, 80] {
        let (mut mean, mut median, mut all) = (0, 0, 0);
        for seed in 0..worlds {
            let mut noise = Noise::new(seed * 13 + tasks as u64);
            // Four trials of each task, which vary together.
            let of: Vec<Vec<f64>> = (0..tasks)
                .map(|_| {
                    let task = noise.normal();
                    (0..4).map(|_| task + 0.5 * noise.normal()).collect()
                })
                .collect();
            let found = mean_of_trials(of.iter().map(Vec::as_slice)).unwrap();
            mean += u32::from(found.1 <= 0.0 && 0.0 <= found.2);
            let mut values: Vec<f64> = of.concat();
            values.sort_by(f64::total_cmp);
            let [low, high] = quantile_interval(&values, 0.5, tasks as u64);
            median +=
                u32::from(low.is_none_or(|low| low <= 0.0) && high.is_none_or(|high| high >= 0.0));
            // Each task has a chance of its own, evenly from 0 to 1: both of two trials succeed in a third of them.
            let tried: Vec<(u64, u64)> = (0..tasks)
                .map(|_| {
                    let chance = noise.uniform();
                    (4, (0..4).filter(|_| noise.uniform() < chance).count() as u64)
                })
                .collect();
            let found = pass_all(self::tried(&tried), 2).unwrap();
            all += u32::from(found.lower <= 1.0 / 3.0 && 1.0 / 3.0 <= found.upper);
        }
        let within = [mean, median, all].map(|of| f64::from(of) / worlds as f64);
        assert!(within.iter().all(|of| *of >= 0.93), "{tasks} tasks: {within:?}");
    }
    assert_eq!(mean_of_trials([&[1.0, 2.0][..]].into_iter()), None);
}
