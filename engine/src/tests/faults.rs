//! Stores that fail, and writers that race: nothing acknowledged is lost, nothing is doubled.

use super::*;
use crate::storage::Root;
use crate::storage::faulty::{Fault, Faulty};
use crate::{Code, WriteMode};

/// The log entry of a version; the data files' folder has no such name.
const COMMIT: &str = "calls/_delta_log/0";
const DATA: &str = "calls/at_month";

async fn faulty() -> (Arc<Faulty>, Engine) {
    let store = Faulty::new();
    let engine = over(Arc::clone(&store)).await;
    engine.create_dataset(&who(), calls()).await.unwrap();
    (store, engine)
}

async fn over(store: Arc<Faulty>) -> Engine {
    Engine::open_root(Root::over(store), options("memory:")).await.unwrap()
}

#[tokio::test]
async fn a_commit_whose_answer_got_lost_is_found_and_not_made_twice() {
    let (store, engine) = faulty().await;
    store.once(COMMIT, Fault::AnswerLost);
    let receipt = send(&engine, 0..5, sequence("p", 0)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.version.0), (5, 1));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
    assert!(send(&engine, 0..5, sequence("p", 0)).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_commit_that_was_refused_is_not_acknowledged_and_can_be_sent_again() {
    let (store, engine) = faulty().await;
    for fault in [Fault::Refused, Fault::Torn] {
        for part in [COMMIT, DATA] {
            if (fault, part) == (Fault::Torn, COMMIT) {
                continue; // A put of a log entry is all or nothing on every store that we take.
            }
            store.once(part, fault);
            let failed = send(&engine, 0..5, sequence("p", 0)).await.unwrap_err();
            assert_eq!(failed.code(), Code::StorageUnavailable, "{failed}");
            assert!(!failed.to_string().contains("/srv"), "{failed}");
            assert!(failed.detail().contains("network is down"), "{}", failed.detail());
            assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 0);
        }
    }
    assert!(!send(&engine, 0..5, sequence("p", 0)).await.unwrap().duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_acknowledged() {
    let (store, engine) = faulty().await;
    for part in [COMMIT, DATA] {
        store.once(part, Fault::Full);
        let full = send(&engine, 0..5, sequence("p", 0)).await.unwrap_err();
        assert_eq!(full.code(), Code::ResourcesExhausted, "{}", full.detail());
        assert!(full.to_string().contains("the disk or quota of the store is full"), "{full}");
    }
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 0);
    assert!(!send(&engine, 0..5, sequence("p", 0)).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_commit_that_arrives_late_is_taken_for_what_it_is() {
    let (store, engine) = faulty().await;
    store.once(COMMIT, Fault::Late);
    send(&engine, 0..5, sequence("p", 0)).await.unwrap_err();
    // It arrives before the retry: the retry is a duplicate, found by the lost race.
    assert_eq!(store.deliver().await, 1);
    assert!(send(&engine, 0..5, sequence("p", 0)).await.unwrap().duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);

    // It arrives after the retry: there its version is taken, and it is gone.
    store.once(COMMIT, Fault::Late);
    send(&engine, 5..6, sequence("p", 1)).await.unwrap_err();
    assert!(!send(&engine, 5..6, sequence("p", 1)).await.unwrap().duplicate);
    assert_eq!(store.deliver().await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 6);
    let again = over(store).await;
    assert_eq!(number(&again, "SELECT count(*) FROM calls").await, 6);
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_said_to_be_one() {
    let (store, engine) = faulty().await;
    store.once(COMMIT, Fault::AnswerLost);
    store.unreadable(Some("calls/_delta_log/00000000000000000001"));
    let unknown = send(&engine, 0..5, sequence("p", 0)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::StorageUnavailable);
    assert!(unknown.to_string().contains("not known whether the commit was made"), "{unknown}");
    store.unreadable(None);
    assert!(send(&engine, 0..5, sequence("p", 0)).await.unwrap().duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
}

/// An engine as on a disk, where the files of a commit that failed are deleted.
async fn on_disk(store: Arc<Faulty>, folder: &std::path::Path) -> Engine {
    Engine::open_root(Root::over_disk(store, folder), options("memory:")).await.unwrap()
}

#[tokio::test]
async fn files_of_a_commit_in_doubt_stay_and_its_rows_are_there_once() {
    for fault in [Fault::MadeWithoutDescriptors, Fault::NoDescriptors] {
        let (store, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
        let engine = on_disk(Arc::clone(&store), folder.path()).await;
        engine.create_dataset(&who(), calls()).await.unwrap();
        store.once(COMMIT, fault);
        store.unreadable(Some("calls/_delta_log/00000000000000000001"));
        let unknown = send(&engine, 0..1, sequence("p", 0)).await.unwrap_err();
        assert!(unknown.to_string().contains("not known whether the commit was made"), "{unknown}");
        assert_eq!(store.count(DATA).await, 1, "{fault:?}");
        store.unreadable(None);
        let again = send(&engine, 0..1, sequence("p", 0)).await.unwrap();
        assert_eq!(again.duplicate, fault == Fault::MadeWithoutDescriptors, "{fault:?}");
        assert!(send(&engine, 0..1, sequence("p", 0)).await.unwrap().duplicate);
        // By what the store has, and no more.
        engine.shutdown().await.unwrap();
        let engine = on_disk(store, folder.path()).await;
        assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn files_of_a_commit_that_was_surely_not_made_are_deleted() {
    let (store, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let engine = on_disk(Arc::clone(&store), folder.path()).await;
    engine.create_dataset(&who(), calls()).await.unwrap();
    store.once(COMMIT, Fault::NoDescriptors);
    send(&engine, 0..1, sequence("p", 0)).await.unwrap_err();
    assert_eq!(store.count(DATA).await, 0);
    assert!(!send(&engine, 0..1, sequence("p", 0)).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_listing_that_is_half_is_made_again_and_no_damage() {
    let (store, engine) = faulty().await;
    for i in 0..4 {
        send(&engine, i..i + 1, None).await.unwrap();
    }
    // Each of the listings that opening takes, and none.
    for listing in 0..4 {
        store.hide("default/calls/_delta_log/00000000000000000002", listing);
        let reader = over(Arc::clone(&store)).await;
        assert_eq!(number(&reader, "SELECT count(*) FROM calls").await, 4, "listing {listing}");
    }
}

#[tokio::test]
async fn nothing_is_committed_in_the_place_of_an_entry_that_is_lost() {
    let (store, a) = faulty().await;
    let b = over(Arc::clone(&store)).await;
    assert_eq!(number(&b, "SELECT count(*) FROM calls").await, 0);
    for i in 0..3 {
        send(&a, i..i + 1, None).await.unwrap();
    }
    const LOST: &str = "default/calls/_delta_log/00000000000000000002.json";
    store.lose(LOST).await.unwrap();
    let refused = send(&b, 7..8, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);
    assert!(refused.to_string().contains("version 2 is missing"), "{refused}");
    assert_eq!(store.count(LOST).await, 0);
}

#[tokio::test]
async fn a_failure_between_quarantine_and_dataset_doubles_neither() {
    let (store, engine) = faulty().await;
    let text = "{\"id\": 1, \"at\": \"2026-01-01\"}\n{\"id\": 2, \"at\": \"2026-01-01\", \"tokens\": -1}\n";
    let body = || IngestRequest { rows: ndjson(text), producer: sequence("p", 0) };
    let at = name("calls");
    store.once(COMMIT, Fault::Refused);
    engine.ingest(&who(), &at, body()).await.unwrap_err();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 0);
    // As after a crash: another engine, which knows only what the store has.
    let engine = over(store).await;
    let receipt = engine.ingest(&who(), &at, body()).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined, receipt.duplicate), (1, 1, false));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 1);
}

#[tokio::test]
async fn a_number_whose_rows_were_rejected_is_not_taken_with_another_body() {
    let (store, engine) = faulty().await;
    let good = |id| format!("{{\"id\": {id}, \"at\": \"2026-01-01\"}}\n");
    let bad = |id| format!("{{\"id\": {id}, \"at\": \"2026-01-01\", \"tokens\": -1}}\n");
    let request = |text: &str| IngestRequest { rows: ndjson(text), producer: sequence("p", 0) };
    let (at, first) = (name("calls"), good(1) + &bad(2));
    store.once(COMMIT, Fault::Refused);
    engine.ingest(&who(), &at, request(&first)).await.unwrap_err();
    for engine in [engine, over(Arc::clone(&store)).await] {
        for other in [good(3), bad(4)] {
            let refused = engine.ingest(&who(), &at, request(&other)).await.unwrap_err();
            assert_eq!(refused.code(), Code::Conflict, "{refused}");
            assert!(refused.to_string().contains("another body"), "{refused}");
        }
    }
    let engine = over(store).await;
    let receipt = engine.ingest(&who(), &at, request(&first)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined, receipt.duplicate), (1, 1, false));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 1);
}

#[tokio::test]
async fn all_of_a_group_fail_together_and_are_taken_together_later() {
    let store = Faulty::new();
    let mut slow = options("memory:");
    slow.ingest.wait_ms = 100;
    let engine = Engine::open_root(Root::over(Arc::clone(&store) as _), slow).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    store.once(COMMIT, Fault::Refused);
    for failing in [true, false] {
        let sent = (0..4).map(|i| send(&engine, i..i + 1, sequence(&format!("p{i}"), 0)));
        let receipts = futures::future::join_all(sent).await;
        assert!(receipts.iter().all(|r| r.is_err() == failing), "{receipts:?}");
    }
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_on_one_store_both_get_on() {
    let store = Faulty::new();
    let (a, b) = (over(Arc::clone(&store)).await, over(Arc::clone(&store)).await);
    a.create_dataset(&who(), calls()).await.unwrap();
    let send_all = |engine: Engine, first: i64| async move {
        let producer = format!("p{first}");
        for i in 0..20 {
            let id = first + i;
            send(&engine, id..id + 1, sequence(&producer, i)).await.unwrap();
            // The other engine's producer, sent again through this one.
            let _ = send(&engine, id..id + 1, sequence(&producer, i)).await.unwrap().duplicate;
        }
    };
    tokio::join!(send_all(a.clone(), 0), send_all(b.clone(), 100));
    for engine in [&a, &b] {
        engine.refresh_catalog(&who()).await.unwrap();
        assert_eq!(number(engine, "SELECT count(*) FROM calls").await, 40);
        assert_eq!(number(engine, "SELECT count(DISTINCT id) FROM calls").await, 40);
    }
    // A sequence that the other engine took is known to this one as soon as it commits.
    assert!(send(&a, 119..120, sequence("p100", 19)).await.unwrap().duplicate);
    a.write(&who(), &name("calls"), WriteMode::Overwrite, vec![rows(0..1)], label("job"))
        .await
        .unwrap();
    send(&b, 7..8, None).await.unwrap();
    assert_eq!(number(&b, "SELECT count(*) FROM calls").await, 2);
    let entry = b.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.rows, Some(2));
}

#[tokio::test]
async fn an_overwrite_that_loses_a_race_replaces_what_won_too() {
    let store = Faulty::new();
    let (a, b) = (over(Arc::clone(&store)).await, over(Arc::clone(&store)).await);
    a.create_dataset(&who(), calls()).await.unwrap();
    number(&b, "SELECT count(*) FROM calls").await;
    send(&a, 0..9, None).await.unwrap();
    // b still thinks that the dataset is at version 0.
    b.write(&who(), &name("calls"), WriteMode::Overwrite, vec![rows(20..22)], label("job"))
        .await
        .unwrap();
    assert_eq!(number(&b, "SELECT count(*) FROM calls").await, 2);
    assert!(b.metrics().commit_conflicts.get() > 0);
}

/// Random faults at every write, producers that send again until they are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_each_row_is_there_once() {
    for seed in 1..=6_u64 {
        let store = Faulty::new();
        let engines = [over(Arc::clone(&store)).await, over(Arc::clone(&store)).await];
        engines[0].create_dataset(&who(), calls()).await.unwrap();
        let mut state = seed;
        store.plan(move |_| {
            // xorshift64: the seed is in the message of a failure.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 10 {
                0 => Fault::Refused,
                1 => Fault::AnswerLost,
                2 => Fault::Late,
                _ => Fault::None,
            }
        });
        let producers = (0..4).map(|p| {
            let engines = engines.clone();
            let store = Arc::clone(&store);
            async move {
                let producer = format!("p{p}");
                for i in 0..8 {
                    let id = p * 100 + i;
                    let text = format!(
                        "{{\"id\": {id}, \"at\": \"2026-01-01\"}}\n\
                         {{\"id\": {id}, \"at\": \"2026-01-01\", \"tokens\": -1}}\n"
                    );
                    for attempt in 0.. {
                        assert!(attempt < 200, "seed {seed}: {producer} {i} never got on");
                        // A retry may reach another server than the first attempt.
                        let engine = &engines[(attempt + i as usize) % 2];
                        let producer = sequence(&producer, i);
                        let request = IngestRequest { rows: ndjson(&text), producer };
                        match engine.ingest(&who(), &name("calls"), request).await {
                            Ok(_) => break,
                            Err(e) if e.code() == Code::StorageUnavailable => {}
                            // The other engine has not yet seen the number before.
                            Err(e) if e.code() == Code::Conflict => {}
                            Err(e) => panic!("seed {seed}: {}", e.detail()),
                        }
                        if attempt % 3 == 2 {
                            store.deliver().await;
                        }
                    }
                }
            }
        });
        futures::future::join_all(producers).await;
        store.plan(|_| Fault::None);
        store.deliver().await;
        let fresh = over(store).await;
        for dataset in ["calls", "calls_quarantine"] {
            let count = format!("SELECT count(*) FROM {dataset}");
            assert_eq!(number(&fresh, &count).await, 32, "seed {seed}: {dataset}");
        }
        assert_eq!(number(&fresh, "SELECT count(DISTINCT id) FROM calls").await, 32, "seed {seed}");
    }
}

#[tokio::test]
async fn what_is_committed_while_a_table_is_opened_is_found_by_who_looks_for_it() {
    let mut reads = 0;
    loop {
        let (store, first) = faulty().await;
        send(&first, 0..1, None).await.unwrap();
        let second = over(Arc::clone(&store)).await;
        let gate = store.hold(COMMIT, reads);
        let opening = second.clone();
        let mut opening = tokio::spawn(async move { opening.catalog(&who()).await });
        tokio::select! {
            () = gate.reached() => {}
            _ = &mut opening => break,
        }
        // It is being opened as it is by now, and somebody goes on.
        send(&first, 1..3, None).await.unwrap();
        let looking = second.clone();
        let looking =
            tokio::spawn(async move { looking.look_for(&who(), &name("calls"), None).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.open();
        opening.await.unwrap().unwrap();
        looking.await.unwrap().unwrap();
        assert_eq!(number(&second, "SELECT count(*) FROM calls").await, 3, "read {reads}");
        reads += 1;
    }
    assert!(reads > 2, "{reads} reads of the log");
}

#[tokio::test]
async fn a_root_that_refuses_writes_is_not_ready_until_it_accepts_them() {
    for (fault, code) in
        [(Fault::Full, Code::ResourcesExhausted), (Fault::Refused, Code::StorageUnavailable)]
    {
        let (store, engine) = faulty().await;
        engine.ready().await.unwrap();
        // A single failed write does not matter, because the store accepts the next one.
        store.once(DATA, fault);
        send(&engine, 0..5, None).await.unwrap_err();
        engine.ready().await.unwrap();
        store.plan(move |_| fault);
        // Without a write since, the failure is unknown and nothing is probed.
        engine.ready().await.unwrap();
        send(&engine, 0..5, None).await.unwrap_err();
        let refused = engine.ready().await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        store.plan(|_| Fault::None);
        let waited = std::time::Instant::now();
        while engine.ready().await.is_err() {
            assert!(waited.elapsed().as_secs() < 30, "the root is never ready again");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        send(&engine, 0..5, None).await.unwrap();
        assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
        assert_eq!(store.count("_colonnade_probe").await, 0);
    }
}
