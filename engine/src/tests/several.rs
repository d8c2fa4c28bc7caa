//! Several engines on one root, as of several servers: what is committed by one is judged and seen by the others.

use std::collections::BTreeSet;

use datasets::read::Source;

use super::*;
use crate::storage::Root;
use crate::storage::faulty::{Fault, Faulty};
use crate::{Code, LoadOptions, Version};

/// Two engines that know the same of a dataset with one row.
async fn two(root: &str) -> (Engine, Engine) {
    let first = engine_at(root).await;
    send(&first, 0..1, None).await.unwrap();
    let second = Engine::open(options(root)).await.unwrap();
    assert_eq!(second.catalog(&who()).await.unwrap().datasets[&name("calls")].version, Version(1));
    (first, second)
}

#[tokio::test]
async fn requests_of_a_producer_may_come_by_any_server() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = two(folder.path().to_str().unwrap()).await;
    let engines = [&first, &second];
    for number in 0..6_i64 {
        let of = |engine| send(engine, number..number + 1, sequence("p", number));
        let taken = of(engines[number as usize % 2]).await.unwrap();
        assert!(!taken.duplicate, "{number}");
        // Sent again, to the other.
        let again = of(engines[(number as usize + 1) % 2]).await.unwrap();
        assert!(again.duplicate, "{number}");
    }
    // What nobody took is a gap for all.
    for engine in engines {
        let gap = send(engine, 9..10, sequence("p", 9)).await.unwrap_err();
        assert_eq!(gap.code(), Code::Conflict);
        assert!(gap.to_string().ends_with("expected 6, because 5 is the last one taken"), "{gap}");
    }
    assert_eq!(number(&second, "SELECT count(*) FROM calls").await, 7);
    // Files too.
    send(&first, 20..21, sequence("p", 6)).await.unwrap();
    let text = "{\"id\": 30, \"at\": \"2026-01-01T00:00:00Z\"}\n";
    let load = LoadOptions { producer: Some(("p".into(), 7)), ..LoadOptions::default() };
    let source = Source::Body { bytes: Bytes::from(text), name: "body".into() };
    let loaded = second.load(&who(), &name("calls"), source, Format::Ndjson, load).await;
    assert!(!loaded.unwrap().duplicate);
}

#[tokio::test]
async fn a_file_refused_for_a_key_of_another_server_leaves_no_column_and_no_setting() {
    for on_conflict in [crate::OnConflict::Again, crate::OnConflict::Error] {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = two(folder.path().to_str().unwrap()).await;
        let mut settings = datasets::LoadSettings::default();
        settings.set("zone", "Europe/Berlin").unwrap();
        let load = async |id: u32| {
            let text = format!("id,at,colour\n{id},2026-01-01T00:00:00Z,red\n");
            let source = Source::Body { bytes: Bytes::from(text), name: "body".into() };
            let settings = settings.clone();
            let options = LoadOptions { on_conflict, settings, ..LoadOptions::default() };
            second.load(&who(), &name("calls"), source, Format::Csv, options).await
        };
        // The second does not know of it yet.
        send(&first, 7..8, None).await.unwrap();
        let refused = load(7).await.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{refused}");
        let known = async || second.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
        let entry = known().await;
        assert_eq!((entry.version, entry.spec.load.to_string()), (Version(2), String::new()));
        assert!(entry.spec.column("colour").is_none());
        // One that is accepted has all of it in one commit.
        let loaded = load(8).await.unwrap();
        assert_eq!((loaded.accepted, loaded.version), (1, Version(3)));
        assert_eq!(loaded.added_columns, ["colour"]);
        assert_eq!(loaded.stored_settings, "zone=Europe/Berlin");
        let entry = known().await;
        assert_eq!(entry.spec.load.to_string(), "zone=Europe/Berlin");
        assert_eq!(number(&second, "SELECT count(*) FROM calls WHERE colour = 'red'").await, 1);
        assert_eq!(number(&second, "SELECT count(*) FROM calls").await, 3);
    }
}

#[tokio::test]
async fn what_somebody_heard_of_is_looked_for_and_announced_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = two(folder.path().to_str().unwrap()).await;
    let mut news = second.commits().subscribe();
    for id in 1..4 {
        send(&first, id..id + 1, None).await.unwrap();
    }
    let look = |dataset: &str, version| {
        let (dataset, second) = (name(dataset), second.clone());
        async move { second.look_for(&who(), &dataset, version).await.unwrap() }
    };
    // Of it as much is known.
    look("calls", Some(Version(1))).await;
    assert!(news.try_recv().is_err());
    for version in [Some(Version(4)), Some(Version(4)), None] {
        look("calls", version).await;
    }
    let mut told = Vec::new();
    while let Ok(event) = news.try_recv() {
        told.push((event.dataset.clone(), event.version));
    }
    assert_eq!(told, [2, 3, 4].map(|version| (name("calls"), Version(version))));
    // One that is new is in the catalogue.
    let spec = DatasetSpec { name: name("others"), ..calls() };
    first.create_dataset(&who(), spec).await.unwrap();
    look("others", Some(Version(0))).await;
    let known: BTreeSet<_> =
        second.catalog(&who()).await.unwrap().datasets.keys().cloned().collect();
    assert_eq!(known, BTreeSet::from([name("calls"), name("others")]));
    // Of a tenant of whom nobody asked anything nothing is looked for.
    let stranger = Principal { tenant: "stranger".parse().unwrap(), ..who() };
    second.look_for(&stranger, &name("calls"), None).await.unwrap();
}

/// A commit of another server arrives between what a group quarantines and its own commit.
#[tokio::test]
async fn rejected_rows_are_there_once_whoever_commits_meanwhile() {
    let text = "{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\"}\n\
                {\"id\": 2, \"at\": \"2026-01-01T00:00:00Z\", \"tokens\": -5}\n\
                not json\n";
    for producer in [None, sequence("p", 0)] {
        let store = Faulty::new();
        let open = async || Engine::open_root(Root::over(store.clone()), options("memory:")).await;
        let (here, elsewhere) = (open().await.unwrap(), open().await.unwrap());
        here.create_dataset(&who(), calls()).await.unwrap();
        store.once("calls/_delta_log/00000000000000000001", Fault::Late);
        send(&elsewhere, 7..8, None).await.unwrap_err();
        // That is when the accepted rows are written, after the others are quarantined.
        store.deliver_at("calls/at_month", 1);
        let request = IngestRequest { rows: ndjson(text), producer: producer.clone() };
        let receipt = here.ingest(&who(), &name("calls"), request).await.unwrap();
        let told = (receipt.accepted, receipt.quarantined, receipt.version);
        assert_eq!(told, (1, 2, Version(2)), "{producer:?}");
        assert_eq!(here.metrics().commit_conflicts.get(), 1, "{producer:?}");
        let rejected = number(&here, "SELECT count(*) FROM calls_quarantine").await;
        assert_eq!(rejected, 2, "{producer:?}");
        assert_eq!(number(&here, "SELECT count(*) FROM calls").await, 2, "{producer:?}");
    }
}
