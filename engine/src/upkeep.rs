//! What is seen to beside the commits: tables of many small files.
//!
//! One task listens to the bus and sees to one table at a time, on a thread of its own that gives way to whatever somebody waits for.

use std::sync::{Arc, Weak};

use datasets::DatasetName;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::compact;
use crate::engine::Rooms;
use crate::error::Result;
use crate::identity::TenantId;
use crate::lanes::{Threads, Urgency};

/// The task, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Upkeep(Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>);

impl Upkeep {
    /// Begins, unless it has begun.
    pub(crate) fn begin(&self, rooms: &Arc<Rooms>) -> Result<()> {
        let mut task = self.0.lock();
        if task.is_some() {
            return Ok(());
        }
        let threads = Threads::new("upkeep", 1, Urgency::Patient)?;
        let (stop, mut stopped) = oneshot::channel();
        let mut news = rooms.lake.bus().subscribe();
        let rooms = Arc::downgrade(rooms);
        let listen = async move {
            loop {
                let event = tokio::select! {
                    event = news.recv() => event,
                    _ = &mut stopped => return,
                };
                match event {
                    Ok(event) => {
                        see_to(&rooms, &threads, event.tenant.clone(), event.dataset.clone()).await
                    }
                    // A table with many commits has another.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        *task = Some((stop, tokio::spawn(listen)));
        Ok(())
    }

    /// Ends, when what it just does is done.
    pub(crate) async fn end(&self) {
        let task = self.0.lock().take();
        if let Some((stop, task)) = task {
            // It may have ended by itself.
            let _ = stop.send(());
            let _ = task.await;
        }
    }
}

async fn see_to(rooms: &Weak<Rooms>, threads: &Threads, tenant: TenantId, dataset: DatasetName) {
    let Some(rooms) = rooms.upgrade() else { return };
    let seen = threads.run({
        let (tenant, dataset) = (tenant.clone(), dataset.clone());
        async move { compact::see_to(&rooms.lake, &rooms.sessions, &tenant, &dataset).await }
    });
    if let Err(e) = seen.await.and_then(|seen| seen) {
        tracing::warn!(%tenant, %dataset, error = e.detail(), "files were not put together");
    }
}
