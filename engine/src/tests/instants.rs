//! Instants from year 1 to 9999 in SQL, in microseconds.

use arrow::array::Array as _;

use super::*;
use crate::Code;

/// DuckDB's results for random instants, from `tests/peers/instants.py`.
const OF_DUCKDB: &str = include_str!("data/instants.csv");

async fn told(engine: &Engine, sql: &str) -> crate::Error {
    let session = session(engine).await;
    match session.sql(sql).await {
        Err(error) => error,
        Ok(frame) => session.collect(frame).await.unwrap_err(),
    }
}

/// The value of an expression, as text.
async fn text(engine: &Engine, expression: &str) -> String {
    let session = session(engine).await;
    let frame = session.sql(&format!("SELECT CAST({expression} AS TEXT) AS x")).await;
    let frame = frame.unwrap_or_else(|error| panic!("{expression}: {error}"));
    let rows = session.collect(frame).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
    let column = rows[0].column(0).as_any().downcast_ref::<StringArray>().unwrap();
    if column.is_valid(0) { column.value(0).to_owned() } else { "NULL".to_owned() }
}

/// Calls in years beyond the range of nanoseconds, and one within it.
async fn far_calls() -> Engine {
    let engine = engine().await;
    let rows = r#"{"id": 1, "at": "0001-01-01T00:00:00Z"}
        {"id": 2, "at": "1600-02-29T12:34:56.789012Z"}
        {"id": 3, "at": "2026-03-29T01:30:00Z"}
        {"id": 4, "at": "2500-07-04T18:45:00Z"}
        {"id": 5, "at": "9999-12-31T23:59:59.999999Z"}"#;
    let request = IngestRequest { rows: ndjson(rows), producer: None };
    assert_eq!(engine.ingest(&who(), &name("calls"), request).await.unwrap().accepted, 5);
    engine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instants_equal_those_of_duckdb() {
    let engine = engine().await;
    let mut lines = OF_DUCKDB.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let session = session(&engine).await;
    let mut compared = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let at = format!("to_timestamp_micros({})", fields[0]);
        let shown = fields[1];
        let mut checks = vec![
            format!("TIMESTAMP '{shown}' = {at}"),
            format!("to_timestamp('{shown}') = {at}"),
            format!("CAST('{shown}Z' AS TIMESTAMP) = {at}"),
            format!("{at} = '{shown}'"),
            format!("'{shown}Z' <= {at} AND {at} BETWEEN '{shown}' AND '{shown}'"),
            format!("{at} IN ('{shown}', '2026-01-01')"),
            format!("to_timestamp('{shown}', '%Y-%m-%dT%H:%M:%S%.f') = {at}"),
            format!("date_trunc('day', '{shown}') = date_trunc('day', {at})"),
            format!("date_part('year', '{shown}') = date_part('year', {at})"),
            format!("({at} > now()) = ({at} > TIMESTAMP '2026-01-01')"),
            format!("nvl(CAST(NULL AS TIMESTAMP), '{shown}') = {at}"),
            format!("CASE {at} WHEN '{shown}' THEN true END"),
            format!("CASE WHEN true THEN {at} ELSE '{shown}' END = {at}"),
            format!("{at} - INTERVAL '1 microsecond' < {at}"),
            format!("CAST({at} AS DATE) = DATE '{}'", &shown[..10]),
            format!("({at} >= DATE '{}') AND (DATE '{}' <= {at})", &shown[..10], &shown[..10]),
        ];
        for (name, value) in header.iter().zip(&fields).skip(2) {
            let (kind, of) = name.split_once(' ').unwrap_or((*name, ""));
            checks.push(match kind {
                "trunc" => format!("CAST(date_trunc('{of}', {at}) AS BIGINT) = {value}"),
                "bin" => format!("CAST(date_bin('{of}', {at}) AS BIGINT) = {value}"),
                "part" => format!("extract({of} FROM {at}) = {value}"),
                _ => format!(
                    "CAST({at} + INTERVAL '1 month' - INTERVAL '2 days' AS BIGINT) = {value}"
                ),
            });
        }
        compared += checks.len();
        let sql = format!(
            "SELECT {}",
            checks
                .iter()
                .enumerate()
                .map(|(n, check)| format!("{check} AS c{n}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let frame = session.sql(&sql).await.unwrap_or_else(|error| panic!("{line}: {error}"));
        let rows = session.collect(frame).await.unwrap_or_else(|error| panic!("{line}: {error}"));
        for (column, check) in rows[0].columns().iter().zip(&checks) {
            let is_so = column.as_any().downcast_ref::<arrow::array::BooleanArray>().unwrap();
            assert!(is_so.is_valid(0) && is_so.value(0), "{shown}: {check}");
        }
    }
    assert!(compared > 2_000, "{compared}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_rows_are_filtered_grouped_and_deleted() {
    let engine = far_calls().await;
    for (condition, expected) in [
        ("at > '2500-01-01T00:00:00Z'", 2),
        ("at >= '9999-12-31'", 1),
        ("at < '1677-01-01'", 2),
        ("'2500-01-01' < at", 2),
        ("at BETWEEN '1500-01-01' AND '3000-01-01'", 3),
        ("at NOT BETWEEN '1500-01-01' AND '3000-01-01'", 2),
        ("at IN ('0001-01-01T00:00:00Z', '2500-07-04T18:45:00Z')", 2),
        ("at = TIMESTAMP '9999-12-31T23:59:59.999999'", 1),
        ("at > DATE '2500-01-01'", 2),
        ("at <> '2026-03-29T01:30:00Z'", 4),
        ("at IS DISTINCT FROM '2026-03-29T01:30:00Z'", 4),
        ("at > now()", 2),
        ("at > now() + INTERVAL '1 year'", 2),
        ("at - INTERVAL '100 years' > '9000-01-01'", 1),
        ("date_trunc('day', at) = '9999-12-31'", 1),
        ("date_bin('1 day', at) = '2500-07-04'", 1),
        ("extract(year FROM at) = 9999", 1),
        ("date_part('year', at) < 1700", 2),
        ("at > to_timestamp('2400-01-01T00:00:00Z')", 2),
        ("at > CAST('2400-01-01T00:00:00Z' AS TIMESTAMP)", 2),
        ("at > to_timestamp(20000000000)", 1),
        ("at >= CAST(16730000000 AS TIMESTAMP)", 2),
        ("nvl(at, '2500-01-01') > '2500-01-01'", 2),
        ("coalesce(at, DATE '2500-01-01') > '2500-01-01'", 2),
        ("greatest(at, '9998-01-01') = at", 1),
        ("at::text LIKE '9999-12-31T23:59:59.999999%'", 1),
        ("at AT TIME ZONE 'Asia/Kolkata' > '2500-01-01'", 2),
        ("at - TIMESTAMP '2500-01-01' > INTERVAL '0 days'", 2),
    ] {
        let sql = format!("SELECT count(*) FROM calls WHERE {condition}");
        assert_eq!(number(&engine, &sql).await, expected, "{condition}");
        // Also as a WHERE condition of `delete` and `export`.
        let session = session(&engine).await;
        if !condition.contains("now()") {
            let filter = session.condition(&name("calls"), condition).await;
            let filter = filter.unwrap_or_else(|error| panic!("{condition}: {error}"));
            let frame = session.table(&name("calls")).await.unwrap().filter(filter).unwrap();
            let rows = session.collect(frame).await;
            let rows = rows.unwrap_or_else(|error| panic!("{condition}: {error}"));
            let found: usize = rows.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(i64::try_from(found).unwrap(), expected, "{condition}");
        }
    }
    let days = "SELECT count(DISTINCT date_trunc('day', at)) FROM calls";
    assert_eq!(number(&engine, days).await, 5);
    let joined = "SELECT count(*) FROM calls JOIN (VALUES ('2500-07-04T18:45:00Z'), ('0001-01-01')) AS v (t) ON at = t";
    assert_eq!(number(&engine, joined).await, 2);
}

#[tokio::test]
async fn instants_in_a_zone_are_truncated_and_binned_in_local_time() {
    let engine = engine().await;
    for (expression, expected) in [
        // Half past six in the evening in UTC is midnight in India.
        (
            "date_bin('1 day', TIMESTAMP '2026-01-01T20:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata')",
            "2026-01-02T00:00:00+05:30",
        ),
        (
            "date_trunc('day', TIMESTAMP '2026-01-01T20:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata')",
            "2026-01-02T00:00:00+05:30",
        ),
        (
            "date_bin('1 month', TIMESTAMP '2026-01-31T20:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata')",
            "2026-02-01T00:00:00+05:30",
        ),
        (
            "date_bin('1 hour', TIMESTAMP '2026-01-01T20:10:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata')",
            "2026-01-02T01:00:00+05:30",
        ),
        (
            "date_bin('7 days', TIMESTAMP '2026-01-01T20:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata', TIMESTAMP '2026-01-05')",
            "2025-12-29T00:00:00+05:30",
        ),
        // Berlin sets its clock forward on 29 March 2026, and back on 25 October.
        (
            "date_bin('1 day', TIMESTAMP '2026-03-29T21:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
            "2026-03-29T00:00:00+01:00",
        ),
        (
            "date_bin('1 day', TIMESTAMP '2026-03-29T22:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
            "2026-03-30T00:00:00+02:00",
        ),
        (
            "date_bin('1 day', TIMESTAMP '2026-10-25T22:30:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
            "2026-10-25T00:00:00+02:00",
        ),
        (
            "date_bin('1 hour', TIMESTAMP '2026-10-25T00:30:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
            "2026-10-25T02:00:00+02:00",
        ),
        (
            "date_bin('1 hour', TIMESTAMP '2026-10-25T01:30:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
            "2026-10-25T02:00:00+01:00",
        ),
        (
            "date_trunc('hour', TIMESTAMP '2026-10-25T01:30:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')",
            "2026-10-25T02:00:00+01:00",
        ),
        // Havana's clock goes back from one to midnight: that day begins once.
        (
            "date_trunc('day', TIMESTAMP '2025-11-02T20:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'America/Havana')",
            "2025-11-02T00:00:00-04:00",
        ),
        // Beirut's goes forward at midnight: that day begins at one.
        (
            "date_trunc('day', TIMESTAMP '2025-03-30T10:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Beirut')",
            "2025-03-30T01:00:00+03:00",
        ),
        (
            "date_bin('1 day', TIMESTAMP '9999-06-01T20:00:00Z' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata')",
            "9999-06-02T00:00:00+05:30",
        ),
        (
            "date_bin('1 day', TIMESTAMP '2026-01-01T20:00:00Z' AT TIME ZONE 'UTC')",
            "2026-01-01T00:00:00Z",
        ),
        ("date_bin('1 day', CAST(NULL AS TIMESTAMP))", "NULL"),
        ("date_bin(NULL, TIMESTAMP '2026-01-01')", "NULL"),
        ("date_bin('1 day', TIMESTAMP '2026-01-01', NULL)", "NULL"),
        ("date_bin('15 minutes', TIME '02:18:18')", "02:15:00"),
        (
            "date_bin('1 month', TIMESTAMP '2026-03-10', TIMESTAMP '2026-01-15')",
            "2026-02-15T00:00:00",
        ),
        ("to_timestamp(1.5)", "1970-01-01T00:00:01.500Z"),
        ("to_timestamp(1700000000.123456)", "2023-11-14T22:13:20.123456Z"),
        ("CAST(1700000000 AS TIMESTAMP)", "2023-11-14T22:13:20"),
        ("to_timestamp_seconds('2500-01-01T00:00:00Z')", "2500-01-01T00:00:00Z"),
        ("to_timestamp_millis('0001-01-01T00:00:00Z')", "0001-01-01T00:00:00Z"),
        ("to_timestamp('04.07.2500 18:45', '%d.%m.%Y %H:%M')", "2500-07-04T18:45:00Z"),
        (
            "to_timestamp('2025-07-04 18:45 Europe/Berlin', '%Y-%m-%d %H:%M %Z')",
            "2025-07-04T16:45:00Z",
        ),
        ("to_unixtime('2500-01-01T00:00:00Z')", "16725225600"),
        ("date_part('epoch', TIMESTAMP '2500-01-01')", "16725225600.0"),
    ] {
        assert_eq!(text(&engine, expression).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn series_of_instants_go_from_year_1_to_9999() {
    let engine = engine().await;
    for (sql, expected) in [
        (
            "SELECT count(*) FROM generate_series(TIMESTAMP '0001-01-01', TIMESTAMP '9999-12-31', INTERVAL '1 year')",
            9_999,
        ),
        (
            "SELECT count(*) FROM range(TIMESTAMP '0001-01-01', TIMESTAMP '9999-01-01', INTERVAL '1 year')",
            9_998,
        ),
        (
            "SELECT count(*) FROM generate_series(DATE '2026-01-01', DATE '2026-01-31', INTERVAL '1 day')",
            31,
        ),
        (
            "SELECT count(*) FROM generate_series(TIMESTAMP '2500-01-03', TIMESTAMP '2500-01-01', INTERVAL '-1 day')",
            3,
        ),
        (
            "SELECT count(*) FROM generate_series(TIMESTAMP '2500-01-03', TIMESTAMP '2500-01-01', INTERVAL '1 day')",
            0,
        ),
        ("SELECT count(*) FROM generate_series(TIMESTAMP '2500-01-03', NULL, INTERVAL '1 day')", 0),
        (
            "SELECT count(*) FROM generate_series(TIMESTAMP '2500-01-01', TIMESTAMP '2500-01-02', INTERVAL '1 second')",
            86_401,
        ),
        (
            "SELECT count(*) FROM (SELECT unnest(generate_series(TIMESTAMP '2500-01-01', TIMESTAMP '2500-01-31', INTERVAL '1 day')))",
            31,
        ),
        (
            "SELECT count(*) FROM (SELECT unnest(range(TIMESTAMP '2500-01-01', TIMESTAMP '2500-01-31', INTERVAL '1 day')))",
            30,
        ),
        (
            "SELECT count(*) FROM generate_series(TIMESTAMP '2500-01-01', TIMESTAMP '2500-01-03', INTERVAL '1 day') AS a (x) JOIN generate_series(TIMESTAMP '2500-01-02', TIMESTAMP '2500-01-05', INTERVAL '1 day') AS b (y) ON x = y",
            2,
        ),
    ] {
        assert_eq!(number(&engine, sql).await, expected, "{sql}");
    }
    // The end of January plus a month is the end of February; the next step continues from there.
    let months = "array_to_string(generate_series(TIMESTAMP '2026-01-31', TIMESTAMP '2026-04-01', INTERVAL '1 month'), ' ')";
    assert_eq!(
        text(&engine, months).await,
        "2026-01-31T00:00:00 2026-02-28T00:00:00 2026-03-28T00:00:00"
    );
    for sql in [
        "SELECT generate_series(TIMESTAMP '0001-01-01', TIMESTAMP '9999-12-31', INTERVAL '1 microsecond')",
        "SELECT * FROM generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '1 nanosecond')",
    ] {
        let error = told(&engine, sql).await;
        assert!(matches!(error.code(), Code::LimitExceeded | Code::BadInput), "{sql}: {error}");
    }
}

#[tokio::test]
async fn only_explicit_requests_return_nanoseconds() {
    let engine = engine().await;
    for (expression, expected) in [
        ("arrow_typeof(TIMESTAMP '2026-01-01')", "Timestamp(µs)"),
        ("arrow_typeof(now())", "Timestamp(µs, \"UTC\")"),
        ("arrow_typeof(to_timestamp('2026-01-01'))", "Timestamp(µs, \"UTC\")"),
        ("arrow_typeof(CAST('2026-01-01' AS TIMESTAMP(9)))", "Timestamp(ns)"),
        ("arrow_typeof(to_timestamp_nanos('2026-01-01'))", "Timestamp(ns)"),
        (
            "to_timestamp_nanos('2026-01-01T00:00:00.123456789Z') > '2026-01-01T00:00:00.123456788Z'",
            "true",
        ),
        (
            "date_trunc('hour', to_timestamp_nanos('2026-01-01T01:00:00.123456789Z'))",
            "2026-01-01T01:00:00",
        ),
        (
            "date_bin('1 hour', to_timestamp_nanos('2026-01-01T01:30:00.123456789Z'))",
            "2026-01-01T01:00:00",
        ),
    ] {
        assert_eq!(text(&engine, expression).await, expected, "{expression}");
    }
}

/// `AT TIME ZONE` shows an instant in the local time of a zone, and takes a text without an offset as local time.
#[tokio::test]
async fn instants_are_converted_and_local_times_are_read_in_a_zone() {
    let engine = far_calls().await;
    let noon = "TIMESTAMP '2026-01-01T12:00:00Z'";
    for (expression, expected) in [
        (format!("{noon} AT TIME ZONE 'Asia/Kolkata'"), "2026-01-01T17:30:00+05:30"),
        (
            "TIMESTAMP '2026-01-01T12:00:00+05:00' AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2026-01-01T08:00:00+01:00",
        ),
        (
            "CAST('2026-01-01 12:00:00Z' AS TIMESTAMP) AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2026-01-01T13:00:00+01:00",
        ),
        (
            "to_timestamp('2026-01-01T12:00:00Z') AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2026-01-01T13:00:00+01:00",
        ),
        (
            "to_timestamp_seconds(1767268800) AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2026-01-01T13:00:00+01:00",
        ),
        (
            "TIMESTAMP '2026-01-01T12:00:00 EST' AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2026-01-01T18:00:00+01:00",
        ),
        (
            "TIMESTAMP '2026-07-01T12:00:00 Europe/Berlin' AT TIME ZONE 'Asia/Kolkata'".to_owned(),
            "2026-07-01T15:30:00+05:30",
        ),
        (
            "TIMESTAMP '2026-01-01 12:00:00' AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2026-01-01T12:00:00+01:00",
        ),
    ] {
        let found = query(&engine, &format!("SELECT CAST({expression} AS text) AS x")).await;
        assert!(found.contains(expected), "{expression}: {found}");
    }
    for condition in [
        "now() AT TIME ZONE 'Asia/Kolkata' = now()",
        "current_timestamp AT TIME ZONE 'Europe/Berlin' = current_timestamp",
        &format!("{noon} AT TIME ZONE 'Asia/Kolkata' = to_timestamp('2026-01-01T12:00:00Z')"),
    ] {
        let sql = format!("SELECT CAST(count(*) AS bigint) FROM (SELECT 1) WHERE {condition}");
        assert_eq!(number(&engine, &sql).await, 1, "{condition}");
    }
}
