//! Which cases have ended.

use std::collections::HashSet;

use crate::process::{Event, Log, Trace};

/// An activity is final where in at least this part of its occurrences nothing else comes after it.
const FINAL_SHARE: f64 = 0.95;
/// Occurrences below which nothing is said of an activity.
const FINAL_LEAST: u64 = 5;
/// Final activities must end at least this part of the quiet cases; else cases end by being quiet.
const ENDED_SHARE: f64 = 0.5;
/// Cases that are quiet, below which all cases are read: a log may end soon after its cases.
const QUIET_LEAST: u64 = 20;
/// Of the longest waits of cases, what this part of them is not above is usual.
const USUAL: f64 = 0.95;

/// By what a case is known to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its last activity is one of those that were named.
    Given,
    /// Its last activity is one after which hardly anything else came in cases that are quiet.
    Learned,
    /// Nothing came for longer than usual; there are no such activities.
    Quiet,
}

/// How a case stands at the last instant of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has ended.
    Ended,
    /// It goes on.
    Open,
    /// It has not ended, and nothing came for longer than usual.
    Abandoned,
}

/// When cases have ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// By what that is known.
    pub rule: Rule,
    /// Activities that end cases.
    pub finals: HashSet<u32>,
    /// The longest usual wait between two events of a case, from end to end: 95 % of the cases have no longer one.
    pub quiet_us: i64,
    /// The last instant of the log.
    pub last_us: i64,
}

impl Ending {
    /// By these final activities; where none are told, by those that the log shows.
    pub fn of(log: &Log, given: Option<HashSet<u32>>) -> Self {
        let last_us = log.traces().map(|trace| trace.ended_us()).max().unwrap_or_default();
        let mut ending = Self {
            rule: Rule::Given,
            finals: HashSet::new(),
            quiet_us: usual_wait_us(log),
            last_us,
        };
        match given {
            Some(finals) => ending.finals = finals,
            None => ending.learn(log),
        }
        ending
    }

    fn learn(&mut self, log: &Log) {
        let quiet = log.traces().filter(|trace| self.is_quiet(trace)).count() as u64;
        if quiet < QUIET_LEAST && self.learn_by_waits(log) {
            return;
        }
        self.learn_of_quiet(log);
    }

    /// Learns from all cases. A case has stopped if nothing followed for longer than 95 % of the other
    /// occurrences of its last activity waited.
    fn learn_by_waits(&mut self, log: &Log) -> bool {
        let mut of_activities = vec![OfActivity::default(); log.activities.len()];
        for trace in log.traces() {
            let last = trace.events.last().map(|last| last.activity);
            let mut next: Option<&Event> = None;
            for event in trace.events.iter().rev() {
                let Some(of) = of_activities.get_mut(event.activity as usize) else { continue };
                match next.filter(|next| next.activity != event.activity) {
                    Some(next) => of.waits.push(next.ended_us.saturating_sub(event.ended_us)),
                    // The last, and repetitions of it.
                    None if Some(event.activity) == last && next.is_none() => {
                        of.stopped.push(self.last_us.saturating_sub(event.ended_us));
                    }
                    None => {}
                }
                next = Some(event);
            }
        }
        let (mut cases, mut ended) = (0, 0);
        for (number, of) in (0..).zip(&mut of_activities) {
            let stopped = of.stopped();
            cases += stopped;
            let all = stopped + of.waits.len() as u64;
            if stopped >= FINAL_LEAST && stopped as f64 >= FINAL_SHARE * all as f64 {
                self.finals.insert(number);
                ended += stopped;
            }
        }
        let is_learned = ended > 0 && ended as f64 >= ENDED_SHARE * cases as f64;
        match is_learned {
            true => self.rule = Rule::Learned,
            false => self.finals.clear(),
        }
        is_learned
    }

    /// The activities that cases stop after most often, with the number of cases.
    pub fn candidates(log: &Log, most: usize) -> Vec<(u32, u64)> {
        let mut counts = vec![0_u64; log.activities.len()];
        for last in log.traces().filter_map(|trace| trace.events.last().map(|last| last.activity)) {
            if let Some(count) = counts.get_mut(last as usize) {
                *count += 1;
            }
        }
        let mut found: Vec<(u32, u64)> =
            (0..).zip(counts).filter(|(_, count)| *count > 0).collect();
        found.sort_by_key(|(number, count)| (std::cmp::Reverse(*count), *number));
        found.truncate(most);
        found
    }

    fn learn_of_quiet(&mut self, log: &Log) {
        // Of each activity how often it is there, and how often nothing else comes after it.
        let mut counts = vec![(0u64, 0u64); log.activities.len()];
        let (mut cases, mut lasts) = (0u64, vec![0u64; counts.len()]);
        for trace in log.traces().filter(|trace| self.is_quiet(trace)) {
            cases += 1;
            let last = trace.events.last().map(|last| last.activity);
            if let Some(count) = last.and_then(|last| lasts.get_mut(last as usize)) {
                *count += 1;
            }
            let mut is_end = true;
            for event in trace.events.iter().rev() {
                // What is done again and nothing else, such as its start and its end, ends a case, too.
                is_end &= Some(event.activity) == last;
                if let Some(count) = counts.get_mut(event.activity as usize) {
                    count.0 += 1;
                    count.1 += u64::from(is_end);
                }
            }
        }
        let is_final = |(all, last): &(u64, u64)| {
            *all >= FINAL_LEAST && *last as f64 >= FINAL_SHARE * *all as f64
        };
        let ended = counts.iter().zip(&lasts).filter(|(count, _)| is_final(count));
        let ended: u64 = ended.map(|(_, last)| last).sum();
        if ended > 0 && ended as f64 >= ENDED_SHARE * cases as f64 {
            let finals = (0..).zip(&counts).filter(|(_, count)| is_final(count));
            (self.rule, self.finals) = (Rule::Learned, finals.map(|(number, _)| number).collect());
        } else {
            self.rule = Rule::Quiet;
        }
    }

    /// Whether nothing came of a case for longer than usual.
    fn is_quiet(&self, trace: &Trace<'_>) -> bool {
        self.last_us.saturating_sub(trace.ended_us()) > self.quiet_us
    }

    /// Whether an activity ends a case.
    pub fn is_final(&self, activity: u32) -> bool {
        self.finals.contains(&activity)
    }

    /// How a case stands.
    pub fn state(&self, trace: &Trace<'_>) -> State {
        let has_ended = match self.rule {
            Rule::Quiet => self.is_quiet(trace),
            _ => trace.events.last().is_some_and(|last| self.is_final(last.activity)),
        };
        match (has_ended, self.is_quiet(trace)) {
            (true, _) => State::Ended,
            (false, true) => State::Abandoned,
            (false, false) => State::Open,
        }
    }
}

/// What followed an activity.
#[derive(Clone, Debug, Default)]
struct OfActivity {
    /// Times to the next event of another activity.
    waits: Vec<i64>,
    /// Times to the end of the log, of the last events of cases.
    stopped: Vec<i64>,
}

impl OfActivity {
    /// Cases that stopped after it.
    fn stopped(&mut self) -> u64 {
        self.waits.sort_unstable();
        let place = (USUAL * self.waits.len() as f64).ceil() as usize;
        let usual = self.waits.get(place.saturating_sub(1)).copied().unwrap_or_default();
        self.stopped.iter().filter(|since| **since > usual).count() as u64
    }
}

/// The longest wait of a case that is usual; 0 where no case has two events.
fn usual_wait_us(log: &Log) -> i64 {
    let longest = |trace: Trace<'_>| {
        let waits = trace.events.windows(2).map(|pair| pair[1].ended_us - pair[0].ended_us);
        waits.max()
    };
    let mut waits: Vec<i64> = log.traces().filter_map(longest).collect();
    waits.sort_unstable();
    let place = (USUAL * waits.len() as f64).ceil() as usize;
    waits.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
