//! Queries that compute for minutes stop soon after their client leaves, in every operator.

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};

use super::*;
use crate::{Threads, Urgency};

/// Time after which the client leaves, unless `COLONNADE_CUT_MS` sets another.
const CUT_AFTER_MS: u64 = 60;
/// Longest time that its tasks may run after that.
const GONE_AFTER: Duration = Duration::from_secs(2);

const A: &str = "generate_series(1, 1000000) AS a(v)";
const B: &str = "generate_series(1, 1000000) AS b(v)";

const PATTERN: &str = "'((a|b)*c(a|b){1,30}){1,30}$'";
/// Texts that take milliseconds to match with the pattern.
const TEXTS: &str =
    "(SELECT value AS n, repeat('ab', 500 + value % 2) AS t FROM generate_series(1, 1000000000))";

/// One query for each operator that can run for long.
fn long_queries() -> Vec<(&'static str, String)> {
    let keyed = |name: &str, keys: u64| {
        format!(
            "(SELECT value AS v, value % {keys} AS k FROM generate_series(1, 1000000)) AS {name}"
        )
    };
    let (x, y) = (keyed("x", 2), keyed("y", 2));
    let crossed = format!("SELECT a.v * b.v % 1000 AS m, a.v AS v FROM {A}, {B}");
    vec![
        ("cross join", format!("SELECT sum(a.v * b.v % 7) FROM {A}, {B}")),
        ("join on a range", format!("SELECT count(*) FROM {A} JOIN {B} ON a.v < b.v")),
        (
            "join on a range that drops all pairs",
            format!("SELECT count(*) FROM {A} JOIN {B} ON a.v + b.v < 0"),
        ),
        (
            "left join on a range",
            format!("SELECT count(b.v) FROM {A} LEFT JOIN {B} ON a.v + b.v < 0"),
        ),
        (
            "full join on a range",
            format!("SELECT count(b.v) FROM {A} FULL JOIN {B} ON a.v + b.v < 0"),
        ),
        (
            "semi join on a range",
            format!("SELECT count(*) FROM {A} WHERE EXISTS (SELECT 1 FROM {B} WHERE a.v + b.v < 0)"),
        ),
        (
            "anti join on a range",
            format!(
                "SELECT count(*) FROM {A} WHERE NOT EXISTS (SELECT 1 FROM {B} WHERE a.v + b.v < 0)"
            ),
        ),
        ("join on few keys", format!("SELECT count(*) FROM {x} JOIN {y} ON x.k = y.k")),
        (
            "join on few keys that drops all pairs",
            format!("SELECT count(*) FROM {x} JOIN {y} ON x.k = y.k AND x.v + y.v < 0"),
        ),
        (
            "left join on few keys",
            format!("SELECT count(y.v) FROM {x} LEFT JOIN {y} ON x.k = y.k AND x.v + y.v < 0"),
        ),
        (
            "semi join on few keys",
            format!("SELECT sum(x.v) FROM {x} WHERE x.k IN (SELECT k FROM {y} WHERE v > 0)"),
        ),
        (
            "anti join on few keys",
            format!(
                "SELECT sum(x.v) FROM {x} WHERE NOT EXISTS (SELECT 1 FROM {y} WHERE x.k = y.k AND x.v + y.v < 0)"
            ),
        ),
        (
            "mark join on few keys",
            format!("SELECT sum(x.v) FROM {x} WHERE x.k IN (SELECT k FROM {y}) OR x.v < 0"),
        ),
        (
            "unnest",
            "SELECT sum(u) FROM (SELECT unnest(range(1, 1000)) AS u FROM generate_series(1, 1000000000))"
                .to_owned(),
        ),
        (
            "recursion",
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i % 1000 FROM n) SELECT count(*) FROM n"
                .to_owned(),
        ),
        ("groups", format!("SELECT m, count(*) FROM ({crossed}) GROUP BY m")),
        ("distinct", format!("SELECT count(DISTINCT m) FROM ({crossed})")),
        ("distinct rows", format!("SELECT DISTINCT m FROM ({crossed})")),
        ("grouping sets", format!("SELECT m, v % 3, count(*) FROM ({crossed}) GROUP BY CUBE (m, v % 3)")),
        ("the first of an order", format!("SELECT m, v FROM ({crossed}) ORDER BY m, v LIMIT 10")),
        ("sort", format!("SELECT m, v FROM ({crossed}) ORDER BY m, v")),
        ("union", format!("SELECT sum(m) FROM ({crossed} UNION ALL {crossed})")),
        (
            "filter",
            "SELECT count(*) FROM generate_series(1, 1000000000000000) WHERE value < 0".to_owned(),
        ),
        (
            "offset",
            "SELECT value FROM generate_series(1, 1000000000000000) OFFSET 900000000000000".to_owned(),
        ),
        (
            "window with a long frame",
            "SELECT median(value) OVER (ORDER BY value ROWS BETWEEN 100000 PRECEDING AND CURRENT ROW) FROM generate_series(1, 300000)"
                .to_owned(),
        ),
        (
            "window with a frame of all rows around",
            "SELECT median(value) OVER (ORDER BY value ROWS BETWEEN 50000 PRECEDING AND 50000 FOLLOWING) FROM generate_series(1, 300000)"
                .to_owned(),
        ),
        (
            "window over many rows",
            format!("SELECT sum(s) FROM (SELECT sum(m) OVER (PARTITION BY v ORDER BY m) AS s FROM ({crossed}))"),
        ),
        (
            "scalar subquery",
            format!("SELECT (SELECT sum(a.v * b.v % 7) FROM {A}, {B}) + 1"),
        ),
        (
            "functions of a row",
            "SELECT sum(length(regexp_replace(repeat('ab', 5000), '(a|b)*c', 'x'))) FROM generate_series(1, 1000000000)"
                .to_owned(),
        ),
        (
            "a pattern",
            "SELECT count(*) FROM (SELECT repeat('ab', 5000 + value % 2) AS t FROM generate_series(1, 1000000000)) WHERE t ~ '((a|b)*c(a|b){1,30}){1,30}$'"
                .to_owned(),
        ),
        (
            "a function of a value that rows share",
            "SELECT max(md5(v)) FROM (SELECT arrow_cast(repeat('x', 20000000 + n % 2), 'Utf8View') AS v FROM (SELECT count(*) AS n FROM generate_series(1, 3))), generate_series(1, 1000000)".to_owned(),
        ),
        (
            "constants that take long",
            format!("SELECT {}", (0..500).map(|i| format!("levenshtein(repeat('a', {}), repeat('b', 4000))", 3_500 + i)).collect::<Vec<_>>().join(", ")),
        ),
        (
            "a pattern in the filter of an aggregate",
            format!("SELECT count(*) FILTER (WHERE t ~ {PATTERN}) FROM {TEXTS}"),
        ),
        (
            "a pattern in an order",
            format!("SELECT n FROM {TEXTS} ORDER BY t ~ {PATTERN} LIMIT 10"),
        ),
        (
            "a pattern in a join",
            format!("SELECT count(*) FROM {TEXTS} JOIN {A} ON n % 7 = a.v % 7 AND t || CAST(a.v AS text) ~ {PATTERN}"),
        ),
        (
            "a pattern for each row",
            format!("SELECT count(*) FROM {TEXTS} WHERE 'ab' ~ ('(a|b){{1,' || (n % 900 + 100) || '}}(a|b){{1,900}}$')"),
        ),
        (
            "a pattern for each row of a function",
            format!("SELECT count(*) FROM {TEXTS} WHERE regexp_count('ab', '(a|b){{1,' || (n % 900 + 100) || '}}(a|b){{1,900}}$') > 5"),
        ),
        ("explain analyze", format!("EXPLAIN ANALYZE SELECT sum(a.v * b.v % 7) FROM {A}, {B}")),
    ]
}

/// The time from the client's departure until all tasks of `sql` have ended.
fn gone_after(engine: &Engine, sql: &str) -> Option<Duration> {
    let threads = Threads::new("cut", 4, Urgency::Prompt).unwrap();
    let waits = Builder::new_current_thread().enable_time().build().unwrap();
    let session = waits.block_on(session(engine));
    let (tell, handle) = std::sync::mpsc::channel();
    let text = sql.to_owned();
    let work = async move {
        tell.send(Handle::current()).unwrap();
        let frame = session.sql(&text).await?;
        session.collect(frame).await
    };
    let cut_ms =
        std::env::var("COLONNADE_CUT_MS").ok().map_or(CUT_AFTER_MS, |ms| ms.parse().unwrap());
    let cut_after = Duration::from_millis(cut_ms);
    let cut = async { tokio::time::timeout(cut_after, threads.run(work)).await };
    if let Ok(answer) = waits.block_on(cut) {
        panic!("{sql}: answered before it was cut: {:?}", answer.map(|rows| rows.map(|_| ())));
    }
    let (began, runtime) = (Instant::now(), handle.recv().unwrap());
    while runtime.metrics().num_alive_tasks() > 0 {
        if began.elapsed() > GONE_AFTER {
            // Dropping the runtime would wait for the stuck task.
            std::mem::forget(threads);
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Some(began.elapsed())
}

#[test]
fn every_operator_stops_soon_after_its_client_leaves() {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    // Enough memory that no query fails before its client disconnects.
    let options = EngineOptions { memory_budget_bytes: 6 << 30, ..options("memory:") };
    let engine = runtime.block_on(Engine::open(options)).unwrap();
    let mut stuck = Vec::new();
    for (operator, sql) in long_queries() {
        match gone_after(&engine, &sql) {
            Some(after) => println!("{operator}: {} ms", after.as_millis()),
            None => stuck.push(operator),
        }
    }
    assert!(stuck.is_empty(), "still computing after {GONE_AFTER:?}: {stuck:?}");
}

#[tokio::test]
async fn not_in_compares_each_value_once() {
    let engine = engine().await;
    let rows = "(SELECT value % 2 AS k FROM generate_series(1, 1000)) AS x";
    let without = |values: &str| {
        format!("SELECT CAST(count(*) AS bigint) FROM {rows} WHERE x.k NOT IN ({values})")
    };
    for (values, expected) in [
        ("SELECT nullif(value % 2, 5) FROM generate_series(1, 1000)", 0),
        ("SELECT nullif(value % 2, 1) FROM generate_series(1, 1000)", 0),
        ("SELECT nullif(value % 2 * 2, 5) FROM generate_series(1, 1000)", 500),
        ("SELECT 1 UNION ALL SELECT 1", 500),
    ] {
        assert_eq!(number(&engine, &without(values)).await, expected, "{values}");
    }
    // Of a million equal values one is compared.
    let values = "SELECT nullif(value % 2, 5) FROM generate_series(1, 1000000)";
    let plan = query(&engine, &format!("EXPLAIN {}", without(values))).await;
    let (join, groups) = (plan.find("HashJoinExec"), plan.rfind("AggregateExec"));
    assert!(join.is_some() && join < groups, "{plan}");
}
