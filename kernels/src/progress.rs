//! Cancelling a running operation, and watching how far it is.
//!
//! Work that runs for minutes must be stoppable from outside, by a person or a deadline. The handle
//! is shared: one clone goes into the [`Execution`](crate::Execution), another stays with the caller.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::error::{Error, Result};

/// Handle of one running operation. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    /// That of another one, which stops this one, too.
    followed: Arc<RwLock<Option<Arc<AtomicBool>>>>,
    steps: Arc<Steps>,
}

#[derive(Debug, Default)]
struct Steps {
    done: AtomicU64,
    total: AtomicU64,
}

/// How far an operation is. The steps are tiles, of about equal size within one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps in all; 0 before the operation has planned its tiles.
    pub total: u64,
}

impl Control {
    /// A handle of an operation that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the operation to stop at its next tile boundary.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether a stop has been asked for.
    pub fn is_cancelled(&self) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is_set(&self.cancelled)
            || self.followed.read().is_ok_and(|of| of.as_deref().is_some_and(is_set))
    }

    /// From now on this is stopped where `other` is, too, and not any more where the one is that it followed before.
    pub fn follow(&self, other: &Self) {
        if let Ok(mut followed) = self.followed.write() {
            *followed = Some(other.cancelled.clone());
        }
    }

    /// How far the operation is.
    pub fn progress(&self) -> Progress {
        Progress {
            done: self.steps.done.load(Ordering::Relaxed),
            total: self.steps.total.load(Ordering::Relaxed),
        }
    }

    /// For a part of the operation that counts its own steps: stopped with the whole, and not seen in its progress.
    pub(crate) fn part(&self) -> Self {
        let (cancelled, followed) = (self.cancelled.clone(), self.followed.clone());
        Self { cancelled, followed, steps: Arc::default() }
    }

    /// Starts the count for an operation of `total` steps.
    pub(crate) fn begin(&self, total: u64) {
        self.steps.done.store(0, Ordering::Relaxed);
        self.steps.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, steps: u64) {
        self.steps.done.fetch_add(steps, Ordering::Relaxed);
    }

    /// Fails when a stop has been asked for.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        if !self.is_cancelled() {
            return Ok(());
        }
        let Progress { done, total } = self.progress();
        Err(Error::Cancelled { operation, done, total })
    }
}
