//! What targets work on: an engine in memory with one small dataset of every type, a service over it, and a server.

use std::net::SocketAddr;
use std::sync::LazyLock;

use datasets::DatasetSpec;
use engine::{Access, Engine, EngineOptions, Error, IngestRequest, IngestRows, Principal};
use graphql::{Limits, Server, ServerOptions, Service};
use jobs::{Runner, RunnerOptions};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The dataset's name.
pub(crate) const CALLS: &str = "calls";

const ROWS: &str = r#"{"id": "a", "at": "2026-01-01T00:00:00Z", "model": "x", "tokens": 5, "latency_ms": 1.5, "cost": "0.25", "ok": true, "tags": ["p", "q"], "day": "2026-01-01", "payload": {"k": [1, 2]}}
{"id": "b", "at": "2026-01-02T00:00:00Z", "model": null, "tokens": null, "latency_ms": null}
{"id": "c", "at": "2026-02-01T12:30:00.123456Z", "model": "y\u0000\"z", "tokens": -9223372036854775808, "latency_ms": -0.0}
"#;

/// An engine, a service, a server, and threads for all of them.
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) service: Service,
    pub(crate) runtime: Runtime,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    pub(crate) serving: JoinHandle<Result<(), Error>>,
}

/// Made once.
pub(crate) static RIG: LazyLock<Rig> = LazyLock::new(|| match Rig::new() {
    Ok(rig) => rig,
    Err(error) => unreachable!("an engine in memory can not be opened: {}", error.detail()),
});

/// The spec of the dataset.
pub(crate) fn spec() -> Result<DatasetSpec, datasets::Error> {
    DatasetSpec::from_toml(include_str!("../calls.toml"), "calls.toml")
}

impl Rig {
    fn new() -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(engine::STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| Error::internal(error.to_string()))?;
        let (engine, runner) = runtime.block_on(async {
            let engine = Engine::open(EngineOptions {
                root: "memory:".to_owned(),
                access: Access::Writer { holder: "fuzz".to_owned() },
                memory_budget_bytes: 256 << 20,
                threads: 2,
                ..EngineOptions::default()
            })
            .await?;
            let (who, spec) = (Principal::local(), spec()?);
            engine.create_dataset(&who, spec.clone()).await?;
            let rows = IngestRows::Body {
                bytes: ROWS.into(),
                format: datasets::read::Format::Ndjson,
                name: "rows".to_owned(),
            };
            engine.ingest(&who, &spec.name, IngestRequest { rows, producer: None }).await?;
            let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
            let runner = Runner::start(engine.clone(), options).await?;
            Ok::<_, Error>((engine, runner))
        })?;
        let service = Service::new(engine.clone(), runner.clone(), Limits::default())?;
        let options =
            ServerOptions { listen: ([127, 0, 0, 1], 0).into(), ..ServerOptions::default() };
        let server = runtime.block_on(Server::bind(engine.clone(), runner, options))?;
        let address = server.address();
        let serving = runtime.spawn(server.run(std::future::pending()));
        Ok(Self { engine, service, runtime, address, serving })
    }
}
