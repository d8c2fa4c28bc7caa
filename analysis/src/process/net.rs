//! Models as workflow nets: places that hold tokens, and transitions that take one from each place before them and give one to each
//! behind.

use std::collections::{HashMap, HashSet};

use super::tree::{Operator, Tree};

/// Something that can happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transition {
    /// What is done then, a number of [`Log::activities`](super::Log::activities); nothing that is seen, where there is none.
    pub activity: Option<u32>,
    /// The places that it takes a token from.
    pub takes: Vec<u32>,
    /// Those that it gives one to.
    pub gives: Vec<u32>,
}

/// A net that begins with one token in its first place and ends with one in its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Net {
    /// How many places there are.
    pub places: u32,
    /// Where a case begins.
    pub first: u32,
    /// Where it ends.
    pub last: u32,
    /// What can happen.
    pub transitions: Vec<Transition>,
}

impl Net {
    /// The net of a tree.
    pub fn of(tree: &Tree) -> Self {
        let mut net = Self { places: 2, first: 0, last: 1, transitions: Vec::new() };
        net.add(tree, 0, 1);
        net
    }

    fn place(&mut self) -> u32 {
        self.places += 1;
        self.places - 1
    }

    fn transition(&mut self, activity: Option<u32>, takes: Vec<u32>, gives: Vec<u32>) {
        self.transitions.push(Transition { activity, takes, gives });
    }

    /// Adds what leads from one place to another.
    fn add(&mut self, tree: &Tree, from: u32, to: u32) {
        match tree {
            Tree::Silent => self.transition(None, vec![from], vec![to]),
            Tree::Activity(activity) => self.transition(Some(*activity), vec![from], vec![to]),
            Tree::Block(Operator::Exclusive, parts) => {
                parts.iter().for_each(|part| self.add(part, from, to));
            }
            Tree::Block(Operator::Sequence, parts) => {
                let mut before = from;
                for (at, part) in parts.iter().enumerate() {
                    let after = if at + 1 == parts.len() { to } else { self.place() };
                    self.add(part, before, after);
                    before = after;
                }
            }
            Tree::Block(Operator::Parallel, parts) => {
                let ends: Vec<(u32, u32)> =
                    parts.iter().map(|_| (self.place(), self.place())).collect();
                let (begins, ended) = ends.iter().copied().unzip();
                self.transition(None, vec![from], begins);
                for (part, (begin, end)) in parts.iter().zip(ends) {
                    self.add(part, begin, end);
                }
                self.transition(None, ended, vec![to]);
            }
            Tree::Block(Operator::Loop, parts) => {
                let (begin, end) = (self.place(), self.place());
                self.transition(None, vec![from], vec![begin]);
                for (at, part) in parts.iter().enumerate() {
                    let (from, to) = if at == 0 { (begin, end) } else { (end, begin) };
                    self.add(part, from, to);
                }
                self.transition(None, vec![end], vec![to]);
            }
        }
    }

    /// Whether any case can end; not known where that takes more than so many states.
    pub fn can_end(&self, states_max: usize) -> Option<bool> {
        let mut states = States::new(self, states_max);
        let (mut open, mut seen) = (vec![0], HashSet::from([0]));
        // The newest first: those lead to an end, where the oldest first are all that is done side by side.
        while let Some(state) = open.pop() {
            if states.is_last(state) {
                return Some(true);
            }
            let next = states.next(state).ok()?;
            open.extend(next.iter().map(|(_, to)| *to).filter(|to| seen.insert(*to)));
        }
        Some(false)
    }
}

/// Memory of the states of a net that are looked at.
const STATES_BYTES: usize = 128 << 20;

/// Tokens by place.
type Marking = Box<[u8]>;

/// The states of a net, found as they are asked for.
#[derive(Debug)]
pub struct States<'a> {
    net: &'a Net,
    numbers: HashMap<Marking, u32>,
    markings: Vec<Marking>,
    /// Of each state that was asked for: transitions and where they lead.
    next: Vec<Option<Vec<(u32, u32)>>>,
    states_max: usize,
}

/// A net of more states than may be looked at, or of more tokens in a place than may be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyStates;

impl<'a> States<'a> {
    /// Looks at so many states at most, and at fewer of a net with many places: they are kept in memory. The first is 0.
    pub fn new(net: &'a Net, states_max: usize) -> Self {
        let states_max = states_max.min(STATES_BYTES / (2 * net.places.max(1) as usize)).max(1);
        let mut marking = vec![0; net.places as usize].into_boxed_slice();
        marking[net.first as usize] = 1;
        Self {
            net,
            numbers: HashMap::from([(marking.clone(), 0)]),
            markings: vec![marking],
            next: vec![None],
            states_max,
        }
    }

    /// The net.
    pub fn net(&self) -> &'a Net {
        self.net
    }

    /// Whether a case may end there: with one token in the last place, and no other.
    pub fn is_last(&self, state: u32) -> bool {
        let last = self.net.last as usize;
        let tokens = self.markings[state as usize].iter().enumerate();
        tokens.into_iter().all(|(place, tokens)| *tokens == u8::from(place == last))
    }

    /// What can happen there, and where it leads.
    pub fn next(&mut self, state: u32) -> Result<&[(u32, u32)], TooManyStates> {
        if self.next[state as usize].is_none() {
            let marking = self.markings[state as usize].clone();
            let mut found = Vec::new();
            for (number, transition) in self.net.transitions.iter().enumerate() {
                let Some(after) = fired(&marking, transition)? else { continue };
                found.push((number as u32, self.number(after)?));
            }
            self.next[state as usize] = Some(found);
        }
        Ok(self.next[state as usize].as_deref().unwrap_or_default())
    }

    fn number(&mut self, marking: Marking) -> Result<u32, TooManyStates> {
        if let Some(number) = self.numbers.get(&marking) {
            return Ok(*number);
        }
        if self.markings.len() >= self.states_max {
            return Err(TooManyStates);
        }
        let number = self.markings.len() as u32;
        self.numbers.insert(marking.clone(), number);
        self.markings.push(marking);
        self.next.push(None);
        Ok(number)
    }
}

/// The marking after a transition; none where it can't happen.
fn fired(marking: &Marking, transition: &Transition) -> Result<Option<Marking>, TooManyStates> {
    // Most can't happen, and need no copy.
    if transition.takes.iter().any(|place| marking[*place as usize] == 0) {
        return Ok(None);
    }
    let mut after = marking.clone();
    for place in &transition.takes {
        let tokens = &mut after[*place as usize];
        let Some(left) = tokens.checked_sub(1) else { return Ok(None) };
        *tokens = left;
    }
    for place in &transition.gives {
        let tokens = &mut after[*place as usize];
        *tokens = tokens.checked_add(1).ok_or(TooManyStates)?;
    }
    Ok(Some(after))
}
