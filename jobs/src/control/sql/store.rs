//! What is asked of the store, and the statement for it.

use futures::future::BoxFuture;
use sqlx::any::AnyRow;
use sqlx::query;

use super::SqlStore;
use crate::control::{
    Adopted, Asked, Cancelled, ControlStore, Cost, Count, DeviceRoom, Earlier, Enqueued, Entry,
    Fired, LastTick, Lease, NewRun, Notice, Pause, Result, Room, ScheduleEntry, TickCount, TickOf,
    TickState, ToProject, Verdict, Wants, Worker,
};

impl ControlStore for SqlStore {
    fn enqueue<'a>(&'a self, run: &'a NewRun, room: Room) -> BoxFuture<'a, Result<Enqueued>> {
        self.in_time(self.enqueue_run(run, room))
    }

    fn claim<'a>(&'a self, wants: &'a Wants) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.in_time(self.claim_run(wants))
    }

    fn note<'a>(&'a self, lease: &'a Lease, document: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.in_time(async move {
            let mut tx = self.begin().await?;
            let change = self.next_change(&mut tx).await?;
            let noted = query(
                "UPDATE runs SET document = $4, change = $5 WHERE id = $1 AND worker = $2 AND attempt = $3 AND state = 'running'",
            );
            let noted = noted
                .bind(lease.id.clone())
                .bind(lease.worker.clone())
                .bind(lease.attempt)
                .bind(document.to_owned())
                .bind(change);
            let is_own = self.run(noted, &mut tx).await? > 0;
            self.commit(tx).await?;
            Ok(is_own)
        })
    }

    fn settle<'a>(
        &'a self,
        lease: &'a Lease,
        verdict: Verdict<'a>,
        document: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        self.in_time(async move { self.settle_run(lease, &verdict, document).await })
    }

    fn cancel<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        ended_us: i64,
        document: &'a str,
    ) -> BoxFuture<'a, Result<Cancelled>> {
        self.in_time(self.cancel_run(tenant, id, ended_us, document))
    }

    fn end_waiting<'a>(
        &'a self,
        id: &'a str,
        state: &'a str,
        ended_us: i64,
        document: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        self.in_time(self.end_a_waiting(id, state, ended_us, document))
    }

    fn overdue(&self, now_us: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Entry>>> {
        self.in_time(async move {
            let overdue = query(entries!(
                "WHERE is_open = 1 AND state = 'queued' AND deadline_at <= $1 ORDER BY deadline_at LIMIT $2"
            ));
            let mut found = self.entries(overdue.bind(now_us).bind(limit)).await?;
            let cancelled = query(entries!(
                "WHERE is_open = 1 AND state = 'queued' AND cancel_asked = 1 ORDER BY id LIMIT $1"
            ));
            found.extend(self.entries(cancelled.bind(limit)).await?);
            Ok(found)
        })
    }

    fn cost<'a>(&'a self, tenant: &'a str, job: &'a str) -> BoxFuture<'a, Result<Option<Cost>>> {
        self.in_time(self.cost_of(tenant, job))
    }

    fn not_counted<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<[i64; 3]>> {
        self.in_time(async move {
            let counted = query(
                "SELECT (SELECT COUNT(*) FROM runs WHERE is_open = 1 AND tenant = $1 AND state = 'queued') AS waiting, \
                 (SELECT COUNT(*) FROM runs WHERE is_open = 1 AND tenant = $1 AND state = 'running') AS working, \
                 (SELECT COUNT(*) FROM runs WHERE is_open = 0 AND projection <> 1 AND tenant = $1) AS ended",
            );
            let row = counted.bind(tenant.to_owned()).fetch_one(&self.pool).await;
            let row = row.map_err(|e| self.failed(e))?;
            Ok([self.get(&row, "waiting")?, self.get(&row, "working")?, self.get(&row, "ended")?])
        })
    }

    fn weigh<'a>(&'a self, weights: &'a [(&'a str, i64)]) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let mut tx = self.begin().await?;
            self.next_change(&mut tx).await?;
            self.run(query("UPDATE tenants SET weight = 1 WHERE weight <> 1"), &mut tx).await?;
            for (tenant, weight) in weights {
                let weighs = query(
                    "INSERT INTO tenants (tenant, weight, used_us, is_read, has_older) \
                     SELECT $1, $2, value, 0, 0 FROM counters WHERE name = 'turn' \
                     ON CONFLICT (tenant) DO UPDATE SET weight = excluded.weight",
                );
                let weighs = weighs.bind((*tenant).to_owned()).bind((*weight).max(1));
                self.run(weighs, &mut tx).await?;
            }
            self.commit(tx).await
        })
    }

    fn get<'a>(&'a self, tenant: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.in_time(async move {
            let found = query(entries!("WHERE id = $1 AND tenant = $2"));
            let mut found = self.entries(found.bind(id.to_owned()).bind(tenant.to_owned())).await?;
            Ok(found.pop())
        })
    }

    fn list<'a>(&'a self, tenant: &'a str, asked: &'a Asked) -> BoxFuture<'a, Result<Vec<Entry>>> {
        self.in_time(self.list_runs(tenant, asked))
    }

    fn changed(&self, change: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Entry>>> {
        self.in_time(async move {
            let changed = query(entries!("WHERE change > $1 ORDER BY change LIMIT $2"));
            self.entries(changed.bind(change).bind(limit)).await
        })
    }

    fn last_change(&self) -> BoxFuture<'_, Result<i64>> {
        self.in_time(self.counter("change"))
    }

    fn join<'a>(
        &'a self,
        id: &'a str,
        label: &'a str,
        runs_max: Option<i64>,
        device: Option<&'a DeviceRoom>,
        now_us: i64,
    ) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let joins = query(
                "INSERT INTO workers (id, label, started_at, runs_max, device, device_bytes, beat) VALUES ($1, $2, $3, $4, $5, $6, 0)",
            );
            let joins = joins.bind(id.to_owned()).bind(label.to_owned()).bind(now_us);
            let joins = joins.bind(runs_max).bind(device.map(|device| device.id.clone()));
            let joins = joins.bind(device.map_or(0, |device| device.bytes));
            joins.execute(&self.pool).await.map(drop).map_err(|e| self.failed(e))
        })
    }

    fn beat<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<Option<Vec<String>>>> {
        self.in_time(self.beat_worker(worker))
    }

    fn held<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<Vec<Lease>>> {
        self.in_time(async move {
            let held = query("SELECT id, attempt FROM runs WHERE is_open = 1 AND worker = $1");
            let rows = held.bind(worker.to_owned()).fetch_all(&self.pool).await;
            let rows = rows.map_err(|e| self.failed(e))?;
            rows.iter()
                .map(|row| {
                    let (id, attempt) = (self.get(row, "id")?, self.get(row, "attempt")?);
                    Ok(Lease { id, worker: worker.to_owned(), attempt })
                })
                .collect()
        })
    }

    fn put_back<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool>> {
        self.in_time(async move {
            let mut tx = self.begin().await?;
            let change = self.next_change(&mut tx).await?;
            let back = query(
                "UPDATE runs SET state = 'queued', worker = NULL, due_at = 0, change = $4 \
                 WHERE is_open = 1 AND id = $1 AND worker = $2 AND attempt = $3",
            );
            let back = back.bind(lease.id.clone()).bind(lease.worker.clone()).bind(lease.attempt);
            let is_back = self.run(back.bind(change), &mut tx).await? > 0;
            self.commit(tx).await?;
            Ok(is_back)
        })
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<Worker>>> {
        self.in_time(async move {
            let all = query(
                "SELECT id, label, started_at, runs_max, device, device_bytes, beat FROM workers ORDER BY started_at, id",
            );
            let rows = all.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
            rows.iter()
                .map(|row| {
                    let bytes = self.get(row, "device_bytes")?;
                    let device = self.get::<Option<String>>(row, "device")?;
                    Ok(Worker {
                        device: device.map(|id| DeviceRoom { id, bytes }),
                        id: self.get(row, "id")?,
                        label: self.get(row, "label")?,
                        started_us: self.get(row, "started_at")?,
                        runs_max: self.get(row, "runs_max")?,
                        beat: self.get(row, "beat")?,
                    })
                })
                .collect()
        })
    }

    fn dead<'a>(&'a self, worker: &'a Worker) -> BoxFuture<'a, Result<u64>> {
        self.in_time(self.bury(worker))
    }

    fn leave<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let mut tx = self.begin().await?;
            let change = self.next_change(&mut tx).await?;
            let gone = query("DELETE FROM workers WHERE id = $1").bind(worker.to_owned());
            self.run(gone, &mut tx).await?;
            self.let_go(worker, &mut tx).await?;
            let left = query(
                "UPDATE runs SET state = 'queued', worker = NULL, change = $2 WHERE is_open = 1 AND worker = $1",
            );
            self.run(left.bind(worker.to_owned()).bind(change), &mut tx).await?;
            self.commit(tx).await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }

    fn to_project<'a>(
        &'a self,
        worker: &'a str,
        after: &'a str,
        limit: i64,
    ) -> BoxFuture<'a, Result<ToProject>> {
        self.in_time(self.to_project_runs(worker, after, limit))
    }

    fn projected<'a>(&'a self, ids: &'a [String], are_rows: bool) -> BoxFuture<'a, Result<()>> {
        self.in_time(self.projected_runs(ids, are_rows))
    }

    fn earlier<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Earlier>> {
        self.in_time(async move {
            let known = query("SELECT is_read, has_older FROM tenants WHERE tenant = $1");
            let row = known.bind(tenant.to_owned()).fetch_optional(&self.pool).await;
            Ok(match row.map_err(|e| self.failed(e))? {
                Some(row) => Earlier {
                    is_read: self.get::<i64>(&row, "is_read")? != 0,
                    has_older: self.get::<i64>(&row, "has_older")? != 0,
                },
                None => Earlier { is_read: false, has_older: false },
            })
        })
    }

    fn adopt<'a>(
        &'a self,
        tenant: &'a str,
        runs: &'a [Adopted],
        has_older: bool,
    ) -> BoxFuture<'a, Result<()>> {
        self.in_time(self.adopt_runs(tenant, runs, has_older))
    }

    fn forget(&self, ended_us: i64) -> BoxFuture<'_, Result<u64>> {
        self.in_time(self.forget_runs(ended_us))
    }

    fn schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleEntry>>> {
        self.in_time(self.find_schedule(tenant, name))
    }

    fn add_schedule<'a>(&'a self, schedule: &'a ScheduleEntry) -> BoxFuture<'a, Result<bool>> {
        let added = query(
            "INSERT INTO schedules (tenant, name, is_paused, up_to, missed, document) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT DO NOTHING",
        );
        let added = added
            .bind(schedule.tenant.clone())
            .bind(schedule.name.clone())
            .bind(i64::from(schedule.is_paused))
            .bind(schedule.up_to)
            .bind(schedule.missed)
            .bind(schedule.document.clone());
        self.in_time(self.changes_rows(added))
    }

    fn schedules<'a>(
        &'a self,
        tenant: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ScheduleEntry>>> {
        self.in_time(self.list_schedules(tenant))
    }

    fn require_there(&self) -> Result<()> {
        Self::require_there(self)
    }

    fn pause_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        pause: Pause,
    ) -> BoxFuture<'a, Result<bool>> {
        let (is_paused, up_to) = match pause {
            Pause::Begin => (1_i64, None),
            Pause::End { up_to } => (0, Some(up_to)),
        };
        let paused = query(
            "UPDATE schedules SET is_paused = $3, up_to = COALESCE($4, up_to) \
             WHERE tenant = $1 AND name = $2",
        );
        let paused = paused.bind(tenant.to_owned()).bind(name.to_owned()).bind(is_paused);
        self.in_time(self.changes_rows(paused.bind(up_to)))
    }

    fn place_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        from: Option<i64>,
        up_to: i64,
    ) -> BoxFuture<'a, Result<bool>> {
        let placed = query(
            "UPDATE schedules SET up_to = $4 WHERE tenant = $1 AND name = $2 AND up_to = COALESCE($3, up_to)",
        );
        let placed = placed.bind(tenant.to_owned()).bind(name.to_owned());
        self.in_time(self.changes_rows(placed.bind(from).bind(up_to)))
    }

    fn remove_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        self.in_time(self.remove(tenant, name))
    }

    fn fire<'a>(
        &'a self,
        tick: &'a TickOf,
        run: &'a NewRun,
        ended: Option<&'a str>,
        room: Room,
    ) -> BoxFuture<'a, Result<Fired>> {
        self.in_time(self.fire_tick(tick, run, ended, room))
    }

    fn fire_again<'a>(
        &'a self,
        tenant: &'a str,
        failed: &'a str,
        run: &'a NewRun,
        room: Room,
    ) -> BoxFuture<'a, Result<Fired>> {
        self.in_time(self.fire_again(tenant, failed, run, room))
    }

    fn forget_failed<'a>(&'a self, tenant: &'a str, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.in_time(self.forget_failed(tenant, name))
    }

    fn ticks<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<TickState>>> {
        self.in_time(self.list_ticks(tenant, name, limit))
    }

    fn begin_tick<'a>(&'a self, tick: &'a TickOf, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.in_time(self.begin_tick(tick, id))
    }

    fn open_ticks<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TickState>>> {
        self.in_time(self.list_open_ticks(tenant, name))
    }

    fn ticks_of<'a>(
        &'a self,
        tenant: &'a str,
        of: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TickState>>> {
        self.in_time(self.list_ticks_of(tenant, of))
    }

    fn steps<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<TickState>>> {
        self.in_time(self.list_steps(tenant, name, limit))
    }

    fn end_tick<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        ended: Option<(&'a str, bool)>,
    ) -> BoxFuture<'a, Result<bool>> {
        self.in_time(self.end_tick(tenant, id, ended))
    }

    fn tick_counts<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TickCount>>> {
        self.in_time(self.count_ticks(tenant, name))
    }

    fn change_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        document: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        let changed = query("UPDATE schedules SET document = $3 WHERE tenant = $1 AND name = $2");
        let changed = changed.bind(tenant.to_owned()).bind(name.to_owned());
        self.in_time(self.changes_rows(changed.bind(document.to_owned())))
    }

    fn last_tick<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<LastTick>>> {
        self.in_time(async move {
            let last = query(
                "SELECT t.due_at AS due_at, t.run AS run, COALESCE(r.is_open, 0) AS is_open FROM ticks t LEFT JOIN runs r ON r.id = t.run \
                 WHERE t.tenant = $1 AND t.schedule = $2 ORDER BY t.due_at DESC, is_open DESC LIMIT 1",
            );
            let last = last.bind(tenant.to_owned()).bind(name.to_owned());
            let row = last.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
            let read = |row: AnyRow| {
                let is_open: i64 = self.get(&row, "is_open")?;
                let (due_us, run) = (self.get(&row, "due_at")?, self.get(&row, "run")?);
                Ok(LastTick { due_us, is_open: is_open != 0, run })
            };
            row.map(read).transpose()
        })
    }

    fn handled<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        up_to: i64,
        missed: i64,
    ) -> BoxFuture<'a, Result<()>> {
        let handled = query(
            "UPDATE schedules SET up_to = $3, missed = missed + $4 WHERE tenant = $1 AND name = $2 AND up_to < $3",
        );
        let handled =
            handled.bind(tenant.to_owned()).bind(name.to_owned()).bind(up_to).bind(missed);
        self.in_time(async move { self.changes_rows(handled).await.map(drop) })
    }

    fn notify<'a>(&'a self, notices: &'a [Notice]) -> BoxFuture<'a, Result<()>> {
        self.in_time(self.notify_of(notices))
    }

    fn notices(&self, after: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Notice>>> {
        self.in_time(self.notices_after(after, limit))
    }

    fn last_notice(&self) -> BoxFuture<'_, Result<i64>> {
        self.in_time(self.counter("notice"))
    }

    fn root<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<String>> {
        self.in_time(self.root_of(id))
    }

    fn look_through(&self) -> BoxFuture<'_, Result<()>> {
        self.in_time(self.look_through())
    }

    fn failed_after(&self, at_us: i64) -> BoxFuture<'_, Result<i64>> {
        self.in_time(self.failed_after(at_us))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Vec<Count>>> {
        self.in_time(async move {
            let counted = query(
                "SELECT tenant, job, state, COUNT(*) AS n FROM runs WHERE is_open = 1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            );
            let rows = counted.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
            rows.iter()
                .map(|row| {
                    Ok(Count {
                        tenant: self.get(row, "tenant")?,
                        job: self.get(row, "job")?,
                        state: self.get(row, "state")?,
                        runs: self.get(row, "n")?,
                    })
                })
                .collect()
        })
    }
}
