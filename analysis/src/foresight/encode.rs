//! What is known of a case as numbers.

use std::collections::HashMap;
use std::f64::consts::TAU;

use super::history::{BEFORE, History, Prefix};

/// Last activities that are told one by one.
const LAST: usize = 8;
/// Events back to which activities are counted.
const COUNTED: usize = 256;
/// Who does most, and is told apart.
const RESOURCES: usize = 20;
/// Numbers beside those of activities and of who did it: place, time since the start and the last event, hour, weekday.
const OTHER: usize = 7;
const SECOND_US: f64 = 1e6;
const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Days of a log from which on the hour says something, and the weekday: of those that were never seen a network says anything.
const HOURS_DAYS: i64 = 7;
const WEEK_DAYS: i64 = 28;

/// Makes numbers of what is known.
#[derive(Clone, Debug)]
pub struct Encoder {
    classes: usize,
    /// The column of each of those who do most.
    resources: HashMap<u32, usize>,
    since_start_us: f64,
    since_last_us: f64,
    remaining_us: f64,
    remaining_max_us: f64,
    /// From the first to the last event that is learned from.
    span_us: i64,
}

impl Encoder {
    /// By what was known of the cases that are learned from: their units of time, and who does most.
    pub fn of(history: &History<'_>, prefixes: &[Prefix]) -> Self {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        let (mut since_start, mut since_last, mut remaining) = (Vec::new(), Vec::new(), Vec::new());
        let (mut first_us, mut end_us) = (i64::MAX, i64::MIN);
        for prefix in prefixes {
            let (start_us, last_us) = spans(history, prefix.case, prefix.length);
            since_start.push(start_us);
            since_last.push(last_us);
            remaining.push(prefix.remaining_us);
            let Some(last) = history.first(prefix.case, prefix.length).last() else { continue };
            (first_us, end_us) = (first_us.min(last.ended_us), end_us.max(last.ended_us));
            if let Some(resource) = last.resource {
                *counts.entry(resource).or_default() += 1;
            }
        }
        let mut most: Vec<(u32, u64)> = counts.into_iter().collect();
        most.sort_by_key(|(resource, count)| (std::cmp::Reverse(*count), *resource));
        let resources = most.iter().take(RESOURCES).zip(0..).map(|(of, column)| (of.0, column));
        let remaining_max_us = remaining.iter().copied().max().unwrap_or(0) as f64;
        Self {
            classes: history.classes(),
            resources: resources.collect(),
            since_start_us: unit_us(&mut since_start),
            since_last_us: unit_us(&mut since_last),
            remaining_us: unit_us(&mut remaining),
            remaining_max_us,
            span_us: end_us.saturating_sub(first_us),
        }
    }

    /// How many numbers there are of a case.
    pub fn columns(&self) -> usize {
        (LAST + 1) * self.classes + RESOURCES + OTHER
    }

    /// What is known of a case after its first events, into as many zeros as there are columns.
    pub fn encode(&self, history: &History<'_>, (case, length): (u32, u32), to: &mut [f32]) {
        let events = history.first(case, length);
        let Some(last) = events.last() else { return };
        let mut put = |column: usize, value: f64| {
            if let Some(place) = to.get_mut(column) {
                *place = value as f32;
            }
        };
        for (back, class) in history.last::<LAST>(case, length).into_iter().enumerate() {
            if class != BEFORE {
                put(back * self.classes + class as usize, 1.0);
            }
        }
        let mut counts = vec![0u32; self.classes];
        for event in events.iter().rev().take(COUNTED) {
            if let Some(count) = counts.get_mut(history.class(event) as usize) {
                *count += 1;
            }
        }
        let mut column = LAST * self.classes;
        for count in counts {
            put(column, f64::from(count).ln_1p());
            column += 1;
        }
        if let Some(place) = last.resource.and_then(|resource| self.resources.get(&resource)) {
            put(column + place, 1.0);
        }
        column += RESOURCES;
        let (start_us, wait_us) = spans(history, case, length);
        let turn = |of: i64, length: i64| TAU * of.rem_euclid(length) as f64 / length as f64;
        let (hour, week) = (turn(last.ended_us, DAY_US), turn(last.ended_us, 7 * DAY_US));
        let seen = |days: i64| f64::from(u8::from(self.span_us >= days * DAY_US));
        let (of_hour, of_week) = (seen(HOURS_DAYS), seen(WEEK_DAYS));
        let other: [f64; OTHER] = [
            f64::from(length).ln_1p() / 2.0,
            (start_us as f64 / self.since_start_us).ln_1p(),
            (wait_us as f64 / self.since_last_us).ln_1p(),
            of_hour * hour.sin(),
            of_hour * hour.cos(),
            of_week * week.sin(),
            of_week * week.cos(),
        ];
        for value in other {
            put(column, value);
            column += 1;
        }
    }

    /// How long a case goes on as the network learns it: the logarithm of one more than that many usual times.
    pub fn remaining(&self, remaining_us: i64) -> f32 {
        (remaining_us.max(0) as f64 / self.remaining_us).ln_1p() as f32
    }

    /// The time that the network means, from none to the longest that was seen.
    pub fn remaining_us(&self, answer: f32) -> f64 {
        let of = f64::from(answer).exp_m1() * self.remaining_us;
        if of.is_finite() { of.clamp(0.0, self.remaining_max_us) } else { self.remaining_max_us }
    }
}

/// From the start of a case, and from the event before, to the last of its first events.
fn spans(history: &History<'_>, case: u32, length: u32) -> (i64, i64) {
    let events = history.first(case, length);
    let Some((last, before)) = events.split_last() else { return (0, 0) };
    let since_last = before.last().map_or(0, |before| last.ended_us - before.ended_us);
    // Later events may have begun before: what is known now is what has ended.
    let start_us = events.first().map_or(0, |first| first.started_us);
    ((last.ended_us - start_us).max(0), since_last)
}

/// The median, a second at least.
fn unit_us(of: &mut [i64]) -> f64 {
    let half = of.len() / 2;
    let median = if of.is_empty() { 0 } else { *of.select_nth_unstable(half).1 };
    (median as f64).max(SECOND_US)
}
