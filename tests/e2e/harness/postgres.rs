//! A PostgreSQL server of the test's own, gone with it, whose connections can be cut.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// What is needed of it.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "psql"];

/// A server in a folder of its own.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// Starts one; none where PostgreSQL is not installed, which is said.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            println!(
                "not tested on PostgreSQL: no folder in PATH or /usr/lib/postgresql has {}",
                PROGRAMS.join(", ")
            );
            return None;
        };
        let folder = tempfile::Builder::new().prefix("colonnade-postgres-").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { programs, folder, port };
        if is_root() {
            // It refuses to run as root.
            let owned =
                Command::new("chown").arg("nobody").arg(server.folder.path()).status().unwrap();
            assert!(owned.success());
        }
        server.run("initdb", &["-D", &server.data(), "-A", "trust", "-U", "postgres", "--no-sync"]);
        server.begin();
        server.query("postgres", "CREATE DATABASE control");
        Some(server)
    }

    /// What the setting `control` is for its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/control", self.port)
    }

    /// Ends all connections of others; answers with how many there were.
    pub fn cut(&self) -> usize {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = 'control' AND pid <> pg_backend_pid()";
        self.query("postgres", cut).lines().count()
    }

    /// Ends it without a word to anybody, and starts it again.
    pub fn restart(&self) {
        self.end("immediate");
        self.begin();
    }

    /// What a query answers, a row a line.
    pub fn query(&self, database: &str, query: &str) -> String {
        let port = self.port.to_string();
        let to = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database];
        let options = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", query];
        let answer = self.run("psql", &[&to[..], &options[..]].concat());
        String::from_utf8(answer.stdout).unwrap()
    }

    fn data(&self) -> String {
        format!("{}/data", self.folder.path().display())
    }

    fn begin(&self) {
        let (folder, port) = (self.folder.path().display(), self.port);
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        );
        let log = format!("{folder}/log");
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-l", &log, "-o", &options, "start"]);
    }

    fn end(&self, how: &str) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", how, "stop"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
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
        done
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end("immediate");
            return;
        }
        // Whatever else failed: it must not stay.
        let stop = ["-D", &self.data(), "-m", "immediate", "stop"].map(str::to_owned);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.run("pg_ctl", &stop.each_ref().map(String::as_str))
        }));
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
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
    let has_all = |folder: &PathBuf| PROGRAMS.iter().all(|name| folder.join(name).exists());
    folders.into_iter().find(has_all)
}
