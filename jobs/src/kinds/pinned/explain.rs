#![allow(clippy::unwrap_used)]

use super::*;
use crate::kinds::explain::Explain;
use crate::testing::engine;

const FOUND: &str = "SELECT * FROM explanations ORDER BY question, rank";

/// Calls of two days, of models, regions, tiers and users; the second day is another one in some ways.
async fn days(engine: &Engine, count: usize) {
    let mut noise = Noise::new(90);
    let (mut at, mut models, mut regions, mut users) = (vec![], vec![], vec![], vec![]);
    let (mut tiers, mut costs, mut failed, mut tokens) = (vec![], vec![], vec![], vec![]);
    for day in 0..2_i64 {
        for call in 0..count {
            let pick =
                |of: f64, noise: &mut Noise| ((noise.uniform() * of) as usize).min(of as usize - 1);
            let (model, region, tier) =
                (pick(4.0, &mut noise), pick(3.0, &mut noise), pick(2.0, &mut noise));
            if day == 1 && region == 2 && noise.uniform() < 0.4 {
                continue;
            }
            let dear = if day == 1 && model == 2 && region == 1 { 2.5 } else { 1.0 };
            let fails = if day == 1 && tier == 0 && model == 0 { 0.3 } else { 0.05 };
            at.push((BEGIN_S + day * 86_400 + call as i64 * 20) * 1_000_000);
            models.push(format!("m{model}"));
            regions.push((region > 0).then(|| format!("r{region}")));
            tiers.push(Some(tier == 0));
            users.push(format!("u{}", pick(1_500.0, &mut noise)));
            costs.push((noise.uniform() > 0.01).then(|| dear * (1.0 + noise.uniform())));
            failed.push(Some(f64::from(u8::from(noise.uniform() < fails))));
            tokens.push(Some(100.0 + 50.0 * noise.uniform() + 9.0 * model as f64));
        }
    }
    let at = Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")) as ArrayRef;
    let columns = [
        ("at", ColumnType::Timestamp, at),
        ("model", ColumnType::Text, texts(models)),
        ("region", ColumnType::Text, Arc::new(StringArray::from(regions)) as ArrayRef),
        ("tier", ColumnType::Bool, Arc::new(arrow::array::BooleanArray::from(tiers))),
        ("user", ColumnType::Text, texts(users)),
        ("cost", ColumnType::Float64, floats(costs)),
        ("failed", ColumnType::Float64, floats(failed)),
        ("tokens", ColumnType::Float64, floats(tokens)),
    ];
    write(engine, "calls", engine::WriteMode::Append, &columns).await;
}

fn asked(more: &Value) -> Value {
    let days = json!({
        "dataset": "calls", "time_column": "at", "from": "2026-01-02T00:00:00Z", "to": "2026-01-03T00:00:00Z",
    });
    and(days, more)
}

#[tokio::test]
async fn what_explains_changes() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    days(&engine, 3_000).await;
    for more in [
        json!({}),
        json!({ "measure": "sum(cost)" }),
        json!({ "measure": "sum(cost) / count(*)" }),
        json!({ "measure": "avg(cost)", "dimensions": ["model", "region"] }),
        json!({ "measure": "sum(failed) / count(*)" }),
        json!({ "measure": "avg(failed)", "where": "tier", "depth": 1 }),
        json!({ "measure": "sum(cost) / sum(tokens)", "explained": 1.0, "findings_max": 30, "significance": 0.5 }),
        json!({ "measure": "median(cost)" }),
        json!({ "measure": "approx_percentile_cont(cost, 0.95)", "dimensions": ["region", "model", "tier"] }),
        json!({ "measure": "approx_percentile_cont(cost, 0.2)", "depth": 2, "findings_max": 2 }),
        json!({ "measure": "count(*) FILTER (WHERE failed > 0)" }),
        json!({ "measure": "sum(cost - 1.5)", "dispersion": 4.0 }),
        json!({ "measure": "sum(-cost)", "depth": 4 }),
        json!({ "measure": "count(cost)", "before_from": "2026-01-01T03:00:00Z", "before_to": "2026-01-01T15:00:00Z" }),
        json!({ "measure": "sum(tokens)", "from": "2026-01-01T12:00:00Z", "to": "2026-01-01T18:00:00Z", "dispersion": 0.5 }),
        json!({ "measure": "avg(tokens)", "from": "2026-01-05T12:00:00Z", "to": "2026-01-06T18:00:00Z", "before_from": "2026-01-01T00:00:00Z" , "before_to": "2026-01-02T00:00:00Z", "dimensions": ["model"] }),
        json!({ "measure": "sum(cost)", "dimensions": ["user"], "significance": 1.0 }),
        json!({ "before_from": "2025-11-01T00:00:00Z", "before_to": "2025-12-01T00:00:00Z" }),
        json!({ "from": "2026-03-02T00:00:00Z", "to": "2026-03-03T00:00:00Z" }),
    ] {
        let params = asked(&more);
        run(
            &engine,
            &mut pinned,
            "explain",
            and(params, &json!({ "output": "explanations" })),
            &[],
        )
        .await;
    }
    let found = rows(&engine, FOUND).await;
    pinned.text("all", &found);
    let columns = |count: usize| {
        asked(&json!({ "dimensions": (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>() }))
    };
    let with = |more: Value| asked(&more);
    taken(
        &mut pinned,
        &Explain,
        &[
            columns(24),
            columns(25),
            with(json!({ "depth": 0 })),
            with(json!({ "depth": 1 })),
            with(json!({ "depth": 4 })),
            with(json!({ "depth": 5 })),
            with(json!({ "findings_max": 0 })),
            with(json!({ "findings_max": 100 })),
            with(json!({ "findings_max": 101 })),
            with(json!({ "explained": 0.0 })),
            with(json!({ "explained": 1.0 })),
            with(json!({ "explained": 1.1 })),
            with(json!({ "significance": 0.0 })),
            with(json!({ "significance": 1.5 })),
            with(json!({ "dispersion": 0.0 })),
            with(json!({ "dispersion": 1e9 })),
            with(json!({ "from": null })),
            with(json!({ "to": null })),
            with(json!({ "to": "2026-01-02T00:00:00Z" })),
            with(json!({ "before_to": "2026-01-02T00:00:00Z" })),
            with(json!({ "before_to": "2026-01-02T00:00:01Z" })),
            with(
                json!({ "before_from": "2026-01-03T00:00:00Z", "before_to": "2026-01-04T00:00:00Z" }),
            ),
            with(
                json!({ "before_from": "2026-01-02T23:59:59Z", "before_to": "2026-01-04T00:00:00Z" }),
            ),
            with(json!({ "before_from": "2026-01-02T00:00:00Z" })),
            with(json!({ "dimensions": ["a", "a"] })),
        ],
    );
    assert_eq!(pinned.against("explain"), Ok(()));
}
