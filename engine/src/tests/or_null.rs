//! Rows that an expression can't be computed of.

use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{Expr, ident, lit};

use super::*;
use crate::{Code, Uncomputed, WriteMode};

/// Rows of `calls`: a model, and tokens.
async fn called(engine: &Engine, of: &[(Option<&str>, Option<i64>)]) -> Session {
    let ids = Int64Array::from_iter_values(0..of.len() as i64);
    let at = TimestampMicrosecondArray::from_iter_values((0..of.len() as i64).map(|id| id * 1_000));
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(ids)),
        ("at", Arc::new(at.with_timezone("UTC"))),
        ("model", Arc::new(of.iter().map(|row| row.0).collect::<StringArray>())),
        ("tokens", Arc::new(of.iter().map(|row| row.1).collect::<Int64Array>())),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    engine
        .write(&who(), &name("calls"), WriteMode::Append, vec![rows], label("test"))
        .await
        .unwrap();
    engine.session(&who(), &[]).await.unwrap()
}

#[tokio::test]
async fn values_that_are_large_together_end_the_query_and_not_the_process() {
    // With more memory than the bound.
    let options = EngineOptions { memory_budget_bytes: 1 << 30, ..options("memory:") };
    let engine = Engine::open(options).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let session = called(&engine, &vec![(Some("x"), Some(1)); 300]).await;
    let (calls, uncomputed) = (name("calls"), Arc::new(Uncomputed::default()));
    let frame = session.table(&calls).await.unwrap();
    let value = session.safe_expression(&calls, "repeat(model, 2000000)").await.unwrap();
    let value = session.or_null(value, frame.schema(), &uncomputed).unwrap();
    let error = session.collect(frame.select(vec![value]).unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded, "{error}");
    assert!(error.to_string().contains("more than 268435456 bytes"), "{error}");
}

/// The ids of the rows that a condition takes, and what could not be computed of others.
async fn taken(session: &Session, text: &str) -> (Vec<i64>, Vec<(String, u64, String)>) {
    let (calls, uncomputed) = (name("calls"), Arc::new(Uncomputed::default()));
    let frame = session.table(&calls).await.unwrap();
    let condition = session.safe_condition(&calls, text).await.unwrap();
    let condition = session.or_null(condition, frame.schema(), &uncomputed).unwrap();
    let frame = frame.filter(condition).unwrap().select(vec![ident("id")]).unwrap();
    let frame = frame.sort(vec![ident("id").sort(true, false)]).unwrap();
    let mut ids = Vec::new();
    for batch in session.collect(frame).await.unwrap() {
        ids.extend(batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values());
    }
    (ids, uncomputed.told())
}

#[tokio::test]
async fn rows_that_a_condition_can_not_be_computed_of_are_left_out_and_counted() {
    let engine = engine().await;
    let mut of: Vec<_> = (0..300).map(|_| (Some("7"), Some(2))).collect();
    for at in [0, 17, 18, 299] {
        of[at] = (Some("seven"), Some(2));
    }
    of[5] = (Some("3"), Some(0));
    of[6] = (None, Some(i64::MAX));
    let session = called(&engine, &of).await;
    let (ids, told) = taken(&session, "CAST(model AS INT) > 5").await;
    let expected: Vec<i64> = (0..300).filter(|id| ![0, 5, 6, 17, 18, 299].contains(id)).collect();
    assert_eq!(ids, expected);
    let [(_, 4, because)] = told.as_slice() else { panic!("{told:?}") };
    assert!(because.contains("'seven'"), "{because}");
    // What is sure stands beside it; whether it is asked first is the engine's to say.
    let (ids, told) = taken(&session, "CAST(model AS INT) > 5 AND id < 18 AND model <> 'x'").await;
    assert_eq!(ids, (1..17).filter(|id| ![5, 6].contains(id)).collect::<Vec<i64>>());
    assert!((2..=4).contains(&told[0].1), "{told:?}");
    // A sum that is no whole number of 64 bits.
    let (ids, told) = taken(&session, "tokens * 5 > 100 OR id = 1").await;
    assert_eq!((ids, told.len(), told[0].1), (vec![1], 1, 1));
    // Quotients are those of measures.
    let (ids, told) = taken(&session, "1 / tokens > 0.2 AND id < 8 AND 7 % tokens = 1").await;
    assert_eq!((ids, told), (vec![0, 1, 2, 3, 4, 7], vec![]));
}

#[tokio::test]
async fn what_no_row_fails_stays_as_it_is() {
    let engine = engine().await;
    let session = called(&engine, &[(Some("a"), Some(1))]).await;
    let calls = name("calls");
    let schema = session.table(&calls).await.unwrap().schema().clone().strip_qualifiers();
    for (text, stays) in [
        ("model = 'a' AND tokens BETWEEN 1 AND 5", true),
        ("model LIKE 'a%' OR NOT (tokens IS NULL)", true),
        ("at >= '2026-01-01' AND model IN ('a', 'b')", true),
        ("tokens / 3 > 0.5", true),
        ("CASE WHEN tokens > 3 THEN model = 'a' ELSE true END", true),
        ("tokens + 1 > 2", false),
        ("CAST(model AS DOUBLE) > 2", false),
        ("model LIKE model", false),
        ("length(model) > 2", false),
    ] {
        let condition = session.safe_condition(&calls, text).await.unwrap();
        let same = session.or_null(condition.clone(), &schema, &Arc::default()).unwrap();
        assert_eq!(same.to_string() == condition.to_string() && !has_call(&same), stays, "{text}");
    }
}

fn has_call(of: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let is_ours =
        |part: &Expr| Ok(matches!(part, Expr::ScalarFunction(it) if it.name() == "or_null"));
    of.exists(is_ours).unwrap()
}

#[tokio::test]
async fn aggregates_go_on_without_rows_that_can_not_be_computed_and_have_room() {
    let engine = engine().await;
    let most = i64::MAX;
    let of = [(Some("2"), Some(most)), (Some("x"), Some(most)), (Some("3"), None)];
    let session = called(&engine, &of).await;
    let uncomputed = Arc::new(Uncomputed::default());
    let frame = session.table(&name("calls")).await.unwrap();
    let number = session.safe_expression(&name("calls"), "CAST(model AS BIGINT)").await.unwrap();
    let aggregates = [sum(ident("tokens")), sum(number.clone()), count(number), count(lit(1))];
    let aggregates =
        aggregates.map(|of| session.aggregate_or_null(of, frame.schema(), &uncomputed).unwrap());
    let found =
        session.collect(frame.aggregate(vec![], aggregates.to_vec()).unwrap()).await.unwrap();
    let shown = pretty_format_batches(&found).unwrap().to_string();
    let row = shown.lines().nth(3).unwrap();
    let values: Vec<&str> = row.split('|').map(str::trim).filter(|it| !it.is_empty()).collect();
    assert_eq!(values, ["18446744073709551614", "5", "2", "3"]);
    assert_eq!(uncomputed.told()[0].1, 1);
}

/// Jobs ask of the same rows again, and are answered from the run before.
#[tokio::test]
async fn what_jobs_ask_is_the_same_whenever_they_ask() {
    let engine = engine().await;
    let session = called(&engine, &[(Some("2"), Some(1))]).await;
    let calls = name("calls");
    for text in
        ["at > now() - INTERVAL '1 day'", "CAST(at AS DATE) = current_date", "random() < 0.5"]
    {
        let refused = session.safe_condition(&calls, text).await.unwrap_err().to_string();
        assert!(refused.contains("gives another value each time"), "{text}: {refused}");
    }
    let refused = session.safe_expression(&calls, "date_part('hour', now())").await.unwrap_err();
    assert!(refused.to_string().contains("now() gives another value each time"), "{refused}");
    session.safe_condition(&calls, "at > TIMESTAMP '2026-01-01T00:00:00Z'").await.unwrap();
    // Who changes rows asks once.
    session.condition(&calls, "at > now() - INTERVAL '1 day'").await.unwrap();
}
