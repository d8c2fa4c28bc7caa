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

#[tokio::test]
async fn types_that_do_not_go_together_are_the_querys_mistake() {
    let engine = engine().await;
    let session = session(&engine).await;
    let error =
        session.sql("SELECT id BETWEEN 1 AND 2 BETWEEN 1 AND 2 FROM calls").await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput, "{}", error.detail());
    assert!(error.to_string().contains("BETWEEN"), "{error}");
}

#[tokio::test]
async fn a_regular_expression_that_is_none_is_told_with_its_place() {
    let engine = engine().await;
    send(&engine, 0..10, None).await.unwrap();
    for (pattern, code) in [
        ("x+(", Code::BadInput),
        ("((a{1,1000}){1,1000}){1,1000}", Code::LimitExceeded),
        ("[z-a]", Code::BadInput),
    ] {
        let session = session(&engine).await;
        let sql = format!("SELECT id FROM calls WHERE model ~ '{pattern}' OR model LIKE 'x%'");
        let error = match session.sql(&sql).await {
            Ok(frame) => session.collect(frame).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), code, "{pattern}: {}", error.detail());
        let says = error.to_string().to_lowercase();
        assert!(
            says.contains("regex") || says.contains("regular expression"),
            "{pattern}: {error}"
        );
    }
}

/// At the edge of what is taken, on a thread as the product has them: planned, executed and dropped by recursion.
#[test]
fn as_many_terms_as_are_taken_overflow_nothing() {
    let terms = |term: &str, operator: &str, count: usize| vec![term; count].join(operator);
    let of_calls = |filter: String| format!("SELECT id FROM calls WHERE {filter}");
    let sum = |count: usize| format!("SELECT {}", terms("1", " + ", count));
    let list: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let tables = |count: usize| {
        let next = |n: usize| format!(", t{n} AS (SELECT id FROM t{})", n - 1);
        let tables: String = (1..count).map(next).collect();
        format!("WITH t0 AS (SELECT id FROM calls){tables} SELECT id FROM t{}", count - 1)
    };
    let queries = [
        of_calls(terms("id = 1", " OR ", 1_000)),
        of_calls(terms("id = 1", " AND ", 1_000)),
        of_calls(format!("id IN ({})", list.join(","))),
        sum(301),
        format!("SELECT {} 1", "- ".repeat(45)),
        terms("SELECT 1 FROM calls", " UNION ALL ", 500),
        tables(499),
    ];
    let beyond = [
        of_calls(terms("id = 1", " OR ", 1_001)),
        of_calls(terms("id = 1", " OR ", 20_000)),
        sum(302),
        sum(500_000),
        tables(500),
        format!("{}SELECT 1", "EXPLAIN ".repeat(130_000)),
        format!("SELECT x{} FROM calls", "[1]".repeat(200_000)),
        format!("SELECT {}", "(".repeat(10_000)),
    ];
    let work = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_stack_size(crate::STACK_BYTES)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let engine = engine().await;
            send(&engine, 0..10, None).await.unwrap();
            let session = session(&engine).await;
            for sql in &queries {
                let shown = &sql[..60.min(sql.len())];
                let frame = session.sql(sql).await.unwrap_or_else(|e| panic!("{shown}: {e}"));
                session.collect(frame).await.unwrap_or_else(|e| panic!("{shown}: {e}"));
            }
            for sql in &beyond {
                let error = session.sql(sql).await.unwrap_err();
                let is_refused = [Code::LimitExceeded, Code::BadInput].contains(&error.code());
                assert!(is_refused, "{}: {error}", &sql[..60]);
            }
        });
    };
    let thread = std::thread::Builder::new().stack_size(crate::STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap();
}

#[tokio::test]
async fn planning_stops_when_the_client_has_left() {
    let engine = engine().await;
    let session = session(&engine).await;
    for sql in ["SELECT * FROM calls", "SELECT 1 + 1", "WITH a AS (SELECT 1) SELECT 2 FROM a"] {
        let control = kernels::Control::new();
        crate::stopped_by(control.clone(), session.sql(sql)).await.unwrap();
        control.cancel();
        let error = crate::stopped_by(control, session.sql(sql)).await.unwrap_err();
        assert_eq!(error.code(), Code::Cancelled, "{sql}: {error}");
    }
}

#[tokio::test]
async fn rows_that_a_caller_holds_count_against_the_memory_for_queries() {
    let options = EngineOptions { memory_budget_bytes: 3 << 20, ..options("memory:") };
    let engine = Engine::open(options).await.unwrap();
    let session = session(&engine).await;
    let batch = |bytes: usize| {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
        RecordBatch::try_from_iter([("text", text)]).unwrap()
    };
    let held = batch(1 << 20);
    session.hold(&held).unwrap();
    let error = session.hold(&batch(4 << 20)).unwrap_err();
    assert_eq!(error.code(), Code::ResourcesExhausted, "{error}");
    drop(held);
    session.hold(&batch(1 << 20)).unwrap();
}

#[tokio::test]
async fn queries_with_many_columns_have_smaller_batches() {
    let engine = engine().await;
    let session = session(&engine).await;
    let rows_at_once = async |count: usize| {
        let columns: Vec<String> = (0..count).map(|i| format!("value + {i} AS c{i}")).collect();
        let sql = format!("SELECT {} FROM generate_series(1, 10000)", columns.join(", "));
        let batches = session.collect(session.sql(&sql).await.unwrap()).await.unwrap();
        batches.iter().map(RecordBatch::num_rows).max().unwrap()
    };
    assert_eq!(rows_at_once(2).await, 8_192);
    // 16 MiB of 1,000 columns of 8 bytes.
    assert_eq!(rows_at_once(1_000).await, 2_097);
}

#[tokio::test]
async fn wide_selects_with_many_levels_are_refused() {
    let engine = engine().await;
    let session = session(&engine).await;
    let columns: Vec<String> = (0..2_000).map(|i| format!("{i} AS c{i}")).collect();
    let first = format!("WITH a0 AS (SELECT {})", columns.join(", "));
    let levels = |count: usize| -> String {
        let more = (1..=count).map(|i| format!(", a{i} AS (SELECT * FROM a{})", i - 1));
        format!("{first}{} SELECT c0 FROM a{count}", more.collect::<String>())
    };
    session.sql(&levels(4)).await.unwrap();
    let comparisons = async |sql: String| -> usize {
        let error = session.sql(&sql).await.unwrap_err();
        assert_eq!(error.code(), Code::LimitExceeded);
        let message = error.to_string();
        assert!(message.contains("column comparisons"), "{message}");
        message.split(' ').find_map(|word| word.parse().ok()).unwrap()
    };
    let alone = comparisons(levels(9)).await;
    assert_eq!(comparisons(format!("EXPLAIN {}", levels(9))).await, alone);
    // The columns of a dataset are those of the catalog, and not a guess.
    let joined = comparisons(format!("{}, calls", levels(9))).await;
    let columns_joined = 2_000 + calls().columns.len();
    assert_eq!(joined - alone, 4 * columns_joined + calls().columns.len());
    let error =
        session.sql(&format!("EXPLAIN SELECT {}, 1", columns.join(", "))).await.unwrap_err();
    assert!(error.to_string().contains("at most 2000 columns of one SELECT"), "{error}");
}

#[tokio::test]
async fn columns_that_are_words_of_sql_are_told_to_need_quotes() {
    let engine = engine().await;
    let mut spec = calls();
    spec.name = name("answers");
    spec.columns[2].name = "top".to_owned();
    engine.create_dataset(&who(), spec).await.unwrap();
    let session = session(&engine).await;
    let error = session.sql("SELECT top, at FROM answers").await.unwrap_err();
    let says = "a column that is called like a word of SQL needs quotes: \"top\"";
    assert!(error.to_string().ends_with(says), "{error}");
    session.sql("SELECT \"top\", at FROM answers").await.unwrap();
    let other = session.sql("SELECT model FROM calls WHERE (").await.unwrap_err();
    assert!(!other.to_string().contains("quotes"), "{other}");
}

#[tokio::test]
async fn a_limit_holds_where_no_column_is_read() {
    let engine = engine().await;
    for id in 0..4 {
        send(&engine, id * 100..id * 100 + 25, None).await.unwrap();
    }
    for (rows, sql) in [
        (5, "SELECT 1 FROM calls LIMIT 5"),
        (5, "SELECT 'k' AS k FROM calls LIMIT 5"),
        (5, "SELECT random() FROM calls LIMIT 5"),
        (30, "SELECT 1 FROM calls LIMIT 30 OFFSET 20"),
        (5, "SELECT 1 FROM (SELECT * FROM calls LIMIT 5 OFFSET 2) x"),
        (500, "SELECT a.id FROM calls a, (SELECT * FROM calls LIMIT 5) b"),
        (
            500,
            "WITH b AS (SELECT * FROM calls LIMIT 5) SELECT a.id FROM calls a LEFT JOIN b ON true",
        ),
        (6, "SELECT 1 UNION ALL (SELECT 1 FROM calls LIMIT 5)"),
        (100, "SELECT 1 FROM calls"),
    ] {
        assert_eq!(
            number(&engine, &format!("SELECT count(*) FROM ({sql}) x")).await,
            rows,
            "{sql}"
        );
        let session = session(&engine).await;
        let frame = session.sql(sql).await.unwrap();
        let batches = session.collect(frame).await.unwrap();
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(i64::try_from(found).unwrap(), rows, "{sql}");
    }
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 100);
}

#[tokio::test]
async fn a_decimal_times_a_number_is_a_decimal() {
    let engine = engine().await;
    for (sql, expected) in [
        ("SELECT CAST(CAST('2.50' AS decimal(18,2)) * 1.19 AS decimal(18,2)) AS p", "2.98"),
        ("SELECT 1.19 * CAST('2.50' AS decimal(18,2)) AS p", "2.9750"),
        ("SELECT CAST('2.50' AS decimal(18,2)) - -0.1 AS p", "2.60"),
        ("SELECT CAST('7.25' AS decimal(18,2)) % 2.5 AS p", "2.25"),
        // Beside floats a number is one, as ever.
        ("SELECT arrow_typeof(1.5) AS p", "Float64"),
        ("SELECT arrow_typeof(CAST(2 AS double) * 1.19) AS p", "Float64"),
    ] {
        let found = query(&engine, sql).await;
        assert!(
            found.lines().any(|line| line.trim_matches(['|', ' ']) == expected),
            "{sql}: {found}"
        );
    }
}

#[tokio::test]
async fn what_would_take_all_memory_or_stack_is_refused() {
    let engine = engine().await;
    send(&engine, 0..10, None).await.unwrap();
    let cube = |columns: usize| {
        let columns: Vec<String> = (0..columns).map(|n| format!("id + {n}")).collect();
        format!("SELECT count(*) FROM calls GROUP BY CUBE({})", columns.join(", "))
    };
    let intervals = format!("SELECT {} '1 day' AS a", "INTERVAL ".repeat(1_000));
    for (sql, code) in [
        (cube(30), Code::LimitExceeded),
        (cube(70), Code::LimitExceeded),
        ("SELECT count(*) FROM calls GROUP BY CUBE(id, model, tokens, at, id+1, id+2, id+3), CUBE(id+4, id+5, id+6, id+7, id+8, id+9)".into(), Code::LimitExceeded),
        (intervals, Code::BadInput),
        ("SELECT interval\n-- a\ninterval '1 day'".into(), Code::BadInput),
    ] {
        assert_eq!(refused(&sql).await.code(), code, "{sql}");
    }
    assert!(query(&engine, &cube(3)).await.lines().count() > 10);
    assert_eq!(
        number(
            &engine,
            "SELECT count(*) FROM calls WHERE at < TIMESTAMP '2026-01-03' + INTERVAL '1 day'"
        )
        .await,
        3
    );
    for function in [
        "repeat('a', 2000000000)",
        "repeat(model, 2000000000)",
        "repeat('a', id * 100000000)",
        "array_repeat(1, 2000000000)",
        "array_repeat(arrow_cast(1, 'Decimal256(76,0)'), 2000000000)",
        "array_repeat([1, 2], id * 100000000)",
        "lpad('a', 2147483647)",
        "rpad(model, 2147483647, 'x')",
        "array_resize([1], 2000000000, 0)",
        "range(2000000000)",
        "range(-2000000000, 2000000000, 2)",
        "generate_series(0, id * 100000000, 1)",
        "list_repeat(1, 2000000000)",
        // What is known beforehand is made for each row.
        "repeat('abcdefghi0', 100000)",
        "concat(model, repeat('abcdefghi0', 100000))",
        "array_repeat(1, 100000)",
        "replace(repeat('a', 20000), 'a', repeat('b', 20000))",
        "replace(model || 'mmmmmmmmmm', 'm', repeat('m', 15000000))",
        "regexp_replace(repeat('a', 20000), 'a', repeat('b', 20000), 'g')",
    ] {
        let session = session(&engine).await;
        let refused = match session.sql(&format!("SELECT {function} AS a FROM calls")).await {
            Ok(frame) => session.collect(frame).await.map(drop),
            Err(e) => Err(e),
        };
        let error = refused.expect_err(function);
        assert_eq!(error.code(), Code::LimitExceeded, "{function}: {error}");
    }
    for (function, expected) in [
        ("repeat('ab', 3)", "ababab"),
        ("length(repeat(model, 1000))", "2000"),
        ("array_repeat(7, 2)", "[7, 7]"),
        ("lpad('a', 3, 'x')", "xxa"),
        ("array_resize([1], 3, 0)", "[1, 0, 0]"),
        ("range(1, 6, 2)", "[1, 3, 5]"),
        ("generate_series(3)", "[0, 1, 2, 3]"),
        (
            "array_length(generate_series(DATE '2026-01-01', DATE '2026-01-05', INTERVAL '1 day'))",
            "5",
        ),
        ("repeat(NULL, 3)", ""),
        ("length(repeat('a', 1000000))", "1000000"),
        ("count(*) FILTER (WHERE model <> repeat('a', 1000000))", "10"),
        ("replace('banana', 'an', 'AN-')", "bAN-AN-a"),
        ("regexp_replace('banana', 'a(.)', 'A', 'g')", "bAAa"),
    ] {
        let found = query(&engine, &format!("SELECT {function} AS a FROM calls LIMIT 1")).await;
        assert!(
            found.lines().any(|line| line.trim_matches(['|', ' ']) == expected),
            "{function}: {found}"
        );
    }
}

#[tokio::test]
async fn a_long_constant_is_for_few_rows() {
    let engine = engine().await;
    let one = "SELECT length(text) AS n FROM (SELECT repeat('a', 1000000) || now() AS text)";
    assert!(query(&engine, one).await.contains("10000"));
    send(&engine, 0..4, None).await.unwrap();
    let of = |bytes: usize| {
        format!("SELECT max(length(model || '{}')) AS n FROM calls", "x".repeat(bytes))
    };
    assert!(query(&engine, &of(20_000)).await.contains("20002"));
    // Of one that stands in the query it is known before, and fewer rows are taken at a time.
    assert!(query(&engine, &of(200_000)).await.contains("200002"));
    let session = session(&engine).await;
    let made = "SELECT max(length(model || repeat('x', 200000))) AS n FROM calls";
    let refused = match session.sql(made).await {
        Ok(frame) => session.collect(frame).await.map(drop),
        Err(e) => Err(e),
    };
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded, "{error}");
    assert!(error.to_string().contains("constants of 200000 bytes for each row"), "{error}");
}

#[tokio::test]
async fn a_short_constant_of_a_subquery_stays_a_constant() {
    let engine = engine().await;
    let sql = "SELECT count(encode(CAST(value AS text), (SELECT max('hex')))) AS n FROM generate_series(1, 60000)";
    assert!(query(&engine, sql).await.contains("60000"));
}

#[tokio::test]
async fn a_constant_is_not_copied_for_every_column() {
    let engine = engine().await;
    let columns = |count: usize| {
        let columns: Vec<String> = (0..count).map(|at| format!("length(t) AS c{at}")).collect();
        columns.join(", ")
    };
    // A constant that is too long for the planner is computed once when the query runs.
    let computed = format!("SELECT {} FROM (SELECT repeat('x', 16000000) AS t)", columns(200));
    let rows = query(&engine, &computed).await;
    assert_eq!(rows.matches("16000000").count(), 200, "{rows}");
    let text = "x".repeat(400_000);
    let accepted = format!("SELECT {} FROM (SELECT '{text}' AS t)", columns(100));
    assert_eq!(query(&engine, &accepted).await.matches("400000").count(), 100);
    let branch = |number: usize| format!("SELECT {number} AS i WHERE '{text}' = 'y'");
    let union = |count: usize| (0..count).map(branch).collect::<Vec<_>>().join(" UNION ALL ");
    let session = session(&engine).await;
    let two = session.sql(&union(2)).await.unwrap();
    session.collect(two).await.unwrap();
    let of_columns = format!("SELECT {} FROM (SELECT '{text}' AS t)", columns(300));
    let doubled: Vec<String> = (1..=6)
        .map(|i| format!("d{i} AS (SELECT * FROM d{0} UNION ALL SELECT * FROM d{0})", i - 1))
        .collect();
    let many_branches = format!(
        "WITH d0 AS (SELECT value FROM generate_series(1, 2) WHERE repeat('x', value) = '{text}'), {} SELECT * FROM d6",
        doubled.join(", ")
    );
    for (refused, message) in
        [(of_columns, "300 column references"), (many_branches, "branches of UNION")]
    {
        let planned = async { session.collect(session.sql(&refused).await?).await };
        let error = planned.await.unwrap_err();
        assert_eq!(error.code(), Code::LimitExceeded, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

/// What a query says that is planned, and fails when it runs; a session's plan may know it at once.
async fn failed(engine: &Engine, sql: &str) -> String {
    let session = session(engine).await;
    let rows = match session.sql(sql).await {
        Ok(frame) => session.collect(frame).await,
        Err(error) => Err(error),
    };
    let error = rows.expect_err(sql);
    assert_eq!(error.code(), Code::BadInput, "{sql}: {error}");
    error.to_string()
}

#[tokio::test]
async fn whole_numbers_and_decimals_do_not_begin_again_at_the_other_end() {
    let engine = engine().await;
    let large = "(VALUES (9223372036854775807, 1), (9223372036854775807, 2), (-9223372036854775807, 1), (NULL, 3)) AS t(v, g)";
    for sql in [
        "SELECT 9223372036854775807 + 1".to_owned(),
        format!("SELECT v * g FROM {large} WHERE g = 2"),
        format!("SELECT v - 10 FROM {large} WHERE v < 0"),
        "SELECT arrow_cast(1, 'UInt64') - arrow_cast(2, 'UInt64')".to_owned(),
        format!("SELECT sum(v + g) FROM {large}"),
        format!("SELECT g FROM {large} WHERE v + g > 0"),
        format!("SELECT v + g, count(*) FROM {large} GROUP BY v + g"),
        format!("SELECT sum(v) FROM {large} WHERE v > 0"),
        format!("SELECT g % 1, sum(v) FROM {large} WHERE v > 0 GROUP BY 1"),
        "SELECT sum(DISTINCT v), count(DISTINCT g) FROM (VALUES (9223372036854775807, 1), (1, 2)) AS t(v, g)".to_owned(),
        format!("SELECT sum(v) OVER (ORDER BY g ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {large} WHERE v > 0"),
        format!("SELECT sum(CAST(v AS DECIMAL(38, 0)) * 10000000000000000000) FROM {large} WHERE v > 0"),
    ] {
        let says = failed(&engine, &sql).await;
        assert!(says.contains("go further"), "{sql}: {says}");
    }
    // On the way it may be more than 64 bits hold, in whatever order the rows come.
    let all = format!("SELECT sum(v) FROM {large}");
    assert_eq!(number(&engine, &all).await, i64::MAX);
    let wide = format!("SELECT sum(CAST(v AS DECIMAL(38, 0))) AS s FROM {large} WHERE v > 0");
    let wide = query(&engine, &wide).await;
    assert!(wide.contains("18446744073709551614"), "{wide}");
    let none =
        format!("SELECT count(s) FROM (SELECT g, sum(v) AS s FROM {large} WHERE g = 3 GROUP BY g)");
    assert_eq!(number(&engine, &none).await, 0);
    let some = format!(
        "SELECT max(s) FROM (SELECT g, sum(v) FILTER (WHERE v < 0) AS s FROM {large} GROUP BY g)"
    );
    assert_eq!(number(&engine, &some).await, -i64::MAX);
    let different = format!("SELECT sum(DISTINCT g) + 0 * count(DISTINCT v) FROM {large}");
    assert_eq!(number(&engine, &different).await, 6);
    // What is around them finds them as it found what they stand for.
    for (sql, expected) in [
        ("SELECT sum(n) FROM (SELECT count(*) + 1 AS n FROM calls UNION SELECT 2)", 3),
        (
            "SELECT sum(n) FROM (SELECT id + 1 AS n FROM calls UNION ALL SELECT id FROM calls UNION ALL SELECT 4)",
            4,
        ),
        (
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT count(*) FROM n",
            5,
        ),
    ] {
        assert_eq!(number(&engine, sql).await, expected, "{sql}");
    }
    // Names are those of the query, and what is left of a frame is taken away.
    let named = query(&engine, "SELECT 1 + 2, sum(v) FROM (VALUES (1), (2)) AS t(v)").await;
    assert!(named.contains("Int64(1) + Int64(2)") && named.contains("sum(t.v)"), "{named}");
    let frame = format!(
        "SELECT max(s) FROM (SELECT sum(g) OVER (ORDER BY g, v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM {large})"
    );
    assert_eq!(number(&engine, &frame).await, 5);
}
