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
    // GROUP BY may store a row once per grouping set: column keys and computed keys alike.
    let keys = |template: &str| {
        (0..10).map(|i| template.replace('#', &i.to_string())).collect::<Vec<_>>().join(", ")
    };
    let key = "repeat(chr(97 + # + cast(value % 2 AS int)), 14000)";
    for sql in [
        format!("SELECT count(*) FROM generate_series(1, 3) GROUP BY CUBE({})", keys(key)),
        format!(
            "SELECT count(*) FROM (SELECT {} FROM generate_series(1, 3)) GROUP BY CUBE({})",
            keys(&format!("{key} AS c#")),
            keys("c#")
        ),
    ] {
        let session = session(&engine).await;
        let answered = async { session.collect(session.sql(&sql).await?).await };
        let error = answered.await.unwrap_err();
        assert!(error.to_string().contains("grouping sets, so a row may have"), "{error}");
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

/// `a` doubled by each of 30 subqueries, from a start of another type.
fn doubled_from(start: &str, expression: &str, answer: &str) -> String {
    let more: String =
        (1..=30).map(|i| format!(", c{i} AS (SELECT {expression} AS a FROM c{})", i - 1)).collect();
    format!(
        "WITH c0 AS (SELECT {start} AS a FROM generate_series(1, 3)){more} SELECT {answer} FROM c30"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_values_count_as_often_as_they_are_copied() {
    let engine = engine().await;
    let views = "arrow_cast(CAST(value AS text), 'Utf8View')";
    for sql in [
        // Views of texts.
        doubled_from(views, "a || a", "max(length(a))"),
        doubled_from(views, "concat(a, a)", "max(length(a))"),
        doubled_from("md5(CAST(value AS text))", "a || a", "max(length(a))"),
        doubled_from(views, "replace(a || a, 'x', 'yy')", "max(length(a))"),
        // The one value of a subquery, repeated for each row.
        format!(
            "SELECT {} FROM generate_series(1, 8192)",
            (0..40).map(|i| format!("(SELECT max(repeat('x', 250000 + value % 2)) FROM generate_series(1, 2)) AS c{i}")).collect::<Vec<_>>().join(", ")
        ),
        "SELECT sum(length(left((SELECT max(repeat('x', 250000 + value % 2)) FROM generate_series(1, 2)), value))) FROM generate_series(1, 8192)".to_owned(),
        // Lists of lists, with one long list.
        "SELECT count(array_repeat(range(1, CASE WHEN value = 1 THEN 1000000 ELSE 1 END), CASE WHEN value = 1 THEN 2000 ELSE 0 END)) FROM generate_series(1, 8192)".to_owned(),
        "SELECT cardinality(array_repeat(arrow_cast(1, 'Int8'), 250000000))".to_owned(),
        "SELECT length(array_to_string([range(1, 200000)], repeat(',', 10000)))".to_owned(),
        "SELECT cardinality(flatten(array_replace_all(array_repeat([1], 200), [1], range(1, 1000000))))".to_owned(),
        // Many short replacements.
        "SELECT length(regexp_replace(repeat('x', 30000000), 'x', repeat('y', 64), 'g'))".to_owned(),
        format!("SELECT length(regexp_replace(repeat('x', 30000000), '(.*)', '{}'))", "\\1".repeat(32)),
        // Constants that are each below the bound.
        format!("SELECT {}", (1..=40).map(|i| format!("length(repeat('x', {})) AS c{i}", 200_000_000 + i)).collect::<Vec<_>>().join(", ")),
        // Types that double.
        doubled_from("value", "named_struct('a', a, 'b', a)", "count(a)"),
        doubled_from("value", "struct(a, a)", "count(a)"),
        doubled_from("value", "{'a': a, 'b': a}", "count(a)"),
        doubled_from("[value]", "arrays_zip(a, a)", "count(a)"),
        doubled_from("value", "MAP([a], [a])", "count(a)"),
        // Lists of empty lists, and nulls of a fixed length.
        "SELECT cardinality(array_replace_all(array_repeat(e, 2000 + value - value), e, range(1, 1000000 + value - value))) FROM (SELECT value, arrow_cast(make_array(), 'List(Int64)') AS e FROM generate_series(1, 2))".to_owned(),
        "SELECT cardinality(arrays_zip(range(1, 1000000 + value), arrow_cast([[1]], 'List(FixedSizeList(1, Int64))'), array_repeat(arrow_cast(NULL, 'FixedSizeBinary(4000)'), 1))) FROM generate_series(1, 3)".to_owned(),
        "SELECT cardinality(array_resize(array_repeat(arrow_cast(NULL, 'FixedSizeBinary(4000)'), 1), 1000000))".to_owned(),
        // Types within types.
        format!("SELECT arrow_cast(NULL, '{}Int64{}')", "List(".repeat(40_000), ")".repeat(40_000)),
        doubled_from("value", "[[[a]]]", "count(a)"),
        doubled_from("value", "{'a': {'a': {'a': a}}}", "count(a)"),
        // Windows that keep their rows, or their results.
        format!(
            "SELECT {} FROM generate_series(1, 60000) t(i)",
            (0..120).map(|n| format!("stddev(i) OVER (ORDER BY i ROWS {} PRECEDING) AS c{n}", 50_000 + n)).collect::<Vec<_>>().join(", ")
        ),
        "SELECT array_agg(value) OVER (PARTITION BY value % 100 ORDER BY value ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) FROM generate_series(1, 200000)".to_owned(),
        "SELECT first_value(t) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM (SELECT value AS i, CASE WHEN value = 1 THEN repeat('x', 1000000) ELSE 'y' END AS t FROM generate_series(1, 100000))".to_owned(),
        "SELECT lag(t, 1, repeat('x', 30000)) OVER (PARTITION BY i ORDER BY i) FROM (SELECT value AS i, CAST(value AS text) AS t FROM generate_series(1, 100000))".to_owned(),
    ] {
        refused(&engine, &sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_high_bound_refuses_no_short_result() {
    let engine = engine().await;
    // A letter in capitals may take three bytes, and a pattern may match everywhere.
    let texts = "(SELECT repeat('x', 4000) AS t FROM generate_series(1, 8192))";
    for (sql, expected) in [
        (format!("SELECT sum(length(upper(t))) FROM {texts}"), 4_000 * 8_192),
        (
            format!("SELECT sum(length(regexp_replace(t, 'y', 'a longer replacement', 'g'))) FROM {texts}"),
            4_000 * 8_192,
        ),
        (
            format!("SELECT sum(length(concat_ws(', ', t, 'a', 'b', 'c'))) FROM {texts}"),
            4_009 * 8_192,
        ),
        (
            "SELECT CAST(count(*) AS bigint) FROM generate_series(1, 10) WHERE CAST(value AS text) = (SELECT repeat('x', 1000000 + value) FROM generate_series(1, 1))".to_owned(),
            0,
        ),
        (
            "SELECT sum(length(CAST(arrow_cast(t, 'Utf8View') AS text))) FROM (SELECT repeat('x', 100) AS t FROM generate_series(1, 1000))".to_owned(),
            100_000,
        ),
        ("SELECT CAST(length(CAST([1, 2] AS text)) AS bigint)".to_owned(), 6),
        // Keys of a dictionary, a few rows at a time.
        (
            "SELECT sum(length(CAST(d AS text)) + length(arrow_cast(d, 'Utf8'))) FROM (SELECT arrow_cast(t, 'Dictionary(Int32, Utf8)') AS d FROM (SELECT repeat('x', 200000 + n % 2) AS t FROM (SELECT count(*) AS n FROM generate_series(1, 3)))) CROSS JOIN generate_series(1, 1000)".to_owned(),
            2 * 1_000 * 200_001,
        ),
        ("SELECT CAST(MAP {'a': 1, 'b': 2}['b'] AS bigint)".to_owned(), 2),
        ("SELECT CAST({'a': 1, 'b': 2}['b'] AS bigint)".to_owned(), 2),
        ("SELECT CAST(length((SELECT max(t) FROM (VALUES ('ab'), ('abc')) v(t))) AS bigint)".to_owned(), 3),
        ("SELECT CAST(lag(t, 1, 'none') OVER (ORDER BY t) = 'none' AS bigint) FROM (VALUES ('a')) v(t)".to_owned(), 1),
    ] {
        let sql = format!("SELECT CAST(({sql}) AS bigint)");
        assert_eq!(number(&engine, &sql).await, expected, "{sql}");
    }
}

/// All rows of a batch are unnested at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_with_lists_are_unnested_a_few_at_a_time() {
    let engine = engine().await;
    let sql = "SELECT CAST(sum(length(t)) AS bigint) FROM (SELECT repeat('x', 2000 + value % 2) AS t, unnest(range(0, 500)) FROM generate_series(1, 4000))";
    assert_eq!(number(&engine, sql).await, 500 * (2_000 * 4_000 + 2_000));
}

/// Operators copy values that rows share before they reserve memory for the copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_get_few_rows_that_share_long_values() {
    let options = EngineOptions { spill_budget_bytes: 256 << 20, ..options("memory:") };
    let engine = Engine::open(options).await.unwrap();
    for of in ["Utf8View", "Dictionary(Int32, Utf8)"] {
        let rows = format!(
            "(SELECT arrow_cast(t, '{of}') AS v FROM (SELECT repeat('x', 1000000 + n % 2) AS t FROM (SELECT count(*) AS n FROM generate_series(1, 3)))) a, generate_series(1, 100000) b(i)"
        );
        for sql in [
            format!("SELECT sum(length(v)) FROM (SELECT * FROM {rows} ORDER BY v, i LIMIT 100000)"),
            format!("SELECT length(string_agg(v, ',')) FROM {rows}"),
            format!("SELECT count(*) FROM (SELECT i, v FROM {rows} GROUP BY i, v)"),
            format!("SELECT sum(length(v)) FROM (SELECT i, min(v) AS v FROM {rows} GROUP BY i)"),
        ] {
            refused(&engine, &sql).await;
        }
    }
}

/// Long rows are coalesced into batches of limited size, and short rows into few batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coalesced_batches_are_bounded_in_bytes() {
    let engine = engine().await;
    let session = session(&engine).await;
    let long = "SELECT * FROM (SELECT repeat('x', 1000000 + n % 2) AS t FROM (SELECT count(*) AS n FROM generate_series(1, 3))) a, generate_series(1, 400) b(i) WHERE random() >= 0";
    let short = "SELECT * FROM (SELECT CAST(value AS text) AS t FROM generate_series(1, 100000)) WHERE right(t, 2) = '00'";
    for (sql, rows, max_rows, max_batches) in
        [(long, 400, 100, usize::MAX), (short, 1_000, usize::MAX, 4)]
    {
        let batches = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{sql}");
        assert!(batches.iter().all(|batch| batch.num_rows() <= max_rows), "{sql}");
        assert!(batches.len() <= max_batches, "{} batches: {sql}", batches.len());
    }
}

/// Functions return plain text, which costs as much memory as it is long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_are_sorted_and_grouped_in_little_memory() {
    let options = EngineOptions { memory_budget_bytes: 300 << 20, ..options("memory:") };
    let engine = Engine::open(options).await.unwrap();
    let hashes = "(SELECT value % 100000 AS p, md5(CAST(value AS text)) AS t FROM generate_series(1, 200000))";
    for (sql, expected) in [
        (
            format!(
                "SELECT CAST(count(*) AS bigint) FROM (SELECT t, row_number() OVER (ORDER BY t DESC) AS n FROM {hashes}) WHERE n > 0"
            ),
            200_000,
        ),
        (format!("SELECT CAST(count(DISTINCT t) AS bigint) FROM {hashes}"), 200_000),
        (
            format!("SELECT CAST(count(*) AS bigint) FROM (SELECT DISTINCT t, p FROM {hashes})"),
            200_000,
        ),
        (
            format!(
                "SELECT CAST(count(*) AS bigint) FROM (SELECT t, max(p) FROM {hashes} GROUP BY 1)"
            ),
            200_000,
        ),
    ] {
        assert_eq!(number(&engine, &sql).await, expected, "{sql}");
    }
}
