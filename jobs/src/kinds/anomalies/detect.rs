//! The method, for one chunk of series: clean, take the season out, ask the kernel for rolling medians and
//! MADs of all at once, then look at each series by itself. Pure numbers: no dataset and no run in sight,
//! so that it can be tested and measured by itself.

use std::collections::BTreeSet;

use analysis::series::extremes::{Extremes, TailWeight};
use analysis::series::level_shift::{Scale, is_another_level, shifts};
use analysis::series::missing::{gaps, stuck};
use analysis::series::online::Sight;
use analysis::series::robust::{Baseline, excursions, sigma_floor};
use analysis::series::{Deseasonalised, Samples, Series, deseasonalise, keep_rare};
use engine::Result;
use kernels::{DeviceReport, Execution};
use rayon::prelude::*;

use super::NAME;
use super::baseline::{SHORT_SCALE, baselines};
use super::explain::{Anomaly, Kind, Subject, sighted};
use super::joint::Flat;
use super::labelled::{Labelled, PART_MIN};
use super::online;
use super::params::{Method, Params};
use super::shapes::shapes;
use crate::series::{Tally, check_cancelled};

/// Series with fewer samples than this have no usual.
pub(super) const SAMPLES_MIN: usize = 16;

/// Series with fewer samples than this are not long enough to say what is rare among the values before.
const ONLINE_SAMPLES_MIN: usize = 1_000;
/// How much rarer a value must be, as -log10 of how often that is, where the tail is nearly light.
const NEAR_RARER: f64 = 0.5;

/// What a chunk gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) tally: Tally,
    pub(super) with_season: u64,
    /// The device of the kernel calls; `None` when there was nothing to do.
    pub(super) device: Option<DeviceReport>,
    pub(super) kernel_seconds: f64,
    pub(super) gpu_seconds: f64,
    /// Where series are looked at together, what is left of each.
    pub(super) flats: Vec<Flat>,
    /// Those of its series that somebody spoke of.
    pub(super) labelled: BTreeSet<String>,
}

struct Prepared {
    samples: Samples,
    flat: Deseasonalised,
}

/// Looks at every series of a chunk.
pub(super) fn detect(
    chunk: Vec<Series>,
    params: &Params,
    labelled: &Labelled,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Found> {
    let (tally, cleaned) = Tally::of(chunk, pool);
    let spoken_of = cleaned.iter().map(|samples| &samples.name);
    let spoken_of = spoken_of.filter(|name| labelled.has_words_on(name)).cloned().collect();
    let mut found = Found { tally, labelled: spoken_of, ..Found::default() };
    let mut usable = Vec::with_capacity(cleaned.len());
    for samples in cleaned {
        match samples.values.len() {
            0 => found.tally.skipped.add("no values", samples.name),
            1..SAMPLES_MIN => found.tally.skipped.add("fewer than 16 samples", samples.name),
            _ => usable.push(samples),
        }
    }
    let prepared: Vec<Prepared> = pool.install(|| {
        let prepare = |samples| Prepared { flat: deseasonalise(&samples, params.season), samples };
        usable.into_par_iter().map(prepare).collect()
    });
    let residuals: Vec<&[f64]> = prepared.iter().map(|one| &one.flat.residual[..]).collect();
    let (baselines, mut work) = baselines(&residuals, params.window_samples, execution)?;
    check_cancelled(NAME, execution)?;
    let mut per_series: Vec<Vec<Anomaly>> = pool.install(|| {
        let look = |(one, usual)| look(one, usual, params, labelled);
        prepared.par_iter().zip(&baselines).map(look).collect()
    });
    found.with_season = prepared.iter().filter(|p| p.flat.season.is_some()).count() as u64;
    if params.shapes {
        for (one, known) in prepared.iter().zip(&mut per_series) {
            check_cancelled(NAME, execution)?;
            let subject = Subject { samples: &one.samples, season: one.flat.season, params };
            let shapes = shapes(&subject, known, execution, &mut work)?;
            let silence = shapes.silence.map(|why| (why, one.samples.name.clone()));
            silence.into_iter().for_each(|(why, name)| found.tally.skipped.add(why, name));
            known.extend(shapes.found.into_iter().filter(|found| is_asked(found, params)));
            known.sort_by_key(|found| (found.started_at, found.ended_at));
        }
    }
    if params.method == Method::Auto {
        let also = |((one, usual), known): ((&Prepared, &Baseline), &mut Vec<Anomaly>)| {
            check_cancelled(NAME, execution)?;
            add_sightings(known, one, usual, params);
            Ok::<(), engine::Error>(())
        };
        let all = prepared.par_iter().zip(&baselines).zip(&mut per_series);
        pool.install(|| all.try_for_each(also))?;
    }
    (found.device, found.kernel_seconds) = (work.device, work.seconds);
    found.gpu_seconds = work.gpu_seconds;
    found.anomalies = per_series.into_iter().flatten().collect();
    if params.joint {
        found.flats =
            prepared.into_iter().zip(&baselines).map(|(one, usual)| one.flat(usual)).collect();
    }
    Ok(found)
}

impl Prepared {
    /// How far each sample is from the usual, in units that do not change.
    fn flat(self, usual: &Baseline) -> Flat {
        let Self { samples, flat } = self;
        let sigma = sigma_floor(&samples.values, &flat.residual);
        let distance = |(value, median): (&f64, &f64)| ((value - median) / sigma) as f32;
        Flat {
            distances: flat.residual.iter().zip(&usual.median).map(distance).collect(),
            residuals: flat.residual,
            name: samples.name,
            times: samples.times,
            interval_us: samples.interval_us,
            values: samples.values,
            sigma,
        }
    }
}

impl Found {
    /// Adds what another chunk gave.
    pub(super) fn add(&mut self, other: Found) {
        self.anomalies.extend(other.anomalies);
        self.tally.merge(other.tally);
        self.with_season += other.with_season;
        self.device = other.device.or(self.device.take());
        self.kernel_seconds += other.kernel_seconds;
        self.gpu_seconds += other.gpu_seconds;
        self.flats.extend(other.flats);
        self.labelled.extend(other.labelled);
    }
}

/// All anomalies of one series, in the order of their start. Where somebody called real what was not found, it is among them where half
/// of a threshold finds it, and so is its like: thresholds are as far down as it takes.
fn look(
    prepared: &Prepared,
    usual: &Baseline,
    params: &Params,
    labelled: &Labelled,
) -> Vec<Anomaly> {
    if !labelled.has_missed(&prepared.samples.name) {
        return beyond(prepared, usual, params, params);
    }
    let part = |[outliers, shifts]: [f64; 2]| Params {
        threshold: params.threshold * outliers,
        shift_threshold: params.shift_threshold * shifts,
        ..params.clone()
    };
    // Whatever is there, however often.
    let all = Params { rare_samples: 1, ..part([PART_MIN; 2]) };
    let mut missed = beyond(prepared, usual, &all, params);
    missed.retain(|found| found.kind == Kind::LevelShift && labelled.is_missed(found));
    missed.extend(missed_outliers(prepared, usual, &all, params, labelled));
    missed.retain(|found| is_asked(found, params));
    let needed = |is_shift: bool, threshold: f64| {
        let is_meant = |found: &&Anomaly| (found.kind == Kind::LevelShift) == is_shift;
        let scores = missed.iter().filter(is_meant).map(|found| found.score.abs());
        scores.max_by(f64::total_cmp).map_or(1.0, |score| (score / threshold).clamp(PART_MIN, 1.0))
    };
    let parts = [needed(false, params.threshold), needed(true, params.shift_threshold)];
    let mut found = beyond(prepared, usual, &part(parts), params);
    for missed in missed {
        if !found.iter().any(|other| other.overlaps(&missed)) {
            found.push(missed);
        }
    }
    found.sort_by_key(|found| (found.started_at, found.ended_at));
    found
}

/// What is beyond the thresholds within the stretches that somebody called real.
fn missed_outliers(
    prepared: &Prepared,
    usual: &Baseline,
    params: &Params,
    asked: &Params,
    labelled: &Labelled,
) -> Vec<Anomaly> {
    let Prepared { samples, flat } = prepared;
    let subject = Subject { samples, season: flat.season, params: asked };
    let floor = sigma_floor(&samples.values, &flat.residual);
    let is_near = |at_us: &i64| labelled.is_in_missed(&samples.name, *at_us, samples.interval_us);
    let near: Vec<f64> = samples
        .times
        .iter()
        .zip(&flat.residual)
        .map(|(at_us, left)| if is_near(at_us) { *left } else { f64::NAN })
        .collect();
    let found = excursions(&near, usual, floor, params.window_samples, params.threshold);
    let expected = |at: usize| samples.values[at] - flat.residual[at] + usual.median[at];
    let all = found.into_iter().map(|found| subject.outlier(found, expected(found.peak)));
    all.filter(|found| labelled.is_missed(found)).collect()
}

/// All that is beyond the thresholds of `params`, as severe as it is by those that were `asked` for.
fn beyond(prepared: &Prepared, usual: &Baseline, params: &Params, asked: &Params) -> Vec<Anomaly> {
    let Prepared { samples, flat } = prepared;
    let residual = &flat.residual;
    let (window, rare, length) = (params.window_samples, params.rare_samples, residual.len());
    let subject = Subject { samples, season: flat.season, params: asked };
    let floor = sigma_floor(&samples.values, residual);
    let profile = |at: usize| samples.values[at] - residual[at];

    let short = window / SHORT_SCALE;
    let scales = [
        Scale { window, medians: &usual.median },
        Scale { window: short, medians: &usual.short_median },
    ];
    let mut shifts = shifts(residual, &scales, floor, window, params.shift_threshold);
    shifts.retain(|shift| is_another_level(residual, shift.excursion.first, shift.window()));
    let shifts = keep_rare(shifts, length, rare, |shift| shift.excursion.z.abs());
    let mut outliers = excursions(residual, usual, floor, window, params.threshold);
    if !outliers.is_empty() {
        let extremes = Extremes::of(residual, usual, floor, window, params.threshold);
        outliers.retain(|outlier| extremes.is_outstanding(outlier));
    }
    let outliers = keep_rare(outliers, length, rare, |outlier| outlier.z.abs());
    let most = params.gap_intervals(samples.interval_us);
    let gaps = keep_rare(gaps(samples, most), length, rare, |gap| gap.intervals as f64);

    let mut anomalies: Vec<Anomaly> = shifts
        .into_iter()
        .map(|shift| subject.level_shift(shift, profile(shift.excursion.first)))
        .collect();
    for outlier in outliers {
        let found = subject.outlier(outlier, profile(outlier.peak) + usual.median[outlier.peak]);
        absorb(&mut anomalies, found);
    }
    anomalies.extend(gaps.into_iter().map(|gap| subject.missing(gap)));
    anomalies.extend(stuck(samples, params.stuck_samples).map(|run| subject.stuck(run)));
    anomalies.retain(|found| is_asked(found, asked));
    anomalies.sort_by_key(|a| (a.started_at, a.ended_at));
    anomalies
}

/// Adds what is rare among the values before it, unless another finding holds it. In a series of light tails the thresholds find what is
/// far, and a rarity only adds false alarms.
fn add_sightings(known: &mut Vec<Anomaly>, of: &Prepared, usual: &Baseline, params: &Params) {
    let Prepared { samples, flat } = of;
    if samples.values.len() < ONLINE_SAMPLES_MIN {
        return;
    }
    let floor = sigma_floor(&samples.values, &flat.residual);
    let (window, threshold) = (params.window_samples, params.threshold);
    let rarity_min = match TailWeight::of(&flat.residual, usual, floor, window, threshold) {
        TailWeight::Light => return,
        TailWeight::Near => params.rarity() + NEAR_RARER,
        TailWeight::Heavy => params.rarity(),
    };
    let mut seen = online::sightings(samples, params);
    seen.retain(|seen| matches!(seen.sight, Sight::Unusual(_)) && seen.strength >= rarity_min);
    let sighted = seen.iter().map(|seen| sighted(&samples.name, seen, params));
    let is_new = |found: &Anomaly| !known.iter().any(|other| other.overlaps(found));
    let new: Vec<Anomaly> =
        sighted.filter(|found| is_asked(found, params) && is_new(found)).collect();
    known.extend(new);
    known.sort_by_key(|found| (found.started_at, found.ended_at));
}

/// Whether it is late and severe enough.
pub(super) fn is_asked(found: &Anomaly, params: &Params) -> bool {
    let from_us = params.from.map_or(i64::MIN, |from| from.timestamp_micros());
    found.ended_at >= from_us && found.level() >= params.min_severity
}

/// Adds an outlier, unless it is the beginning of a level shift, seen from the old level.
fn absorb(anomalies: &mut Vec<Anomaly>, outlier: Anomaly) {
    let is_of = |known: &&mut Anomaly| known.kind == Kind::LevelShift && known.overlaps(&outlier);
    let shift = anomalies.iter_mut().find(is_of);
    match shift {
        Some(shift) => {
            shift.started_at = shift.started_at.min(outlier.started_at);
            shift.ended_at = shift.ended_at.max(outlier.ended_at);
        }
        None => anomalies.push(outlier),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, started_at: i64, ended_at: i64) -> Anomaly {
        Anomaly {
            series: "s".into(),
            kind,
            started_at,
            ended_at,
            peak_at: started_at,
            observed: None,
            expected: None,
            score: 9.0,
            severity: 40.0,
            samples: 1,
            interval_us: 1,
            season: None,
            explanation: String::new(),
        }
    }

    #[test]
    fn an_outlier_that_touches_a_shift_is_its_part_and_no_other_is() {
        // Beside the shift of 10 to 20: an outlier, and how long the shift is then; none where it stands alone.
        let tried = [
            ((5, 9), None),
            ((5, 10), Some((5, 20))),
            ((12, 15), Some((10, 20))),
            ((20, 25), Some((10, 25))),
            ((21, 25), None),
            ((5, 25), Some((5, 25))),
        ];
        for ((started_at, ended_at), whole) in tried {
            let mut all = vec![of(Kind::Outlier, 0, 100), of(Kind::LevelShift, 10, 20)];
            absorb(&mut all, of(Kind::Outlier, started_at, ended_at));
            let times: Vec<_> = all.iter().map(|of| (of.started_at, of.ended_at)).collect();
            let expected = match whole {
                Some(whole) => vec![(0, 100), whole],
                None => vec![(0, 100), (10, 20), (started_at, ended_at)],
            };
            assert_eq!(times, expected);
        }
    }
}
