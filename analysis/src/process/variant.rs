//! The ways that cases take.

use std::collections::HashMap;

use super::log::Log;
use super::span::Spans;

/// Cases of the same activities in the same order.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The activities, numbers of [`Log::activities`].
    pub activities: Vec<u32>,
    /// The cases, numbers of [`Log::cases`], in the order in which they came.
    pub cases: Vec<u32>,
    /// Part of all cases, 0 to 1.
    pub share: f64,
    /// The part of this one and of all that are more frequent.
    pub covered: f64,
    /// How long its cases last.
    pub lasts: Spans,
}

/// The ways that cases take, the most frequent first; of as many cases the one with the first names.
pub fn variants(log: &Log) -> Vec<Variant> {
    let mut places: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut found: Vec<(Vec<u32>, Vec<i64>)> = Vec::new();
    let mut way = Vec::new();
    for trace in log.traces() {
        way.clear();
        way.extend(trace.activities());
        let place = match places.get(&way) {
            Some(place) => *place,
            None => {
                places.insert(way.clone(), found.len());
                found.push(Default::default());
                found.len() - 1
            }
        };
        if let Some((cases, lasts)) = found.get_mut(place) {
            cases.push(trace.case);
            lasts.push(trace.lasted_us());
        }
    }
    let all = log.traces().len().max(1) as f64;
    let mut ways: Vec<Variant> = places
        .into_iter()
        .filter_map(|(activities, place)| {
            let (cases, mut lasts) = std::mem::take(found.get_mut(place)?);
            let (share, lasts) = (cases.len() as f64 / all, Spans::of(&mut lasts));
            Some(Variant { activities, cases, share, covered: 0.0, lasts })
        })
        .collect();
    let names = |way: &Variant| -> Vec<&str> {
        way.activities.iter().map(|activity| log.activities.text(*activity)).collect()
    };
    ways.sort_by(|a, b| b.cases.len().cmp(&a.cases.len()).then_with(|| names(a).cmp(&names(b))));
    let mut covered = 0;
    for way in &mut ways {
        covered += way.cases.len();
        way.covered = covered as f64 / all;
    }
    ways
}
