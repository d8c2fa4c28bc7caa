//! What is unusual of several series together, though each by itself is not: two that always rose together, and one day one
//! of them falls.
//!
//! ```text
//!   series of one interval  ─▶  grid [instants, series] of robust standard deviations from what is usual
//!       ─▶ autoencoder: what each should be, told from the others   ─▶ error / its robust spread, series by series
//!       ─▶ mean square of an instant, and of JOINT_SPAN in a row    ─▶ cube root, in robust standard deviations
//! ```
//!
//! Breaks of a few instants are found so. Changes that are gradual or last are found by comparison with the first part of the instants:
//! [`sustained`](super::sustained).
//!
//! The cube root of a mean of squares is nearly normal (Wilson and Hilferty 1931), so that one threshold serves
//! few series and many. What one series shows by itself is reported by its own kind and not again here.
//!
//! Cost: what the autoencoder costs ([`models::Autoencoder`]). Memory: 12 bytes for each place of the grid.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use analysis::series::sustained::Change;
use analysis::series::{keep_rare, spread};
use engine::{Code, Error, Result};
use models::{AUTOENCODER_COLUMNS_MAX, Autoencoder, AutoencoderOptions};
use tokio_util::sync::CancellationToken;

use super::explain::{Anomaly, Joint, Kind};
use super::params::Params;
use super::sustained;
use crate::registry::embedders::model_error;

/// Series that are looked at together at least.
const SERIES_MIN: usize = 3;
/// Instants that are learned from at least.
const INSTANTS_MIN: usize = 256;
/// Part of the series that an instant must have a value of.
const KNOWN_MIN: f64 = 0.5;
/// Larger distances from the usual count as this one: a wild value is one series' own matter.
const DISTANCE_MAX: f32 = 8.0;
/// Part of a value that its error is always allowed to be: what is far out is told less well.
const RELATIVE: f32 = 0.2;
/// Instants in a row whose errors are also looked at together: a small break that lasts.
const JOINT_SPAN: usize = 12;
/// Series that an explanation names.
const NAMED: usize = 3;
/// Bytes of a place of the grid: distance, what it should be, and error; and what sustained changes are found by.
pub(super) const PLACE_BYTES: usize = 60;

/// One series, without what is usual of it.
#[derive(Clone, Debug)]
pub(super) struct Flat {
    pub(super) name: String,
    pub(super) times: Vec<i64>,
    pub(super) interval_us: i64,
    pub(super) values: Vec<f64>,
    /// The values without their season.
    pub(super) residuals: Vec<f64>,
    /// Distance from the usual, in `sigma`s; NaN where nothing is usual yet.
    pub(super) distances: Vec<f32>,
    pub(super) sigma: f64,
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct JointFound {
    pub(super) anomalies: Vec<Anomaly>,
    /// Groups of series that were looked at together.
    pub(super) groups: u64,
    pub(super) series: u64,
    pub(super) learned: Vec<Learned>,
}

/// What was learned of a group.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    pub(super) series: usize,
    pub(super) instants: usize,
    pub(super) epochs: usize,
    /// The loss before and after learning.
    pub(super) losses: [f64; 2],
    /// Where the reference of sustained changes ends; `None` if there are too few instants.
    pub(super) until_us: Option<i64>,
}

/// The group of a series: the values of `joint_by`.
pub(super) type Groups = HashMap<String, Vec<Option<String>>>;

/// Looks at all series of each group and interval together. `known`: what was found of single series.
pub(super) fn look(
    flats: &[Flat],
    of: &Groups,
    known: &[Anomaly],
    params: &Params,
    bytes_max: usize,
    cancellation: &CancellationToken,
) -> Result<JointFound> {
    let mut groups: BTreeMap<_, Vec<&Flat>> = BTreeMap::new();
    for flat in flats {
        groups.entry((of.get(&flat.name), flat.interval_us)).or_default().push(flat);
    }
    let mut found = JointFound::default();
    for ((_, interval_us), mut group) in groups {
        group.sort_by(|a, b| a.name.cmp(&b.name));
        let Some(grid) = Grid::of(&group, interval_us, bytes_max)? else { continue };
        let mut options = AutoencoderOptions::new(group.len());
        options.seed = params.joint_seed;
        let mut go_on = |_| match cancellation.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let model = Autoencoder::train(&grid.distances, group.len(), &options, &mut go_on);
        let model = model.map_err(model_error)?;
        found.groups += 1;
        found.series += group.len() as u64;
        let (changes, until_us) = sustained::changes(&grid, &group, params);
        found.learned.push(Learned {
            series: group.len(),
            instants: grid.instants.len(),
            epochs: model.epochs,
            losses: model.losses,
            until_us,
        });
        found.anomalies.extend(grid.anomalies(
            &group,
            &model,
            (changes, until_us),
            known,
            params,
        )?);
    }
    Ok(found)
}

/// Series on common instants.
pub(super) struct Grid {
    pub(super) interval_us: i64,
    /// Number of the instant, counted in intervals.
    pub(super) instants: Vec<i64>,
    /// `[instants, series]`; NaN where there is none.
    distances: Vec<f32>,
    /// For each place of it the sample; [`NO_SAMPLE`] where there is none.
    samples: Vec<u32>,
}

/// What a place without a sample has.
const NO_SAMPLE: u32 = u32::MAX;

impl Grid {
    /// None where there is too little to learn from.
    fn of(group: &[&Flat], interval_us: i64, bytes_max: usize) -> Result<Option<Self>> {
        if !(SERIES_MIN..=AUTOENCODER_COLUMNS_MAX).contains(&group.len()) {
            return Ok(None);
        }
        let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
        for flat in group {
            for (time, distance) in flat.times.iter().zip(&flat.distances) {
                if distance.is_finite() {
                    *counts.entry(time.div_euclid(interval_us)).or_default() += 1;
                }
            }
        }
        let least = (KNOWN_MIN * group.len() as f64).ceil() as u32;
        let instants: Vec<i64> =
            counts.into_iter().filter(|(_, count)| *count >= least).map(|(at, _)| at).collect();
        if instants.len() < INSTANTS_MIN {
            return Ok(None);
        }
        let places = instants.len() * group.len();
        if places.saturating_mul(PLACE_BYTES) > bytes_max {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "anomalies: {} series of {} instants together take more than a quarter of the memory budget, \
                     {bytes_max} bytes: take fewer `series`, a later `from`, a larger budget, or joint = false",
                    group.len(),
                    instants.len()
                ),
            ));
        }
        let mut grid = Self {
            interval_us,
            distances: vec![f32::NAN; places],
            samples: vec![NO_SAMPLE; places],
            instants,
        };
        for (column, flat) in group.iter().enumerate() {
            for (sample, (time, distance)) in flat.times.iter().zip(&flat.distances).enumerate() {
                let at = grid.instants.binary_search(&time.div_euclid(interval_us));
                let (Ok(row), true) = (at, distance.is_finite()) else { continue };
                let place = row * group.len() + column;
                grid.distances[place] = distance.clamp(-DISTANCE_MAX, DISTANCE_MAX);
                grid.samples[place] = u32::try_from(sample).unwrap_or(NO_SAMPLE);
            }
        }
        Ok(Some(grid))
    }

    /// The sample of a series at a row.
    pub(super) fn sample(&self, row: usize, column: usize, columns: usize) -> Option<usize> {
        let sample = self.samples[row * columns + column];
        (sample != NO_SAMPLE).then_some(sample as usize)
    }

    /// Stretches in which the series do not go together as they do elsewhere, and `changes` that last.
    fn anomalies(
        &self,
        group: &[&Flat],
        model: &Autoencoder,
        (mut changes, until_us): (Vec<Change>, Option<i64>),
        known: &[Anomaly],
        params: &Params,
    ) -> Result<Vec<Anomaly>> {
        let columns = group.len();
        let should = model.reconstruct(&self.distances).map_err(model_error)?;
        let mut errors: Vec<f32> =
            self.distances.iter().zip(&should).map(|(is, should)| is - should).collect();
        for column in 0..columns {
            let of_column = || errors.iter().skip(column).step_by(columns);
            let finite: Vec<f64> =
                of_column().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
            let unit = spread(&finite);
            let unit = unit.sigma.max(0.5 * unit.mean_sigma).max(f64::from(f32::EPSILON)) as f32;
            let of_column = errors.iter_mut().zip(&should).skip(column).step_by(columns);
            of_column.for_each(|(error, should)| *error /= unit.hypot(RELATIVE * should));
        }
        let squares: Vec<f64> = errors.chunks_exact(columns).map(mean_square).collect();
        let lasting: Vec<f64> = (0..squares.len())
            .map(|at| {
                let span = &squares[(at + 1).saturating_sub(JOINT_SPAN)..=at];
                span.iter().sum::<f64>() / span.len() as f64
            })
            .collect();
        let mut found: Vec<Break> = Vec::new();
        for (scores, span) in [(in_sigmas(&squares), 1), (in_sigmas(&lasting), JOINT_SPAN)] {
            found.extend(beyond(&scores, span, params.joint_threshold));
        }
        let mut found = keep_rare(merged(found), self.instants.len(), params.rare_samples, |b| b.z);
        sustained::absorb(&mut changes, &mut found);
        let lasting = changes.iter().filter_map(|change| {
            let anomaly = sustained::anomaly(self, group, change, until_us?, params)?;
            (!sustained::is_known(&anomaly, change, group, known)).then_some(anomaly)
        });
        let breaks = found.into_iter().filter_map(|found| {
            let joint = self.joint(group, &errors, &should, found)?;
            let anomaly = joint.anomaly(params.joint_threshold);
            let is_known = known.iter().any(|other| {
                matches!(other.kind, Kind::Outlier | Kind::SeasonalOutlier | Kind::LevelShift)
                    && joint.names.contains(&other.series.as_str())
                    && other.started_at <= anomaly.ended_at
                    && anomaly.started_at <= other.ended_at
            });
            (!is_known).then_some(anomaly)
        });
        Ok(breaks.chain(lasting).collect())
    }

    /// The break in the words of the series that are furthest from what they should be.
    fn joint<'a>(
        &self,
        group: &[&'a Flat],
        errors: &[f32],
        should: &[f32],
        found: Break,
    ) -> Option<Joint<'a>> {
        let columns = group.len();
        let weight = |column: usize| -> f64 {
            let of = (found.first..=found.last).map(|row| errors[row * columns + column]);
            of.filter(|error| error.is_finite()).map(|error| f64::from(error * error)).sum()
        };
        let mut order: Vec<(usize, f64)> = (0..columns).map(|at| (at, weight(at))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (worst, _) = *order.first()?;
        let place = |row: usize| row * columns + worst;
        let error = |row: usize| errors[place(row)].abs();
        let peak = (found.first..=found.last)
            .filter(|row| self.samples[place(*row)] != NO_SAMPLE)
            .max_by(|a, b| error(*a).total_cmp(&error(*b)))?;
        let flat = group[worst];
        let sample = self.samples[place(peak)] as usize;
        let observed = flat.values[sample];
        let off = f64::from(self.distances[place(peak)] - should[place(peak)]);
        let half = order[0].1 / 2.0;
        let named = order.iter().take(NAMED).filter(|(_, weight)| *weight >= half / 2.0);
        let at = |row: usize| self.instants[row] * self.interval_us;
        Some(Joint {
            names: named.map(|(column, _)| group[*column].name.as_str()).collect(),
            series: columns,
            started_at: at(found.first),
            ended_at: at(found.last),
            peak_at: flat.times[sample],
            observed,
            expected: observed - off * flat.sigma,
            z: found.z,
            samples: (found.last - found.first + 1) as i64,
            interval_us: self.interval_us,
        })
    }
}

/// Rows of the grid, ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Break {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) z: f64,
}

/// What is beyond a threshold of scores that are of `span` rows up to their own.
fn beyond(scores: &[f64], span: usize, threshold: f64) -> Vec<Break> {
    let found = scores.iter().enumerate().filter(|(_, z)| **z > threshold);
    found.map(|(at, z)| Break { first: (at + 1).saturating_sub(span), last: at, z: *z }).collect()
}

/// Those that touch as one, in order.
fn merged(mut breaks: Vec<Break>) -> Vec<Break> {
    breaks.sort_by_key(|it| (it.first, it.last));
    let mut found: Vec<Break> = Vec::new();
    for next in breaks {
        match found.last_mut() {
            Some(open) if next.first <= open.last + JOINT_SPAN => {
                open.last = open.last.max(next.last);
                open.z = open.z.max(next.z);
            }
            _ => found.push(next),
        }
    }
    found
}

/// Of those that are there; 0 of none.
fn mean_square(errors: &[f32]) -> f64 {
    let known = errors.iter().filter(|error| error.is_finite());
    let (sum, count) = known.fold((0.0, 0), |(sum, count), error| {
        (sum + f64::from(*error) * f64::from(*error), count + 1)
    });
    sum / f64::from(count.max(1))
}

/// Cube roots, as robust standard deviations from their median.
fn in_sigmas(squares: &[f64]) -> Vec<f64> {
    let roots: Vec<f64> = squares.iter().map(|square| square.cbrt()).collect();
    let usual = spread(&roots);
    let unit = usual.sigma.max(0.5 * usual.mean_sigma).max(f64::MIN_POSITIVE);
    roots.into_iter().map(|root| (root - usual.centre) / unit).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::Noise;

    const INTERVAL_US: i64 = 300_000_000;

    /// Six series of two causes; where `is_broken`, one goes against its own.
    fn flats(count: usize, is_broken: impl Fn(usize) -> bool) -> Vec<Flat> {
        let mut noise = Noise::new(3);
        let mut values = vec![Vec::new(); 6];
        for at in 0..count {
            let causes = [noise.normal(), noise.normal()];
            for (series, values) in values.iter_mut().enumerate() {
                let sign = if series == 1 && is_broken(at) { -1.0 } else { 1.0 };
                values.push(100.0 + 5.0 * (sign * causes[series / 3] + 0.1 * noise.normal()));
            }
        }
        let flat = |(series, values): (usize, Vec<f64>)| Flat {
            name: format!("s{series}"),
            times: (0..count).map(|at| at as i64 * INTERVAL_US).collect(),
            interval_us: INTERVAL_US,
            distances: values.iter().map(|value| ((value - 100.0) / 5.0) as f32).collect(),
            residuals: values.clone(),
            values,
            sigma: 5.0,
        };
        values.into_iter().enumerate().map(flat).collect()
    }

    fn found(flats: &[Flat], params: &Params) -> JointFound {
        of_groups(flats, &Groups::new(), params)
    }

    fn of_groups(flats: &[Flat], groups: &Groups, params: &Params) -> JointFound {
        look(flats, groups, &[], params, usize::MAX, &CancellationToken::new()).unwrap()
    }

    #[test]
    fn each_group_has_a_model_of_its_own() {
        let params = Params { joint: true, ..Params::default() };
        // Two rigs of six sensors; a sensor of the second goes against its like.
        let mut all = flats(3000, |_| false);
        let broken = flats(3000, |at| (2000..2040).contains(&at));
        all.extend(broken.into_iter().map(|flat| Flat { name: format!("b{}", flat.name), ..flat }));
        let rig = |flat: &Flat| (flat.name.clone(), vec![Some(flat.name[..1].to_owned())]);
        let groups: Groups = all.iter().map(rig).collect();
        let found = of_groups(&all, &groups, &params);
        assert_eq!((found.groups, found.series), (2, 12));
        let named: Vec<&str> = found.anomalies.iter().map(|of| of.series.as_str()).collect();
        assert_eq!(named, ["bs1"]);
        assert!(found.anomalies[0].explanation.contains("the other 5 series of its group"));
    }

    #[test]
    fn a_series_that_goes_against_its_like_is_found_though_its_values_are_usual() {
        let params = Params { joint: true, ..Params::default() };
        let flats = flats(3000, |at| (2000..2040).contains(&at));
        let found = found(&flats, &params);
        assert_eq!((found.groups, found.series), (1, 6));
        assert_eq!(found.anomalies.len(), 1, "{:?}", found.anomalies);
        let anomaly = &found.anomalies[0];
        assert_eq!((anomaly.series.as_str(), anomaly.kind), ("s1", Kind::Joint));
        let [from, to] = [anomaly.started_at, anomaly.ended_at].map(|at| at / INTERVAL_US);
        assert!((1985..=2003).contains(&from) && (2036..=2060).contains(&to), "{from} to {to}");
        let (observed, expected) = (anomaly.observed.unwrap(), anomaly.expected.unwrap());
        assert!((observed - 100.0) * (expected - 100.0) < 0.0, "{observed} {expected}");
        let says = &anomaly.explanation;
        assert!(says.contains("the other 5 series of its group"), "{says}");
        // The same again, and not where a single series has told it already.
        assert_eq!(self::found(&flats, &params).anomalies, found.anomalies);
        let known = Anomaly { kind: Kind::Outlier, ..anomaly.clone() };
        let again =
            look(&flats, &Groups::new(), &[known], &params, usize::MAX, &CancellationToken::new())
                .unwrap();
        assert!(again.anomalies.is_empty());
    }

    #[test]
    fn a_break_has_the_rows_that_its_score_is_of() {
        let of = |first: usize, last: usize, z: f64| Break { first, last, z };
        let scores = [0.0, 7.0, 6.0, 0.0, 0.0, 8.0];
        assert_eq!(beyond(&scores, 1, 6.0), [of(1, 1, 7.0), of(5, 5, 8.0)]);
        assert_eq!(beyond(&scores, 4, 6.0), [of(0, 1, 7.0), of(2, 5, 8.0)]);
    }

    #[test]
    fn what_goes_on_as_ever_is_nothing_and_too_little_is_left_out() {
        let params = Params { joint: true, ..Params::default() };
        let usual = flats(3000, |_| false);
        let nothing = found(&usual, &params);
        assert_eq!((nothing.groups, nothing.anomalies.len()), (1, 0), "{:?}", nothing.anomalies);
        assert_eq!(found(&usual[..2], &params).groups, 0);
        assert_eq!(found(&flats(200, |_| false), &params).groups, 0);
        let small = look(&usual, &Groups::new(), &[], &params, 1000, &CancellationToken::new());
        assert!(small.unwrap_err().to_string().contains("joint = false"));
    }
}
