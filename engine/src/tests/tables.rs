//! Creating, writing, reading, and what the log says of it.

use datafusion::scalar::ScalarValue;
use futures::StreamExt;

use super::*;
use crate::{AsOf, Code, CommitKind, RunId, Version, WriteMode};

pub(super) async fn write(
    engine: &Engine,
    mode: WriteMode,
    ids: std::ops::Range<i64>,
) -> Result<u64> {
    let written = engine.write(&who(), &name("calls"), mode, vec![rows(ids)], label("job")).await;
    written.map(|commit| commit.version.0)
}

fn month(text: &str) -> (String, ScalarValue) {
    ("at_month".to_owned(), ScalarValue::from(text))
}

#[tokio::test]
async fn what_is_written_is_read_back_with_the_types_of_the_spec() {
    let engine = engine().await;
    assert_eq!(write(&engine, WriteMode::Append, 0..3).await.unwrap(), 1);
    let session = session(&engine).await;
    let frame = session.table(&name("calls")).await.unwrap();
    let spec = calls().arrow_schema();
    for (have, want) in frame.schema().fields().iter().zip(spec.fields()) {
        assert_eq!((have.name(), have.data_type()), (want.name(), want.data_type()));
        assert_eq!(have.metadata().get("colonnade.type"), want.metadata().get("colonnade.type"));
    }
    let batches =
        session.collect(frame.sort_by(vec![datafusion::prelude::col("id")]).unwrap()).await;
    insta(
        &table(&batches.unwrap()),
        "
        +----+----------------------+-------+--------+------------+
        | id | at                   | model | tokens | at_month   |
        +----+----------------------+-------+--------+------------+
        | 0  | 2026-01-01T00:00:00Z | m0    | 0      | 2026-01-01 |
        | 1  | 2026-01-02T00:00:00Z | m1    | 10     | 2026-01-01 |
        | 2  | 2026-01-03T00:00:00Z | m2    | 20     | 2026-01-01 |
        +----+----------------------+-------+--------+------------+",
    );
}

fn insta(have: &str, want: &str) {
    let want: Vec<&str> = want.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(have.lines().collect::<Vec<_>>(), want);
}

#[tokio::test]
async fn overwrite_and_replace_leave_what_they_should() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, 0..90).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 90);

    let february = WriteMode::ReplacePartitions(vec![month("2026-02-01")]);
    write(&engine, february.clone(), 31..33).await.unwrap();
    let months = "SELECT at_month, count(*) AS n FROM calls GROUP BY 1 ORDER BY 1";
    insta(
        &query(&engine, months).await,
        "+------------+----+
         | at_month   | n  |
         +------------+----+
         | 2026-01-01 | 31 |
         | 2026-02-01 | 2  |
         | 2026-03-01 | 31 |
         +------------+----+",
    );
    let outside = write(&engine, february, 0..1).await.unwrap_err();
    assert_eq!(outside.code(), Code::BadInput);
    assert!(outside.to_string().contains("at_month = 2026-01-01"), "{outside}");

    write(&engine, WriteMode::Overwrite, 5..7).await.unwrap();
    assert_eq!(number(&engine, "SELECT sum(id) FROM calls").await, 11);
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!((entry.version, entry.rows, entry.files), (Version(3), Some(2), 1));

    let unknown = WriteMode::ReplacePartitions(vec![("id".to_owned(), ScalarValue::from(1_i64))]);
    let refused = write(&engine, unknown, 0..1).await.unwrap_err();
    assert!(refused.to_string().contains("not one of its partition columns (at_month)"));
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_whole() {
    let engine = engine().await;
    let bad = RecordBatch::try_from_iter([(
        "id",
        Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
    )])
    .unwrap();
    let refused =
        engine.write(&who(), &name("calls"), WriteMode::Append, vec![bad], label("job")).await;
    assert_eq!(refused.unwrap_err().code(), Code::BadInput);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 0);
}

#[tokio::test]
async fn a_session_sees_one_version_from_start_to_end() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, 0..3).await.unwrap();
    let before = session(&engine).await;
    write(&engine, WriteMode::Append, 3..5).await.unwrap();
    let frame = before.sql("SELECT count(*) AS n FROM calls").await.unwrap();
    assert!(table(&before.collect(frame).await.unwrap()).contains("| 3 |"));
    assert_eq!(before.version(&name("calls")), Some(Version(1)));

    let pinned =
        engine.session(&who(), &[(name("calls"), AsOf::Version(Version(0)))]).await.unwrap();
    let frame = pinned.sql("SELECT count(*) AS n FROM calls").await.unwrap();
    assert!(table(&pinned.collect(frame).await.unwrap()).contains("| 0 |"));

    let none = engine.session(&who(), &[(name("calls"), AsOf::Version(Version(99)))]).await;
    let none = none.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    assert_eq!(none.to_string(), "dataset calls has no version 99; versions 0 to 2 exist");
}

#[tokio::test]
async fn commits_are_events_and_history() {
    let engine = engine().await;
    let mut events = engine.commits().subscribe();
    let run = RunId::new();
    let labelled = CommitLabel { run_id: Some(run), ..label("anomalies") };
    engine
        .write(&who(), &name("calls"), WriteMode::Append, vec![rows(0..40)], labelled)
        .await
        .unwrap();
    let event = events.try_recv().unwrap();
    assert_eq!((event.version, event.previous), (Version(1), Some(Version(0))));
    assert_eq!((event.kind, event.rows_added), (CommitKind::Append, 40));
    assert_eq!(event.run_id, Some(run));

    let history = engine.history(&who(), &name("calls"), 10).await.unwrap();
    let summary: Vec<_> =
        history.iter().map(|r| (r.version.0, r.operation.as_str(), r.rows_added)).collect();
    assert_eq!(summary, [(1, "anomalies", Some(40)), (0, "create", Some(0))]);
    assert_eq!(history[0].run_id, Some(run));
    assert_eq!(history[0].subject.as_deref(), Some("local"));
    assert_eq!(history[0].files_added, 2, "two months are two files");

    let at = engine.version_at(&who(), &name("calls"), history[0].at).await.unwrap();
    assert_eq!(at, Version(1));
    let long_ago = "2020-01-01T00:00:00Z".parse().unwrap();
    let none = engine.version_at(&who(), &name("calls"), long_ago).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    assert!(none.to_string().contains("its oldest, version 0, is of"), "{none}");
}

#[tokio::test]
async fn rows_that_follow_from_a_version_are_added_to_no_other() {
    let engine = engine().await;
    let (who, calls) = (who(), name("calls"));
    let write = |mode| engine.write(&who, &calls, mode, vec![rows(0..2)], label("job"));
    let newest = write(WriteMode::Append).await.unwrap().version;
    // Both read the same version: one of them is first.
    let (one, other) =
        tokio::join!(write(WriteMode::AppendAfter(newest)), write(WriteMode::AppendAfter(newest)));
    let (made, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    let (made, refused) = (made.unwrap(), refused.unwrap_err());
    assert_eq!(made.version, Version(newest.0 + 1));
    assert_eq!(refused.code(), Code::Conflict);
    assert_eq!(
        refused.to_string(),
        format!(
            "dataset calls: expected version {newest} to be the newest, found {}: another commit came first; try again",
            made.version
        )
    );
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 4);
    // What was already made is no conflict.
    let labelled = || CommitLabel { idempotency: Some(("run-2".to_owned(), 1)), ..label("job") };
    for again in [false, true] {
        let mode = WriteMode::AppendAfter(made.version);
        let commit = engine.write(&who, &calls, mode, vec![rows(0..2)], labelled()).await.unwrap();
        assert_eq!(commit.duplicate, again);
    }
}

#[tokio::test]
async fn partitions_are_replaced_only_as_they_were_read() {
    let engine = engine().await;
    let (who, calls) = (who(), name("calls"));
    let january = || vec![month("2026-01-01")];
    let write = |mode| engine.write(&who, &calls, mode, vec![rows(0..3)], label("job"));
    let read = write(WriteMode::Append).await.unwrap().version;
    let (one, other) = tokio::join!(
        write(WriteMode::ReplacePartitionsAfter(january(), read)),
        write(WriteMode::ReplacePartitionsAfter(january(), read))
    );
    let (made, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    assert_eq!(made.unwrap().version, Version(read.0 + 1));
    assert_eq!(refused.unwrap_err().code(), Code::Conflict);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 3);
    // What came to others since is none of theirs.
    let read = Version(read.0 + 1);
    engine.write(&who, &calls, WriteMode::Append, vec![rows(31..33)], label("job")).await.unwrap();
    write(WriteMode::ReplacePartitionsAfter(january(), read)).await.unwrap();
    let refused = write(WriteMode::ReplacePartitionsAfter(january(), read)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
}

#[tokio::test]
async fn after_a_restart_it_is_known_what_came_last() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Engine::open(options(folder.path().to_str().unwrap()));
    let engine = open().await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    for id in 0..2 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    let engine = open().await.unwrap();
    let after = async |version| {
        let mode = WriteMode::AppendAfter(Version(version));
        engine.write(&who(), &name("calls"), mode, vec![rows(9..10)], label("job")).await
    };
    assert_eq!(after(1).await.unwrap_err().code(), Code::Conflict);
    assert_eq!(after(2).await.unwrap().version, Version(3));
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tenant_has_room_for_so_many_columns() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let wide = |of: usize, columns: usize| {
        let mut spec = calls();
        spec.name = name(&format!("wide_{of}"));
        spec.evolution = datasets::spec::Evolution::AddNullable;
        let mut more = spec.columns[3].clone();
        for n in spec.columns.len()..columns {
            more.name = format!("c{n}");
            spec.columns.push(more.clone());
        }
        spec
    };
    for of in 0..9 {
        engine.create_dataset(&who(), wide(of, 1_024)).await.unwrap();
    }
    let refused = engine.create_dataset(&who(), wide(9, 1_000)).await.unwrap_err();
    assert_eq!(refused.code(), Code::LimitExceeded);
    let says = "has 9216 columns and fields in all its datasets, and 1000 more would be over the limit of 10000";
    assert!(refused.to_string().ends_with(says), "{refused}");
    // A field of a structure counts as a column does.
    let fields: Vec<String> = (0..900).map(|n| format!("f{n}: bool")).collect();
    let mut deep = wide(9, 10);
    deep.columns[9].data_type = format!("struct({})", fields.join(", ")).parse().unwrap();
    let refused = engine.create_dataset(&who(), deep).await.unwrap_err();
    let says = "and 910 more would be over the limit of 10000";
    assert!(refused.to_string().ends_with(says), "{refused}");
    engine.create_dataset(&who(), wide(9, 783)).await.unwrap();
    // Neither by rows that bring columns, nor by a spec that has more.
    let brings = IngestRequest {
        rows: ndjson(r#"{"id": 1, "at": "2026-01-01T00:00:00Z", "new_a": 1, "new_b": 1}"#),
        producer: None,
    };
    let refused = engine.ingest(&who(), &name("wide_9"), brings).await.unwrap_err();
    assert_eq!(refused.code(), Code::LimitExceeded, "{refused}");
    let refused = engine.ensure_dataset(&who(), &wide(9, 785)).await.unwrap_err();
    assert_eq!(refused.code(), Code::LimitExceeded, "{refused}");
    engine.ensure_dataset(&who(), &wide(9, 784)).await.unwrap();
    // Who is there already may be made again, and another tenant has room of its own.
    engine.create_dataset(&who(), wide(0, 1_024)).await.unwrap();
    let other = Principal { tenant: "other".parse().unwrap(), ..who() };
    engine.create_dataset(&other, wide(0, 1_024)).await.unwrap();
}

#[tokio::test]
async fn creating_twice_is_one_dataset_and_another_spec_is_a_conflict() {
    let engine = engine().await;
    let generation = engine.catalog(&who()).await.unwrap().generation;
    engine.create_dataset(&who(), calls()).await.unwrap();
    assert_eq!(engine.catalog(&who()).await.unwrap().generation, generation);
    let mut other = calls();
    other.columns[3].data_type = "float64".parse().unwrap();
    let refused = engine.create_dataset(&who(), other.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert_eq!(
        refused.to_string(),
        "dataset calls exists with another spec: column \"tokens\" is int64, and float64 was given"
    );
    assert_eq!(engine.ensure_dataset(&who(), &other).await.unwrap_err().code(), Code::Conflict);
}

#[tokio::test]
async fn an_unknown_dataset_is_told_with_those_alike() {
    let engine = engine().await;
    let unknown = session(&engine).await.table(&name("call")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.to_string(), "dataset call does not exist; did you mean calls?");
    let written =
        engine.write(&who(), &name("zzz"), WriteMode::Append, vec![rows(0..1)], label("job")).await;
    assert_eq!(written.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let engine = engine().await;
    let other = Principal { tenant: "acme".parse().unwrap(), ..who() };
    assert!(engine.catalog(&other).await.unwrap().datasets.is_empty());
    let session = engine.session(&other, &[]).await.unwrap();
    let unknown = session.sql("SELECT * FROM calls").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    engine.create_dataset(&other, calls()).await.unwrap();
    write(&engine, WriteMode::Append, 0..3).await.unwrap();
    let session = engine.session(&other, &[]).await.unwrap();
    let frame = session.table(&name("calls")).await.unwrap();
    assert_eq!(session.collect(frame).await.unwrap().len(), 0);
}

#[tokio::test]
async fn roles_are_asked_for() {
    let engine = engine().await;
    let reader = Principal { roles: vec![crate::Role::Reader], ..who() };
    let refused = engine.create_dataset(&reader, calls()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);
    let nobody = Principal { roles: vec![], ..who() };
    assert_eq!(engine.catalog(&nobody).await.unwrap_err().code(), Code::Forbidden);
}

#[tokio::test]
async fn many_commits_are_one_table_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    for id in 0..105 {
        write(&engine, WriteMode::Append, id..id + 1).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    let log = folder.path().join("default/calls/_delta_log");
    let checkpoint = log.join("00000000000000000099.checkpoint.parquet");
    assert!(checkpoint.exists(), "{:?}", std::fs::read_dir(&log).unwrap().count());
    // The log before the checkpoint is not needed to read what came after it.
    for version in 0..99 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let engine = Engine::open(options(root)).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 105);
    let old =
        engine.session(&who(), &[(name("calls"), AsOf::Version(Version(5)))]).await.unwrap_err();
    assert_eq!(
        old.to_string(),
        "dataset calls: version 5 is no longer kept; versions 99 to 105 are"
    );
    assert_eq!(engine.history(&who(), &name("calls"), 1000).await.unwrap().len(), 7);
    // A commit stands on the newest entry, or on the checkpoint of just that version.
    let entry = |version| log.join(format!("{version:020}.json"));
    std::fs::rename(entry(105), folder.path().join("105")).unwrap();
    let refused = write(&engine, WriteMode::Append, 0..1).await.unwrap_err();
    assert!(refused.to_string().contains("it is gone"), "{refused}");
    std::fs::rename(folder.path().join("105"), entry(105)).unwrap();
    for id in 105..199 {
        write(&engine, WriteMode::Append, id..id + 1).await.unwrap();
    }
    engine.lake().settle().await;
    std::fs::remove_file(entry(199)).unwrap();
    write(&engine, WriteMode::Append, 199..200).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 200);
}

#[tokio::test]
async fn a_checkpoint_that_was_not_made_is_made_by_the_next_commit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    for id in 0..105 {
        write(&engine, WriteMode::Append, id..id + 1).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    let log = folder.path().join("default/calls/_delta_log");
    let checkpoint = |version: u64| log.join(format!("{version:020}.checkpoint.parquet"));
    // As if it had died before.
    std::fs::remove_file(checkpoint(99)).unwrap();
    std::fs::remove_file(log.join("_last_checkpoint")).unwrap();
    let engine = Engine::open(options(root)).await.unwrap();
    for id in 105..107 {
        write(&engine, WriteMode::Append, id..id + 1).await.unwrap();
        engine.lake().settle().await;
    }
    engine.shutdown().await.unwrap();
    assert!(checkpoint(106).exists());
    assert!(!checkpoint(107).exists(), "the next is due after as many again");
}

#[tokio::test]
async fn a_long_log_gets_its_checkpoint_from_who_opens_it_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    write(&engine, WriteMode::Append, 0..3).await.unwrap();
    engine.shutdown().await.unwrap();
    // As if those that committed had all died before they made one.
    let log = folder.path().join("default/calls/_delta_log");
    let nothing_new = r#"{"commitInfo":{"timestamp":1767225600000,"operation":"WRITE"}}"#;
    let fill = |versions: std::ops::RangeInclusive<u64>| {
        for version in versions {
            std::fs::write(log.join(format!("{version:020}.json")), nothing_new).unwrap();
        }
    };
    let checkpoint = |version: u64| log.join(format!("{version:020}.checkpoint.parquet")).exists();
    let opened = async |options| {
        let engine = Engine::open(options).await.unwrap();
        assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 3);
        engine.shutdown().await.unwrap();
    };
    fill(2..=298);
    opened(options(root)).await;
    assert!(!checkpoint(298), "it is not that long");
    fill(299..=299);
    opened(EngineOptions { access: Access::ReadOnly, ..options(root) }).await;
    assert!(!checkpoint(299), "who reads writes nothing");
    opened(options(root)).await;
    assert!(checkpoint(299));
    for version in 0..299 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    opened(options(root)).await;
}

#[tokio::test]
async fn a_name_leaves_room_for_its_quarantine() {
    let engine = engine().await;
    let mut long = calls();
    long.name = name(&"a".repeat(54));
    let refused = engine.create_dataset(&who(), long.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("at most 53 characters"), "{refused}");
    long.name = name(&"a".repeat(53));
    engine.create_dataset(&who(), long).await.unwrap();
}

/// Values that a path, a URL or a folder of partitions could trip over.
const ODD: [&str; 9] = ["a/b", "a b", "50%", "%2F", "k=v", "é:?#", "..", "with'quote", "null"];

#[tokio::test]
async fn odd_partition_values_are_kept_apart_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    for root in ["memory:", folder.path().to_str().unwrap()] {
        let engine = Engine::open(options(root)).await.unwrap();
        let spec = DatasetSpec::from_toml(
            r#"
                name = "odd"
                partition_by = [{column = "p"}]
                columns = [{name = "p", type = "text", nullable = true}, {name = "n", type = "int64"}]
            "#,
            "odd.toml",
        );
        engine.create_dataset(&who(), spec.unwrap()).await.unwrap();
        let batch = |values: &[Option<&str>]| {
            let p: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
            let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
            RecordBatch::try_from_iter([("p", p), ("n", n)]).unwrap()
        };
        let write = async |mode, values: &[Option<&str>]| {
            engine.write(&who(), &name("odd"), mode, vec![batch(values)], label("job")).await
        };
        let mut values: Vec<Option<&str>> = ODD.map(Some).to_vec();
        values.push(None);
        write(WriteMode::Append, &values).await.unwrap();
        assert_eq!(number(&engine, "SELECT count(DISTINCT p) FROM odd").await, ODD.len() as i64);
        assert_eq!(number(&engine, "SELECT count(*) FROM odd WHERE p IS NULL").await, 1);
        for value in ODD {
            let sql = format!("SELECT count(*) FROM odd WHERE p = '{}'", value.replace('\'', "''"));
            assert_eq!(number(&engine, &sql).await, 1, "{root} {value}");
            let mode =
                WriteMode::ReplacePartitions(vec![("p".to_owned(), ScalarValue::from(value))]);
            write(mode, &[Some(value), Some(value)]).await.unwrap();
            assert_eq!(number(&engine, &sql).await, 2, "{root} {value}");
        }
        let null = WriteMode::ReplacePartitions(vec![("p".to_owned(), ScalarValue::Utf8(None))]);
        write(null, &[None, None]).await.unwrap();
        assert_eq!(number(&engine, "SELECT count(*) FROM odd WHERE p IS NULL").await, 2);
        assert_eq!(number(&engine, "SELECT count(*) FROM odd").await, 20);

        // Row i of the first write had n = i; now each value has n = 0 and n = 1.
        let change = engine.changes(&who(), &name("odd"), Version(1), Version(11)).await.unwrap();
        assert_eq!(change.added.count().await.unwrap(), 1 + 1 + 8 * 2, "{root}");
        assert_eq!(change.removed.count().await.unwrap(), 8, "{root}");
        write(WriteMode::Overwrite, &[Some("x")]).await.unwrap();
        assert_eq!(number(&engine, "SELECT count(*) FROM odd").await, 1);
        for unwritable in ["", "__HIVE_DEFAULT_PARTITION__"] {
            let refused = write(WriteMode::Append, &[Some(unwritable)]).await.unwrap_err();
            assert_eq!(refused.code(), Code::BadInput, "{refused}");
        }
    }
}

#[tokio::test]
async fn every_column_type_is_kept() {
    use arrow::array::{FixedSizeListArray, Float32Array};
    use arrow::datatypes::{DataType, Field};

    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = DatasetSpec::from_toml(
        r#"
            name = "kinds"
            columns = [
                {name = "b", type = "bool", nullable = true},
                {name = "i", type = "int32", nullable = true},
                {name = "l", type = "int64", nullable = true},
                {name = "f", type = "float32", nullable = true},
                {name = "d", type = "float64", nullable = true},
                {name = "t", type = "text", nullable = true},
                {name = "at", type = "timestamp", nullable = true},
                {name = "day", type = "date", nullable = true},
                {name = "usd", type = "decimal(18,6)", nullable = true},
                {name = "doc", type = "json", nullable = true},
                {name = "raw", type = "bytes", nullable = true},
                {name = "ids", type = "list(int64)", nullable = true},
                {name = "v", type = "vector(2)", nullable = true},
            ]
        "#,
        "kinds.toml",
    )
    .unwrap();
    engine.create_dataset(&who(), spec.clone()).await.unwrap();
    let text = "{\"b\": true, \"i\": -7, \"l\": 9007199254740993, \"f\": 0.5, \"d\": 1e300, \"t\": \"é\", \
                \"at\": \"2026-01-01T00:00:00.000001Z\", \"day\": \"1969-12-31\", \"usd\": 0.000001, \
                \"doc\": {\"a\": [1]}, \"raw\": \"aGk=\", \"ids\": [1, 2], \"v\": [0.25, -1]}\n{}\n";
    let request = IngestRequest { rows: ndjson(text), producer: None };
    let receipt = engine.ingest(&who(), &name("kinds"), request).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (2, 0));

    // Vectors as a model makes them.
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let values = Arc::new(Float32Array::from(vec![1.0, 2.0]));
    let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, values, None));
    let batch = RecordBatch::try_from_iter([("v", vectors)]).unwrap();
    engine
        .write(&who(), &name("kinds"), WriteMode::Append, vec![batch], label("embed"))
        .await
        .unwrap();

    let session = session(&engine).await;
    let frame = session.table(&name("kinds")).await.unwrap();
    for (have, want) in frame.schema().fields().iter().zip(spec.arrow_schema().fields()) {
        assert_eq!((have.name(), have.data_type()), (want.name(), want.data_type()));
    }
    for (sql, count) in [
        ("b AND i = -7 AND l = 9007199254740993 AND f = 0.5 AND d = 1e300 AND t = 'é'", 1),
        ("at = TIMESTAMP '2026-01-01T00:00:00.000001Z' AND day = DATE '1969-12-31'", 1),
        ("usd = 0.000001 AND doc LIKE '%[1]%' AND raw = X'6869'", 1),
        ("array_length(ids) = 2 AND v[1] = 0.25 AND v[2] = -1", 1),
        ("v[2] = 2", 1),
        ("t IS NULL", 2),
    ] {
        let sql = format!("SELECT count(*) FROM kinds WHERE {sql}");
        assert_eq!(number(&engine, &sql).await, count, "{sql}");
    }
}

#[tokio::test]
async fn rows_that_are_very_wide_are_read_a_few_at_a_time() {
    const ROWS: i64 = 600;
    let engine = engine().await;
    let wide = |ids: std::ops::Range<i64>| {
        let texts = StringArray::from_iter_values(ids.clone().map(|_| "x".repeat(1 << 20)));
        let rows = rows(ids);
        let mut columns = rows.columns().to_vec();
        columns[2] = Arc::new(texts);
        // All in one file.
        let begins = TimestampMicrosecondArray::from_value(1_767_225_600_000_000, columns[0].len());
        columns[1] = Arc::new(begins.with_timezone("UTC"));
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    let calls = name("calls");
    let rows: Vec<_> = (0..ROWS).step_by(100).map(|first| wide(first..first + 100)).collect();
    engine.write(&who(), &calls, WriteMode::Append, rows, label("job")).await.unwrap();
    let session = session(&engine).await;
    let frames = [
        session.table(&calls).await.unwrap(),
        session.sql("SELECT * FROM calls WHERE length(model) > 5 AND id >= 0").await.unwrap(),
    ];
    for frame in frames {
        let mut rows = session.stream(frame).await.unwrap();
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.unwrap();
            assert!(batch.num_rows() <= 64, "{} rows of a megabyte", batch.num_rows());
            count += batch.num_rows() as i64;
        }
        assert_eq!(count, ROWS);
    }
}
