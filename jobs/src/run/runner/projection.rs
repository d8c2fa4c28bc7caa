//! Runs that ended become rows of the dataset `runs`: many at a time, since each commit has a price, and none twice.

use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Principal, Result, Role, TenantId};

use super::Shared;
use crate::control::{Entry, ToProject};
use crate::run::record::RunRecord;
use crate::run::records::records_of;
use crate::run::{ledger, stages};

/// Rows of one commit.
const ROWS_MAX: i64 = 500;
/// How long a run that ended waits for others to end, while some are at work.
const GATHER: Duration = Duration::from_secs(1);
/// How long it takes until a projection that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Writes what ended, until the runner ends.
pub(super) async fn project(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.ended.notified() => {}
            // What another process left.
            () = tokio::time::sleep(AGAIN) => {}
            () = shared.closing.cancelled() => return,
        }
        if !shared.at_work.lock().is_empty() {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = shared.closing.cancelled() => return,
            }
        }
        flush(&shared).await;
    }
}

/// Writes what ended now.
pub(super) async fn flush(shared: &Shared) {
    loop {
        match flush_some(shared).await {
            Ok(true) => {}
            Ok(false) => return,
            // It is done the next time, by whoever comes.
            Err(error) => {
                tracing::warn!(
                    detail = error.detail(),
                    "runs that ended could not be written to the dataset runs"
                );
                return;
            }
        }
    }
}

async fn flush_some(shared: &Shared) -> Result<bool> {
    let store = shared.records.store();
    let worker = shared.worker.lock().id.clone();
    let ToProject { entries, perhaps } = store.to_project(&worker, ROWS_MAX).await?;
    let Some(Entry { tenant, .. }) = entries.first() else { return Ok(false) };
    let who = Principal {
        tenant: TenantId::new(tenant)?,
        subject: "runner".into(),
        roles: vec![Role::Reader, Role::Writer],
    };
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let mut records = records_of(&entries);
    let prices = &shared.options.prices;
    let written = async {
        if !perhaps.is_empty() {
            // Whoever was writing them may have come to its commits.
            let asked = perhaps.iter().map(|id| id.parse()).collect::<Result<Vec<_>>>()?;
            let known = ledger::known(&shared.engine, &who, &asked).await?;
            records.retain(|record: &RunRecord| !known.contains(&record.id));
            let known = stages::known(&shared.engine, &who, &asked).await?;
            let rest = records.iter().filter(|record| !known.contains(&record.id));
            let rest: Vec<RunRecord> = rest.cloned().collect();
            stages::append(&shared.engine, &who, &rest, prices).await?;
        } else {
            stages::append(&shared.engine, &who, &records, prices).await?;
        }
        match records.is_empty() {
            true => Ok(()),
            false => ledger::append(&shared.engine, &who, &records).await,
        }
    };
    match written.await {
        Ok(()) => {
            store.projected(&ids, true).await?;
            Ok(true)
        }
        // Who only reads leaves it to others.
        Err(error) if error.code() == Code::Forbidden => {
            store.projected(&ids, false).await?;
            Ok(false)
        }
        Err(error) => {
            store.projected(&ids, false).await?;
            Err(error)
        }
    }
}
