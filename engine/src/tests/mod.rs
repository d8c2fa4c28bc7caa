//! The engine as a whole, over stores in memory, on disk and with faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Measurements and what is skipped are said to the one who runs the tests.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bad_queries;
mod bounded;
mod broken;
mod cancelled;
mod changes;
mod checkpoints;
mod compact;
mod conflict;
mod doctor;
mod dropped;
mod evolution;
mod export;
mod export_places;
mod faults;
mod few_first;
mod functions;
mod golden;
mod grants;
mod ingest;
mod instants;
mod load;
mod measure;
mod newest;
mod numbers;
mod odd_arguments;
mod or_null;
mod publication;
mod reshape;
mod revise;
mod roots;
mod semantics;
mod settings;
mod several;
mod sliding;
mod sql;
mod tables;
mod vacuum;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use datasets::read::Format;
use datasets::{DatasetName, DatasetSpec};

use crate::lake::{Author, Checked, DataFiles, FileWriter, Head, Proposal, Table};
use crate::{
    Access, CommitLabel, Engine, EngineOptions, IngestReceipt, IngestRequest, IngestRows,
    Principal, ProducerSequence, Result, Session,
};

/// A dataset with a computed partition, a nullable column and a check.
pub(super) fn calls() -> DatasetSpec {
    DatasetSpec::from_toml(
        r#"
            name = "calls"
            description = "Calls, for tests."
            key = ["id"]
            time_column = "at"
            evolution = "add_nullable"
            partition_by = [{column = "at_month", from = "at", transform = "month"}]
            columns = [
                {name = "id", type = "int64"},
                {name = "at", type = "timestamp"},
                {name = "model", type = "text", nullable = true},
                {name = "tokens", type = "int64", nullable = true, unit = "tokens"},
            ]
            validations = [{check = "range", column = "tokens", min = 0.0}]
        "#,
        "calls.toml",
    )
    .unwrap()
}

pub(super) fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

pub(super) fn who() -> Principal {
    Principal::local()
}

pub(super) fn options(root: &str) -> EngineOptions {
    EngineOptions {
        root: root.to_owned(),
        access: Access::Writer { holder: "a test".to_owned() },
        memory_budget_bytes: 256 << 20,
        threads: 2,
        ..EngineOptions::default()
    }
}

/// An engine with a store of its own in memory, and the dataset `calls`.
pub(super) async fn engine() -> Engine {
    engine_at("memory:").await
}

/// An engine on `root`, where it makes the dataset `calls`.
pub(super) async fn engine_at(root: &str) -> Engine {
    let engine = Engine::open(options(root)).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    engine
}

/// Rows of `calls` that were written as files, and not committed yet.
pub(super) struct Late {
    table: Arc<Table>,
    files: DataFiles,
}

impl Late {
    pub(super) async fn new(engine: &Engine, ids: std::ops::Range<i64>) -> Self {
        let table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
        let mut writer = FileWriter::new(&table, &*table.head().await).unwrap();
        let mut checked = Checked::new(&*table.head().await);
        writer.write(checked.check(&rows(ids)).unwrap()).await.unwrap();
        let files = writer.finish().await.unwrap();
        Self { table, files }
    }

    pub(super) async fn commit(mut self, engine: &Engine) -> Result<()> {
        let table = Arc::clone(&self.table);
        engine.lake().commit(&table, "late", &label("late"), &mut self).await.map(drop)
    }
}

#[async_trait::async_trait]
impl Author for Late {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        Ok(Some(Proposal::adding([&self.files])))
    }
}

/// Rows of `calls` with these ids, a day apart.
pub(super) fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    const DAY_US: i64 = 86_400_000_000;
    const START_US: i64 = 1_767_225_600_000_000; // 2026-01-01
    let ids: Vec<i64> = ids.collect();
    let at = ids.iter().map(|id| START_US + id * DAY_US);
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC"))),
        (
            "model",
            Arc::new(StringArray::from_iter_values(ids.iter().map(|i| format!("m{}", i % 3)))),
        ),
        ("tokens", Arc::new(Int64Array::from_iter_values(ids.iter().map(|i| i * 10)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(super) fn ndjson(text: &str) -> IngestRows {
    let bytes = Bytes::from(text.to_owned());
    IngestRows::Body { bytes, format: Format::Ndjson, name: "body".to_owned() }
}

pub(super) fn sequence(producer: &str, sequence: i64) -> Option<ProducerSequence> {
    Some(ProducerSequence { producer: producer.to_owned(), sequence })
}

pub(super) async fn send(
    engine: &Engine,
    ids: std::ops::Range<i64>,
    producer: Option<ProducerSequence>,
) -> Result<IngestReceipt> {
    let rows = IngestRows::Batches(vec![rows(ids)]);
    engine.ingest(&who(), &name("calls"), IngestRequest { rows, producer }).await
}

pub(super) fn label(operation: &str) -> CommitLabel {
    CommitLabel { operation: operation.to_owned(), ..CommitLabel::default() }
}

pub(super) async fn session(engine: &Engine) -> Session {
    engine.session(&who(), &[]).await.unwrap()
}

/// The answer to a query, as text.
pub(super) async fn query(engine: &Engine, sql: &str) -> String {
    let session = session(engine).await;
    let frame = session.sql(sql).await.unwrap();
    table(&session.collect(frame).await.unwrap())
}

pub(super) fn table(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// The one number that a query answers.
pub(super) async fn number(engine: &Engine, sql: &str) -> i64 {
    let session = session(engine).await;
    let frame = session.sql(sql).await.unwrap();
    let batches = session.collect(frame).await.unwrap();
    let column = batches[0].column(0);
    column.as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}
