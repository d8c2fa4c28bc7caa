//! Changes of a group of series that come by and by, or last: [`analysis::series::sustained`], and their words.

use analysis::series::sustained::{Against, Change, reference, sustained_changes};

use super::explain::{Anomaly, Kind, Lasting};
use super::joint::{Break, Flat, Grid};
use super::params::Params;

/// The `joint_threshold` that keeps the promised rate of false findings, and the score of a finding at the threshold.
const THRESHOLD: f64 = 6.0;
/// Series that an explanation names.
const NAMED: usize = 3;
/// A finding of one series that covers this part of a change reports it already.
const COVERED: f64 = 0.5;

/// The changes of a group, and where its reference ends; none of too few instants.
pub(super) fn changes(grid: &Grid, group: &[&Flat], params: &Params) -> (Vec<Change>, Option<i64>) {
    let rows = grid.instants.len();
    let learned = match params.joint_learn_until {
        None => reference(rows),
        Some(until) => {
            let until = until.timestamp_micros().div_euclid(grid.interval_us);
            Some(grid.instants.partition_point(|at| *at < until))
        }
    };
    let Some(learned) = learned.filter(|learned| *learned < rows) else {
        return (Vec::new(), None);
    };
    let value = |row: usize, column: usize| {
        let sample = grid.sample(row, column, group.len());
        sample.map_or(f64::NAN, |sample| group[column].residuals[sample])
    };
    let columns: Vec<Vec<f64>> =
        (0..group.len()).map(|column| (0..rows).map(|row| value(row, column)).collect()).collect();
    let found = sustained_changes(&columns, learned, params.joint_threshold / THRESHOLD);
    (found, Some(grid.instants[learned] * grid.interval_us))
}

/// A break that touches a change is its part; a change within a break is the break's.
pub(super) fn absorb(changes: &mut Vec<Change>, breaks: &mut Vec<Break>) {
    changes.retain(|change| {
        !breaks.iter().any(|other| other.first <= change.first && change.last <= other.last)
    });
    breaks.retain(|found| {
        let touched = changes
            .iter_mut()
            .find(|change| change.first <= found.last && found.first <= change.last);
        if let Some(change) = touched {
            change.first = change.first.min(found.first);
            change.last = change.last.max(found.last);
            return false;
        }
        true
    });
}

/// A change in words; `None` if its clearest series has no sample within it.
pub(super) fn anomaly(
    grid: &Grid,
    group: &[&Flat],
    change: &Change,
    learned_until: i64,
    params: &Params,
) -> Option<Anomaly> {
    let part = *change.parts.first()?;
    let flat = group[part.column];
    let sample_at = |row: &usize| grid.sample(*row, part.column, group.len());
    let peak = (change.first..=change.last)
        .filter(|row| sample_at(row).is_some())
        .min_by_key(|row| row.abs_diff(part.peak))?;
    let sample = sample_at(&peak)?;
    let at = |row: usize| grid.instants[row] * grid.interval_us;
    let names = change.parts.iter().take(NAMED);
    let found = Lasting {
        names: names.map(|part| group[part.column].name.as_str()).collect(),
        series: group.len(),
        learned_until,
        is_of_others: part.against == Against::Others,
        started_at: at(change.first),
        ended_at: at(change.last),
        peak_at: flat.times[sample],
        observed: flat.values[sample],
        offset: part.offset,
        z: part.ratio * params.joint_threshold,
        samples: (change.last - change.first + 1) as i64,
        interval_us: grid.interval_us,
    };
    Some(found.anomaly(params.joint_threshold))
}

/// Whether a finding of one of its series reports most of a change already.
pub(super) fn is_known(
    anomaly: &Anomaly,
    change: &Change,
    group: &[&Flat],
    known: &[Anomaly],
) -> bool {
    let length = (anomaly.ended_at - anomaly.started_at + anomaly.interval_us) as f64;
    known.iter().any(|other| {
        let is_of_it = || change.parts.iter().any(|part| group[part.column].name == other.series);
        let both = other.ended_at.min(anomaly.ended_at) - other.started_at.max(anomaly.started_at);
        matches!(other.kind, Kind::Outlier | Kind::SeasonalOutlier | Kind::LevelShift)
            && (both + anomaly.interval_us) as f64 >= COVERED * length
            && is_of_it()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kinds::anomalies::joint::{Groups, JointFound, look};
    use crate::testing::Noise;
    use chrono::DateTime;
    use tokio_util::sync::CancellationToken;

    const SECOND_US: i64 = 1_000_000;

    /// A rig of four sensors, a row a second; the flow falls by two from row 600 on, by and by, until row 900.
    fn rig(name: &str, is_closing: bool) -> Vec<Flat> {
        let mut noise = Noise::new(name.len() as u64);
        let mut values = vec![Vec::new(); 4];
        let mut drift = 0.0;
        for row in 0..1_100 {
            let row = f64::from(row);
            let closed = ((row - 600.0) / 60.0).min((900.0 - row) / 30.0).clamp(0.0, 1.0);
            let shaken = noise.normal();
            drift += 0.01 * noise.normal();
            values[0].push(0.03 + 0.001 * shaken);
            values[1].push(0.04 + 0.001 * (shaken + 0.5 * noise.normal()));
            values[2].push(70.0 + drift + 0.1 * noise.normal());
            let closed = if is_closing { 2.0 * closed } else { 0.0 };
            values[3].push((32.0 - closed + 0.4 * noise.normal()).round());
        }
        let names = ["shake_a", "shake_b", "temperature", "flow"];
        let flat = |(of, values): (&str, Vec<f64>)| Flat {
            name: format!("{name}.{of}"),
            times: (0..1_100).map(|row| row * SECOND_US).collect(),
            interval_us: SECOND_US,
            // As the rolling median leaves it: it follows what lasts.
            distances: vec![0.0; 1_100],
            residuals: values.clone(),
            values,
            sigma: 1.0,
        };
        names.into_iter().zip(values).map(flat).collect()
    }

    fn found(flats: &[Flat], known: &[Anomaly], params: &Params) -> JointFound {
        let rig = |flat: &Flat| (flat.name.clone(), vec![Some(flat.name[..1].to_owned())]);
        let groups: Groups = flats.iter().map(rig).collect();
        look(flats, &groups, known, params, usize::MAX, &CancellationToken::new()).unwrap()
    }

    #[test]
    fn a_valve_that_closes_for_minutes_is_one_finding_of_its_rig() {
        let flats = [rig("a", false), rig("bb", true)].concat();
        let params = Params { joint: true, ..Params::default() };
        let all = found(&flats, &[], &params);
        assert_eq!(all.anomalies.len(), 1, "{:?}", all.anomalies);
        let closing = &all.anomalies[0];
        assert_eq!((closing.series.as_str(), closing.kind), ("bb.flow", Kind::Joint));
        let [from, to] = [closing.started_at, closing.ended_at].map(|at| at / SECOND_US);
        assert!((590..=640).contains(&from) && (870..=910).contains(&to), "{from} to {to}");
        let (observed, expected) = (closing.observed.unwrap(), closing.expected.unwrap());
        assert!(observed < 31.5 && (31.0..33.0).contains(&expected), "{observed} {expected}");
        assert!(closing.score > 6.0 && closing.severity > 0.0);
        let says = &closing.explanation;
        assert!(
            says.starts_with("from 1970-")
                && says.contains(" bb.flow is ")
                && says.contains(" below "),
            "{says}"
        );
        let until: Vec<Option<i64>> = all.learned.iter().map(|of| of.until_us).collect();
        assert_eq!(until, [Some(366 * SECOND_US); 2]);
        // What one series tells for most of it is not told again; what it tells of a moment is.
        let told = |seconds| Anomaly {
            kind: Kind::Outlier,
            ended_at: closing.started_at + seconds * SECOND_US,
            ..closing.clone()
        };
        assert_eq!(found(&flats, &[told(250)], &params).anomalies, []);
        assert_eq!(found(&flats, &[told(5)], &params).anomalies.len(), 1);
    }

    #[test]
    fn the_reference_ends_where_the_caller_says() {
        let flats = rig("a", true);
        let with = |seconds| {
            let joint_learn_until = DateTime::from_timestamp(seconds, 0);
            found(&flats, &[], &Params { joint: true, joint_learn_until, ..Params::default() })
        };
        assert_eq!(with(500).anomalies.len(), 1);
        // Too little to learn from, and nothing after it.
        assert_eq!(with(100).anomalies.len(), 0);
        let none = with(5_000);
        assert_eq!((none.anomalies.len(), none.learned[0].until_us), (0, None));
    }

    #[test]
    fn a_break_and_a_change_that_touch_are_told_once() {
        let change = |first, last| Change { first, last, parts: Vec::new() };
        let of = |first, last| Break { first, last, z: 7.0 };
        let mut changes = vec![change(100, 300), change(510, 520)];
        let mut breaks = vec![of(90, 110), of(290, 310), of(400, 410), of(500, 530)];
        absorb(&mut changes, &mut breaks);
        assert_eq!(changes, [change(90, 310)]);
        assert_eq!(breaks, [of(400, 410), of(500, 530)]);
    }
}
