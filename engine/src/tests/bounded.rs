//! Limits on what a query allocates: each function of a session has a bound, and long results count against the query's memory.

use std::collections::BTreeSet;

use super::*;
use crate::Code;
use crate::functions::has_bound;

#[tokio::test]
async fn every_function_of_a_session_has_a_bound() {
    let engine = engine().await;
    let session = session(&engine).await;
    let state = session.context().state();
    let scalar = state.scalar_functions().values().map(|of| ("scalar", of.name().to_owned()));
    let aggregate =
        state.aggregate_functions().values().map(|of| ("aggregate", of.name().to_owned()));
    let window = state.window_functions().values().map(|of| ("window", of.name().to_owned()));
    let table = state.table_functions().keys().map(|name| ("table", name.clone()));
    let of_lists =
        state.higher_order_functions().values().map(|of| ("higher-order", of.name().to_owned()));
    let all: BTreeSet<_> =
        scalar.chain(aggregate).chain(window).chain(table).chain(of_lists).collect();
    let without: Vec<_> = all.iter().filter(|(kind, name)| !has_bound(kind, name)).collect();
    assert!(
        without.is_empty(),
        "functions without a bound in engine/src/functions/bounds.rs: {without:?}"
    );
    assert!(all.len() > 200, "{}", all.len());
    // They include all functions that information_schema lists.
    let listed = "SELECT DISTINCT routine_name, function_type FROM information_schema.routines";
    let batches = session.collect(session.sql(listed).await.unwrap()).await.unwrap();
    for batch in batches {
        let names = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let kinds = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        for (name, kind) in names.iter().zip(kinds) {
            let (name, kind) = (name.unwrap(), kind.unwrap().to_lowercase());
            let is_alias = state.scalar_functions().get(name).is_some_and(|of| of.name() != name)
                || state.aggregate_functions().get(name).is_some_and(|of| of.name() != name)
                || state.window_functions().get(name).is_some_and(|of| of.name() != name);
            assert!(is_alias || has_bound(&kind, name), "{kind} {name}");
        }
    }
}

fn doubled(expression: &str, times: usize) -> String {
    let more: String = (1..=times)
        .map(|i| format!(", c{i} AS (SELECT {} AS a FROM c{})", expression, i - 1))
        .collect();
    format!("WITH c0 AS (SELECT 'x' AS a){more} SELECT CAST(length(a) AS bigint) FROM c{times}")
}

async fn refused(engine: &Engine, sql: &str) {
    let session = session(engine).await;
    let answered = async { session.collect(session.sql(sql).await?).await };
    match answered.await {
        Ok(_) => panic!("{sql}: was answered"),
        Err(error) => assert!(
            matches!(error.code(), Code::LimitExceeded | Code::ResourcesExhausted),
            "{sql}: {} {error}",
            error.code().as_str()
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_keeps_growing_is_refused() {
    let engine = engine().await;
    for sql in [
        doubled("a || a", 30),
        doubled("a || a", 39),
        doubled("concat(a, a)", 30),
        doubled("concat_ws('', a, a)", 30),
        doubled("encode(a::bytea, 'hex')", 34),
        doubled("replace(a, 'x', 'xx')", 30),
        doubled("overlay(a placing a from 1 for 0)", 30),
        doubled("array_to_string([a, a], '')", 30),
        doubled("translate(a || a, 'y', 'z')", 30),
        doubled("to_char(now(), a || a)", 30),
        // Columns instead of constants.
        "WITH c AS (SELECT repeat('x', 100000) || CAST(value AS text) AS a FROM generate_series(1, 8000)) SELECT sum(length(a || a || a)) FROM c".to_owned(),
        "SELECT array_agg(value) OVER (ORDER BY value) FROM generate_series(1, 100000)".to_owned(),
        "SELECT string_agg(CAST(value AS text), ',') OVER (ORDER BY value) FROM generate_series(1, 100000)".to_owned(),
        "SELECT length(array_to_string(array_agg(repeat('x', 10000)), '')) FROM generate_series(1, 100000)".to_owned(),
        "SELECT length(string_agg(repeat('x', 10000), '')) FROM generate_series(1, 100000)".to_owned(),
        "SELECT sum(length(a.t || '')) FROM (SELECT repeat('x', 10000000) AS t) a JOIN generate_series(1, 100000) b ON a.t <> CAST(b.value AS text)".to_owned(),
        "SELECT sum(length(t)) FROM (SELECT repeat('x', 10000000) AS t, unnest(range(1, 1000000)))".to_owned(),
        "SELECT cardinality(range(TIMESTAMP '1900-01-01', TIMESTAMP '2100-01-01', INTERVAL '1 microsecond'))".to_owned(),
        "SELECT array_replace_all(range(1, 1000000), 1, 2), array_repeat(repeat('x', 1000), 1000000)".to_owned(),
        "SELECT arrow_cast(NULL, 'FixedSizeBinary(1000000000)') FROM generate_series(1, 100)".to_owned(),
        format!("SELECT {}", (0..200).map(|i| format!("repeat('x', 20000 + value % 2) AS c{i}")).collect::<Vec<_>>().join(", ") + " FROM generate_series(1, 10000)"),
    ] {
        refused(&engine, &sql).await;
    }
    // Usual queries still work.
    assert_eq!(
        number(&engine, "SELECT CAST(length('a' || 'bc' || CAST(1 AS text)) AS bigint)").await,
        4
    );
    let null = query(&engine, "SELECT 'a' || NULL AS x, concat('a', NULL) AS y").await;
    assert!(null.contains("|   | a |"), "{null}");
    assert_eq!(number(&engine, &doubled("a || a", 20)).await, 1 << 20);
    let crossed = "SELECT CAST(sum(length(a.t)) AS bigint) FROM (SELECT repeat('x', 1000000) AS t) a CROSS JOIN generate_series(1, 3000) b";
    assert_eq!(number(&engine, crossed).await, 3_000_000_000);
}
