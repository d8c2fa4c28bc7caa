//! `colonnade worker` as a process of its own.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::PATIENCE;
use super::server::terminate;

/// A worker. Dropping it kills it.
pub struct Worker {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    /// Starts a command that works at runs, and waits until it says that it does.
    pub async fn of(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (begun, begins) = oneshot::channel();
        let kept = log.clone();
        tokio::spawn(async move {
            let mut begun = Some(begun);
            while let Ok(Some(line)) = lines.next_line().await {
                let is_it = line.contains(" works at runs of all tenants, ");
                // Whoever is told looks for the line.
                kept.lock().unwrap().push(line);
                if is_it && let Some(begun) = begun.take() {
                    // The test may have given up meanwhile.
                    let _ = begun.send(());
                }
            }
        });
        let worker = Self { child, log };
        let begun = tokio::time::timeout(PATIENCE, begins).await;
        assert!(matches!(begun, Ok(Ok(()))), "the worker did not start:\n{}", worker.log());
        worker
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        terminate(self.child.id().expect("the worker runs")).await;
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("no end after SIGTERM:\n{}", self.log()))
            .unwrap()
    }
}
