//! The service and the server as their users meet them, over an engine in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod audit;
mod cases;
mod catalog;
mod columns;
mod connections;
mod cors;
mod declared;
mod distinct;
mod documents;
mod endings;
mod expected;
mod explain;
mod exports;
mod fills;
mod flight;
mod grants;
mod groups_live;
mod http;
mod http2;
mod hubs;
mod idempotency;
mod isolation;
mod kept;
mod keys;
mod limits;
mod measures;
mod metrics;
mod nested;
mod nodes;
mod otlp;
mod pages;
mod rates;
mod ready;
mod related;
mod reports;
mod revise;
mod rows;
mod samples;
mod schemas;
mod similar;
mod sql;
mod subscriptions;
mod tls;
mod triage;
mod websocket;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float32Type, Schema};
use async_graphql::Request;
use datasets::{DatasetName, DatasetSpec};
use engine::{
    Access, CommitLabel, Engine, EngineOptions, IngestReceipt, IngestRequest, IngestRows,
    Principal, WriteMode,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use jobs::{Runner, RunnerOptions};
use serde_json::{Value, json};

use crate::answer::{Answer, Answers, Event};
use crate::limits::Limits;
use crate::server::{Patience, Server, ServerOptions};
use crate::service::{Accepts, Service};

/// An engine in memory with a runner and a service.
pub(super) struct Rig {
    pub engine: Engine,
    pub runner: Runner,
    pub service: Service,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(super) async fn with_limits(limits: Limits) -> Self {
        Self::opened(limits, Vec::new()).await
    }

    /// One in which these datasets are expected.
    pub(super) async fn expecting(expected: Vec<DatasetSpec>) -> Self {
        Self::opened(Limits::default(), expected).await
    }

    async fn opened(limits: Limits, expected: Vec<DatasetSpec>) -> Self {
        let options = EngineOptions {
            expected,
            root: "memory:".to_owned(),
            access: Access::Writer { holder: "a test".to_owned() },
            memory_budget_bytes: 256 << 20,
            threads: 2,
            ..EngineOptions::default()
        };
        let engine = Engine::open(options).await.unwrap();
        let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let service = Service::new(engine.clone(), runner.clone(), limits).unwrap();
        Self { engine, runner, service }
    }

    /// The dataset `calls` with its ten rows, at version 1.
    pub(super) async fn with_calls() -> Self {
        let rig = Self::new().await;
        rig.create(calls_spec()).await;
        rig.append("calls", vec![calls()]).await;
        rig
    }

    pub(super) async fn create(&self, spec: DatasetSpec) {
        self.engine.create_dataset(&who(), spec).await.unwrap();
    }

    pub(super) async fn append(&self, dataset: &str, batches: Vec<RecordBatch>) -> u64 {
        self.write(dataset, WriteMode::Append, batches).await
    }

    pub(super) async fn write(
        &self,
        dataset: &str,
        mode: WriteMode,
        batches: Vec<RecordBatch>,
    ) -> u64 {
        let label = CommitLabel { operation: "test".to_owned(), ..CommitLabel::default() };
        let commit = self.engine.write(&who(), &name(dataset), mode, batches, label).await.unwrap();
        commit.version.0
    }

    /// Rows as NDJSON through ingest.
    pub(super) async fn ingest(&self, dataset: &str, lines: &str) -> IngestReceipt {
        let rows = IngestRows::Body {
            bytes: lines.to_owned().into(),
            format: datasets::read::Format::Ndjson,
            name: "body".to_owned(),
        };
        let request = IngestRequest { rows, producer: None };
        self.engine.ingest(&who(), &name(dataset), request).await.unwrap()
    }

    /// The answer to a query, as JSON, its request ids blotted out.
    pub(super) async fn ask(&self, query: &str) -> Value {
        self.ask_with(query, json!({})).await
    }

    pub(super) async fn ask_with(&self, query: &str, variables: Value) -> Value {
        let request = Request::new(query).variables(async_graphql::Variables::from_json(variables));
        self.ask_as(&who(), request).await
    }

    pub(super) async fn ask_as(&self, who: &Principal, request: impl Into<Request>) -> Value {
        match self.service.answer(who, request.into(), "id", Accepts::Single).await {
            Answers::One(answer) => document(&answer),
            Answers::Many(_) => panic!("a stream where one answer was asked for"),
        }
    }

    /// The answer as its client gets it.
    pub(super) async fn text(&self, query: &str) -> String {
        match self.service.answer(&who(), Request::new(query), "id", Accepts::Single).await {
            Answers::One(answer) => answer.json.into(),
            Answers::Many(_) => panic!("a stream for {query}"),
        }
    }

    /// The data of an answer without errors.
    pub(super) async fn data(&self, query: &str) -> Value {
        let answer = self.ask(query).await;
        assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
        answer["data"].clone()
    }

    /// A subscription's messages.
    pub(super) async fn subscribe(&self, query: &str) -> BoxStream<'static, Value> {
        self.subscribe_as(&who(), query).await
    }

    pub(super) async fn subscribe_as(
        &self,
        who: &Principal,
        query: &str,
    ) -> BoxStream<'static, Value> {
        self.stream_of(who, Request::new(query)).await
    }

    pub(super) async fn subscribe_with(&self, request: Request) -> BoxStream<'static, Value> {
        self.stream_of(&who(), request).await
    }

    async fn stream_of(&self, who: &Principal, request: Request) -> BoxStream<'static, Value> {
        let query = request.query.clone();
        match self.service.answer(who, request, "id", Accepts::Streams).await {
            Answers::One(answer) => panic!("one answer for {query}: {}", document(&answer)),
            Answers::Many(events) => messages_of(events).map(|answer| document(&answer)).boxed(),
        }
    }

    /// A server on a free port; it ends when the sender is dropped or used.
    pub(super) async fn serve(
        &self,
        options: ServerOptions,
    ) -> (String, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listen = "127.0.0.1:0".parse().unwrap();
        self.run(ServerOptions { listen, ..options }, |server| server.address().to_string()).await
    }

    /// The same, with the address where Flight SQL is spoken.
    pub(super) async fn serve_flight(
        &self,
        options: ServerOptions,
    ) -> (String, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = ServerOptions { listen, flight: Some(listen), ..options };
        let address = |server: &Server| {
            let url = server.flight_url().unwrap();
            url.strip_prefix("grpc://").unwrap().to_owned()
        };
        self.run(options, address).await
    }

    async fn run(
        &self,
        options: ServerOptions,
        address: impl FnOnce(&Server) -> String,
    ) -> (String, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let server = Server::bind(self.engine.clone(), self.runner.clone(), options).await.unwrap();
        let address = address(&server);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(async move {
            server.run(async { drop(stopped.await) }).await.unwrap();
        });
        (address, stop, running)
    }
}

/// The messages of a subscription's stream.
pub(super) fn messages_of(events: BoxStream<'static, Event>) -> BoxStream<'static, Answer> {
    let message = |event| {
        std::future::ready(match event {
            Event::Answer(answer) => Some(answer),
            Event::Position(_) | Event::Interrupted => None,
        })
    };
    events.filter_map(message).boxed()
}

pub(super) fn document(answer: &Answer) -> Value {
    let mut document: Value = serde_json::from_str(&answer.json).unwrap();
    let has_data = document.as_object().unwrap().contains_key("data");
    assert_eq!(has_data, answer.stage == crate::Stage::Executed);
    for error in document.get_mut("errors").and_then(Value::as_array_mut).into_iter().flatten() {
        assert_eq!(error["extensions"]["requestId"], "id");
        error["extensions"].as_object_mut().unwrap().remove("requestId");
    }
    document
}

/// A message within the time that a test may take, or a panic.
pub(super) async fn next(messages: &mut BoxStream<'static, Value>) -> Value {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), messages.next()).await;
    waited.expect("no message came").expect("the stream ended")
}

/// Patience short enough for a test to run out of it.
pub(super) fn short_patience() -> Patience {
    use std::time::Duration;
    Patience {
        init_max: Duration::from_millis(50),
        heartbeat: Duration::from_millis(200),
        ..Patience::default()
    }
}

pub(super) fn who() -> Principal {
    Principal::local()
}

pub(super) fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

/// A dataset with a column of every type.
pub(super) fn calls_spec() -> DatasetSpec {
    DatasetSpec::from_toml(
        r#"
        name = "calls"
        description = "Calls, for tests."
        owner = "tests"
        key = ["id"]
        time_column = "at"
        columns = [
            {name = "id", type = "text"},
            {name = "at", type = "timestamp"},
            {name = "model", type = "text", nullable = true},
            {name = "input_tokens", type = "int64", nullable = true, unit = "tokens"},
            {name = "retries", type = "int32", nullable = true},
            {name = "latency_ms", type = "float64", nullable = true, unit = "ms"},
            {name = "cost", type = "decimal(18,6)", nullable = true, unit = "usd"},
            {name = "day", type = "date", nullable = true},
            {name = "is_ok", type = "bool", nullable = true},
            {name = "payload", type = "json", nullable = true},
            {name = "digest", type = "bytes", nullable = true},
            {name = "tags", type = "list(text)", nullable = true},
            {name = "embedding", type = "vector(2)", nullable = true},
        ]
        "#,
        "calls",
    )
    .unwrap()
}

const START_US: i64 = 1_767_225_600_000_000; // 2026-01-01
const HOUR_US: i64 = 3_600_000_000;

/// Ten rows: with nulls, a NaN, a number beyond doubles, text that must be escaped.
pub(super) fn calls() -> RecordBatch {
    let schema = calls_spec().arrow_schema();
    let ids: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    let models = [
        Some("alpha"),
        Some("beta"),
        None,
        Some("alpha"),
        Some("50%_off\\"),
        Some("beta"),
        Some("alpha"),
        Some("\"quoted\""),
        None,
        Some("gamma"),
    ];
    let tokens = [
        Some(10i64),
        Some(20),
        Some(9_007_199_254_740_993),
        None,
        Some(50),
        Some(60),
        Some(70),
        Some(-5),
        Some(90),
        Some(100),
    ];
    let latencies = [
        Some(1.5),
        Some(f64::NAN),
        Some(3.25),
        Some(f64::INFINITY),
        None,
        Some(0.1),
        Some(-0.0),
        Some(8.0),
        Some(9.0),
        Some(10.0),
    ];
    let payloads = [
        Some("{\"a\":1}"),
        Some("[1,2]"),
        None,
        Some("null"),
        Some("\"text\""),
        None,
        None,
        Some("{\"deep\":{\"b\":[true]}}"),
        None,
        None,
    ];
    let vectors = (0..10).map(|i| (i % 2 == 0).then(|| vec![Some(i as f32 / 10.0), Some(1.0)]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(ids)),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(
                (0..10).map(|i| START_US + i * HOUR_US + i),
            )
            .with_timezone("UTC"),
        ),
        Arc::new(StringArray::from(models.to_vec())),
        Arc::new(Int64Array::from(tokens.to_vec())),
        Arc::new(Int32Array::from_iter((0..10).map(|i| (i != 4).then_some(i % 3)))),
        Arc::new(Float64Array::from(latencies.to_vec())),
        Arc::new(
            Decimal128Array::from_iter(
                (0..10).map(|i| (i != 1).then_some(i128::from(i) * 1_000_001)),
            )
            .with_precision_and_scale(18, 6)
            .unwrap(),
        ),
        Arc::new(Date32Array::from_iter((0..10).map(|i| (i != 3).then_some(20_454 + i / 4)))),
        Arc::new(BooleanArray::from_iter((0..10).map(|i| (i != 5).then_some(i % 2 == 0)))),
        Arc::new(StringArray::from(payloads.to_vec())),
        Arc::new(BinaryArray::from_iter((0..10u8).map(|i| (i != 6).then(|| vec![i, 255])))),
        tags(),
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors)),
    ];
    cast_to(&schema, columns)
}

fn tags() -> ArrayRef {
    let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for i in 0..10 {
        match i {
            2 => builder.append(false),
            i if i % 3 == 0 => {
                builder.values().append_value("x");
                builder.values().append_value("y, z");
                builder.append(true);
            }
            _ => builder.append(true),
        }
    }
    Arc::new(builder.finish())
}

/// Columns in the types of `schema`: lists differ in the names of their items.
pub(super) fn cast_to(schema: &Arc<Schema>, columns: Vec<ArrayRef>) -> RecordBatch {
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap())
        .collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}
