//! The statements: each change of state, as one of them or as one transaction.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Transaction, query};

use super::SqlStore;
use crate::control::{
    Adopted, Asked, Cancelled, Enqueued, Entry, LEAD_MAX_US, Lease, NewRun, PRIORITY_STEP_US,
    Result, Room, ScheduleEntry, ToProject, Verdict, Worker,
};
use crate::run::record::{ROUTINE_JOB, Routine};

impl SqlStore {
    pub(super) async fn count_open(
        &self,
        tenant: Option<&str>,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<i64> {
        let counted = match tenant {
            Some(tenant) => {
                query("SELECT COUNT(*) AS n FROM runs WHERE is_open = 1 AND tenant = $1")
                    .bind(tenant.to_owned())
            }
            None => query("SELECT COUNT(*) AS n FROM runs WHERE is_open = 1"),
        };
        let row = counted.fetch_one(&mut **tx).await.map_err(|e| self.failed(e))?;
        self.get(&row, "n")
    }

    /// What is full, if something is.
    pub(super) async fn crowd(
        &self,
        tenant: &str,
        room: Room,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<Option<Enqueued>> {
        for (tenant, most) in [(None, room.open_max), (Some(tenant), room.of_tenant_max)] {
            let open = self.count_open(tenant, tx).await?;
            if open >= most {
                return Ok(Some(Enqueued::Full { open, of_tenant: tenant.is_some() }));
            }
        }
        Ok(None)
    }

    pub(super) async fn enqueue_run(&self, run: &NewRun, room: Room) -> Result<Enqueued> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        if let Some(full) = self.crowd(&run.tenant, room, &mut tx).await? {
            return Ok(full);
        }
        self.insert_run(run, None, change, &mut tx).await?;
        self.commit(tx).await?;
        Ok(Enqueued::Queued)
    }

    /// Adds a run that waits, or one that ended before it began.
    pub(super) async fn insert_run(
        &self,
        run: &NewRun,
        ended: Option<&str>,
        change: i64,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        // Who was away does not come back with all the time that it did not use, nor behind all that it ever used: it begins where
        // the last one was whose turn it was, or a little later if it worked a lot just before.
        let arrives = query(
            "INSERT INTO tenants (tenant, weight, used_us, is_read, has_older) \
             SELECT $1, 1, value, 0, 0 FROM counters WHERE name = 'turn' \
             ON CONFLICT (tenant) DO UPDATE SET used_us = CASE \
             WHEN EXISTS (SELECT 1 FROM runs r WHERE r.is_open = 1 AND r.tenant = $1) THEN tenants.used_us \
             WHEN tenants.used_us < excluded.used_us THEN excluded.used_us \
             WHEN tenants.used_us > excluded.used_us + $2 THEN excluded.used_us + $2 ELSE tenants.used_us END",
        );
        self.run(arrives.bind(run.tenant.clone()).bind(LEAD_MAX_US), tx).await?;
        let rank = run.now_us - i64::from(run.priority) * PRIORITY_STEP_US;
        let added = query(
            "INSERT INTO runs (id, tenant, job, state, is_open, run_key, priority, rank, due_at, memory_bytes, attempt, \
             attempts_max, losses, kept_for, worker, charged_us, cancel_asked, change, projection, ended_at, document, device_need, \
             device_bytes, deadline_at) \
             VALUES ($1, $2, $3, $13, $14, $4, $5, $6, $7, $8, 0, $9, 0, $10, NULL, 0, 0, $11, 0, $15, $12, $16, $17, $18)",
        );
        let added = added
            .bind(run.id.clone())
            .bind(run.tenant.clone())
            .bind(run.job.clone())
            .bind(run.key.clone())
            .bind(i64::from(run.priority))
            .bind(rank)
            .bind(run.due_us)
            .bind(run.memory_bytes)
            .bind(run.attempts_max)
            .bind(run.kept_for.clone())
            .bind(change)
            .bind(run.document.clone())
            .bind(ended.unwrap_or("queued").to_owned())
            .bind(i64::from(ended.is_none()))
            .bind(ended.map(|_| run.now_us))
            .bind(run.device.need.number())
            .bind(run.device.bytes)
            .bind(run.deadline_us);
        self.run(added, tx).await.map(drop)
    }

    pub(super) async fn charge(
        &self,
        tenant: &str,
        us: i64,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        let charged = query("UPDATE tenants SET used_us = used_us + $2 / weight WHERE tenant = $1");
        self.run(charged.bind(tenant.to_owned()).bind(us), tx).await.map(drop)
    }

    pub(super) async fn settle_run(
        &self,
        lease: &Lease,
        verdict: &Verdict<'_>,
        document: &str,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let (state, is_open, ended, due, worked_us, memory_bytes) = match *verdict {
            Verdict::Ended { state, ended_us, worked_us, .. } => {
                (state, 0_i64, Some(ended_us), None, worked_us, None)
            }
            Verdict::Again { due_us, worked_us, memory_bytes } => {
                ("queued", 1, None, Some(due_us), worked_us, memory_bytes)
            }
        };
        let settled = query(
            "UPDATE runs SET state = $4, is_open = $5, ended_at = $6, due_at = COALESCE($7, due_at), worker = NULL, change = $8, \
             document = $9, memory_bytes = COALESCE($10, memory_bytes) \
             WHERE id = $1 AND worker = $2 AND attempt = $3 AND state = 'running' RETURNING tenant, job, charged_us",
        );
        let settled = settled
            .bind(lease.id.clone())
            .bind(lease.worker.clone())
            .bind(lease.attempt)
            .bind(state.to_owned())
            .bind(is_open)
            .bind(ended)
            .bind(due)
            .bind(change)
            .bind(document.to_owned())
            .bind(memory_bytes);
        let Some(row) = settled.fetch_optional(&mut *tx).await.map_err(|e| self.failed(e))? else {
            return Ok(false);
        };
        let (tenant, charged): (String, i64) =
            (self.get(&row, "tenant")?, self.get(&row, "charged_us")?);
        self.charge(&tenant, worked_us - charged, &mut tx).await?;
        if let Verdict::Ended { cost: Some(cost), .. } = verdict {
            let job: String = self.get(&row, "job")?;
            self.learn(&tenant, &job, cost, &mut tx).await?;
        }
        self.commit(tx).await?;
        Ok(true)
    }

    pub(super) async fn cancel_run(
        &self,
        tenant: &str,
        id: &str,
        ended_us: i64,
        document: &str,
    ) -> Result<Cancelled> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let waiting = query(
            "UPDATE runs SET state = 'cancelled', is_open = 0, ended_at = $3, change = $4, document = $5, cancel_asked = 1 \
             WHERE id = $1 AND tenant = $2 AND state = 'queued'",
        );
        let waiting = waiting
            .bind(id.to_owned())
            .bind(tenant.to_owned())
            .bind(ended_us)
            .bind(change)
            .bind(document.to_owned());
        let cancelled = if self.run(waiting, &mut tx).await? > 0 {
            Cancelled::AtOnce
        } else {
            let asked = query(
                "UPDATE runs SET cancel_asked = 1, change = $3 WHERE id = $1 AND tenant = $2 AND state = 'running'",
            );
            match self
                .run(asked.bind(id.to_owned()).bind(tenant.to_owned()).bind(change), &mut tx)
                .await?
            {
                0 => Cancelled::NotOpen,
                _ => Cancelled::Asked,
            }
        };
        self.commit(tx).await?;
        Ok(cancelled)
    }

    pub(super) async fn list_runs(&self, tenant: &str, asked: &Asked) -> Result<Vec<Entry>> {
        // Behind all ids, which are of lower-case letters and digits, in whatever order a database has for texts.
        let before = asked.before.clone().unwrap_or_else(|| "zzzzzzzz".to_owned());
        let (tenant, limit) = (tenant.to_owned(), asked.limit);
        let statement = match (&asked.key, &asked.job, &asked.state) {
            (Some(key), _, state) => query(entries!(
                "WHERE tenant = $1 AND id < $2 AND run_key = $4 AND state = $5 ORDER BY id DESC LIMIT $3"
            ))
            .bind(tenant)
            .bind(before)
            .bind(limit)
            .bind(key.clone())
            .bind(state.clone().unwrap_or_else(|| "succeeded".to_owned())),
            (None, Some(job), Some(state)) => query(entries!(
                "WHERE tenant = $1 AND id < $2 AND job = $4 AND state = $5 ORDER BY id DESC LIMIT $3"
            ))
            .bind(tenant)
            .bind(before)
            .bind(limit)
            .bind(job.clone())
            .bind(state.clone()),
            (None, Some(job), None) => {
                query(entries!("WHERE tenant = $1 AND id < $2 AND job = $4 ORDER BY id DESC LIMIT $3"))
                    .bind(tenant)
                    .bind(before)
                    .bind(limit)
                    .bind(job.clone())
            }
            (None, None, state) if asked.routine == Routine::Hidden => {
                let hidden = query(entries!(
                    "WHERE tenant = $1 AND id < $2 AND state = COALESCE($5, state) \
                     AND (job <> $4 OR state IN ('failed', 'cancelled')) ORDER BY id DESC LIMIT $3"
                ));
                hidden.bind(tenant).bind(before).bind(limit).bind(ROUTINE_JOB.to_owned()).bind(state.clone())
            }
            (None, None, Some(state)) => query(entries!(
                "WHERE tenant = $1 AND id < $2 AND state = $4 ORDER BY id DESC LIMIT $3"
            ))
            .bind(tenant)
            .bind(before)
            .bind(limit)
            .bind(state.clone()),
            (None, None, None) => {
                query(entries!("WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3"))
                    .bind(tenant)
                    .bind(before)
                    .bind(limit)
            }
        };
        self.entries(statement).await
    }

    pub(super) async fn beat_worker(&self, worker: &str) -> Result<Option<Vec<String>>> {
        let beats =
            query("UPDATE workers SET beat = beat + 1 WHERE id = $1").bind(worker.to_owned());
        let done = beats.execute(&self.pool).await.map_err(|e| self.failed(e))?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let asked =
            query("SELECT id FROM runs WHERE is_open = 1 AND worker = $1 AND cancel_asked = 1");
        let rows = asked
            .bind(worker.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.failed(e))?;
        rows.iter().map(|row| self.get(row, "id")).collect::<Result<Vec<String>>>().map(Some)
    }

    /// What was kept for a worker, and what it was making rows of, is for others.
    pub(super) async fn let_go(
        &self,
        worker: &str,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        for statement in [
            "UPDATE runs SET kept_for = NULL WHERE is_open = 1 AND kept_for = $1",
            "UPDATE runs SET worker = NULL WHERE is_open = 0 AND worker = $1",
        ] {
            self.run(query(statement).bind(worker.to_owned()), tx).await?;
        }
        Ok(())
    }

    pub(super) async fn bury(&self, worker: &Worker) -> Result<u64> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let gone = query("DELETE FROM workers WHERE id = $1 AND beat = $2")
            .bind(worker.id.clone())
            .bind(worker.beat);
        if self.run(gone, &mut tx).await? == 0 {
            return Ok(0);
        }
        self.let_go(&worker.id, &mut tx).await?;
        let again = query(
            "UPDATE runs SET state = 'queued', worker = NULL, losses = losses + 1, due_at = 0, change = $2 \
             WHERE is_open = 1 AND worker = $1",
        );
        let taken = self.run(again.bind(worker.id.clone()).bind(change), &mut tx).await?;
        self.commit(tx).await?;
        Ok(taken)
    }

    pub(super) async fn adopt_runs(
        &self,
        tenant: &str,
        runs: &[Adopted],
        has_older: bool,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        for run in runs {
            let added = query(
                "INSERT INTO runs (id, tenant, job, state, is_open, run_key, priority, rank, due_at, memory_bytes, attempt, \
                 attempts_max, losses, kept_for, worker, charged_us, cancel_asked, change, projection, ended_at, document) \
                 VALUES ($1, $2, $3, $4, 0, $5, 0, 0, 0, 0, 1, 1, 0, NULL, NULL, 0, 0, 0, $8, $6, $7) ON CONFLICT (id) DO NOTHING",
            );
            let added = added
                .bind(run.id.clone())
                .bind(tenant.to_owned())
                .bind(run.job.clone())
                .bind(run.state.clone())
                .bind(run.key.clone())
                .bind(run.ended_us)
                .bind(run.document.clone())
                .bind(if run.is_row { 1_i64 } else { 2 });
            self.run(added, &mut tx).await?;
        }
        let is_read = query(
            "INSERT INTO tenants (tenant, weight, used_us, is_read, has_older) VALUES ($1, 1, 0, 1, $2) \
             ON CONFLICT (tenant) DO UPDATE SET is_read = 1, has_older = excluded.has_older",
        );
        self.run(is_read.bind(tenant.to_owned()).bind(i64::from(has_older)), &mut tx).await?;
        self.commit(tx).await
    }

    pub(super) async fn to_project_runs(
        &self,
        worker: &str,
        after: &str,
        limit: i64,
    ) -> Result<ToProject> {
        let next = query(
            "SELECT tenant FROM runs WHERE is_open = 0 AND projection <> 1 AND COALESCE(worker, $1) = $1 \
             AND tenant > $2 ORDER BY tenant, id LIMIT 1",
        );
        let next = next.bind(worker.to_owned()).bind(after.to_owned());
        // Looked for outside of a transaction: most often there is none.
        let found = next.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
        let Some(row) = found else { return Ok(ToProject::default()) };
        let tenant: String = self.get(&row, "tenant")?;
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let rows = query(concat!(
            "SELECT ",
            entry_columns!(),
            ", projection FROM runs WHERE is_open = 0 AND projection <> 1 AND COALESCE(worker, $3) = $3 AND tenant = $1 \
             ORDER BY id LIMIT $2"
        ));
        let rows = rows.bind(tenant).bind(limit).bind(worker.to_owned()).fetch_all(&mut *tx).await;
        let mut found = ToProject::default();
        for row in &rows.map_err(|e| self.failed(e))? {
            let entry = self.entry(row)?;
            if self.get::<i64>(row, "projection")? == 2 {
                found.perhaps.push(entry.id.clone());
            }
            let taken = query("UPDATE runs SET projection = 2, worker = $2 WHERE id = $1");
            self.run(taken.bind(entry.id.clone()).bind(worker.to_owned()), &mut tx).await?;
            found.entries.push(entry);
        }
        self.commit(tx).await?;
        Ok(found)
    }

    pub(super) async fn projected_runs(&self, ids: &[String], are_rows: bool) -> Result<()> {
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        for id in ids {
            let told = query(
                "UPDATE runs SET projection = $2, worker = NULL WHERE id = $1 AND is_open = 0",
            );
            let projection = if are_rows { 1_i64 } else { 2 };
            self.run(told.bind(id.clone()).bind(projection), &mut tx).await?;
        }
        self.commit(tx).await
    }

    pub(super) async fn changes_rows<'q>(
        &self,
        statement: Query<'q, Any, AnyArguments>,
    ) -> Result<bool> {
        let done = statement.execute(&self.pool).await.map_err(|e| self.failed(e))?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn list_schedules(&self, tenant: Option<&str>) -> Result<Vec<ScheduleEntry>> {
        let rows = match tenant {
            Some(tenant) => query(
                "SELECT tenant, name, is_paused, up_to, missed, document FROM schedules WHERE tenant = $1 ORDER BY name",
            )
            .bind(tenant.to_owned()),
            None => query(
                "SELECT tenant, name, is_paused, up_to, missed, document FROM schedules ORDER BY tenant, name",
            ),
        };
        self.schedules_in(rows).await
    }

    pub(super) async fn find_schedule(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<ScheduleEntry>> {
        let row = query(
            "SELECT tenant, name, is_paused, up_to, missed, document FROM schedules WHERE tenant = $1 AND name = $2",
        );
        Ok(self.schedules_in(row.bind(tenant.to_owned()).bind(name.to_owned())).await?.pop())
    }

    async fn schedules_in(&self, rows: Query<'_, Any, AnyArguments>) -> Result<Vec<ScheduleEntry>> {
        let rows = rows.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter()
            .map(|row| {
                Ok(ScheduleEntry {
                    tenant: self.get(row, "tenant")?,
                    name: self.get(row, "name")?,
                    is_paused: self.get::<i64>(row, "is_paused")? != 0,
                    up_to: self.get(row, "up_to")?,
                    missed: self.get(row, "missed")?,
                    document: self.get(row, "document")?,
                })
            })
            .collect()
    }

    pub(super) async fn forget_runs(&self, ended_us: i64) -> Result<u64> {
        let mut tx = self.begin().await?;
        let older = query(
            "UPDATE tenants SET has_older = 1 WHERE EXISTS (SELECT 1 FROM runs r WHERE r.is_open = 0 AND r.ended_at < $1 \
             AND r.projection = 1 AND r.tenant = tenants.tenant)",
        );
        self.run(older.bind(ended_us), &mut tx).await?;
        // Which of them had a run is known for as long: a schedule handles none that is older than it has got. One that waits for a
        // dataset or for runs counts their versions and changes, which are fewer than microseconds.
        let ticks = query(
            "DELETE FROM ticks WHERE due_at < $1 AND (ended IS NOT NULL OR EXISTS (SELECT 1 FROM runs r WHERE r.id = ticks.run)) \
             AND EXISTS (SELECT 1 FROM schedules s WHERE s.tenant = ticks.tenant \
             AND s.name = ticks.schedule AND (s.up_to >= ticks.due_at OR s.up_to < 1000000000000))",
        );
        self.run(ticks.bind(ended_us), &mut tx).await?;
        self.keep_ends(ended_us, &mut tx).await?;
        let gone = query("DELETE FROM runs WHERE is_open = 0 AND ended_at < $1 AND projection = 1");
        let gone = self.run(gone.bind(ended_us), &mut tx).await?;
        self.commit(tx).await?;
        Ok(gone)
    }
}
