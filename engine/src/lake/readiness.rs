//! Whether the root accepts writes. A server whose ingest fails is not ready, even if it still answers queries.
//!
//! While writes succeed, nothing is probed. After a failed write, a probe decides readiness. So the server becomes ready again
//! once there is room, although no client sends it rows in the meantime.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Lake;
use crate::error::{Code, Error, Result, exhausted};

/// Shortest interval between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// The outcome of recent writes to the root.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<State>);

#[derive(Clone, Debug, Default)]
enum State {
    /// No write has failed since the last probe.
    #[default]
    Fine,
    /// A write failed, and no probe has run since.
    Failed,
    /// The probe failed at this time.
    Refused(Instant, Error),
}

impl Lake {
    /// Records a write that the store failed.
    pub(crate) fn noting<T>(&self, written: Result<T>) -> Result<T> {
        if let Err(error) = &written
            && (error.code() == Code::StorageUnavailable || exhausted(error).is_some())
        {
            let mut state = self.writes.0.lock();
            if matches!(*state, State::Fine) {
                *state = State::Failed;
            }
        }
        written
    }

    /// Fails if the root cannot be listed, or if it refuses writes since one failed.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.root.probe_reachable().await?;
        if !self.writable {
            return Ok(());
        }
        let state = self.writes.0.lock().clone();
        match state {
            State::Fine => return Ok(()),
            State::Refused(at, error) if at.elapsed() < PROBE_EVERY => return Err(error),
            State::Failed | State::Refused(..) => {}
        }
        let probed = self.root.probe_room().await;
        *self.writes.0.lock() = match &probed {
            Ok(()) => State::Fine,
            Err(error) => State::Refused(Instant::now(), error.clone()),
        };
        probed
    }
}
