//! The store in SQLite or PostgreSQL. Both understand the same statements; where they differ is how a connection is made ready and
//! how a transaction that changes something begins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::query::Query;
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row, Transaction, query,
    raw_sql,
};

use super::{ControlError, DeviceNeed, Entry, Need, Result};

/// What makes the tables, in steps; a step that was released is never changed.
const MIGRATIONS: [&str; 14] = [
    include_str!("migrations/001_runs.sql"),
    include_str!("migrations/002_schedules.sql"),
    include_str!("migrations/003_several.sql"),
    include_str!("migrations/004_triggers.sql"),
    include_str!("migrations/005_admission.sql"),
    include_str!("migrations/006_backfills.sql"),
    include_str!("migrations/007_pipelines.sql"),
    include_str!("migrations/008_counts.sql"),
    include_str!("migrations/009_cancelled.sql"),
    include_str!("migrations/010_failed.sql"),
    include_str!("migrations/011_keys.sql"),
    include_str!("migrations/012_audit.sql"),
    include_str!("migrations/013_requests.sql"),
    include_str!("migrations/014_secrets.sql"),
];
/// What makes a connection to a file ready. Others may hold it for some milliseconds; who waits for ten seconds has found somebody
/// who will not let go. What was acknowledged is on the disk.
const READY: &str =
    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
/// Number of attempts, and the pause between them, to open a file that another process is creating.
const BUSY_TRIES_MAX: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How long a call waits for a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a call waits for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Connections to PostgreSQL of one process.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;
/// Connections to a file: one writes at a time, the others read.
const SQLITE_CONNECTIONS_MAX: u32 = 4;

/// Whether another process has locked the file.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| is_busy_code(&code))
}

/// Whether an extended result code of SQLite belongs to `SQLITE_BUSY`. The last byte is the primary
/// result code. The other bytes state the reason, for example that another process is recovering
/// the write-ahead log.
fn is_busy_code(code: &str) -> bool {
    const BUSY: u32 = 5;
    code.parse::<u32>().is_ok_and(|code| code & 0xff == BUSY)
}

/// A statement that gives whole runs.
macro_rules! entries {
    ($rest:literal) => {
        concat!("SELECT ", entry_columns!(), " FROM runs ", $rest)
    };
}

/// The columns of an entry.
macro_rules! entry_columns {
    () => {
        "id, tenant, state, attempt, attempts_max, losses, due_at, memory_bytes, device_need, device_bytes, device, passed_over, \
         worker, cancel_asked, change, document"
    };
}

mod acts;
mod claim;
mod keys;
mod requests;
mod secrets;
mod several;
mod statements;
mod store;
mod ticks;

/// Control state in a database.
pub struct SqlStore {
    pool: AnyPool,
    /// What begins a transaction that changes something.
    begin: &'static str,
    /// The file, for what is said of it.
    file: String,
    /// Where the file is, and which it is.
    place: Option<(PathBuf, (u64, u64))>,
}

/// A path for a URL, with its special characters escaped.
fn part_of_url(file: &Path) -> String {
    file.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// Which file is there.
fn place_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
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
        let path = part_of_url(file);
        // Who is told of it need not know where it lies.
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let url = format!("sqlite:{path}?mode=rwc");
        let mut store = Self::connect(&url, Dialect::Sqlite, name.unwrap_or(shown)).await?;
        store.place = place_of(file).map(|found| (file.to_owned(), found));
        Ok(store)
    }

    /// Opens a file without write access, for reading. If its folder is not writable either, commits since the last checkpoint
    /// may be missing.
    pub async fn open_to_read(file: &Path) -> Result<Self> {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| file.display().to_string());
        let mut failed_with = None;
        for options in ["mode=ro", "mode=ro&immutable=1"] {
            let url = format!("sqlite:{}?{options}", part_of_url(file));
            match Self::read_at(&url, name.clone()).await {
                Ok(store) => return Ok(store),
                Err(error @ ControlError::TooNew { .. }) => return Err(error),
                Err(error) => {
                    failed_with.get_or_insert(error);
                }
            }
        }
        let none = || ControlError::Unavailable(format!("its file {name} cannot be read"));
        Err(failed_with.unwrap_or_else(none))
    }

    fn read_at(url: &str, file: String) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            sqlx::any::install_default_drivers();
            let options = AnyPoolOptions::new().max_connections(1);
            let options = options.acquire_timeout(CONNECT_TIME_MAX);
            let pool = options.connect(url).await.map_err(|e| failed(e, &file))?;
            let store = Self { pool, begin: "BEGIN", file, place: None };
            let found = store.counter("tables").await?;
            let known = MIGRATIONS.len() as i64;
            match found == known {
                true => Ok(store),
                false if found > known => Err(ControlError::TooNew { found, known }),
                false => Err(ControlError::Unavailable(format!(
                    "its tables have version {found}, and a process with write access must migrate them to {known}"
                ))),
            }
        })
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
            // The database is gone with its one connection: which the library closes, too, where a call is given up while it looks
            // whether that still lives.
            options = options.min_connections(1).idle_timeout(None).max_lifetime(None);
            options = options.test_before_acquire(false);
        }
        if !is_in_memory {
            // A pool goes on trying where a first connection tells why there is none.
            let mut tries = 1;
            loop {
                let first = AnyConnection::connect(url).await;
                let mut first = first.map_err(|e| failed(e, &file))?;
                let made = dialect.make_ready(&mut first).await;
                let closed = first.close().await;
                match made.and(closed) {
                    Ok(()) => break,
                    // Two processes are creating the file: SQLite does not wait when it switches to a write-ahead log.
                    Err(error) if is_busy(&error) && tries < BUSY_TRIES_MAX => {
                        tries += 1;
                        tokio::time::sleep(BUSY_PAUSE).await;
                    }
                    Err(error) => return Err(failed(error, &file)),
                }
            }
        }
        if !is_in_memory {
            // Where a database ends a transaction by itself, as on a full disk, the library does not know so, and none could begin again.
            options = options.before_acquire(|connection, _| {
                let is_usable = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_usable) })
            });
        }
        options = options.after_connect(move |connection, _| dialect.make_ready(connection));
        let pool = options.connect(url).await.map_err(|e| failed(e, &file))?;
        let begin = match dialect {
            // A transaction that reads first and writes later can fail half-way, where another wrote in between.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        let store = Self { pool, begin, file, place: None };
        store.migrate(dialect).await?;
        Ok(store)
    }

    /// Has a file looked through from end to end.
    async fn look_through(&self) -> Result<()> {
        if self.place.is_none() {
            return self.counter("change").await.map(drop);
        }
        let found = query("PRAGMA quick_check(1)").fetch_one(&self.pool).await;
        let found: String = self.get(&found.map_err(|e| self.failed(e))?, "quick_check")?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(ControlError::Damaged(found.replace('\n', " "), self.file.clone())),
        }
    }

    async fn failed_after(&self, at_us: i64) -> Result<i64> {
        let failed =
            query("SELECT COUNT(*) AS n FROM runs WHERE state = 'failed' AND ended_at > $1");
        let row = failed.bind(at_us).fetch_one(&self.pool).await.map_err(|e| self.failed(e))?;
        self.get(&row, "n")
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &AnyPool {
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
        let found = match dialect {
            // A later release may store its version elsewhere. The header of the file states it, whatever tables exist.
            Dialect::Sqlite => found.max(self.user_version(&mut tx).await?),
            Dialect::Postgres => found,
        };
        if found > known {
            return Err(ControlError::TooNew { found, known });
        }
        for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
            tx.execute(raw_sql(*step)).await.map_err(|e| self.failed(e))?;
        }
        if dialect == Dialect::Sqlite && self.user_version(&mut tx).await? < known {
            tx.execute(raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {known}"))))
                .await
                .map_err(|e| self.failed(e))?;
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

    /// The version of the tables in the header of the file; 0 in files of releases that did not write it.
    async fn user_version(&self, tx: &mut Transaction<'static, Any>) -> Result<i64> {
        let found = query("PRAGMA user_version").fetch_one(&mut **tx).await;
        self.get(&found.map_err(|e| self.failed(e))?, "user_version")
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>> {
        self.pool.begin_with(self.begin).await.map_err(|e| self.failed(e))
    }

    async fn commit(&self, tx: Transaction<'static, Any>) -> Result<()> {
        tx.commit().await.map_err(|e| self.failed(e))
    }

    /// Fails where the file was taken away, or another is in its place: what would be written to the open one nobody would find.
    fn require_there(&self) -> Result<()> {
        let Some((path, known)) = &self.place else { return Ok(()) };
        if place_of(path).is_some_and(|found| found == *known) {
            return Ok(());
        }
        Err(ControlError::Unavailable(format!(
            "its file {} is no longer the one that was opened; put it back, or end all processes of this root and start them anew",
            self.file
        )))
    }

    /// The number of a change. Whoever takes one has it to itself until its transaction ends: so changes are seen in the order of
    /// their numbers. It is taken before anything else, so that no two transactions wait for each other.
    async fn next_change(&self, tx: &mut Transaction<'static, Any>) -> Result<i64> {
        let next =
            query("UPDATE counters SET value = value + 1 WHERE name = 'change' RETURNING value");
        let row = next.fetch_one(&mut **tx).await.map_err(|e| self.failed(e))?;
        self.get(&row, "value")
    }

    async fn counter(&self, name: &'static str) -> Result<i64> {
        let last = query("SELECT value FROM counters WHERE name = $1").bind(name);
        let row = last.fetch_one(&self.pool).await.map_err(|e| self.failed(e))?;
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
            memory_bytes: self.get(row, "memory_bytes")?,
            device: DeviceNeed {
                need: Need::of(self.get(row, "device_need")?),
                bytes: self.get(row, "device_bytes")?,
            },
            has_device: self.get(row, "device")?,
            passed_over: self.get(row, "passed_over")?,
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

    /// The answer to a call, or that there was none in time: a machine that is gone says nothing, and its connection may stand for hours.
    fn in_time<'a, T: Send + 'a>(
        &'a self,
        call: impl Future<Output = Result<T>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        Box::pin(async move {
            self.require_there()?;
            let none = |_| {
                let says = format!("it did not answer for {} s", ANSWER_TIME_MAX.as_secs());
                Err(ControlError::Unavailable(says))
            };
            tokio::time::timeout(ANSWER_TIME_MAX, call).await.unwrap_or_else(none)
        })
    }

    fn failed(&self, error: sqlx::Error) -> ControlError {
        failed(error, &self.file)
    }
}

/// What a setting begins with: the rest may hold a password.
fn shown(url: &str) -> String {
    let scheme: String = url.chars().take_while(|letter| *letter != ':').take(20).collect();
    format!("{scheme}…")
}

/// What SQLite says, without where.
fn primary(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|code| code & 0xff)
}

/// Whether PostgreSQL may answer a later try: what ends connections or a call, what it has too little of, what others hold, and what
/// only the server does that is in the place of another.
fn passes(code: &str) -> bool {
    const CLASSES: [&str; 4] = ["08", "40", "53", "58"];
    const CODES: [&str; 7] = ["57P01", "57P02", "57P03", "57P05", "57014", "55P03", "25006"];
    code.len() == 5
        && (CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code))
}

fn failed(error: sqlx::Error, file: &str) -> ControlError {
    let code = match &error {
        sqlx::Error::Database(e) => e.code().map(|code| code.into_owned()).unwrap_or_default(),
        _ => String::new(),
    };
    // Of SQLite's codes the low byte says what it is, and the rest where: PostgreSQL's have five letters.
    match (&error, primary(&code)) {
        // SQLITE_CORRUPT and SQLITE_NOTADB.
        (_, Some(11 | 26)) => ControlError::Damaged(error.to_string(), file.to_owned()),
        // SQLITE_BUSY, _LOCKED, _NOMEM, _READONLY, _IOERR, _FULL, _CANTOPEN, _PROTOCOL.
        (_, Some(5..=8 | 10 | 13..=15)) => ControlError::Unavailable(error.to_string()),
        _ if passes(&code) => ControlError::Unavailable(error.to_string()),
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

#[cfg(test)]
mod codes {
    use super::{passes, primary};

    #[test]
    fn codes_are_told_apart() {
        // SQLITE_IOERR_FSYNC, SQLITE_BUSY_SNAPSHOT, SQLITE_READONLY_DBMOVED, SQLITE_CORRUPT_INDEX.
        let codes = ["1034", "517", "1032", "779", "13"].map(primary);
        assert_eq!(codes, [10, 5, 8, 11, 13].map(Some));
        assert_eq!(["40001", "08006", "57P01", ""].map(primary), [None; 4]);
        for code in ["53100", "53200", "25006", "57014", "57P05", "08006", "40P01", "58030"] {
            assert!(passes(code), "{code}");
        }
        for code in ["23505", "42601", "22P02", "13", "10", ""] {
            assert!(!passes(code), "{code}");
        }
    }
}

#[cfg(test)]
mod given_up {
    #![allow(clippy::unwrap_used)]
    use std::pin::pin;
    use std::time::Duration;

    use futures::poll;

    use super::SqlStore;
    use crate::control::ControlStore;

    #[tokio::test]
    async fn what_is_kept_in_memory_outlives_calls_that_are_given_up() {
        let store = SqlStore::in_memory().await.unwrap();
        let mut ready = 0;
        for polls in 0..160 {
            {
                // Given up where it waits for the first, the second, … time: one that reads, and one that writes.
                let mut reads = pin!(store.last_change());
                let mut writes = pin!(store.cancel("acme", "none", polls, "{}"));
                for _ in 0..polls % 16 {
                    if poll!(reads.as_mut()).is_ready() || poll!(writes.as_mut()).is_ready() {
                        ready += 1;
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            // A connection that was closed is gone before there is another.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!((1..160).contains(&ready), "{ready} of 160 calls were not given up");
        assert!(store.last_change().await.unwrap() >= 0);
        store.cancel("acme", "none", 1, "{}").await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::is_busy_code;

    #[test]
    fn a_file_is_busy_whatever_another_process_does_with_it() {
        for code in ["5", "261", "517", "773"] {
            assert!(is_busy_code(code), "{code}");
        }
        for code in ["1", "6", "14", "262", "none"] {
            assert!(!is_busy_code(code), "{code}");
        }
    }
}
