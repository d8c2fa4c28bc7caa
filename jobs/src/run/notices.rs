//! Notices of commits, by way of the control database: who commits says so, and who serves or works looks there at once instead of
//! at every table now and then, which is what is left where there is no such database, or it is away.
//!
//! Of each dataset the newest version counts; several commits within [`TELL_EVERY`] are one notice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datasets::DatasetName;
use engine::{CommitEvent, Engine, Principal, Result, Role, TenantId, Version};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::{ControlStore, Notice};
use crate::run::records::Records;

/// The least time between two notices of one process.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked for those of others.
const HEAR_EVERY: Duration = Duration::from_millis(200);
/// Notices that are heard at a time.
const NOTICES_MAX: i64 = 500;
/// Datasets that are looked at at once.
const LOOKS_MAX: usize = 8;
/// How long a command waits at its end until its last notice is said; who does not hear it looks for itself by and by.
const END_TIME_MAX: Duration = Duration::from_secs(3);

/// The newest versions of which others have heard.
type Known = Arc<Mutex<HashMap<(TenantId, DatasetName), Version>>>;

/// What a runner says and hears.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices {
    known: Known,
}

impl Notices {
    /// Says what is committed here, until `closing`. What was committed by then is said.
    pub(crate) async fn tell(
        self,
        engine: Engine,
        store: Arc<dyn ControlStore>,
        closing: CancellationToken,
    ) {
        let mut telling = Telling::new(&engine, self.known);
        drop(engine);
        while telling.gather(&closing).await {
            if let Err(error) = telling.say(store.as_ref()).await {
                tracing::debug!(detail = error.detail(), "a notice of a commit was not said");
            }
            tokio::select! {
                () = tokio::time::sleep(TELL_EVERY) => {}
                () = closing.cancelled() => {}
            }
        }
    }

    /// Looks for what others say, from the notice after `seen` on, until `closing`.
    pub(crate) async fn hear(
        self,
        engine: Engine,
        store: Arc<dyn ControlStore>,
        mut seen: i64,
        closing: CancellationToken,
    ) {
        while !closing.is_cancelled() {
            match store.notices(seen, NOTICES_MAX).await {
                Ok(notices) => {
                    seen = notices.last().map_or(seen, |last| last.number);
                    let looks = notices.into_iter().map(|notice| self.look(&engine, notice));
                    stream::iter(looks).buffer_unordered(LOOKS_MAX).collect::<()>().await;
                }
                // The pulse says when it does not answer.
                Err(error) => tracing::debug!(%error, "notices of commits could not be heard"),
            }
            tokio::select! {
                () = tokio::time::sleep(HEAR_EVERY) => {}
                () = closing.cancelled() => {}
            }
        }
    }

    async fn look(&self, engine: &Engine, notice: Notice) {
        let looked = async {
            let tenant = TenantId::new(&notice.tenant)?;
            let dataset = DatasetName::new(&notice.dataset)?;
            let version = Version(u64::try_from(notice.version).unwrap_or_default());
            // First: what is found is on the bus at once, and need not be said again.
            self.known.lock().insert((tenant.clone(), dataset.clone()), version);
            let who = Principal::new(tenant, "runner", &[Role::Reader]);
            if engine.keeps_up() {
                // Who sees to the tables of all needs to know them, whoever is asked about them.
                engine.catalog(&who).await?;
            }
            engine.look_for(&who, &dataset, Some(version)).await
        };
        if let Err(error) = looked.await {
            // It is looked for again with all others.
            let (tenant, dataset) = (&notice.tenant, &notice.dataset);
            tracing::debug!(
                tenant,
                dataset,
                detail = error.detail(),
                "a commit of which was said can not be seen"
            );
        }
    }
}

/// Commits that are to be said.
struct Telling {
    news: tokio::sync::broadcast::Receiver<Arc<CommitEvent>>,
    pending: HashMap<(TenantId, DatasetName), Version>,
    known: Known,
}

impl Telling {
    fn new(engine: &Engine, known: Known) -> Self {
        Self { news: engine.commits().subscribe(), pending: HashMap::new(), known }
    }

    /// Waits until there is something to say; false at the end, when there is nothing more.
    async fn gather(&mut self, closing: &CancellationToken) -> bool {
        while self.pending.is_empty() && !closing.is_cancelled() {
            tokio::select! {
                event = self.news.recv() => match event {
                    Ok(event) => self.take(&event),
                    // Who misses some is told of later ones.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return false,
                },
                () = closing.cancelled() => {}
            }
        }
        loop {
            match self.news.try_recv() {
                Ok(event) => self.take(&event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return !self.pending.is_empty(),
            }
        }
    }

    fn take(&mut self, event: &CommitEvent) {
        let key = (event.tenant.clone(), event.dataset.clone());
        // The first version is of one that is new, whatever was there before under its name.
        let is_first = event.version == Version(0);
        if !is_first && self.known.lock().get(&key).is_some_and(|known| *known >= event.version) {
            return;
        }
        self.pending.insert(key, event.version);
    }

    /// Says what is pending; what could not be said is given up, since who hears nothing looks all the same.
    async fn say(&mut self, store: &dyn ControlStore) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let notices: Vec<Notice> = pending
            .iter()
            .map(|((tenant, dataset), version)| Notice {
                tenant: tenant.to_string(),
                dataset: dataset.to_string(),
                version: i64::try_from(version.0).unwrap_or(i64::MAX),
                number: 0,
            })
            .collect();
        store.notify(&notices).await?;
        self.known.lock().extend(pending);
        Ok(())
    }
}

/// Says what a command commits that has no runner. It asks for nothing until there is something to say.
pub struct CommitNotices {
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl CommitNotices {
    /// Begins to say what `engine` commits in the database that `control` names.
    pub fn begin(engine: &Engine, control: String) -> Self {
        let closing = CancellationToken::new();
        let mut telling = Telling::new(engine, Known::default());
        let (engine, closes) = (engine.clone(), closing.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            let mut records = None;
            while telling.gather(&closes).await {
                let said = async {
                    let records = match &mut records {
                        Some(records) => records,
                        none => none.insert(Records::open(&engine, Some(&control)).await?),
                    };
                    telling.say(records.store()).await
                };
                if let Err(error) = said.await {
                    tracing::debug!(detail = error.detail(), "a notice of a commit was not said");
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(TELL_EVERY) => {}
                    () = closes.cancelled() => {}
                }
            }
            if let Some(records) = records {
                records.store().close().await;
            }
        });
        tasks.close();
        Self { closing, tasks }
    }

    /// Says the rest, and ends.
    pub async fn end(&self) {
        self.closing.cancel();
        // Whoever is not told looks for itself.
        let _ = tokio::time::timeout(END_TIME_MAX, self.tasks.wait()).await;
    }
}
