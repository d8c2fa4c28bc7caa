//! Aggregates over moving windows: rows that have left the window leave no trace.

use super::*;

/// The value of `expression` for each row, in order.
async fn column(engine: &Engine, expression: &str, rows: &str) -> Vec<Option<f64>> {
    let session = session(engine).await;
    let sql = format!(
        "SELECT CAST({expression} OVER (ORDER BY i ROWS 2 PRECEDING) AS DOUBLE) AS x FROM (VALUES {rows}) AS t (i, v, w) ORDER BY i"
    );
    let frame = session.sql(&sql).await.unwrap();
    let batches = session.collect(frame).await.unwrap();
    let floats = batches.iter().flat_map(|batch| {
        let column = batch.column(0).as_any().downcast_ref::<arrow::array::Float64Array>();
        column.unwrap().iter().collect::<Vec<_>>()
    });
    floats.collect()
}

const ROWS: &str =
    "(1, 1e9, 3.0), (2, 1e9, -1e12), (3, 0.5, 1.0), (4, 0.25, 2.0), (5, 0.75, 4.0), (6, NULL, 1.0)";

#[tokio::test]
async fn large_values_leave_no_trace_after_they_leave_a_window() {
    let engine = engine().await;
    // Computed by hand for 0.5, 0.25, 0.75 and 1, 2, 4.
    let (sxx, syy, sxy): (f64, f64, f64) = (0.125, 14.0 / 3.0, 0.5);
    for (expression, expected) in [
        ("stddev(v)", 0.25),
        ("stddev_samp(v)", 0.25),
        ("stddev_pop(v)", (sxx / 3.0).sqrt()),
        ("var(v)", 0.0625),
        ("var_samp(v)", 0.0625),
        ("var_pop(v)", sxx / 3.0),
        ("covar_samp(v, w)", sxy / 2.0),
        ("covar_pop(v, w)", sxy / 3.0),
        ("corr(v, w)", sxy / (sxx * syy).sqrt()),
        ("regr_slope(w, v)", sxy / sxx),
        ("regr_intercept(w, v)", 7.0 / 3.0 - sxy / sxx * 0.5),
        ("regr_r2(w, v)", sxy * sxy / (sxx * syy)),
        ("regr_avgx(w, v)", 0.5),
        ("regr_avgy(w, v)", 7.0 / 3.0),
        ("regr_sxx(w, v)", sxx),
        ("regr_syy(w, v)", syy),
        ("regr_sxy(w, v)", sxy),
        ("regr_count(w, v)", 3.0),
        ("sum(v)", 1.5),
        ("avg(v)", 0.5),
        ("avg(w)", 7.0 / 3.0),
    ] {
        let found = column(&engine, expression, ROWS).await[4].unwrap();
        assert!((found - expected).abs() <= 1e-14 * expected.abs(), "{expression}: {found}");
    }
    // Two of the last three rows have a value.
    assert_eq!(column(&engine, "var(v)", ROWS).await[5], Some(0.125));
    assert_eq!(column(&engine, "var(v)", ROWS).await[0], None);
    assert_eq!(column(&engine, "stddev_pop(v)", ROWS).await[0], Some(0.0));
}

#[tokio::test]
async fn infinity_and_nan_leave_no_trace_in_a_window() {
    let engine = engine().await;
    for odd in ["'Infinity'", "'-Infinity'", "'NaN'"] {
        let rows = format!(
            "(1, CAST({odd} AS DOUBLE), 1.0), (2, 1.0, 2.0), (3, 2.0, 4.0), (4, 4.0, 5.0), (5, 4.0, 7.0)"
        );
        assert_eq!(column(&engine, "sum(v)", &rows).await[3..], [Some(7.0), Some(10.0)], "{odd}");
        assert_eq!(column(&engine, "avg(v)", &rows).await[3], Some(7.0 / 3.0), "{odd}");
        assert!(!column(&engine, "sum(v)", &rows).await[2].unwrap().is_finite(), "{odd}");
        for expression in ["var(v)", "corr(v, w)", "regr_slope(w, v)"] {
            let found = column(&engine, expression, &rows).await[3].unwrap();
            assert!(found.is_finite() && found > 0.0, "{odd}: {expression}: {found}");
        }
    }
}

#[tokio::test]
async fn a_sum_over_a_window_is_compensated() {
    let engine = engine().await;
    let rows = "(1, 1e16, 0.0), (2, 1.0, 0.0), (3, -1e16, 0.0), (4, 1.0, 0.0), (5, 1.0, 0.0)";
    let sums = column(&engine, "sum(v)", rows).await;
    assert_eq!(sums[2..], [Some(1.0), Some(-1e16 + 2.0), Some(-1e16 + 2.0)]);
    assert_eq!(column(&engine, "avg(v)", rows).await[2], Some(1.0 / 3.0));
}

/// Compares windows of several lengths, over values of many magnitudes, with aggregates of their rows alone.
#[tokio::test]
async fn every_window_equals_the_aggregate_of_its_rows() {
    let engine = engine().await;
    let values = "SELECT value AS i, CASE WHEN value % 7 = 0 THEN NULL WHEN value % 11 = 0 THEN 1e12 ELSE sin(value * 3) * pow(10, value % 5) END AS v,
        cos(value) + value % 3 AS w FROM generate_series(1, 300)";
    for (frame, low, high) in [
        ("ROWS BETWEEN 3 PRECEDING AND CURRENT ROW", -3, 0),
        ("ROWS BETWEEN 40 PRECEDING AND 5 PRECEDING", -40, -5),
        ("ROWS BETWEEN 2 FOLLOWING AND 9 FOLLOWING", 2, 9),
        ("RANGE BETWEEN 10 PRECEDING AND 10 FOLLOWING", -10, 10),
        ("ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", -1_000, 0),
    ] {
        for of in [
            "stddev(v)",
            "var_pop(v)",
            "avg(v)",
            "covar_samp(v, w)",
            "corr(v, w)",
            "regr_slope(w, v)",
        ] {
            let of_pairs = of.replace("v)", "b.v)").replace("(w", "(b.w").replace("(v,", "(b.v,");
            let of_pairs = of_pairs.replace(" w)", " b.w)");
            let sql = format!(
                "WITH t AS ({values}), windows AS (SELECT i, {of} OVER (ORDER BY i {frame}) AS x FROM t),
                 alone AS (SELECT a.i, {of_pairs} AS y FROM t a LEFT JOIN t b ON b.i BETWEEN a.i + {low} AND a.i + {high} GROUP BY a.i)
                 SELECT count(*) FROM windows JOIN alone USING (i)
                 WHERE (x IS NULL) <> (y IS NULL) OR isnan(x) <> isnan(y) OR abs(x - y) > 1e-9 * greatest(abs(y), 1e-3)"
            );
            assert_eq!(number(&engine, &sql).await, 0, "{of} {frame}");
        }
    }
}
