//! What changed between versions.

use super::*;
use crate::{Changes, Code, RunId, Version, WriteMode};

async fn ids(engine: &Engine, frame: datafusion::dataframe::DataFrame) -> Vec<i64> {
    let batches = session(engine).await.collect(frame).await.unwrap();
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|b| {
            let ids = b.column_by_name("id").unwrap();
            ids.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
        })
        .collect();
    ids.sort_unstable();
    ids
}

async fn changes(engine: &Engine, from: u64, to: u64) -> Result<Changes> {
    engine.changes(&who(), &name("calls"), Version(from), Version(to)).await
}

async fn write(engine: &Engine, mode: WriteMode, batches: Vec<RecordBatch>) -> RunId {
    let run_id = RunId::new();
    let label = CommitLabel { run_id: Some(run_id), ..label("job") };
    engine.write(&who(), &name("calls"), mode, batches, label).await.unwrap();
    run_id
}

#[tokio::test]
async fn appended_rows_are_the_change() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..3)]).await;
    let second = write(&engine, WriteMode::Append, vec![rows(3..5)]).await;
    let third = write(&engine, WriteMode::Append, vec![rows(5..6)]).await;
    let change = changes(&engine, 1, 3).await.unwrap();
    assert_eq!(change.run_ids, [second, third]);
    assert_eq!(change.commits, 2);
    assert_eq!(ids(&engine, change.added).await, [3, 4, 5]);
    assert!(ids(&engine, change.removed).await.is_empty());
    let none = changes(&engine, 2, 2).await.unwrap();
    assert!(ids(&engine, none.added).await.is_empty());
    assert_eq!(none.commits, 0);
}

#[tokio::test]
async fn rows_that_were_rewritten_as_they_were_cancel() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..4), rows(0..1)]).await;
    // Overwritten: 0 once instead of twice, 1 and 2 as before, 3 gone, 9 new, twice.
    write(&engine, WriteMode::Overwrite, vec![rows(0..3), rows(9..10), rows(9..10)]).await;
    let change = changes(&engine, 1, 2).await.unwrap();
    assert_eq!(ids(&engine, change.added).await, [9, 9]);
    assert_eq!(ids(&engine, change.removed).await, [0, 3]);
    // There and back is no change at all.
    write(&engine, WriteMode::Overwrite, vec![rows(0..4), rows(0..1)]).await;
    let change = changes(&engine, 1, 3).await.unwrap();
    assert!(ids(&engine, change.added).await.is_empty());
    assert!(ids(&engine, change.removed).await.is_empty());
}

#[tokio::test]
async fn a_replaced_partition_changes_nothing_else() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..90)]).await;
    let month = ("at_month".to_owned(), datafusion::scalar::ScalarValue::from("2026-02-01"));
    write(&engine, WriteMode::ReplacePartitions(vec![month]), vec![rows(32..59)]).await;
    let change = changes(&engine, 1, 2).await.unwrap();
    assert_eq!(
        ids(&engine, change.removed).await,
        [31],
        "January has 31 days: ids 0 to 30; 59 is in March"
    );
}

#[tokio::test]
async fn versions_that_are_not_there_are_told() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..3)]).await;
    assert_eq!(changes(&engine, 0, 9).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(changes(&engine, 1, 0).await.unwrap_err().code(), Code::BadInput);
}

#[tokio::test]
async fn a_column_that_came_later_is_null_before() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..3)]).await;
    let mut grown = calls();
    grown.columns.push(datasets::ColumnSpec {
        name: "region".to_owned(),
        data_type: "text".parse().unwrap(),
        nullable: true,
        unit: None,
        description: String::new(),
    });
    engine.ensure_dataset(&who(), &grown).await.unwrap();
    write(&engine, WriteMode::Overwrite, vec![rows(0..2)]).await;
    let change = changes(&engine, 1, 3).await.unwrap();
    assert!(ids(&engine, change.added).await.is_empty());
    assert_eq!(ids(&engine, change.removed).await, [2]);
}

/// All of a frame's rows by id, to be compared.
async fn text(engine: &Engine, frame: datafusion::dataframe::DataFrame) -> String {
    let sorted = frame.sort(vec![datafusion::prelude::col("id").sort(true, true)]).unwrap();
    table(&session(engine).await.collect(sorted).await.unwrap())
}

async fn rows_with_ids(engine: &Engine, ids: std::ops::Range<u64>) -> String {
    let (first, end) = (ids.start, ids.end);
    query(engine, &format!("SELECT * FROM calls WHERE id >= {first} AND id < {end} ORDER BY id"))
        .await
}

/// Version `v` adds the row with id `v`, through two checkpoints; then one overwrites, one adds a column.
#[tokio::test]
async fn neighbours_among_hundreds_of_versions_are_told_apart() {
    const LAST: u64 = 220;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    for id in 1..=LAST as i64 {
        write(&engine, WriteMode::Append, vec![rows(id..id + 1)]).await;
    }
    let asked = [(0, 1), (98, 99), (99, 100), (100, 101), (42, 46), (198, 201), (219, 220)];
    for (from, to) in asked {
        let change = changes(&engine, from, to).await.unwrap();
        assert_eq!(
            text(&engine, change.added).await,
            rows_with_ids(&engine, from + 1..to + 1).await
        );
        assert!(ids(&engine, change.removed).await.is_empty());
        assert_eq!(change.run_ids.len() as u64, to - from);
    }
    let lake_table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
    assert!(!lake_table.has_state(Version(200)), "a change that only adds needs no file list");
    let none = changes(&engine, 150, 150).await.unwrap();
    assert!(ids(&engine, none.added).await.is_empty());

    // Removed files, next to commits that only add.
    write(&engine, WriteMode::Overwrite, vec![rows(5..8), rows(900..901)]).await;
    write(&engine, WriteMode::Append, vec![rows(901..902)]).await;
    let change = changes(&engine, LAST, LAST + 1).await.unwrap();
    assert_eq!(ids(&engine, change.added).await, [900]);
    assert_eq!(ids(&engine, change.removed).await.len(), 217);
    let change = changes(&engine, LAST + 1, LAST + 2).await.unwrap();
    assert_eq!(text(&engine, change.added).await, rows_with_ids(&engine, 901..902).await);
    assert!(ids(&engine, change.removed).await.is_empty());
    let change = changes(&engine, LAST - 1, LAST + 2).await.unwrap();
    assert_eq!(ids(&engine, change.added).await, [900, 901]);
    assert_eq!(ids(&engine, change.removed).await.len(), 216);

    // Opened anew, with the log before the first checkpoint gone.
    engine.shutdown().await.unwrap();
    drop((lake_table, engine));
    let log = folder.path().join("default/calls/_delta_log");
    for version in 0..99 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let engine = Engine::open(options(root)).await.unwrap();
    for (from, to) in [(99, 100), (120, 123), (199, 200), (218, 219)] {
        let change = changes(&engine, from, to).await.unwrap();
        let expected: Vec<i64> = (from as i64 + 1..=to as i64).collect();
        assert_eq!(ids(&engine, change.added).await, expected);
        assert!(ids(&engine, change.removed).await.is_empty());
    }
    for _ in 0..2 {
        let gone = changes(&engine, 50, 51).await.unwrap_err();
        assert!(gone.to_string().contains("version 51 is no longer kept"), "{gone}");
    }
    let ahead = changes(&engine, 100, LAST + 9).await.unwrap_err();
    assert!(ahead.to_string().contains("has no version 229"), "{ahead}");
}

#[tokio::test]
async fn a_change_has_the_columns_of_today() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(1..2)]).await;
    write(&engine, WriteMode::Append, vec![rows(2..3)]).await;
    let mut grown = calls();
    grown.columns.push(datasets::ColumnSpec {
        name: "region".to_owned(),
        data_type: "text".parse().unwrap(),
        nullable: true,
        unit: None,
        description: String::new(),
    });
    engine.ensure_dataset(&who(), &grown).await.unwrap();
    write(&engine, WriteMode::Append, vec![rows(4..5)]).await;
    // Before, across, and after the column came.
    for (from, to, expected) in
        [(1, 2, vec![2]), (1, 3, vec![2]), (1, 4, vec![2, 4]), (3, 4, vec![4])]
    {
        let change = changes(&engine, from, to).await.unwrap();
        for side in [&change.added, &change.removed] {
            let has = side.schema().has_column_with_unqualified_name("region");
            assert!(has, "from {from} to {to}");
        }
        let null = datafusion::prelude::col("region").is_null();
        let nulls = change.added.clone().filter(null).unwrap();
        assert_eq!(ids(&engine, nulls).await, expected, "from {from} to {to}");
        assert_eq!(ids(&engine, change.added).await, expected, "from {from} to {to}");
    }
}

/// Whoever opens a table knows its newest version alone; what was committed before is read by itself as well, back to where a column came.
#[tokio::test]
async fn what_was_added_before_a_table_was_opened_needs_no_file_list() {
    const FIRST: u64 = 3;
    const LAST: u64 = 1_050;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    write(&engine, WriteMode::Append, vec![rows(1..2)]).await;
    write(&engine, WriteMode::Append, vec![rows(2..3)]).await;
    let mut grown = calls();
    grown.columns.push(datasets::ColumnSpec {
        name: "region".to_owned(),
        data_type: "text".parse().unwrap(),
        nullable: true,
        unit: None,
        description: String::new(),
    });
    engine.ensure_dataset(&who(), &grown).await.unwrap();
    for id in FIRST + 1..=LAST {
        let id = id as i64;
        write(&engine, WriteMode::Append, vec![rows(id..id + 1)]).await;
    }
    engine.shutdown().await.unwrap();
    drop(engine);

    let engine = Engine::open(options(root)).await.unwrap();
    let table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
    // Whether the version at the end was read by its own entry, and whether a file list of it was.
    let added = async |to: u64| {
        let change = changes(&engine, to - 1, to).await.unwrap();
        assert!(change.added.schema().has_column_with_unqualified_name("region"));
        assert_eq!(ids(&engine, change.added).await, [to as i64], "{to}");
        !table.has_state(Version(to))
    };
    assert!(!added(30).await, "further back than is looked for at once");
    assert!(added(31).await, "and from there on the next time");
    assert!(added(600).await && added(LAST - 1).await);
    assert!(added(FIRST + 1).await, "the first behind the column");
    assert!(!added(FIRST - 1).await, "before the column came");
    // A commit does not lose what is known.
    write(&engine, WriteMode::Append, vec![rows(5_000..5_001)]).await;
    assert!(added(40).await);
}
