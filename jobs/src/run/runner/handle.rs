//! A run that somebody waits for.

use std::sync::Arc;

use engine::{Code, Error, Result, RunId};
use tokio::sync::watch;

use crate::run::record::RunRecord;

/// A run that was taken on.
#[derive(Debug)]
pub struct RunHandle {
    pub(super) id: RunId,
    pub(super) record: watch::Receiver<Arc<RunRecord>>,
}

impl RunHandle {
    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The record as it is now.
    pub fn record(&self) -> RunRecord {
        RunRecord::clone(&self.record.borrow())
    }

    /// Waits for the end of the run, in whatever state. `CANCELLED` where the runner ends first and the run goes on without it.
    pub async fn wait(mut self) -> Result<RunRecord> {
        let last = self.record.wait_for(|record| record.state.is_final()).await;
        match last {
            Ok(record) => Ok(RunRecord::clone(&record)),
            Err(_) => Err(Error::user(
                Code::Cancelled,
                format!(
                    "run {}: this process ends before it; it goes on when a server is there again",
                    self.id
                ),
            )),
        }
    }
}
