//! Calls every function of a session with odd arguments: each must answer or return a proper error.

use std::collections::BTreeSet;

use super::*;
use crate::Code;

/// Argument values of each kind: empty, NULL, negative, huge, and not a number.
const ODD: [&str; 26] = [
    "NULL",
    "''",
    "'a'",
    "'ä𝄞'",
    "'%'",
    "'2500-01-01T00:00:00Z'",
    "0",
    "-1",
    "1",
    "CAST(3 AS INT)",
    "9223372036854775807",
    "-9223372036854775808",
    "CAST('NaN' AS DOUBLE)",
    "CAST('Infinity' AS DOUBLE)",
    "1e308",
    "CAST(-1.5 AS DECIMAL(10, 2))",
    "true",
    "TIMESTAMP '9999-12-31T23:59:59'",
    "TIMESTAMP '0001-01-01T00:00:00Z' AT TIME ZONE 'Asia/Kolkata'",
    "DATE '9999-12-31'",
    "INTERVAL '-1 month'",
    "[1, NULL, -3]",
    "CAST([] AS BIGINT[])",
    "[['a'], NULL]",
    "named_struct('a', 1)",
    "map([1], ['x'])",
];

/// Combinations of values for functions with several arguments.
const COMBINED: [[&str; 3]; 24] = [
    ["[1, 2]", "-1", "0"],
    ["[1, 2]", "9223372036854775807", "-9223372036854775808"],
    ["[1, 2]", "[]", "1"],
    ["[1, 2]", "NULL", "NULL"],
    ["[1, 2]", "2", "-1"],
    ["[1, 2]", "1", "9223372036854775807"],
    ["CAST([] AS BIGINT[])", "1", "1"],
    ["CAST(NULL AS BIGINT[])", "1", "1"],
    ["'abc'", "-1", "-1"],
    ["'abc'", "'b'", "-9223372036854775808"],
    ["'abc'", "'('", "'x'"],
    ["'abc'", "''", "''"],
    ["'äöü'", "1", "9223372036854775807"],
    ["NULL", "NULL", "NULL"],
    ["1", "0", "0"],
    ["-9223372036854775808", "-1", "-1"],
    ["9223372036854775807", "9223372036854775807", "9223372036854775807"],
    ["1e308", "1e308", "-1e308"],
    ["CAST('NaN' AS DOUBLE)", "CAST('NaN' AS DOUBLE)", "0"],
    ["'day'", "TIMESTAMP '9999-12-31T23:59:59'", "TIMESTAMP '0001-01-01'"],
    ["INTERVAL '1 month'", "TIMESTAMP '9999-12-31T23:59:59'", "TIMESTAMP '0001-01-31'"],
    ["INTERVAL '0 days'", "TIMESTAMP '2026-01-01'", "TIMESTAMP '2026-01-01'"],
    ["TIMESTAMP '2026-01-01'", "TIMESTAMP '2026-01-03'", "INTERVAL '0 days'"],
    ["map([1], ['x'])", "1", "1"],
];

/// Functions that are not tested, because their answer varies or depends on more than the
/// arguments.
const LEFT_OUT: [&str; 1] = ["version"];

/// The problem of a query that panics or fails with an internal error.
async fn problem(session: &Session, sql: &str) -> Option<String> {
    let answered = async {
        let frame = session.sql(sql).await?;
        session.collect(frame).await.map(drop)
    };
    let answered = std::panic::AssertUnwindSafe(answered);
    match futures::FutureExt::catch_unwind(answered).await {
        Err(_) => Some(format!("{sql}: it panics")),
        Ok(Err(error)) if error.code() == Code::Internal => {
            Some(format!("{sql}: {}", error.detail().lines().next().unwrap_or_default()))
        }
        Ok(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_arguments_cause_an_internal_error() {
    let engine = engine().await;
    let session = session(&engine).await;
    let state = session.context().state();
    let names: BTreeSet<String> =
        state.scalar_functions().values().map(|function| function.name().to_owned()).collect();
    assert!(names.len() > 150, "{} functions", names.len());
    let mut problems = Vec::new();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for name in names.iter().filter(|name| !LEFT_OUT.contains(&name.as_str())) {
        let mut calls = vec![format!("\"{name}\"()")];
        calls.extend(ODD.iter().map(|one| format!("\"{name}\"({one})")));
        for [first, second, third] in COMBINED {
            calls.push(format!("\"{name}\"({first}, {second})"));
            calls.push(format!("\"{name}\"({first}, {second}, {third})"));
        }
        for call in calls {
            problems.extend(problem(&session, &format!("SELECT {call}")).await);
            // The same with columns instead of constants.
            let of_rows = call.replacen("[1, 2]", "x", 1).replacen("'abc'", "t", 1);
            if of_rows != call {
                let sql = format!(
                    "SELECT {of_rows} FROM (VALUES ([1, 2], 'abc'), ([3], ''), (NULL, NULL)) AS v (x, t)"
                );
                problems.extend(problem(&session, &sql).await);
            }
        }
    }
    let aggregates: BTreeSet<String> =
        state.aggregate_functions().values().map(|function| function.name().to_owned()).collect();
    let windows: BTreeSet<String> =
        state.window_functions().values().map(|function| function.name().to_owned()).collect();
    assert!(aggregates.len() > 30 && windows.len() > 10);
    for name in aggregates.iter().chain(&windows) {
        let mut calls: Vec<String> = ODD.iter().map(|one| format!("\"{name}\"({one})")).collect();
        for [first, second, third] in COMBINED {
            calls.push(format!("\"{name}\"({first}, {second})"));
            calls.push(format!("\"{name}\"({first}, {second}, {third})"));
        }
        for call in calls {
            for over in ["", " OVER (ORDER BY i ROWS 1 PRECEDING)"] {
                let sql = format!("SELECT {call}{over} FROM (VALUES (1), (2), (3)) AS v (i)");
                problems.extend(problem(&session, &sql).await);
            }
        }
    }
    std::panic::set_hook(quiet);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
