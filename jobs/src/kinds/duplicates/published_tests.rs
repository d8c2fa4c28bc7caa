//! Each stage on records of ER-Magellan, read as texts, with the published all-MiniLM-L6-v2: what the same words, nearly the
//! same words and the same meaning find of the pairs of the test set. Needs the model, as `colonnade models pull` leaves
//! it, in the folder that `COLONNADE_MINILM` names.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use engine::WriteMode;
use serde_json::{Value, json};

use super::tests::{Row, ask, label, run_job, write};
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::RunnerOptions;
use crate::testing::{engine, shared_data};

/// The texts of one set; an index stands for each.
#[derive(Default)]
struct Texts {
    texts: Vec<String>,
    places: HashMap<(char, String), usize>,
}

impl Texts {
    /// Records of either side are apart, as they are in the two tables that are linked.
    fn add(&mut self, side: char, record: &str) -> String {
        let values = record.trim().trim_start_matches("COL ").split(" COL ");
        let values = values.filter_map(|field| field.split_once(" VAL"));
        let values = values.filter(|(name, _)| *name != "class").map(|(_, value)| value.trim());
        let text = values.filter(|value| !value.is_empty()).collect::<Vec<_>>().join(" ");
        let next = self.texts.len();
        let place = *self.places.entry((side, text.clone())).or_insert(next);
        if place == next {
            self.texts.push(text);
        }
        place.to_string()
    }

    fn pairs(&mut self, folder: &Path, part: &str) -> Vec<(String, String, bool)> {
        let text = std::fs::read_to_string(folder.join(format!("{part}.txt"))).unwrap();
        let pair = |line: &str| {
            let parts: Vec<&str> = line.split('\t').collect();
            (self.add('l', parts[0]), self.add('r', parts[1]), parts[2].trim() == "1")
        };
        text.lines().map(pair).collect()
    }
}

/// The folder that holds the model's.
fn models() -> Option<PathBuf> {
    let is_required =
        std::env::var_os("COLONNADE_REQUIRE_MINILM").is_some_and(|value| value == "1");
    let folder = std::env::var_os("COLONNADE_MINILM").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.is_dir());
    assert!(folder.is_some() || !is_required, "no folder COLONNADE_MINILM");
    Some(folder?.parent()?.to_owned())
}

#[tokio::test]
#[ignore = "takes a minute and needs the published model; its figures stand in benches/RESULTS.md"]
async fn each_stage_finds_more_of_er_magellan() {
    let (Some(data), Some(models)) = (shared_data("er_magellan"), models()) else {
        eprintln!("skipped: there is no folder of shared data, or no model");
        return;
    };
    for (set, least_f1) in [("Beer", 0.75), ("Fodors-Zagats", 0.93), ("DBLP-ACM", 0.9)] {
        let engine = engine().await;
        let mut texts = Texts::default();
        let [mut known, valid, test] =
            ["train", "valid", "test"].map(|part| texts.pairs(&data.join(set), part));
        known.extend(valid);
        let ids: Vec<String> = (0..texts.texts.len()).map(|id| id.to_string()).collect();
        let rows: Vec<Row<'_>> = ids
            .iter()
            .zip(&texts.texts)
            .zip(0..)
            .map(|((id, text), age)| (Some(id.as_str()), Some(age), None, Some(text.as_str())))
            .collect();
        write(&engine, "mail", &rows, WriteMode::Append).await;
        // Two records with one text may be judged differently: what is judged both ways is no label.
        let mut judged: BTreeMap<(&str, &str), HashSet<bool>> = BTreeMap::new();
        for (a, b, is) in &known {
            judged.entry((a, b)).or_default().insert(*is);
        }
        let one =
            |judged: &HashSet<bool>| judged.iter().next().copied().filter(|_| judged.len() == 1);
        let labels: Vec<(&str, &str, bool)> =
            judged.iter().filter_map(|((a, b), is)| Some((*a, *b, one(is)?))).collect();
        label(&engine, &labels).await;
        let options = || RunnerOptions { models: Some(models.clone()), ..RunnerOptions::default() };
        let embedded =
            run_job(&engine, "embed", json!({"dataset": "mail", "output": "vectors"}), options());
        let embedded = embedded.await;
        assert_eq!(embedded.state, RunState::Succeeded, "{:?}", embedded.error);
        let params = json!({
            "dataset": "mail", "order_column": "age", "labels": "judged", "vectors": "vectors",
        });
        let record = run_job(&engine, "duplicates", params, options()).await;
        assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
        eprintln!("{set}: {} texts, {} labels, {}", rows.len(), labels.len(), chosen(&record));
        let mut last = 0.0;
        for stages in [&["exact"][..], &["exact", "near"], &["exact", "near", "semantic"]] {
            let score = score(&engine, &test, stages).await;
            eprintln!(
                "  {}: P {:.3} R {:.3} F1 {:.3}",
                stages.join(" + "),
                score[0],
                score[1],
                score[2]
            );
            assert!(score[1] >= last, "{set}: a stage can't find fewer");
            last = score[1];
            if stages.len() == 3 {
                assert!(score[2] >= least_f1, "{set}: {score:?}");
            }
        }
    }
}

fn chosen(record: &RunRecord) -> Value {
    json!({
        "min_similarity": record.summary["min_similarity"],
        "min_cosine": record.summary["min_cosine"],
        "on_labels": record.summary["labels"]["stages"],
    })
}

/// Precision, recall and F1 of what some stages found, among the pairs of the test set. A text that repeats another one is
/// linked with that alone, so that a pair is found where those are that its texts repeat.
async fn score(
    engine: &engine::Engine,
    test: &[(String, String, bool)],
    stages: &[&str],
) -> [f64; 3] {
    let sql = "SELECT id_a, id_b, grounds FROM duplicate_pairs";
    let found = ask(engine, sql).await;
    let first: HashMap<&str, &str> = found
        .iter()
        .filter(|pair| pair[2] == "exact")
        .map(|pair| (pair[1].as_str(), pair[0].as_str()))
        .collect();
    let of = |id: &str| -> String { (*first.get(id).unwrap_or(&id)).to_owned() };
    let linked: HashMap<(String, String), &str> = found
        .iter()
        .flat_map(|p| [(&p[0], &p[1], &p[2]), (&p[1], &p[0], &p[2])])
        .map(|(a, b, grounds)| ((a.clone(), b.clone()), grounds.as_str()))
        .collect();
    let taken = |a: &str, b: &str| {
        let (a, b) = (of(a), of(b));
        let grounds = if a == b { Some("exact") } else { linked.get(&(a, b)).copied() };
        grounds.is_some_and(|grounds| stages.contains(&grounds))
    };
    let count = |keep: &dyn Fn(bool, bool) -> bool| {
        test.iter().filter(|(a, b, is)| keep(taken(a, b), *is)).count() as f64
    };
    let (hits, found, right) = (count(&|t, is| t && is), count(&|t, _| t), count(&|_, is| is));
    [hits / found.max(1.0), hits / right, 2.0 * hits / (found + right)]
}
