//! Which activity directly follows which.

use super::log::{Log, Trace};
use super::span::Spans;

/// An activity that directly follows another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The first, a number of [`Log::activities`].
    pub from: u32,
    /// The one after it.
    pub to: u32,
    /// How often.
    pub count: u64,
    /// In how many cases.
    pub cases: u64,
    /// How often the second began before the first had ended: then nothing waits.
    pub overlaps: u64,
    /// How long the second waits for after the first.
    pub waiting: Spans,
}

/// What is done in cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activity {
    /// A number of [`Log::activities`].
    pub activity: u32,
    /// How often it is done.
    pub count: u64,
    /// In how many cases.
    pub cases: u64,
    /// Cases that begin with it.
    pub starts: u64,
    /// Cases that end with it.
    pub ends: u64,
    /// How often it is done directly after itself.
    pub loops: u64,
    /// How often it is done once more in a case, after something else.
    pub returns: u64,
    /// How long it takes.
    pub working: Spans,
}

/// Work that goes from one to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HandOver {
    /// From whom, a number of [`Log::resources`].
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// How often.
    pub count: u64,
    /// In how many cases.
    pub cases: u64,
    /// How long it waits between them.
    pub waiting: Spans,
}

/// The directly-follows graph of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// By their number.
    pub activities: Vec<Activity>,
    /// By the first, then by the second.
    pub edges: Vec<Edge>,
    /// The same of who did it, where both are known and are not the same.
    pub hand_overs: Vec<HandOver>,
}

/// Something that happened between two numbers in a case.
struct Between {
    key: (u32, u32),
    case: u32,
    waiting_us: i64,
}

/// What happened between the same two.
struct Pair {
    key: (u32, u32),
    count: u64,
    cases: u64,
    overlaps: u64,
    waiting: Spans,
}

impl Graph {
    /// Of a log.
    pub fn of(log: &Log) -> Self {
        let names = log.activities.len();
        let mut found: Vec<Activity> = (0..names)
            .map(|at| Activity {
                activity: u32::try_from(at).unwrap_or(u32::MAX),
                count: 0,
                cases: 0,
                starts: 0,
                ends: 0,
                loops: 0,
                returns: 0,
                working: Spans::default(),
            })
            .collect();
        let mut working: Vec<Vec<i64>> = vec![Vec::new(); names];
        let mut last_case = vec![None; names];
        let (mut follows, mut hands) = (Vec::new(), Vec::new());
        for trace in log.traces() {
            count(&trace, &mut found, &mut last_case);
            for event in trace.events {
                if let Some(working) = working.get_mut(event.activity as usize) {
                    working.push(event.working_us());
                }
            }
            for pair in trace.events.windows(2) {
                let [before, after] = pair else { continue };
                let (case, waiting_us) = (trace.case, after.waiting_us(before));
                follows.push(Between { key: (before.activity, after.activity), case, waiting_us });
                if let (Some(from), Some(to)) = (before.resource, after.resource)
                    && from != to
                {
                    hands.push(Between { key: (from, to), case, waiting_us });
                }
            }
        }
        for (activity, working) in found.iter_mut().zip(&mut working) {
            activity.working = Spans::of(working);
        }
        let edge = |Pair { key: (from, to), count, cases, overlaps, waiting }| Edge {
            from,
            to,
            count,
            cases,
            overlaps,
            waiting,
        };
        let hand_over = |Pair { key: (from, to), count, cases, waiting, .. }| HandOver {
            from,
            to,
            count,
            cases,
            waiting,
        };
        Self {
            activities: found,
            edges: pairs(follows).map(edge).collect(),
            hand_overs: pairs(hands).map(hand_over).collect(),
        }
    }
}

/// Counts what is done in a case.
fn count(trace: &Trace<'_>, found: &mut [Activity], last_case: &mut [Option<u32>]) {
    let mut before = None;
    for (at, activity) in trace.activities().enumerate() {
        let place = activity as usize;
        let (Some(own), Some(last)) = (found.get_mut(place), last_case.get_mut(place)) else {
            continue;
        };
        own.count += 1;
        own.starts += u64::from(at == 0);
        own.ends += u64::from(at + 1 == trace.events.len());
        let is_again = *last == Some(trace.case);
        let is_loop = before == Some(activity);
        own.cases += u64::from(!is_again);
        own.loops += u64::from(is_loop);
        own.returns += u64::from(is_again && !is_loop);
        *last = Some(trace.case);
        before = Some(activity);
    }
}

/// The same two together, in their order.
fn pairs(mut between: Vec<Between>) -> impl Iterator<Item = Pair> {
    between.sort_unstable_by_key(|one| (one.key, one.case));
    let same = |a: &Between, b: &Between| a.key == b.key;
    let pairs: Vec<Pair> = between
        .chunk_by(same)
        .filter_map(|of| {
            let mut waiting: Vec<i64> = of.iter().map(|one| one.waiting_us.max(0)).collect();
            Some(Pair {
                key: of.first()?.key,
                count: of.len() as u64,
                cases: of.chunk_by(|a, b| a.case == b.case).count() as u64,
                overlaps: of.iter().filter(|one| one.waiting_us < 0).count() as u64,
                waiting: Spans::of(&mut waiting),
            })
        })
        .collect();
    pairs.into_iter()
}
