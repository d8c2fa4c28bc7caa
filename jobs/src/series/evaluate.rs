//! How good a result is, where the truth is known: generated data with planted anomalies, or a benchmark
//! with labelled windows. Everything that quotes such a figure counts with this, so that two figures are
//! of one kind.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// A stretch of time in one series; both ends belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The series.
    pub series: String,
    /// First instant.
    pub start: DateTime<Utc>,
    /// Last instant.
    pub end: DateTime<Utc>,
}

/// Windows of the truth against windows that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WindowScore {
    /// True windows that at least one finding touches, as indices.
    pub hit: Vec<usize>,
    /// True windows that no finding touches.
    pub missed: Vec<usize>,
    /// Findings that touch no true window of their series.
    pub false_alarms: Vec<usize>,
}

/// Two series and how far one follows the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The first series.
    pub series_a: String,
    /// The second series.
    pub series_b: String,
    /// Time by which b follows a; negative where it leads.
    pub lag_ms: i64,
}

/// Pairs of the truth against pairs that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PairScore {
    /// True pairs that were found, as indices.
    pub found: Vec<usize>,
    /// Those of them whose lag is right, within the tolerance.
    pub lag_right: Vec<usize>,
    /// True pairs that were not found.
    pub missed: Vec<usize>,
    /// Found pairs that are not true.
    pub false_pairs: Vec<usize>,
}

/// Groups of the truth against groups that were found, by the pairs within them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupScore {
    /// Pairs that are together in a true group.
    pub planted: u64,
    /// Those of them that are together in a group found.
    pub found: u64,
    /// Pairs that are together in a group found and in no true one.
    pub false_pairs: u64,
}

/// Compares groups of names. A name is in one group of either kind at most.
pub fn score_groups(truth: &[Vec<String>], found: &[Vec<String>]) -> GroupScore {
    let pairs = |members: u64| members * members.saturating_sub(1) / 2;
    let group_of: HashMap<&str, usize> = truth
        .iter()
        .enumerate()
        .flat_map(|(group, members)| members.iter().map(move |name| (name.as_str(), group)))
        .collect();
    let mut score = GroupScore {
        planted: truth.iter().map(|members| pairs(members.len() as u64)).sum(),
        ..GroupScore::default()
    };
    for members in found {
        let mut together: HashMap<usize, u64> = HashMap::new();
        for name in members {
            if let Some(&group) = group_of.get(name.as_str()) {
                *together.entry(group).or_default() += 1;
            }
        }
        let right: u64 = together.values().map(|&members| pairs(members)).sum();
        score.found += right;
        score.false_pairs += pairs(members.len() as u64) - right;
    }
    score
}

/// Compares windows. A finding hits a true window of its series when they share an instant, after the true
/// window is widened by `slack` on either side.
pub fn score_windows(truth: &[Window], found: &[Window], slack: TimeDelta) -> WindowScore {
    let touches = |truth: &Window, found: &Window| {
        truth.series == found.series
            && found.start <= truth.end + slack
            && found.end >= truth.start - slack
    };
    let is_hit = |index: &usize| found.iter().any(|f| touches(&truth[*index], f));
    let (hit, missed) = (0..truth.len()).partition(is_hit);
    let false_alarms =
        (0..found.len()).filter(|i| !truth.iter().any(|t| touches(t, &found[*i]))).collect();
    WindowScore { hit, missed, false_alarms }
}

/// Compares pairs. The order within a pair does not matter; its lag changes sign with it.
pub fn score_pairs(truth: &[Pair], found: &[Pair], lag_tolerance_ms: i64) -> PairScore {
    let same = |t: &Pair, f: &Pair| {
        if t.series_a == f.series_a && t.series_b == f.series_b {
            Some(f.lag_ms)
        } else if t.series_a == f.series_b && t.series_b == f.series_a {
            Some(-f.lag_ms)
        } else {
            None
        }
    };
    let mut score = PairScore::default();
    for (index, pair) in truth.iter().enumerate() {
        match found.iter().find_map(|f| same(pair, f)) {
            Some(lag) => {
                score.found.push(index);
                if (lag - pair.lag_ms).abs() <= lag_tolerance_ms {
                    score.lag_right.push(index);
                }
            }
            None => score.missed.push(index),
        }
    }
    score.false_pairs =
        (0..found.len()).filter(|i| !truth.iter().any(|t| same(t, &found[*i]).is_some())).collect();
    score
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn window(series: &str, start_s: i64, end_s: i64) -> Window {
        let at = |s| DateTime::from_timestamp(s, 0).unwrap();
        Window { series: series.into(), start: at(start_s), end: at(end_s) }
    }

    #[test]
    fn a_finding_hits_only_windows_of_its_own_series() {
        let truth = [window("a", 10, 20), window("a", 50, 60), window("b", 10, 20)];
        let found = [window("a", 20, 25), window("a", 5, 6), window("b", 21, 22)];
        let score = score_windows(&truth, &found, TimeDelta::zero());
        assert_eq!((score.hit, score.missed), (vec![0], vec![1, 2]));
        assert_eq!(score.false_alarms, [1, 2]);
        let widened = score_windows(&truth, &found, TimeDelta::seconds(1));
        assert_eq!((widened.hit, widened.false_alarms), (vec![0, 2], vec![1]));
    }

    #[test]
    fn a_pair_turned_round_has_the_opposite_lag() {
        let pair =
            |a: &str, b: &str, lag_ms| Pair { series_a: a.into(), series_b: b.into(), lag_ms };
        let truth = [pair("a", "b", 3_000), pair("c", "d", 0), pair("e", "f", 5)];
        let found = [pair("b", "a", -3_000), pair("c", "d", 2_000), pair("a", "c", 0)];
        let score = score_pairs(&truth, &found, 500);
        assert_eq!((score.found, score.lag_right), (vec![0, 1], vec![0]));
        assert_eq!((score.missed, score.false_pairs), (vec![2], vec![2]));
    }

    #[test]
    fn groups_are_counted_by_their_pairs() {
        let groups = |groups: &[&[&str]]| -> Vec<Vec<String>> {
            groups.iter().map(|names| names.iter().map(|&name| name.into()).collect()).collect()
        };
        let truth = groups(&[&["a", "b", "c"], &["d", "e"]]);
        // One pair of the first group is split off; the second has met a stranger and a member of the first.
        let found = groups(&[&["a", "b"], &["c", "d", "e", "x"]]);
        let expected = GroupScore { planted: 4, found: 2, false_pairs: 5 };
        assert_eq!(score_groups(&truth, &found), expected);
    }
}
