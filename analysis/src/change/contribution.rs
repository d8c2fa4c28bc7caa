//! What a group adds to the change, exactly.
//!
//! **Sum.** A group's contribution is its own difference, n′ − n (a prime is the later period).
//!
//! **Ratio.** With R = N/D of all, ρ = n/d of the group and s = d/D its share of the denominators:
//!
//! ```text
//!   rate         s · (ρ′ − ρ)               its ratio changed
//!   mix          (s′ − s) · (ρ − R)         its share changed, and it isn't average
//!   interaction  (s′ − s) · (ρ′ − ρ)        both
//!   together     s′·(ρ′ − R) − s·(ρ − R)
//! ```
//!
//! What they are together is a sum over cells, so the groups of any partition add up to R′ − R: Σs′ρ′ − Σsρ − R·(Σs′ − Σs).
//! Mix is measured against the earlier ratio of all, so that a group of average ratio has none. Weights are those of the
//! earlier period, as in price and volume analysis, and what both changes do together is kept apart rather than halved
//! (Bennet, 1920). A group that is absent in one period is taken to have had the same ratio there: what it contributes is
//! mix.

use super::cells::Measure;
use super::tally::{Side, Tally};

/// What a contribution to a ratio's change is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Its ratio changed.
    pub rate: f64,
    /// Its share of the denominators changed.
    pub mix: f64,
    /// Both, beyond what each does alone.
    pub interaction: f64,
}

/// What a group adds to the change of `all`. 0 where the measure of `all` is not defined.
pub fn contribution(measure: Measure, group: &Tally, all: &Tally) -> f64 {
    if measure == Measure::Sum {
        return group.later.n - group.earlier.n;
    }
    let Some(ratio) = all.earlier.value(measure).filter(|_| all.later.d > 0.0) else {
        return 0.0;
    };
    let beyond = |side: &Side, all: &Side| (side.n - ratio * side.d) / all.d;
    beyond(&group.later, &all.later) - beyond(&group.earlier, &all.earlier)
}

/// The same of a ratio in its parts.
pub fn parts(group: &Tally, all: &Tally) -> Parts {
    let ratio = Measure::Ratio;
    let whole = contribution(ratio, group, all);
    let (Some(before), Some(after), Some(all_before)) =
        (group.earlier.value(ratio), group.later.value(ratio), all.earlier.value(ratio))
    else {
        return Parts { mix: whole, ..Parts::default() };
    };
    if all.later.d <= 0.0 {
        return Parts::default();
    }
    let share = group.earlier.d / all.earlier.d;
    let moved = group.later.d / all.later.d - share;
    Parts {
        rate: share * (after - before),
        mix: moved * (before - all_before),
        interaction: moved * (after - before),
    }
}

/// How far a group's share of the whole moved: its term of the Jensen–Shannon divergence between the shares of both periods,
/// in nats (Bhagwan et al., "Adtributor: revenue debugging in advertising systems", NSDI 2014, the earlier period for the
/// forecast). Of a ratio the terms of numerator and denominator together, as there for derived measures. 0 where shares make
/// no sense.
pub fn surprise(measure: Measure, group: &Tally, all: &Tally) -> f64 {
    let (earlier, later) = (&group.earlier, &group.later);
    let of_numerators = divergence(earlier.n, all.earlier.n, later.n, all.later.n);
    match measure {
        Measure::Sum => of_numerators,
        Measure::Ratio => {
            of_numerators + divergence(earlier.d, all.earlier.d, later.d, all.later.d)
        }
    }
}

fn divergence(before: f64, all_before: f64, after: f64, all_after: f64) -> f64 {
    if before < 0.0 || after < 0.0 || all_before <= 0.0 || all_after <= 0.0 {
        return 0.0;
    }
    let (p, q) = (before / all_before, after / all_after);
    let term = |x: f64| if x > 0.0 { x * (2.0 * x / (p + q)).ln() } else { 0.0 };
    0.5 * (term(p) + term(q))
}

/// What a conjunction adds beyond what its parts lead to expect. `subsets[mask]` are the contribution c and the weight w of the
/// group of the pairs in `mask`; the last is the conjunction itself, the first all cells.
///
/// ```text
///   interaction(g) = Σ (−1)^(|g|−|h|) · c(h) · w(g)/w(h)   over the subsets h of g
///                  = c(ab) − w(ab) · (c(a)/w(a) + c(b)/w(b) − c/w)   of a pair
/// ```
///
/// So it is 0 where a change for each unit of weight is a part for a and a part for b, and where everything changes alike.
pub fn interaction(subsets: &[(f64, f64)]) -> f64 {
    let Some(&(_, weight)) = subsets.last() else {
        return 0.0;
    };
    let pairs = subsets.len().trailing_zeros();
    let term = |(mask, &(contribution, of)): (usize, &(f64, f64))| {
        let sign = if (pairs - mask.count_ones()).is_multiple_of(2) { 1.0 } else { -1.0 };
        let scale = match mask + 1 == subsets.len() {
            true => 1.0,
            false if of > 0.0 => weight / of,
            false => 0.0,
        };
        sign * contribution * scale
    };
    subsets.iter().enumerate().map(term).sum()
}

/// By what to multiply contributions to a quantile's share so that they add up to the change of the quantile.
///
/// A quantile has no exact contributions. Ask instead why the share of rows above the earlier period's quantile changed: a ratio,
/// of the rows above it to all rows. Contributions to it, times this, are contributions to the quantile, to first order. None
/// where the share did not change.
pub fn quantile_factor(quantile_change: f64, share_change: f64) -> Option<f64> {
    let factor = quantile_change / share_change;
    factor.is_finite().then_some(factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tally::total;
    use super::*;

    fn tally(earlier: (f64, f64), later: (f64, f64)) -> Tally {
        let side = |(n, d)| Side { n, d, ..Side::default() };
        Tally { earlier: side(earlier), later: side(later) }
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} beside {expected}");
    }

    #[test]
    fn parts_are_those_computed_by_hand_and_add_up() {
        let groups = [
            tally((10.0, 100.0), (24.0, 200.0)),
            tally((40.0, 100.0), (45.0, 90.0)),
            tally((6.0, 20.0), (0.0, 0.0)),
            tally((0.0, 0.0), (3.0, 10.0)),
        ];
        let all = total(&groups);
        let ratio = 56.0 / 220.0;
        let found: Vec<Parts> = groups.iter().map(|group| parts(group, &all)).collect();
        assert_near(found[0].rate, 100.0 / 220.0 * 0.02);
        assert_near(found[0].mix, (200.0 / 300.0 - 100.0 / 220.0) * (0.1 - ratio));
        assert_near(found[0].interaction, (200.0 / 300.0 - 100.0 / 220.0) * 0.02);
        assert_near(found[1].rate, 100.0 / 220.0 * 0.1);
        assert_near(found[1].mix, (90.0 / 300.0 - 100.0 / 220.0) * (0.4 - ratio));
        assert_near(found[1].interaction, (90.0 / 300.0 - 100.0 / 220.0) * 0.1);
        // One that has gone, and one that is new.
        let (gone, new) = (-20.0 / 220.0 * (0.3 - ratio), 10.0 / 300.0 * (0.3 - ratio));
        assert_near(found[2].mix, gone);
        assert_near(found[3].mix, new);
        assert_eq!([found[2].rate, found[2].interaction], [0.0; 2]);
        assert_eq!([found[3].rate, found[3].interaction], [0.0; 2]);
        let mut sum = 0.0;
        for (group, parts) in groups.iter().zip(found) {
            let whole = contribution(Measure::Ratio, group, &all);
            assert_near(parts.rate + parts.mix + parts.interaction, whole);
            sum += whole;
        }
        assert_near(sum, 72.0 / 300.0 - ratio);
    }

    #[test]
    fn a_numerator_without_denominator_counts() {
        let groups = [tally((10.0, 100.0), (10.0, 100.0)), tally((0.0, 0.0), (5.0, 0.0))];
        let all = total(&groups);
        assert_near(contribution(Measure::Ratio, &groups[1], &all), 0.05);
        assert_eq!(parts(&groups[1], &all).mix, contribution(Measure::Ratio, &groups[1], &all));
    }

    #[test]
    fn a_change_of_traffic_at_the_average_ratio_is_no_contribution() {
        let all = total(&[tally((10.0, 50.0), (40.0, 200.0)), tally((10.0, 50.0), (10.0, 50.0))]);
        let found = parts(&tally((10.0, 50.0), (40.0, 200.0)), &all);
        assert_eq!(found, Parts::default());
    }

    #[test]
    fn of_a_sum_it_is_the_difference_and_of_nothing_nothing() {
        let group = tally((10.0, 5.0), (4.0, 0.0));
        assert_eq!(contribution(Measure::Sum, &group, &group), -6.0);
        let reversed = tally((4.0, 0.0), (10.0, 5.0));
        for undefined in [group, reversed] {
            assert_eq!(contribution(Measure::Ratio, &undefined, &undefined), 0.0);
            assert_eq!(parts(&undefined, &undefined), Parts::default());
        }
    }

    #[test]
    fn surprise_is_a_term_of_the_divergence() {
        let all = tally((10.0, 100.0), (20.0, 100.0));
        let group = tally((2.0, 20.0), (10.0, 20.0));
        // (0.2·ln(0.4/0.7) + 0.5·ln(1/0.7)) / 2
        let expected = 0.033_207_157_191_140_84;
        assert_near(surprise(Measure::Sum, &group, &all), expected);
        assert_near(surprise(Measure::Ratio, &group, &all), expected);
        let moved = tally((2.0, 20.0), (10.0, 50.0));
        assert_near(surprise(Measure::Ratio, &moved, &all), 2.0 * expected);
        let new = tally((0.0, 0.0), (10.0, 0.0));
        assert_near(surprise(Measure::Sum, &new, &all), 0.25 * 2.0_f64.ln());
        let gone = tally((2.0, 0.0), (0.0, 0.0));
        assert_near(surprise(Measure::Sum, &gone, &all), 0.1 * 2.0_f64.ln());
        for (group, all) in [
            (tally((-1.0, 0.0), (10.0, 0.0)), all),
            (tally((1.0, 0.0), (-1.0, 0.0)), all),
            (group, tally((0.0, 0.0), (20.0, 0.0))),
            (group, tally((10.0, 0.0), (0.0, 0.0))),
        ] {
            assert_eq!(surprise(Measure::Sum, &group, &all), 0.0);
        }
    }

    #[test]
    fn an_interaction_is_what_parts_do_not_lead_to_expect() {
        let pair = [(30.0, 100.0), (20.0, 40.0), (12.0, 30.0), (9.0, 10.0)];
        // 9 − 10·(20/40 + 12/30 − 30/100)
        assert_near(interaction(&pair), 3.0);
        // New: nothing leads to expect it.
        assert_near(interaction(&[pair[0], pair[1], pair[2], (9.0, 0.0)]), 9.0);
        assert_near(interaction(&[(30.0, 0.0), pair[1], pair[2], pair[3]]), 9.0 - 10.0 * 0.9);
        let triple = [
            (50.0, 200.0),
            (20.0, 80.0),
            (15.0, 100.0),
            (12.0, 40.0),
            (30.0, 60.0),
            (18.0, 30.0),
            (16.0, 20.0),
            (11.0, 10.0),
        ];
        let predicted =
            12.0 / 40.0 + 18.0 / 30.0 + 16.0 / 20.0 - 20.0 / 80.0 - 15.0 / 100.0 - 30.0 / 60.0
                + 50.0 / 200.0;
        assert_near(interaction(&triple), 11.0 - 10.0 * predicted);
        let even: Vec<(f64, f64)> =
            triple.iter().map(|(_, weight)| (0.2 * weight, *weight)).collect();
        assert_near(interaction(&even), 0.0);
        assert_eq!(interaction(&[]), 0.0);
    }

    #[test]
    fn contributions_to_a_share_become_those_to_its_quantile() {
        assert_eq!(quantile_factor(2.0, 0.0625), Some(32.0));
        assert_eq!(quantile_factor(-2.0, 0.0625), Some(-32.0));
        assert_eq!([quantile_factor(2.0, 0.0), quantile_factor(0.0, 0.0)], [None; 2]);
    }
}
