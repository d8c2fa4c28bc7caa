//! The next step with which more cases succeeded than otherwise.
//!
//! That is what went together, not what made cases succeed: those who take a step may be other cases.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::history::History;
use super::markov::{ORDER_MAX, Place, of_order};
use crate::trial::{Tried, apart, holm, rate};

/// Cases that must have been at a place; else the place is that of fewer last activities.
const PLACE_LEAST: usize = 30;
/// Cases that took a step, and that did not, of which it takes as many to say anything.
const STEP_LEAST: usize = 10;
/// The chance that any suggestion of a log is one by chance alone.
const CHANCE: f64 = 0.05;
/// Cases that are named.
const EXAMPLES: usize = 3;

/// A next step, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// The class of the step.
    pub step: u32,
    /// Last activities that the cases have in common.
    pub order: usize,
    /// Cases at the same place that took it.
    pub cases: u64,
    /// Part of them that succeeded.
    pub success: f64,
    /// Where the share behind it lies with a confidence of 95 % (Wilson 1927).
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// Cases at the same place that went on otherwise.
    pub otherwise_cases: u64,
    /// Part of them that succeeded.
    pub otherwise: f64,
    /// How often chance alone says as much, raised for all steps at all places that were looked at (Fisher 1935, Holm 1979).
    pub p: f64,
    /// The latest cases that took it and succeeded.
    pub examples: Vec<u32>,
}

/// A case at a place for the first time: the class of its next step, whether it succeeded, itself, and whether that step was its success.
type Visit = (u32, bool, u32, bool);

/// For each of the cases that go on the step that is suggested, by those that have ended. Nothing is said of a case that has succeeded.
pub fn suggest(history: &History<'_>, ended: &[u32], open: &[u32]) -> Vec<Option<Suggestion>> {
    let places: Vec<Option<Place>> = open
        .iter()
        .map(|case| {
            let length = u32::try_from(history.events(*case).len()).unwrap_or(u32::MAX);
            let is_asked = length > 0 && !history.has_succeeded(*case, length);
            is_asked.then(|| history.last(*case, length))
        })
        .collect();
    let orders = |place: Place| (1..=ORDER_MAX).map(move |order| of_order(place, order));
    let wanted: HashSet<Place> = places.iter().flatten().copied().flat_map(orders).collect();
    let visits = visits(history, ended, &wanted);
    let known = |place: Place, order: usize| {
        let visits = visits.get(&of_order(place, order))?;
        (visits.len() >= PLACE_LEAST).then_some((order, visits))
    };
    let taken = |place: Place| (1..=ORDER_MAX).rev().find_map(|order| known(place, order));
    // Each place once, in order.
    let at: BTreeSet<(Place, usize)> = places
        .iter()
        .flatten()
        .filter_map(|place| taken(*place).map(|(order, _)| (of_order(*place, order), order)))
        .collect();
    let mut steps: Vec<(Place, Suggestion)> = Vec::new();
    for (place, order) in at {
        let Some(visits) = visits.get(&place) else { continue };
        steps.extend(held(history, visits, order).into_iter().map(|step| (place, step)));
    }
    let chances: Vec<f64> = steps.iter().map(|(_, step)| step.p).collect();
    let mut best: HashMap<Place, Suggestion> = HashMap::new();
    for ((place, mut step), p) in steps.into_iter().zip(holm(&chances)) {
        step.p = p;
        let is_better = step.success > step.otherwise && p < CHANCE;
        let is_first = best.get(&place).is_none_or(|other| step.success > other.success);
        if is_better && is_first {
            best.insert(place, step);
        }
    }
    let of = |place: Place| best.get(&of_order(place, taken(place)?.0)).cloned();
    places.into_iter().map(|place| place.and_then(of)).collect()
}

/// What cases did that were at these places, and had not succeeded by then.
fn visits(
    history: &History<'_>,
    ended: &[u32],
    wanted: &HashSet<Place>,
) -> HashMap<Place, Vec<Visit>> {
    let mut visits: HashMap<Place, Vec<Visit>> = HashMap::new();
    let mut been: HashSet<Place> = HashSet::new();
    for case in ended {
        been.clear();
        let events = history.events(*case);
        for (length, _) in (1u32..).zip(events) {
            if history.has_succeeded(*case, length) {
                break;
            }
            let next =
                events.get(length as usize).map_or(history.end(), |next| history.class(next));
            let place = history.last(*case, length);
            for order in 1..=ORDER_MAX {
                let place = of_order(place, order);
                if wanted.contains(&place) && been.insert(place) {
                    let is_success = history.has_succeeded(*case, length.saturating_add(1));
                    let visit = (next, history.succeeds(*case), *case, is_success);
                    visits.entry(place).or_default().push(visit);
                }
            }
        }
    }
    visits
}

/// Each step that was taken often enough beside all others.
fn held(history: &History<'_>, visits: &[Visit], order: usize) -> Vec<Suggestion> {
    let steps: BTreeSet<u32> = visits.iter().map(|visit| visit.0).collect();
    let of = |step: u32| {
        let outcome = |visit: &Visit| f64::from(u8::from(visit.1));
        let (with, without): (Vec<&Visit>, Vec<&Visit>) =
            visits.iter().partition(|visit| visit.0 == step);
        // To succeed is no way to succeed.
        if step == history.end()
            || with.iter().any(|visit| visit.3)
            || with.len().min(without.len()) < STEP_LEAST
        {
            return None;
        }
        let values = |of: &[&Visit]| of.iter().map(|visit| outcome(visit)).collect::<Vec<f64>>();
        let (a, b) = (values(&without), values(&with));
        // Values are two: the test is Fisher's.
        let p = apart(&[(&a, &b)])?.p;
        let tried = b.iter().map(|of| Tried { trials: 1, successes: u64::from(*of > 0.0) });
        let rate = rate(tried)?;
        let mut examples: Vec<u32> =
            with.iter().filter(|visit| visit.1).map(|visit| visit.2).collect();
        examples.sort_by_key(|case| (std::cmp::Reverse(history.ends_us(*case)), *case));
        examples.truncate(EXAMPLES);
        Some(Suggestion {
            step,
            order,
            cases: b.len() as u64,
            success: rate.rate,
            lower: rate.lower,
            upper: rate.upper,
            otherwise_cases: a.len() as u64,
            otherwise: a.iter().sum::<f64>() / a.len() as f64,
            p,
            examples,
        })
    };
    steps.into_iter().filter_map(of).collect()
}
