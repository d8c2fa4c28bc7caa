//! A served instance, and the two doors into it: ingest and GraphQL.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::PATIENCE;
use super::binary::{binary, colonnade, peak_memory_bytes, resident_bytes, without_settings};

/// `colonnade serve` on a free port. Dropping it kills it.
pub struct Server {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// `127.0.0.1:PORT`
    pub address: String,
    pub client: reqwest::Client,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Server {
    pub async fn start(root: &Path) -> Self {
        Self::start_with(root, &[]).await
    }

    /// Serves a new root with an empty dataset of a built-in kind.
    pub async fn holding(root: &Path, dataset: &str) -> Self {
        make(root, dataset).await;
        Self::start(root).await
    }

    /// Serves a root with more flags.
    pub async fn start_with(root: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("--data").arg(root).args(flags).args(["serve", "--listen", "127.0.0.1:0"]);
        without_settings(&mut command);
        // Models that somebody pulled are not the tests' either.
        command.env("COLONNADE_MODELS", root.join("models"));
        Self::of(command).await.unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Starts a command that serves, and waits for the line that names its address.
    pub async fn of(mut command: Command) -> Result<Self, String> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, address) = oneshot::channel();
        let kept = log.clone();
        tokio::spawn(async move {
            let mut found = Some(found);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix("listening on http://")
                    && let Some(found) = found.take()
                {
                    // The test may have given up meanwhile.
                    let _ = found.send(address.to_owned());
                }
                kept.lock().unwrap().push(line);
            }
        });
        match tokio::time::timeout(PATIENCE, address).await {
            Ok(Ok(address)) => Ok(Self { child, log, address, client: reqwest::Client::new() }),
            _ => {
                let _ = child.kill().await;
                let lines = log.lock().unwrap().join("\n");
                Err(lines)
            }
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Posts a body to a dataset.
    pub async fn ingest(
        &self,
        dataset: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.client.post(self.url(&format!("/v1/ingest/{dataset}")));
        let request = request.header("Content-Type", content_type).body(body);
        Answer::of(request.send().await.unwrap_or_else(|e| panic!("ingest: {e:?}\n{}", self.log())))
            .await
    }

    /// Posts rows as NDJSON and asserts that all are accepted; answers the version that holds them.
    pub async fn accepts(&self, dataset: &str, rows: &[Value]) -> u64 {
        let answer = self.ingest(dataset, "application/x-ndjson", super::ndjson(rows)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["accepted"], rows.len(), "{answer:?}");
        assert_eq!(answer.body["quarantined"], 0, "{answer:?}");
        answer.body["version"].as_u64().unwrap()
    }

    /// Asks, and answers the whole response.
    pub async fn graphql(&self, query: &str, variables: Value) -> Answer {
        let body = json!({"query": query, "variables": variables});
        let request = self
            .client
            .post(self.url("/graphql"))
            .header("content-type", "application/json")
            .body(body.to_string());
        Answer::of(
            request.send().await.unwrap_or_else(|e| panic!("graphql: {e:?}\n{}", self.log())),
        )
        .await
    }

    /// Asks, asserts that there are no errors, and answers the data.
    pub async fn data(&self, query: &str) -> Value {
        let answer = self.graphql(query, json!({})).await;
        assert!(answer.body.get("errors").is_none(), "{query}: {answer:?}");
        answer.body["data"].clone()
    }

    /// Runs a job through GraphQL to its end; answers the run.
    pub async fn run_job(&self, job: &str, params: Value) -> Value {
        let query = "mutation($job: String!, $params: JSON) { \
                     runJob(job: $job, params: $params, wait: true) { id state error { code message } } }";
        let answer = self.graphql(query, json!({"job": job, "params": params})).await;
        assert!(answer.body.get("errors").is_none(), "{answer:?}");
        let run = answer.body["data"]["runJob"].clone();
        assert_eq!(
            run["state"].as_str().map(str::to_lowercase).as_deref(),
            Some("succeeded"),
            "{run}"
        );
        run
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// The most memory that the process ever held, as the kernel counted it.
    pub fn peak_memory_bytes(&self) -> u64 {
        peak_memory_bytes(self.pid()).expect("Linux")
    }

    /// The memory that the process holds now.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.pid()).expect("Linux")
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        terminate(self.pid()).await;
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| {
                panic!("no end after SIGTERM:\n{}", self.log.lock().unwrap().join("\n"))
            })
            .unwrap()
    }

    /// Asserts that it still answers.
    pub async fn is_alive(&self) {
        let answer = self.client.get(self.url("/healthz")).send().await;
        let status =
            answer.unwrap_or_else(|e| panic!("the server is gone: {e:?}\n{}", self.log())).status();
        assert!(status.is_success(), "/healthz: {status}");
    }
}

/// Asks a process to end.
pub(super) async fn terminate(pid: u32) {
    let pid = pid.to_string();
    let kill = ["-c", "kill -TERM \"$1\"", "sh", &pid];
    assert!(Command::new("sh").args(kill).status().await.unwrap().success());
}

/// Makes a dataset of a built-in kind: a file without rows is enough.
pub async fn make(root: &Path, dataset: &str) {
    let empty = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    let arguments = ["ingest", dataset, empty.path().to_str().unwrap(), "--json"];
    assert_eq!(colonnade(root, &arguments).await.json()["accepted"], 0);
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, body }
    }

    /// Asserts a refusal over HTTP with this code, and answers its message.
    pub fn refused_with(&self, status: u16, code: &str) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body["error"]["code"], code, "{self:?}");
        self.body["error"]["message"].as_str().unwrap()
    }

    /// Asserts a GraphQL error with this code, and answers its message.
    pub fn error_with(&self, code: &str) -> &str {
        let error = &self.body["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{self:?}");
        error["message"].as_str().unwrap()
    }
}
