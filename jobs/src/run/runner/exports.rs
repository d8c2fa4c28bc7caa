//! Exports that lie in the root: runs of the job `export`, and the files they made.
//!
//! Who sees a part of a tenant has a part exported, and sees its own exports; who sees all of it sees all exports.

use engine::{Code, Principal, Result, Role, RunId};

use super::Runner;
use crate::keys::letters;
use crate::kinds::{export, report};
use crate::run::record::{RUNS_LISTED_MAX, RunFilter, RunRecord};
use crate::run::records::no_such_run;

/// What links to exports are signed with is called.
const LINKS: &str = "links to exports";

impl Runner {
    /// Runs that exported to the root, newest first: those before `before`, at most `limit`.
    pub async fn exports(
        &self,
        who: &Principal,
        limit: usize,
        before: Option<RunId>,
    ) -> Result<Vec<RunRecord>> {
        who.require_in_part(Role::Reader)?;
        let mut records = Vec::new();
        for job in [export::NAME, report::NAME] {
            records.extend(self.kept_by(who, job, limit, before).await?);
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.id));
        records.truncate(limit);
        Ok(records)
    }

    async fn kept_by(
        &self,
        who: &Principal,
        job: &str,
        limit: usize,
        mut before: Option<RunId>,
    ) -> Result<Vec<RunRecord>> {
        let mut records = Vec::new();
        // Those of others are passed over, a page at a time.
        while records.len() < limit {
            let job = Some(job.to_owned());
            let filter = RunFilter { job, limit: RUNS_LISTED_MAX, before, ..RunFilter::default() };
            let page = self.list(&whole(who), filter).await?;
            before = page.last().map(|record| record.id);
            let is_last = page.len() < RUNS_LISTED_MAX;
            records.extend(page.into_iter().filter(|record| is_seen(record, who)));
            if is_last {
                break;
            }
        }
        Ok(records)
    }

    /// The run of an export. NOT_FOUND, where `who` may not see it.
    pub async fn export_run(&self, who: &Principal, id: RunId) -> Result<RunRecord> {
        who.require_in_part(Role::Reader)?;
        let record = self.get(&whole(who), id).await?;
        match is_seen(&record, who) {
            true => Ok(record),
            false => Err(no_such_run(id)),
        }
    }

    /// Removes an export: ends its run, should it be at work, and removes the files. Who had it made may, and operators. Returns its run.
    pub async fn delete_export(&self, who: &Principal, id: RunId) -> Result<RunRecord> {
        let record = self.export_run(who, id).await?;
        if record.requested_by != who.subject {
            who.require(Role::Operator)?;
        }
        let whole = whole(who);
        let record = match record.state.is_final() {
            true => record,
            false => match self.cancel(&whole, id).await {
                Ok(record) => record,
                // It has ended in between.
                Err(error) if error.code() == Code::Conflict => self.get(&whole, id).await?,
                Err(error) => return Err(error),
            },
        };
        self.shared.engine.remove_export(&whole, &id.to_string()).await?;
        Ok(record)
    }

    /// What links to exports of this root are signed with.
    pub async fn link_secret(&self) -> Result<Vec<u8>> {
        let fresh = letters(64, b"0123456789abcdef")?;
        Ok(self.store().secret(LINKS, &fresh).await?.into_bytes())
    }
}

/// Who looks for it where it is decided here what may be seen.
fn whole(who: &Principal) -> Principal {
    Principal::new(who.tenant.clone(), who.subject.clone(), &[Role::Operator])
}

fn is_seen(record: &RunRecord, who: &Principal) -> bool {
    let is_own = record.requested_by == who.subject;
    let is_kept = match record.job.as_str() {
        export::NAME => record.params.get("to").is_some_and(serde_json::Value::is_null),
        report::NAME => true,
        _ => false,
    };
    is_kept && (is_own || who.grants.is_all())
}
