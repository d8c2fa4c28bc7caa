//! What queries may say, and what they are told.

use super::*;
use crate::Code;

async fn refused(sql: &str) -> crate::Error {
    let engine = engine().await;
    match session(&engine).await.sql(sql).await {
        Ok(_) => panic!("{sql} was taken"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn only_queries_are_taken() {
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW v AS SELECT 1",
        "INSERT INTO calls SELECT * FROM calls",
        "DELETE FROM calls",
        "UPDATE calls SET id = 1",
        "DROP TABLE calls",
        "COPY calls TO '/tmp/x.csv'",
        "EXPLAIN ANALYZE INSERT INTO calls SELECT * FROM calls",
        "SET datafusion.execution.batch_size = 1",
        "BEGIN",
        "SELECT 1; DROP TABLE calls",
        "SELECT * INTO x FROM calls",
        "PREPARE p AS SELECT 1",
        "TRUNCATE calls",
    ] {
        let error = refused(sql).await;
        assert_eq!(error.code(), Code::BadInput, "{sql}: {error}");
        assert!(!error.to_string().contains("/tmp"), "{error}");
    }
}

#[tokio::test]
async fn questions_about_datasets_are_queries_too() {
    let engine = engine().await;
    let tables = query(&engine, "SHOW TABLES").await;
    assert!(tables.contains("calls"), "{tables}");
    let columns = query(&engine, "DESCRIBE calls").await;
    assert!(columns.contains("at_month"), "{columns}");
    let plan = query(&engine, "EXPLAIN SELECT id FROM calls WHERE id = 1").await;
    assert!(plan.contains("calls"), "{plan}");
    let with = "WITH c AS (SELECT count(*) AS n FROM calls) SELECT n FROM c";
    assert_eq!(number(&engine, with).await, 0);
    let quoted = "SELECT count(*) FROM colonnade.datasets.calls";
    assert_eq!(number(&engine, quoted).await, 0);
}

#[tokio::test]
async fn mistakes_are_told_with_what_was_meant() {
    let column = refused("SELECT tokans FROM calls").await;
    assert_eq!(column.code(), Code::BadInput, "{column}");
    assert_eq!(column.to_string(), "there is no column \"tokans\"; did you mean tokens?");
    let dataset = refused("SELECT * FROM cals").await;
    assert_eq!(dataset.code(), Code::NotFound);
    assert_eq!(dataset.to_string(), "dataset cals does not exist; did you mean calls?");
    let dataset = refused("WITH x AS (SELECT 1) SELECT * FROM x, cals").await;
    assert_eq!(dataset.code(), Code::NotFound, "{dataset}");
    let syntax = refused("SELECT id FROM calls )").await;
    assert_eq!(syntax.code(), Code::BadInput);
    assert!(syntax.to_string().starts_with("SQL: "), "{syntax}");
    assert!(syntax.to_string().contains("Line: 1, Column:"), "{syntax}");
    let long = refused(&format!("SELECT '{}'", "x".repeat(2 << 20))).await;
    assert_eq!(long.code(), Code::LimitExceeded);
}

#[tokio::test]
async fn filters_reach_the_files() {
    let engine = engine().await;
    for ids in [0..10, 40..50, 70..80] {
        send(&engine, ids, None).await.unwrap();
    }
    let plan = |sql: &'static str| {
        let engine = engine.clone();
        async move {
            let session = session(&engine).await;
            let frame = session.sql(sql).await.unwrap();
            let plan = frame.create_physical_plan().await.unwrap();
            datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string()
        }
    };
    let files = |plan: &str| plan.matches(".parquet").count();
    let all = plan("SELECT id FROM calls").await;
    assert_eq!(files(&all), 3, "{all}");
    let partition = plan("SELECT id FROM calls WHERE at_month = DATE '2026-02-01'").await;
    assert_eq!(files(&partition), 1, "{partition}");
    let statistics = plan("SELECT id FROM calls WHERE id > 60").await;
    assert_eq!(files(&statistics), 1, "{statistics}");
    assert!(statistics.contains("predicate="), "{statistics}");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE id >= 45 AND id < 75").await, 10);
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_is_told_so() {
    let mut options = options("memory:");
    options.memory_budget_bytes = 1 << 20;
    options.spill_budget_bytes = 0;
    let engine = Engine::open(options).await.unwrap();
    let session = engine.session(&who(), &[]).await.unwrap();
    let sql = "SELECT value, count(*) FROM generate_series(1, 2000000) GROUP BY value ORDER BY 2";
    let frame = session.sql(sql).await.unwrap();
    let error = session.collect(frame).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourcesExhausted, "{}", error.detail());
}
