//! The program of the demo's own that the job `exec` runs. It gives every row back as it came, which needs no library: rows go in
//! and out as one stream of Arrow's.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::Settings;

/// Its name.
const NAME: &str = "copy";
const SCRIPT: &str = "#!/bin/sh\n# Rows come as an Arrow IPC stream and go as one.\nexec cat\n";
/// Where its rows go.
pub const OUTPUT: &str = "copied_steps";
/// What it reads, and the types of it.
pub const COLUMNS: [(&str, &str); 4] = [
    ("case_id", "text"),
    ("activity", "text"),
    ("started_at", "timestamp"),
    ("ended_at", "timestamp"),
];

/// The parameters of `exec`.
pub fn params() -> Value {
    let columns = COLUMNS.map(|(name, _)| name);
    let typed = COLUMNS.map(|(name, data_type)| json!({ "name": name, "type": data_type }));
    json!({
        "program": NAME, "dataset": "workflow_steps", "columns": columns, "output": OUTPUT,
        "output_columns": typed,
    })
}

/// A folder with the program, which goes with what is answered; or why `exec` can not be shown.
pub fn folder(settings: &Settings) -> Result<TempDir, String> {
    if let Some(folder) = settings.programs() {
        return Err(format!(
            "the setting `programs` names {}, and the demo writes into no folder of yours",
            folder.display()
        ));
    }
    if jobs::kind("exec").is_err() {
        return Err("this system has no such job".to_owned());
    }
    let folder = tempfile::Builder::new().prefix("colonnade-demo-").tempdir();
    let folder = folder.map_err(|e| format!("a folder for its program can not be made: {e}"))?;
    let path = folder.path().join(NAME);
    let made = std::fs::write(&path, SCRIPT).and_then(|()| make_executable(&path));
    made.map_err(|e| format!("its program can not be written: {e}"))?;
    // A folder may be one from which nothing is run.
    let mut tried = Command::new(&path);
    tried.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match tried.status() {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("its program {} ended with {status}", path.display())),
        Err(e) => Err(format!("its program {} can not be run: {e}", path.display())),
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
