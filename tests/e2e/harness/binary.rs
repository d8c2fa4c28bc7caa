//! The command line as a user runs it.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::PATIENCE;

/// The binary beside this test's own: `<target>/<profile>/deps/e2e-…` and `<target>/<profile>/colonnade`.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("COLONNADE_BINARY") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("colonnade");
    assert!(
        path.is_file(),
        "{} is missing: `cargo build` makes it, and `make test` does so first",
        path.display()
    );
    path
}

/// What a command left behind.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub peak_memory_bytes: u64,
}

/// Runs a command on a root, in an empty folder and without settings from the environment.
pub async fn colonnade(root: &Path, arguments: &[&str]) -> Outcome {
    colonnade_with(root.to_str().unwrap(), arguments, &[]).await
}

/// The same on any root, with variables in its environment.
pub async fn colonnade_with(root: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(binary());
    command.arg("--data").arg(root).args(arguments);
    without_settings(&mut command);
    // No model that happens to be in the user's cache.
    command.env("COLONNADE_MODELS", format!("{root}/models"));
    command.envs(variables.iter().copied());
    run(command).await
}

/// Runs any command to its end; one that does not end is killed and fails the test.
pub async fn run(mut command: Command) -> Outcome {
    let shown = format!("{:?}", command.as_std());
    let elsewhere = tempfile::tempdir().unwrap();
    command.current_dir(elsewhere.path()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let pid = child.id().expect("it was not waited for yet");
    let mut ended = pin!(tokio::time::timeout(PATIENCE, child.wait_with_output()));
    let mut peak_memory = 0;
    let output = loop {
        tokio::select! {
            output = &mut ended => break output,
            // The kernel keeps the peak; only what comes after the last look is missed.
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                peak_memory = peak_memory_bytes(pid).unwrap_or(peak_memory);
            }
        }
    };
    let output = output.unwrap_or_else(|_| panic!("{shown}: no end within {PATIENCE:?}")).unwrap();
    Outcome {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        peak_memory_bytes: peak_memory,
    }
}

/// The most memory that a process ever held, as the kernel counted it.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "VmHWM:")
}

/// The memory that a process holds now.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "VmRSS:")
}

fn memory_bytes(pid: u32, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Settings of whoever runs the tests are not the tests'.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_setting = |prefix: &&str| name.to_string_lossy().starts_with(*prefix);
        let is_compiler = name == "COLONNADE_CUDA_INCLUDE";
        if ["AWS_", "AZURE_", "GOOGLE_", "COLONNADE_"].iter().any(is_setting) && !is_compiler {
            command.env_remove(name);
        }
    }
}

impl Outcome {
    /// Asserts success and reads stdout as the one JSON document that it must be.
    pub fn json(&self) -> Value {
        assert!(self.status.success(), "{}: {}{}", self.status, self.stdout, self.stderr);
        self.document()
    }

    /// Reads stdout as one JSON document, whatever the exit code.
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("stdout is not one JSON document: {error}: {}{}", self.stdout, self.stderr)
        })
    }

    /// Asserts a failure of the user's or the environment's, told in one line with this code.
    pub fn fails_with(&self, code: &str) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}{}", self.stdout, self.stderr);
        let mark = format!("error[{code}]: ");
        let line = self.stderr.lines().find(|line| line.starts_with("error["));
        let line = line.unwrap_or_else(|| panic!("no error line: {}", self.stderr));
        line.strip_prefix(&mark).unwrap_or_else(|| panic!("expected {code}, found {line}"))
    }
}
