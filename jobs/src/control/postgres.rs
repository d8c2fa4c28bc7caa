//! A PostgreSQL server for tests, of its own and gone with them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::SqlStore;

/// A server in a folder of its own.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// Starts one; none where PostgreSQL is not installed, which is said.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!(
                "not tested on PostgreSQL: there is no initdb in PATH or /usr/lib/postgresql"
            );
            return None;
        };
        let folder = tempfile::Builder::new().prefix("colonnade-postgres-").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { programs, folder, port };
        let path = server.folder.path().display().to_string();
        if is_root() {
            // It refuses to run as root.
            let owned = Command::new("chown").args(["nobody", &path]).status().unwrap();
            assert!(owned.success());
        }
        let data = format!("{path}/data");
        server.run("initdb", &["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync"]);
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={path} -c fsync=off"
        );
        let log = format!("{path}/log");
        server.run("pg_ctl", &["-D", &data, "-w", "-l", &log, "-o", &options, "start"]);
        Some(server)
    }

    /// A store in a new database.
    pub(crate) async fn database(&self, name: &str) -> SqlStore {
        // Longer names are cut, and may be the same then.
        let name = &name[..name.len().min(60)];
        let url = format!("postgres://postgres@127.0.0.1:{}", self.port);
        let mut connection = PgConnection::connect(&format!("{url}/postgres")).await.unwrap();
        let made = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(made).execute(&mut connection).await.unwrap();
        SqlStore::open(&format!("{url}/{name}")).await.unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "nobody", "--"]).arg(&program);
                command
            }
            false => Command::new(&program),
        };
        let done = command.args(arguments).current_dir("/").output().unwrap();
        let says = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {says}", program.display());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = format!("{}/data", self.folder.path().display());
        if !std::thread::panicking() {
            self.run("pg_ctl", &["-D", &data, "-w", "-m", "immediate", "stop"]);
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the programs are: of Debian's packages the newest.
fn programs() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH")?;
    let mut folders: Vec<PathBuf> = std::env::split_paths(&in_path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder: &PathBuf| Path::new(folder).join("initdb").exists())
}
