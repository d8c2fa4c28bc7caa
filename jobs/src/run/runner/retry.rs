//! Doing the work of a run again that failed or was cancelled.

use engine::{Code, Error, Principal, Result, RunId};

use super::{RunHandle, RunRequest, Runner, requests};
use crate::control::{Fired, NewRun};
use crate::run::document::Document;
use crate::run::record::{RunRecord, RunState};

impl Runner {
    /// Requests the work of a run that failed or was cancelled again, on what its inputs are now. One of a schedule takes
    /// that one's place, so that it counts for its time or partition.
    pub async fn retry(&self, who: &Principal, id: RunId) -> Result<RunHandle> {
        if let Some(run) = self.queued_before(who).await? {
            return Ok(run);
        }
        let before = self.get(who, id).await?;
        require_ended_badly(&before)?;
        if let Some(first) = before.as_it_was {
            return self.rerun(who, first).await;
        }
        let asked = self.store().get(who.tenant.as_str(), &id.to_string()).await?;
        let gpu = asked.as_ref().map(Document::of).transpose()?.map(|document| document.gpu);
        let mut document = self.prepare(who, RunRequest { gpu, ..again(&before) }).await?;
        let alone = document.record.key.clone();
        let (Some(schedule), Some(time)) = (&before.schedule, &before.logical_time) else {
            return self.enqueue(who, document).await;
        };
        self.schedule_as(&mut document, schedule, time)?;
        let run = self.new_run(who, &document)?;
        let (tenant, failed) = (who.tenant.as_str(), id.to_string());
        let again = document.record.id;
        requests::queues(again);
        let fired = self.store().fire_again(tenant, &failed, &run, self.shared.room()).await?;
        if fired != Fired::Now {
            requests::has_not_queued(again);
        }
        match fired {
            Fired::Now => {}
            // It is of no schedule any more, or another took its place: then it is a run by itself.
            Fired::Before => {
                document.record.schedule = None;
                document.record.logical_time = None;
                document.record.key = alone;
                return self.enqueue(who, document).await;
            }
            Fired::Full => return Err(too_many(id)),
            Fired::Waits => return Err(waits(id)),
        }
        let id = document.record.id;
        let handle = RunHandle { id, record: self.shared.watch(&who.tenant, &document.record) };
        self.shared.tell_queued(document.record);
        self.shared.wake.notify_one();
        Ok(handle)
    }
}

impl Runner {
    /// Requests `request` in the place of a step of a pipeline that failed or was cancelled, for whoever works. Where another took
    /// that place there is nothing to do.
    pub(crate) async fn retry_step(
        &self,
        who: &Principal,
        id: RunId,
        request: RunRequest,
    ) -> Result<()> {
        let before = self.get(who, id).await?;
        let mut document = self.prepare(who, request).await?;
        if let (Some(schedule), Some(time)) = (&before.schedule, &before.logical_time) {
            self.schedule_as(&mut document, schedule, time)?;
        }
        let run = NewRun { kept_for: None, ..self.new_run(who, &document)? };
        let (tenant, failed) = (who.tenant.as_str(), id.to_string());
        let again = document.record.id;
        requests::queues(again);
        let fired = self.store().fire_again(tenant, &failed, &run, self.shared.room()).await?;
        if fired != Fired::Now {
            requests::has_not_queued(again);
        }
        match fired {
            Fired::Before => return Ok(()),
            Fired::Full => return Err(too_many(id)),
            Fired::Waits => return Err(waits(id)),
            Fired::Now => {}
        }
        self.shared.tell_queued(document.record);
        self.shared.wake.notify_one();
        Ok(())
    }
}

fn waits(id: RunId) -> Error {
    let says = format!(
        "retry run {id}: another run of its pipeline goes on; wait for its end, or cancel it"
    );
    Error::user(Code::Conflict, says)
}

fn too_many(id: RunId) -> Error {
    let says = format!("retry run {id}: too many runs are queued; try again later");
    Error::user(Code::TooMany, says)
}

/// `CONFLICT` for a run that has not failed.
fn require_ended_badly(record: &RunRecord) -> Result<()> {
    if matches!(record.state, RunState::Failed | RunState::Cancelled) {
        return Ok(());
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "retry run {}: expected a run that failed or was cancelled, found it {}",
            record.id, record.state
        ),
    ))
}

/// What would do the work of a run again: the same job and parameters, on what its inputs are now.
fn again(record: &RunRecord) -> RunRequest {
    RunRequest {
        job: record.job.clone(),
        params: record.params.clone(),
        priority: record.priority,
        ..RunRequest::default()
    }
}
