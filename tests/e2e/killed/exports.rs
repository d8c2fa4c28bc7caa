//! Exports that are killed while they write: what is there is never taken for the whole, and the same command goes on with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::process::Command;

use crate::harness::{PATIENCE, binary, colonnade, model_calls, random, without_settings};

/// Files that the dataset lies in, and rows of each.
const FILES: u64 = 12;
const ROWS: u64 = 2_000;
/// Longest that a kill waits once files are written.
const DELAY_MAX_MS: u64 = 60;

/// The files of an export, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let parts = named.filter(|(name, _)| name.starts_with("part-"));
    parts.map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_exports_are_killed_each_goes_on_and_none_is_taken_for_whole() {
    let kills: usize = std::env::var("COLONNADE_KILLS").map_or(3, |text| text.parse().unwrap());
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    for file in 0..FILES {
        let rows = model_calls(file * ROWS, ROWS);
        let text: Vec<String> = rows.iter().map(ToString::to_string).collect();
        let path = folder.path().join(format!("{file}.ndjson"));
        std::fs::write(&path, text.join("\n")).unwrap();
        let arguments = ["ingest", "model_calls", path.to_str().unwrap(), "--json"];
        assert_eq!(colonnade(&root, &arguments).await.json()["accepted"], ROWS);
    }
    let file_rows = ROWS.to_string();
    for format in ["csv", "parquet"] {
        let arguments = |to: &Path| {
            let to = to.to_str().unwrap().to_owned();
            let words = ["export", "model_calls", "--format", format, "--file-rows", &file_rows];
            let words = words.map(str::to_owned).into_iter();
            words.chain(["--to".to_owned(), to]).collect::<Vec<_>>()
        };
        let export = async |to: &Path| {
            let arguments = arguments(to);
            colonnade(&root, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        let whole = folder.path().join(format!("whole-{format}"));
        assert!(export(&whole).await.status.success());
        let expected = files(&whole);
        assert_eq!(expected.len() as u64, FILES);
        let (mut killed, mut in_the_middle, mut number) = (0, 0, 0);
        while killed < kills.div_ceil(2) {
            number += 1;
            let to = folder.path().join(format!("{format}-{number}"));
            loop {
                let mut command = Command::new(binary());
                command.arg("--data").arg(&root).args(arguments(&to)).kill_on_drop(true);
                without_settings(&mut command);
                let output = (std::process::Stdio::null(), std::process::Stdio::null());
                let mut child = command.stdout(output.0).stderr(output.1).spawn().unwrap();
                let begun = Instant::now();
                let is_begun = || to.join("_export/plan.json").exists();
                while !is_begun() && child.try_wait().unwrap().is_none() {
                    assert!(begun.elapsed() < PATIENCE);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let delay = Duration::from_millis(random.random_range(0..DELAY_MAX_MS));
                tokio::time::sleep(delay).await;
                let was_at_work = child.try_wait().unwrap().is_none();
                child.kill().await.unwrap();
                killed += usize::from(was_at_work);
                let verified = colonnade(&root, &["export", "verify", to.to_str().unwrap()]).await;
                let has_manifest = to.join("_manifest.json").exists();
                assert_eq!(verified.status.success(), has_manifest, "{}", verified.stderr);
                if has_manifest {
                    break;
                }
                assert!(verified.stderr.contains("is not whole"), "{}", verified.stderr);
                let written = files(&to).len() as u64;
                in_the_middle += usize::from((1..FILES).contains(&written));
                if random.random_bool(0.5) {
                    let gone_on = export(&to).await;
                    assert!(gone_on.status.success(), "{}", gone_on.stderr);
                    break;
                }
            }
            assert_eq!(files(&to), expected);
            let verified = colonnade(&root, &["export", "verify", to.to_str().unwrap()]).await;
            assert!(verified.status.success(), "{}", verified.stderr);
            std::fs::remove_dir_all(&to).unwrap();
        }
        println!("{format}: {killed} kills of {number} exports, {in_the_middle} between two files");
    }
}
