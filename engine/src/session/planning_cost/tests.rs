#![allow(clippy::unwrap_used)]
use super::super::parsing;
use super::*;

/// The dataset `wide` has 1,000 columns, `narrow` has 10.
fn work(text: &str) -> Work {
    let columns_of = |name: &str| match name {
        "wide" => Some(1_000),
        "narrow" => Some(10),
        _ => None,
    };
    work_of(&parsing::statement(text).unwrap(), &columns_of)
}

fn comparisons(text: &str) -> u64 {
    work(text).comparisons
}

fn columns(count: usize) -> String {
    let columns: Vec<String> = (0..count).map(|i| format!("c{i}")).collect();
    columns.join(", ")
}

#[test]
fn each_reference_is_compared_with_all_columns_of_its_from() {
    for (text, expected) in [
        ("SELECT 1, 2", 0),
        ("SELECT a FROM narrow", 10),
        ("SELECT a FROM `narrow`", 10),
        ("SELECT a FROM colonnade.datasets.narrow", 10),
        ("SELECT a, b + c FROM narrow WHERE d > 1 HAVING max(f) > 1", 50),
        // Each key of a GROUP BY costs as much as a reference, even a position.
        ("SELECT a, count(*) FROM narrow GROUP BY 1", 20),
        ("SELECT a FROM narrow GROUP BY a", 30),
        ("SELECT DISTINCT ON (a) b FROM narrow", 20),
        ("SELECT a FROM narrow QUALIFY row_number() OVER (ORDER BY b) = 1", 20),
        // The planner copies the window for both calls.
        ("SELECT sum(a) OVER w, sum(b) OVER w FROM narrow WINDOW w AS (ORDER BY c)", 40),
        ("SELECT a FROM narrow DISTRIBUTE BY b", 20),
        ("EXPLAIN SELECT a FROM narrow", 10),
        ("EXPLAIN ANALYZE SELECT a FROM narrow", 10),
        ("SHOW TABLES", 0),
        ("SELECT a FROM narrow UNION ALL SELECT b FROM narrow", 20),
        // ORDER BY searches the columns of the result and of FROM.
        ("SELECT a FROM narrow ORDER BY a, b", 32),
        ("SELECT a FROM narrow UNION SELECT b FROM narrow ORDER BY a", 21),
    ] {
        assert_eq!(comparisons(text), expected, "{text}");
    }
}

#[test]
fn wildcards_lists_joins_and_set_operations_cost_their_columns() {
    for (text, expected) in [
        // 10 / 3 references of 10 columns, and 10² / 16 for the list.
        ("SELECT * FROM narrow", 30 + 6),
        ("SELECT n.*, a FROM narrow n", 30 + 10 + 7),
        // 4 for each of 20 joined columns.
        ("SELECT x.* FROM narrow n, narrow x", 80 + 60 + 6),
        ("SELECT `X`.* FROM narrow n, wide `X`", 4_040 + 333 * 1_010 + 62_500),
        ("SELECT * FROM narrow, narrow x", 80 + 120 + 25),
        ("SELECT * FROM (narrow CROSS JOIN narrow x)", 80 + 120 + 25),
        ("SELECT 1 FROM narrow n JOIN narrow x ON n.a = x.a", 80 + 40),
        ("SELECT 1 FROM narrow n JOIN narrow x USING (a, b, c)", 80 + 60),
        ("SELECT 1 FROM narrow n NATURAL JOIN narrow x", 80 + 400),
        ("SELECT * FROM unknown", 80 + 16),
        ("SELECT * FROM generate_series(1, 2)", 80 + 16),
        ("SELECT * FROM (VALUES (1, 2, 3), (4, 5, 6)) v", 3),
        ("SELECT * FROM (SELECT a, b, 1 FROM narrow) x", 20 + 3),
        ("SELECT * FROM narrow INTERSECT SELECT * FROM narrow", 2 * 36 + 100),
        ("SELECT * FROM narrow UNION SELECT * FROM narrow", 2 * 36 + 12),
        ("SELECT * FROM narrow UNION BY NAME SELECT * FROM narrow", 2 * 36 + 50),
        // A struct has as many fields as the widest call has arguments.
        ("SELECT * FROM (SELECT unnest(named_struct('a', 1, 'b', 2))) x", 1 + 4 + 1),
        // The right side of a lateral join sees the left one.
        ("SELECT 1 FROM narrow, LATERAL (SELECT a FROM narrow) x", 20 + 44),
    ] {
        assert_eq!(comparisons(text), expected, "{text}");
    }
}

#[test]
fn subqueries_count_wherever_they_are_and_see_the_outer_columns() {
    for (text, expected) in [
        ("SELECT 1 WHERE 1 IN (SELECT a FROM narrow)", 10),
        ("SELECT (SELECT a FROM narrow)", 10),
        ("SELECT (SELECT x FROM narrow) FROM narrow", 20),
        ("SELECT (SELECT (SELECT x FROM narrow) FROM narrow) FROM narrow", 30),
        ("SELECT (SELECT x FROM narrow), b, (SELECT x FROM narrow) FROM narrow", 50),
        ("SELECT 1 ORDER BY (SELECT a FROM narrow)", 11),
        ("SELECT 1 LIMIT (SELECT a FROM narrow)", 11),
        ("VALUES ((SELECT a FROM narrow))", 10),
        ("SELECT 1 FROM narrow n JOIN narrow x ON (SELECT a FROM narrow) = 1", 80 + 30),
    ] {
        assert_eq!(comparisons(text), expected, "{text}");
    }
}

#[test]
fn a_common_table_expression_counts_once_per_reference_or_once() {
    for (text, expected) in [
        ("WITH a AS (SELECT * FROM narrow) SELECT 1", 36),
        ("WITH a AS (SELECT * FROM narrow) SELECT 1 FROM a", 36),
        ("WITH a AS (SELECT * FROM narrow) SELECT 1 FROM a, a b", 2 * 36 + 80),
        ("WITH a AS (SELECT * FROM narrow) SELECT * FROM A", 2 * 36),
        ("WITH a AS (SELECT * FROM narrow) SELECT * FROM `a`", 2 * 36),
        ("WITH \"A\" AS (SELECT * FROM narrow), a AS (SELECT 1) SELECT * FROM \"A\"", 2 * 36),
        ("WITH \"a\"\"b\" AS (SELECT * FROM narrow) SELECT * FROM `a\"b`", 2 * 36),
        ("WITH \"d.a\" AS (SELECT * FROM narrow) SELECT * FROM d.a", 2 * 36),
        ("WITH narrow AS (SELECT 1) SELECT * FROM datasets.narrow", 36),
        ("WITH a AS (SELECT * FROM narrow), b AS (SELECT * FROM a, a c) SELECT 1", 2 * 36 + 225),
        (
            "WITH RECURSIVE n AS (SELECT a, b FROM narrow UNION ALL SELECT * FROM n) SELECT a FROM n",
            20 + 2,
        ),
    ] {
        assert_eq!(comparisons(text), expected, "{text}");
    }
    // Each level is counted once: neither the result nor the time doubles with the depth.
    let nested = (0..40).fold("SELECT a FROM narrow".to_owned(), |inner, level| {
        format!("WITH RECURSIVE w{level} AS ({inner} UNION ALL SELECT 1) SELECT 1 FROM w{level}")
    });
    assert_eq!(comparisons(&nested), 10);
}

/// Tables that are joined one after the other, with all of their columns.
fn joined_one_by_one(tables: usize, columns: usize) -> String {
    let values = vec!["1"; columns].join(", ");
    let first = format!("WITH t AS (SELECT {values}), j1 AS (SELECT * FROM t)");
    let more: String = (2..=tables)
        .map(|i| format!(", j{i} AS (SELECT x.*, y.* FROM j{} x JOIN t y ON true)", i - 1))
        .collect();
    format!("{first}{more} SELECT * FROM j{tables}")
}

#[test]
fn many_levels_of_wide_selects_are_refused() {
    let levels = |count: usize, list: &str| {
        let more: String =
            (1..count).map(|i| format!(", a{i} AS (SELECT {list} FROM a{})", i - 1)).collect();
        format!("WITH a0 AS (SELECT {list} FROM wide){more} SELECT c0 FROM a{}", count - 1)
    };
    let months: Vec<String> =
        (0..12).map(|month| format!("SELECT * FROM base WHERE c1 = {month}")).collect();
    for accepted in [
        levels(20, "*"),
        levels(7, "*, c0 + 1 AS n"),
        levels(2, &columns(2_000)),
        "SELECT w.*, x.* FROM wide w JOIN wide x USING (c0)".to_owned(),
        joined_one_by_one(6, 50),
        format!("WITH base AS (SELECT * FROM wide) {}", months.join(" UNION ALL ")),
    ] {
        let work = work(&accepted);
        assert!(work.check().is_ok(), "{work:?}");
    }
    for refused in [
        levels(300, "*"),
        levels(16, &columns(1_900)),
        format!("SELECT * FROM wide{}", ", wide".repeat(8)),
        format!("WITH a AS ({}) SELECT 1", levels(300, "*")),
        format!("EXPLAIN {}", levels(16, &columns(1_900))),
        format!("SELECT {0} INTERSECT SELECT {0}", vec!["1"; 20_000].join(", ")),
        vec![format!("SELECT {}", vec!["1"; 2_000].join(", ")); 90].join(" UNION ALL "),
    ] {
        let message = work(&refused).check().unwrap_err().to_string();
        assert!(message.contains("column comparisons; the limit is 12000000"), "{message}");
    }
}

#[test]
fn operands_that_the_optimizer_copies_count_as_often() {
    for (text, expected) in [
        ("SELECT 1, 'x'", 0),
        ("SELECT a, (b), a + 1", 1 + 1 + 2),
        ("SELECT a BETWEEN b AND c", 7),
        ("SELECT a NOT BETWEEN 1 AND 2", 3),
        ("SELECT coalesce(a, b), nvl(a, 1), `ifnull`(a, 1), abs(a)", 5 + 3 + 3 + 2),
        ("SELECT a IN (1, 2, b)", 7),
        ("SELECT a IN (1, 2, 3, b)", 3),
        ("SELECT CASE WHEN a THEN b ELSE c END", 5),
        ("SELECT CASE a WHEN b THEN c END", 6),
        ("SELECT a FROM t GROUP BY CUBE (b, c)", 1 + 4 * 3),
        ("SELECT a FROM t GROUP BY a, ROLLUP (b), GROUPING SETS ((c), (d))", 1 + 4 * 6),
    ] {
        assert_eq!(work(text).expressions, expected, "{text}");
    }
    let nested = |open: &str, close: &str, depth: usize| {
        format!("SELECT {}a{} FROM narrow", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [
        ("(", " BETWEEN b AND c)"),
        ("coalesce(", ", b)"),
        ("nvl(", ", b + 1)"),
        ("(", " IN (1, 2, b))::INT"),
        ("CASE WHEN ", " THEN b ELSE c END"),
    ] {
        work(&nested(open, close, 4)).check().unwrap();
        let message = work(&nested(open, close, 22)).check().unwrap_err().to_string();
        assert!(message.contains("the expressions have"), "{open}: {message}");
    }
    // Conditions are copied, but not results.
    work(&nested("CASE WHEN b THEN 1 ELSE ", " END", 22)).check().unwrap();
    work(&format!("SELECT a IN ({})", vec!["1"; 100_000].join(", "))).check().unwrap();
    let keys: Vec<String> = (0..500).map(|i| format!("a + {i}")).collect();
    let cube = format!("SELECT 1 FROM narrow GROUP BY {}, CUBE ({})", keys.join(", "), columns(10));
    assert!(work(&cube).check().is_err());
}

#[test]
fn a_filter_counts_the_expressions_of_its_columns() {
    for (text, expected) in [
        ("SELECT a FROM narrow WHERE b > 1", 2),
        ("SELECT a FROM (SELECT b + c AS a FROM narrow) t WHERE a > 1", 4),
        ("SELECT a FROM (SELECT b + c AS a, d FROM narrow) t WHERE d > 1", 2),
        ("SELECT v FROM (SELECT b + c FROM narrow) t(v) WHERE v > 1", 4),
        ("WITH t(v) AS (SELECT b + c FROM narrow) SELECT 1 FROM t WHERE v > 1", 4),
        ("SELECT 1 FROM (SELECT a FROM narrow UNION SELECT b + c FROM narrow) t WHERE a > 1", 4),
        ("SELECT 1 FROM (SELECT b + c FROM narrow) t WHERE `b + c` > 1", 4),
        ("SELECT * FROM (SELECT *, b + c AS v FROM narrow) t JOIN narrow n ON t.v = n.a", 5),
    ] {
        assert_eq!(work(text).pushed, expected, "{text}");
    }
    let chain = |levels: usize, filter: &str| {
        let more: String = (1..=levels)
            .map(|i| format!(", q{i} AS (SELECT v + v AS v FROM q{})", i - 1))
            .collect();
        format!("WITH q0 AS (SELECT a AS v FROM narrow){more} SELECT v FROM q{levels}{filter}")
    };
    work(&chain(39, "")).check().unwrap();
    work(&chain(10, " WHERE v = 1")).check().unwrap();
    let message = work(&chain(39, " WHERE v = 1")).check().unwrap_err().to_string();
    assert!(message.contains("the filters have"), "{message}");
}
