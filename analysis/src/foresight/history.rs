//! What was known of cases after each of their events, and what came of it.

use super::ending::{Ending, State};
use crate::process::{Event, Log, Trace};

/// Activities that are told apart, the most frequent ones; the others are one.
pub const CLASSES_MAX: usize = 200;
/// What the others are called.
pub const OTHERS: &str = "(others)";
/// Stands for the places before the first event of a case.
pub(super) const BEFORE: u32 = u32::MAX;

/// A case after some of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The case, a number of the log's.
    pub case: u32,
    /// Its events, at least one.
    pub length: u32,
    /// The class of what comes next, [`History::end`] where nothing does.
    pub next: u32,
    /// From the last of these events to the end of the case.
    pub remaining_us: i64,
    /// Whether the case succeeds; none where that is not asked, or has happened by now.
    pub success: Option<bool>,
}

/// A log, whose activities have numbers in the order of their names.
#[derive(Debug)]
pub struct History<'a> {
    /// The cases.
    pub traces: Vec<Trace<'a>>,
    /// When they have ended.
    pub ending: Ending,
    /// Whether marks say which cases succeed.
    pub has_outcome: bool,
    /// Names of the classes, in order.
    names: Vec<String>,
    /// The class of each activity.
    classes: Vec<u32>,
    /// How many events there are of a case when it has succeeded; none where it does not.
    succeeds: Vec<Option<u32>>,
}

impl<'a> History<'a> {
    /// Of a log, whose marked events say which cases succeed, if that is asked.
    pub fn new(log: &'a Log, ending: Ending, has_outcome: bool) -> Self {
        let mut counts = vec![0u64; log.activities.len()];
        for activity in log.traces().flat_map(|trace| trace.events).map(|event| event.activity) {
            if let Some(count) = counts.get_mut(activity as usize) {
                *count += 1;
            }
        }
        let name = |number: &u32| log.activities.text(*number);
        let mut all: Vec<u32> = (0..).take(counts.len()).collect();
        let count = |number: &u32| counts.get(*number as usize).copied().unwrap_or(0);
        all.sort_by(|a, b| count(b).cmp(&count(a)).then_with(|| name(a).cmp(name(b))));
        let has_others = all.len() > CLASSES_MAX;
        all.truncate(CLASSES_MAX);
        all.sort_by(|a, b| name(a).cmp(name(b)));
        let mut names: Vec<String> = all.iter().map(|number| name(number).to_owned()).collect();
        let others = u32::try_from(names.len()).unwrap_or(u32::MAX);
        names.extend(has_others.then(|| OTHERS.to_owned()));
        let mut classes = vec![others; counts.len()];
        for (class, number) in (0..).zip(&all) {
            classes[*number as usize] = class;
        }
        let traces: Vec<Trace<'a>> = log.traces().collect();
        let mark = |trace: &Trace<'_>| {
            let place = trace.events.iter().position(|event| event.is_marked)?;
            u32::try_from(place + 1).ok()
        };
        let succeeds = traces.iter().map(mark).collect();
        Self { traces, ending, has_outcome, names, classes, succeeds }
    }

    /// How many classes there are, without the end.
    pub fn classes(&self) -> usize {
        self.names.len()
    }

    /// The class that stands for the end of a case.
    pub fn end(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// The name of a class; none of the end.
    pub fn name(&self, class: u32) -> Option<&str> {
        self.names.get(class as usize).map(String::as_str)
    }

    /// The class of an event.
    pub fn class(&self, event: &Event) -> u32 {
        self.classes.get(event.activity as usize).copied().unwrap_or_default()
    }

    /// The events of a case.
    pub fn events(&self, case: u32) -> &'a [Event] {
        self.traces.get(case as usize).map_or(&[], |trace| trace.events)
    }

    /// The first so many events of a case.
    pub fn first(&self, case: u32, length: u32) -> &'a [Event] {
        let events = self.events(case);
        events.get(..length as usize).unwrap_or(events)
    }

    /// When a case begins.
    pub fn begins_us(&self, case: u32) -> i64 {
        self.traces.get(case as usize).map_or(0, Trace::started_us)
    }

    /// When its last event is done.
    pub fn ends_us(&self, case: u32) -> i64 {
        self.traces.get(case as usize).map_or(0, Trace::ended_us)
    }

    /// Whether a case has succeeded by one of its first so many events.
    pub fn has_succeeded(&self, case: u32, length: u32) -> bool {
        let place = self.succeeds.get(case as usize).copied().flatten();
        place.is_some_and(|place| place <= length)
    }

    /// Whether a case succeeds.
    pub fn succeeds(&self, case: u32) -> bool {
        self.has_succeeded(case, u32::MAX)
    }

    /// The cases in a state.
    pub fn cases(&self, state: State) -> Vec<u32> {
        let of = self.traces.iter().filter(|trace| self.ending.state(trace) == state);
        of.map(|trace| trace.case).collect()
    }

    /// What was known of cases that have ended. After a final activity nothing is asked, since cases that go on never stand there.
    pub fn prefixes(&self, cases: &[u32]) -> Vec<Prefix> {
        cases.iter().flat_map(|case| self.prefixes_of(*case)).collect()
    }

    fn prefixes_of(&self, case: u32) -> impl Iterator<Item = Prefix> + use<'_, 'a> {
        let events = self.events(case);
        let ends_us = self.ends_us(case);
        let succeeds = self.succeeds(case);
        (1u32..).zip(events).filter(|(_, event)| !self.ending.is_final(event.activity)).map(
            move |(length, event)| Prefix {
                case,
                length,
                next: events.get(length as usize).map_or(self.end(), |next| self.class(next)),
                remaining_us: ends_us - event.ended_us,
                success: (self.has_outcome && !self.has_succeeded(case, length))
                    .then_some(succeeds),
            },
        )
    }

    /// The classes of the last `N` of the first so many events of a case, the last one first.
    pub(super) fn last<const N: usize>(&self, case: u32, length: u32) -> [u32; N] {
        let mut last = [BEFORE; N];
        let events = self.first(case, length).iter().rev();
        last.iter_mut().zip(events).for_each(|(to, event)| *to = self.class(event));
        last
    }
}
