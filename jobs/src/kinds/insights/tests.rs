//! Which findings are said, in which order, and how often.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use serde_json::Value;

use super::finding::{Evidence, Finding, Kind};
use super::rank::{Insight, Limits, Said, Unsaid, merged, ranked, score};
use crate::insight_feedback::Verdict;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
const ALL: Limits = Limits { score_min: 0.0, insights_max: 1_000 };

fn finding(kind: Kind, subject: &str, hours: [i64; 2], severity: f64) -> Finding {
    Finding {
        kind,
        source: "metrics".into(),
        subject: subject.into(),
        started_us: hours[0] * HOUR_US,
        ended_us: hours[1] * HOUR_US,
        interval_us: HOUR_US / 2,
        headline: format!("{} of {subject}", kind.as_str()),
        severity,
        confidence: 0.9,
        reach: 10,
        evidence: vec![Evidence {
            dataset: kind.as_str().into(),
            version: 3,
            condition: format!("started = {}", hours[0]),
        }],
        chart: Value::Null,
        action: String::new(),
        also: Vec::new(),
    }
}

/// What is left of a day's insights when they are looked back on from day `day`.
fn said(insights: &[Insight], day: i64) -> Vec<Said> {
    let of = |one: &Insight| Said {
        id: one.id.clone(),
        kind: one.finding.kind,
        source: one.finding.source.clone(),
        subject: one.finding.subject.clone(),
        started_us: one.finding.started_us,
        ended_us: one.finding.ended_us,
        severity: one.finding.severity,
        first_us: one.first_us.unwrap_or(day * DAY_US),
        is_earlier: true,
        is_recent: true,
    };
    insights.iter().map(of).collect()
}

fn say(findings: Vec<Finding>, said: &[Said]) -> (Vec<Insight>, Unsaid) {
    ranked(merged(findings), said, &HashMap::new(), ALL)
}

#[test]
fn what_several_jobs_say_of_one_subject_at_one_time_is_said_once() {
    let level = finding(Kind::Level, "a", [10, 10], 40.0);
    let shift = finding(Kind::Anomaly, "a", [10, 14], 60.0);
    let miss = finding(Kind::ForecastMiss, "a", [13, 13], 30.0);
    let one = merged(vec![miss.clone(), level.clone(), shift.clone()]);
    assert_eq!(one.len(), 1);
    let one = &one[0];
    assert_eq!(
        (one.kind, one.also.as_slice()),
        (Kind::Anomaly, &[Kind::Level, Kind::ForecastMiss][..])
    );
    assert_eq!((one.started_us, one.ended_us), (10 * HOUR_US, 14 * HOUR_US));
    assert_eq!((one.severity, one.headline.as_str()), (60.0, "anomaly of a"));
    // Three witnesses.
    assert!((one.confidence - (1.0 - 0.1f64.powi(3))).abs() < 1e-12, "{}", one.confidence);
    let datasets: Vec<&str> = one.evidence.iter().map(|of| of.dataset.as_str()).collect();
    assert_eq!(datasets, ["anomaly", "level", "forecast_miss"]);
    // Another subject, another source, another family, another time: each by itself.
    let mut elsewhere = shift.clone();
    elsewhere.source = "others".into();
    let others = vec![
        shift.clone(),
        finding(Kind::Anomaly, "b", [10, 14], 60.0),
        elsewhere,
        finding(Kind::Slope, "a", [10, 10], 60.0),
        finding(Kind::Anomaly, "a", [15, 16], 60.0),
    ];
    assert_eq!(merged(others).len(), 5);
}

#[test]
fn times_that_are_an_interval_apart_are_one_and_those_further_apart_are_two() {
    let first = finding(Kind::Anomaly, "a", [0, 1], 50.0);
    let mut second = finding(Kind::Anomaly, "a", [2, 2], 50.0);
    second.started_us = first.ended_us + first.interval_us;
    assert_eq!(merged(vec![first.clone(), second.clone()]).len(), 1);
    // The same job twice is no second witness.
    assert_eq!(merged(vec![first.clone(), second.clone()])[0].confidence, 0.9);
    second.started_us += 1;
    assert_eq!(merged(vec![first, second]).len(), 2);
}

#[test]
fn the_score_is_the_formula() {
    let mut of = finding(Kind::Anomaly, "a", [0, 0], 80.0);
    of.reach = 999;
    // 80 · 0.9 · (0.4 + 0.3 · 0.5 + 0.3 · 3 / 6) · 1.2
    assert!((score(&of, 0.5, 1.2) - 60.48).abs() < 1e-9);
    of.reach = u64::MAX;
    assert!((score(&of, 1.0, 1.0) - 72.0).abs() < 1e-9);
    of.severity = 100.0;
    assert_eq!(score(&of, 1.0, 1.5), 100.0);
}

#[test]
fn the_more_severe_comes_first_and_equal_ones_in_one_order() {
    let all = vec![
        finding(Kind::Anomaly, "a", [0, 1], 50.0),
        finding(Kind::Anomaly, "b", [0, 1], 90.0),
        finding(Kind::Anomaly, "c", [0, 1], 50.0),
    ];
    let (insights, _) = say(all.clone(), &[]);
    assert_eq!(insights[0].finding.subject, "b");
    let again = say(all.into_iter().rev().collect(), &[]).0;
    assert_eq!(insights, again);
    let ids: std::collections::HashSet<&str> = insights.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn bounds_of_a_day_are_kept_and_what_they_leave_out_is_counted() {
    let all: Vec<Finding> = (0..10)
        .map(|at| finding(Kind::Anomaly, &format!("s{at}"), [0, 1], 10.0 * at as f64))
        .collect();
    let (insights, unsaid) =
        ranked(all, &[], &HashMap::new(), Limits { score_min: 30.0, insights_max: 3 });
    let subjects: Vec<&str> = insights.iter().map(|one| one.finding.subject.as_str()).collect();
    assert_eq!(subjects, ["s9", "s8", "s7"]);
    // 0.9 · 0.752 of the severity: from 50 on it is 30 and more.
    assert_eq!(unsaid, Unsaid { weak: 5, too_many: 2, ..Unsaid::default() });
}

#[test]
fn thirty_days_of_the_same_findings_are_said_once_each() {
    let mut before: Vec<Said> = Vec::new();
    let mut counts = Vec::new();
    for day in 0..30 {
        // One anomaly a day that stays in the results, one that goes on, a correlation, and copies.
        let mut all: Vec<Finding> = (0..=day)
            .map(|at| finding(Kind::Anomaly, "daily", [at * 24, at * 24 + 1], 60.0))
            .collect();
        all.push(finding(Kind::Level, "long", [0, day * 24], 60.0));
        all.push(finding(Kind::Correlation, "a and b", [day, day + 100], 50.0));
        all.push(finding(Kind::Duplicates, "copies", [day * 24, day * 24], 50.0));
        let (insights, unsaid) = say(all, &before);
        counts.push(insights.len());
        assert_eq!(unsaid.known as i64, if day == 0 { 0 } else { day + 3 }, "day {day}");
        before.extend(said(&insights, day));
    }
    assert_eq!(counts[0], 4);
    assert!(counts[1..].iter().all(|count| *count == 1), "{counts:?}");
    // What is said of one subject each day is less and less new.
    let novelty: Vec<f64> = (0..4)
        .map(|n| {
            let next = finding(Kind::Anomaly, "daily", [2_000, 2_001], 60.0);
            let before: Vec<Said> =
                before.iter().filter(|one| one.subject == "daily").take(n).cloned().collect();
            say(vec![next], &before).0[0].novelty
        })
        .collect();
    assert_eq!(novelty, [1.0, 0.5, 1.0 / 3.0, 0.25]);
    // What lies further back takes nothing of it.
    let mut old = before.clone();
    old.iter_mut().for_each(|one| one.is_recent = false);
    let next = finding(Kind::Anomaly, "daily", [2_000, 2_001], 60.0);
    assert_eq!(say(vec![next], &old).0[0].novelty, 1.0);
}

#[test]
fn what_became_worse_is_said_again_under_its_name() {
    let (first, _) = say(vec![finding(Kind::Anomaly, "a", [0, 5], 50.0)], &[]);
    let before = said(&first, 0);
    let (same, unsaid) = say(vec![finding(Kind::Anomaly, "a", [0, 8], 64.9)], &before);
    assert_eq!((same.len(), unsaid.known), (0, 1));
    // It began a little earlier than was thought, too.
    let (worse, _) = say(vec![finding(Kind::Anomaly, "a", [-1, 8], 65.0)], &before);
    assert_eq!(worse[0].id, first[0].id);
    assert_eq!(worse[0].first_us, Some(0));
    let mut before = before;
    before.extend(said(&worse, 1));
    assert_eq!(before[1].first_us, 0);
    assert!(say(vec![finding(Kind::Anomaly, "a", [-1, 8], 79.0)], &before).0.is_empty());
}

#[test]
fn what_people_say_moves_the_order_and_hides_what_is_known_or_wrong() {
    let first: Vec<Finding> = ["a", "b", "c"]
        .iter()
        .map(|subject| finding(Kind::Anomaly, subject, [0, 1], 50.0))
        .chain([finding(Kind::Slope, "d", [0, 1], 50.0)])
        .collect();
    let (insights, _) = say(first.clone(), &[]);
    let before = said(&insights, 0);
    let id = |subject: &str| before.iter().find(|one| one.subject == subject).unwrap().id.clone();
    let verdicts: HashMap<String, Verdict> =
        [(id("a"), Verdict::Useful), (id("b"), Verdict::Wrong), (id("c"), Verdict::Known)].into();
    // The same, and worse: what is called known or wrong stays away, whatever became of it.
    let mut again = first;
    again.iter_mut().for_each(|one| one.severity = 90.0);
    let (insights, unsaid) = ranked(again, &before, &verdicts, ALL);
    let subjects: Vec<&str> = insights.iter().map(|one| one.finding.subject.as_str()).collect();
    assert_eq!((subjects, unsaid.dismissed), (vec!["a", "d"], 2));
    // Others of the same subjects, later: of anomalies one was useful and one wrong, which is as much as none.
    let later: Vec<Finding> = ["a", "b", "c", "e"]
        .iter()
        .map(|subject| finding(Kind::Anomaly, subject, [50, 51], 50.0))
        .collect();
    let (insights, _) = ranked(later, &before, &verdicts, ALL);
    let factors: Vec<(&str, f64)> =
        insights.iter().map(|one| (one.finding.subject.as_str(), one.feedback)).collect();
    // What was useful comes before what is new.
    assert_eq!((factors[0].0, factors[1].0), ("a", "e"), "{factors:?}");
    let factor = |subject: &str| factors.iter().find(|of| of.0 == subject).unwrap().1;
    // 2·(1 + 1) / (1 + 2), and the same of none useful.
    assert!(
        (factor("a") - 4.0 / 3.0).abs() < 1e-12 && (factor("b") - 2.0 / 3.0).abs() < 1e-12,
        "{factors:?}"
    );
    assert_eq!((factor("c"), factor("e")), (1.0, 1.0));
    // Many wrong ones of a kind bear on all of it, within bounds.
    let wrong: Vec<Said> = (0..100)
        .map(|at| Said { id: at.to_string(), subject: format!("s{at}"), ..before[0].clone() })
        .collect();
    let verdicts = wrong.iter().map(|one| (one.id.clone(), Verdict::Wrong)).collect();
    let of = Finding { kind: wrong[0].kind, ..finding(Kind::Anomaly, "new", [50, 51], 50.0) };
    assert_eq!(ranked(vec![of], &wrong, &verdicts, ALL).0[0].feedback, 0.1);
}
