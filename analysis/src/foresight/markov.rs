//! What mostly came after the same last activities.

use std::collections::{BTreeMap, HashMap};

use super::history::{History, Prefix};

/// Last activities that are looked at, at most.
pub const ORDER_MAX: usize = 3;
/// A place that was seen less often gives way to one of fewer last activities.
const SEEN_LEAST: usize = 5;
/// Stands for an activity that is not looked at.
const ANY: u32 = u32::MAX - 1;

/// The last activities of a case, the last one first.
pub(super) type Place = [u32; ORDER_MAX];

/// A place by its last `order` activities.
pub(super) fn of_order(mut place: Place, order: usize) -> Place {
    place.iter_mut().skip(order).for_each(|of| *of = ANY);
    place
}

/// What came after a place.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// How often each class came next.
    next: BTreeMap<u32, u64>,
    /// How long cases went on, sorted.
    remaining_us: Vec<i64>,
    /// Cases of which it is known whether they succeed, and those that do.
    outcomes: (u64, u64),
}

/// Counts of what came after the last activities, none to three of them.
#[derive(Clone, Debug)]
pub struct Markov {
    places: HashMap<Place, Seen>,
}

impl Markov {
    /// Of what was known of cases that have ended.
    pub fn fit(history: &History<'_>, prefixes: &[Prefix]) -> Self {
        let mut places: HashMap<Place, Seen> = HashMap::new();
        for prefix in prefixes {
            let place = history.last(prefix.case, prefix.length);
            for order in 0..=ORDER_MAX {
                let seen = places.entry(of_order(place, order)).or_default();
                *seen.next.entry(prefix.next).or_default() += 1;
                seen.remaining_us.push(prefix.remaining_us);
                if let Some(success) = prefix.success {
                    seen.outcomes.0 += 1;
                    seen.outcomes.1 += u64::from(success);
                }
            }
        }
        places.values_mut().for_each(|seen| seen.remaining_us.sort_unstable());
        Self { places }
    }

    /// What was seen at the place of a case by at most `order` last activities, often enough.
    fn seen(
        &self,
        history: &History<'_>,
        (case, length): (u32, u32),
        order: usize,
        count: impl Fn(&Seen) -> usize,
    ) -> Option<&Seen> {
        let place = history.last(case, length);
        let known = |order: usize| self.places.get(&of_order(place, order));
        let often = (1..=order).rev().filter_map(known).find(|seen| count(seen) >= SEEN_LEAST);
        often.or_else(|| known(0)).filter(|seen| count(seen) > 0)
    }

    /// The most frequent next class after the first events of a case, and its share; of as many the first by name.
    pub fn next(&self, history: &History<'_>, at: (u32, u32), order: usize) -> Option<(u32, f64)> {
        let seen = self.seen(history, at, order, |seen| seen.remaining_us.len())?;
        // The last of the largest, so from the last class to the first.
        let (class, count) = seen.next.iter().rev().max_by_key(|(_, count)| **count)?;
        Some((*class, *count as f64 / seen.remaining_us.len() as f64))
    }

    /// The median of how long cases went on.
    pub fn remaining_us(&self, history: &History<'_>, at: (u32, u32), order: usize) -> Option<f64> {
        let of = &self.seen(history, at, order, |seen| seen.remaining_us.len())?.remaining_us;
        let at = |place: usize| of.get(place).map(|value| *value as f64);
        let half = of.len() / 2;
        match of.len() % 2 {
            1 => at(half),
            _ => Some((at(half.checked_sub(1)?)? + at(half)?) / 2.0),
        }
    }

    /// The share of cases that succeeded.
    pub fn success(&self, history: &History<'_>, at: (u32, u32), order: usize) -> Option<f64> {
        let seen = self.seen(history, at, order, |seen| seen.outcomes.0 as usize)?;
        Some(seen.outcomes.1 as f64 / seen.outcomes.0 as f64)
    }
}
