//! Group commit, quarantine, sequences.

use futures::future::join_all;

use super::*;
use crate::{Code, Version, WriteMode};

async fn body(
    engine: &Engine,
    text: &str,
    producer: Option<ProducerSequence>,
) -> Result<IngestReceipt> {
    let request = IngestRequest { rows: ndjson(text), producer };
    engine.ingest(&who(), &name("calls"), request).await
}

#[tokio::test]
async fn a_receipt_says_what_is_committed() {
    let engine = engine().await;
    let receipt = send(&engine, 0..10, None).await.unwrap();
    let expected = IngestReceipt { accepted: 10, version: Version(1), ..IngestReceipt::default() };
    assert_eq!(receipt, expected);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 10);
    assert_eq!(engine.metrics().rows_ingested.get(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_together_share_commits_and_lose_nothing() {
    let engine = engine().await;
    let sent = (0..40).map(|i| send(&engine, i * 25..(i + 1) * 25, None));
    let receipts = join_all(sent).await;
    let version = receipts.iter().map(|r| r.as_ref().unwrap().version).max().unwrap();
    assert!(version.0 < 40, "{version} commits for 40 requests");
    assert_eq!(receipts.iter().map(|r| r.as_ref().unwrap().accepted).sum::<u64>(), 1_000);
    assert_eq!(number(&engine, "SELECT count(DISTINCT id) FROM calls").await, 1_000);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 1_000);
}

#[tokio::test]
async fn bad_rows_go_to_quarantine_and_good_ones_do_not() {
    let engine = engine().await;
    let text = "{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\", \"tokens\": 5}\n\
                {\"id\": 2, \"at\": \"2026-01-01T00:00:00Z\", \"tokens\": -5}\n\
                {\"id\": null, \"at\": \"2026-01-01T00:00:00Z\"}\n\
                not json\n";
    let receipt = body(&engine, text, sequence("p", 0)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (1, 3));
    let seen = query(
        &engine,
        "SELECT source, row, \"column\", producer, sequence FROM calls_quarantine ORDER BY row",
    )
    .await;
    assert_eq!(seen.matches("| body   |").count(), 3, "{seen}");
    assert!(seen.contains("tokens"), "{seen}");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 1);

    // All of its rows are rejected, and still it was taken: again it is a duplicate.
    let receipt = body(&engine, "{\"id\": 7}\n", sequence("p", 1)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined, receipt.duplicate), (0, 1, false));
    let again = body(&engine, "{\"id\": 7}\n", sequence("p", 1)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 4);
}

#[tokio::test]
async fn a_retry_is_harmless_and_a_gap_is_a_conflict() {
    let engine = engine().await;
    assert!(!send(&engine, 0..5, sequence("p", 7)).await.unwrap().duplicate);
    for _ in 0..2 {
        let again = send(&engine, 0..5, sequence("p", 7)).await.unwrap();
        assert!(again.duplicate);
        assert_eq!((again.accepted, again.version), (0, Version(1)));
    }
    assert!(!send(&engine, 5..6, sequence("p", 8)).await.unwrap().duplicate);
    let gap = send(&engine, 6..7, sequence("p", 10)).await.unwrap_err();
    assert_eq!(gap.code(), Code::Conflict);
    assert!(gap.to_string().contains("expected 9"), "{gap}");
    assert!(!send(&engine, 6..7, sequence("q", 10)).await.unwrap().duplicate, "another producer");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 7);
    assert_eq!(engine.metrics().requests_duplicate.get(), 2);
}

#[tokio::test]
async fn requests_that_overtook_each_other_in_a_group_are_put_right() {
    let mut options = options("memory:");
    options.ingest.wait_ms = 200;
    let engine = Engine::open(options).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let order = [2, 0, 1, 1];
    let sent = order.map(|i| send(&engine, i..i + 1, sequence("p", i)));
    let receipts = join_all(sent).await;
    let duplicates: Vec<bool> = receipts.iter().map(|r| r.as_ref().unwrap().duplicate).collect();
    assert_eq!(duplicates.iter().filter(|d| **d).count(), 1, "{receipts:?}");
    assert_eq!(number(&engine, "SELECT count(DISTINCT id) FROM calls").await, 3);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 3);
}

#[tokio::test]
async fn a_bad_request_fails_alone() {
    let mut options = options("memory:");
    options.ingest.wait_ms = 100;
    let engine = Engine::open(options).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let wrong =
        RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)])
            .unwrap();
    let bad = IngestRequest { rows: IngestRows::Batches(vec![wrong]), producer: None };
    let at = name("calls");
    let me = who();
    let (good, bad, gap) = tokio::join!(
        send(&engine, 0..5, sequence("p", 0)),
        engine.ingest(&me, &at, bad),
        send(&engine, 5..6, sequence("p", 9)),
    );
    assert_eq!(good.unwrap().accepted, 5);
    assert_eq!(bad.unwrap_err().code(), Code::BadInput);
    assert_eq!(gap.unwrap_err().code(), Code::Conflict);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
}

#[tokio::test]
async fn sequences_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    send(&engine, 0..5, sequence("p", 3)).await.unwrap();
    send(&engine, 5..6, None).await.unwrap();
    engine.shutdown().await.unwrap();
    assert_eq!(send(&engine, 6..7, None).await.unwrap_err().code(), Code::Cancelled);

    let engine = Engine::open(options(root)).await.unwrap();
    assert!(send(&engine, 0..5, sequence("p", 3)).await.unwrap().duplicate);
    assert_eq!(send(&engine, 0..5, sequence("p", 5)).await.unwrap_err().code(), Code::Conflict);
    assert!(!send(&engine, 6..7, sequence("p", 4)).await.unwrap().duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 7);
}

#[tokio::test]
async fn nothing_is_sent_to_a_quarantine_or_to_no_dataset() {
    let engine = engine().await;
    let request = || IngestRequest { rows: ndjson("{}"), producer: None };
    let to = engine.ingest(&who(), &name("calls_quarantine"), request()).await.unwrap_err();
    assert_eq!(to.code(), Code::Forbidden);
    let to = engine.ingest(&who(), &name("other"), request()).await.unwrap_err();
    assert_eq!(to.code(), Code::NotFound);
    let bad = IngestRequest { rows: ndjson("{}"), producer: sequence("", 0) };
    assert_eq!(
        engine.ingest(&who(), &name("calls"), bad).await.unwrap_err().code(),
        Code::BadInput
    );
}

#[tokio::test]
async fn a_number_that_was_taken_with_other_rows_is_a_conflict_and_no_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    let row = |id| format!("{{\"id\": {id}, \"at\": \"2026-01-01T00:00:00Z\", \"tokens\": 5}}\n");
    for number in 5..8 {
        body(&engine, &row(number), sequence("p", number)).await.unwrap();
    }
    let check = async |engine: &Engine| {
        let other = body(engine, &row(90), sequence("p", 6)).await.unwrap_err();
        assert_eq!(other.code(), Code::Conflict);
        assert!(other.to_string().contains("sequence 6 again with another body"), "{other}");
        let before = body(engine, &row(90), sequence("p", 3)).await.unwrap_err();
        assert_eq!(before.code(), Code::Conflict);
        assert!(before.to_string().contains("never taken: 5"), "{before}");
        assert!(body(engine, &row(6), sequence("p", 6)).await.unwrap().duplicate);
        assert_eq!(number(engine, "SELECT count(*) FROM calls").await, 3);
    };
    check(&engine).await;
    engine.shutdown().await.unwrap();
    let engine = Engine::open(options(root)).await.unwrap();
    check(&engine).await;

    // Two clients that share a name, in one group.
    let (one, two) = (row(20), row(30));
    let both = [body(&engine, &one, sequence("q", 0)), body(&engine, &two, sequence("q", 0))];
    let taken = join_all(both).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(taken, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 4);
}

#[tokio::test]
async fn what_colonnade_writes_by_itself_takes_no_rows_of_clients() {
    let engine = engine().await;
    let mut spec = calls();
    for kept in ["runs", "models", "model_stages", "embeddings", "calls_quarantine"] {
        spec.name = name(kept);
        for made in [
            engine.create_dataset(&who(), spec.clone()).await,
            engine.ensure_dataset(&who(), &spec).await,
        ] {
            assert_eq!(made.unwrap_err().code(), Code::Forbidden, "{kept}");
        }
        let request = IngestRequest { rows: ndjson("{}"), producer: None };
        let sent = engine.ingest(&who(), &name(kept), request).await.unwrap_err();
        assert_eq!(sent.code(), Code::Forbidden, "{kept}");
    }
    // A result under a name of its own.
    spec.name = name("results");
    assert_eq!(engine.ensure_derived(&who(), &spec).await.unwrap_err().code(), Code::Internal);
    spec.derived = true;
    assert_eq!(
        engine.create_dataset(&who(), spec.clone()).await.unwrap_err().code(),
        Code::Forbidden
    );
    engine.ensure_derived(&who(), &spec).await.unwrap();
    let request = IngestRequest { rows: ndjson("{}"), producer: None };
    let sent = engine.ingest(&who(), &name("results"), request).await.unwrap_err();
    assert_eq!(sent.code(), Code::Forbidden);
    spec.derived = false;
    assert_eq!(engine.ensure_dataset(&who(), &spec).await.unwrap_err().code(), Code::Forbidden);
    // And a client's dataset takes no results.
    let results = DatasetSpec { derived: true, ..calls() };
    assert_eq!(engine.ensure_derived(&who(), &results).await.unwrap_err().code(), Code::Conflict);
}

fn one_row(id: i64) -> String {
    format!("{{\"id\": {id}, \"at\": \"2026-01-01\"}}\n")
}

#[tokio::test]
async fn another_body_is_a_conflict_however_many_requests_came_since() {
    // More than are kept in memory, and fewer than a hundred commits.
    let engine = engine().await;
    for i in 0..90 {
        body(&engine, &one_row(i), sequence("p", i)).await.unwrap();
    }
    for (first, more) in [(0, 1), (1, 2), (0, 1)] {
        let other = body(&engine, &one_row(more), sequence("p", first)).await.unwrap_err();
        assert_eq!(other.code(), Code::Conflict, "{other}");
        assert!(other.to_string().contains("another body"), "{other}");
        assert!(body(&engine, &one_row(first), sequence("p", first)).await.unwrap().duplicate);
    }
}

#[test]
fn a_dataset_goes_on_when_the_runtime_of_who_sent_first_ends() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let mut slow = options("memory:");
    slow.ingest.wait_ms = 300;
    let engine = first.block_on(Engine::open(slow)).unwrap();
    first.block_on(engine.create_dataset(&who(), calls())).unwrap();
    let of_first = engine.clone();
    first.spawn(async move { send(&of_first, 0..1, None).await });
    let receipt = second.block_on(async {
        // The first request has begun the group that the second joins.
        while engine.metrics().requests.get() == 0 {
            tokio::task::yield_now().await;
        }
        let joined = tokio::spawn({
            let engine = engine.clone();
            async move { send(&engine, 1..2, None).await }
        });
        while engine.metrics().requests.get() < 2 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        first.shutdown_background();
        joined.await.unwrap()
    });
    assert_eq!(receipt.unwrap().accepted, 1);
}

#[tokio::test]
async fn an_empty_request_is_taken_and_writes_nothing() {
    let engine = engine().await;
    let receipt = body(&engine, "", None).await.unwrap();
    assert_eq!((receipt.accepted, receipt.version, receipt.duplicate), (0, Version(0), false));
    let receipt = body(&engine, "", sequence("p", 0)).await.unwrap();
    assert_eq!((receipt.version, receipt.duplicate), (Version(1), false));
    assert!(body(&engine, "", sequence("p", 0)).await.unwrap().duplicate);
}

#[tokio::test]
async fn ingest_and_writes_of_jobs_go_together() {
    let engine = engine().await;
    let me = who();
    let calls = name("calls");
    let writes = async {
        for i in 0..5 {
            let batches = vec![rows(1_000 + i..1_001 + i)];
            engine.write(&me, &calls, WriteMode::Append, batches, label("job")).await.unwrap();
        }
    };
    let sends = join_all((0..10).map(|i| send(&engine, i..i + 1, None)));
    let (_, receipts) = tokio::join!(writes, sends);
    assert!(receipts.iter().all(Result::is_ok));
    assert_eq!(number(&engine, "SELECT count(DISTINCT id) FROM calls").await, 15);
}
