//! A run's record, now and with each change, to its end.

use std::sync::Arc;

use engine::{Code, Error, Principal, Result, RunId};
use futures::Stream;
use futures::stream;
use jobs::RunRecord;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::service::{ServiceInner, SubscriptionPlace};

struct Watch {
    service: Arc<ServiceInner>,
    who: Principal,
    id: RunId,
    updates: Receiver<Arc<RunRecord>>,
    next: Option<RunRecord>,
    ended: bool,
    _place: SubscriptionPlace,
}

/// The run `id` as it is, then each update of it.
pub(crate) async fn run_updates(
    service: Arc<ServiceInner>,
    who: Principal,
    id: RunId,
) -> Result<impl Stream<Item = Result<RunRecord>> + Send + 'static> {
    let place = service.subscribe(&who)?;
    // Listening before reading: an update in between is told twice rather than never.
    let updates = service.runner.updates();
    let run = service.runner.get(&who, id).await?;
    let watch = Watch { service, who, id, updates, next: Some(run), ended: false, _place: place };
    Ok(stream::unfold(watch, |mut watch| async move {
        watch.next().await.map(|update| (update, watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<RunRecord>> {
        if self.ended {
            return None;
        }
        let update = match self.next.take() {
            Some(run) => Ok(run),
            None => self.update().await,
        };
        self.ended = update.as_ref().map_or(true, |run| run.state.is_final());
        Some(update)
    }

    async fn update(&mut self) -> Result<RunRecord> {
        loop {
            match self.updates.recv().await {
                Ok(run) if run.id == self.id => return Ok(run.as_ref().clone()),
                Ok(_) => {}
                // The newest state stands for what was missed.
                Err(RecvError::Lagged(_)) => {
                    return self.service.runner.get(&self.who, self.id).await;
                }
                Err(RecvError::Closed) => {
                    let says =
                        format!("run {}: the server is shutting down; subscribe again", self.id);
                    return Err(Error::user(Code::Cancelled, says));
                }
            }
        }
    }
}
