#![allow(clippy::unwrap_used)]

use super::*;
use crate::kinds::trends::Trends;
use crate::testing::{append, engine};

const FOUND: &str = "SELECT * FROM trends ORDER BY series, kind, at, from_at";

#[tokio::test]
async fn what_is_told_of_trends() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    append(&engine, "metrics", &shapes(420, 24, 3_600)).await;
    calls(&engine, 300).await;
    for more in [
        json!({}),
        json!({ "max_q": 0.3, "min_difference": 0.0, "min_level": 4, "record_intervals": 200 }),
        json!({ "min_difference": 3.5, "min_level": 60, "record_intervals": 0, "history": 300 }),
        json!({ "interval": "2h", "to": "2026-01-14T05:00:00Z", "record_intervals": 1 }),
        json!({ "interval": "6h", "from": "2026-01-03T00:00:00Z", "series": ["step", "gaps", "rising"] }),
        json!({ "dataset": "calls", "series_column": "model", "measure": "sum(cost)", "interval": "3h" }),
        json!({ "dataset": "calls", "series_column": null, "measure": "avg(took)", "interval": "1h", "where": "team <> 't1'" }),
    ] {
        run(&engine, &mut pinned, "trends", more, &[FOUND]).await;
    }
    taken(
        &mut pinned,
        &Trends,
        &[
            json!({ "max_q": 0.0 }),
            json!({ "max_q": 1.0 }),
            json!({ "max_q": 1.1 }),
            json!({ "max_q": -1.0 }),
            json!({ "min_difference": 0.0 }),
            json!({ "min_difference": -0.1 }),
            json!({ "min_level": 1 }),
            json!({ "min_level": 2 }),
            json!({ "min_level": 100 }),
            json!({ "min_level": 101 }),
            json!({ "record_intervals": 10_000 }),
            json!({ "record_intervals": 10_001 }),
            json!({ "history": 7 }),
            json!({ "history": 8 }),
            json!({ "history": 100_000 }),
            json!({ "history": 100_001 }),
            json!({ "measure": "count(*)" }),
            json!({ "empty": "zero" }),
            json!({ "interval": "1h", "empty": "zero" }),
            json!({ "measure": "count(*)", "interval": "1h", "empty": "zero" }),
            json!({ "from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z" }),
        ],
    );
    assert_eq!(pinned.against("trends"), Ok(()));
}
