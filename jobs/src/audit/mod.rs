//! What was done, by whom, and how it came out: each act is a row of the dataset `audit` of its tenant, and the rows are a chain.
//!
//! ```text
//!  begin_act ──▶ control: begun ──▶ the act itself ──▶ end_act ──▶ control: row n, its hash from that of row n-1 ──▶ answered
//!                    │                                                      │
//!                    └─ its process is gone: ended as UNKNOWN               └─ projection: rows of the dataset `audit`, each once
//! ```
//! An act is in control state before it begins, and its row before it is answered: so what was acknowledged has its row, and what a crash
//! cut off has one that says so. A row's hash is SHA-256 over the hash of the row before, its number and what it says, so none can be
//! changed, taken out or put elsewhere without all behind it being other ones; the last is also in control state (`verify`).
//! No row has a secret or a value of a dataset: of the arguments there is a digest, and the name of what it was done to.

mod chain;
mod dataset;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;

use chrono::{DateTime, Utc};
use engine::{Code, Principal};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use chain::{GENESIS, hash_of};
pub use dataset::AUDIT;
pub(crate) use dataset::{append, audit_spec, hash_at, last};
pub use verify::Verified;

/// Longest text of an act.
const TEXT_BYTES_MAX: usize = 200;
/// How an act came out that nobody saw end.
pub(crate) const UNKNOWN: &str = "UNKNOWN";

/// An act that is to begin.
#[derive(Clone, Debug, Default)]
pub struct NewAct {
    /// Where it was asked for: `graphql` or `command line`.
    pub via: String,
    /// The name of the operation that it is in.
    pub operation: Option<String>,
    /// What is done.
    pub field: String,
    /// To what.
    pub target: Option<String>,
    /// The digest of how.
    pub arguments_sha256: String,
    /// The request, as logs and errors know it.
    pub request_id: String,
}

impl NewAct {
    /// The digest of arguments, which are canonical as a text.
    pub fn digest(arguments: &str) -> String {
        Sha256::digest(arguments.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An act as its row has it. The order of the fields is that of the text which is hashed: it never changes, and what comes is added at
/// the end where it is skipped when absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) begun_us: i64,
    pub(crate) ended_us: i64,
    pub(crate) subject: String,
    pub(crate) credential: String,
    pub(crate) via: String,
    pub(crate) operation: Option<String>,
    pub(crate) field: String,
    pub(crate) target: Option<String>,
    pub(crate) arguments_sha256: String,
    pub(crate) outcome: String,
    pub(crate) request_id: String,
}

impl Act {
    /// One that begins now.
    pub(crate) fn new(id: String, who: &Principal, new: NewAct, now: DateTime<Utc>) -> Self {
        let text = |text: String| shortened(&text);
        Self {
            id,
            tenant: who.tenant.to_string(),
            begun_us: now.timestamp_micros(),
            ended_us: now.timestamp_micros(),
            subject: text(who.subject.clone()),
            credential: who.credential.to_string(),
            via: text(new.via),
            operation: new.operation.map(text),
            field: text(new.field),
            target: new.target.map(text),
            arguments_sha256: new.arguments_sha256,
            outcome: UNKNOWN.to_owned(),
            request_id: text(new.request_id),
        }
    }

    /// The same, ended.
    pub(crate) fn ended(
        mut self,
        outcome: Outcome,
        target: Option<&str>,
        now: DateTime<Utc>,
    ) -> Self {
        self.ended_us = now.timestamp_micros();
        self.outcome = outcome.to_string();
        if let Some(target) = target {
            self.target = Some(shortened(target));
        }
        self
    }
}

/// How an act came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It failed, or was refused.
    Failed(Code),
    /// Nobody saw it end: its process was gone.
    Unknown,
}

impl Outcome {
    /// Of what came of it.
    pub fn of<T>(result: &engine::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) => Self::Failed(error.code()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "OK",
            Self::Failed(code) => code.as_str(),
            Self::Unknown => UNKNOWN,
        })
    }
}

/// In one line, and not longer than a row has it.
fn shortened(text: &str) -> String {
    let mut plain: String = text.chars().filter(|letter| !letter.is_control()).collect();
    while plain.len() > TEXT_BYTES_MAX {
        plain.pop();
    }
    plain
}
