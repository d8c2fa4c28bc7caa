//! The public collections of broken and hostile files, through both doors. Each is answered with an
//! error that names the file and the place, or with its rows, for a few of them are in fact readable.
//! Never a crash, a hang, or memory above the bound.
//!
//! By default the command line gets every tenth file, for each is a process of its own;
//! `COLONNADE_CORRUPTED=all` gives it all of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng as _;

use crate::harness::{Server, colonnade, make, random, shared_data};

/// Folders of the real data, and what their files are sent as.
const COLLECTIONS: [(&str, &str); 6] = [
    ("parquet_testing/bad_data", PARQUET),
    ("arrow_testing/data/parquet/fuzzing", PARQUET),
    ("arrow_testing/data/parquet/encoding-fuzzing", PARQUET),
    ("arrow_testing/data/arrow-ipc-stream", ARROW_STREAM),
    ("arrow_testing/data/arrow-ipc-file", ARROW_FILE),
    ("arrow_testing/data/csv/fuzzing", "text/csv"),
];

const PARQUET: &str = "application/vnd.apache.parquet";
const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";
const ARROW_FILE: &str = "application/vnd.apache.arrow.file";

/// What a server may hold while it refuses these files. The largest is 100 kB; the one that unpacks to
/// more than 2 GB must not get near.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
const FILE_TIME_MAX: Duration = Duration::from_secs(30);

/// The files of a collection, with their type.
fn files() -> Option<Vec<(PathBuf, &'static str)>> {
    let mut files = Vec::new();
    for (folder, content_type) in COLLECTIONS {
        let entries = std::fs::read_dir(shared_data(folder)?).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let is_data = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            !name.starts_with('.') && !name.ends_with(".md")
        };
        files.extend(paths.filter(is_data).map(|path| (path, content_type)));
    }
    files.sort();
    Some(files)
}

#[tokio::test]
async fn no_upload_brings_the_server_down() {
    let Some(files) = files() else { return };
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "events").await;
    let server = Server::start_with(root.path(), &["--memory", "256MiB"]).await;
    let (mut refused, mut taken) = (0, 0);
    for (path, content_type) in &files {
        let body = std::fs::read(path).unwrap();
        let began = Instant::now();
        let answer = server.ingest("events", content_type, body).await;
        assert!(began.elapsed() < FILE_TIME_MAX, "{}: {:?}", path.display(), began.elapsed());
        match answer.status {
            200 => taken += 1,
            400 | 413 => {
                let message = answer.body["error"]["message"].as_str().unwrap();
                assert!(
                    message.contains("body") || message.contains("events"),
                    "{}: {message}",
                    path.display()
                );
                refused += 1;
            }
            _ => panic!("{}: {answer:?}\n{}", path.display(), server.log()),
        }
    }
    server.is_alive().await;
    let peak = server.peak_memory_bytes();
    println!(
        "{refused} refused, {taken} taken, of {}; peak memory {} MiB",
        files.len(),
        peak >> 20
    );
    assert!(peak < MEMORY_BYTES_MAX, "peak memory {peak} bytes");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn no_file_brings_the_command_line_down() {
    let Some(files) = files() else { return };
    let step =
        if std::env::var("COLONNADE_CORRUPTED").is_ok_and(|which| which == "all") { 1 } else { 10 };
    let first = random().random_range(0..step);
    // What is in the first collection is few and named by the tests' own documents: always all of it.
    let bad_data = |path: &Path| path.to_string_lossy().contains("bad_data");
    let (mut readable, mut unclear) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for (index, (path, content_type)) in files.iter().enumerate() {
        if index % step != first && !bad_data(path) {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let format = match *content_type {
            PARQUET => "parquet",
            ARROW_STREAM => "arrow-stream",
            ARROW_FILE => "arrow-file",
            _ => "csv",
        };
        let root = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let file = path.to_str().unwrap();
        let arguments = [
            "ingest", "found", file, "--format", format, "--create", "--json", "--memory", "256MiB",
        ];
        let outcome = colonnade(root.path(), &arguments).await;
        assert!(began.elapsed() < FILE_TIME_MAX, "{name}: {:?}", began.elapsed());
        let peak = outcome.peak_memory_bytes;
        assert!(peak < MEMORY_BYTES_MAX, "{name}: peak memory {peak} bytes");
        if outcome.status.success() {
            let document = outcome.json();
            assert!(
                document["accepted"].is_u64() && document["quarantined"].is_u64(),
                "{name}: {document}"
            );
            readable.push(name.to_owned());
        } else {
            assert_eq!(
                outcome.status.code(),
                Some(1),
                "{name}: {:?} {}",
                outcome.status,
                outcome.stderr
            );
            let error = &outcome.document()["error"];
            let (code, message) =
                (error["code"].as_str().unwrap(), error["message"].as_str().unwrap());
            if !["BAD_INPUT", "LIMIT_EXCEEDED"].contains(&code) || !message.contains(name) {
                unclear.push(format!("{name}: {code}: {message}"));
            }
            assert!(!outcome.stderr.contains("panicked"), "{name}: {}", outcome.stderr);
            refused += 1;
        }
    }
    println!("{refused} refused, {} readable: {}", readable.len(), readable.join(", "));
    assert!(refused > 0);
    assert!(unclear.is_empty(), "no file named, or the wrong code:\n{}", unclear.join("\n"));
}

#[tokio::test]
async fn a_small_file_that_unpacks_to_two_gigabytes_stays_within_memory() {
    let Some(path) = shared_data("parquet_testing/data/large_string_map.brotli.parquet") else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "events").await;
    let server = Server::start_with(root.path(), &["--memory", "512MiB"]).await;
    let answer = server.ingest("events", PARQUET, std::fs::read(&path).unwrap()).await;
    assert!([400, 413, 503].contains(&answer.status), "{answer:?}");
    server.is_alive().await;
    let peak = server.peak_memory_bytes();
    println!("server: {answer:?}; peak memory {} MiB", peak >> 20);
    assert!(peak < MEMORY_BYTES_MAX, "peak memory {peak} bytes");

    let elsewhere = tempfile::tempdir().unwrap();
    let file = path.to_str().unwrap();
    let arguments = ["ingest", "found", file, "--create", "--json", "--memory", "512MiB"];
    let outcome = colonnade(elsewhere.path(), &arguments).await;
    let peak = outcome.peak_memory_bytes;
    println!(
        "command line: {} {}; peak memory {} MiB",
        outcome.status,
        outcome.stderr.trim(),
        peak >> 20
    );
    assert!(
        outcome.status.code().is_some() && peak < MEMORY_BYTES_MAX,
        "{}: {peak} bytes",
        outcome.status
    );
    if !outcome.status.success() {
        let error = &outcome.document()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("large_string_map"), "{message}");
    }
}
