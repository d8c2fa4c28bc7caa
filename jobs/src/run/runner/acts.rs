//! Acts begin and end in control state, and become rows of the dataset `audit`: each once, in their order, whichever process writes them.

use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Engine, Principal, Result, Role, RootMark, RunId, TenantId};

use super::{Runner, Shared};
use crate::audit::{Act, GENESIS, NewAct, Outcome, append, audit_spec, hash_at, last};
use crate::control::BegunAct;

/// Rows of one commit.
const ROWS_MAX: i64 = 500;
/// How long an act that ended waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long it takes until what was left, by this process or another, is looked for.
const AGAIN: Duration = Duration::from_secs(5);
/// Acts of processes that are gone, which are ended at a time.
const LOST_MAX: i64 = 100;
/// How often the end of an act is tried to be recorded.
const TRIES: u32 = 3;

/// An act that has begun.
pub struct OpenAct {
    shared: Arc<Shared>,
    act: Act,
}

impl Runner {
    /// Records that `who` begins something; it fails where that can not be recorded, and then nothing is to be done.
    pub async fn begin_act(&self, who: &Principal, new: NewAct) -> Result<OpenAct> {
        let shared = Arc::clone(&self.shared);
        let act = Act::new(RunId::new().to_string(), who, new, shared.now());
        let begun = BegunAct {
            id: act.id.clone(),
            tenant: act.tenant.clone(),
            worker: shared.worker.lock().id.clone(),
            document: act.content()?,
        };
        shared.records.store().begin_act(&begun).await?;
        Ok(OpenAct { shared, act })
    }
}

impl OpenAct {
    /// Records how it came out. Where that can not be recorded, what is known of its beginning becomes its row when this process ends:
    /// what was done is done.
    pub async fn end(self, outcome: Outcome, target: Option<&str>) {
        let Self { shared, act } = self;
        let act = act.ended(outcome, target, shared.now());
        let mut failed = None;
        for _ in 0..TRIES {
            match end(&shared, &act).await {
                Ok(()) => {
                    shared.told.acts.notify_one();
                    return;
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::error!(
                act = act.id,
                field = act.field,
                outcome = act.outcome,
                detail = error.detail(),
                "how an act came out could not be recorded"
            );
        }
    }
}

/// Makes the next row of the chain.
async fn end(shared: &Shared, act: &Act) -> Result<()> {
    let (store, content) = (shared.records.store(), act.content()?);
    if !store.end_act(&act.tenant, &act.id, &content).await? {
        // The first act of this control state. The chain may be older.
        let last = last(&shared.engine, &recorder(&act.tenant)?).await?;
        let (number, hash) =
            last.map_or((0, GENESIS.to_owned()), |(_, number, hash)| (number, hash));
        store.begin_chain(&act.tenant, number, &hash).await?;
        store.end_act(&act.tenant, &act.id, &content).await?;
    }
    // The mark is set after the chain begins, because a root with a mark and no chain serves
    // nothing. If it cannot be set now, the next act of this process tries again.
    if shared.records.is_durable() {
        let set_mark = || shared.engine.set_mark(RootMark::Audit);
        shared.audit_mark.get_or_try_init(set_mark).await?;
    }
    Ok(())
}

fn recorder(tenant: &str) -> Result<Principal> {
    let roles = [Role::Reader, Role::Writer, Role::Operator, Role::Admin];
    Ok(Principal::new(TenantId::new(tenant)?, "runner", &roles))
}

/// Writes what ended, until the runner ends.
pub(super) async fn project(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.told.acts.notified() => {}
            () = tokio::time::sleep(AGAIN) => {}
            () = shared.closing.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = shared.closing.cancelled() => return,
        }
        flush(&shared).await;
    }
}

/// Writes what ended now. What can not be written is written the next time, by whoever comes.
pub(super) async fn flush(shared: &Shared) {
    let flushed = async {
        let store = shared.records.store();
        for lost in store.lost_acts(LOST_MAX).await? {
            // By the id that it is kept under, so that it ends whatever its document says.
            let ended = async {
                let act = Act { id: lost.id.clone(), ..Act::read(&lost.document)? };
                end(shared, &act.ended(Outcome::Unknown, None, shared.now())).await
            };
            if let Err(error) = ended.await {
                let detail = error.detail();
                tracing::warn!(
                    act = lost.id,
                    detail,
                    "an act that nobody saw end can not be ended"
                );
            }
        }
        for tenant in store.acts_to_project().await? {
            match write(shared, &tenant).await {
                // Who only reads leaves it to others, and so does who came second.
                Err(error) if matches!(error.code(), Code::Forbidden | Code::Conflict) => {
                    tracing::debug!(tenant, detail = error.detail(), "acts are left to others");
                }
                // What is wrong with one tenant's is nothing to the others'.
                Err(error) => {
                    let detail = error.detail();
                    tracing::warn!(tenant, detail, "acts can not be written to the dataset audit");
                }
                Ok(()) => {}
            }
        }
        Ok::<_, engine::Error>(())
    };
    if let Err(error) = flushed.await {
        tracing::warn!(
            detail = error.detail(),
            "what was done could not be written to the dataset audit"
        );
    }
}

async fn write(shared: &Shared, tenant: &str) -> Result<()> {
    let (store, who) = (shared.records.store(), recorder(tenant)?);
    let engine: &Engine = &shared.engine;
    let mut newest = last(engine, &who).await?;
    if newest.is_none() {
        engine.ensure_derived(&who, &audit_spec()?).await?;
        newest = last(engine, &who).await?;
    }
    let Some((version, number, hash)) = newest else { return Ok(()) };
    // Whoever wrote rows may not have come to say so. They are those that wait, or nothing is taken away: control state may be older
    // than the dataset, or another one.
    let waiting = store.acts(tenant, 0, ROWS_MAX).await?;
    let is_same = match waiting.iter().rev().find(|row| row.number <= number) {
        Some(row) if row.number == number => row.hash == hash,
        Some(row) => hash_at(engine, &who, row.number).await?.as_ref() == Some(&row.hash),
        None => waiting.first().is_none_or(|row| row.number == number + 1 && row.previous == hash),
    };
    if !is_same {
        return Err(engine::Error::internal(format!(
            "control state goes on from another chain of acts than the dataset audit has, which ends with number {number}; what it has \
             is kept there and not written"
        )));
    }
    store.acts_projected(tenant, number).await?;
    let rows = store.acts(tenant, number, ROWS_MAX).await?;
    let Some(last) = rows.last().map(|row| row.number) else { return Ok(()) };
    append(engine, &who, version, &rows).await?;
    store.acts_projected(tenant, last).await?;
    if rows.len() as i64 == ROWS_MAX {
        shared.told.acts.notify_one();
    }
    Ok(())
}
