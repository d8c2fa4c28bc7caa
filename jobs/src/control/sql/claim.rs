//! Whose turn it is, and whether it fits.
//!
//! The turn is that of the tenant for which least was worked, and of its runs that of the least rank. Where that run does not fit, since
//! others hold the memory that it needs, a later one that fits may begin before it, but only so often: then all wait until it fits.

use sqlx::{Any, Transaction, query};

use super::SqlStore;
use crate::control::{
    Cost, DeviceRoom, Entry, FIRST_CHARGE_US, Need, PASSED_OVER_MAX, Result, Wants,
};

/// How often a claim may come second before its worker looks again later.
const CLAIMS_LOST_MAX: usize = 8;
/// More than any run needs.
const ANYTHING: i64 = i64::MAX;

/// The statement for the run whose turn it is, of those that are kept as `$kept` says.
macro_rules! next_run {
    ($kept:literal) => {
        concat!(
            "SELECT r.id AS id, r.tenant AS tenant, r.job AS job, r.memory_bytes AS memory_bytes, r.device_need AS device_need, \
             r.device_bytes AS device_bytes, r.passed_over AS passed_over FROM tenants t JOIN runs r ON r.id = (\
             SELECT q.id FROM runs q WHERE q.is_open = 1 AND q.tenant = t.tenant AND q.state = 'queued' AND q.due_at <= $1 \
             AND q.memory_bytes <= $2 AND ",
            $kept,
            " AND (q.deadline_at IS NULL OR q.deadline_at > $1) AND NOT ($4 LIKE '%,' || q.job || ',%') \
             AND (q.device_need < 2 OR q.device_bytes <= $6) \
             AND (q.device_need = 0 OR q.device_bytes <= $7 OR q.device_bytes > $6) ORDER BY q.rank, q.id LIMIT 1) \
             WHERE (SELECT COUNT(*) FROM runs w WHERE w.is_open + 0 = 1 AND w.tenant || '' = t.tenant AND w.worker = $3) < $5 \
             ORDER BY t.used_us, t.tenant LIMIT 1"
        )
    };
}

/// What became of a claim.
enum Claim {
    Made(Box<Entry>),
    /// Another was first.
    Lost,
    /// No run waits that may be taken.
    Nothing,
}

/// A run whose turn it could be.
struct Candidate {
    id: String,
    tenant: String,
    job: String,
    memory_bytes: i64,
    need: Need,
    device_bytes: i64,
    passed_over: i64,
}

/// What a worker's GPU has left.
struct Free<'a> {
    room: &'a DeviceRoom,
    bytes: i64,
}

impl Candidate {
    /// The GPU that it would have its part of.
    fn device<'a>(&self, free: Option<&Free<'a>>) -> Option<&'a DeviceRoom> {
        let room = free?.room;
        (self.need != Need::None && self.device_bytes <= room.bytes).then_some(room)
    }

    fn fits(&self, wants: &Wants, free: Option<&Free<'_>>) -> bool {
        let fits_device = match (self.device(free), free) {
            (Some(_), Some(free)) => self.device_bytes <= free.bytes,
            _ => true,
        };
        self.memory_bytes <= wants.free_bytes && fits_device
    }
}

impl SqlStore {
    /// The run that was found may be claimed by another first; then there is a next one.
    pub(super) async fn claim_run(&self, wants: &Wants) -> Result<Option<Entry>> {
        for _ in 0..CLAIMS_LOST_MAX {
            match self.claim_next(wants).await? {
                Claim::Lost => {}
                Claim::Made(entry) => return Ok(Some(*entry)),
                Claim::Nothing => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn claim_next(&self, wants: &Wants) -> Result<Claim> {
        // Looked for outside of a transaction: most often there is none.
        let full = self.full_jobs(wants).await?;
        let free = match &wants.device {
            Some(room) => Some(Free { room, bytes: room.bytes - self.held_of(&room.id).await? }),
            None => None,
        };
        let Some(first) = self.candidate(wants, &full, ANYTHING, ANYTHING).await? else {
            return Ok(Claim::Nothing);
        };
        if first.fits(wants, free.as_ref()) {
            return self.take(wants, free.as_ref(), first, None).await;
        }
        if first.passed_over >= PASSED_OVER_MAX {
            return Ok(Claim::Nothing);
        }
        let free_bytes = free.as_ref().map_or(ANYTHING, |free| free.bytes);
        match self.candidate(wants, &full, wants.free_bytes, free_bytes).await? {
            Some(fitting) => self.take(wants, free.as_ref(), fitting, Some(&first.id)).await,
            None => Ok(Claim::Nothing),
        }
    }

    /// Job kinds of which as many runs are at work as may be, each between commas.
    async fn full_jobs(&self, wants: &Wants) -> Result<String> {
        let mut full = String::from(",");
        for (job, most) in &wants.of_job_max {
            let counted = query(
                "SELECT COUNT(*) AS n FROM runs WHERE is_open = 1 AND state = 'running' AND job = $1",
            );
            let row = counted.bind(job.clone()).fetch_one(&self.pool).await;
            let at_work: i64 = self.get(&row.map_err(|e| self.failed(e))?, "n")?;
            if at_work >= *most {
                full.push_str(job);
                full.push(',');
            }
        }
        Ok(full)
    }

    /// How much of a GPU's memory runs hold.
    async fn held_of(&self, device: &str) -> Result<i64> {
        let held = query(
            "SELECT CAST(COALESCE(SUM(device_bytes), 0) AS BIGINT) AS n FROM runs \
             WHERE is_open = 1 AND state = 'running' AND device = $1",
        );
        let row = held.bind(device.to_owned()).fetch_one(&self.pool).await;
        self.get(&row.map_err(|e| self.failed(e))?, "n")
    }

    /// The run whose turn it is of those that need no more than so much.
    async fn candidate(
        &self,
        wants: &Wants,
        full: &str,
        memory_bytes: i64,
        device_bytes: i64,
    ) -> Result<Option<Candidate>> {
        // Who has no GPU, or a small one, takes what needs none or prefers one, and never waits for its memory.
        let most = wants.device.as_ref().map_or(-1, |room| room.bytes);
        // Each finds its run in the order of an index. What a worker is at is found by the worker alone: it has few, a tenant many.
        let next = query(match wants.only_kept {
            true => next_run!("q.kept_for = $3"),
            false => next_run!("(q.kept_for = $3 OR q.kept_for IS NULL)"),
        });
        let next = next
            .bind(wants.now_us)
            .bind(memory_bytes)
            .bind(wants.worker.clone())
            .bind(full.to_owned())
            .bind(wants.of_tenant_max)
            .bind(most)
            .bind(device_bytes);
        let Some(row) = next.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))? else {
            return Ok(None);
        };
        Ok(Some(Candidate {
            id: self.get(&row, "id")?,
            tenant: self.get(&row, "tenant")?,
            job: self.get(&row, "job")?,
            memory_bytes: self.get(&row, "memory_bytes")?,
            need: Need::of(self.get(&row, "device_need")?),
            device_bytes: self.get(&row, "device_bytes")?,
            passed_over: self.get(&row, "passed_over")?,
        }))
    }

    /// Takes a run, before `passed` where that was first.
    async fn take(
        &self,
        wants: &Wants,
        free: Option<&Free<'_>>,
        run: Candidate,
        passed: Option<&str>,
    ) -> Result<Claim> {
        let mut tx = self.begin().await?;
        // From here on nobody else takes one: what is counted now holds until the end.
        let change = self.next_change(&mut tx).await?;
        let device = run.device(free);
        let most = wants.of_job_max.iter().find(|(job, _)| *job == run.job);
        let claimed = query(concat!(
            "UPDATE runs SET state = 'running', worker = $2, attempt = attempt + 1, charged_us = $3, change = $4, device = $5 \
             WHERE id = $1 AND state = 'queued' AND EXISTS (SELECT 1 FROM workers WHERE id = $2) \
             AND (SELECT COUNT(*) FROM runs w WHERE w.is_open = 1 AND w.state = 'running' AND w.job = $7) < $8 \
             AND (SELECT COALESCE(SUM(d.device_bytes), 0) FROM runs d WHERE d.is_open = 1 AND d.state = 'running' \
             AND d.device = $5) + device_bytes <= $6 RETURNING ",
            entry_columns!()
        ));
        let claimed = claimed
            .bind(run.id)
            .bind(wants.worker.clone())
            .bind(FIRST_CHARGE_US)
            .bind(change)
            .bind(device.map(|device| device.id.clone()))
            .bind(device.map_or(ANYTHING, |device| device.bytes))
            .bind(run.job)
            .bind(most.map_or(ANYTHING, |(_, most)| *most));
        let Some(row) = claimed.fetch_optional(&mut *tx).await.map_err(|e| self.failed(e))? else {
            return Ok(Claim::Lost);
        };
        let entry = self.entry(&row)?;
        if let Some(passed) = passed {
            let passes = query("UPDATE runs SET passed_over = passed_over + 1 WHERE id = $1");
            self.run(passes.bind(passed.to_owned()), &mut tx).await?;
        }
        let turn = query(
            "UPDATE counters SET value = (SELECT used_us FROM tenants WHERE tenant = $1) \
             WHERE name = 'turn' AND value < (SELECT used_us FROM tenants WHERE tenant = $1)",
        );
        self.run(turn.bind(run.tenant.clone()), &mut tx).await?;
        self.charge(&run.tenant, FIRST_CHARGE_US, &mut tx).await?;
        self.commit(tx).await?;
        Ok(Claim::Made(Box::new(entry)))
    }

    /// Counts what a run took for those that come.
    pub(super) async fn learn(
        &self,
        tenant: &str,
        job: &str,
        cost: &Cost,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        let learns = query(
            "INSERT INTO costs (tenant, job, row_count, wall_us, memory_rows, memory_bytes) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (tenant, job) DO UPDATE SET row_count = (costs.row_count * 3 + excluded.row_count) / 4, \
             wall_us = (costs.wall_us * 3 + excluded.wall_us) / 4, \
             memory_rows = CASE WHEN excluded.memory_bytes > 0 THEN excluded.memory_rows ELSE costs.memory_rows END, \
             memory_bytes = CASE WHEN excluded.memory_bytes > 0 THEN excluded.memory_bytes ELSE costs.memory_bytes END",
        );
        let learns = learns
            .bind(tenant.to_owned())
            .bind(job.to_owned())
            .bind(cost.rows)
            .bind(cost.wall_us)
            .bind(cost.memory_rows)
            .bind(cost.memory_bytes);
        self.run(learns, tx).await.map(drop)
    }

    pub(super) async fn cost_of(&self, tenant: &str, job: &str) -> Result<Option<Cost>> {
        let known = query(
            "SELECT row_count, wall_us, memory_rows, memory_bytes FROM costs WHERE tenant = $1 AND job = $2",
        );
        let known = known.bind(tenant.to_owned()).bind(job.to_owned());
        let row = known.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
        row.map(|row| {
            Ok(Cost {
                rows: self.get(&row, "row_count")?,
                wall_us: self.get(&row, "wall_us")?,
                memory_rows: self.get(&row, "memory_rows")?,
                memory_bytes: self.get(&row, "memory_bytes")?,
            })
        })
        .transpose()
    }

    pub(super) async fn end_a_waiting(
        &self,
        id: &str,
        state: &str,
        ended_us: i64,
        document: &str,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let ends = query(
            "UPDATE runs SET state = $2, is_open = 0, ended_at = $3, change = $4, document = $5 WHERE id = $1 AND state = 'queued'",
        );
        let ends = ends
            .bind(id.to_owned())
            .bind(state.to_owned())
            .bind(ended_us)
            .bind(change)
            .bind(document.to_owned());
        let is_ended = self.run(ends, &mut tx).await? > 0;
        self.commit(tx).await?;
        Ok(is_ended)
    }
}
