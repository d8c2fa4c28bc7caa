#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::HashMap;
use std::sync::Arc;

use analysis::linkage::blocking::makes;
use analysis::linkage::{ColumnBuilder, RecordLink, Records};
use analysis::testing::number_from;
use arrow::array::{ArrayRef, Float64Array, StringArray};
use datasets::ColumnType;
use engine::{Engine, Principal};
use serde_json::{Value, json};

use super::link::{LinkOptions, Linked, link};
use super::pairs::{LabelledPair, Pair, match_pairs};
use super::plan::plan;
use super::{Compare, Field, Method};
use crate::kinds::duplicates::find::{Grounds, Link, clusters};
use crate::kinds::duplicates::labels::Label;
use crate::kinds::duplicates::tests::{ask, label, run_with};
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::RunnerOptions;
use crate::series::evaluate::{GroupScore, score_groups};
use crate::testing::{Noise, engine, shared_data, table};

/// Columns and how they are compared.
type Columns<'a> = [(&'a str, Compare)];

/// Two ids and whether they are one.
type Judged<'a> = [(&'a str, &'a str, bool)];

fn fields(columns: &Columns<'_>) -> Vec<Field> {
    let field = |&(column, compare): &(&str, Compare)| Field { column: column.into(), compare };
    columns.iter().map(field).collect()
}

const PERSON: [(&str, Compare); 10] = [
    ("given_name", Compare::Name),
    ("surname", Compare::Name),
    ("street_number", Compare::Digits),
    ("address_1", Compare::Text),
    ("address_2", Compare::Text),
    ("suburb", Compare::Name),
    ("postcode", Compare::Digits),
    ("state", Compare::Exact),
    ("date_of_birth", Compare::Date),
    ("soc_sec_id", Compare::Digits),
];

/// Precision, recall and F1.
#[derive(Clone, Copy, Debug)]
struct Score {
    precision: f64,
    recall: f64,
    f1: f64,
}

impl Score {
    fn of(right: f64, found: f64, truth: f64) -> Self {
        let (precision, recall) = (right / found, right / truth);
        Self { precision, recall, f1: 2.0 * right / (found + truth) }
    }

    fn of_groups(score: GroupScore) -> Self {
        let right = score.found as f64;
        Self::of(right, right + score.false_pairs as f64, score.planted as f64)
    }
}

/// What was found in a data set of FEBRL.
struct Febrl {
    completeness: f64,
    reduction: f64,
    pairs: Score,
    clusters: Score,
}

/// The people of a data set, and who each is.
fn people(name: &str, columns: &Columns<'_>) -> Option<(Records, Vec<String>)> {
    let Some(folder) = shared_data("febrl") else {
        eprintln!("{name}: skipped, there is no folder of shared data");
        return None;
    };
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let fields = fields(columns);
    let at: Vec<usize> =
        fields.iter().map(|f| header.iter().position(|name| *name == f.column).unwrap()).collect();
    let mut builders: Vec<ColumnBuilder> = fields.into_iter().map(ColumnBuilder::new).collect();
    let mut people = Vec::new();
    for values in lines {
        people.push(values[0].split('-').nth(1).unwrap().to_owned());
        for (builder, &at) in builders.iter_mut().zip(&at) {
            builder.push(Some(values[at]).filter(|value| !value.is_empty()));
        }
    }
    let rows = people.len();
    Some((Records { columns: builders.into_iter().map(|b| b.finish(rows)).collect() }, people))
}

/// Pairs of one person.
fn truth(people: &[String]) -> Vec<(usize, usize)> {
    let pairs = (0..people.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
    pairs.filter(|&(a, b)| people[a] == people[b]).collect()
}

fn link_with(records: &Records, plan: &super::plan::Plan, labels: &[Label]) -> Linked {
    let options = LinkOptions {
        method: Method::Auto,
        min_probability: None,
        labels_change_max: None,
        candidates_max: 10_000_000,
        pairs_max: 100_000,
    };
    link((records, None), plan, labels, &options, &|| Ok(())).unwrap()
}

fn score_of_pairs(linked: &Linked, people: &[String], truth: &[(usize, usize)]) -> Score {
    let right = linked.links.iter().filter(|l| people[l.first] == people[l.second]).count();
    Score::of(right as f64, linked.links.len() as f64, truth.len() as f64)
}

fn febrl(name: &str, columns: &Columns<'_>) -> Option<Febrl> {
    let (records, people) = people(name, columns)?;
    let (rows, truth) = (people.len(), truth(&people));
    let began = std::time::Instant::now();
    let plan = plan(&records, &[], 500, &kernels::Execution::default()).unwrap();
    let linked = link_with(&records, &plan, &[]);
    let seconds = began.elapsed().as_secs_f64();
    let made = truth.iter().filter(|(a, b)| makes(&plan.blocks, *a, *b)).count();
    let link = |l: &RecordLink| Link {
        first: l.first,
        second: l.second,
        grounds: Grounds::Record,
        similarity: l.probability,
    };
    let links: Vec<Link> = linked.links.iter().map(link).collect();
    let found: Vec<Vec<String>> = clusters(rows, &links)
        .unwrap()
        .iter()
        .map(|rows| rows.iter().map(usize::to_string).collect())
        .collect();
    let mut planted: HashMap<&str, Vec<String>> = HashMap::new();
    for (row, person) in people.iter().enumerate() {
        planted.entry(person).or_default().push(row.to_string());
    }
    let planted: Vec<Vec<String>> = planted.into_values().collect();
    let result = Febrl {
        completeness: made as f64 / truth.len() as f64,
        reduction: 1.0 - linked.candidates as f64 / (rows * (rows - 1) / 2) as f64,
        pairs: score_of_pairs(&linked, &people, &truth),
        clusters: Score::of_groups(score_groups(&planted, &found)),
    };
    eprintln!(
        "{name}, {} fields: {} candidates, completeness {:.4}, reduction {:.4}; pairs {:.4?}; clusters {:.4?}; \
         {seconds:.1} s",
        columns.len(),
        linked.candidates,
        result.completeness,
        result.reduction,
        result.pairs,
        result.clusters
    );
    Some(result)
}

#[test]
fn labels_of_some_people_are_learnt_from() {
    let Some((records, people)) = people("dataset3.csv", &PERSON) else { return };
    let truth = truth(&people);
    let plan = plan(&records, &[], 500, &kernels::Execution::default()).unwrap();
    // A tenth of the pairs, and as many neighbours in blocks that are not one person.
    let mut labels: Vec<Label> =
        truth.iter().step_by(10).map(|&(a, b)| Label { a, b, is_duplicate: true }).collect();
    let others = (0..people.len()).flat_map(|b| (b.saturating_sub(40)..b).map(move |a| (a, b)));
    let others = others.filter(|&(a, b)| people[a] != people[b] && makes(&plan.blocks, a, b));
    labels.extend(others.step_by(5).take(650).map(|(a, b)| Label { a, b, is_duplicate: false }));
    let linked = link_with(&records, &plan, &labels);
    let score = score_of_pairs(&linked, &people, &truth);
    eprintln!("dataset3.csv with {} labels: pairs {score:.4?}", labels.len());
    let report = &linked.report;
    assert_eq!(report["method"], "logistic");
    assert_eq!(report["labels"]["duplicates_outside_blocks"], 0);
    assert!(report["labels"]["best"]["f1"].as_f64().unwrap() > 0.98, "{report}");
    assert!(score.precision >= 0.95 && score.recall >= 0.99, "{score:?}");
}

/// `COLONNADE_SEEDS` seeds of six sizes. Honest labels of any pairs leave F1 where it is.
#[test]
fn labels_make_no_result_worse() {
    let Some((records, people)) = people("dataset1.csv", &PERSON[..9]) else { return };
    let truth = truth(&people);
    let plan = plan(&records, &[], 500, &kernels::Execution::default()).unwrap();
    let without = link_with(&records, &plan, &[]);
    let unlabelled = score_of_pairs(&without, &people, &truth).f1;
    // The true pairs that look least like one come first.
    let mut doubtful = without.links.clone();
    doubtful.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    doubtful.retain(|link| people[link.first] == people[link.second]);
    let doubtful: Vec<(usize, usize)> = doubtful.iter().map(|l| (l.first, l.second)).collect();
    let seeds = number_from("COLONNADE_SEEDS", 1);
    let sizes: &[usize] = if seeds < 5 { &[30, 120] } else { &[30, 45, 60, 90, 120, 240] };
    let mut worst: f64 = 1.0;
    for seed in 0..seeds {
        let mut noise = Noise::new(seed);
        let mut below = |count: usize| (noise.uniform() * count as f64) as usize;
        for &size in sizes {
            for is_doubtful in [false, true] {
                let mut judged: HashMap<(usize, usize), bool> = HashMap::new();
                while judged.len() < size {
                    let of = if is_doubtful { &doubtful[..2 * size] } else { &truth[..] };
                    let (a, b) = of[below(of.len())];
                    judged.insert((a.min(b), a.max(b)), true);
                }
                while judged.len() < 2 * size {
                    let (a, b) = (below(people.len()), below(people.len()));
                    if people[a] != people[b] {
                        judged.insert((a.min(b), a.max(b)), false);
                    }
                }
                let label = |((a, b), is_duplicate)| Label { a, b, is_duplicate };
                let mut labels: Vec<Label> = judged.into_iter().map(label).collect();
                labels.sort_by_key(|label| (label.a, label.b));
                let linked = link_with(&records, &plan, &labels);
                assert_eq!(linked.report["method"], "logistic");
                let found = score_of_pairs(&linked, &people, &truth);
                worst = worst.min(found.f1 - unlabelled);
                assert!(found.f1 >= unlabelled - 0.01, "{seed} {size} {is_doubtful}: {found:?}");
            }
        }
    }
    eprintln!("F1 {unlabelled:.4} without labels, {worst:+.4} with the worst of them");
}

#[test]
fn people_of_febrl_are_found_again() {
    for name in ["dataset1.csv", "dataset2.csv", "dataset3.csv"] {
        let Some(found) = febrl(name, &PERSON) else { return };
        assert!(found.completeness >= 0.999, "{name}: {}", found.completeness);
        assert!(found.reduction >= 0.965, "{name}: {}", found.reduction);
        assert!(
            found.pairs.precision >= 0.998 && found.pairs.recall >= 0.997,
            "{name}: {:?}",
            found.pairs
        );
        assert!(found.clusters.f1 >= 0.999, "{name}: {:?}", found.clusters);
        // Without the number that is all but unique.
        let Some(found) = febrl(name, &PERSON[..9]) else { return };
        assert!(found.clusters.f1 >= 0.995, "{name}: {:?}", found.clusters);
    }
}

fn magellan(set: &str, part: &str, fields: &[Field]) -> Option<Vec<LabelledPair>> {
    let folder = shared_data("er_magellan")?;
    let text = std::fs::read_to_string(folder.join(set).join(format!("{part}.txt"))).unwrap();
    let record = |text: &str| -> Vec<Option<String>> {
        let values: HashMap<&str, &str> = text
            .trim()
            .trim_start_matches("COL ")
            .split(" COL ")
            .filter_map(|field| field.split_once(" VAL"))
            .collect();
        fields
            .iter()
            .map(|field| values.get(field.column.as_str()).map(|v| v.trim().into()))
            .collect()
    };
    let pair = |line: &str| {
        let parts: Vec<&str> = line.split('\t').collect();
        let pair = Pair { left: record(parts[0]), right: record(parts[1]) };
        LabelledPair { pair, is_duplicate: parts[2].trim() == "1" }
    };
    Some(text.lines().map(pair).collect())
}

#[test]
fn pairs_of_er_magellan_are_told_apart() {
    use Compare::{Digits, Name, Number, Text};
    let sets: [(&str, &Columns<'_>, f64); 3] = [
        (
            "Beer",
            &[("Beer_Name", Text), ("Brew_Factory_Name", Text), ("Style", Text), ("ABV", Number)],
            0.96,
        ),
        (
            "Fodors-Zagats",
            &[("name", Text), ("addr", Text), ("city", Name), ("phone", Digits), ("type", Text)],
            0.99,
        ),
        (
            "DBLP-ACM",
            &[("title", Text), ("authors", Text), ("venue", Text), ("year", Number)],
            0.985,
        ),
    ];
    for (set, columns, least_f1) in sets {
        let fields = fields(columns);
        let part = |part| magellan(set, part, &fields);
        let (Some(train), Some(valid), Some(test)) = (part("train"), part("valid"), part("test"))
        else {
            eprintln!("{set}: skipped, there is no folder of shared data");
            return;
        };
        let unlabelled: Vec<Pair> = test.iter().map(|labelled| labelled.pair.clone()).collect();
        let matched = match_pairs(&fields, &train, &valid, &unlabelled).unwrap();
        let taken: Vec<bool> =
            matched.probabilities.iter().map(|p| *p >= matched.chosen.threshold).collect();
        let count = |keep: &dyn Fn(bool, bool) -> bool| {
            taken.iter().zip(&test).filter(|(taken, test)| keep(**taken, test.is_duplicate)).count()
                as f64
        };
        let score = Score::of(count(&|a, b| a && b), count(&|a, _| a), count(&|_, b| b));
        eprintln!("{set}: on valid {:.4?}; on test {score:.4?}", matched.chosen);
        assert!(score.f1 >= least_f1, "{set}: {score:?}");
    }
}

#[test]
fn pairs_without_labels_of_both_kinds_or_with_other_values_are_refused() {
    let pair = |left: &[&str]| Pair {
        left: left.iter().map(|v| Some((*v).to_owned())).collect(),
        right: vec![Some("x".into())],
    };
    let labelled = |is_duplicate| LabelledPair { pair: pair(&["x"]), is_duplicate };
    let (both, one) = (vec![labelled(true), labelled(false)], vec![labelled(true)]);
    let fields = fields(&[("name", Compare::Name)]);
    let error = |fields: &[Field], train: &[LabelledPair], test: &[Pair]| {
        match_pairs(fields, train, &both, test).err().unwrap().to_string()
    };
    assert!(error(&fields, &one, &[]).contains("found 1 duplicates among 1 pairs"));
    assert!(error(&[], &both, &[]).contains("at least one field"));
    let wrong = error(&fields, &both, &[pair(&["a", "b"])]);
    assert!(wrong.contains("expected 1 values, found 2 in pair 4"), "{wrong}");
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

/// 80 people, none like another, then three rows that repeat some of them.
async fn club(engine: &Engine) {
    let given = ["Anna", "Bela", "Carlos", "Dora", "Emil", "Freya", "Goran", "Heidi"];
    let family = [
        "Abbott",
        "Brandt",
        "Chekhov",
        "Dvorak",
        "Eriksen",
        "Fontaine",
        "Gupta",
        "Hernandez",
        "Ivanov",
        "Jensen",
    ];
    let mut rows: Vec<[Option<String>; 5]> = (0..80)
        .map(|i| {
            let born =
                format!("19{:02}-{:02}-{:02}", 10 + (i * 7) % 80, 1 + i % 12, 1 + (i * 5) % 28);
            let score = 40.0 + 3.5 * f64::from(i);
            let (given, family) = (given[i as usize % 8], family[i as usize / 8]);
            [format!("m{i:02}"), given.into(), family.into(), born, score.to_string()].map(Some)
        })
        .collect();
    let mut again = |id: &str, of: usize, change: &dyn Fn(&mut [Option<String>; 5])| {
        let mut row = rows[of].clone();
        row[0] = Some(id.into());
        change(&mut row);
        rows.push(row);
    };
    again("x1", 3, &|row| row[2] = Some("ABOTT".into()));
    again("x2", 17, &|row| row[4] = None);
    again("x3", 17, &|row| row[1] = Some("bella".into()));
    let of = |at: usize| texts(rows.iter().map(|row| row[at].as_deref()));
    let score = rows.iter().map(|row| row[4].as_ref().map(|score| score.parse::<f64>().unwrap()));
    table(
        engine,
        "club",
        &[
            ("id", ColumnType::Text, of(0)),
            ("given", ColumnType::Text, of(1)),
            ("family", ColumnType::Text, of(2)),
            ("born", ColumnType::Text, of(3)),
            ("score", ColumnType::Float64, Arc::new(Float64Array::from_iter(score))),
            ("empty", ColumnType::Text, texts(rows.iter().map(|_| None))),
        ],
    )
    .await;
}

fn club_params() -> Value {
    json!({
        "dataset": "club",
        "order_column": null,
        "fields": [
            {"column": "given", "compare": "name"},
            {"column": "family", "compare": "name"},
            {"column": "born", "compare": "date"},
            {"column": "score", "compare": "number"},
        ],
    })
}

async fn run(engine: &Engine, params: Value) -> RunRecord {
    let record = run_with(engine, params, RunnerOptions::default()).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    record
}

#[tokio::test]
async fn records_are_linked_with_a_probability_and_a_reason_and_the_oldest_stands_for_them() {
    let engine = engine().await;
    club(&engine).await;
    let record = run(&engine, club_params()).await;
    let sql = "SELECT id_a, id_b, grounds, similarity, reason, cluster_id FROM duplicate_pairs ORDER BY id_a, id_b";
    let found = ask(&engine, sql).await;
    let pairs: Vec<String> = found.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_eq!(pairs, ["m03 x1", "m17 x2", "m17 x3", "x2 x3"], "{}", record.summary);
    assert!(found.iter().all(|row| row[2] == "record"));
    assert!(found.iter().all(|row| (0.9..=1.0).contains(&row[3].parse::<f64>().unwrap())));
    assert_eq!(found[0][4], "given, born and score agree; family 0.96 alike");
    assert_eq!(found[1][4], "given, family and born agree; score missing");
    let sql = "SELECT cluster_id, id, is_representative FROM duplicate_clusters ORDER BY id";
    let members: Vec<String> = ask(&engine, sql).await.iter().map(|row| row.join(" ")).collect();
    assert_eq!(
        members,
        ["m03 m03 true", "m17 m17 true", "m03 x1 false", "m17 x2 false", "m17 x3 false"]
    );
    let summary = &record.summary;
    assert_eq!(summary["rows_compared"], 83);
    assert_eq!(summary["pairs_record"], 4);
    assert_eq!(summary["model"]["method"], "fellegi_sunter");
    assert_eq!(summary["fields"][3]["missing"], 1);
}

#[tokio::test]
async fn labels_choose_the_threshold_and_the_curve_is_in_the_summary() {
    let engine = engine().await;
    club(&engine).await;
    // The second name of x3 is taken for another person's: only pairs that are surer are right.
    label(
        &engine,
        &[("m03", "x1", true), ("x2", "m17", true), ("m00", "m01", false), ("m08", "m00", false)],
    )
    .await;
    let mut params = club_params();
    params["labels"] = "judged".into();
    let record = run(&engine, params).await;
    let model = &record.summary["model"];
    assert_eq!(model["labels"]["best"]["f1"], 1.0, "{model}");
    assert_eq!((&model["labels"]["pairs"], &model["labels"]["duplicates"]), (&4.into(), &2.into()));
    assert_eq!(model["threshold"], model["labels"]["best"]["threshold"]);
    assert!(record.inputs.iter().any(|input| input.dataset.as_str() == "judged"));
}

#[tokio::test]
async fn what_is_wrong_with_fields_and_labels_is_said_by_name() {
    let engine = engine().await;
    club(&engine).await;
    let field = |column: &str, compare: &str| json!([{"column": column, "compare": compare}]);
    let known = "dataset club has no column \"nick\"; expected one of id, given";
    let cases = [
        (json!({"fields": []}), "parameter \"fields\": expected 1 to 16 fields, found 0"),
        (json!({"fields": field("nick", "name")}), known),
        (
            json!({"fields": field("score", "name")}),
            "expected a text, to be compared as a name or text, found float64",
        ),
        (
            json!({"fields": field("empty", "text")}),
            "expected values to compare as Text, found only missing ones in",
        ),
        (
            json!({"fields": field("given", "date")}),
            "to compare as Date, found 83 that can't be read, such as \"Anna\"",
        ),
        (
            json!({"fields": field("given", "sound")}),
            "parameter \"fields\": unknown variant `sound`, expected one of",
        ),
        (
            json!({"fields": null, "blocking": [{"rule": "sorted", "keys": [], "window": 3}]}),
            "expected `fields` beside it",
        ),
        (
            json!({"blocking": [{"rule": "equal", "keys": [{"column": "empty"}]}]}),
            "parameter \"blocking\": expected one of given, family, born, score, found \"empty\"",
        ),
        (
            json!({"min_probability": 1.0}),
            "parameter \"min_probability\": expected above 0 and below 1, found 1",
        ),
        (json!({"candidates_max": 5}), "at most `candidates_max`, 5, are allowed"),
        (
            json!({"labels": "judged", "method": "logistic"}),
            "learns from 30 pairs of either kind or more, found 1 duplicates",
        ),
    ];
    label(&engine, &[("m03", "x1", true), ("m00", "m01", false)]).await;
    for (changes, expected) in cases {
        let error = fails(&engine, changes).await;
        assert!(error.contains(expected), "{error}");
    }
    let labels: [(&Judged<'_>, &str); 4] = [
        (&[("m03", "nobody", true), ("m00", "m01", false)], "found 1 others, such as \"nobody\""),
        (
            &[("m03", "x1", true), ("m17", "x2", true)],
            "expected duplicates and other pairs, found 2 duplicates and 0",
        ),
        (
            &[("m03", "x1", true), ("x1", "m03", false)],
            "expected one label for \"x1\" and \"m03\", found both",
        ),
        (&[("m03", "m03", true)], "expected two rows, found \"m03\" twice"),
    ];
    for (rows, expected) in labels {
        label(&engine, rows).await;
        let error = fails(&engine, json!({"labels": "judged"})).await;
        assert!(error.contains("parameter \"labels\"") && error.contains(expected), "{error}");
    }
}

async fn fails(engine: &Engine, changes: Value) -> String {
    use crate::run::runner::{RunRequest, Runner};
    let mut params = club_params();
    for (name, value) in changes.as_object().unwrap() {
        params[name] = value.clone();
    }
    let runner = Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
    let request = RunRequest { job: "duplicates".into(), params, ..RunRequest::default() };
    match runner.submit(&Principal::local(), request).await {
        Err(error) => error.to_string(),
        Ok(run) => {
            run.wait()
                .await
                .unwrap()
                .error
                .unwrap_or_else(|| panic!("no error with {changes}"))
                .message
        }
    }
}
