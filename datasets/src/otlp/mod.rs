//! Spans as OTLP brings them, as rows of `model_calls` and `workflow_steps`.
//!
//! Spans follow the semantic conventions for generative AI of OpenTelemetry: those that have an attribute `gen_ai.…` become rows, all
//! others are passed over. A body is walked span by span, so that no more than one of them is decoded at a time: a few bytes of a
//! message may stand for many in memory.
//!
//! ```text
//!   body ── protobuf.rs ─┐
//!                        ├─▶ message.rs: one span ──▶ row.rs: its step, its call, or why neither ──▶ lines of JSON
//!   body ── json.rs ─────┘                              └─ attributes.rs: what is kept of its attributes
//! ```
//! Sources: opentelemetry-proto (trace/v1, common/v1, and the mapping to JSON of its specification); semantic-conventions-genai,
//! docs/gen-ai, and the names that the conventions had before.

mod attributes;
mod collect;
mod json;
mod message;
mod protobuf;
mod row;
#[cfg(test)]
mod tests;

pub use collect::{Rejected, SpanRows};

use crate::error::{Error, Result};
use collect::Collector;

/// Largest span that is decoded, in bytes as it came; so for a resource.
pub const SPAN_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting of lists in an attribute that is kept; what is below is cut.
pub const NESTING_MAX: usize = 16;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// The rows of all spans of an `ExportTraceServiceRequest`. Fails for a body that is none, and for one whose rows take more than
/// `rows_bytes_max`.
pub fn rows_of(body: &[u8], encoding: Encoding, rows_bytes_max: usize) -> Result<SpanRows> {
    let mut into = Collector::new(rows_bytes_max);
    let read = match encoding {
        Encoding::Protobuf => protobuf::read(body, &mut into),
        Encoding::Json => json::read(body, &mut into),
    };
    match read {
        Ok(()) => Ok(into.rows),
        Err(Stop::Problem(problem)) => {
            Err(Error::Unreadable { source_name: "body".into(), format: "OTLP traces", problem })
        }
        Err(Stop::Limit { what, limit }) => {
            let limit = limit as u64;
            Err(Error::Limit { source_name: "body".into(), what, limit, unit: "bytes" })
        }
    }
}

/// Why a body is not read to its end.
#[derive(Debug)]
enum Stop {
    /// It is not what it should be.
    Problem(String),
    /// A bound was reached.
    Limit { what: String, limit: usize },
}

impl Stop {
    /// The same, in a part of the body.
    fn within(self, part: impl std::fmt::Display) -> Self {
        match self {
            Self::Problem(problem) => Self::Problem(format!("{part}: {problem}")),
            limit @ Self::Limit { .. } => limit,
        }
    }
}
