//! Discovers a model from what was done: the inductive miner (Leemans, Fahland & van der Aalst, "Discovering Block-Structured
//! Process Models from Event Logs", Petri Nets 2013).
//!
//! A log is cut into smaller ones, and these again, until each is of one activity:
//!
//! ```text
//!   exclusive   groups of activities that never follow one another
//!   sequence    groups of which each is reached from those before, and never the other way round
//!   parallel    groups of which each activity follows each of another group's directly, both ways
//!   loop        what all cases begin and end with, and what leads from its end back to its start
//! ```
//!
//! Where a log can't be cut, something more general takes its place that still lets all of it happen: an activity that is done
//! once in each case, or one without which the rest can be cut, goes on beside the rest; what begins again is a loop; and if all
//! of that fails, everything may follow everything. So what the model allows has every case of the log in it.
//!
//! Cost: for each block, its events and the cube of its activities; for one that can't be cut, as often as it has activities.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::log::Log;
use super::tree::{Operator, Tree};
use super::variant::Variant;

/// Blocks within blocks; what is deeper may follow in any order.
const DEPTH_MAX: usize = 200;

/// Ways that cases take, each with how many cases take it.
type Ways = BTreeMap<Vec<u32>, u64>;
type Group = BTreeSet<u32>;

/// The model of a log.
pub fn discover(log: &Log) -> Tree {
    let mut ways = Ways::new();
    for trace in log.traces() {
        *ways.entry(trace.activities().collect()).or_default() += 1;
    }
    mined(&ways, 0, &|| false)
}

/// The model of some of the ways that cases take. Once `stop` says so it ends with one that allows everything.
pub fn discover_among<'a>(
    variants: impl IntoIterator<Item = &'a Variant>,
    stop: &dyn Fn() -> bool,
) -> Tree {
    let of = |variant: &Variant| (variant.activities.clone(), variant.cases.len() as u64);
    mined(&variants.into_iter().map(of).collect(), 0, stop)
}

fn mined(ways: &Ways, depth: usize, stop: &dyn Fn() -> bool) -> Tree {
    let is_done = |ways: &Ways| ways.keys().any(|way| !way.is_empty());
    if !is_done(ways) {
        return Tree::Silent;
    }
    if ways.contains_key([].as_slice()) {
        let mut rest = ways.clone();
        rest.remove([].as_slice());
        return Tree::Block(Operator::Exclusive, vec![Tree::Silent, mined(&rest, depth + 1, stop)]);
    }
    let follows = Follows::of(ways);
    if let ([activity], true) = (&follows.alphabet[..], ways.keys().all(|way| way.len() == 1)) {
        return Tree::Activity(*activity);
    }
    if depth >= DEPTH_MAX || stop() {
        return flower(&follows.alphabet);
    }
    let block = |operator, logs: Vec<Ways>| {
        Tree::Block(operator, logs.iter().map(|ways| mined(ways, depth + 1, stop)).collect())
    };
    if let Some((operator, groups)) = cut(&follows) {
        return block(operator, split(ways, operator, &groups));
    }
    if let Some(activity) = once_in_each(ways, &follows.alphabet) {
        let rest = projected(ways, |of| of != activity);
        return Tree::Block(
            Operator::Parallel,
            vec![Tree::Activity(activity), mined(&rest, depth + 1, stop)],
        );
    }
    for &activity in &follows.alphabet {
        if stop() {
            break;
        }
        let rest = projected(ways, |of| of != activity);
        let others = Follows::of(&rest);
        if others.alphabet.len() > 1 && cut(&others).is_some() {
            let own = projected(ways, |of| of == activity);
            return block(Operator::Parallel, vec![own, rest]);
        }
    }
    for is_strict in [true, false] {
        let begun = begun_again(ways, &follows, is_strict);
        if begun.values().sum::<u64>() > ways.values().sum::<u64>() {
            return Tree::Block(Operator::Loop, vec![mined(&begun, depth + 1, stop), Tree::Silent]);
        }
    }
    flower(&follows.alphabet)
}

/// Anything, as often as it takes.
fn flower(alphabet: &[u32]) -> Tree {
    let again = alphabet.iter().map(|activity| Tree::Activity(*activity));
    Tree::Block(Operator::Loop, std::iter::once(Tree::Silent).chain(again).collect())
}

/// What directly follows what.
struct Follows {
    alphabet: Vec<u32>,
    /// By place in the alphabet.
    places: HashMap<u32, usize>,
    /// Of each place, those that directly follow.
    after: Vec<BTreeSet<usize>>,
    before: Vec<BTreeSet<usize>>,
    starts: BTreeSet<usize>,
    ends: BTreeSet<usize>,
}

impl Follows {
    fn of(ways: &Ways) -> Self {
        let alphabet: BTreeSet<u32> = ways.keys().flatten().copied().collect();
        let alphabet: Vec<u32> = alphabet.into_iter().collect();
        let places: HashMap<u32, usize> =
            alphabet.iter().enumerate().map(|(place, activity)| (*activity, place)).collect();
        let none = || vec![BTreeSet::new(); alphabet.len()];
        let (mut after, mut before) = (none(), none());
        let (mut starts, mut ends) = (BTreeSet::new(), BTreeSet::new());
        for way in ways.keys() {
            starts.extend(way.first().map(|first| places[first]));
            ends.extend(way.last().map(|last| places[last]));
            for pair in way.windows(2) {
                let (from, to) = (places[&pair[0]], places[&pair[1]]);
                after[from].insert(to);
                before[to].insert(from);
            }
        }
        Self { alphabet, places, after, before, starts, ends }
    }

    fn len(&self) -> usize {
        self.alphabet.len()
    }

    /// What can be reached from each by one step or more.
    fn reached(&self) -> Vec<Vec<bool>> {
        (0..self.len())
            .map(|from| {
                let mut reached = vec![false; self.len()];
                let mut next: Vec<usize> = self.after[from].iter().copied().collect();
                while let Some(place) = next.pop() {
                    if !reached[place] {
                        reached[place] = true;
                        next.extend(&self.after[place]);
                    }
                }
                reached
            })
            .collect()
    }

    fn named(&self, groups: Vec<BTreeSet<usize>>) -> Vec<Group> {
        let of = |group: BTreeSet<usize>| group.iter().map(|place| self.alphabet[*place]).collect();
        groups.into_iter().map(of).collect()
    }
}

/// Groups of places, those that belong together put together.
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn of(&mut self, place: usize) -> usize {
        let mut root = place;
        while self.0[root] != root {
            self.0[root] = self.0[self.0[root]];
            root = self.0[root];
        }
        root
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }

    fn all(mut self) -> Vec<BTreeSet<usize>> {
        let mut groups: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for place in 0..self.0.len() {
            let root = self.of(place);
            groups.entry(root).or_default().insert(place);
        }
        groups.into_values().collect()
    }
}

fn cut(follows: &Follows) -> Option<(Operator, Vec<Group>)> {
    let several = |groups: Vec<BTreeSet<usize>>| (groups.len() > 1).then_some(groups);
    let found = several(exclusive(follows)).map(|groups| (Operator::Exclusive, groups));
    let found = found
        .or_else(|| several(sequence(follows)).map(|groups| (Operator::Sequence, groups)))
        .or_else(|| several(parallel(follows)).map(|groups| (Operator::Parallel, groups)))
        .or_else(|| several(looped(follows)).map(|groups| (Operator::Loop, groups)));
    found.map(|(operator, groups)| (operator, follows.named(groups)))
}

fn exclusive(follows: &Follows) -> Vec<BTreeSet<usize>> {
    let mut groups = Groups::new(follows.len());
    for (from, after) in follows.after.iter().enumerate() {
        after.iter().for_each(|to| groups.join(from, *to));
    }
    groups.all()
}

/// Groups in order, those that can be left out by themselves together with what they are left out of.
fn sequence(follows: &Follows) -> Vec<BTreeSet<usize>> {
    let reached = follows.reached();
    let mut groups = Groups::new(follows.len());
    for (a, from) in reached.iter().enumerate() {
        for (b, back) in reached.iter().enumerate().skip(a + 1) {
            // Both ways, or neither.
            if from[b] == back[a] {
                groups.join(a, b);
            }
        }
    }
    // Groups that were put together may be both ways now.
    let mut groups = groups.all();
    loop {
        let leads = |from: &BTreeSet<usize>, to: &BTreeSet<usize>| {
            from.iter().any(|a| to.iter().any(|b| reached[*a][*b]))
        };
        let both = (0..groups.len()).find_map(|a| {
            let is_both =
                |b: &usize| leads(&groups[a], &groups[*b]) == leads(&groups[*b], &groups[a]);
            (a + 1..groups.len()).find(is_both).map(|b| (a, b))
        });
        let Some((a, b)) = both else { break };
        let other = groups.remove(b);
        groups[a].extend(other);
    }
    // From what reaches all others to what is reached by them.
    let behind = |group: &BTreeSet<usize>| {
        let first = group.first().copied().unwrap_or_default();
        (0..follows.len()).filter(|place| reached[*place][first] && !group.contains(place)).count()
    };
    groups.sort_by_key(behind);
    strict(follows, groups)
}

/// Puts those groups together that can only be left out together: one that can be, with those before it that lead no further than
/// to it, and those behind it that are reached from nowhere before it.
fn strict(follows: &Follows, mut groups: Vec<BTreeSet<usize>>) -> Vec<BTreeSet<usize>> {
    let count = groups.len();
    let mut group_of = vec![0; follows.len()];
    for (at, group) in groups.iter().enumerate() {
        group.iter().for_each(|place| group_of[*place] = at);
    }
    // The first group from which one comes directly, or from the start; the last to which one goes, or to the end.
    let (mut from, mut to) = (vec![count as i64; count], vec![-1i64; count]);
    for place in &follows.starts {
        from[group_of[*place]] = -1;
    }
    for place in &follows.ends {
        to[group_of[*place]] = count as i64;
    }
    for (place, after) in follows.after.iter().enumerate() {
        for next in after {
            let (a, b) = (group_of[place], group_of[*next]);
            from[b] = from[b].min(a as i64);
            to[a] = to[a].max(b as i64);
        }
    }
    let is_left_out = |at: usize| {
        to[..at].iter().any(|to| *to > at as i64)
            || from[at + 1..].iter().any(|from| *from < at as i64)
    };
    for at in (0..count).filter(|at| is_left_out(*at)) {
        let mut other = at;
        while other > 0 && to[other - 1] <= at as i64 {
            other -= 1;
            let joined = std::mem::take(&mut groups[other]);
            groups[at].extend(joined);
        }
        let mut other = at + 1;
        while other < count && from[other] >= at as i64 {
            let joined = std::mem::take(&mut groups[other]);
            groups[at].extend(joined);
            other += 1;
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

fn parallel(follows: &Follows) -> Vec<BTreeSet<usize>> {
    let mut groups = Groups::new(follows.len());
    for a in 0..follows.len() {
        for b in a + 1..follows.len() {
            if !(follows.after[a].contains(&b) && follows.after[b].contains(&a)) {
                groups.join(a, b);
            }
        }
    }
    let mut groups = groups.all();
    groups.sort_by_key(BTreeSet::len);
    // Each can begin and end a case.
    let mut at = 0;
    while at < groups.len() && groups.len() > 1 {
        let is_whole =
            !groups[at].is_disjoint(&follows.starts) && !groups[at].is_disjoint(&follows.ends);
        if is_whole {
            at += 1;
            continue;
        }
        let group = groups.remove(at);
        let to = at.saturating_sub(1);
        groups[to].extend(group);
    }
    groups
}

/// What all begin and end with first, and then what leads from its end back to its start.
fn looped(follows: &Follows) -> Vec<BTreeSet<usize>> {
    let is_edge = |place: &usize| follows.starts.contains(place) || follows.ends.contains(place);
    let mut groups = Groups::new(follows.len());
    let mut first = None;
    for place in (0..follows.len()).filter(is_edge) {
        groups.join(*first.get_or_insert(place), place);
    }
    for (from, after) in follows.after.iter().enumerate() {
        for to in after.iter().filter(|to| !is_edge(to) && !is_edge(&from)) {
            groups.join(from, *to);
        }
    }
    let (mut body, mut again) = (BTreeSet::new(), Vec::new());
    for group in groups.all() {
        match group.first().is_some_and(is_edge) {
            true => body.extend(group),
            false => again.push(group),
        }
    }
    let (starts, ends) = (&follows.starts, &follows.ends);
    let is_again = |group: &BTreeSet<usize>| {
        group.iter().all(|place| {
            let (before, after) = (&follows.before[*place], &follows.after[*place]);
            // From outside only from an end, to outside only to a start; from one of them is from all.
            let from: BTreeSet<usize> = before.difference(group).copied().collect();
            let to: BTreeSet<usize> = after.difference(group).copied().collect();
            (from.is_empty() || from == *ends) && (to.is_empty() || to == *starts)
        })
    };
    let (again, others): (Vec<_>, Vec<_>) = again.into_iter().partition(is_again);
    body.extend(others.into_iter().flatten());
    if again.is_empty() || body.is_empty() {
        return Vec::new();
    }
    std::iter::once(body).chain(again).collect()
}

fn projected(ways: &Ways, is_in: impl Fn(u32) -> bool) -> Ways {
    let mut found = Ways::new();
    for (way, count) in ways {
        let way: Vec<u32> = way.iter().copied().filter(|activity| is_in(*activity)).collect();
        *found.entry(way).or_default() += count;
    }
    found
}

/// The logs of a cut's groups.
fn split(ways: &Ways, operator: Operator, groups: &[Group]) -> Vec<Ways> {
    let is_of = |group: &Group, way: &[u32]| way.first().is_some_and(|first| group.contains(first));
    match operator {
        Operator::Exclusive => groups
            .iter()
            .map(|group| ways.iter().filter(|(way, _)| is_of(group, way)))
            .map(|own| own.map(|(way, count)| (way.clone(), *count)).collect())
            .collect(),
        Operator::Sequence | Operator::Parallel => {
            groups.iter().map(|group| projected(ways, |of| group.contains(&of))).collect()
        }
        Operator::Loop => {
            let mut logs = vec![Ways::new(); groups.len()];
            for (way, count) in ways {
                let group_of =
                    |activity: &u32| groups.iter().position(|group| group.contains(activity));
                let mut before = None;
                for part in way.chunk_by(|a, b| group_of(a) == group_of(b)) {
                    let Some(group) = part.first().and_then(group_of) else { continue };
                    // Between two that lead back nothing was done.
                    if group > 0 && before != Some(0) {
                        *logs[0].entry(Vec::new()).or_default() += count;
                    }
                    *logs[group].entry(part.to_vec()).or_default() += count;
                    before = Some(group);
                }
                if before != Some(0) {
                    *logs[0].entry(Vec::new()).or_default() += count;
                }
            }
            logs
        }
    }
}

/// The first activity that is done exactly once in each case.
fn once_in_each(ways: &Ways, alphabet: &[u32]) -> Option<u32> {
    let is_once = |activity: &&u32| {
        ways.keys().all(|way| way.iter().filter(|of| of == activity).count() == 1)
    };
    (alphabet.len() > 1).then(|| alphabet.iter().find(is_once).copied())?
}

/// Cut where it begins again: at a start behind an end, or, not strictly, at every start.
fn begun_again(ways: &Ways, follows: &Follows, is_strict: bool) -> Ways {
    let mut found = Ways::new();
    let place = |activity: &u32| follows.places[activity];
    for (way, count) in ways {
        let goes_on = |a: &u32, b: &u32| {
            let begins = follows.starts.contains(&place(b));
            !(begins && (!is_strict || follows.ends.contains(&place(a))))
        };
        for part in way.chunk_by(goes_on) {
            *found.entry(part.to_vec()).or_default() += count;
        }
    }
    found
}
