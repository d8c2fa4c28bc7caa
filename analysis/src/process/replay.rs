//! How far cases are from a model, by the tokens that are missing and remain when they are played through its net (Rozinat & van der
//! Aalst, "Conformance checking of processes based on monitoring real behavior", Information Systems 33, 2008).
//!
//! What a case does next is made possible by steps that are not seen, the fewest that do. Where there are none, the tokens that it
//! lacks are added, and are missing.

use std::collections::{HashSet, VecDeque};

use super::net::{Net, Transition};

/// Markings that are looked through for the steps that are not seen, and the tokens in all of them.
const SILENT_MAX: usize = 4_096;
const TOKENS_MAX: usize = 1 << 21;

/// Tokens of some cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Given, that of the beginning among them.
    pub produced: u64,
    /// Taken, that of the end among them.
    pub consumed: u64,
    /// Taken where there was none.
    pub missing: u64,
    /// Left over at the end.
    pub remaining: u64,
    /// Events of activities that the net has not; they are passed over.
    pub unknown: u64,
}

impl Tokens {
    /// With those of other cases.
    pub fn add(&mut self, other: &Self, times: u64) {
        self.produced += times * other.produced;
        self.consumed += times * other.consumed;
        self.missing += times * other.missing;
        self.remaining += times * other.remaining;
        self.unknown += times * other.unknown;
    }

    /// From 0 to 1: half for the part of the taken tokens that were there, half for that of the given that were taken.
    pub fn fitness(&self) -> f64 {
        let part = |of: u64, all: u64| 1.0 - of as f64 / all.max(1) as f64;
        0.5 * part(self.missing, self.consumed) + 0.5 * part(self.remaining, self.produced)
    }
}

/// Plays the activities of a case.
pub fn replay(net: &Net, way: &[u32]) -> Tokens {
    let mut tokens = Tokens { produced: 1, ..Tokens::default() };
    let mut marking = vec![0u32; net.places as usize];
    marking[net.first as usize] = 1;
    for activity in way {
        let named: Vec<&Transition> =
            net.transitions.iter().filter(|of| of.activity == Some(*activity)).collect();
        let Some(first) = named.first() else {
            tokens.unknown += 1;
            continue;
        };
        let steps =
            unseen(net, &marking, |marking| named.iter().any(|of| is_possible(marking, of)));
        for step in steps.unwrap_or_default() {
            tokens.fire(&mut marking, step);
        }
        let possible = named.iter().find(|of| is_possible(&marking, of));
        tokens.fire(&mut marking, possible.unwrap_or(first));
    }
    let last = net.last as usize;
    let is_over = |marking: &[u32]| {
        marking.iter().enumerate().all(|(place, count)| *count == u32::from(place == last))
    };
    // What is left over elsewhere must not keep it from its end.
    let ends = || unseen(net, &marking, |marking| marking[last] > 0);
    for step in unseen(net, &marking, is_over).or_else(ends).unwrap_or_default() {
        tokens.fire(&mut marking, step);
    }
    tokens.consumed += 1;
    match marking[last].checked_sub(1) {
        Some(left) => marking[last] = left,
        None => tokens.missing += 1,
    }
    tokens.remaining = marking.iter().map(|count| u64::from(*count)).sum();
    tokens
}

impl Tokens {
    /// What is not there is added.
    fn fire(&mut self, marking: &mut [u32], transition: &Transition) {
        for place in &transition.takes {
            let count = &mut marking[*place as usize];
            match count.checked_sub(1) {
                Some(left) => *count = left,
                None => self.missing += 1,
            }
            self.consumed += 1;
        }
        for place in &transition.gives {
            marking[*place as usize] += 1;
            self.produced += 1;
        }
    }
}

fn is_possible(marking: &[u32], transition: &Transition) -> bool {
    // A place twice among them needs two.
    let needs = |place: &u32| transition.takes.iter().filter(|of| *of == place).count() as u32;
    transition.takes.iter().all(|place| marking[*place as usize] >= needs(place))
}

/// The fewest steps that are not seen to a marking that is wanted.
fn unseen<'a>(
    net: &'a Net,
    marking: &[u32],
    is_wanted: impl Fn(&[u32]) -> bool,
) -> Option<Vec<&'a Transition>> {
    let silent: Vec<&Transition> =
        net.transitions.iter().filter(|of| of.activity.is_none()).collect();
    let seen_max = SILENT_MAX.min(TOKENS_MAX / marking.len().max(1)).max(1);
    let mut seen = HashSet::from([marking.to_vec()]);
    let mut nodes: Vec<(Vec<u32>, usize, Option<&Transition>)> = vec![(marking.to_vec(), 0, None)];
    let mut open = VecDeque::from([0usize]);
    while let Some(number) = open.pop_front() {
        let marking = nodes[number].0.clone();
        if is_wanted(&marking) {
            let mut steps = Vec::new();
            let mut at = number;
            while let (_, before, Some(step)) = &nodes[at] {
                steps.push(*step);
                at = *before;
            }
            steps.reverse();
            return Some(steps);
        }
        for step in silent.iter().filter(|of| is_possible(&marking, of)) {
            let mut after = marking.clone();
            step.takes.iter().for_each(|place| after[*place as usize] -= 1);
            step.gives.iter().for_each(|place| after[*place as usize] += 1);
            if seen.len() < seen_max && seen.insert(after.clone()) {
                nodes.push((after, number, Some(step)));
                open.push_back(nodes.len() - 1);
            }
        }
    }
    None
}
