//! Events: logins, deployments, alerts and the like, in a working rhythm, with bursts of one kind.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};

use super::random::{RowRng, weighted};
use super::rhythm::{HOUR_US, Rhythm};
use super::truth::{AnomalyKind, PlantedAnomaly, Truth};
use super::{GeneratorOptions, Rows, SPAN_DAYS, START_US, instant, timestamps};
use crate::error::Result;

/// Kinds of event, how often they come, and what may burst.
const KINDS: [(&str, f64); 8] = [
    ("user_login", 30.0),
    ("page_view", 40.0),
    ("tool_call", 16.0),
    ("document_indexed", 8.0),
    ("login_failed", 2.0),
    ("alert_raised", 1.5),
    ("deployment", 0.5),
    ("quota_exceeded", 2.0),
];
const BURSTING: [usize; 3] = [4, 5, 7];
const SOURCES: [&str; 6] = ["web", "api", "mobile", "scheduler", "gateway", "worker"];
/// Bursts are planted only where their rows stand out of the usual ones.
const ROWS_MIN: u64 = 5_000;
const BURST_EVERY_DAYS: usize = 6;
/// How many times as many events come in an hour with a burst, and which share of them is of its kind.
const BURST_FACTOR: f64 = 3.0;

struct Events {
    seed: u64,
    rhythm: Rhythm,
    row: u64,
    /// Hour and kind of each burst.
    bursts: Vec<(usize, usize)>,
}

pub(super) fn plan(options: &GeneratorOptions) -> (Box<dyn Rows>, Truth) {
    let mut truth = Truth::default();
    let mut bursts = Vec::new();
    if options.rows >= ROWS_MIN {
        for (number, day) in (3..SPAN_DAYS).step_by(BURST_EVERY_DAYS).enumerate() {
            let mut draw = RowRng::new(options.seed ^ 0xE7, number as u64);
            let hour = day * 24 + 8 + draw.below(10);
            let kind = BURSTING[number % BURSTING.len()];
            bursts.push((hour, kind));
            truth.anomalies.push(PlantedAnomaly {
                series: KINDS[kind].0.to_owned(),
                kind: AnomalyKind::EventBurst,
                start: instant(START_US + hour as i64 * HOUR_US),
                end: instant(START_US + (hour as i64 + 1) * HOUR_US - 1),
            });
        }
    }
    let burst_hours: Vec<usize> = bursts.iter().map(|(hour, _)| *hour).collect();
    let rhythm = Rhythm::new(SPAN_DAYS * 24, options.rows, |hour| {
        if burst_hours.contains(&hour) { BURST_FACTOR } else { 1.0 }
    });
    (Box::new(Events { seed: options.seed, rhythm, row: 0, bursts }), truth)
}

impl Rows for Events {
    fn next_columns(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut ids = StringBuilder::with_capacity(count, count * 14);
        let mut kinds = StringBuilder::with_capacity(count, count * 12);
        let mut sources = StringBuilder::with_capacity(count, count * 8);
        let mut payloads = StringBuilder::with_capacity(count, count * 80);
        let mut at = Vec::with_capacity(count);
        let mut text = String::new();
        for _ in 0..count {
            let mut draw = RowRng::new(self.seed, self.row);
            let us = self.rhythm.at_us(self.row, draw.unit());
            let hour = ((us - START_US) / HOUR_US) as usize;
            let burst = self.bursts.iter().find(|(of, _)| *of == hour);
            let kind = match burst {
                Some((_, kind)) if draw.unit() < 1.0 - 1.0 / BURST_FACTOR => *kind,
                _ => weighted(draw.unit(), KINDS.iter().map(|(_, weight)| *weight)),
            };
            let source = if burst.is_some_and(|(_, of)| *of == kind) {
                SOURCES[kind % SOURCES.len()]
            } else {
                draw.pick(&SOURCES)
            };
            text.clear();
            let (user, millis, status) = (draw.below(5_000), draw.below(900), draw.below(20));
            // Writing to a string can't fail.
            let _ = write!(
                text,
                r#"{{"user":"user-{user:04}","duration_ms":{millis},"ok":{},"region":"{}"}}"#,
                status != 0 && kind != 4,
                ["eu", "us", "ap"][user % 3]
            );
            payloads.append_value(&text);
            text.clear();
            let _ = write!(text, "event-{:010}", self.row);
            ids.append_value(&text);
            kinds.append_value(KINDS[kind].0);
            sources.append_value(source);
            at.push(us);
            self.row += 1;
        }
        Ok(vec![
            Arc::new(ids.finish()),
            timestamps(at),
            Arc::new(kinds.finish()),
            Arc::new(sources.finish()),
            Arc::new(payloads.finish()),
        ])
    }
}
