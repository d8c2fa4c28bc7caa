//! However a day is cut into calls, and wherever it begins again from a saved state, the same comes out; and it is what the reference
//! says.

use std::collections::BTreeMap;

use super::super::{
    Acknowledgement, AlertError, Commit, Event, Group, Rule, State, What, acknowledge, adopt,
    next_deadline, step, tick,
};
use super::reference::{self, Told};
use super::scenario::{self, Action, Scenario};
use super::{Dice, MINUTE, restored};

const TRIES: u64 = 1_000;

/// A day under way.
#[derive(Clone)]
struct Run<'a> {
    scenario: &'a Scenario,
    state: State,
    rules: Vec<Rule>,
    read: u64,
    events: Vec<Event>,
}

impl<'a> Run<'a> {
    fn begin(scenario: &'a Scenario) -> Self {
        let mut state = State::with_room(scenario.room);
        let rules = vec![scenario.rule.clone()];
        adopt(&mut state, &rules, &scenario.silences, &BTreeMap::new(), 0).unwrap();
        Self { scenario, state, rules, read: 0, events: Vec::new() }
    }

    fn commits(&mut self, commits: &[Commit]) {
        let state = &mut self.state;
        let events = step(state, &self.rules[0], &self.scenario.silences, commits).unwrap();
        self.read = commits.iter().map(|commit| commit.version).max().unwrap_or(self.read);
        self.events.extend(events);
    }

    fn act(&mut self, minute: i64, action: &Action) {
        let (silences, now) = (&self.scenario.silences, minute * MINUTE);
        match action {
            Action::Commit(commit) => self.commits(std::slice::from_ref(commit)),
            Action::Acknowledge { host, by } => {
                let group: Group = match self.rules[0].by.is_empty() {
                    true => Group::default(),
                    false => super::host(host),
                };
                let given = Acknowledgement { group, by: (*by).to_owned(), comment: String::new() };
                let before = self.state.clone();
                match acknowledge(&mut self.state, &self.rules[0], silences, &given, now) {
                    Ok(events) => self.events.extend(events),
                    Err(AlertError::NotFound { .. }) => assert_eq!(self.state, before),
                    Err(other) => panic!("{other}"),
                }
            }
            Action::Adopt(rule) => {
                self.rules = vec![(**rule).clone()];
                let marks = BTreeMap::from([("metrics".to_owned(), self.read)]);
                let events = adopt(&mut self.state, &self.rules, silences, &marks, now).unwrap();
                self.events.extend(events);
            }
        }
    }

    fn tick(&mut self, minute: i64) {
        let (silences, now) = (&self.scenario.silences, minute * MINUTE);
        self.events.extend(tick(&mut self.state, &self.rules, silences, now).unwrap());
    }

    fn next(&self) -> Option<i64> {
        next_deadline(&self.state, &self.rules, &self.scenario.silences)
    }
}

/// Each commit as it comes, and the clock looked at every minute.
fn live(scenario: &Scenario) -> Run<'_> {
    let mut run = Run::begin(scenario);
    for now in 0..=scenario.end {
        for (_, action) in scenario.actions.iter().filter(|(minute, _)| *minute == now) {
            run.act(now, action);
        }
        run.tick(now);
    }
    run
}

/// The clock is looked at when there is something to do, and at no other time.
fn by_deadlines(scenario: &Scenario) -> Run<'_> {
    let mut run = Run::begin(scenario);
    let until = |run: &mut Run<'_>, minute: i64| {
        while let Some(due) = run.next().filter(|due| *due < minute * MINUTE) {
            let before = run.state.clone();
            let count = run.events.len();
            run.tick(due / MINUTE);
            assert_ne!(run.state, before, "nothing was due at {due}");
            assert!(run.next().is_none_or(|next| next > due), "not done with {due}");
            // And a microsecond before there was nothing.
            let mut early = before.clone();
            let silences = &run.scenario.silences;
            assert_eq!(tick(&mut early, &run.rules, silences, due - 1).unwrap(), []);
            assert_eq!(early, before);
            assert!(run.events[count..].iter().all(|event| event.known_us == due));
        }
    };
    for (minute, action) in &scenario.actions {
        until(&mut run, *minute);
        run.act(*minute, action);
    }
    until(&mut run, scenario.end + 1);
    run
}

/// Commits gathered and read several at once, a look at the clock now and then, the state saved and read, and calls done twice.
fn cut<'a>(scenario: &'a Scenario, dice: &mut Dice) -> Run<'a> {
    let mut run = Run::begin(scenario);
    let mut gathered: Vec<Commit> = Vec::new();
    let (patience, ticks) = (1 + dice.below(8), 1 + dice.below(6));
    let mut actions = scenario.actions.iter().peekable();
    while let Some((minute, action)) = actions.next() {
        let before = run.clone();
        let many: Vec<Commit> = gathered.clone();
        match action {
            Action::Commit(commit) => {
                gathered.push(commit.clone());
                if !dice.one_in(patience) {
                    continue;
                }
                run.commits(&std::mem::take(&mut gathered));
            }
            other => {
                run.commits(&std::mem::take(&mut gathered));
                run.act(*minute, other);
            }
        }
        // A process that died before it saved does it again.
        if dice.one_in(3) {
            let mut again = Run { state: restored(&before.state), ..before };
            match action {
                Action::Commit(commit) => {
                    let all: Vec<Commit> = many.into_iter().chain([commit.clone()]).collect();
                    for commit in &all {
                        again.commits(std::slice::from_ref(commit));
                    }
                    // What was read is not read twice.
                    let count = again.events.len();
                    again.commits(&all);
                    assert_eq!(again.events.len(), count);
                }
                other => {
                    again.commits(&many);
                    again.act(*minute, other);
                }
            }
            assert_eq!(again.events, run.events);
            run = again;
        }
        // The clock may be looked at up to what comes next.
        let next = actions.peek().map_or(scenario.end, |(next, _)| *next);
        if next > *minute && dice.one_in(ticks) {
            run.tick(minute + dice.below(next - minute));
        }
        if dice.one_in(2) {
            run.state = restored(&run.state);
        }
    }
    run.commits(&gathered);
    run.tick(scenario.end);
    run
}

fn told(events: &[Event]) -> Vec<Told> {
    let minute = |us: i64| {
        assert_eq!(us % MINUTE, 0);
        us / MINUTE
    };
    let told = events.iter().map(|event| Told {
        host: event.group.value("host").unwrap_or("-").to_owned(),
        what: event.what,
        at: minute(event.at_us),
        known: minute(event.known_us),
        severity: event.severity,
        is_silenced: event.silenced.is_some(),
        value: event.value,
    });
    told.collect()
}

/// Holds of whatever happens.
fn assert_sound(events: &[Event]) {
    let mut seen: BTreeMap<&str, &Event> = BTreeMap::new();
    for event in events {
        if let Some(there) = seen.insert(&event.id, event) {
            panic!("one id of two: {there:?} and {event:?}");
        }
    }
    let mut firing: BTreeMap<&Group, bool> = BTreeMap::new();
    let mut quiet: BTreeMap<&Group, bool> = BTreeMap::new();
    for event in events {
        let is_firing = firing.entry(&event.group).or_default();
        let is_quiet = quiet.entry(&event.group).or_default();
        match event.what {
            What::Firing => {
                assert!(!*is_firing, "fires twice: {event:?}");
                (*is_firing, *is_quiet) = (true, false);
            }
            What::Resolved => {
                assert!(*is_firing, "resolved and did not fire: {event:?}");
                *is_firing = false;
            }
            What::Pending => assert!(!*is_firing, "pending and fires: {event:?}"),
            _ => assert!(*is_firing, "of an alert that does not fire: {event:?}"),
        }
        match event.what {
            What::Silenced => assert!(!std::mem::replace(is_quiet, true), "{event:?}"),
            What::Unsilenced => assert!(std::mem::replace(is_quiet, false), "{event:?}"),
            _ => {}
        }
    }
}

/// Tries many days; says of which seed the one is that fails.
fn try_days(
    first: u64,
    test: impl Fn(&mut Dice) -> BTreeMap<What, usize> + std::panic::RefUnwindSafe,
) {
    let mut seen: BTreeMap<What, usize> = BTreeMap::new();
    for seed in first..first + TRIES {
        let outcome = std::panic::catch_unwind(|| test(&mut Dice(seed)));
        match outcome {
            Ok(counts) => {
                counts.into_iter().for_each(|(what, n)| *seen.entry(what).or_default() += n)
            }
            Err(_) => panic!("seed {seed}"),
        }
    }
    // All that can happen did, often.
    for what in [
        What::Firing,
        What::Resolved,
        What::Silenced,
        What::Unsilenced,
        What::Severity,
        What::Reminder,
        What::Acknowledged,
    ] {
        assert!(seen.get(&what).is_some_and(|n| *n > 100), "{what:?} of {seen:?}");
    }
}

fn counts(events: &[Event]) -> BTreeMap<What, usize> {
    let mut counts = BTreeMap::new();
    events.iter().for_each(|event| *counts.entry(event.what).or_default() += 1);
    counts
}

#[test]
fn however_a_day_is_cut_the_same_comes_out() {
    try_days(10_000, |dice| {
        let scenario = scenario::any(dice);
        let whole = live(&scenario);
        assert_sound(&whole.events);
        for _ in 0..3 {
            let parts = cut(&scenario, dice);
            assert_eq!(parts.events, whole.events);
            assert_eq!(parts.state, whole.state);
        }
        let due = by_deadlines(&scenario);
        assert_eq!(due.events, whole.events);
        assert_eq!(due.state, whole.state);
        counts(&whole.events)
    });
}

#[test]
fn alerts_are_what_the_reference_says() {
    try_days(20_000, |dice| {
        let scenario = scenario::plain(dice);
        agrees(&scenario)
    });
}

#[test]
fn freshness_is_what_the_reference_says() {
    try_days(30_000, |dice| {
        let scenario = scenario::fresh(dice);
        agrees(&scenario)
    });
}

fn agrees(scenario: &Scenario) -> BTreeMap<What, usize> {
    let run = live(scenario);
    let day = reference::day(scenario);
    for host in ["-", "a", "b", "c"] {
        let of = |all: &[Told]| -> Vec<Told> {
            all.iter().filter(|it| it.host == host).cloned().collect()
        };
        let (found, expected) = (of(&told(&run.events)), of(&day.told));
        let part = (0..).find(|n| found.get(*n) != expected.get(*n) || *n > found.len()).unwrap();
        let (one, other) = (found.get(part), expected.get(part));
        assert_eq!(one, other, "number {part} of {host} of {:#?}", scenario.rule);
    }
    assert_eq!(run.state.rule("cpu").unwrap().late(), day.late);
    counts(&run.events)
}

#[test]
fn whatever_order_the_calls_come_in_what_comes_out_is_sound() {
    try_days(40_000, |dice| {
        let mut scenario = scenario::any(dice);
        // Commits whose instants go back, a clock that is ahead of them, silences that come and go.
        for (_, action) in &mut scenario.actions {
            if let Action::Commit(commit) = action {
                commit.at_us += (dice.below(21) - 10) * MINUTE;
            }
        }
        let all = scenario.silences.clone();
        let actions = std::mem::take(&mut scenario.actions);
        let mut events = Vec::new();
        let mut state = Run::begin(&scenario).state;
        let mut rules = vec![scenario.rule.clone()];
        for (minute, action) in &actions {
            scenario.silences.retain(|_| !dice.one_in(4));
            if scenario.silences.is_empty() {
                scenario.silences.clone_from(&all);
            }
            let mut run = Run { state, rules, ..Run::begin(&scenario) };
            run.tick(minute + dice.below(20));
            run.act(*minute, action);
            events.append(&mut run.events);
            (state, rules) = (restored(&run.state), run.rules);
        }
        assert_sound(&events);
        counts(&events)
    });
}
