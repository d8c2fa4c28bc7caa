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

/// What a subscriber and a query pay as a table's commits add up.
#[ignore = "a measurement, not a check"]
#[tokio::test(flavor = "multi_thread")]
async fn one_more_small_commit() {
    use crate::Version;

    const ASKED: [i64; 5] = [50, 100, 250, 500, 1_000];
    const TIMES: u32 = 5;
    let folder =
        tempfile::tempdir_in(std::env::var("MEASURE_DIR").unwrap_or("/tmp".into())).unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let (who, calls) = (who(), name("calls"));
    let table = engine.lake().table(&who.tenant, &calls).await.unwrap();
    let mut made = 0;
    let ms = |started: Instant| started.elapsed().as_secs_f64() * 1e3 / f64::from(TIMES);
    for asked in ASKED {
        while made < asked {
            write_one(&engine, made).await;
            made += 1;
        }
        number(&engine, "SELECT count(*) FROM calls").await;
        let [mut commit, mut required, mut snapshot, mut plan, mut rows] = [0.0; 5];
        for _ in 0..TIMES {
            let started = Instant::now();
            write_one(&engine, made).await;
            commit += ms(started);
            made += 1;
            let (from, to) = (Version(made as u64 - 1), Version(made as u64));
            let started = Instant::now();
            engine.lake().require_version(&table, from).await.unwrap();
            engine.lake().require_version(&table, to).await.unwrap();
            required += ms(started);
            let started = Instant::now();
            let change = engine.changes(&who, &calls, from, to).await.unwrap();
            plan += ms(started);
            let started = Instant::now();
            let added = session(&engine).await.collect(change.added).await.unwrap();
            rows += ms(started);
            assert_eq!(added.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
            let started = Instant::now();
            table.snapshot(to).await.unwrap();
            snapshot += ms(started);
        }
        println!(
            "{made} commits: commit {commit:.1} ms, require_version {required:.1}, changes {plan:.1}, \
             its rows {rows:.1}, snapshot then {snapshot:.1}"
        );
        for sql in [
            "SELECT count(*) FROM calls",
            "SELECT sum(tokens) FROM calls",
            "SELECT id FROM calls LIMIT 5",
            "SELECT id FROM calls WHERE id = 7",
        ] {
            let [mut open, mut logical, mut physical, mut run] = [0.0; 4];
            for _ in 0..TIMES {
                let started = Instant::now();
                let session = session(&engine).await;
                open += ms(started);
                let started = Instant::now();
                let frame = session.sql(sql).await.unwrap();
                logical += ms(started);
                let started = Instant::now();
                let plan = frame.create_physical_plan().await.unwrap();
                physical += ms(started);
                let started = Instant::now();
                let task = session.context().task_ctx();
                datafusion::physical_plan::collect(plan, task).await.unwrap();
                run += ms(started);
            }
            println!(
                "  {sql}: session {open:.1} ms, plan {logical:.1}, physical plan {physical:.1}, run {run:.1}"
            );
        }
    }
}

async fn write_one(engine: &Engine, id: i64) {
    let label = label("measure");
    let rows = vec![rows(id % 28..id % 28 + 1)];
    engine.write(&who(), &name("calls"), crate::WriteMode::Append, rows, label).await.unwrap();
}

/// The same, when somebody follows every commit, as a subscription does, and somebody else queries.
#[ignore = "a measurement, not a check"]
#[tokio::test(flavor = "multi_thread")]
async fn one_more_small_commit_that_is_followed() {
    use crate::Version;

    let folder =
        tempfile::tempdir_in(std::env::var("MEASURE_DIR").unwrap_or("/tmp".into())).unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let calls = name("calls");
    const EVERY: i64 = 100;
    let [mut commit, mut plan, mut rows, mut list, mut count, mut limit] = [0.0; 6];
    let table = engine.lake().table(&who().tenant, &calls).await.unwrap();
    let ms = |started: Instant| started.elapsed().as_secs_f64() * 1e3 / EVERY as f64;
    for made in 0..800 {
        let started = Instant::now();
        write_one(&engine, made).await;
        commit += ms(started);
        let (from, to) = (Version(made as u64), Version(made as u64 + 1));
        let started = Instant::now();
        let change = engine.changes(&who(), &calls, from, to).await.unwrap();
        plan += ms(started);
        let started = Instant::now();
        let session = session(&engine).await;
        let added = session.collect(change.added).await.unwrap();
        let removed = session.collect(change.removed).await.unwrap();
        rows += ms(started);
        assert_eq!(added.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        assert_eq!(removed.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
        let started = Instant::now();
        table.snapshot(to).await.unwrap();
        list += ms(started);
        let started = Instant::now();
        assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, made + 1);
        count += ms(started);
        let started = Instant::now();
        query(&engine, "SELECT id FROM calls LIMIT 5").await;
        limit += ms(started);
        if (made + 1) % EVERY == 0 {
            println!(
                "the {EVERY} commits up to {}, each: commit {commit:.1} ms, changes {plan:.1}, its rows {rows:.1}, \
                 file list {list:.1}, count then {count:.1}, limit {limit:.1}",
                made + 1
            );
            [commit, plan, rows, list, count, limit] = [0.0; 6];
        }
    }
}

/// What one row by its key costs, part by part: `MEASURE_ROOT` has model calls.
#[ignore = "a measurement, not a check"]
#[tokio::test(flavor = "multi_thread")]
async fn one_row_by_its_key() {
    use datafusion::logical_expr::{col, lit};

    const TIMES: u32 = 200;
    let root = std::env::var("MEASURE_ROOT").unwrap();
    let engine = Engine::open(options(&root)).await.unwrap();
    let calls = name("model_calls");
    let ms = |started: Instant| started.elapsed().as_secs_f64() * 1e3 / f64::from(TIMES);
    let [mut open, mut table, mut logical, mut physical, mut run] = [0.0; 5];
    for i in 0..TIMES + 20 {
        if i == 20 {
            [open, table, logical, physical, run] = [0.0; 5];
        }
        let started = Instant::now();
        let session = session(&engine).await;
        open += ms(started);
        let started = Instant::now();
        let frame = session.table(&calls).await.unwrap();
        table += ms(started);
        let started = Instant::now();
        let id = format!("call-{:010}", i * 9_007);
        let frame = frame.filter(col("id").eq(lit(id))).unwrap();
        let frame =
            frame.sort(vec![col("id").sort(true, false)]).unwrap().limit(0, Some(2)).unwrap();
        let frame = frame
            .select(
                ["id", "at", "model", "input_tokens", "output_tokens", "latency_ms", "cost"]
                    .map(col)
                    .to_vec(),
            )
            .unwrap();
        logical += ms(started);
        let started = Instant::now();
        let plan = frame.clone().create_physical_plan().await.unwrap();
        physical += ms(started);
        if i == 0 {
            println!("{}", datafusion::physical_plan::displayable(plan.as_ref()).indent(true));
        }
        let started = Instant::now();
        let rows =
            datafusion::physical_plan::collect(plan, session.context().task_ctx()).await.unwrap();
        run += ms(started);
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    }
    println!(
        "session {open:.2} ms, table {table:.2}, plan {logical:.2}, physical plan {physical:.2}, run {run:.2}"
    );
}
