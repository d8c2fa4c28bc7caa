//! Shapes that come but once: a morning that is flat, a night like a day. Each value may be usual. A matrix profile says how far each
//! window is from the one most like it, and [`discord`](analysis::series::discord) which are far beyond the others.
//!
//! Two lengths are looked at: that of the season, or of the window that says what is usual, and a quarter of it. Of findings that
//! overlap the rarest is kept, and none that another kind tells of as severely.
//!
//! Cost: a profile takes n²/2 steps for n samples of a series.

use analysis::calendar::{Grid, Holidays, Zone};
use analysis::series::discord::{Discord, Options, Profile, Silence, discords};
use analysis::series::filled;
use engine::Result;
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::{Device, Execution};

use super::baseline::KernelWork;
use super::explain::{Anomaly, Subject};
use super::params::Params;
use crate::series::{Empty, Regular};

/// The longest series that is looked at: n² steps are a while by then.
const SAMPLES_MAX: usize = 131_072;
/// The shorter of two lengths is the longer one divided by this.
const SHORTER: usize = 4;
/// The shortest shape.
const SHAPE_MIN: usize = 8;
/// Windows with more than this part filled in between samples are compared with none.
const FILLED_MAX: f64 = 0.1;

/// What the shapes of one series say.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    pub(super) found: Vec<Anomaly>,
    /// Why nothing can be said.
    pub(super) silence: Option<&'static str>,
}

/// A finding in the grid of a series.
struct Of {
    discord: Discord,
    samples: usize,
}

/// Looks at the shapes of one series. `known`: what else was found of it.
pub(super) fn shapes(
    subject: &Subject<'_>,
    known: &[Anomaly],
    execution: &Execution,
    work: &mut KernelWork,
) -> Result<Shapes> {
    let (samples, params) = (subject.samples, subject.params);
    let silent = |why| Ok(Shapes { silence: Some(why), ..Shapes::default() });
    let span =
        samples.times.last().zip(samples.times.first()).map_or(0, |(last, first)| last - first);
    if span / samples.interval_us.max(1) >= SAMPLES_MAX as i64 {
        return silent("shapes: more than 131072 intervals");
    }
    let grid = Grid::found(&samples.times, Zone::UTC, &Holidays::default());
    let regular = Regular::of(samples.clone(), grid, SAMPLES_MAX, Empty::Missing);
    let Ok(regular) = regular else {
        return silent("shapes: more than half of its intervals have no value");
    };
    let mut found: Vec<Of> = Vec::new();
    let (mut why, mut is_judged) = (None, false);
    let lengths = lengths(subject, params, regular.interval_us());
    // By chance one of several lengths has it as many times as often.
    let more = (lengths.len() as f64).log10();
    for window in lengths {
        if regular.values.len() <= window {
            why = Some(Silence::Short);
            continue;
        }
        let values = filled(&regular.values);
        let profile = matrix_profile(&values, &ProfileOptions::window(window), execution)?;
        work.seconds += profile.stats.seconds;
        if profile.stats.device.device != Device::Cpu {
            work.gpu_seconds += profile.stats.seconds;
            work.device = Some(profile.stats.device.clone());
        }
        let distances = known_windows(&regular.values, window, profile.profile.distances());
        let of = Profile { values: &values, window, distances: &distances };
        let neighbour = |at| profile.profile.neighbour(at);
        match discords(&of, neighbour, &Options { score_min: params.shape_score + more }) {
            Ok(new) => {
                is_judged = true;
                let less = |of: Discord| Discord { score: of.score - more, ..of };
                let of = |discord| Of { discord: less(discord), samples: window };
                found.extend(new.into_iter().map(of));
            }
            Err(silence) => why = Some(silence),
        }
    }
    found.sort_by(|a, b| b.discord.score.total_cmp(&a.discord.score));
    let mut told: Vec<Anomaly> = Vec::new();
    for of in found {
        let anomaly = told_of(subject, &regular, &of);
        let is_apart = |other: &Anomaly| {
            anomaly.ended_at < other.started_at || other.ended_at < anomaly.started_at
        };
        let is_new = |other: &Anomaly| is_apart(other) || other.severity < anomaly.severity;
        if told.iter().all(is_apart) && known.iter().all(is_new) {
            told.push(anomaly);
        }
    }
    let silence = why.filter(|_| !is_judged).map(|silence| match silence {
        Silence::Constant => "shapes: constant for more than a third",
        Silence::Short | Silence::NoProfile => "shapes: fewer than 12 of them",
    });
    Ok(Shapes { found: told, silence })
}

/// The lengths that are looked at, in samples.
fn lengths(subject: &Subject<'_>, params: &Params, interval_us: i64) -> Vec<usize> {
    if let Some(samples) = params.shape_samples {
        return vec![samples];
    }
    let of_season = subject.season.map(|season| season.micros() / interval_us.max(1));
    let of_season = of_season.and_then(|samples| usize::try_from(samples).ok());
    let longer = of_season.unwrap_or(params.window_samples).max(SHAPE_MIN);
    let mut all = vec![longer, (longer / SHORTER).max(SHAPE_MIN)];
    all.dedup();
    all
}

/// Distances of windows that are there; NaN of those with much filled in.
fn known_windows(values: &[f64], window: usize, distances: &[f64]) -> Vec<f64> {
    let most = (FILLED_MAX * window as f64) as usize;
    let mut empty = values.iter().take(window).filter(|value| value.is_nan()).count();
    let mut known = Vec::with_capacity(distances.len());
    for (at, distance) in distances.iter().enumerate() {
        if at > 0 {
            empty -= usize::from(values[at - 1].is_nan());
            empty += usize::from(values[at + window - 1].is_nan());
        }
        known.push(if empty > most { f64::NAN } else { *distance });
    }
    known
}

fn told_of(subject: &Subject<'_>, regular: &Regular, of: &Of) -> Anomaly {
    let Of { discord, samples } = of;
    let at = |place: usize| regular.at_us(place);
    let observed = regular.values.get(discord.peak).copied().filter(|value| value.is_finite());
    subject.discord(
        [at(discord.start), at(discord.end), at(discord.peak)],
        (observed, expected(regular, discord, *samples)),
        discord,
        *samples,
        discord.neighbour.map(at),
    )
}

/// What the window most like it says of the peak, at the level and scale of the window itself.
fn expected(regular: &Regular, discord: &Discord, samples: usize) -> Option<f64> {
    let values = |from: usize| regular.values.get(from..from + samples);
    let (own, other) = (values(discord.window)?, values(discord.neighbour?)?);
    let moments = |values: &[f64]| {
        let there = || values.iter().filter(|value| value.is_finite());
        let count = there().count() as f64;
        let mean = there().sum::<f64>() / count;
        (mean, (there().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
    };
    let at = discord.peak.checked_sub(discord.window)?;
    let ((mean, scale), (mean_other, scale_other)) = (moments(own), moments(other));
    let value = mean + (other.get(at)? - mean_other) / scale_other * scale;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_with_much_filled_in_is_compared_with_none() {
        let mut values = vec![1.0; 40];
        values[20..23].fill(f64::NAN);
        let known = known_windows(&values, 10, &[1.0; 31]);
        let are_known: Vec<usize> = (0..31).filter(|at| known[*at].is_nan()).collect();
        // Two of the three or more.
        assert_eq!(are_known, (12..=21).collect::<Vec<_>>());
        assert_eq!(known_windows(&values, 30, &[1.0; 11]), [1.0; 11]);
    }
}
