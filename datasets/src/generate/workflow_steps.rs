//! Workflow steps: orders on their way through a process, case after case; some take far too long, because of
//! one clerk's credit checks or because a step had to wait for stock.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};

use super::random::RowRng;
use super::truth::{PlantedSlowCase, Truth};
use super::{GeneratorOptions, Rows, SPAN_DAYS, START_US, timestamps};
use crate::error::Result;

const MINUTE_US: f64 = 60_000_000.0;
const SPAN_US: f64 = SPAN_DAYS as f64 * 86_400.0 * 1e6;
/// An activity: its name, usual length in minutes, usual wait before it in minutes, and who does it.
type Activity = (&'static str, f64, f64, &'static [&'static str]);
const RECEIVE: Activity = ("receive order", 4.0, 0.0, &["intake-bot"]);
const CHECK: Activity = (
    "check credit",
    25.0,
    40.0,
    &["clerk-1", "clerk-2", "clerk-3", "clerk-4", "clerk-5", "clerk-6"],
);
const REVIEW: Activity = ("manual review", 45.0, 120.0, &["analyst-1", "analyst-2"]);
const APPROVE: Activity = ("approve", 6.0, 60.0, &["lead-1", "lead-2", "lead-3"]);
const REJECT: Activity = ("reject", 5.0, 60.0, &["lead-1", "lead-2", "lead-3"]);
const PICK: Activity =
    ("pick goods", 35.0, 180.0, &["picker-1", "picker-2", "picker-3", "picker-4"]);
const SHIP: Activity = ("ship", 20.0, 90.0, &["dock-1", "dock-2"]);
const INVOICE: Activity = ("send invoice", 3.0, 30.0, &["billing-bot"]);
const PAY: Activity = ("receive payment", 2.0, 2_000.0, &["billing-bot"]);

/// The clerk whose checks can take days.
const SLOW_CLERK: &str = "clerk-4";
/// One case in this many is made slow by a cause.
const SLOW_CLERK_ONE_IN: usize = 5;
const STOCK_ONE_IN: usize = 45;
const SLOW_FACTOR: f64 = 30.0;
/// Slow cases are planted (and listed) only among this many first cases, so that planning stays quick.
const PLANTED_CASES_MAX: u64 = 100_000;

/// One step of a case.
struct Step {
    activity: &'static str,
    resource: &'static str,
    started_us: i64,
    ended_us: i64,
}

/// A case, which follows from the seed and its number.
struct Case {
    steps: Vec<Step>,
    /// Index of the step that took too long, and why.
    slow: Option<(usize, String)>,
    amount: usize,
    region: &'static str,
}

struct Steps {
    seed: u64,
    /// Cases in all, at a guess: they start evenly over the span.
    cases: f64,
    case: u64,
    open: Option<(Case, usize)>,
}

pub(super) fn plan(options: &GeneratorOptions) -> (Box<dyn Rows>, Truth) {
    let cases = (options.rows as f64 / 7.2).max(1.0);
    let mut truth = Truth::default();
    let mut left = options.rows;
    for number in 0..PLANTED_CASES_MAX {
        let case = case(options.seed, number, cases);
        // A case that is cut off by the end of the rows is no finding.
        let Some(rest) = left.checked_sub(case.steps.len() as u64) else { break };
        left = rest;
        if let Some((step, cause)) = case.slow {
            truth.slow_cases.push(PlantedSlowCase {
                case_id: case_id(number),
                activity: case.steps[step].activity.to_owned(),
                cause,
            });
        }
    }
    (Box::new(Steps { seed: options.seed, cases, case: 0, open: None }), truth)
}

fn case_id(number: u64) -> String {
    format!("order-{number:08}")
}

fn case(seed: u64, number: u64, cases: f64) -> Case {
    let mut draw = RowRng::new(seed ^ 0xCA5E, number);
    let mut path = vec![RECEIVE, CHECK];
    if draw.below(5) == 0 {
        path.push(REVIEW);
    }
    if draw.below(12) == 0 {
        path.push(REJECT);
    } else {
        path.extend([APPROVE, PICK, SHIP, INVOICE]);
        if draw.below(10) != 0 {
            path.push(PAY);
        }
    }
    let mut at = START_US as f64 + SPAN_US * (number as f64 + draw.unit()) / cases;
    let mut slow = None;
    let mut steps = Vec::with_capacity(path.len());
    for (index, (activity, length, wait, resources)) in path.into_iter().enumerate() {
        let resource = draw.pick(resources);
        let mut minutes = length * (0.35 * draw.normal()).exp();
        let waiting = wait * (0.5 * draw.normal()).exp();
        let cause = if number >= PLANTED_CASES_MAX || slow.is_some() {
            None
        } else if activity == CHECK.0
            && resource == SLOW_CLERK
            && draw.below(SLOW_CLERK_ONE_IN) == 0
        {
            Some(format!("resource:{SLOW_CLERK}"))
        } else if activity == PICK.0 && draw.below(STOCK_ONE_IN) == 0 {
            Some(format!("activity:{}", PICK.0))
        } else {
            None
        };
        if let Some(cause) = cause {
            minutes *= SLOW_FACTOR;
            slow = Some((index, cause));
        }
        let started = at + waiting * MINUTE_US;
        at = started + minutes * MINUTE_US;
        steps.push(Step { activity, resource, started_us: started as i64, ended_us: at as i64 });
    }
    let region = ["north", "south", "east", "west"][draw.below(4)];
    Case { steps, slow, amount: 20 + draw.below(4_000), region }
}

impl Steps {
    /// Appends the next step of the open case, or of the next one.
    fn next_step(&mut self) -> (u64, Step, usize, &'static str) {
        loop {
            if let Some((case, at)) = &mut self.open
                && let Some(step) = case.steps.get(*at)
            {
                *at += 1;
                return (self.case - 1, Step { ..*step }, case.amount, case.region);
            }
            self.open = Some((case(self.seed, self.case, self.cases), 0));
            self.case += 1;
        }
    }
}

impl Rows for Steps {
    fn next_columns(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let text = |bytes: usize| StringBuilder::with_capacity(count, count * bytes);
        let (mut cases, mut activities) = (text(15), text(14));
        let (mut resources, mut attributes) = (text(10), text(36));
        let (mut started, mut ended) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut written = String::new();
        for _ in 0..count {
            let (case, step, amount, region) = self.next_step();
            cases.append_value(case_id(case));
            activities.append_value(step.activity);
            started.push(step.started_us);
            ended.push(step.ended_us);
            resources.append_value(step.resource);
            written.clear();
            // Writing to a string can't fail.
            let _ = write!(written, r#"{{"amount":{amount},"region":"{region}"}}"#);
            attributes.append_value(&written);
        }
        Ok(vec![
            Arc::new(cases.finish()),
            Arc::new(activities.finish()),
            timestamps(started),
            timestamps(ended),
            Arc::new(resources.finish()),
            Arc::new(attributes.finish()),
        ])
    }
}
