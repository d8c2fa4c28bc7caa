//! The rows that `alerts` commits: alerts as they are, what happened to them, what people are to be told, and how far it is.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};
use serde_json::json;

use super::NAME;
use crate::tables::columns::{column, instants, of_sources, timestamps};
use analysis::alerts::{AlertRow, Event, Notice, State, alert_rows};

fn required(name: &str, data_type: ColumnType, about: &str) -> ColumnSpec {
    column(name, data_type, false, about)
}

fn optional(name: &str, data_type: ColumnType, about: &str) -> ColumnSpec {
    column(name, data_type, true, about)
}

/// Alerts as they are.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let columns = vec![
        required("source", ColumnType::Text, "The dataset that the rule looks at"),
        required("rule", ColumnType::Text, "The rule"),
        required(
            "group",
            ColumnType::Text,
            "Which of its alerts, as `host=a, disk=sda`; empty where a rule has one",
        ),
        required("state", ColumnType::Text, "pending, firing, acknowledged or resolved"),
        required("severity", ColumnType::Text, "info, warning or critical"),
        required(
            "since",
            ColumnType::Timestamp,
            "The first row of those on which the condition holds",
        ),
        optional("firing_since", ColumnType::Timestamp, "From when on it fires"),
        optional("resolved_at", ColumnType::Timestamp, "When it was over"),
        optional(
            "value",
            ColumnType::Float64,
            "The rule's value of the newest row on which the condition held",
        ),
        required("summary", ColumnType::Text, "What is told of it"),
        optional("silenced_by", ColumnType::Text, "The silence that keeps it quiet"),
        optional("acknowledged_by", ColumnType::Text, "Who has it"),
        optional("acknowledged_at", ColumnType::Timestamp, "Since when"),
        optional("comment", ColumnType::Text, "What they say"),
        required("labels", ColumnType::Json, "The rule's labels"),
    ];
    of_sources(
        name,
        "What alerts are pending, firing, or were a day ago",
        ["source", "rule", "group"],
        Some("since"),
        columns,
    )
}

/// What happened to alerts.
pub(super) fn events_spec(name: DatasetName) -> DatasetSpec {
    let columns = vec![
        required("id", ColumnType::Text, "What it is known by: a function of what caused it"),
        required("source", ColumnType::Text, "The dataset that the rule looks at"),
        required("rule", ColumnType::Text, "The rule"),
        required("group", ColumnType::Text, "Which of its alerts"),
        required(
            "event",
            ColumnType::Text,
            "pending, firing, resolved, severity, acknowledged, silenced, unsilenced or reminder",
        ),
        required("at", ColumnType::Timestamp, "The instant that caused it, in the rows' own time"),
        required("known_at", ColumnType::Timestamp, "When it could be known"),
        required("severity", ColumnType::Text, "info, warning or critical"),
        optional(
            "value",
            ColumnType::Float64,
            "The rule's value of the newest row on which the condition held",
        ),
        required("summary", ColumnType::Text, "What is told"),
        optional(
            "source_version",
            ColumnType::Int64,
            "The version of the rule's dataset with the row that it rests on",
        ),
        optional("silenced_by", ColumnType::Text, "The silence because of which it is not told"),
        optional("by", ColumnType::Text, "Who acknowledged, or made the silence"),
        optional("note", ColumnType::Text, "Why it is over, or what somebody said"),
    ];
    of_sources(name, "What happened to alerts, each once", ["id"], Some("known_at"), columns)
}

/// What people are to be told.
pub(super) fn outbox_spec(name: DatasetName) -> DatasetSpec {
    let columns = vec![
        required("id", ColumnType::Text, "What it is known by: the same for the same events"),
        required("source", ColumnType::Text, "The dataset that the rule looks at"),
        required("rule", ColumnType::Text, "The rule"),
        required("group", ColumnType::Text, "What its alerts have in common"),
        required("severity", ColumnType::Text, "The highest of its events"),
        required("known_at", ColumnType::Timestamp, "When it could be known"),
        required("text", ColumnType::Text, "A line for each event"),
        required("events", ColumnType::Json, "Ids of the events"),
        required("labels", ColumnType::Json, "The rule's labels"),
    ];
    of_sources(
        name,
        "Notices of alerts, for whatever delivers them",
        ["id"],
        Some("known_at"),
        columns,
    )
}

/// How far the rules of a dataset are.
pub(super) fn state_spec(name: DatasetName) -> DatasetSpec {
    let columns = vec![
        required("source", ColumnType::Text, "The dataset that the rules look at"),
        required(
            "state",
            ColumnType::Json,
            "What is known of its alerts, and up to which versions it was read",
        ),
    ];
    of_sources(name, "How far the job alerts is", ["source"], None, columns)
}

/// Alerts as rows.
pub(super) fn batch(spec: &DatasetSpec, source: &str, state: &State) -> Result<RecordBatch> {
    let rows = alert_rows(state);
    let texts = |get: &dyn Fn(&AlertRow) -> Option<String>| {
        Arc::new(StringArray::from_iter(rows.iter().map(get))) as ArrayRef
    };
    let times = |get: &dyn Fn(&AlertRow) -> Option<i64>| instants(rows.iter().map(get));
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| Some(source.to_owned())),
        texts(&|row| Some(row.rule.clone())),
        texts(&|row| Some(row.group.clone())),
        texts(&|row| Some(row.state.clone())),
        texts(&|row| Some(row.severity.to_string())),
        timestamps(rows.iter().map(|row| row.since_us)),
        times(&|row| row.firing_us),
        times(&|row| row.resolved_us),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.value))),
        texts(&|row| Some(row.summary.clone())),
        texts(&|row| row.silenced.clone()),
        texts(&|row| row.acknowledged_by.clone()),
        times(&|row| row.acknowledged_us),
        texts(&|row| row.comment.clone()),
        texts(&|row| Some(json!(row.labels).to_string())),
    ];
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

/// Events as rows.
pub(super) fn events_batch(
    spec: &DatasetSpec,
    source: &str,
    events: &[Event],
) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Event) -> Option<String>| {
        Arc::new(StringArray::from_iter(events.iter().map(get))) as ArrayRef
    };
    let version = |event: &Event| event.version.and_then(|version| i64::try_from(version).ok());
    let columns: Vec<ArrayRef> = vec![
        texts(&|event| Some(event.id.clone())),
        texts(&|_| Some(source.to_owned())),
        texts(&|event| Some(event.rule.clone())),
        texts(&|event| Some(event.group.to_string())),
        texts(&|event| Some(event.what.as_str().to_owned())),
        timestamps(events.iter().map(|event| event.at_us)),
        timestamps(events.iter().map(|event| event.known_us)),
        texts(&|event| Some(event.severity.to_string())),
        Arc::new(Float64Array::from_iter(events.iter().map(|event| event.value))),
        texts(&|event| Some(event.summary.clone())),
        Arc::new(Int64Array::from_iter(events.iter().map(version))),
        texts(&|event| event.silenced.clone()),
        texts(&|event| event.by.clone()),
        texts(&|event| event.note.clone()),
    ];
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

/// Notices as rows.
pub(super) fn outbox_batch(
    spec: &DatasetSpec,
    source: &str,
    notices: &[Notice],
) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Notice) -> String| {
        Arc::new(StringArray::from_iter_values(notices.iter().map(get))) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|notice| notice.id.clone()),
        texts(&|_| source.to_owned()),
        texts(&|notice| notice.rule.clone()),
        texts(&|notice| notice.group.clone()),
        texts(&|notice| notice.severity.to_string()),
        timestamps(notices.iter().map(|notice| notice.known_us)),
        texts(&|notice| notice.lines.join("\n")),
        texts(&|notice| json!(notice.events).to_string()),
        texts(&|notice| json!(notice.labels).to_string()),
    ];
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

/// How far they are, as a row.
pub(super) fn state_batch(spec: &DatasetSpec, source: &str, kept: &str) -> Result<RecordBatch> {
    let one = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let columns = vec![one(source), one(kept)];
    RecordBatch::try_new(spec.arrow_schema(), columns)
        .map_err(|error| Error::internal(format!("{NAME}: state: {error}")))
}
