//! What a series does every day or every week, so that a Monday morning is not an anomaly. The profile is
//! the median of all samples at the same phase of the season, each less the level of its own season, so that
//! neither a few odd days nor a level that changes move it; what is left after taking it out is the residual
//! that the other steps look at.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::repetition::{EXPLAINED_MIN, repeats, within};
use super::samples::Samples;
use super::span::Span;
use super::spread::{median, spread};

/// Phases that a season is cut into at most: quarters of an hour of a day.
const PHASES_MAX: i64 = 96;
/// Phases of a week at most: hours.
const PHASES_OF_WEEK_MAX: i64 = 168;
/// Fewer phases than this are no profile.
const PHASES_MIN: i64 = 4;
/// Seasons that must be there: with fewer, a phase's median is one of its own few samples.
const SEASONS_MIN: i64 = 4;
/// Part of the variance that a longer season explains at least, of what a shorter one leaves: a tenth of the standard deviation.
const EXPLAINED_BESIDE_MIN: f64 = 0.19;
/// Within a season a series must differ by this part of its whole spread. Less is how a smooth curve bends.
const WITHIN_PART_MIN: f64 = 0.01;

/// Which season to take out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Season {
    /// A day or a week, where it explains enough.
    #[default]
    Auto,
    /// None.
    None,
    /// This one.
    Every(Span),
}

/// A series without its season.
#[derive(Clone, Debug)]
pub struct Deseasonalised {
    /// The season that was taken out.
    pub season: Option<Span>,
    /// The values less the profile at their phase.
    pub residual: Vec<f64>,
}

/// Takes the season out that `wanted` says. "Auto" takes one that repeats itself more than noise does.
/// O(n), and a few hundred times the phases of all seasons.
pub fn deseasonalise(samples: &Samples, wanted: Season) -> Deseasonalised {
    let candidates = match wanted {
        Season::None => vec![],
        Season::Auto => vec![Span::DAY, Span::WEEK],
        Season::Every(span) => vec![span],
    };
    let mut best = Deseasonalised { season: None, residual: samples.values.clone() };
    let whole = spread(&samples.values).sigma;
    for season in candidates {
        let Some(phased) = Phased::of(samples, season) else { continue };
        // A season that the user states is taken out whether it explains much or not.
        let explains = || {
            // A longer season has the shorter one in it, and must be clearly better.
            let least = if best.season.is_some() { EXPLAINED_BESIDE_MIN } else { EXPLAINED_MIN };
            let within = phased.within(&best.residual);
            let parts = (season.micros() / Span::DAY.micros()).max(1) as usize;
            let left: Vec<f64> = phased.less_profile(&within);
            let (before, after) = (spread(&within).sigma, spread(&left).sigma);
            before >= WITHIN_PART_MIN * whole
                && after < before
                && repeats(&phased.cells(&within), phased.phases, parts, least)
        };
        if matches!(wanted, Season::Every(_)) || explains() {
            best = Deseasonalised { season: Some(season), residual: phased.residual(samples) };
        }
    }
    best
}

/// Where in which season each sample is.
struct Phased {
    phases: usize,
    /// Of each sample, the phase, and how far the season is: −½ to ½.
    at: Vec<(usize, f64)>,
    /// The samples of each season that has any, in order, and its number.
    seasons: Vec<(Range<usize>, i64)>,
}

impl Phased {
    /// `None` where there are too few seasons.
    fn of(samples: &Samples, season: Span) -> Option<Self> {
        let length = season.micros();
        let (first, last) = (*samples.times.first()?, *samples.times.last()?);
        if (last - first) / length < SEASONS_MIN {
            return None;
        }
        let most = if season > Span::DAY { PHASES_OF_WEEK_MAX } else { PHASES_MAX };
        let phases = (length / samples.interval_us).min(most);
        if phases < PHASES_MIN {
            return None;
        }
        let mut at = Vec::with_capacity(samples.times.len());
        let mut seasons: Vec<(Range<usize>, i64)> = Vec::new();
        for (index, time) in samples.times.iter().enumerate() {
            let (number, rest) = (time.div_euclid(length), time.rem_euclid(length));
            let phase = (i128::from(rest) * i128::from(phases) / i128::from(length)) as usize;
            at.push((phase, rest as f64 / length as f64 - 0.5));
            match seasons.last_mut() {
                Some((range, last)) if *last == number => range.end = index + 1,
                _ => seasons.push((index..index + 1, number)),
            }
        }
        Some(Self { phases: phases as usize, at, seasons })
    }

    /// The values less the level of their season.
    fn within(&self, values: &[f64]) -> Vec<f64> {
        within(values, &self.seasons, |at| self.at[at].1)
    }

    /// For each phase the median of the values there.
    fn profile(&self, within: &[f64]) -> Vec<f64> {
        let mut at_phase = vec![Vec::new(); self.phases];
        for ((phase, _), value) in self.at.iter().zip(within) {
            at_phase[*phase].push(*value);
        }
        at_phase.iter_mut().map(|values| median(values).unwrap_or(0.0)).collect()
    }

    fn less_profile(&self, within: &[f64]) -> Vec<f64> {
        let profile = self.profile(within);
        self.at.iter().zip(within).map(|((phase, _), value)| value - profile[*phase]).collect()
    }

    /// The values less their profile, around zero.
    fn residual(&self, samples: &Samples) -> Vec<f64> {
        let profile = self.profile(&self.within(&samples.values));
        let mut residual: Vec<f64> = self
            .at
            .iter()
            .zip(&samples.values)
            .map(|((phase, _), value)| value - profile[*phase])
            .collect();
        let centre = median(&mut residual.clone()).unwrap_or(0.0);
        residual.iter_mut().for_each(|value| *value -= centre);
        residual
    }

    /// The mean at each phase of each season, one season after the other; NaN where there is no sample.
    fn cells(&self, within: &[f64]) -> Vec<f64> {
        let mut cells = Vec::with_capacity(self.seasons.len() * self.phases);
        let mut counts = vec![0.0_f64; self.phases];
        for (range, _) in &self.seasons {
            let start = cells.len();
            cells.resize(start + self.phases, 0.0);
            counts.fill(0.0);
            for at in range.clone() {
                let phase = self.at[at].0;
                cells[start + phase] += within[at];
                counts[phase] += 1.0;
            }
            cells[start..].iter_mut().zip(&counts).for_each(|(sum, count)| *sum /= count);
        }
        cells
    }
}

impl TryFrom<String> for Season {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            length => length
                .parse()
                .map(Self::Every)
                .map_err(|problem| format!("expected \"auto\", \"none\" or a length: {problem}")),
        }
    }
}

impl From<Season> for String {
    fn from(season: Season) -> Self {
        match season {
            Season::Auto => "auto".into(),
            Season::None => "none".into(),
            Season::Every(span) => span.to_string(),
        }
    }
}

impl JsonSchema for Season {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Season".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "auto, none, or a length of time such as 12h",
            "pattern": "^(auto|none|[0-9]+(us|ms|s|m|h|d|w))$"
        })
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::super::trend::samples::{Tails, noise};
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    /// 2026-01-05, a Monday, at midnight.
    const MONDAY_US: i64 = 1_767_571_200_000_000;

    fn samples(values: Vec<f64>) -> Samples {
        let times = (0..values.len() as i64).map(|at| MONDAY_US + at * HOUR_US).collect();
        Samples { name: String::new(), times, values, interval_us: HOUR_US }
    }

    /// Of 100 series of noise with something added: how many have a day taken out, and how many a week.
    fn taken_out(hours: usize, rho: f64, added: impl Fn(f64) -> f64) -> (usize, usize) {
        let mut found = (0, 0);
        for seed in 0..100 {
            let mut values = noise(hours, rho, Tails::Normal, 7_000 + seed);
            values.iter_mut().enumerate().for_each(|(at, v)| *v += added(at as f64));
            match deseasonalise(&samples(values), Season::Auto).season {
                Some(Span::DAY) => found.0 += 1,
                Some(_) => found.1 += 1,
                None => {}
            }
        }
        found
    }

    fn wave(hours: f64, amplitude: f64) -> impl Fn(f64) -> f64 {
        move |at| amplitude * (TAU * at / hours).sin()
    }

    #[test]
    fn noise_has_no_season() {
        let none = |hours, rho| taken_out(hours, rho, |_| 0.0);
        assert_eq!(
            [120, 240, 336, 720, 2_000].map(|hours| none(hours, 0.0)),
            [(0, 0), (1, 0), (0, 0), (0, 0), (0, 0)]
        );
        assert_eq!(
            [120, 240, 336, 720, 2_000].map(|hours| none(hours, 0.9)),
            [(1, 0), (0, 0), (0, 0), (0, 1), (0, 1)]
        );
        // One that nearly is a random walk.
        assert_eq!([336, 720].map(|hours| none(hours, 0.98)), [(0, 0), (0, 5)]);
    }

    #[test]
    fn a_trend_or_a_step_is_no_season() {
        assert_eq!(taken_out(720, 0.0, |at| 0.05 * at), (0, 0));
        assert_eq!(taken_out(720, 0.0, |at| if at < 360.0 { 0.0 } else { 30.0 }), (0, 0));
    }

    #[test]
    fn a_day_of_half_a_standard_deviation_is_one_after_two_weeks() {
        assert_eq!(taken_out(336, 0.0, wave(24.0, 0.5)), (94, 0));
        assert_eq!(taken_out(336, 0.0, wave(24.0, 0.25)), (9, 0));
        assert_eq!(taken_out(720, 0.9, wave(24.0, 0.5)), (90, 0));
        // Five days: a standard deviation is mostly enough, two always are.
        assert_eq!(
            [1.0, 2.0].map(|amplitude| taken_out(120, 0.0, wave(24.0, amplitude))),
            [(63, 0), (100, 0)]
        );
    }

    #[test]
    fn a_week_is_one_after_four_and_beside_a_day_too() {
        assert_eq!(taken_out(1_344, 0.0, wave(168.0, 0.5)), (0, 95));
        assert_eq!(taken_out(720, 0.0, wave(168.0, 1.0)), (0, 100));
        let both = |at: f64| wave(24.0, 3.0)(at) + if at % 168.0 < 120.0 { 4.0 } else { 0.0 };
        assert_eq!(taken_out(720, 0.0, both), (0, 100));
        // The day alone is no week.
        assert_eq!(taken_out(720, 0.0, wave(24.0, 3.0)), (100, 0));
    }

    #[test]
    fn a_step_does_not_hide_a_day_nor_come_into_its_profile() {
        let with = |at: f64| wave(24.0, 2.0)(at) + if at < 365.0 { 0.0 } else { 30.0 };
        assert_eq!(taken_out(720, 0.0, with), (100, 0));
        let values: Vec<f64> = (0..720).map(|at| with(f64::from(at))).collect();
        let flat = deseasonalise(&samples(values), Season::Every(Span::DAY));
        // Only the step is left; of the day it is in nothing but that.
        let (low, high) = (flat.residual[0], flat.residual[719]);
        assert!((high - low - 30.0).abs() < 0.2, "{low} {high}");
        let off = |(at, value): (usize, &f64)| (value - if at < 365 { low } else { high }).abs();
        let most = flat.residual.iter().enumerate().map(off).fold(0.0, f64::max);
        assert!(most < 0.2, "{most}");
    }

    #[test]
    fn a_season_that_is_stated_is_taken_out_of_noise_and_the_rest_is_around_zero() {
        let values: Vec<f64> =
            noise(240, 0.0, Tails::Normal, 1).iter().map(|value| 50.0 + value).collect();
        let flat = deseasonalise(&samples(values.clone()), Season::Every(Span::DAY));
        assert_eq!(flat.season, Some(Span::DAY));
        assert_eq!(
            median(&mut flat.residual.clone()).map(|middle| middle.abs() < 1e-12),
            Some(true)
        );
        let none = deseasonalise(&samples(values.clone()), Season::None);
        assert_eq!((none.season, none.residual), (None, values));
        // Of fewer than four days nothing is said.
        let few = deseasonalise(&samples(vec![1.0; 96]), Season::Every(Span::DAY));
        assert_eq!(few.season, None);
        assert_eq!(deseasonalise(&samples(vec![]), Season::Auto).season, None);
    }
}
