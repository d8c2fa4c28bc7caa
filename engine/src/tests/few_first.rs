//! The first few rows by an order are read without reading all.

use futures::TryStreamExt;

use super::*;

const ROWS: i64 = 10_000;

/// Six files of rows that follow each other by time and id, written in another order.
async fn six_files() -> Engine {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = r#"
        name = "calls"
        key = ["id"]
        time_column = "at"
        columns = [
            {name = "id", type = "int64"},
            {name = "at", type = "timestamp"},
            {name = "model", type = "text", nullable = true},
            {name = "tokens", type = "int64", nullable = true},
        ]
    "#;
    engine
        .create_dataset(&who(), DatasetSpec::from_toml(spec, "calls.toml").unwrap())
        .await
        .unwrap();
    for file in [4, 0, 2, 1, 3, 5] {
        send(&engine, file * ROWS..(file + 1) * ROWS, None).await.unwrap();
    }
    engine
}

/// The answer, and how many rows were read for it.
async fn read(engine: &Engine, sql: &str) -> (String, u64) {
    let session = session(engine).await.in_order();
    let frame = session.sql(sql).await.unwrap();
    let (rows, read) = session.stream_counted(frame).await.unwrap();
    let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    (table(&batches), read.rows())
}

#[tokio::test]
async fn files_that_can_have_none_of_the_first_rows_are_not_read() {
    let engine = six_files().await;
    let (one, all) = (ROWS as u64, 6 * ROWS as u64);
    for (order, first, most) in [
        ("at DESC, id", 59_999, one),
        ("at, id", 0, one),
        ("id DESC", 59_999, one),
        ("tokens DESC NULLS LAST, id", 59_999, one),
        // By what is computed nothing is known of a file.
        ("abs(id) DESC", 59_999, all),
    ] {
        let sql = format!("SELECT id FROM calls WHERE tokens >= 0 ORDER BY {order} LIMIT 3");
        let (answer, rows) = read(&engine, &sql).await;
        let told = answer.lines().nth(3).unwrap().trim_matches(['|', ' ']);
        assert_eq!(told, first.to_string(), "{order}");
        // The file behind it may have been begun.
        assert!(rows <= 2 * most && rows >= most / 10, "{order}: {rows} rows were read");
    }
    // Few rows pass, and are not gathered from several files before the first of them are looked at.
    for (condition, second, most) in
        [("model = 'm0'", 599_940, one / 3), ("model = 'm0' AND id % 5 = 0", 599_700, one / 15)]
    {
        let sql =
            format!("SELECT tokens FROM calls WHERE {condition} ORDER BY tokens DESC LIMIT 2");
        let (answer, rows) = read(&engine, &sql).await;
        assert!(answer.contains(&second.to_string()) && rows <= 2 * most, "{rows}: {answer}");
    }
    // Behind columns that are renamed.
    let sql = "SELECT number FROM (SELECT id AS number, at AS id FROM calls WHERE model = 'm0') ORDER BY id DESC LIMIT 2";
    let (answer, rows) = read(&engine, sql).await;
    assert!(
        answer.contains("59997") && answer.contains("59994") && rows <= 2 * one,
        "{rows}: {answer}"
    );
}

#[tokio::test]
async fn a_number_that_is_none_is_the_greatest_wherever_it_lies() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = r#"
        name = "scores"
        columns = [{name = "id", type = "int64"}, {name = "score", type = "float64"}]
    "#;
    let spec = DatasetSpec::from_toml(spec, "scores.toml").unwrap();
    engine.create_dataset(&who(), spec).await.unwrap();
    for (ids, scores) in [([0, 1], [f64::NAN, 1.0]), ([2, 3], [5.0, 6.0]), ([4, 5], [-1.0, 2.0])] {
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from(ids.to_vec()))),
            ("score", Arc::new(arrow::array::Float64Array::from(scores.to_vec()))),
        ];
        let rows = IngestRows::Batches(vec![RecordBatch::try_from_iter(columns).unwrap()]);
        let request = IngestRequest { rows, producer: None };
        engine.ingest(&who(), &name("scores"), request).await.unwrap();
    }
    for (order, first) in [("DESC", "0"), ("ASC", "4")] {
        let sql = format!("SELECT id FROM scores WHERE id >= 0 ORDER BY score {order} LIMIT 1");
        let (answer, _) = read(&engine, &sql).await;
        assert_eq!(answer.lines().nth(3).unwrap().trim_matches(['|', ' ']), first, "{order}");
    }
}

#[tokio::test]
async fn the_first_rows_are_those_of_the_whole_order() {
    let engine = six_files().await;
    let odd = r#"{"id":1000,"at":"2026-01-03T00:00:00.000001Z","model":null,"tokens":null}
{"id":1001,"at":"2026-01-03T00:00:00.000002Z","model":"a model whose name is longer than what a log has of it","tokens":null}
{"id":1002,"at":"2027-01-03T00:00:00.000999Z","model":"m0","tokens":7}
{"id":1003,"at":"1999-01-03T00:00:00Z","model":"","tokens":7}"#;
    let rows = IngestRequest { rows: ndjson(odd), producer: None };
    engine.ingest(&who(), &name("calls"), rows).await.unwrap();

    let orders = ["at", "tokens", "model", "id"].into_iter().flat_map(|column| {
        let ways = ["ASC", "DESC"].into_iter();
        let ways =
            ways.flat_map(|way| ["FIRST", "LAST"].map(|nulls| format!("{way} NULLS {nulls}")));
        ways.map(move |way| format!("{column} {way}, id"))
    });
    for order in orders {
        for (least, skipped, limit) in [(0, 0, 1), (0, 9, 20), (300_000, 0, 3), (599_900, 1, 15)] {
            let rows = format!("FROM calls WHERE tokens >= {least} OR tokens IS NULL");
            let few = format!("SELECT id {rows} ORDER BY {order} LIMIT {limit} OFFSET {skipped}");
            // A number for each row leaves nothing to be left out.
            let all = format!(
                "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY {order}) AS place {rows}) WHERE place > {skipped} \
                 AND place <= {skipped} + {limit} ORDER BY place"
            );
            assert_eq!(query(&engine, &few).await, query(&engine, &all).await, "{few}");
        }
    }
}

#[tokio::test]
async fn a_limit_holds_where_a_column_is_the_same_in_a_whole_file() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = r#"
        name = "calls"
        partition_by = [{column = "model"}]
        columns = [
            {name = "id", type = "int64"},
            {name = "at", type = "timestamp"},
            {name = "model", type = "text"},
            {name = "tokens", type = "int64", nullable = true},
        ]
    "#;
    let spec = DatasetSpec::from_toml(spec, "calls.toml").unwrap();
    engine.create_dataset(&who(), spec).await.unwrap();
    send(&engine, 0..30, None).await.unwrap();
    let asked = [
        ("SELECT model FROM calls", 30),
        ("SELECT model FROM calls LIMIT 1", 1),
        ("SELECT model FROM calls LIMIT 12 OFFSET 3", 12),
        ("SELECT model FROM calls OFFSET 28", 2),
        ("SELECT model FROM calls WHERE model > 'm0' LIMIT 7", 7),
        ("SELECT model FROM (SELECT model FROM calls LIMIT 2) LIMIT 5", 2),
        ("SELECT 1 FROM calls LIMIT 4", 4),
        ("(SELECT model FROM calls LIMIT 2) UNION ALL (SELECT model FROM calls LIMIT 3)", 5),
    ];
    for (sql, rows) in asked {
        let session = session(&engine).await;
        let frame = session.sql(sql).await.unwrap();
        let batches = session.collect(frame).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{sql}");
    }
}
