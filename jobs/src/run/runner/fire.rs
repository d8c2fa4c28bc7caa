//! Queueing the runs of schedules.

use engine::{Code, Error, Principal, Result};

use super::{Runner, requests};
use crate::control::{Fired, NewRun, TickOf};
use crate::run::document::Document;

impl Runner {
    /// Queues the run of a time of a schedule, unless it had one.
    pub(crate) async fn fire(
        &self,
        who: &Principal,
        tick: &TickOf,
        document: Document,
        due_us: i64,
    ) -> Result<bool> {
        let run = NewRun { due_us, kept_for: None, ..self.new_run(who, &document)? };
        let state = document.record.state;
        let ended = state.is_final().then_some(state.as_str());
        let fired = self.store().fire(tick, &run, ended, self.shared.room()).await?;
        if fired != Fired::Now {
            requests::has_not_queued(document.record.id);
        }
        match fired {
            Fired::Now => {}
            Fired::Before | Fired::Waits => return Ok(false),
            Fired::Full => {
                let says = format!(
                    "schedule {}: too many runs are queued; try again later",
                    tick.schedule
                );
                return Err(Error::user(Code::TooMany, says));
            }
        }
        self.shared.tell(document.record);
        self.shared.wake.notify_one();
        self.shared.ended.notify_one();
        Ok(true)
    }
}
