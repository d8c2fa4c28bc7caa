//! How far cases are from a model: the fewest events that must be left out, and steps of the model that must be added, for what was
//! done to be something that the model allows (Adriansyah, "Aligning Observed and Modeled Behavior", 2014).
//!
//! Each state of the search is a state of the model and a place in the case. Steps that both take, and steps of the model that are
//! not seen, cost nothing; others cost one. So a breadth-first search with two lists, what costs nothing before what costs one,
//! finds the least. Cases of the same way are aligned once by the caller.
//!
//! Cost: states of the model that are reached times the length of the case.

use std::collections::{HashMap, VecDeque};

use super::net::{States, TooManyStates};

/// Places that a search looks at, at most.
const NODES_MAX: usize = 1 << 20;

/// A step of an alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Both do it: the activity.
    Both(u32),
    /// The case does it, and the model does not allow it there.
    Log(u32),
    /// The model asks for it, and the case lacks it.
    Model(u32),
    /// The model goes on unseen.
    Silent,
}

/// How a case fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Events that are left out and steps that are added.
    pub cost: u64,
    /// From the first to the last.
    pub moves: Vec<Move>,
}

/// Where the search is, and how it came there.
struct Node {
    state: u32,
    at: usize,
    cost: u64,
    before: usize,
    step: Move,
}

/// Aligns the activities of a case; none where the model can't end.
pub fn align(states: &mut States<'_>, way: &[u32]) -> Result<Option<Alignment>, TooManyStates> {
    let mut nodes = vec![Node { state: 0, at: 0, cost: 0, before: usize::MAX, step: Move::Silent }];
    let mut least: HashMap<(u32, usize), u64> = HashMap::from([((0, 0), 0)]);
    let mut open = VecDeque::from([0usize]);
    let transitions = &states.net().transitions;
    while let Some(number) = open.pop_front() {
        let Node { state, at, cost, .. } = nodes[number];
        if least.get(&(state, at)).is_some_and(|least| *least < cost) {
            continue;
        }
        if at == way.len() && states.is_last(state) {
            return Ok(Some(told(&nodes, number)));
        }
        let mut steps = Vec::new();
        if let Some(activity) = way.get(at) {
            steps.push((state, at + 1, 1, Move::Log(*activity)));
        }
        for (transition, next) in states.next(state)? {
            match transitions[*transition as usize].activity {
                None => steps.push((*next, at, 0, Move::Silent)),
                Some(activity) => {
                    steps.push((*next, at, 1, Move::Model(activity)));
                    if way.get(at) == Some(&activity) {
                        steps.push((*next, at + 1, 0, Move::Both(activity)));
                    }
                }
            }
        }
        for (state, at, more, step) in steps {
            let cost = cost + more;
            let known = least.entry((state, at)).or_insert(u64::MAX);
            if *known <= cost {
                continue;
            }
            *known = cost;
            if nodes.len() >= NODES_MAX {
                return Err(TooManyStates);
            }
            nodes.push(Node { state, at, cost, before: number, step });
            match more {
                0 => open.push_front(nodes.len() - 1),
                _ => open.push_back(nodes.len() - 1),
            }
        }
    }
    Ok(None)
}

fn told(nodes: &[Node], last: usize) -> Alignment {
    let mut moves = Vec::new();
    let mut number = last;
    while let Some(node) = nodes.get(number).filter(|node| node.before != usize::MAX) {
        moves.push(node.step);
        number = node.before;
    }
    moves.reverse();
    Alignment { cost: nodes[last].cost, moves }
}
