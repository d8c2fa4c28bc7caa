//! Invalid queries: each error is written in terms of SQL, and none contains Rust's debug format.

use super::*;
use crate::Code;

/// Forms in which Rust, DataFusion and Arrow print types, values, columns and syntax.
const RUST_FORMS: [&str; 32] = [
    "Utf8",
    "Int64",
    "Int32",
    "Float64",
    "Boolean",
    "UInt64",
    "Date32",
    "MonthDayNano",
    "Some(",
    "None",
    "Ident",
    "Span",
    "Location(",
    "Column {",
    "Field {",
    "Expr::",
    "LogicalPlan",
    "::",
    " { ",
    "([",
    "DataFusion",
    "sqltorel",
    "Internal error",
    "not implemented",
    "Error during planning",
    "Execution error",
    "AsOf",
    "OuterReference",
    "ScalarSubquery",
    "Candidate functions",
    "failed to match any",
    "type_coercion",
];

const QUERIES: &[&str] = &[
    "SELECT * FROM calls a ASOF JOIN calls b MATCH_CONDITION (a.at >= b.at) ON a.id = b.id",
    "SELECT * FROM calls CROSS APPLY (SELECT 1) x",
    "SELECT * FROM calls PIVOT (sum(tokens) FOR model IN ('a', 'b'))",
    "SELECT * FROM calls UNPIVOT (x FOR y IN (id, tokens))",
    "SELECT * FROM calls MATCH_RECOGNIZE (PARTITION BY id ORDER BY at PATTERN (a b) DEFINE a AS tokens > 1)",
    "SELECT * FROM calls a, LATERAL (SELECT * FROM calls b WHERE b.id = a.id LIMIT 1) x",
    "SELECT (SELECT model FROM calls b WHERE b.id = a.id) FROM calls a",
    "SELECT (SELECT model FROM calls b WHERE b.id = a.id LIMIT 1) FROM calls a",
    "SELECT (SELECT max(model) FROM calls b WHERE b.id < a.id) FROM calls a",
    "SELECT id FROM calls a WHERE id > (SELECT count(*) FROM calls b WHERE b.at < a.at)",
    "SELECT EXISTS (SELECT 1 FROM calls b WHERE b.id = a.id) FROM calls a",
    "SELECT id IN (SELECT id FROM calls b WHERE b.at < a.at) FROM calls a",
    "SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM calls b WHERE b.id = a.id)) FROM calls a",
    "SELECT sum((SELECT max(id) FROM calls b WHERE b.id = a.id)) FROM calls a",
    "SELECT id FROM calls a ORDER BY (SELECT max(id) FROM calls b WHERE b.id = a.id)",
    "SELECT TOP 5 * FROM calls",
    "SELECT * FROM calls FETCH FIRST 5 ROWS ONLY",
    "SELECT * FROM calls TABLESAMPLE (10 PERCENT)",
    "SELECT TIMESTAMP '2026-03-29 02:30:00' AT TIME ZONE 'Europe/Berlin'",
    "SELECT array_product([[1], [2]])",
    "SELECT array_add([[1], [2]], [[1], [2]])",
    "SELECT arrow_cast('k' || (value % 300), 'Dictionary(Int8, Utf8)') FROM generate_series(1, 2000)",
    "SELECT btrim(repeat('x', 10000), repeat('a', 10000))",
    "SELECT cardinality(array_distinct(range(value, 2000000 + value))) FROM generate_series(1, 3)",
    "SELECT array_to_string(array_repeat(range(1, 1000), 2000), ',')",
    "SELECT id AT TIME ZONE 5 FROM calls",
    "SELECT at AT TIME ZONE model FROM calls",
    "SELECT at AT TIME ZONE 'Asia/Nowhere' FROM calls",
    "SELECT model COLLATE \"de\" FROM calls",
    "SELECT CAST(id AS MONEY) FROM calls",
    "SELECT CAST(id AS UUID) FROM calls",
    "SELECT CAST(id AS DOUBLE(3)) FROM calls",
    "SELECT try_cast('a' AS nosuchtype)",
    "SELECT INTERVAL 'abc'",
    "SELECT DATE 'abc'",
    "SELECT TIMESTAMP 'abc'",
    "SELECT CAST('abc' AS INT)",
    "SELECT id FROM calls WHERE at > 'abc'",
    "SELECT model + id FROM calls",
    "SELECT -model FROM calls",
    "SELECT NOT id FROM calls",
    "SELECT id AND model FROM calls",
    "SELECT abs(model) FROM calls",
    "SELECT abs() FROM calls",
    "SELECT abs(1, 2, 3) FROM calls",
    "SELECT nosuch(id) FROM calls",
    "SELECT sum(model) FROM calls",
    "SELECT sum(id, id) FROM calls",
    "SELECT avg(at) FROM calls",
    "SELECT date_trunc('day', id) FROM calls",
    "SELECT date_trunc('fortnight', at) FROM calls",
    "SELECT date_trunc(model, at) FROM calls",
    "SELECT date_part('foo', at) FROM calls",
    "SELECT date_bin('1 day', id) FROM calls",
    "SELECT date_bin('1 month 2 days', at) FROM calls",
    "SELECT date_bin('0 days', at) FROM calls",
    "SELECT date_bin(5, at) FROM calls",
    "SELECT nth_value(id) OVER () FROM calls",
    "SELECT row_number() FROM calls",
    "SELECT lag(id, 'x') OVER (ORDER BY id) FROM calls",
    "SELECT ntile(model) OVER (ORDER BY id) FROM calls",
    "SELECT ntile(0) OVER (ORDER BY id) FROM calls",
    "SELECT sum(id) OVER (ORDER BY id RANGE BETWEEN 'x' PRECEDING AND CURRENT ROW) FROM calls",
    "SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN 1 FOLLOWING AND 1 PRECEDING) FROM calls",
    "SELECT row_number() OVER w FROM calls",
    "SELECT id FROM calls GROUP BY model",
    "SELECT id, count(*) FROM calls",
    "SELECT sum(sum(id)) FROM calls",
    "SELECT id FROM calls WHERE sum(id) > 1",
    "SELECT id FROM calls ORDER BY nosuch",
    "SELECT id FROM calls ORDER BY 5",
    "SELECT id FROM calls GROUP BY 5",
    "SELECT nosuch FROM calls",
    "SELECT x.id FROM calls",
    "SELECT id FROM calls a JOIN calls b ON a.id = b.id",
    "SELECT * FROM calls a JOIN calls b USING (nosuch)",
    "SELECT id FROM calls UNION SELECT id, model FROM calls",
    "SELECT id FROM calls UNION SELECT at FROM calls",
    "SELECT id, id FROM calls",
    "SELECT id BETWEEN 'a' AND 5 FROM calls",
    "SELECT id IN ('a', 5) FROM calls",
    "SELECT id LIKE 'a' FROM calls",
    "SELECT [1, 'a']",
    "SELECT [1, 2]['a']",
    "SELECT {'a': 1}.b",
    "SELECT map([1], [2, 3])",
    "SELECT struct(1)['nosuch']",
    "SELECT unnest(5)",
    "SELECT unnest(id) FROM calls",
    "SELECT id FROM calls WHERE unnest([1]) = 1",
    "SELECT * FROM unnest([1, 2]) WITH ORDINALITY",
    "SELECT * FROM generate_series(1, 'a')",
    "SELECT * FROM generate_series('a')",
    "SELECT * FROM generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02')",
    "SELECT * FROM generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '0 days')",
    "SELECT * FROM nosuchf(1)",
    "SELECT * FROM nosuch",
    "SELECT * FROM calls AS x (a, b, c, d, e, f, g, h)",
    "SELECT $1",
    "SELECT ?",
    "SELECT @x",
    "SELECT 1 WHERE 1",
    "SELECT * FROM calls WHERE model",
    "SELECT * FROM calls LIMIT -1",
    "SELECT * FROM calls LIMIT 'a'",
    "SELECT * FROM calls LIMIT id",
    "SELECT * FROM calls OFFSET -1",
    "SELECT DISTINCT ON (id) id, tokens FROM calls ORDER BY tokens",
    "SELECT percentile_cont(2) WITHIN GROUP (ORDER BY tokens) FROM calls",
    "SELECT approx_percentile_cont(tokens, 'a') FROM calls",
    "SELECT string_agg(model, id) FROM calls",
    "SELECT array_agg(DISTINCT id ORDER BY tokens) FROM calls",
    "WITH c AS (SELECT 1), c AS (SELECT 2) SELECT * FROM c",
    "SELECT regexp_like(model, '(') FROM calls",
    "SELECT to_timestamp(true)",
    "SELECT to_timestamp('abc')",
    "SELECT to_timestamp('2026-01-01', '%d.%m.%Y')",
    "SELECT to_timestamp(CAST('NaN' AS DOUBLE))",
    "SELECT to_date('abc')",
    "SELECT make_date(2020, 13, 1)",
    "SELECT chr(-1)",
    "SELECT ascii(5)",
    "SELECT repeat('a', 'b')",
    "SELECT encode('a', 'rot13')",
    "SELECT decode('zz', 'hex')",
    "SELECT substring('a' FROM 'b')",
    "SELECT overlay('a' PLACING 'b' FROM 'c')",
    "SELECT trim(1)",
    "SELECT 1 / 0",
    "SELECT 9223372036854775807 + 1",
    "SELECT grouping(id) FROM calls",
    "SELECT * EXCEPT (nosuch) FROM calls",
    "SELECT t.* FROM calls",
    "SELECT median(id) FROM calls GROUP BY ()",
    "VALUES (1), (1, 2)",
    "VALUES (1), ('a')",
    "SELECT id::regclass FROM calls",
    "SELECT x'zz'",
    "SELECT b'01'",
    "SELECT at + at FROM calls",
    "SELECT at + 1 FROM calls",
    "SELECT interval '1 day' * 'a'",
    "SELECT date '2020-01-01' + 'a'",
    "SELECT true + 1",
    "SELECT [1] + 1",
    "SELECT [1] = 1",
    "SELECT struct(1) = 2",
    "SELECT id @> 1 FROM calls",
    "SELECT id & model FROM calls",
    "SELECT (SELECT id, model FROM calls) FROM calls",
    "SELECT (id, model) IN (SELECT id, model FROM calls) FROM calls",
    "SELECT a.b.c.d FROM calls",
    "SELECT id FROM a.b.c.d",
    "SELECT array_resize([1], -1)",
    "SELECT rolling_mean(tokens, 0) OVER (ORDER BY id) FROM calls",
    "SELECT FROM WHERE",
    "SELECT 1 +",
    "SELEC 1",
];

async fn told(session: &Session, sql: &str) -> crate::Error {
    match session.sql(sql).await {
        Err(error) => error,
        Ok(frame) => match session.collect(frame).await {
            Err(error) => error,
            Ok(rows) => panic!("{sql}: it succeeds: {}", table(&rows)),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_contains_rusts_debug_format() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    let session = session(&engine).await;
    let (mut problems, show) = (Vec::new(), std::env::var_os("SHOW_ERRORS").is_some());
    for sql in QUERIES {
        let error = told(&session, sql).await;
        let says = error.to_string();
        if show {
            println!("{sql}\n    {}: {says}", error.code());
        }
        let form = RUST_FORMS.iter().find(|form| says.contains(**form));
        if error.code() == Code::Internal || form.is_some() || says.trim().is_empty() {
            problems.push(format!("{sql}\n    {}: {says}   [{form:?}]", error.code()));
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test]
async fn errors_name_unsupported_syntax_its_position_and_the_alternative() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    let session = session(&engine).await;
    for (sql, place, says) in [
        (
            "SELECT *\nFROM calls a ASOF JOIN calls b MATCH_CONDITION (a.at >= b.at) ON a.id = b.id",
            "line 2, column ",
            "ASOF JOIN is not supported; join all earlier rows",
        ),
        (
            "SELECT * FROM calls a ASOF JOIN calls b ON a.id = b.id AND b.at <= a.at",
            "line 1, column 23: ",
            "ASOF JOIN is not supported; join all earlier rows",
        ),
        (
            "SELECT *\nFROM calls a ASOF LEFT JOIN calls b USING (id, at)",
            "line 2, column 14: ",
            "ASOF JOIN is not supported; join all earlier rows",
        ),
        (
            "SELECT a.id,\n  (SELECT model FROM calls b WHERE b.id < a.id LIMIT 1)\nFROM calls a",
            "line 2, column ",
            "a subquery that refers to the query around it is not supported here",
        ),
        (
            "SELECT * FROM calls PIVOT (sum(tokens) FOR model IN ('a'))",
            "line 1, column ",
            "FILTER (WHERE",
        ),
        ("SELECT * FROM calls TABLESAMPLE (10 PERCENT)", "", "TABLESAMPLE is not known here"),
        ("SELECT x.id FROM calls", "", "there is no column \"x.id\"; did you mean calls.id?"),
        (
            "SELECT id FROM calls ORDER BY nothing_like_it",
            "",
            "columns are id, at, model, tokens, at_month",
        ),
        (
            "SELECT abs(model) FROM calls",
            "",
            "abs takes no such arguments: found abs(text); expected abs(number)",
        ),
        (
            "SELECT id FROM calls GROUP BY model",
            "",
            "calls.id must be in GROUP BY, or in an aggregate such as max(calls.id)",
        ),
    ] {
        let error = told(&session, sql).await.to_string();
        assert!(error.contains(place) && error.contains(says), "{sql}: {error}");
    }
}

/// The suggested alternatives work.
#[tokio::test]
async fn suggested_alternatives_work() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    for sql in [
        "SELECT * FROM (SELECT a.id, b.model, row_number() OVER (PARTITION BY a.id ORDER BY b.at DESC) AS newest
         FROM calls a LEFT JOIN calls b ON b.id = a.id AND b.at <= a.at) WHERE newest = 1",
        "SELECT (SELECT first_value(b.model ORDER BY b.at DESC) FROM calls b WHERE b.id = a.id) FROM calls a",
        "SELECT (SELECT count(*) > 0 FROM calls b WHERE b.id = a.id) FROM calls a",
        "SELECT (SELECT max(b.model) FROM calls b WHERE b.id = a.id) FROM calls a",
        "SELECT sum(tokens) FILTER (WHERE model = 'm1') AS m1 FROM calls",
        "SELECT id FROM calls a WHERE EXISTS (SELECT 1 FROM calls b WHERE b.id = a.id)",
        "SELECT id FROM calls a WHERE id IN (SELECT id FROM calls b WHERE b.model = a.model)",
    ] {
        let session = session(&engine).await;
        let frame = session.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = session.collect(frame).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() > 0, "{sql}");
    }
}
