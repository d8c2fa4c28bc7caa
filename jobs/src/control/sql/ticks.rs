//! The statements of ticks: the times of a schedule, the partitions of a backfill, the runs of a pipeline and their steps. Each has
//! one run.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Transaction, query};

use super::SqlStore;
use crate::control::{Fired, NewRun, Result, Room, TickCount, TickOf, TickState};

/// A statement that gives ticks and the states of their runs.
macro_rules! ticks {
    ($rest:literal) => {
        query(concat!(
            "SELECT t.schedule AS schedule, t.logical AS logical, t.due_at AS due_at, t.run AS run, \
             COALESCE(r.state, t.ended) AS state FROM ticks t LEFT JOIN runs r ON r.id = t.run ",
            $rest
        ))
    };
}

impl SqlStore {
    /// Adds a tick. Returns false if the tick already exists, or if the schedule was removed,
    /// paused or moved after the caller read it. Also returns false for a step whose pipeline run
    /// has ended.
    async fn insert_tick(
        &self,
        tick: &TickOf,
        run: &str,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<bool> {
        // A step is of the schedule that its pipeline is, and begins while the run goes on that it is of.
        let (of, is_step) = match tick.schedule.split_once('/') {
            Some((pipeline, _)) => (pipeline, true),
            None => (tick.schedule.as_str(), false),
        };
        let ticks = query(
            "INSERT INTO ticks (tenant, schedule, logical, due_at, run) \
             SELECT tenant, $2, $3, $4, $5 FROM schedules WHERE tenant = $1 AND name = $7 AND up_to = COALESCE($6, up_to) \
             AND (is_paused = 0 OR $9 = 1) \
             AND ($8 = 0 OR EXISTS (SELECT 1 FROM ticks p WHERE p.tenant = $1 AND p.schedule = $7 AND p.run = $3 AND p.ended IS NULL)) \
             ON CONFLICT DO NOTHING",
        );
        let ticks = ticks
            .bind(tick.tenant.clone())
            .bind(tick.schedule.clone())
            .bind(tick.logical.clone())
            .bind(tick.due_us)
            .bind(run.to_owned())
            .bind(tick.moves.map(|(from, _)| from))
            .bind(of.to_owned())
            .bind(i64::from(is_step))
            .bind(i64::from(tick.also_paused));
        if self.run(ticks, tx).await? == 0 {
            return Ok(false);
        }
        if let Some((_, up_to)) = tick.moves {
            let moves = query("UPDATE schedules SET up_to = $3 WHERE tenant = $1 AND name = $2");
            let moves = moves.bind(tick.tenant.clone()).bind(of.to_owned()).bind(up_to);
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
        if self.is_behind_another(tenant, failed, &mut tx).await? {
            return Ok(Fired::Waits);
        }
        let moves = query(
            "UPDATE ticks SET run = $3, ended = NULL WHERE tenant = $1 AND run = $2 \
             AND EXISTS (SELECT 1 FROM runs r WHERE r.id = $2 AND r.state IN ('failed', 'cancelled'))",
        );
        let moves = moves.bind(tenant.to_owned()).bind(failed.to_owned());
        match self.run(moves.bind(run.id.clone()), &mut tx).await? {
            0 => Ok(Fired::Before),
            _ => {
                // The run of a pipeline that had ended goes on.
                let goes_on = query(
                    "UPDATE ticks SET ended = NULL WHERE tenant = $1 AND run = (SELECT t.logical FROM ticks t \
                     WHERE t.tenant = $1 AND t.run = $2 AND t.schedule LIKE '%/%')",
                );
                let goes_on = goes_on.bind(tenant.to_owned()).bind(run.id.clone());
                self.run(goes_on, &mut tx).await?;
                self.insert_if_room(run, None, room, change, tx).await
            }
        }
    }

    /// Whether a run is a step of a run of a pipeline, of which another goes on.
    async fn is_behind_another(
        &self,
        tenant: &str,
        run: &str,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<bool> {
        let of = query("SELECT schedule, logical FROM ticks WHERE tenant = $1 AND run = $2");
        let of = of.bind(tenant.to_owned()).bind(run.to_owned());
        let of = of.fetch_optional(&mut **tx).await.map_err(|e| self.failed(e))?;
        let Some(of) = of else { return Ok(false) };
        let (schedule, logical): (String, String) =
            (self.get(&of, "schedule")?, self.get(&of, "logical")?);
        let Some((pipeline, _)) = schedule.split_once('/') else { return Ok(false) };
        let other = query(
            "SELECT 1 AS n FROM ticks t LEFT JOIN runs r ON r.id = t.run WHERE t.tenant = $1 AND t.schedule = $2 \
             AND t.ended IS NULL AND r.id IS NULL AND t.run <> $3 LIMIT 1",
        );
        let other = other.bind(tenant.to_owned()).bind(pipeline.to_owned()).bind(logical);
        let other = other.fetch_optional(&mut **tx).await.map_err(|e| self.failed(e))?;
        Ok(other.is_some())
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

    pub(super) async fn begin_tick(&self, tick: &TickOf, id: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let open = query(
            "SELECT 1 AS n FROM ticks t LEFT JOIN runs r ON r.id = t.run WHERE t.tenant = $1 AND t.schedule = $2 \
             AND t.ended IS NULL AND r.id IS NULL LIMIT 1",
        );
        let open = open.bind(tick.tenant.clone()).bind(tick.schedule.clone());
        let open = open.fetch_optional(&mut *tx).await.map_err(|e| self.failed(e))?;
        if open.is_some() {
            return Ok(false);
        }
        let is_new = self.insert_tick(tick, id, &mut tx).await?;
        self.commit(tx).await?;
        Ok(is_new)
    }

    pub(super) async fn end_tick(
        &self,
        tenant: &str,
        id: &str,
        ended: Option<(&str, bool)>,
    ) -> Result<bool> {
        let ends = match ended {
            None => query(
                "UPDATE ticks SET ended = NULL WHERE tenant = $1 AND run = $2 AND ended IN ('failed', 'cancelled') \
                 AND NOT EXISTS (SELECT 1 FROM ticks o LEFT JOIN runs r ON r.id = o.run WHERE o.tenant = $1 \
                 AND o.schedule = ticks.schedule AND o.ended IS NULL AND r.id IS NULL AND o.run <> $2)",
            ),
            Some((_, true)) => query(
                "UPDATE ticks SET ended = $3 WHERE tenant = $1 AND run = $2 AND ended IS NULL",
            ),
            // A step may have been begun anew since it was looked at.
            Some((_, false)) => query(
                "UPDATE ticks SET ended = $3 WHERE tenant = $1 AND run = $2 AND ended IS NULL AND NOT EXISTS \
                 (SELECT 1 FROM ticks s JOIN runs r ON r.id = s.run WHERE s.tenant = $1 AND s.logical = $2 AND r.is_open = 1) \
                 AND EXISTS (SELECT 1 FROM ticks s LEFT JOIN runs r ON r.id = s.run WHERE s.tenant = $1 AND s.logical = $2 \
                 AND COALESCE(r.state, s.ended) IN ('failed', 'cancelled'))",
            ),
        };
        let ends = ends.bind(tenant.to_owned()).bind(id.to_owned());
        let ends = match ended {
            Some((state, _)) => ends.bind(state.to_owned()),
            None => ends,
        };
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let ended = self.run(ends, &mut tx).await? > 0;
        self.commit(tx).await?;
        Ok(ended)
    }

    pub(super) async fn list_ticks(
        &self,
        tenant: &str,
        schedule: &str,
        limit: i64,
    ) -> Result<Vec<TickState>> {
        let all = ticks!(
            "WHERE t.tenant = $1 AND t.schedule = $2 ORDER BY t.due_at DESC, t.logical DESC LIMIT $3"
        );
        self.ticks_in(all.bind(tenant.to_owned()).bind(schedule.to_owned()).bind(limit)).await
    }

    pub(super) async fn list_open_ticks(
        &self,
        tenant: &str,
        schedule: &str,
    ) -> Result<Vec<TickState>> {
        let open = ticks!(
            "WHERE t.tenant = $1 AND t.schedule = $2 AND t.ended IS NULL AND r.id IS NULL ORDER BY t.due_at, t.logical"
        );
        self.ticks_in(open.bind(tenant.to_owned()).bind(schedule.to_owned())).await
    }

    pub(super) async fn list_ticks_of(&self, tenant: &str, of: &str) -> Result<Vec<TickState>> {
        let steps = ticks!("WHERE t.tenant = $1 AND t.logical = $2 ORDER BY t.due_at, t.schedule");
        self.ticks_in(steps.bind(tenant.to_owned()).bind(of.to_owned())).await
    }

    pub(super) async fn list_steps(
        &self,
        tenant: &str,
        schedule: &str,
        limit: i64,
    ) -> Result<Vec<TickState>> {
        let steps = ticks!(
            "WHERE t.tenant = $1 AND t.logical IN (SELECT p.run FROM ticks p WHERE p.tenant = $1 AND p.schedule = $2 \
             ORDER BY p.due_at DESC, p.logical DESC LIMIT $3) ORDER BY t.due_at, t.schedule"
        );
        self.ticks_in(steps.bind(tenant.to_owned()).bind(schedule.to_owned()).bind(limit)).await
    }

    async fn ticks_in(&self, ticks: Query<'_, Any, AnyArguments>) -> Result<Vec<TickState>> {
        let rows: Vec<AnyRow> = ticks.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter()
            .map(|row| {
                Ok(TickState {
                    schedule: self.get(row, "schedule")?,
                    logical: self.get(row, "logical")?,
                    due_us: self.get(row, "due_at")?,
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

    /// Keeps of ticks that stay how their runs ended, before those are forgotten, and lets go of the steps of pipeline runs that are
    /// forgotten.
    pub(super) async fn keep_ends(
        &self,
        ended_us: i64,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        let ends = query(
            "UPDATE ticks SET ended = (SELECT r.state FROM runs r WHERE r.id = ticks.run) WHERE ended IS NULL AND EXISTS \
             (SELECT 1 FROM runs r WHERE r.id = ticks.run AND r.is_open = 0 AND r.ended_at < $1 AND r.projection = 1)",
        );
        self.run(ends.bind(ended_us), tx).await?;
        let steps = query(
            "DELETE FROM ticks WHERE due_at < $1 AND schedule LIKE '%/%' AND NOT EXISTS \
             (SELECT 1 FROM ticks p WHERE p.tenant = ticks.tenant AND p.run = ticks.logical)",
        );
        self.run(steps.bind(ended_us), tx).await.map(drop)
    }

    pub(super) async fn remove(&self, tenant: &str, name: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let gone = query("DELETE FROM schedules WHERE tenant = $1 AND name = $2");
        let gone = self.run(gone.bind(tenant.to_owned()).bind(name.to_owned()), &mut tx).await?;
        // Another of its name begins anew.
        let steps = query(
            "DELETE FROM ticks WHERE tenant = $1 AND schedule LIKE '%/%' AND logical IN \
             (SELECT p.run FROM ticks p WHERE p.tenant = $1 AND p.schedule = $2)",
        );
        self.run(steps.bind(tenant.to_owned()).bind(name.to_owned()), &mut tx).await?;
        let ticks = query("DELETE FROM ticks WHERE tenant = $1 AND schedule = $2");
        self.run(ticks.bind(tenant.to_owned()).bind(name.to_owned()), &mut tx).await?;
        self.commit(tx).await?;
        Ok(gone > 0)
    }
}
