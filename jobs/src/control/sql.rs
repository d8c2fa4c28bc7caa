//! The store in SQLite or PostgreSQL. Both understand the same statements; where they differ is how a connection is made ready and
//! how a transaction that changes something begins.

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Row, Transaction, query, raw_sql};

use super::{
    Adopted, Asked, Cancelled, ControlError, ControlStore, Count, Earlier, Enqueued, Entry,
    FIRST_CHARGE_US, Fired, LEAD_MAX_US, LOSSES_MAX, Lease, NewRun, PRIORITY_STEP_US, Pause,
    Result, Room, ScheduleEntry, TickOf, ToProject, Verdict, Wants, Worker,
};

/// What makes the tables, in steps; a step that was released is never changed.
const MIGRATIONS: [&str; 2] =
    [include_str!("migrations/001_runs.sql"), include_str!("migrations/002_schedules.sql")];
/// What makes a connection to a file ready. Others may hold it for some milliseconds; who waits for ten seconds has found somebody
/// who will not let go. What was acknowledged is on the disk.
const READY: &str =
    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
/// How long a call waits for a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections to PostgreSQL of one process.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;
/// Connections to a file: one writes at a time, the others read.
const SQLITE_CONNECTIONS_MAX: u32 = 4;

/// A statement that gives whole runs.
macro_rules! entries {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, state, attempt, attempts_max, losses, due_at, worker, cancel_asked, change, document FROM runs ",
            $rest
        )
    };
}

/// Control state in a database.
pub struct SqlStore {
    pool: AnyPool,
    /// What begins a transaction that changes something.
    begin: &'static str,
    /// The file, for what is said of it.
    file: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn make_ready(self, connection: &mut AnyConnection) -> BoxFuture<'_, sqlx::Result<()>> {
        Box::pin(async move {
            match self {
                Self::Sqlite => connection.execute(raw_sql(READY)).await.map(drop),
                Self::Postgres => Ok(()),
            }
        })
    }
}

impl SqlStore {
    /// Opens the database that `url` names, `sqlite:FILE` or `postgres://…`, and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self> {
        let refused = |why: &str| ControlError::Setting(shown(url), why.to_owned());
        match url.split_once(':') {
            Some(("sqlite", file)) if !file.trim_start_matches('/').is_empty() => {
                Self::open_file(Path::new(file)).await
            }
            Some(("postgres" | "postgresql", _)) => {
                Self::connect(url, Dialect::Postgres, String::new()).await
            }
            Some((other, _)) => Err(refused(&format!("found {other}"))),
            None => Err(refused("found no scheme")),
        }
    }

    /// Opens a file, and makes it where there is none.
    pub async fn open_file(file: &Path) -> Result<Self> {
        let shown = file.display().to_string();
        // As part of a URL, where these have a meaning.
        let path = shown.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        // Who is told of it need not know where it lies.
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let url = format!("sqlite:{path}?mode=rwc");
        Self::connect(&url, Dialect::Sqlite, name.unwrap_or(shown)).await
    }

    /// A database that is gone with the process.
    pub async fn in_memory() -> Result<Self> {
        Self::connect("sqlite::memory:", Dialect::Sqlite, ":memory:".into()).await
    }

    /// Boxed: whoever awaits it would be compiled with all of the library's futures.
    fn connect(url: &str, dialect: Dialect, file: String) -> BoxFuture<'_, Result<Self>> {
        Box::pin(Self::connect_to(url, dialect, file))
    }

    async fn connect_to(url: &str, dialect: Dialect, file: String) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let is_in_memory = file == ":memory:";
        let connections = match dialect {
            Dialect::Sqlite if is_in_memory => 1,
            Dialect::Sqlite => SQLITE_CONNECTIONS_MAX,
            Dialect::Postgres => POSTGRES_CONNECTIONS_MAX,
        };
        let mut options =
            AnyPoolOptions::new().max_connections(connections).acquire_timeout(CONNECT_TIME_MAX);
        if is_in_memory {
            options = options.min_connections(1).idle_timeout(None).max_lifetime(None);
        }
        if !is_in_memory {
            // A pool goes on trying where a first connection tells why there is none.
            let first = AnyConnection::connect(url).await;
            let mut first = first.map_err(|e| failed(e, &file))?;
            let made = dialect.make_ready(&mut first).await;
            let closed = first.close().await;
            made.and(closed).map_err(|e| failed(e, &file))?;
        }
        options = options.after_connect(move |connection, _| dialect.make_ready(connection));
        let pool = options.connect(url).await.map_err(|e| failed(e, &file))?;
        let begin = match dialect {
            // A transaction that reads first and writes later can fail half-way, where another wrote in between.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        let store = Self { pool, begin, file };
        store.migrate(dialect).await?;
        Ok(store)
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    async fn migrate(&self, dialect: Dialect) -> Result<()> {
        let mut tx = self.begin().await?;
        if dialect == Dialect::Postgres {
            // Of several processes that come at once one makes the tables. The number is this product's own.
            self.run(query("SELECT pg_advisory_xact_lock(8642)"), &mut tx).await?;
        }
        self.run(query("CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)"), &mut tx)
            .await?;
        let found = query("SELECT value FROM counters WHERE name = 'tables'")
            .fetch_optional(&mut *tx)
            .await;
        let found = match found.map_err(|e| self.failed(e))? {
            Some(row) => self.get::<i64>(&row, "value")?,
            None => {
                self.run(
                    query("INSERT INTO counters (name, value) VALUES ('tables', 0), ('change', 0), ('turn', 0)"),
                    &mut tx,
                )
                .await?;
                0
            }
        };
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(ControlError::TooNew { found, known });
        }
        for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
            tx.execute(raw_sql(*step)).await.map_err(|e| self.failed(e))?;
        }
        if found < known {
            self.run(
                query("UPDATE counters SET value = $1 WHERE name = 'tables'").bind(known),
                &mut tx,
            )
            .await?;
        }
        self.commit(tx).await
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>> {
        self.pool.begin_with(self.begin).await.map_err(|e| self.failed(e))
    }

    async fn commit(&self, tx: Transaction<'static, Any>) -> Result<()> {
        tx.commit().await.map_err(|e| self.failed(e))
    }

    /// The number of a change. Whoever takes one has it to itself until its transaction ends: so changes are seen in the order of
    /// their numbers. It is taken before anything else, so that no two transactions wait for each other.
    async fn next_change(&self, tx: &mut Transaction<'static, Any>) -> Result<i64> {
        let next =
            query("UPDATE counters SET value = value + 1 WHERE name = 'change' RETURNING value");
        let row = next.fetch_one(&mut **tx).await.map_err(|e| self.failed(e))?;
        self.get(&row, "value")
    }

    /// Rows that a statement changed.
    async fn run<'q>(
        &self,
        statement: Query<'q, Any, AnyArguments>,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<u64> {
        let done = statement.execute(&mut **tx).await.map_err(|e| self.failed(e))?;
        Ok(done.rows_affected())
    }

    async fn entries<'q>(&self, statement: Query<'q, Any, AnyArguments>) -> Result<Vec<Entry>> {
        let rows = statement.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    fn entry(&self, row: &AnyRow) -> Result<Entry> {
        Ok(Entry {
            id: self.get(row, "id")?,
            tenant: self.get(row, "tenant")?,
            state: self.get(row, "state")?,
            attempt: self.get(row, "attempt")?,
            attempts_max: self.get(row, "attempts_max")?,
            losses: self.get(row, "losses")?,
            due_us: self.get(row, "due_at")?,
            worker: self.get(row, "worker")?,
            is_cancel_asked: self.get::<i64>(row, "cancel_asked")? != 0,
            change: self.get(row, "change")?,
            document: self.get(row, "document")?,
        })
    }

    fn get<'r, T: sqlx::Decode<'r, Any> + sqlx::Type<Any>>(
        &self,
        row: &'r AnyRow,
        column: &str,
    ) -> Result<T> {
        row.try_get(column).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: sqlx::Error) -> ControlError {
        failed(error, &self.file)
    }

    async fn count_open(
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
    async fn crowd(
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

    async fn enqueue_run(&self, run: &NewRun, room: Room) -> Result<Enqueued> {
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
    async fn insert_run(
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
             attempts_max, losses, kept_for, worker, charged_us, cancel_asked, change, projection, ended_at, document) \
             VALUES ($1, $2, $3, $13, $14, $4, $5, $6, $7, $8, 0, $9, 0, $10, NULL, 0, 0, $11, 0, $15, $12)",
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
            .bind(ended.map(|_| run.now_us));
        self.run(added, tx).await.map(drop)
    }

    async fn claim_run(&self, wants: &Wants) -> Result<Option<Entry>> {
        let next = query(
            "SELECT r.id AS id, r.tenant AS tenant FROM tenants t JOIN runs r ON r.id = (\
             SELECT q.id FROM runs q WHERE q.is_open = 1 AND q.tenant = t.tenant AND q.state = 'queued' AND q.due_at <= $1 \
             AND q.memory_bytes <= $2 AND (q.kept_for = $3 OR ($4 = 0 AND q.kept_for IS NULL)) ORDER BY q.rank, q.id LIMIT 1) \
             WHERE (SELECT COUNT(*) FROM runs w WHERE w.is_open = 1 AND w.tenant = t.tenant AND w.worker = $3) < $5 \
             ORDER BY t.used_us, t.tenant LIMIT 1",
        );
        let next = next
            .bind(wants.now_us)
            .bind(wants.free_bytes)
            .bind(wants.worker.clone())
            .bind(i64::from(wants.only_kept))
            .bind(wants.of_tenant_max);
        // Looked for outside of a transaction: most often there is none.
        let Some(found) = next.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))? else {
            return Ok(None);
        };
        let (id, tenant) =
            (self.get::<String>(&found, "id")?, self.get::<String>(&found, "tenant")?);
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let claimed = query(
            "UPDATE runs SET state = 'running', worker = $2, attempt = attempt + 1, charged_us = $3, change = $4 \
             WHERE id = $1 AND state = 'queued' AND EXISTS (SELECT 1 FROM workers WHERE id = $2) RETURNING id, tenant, state, attempt, attempts_max, losses, due_at, worker, \
             cancel_asked, change, document",
        );
        let claimed =
            claimed.bind(id).bind(wants.worker.clone()).bind(FIRST_CHARGE_US).bind(change);
        let Some(row) = claimed.fetch_optional(&mut *tx).await.map_err(|e| self.failed(e))? else {
            return Ok(None);
        };
        let entry = self.entry(&row)?;
        let turn = query(
            "UPDATE counters SET value = (SELECT used_us FROM tenants WHERE tenant = $1) \
             WHERE name = 'turn' AND value < (SELECT used_us FROM tenants WHERE tenant = $1)",
        );
        self.run(turn.bind(tenant.clone()), &mut tx).await?;
        self.charge(&tenant, FIRST_CHARGE_US, &mut tx).await?;
        self.commit(tx).await?;
        Ok(Some(entry))
    }

    async fn charge(
        &self,
        tenant: &str,
        us: i64,
        tx: &mut Transaction<'static, Any>,
    ) -> Result<()> {
        let charged = query("UPDATE tenants SET used_us = used_us + $2 / weight WHERE tenant = $1");
        self.run(charged.bind(tenant.to_owned()).bind(us), tx).await.map(drop)
    }

    async fn settle_run(
        &self,
        lease: &Lease,
        verdict: &Verdict<'_>,
        document: &str,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let (state, is_open, ended, due, worked_us) = match *verdict {
            Verdict::Ended { state, ended_us, worked_us } => {
                (state, 0_i64, Some(ended_us), None, worked_us)
            }
            Verdict::Again { due_us, worked_us } => ("queued", 1, None, Some(due_us), worked_us),
        };
        let settled = query(
            "UPDATE runs SET state = $4, is_open = $5, ended_at = $6, due_at = COALESCE($7, due_at), worker = NULL, change = $8, \
             document = $9 WHERE id = $1 AND worker = $2 AND attempt = $3 AND state = 'running' RETURNING tenant, charged_us",
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
            .bind(document.to_owned());
        let Some(row) = settled.fetch_optional(&mut *tx).await.map_err(|e| self.failed(e))? else {
            return Ok(false);
        };
        let (tenant, charged): (String, i64) =
            (self.get(&row, "tenant")?, self.get(&row, "charged_us")?);
        self.charge(&tenant, worked_us - charged, &mut tx).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    async fn cancel_run(
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

    async fn list_runs(&self, tenant: &str, asked: &Asked) -> Result<Vec<Entry>> {
        // Behind all ids, which are of lower-case letters and digits, in whatever order a database has for texts.
        let before = asked.before.clone().unwrap_or_else(|| "zzzzzzzz".to_owned());
        let (tenant, limit) = (tenant.to_owned(), asked.limit);
        let statement = match (&asked.key, &asked.job, &asked.state) {
            (Some(key), _, _) => query(entries!(
                "WHERE tenant = $1 AND id < $2 AND run_key = $4 AND state = 'succeeded' ORDER BY id DESC LIMIT $3"
            ))
            .bind(tenant)
            .bind(before)
            .bind(limit)
            .bind(key.clone()),
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

    async fn beat_worker(&self, worker: &str) -> Result<Option<Vec<String>>> {
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
    async fn let_go(&self, worker: &str, tx: &mut Transaction<'static, Any>) -> Result<()> {
        for statement in [
            "UPDATE runs SET kept_for = NULL WHERE is_open = 1 AND kept_for = $1",
            "UPDATE runs SET worker = NULL WHERE is_open = 0 AND worker = $1",
        ] {
            self.run(query(statement).bind(worker.to_owned()), tx).await?;
        }
        Ok(())
    }

    async fn bury(
        &self,
        worker: &Worker,
        now_us: i64,
        failed: &(dyn Fn(&str) -> String + Sync),
    ) -> Result<u64> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let gone = query("DELETE FROM workers WHERE id = $1 AND beat = $2")
            .bind(worker.id.clone())
            .bind(worker.beat);
        if self.run(gone, &mut tx).await? == 0 {
            return Ok(0);
        }
        self.let_go(&worker.id, &mut tx).await?;
        let lost = query(
            "SELECT id, document FROM runs WHERE is_open = 1 AND worker = $1 AND losses + 1 >= $2",
        );
        let lost = lost.bind(worker.id.clone()).bind(LOSSES_MAX).fetch_all(&mut *tx).await;
        let mut taken = 0;
        for row in lost.map_err(|e| self.failed(e))? {
            let (id, document): (String, String) =
                (self.get(&row, "id")?, self.get(&row, "document")?);
            let ends = query(
                "UPDATE runs SET state = 'failed', is_open = 0, ended_at = $2, worker = NULL, losses = losses + 1, change = $3, \
                 document = $4 WHERE id = $1",
            );
            taken += self
                .run(ends.bind(id).bind(now_us).bind(change).bind(failed(&document)), &mut tx)
                .await?;
        }
        let again = query(
            "UPDATE runs SET state = 'queued', worker = NULL, losses = losses + 1, due_at = 0, change = $2 \
             WHERE is_open = 1 AND worker = $1",
        );
        taken += self.run(again.bind(worker.id.clone()).bind(change), &mut tx).await?;
        self.commit(tx).await?;
        Ok(taken)
    }

    async fn adopt_runs(&self, tenant: &str, runs: &[Adopted], has_older: bool) -> Result<()> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        for run in runs {
            let added = query(
                "INSERT INTO runs (id, tenant, job, state, is_open, run_key, priority, rank, due_at, memory_bytes, attempt, \
                 attempts_max, losses, kept_for, worker, charged_us, cancel_asked, change, projection, ended_at, document) \
                 VALUES ($1, $2, $3, $4, 0, $5, 0, 0, 0, 0, 1, 1, 0, NULL, NULL, 0, 0, $6, 1, $7, $8) ON CONFLICT (id) DO NOTHING",
            );
            let added = added
                .bind(run.id.clone())
                .bind(tenant.to_owned())
                .bind(run.job.clone())
                .bind(run.state.clone())
                .bind(run.key.clone())
                .bind(change)
                .bind(run.ended_us)
                .bind(run.document.clone());
            self.run(added, &mut tx).await?;
        }
        let is_read = query(
            "INSERT INTO tenants (tenant, weight, used_us, is_read, has_older) VALUES ($1, 1, 0, 1, $2) \
             ON CONFLICT (tenant) DO UPDATE SET is_read = 1, has_older = excluded.has_older",
        );
        self.run(is_read.bind(tenant.to_owned()).bind(i64::from(has_older)), &mut tx).await?;
        self.commit(tx).await
    }

    async fn to_project_runs(&self, worker: &str, limit: i64) -> Result<ToProject> {
        let next = query(
            "SELECT tenant FROM runs WHERE is_open = 0 AND projection <> 1 AND (worker IS NULL OR worker = $1) LIMIT 1",
        );
        let next = next.bind(worker.to_owned());
        // Looked for outside of a transaction: most often there is none.
        let found = next.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
        let Some(row) = found else { return Ok(ToProject::default()) };
        let tenant: String = self.get(&row, "tenant")?;
        let mut tx = self.begin().await?;
        self.next_change(&mut tx).await?;
        let rows = query(
            "SELECT id, tenant, state, attempt, attempts_max, losses, due_at, worker, cancel_asked, change, document, projection \
             FROM runs WHERE is_open = 0 AND projection <> 1 AND (worker IS NULL OR worker = $3) AND tenant = $1 ORDER BY id LIMIT $2",
        );
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

    async fn projected_runs(&self, ids: &[String], are_rows: bool) -> Result<()> {
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

    async fn fire_tick(
        &self,
        tick: &TickOf,
        run: &NewRun,
        ended: Option<&str>,
        room: Room,
    ) -> Result<Fired> {
        let mut tx = self.begin().await?;
        let change = self.next_change(&mut tx).await?;
        let ticks = query(
            "INSERT INTO ticks (tenant, schedule, logical, due_at, run) \
             SELECT tenant, name, $3, $4, $5 FROM schedules WHERE tenant = $1 AND name = $2 ON CONFLICT DO NOTHING",
        );
        let ticks = ticks
            .bind(tick.tenant.clone())
            .bind(tick.schedule.clone())
            .bind(tick.logical.clone())
            .bind(tick.due_us)
            .bind(run.id.clone());
        if self.run(ticks, &mut tx).await? == 0 {
            return Ok(Fired::Before);
        }
        if self.crowd(&run.tenant, room, &mut tx).await?.is_some() {
            return Ok(Fired::Full);
        }
        self.insert_run(run, ended, change, &mut tx).await?;
        self.commit(tx).await?;
        Ok(Fired::Now)
    }

    async fn remove(&self, tenant: &str, name: &str) -> Result<bool> {
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

    async fn changes_rows<'q>(&self, statement: Query<'q, Any, AnyArguments>) -> Result<bool> {
        let done = statement.execute(&self.pool).await.map_err(|e| self.failed(e))?;
        Ok(done.rows_affected() > 0)
    }

    async fn list_schedules(&self, tenant: Option<&str>) -> Result<Vec<ScheduleEntry>> {
        let rows = match tenant {
            Some(tenant) => query(
                "SELECT tenant, name, is_paused, up_to, missed, document FROM schedules WHERE tenant = $1 ORDER BY name",
            )
            .bind(tenant.to_owned()),
            None => query(
                "SELECT tenant, name, is_paused, up_to, missed, document FROM schedules ORDER BY tenant, name",
            ),
        };
        let rows = rows.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter()
            .map(|row| {
                Ok(ScheduleEntry {
                    tenant: self.get(row, "tenant")?,
                    name: self.get(row, "name")?,
                    is_paused: self.get::<i64>(row, "is_paused")? != 0,
                    up_to_us: self.get(row, "up_to")?,
                    missed: self.get(row, "missed")?,
                    document: self.get(row, "document")?,
                })
            })
            .collect()
    }

    async fn forget_runs(&self, ended_us: i64) -> Result<u64> {
        let mut tx = self.begin().await?;
        let older = query(
            "UPDATE tenants SET has_older = 1 WHERE EXISTS (SELECT 1 FROM runs r WHERE r.is_open = 0 AND r.ended_at < $1 \
             AND r.projection = 1 AND r.tenant = tenants.tenant)",
        );
        self.run(older.bind(ended_us), &mut tx).await?;
        // Which of them had a run is known for as long: a schedule handles none that is older than it has got.
        let ticks = query(
            "DELETE FROM ticks WHERE due_at < $1 AND EXISTS (SELECT 1 FROM schedules s WHERE s.tenant = ticks.tenant \
             AND s.name = ticks.schedule AND s.up_to >= ticks.due_at)",
        );
        self.run(ticks.bind(ended_us), &mut tx).await?;
        let gone = query("DELETE FROM runs WHERE is_open = 0 AND ended_at < $1 AND projection = 1");
        let gone = self.run(gone.bind(ended_us), &mut tx).await?;
        self.commit(tx).await?;
        Ok(gone)
    }
}

impl ControlStore for SqlStore {
    fn enqueue<'a>(&'a self, run: &'a NewRun, room: Room) -> BoxFuture<'a, Result<Enqueued>> {
        Box::pin(self.enqueue_run(run, room))
    }

    fn claim<'a>(&'a self, wants: &'a Wants) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(self.claim_run(wants))
    }

    fn note<'a>(&'a self, lease: &'a Lease, document: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
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
        Box::pin(async move { self.settle_run(lease, &verdict, document).await })
    }

    fn cancel<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        ended_us: i64,
        document: &'a str,
    ) -> BoxFuture<'a, Result<Cancelled>> {
        Box::pin(self.cancel_run(tenant, id, ended_us, document))
    }

    fn get<'a>(&'a self, tenant: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            let found = query(entries!("WHERE id = $1 AND tenant = $2"));
            let mut found = self.entries(found.bind(id.to_owned()).bind(tenant.to_owned())).await?;
            Ok(found.pop())
        })
    }

    fn list<'a>(&'a self, tenant: &'a str, asked: &'a Asked) -> BoxFuture<'a, Result<Vec<Entry>>> {
        Box::pin(self.list_runs(tenant, asked))
    }

    fn changed(&self, change: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Entry>>> {
        Box::pin(async move {
            let changed = query(entries!("WHERE change > $1 ORDER BY change LIMIT $2"));
            self.entries(changed.bind(change).bind(limit)).await
        })
    }

    fn last_change(&self) -> BoxFuture<'_, Result<i64>> {
        Box::pin(async move {
            let last = query("SELECT value FROM counters WHERE name = 'change'");
            let row = last.fetch_one(&self.pool).await.map_err(|e| self.failed(e))?;
            self.get(&row, "value")
        })
    }

    fn join<'a>(&'a self, id: &'a str, label: &'a str, now_us: i64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let joins =
                query("INSERT INTO workers (id, label, started_at, beat) VALUES ($1, $2, $3, 0)");
            let joins = joins.bind(id.to_owned()).bind(label.to_owned()).bind(now_us);
            joins.execute(&self.pool).await.map(drop).map_err(|e| self.failed(e))
        })
    }

    fn beat<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<Option<Vec<String>>>> {
        Box::pin(self.beat_worker(worker))
    }

    fn held<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<Vec<Lease>>> {
        Box::pin(async move {
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
        Box::pin(async move {
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
        Box::pin(async move {
            let all =
                query("SELECT id, label, started_at, beat FROM workers ORDER BY started_at, id");
            let rows = all.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
            rows.iter()
                .map(|row| {
                    Ok(Worker {
                        id: self.get(row, "id")?,
                        label: self.get(row, "label")?,
                        started_us: self.get(row, "started_at")?,
                        beat: self.get(row, "beat")?,
                    })
                })
                .collect()
        })
    }

    fn dead<'a>(
        &'a self,
        worker: &'a Worker,
        now_us: i64,
        failed: &'a (dyn Fn(&str) -> String + Sync),
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.bury(worker, now_us, failed))
    }

    fn leave<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
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

    fn to_project<'a>(&'a self, worker: &'a str, limit: i64) -> BoxFuture<'a, Result<ToProject>> {
        Box::pin(self.to_project_runs(worker, limit))
    }

    fn projected<'a>(&'a self, ids: &'a [String], are_rows: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.projected_runs(ids, are_rows))
    }

    fn earlier<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Earlier>> {
        Box::pin(async move {
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
        Box::pin(self.adopt_runs(tenant, runs, has_older))
    }

    fn forget(&self, ended_us: i64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.forget_runs(ended_us))
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
            .bind(schedule.up_to_us)
            .bind(schedule.missed)
            .bind(schedule.document.clone());
        Box::pin(self.changes_rows(added))
    }

    fn schedules<'a>(
        &'a self,
        tenant: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ScheduleEntry>>> {
        Box::pin(self.list_schedules(tenant))
    }

    fn pause_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        pause: Pause,
    ) -> BoxFuture<'a, Result<bool>> {
        let (is_paused, up_to_us) = match pause {
            Pause::Begin => (1_i64, None),
            Pause::End { up_to_us } => (0, Some(up_to_us)),
        };
        let paused = query(
            "UPDATE schedules SET is_paused = $3, up_to = COALESCE($4, up_to) \
             WHERE tenant = $1 AND name = $2",
        );
        let paused = paused.bind(tenant.to_owned()).bind(name.to_owned()).bind(is_paused);
        Box::pin(self.changes_rows(paused.bind(up_to_us)))
    }

    fn remove_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.remove(tenant, name))
    }

    fn fire<'a>(
        &'a self,
        tick: &'a TickOf,
        run: &'a NewRun,
        ended: Option<&'a str>,
        room: Room,
    ) -> BoxFuture<'a, Result<Fired>> {
        Box::pin(self.fire_tick(tick, run, ended, room))
    }

    fn handled<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        up_to_us: i64,
        missed: i64,
    ) -> BoxFuture<'a, Result<()>> {
        let handled = query(
            "UPDATE schedules SET up_to = $3, missed = missed + $4 WHERE tenant = $1 AND name = $2 AND up_to < $3",
        );
        let handled =
            handled.bind(tenant.to_owned()).bind(name.to_owned()).bind(up_to_us).bind(missed);
        Box::pin(async move { self.changes_rows(handled).await.map(drop) })
    }

    fn counts(&self) -> BoxFuture<'_, Result<Vec<Count>>> {
        Box::pin(async move {
            let counted = query(
                "SELECT tenant, job, state, COUNT(*) AS n FROM runs WHERE is_open = 1 GROUP BY tenant, job, state \
                 ORDER BY tenant, job, state",
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

/// What a setting begins with: the rest may hold a password.
fn shown(url: &str) -> String {
    let scheme: String = url.chars().take_while(|letter| *letter != ':').take(20).collect();
    format!("{scheme}…")
}

fn failed(error: sqlx::Error, file: &str) -> ControlError {
    let code = match &error {
        sqlx::Error::Database(e) => e.code().map(|code| code.into_owned()).unwrap_or_default(),
        _ => String::new(),
    };
    match (&error, code.as_str()) {
        // SQLITE_CORRUPT and SQLITE_NOTADB.
        (_, "11" | "26") => ControlError::Damaged(error.to_string(), file.to_owned()),
        // SQLITE_BUSY, _LOCKED, _READONLY, _IOERR, _FULL, _CANTOPEN; of PostgreSQL what ends connections, and what a later try does not meet.
        (
            _,
            "5" | "6" | "10" | "13" | "14" | "57P01" | "57P02" | "57P03" | "40001" | "40P01"
            | "53300",
        ) => ControlError::Unavailable(error.to_string()),
        (_, code) if code.len() == 5 && code.starts_with("08") => {
            ControlError::Unavailable(error.to_string())
        }
        (
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_),
            _,
        ) => ControlError::Unavailable(error.to_string()),
        (sqlx::Error::Configuration(_), _) => {
            ControlError::Setting("postgres://…".into(), error.to_string())
        }
        _ => ControlError::Refused(error.to_string()),
    }
}
