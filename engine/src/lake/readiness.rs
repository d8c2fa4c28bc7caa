//! Whether the root takes writes. A server that answers queries while each ingest fails is not ready.
//!
//! While writes succeed nothing is probed. After one that failed in the store, readiness is decided by a probe, so that it returns when
//! there is room again, although nobody sends rows to a server that is not ready.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Lake;
use crate::error::{Code, Error, Result, exhausted};

/// Least time between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// What is known of writes to the root.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<State>);

#[derive(Clone, Debug, Default)]
enum State {
    /// None failed since the last probe.
    #[default]
    Fine,
    /// One failed, and it is not known whether the next one does.
    Failed,
    /// The probe failed, at this time.
    Refused(Instant, Error),
}

impl Lake {
    /// Notes where a write failed because of the store.
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

    /// Fails where the root can not be listed, or takes no writes since one failed.
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
