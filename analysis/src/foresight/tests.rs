//! Made logs whose next step is known, and worlds in which a step helps, or none does.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use super::*;
use crate::noise::Noise;
use crate::process::{Builder, Log};

const HOUR_US: i64 = 3_600_000_000;

fn worlds(usual: u64) -> u64 {
    let asked = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok());
    asked.unwrap_or(usual)
}

/// Cases as what was done, an activity and the hour each; `!` behind an activity marks it.
fn made<N: AsRef<str>, E: AsRef<[(&'static str, i64)]>>(cases: &[(N, E)]) -> Log {
    let mut builder = Builder::default();
    for (case, events) in cases {
        for (activity, hour) in events.as_ref() {
            builder.push(case.as_ref(), activity.trim_end_matches('!'), None, None, hour * HOUR_US);
            if activity.ends_with('!') {
                builder.mark();
            }
        }
    }
    builder.finish()
}

fn number(log: &Log, name: &str) -> u32 {
    (0..).take(log.activities.len()).find(|of| log.activities.text(*of) == name).unwrap()
}

fn names(log: &Log, cases: &[u32]) -> Vec<String> {
    cases.iter().map(|case| log.cases.text(*case).to_owned()).collect()
}

/// `count` cases that begin an hour after each other and take two hours from `take` over `check` to `ship`.
fn orders(count: i64) -> Log {
    let cases: Vec<(String, Vec<(&'static str, i64)>)> = (0..count)
        .map(|at| (format!("c{at:04}"), vec![("take", at), ("check", at + 1), ("ship", at + 2)]))
        .collect();
    made(&cases)
}

#[test]
fn cases_end_by_their_activities_even_if_none_has_been_quiet_for_long() {
    // One case in ten waits 450 hours, and the log ends less than that after the others.
    let slow = (0..40).map(|at| vec![("take", at), ("check", at + 450), ("ship", at + 451)]);
    let quick = (100..460).map(|at| vec![("take", at), ("check", at + 2), ("ship", at + 3)]);
    let open = (470..490).map(|at| vec![("take", at)]);
    let cases: Vec<(String, Vec<(&'static str, i64)>)> =
        (0..).zip(slow.chain(quick).chain(open)).map(|(at, of)| (format!("c{at}"), of)).collect();
    let log = made(&cases);
    let ending = Ending::of(&log, None);
    assert_eq!((ending.rule, ending.quiet_us), (Rule::Learned, 450 * HOUR_US));
    assert_eq!(ending.finals, HashSet::from([number(&log, "ship")]));
    let history = History::new(&log, ending, false);
    assert_eq!(history.cases(State::Ended).len(), 400);
    let candidates = Ending::candidates(&log, 2);
    assert_eq!(candidates, [(number(&log, "ship"), 400), (number(&log, "take"), 20)]);
}

#[test]
fn cases_end_by_what_mostly_ends_them_and_else_by_being_quiet() {
    let log = orders(40);
    let ending = Ending::of(&log, None);
    assert_eq!(
        (ending.rule, ending.quiet_us, ending.last_us),
        (Rule::Learned, HOUR_US, 41 * HOUR_US)
    );
    assert_eq!(ending.finals, HashSet::from([number(&log, "ship")]));
    // The same, one of which stops midway long ago, and two go on at the end.
    let mut cases: Vec<(String, Vec<(&'static str, i64)>)> = (0..40)
        .map(|at| (format!("c{at}"), vec![("take", at), ("check", at + 1), ("ship", at + 2)]))
        .collect();
    cases[3].1.truncate(2);
    cases[38].1.truncate(2);
    cases[39].1.truncate(2);
    let open = made(&cases);
    let history = History::new(&open, Ending::of(&open, None), false);
    assert_eq!(names(&open, &history.cases(State::Abandoned)), ["c3"]);
    assert_eq!(names(&open, &history.cases(State::Open)), ["c38", "c39"]);
    assert_eq!(history.cases(State::Ended).len(), 37);
    // Named activities alone end cases then.
    let given = Ending::of(&open, Some(HashSet::from([number(&open, "check")])));
    let history = History::new(&open, given, false);
    assert_eq!(names(&open, &history.cases(State::Ended)), ["c3", "c38", "c39"]);
    // Where cases end with anything, they end by being quiet, and none is abandoned.
    let any: Vec<(String, Vec<(&'static str, i64)>)> = (0..40)
        .map(|at| {
            let [a, b] = if at % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
            (format!("c{at}"), vec![(a, at), (b, at + 1)])
        })
        .collect();
    let any = made(&any);
    let history = History::new(&any, Ending::of(&any, None), false);
    assert_eq!(history.ending.rule, Rule::Quiet);
    assert_eq!(names(&any, &history.cases(State::Open)), ["c38", "c39"]);
    assert!(history.cases(State::Abandoned).is_empty());
    // Of nothing, and of one instant, nothing has ended.
    for few in [log_of_nothing(), made(&[("a", [("x", 1)]), ("b", [("x", 1)])])] {
        let history = History::new(&few, Ending::of(&few, None), true);
        assert!(history.cases(State::Ended).is_empty());
        assert!(Split::of(&history, &[]).problem().is_some());
    }
}

fn log_of_nothing() -> Log {
    Builder::default().finish()
}

#[test]
fn what_is_learned_from_had_ended_before_what_it_is_held_against_began() {
    let mut noise = Noise::new(7);
    let mut builder = Builder::default();
    for case in 0..500 {
        let mut at = (noise.uniform() * 1e4) as i64;
        for step in 0..=(noise.uniform() * 5.0) as usize {
            builder.push(&format!("c{case}"), ["a", "b", "c"][step % 3], None, None, at * HOUR_US);
            at += (noise.uniform() * 500.0) as i64;
        }
    }
    let log = builder.finish();
    let history = History::new(&log, Ending::of(&log, None), false);
    let ended = history.cases(State::Ended);
    let split = Split::of(&history, &ended);
    let [train, validation, test] = split.counts();
    assert_eq!(train + validation + test + split.across, ended.len());
    let near = |part: usize, share: f64| (part as f64 / ended.len() as f64 - share).abs() < 0.01;
    assert!(near(test, 0.2) && near(validation, 0.2) && split.across > 0, "{:?}", split.counts());
    let all: HashSet<u32> =
        [&split.train, &split.validation, &split.test].into_iter().flatten().copied().collect();
    assert_eq!(all.len(), train + validation + test, "no case in two");
    let latest = |of: &[u32]| of.iter().map(|case| history.ends_us(*case)).max().unwrap();
    let first = |of: &[u32]| of.iter().map(|case| history.begins_us(*case)).min().unwrap();
    assert!(latest(&split.train) < first(&split.validation));
    let begins = |of: &[u32]| of.iter().map(|case| history.begins_us(*case)).max().unwrap();
    assert!(begins(&split.validation) < first(&split.test));
    // Cases of one begin are all on one side.
    let same: Vec<(String, Vec<(&'static str, i64)>)> =
        (0..100).map(|at| (format!("c{at}"), vec![("a", 0), ("b", at)])).collect();
    let same = made(&same);
    let history = History::new(&same, Ending::of(&same, None), false);
    let split = Split::of(&history, &history.cases(State::Ended));
    assert_eq!((split.counts()[0], split.counts()[1]), (0, 0));
    assert!(
        split
            .problem()
            .unwrap()
            .contains("expected at least 20 ended cases to learn from, found 0")
    );
}

#[test]
fn counts_of_last_activities_are_those_by_hand() {
    // After `a b` comes c three times and d twice, after `x b` d five times, after `b` alone as often d.
    let mut cases: Vec<(String, Vec<(&'static str, i64)>)> = Vec::new();
    for (count, events, hours) in [
        (3, ["a", "b", "c!"], [0, 1, 5]),
        (2, ["a", "b", "d"], [0, 1, 3]),
        (5, ["x", "b", "d"], [0, 1, 2]),
        (1, ["y", "b", "c!"], [0, 1, 101]),
    ] {
        for _ in 0..count {
            let events = events.iter().copied().zip(hours).collect();
            cases.push((format!("c{}", cases.len()), events));
        }
    }
    let log = made(&cases);
    let finals = HashSet::from([number(&log, "c"), number(&log, "d")]);
    let history = History::new(&log, Ending::of(&log, Some(finals)), true);
    let ended = history.cases(State::Ended);
    let prefixes = history.prefixes(&ended);
    // After a final activity nothing is asked: two prefixes of each case.
    assert_eq!((ended.len(), prefixes.len()), (11, 22));
    let markov = Markov::fit(&history, &prefixes);
    let case = |first: usize| (u32::try_from(first).unwrap(), 2);
    let next = |first, order| {
        let (class, share) = markov.next(&history, case(first), order).unwrap();
        (history.name(class).unwrap().to_owned(), share)
    };
    let told = |name: &str, share: f64| (name.to_owned(), share);
    assert_eq!(next(0, 2), told("c", 3.0 / 5.0));
    assert_eq!(next(0, 3), told("c", 3.0 / 5.0));
    assert_eq!(next(0, 1), told("d", 7.0 / 11.0));
    assert_eq!(next(5, 2), told("d", 1.0));
    // `y b` was seen once: what came after `b` counts.
    assert_eq!(next(10, 2), told("d", 7.0 / 11.0));
    // Without any of them: b eleven times, d seven, c four.
    assert_eq!(next(0, 0), told("b", 0.5));
    let hours =
        |first, order| markov.remaining_us(&history, case(first), order).unwrap() / HOUR_US as f64;
    // 4 4 4 2 2, and all of 2 2 4 4 4 1 1 1 1 1 100: the middle one is 2.
    assert_eq!([hours(0, 2), hours(5, 2), hours(0, 1)], [4.0, 1.0, 2.0]);
    let success = |first, order| markov.success(&history, case(first), order).unwrap();
    assert_eq!([success(0, 2), success(5, 2), success(0, 1)], [0.6, 0.0, 4.0 / 11.0]);
    // What was never learned from says nothing.
    let nothing = Markov::fit(&history, &[]);
    assert!(nothing.next(&history, (0, 1), 3).is_none());
    assert!(nothing.remaining_us(&history, (0, 1), 3).is_none());
    assert!(nothing.success(&history, (0, 1), 3).is_none());
}

#[test]
fn seldom_activities_are_one_and_what_has_succeeded_is_not_asked() {
    let mut builder = Builder::default();
    for at in 0..250 {
        for _ in 0..=at {
            builder.push("c", &format!("a{at:03}"), None, None, at);
        }
    }
    let log = builder.finish();
    let history = History::new(&log, Ending::of(&log, None), false);
    assert_eq!((history.classes(), history.end()), (CLASSES_MAX + 1, 201));
    let name = |place: usize| history.name(history.class(&history.events(0)[place])).unwrap();
    assert_eq!((name(0), name(log.len() - 1)), (OTHERS, "a249"));
    assert!(history.name(history.end()).is_none());
    let log = made(&[("c", [("a", 0), ("b!", 1), ("c", 2)])]);
    let history = History::new(&log, Ending::of(&log, None), true);
    let asked: Vec<_> = history.prefixes(&[0]).iter().map(|of| (of.success, of.next)).collect();
    assert_eq!(asked, [(Some(true), 1), (None, 2), (None, history.end())]);
}

#[test]
fn numbers_are_of_what_was_known_by_then() {
    let log = made(&[
        ("c", [("a", 0), ("b", 1), ("a", 3), ("z", 1_000)]),
        ("d", [("a", 0), ("b", 1), ("a", 3), ("b", 9)]),
    ]);
    let history = History::new(&log, Ending::of(&log, None), false);
    let encoder = Encoder::of(&history, &history.prefixes(&[0]));
    let of = |case, length| {
        let mut to = vec![0.0; encoder.columns()];
        encoder.encode(&history, (case, length), &mut to);
        to
    };
    // What comes later changes nothing.
    assert_eq!(of(0, 3), of(1, 3));
    let told = of(0, 3);
    // Classes are a, b and z: the last three activities are a, b and a, which are two a and one b.
    assert_eq!(&told[..9], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(&told[24..27], [3f32.ln(), 2f32.ln(), 0.0]);
    assert!(told.iter().all(|of| of.is_finite()));
    for us in [0, HOUR_US, 900 * HOUR_US] {
        let back = encoder.remaining_us(encoder.remaining(us));
        assert!((back - us as f64).abs() < 1e-3 * us as f64 + 1.0, "{back} is not {us}");
    }
    assert_eq!(encoder.remaining_us(-5.0), 0.0);
    assert_eq!(encoder.remaining_us(f32::INFINITY), 1_000.0 * HOUR_US as f64);
}

#[test]
fn intervals_hold_four_of_five() {
    let mut noise = Noise::new(3);
    // Times whose logarithm is normal, wider after one activity than after the other; what is foretold is too low.
    let mut made = |count: usize| -> Vec<(u32, i64, f64)> {
        (0..count)
            .map(|at| {
                let last = (at % 2) as u32;
                let wide = if last == 0 { 0.3 } else { 1.5 };
                let truth = HOUR_US as f64 * 10.0 * (wide * noise.normal()).exp();
                (last, truth as i64, 8.0 * HOUR_US as f64)
            })
            .collect()
    };
    let band = Band::of(&made(4_000)).unwrap();
    let test = made(4_000);
    for last in [0, 1] {
        let of = test.iter().filter(|of| of.0 == last);
        let held = of.clone().filter(|(last, truth, said)| {
            let (lower, upper) = band.around(*last, *said);
            assert!(0.0 <= lower && lower <= *said && *said <= upper);
            (lower..=upper).contains(&(*truth as f64))
        });
        let coverage = held.count() as f64 / of.count() as f64;
        assert!((coverage - 0.8).abs() < 0.03, "{coverage}");
    }
    let width = |last| band.around(last, 8.0 * HOUR_US as f64).1;
    assert!(width(1) > 2.0 * width(0));
    // Ten are few, nine are the least that say anything.
    assert!(Band::of(&made(9)).is_some() && Band::of(&made(8)).is_none());
    let at_once = Band::of(&[(0, 0, 0.0); 20]).unwrap();
    assert_eq!(at_once.around(0, 0.0), (0.0, 0.0));
}

#[test]
fn who_loses_less_is_told_with_what_chance_may_do() {
    let losses = |gain: &dyn Fn(usize) -> f64| -> Vec<Losses> {
        (0..200).map(|at| Losses { count: 2.0, first: 1.0, second: 1.0 - gain(at) }).collect()
    };
    let better = compare(&losses(&|_| 0.5)).unwrap();
    assert_eq!([better.difference, better.lower, better.upper], [0.25; 3]);
    let turned = better.turned();
    assert_eq!([turned.difference, turned.lower, turned.upper], [-0.25; 3]);
    let chance = compare(&losses(&|at| if at % 2 == 0 { 0.5 } else { -0.49 })).unwrap();
    assert!(chance.lower < 0.0 && chance.upper > 0.0 && chance.difference > 0.0, "{chance:?}");
    assert!(compare(&[]).is_none() && compare(&[Losses::default()]).is_none());
    // By hand: of a 2 of 3 said are right and 2 of 2 true are found, of b 1 of 1 and 1 of 2; c is never true.
    let f1 = macro_f1(&[0, 0, 1, 1], &[0, 0, 0, 1]);
    assert!((f1 - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12, "{f1}");
    assert_eq!((macro_f1(&[0], &[2]), macro_f1(&[], &[])), (0.0, 0.0));
}

/// A world of tickets in which escalating one after two replies helps by so much, and twelve of which go on.
fn world(seed: u64, help: f64) -> (Log, Vec<Option<Suggestion>>, HashMap<u32, String>) {
    let mut noise = Noise::new(seed);
    let mut builder = Builder::default();
    for case in 0..412 {
        let name = format!("t{case:03}");
        let mut at = case * 10;
        let mut push = |activity: &str, is_success: bool| {
            builder.push(&name, activity, None, None, at * HOUR_US);
            at += 1;
            if is_success {
                builder.mark();
            }
        };
        push("open", false);
        push(["reply", "ask", "wait"][(noise.uniform() * 3.0) as usize], false);
        push("reply", false);
        if case >= 400 {
            continue;
        }
        let step = ["escalate", "reply", "refund", "wait"][(noise.uniform() * 4.0) as usize];
        push(step, false);
        let chance = 0.4 + if step == "escalate" { help } else { 0.0 };
        let is_good = noise.uniform() < chance;
        push(if is_good { "solved" } else { "closed" }, is_good);
    }
    let log = builder.finish();
    let finals = HashSet::from([number(&log, "solved"), number(&log, "closed")]);
    let history = History::new(&log, Ending::of(&log, Some(finals)), true);
    let open: Vec<u32> = (400..412).collect();
    let found = suggest(&history, &history.cases(State::Ended), &open);
    let names = (0..=history.end()).filter_map(|of| Some((of, history.name(of)?.to_owned())));
    (log.clone(), found, names.collect())
}

#[test]
fn a_step_that_helps_is_suggested_and_where_none_does_nothing_is() {
    let worlds = worlds(30);
    let (mut found, mut false_ones) = (0, 0);
    for seed in 0..worlds {
        let (_, suggestions, names) = world(seed, 0.45);
        let steps: Vec<&str> =
            suggestions.iter().flatten().map(|of| names[&of.step].as_str()).collect();
        found += u64::from(!steps.is_empty() && steps.iter().all(|step| *step == "escalate"));
        let (_, suggestions, _) = world(10_000 + seed, 0.0);
        false_ones += u64::from(suggestions.iter().any(Option::is_some));
    }
    let told = format!(
        "of {worlds} worlds in which a step helps it is suggested in {found}; of as many in which none does one is suggested in {false_ones}"
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(found * 100 >= worlds * 95 && false_ones * 20 <= worlds, "{told}");
}

#[test]
fn a_suggestion_says_on_what_it_rests() {
    let (log, suggestions, names) = world(1, 0.5);
    let of = suggestions.iter().flatten().next().unwrap();
    assert_eq!(names[&of.step], "escalate");
    assert!(of.lower < of.success && of.success < of.upper && of.success > of.otherwise);
    assert!(of.cases >= 10 && of.otherwise_cases > of.cases && of.p < 0.05 && of.order >= 1);
    assert_eq!(of.examples.len(), 3);
    // The latest ones first, and each of them took the step and was solved.
    assert!(of.examples.is_sorted_by(|a, b| a > b));
    for case in &of.examples {
        let trace = log.traces().nth(*case as usize).unwrap();
        let activities: Vec<&str> = trace.activities().map(|of| log.activities.text(of)).collect();
        assert_eq!(activities[3..], ["escalate", "solved"]);
    }
}
