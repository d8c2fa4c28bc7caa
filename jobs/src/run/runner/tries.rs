//! What is tried again, when, and until when.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Code, Error};

use super::Shared;
use super::execution::Run;
use crate::run::record::{Attempt, RunError, StageRecord};

/// How often a run is tried where an error can pass.
pub(super) const ATTEMPTS_MAX: usize = 4;
/// How long a run waits after its first failure; after each further one four times as long.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How often a run is done anew at most, because another committed first where its own results follow from.
pub(super) const OVERTAKEN_MAX: usize = 20;
/// How long it waits for that.
pub(super) const OVERTAKEN_WAIT: TimeDelta = TimeDelta::milliseconds(20);

/// Whether the same run may succeed later: what it asked for is right, and what it needs was not there.
pub(crate) fn can_pass(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::StorageUnavailable | Code::ResourcesExhausted | Code::DeviceUnavailable
    )
}

/// How long a run waits after `failures` others: four times as long each time, and up to half of it more or less, so that runs that
/// failed together do not come together.
pub(super) fn backoff(failures: usize, id: &str) -> TimeDelta {
    let exponent = u32::try_from(failures.min(8)).unwrap_or_default();
    let wait_ms = FIRST_BACKOFF.as_millis() as i64 * 4_i64.pow(exponent);
    let spread = id
        .bytes()
        .fold(failures as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
        % 1_000;
    TimeDelta::milliseconds(wait_ms / 2 + wait_ms * spread as i64 / 1_000)
}

/// Ends when the run has worked for as long as any may, or when its own deadline passes.
pub(super) async fn deadline(
    timeout: Option<Duration>,
    at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Error {
    let left = at.map(|at| (at - now).to_std().unwrap_or_default());
    let (wait, says) = match (timeout, left) {
        (Some(timeout), left) if left.is_none_or(|left| timeout <= left) => {
            (timeout, format!("after {} s", timeout.as_secs_f64()))
        }
        (_, Some(left)) => (left, "at its deadline".to_owned()),
        (_, None) => return std::future::pending().await,
    };
    tokio::time::sleep(wait).await;
    let says = format!("the run was stopped {says}; nothing was committed");
    Error::user(Code::Timeout, says)
}

impl Run {
    /// Whether it had too little memory where it had all that a run can have, to itself.
    pub(super) fn had_all(&self, shared: &Shared, error: &Error) -> bool {
        error.code() == Code::ResourcesExhausted
            && self.live.memory_bytes >= shared.memory().most()
            && self.live.is_alone.load(Ordering::Relaxed)
    }

    /// What is kept of one that another follows.
    pub(super) fn attempt(
        &self,
        error: &Error,
        stages: &mut Vec<StageRecord>,
        ended_at: DateTime<Utc>,
    ) -> Attempt {
        let (started_at, error) = (self.attempt_began_at, RunError::from(error));
        Attempt { started_at, ended_at, error, stages: std::mem::take(stages) }
    }
}
