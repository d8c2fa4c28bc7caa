//! All that runs of kinds that look at series and changes say of made data, held against files. See [`crate::pinned`].

mod anomalies;
mod correlate;
mod explain;
mod forecast;
mod trends;

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::pinned::Pinned;
use analysis::series::Series;
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::Engine;
use serde_json::{Value, json};

use crate::job::Job;
use crate::testing::{Noise, append, engine, record_of, rows, sampled, submitted_within, write};

/// Where made series begin: 2026-01-01, a Thursday.
const BEGIN_S: i64 = 1_767_225_600;

/// Adds what a run says, and what it commits: of each query its rows.
async fn run(engine: &Engine, pinned: &mut Pinned, job: &str, params: Value, queries: &[&str]) {
    let record = record_of(engine, job, params.clone()).await;
    pinned.text(&format!("{job} {params}"), &[timeless(record.summary).to_string()]);
    let stages = record.stages.into_iter().map(|of| {
        let (name, device, rows) = (of.name, of.device, [of.rows_in, of.rows_out]);
        format!("{name} {device} {rows:?} {}", timeless(of.facts))
    });
    pinned.text("stages", &stages.collect::<Vec<_>>());
    for query in queries {
        pinned.text(query, &rows(engine, query).await);
    }
}

/// Without how long something took, which is another thing each time.
fn timeless(mut of: Value) -> Value {
    if let Some(fields) = of.as_object_mut() {
        fields.retain(|name, _| !name.ends_with("seconds"));
    }
    of
}

/// What kinds say of themselves, and the columns of what they commit.
#[test]
fn kinds_and_their_columns() {
    let mut pinned = Pinned::default();
    let kinds: [&dyn Job; 5] = [
        &super::anomalies::Anomalies,
        &super::correlate::Correlate,
        &super::explain::Explain,
        &super::forecast::Forecast,
        &super::trends::Trends,
    ];
    for kind in kinds {
        let of = (kind.name(), kind.revision(), kind.row_bytes(), kind.uses_gpu());
        pinned.line("kind", &of);
        pinned.text(
            "parameters",
            &[kind.canonical(&json!({})).map_or_else(|e| e.to_string(), |of| of.to_string())],
        );
        let no_params = json!({});
        pinned.line("reads", &(kind.inputs(&no_params), kind.reads_where_there(&no_params)));
        let own = kind.own_outputs();
        let outputs = kind.outputs(&no_params).unwrap_or_default();
        for spec in outputs.iter().chain(&own) {
            pinned.line("dataset", &(&spec.name, &spec.key, &spec.time_column, spec.derived));
            let columns = spec.columns.iter();
            let columns = columns.map(|of| {
                let unit = of.unit.as_deref().unwrap_or("-");
                format!("{} {:?} {} {unit}", of.name, of.data_type, of.nullable)
            });
            pinned.text("columns", &columns.collect::<Vec<_>>());
        }
    }
    assert_eq!(pinned.against("kinds"), Ok(()));
}

/// What runs say that have little memory.
#[tokio::test]
async fn within_little_memory() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    append(&engine, "metrics", &shapes(700, 48, 1_800)).await;
    // A few more samples than are looked at together.
    let many = (0..44).map(|at| {
        let mut noise = Noise::new(at);
        sampled(&format!("s{at:03}"), 60, (0..1_500).map(|_| noise.normal()).collect())
    });
    append(&engine, "many", &many.collect::<Vec<_>>()).await;
    calls(&engine, 300).await;
    let of_many = |more: Value| and(json!({ "dataset": "many" }), &more);
    let [little, more] = [4 << 20, 16 << 20];
    for (budget, job, params) in [
        (little, "forecast", json!({ "horizon": 700 })),
        (more, "forecast", json!({ "horizon": 1_800 })),
        (little, "forecast", of_many(json!({ "horizon": 1, "history": 8 }))),
        (
            little,
            "forecast",
            of_many(json!({ "horizon": 1, "history": 8, "parents": { "s043": "a" } })),
        ),
        (little, "anomalies", of_many(json!({ "window_samples": 16 }))),
        (little, "anomalies", of_many(json!({ "joint": true }))),
        (24 << 20, "anomalies", of_many(json!({ "joint": true, "window_samples": 20 }))),
        (little, "anomalies", of_many(json!({ "method": "online" }))),
        (
            little,
            "anomalies",
            of_many(json!({ "method": "columns", "columns": ["value"], "series_column": null })),
        ),
        (little, "trends", of_many(json!({ "record_intervals": 1, "history": 8 }))),
        (little, "correlate", of_many(json!({ "max_lag": 1, "min_coefficient": 0.9 }))),
        (
            little,
            "explain",
            of_many(json!({
                "time_column": "at", "dimensions": ["series"],
                "from": "2026-01-01T12:00:00Z", "to": "2026-01-02T00:00:00Z",
            })),
        ),
    ] {
        let says = match submitted_within(&engine, job, params.clone(), budget).await {
            Err(error) => error.to_string(),
            Ok(record) => {
                let facts = record.stages.iter().map(|of| timeless(of.facts.clone()).to_string());
                let facts: Vec<String> = facts.filter(|facts| facts.contains("max")).collect();
                let says = format!("{} {}", record.state, facts.join(" "));
                record.error.map_or(says, |error| error.message)
            }
        };
        pinned.text(&format!("{job} {params} {budget}"), &[says]);
    }
    assert_eq!(pinned.against("little_memory"), Ok(()));
}

/// Adds whether parameters are taken, and why not.
fn taken(pinned: &mut Pinned, job: &dyn Job, params: &[Value]) {
    for params in params {
        let says = job.canonical(params).map_or_else(|error| error.to_string(), |_| "taken".into());
        pinned.text(&params.to_string(), &[says]);
    }
}

/// `with` and more.
fn and(mut with: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        with[name] = value.clone();
    }
    with
}

fn wave(at: usize, length: usize, height: f64) -> f64 {
    height * (at as f64 / length as f64 * TAU).sin()
}

/// Series of many shapes, a sample every `interval_s` seconds, of which `day` are a day.
fn shapes(count: usize, day: usize, interval_s: i64) -> Vec<Series> {
    let made = |name: &str, seed: u64, of: &dyn Fn(usize, f64) -> f64| {
        let mut noise = Noise::new(seed);
        let values = (0..count).map(|at| of(at, noise.normal())).collect();
        sampled(name, interval_s, values)
    };
    let drift = |at: usize| at as f64 / count as f64;
    let late = |at: usize| f64::from(u8::from(at >= count * 3 / 5));
    let mut walk = Noise::new(50);
    let mut place = 0.0;
    let walk: Vec<f64> = (0..count)
        .map(|_| {
            place += walk.normal();
            place
        })
        .collect();
    let mut rare = Noise::new(51);
    let rare: Vec<f64> = (0..count)
        .map(|_| if rare.uniform() < 0.12 { (1.0 + 9.0 * rare.uniform()).floor() } else { 0.0 })
        .collect();
    let mut all = vec![
        made("noise", 1, &|_, noise| 50.0 + noise),
        made("day", 2, &|at, noise| 50.0 + wave(at, day, 10.0) + noise),
        made("week", 3, &|at, noise| 80.0 + wave(at, day, 10.0) + wave(at, 7 * day, 15.0) + noise),
        made("rising", 4, &|at, noise| 20.0 + 30.0 * drift(at) + wave(at, day, 5.0) + noise),
        made("step", 5, &|at, noise| 30.0 + 9.0 * late(at) + noise),
        made("spikes", 6, &|at, noise| {
            10.0 + noise + if at % (count / 3) == count / 4 { 25.0 } else { 0.0 }
                - if at == count / 2 { 40.0 } else { 0.0 }
        }),
        made("growing", 7, &|at, noise| {
            (40.0 + wave(at, day, 20.0)) * (1.0 + drift(at)) + 2.0 * noise
        }),
        made("swing", 8, &|at, noise| wave(at, day, 4.0 + 8.0 * late(at)) + noise),
        made("loud", 9, &|at, noise| -5.0 + noise * (1.0 + 4.0 * late(at))),
        made("counts", 10, &|at, noise| (4.0 + wave(at, day, 3.0) + 1.5 * noise).round().max(0.0)),
        made("constant", 11, &|_, _| 7.0),
        made("stuck", 12, &|at, noise| {
            if (count / 2..count * 2 / 3).contains(&at) { 3.0 } else { 3.0 + noise }
        }),
        made("total", 16, &|at, noise| 3.0 * at as f64 + noise.abs()),
        made("fewer", 17, &|at, noise| 900.0 - at as f64 - 0.1 * noise.abs()),
        made("newest", 18, &|at, noise| {
            20.0 + noise + if at + 4 == count { 9.0 } else { 0.0 }
                - if at + 9 == count { 8.0 } else { 0.0 }
        }),
        sampled("rare", interval_s, rare),
        sampled("walk", interval_s, walk),
        sampled("nothing", interval_s, vec![f64::NAN; 30]),
        sampled("short", interval_s, (0..9).map(|at| f64::from(at % 4)).collect()),
        sampled("one", interval_s, vec![1.5]),
    ];
    // One shape that is like no other, though each value is usual.
    let mut odd = made("shape", 13, &|at, noise| wave(at, day / 2, 10.0) + 0.3 * noise);
    let from = count * 5 / 8 / day * day;
    (0..day / 2).for_each(|at| odd.values[from + at] = wave(at, day / 4, 10.0));
    // Gaps, long and short, and instants off the grid or twice.
    let mut gaps = made("gaps", 14, &|at, noise| 5.0 + wave(at, day, 2.0) + 0.5 * noise);
    (0..count).step_by(11).for_each(|at| gaps.values[at] = f64::NAN);
    gaps.times[count / 2..].iter_mut().for_each(|at| *at += 40 * interval_s * 1_000_000);
    let mut uneven = made("uneven", 15, &|_, noise| 100.0 + 3.0 * noise);
    uneven.times.iter_mut().enumerate().for_each(|(at, time)| *time += (at as i64 % 5) * 7_000_000);
    uneven.times[9] = uneven.times[8];
    all.extend([odd, gaps, uneven]);
    all
}

fn texts(of: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(of))
}

fn floats(of: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(of))
}

/// Calls of two models and three teams over so many hours, a few in each, some of them dear, late or without a cost.
async fn calls(engine: &Engine, hours: usize) {
    let mut noise = Noise::new(60);
    let (mut at, mut models, mut teams, mut agents, mut costs, mut took) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for hour in 0..hours {
        let more = if (200..206).contains(&hour) { 14.0 } else { 3.0 };
        let count = (more + wave(hour, 24, 2.0) + noise.normal()).round().max(0.0) as i64;
        for call in 0..count {
            let (model, team) = (call % 2, (call + hour as i64) % 3);
            let size = 1.0 + noise.uniform();
            let dear = if hour > hours * 3 / 4 && model == 1 && team == 0 { 3.0 } else { 1.0 };
            // Two that no other is like, and hours in which none takes as long as it costs.
            let is_odd = (hour == 100 || hour == 230) && call == 1;
            let (size, long) = match hour {
                _ if is_odd => (9.0, 60.0),
                150..156 => (size, 250.0 - 100.0 * size),
                _ => (size, 100.0 * size),
            };
            at.push((BEGIN_S + hour as i64 * 3_600 + call * 97) * 1_000_000);
            models.push(format!("m{model}"));
            teams.push(format!("t{team}"));
            agents.push(format!("m{model}-t{team}"));
            costs.push((noise.uniform() > 0.02).then_some(size * dear));
            took.push(Some(long + 5.0 * noise.normal()));
        }
    }
    let at = Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")) as ArrayRef;
    let columns = [
        ("at", ColumnType::Timestamp, at),
        ("model", ColumnType::Text, texts(models)),
        ("team", ColumnType::Text, texts(teams)),
        ("agent", ColumnType::Text, texts(agents)),
        ("cost", ColumnType::Float64, floats(costs)),
        ("took", ColumnType::Float64, floats(took)),
    ];
    write(engine, "calls", engine::WriteMode::Append, &columns).await;
}
