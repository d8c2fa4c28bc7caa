//! Changes that clients ask for, each in its turn.

use std::sync::Arc;

use datasets::DatasetName;

use super::{Incoming, Revised, Revision, again_and_again};
use crate::error::{Code, Error, Result};
use crate::identity::Principal;
use crate::lake::{CommitLabel, Lake};
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

    /// Makes a change in its turn. It goes on to its end, whoever waits for it.
    pub(crate) async fn revise(
        &self,
        lake: &Arc<Lake>,
        session: Session,
        who: &Principal,
        dataset: &DatasetName,
        revision: Revision,
        label: CommitLabel,
    ) -> Result<Revised> {
        lake.require_writer()?;
        let asked = self.asked.try_take(&who.tenant).ok_or_else(|| {
            let says = format!(
                "changing rows of dataset {dataset}: {ASKED_MAX} changes of rows of this tenant are being made or wait; try again"
            );
            Error::user(Code::ResourcesExhausted, says)
        })?;
        let table = lake.table(&who.tenant, dataset).await?;
        // Who waits for the table has no place.
        let alone = Arc::clone(&table.revising).lock_owned().await;
        let place = self.places.take(&who.tenant, 1).await;
        let place = place.map_err(|e| Error::bug("the places for changes are closed", e))?;
        let (lake, who) = (Arc::clone(lake), who.clone());
        let made = self.threads.spawn(async move {
            let _held = (asked, alone, place);
            let incoming = Incoming::Revision(&revision);
            let made = again_and_again(&lake, &session, &who, &table, &incoming, &label).await?;
            tracing::info!(
                tenant = %who.tenant, subject = who.subject, dataset = %table.name(), operation = label.operation,
                version = %made.version, removed = made.removed, added = made.added, "rows changed"
            );
            Ok(made)
        })?;
        made.await.map_err(|e| Error::bug("a change of rows stopped", e))?
    }
}
