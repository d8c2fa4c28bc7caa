//! What is seen to beside the commits: tables of many small files, and what other processes commit.
//!
//! One task listens to the bus and sees to one table at a time, on a thread of its own that gives way to whatever somebody waits for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::bus::CommitEvent;
use crate::compact;
use crate::engine::Rooms;
use crate::error::Result;
use crate::lanes::{Threads, Urgency};

/// The task, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    task: Mutex<Option<Task>>,
    /// Whether another process puts files together.
    is_left: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Task {
    stop: oneshot::Sender<()>,
    /// Said once more, for what is not waiting.
    stops: Arc<AtomicBool>,
    handle: JoinHandle<()>,
    /// Looks what others committed.
    _watching: Option<AbortOnDropHandle<()>>,
}

impl Upkeep {
    /// Begins, unless it has begun.
    pub(crate) fn begin(&self, rooms: &Arc<Rooms>) -> Result<()> {
        let mut task = self.task.lock();
        if task.is_some() {
            return Ok(());
        }
        let threads = Threads::new("upkeep", 1, Urgency::Patient)?;
        let (stop, mut stopped) = oneshot::channel();
        let mut news = rooms.lake.bus().subscribe();
        let watching = rooms.lake.root().others_interval().map(|interval| {
            // What is there already is not news.
            let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let rooms = Arc::downgrade(rooms);
            AbortOnDropHandle::new(tokio::spawn(async move {
                loop {
                    ticks.tick().await;
                    let Some(rooms) = rooms.upgrade() else { return };
                    rooms.lake.look_for_others().await;
                }
            }))
        });
        let rooms = Arc::downgrade(rooms);
        let stops = Arc::new(AtomicBool::new(false));
        let (seen, is_left) = (Arc::clone(&stops), Arc::clone(&self.is_left));
        let listen = async move {
            loop {
                let event = tokio::select! {
                    event = news.recv() => event,
                    _ = &mut stopped => return,
                };
                match event {
                    Ok(_) if is_left.load(Ordering::Relaxed) => {}
                    Ok(event) => see_to(&rooms, &threads, &event, &seen).await,
                    // A table with many commits has another.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        *task = Some(Task { stop, stops, handle: tokio::spawn(listen), _watching: watching });
        Ok(())
    }

    /// Says whether another process puts files together.
    pub(crate) fn leave_to_others(&self, is_left: bool) {
        self.is_left.store(is_left, Ordering::Relaxed);
    }

    /// Whether this process puts files together.
    pub(crate) fn is_on(&self) -> bool {
        !self.is_left.load(Ordering::Relaxed) && self.task.lock().is_some()
    }

    /// Ends, when the commit that it is just at is done.
    pub(crate) async fn end(&self) {
        let task = self.task.lock().take();
        if let Some(Task { stop, stops, handle, .. }) = task {
            stops.store(true, Ordering::Relaxed);
            // It may have ended by itself.
            let _ = stop.send(());
            let _ = handle.await;
        }
    }
}

async fn see_to(
    rooms: &Weak<Rooms>,
    threads: &Threads,
    event: &CommitEvent,
    stops: &Arc<AtomicBool>,
) {
    let Some(rooms) = rooms.upgrade() else { return };
    let CommitEvent { tenant, dataset, .. } = event;
    let seen = threads.run({
        let (tenant, dataset, stops) = (tenant.clone(), dataset.clone(), Arc::clone(stops));
        async move {
            compact::see_to(&rooms.lake, &rooms.sessions, &tenant, &dataset, &stops).await
        }
    });
    if let Err(e) = seen.await.and_then(|seen| seen) {
        tracing::warn!(%tenant, %dataset, error = e.detail(), "files were not put together");
    }
}
