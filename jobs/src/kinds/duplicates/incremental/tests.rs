//! A run that looks at changes alone has the result of a run over everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use arrow::array::{BinaryArray, RecordBatch};
use datafusion::logical_expr::ident;
use datasets::DatasetName;
use engine::{CommitLabel, Engine, Principal, WriteMode};
use serde_json::{Value, json};

use crate::kinds::duplicates::tests::{Row, ask, run_job, run_with, write};
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::RunnerOptions;
use crate::testing::{Noise, engine};

/// Texts and their ages by id.
type Mail = BTreeMap<String, (i64, String)>;

fn rows(mail: &Mail) -> Vec<Row<'_>> {
    mail.iter()
        .map(|(id, (age, body))| (Some(id.as_str()), Some(*age), None, Some(body.as_str())))
        .collect()
}

async fn run(engine: &Engine, more: Value) -> RunRecord {
    let mut params = json!({"dataset": "mail", "order_column": "age"});
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    let record = run_with(engine, params, RunnerOptions::default()).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    record
}

/// The result of the last run, and that of one over everything.
async fn both(engine: &Engine) -> [Vec<Vec<Vec<String>>>; 2] {
    both_with(engine, json!({})).await
}

async fn both_with(engine: &Engine, more: Value) -> [Vec<Vec<Vec<String>>>; 2] {
    let mut params = json!({
        "index_output": null, "pairs_output": "all_pairs", "clusters_output": "all_clusters",
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run(engine, params).await;
    let mut results = [Vec::new(), Vec::new()];
    for (result, name) in results.iter_mut().zip(["duplicate", "all"]) {
        let pairs = format!(
            "SELECT id_a, id_b, grounds, similarity, reason, cluster_id FROM {name}_pairs ORDER BY id_a, id_b"
        );
        let clusters = format!(
            "SELECT id, cluster_id, is_representative, members, similarity FROM {name}_clusters ORDER BY id"
        );
        result.push(ask(engine, &pairs).await);
        result.push(ask(engine, &clusters).await);
    }
    results
}

/// What says the same as others in one of `subjects` ways, with a change or two.
fn text(noise: &mut Noise, subjects: usize) -> String {
    let mut random = |below: usize| (noise.uniform() * below as f64) as usize;
    let subject = random(subjects);
    let mut words: Vec<String> = (0..20)
        .map(|word| format!("w{}", (subject * 37 + word * 11) % 97 + 10 * subject))
        .collect();
    for _ in 0..random(3) {
        let at = random(words.len());
        words[at] = format!("x{}", random(4));
    }
    words.join(" ")
}

/// Vectors of the texts, by parts of words: those of texts with the same words in another order are alike.
async fn embed(engine: &Engine) {
    let params =
        json!({"dataset": "mail", "embedder": "ngram", "dimension": 256, "output": "vectors"});
    let record = run_job(engine, "embed", params, RunnerOptions::default()).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
}

/// Twelve times rows come, go and change, and the result is that of a run over everything.
async fn rows_come_go_and_change(more: Value) -> Engine {
    let engine = engine().await;
    let with_vectors = more.get("vectors").is_some();
    let mut noise = Noise::new(7);
    let mut mail = Mail::new();
    let mut next = 0;
    let mut add = |mail: &mut Mail, noise: &mut Noise, count: usize| {
        let mut new = Mail::new();
        for _ in 0..count {
            next += 1;
            // Some are older than what was there before.
            let age = if noise.uniform() < 0.3 { next - 150 } else { next };
            let mut text = text(noise, 25);
            if with_vectors && noise.uniform() < 0.3 {
                let mut words: Vec<&str> = text.split(' ').collect();
                words.rotate_left(7);
                words.swap(3, 11);
                text = words.join(" ");
            }
            new.insert(format!("m{next:04}"), (age, text));
        }
        mail.extend(new.clone());
        new
    };
    let first = add(&mut mail, &mut noise, 160);
    write(&engine, "mail", &rows(&first), WriteMode::Append).await;
    if with_vectors {
        embed(&engine).await;
    }
    let record = run(&engine, more.clone()).await;
    assert!(record.summary["all_because"].is_string());
    for step in 0..12 {
        if step % 3 == 0 {
            // Some go, and the text of one is another now.
            let ids: Vec<String> = mail.keys().cloned().collect();
            for _ in 0..6 {
                mail.remove(&ids[(noise.uniform() * ids.len() as f64) as usize]);
            }
            let changed = mail.keys().nth(40).unwrap().clone();
            mail.insert(changed, (50, text(&mut noise, 25)));
            add(&mut mail, &mut noise, 4);
            write(&engine, "mail", &rows(&mail), WriteMode::Overwrite).await;
        } else {
            let new = add(&mut mail, &mut noise, 8);
            write(&engine, "mail", &rows(&new), WriteMode::Append).await;
        }
        if with_vectors {
            embed(&engine).await;
        }
        let record = run(&engine, more.clone()).await;
        assert_eq!(record.summary["all_because"], Value::Null, "step {step}");
        assert_eq!(record.summary["rows_compared"], mail.len(), "step {step}");
        let [found, expected] = both_with(&engine, more.clone()).await;
        assert!(expected[0].len() > 50);
        assert_eq!(found, expected, "step {step}");
    }
    engine
}

#[tokio::test]
async fn rows_that_come_go_and_change_give_the_result_of_a_run_over_everything() {
    rows_come_go_and_change(json!({})).await;
}

#[tokio::test]
async fn so_they_do_where_vectors_are_compared() {
    let more = json!({"vectors": "vectors", "min_cosine": 0.86});
    let engine = rows_come_go_and_change(more.clone()).await;
    let semantic = "SELECT count(*) FROM duplicate_pairs WHERE grounds = 'semantic'";
    let count: usize = ask(&engine, semantic).await[0][0].parse().unwrap();
    assert!(count > 20, "{count}");
    // A vector that is another now, though the text is not.
    write(&engine, "mail", &[(Some("late"), Some(900), None, Some("words"))], WriteMode::Append)
        .await;
    run(&engine, more.clone()).await;
    embed(&engine).await;
    let record = run(&engine, more).await;
    assert_eq!(record.summary["all_because"], "earlier rows have other vectors now");
}

#[tokio::test]
async fn a_cluster_that_loses_its_bridge_falls_apart_and_each_part_has_its_oldest_row_s_name() {
    let engine = engine().await;
    let word = |from: usize, to: usize| {
        (from..to).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" ")
    };
    let mut mail: Mail = (0..40)
        .map(|i| (format!("other{i:02}"), (100 + i as i64, word(1000 + 50 * i, 1040 + 50 * i))))
        .collect();
    // Each shares enough with its neighbours and too little with those beyond.
    for (i, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        mail.insert(id.into(), (i as i64, word(6 * i, 6 * i + 60)));
    }
    write(&engine, "mail", &rows(&mail), WriteMode::Append).await;
    run(&engine, json!({})).await;
    let clusters = "SELECT cluster_id, id FROM duplicate_clusters ORDER BY id";
    let of = |pairs: &[(&str, &str)]| -> Vec<Vec<String>> {
        pairs.iter().map(|(a, b)| vec![(*a).into(), (*b).into()]).collect()
    };
    let whole = of(&[("a", "a"), ("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")]);
    assert_eq!(ask(&engine, clusters).await, whole);
    let bridge = mail.remove("c").unwrap();
    write(&engine, "mail", &rows(&mail), WriteMode::Overwrite).await;
    let record = run(&engine, json!({})).await;
    assert_eq!(record.summary["all_because"], Value::Null);
    let parts = of(&[("a", "a"), ("a", "b"), ("d", "d"), ("d", "e")]);
    assert_eq!(ask(&engine, clusters).await, parts);
    mail.insert("c".into(), bridge);
    write(&engine, "mail", &rows(&mail), WriteMode::Overwrite).await;
    let record = run(&engine, json!({})).await;
    assert_eq!(record.summary["all_because"], Value::Null);
    assert_eq!(ask(&engine, clusters).await, whole);
    let [found, expected] = both(&engine).await;
    assert_eq!(found, expected);
}

#[tokio::test]
async fn everything_is_looked_at_where_the_index_does_not_fit_what_is_there() {
    let engine = engine().await;
    let mut noise = Noise::new(3);
    let mut mail: Mail = (0..60).map(|i| (format!("m{i:02}"), (i, text(&mut noise, 10)))).collect();
    write(&engine, "mail", &rows(&mail), WriteMode::Append).await;
    let because = |record: &RunRecord| record.summary["all_because"].as_str().map(str::to_owned);
    run(&engine, json!({})).await;
    let mut more = |mail: &mut Mail, id: &str, age| {
        let row = (age, text(&mut noise, 10));
        mail.insert(id.into(), row.clone());
        Mail::from([(id.to_owned(), row)])
    };
    let new = more(&mut mail, "m60", 60);
    write(&engine, "mail", &rows(&new), WriteMode::Append).await;
    // A run of other parameters takes the place of pairs, clusters and index.
    let record = run(&engine, json!({"min_similarity": 0.9})).await;
    assert!(because(&record).unwrap().starts_with("no earlier run of these parameters"));
    let record = run(&engine, json!({"min_similarity": 0.9, "index_output": null})).await;
    assert_eq!(because(&record).unwrap(), "there is no `index_output`");
    let record = run(&engine, json!({})).await;
    assert!(because(&record).unwrap().starts_with("no earlier run of these parameters"));
    // One without an index replaces the pairs alone.
    let new = more(&mut mail, "m61", 61);
    write(&engine, "mail", &rows(&new), WriteMode::Append).await;
    run(&engine, json!({"min_similarity": 0.5, "index_output": null})).await;
    let record = run(&engine, json!({})).await;
    assert_eq!(because(&record).unwrap(), "pairs, clusters or index were replaced by another run");
    // The same id twice.
    let new = more(&mut mail, "m05", 62);
    write(&engine, "mail", &rows(&new), WriteMode::Append).await;
    let record = run(&engine, json!({})).await;
    assert_eq!(because(&record).unwrap(), "ids repeat");
    // And a fifth of all.
    let mut later: Mail =
        (70..90).map(|i| (format!("m{i:02}"), (i, format!("text {i}")))).collect();
    mail.append(&mut later);
    write(&engine, "mail", &rows(&mail), WriteMode::Overwrite).await;
    run(&engine, json!({})).await;
    let tripled: Mail = (0..60)
        .map(|i| (format!("n{i:02}"), (200 + i, format!("quite another text, number {i}"))))
        .collect();
    write(&engine, "mail", &rows(&tripled), WriteMode::Append).await;
    let record = run(&engine, json!({})).await;
    assert_eq!(because(&record).unwrap(), "much has changed");
    let [found, expected] = both(&engine).await;
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_index_that_lost_rows_or_has_a_broken_one_is_not_used() {
    let engine = engine().await;
    let mut noise = Noise::new(4);
    let mut come = async |ages: std::ops::Range<i64>| {
        let new = ages.map(|i| (format!("m{i:02}"), (i, text(&mut noise, 10)))).collect();
        write(&engine, "mail", &rows(&new), WriteMode::Append).await;
        run(&engine, json!({})).await.summary["all_because"].clone()
    };
    come(0..60).await;
    let (who, name) = (Principal::local(), DatasetName::new("duplicate_index").unwrap());
    let session = engine.session(&who, &[]).await.unwrap();
    let table = session.table(&name).await.unwrap().sort_by(vec![ident("id")]).unwrap();
    let kept = session.collect(table.limit(0, Some(20)).unwrap()).await.unwrap();
    let kept = arrow::compute::concat_batches(&kept[0].schema(), &kept).unwrap();
    let mut columns = kept.columns().to_vec();
    let entry = kept.schema().index_of("entry").unwrap();
    let three = BinaryArray::from_iter_values((0..20).map(|_| b"abc"));
    columns[entry] = arrow::compute::cast(&three, columns[entry].data_type()).unwrap();
    let broken = RecordBatch::try_new(kept.schema(), columns).unwrap();
    // Two runs at once can leave the first.
    for (index, age, says) in [
        (kept, 60, "pairs, clusters or index were replaced by another run"),
        (broken, 62, "no earlier run of these parameters left a whole index"),
    ] {
        let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
        engine.write(&who, &name, WriteMode::Overwrite, vec![index], label).await.unwrap();
        assert_eq!(come(age..age + 1).await, json!(says));
        assert_eq!(come(age + 1..age + 2).await, Value::Null);
    }
}

#[tokio::test]
async fn crowded_bands_give_the_same_pairs_too() {
    let engine = engine().await;
    let template = |i: i64| {
        let filler: Vec<String> = (0..30).map(|word| format!("template{word}")).collect();
        format!("{} ticket number {i}", filler.join(" "))
    };
    let mail: Mail = (0..400).map(|i| (format!("m{i:03}"), (i, template(i)))).collect();
    write(&engine, "mail", &rows(&mail), WriteMode::Append).await;
    run(&engine, json!({})).await;
    let younger: Mail = (400..410).map(|i| (format!("m{i:03}"), (i, template(i)))).collect();
    write(&engine, "mail", &rows(&younger), WriteMode::Append).await;
    let record = run(&engine, json!({})).await;
    assert_eq!(record.summary["all_because"], Value::Null);
    let [found, expected] = both(&engine).await;
    assert_eq!(found, expected);
    let older: Mail = [("older".to_owned(), (-1, template(1000)))].into();
    write(&engine, "mail", &rows(&older), WriteMode::Append).await;
    let record = run(&engine, json!({})).await;
    assert!(record.summary["all_because"].as_str().unwrap().starts_with("a band is crowded"));
    let [found, expected] = both(&engine).await;
    assert_eq!(found, expected);
}
