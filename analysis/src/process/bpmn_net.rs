//! Diagrams in BPMN 2.0 as nets (Dijkman, Dumas & Ouyang, 2008): what waits before a node is a place, what a node does a transition.
//!
//! ```text
//! task, event            a transition; what flows in is a choice of ways, what flows out is done side by side
//! exclusive, event-based a place; one of the ways behind it is taken
//! parallel               an unseen transition; it waits for all ways before it, and opens all behind it
//! sub-process            what is inside, between its place and the next
//! boundary event         done instead of its task
//! ends                   what is reached together is joined: a case is over when nothing is left to do
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};

use super::bpmn_in::{Kind, Node, Times};
use super::file::BadModel;
use super::net::{Net, Transition};

/// States of a process, and tokens in all of them, that are looked at to find which of its ends are reached together.
const STATES_MAX: usize = 10_000;
const TOKENS_MAX: usize = 1 << 24;

const FIRST: u32 = 0;
const LAST: u32 = 1;

/// The index of a node, and one of its transitions.
type Step = (usize, Transition);

/// The net of nodes. Those of a sub-process stand behind it.
pub(super) fn net_of(nodes: &[Node<'_, '_>]) -> Result<Net, BadModel> {
    let mut parts = Parts::of(nodes);
    let mut transitions = Vec::new();
    // What is inside comes first; from outside it is one step.
    let wholes = (0..nodes.len()).rev().filter(|at| nodes[*at].kind == Kind::SubProcess);
    for within in wholes.map(Some).chain([None]) {
        transitions.extend(parts.joins(nodes, within)?);
        let own = parts.steps.remove(&within).unwrap_or_default();
        transitions.extend(own.into_iter().map(|(_, transition)| transition));
        if let Some(at) = within {
            let (before, behind) = parts.bounds(within);
            let step = Transition { activity: None, takes: vec![before], gives: vec![behind] };
            parts.wholes.entry(nodes[at].within).or_default().push((at, step));
        }
    }
    Ok(reduced(&Net { places: parts.places, first: FIRST, last: LAST, transitions }))
}

#[derive(Default)]
struct Parts {
    places: u32,
    /// Before each node but those that wait for several ways, and behind each sub-process and what is done again.
    before: Vec<u32>,
    behind: Vec<u32>,
    /// By the sub-process that they are in, steps, sub-processes as one step each, and where its ends are reached.
    steps: HashMap<Option<usize>, Vec<Step>>,
    wholes: HashMap<Option<usize>, Vec<Step>>,
    ends: HashMap<Option<usize>, Vec<(usize, u32)>>,
}

impl Parts {
    fn of(nodes: &[Node<'_, '_>]) -> Self {
        let mut parts = Self { places: 2, ..Self::default() };
        parts.before = nodes.iter().map(|_| parts.place()).collect();
        parts.behind = nodes.iter().map(|_| parts.place()).collect();
        for (at, node) in nodes.iter().enumerate() {
            // Who alone is led to by a choice waits at the choice; so no step is needed to come to it.
            let waits_alone = matches!(node.kind, Kind::Act | Kind::SubProcess);
            if let ([from], true) = (node.from.as_slice(), waits_alone && node.times == Times::Once)
                && nodes[*from].kind == Kind::Exclusive
            {
                parts.before[at] = parts.before[*from];
            }
        }
        let mut flows: HashMap<(usize, usize), u32> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            for to in &node.to {
                let place = match (nodes[*to].kind, node.kind) {
                    (Kind::End, Kind::Exclusive) => parts.before[at],
                    (Kind::End | Kind::Parallel, _) => parts.place(),
                    _ => parts.before[*to],
                };
                flows.insert((at, *to), place);
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            let steps = parts.steps_of(node, at, &flows);
            let of = parts.steps.entry(node.within).or_default();
            of.extend(steps.into_iter().map(|step| (at, step)));
        }
        parts
    }

    fn place(&mut self) -> u32 {
        self.places += 1;
        self.places - 1
    }

    /// The first and the last place of a process or sub-process.
    fn bounds(&self, within: Option<usize>) -> (u32, u32) {
        within.map_or((FIRST, LAST), |whole| (self.before[whole], self.behind[whole]))
    }

    /// The transitions of a node. For an end, also records the place where it is reached.
    fn steps_of(
        &mut self,
        node: &Node<'_, '_>,
        at: usize,
        flows: &HashMap<(usize, usize), u32>,
    ) -> Vec<Transition> {
        let place = |from: usize, to: usize| flows.get(&(from, to)).copied();
        let out: Vec<u32> = node.to.iter().filter_map(|to| place(at, *to)).collect();
        let inward: Vec<u32> = node.from.iter().filter_map(|from| place(*from, at)).collect();
        let (before, behind) = (self.before[at], self.behind[at]);
        let step = |activity, takes, gives| Transition { activity, takes, gives };
        match node.kind {
            Kind::End => {
                let reached = inward.into_iter().map(|from| (from, self.place()));
                let reached: Vec<(u32, u32)> = reached.collect();
                let ends = self.ends.entry(node.within).or_default();
                ends.extend(reached.iter().map(|(_, to)| (at, *to)));
                let one = |(from, to)| step(node.activity, vec![from], vec![to]);
                reached.into_iter().map(one).collect()
            }
            Kind::Start => vec![step(node.activity, vec![self.bounds(node.within).0], out)],
            Kind::Boundary(task) => vec![step(node.activity, vec![self.before[task]], out)],
            Kind::Act if node.times == Times::Once => vec![step(node.activity, vec![before], out)],
            Kind::Exclusive => {
                let ways = out.into_iter().filter(|to| *to != before);
                ways.map(|to| step(None, vec![before], vec![to])).collect()
            }
            Kind::Parallel => vec![step(None, inward, out)],
            Kind::Act | Kind::SubProcess => {
                let mut steps = Vec::new();
                if node.kind == Kind::Act {
                    steps.push(step(node.activity, vec![before], vec![behind]));
                }
                if node.times != Times::Once {
                    steps.push(step(None, vec![behind], vec![before]));
                }
                if node.times == Times::Any {
                    steps.push(step(None, vec![before], vec![behind]));
                }
                steps.push(step(None, vec![behind], out));
                steps
            }
        }
    }

    /// The transitions that join ends of a process which are reached together.
    fn joins(
        &self,
        nodes: &[Node<'_, '_>],
        within: Option<usize>,
    ) -> Result<Vec<Transition>, BadModel> {
        let (first, last) = self.bounds(within);
        let ends = self.ends.get(&within).map_or(&[][..], Vec::as_slice);
        let places: HashSet<u32> = ends.iter().map(|(_, place)| *place).collect();
        let own = [&self.steps, &self.wholes].into_iter().filter_map(|of| of.get(&within));
        let steps: Vec<&Step> = own.flatten().collect();
        let Over { together, stuck } = over(&steps, first, &places).ok_or_else(|| {
            BadModel(format!(
                "which of its ends are reached together is not found in {STATES_MAX} states; expected gateways that join what is done side by side"
            ))
        })?;
        let end_of = |place: u32| ends.iter().find(|(_, of)| *of == place).map(|(end, _)| *end);
        let twice = |places: &Vec<u32>| {
            places.windows(2).find(|of| of[0] == of[1]).and_then(|of| end_of(of[0]))
        };
        if let Some(end) = together.iter().find_map(twice) {
            return Err(nodes[end].refused(
                "one way reaches it more than once in a case; expected a gateway that joins what is done side by side",
            ));
        }
        if together.is_empty() {
            let what = within.map_or("no case can end", |_| "its sub-process can't end");
            let waits =
                stuck.and_then(|of| steps.iter().find(|(_, step)| step.takes.contains(&of)));
            return Err(match (waits, within) {
                (Some((at, _)), _) => {
                    let why = "it waits for ways of which not all are taken";
                    nodes[*at].refused(&format!("{what}: {why}"))
                }
                (None, Some(whole)) => {
                    nodes[whole].refused("it can't end: what is done is done for ever")
                }
                (None, None) => BadModel(format!("{what}: what is done is done for ever")),
            });
        }
        // Of two runs of it, the second would be over with what the first left behind.
        let is_part = |few: &Vec<u32>| {
            together
                .iter()
                .any(|more| few.len() < more.len() && few.iter().all(|of| more.contains(of)))
        };
        if let Some(whole) = within
            && together.iter().any(is_part)
            && runs_again(nodes, whole)
        {
            return Err(nodes[whole].refused(
                "it may be done more than once, and its ends are reached now alone and now together with others; expected gateways that join what is done side by side",
            ));
        }
        let join = |takes| Transition { activity: None, takes, gives: vec![last] };
        Ok(together.into_iter().map(join).collect())
    }
}

/// Whether a sub-process may be done more than once in a case: it or one around it repeats, or a way leads back to it.
fn runs_again(nodes: &[Node<'_, '_>], whole: usize) -> bool {
    let mut around = Some(whole);
    while let Some(at) = around {
        let (mut open, mut seen) = (nodes[at].to.clone(), HashSet::new());
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(nodes[next].to.iter().chain(&nodes[next].attached));
            }
        }
        if nodes[at].times != Times::Once || seen.contains(&at) {
            return true;
        }
        around = nodes[at].within;
    }
    false
}

/// What is left when nothing can be done any more.
#[derive(Default)]
struct Over {
    /// Ends that are reached together.
    together: BTreeSet<Vec<u32>>,
    /// Where a token waits for ever.
    stuck: Option<u32>,
}

/// How steps from a first place on are over; not known where that takes too many states.
///
/// Whether a step can be done, no other one changes but those that take from the same place. So of several steps side by side only those
/// of one place are tried at a time: all that can be left over is found so (Valmari, "Stubborn sets for reduced state space generation",
/// 1991).
fn over(steps: &[&Step], first: u32, ends: &HashSet<u32>) -> Option<Over> {
    let mut takers: HashMap<u32, Vec<&Transition>> = HashMap::new();
    for (_, step) in steps {
        for place in &step.takes {
            takers.entry(*place).or_default().push(step);
        }
    }
    let mut over = Over::default();
    // Tokens by their places, in order.
    let mut seen = HashSet::from([vec![first]]);
    let (mut open, mut tokens) = (vec![(vec![first], [].as_slice())], 1);
    while let Some((marking, newest)) = open.pop() {
        let can =
            |step: &&Transition| step.takes.iter().all(|of| marking.binary_search(of).is_ok());
        // What was begun is gone on with, so that its choices come together before those of others begin.
        let possible = newest.iter().chain(&marking).find_map(|place| {
            let steps: Vec<&Transition> =
                takers.get(place)?.iter().copied().filter(|step| can(step)).collect();
            (!steps.is_empty()).then_some(steps)
        });
        let Some(possible) = possible else {
            match marking.iter().find(|place| !ends.contains(place)) {
                Some(place) => over.stuck = Some(*place),
                None => drop(over.together.insert(marking)),
            }
            continue;
        };
        for step in possible {
            let mut after = marking.clone();
            for place in &step.takes {
                if let Ok(at) = after.binary_search(place) {
                    after.remove(at);
                }
            }
            after.extend(&step.gives);
            after.sort_unstable();
            tokens += after.len();
            if seen.len() >= STATES_MAX || tokens > TOKENS_MAX {
                return None;
            }
            if seen.insert(after.clone()) {
                open.push((after, step.gives.as_slice()));
            }
        }
    }
    Some(over)
}

/// The same net without places that nothing takes from or gives to, and without unseen steps that nothing else can be done instead of.
/// With these, where a step would give to a place twice without them.
fn reduced(net: &Net) -> Net {
    let (stands_for, is_left_out) = passed_over(net);
    let all = (0..net.places).collect();
    let net_without = renumbered(net, stands_for, &is_left_out);
    let is_twice =
        |places: &[u32]| places.iter().enumerate().any(|(at, place)| places[..at].contains(place));
    let mut of = net_without.transitions.iter();
    match of.any(|of| is_twice(&of.takes) || is_twice(&of.gives)) {
        true => renumbered(net, all, &vec![false; net.transitions.len()]),
        false => net_without,
    }
}

/// For each place that whose token is as good as its own, and whether each step is passed over.
fn passed_over(net: &Net) -> (Vec<u32>, Vec<bool>) {
    let mut takers = vec![0; net.places as usize];
    for place in net.transitions.iter().flat_map(|of| &of.takes) {
        takers[*place as usize] += 1;
    }
    // A token that can do nothing but go on unseen is as good as there: each place, and the one that it stands for.
    let mut stands_for: Vec<u32> = (0..net.places).collect();
    let mut is_left_out = vec![false; net.transitions.len()];
    for (of, is_left_out) in net.transitions.iter().zip(&mut is_left_out) {
        let (None, [from], [to]) = (of.activity, of.takes.as_slice(), of.gives.as_slice()) else {
            continue;
        };
        let ends = [*from, *to].map(|place| found(&mut stands_for, place));
        let is_all = ends == [net.first, net.last].map(|place| found(&mut stands_for, place));
        if takers[*from as usize] == 1 && !is_all {
            stands_for[ends[0] as usize] = ends[1];
            *is_left_out = true;
        }
    }
    (stands_for, is_left_out)
}

/// A net in which places stand for others, without some steps.
fn renumbered(net: &Net, mut stands_for: Vec<u32>, is_left_out: &[bool]) -> Net {
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut number = |place: u32| {
        let next = numbers.len() as u32;
        *numbers.entry(found(&mut stands_for, place)).or_insert(next)
    };
    let (first, last) = (number(net.first), number(net.last));
    let kept = net.transitions.iter().zip(is_left_out).filter(|(_, is_left_out)| !**is_left_out);
    let transitions = kept
        .map(|(of, _)| Transition {
            activity: of.activity,
            takes: of.takes.iter().map(|place| number(*place)).collect(),
            gives: of.gives.iter().map(|place| number(*place)).collect(),
        })
        .collect();
    Net { places: numbers.len() as u32, first, last, transitions }
}

/// The place that one stands for, and it for others.
fn found(stands_for: &mut [u32], mut place: u32) -> u32 {
    while stands_for[place as usize] != place {
        let next = stands_for[place as usize];
        stands_for[place as usize] = stands_for[next as usize];
        place = next;
    }
    place
}
