//! The statements of ticks: the times of a schedule, and the partitions of a backfill. Each has one run.

use sqlx::query;
use sqlx::{Any, Transaction};

use super::SqlStore;
use crate::control::{Fired, NewRun, Result, Room, TickCount, TickOf, TickState};

impl SqlStore {
    /// Adds a tick; false where it is there, where there is no such schedule, or where that is elsewhere by now.
    async fn insert_tick(
        &self,
        tick: &TickOf,
        run: &str,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<bool> {
        let ticks = query(
            "INSERT INTO ticks (tenant, schedule, logical, due_at, run) \
             SELECT tenant, name, $3, $4, $5 FROM schedules WHERE tenant = $1 AND name = $2 AND up_to = COALESCE($6, up_to) \
             ON CONFLICT DO NOTHING",
        );
        let ticks = ticks
            .bind(tick.tenant.clone())
            .bind(tick.schedule.clone())
            .bind(tick.logical.clone())
            .bind(tick.due_us)
            .bind(run.to_owned())
            .bind(tick.moves.map(|(from, _)| from));
        if self.run(ticks, tx).await? == 0 {
            return Ok(false);
        }
        if let Some((_, up_to)) = tick.moves {
            let moves = query("UPDATE schedules SET up_to = $3 WHERE tenant = $1 AND name = $2");
            let moves = moves.bind(tick.tenant.clone()).bind(tick.schedule.clone()).bind(up_to);
            self.run(moves, tx).await?;
        }
        Ok(true)
    }

    pub(super) async fn fire_tick(
        &self,
        tick: &TickOf,
        run: &NewRun,
        ended: Option<&str>,
        room: Room,
    ) -> Result<Fired> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        match self.insert_tick(tick, &run.id, &mut tx).await? {
            true => self.insert_if_room(run, ended, room, change, tx).await,
            false => Ok(Fired::Before),
        }
    }

    /// Adds the run of a tick that was made its own, and ends the transaction; nothing of it is there where there is no room.
    async fn insert_if_room(
        &self,
        run: &NewRun,
        ended: Option<&str>,
        room: Room,
        change: i64,
        mut tx: Transaction<'static, Any>,
    ) -> Result<Fired> {
        if self.crowd(&run.tenant, room, &mut tx).await?.is_some() {
            return Ok(Fired::Full);
        }
        self.insert_run(run, ended, change, &mut tx).await?;
        self.commit(tx).await?;
        Ok(Fired::Now)
    }

    pub(super) async fn fire_again(
        &self,
        tenant: &str,
        failed: &str,
        run: &NewRun,
        room: Room,
    ) -> Result<Fired> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let moves = query(
            "UPDATE ticks SET run = $3, ended = NULL WHERE tenant = $1 AND run = $2 \
             AND EXISTS (SELECT 1 FROM runs r WHERE r.id = $2 AND r.state IN ('failed', 'cancelled'))",
        );
        let moves = moves.bind(tenant.to_owned()).bind(failed.to_owned());
        match self.run(moves.bind(run.id.clone()), &mut tx).await? {
            0 => Ok(Fired::Before),
            _ => self.insert_if_room(run, None, room, change, tx).await,
        }
    }

    pub(super) async fn forget_failed(&self, tenant: &str, schedule: &str) -> Result<u64> {
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let gone = query(
            "DELETE FROM ticks WHERE tenant = $1 AND schedule = $2 AND (ended IN ('failed', 'cancelled') \
             OR EXISTS (SELECT 1 FROM runs r WHERE r.id = ticks.run AND r.state IN ('failed', 'cancelled')))",
        );
        let gone = gone.bind(tenant.to_owned()).bind(schedule.to_owned());
        let gone = self.run(gone, &mut tx).await?;
        self.commit(tx).await?;
        Ok(gone)
    }

    pub(super) async fn list_ticks(&self, tenant: &str, schedule: &str) -> Result<Vec<TickState>> {
        let all = query(
            "SELECT t.logical AS logical, t.run AS run, COALESCE(r.state, t.ended) AS state FROM ticks t \
             LEFT JOIN runs r ON r.id = t.run WHERE t.tenant = $1 AND t.schedule = $2 ORDER BY t.due_at DESC, t.logical DESC",
        );
        let all = all.bind(tenant.to_owned()).bind(schedule.to_owned());
        let rows = all.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter()
            .map(|row| {
                Ok(TickState {
                    logical: self.get(row, "logical")?,
                    run: self.get(row, "run")?,
                    state: self.get(row, "state")?,
                })
            })
            .collect()
    }

    pub(super) async fn count_ticks(&self, tenant: &str, schedule: &str) -> Result<Vec<TickCount>> {
        let counted = query(
            "SELECT COALESCE(r.state, t.ended) AS state, COUNT(*) AS n FROM ticks t LEFT JOIN runs r ON r.id = t.run \
             WHERE t.tenant = $1 AND t.schedule = $2 GROUP BY COALESCE(r.state, t.ended)",
        );
        let counted = counted.bind(tenant.to_owned()).bind(schedule.to_owned());
        let rows = counted.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter()
            .map(|row| Ok(TickCount { state: self.get(row, "state")?, ticks: self.get(row, "n")? }))
            .collect()
    }

    /// Keeps of ticks that stay how their runs ended, before those are forgotten.
    pub(super) async fn keep_ends(
        &self,
        ended_us: i64,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        let ends = query(
            "UPDATE ticks SET ended = (SELECT r.state FROM runs r WHERE r.id = ticks.run) WHERE ended IS NULL AND EXISTS \
             (SELECT 1 FROM runs r WHERE r.id = ticks.run AND r.is_open = 0 AND r.ended_at < $1 AND r.projection = 1)",
        );
        self.run(ends.bind(ended_us), tx).await.map(drop)
    }

    pub(super) async fn remove(&self, tenant: &str, name: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let gone = query("DELETE FROM schedules WHERE tenant = $1 AND name = $2");
        let gone = self.run(gone.bind(tenant.to_owned()).bind(name.to_owned()), &mut tx).await?;
        // Another of its name begins anew.
        let ticks = query("DELETE FROM ticks WHERE tenant = $1 AND schedule = $2");
        self.run(ticks.bind(tenant.to_owned()).bind(name.to_owned()), &mut tx).await?;
        self.commit(tx).await?;
        Ok(gone > 0)
    }
}
