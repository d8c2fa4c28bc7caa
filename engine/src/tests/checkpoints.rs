//! Checkpoints that are made beside commits.

use super::tables::write;
use super::*;
use crate::{Threads, Urgency, WriteMode};

#[tokio::test]
async fn a_checkpoint_is_made_though_the_threads_that_committed_end() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path().to_str().unwrap()).await;
    for id in 0..97 {
        write(&engine, WriteMode::Append, id..id + 1).await.unwrap();
    }
    // The table is made by version 0, so that these are 98 and 99, at which one is due.
    let threads = Threads::new("brief", 1, Urgency::Prompt).unwrap();
    let committing = engine.clone();
    let last = async move {
        for id in 97..99 {
            write(&committing, WriteMode::Append, id..id + 1).await.unwrap();
        }
    };
    threads.run(last).await.unwrap();
    drop(threads);
    engine.shutdown().await.unwrap();
    let log = folder.path().join("default/calls/_delta_log");
    assert!(log.join("00000000000000000099.checkpoint.parquet").exists());
}
