//! The rows of a body, as they come.

use std::collections::HashSet;

use serde::Serialize;

use super::attributes::{Kept, RESOURCE_BYTES_MAX};
use super::message::{Resource, Scope, Span};
use super::row::{Origin, named, rows_of};
use super::{SPAN_BYTES_MAX, Stop};

/// Rows of spans, as lines of JSON.
#[derive(Debug, Default)]
pub struct SpanRows {
    /// Those of `workflow_steps`.
    pub steps: Vec<u8>,
    /// How many they are.
    pub step_rows: u64,
    /// Those of `model_calls`.
    pub calls: Vec<u8>,
    /// How many they are.
    pub call_rows: u64,
    /// Spans that have nothing to do with generative AI.
    pub passed_over: u64,
    /// Spans that were sent twice in the body.
    pub repeated: u64,
    /// Spans that are none as they should be.
    pub rejected: Rejected,
}

/// Spans that became no row, and why.
#[derive(Debug, Default)]
pub struct Rejected {
    /// How many they are.
    pub spans: u64,
    /// What was wrong, how often, and with which span first; there are a few dozen things that can be.
    reasons: Vec<(String, u64, String)>,
}

impl Rejected {
    fn add(&mut self, why: String, which: impl FnOnce() -> String) {
        self.spans += 1;
        match self.reasons.iter_mut().find(|(known, ..)| *known == why) {
            Some((_, count, _)) => *count += 1,
            None => self.reasons.push((why, 1, which())),
        }
    }

    /// What was wrong, in words; nothing where nothing was.
    pub fn told(&self) -> String {
        let told = self.reasons.iter().map(|(why, spans, first)| match spans {
            1 => format!("1 span {why}: {first}"),
            _ => format!("{spans} spans {why}, the first {first}"),
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

/// What rows are collected in.
pub(super) struct Collector {
    pub(super) rows: SpanRows,
    bytes_max: usize,
    origin: Origin,
    /// The spans that were taken, by trace and span.
    taken: HashSet<(Vec<u8>, Vec<u8>)>,
}

impl Collector {
    pub(super) fn new(bytes_max: usize) -> Self {
        let (rows, origin) = (SpanRows::default(), Origin::default());
        Self { rows, bytes_max, origin, taken: HashSet::new() }
    }

    /// The spans that follow are of this resource.
    pub(super) fn begin_resource(&mut self, resource: &Resource) {
        self.origin.resource = Kept::of(&resource.attributes, RESOURCE_BYTES_MAX);
    }

    /// The spans that follow are of this scope.
    pub(super) fn begin_scope(&mut self, scope: Scope) {
        self.origin.scope = scope;
    }

    /// A span that is none of ours.
    pub(super) fn pass_over(&mut self) {
        self.rows.passed_over += 1;
    }

    /// A span that is not decoded.
    pub(super) fn refuse_large(&mut self, bytes: usize) {
        let most = SPAN_BYTES_MAX >> 20;
        let why = format!("larger than {most} MiB");
        self.rows.rejected.add(why, || format!("of {bytes} bytes"));
    }

    /// Takes a span as its rows.
    pub(super) fn take(&mut self, span: &Span) -> Result<(), Stop> {
        let (step, call) = match rows_of(span, &self.origin) {
            Ok(rows) => rows,
            Err(why) => {
                self.rows.rejected.add(why, || named(span));
                return Ok(());
            }
        };
        if !self.taken.insert((span.trace_id.clone(), span.span_id.clone())) {
            self.rows.repeated += 1;
            return Ok(());
        }
        let rows = &mut self.rows;
        add_line(&mut rows.steps, &step)?;
        rows.step_rows += 1;
        if let Some(call) = call {
            add_line(&mut rows.calls, &call)?;
            rows.call_rows += 1;
        }
        if rows.steps.len() + rows.calls.len() > self.bytes_max {
            return Err(Stop::Limit {
                what: "the rows of the spans".into(),
                limit: self.bytes_max,
            });
        }
        Ok(())
    }
}

fn add_line(to: &mut Vec<u8>, row: &impl Serialize) -> Result<(), Stop> {
    serde_json::to_writer(&mut *to, row).map_err(|error| Stop::Problem(error.to_string()))?;
    to.push(b'\n');
    Ok(())
}
