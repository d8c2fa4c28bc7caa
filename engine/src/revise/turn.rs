//! Changes that clients ask for, each in its turn.

use std::sync::Arc;

use datasets::DatasetName;

use super::{Incoming, Reshape, Reshaped, Revised, Revision, again_and_again, reshape};
use crate::error::{Code, Error, Result};
use crate::identity::Principal;
use crate::lake::{CommitLabel, Lake, Table};
use crate::lanes::{Threads, Urgency, Usage};
use crate::places::Places;
use crate::session::Session;

/// Changes of one tenant that are made or wait, at most.
const ASKED_MAX: usize = 16;

/// Where changes that clients ask for are made: few at a time, half of them of one tenant, on threads that give way to whatever
/// somebody waits for with less patience.
#[derive(Debug)]
pub(crate) struct Reviser {
    threads: Threads,
    places: Places,
    /// Those that are made and those that wait.
    asked: Places,
}

impl Reviser {
    pub(crate) fn new(usage: Arc<Usage>) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            threads: Threads::new("revise", cores, Urgency::Patient)?,
            places: Places::counted(cores, usage),
            asked: Places::new(2 * ASKED_MAX),
        })
    }

    /// Makes a change of rows in its turn. It goes on to its end, whoever waits for it.
    pub(crate) async fn revise(
        &self,
        lake: &Arc<Lake>,
        session: Session,
        who: &Principal,
        dataset: &DatasetName,
        revision: Revision,
        label: CommitLabel,
    ) -> Result<Revised> {
        let (of, by) = (Arc::clone(lake), who.clone());
        self.in_turn(lake, who, dataset, |table| async move {
            let incoming = Incoming::Revision(&revision);
            let made = again_and_again(&of, &session, &by, &table, &incoming, &label).await?;
            tracing::info!(
                tenant = %by.tenant, subject = by.subject, dataset = %table.name(), operation = label.operation,
                version = %made.version, removed = made.removed, added = made.added, "rows changed"
            );
            Ok(made)
        })
        .await
    }

    /// Makes a change of columns in its turn.
    pub(crate) async fn reshape(
        &self,
        lake: &Arc<Lake>,
        session: Session,
        who: &Principal,
        dataset: &DatasetName,
        change: Reshape,
        label: CommitLabel,
    ) -> Result<Reshaped> {
        let (of, by) = (Arc::clone(lake), who.clone());
        self.in_turn(lake, who, dataset, |table| async move {
            let made = reshape(&of, &session, &by, &table, &change, &label).await?;
            tracing::info!(
                tenant = %by.tenant, subject = by.subject, dataset = %table.name(), operation = label.operation,
                version = %made.version, rows = made.rows, "columns changed"
            );
            Ok(made)
        })
        .await
    }

    /// Has `work` done with the table when it is its turn.
    async fn in_turn<T, W, F>(
        &self,
        lake: &Arc<Lake>,
        who: &Principal,
        dataset: &DatasetName,
        work: W,
    ) -> Result<T>
    where
        W: FnOnce(Arc<Table>) -> F + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        lake.require_writer()?;
        let asked = self.asked.try_take(&who.tenant).ok_or_else(|| {
            let says = format!(
                "changing dataset {dataset}: {ASKED_MAX} changes of datasets of this tenant are being made or wait; try again"
            );
            Error::user(Code::TooMany, says)
        })?;
        let table = lake.table(&who.tenant, dataset).await?;
        // Who waits for the table has no place.
        let alone = Arc::clone(&table.revising).lock_owned().await;
        let place = self.places.take(&who.tenant, 1).await;
        let place = place.map_err(|e| Error::bug("the places for changes are closed", e))?;
        let made = self.threads.spawn(async move {
            let _held = (asked, alone, place);
            work(table).await
        })?;
        made.await.map_err(|e| Error::bug("a change of a dataset stopped", e))?
    }
}
