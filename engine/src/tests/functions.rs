//! The functions of SQL that the kernels give.

use super::*;
use crate::Code;
use crate::functions::names;

/// An engine with ten calls, one of them without tokens: 0, 10, 20, NULL, 40, … 90.
async fn ten_calls() -> Engine {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    let gap = r#"{"id": 3, "at": "2026-01-04T00:00:00Z"}"#;
    let request = IngestRequest { rows: ndjson(gap), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
    send(&engine, 4..10, None).await.unwrap();
    engine
}

async fn column(engine: &Engine, expression: &str) -> Vec<Option<f64>> {
    let session = session(engine).await;
    let sql = format!("SELECT CAST({expression} AS DOUBLE) AS x FROM calls ORDER BY id");
    let frame = session.sql(&sql).await.unwrap();
    let batches = session.collect(frame).await.unwrap();
    batches
        .iter()
        .flat_map(|batch| {
            let column = batch.column(0).as_any().downcast_ref::<arrow::array::Float64Array>();
            column.unwrap().iter().collect::<Vec<_>>()
        })
        .collect()
}

async fn told(engine: &Engine, sql: &str) -> crate::Error {
    let session = session(engine).await;
    match session.sql(sql).await {
        Err(error) => error,
        Ok(frame) => session.collect(frame).await.unwrap_err(),
    }
}

#[tokio::test]
async fn rolling_statistics_skip_what_is_missing() {
    let engine = ten_calls().await;
    let over = "OVER (ORDER BY id)";
    let median = column(&engine, &format!("rolling_median(tokens, 3, 2) {over}")).await;
    let expected = [None, Some(5.0), Some(10.0), Some(15.0), Some(30.0), Some(45.0)];
    assert_eq!(median[..6], expected);
    assert_eq!(median[9], Some(80.0));
    let full = column(&engine, &format!("rolling_mean(tokens, 3) {over}")).await;
    assert_eq!(full[..7], [None, None, Some(10.0), None, None, None, Some(50.0)]);
    let quantile = column(&engine, &format!("rolling_quantile(tokens, 3, 1.0, 1) {over}")).await;
    assert_eq!(quantile[..5], [Some(0.0), Some(10.0), Some(20.0), Some(20.0), Some(40.0)]);
    let mad = column(&engine, &format!("rolling_mad(tokens, 3, 1) {over}")).await;
    assert_eq!((mad[0], mad[2], mad[9]), (Some(0.0), Some(10.0), Some(10.0)));
    let std = column(&engine, &format!("rolling_std(tokens, 3) {over}")).await;
    assert_eq!((std[1], std[2]), (None, Some(10.0)));
}

#[tokio::test]
async fn windows_stay_within_their_partition() {
    let engine = ten_calls().await;
    let sums = column(&engine, "rolling_mean(id, 2) OVER (PARTITION BY id % 2 ORDER BY id)").await;
    let expected: Vec<Option<f64>> =
        (0..10).map(|id| (id > 1).then_some(f64::from(id) - 1.0)).collect();
    assert_eq!(sums, expected);
}

#[tokio::test]
async fn a_score_compares_a_row_with_those_before_it() {
    let engine = ten_calls().await;
    // The five before 90 are 40 … 80: median 60, MAD 10.
    let scores = column(&engine, "anomaly_score(tokens, 5) OVER (ORDER BY id)").await;
    assert_eq!(scores[..9], [None; 9]);
    assert!((scores[9].unwrap() - 30.0 / 14.826).abs() < 1e-12, "{scores:?}");
    // More than half of a window is one value: the mean deviation measures.
    let steps = "CASE WHEN id = 2 THEN 4 WHEN id = 9 THEN 50 ELSE 1 END";
    let scores = column(&engine, &format!("anomaly_score({steps}, 8) OVER (ORDER BY id)")).await;
    let expected = 49.0 / (1.253_314_137_315_500_3 * 3.0 / 8.0);
    assert!((scores[9].unwrap() - expected).abs() < 1e-9, "{scores:?}");
    // A window that never varied.
    let flat = "CASE WHEN id = 9 THEN 2 ELSE 1 END";
    let scores = column(&engine, &format!("anomaly_score({flat}, 3) OVER (ORDER BY id)")).await;
    assert_eq!((scores[8], scores[9]), (Some(0.0), Some(f64::INFINITY)));
    // Every window has another median, which more than half of it is.
    let beat = "CASE WHEN id = 9 THEN 7 WHEN id % 2 = 0 THEN 0 ELSE 1 END";
    let scores = column(&engine, &format!("anomaly_score({beat}, 5) OVER (ORDER BY id)")).await;
    let deviation = 1.253_314_137_315_500_3 * 2.0 / 5.0;
    let expected = [-1.0, 1.0, -1.0, 1.0, 7.0].map(|distance| distance / deviation);
    let expected = [expected[1], -expected[1], expected[1], -expected[1], expected[4]];
    for (score, expected) in scores[5..].iter().zip(expected) {
        assert!((score.unwrap() - expected).abs() < 1e-12, "{scores:?}");
    }
}

#[tokio::test]
async fn extremes_and_ranks_are_of_the_window() {
    let engine = ten_calls().await;
    let value = "CASE WHEN id % 2 = 0 THEN id ELSE -id END";
    let over = "OVER (ORDER BY id)";
    let least = column(&engine, &format!("rolling_min({value}, 3) {over}")).await;
    assert_eq!((least[1], least[2], least[9]), (None, Some(-1.0), Some(-9.0)));
    let most = column(&engine, &format!("rolling_max({value}, 3) {over}")).await;
    assert_eq!((most[2], most[9]), (Some(2.0), Some(8.0)));
    let rank = column(&engine, &format!("rolling_rank({value}, 3) {over}")).await;
    assert_eq!((rank[2], rank[3], rank[4]), (Some(3.0), Some(1.0), Some(3.0)));
}

/// Rows at equal steps, by their number `i`, with a value.
fn steps(value: &str, count: usize) -> String {
    format!(
        "(SELECT to_timestamp_micros(1767225600000000 + i * 3600000000) AS at, {value} AS value, i \
         FROM generate_series(0, {}) AS t (i))",
        count - 1
    )
}

#[tokio::test]
async fn a_change_of_level_is_found_where_it_is() {
    let engine = engine().await;
    let noise = "CASE WHEN (i * 7919) % 13 < 6 THEN 0.1 ELSE -0.1 END";
    let rows = steps(&format!("CASE WHEN i < 40 THEN 1.0 ELSE 3.0 END + {noise}"), 100);
    let call = "unnest(unnest(changepoints(at, value)))";
    // In whatever order the rows come.
    let sql = format!("SELECT {call} FROM (SELECT * FROM {rows} ORDER BY (i * 37) % 100)");
    let found = query(&engine, &sql).await;
    let lines: Vec<&str> = found.lines().filter(|line| line.contains("2026-")).collect();
    assert_eq!(lines.len(), 1, "{found}");
    assert!(lines[0].contains("2026-01-02T16:00:00"), "{found}");
    let none = query(&engine, &format!("SELECT {call} FROM {rows} WHERE i < 0")).await;
    assert!(!none.contains("2026-"), "{none}");
    // A penalty means the same in any unit of the values.
    for (unit, penalty, count) in [(1, 4, 1), (1000, 4, 1), (1, 100_000, 0), (1000, 100_000, 0)] {
        let call = format!("array_length(changepoints(at, {unit} * value, {penalty}))");
        let found = query(&engine, &format!("SELECT coalesce({call}, 0) AS n FROM {rows}")).await;
        assert!(found.contains(&format!("| {count} ")), "{unit} {penalty}: {found}");
    }
}

#[tokio::test]
async fn a_matrix_of_coefficients_has_every_pair_once() {
    let engine = engine().await;
    let rows = steps("sin(i)", 50);
    let series = format!(
        "(SELECT 'a' AS s, at, value FROM {rows} UNION ALL SELECT 'b', at, 5 - 2 * value FROM {rows} \
         UNION ALL SELECT 'c', at, cos(value * 99) FROM {rows} WHERE extract(hour FROM at) < 12 \
         UNION ALL SELECT 'd', at, value FROM {rows} WHERE i < 5)"
    );
    let sql = format!("SELECT unnest(unnest(corr_matrix(s, at, value))) FROM {series}");
    let session = session(&engine).await;
    let batches = session.collect(session.sql(&sql).await.unwrap()).await.unwrap();
    let found = table(&batches);
    let pair = |a: &str, b: &str| {
        let rows = found.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let cells = rows.into_iter().find(|cells| cells.get(1..3) == Some(&[a, b]));
        let cells = cells.unwrap_or_else(|| panic!("{a} {b}: {found}"));
        (cells[3].parse::<f64>().ok(), cells[4].to_owned())
    };
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 6, "{found}");
    let (r, n) = pair("a", "b");
    assert!((r.unwrap() + 1.0).abs() < 1e-9 && n == "50", "{found}");
    let (r, n) = pair("a", "c");
    assert!(r.unwrap().abs() < 0.6 && n == "26", "{found}");
    // Too few to say.
    assert_eq!(pair("a", "d"), (None, "5".to_owned()), "{found}");
    // The mean of what there is twice; what is missing takes nothing away.
    let twice = format!(
        "(SELECT * FROM {series} UNION ALL SELECT 'a', at, value FROM {rows} UNION ALL SELECT 'b', at, NULL FROM {rows})"
    );
    let sql = format!("SELECT unnest(unnest(corr_matrix(s, at, value))) FROM {twice}");
    assert_eq!(query(&engine, &sql).await, found);
    // No coefficient has a single instant.
    let one =
        "(VALUES ('a', now(), 1.0), ('b', now(), 2.0), ('c', now(), 3.0)) AS t (s, at, value)";
    let sql = format!("SELECT unnest(unnest(corr_matrix(s, at, value))) FROM {one}");
    let found = query(&engine, &sql).await;
    assert_eq!(found.matches("| 1 ").count(), 3, "{found}");
    let many = "(SELECT CAST(i AS VARCHAR) AS s, at, value FROM \
                (SELECT to_timestamp(0) AS at, 1.0 AS value, i FROM generate_series(1, 2000) AS t (i)))";
    let error = told(&engine, &format!("SELECT corr_matrix(s, at, value) FROM {many}")).await;
    assert_eq!(error.code(), Code::LimitExceeded, "{}", error.detail());
    assert!(error.to_string().contains("2000 series make 1999000 pairs"), "{error}");
}

#[tokio::test]
async fn a_forecast_goes_on_where_the_series_ends() {
    let engine = engine().await;
    // A season of 4, a trend, and a gap.
    let rows = steps("10.0 + 0.5 * i + (i % 4)", 60);
    let sql = format!(
        "SELECT unnest(unnest(forecast(at, value, 4, 4))) FROM {rows} WHERE i NOT IN (20, 21)"
    );
    let found = query(&engine, &sql).await;
    for (hour, expected) in [("12", 40.0), ("13", 41.5), ("14", 43.0), ("15", 44.5)] {
        let line = found.lines().find(|line| line.contains(&format!("2026-01-03T{hour}:00:00")));
        let cells: Vec<&str> = line.unwrap_or("").split('|').map(str::trim).collect();
        let value: f64 = cells[2].parse().unwrap();
        assert!((value - expected).abs() < 0.1, "{hour}: {found}");
    }
    let scattered = format!("SELECT forecast(at, value, 4) FROM {rows} WHERE i IN (0, 1, 59)");
    let error = told(&engine, &scattered).await;
    assert!(error.to_string().contains("are not at about equal steps"), "{error}");
    // A short series among others.
    let groups = format!(
        "SELECT i < 2 AS short, coalesce(array_length(forecast(at, value, 4)), 0) AS n FROM {rows} GROUP BY 1"
    );
    let found = query(&engine, &groups).await;
    assert!(found.contains("| true  | 0 |") && found.contains("| false | 4 |"), "{found}");
    // A long season.
    let long = format!("SELECT array_length(forecast(at, value, 3, 30)) AS n FROM {rows}");
    assert!(query(&engine, &long).await.contains("| 3 |"));
    let error = told(&engine, &format!("SELECT forecast(at, value, 10001) FROM {rows}")).await;
    assert_eq!(error.code(), Code::LimitExceeded, "{}", error.detail());
    assert!(error.to_string().contains("horizon is 10001; at most 10000 steps"), "{error}");
}

#[tokio::test]
async fn the_nearest_vectors_come_first() {
    let engine = engine().await;
    let rows = "(VALUES ('x', [1.0, 0.0]), ('y', [0.0, 2.0]), ('z', [3.0, 3.0]), ('n', NULL)) AS t (id, v)";
    for (metric, expected) in [("", ["x", "z"]), (", 'dot'", ["z", "x"]), (", 'l2'", ["x", "y"])] {
        let call = format!("nearest(id, v, [1.0, 0.4], 2{metric})");
        let sql = format!("SELECT unnest(unnest({call})) FROM {rows}");
        let found = query(&engine, &sql).await;
        let ids: Vec<&str> = found
            .lines()
            .filter_map(|line| line.strip_prefix("| "))
            .filter_map(|line| line.split(' ').next())
            .filter(|id| id.len() == 1)
            .collect();
        assert_eq!(ids, expected, "{metric}: {found}");
    }
    let equal = "(VALUES (3, [1.0, 0.0]), (1, [2.0, 0.0]), (2, [1.0, 0.0])) AS t (id, v)";
    let call = "unnest(nearest(id, v, [1.0, 0.0], 2))";
    let found =
        query(&engine, &format!("SELECT x['id'] AS id FROM (SELECT {call} AS x FROM {equal})"))
            .await;
    assert!(found.contains("| 1  |\n| 2  |"), "{found}");
    for (call, expected) in [
        ("nearest(id, v, [0.0, 0.0], 2)", "the query is 0, which has no angle"),
        ("nearest(id, v, [1e300, 1.0], 2)", "the query has inf; finite 32-bit numbers are needed"),
        ("nearest(DISTINCT id, v, [1.0, 2.0], 2)", "nearest: DISTINCT is not taken"),
        ("nearest(id, v, [1.0], 2)", "a vector of 2 numbers, and a query of 1"),
        ("nearest(id, v, v, 2)", "query is"),
        ("nearest(id, v, [1.0, 2.0], 2, 'far')", "'cosine', 'dot' or 'l2' is needed"),
        ("nearest(id, id, [1.0, 2.0], 2)", "the vector is text; a list of numbers is needed"),
        ("nearest(id, v, [1.0, 2.0])", "3 arguments; expected nearest(id"),
    ] {
        let error = told(&engine, &format!("SELECT {call} FROM {rows}")).await;
        assert_eq!(error.code(), Code::BadInput, "{call}: {}", error.detail());
        assert!(error.to_string().contains(expected), "{call}: {error}");
    }
}

/// What a query gives, a text for each row with its cells.
async fn texts(engine: &Engine, sql: &str) -> Vec<String> {
    let session = session(engine).await;
    let batches = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
    let cell = |batch: &RecordBatch, column: usize, row: usize| {
        arrow::util::display::array_value_to_string(batch.column(column), row).unwrap()
    };
    let row = |batch: &RecordBatch, row: usize| {
        let cells = (0..batch.num_columns()).map(|column| cell(batch, column, row));
        cells.collect::<Vec<_>>().join(" ")
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at))).collect()
}

#[tokio::test]
async fn a_season_and_the_stretch_that_is_like_no_other_are_found() {
    let engine = ten_calls().await;
    // Hours with a day, of which the twentieth has no night.
    let series = "(SELECT to_timestamp(3600 * value) AS at, CASE WHEN value BETWEEN 468 AND 474 THEN 1.0 ELSE \
        sin(value * pi() / 12) + 0.01 * (value * 7 % 11) END AS value FROM generate_series(0, 959) AS t (value))";
    let sql = format!(
        "SELECT s['steps'], s['seconds'], s['strength'] > 0.8, s['p_value'] < 0.001 \
         FROM (SELECT unnest(seasons(at, value)) AS s FROM {series})"
    );
    assert_eq!(texts(&engine, &sql).await[0], "24 86400.0 true true");
    let sql = format!(
        "SELECT date_part('epoch', d['at']) / 3600, date_part('epoch', d['until'] - d['at']) / 3600, d['distance'] > 0 \
         FROM (SELECT unnest(discords(at, value, 24, 1)) AS d FROM {series})"
    );
    let found = texts(&engine, &sql).await;
    let cells: Vec<&str> = found[0].split(' ').collect();
    let at: f64 = cells[0].parse().unwrap();
    assert!((445.0..=474.0).contains(&at), "{found:?}");
    assert_eq!(cells[1..], ["23.0", "true"]);
    // No two of them overlap, and they are a row each.
    let sql = format!(
        "SELECT min(next - at), count(*) FROM (SELECT at, lead(at) OVER (ORDER BY at) AS next FROM \
         (SELECT date_part('epoch', d['at']) / 3600 AS at FROM (SELECT unnest(discords(at, value, 24, 9)) AS d FROM {series})))"
    );
    let apart = texts(&engine, &sql).await;
    let (least, count) = apart[0].split_once(' ').unwrap();
    assert!(least.parse::<f64>().unwrap() >= 24.0 && count == "9", "{apart:?}");
    // A profile has a distance for each stretch, the largest of which is the discord's.
    let sql = format!(
        "SELECT count(*), max(p['distance']) = (SELECT d['distance'] FROM \
         (SELECT unnest(discords(at, value, 24, 1)) AS d FROM {series})) \
         FROM (SELECT unnest(matrix_profile(at, value, 24)) AS p FROM {series})"
    );
    assert_eq!(texts(&engine, &sql).await, ["937 true"]);
    let short = format!(
        "SELECT count(*) FROM (SELECT unnest(discords(at, value, 960, 1)) AS d FROM {series})"
    );
    assert_eq!(texts(&engine, &short).await, ["0"]);
}

#[tokio::test]
async fn the_row_that_is_far_from_all_has_the_highest_score() {
    let engine = ten_calls().await;
    let rows = "(SELECT value AS id, CASE WHEN value = 70 THEN [9.0, -9.0] WHEN value = 80 THEN NULL \
        ELSE [value % 7 / 7.0, value % 5 / 5.0] END AS v FROM generate_series(1, 200) AS t (value))";
    let sql = format!(
        "SELECT s['id'], s['score'] > 0.7 FROM (SELECT unnest(isolation_score(id, v)) AS s FROM {rows}) \
         WHERE s['score'] IS NOT NULL ORDER BY s['score'] DESC LIMIT 1"
    );
    assert_eq!(texts(&engine, &sql).await, ["70 true"]);
    let sql = format!(
        "SELECT count(*), count(s['score']) FROM (SELECT unnest(isolation_score(id, v)) AS s FROM {rows})"
    );
    assert_eq!(texts(&engine, &sql).await, ["200 199"]);
    let long = "SELECT isolation_score(value, range(0, 100000 / value)) FROM generate_series(1, 3) AS t (value)";
    let error = told(&engine, long).await;
    assert!(error.to_string().contains("they must be of one length"), "{error}");
}

#[tokio::test]
async fn the_value_that_carries_a_change_is_told_and_of_neither_period_is_nothing() {
    let engine = ten_calls().await;
    let sql = |per: &str, value: &str| {
        format!(
            "SELECT f['finding'], f['rows_before'], f['rows_after'] FROM (SELECT unnest(explain_change( \
             CASE WHEN id % 3 = 2 THEN NULL ELSE id % 3 = 1 END, named_struct('model', model, 'region', region), {value}, {per})) AS f \
             FROM (SELECT value AS id, concat('m', value / 3 % 4) AS model, CASE WHEN value / 12 % 2 = 0 THEN 'eu' END AS region, \
             value % 3 = 1 AND value / 3 % 4 = 2 AND value / 12 % 2 = 1 AS bad FROM generate_series(0, 5999) AS t (value)))"
        )
    };
    let found = texts(&engine, &sql("1", "CAST(bad AS INT)")).await;
    assert_eq!(found, ["model = m2 and region = (none) 250 250"]);
    assert_eq!(texts(&engine, &sql("NULL", "1")).await, [""; 0]);
    for (wrong, says) in [
        (
            "explain_change(1, named_struct('a', 1), 1, 1)",
            "is_later is int64; a condition is needed",
        ),
        ("explain_change(true, 'a', 1, 1)", "the columns are text"),
        ("explain_change(true, named_struct('a', 1), 'x', 1)", "the value is text"),
        ("discords(at, tokens, 3)", "discords: 3 arguments"),
        ("discords(at, tokens, 3, 1001)", "count is 1001; at most 1000"),
        ("discords(at, tokens, 3, 1) OVER (ORDER BY id)", "discords: OVER is not taken"),
        ("forecast(at, tokens, 3) OVER ()", "forecast: OVER is not taken"),
        ("isolation_score(id, tokens)", "a list of numbers is needed"),
        ("seasons(at)", "seasons: 1 arguments"),
    ] {
        let error = told(&engine, &format!("SELECT {wrong} FROM calls")).await;
        assert!(error.to_string().contains(says), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn rows_that_come_one_by_one_are_kept_together_and_in_order() {
    let engine = ten_calls().await;
    // Each row of the left side meets those of the right by itself.
    let sql = "SELECT g, array_length(c), c[1]['at'] = to_timestamp(1200) FROM (SELECT g, changepoints(to_timestamp(v), \
               CASE WHEN v < 1200 THEN v % 3 ELSE 100 + v % 3 END) AS c FROM (SELECT value AS v FROM generate_series(1, 2000)) \
               CROSS JOIN (SELECT value AS g FROM generate_series(1, 7)) GROUP BY g) ORDER BY g";
    let found = texts(&engine, sql).await;
    assert_eq!(found, (1..=7).map(|g| format!("{g} 1 true")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_computes_ends_with_it() {
    let engine = ten_calls().await;
    let (control, began) = (kernels::Control::new(), std::time::Instant::now());
    // Twenty profiles of ten seconds and more each.
    let sql = "SELECT g, array_length(matrix_profile(to_timestamp(60 * v), sin(v * v), 64)) FROM \
               (SELECT value AS v FROM generate_series(1, 131072)) CROSS JOIN (SELECT value AS g FROM generate_series(1, 20)) GROUP BY g";
    let session = session(&engine).await;
    let stopping = control.clone();
    let query = tokio::spawn(crate::stopped_by(control, async move {
        session.collect(session.sql(sql).await?).await
    }));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(!query.is_finished());
    stopping.cancel();
    query.await.unwrap().unwrap_err();
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds < 20.0, "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_asks_of_each_row_ends_with_it() {
    let engine = ten_calls().await;
    let session = session(&engine).await;
    let (control, began) = (kernels::Control::new(), std::time::Instant::now());
    // Some thousand rows of some hundredths of a second each, which are one call of the function.
    let sql = "SELECT max(levenshtein(repeat('ab', 1500 + v % 2), repeat('ba', 1500))) FROM (SELECT value AS v FROM generate_series(1, 8192))";
    let stopping = control.clone();
    let query = tokio::spawn(crate::stopped_by(control, async move {
        session.collect(session.sql(sql).await?).await
    }));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!query.is_finished());
    stopping.cancel();
    assert_eq!(query.await.unwrap().unwrap_err().code(), Code::Cancelled);
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds < 15.0, "{seconds}");
    // Rows are what they are with all at once, and one that is too much is told.
    let sql = "SELECT sum(levenshtein(repeat('ab', v % 50), 'bab')), count(levenshtein(CASE WHEN v > 9 THEN 'x' END, 'y')) FROM \
               (SELECT value AS v FROM generate_series(1, 1000))";
    let expected: u64 = (1..=1000).map(|v: u64| (2 * (v % 50)).abs_diff(3).max(1)).sum();
    let found = texts(&engine, sql).await;
    assert_eq!(found, [format!("{expected} 991")]);
    let error = told(&engine, "SELECT levenshtein(repeat('a', 4097), repeat('b', 4096))").await;
    assert_eq!(error.code(), Code::LimitExceeded, "{error}");
    // What all rows make is bounded, and not what some of them do.
    let long = "SELECT max(length(regexp_replace(repeat('a', 1000 + v % 2), '.', repeat('b', 200), 'g'))) FROM \
                (SELECT value AS v FROM generate_series(1, 8192))";
    let error = told(&engine, long).await;
    let is_bound = matches!(error.code(), Code::LimitExceeded | Code::ResourcesExhausted);
    assert!(is_bound, "{error}");
}

#[tokio::test]
async fn mistakes_in_a_call_name_the_argument() {
    let engine = ten_calls().await;
    for (call, expected) in [
        ("rolling_median(tokens)", "rolling_median: 1 arguments; expected"),
        ("rolling_median(model, 3)", "rolling_median: the value is text; a number is needed"),
        ("rolling_median(tokens, 0)", "window is 0; a whole number of at least 1 is needed"),
        ("rolling_median(tokens, id)", "it must be a constant in the query"),
        ("rolling_median(tokens, 2.9)", "window is 2.9; a whole number of at least 1 is needed"),
        ("rolling_median(tokens, '3')", "window is 3; a whole number of at least 1 is needed"),
        ("rolling_median(tokens, NULL)", "window is NULL; a whole number of at least 1 is needed"),
        ("rolling_median(tokens, 3, 4)", "rolling_median: least is 4; the window has 3 rows"),
        (
            "rolling_quantile(tokens, 3, 1.5)",
            "rolling_quantile: quantile is 1.5; it must be 0 to 1",
        ),
    ] {
        let error = told(&engine, &format!("SELECT {call} OVER (ORDER BY id) FROM calls")).await;
        assert_eq!(error.code(), Code::BadInput, "{call}: {}", error.detail());
        assert!(error.to_string().contains(expected), "{call}: {error}");
    }
    for (query, expected) in [
        ("SELECT rolling_mean(tokens, 3) OVER () FROM calls", "rolling_mean: OVER has no ORDER BY"),
        (
            "SELECT rolling_mean(tokens, 3) FILTER (WHERE id > 2) OVER (ORDER BY id) FROM calls",
            "FILTER clause can only be used with aggregate window functions",
        ),
        (
            "SELECT rolling_mean(tokens, 3) IGNORE NULLS OVER (ORDER BY id) FROM calls",
            "rolling_mean: IGNORE NULLS or RESPECT NULLS is not taken",
        ),
        ("SELECT rolling_mean(DISTINCT tokens, 3) OVER (ORDER BY id) FROM calls", "DISTINCT"),
        (
            "SELECT id FROM calls WHERE id IN (SELECT anomaly_score(tokens, 3) OVER () FROM calls)",
            "anomaly_score: OVER has no ORDER BY",
        ),
        ("SELECT changepoints(at, model) FROM calls", "changepoints: the value is text"),
        ("SELECT changepoints(at, tokens, 'x') FROM calls", "changepoints: the penalty is text"),
        ("SELECT forecast(at, model, 3) FROM calls", "forecast: the value is text"),
        ("SELECT forecast(at, tokens, 0.5) FROM calls", "forecast: horizon is 0.5; a whole number"),
        ("SELECT corr_matrix(model, at, at) FROM calls", "corr_matrix: the value is timestamp"),
    ] {
        let error = told(&engine, query).await;
        assert_eq!(error.code(), Code::BadInput, "{query}: {}", error.detail());
        assert!(error.to_string().contains(expected), "{query}: {error}");
    }
}

#[test]
fn every_function_is_described() {
    let page = std::fs::read_to_string("../docs/sql.md").unwrap();
    for name in names() {
        assert!(page.contains(&format!("`{name}(")), "docs/sql.md says nothing of {name}");
    }
}

#[tokio::test]
async fn parts_of_values_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let spec = r#"
        name = "orders"
        columns = [
            {name = "id", type = "int32"},
            {name = "address", type = "struct(city: text, lines: list(text))", nullable = true},
            {name = "items", type = "list(struct(sku: text, count: int32))", nullable = true},
            {name = "sizes", type = "map(text, decimal(9,2))", nullable = true},
            {name = "payload", type = "json", nullable = true},
        ]"#;
    let spec = DatasetSpec::from_toml(spec, "orders.toml").unwrap();
    engine.create_dataset(&who(), spec).await.unwrap();
    let lines = [
        r#"{"id": 1, "address": {"city": "Bonn", "lines": ["a", "b"]}, "items": [{"sku": "x", "count": 2}, {"sku": "y"}], "sizes": {"S": 1.10}, "payload": {"a": [{"b": "c"}], "n": 1.10, "big": 12345678901234567890.123456789, "none": null}}"#,
        r#"{"id": 2, "address": {"city": null}, "items": [null], "sizes": {}, "payload": {"a": 5}}"#,
        r#"{"id": 3}"#,
        r#"{"id": 4, "address": {"town": "Ulm"}}"#,
    ];
    let request = IngestRequest { rows: ndjson(&lines.join("\n")), producer: None };
    let receipt = engine.ingest(&who(), &name("orders"), request).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (3, 1));
    let again = lines[0].replace("\"id\": 1", "\"id\": 5");
    let request = IngestRequest { rows: ndjson(&again), producer: None };
    engine.ingest(&who(), &name("orders"), request).await.unwrap();
    engine.compact(&who(), &name("orders")).await.unwrap();
    engine.shutdown().await.unwrap();
    // As another process reads it.
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    for (asked, expected) in [
        ("address['city']", ["Bonn", "", ""]),
        ("address['lines'][2]", ["b", "", ""]),
        ("items[1]['sku']", ["x", "", ""]),
        ("list_part(items, 'sku')", ["[x, y]", "[]", ""]),
        ("array_has(list_part(items, 'count'), 2)", ["true", "false", ""]),
        ("sizes['S']", ["1.10", "", ""]),
        ("map_keys(sizes)", ["[S]", "[]", ""]),
        ("payload -> 'a'", [r#"[{"b": "c"}]"#, "5", ""]),
        ("payload -> 'a' -> 0 ->> 'b'", ["c", "", ""]),
        ("payload ->> 'n'", ["1.10", "", ""]),
        ("payload -> 'n'", ["1.10", "", ""]),
        ("json_get(payload, 'big')", ["12345678901234567890.123456789", "", ""]),
        ("payload -> 'none'", ["", "", ""]),
        ("payload ->> 'n' || '!'", ["1.10!", "", ""]),
        ("payload ->> 'n' = '1.10' AND id = 1", ["true", "false", "false"]),
        ("payload ->> 'n' IS NULL", ["false", "true", "true"]),
        ("json_get_int(payload, 'a')", ["", "5", ""]),
        ("json_get(payload, 'a')", [r#"[{"b": "c"}]"#, "5", ""]),
    ] {
        let sql = format!("SELECT {asked} AS x FROM orders WHERE id < 4 ORDER BY id");
        let session = session(&engine).await;
        let frame = session.sql(&sql).await.unwrap();
        let batches = session.collect(frame).await.unwrap();
        let shown = batches.iter().flat_map(|batch| {
            let shown = |row| arrow::util::display::array_value_to_string(batch.column(0), row);
            (0..batch.num_rows()).map(|row| shown(row).unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{asked}");
    }
    // A chain of arrows is one path, however long.
    let (there, nowhere) = (" -> 'a'".repeat(2), " -> 'b'".repeat(900));
    for chain in [format!("payload{nowhere}"), format!("'{{\"a\": {{\"a\": 1}}}}'{there}{nowhere}")]
    {
        let asked = format!("SELECT count({chain}) AS n FROM orders");
        assert!(query(&engine, &asked).await.contains("| 0 |"), "{chain}");
    }
    let rejected = query(&engine, "SELECT reason FROM orders_quarantine").await;
    assert!(rejected.contains(r#"unknown field "town"; there are city, lines"#), "{rejected}");
    let grouped = query(
        &engine,
        "SELECT address['city'] AS city, count(*) AS n FROM orders GROUP BY 1 ORDER BY 2",
    )
    .await;
    assert!(grouped.contains("| Bonn | 2 |"), "{grouped}");
    for (sql, says) in [
        (
            "SELECT list_part(items, 'nope') FROM orders",
            "there is no field \"nope\"; found sku, count",
        ),
        ("SELECT list_part(id, 'sku') FROM orders", "expected a list of structures, found int32"),
    ] {
        let error = told(&engine, sql).await;
        assert!(error.to_string().contains(says), "{error}");
    }
}
