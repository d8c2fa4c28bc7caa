//! Whether a group moved differently from the rest, and by how much.
//!
//! With V the measure of all cells and W that of all but the group, the *excess* of a group is what it moved the whole by, beyond
//! where the whole would be had everything moved as the rest did:
//!
//! ```text
//!   by a factor   V′ − V·W′/W
//!   by a shift    (V′ − V) − (W′ − W)
//! ```
//!
//! Of a sum this is n′ − n·W′/W, or the group's own difference. Of a ratio, with f = W′/W, it is s′·(ρ′ − f·ρ) + (s′ −
//! s)·f·(ρ − W): its ratio moved otherwise, and its share moved where its ratio is not the others'. An even change has no
//! excess anywhere, and neither has a change of traffic in a group of average ratio.
//!
//! **Noise** by linearising (the delta method): each row moves the excess by (αn − βd), so the variance is Σ(αn − βd)² over
//! rows. Then z² is the gain in log likelihood, twice, of giving the group a change of its own: what the spatial scan
//! statistic maximises over regions (Kulldorff, 1997), with a normal likelihood for sums of anything. By Cauchy and Schwarz
//! z² is at most about the number of rows.

use super::cells::Measure;
use super::contribution::contribution;
use super::tally::{Side, Tally};

/// A measure changes by a factor where its sum is at least this share of the sum of magnitudes in both periods. Below, gains and
/// losses cancel so much that a factor says nothing.
pub const NET_MIN: f64 = 0.5;

/// Observations in both periods of a group that can be judged, and of the rest. With fewer z² could hardly exceed the bound of
/// even a few hundred groups, nor is a sum of them normal.
pub const UNITS_MIN: f64 = 20.0;

/// A factor is known where the earlier sum is that of so many observations alike, (Σn)²/Σn²: its standard deviation is then a
/// seventh of it. With fewer whatever comes later is a factor that noise explains, and z would be below 7 however much comes.
pub const BASE_MIN: f64 = 50.0;

/// Log odds that a group moved and the rest stood still, over the other way round: z is the same of both, where both are groups.
const STILL: f64 = 2.0;

/// How everything would move if it moved alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// All by the same factor: sums and ratios that are mostly positive, and not nothing or nearly. See [`BASE_MIN`].
    Factor,
    /// Ratios by the same amount; sums not at all.
    Shift,
}

/// The whole against which groups are judged.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// The measure.
    pub measure: Measure,
    /// What moving alike is.
    pub background: Background,
    /// Variance of the noise, over that of independent rows.
    pub dispersion: f64,
    /// Of all cells.
    pub all: Tally,
}

/// How a group moved beyond the rest, or beyond nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// In units of the measure.
    pub excess: f64,
    /// The same over its standard deviation.
    pub z: f64,
    /// Of what the group and the rest moved, each by itself, the part that the group did; 0 to 1.
    pub moved: f64,
}

impl Excess {
    /// Log likelihood that the group moved and not the rest.
    pub fn weight(&self) -> f64 {
        self.z * self.z / 2.0 + self.moved * STILL
    }
}

impl Judge {
    /// Judges a group of the cells; none where there is too little of it, or of the rest.
    pub fn excess(&self, group: &Tally) -> Option<Excess> {
        let rest = self.all.less(group);
        if group.units() < UNITS_MIN || rest.units() < UNITS_MIN {
            return None;
        }
        let (all_before, all_after) = self.values(&self.all)?;
        let (before, after) = self.values(&rest)?;
        // What the whole is for each unit of the rest, and by what an earlier value is multiplied to be a later one.
        let (scale, factor) = match self.background {
            Background::Shift => (1.0, 1.0),
            Background::Factor if before > 0.0 => (all_before / before, after / before),
            Background::Factor => return None,
        };
        let excess = (all_after - scale * after) - factor * (all_before - scale * before);
        let variance = |group: &Side, rest: &Side, all: &Side, values: (f64, f64)| {
            let own = influence(self.measure, all, values.0);
            let others = influence(self.measure, rest, values.1);
            let of_rest = (own.0 - scale * others.0, own.1 - scale * others.1);
            group.variance(own.0, own.1) + rest.variance(of_rest.0, of_rest.1)
        };
        let later = variance(&group.later, &rest.later, &self.all.later, (all_after, after));
        let earlier =
            variance(&group.earlier, &rest.earlier, &self.all.earlier, (all_before, before));
        // Of noise alone, earlier and later rows differ as those of all cells do: a group is as likely as all but it.
        let usual = match self.background {
            Background::Shift => 1.0,
            Background::Factor => all_after / all_before,
        };
        self.scored(excess, later + usual * usual * earlier, self.moved(group, &rest))
    }

    /// What a group adds to the change of all, against nothing: whether it moved at all. None where there is no noise to go by.
    pub fn added(&self, group: &Tally) -> Option<Excess> {
        let (before, _) = self.values(&self.all)?;
        let variance = |side: &Side, all: &Side| {
            let (alpha, beta) = influence(self.measure, all, before);
            side.variance(alpha, beta)
        };
        let later = variance(&group.later, &self.all.later);
        let added = contribution(self.measure, group, &self.all);
        self.scored(added, later + variance(&group.earlier, &self.all.earlier), 1.0)
    }

    fn moved(&self, group: &Tally, rest: &Tally) -> f64 {
        let ours = contribution(self.measure, group, &self.all).abs();
        let theirs = contribution(self.measure, rest, &self.all).abs();
        if ours > 0.0 { ours / (ours + theirs) } else { 0.0 }
    }

    /// The change of all cells, against no change.
    pub fn change(&self) -> Option<Excess> {
        let (before, after) = self.values(&self.all)?;
        let variance = |side: &Side, value| {
            let (alpha, beta) = influence(self.measure, side, value);
            side.variance(alpha, beta)
        };
        let earlier = variance(&self.all.earlier, before);
        self.scored(after - before, earlier + variance(&self.all.later, after), 1.0)
    }

    fn values(&self, of: &Tally) -> Option<(f64, f64)> {
        Some((of.earlier.value(self.measure)?, of.later.value(self.measure)?))
    }

    fn scored(&self, excess: f64, variance: f64, moved: f64) -> Option<Excess> {
        let z = excess / (self.dispersion * variance).sqrt();
        z.is_finite().then_some(Excess { excess, z, moved })
    }
}

/// α and β: a row (n, d) moves the measure of a side by αn − βd.
fn influence(measure: Measure, side: &Side, value: f64) -> (f64, f64) {
    match measure {
        Measure::Sum => (1.0, 0.0),
        Measure::Ratio => (1.0 / side.d, value / side.d),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::noise::Noise;

    fn judge(measure: Measure, background: Background, group: Tally, rest: Tally) -> Judge {
        let all = super::super::tally::total([&group, &rest]);
        Judge { measure, background, dispersion: 1.0, all }
    }

    /// Rows of 1.
    fn counts(earlier: f64, later: f64) -> Tally {
        let side = |n| Side { n, units: n, nn: n, ..Side::default() };
        Tally { earlier: side(earlier), later: side(later) }
    }

    fn trials(earlier: (f64, f64), later: (f64, f64)) -> Tally {
        let side = |(n, d)| Side { n, d, units: d, nn: n, nd: n, dd: d };
        Tally { earlier: side(earlier), later: side(later) }
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} beside {expected}");
    }

    #[test]
    fn the_excess_of_a_sum_is_what_its_growth_was_beyond_that_of_the_rest() {
        let (group, rest) = (counts(100.0, 210.0), counts(300.0, 360.0));
        let found = judge(Measure::Sum, Background::Factor, group, rest).excess(&group).unwrap();
        assert_near(found.excess, 210.0 - 100.0 * 1.2);
        // A row of the rest moves what is expected by a third: the group is a third of it.
        let usual: f64 = 570.0 / 400.0;
        let variance = 210.0 + 360.0 / 9.0 + usual * usual * (100.0 + 300.0 / 9.0);
        assert_near(found.z, 90.0 / variance.sqrt());
        assert_near(found.moved, 110.0 / 170.0);
        assert_near(found.weight(), found.z * found.z / 2.0 + 2.0 * 110.0 / 170.0);
        let found = judge(Measure::Sum, Background::Shift, group, rest).excess(&group).unwrap();
        assert_near(found.excess, 110.0);
        assert_near(found.z, 110.0 / 310.0_f64.sqrt());
        let even = judge(Measure::Sum, Background::Factor, counts(100.0, 120.0), rest);
        assert!(even.excess(&counts(100.0, 120.0)).unwrap().excess.abs() < 1e-12);
    }

    #[test]
    fn the_excess_of_a_ratio_is_of_its_rate_and_its_mix() {
        let (group, rest) =
            (trials((30.0, 100.0), (80.0, 200.0)), trials((60.0, 400.0), (54.0, 300.0)));
        let (before, after, share_before, share_after): (f64, f64, f64, f64) = (0.3, 0.4, 0.2, 0.4);
        let (rest_before, rest_after) = (0.15, 0.18);
        let judged = judge(Measure::Ratio, Background::Factor, group, rest);
        let found = judged.excess(&group).unwrap();
        let factor = rest_after / rest_before;
        let rate = share_after * (after - factor * before);
        let mix = (share_after - share_before) * factor * (before - rest_before);
        assert_near(found.excess, rate + mix);
        // Σ over rows of (αn − βd)², n being 0 or 1 and d 1.
        let (all_before, all_after): (f64, f64) = (90.0 / 500.0, 134.0 / 500.0);
        let of = |n: f64, d: f64, one: f64, none: f64| n * one * one + (d - n) * none * none;
        let scale = all_before / rest_before;
        let rest_row =
            |n: f64, all: f64, rest: f64, d: f64| (n - all) / 500.0 - scale * (n - rest) / d;
        let later = of(80.0, 200.0, (1.0 - all_after) / 500.0, all_after / 500.0)
            + of(
                54.0,
                300.0,
                rest_row(1.0, all_after, rest_after, 300.0),
                rest_row(0.0, all_after, rest_after, 300.0),
            );
        let earlier = of(30.0, 100.0, (1.0 - all_before) / 500.0, all_before / 500.0)
            + of(
                60.0,
                400.0,
                rest_row(1.0, all_before, rest_before, 400.0),
                rest_row(0.0, all_before, rest_before, 400.0),
            );
        let usual = all_after / all_before;
        assert_near(found.z, found.excess / (later + usual * usual * earlier).sqrt());
        let found = judge(Measure::Ratio, Background::Shift, group, rest).excess(&group).unwrap();
        assert_near(found.excess, (all_after - all_before) - (rest_after - rest_before));
        let change = judged.change().unwrap();
        assert_near(change.excess, 134.0 / 500.0 - 90.0 / 500.0);
        let variance = (0.18 * 0.82 + 0.268 * 0.732) / 500.0_f64;
        assert_near(change.z, change.excess / variance.sqrt());
    }

    #[test]
    fn what_a_group_adds_is_beside_nothing() {
        let (group, rest) = (counts(100.0, 210.0), counts(300.0, 360.0));
        let judged = judge(Measure::Sum, Background::Factor, group, rest);
        let added = judged.added(&group).unwrap();
        assert_near(added.excess, 110.0);
        assert_near(added.z, 110.0 / 310.0_f64.sqrt());
        // What stands still stands out from the others, and adds nothing.
        let still = counts(100.0, 100.0);
        let judged = judge(Measure::Sum, Background::Factor, still, counts(300.0, 900.0));
        assert!(judged.excess(&still).unwrap().z < -5.0);
        assert_eq!(judged.added(&still).map(|added| (added.excess, added.z)), Some((0.0, 0.0)));
        let (group, rest) =
            (trials((0.0, 100.0), (60.0, 200.0)), trials((0.0, 400.0), (0.0, 300.0)));
        let judged = judge(Measure::Ratio, Background::Shift, group, rest);
        let added = judged.added(&group).unwrap();
        assert_near(added.excess, 60.0 / 500.0);
        // Each failure is a five hundredth, as many as by chance.
        assert_near(added.z, 60.0 / 60.0_f64.sqrt());
        // Without any there is no noise to go by.
        assert!(judged.excess(&rest).unwrap().z < -5.0);
        assert_eq!(judged.added(&rest), None);
    }

    #[test]
    fn too_little_of_a_group_or_of_the_rest_is_not_judged() {
        let big = counts(300.0, 300.0);
        for (units, is_judged) in [(20.0, true), (19.0, false)] {
            let small = counts(1.0, units - 1.0);
            let judged = judge(Measure::Sum, Background::Factor, small, big);
            assert_eq!(judged.excess(&small).is_some(), is_judged);
            assert_eq!(judged.excess(&big).is_some(), is_judged);
        }
        // Nothing of the rest before: there is no factor. Of a sum its own difference can be told all the same.
        let new = counts(0.0, 300.0);
        assert_eq!(judge(Measure::Sum, Background::Factor, big, new).excess(&big), None);
        assert!(judge(Measure::Sum, Background::Shift, big, new).excess(&big).is_some());
        let (some, none) =
            (trials((10.0, 100.0), (10.0, 100.0)), trials((0.0, 0.0), (10.0, 100.0)));
        assert_eq!(judge(Measure::Ratio, Background::Shift, some, none).excess(&some), None);
        assert!(judge(Measure::Ratio, Background::Shift, some, none).excess(&none).is_some());
    }

    #[test]
    fn noise_in_bursts_counts_less() {
        let (group, rest) = (counts(100.0, 200.0), counts(300.0, 300.0));
        let once = judge(Measure::Sum, Background::Factor, group, rest);
        let bursts = Judge { dispersion: 4.0, ..once };
        assert_near(bursts.excess(&group).unwrap().z, once.excess(&group).unwrap().z / 2.0);
        assert_eq!(Judge { dispersion: 0.0, ..once }.excess(&group), None);
        assert_near(once.change().unwrap().z, 100.0 / 900.0_f64.sqrt());
    }

    #[test]
    fn of_two_groups_the_one_that_moved_weighs_more() {
        let (moved, still) = (counts(600.0, 900.0), counts(400.0, 400.0));
        let judged = judge(Measure::Sum, Background::Factor, moved, still);
        let (moved, still) = (judged.excess(&moved).unwrap(), judged.excess(&still).unwrap());
        assert_near(moved.z, -still.z);
        assert_eq!((moved.moved, still.moved), (1.0, 0.0));
        assert!(moved.weight() > still.weight() + 1.9);
    }

    /// Rows by chance, numerators that vary, denominators that do or don't.
    fn noise(noise: &mut Noise, measure: Measure) -> Tally {
        let mut tally = Tally::default();
        for side in [&mut tally.earlier, &mut tally.later] {
            let rows = (0..4_000).filter(|_| noise.uniform() < 0.05).count();
            for _ in 0..rows {
                let d = if measure == Measure::Ratio { 1.0 + 4.0 * noise.uniform() } else { 0.0 };
                let n = (1.0 + d) * (0.6 * noise.normal()).exp();
                side.n += n;
                side.d += d;
                side.units += 1.0;
                side.nn += n * n;
                side.nd += n * d;
                side.dd += d * d;
            }
        }
        tally
    }

    #[test]
    fn of_noise_alone_z_has_a_variance_of_one() {
        let mut random = Noise::new(11);
        for measure in [Measure::Sum, Measure::Ratio] {
            for background in [Background::Factor, Background::Shift] {
                let mut squares = 0.0;
                for _ in 0..600 {
                    let (group, rest) = (noise(&mut random, measure), noise(&mut random, measure));
                    let z = judge(measure, background, group, rest).excess(&group).unwrap().z;
                    squares += z * z / 600.0;
                }
                assert!((squares - 1.0).abs() < 0.15, "{measure:?} {background:?}: {squares}");
            }
        }
    }
}
