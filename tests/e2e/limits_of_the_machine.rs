//! A disk that is full, and folders that may not be written. Needs Linux, and for the first a right to
//! mount; where there is none, a limit on the size of files stands in.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Server, binary, ndjson};

/// Room for a few commits and not for many.
const DISK_BYTES: u64 = 3 << 20;

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = small_disk(folder.path()).await;
    command.args([
        binary().to_str().unwrap(),
        "--data",
        folder.path().join("disk/data").to_str().unwrap(),
    ]);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::of(command).await.unwrap_or_else(|log| panic!("{log}"));
    let spec = json!({"name": "noise", "columns": [
        {"name": "n", "type": "int64"}, {"name": "text", "type": "text"}]});
    let create = "mutation($spec: JSON!) { createDataset(spec: $spec) { name } }";
    let created = server.graphql(create, json!({"spec": spec})).await;
    assert_eq!(created.body["data"]["createDataset"]["name"], "noise", "{created:?}");
    let mut accepted = 0;
    let refusal = loop {
        assert!(accepted < 10_000_000, "{accepted} rows on a disk of {DISK_BYTES} bytes");
        let body = ndjson(&unlike_each_other(accepted));
        let answer = server.ingest("noise", "application/x-ndjson", body).await;
        if answer.status != 200 {
            break answer;
        }
        accepted += 2_000;
    };
    assert!(accepted > 0, "{refusal:?}");
    let message = refusal.refused_with(503, "RESOURCES_EXHAUSTED").to_lowercase();
    let is_told = ["no space", "disk is full", "file too large", "full"]
        .iter()
        .any(|why| message.contains(why));
    assert!(is_told, "{message}");
    assert!(!message.contains(folder.path().to_str().unwrap()), "a path of the server: {message}");
    // The server is alive and has all acknowledged rows. It is not ready while it cannot accept
    // rows.
    server.is_alive().await;
    let ready = reqwest::get(server.url("/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    let why = ready.text().await.unwrap();
    assert!(why.contains("root"), "{why}");
    let data = server.data("{ noise(first: 1) { totalCount } }").await;
    assert_eq!(data["noise"]["totalCount"].to_string().trim_matches('"'), accepted.to_string());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    println!("{accepted} rows, then: {message}");
}

/// A batch that hardly compresses, so that the disk fills in a few.
fn unlike_each_other(first: u64) -> Vec<Value> {
    let row = |n: u64| {
        let scattered = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let more = (scattered ^ (scattered >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        json!({"n": n, "text": format!("{scattered:016x}{more:016x}{:016x}", more.rotate_left(23) ^ scattered)})
    };
    (first..first + 2_000).map(row).collect()
}

/// A command to be completed, whose `disk` folder has `DISK_BYTES`: a mount that only it sees.
async fn small_disk(folder: &Path) -> Command {
    let disk = folder.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"$0\" && exec \"$@\"");
    for flags in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let with = |end: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(flags).args(["sh", "-c", &mount]).arg(&disk).args(end);
            command
        };
        let mut probe = with(&["true"]);
        let probed = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if probed.is_ok_and(|status| status.success()) {
            return with(&[]);
        }
    }
    println!("no right to mount: a limit on the size of a file stands in for the full disk");
    let limit = "trap '' XFSZ; ulimit -f 32; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limit, "sh"]);
    command
}

#[tokio::test]
async fn no_permission_is_told_with_the_operation() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    std::fs::create_dir(&root).unwrap();
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap()
    };
    set(folder.path(), 0o755);
    set(&root, 0o555);
    for arguments in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["demo", "--rows", "1000", "--no-serve"]]
    {
        let mut command = as_nobody(folder.path());
        command.arg("--data").arg(&root).args(arguments).current_dir(&root);
        let output = command.output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let message = stderr.lines().find(|line| line.starts_with("error[")).unwrap_or(&stderr);
        assert!(message.starts_with("error[STORAGE_UNAVAILABLE]: "), "{message}");
        assert!(
            message.contains("root") && message.to_lowercase().contains("permission"),
            "{message}"
        );
    }
}

/// The binary as someone without rights: as itself, or as nobody where the tests run as root.
fn as_nobody(folder: &Path) -> Command {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t"));
    if !is_root {
        return Command::new(binary());
    }
    // Nobody may not look into root's folders, so the binary is where anybody may.
    let open: PathBuf = folder.join("colonnade");
    if !open.exists() && std::fs::hard_link(binary(), &open).is_err() {
        std::fs::copy(binary(), &open).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(open);
    command
}
