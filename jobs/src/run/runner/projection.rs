//! Runs that ended become rows of the dataset `runs`: many at a time, since each commit has a price, and none twice.

use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Principal, Result, Role, TenantId};

use super::Shared;
use crate::control::ToProject;
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

/// Writes what ended now. What can not be written for one tenant holds up no other.
pub(super) async fn flush(shared: &Shared) {
    let mut after = String::new();
    loop {
        let (tenant, error) = match take(shared, &after).await {
            Ok(None) => return,
            Ok(Some((tenant, taken))) => match write(shared, &tenant, taken).await {
                Ok(true) => continue,
                Ok(false) => (Some(tenant), None),
                Err(error) => (Some(tenant), Some(error)),
            },
            Err(error) => (None, Some(error)),
        };
        // It is done the next time, by whoever comes.
        if let Some(error) = error {
            tracing::warn!(
                tenant,
                detail = error.detail(),
                "runs that ended could not be written to the dataset runs"
            );
        }
        match tenant {
            Some(tenant) => after = tenant,
            None => return,
        }
    }
}

/// What ended of the next tenant.
async fn take(shared: &Shared, after: &str) -> Result<Option<(String, ToProject)>> {
    let worker = shared.worker.lock().id.clone();
    let taken = shared.records.store().to_project(&worker, after, ROWS_MAX).await?;
    Ok(taken.entries.first().map(|entry| entry.tenant.clone()).map(|tenant| (tenant, taken)))
}

/// Writes what ended of a tenant; false where that is for others.
async fn write(shared: &Shared, tenant: &str, taken: ToProject) -> Result<bool> {
    let (store, ToProject { entries, perhaps }) = (shared.records.store(), taken);
    let who = Principal::new(TenantId::new(tenant)?, "runner", &[Role::Reader, Role::Writer]);
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
            // They are counted as rows before they are no longer counted as what ended.
            shared.options.quotas.forget(&who.tenant);
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
