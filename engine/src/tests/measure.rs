//! How fast it is. Not checks: run by name, with an optimised build.

use std::time::Instant;

use super::*;

/// One request's body: 1,000 rows of NDJSON.
fn body(producer: i64, request: i64) -> String {
    let mut text = String::with_capacity(120_000);
    for row in 0..1_000 {
        let id = producer * 1_000_000_000 + request * 1_000 + row;
        let second = row % 60;
        text.push_str(&format!(
            "{{\"id\": {id}, \"at\": \"2026-01-05T10:00:{second:02}Z\", \"model\": \"model-{}\", \"tokens\": {row}}}\n",
            id % 7
        ));
    }
    text
}

#[ignore = "a measurement, not a check"]
#[tokio::test(flavor = "multi_thread")]
async fn ingest_from_four_producers() {
    const PRODUCERS: i64 = 4;
    const REQUESTS: i64 = 250;
    let folder =
        tempfile::tempdir_in(std::env::var("MEASURE_DIR").unwrap_or("/tmp".into())).unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let bodies: Vec<Vec<String>> =
        (0..PRODUCERS).map(|p| (0..REQUESTS).map(|r| body(p, r)).collect()).collect();
    let started = Instant::now();
    let producers = bodies.into_iter().enumerate().map(|(p, bodies)| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for (i, text) in bodies.into_iter().enumerate() {
                let producer = sequence(&format!("p{p}"), i as i64);
                let request = IngestRequest { rows: ndjson(&text), producer };
                engine.ingest(&who(), &name("calls"), request).await.unwrap();
            }
        })
    });
    for done in futures::future::join_all(producers).await {
        done.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    let rows = PRODUCERS * REQUESTS * 1_000;
    let metrics = engine.metrics();
    let commits = metrics.commits.get();
    println!(
        "{rows} rows in {seconds:.2} s: {:.0} rows/s; {commits} commits, {:.1} ms each; {:?}",
        rows as f64 / seconds,
        metrics.commit_latency.sum().as_secs_f64() * 1e3 / commits as f64,
        metrics.commit_latency.buckets(),
    );
    let started = Instant::now();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, rows);
    println!("first query after it: {:?}", started.elapsed());
    let started = Instant::now();
    number(&engine, "SELECT sum(tokens) FROM calls WHERE model = 'model-3'").await;
    println!("a filter over {rows} rows: {:?}", started.elapsed());
}

#[ignore = "a measurement, not a check"]
#[tokio::test(flavor = "multi_thread")]
async fn one_row_at_a_time() {
    let folder =
        tempfile::tempdir_in(std::env::var("MEASURE_DIR").unwrap_or("/tmp".into())).unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let started = Instant::now();
    for i in 0..300 {
        send(&engine, i..i + 1, None).await.unwrap();
    }
    println!(
        "300 requests of one row: {:.1} ms each",
        started.elapsed().as_secs_f64() * 1e3 / 300.0
    );
    println!("{:?}", engine.metrics().commit_latency.buckets());
}

#[ignore = "a measurement, not a check"]
#[tokio::test(flavor = "multi_thread")]
async fn load_of_a_million_rows() {
    let folder =
        tempfile::tempdir_in(std::env::var("MEASURE_DIR").unwrap_or("/tmp".into())).unwrap();
    let path = folder.path().join("calls.ndjson");
    let text: String = (0..1_000).map(|request| body(0, request)).collect();
    std::fs::write(&path, &text).unwrap();
    let root = folder.path().join("root");
    let engine = Engine::open(options(root.to_str().unwrap())).await.unwrap();
    let started = Instant::now();
    let source = datasets::read::Source::File { path, name: "calls.ndjson".to_owned() };
    let options = crate::LoadOptions { create: Some(calls()), ..crate::LoadOptions::default() };
    let receipt =
        engine.load(&who(), &name("calls"), source, Format::Ndjson, options).await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let rows = receipt.accepted;
    let megabytes = text.len() as f64 / 1e6;
    println!(
        "{rows} rows, {megabytes:.0} MB in {seconds:.2} s: {:.0} rows/s",
        rows as f64 / seconds
    );
}
