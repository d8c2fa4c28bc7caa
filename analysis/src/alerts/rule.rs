//! A rule: which rows of which dataset are a reason to alert, when that is told, to whom it matters how much, and when it is over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::span::{Span, SpanVisitor};

/// When to alert, and what to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name: lower-case letters, digits, `_` and `-`, a letter first, at most 63 bytes. Required.
    pub name: String,
    /// The dataset whose commits it looks at. Required.
    pub dataset: String,
    /// Which rows it looks at, as SQL. Default: null, every row.
    #[serde(rename = "where")]
    pub only: Option<String>,
    /// True of a row that is a reason to alert, as SQL. Required, unless there is `freshness`. Default: null.
    pub condition: Option<String>,
    /// The number that is shown, as SQL. Default: null.
    pub value: Option<String>,
    /// Columns; an alert is one for each combination of their values. Default: [], one alert for the rule.
    pub by: Vec<String>,
    /// The column of a row's instant. Default: null, the instant of the commit that brought the row.
    pub time: Option<String>,
    /// How long the condition must hold on every row of the group, in the rows' own time, before the alert fires; 0 fires at once.
    /// Default: 0.
    #[serde(rename = "for")]
    pub hold: Span,
    /// How long it must not hold, in the rows' own time, before the alert resolves; 0 at the first row where it is not true, "never"
    /// where each row is an event and none says that it is over (then `expires` is required). Default: 0.
    pub clear: Clear,
    /// An alert resolves by itself so long after the last row on which the condition held. Default: null, it does not.
    pub expires: Option<Span>,
    /// Whether the last row stands until a newer one of its group comes: then `for` and `clear` are also reached by the clock, without
    /// another row. Default: false.
    pub stands: bool,
    /// Alert where the dataset had no commit, or with `time` no row, newer than that; instead of a condition. Default: null.
    pub freshness: Option<Span>,
    /// How much it matters: info, warning or critical. Default: warning.
    pub severity: Severity,
    /// What is told: a text with `{value}` and `{column}` for each column of `by`; `{{` and `}}` stand for braces. Default: "", the
    /// name of the rule with group and value.
    pub summary: String,
    /// Tell again every so long while it fires and nobody acknowledged it; at least 1m. Default: null, it is told once.
    pub repeat: Option<Span>,
    /// What it becomes when nobody acknowledged it for so long: later steps are of higher severity. Default: [].
    pub escalate: Vec<Escalation>,
    /// Columns of `by`: alerts with equal values of them are told as one notice; [] tells all of the rule as one. Default: null, each
    /// alert by itself.
    pub group: Option<Vec<String>>,
    /// Texts that go with every notice, by name. Default: {}.
    pub labels: BTreeMap<String, String>,
}

/// How much an alert matters.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it today.
    #[default]
    Warning,
    /// Somebody should look at it now.
    Critical,
}

/// A step of an alert that nobody acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// How long after it could be known.
    pub after: Span,
    /// What it becomes.
    pub severity: Severity,
}

/// What ends an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Rows on which the condition does not hold, for so long.
    After(Span),
    /// No row.
    Never,
}

impl Severity {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for Clear {
    fn default() -> Self {
        Self::After(Span::ZERO)
    }
}

impl Rule {
    /// Whether it looks at the same rows in the same way as another: then what is known of its groups goes on. Only one of freshness has
    /// no condition, so that is told apart as well.
    pub(super) fn watches_as(&self, other: &Self) -> bool {
        let own = (&self.dataset, &self.only, &self.condition, &self.by, &self.time);
        own == (&other.dataset, &other.only, &other.condition, &other.by, &other.time)
    }

    /// The severity of an alert that took every step up to `escalated`.
    pub(super) fn severity_at(&self, escalated: Option<Span>) -> Severity {
        let taken = |step: &&Escalation| escalated.is_some_and(|last| step.after <= last);
        self.escalate.iter().take_while(taken).last().map_or(self.severity, |step| step.severity)
    }

    /// The first step after `escalated`.
    pub(super) fn next_step(&self, escalated: Option<Span>) -> Option<Escalation> {
        self.escalate.iter().find(|step| escalated.is_none_or(|last| step.after > last)).copied()
    }
}

impl Serialize for Clear {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::After(span) => span.serialize(serializer),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for Clear {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Or;
        impl Visitor<'_> for Or {
            type Value = Clear;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"never\", or ")?;
                SpanVisitor.expecting(f)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Clear, E> {
                SpanVisitor.visit_i64(number).map(Clear::After)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Clear, E> {
                SpanVisitor.visit_u64(number).map(Clear::After)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Clear, E> {
                match text {
                    "never" => Ok(Clear::Never),
                    other => SpanVisitor.visit_str(other).map(Clear::After).map_err(|e: E| {
                        E::custom(e.to_string().replacen("expected ", "expected \"never\", or ", 1))
                    }),
                }
            }
        }
        deserializer.deserialize_any(Or)
    }
}

impl JsonSchema for Clear {
    fn schema_name() -> Cow<'static, str> {
        "Clear".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(never|0|([0-9]+(w|d|h|ms|m|us|s))+)$" })
    }
}
