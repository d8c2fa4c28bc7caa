//! What was made of what: the datasets, models and jobs that the records of runs tell of.
//!
//! Runs of one kind that write the same datasets are one node, however often they ran; of each edge the last run is named. Runs that
//! failed made nothing, and those that found the results of others say no more than those.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use engine::{Code, Error, Principal, Result, RunId};
use serde::Serialize;

use super::record::{RUNS_LISTED_MAX, RunFilter, RunRecord, RunState};
use super::runner::Runner;

/// Runs that are looked at, the newest first.
const RUNS_READ_MAX: usize = 10_000;

/// What something in a lineage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LineageKind {
    /// A dataset.
    Dataset,
    /// A model: `name@version`, or one that was not trained here.
    Model,
    /// Runs of a job kind that write the same datasets.
    Job,
}

/// Something that was read or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineageNode {
    /// Its name among all nodes: `dataset:tickets`, `model:queue@0f3c…`, `job:embed:embeddings`.
    pub id: String,
    /// What it is.
    pub kind: LineageKind,
    /// The dataset, the model or the job kind.
    pub name: String,
    /// Of a job its last run, of a dataset the last that wrote it; none of one that no run did.
    pub run: Option<RunId>,
    /// When that ended.
    pub at: Option<DateTime<Utc>>,
    /// Of a job how many runs were looked at; 0 of others.
    pub runs: u64,
}

/// That one was made of another, or by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineageEdge {
    /// What was read, or who made it.
    pub from: String,
    /// Who read it, or what was made.
    pub to: String,
    /// Of a dataset the version that the last run read or made.
    pub version: Option<u64>,
}

/// What was made of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lineage {
    /// In the order of their ids.
    pub nodes: Vec<LineageNode>,
    /// In the order of what they are from.
    pub edges: Vec<LineageEdge>,
}

impl Runner {
    /// What was made of what, as far as the last runs tell: all of it, or what `of` (a dataset, or the id of a node) came from and
    /// what came of it. NOT_FOUND where no run had to do with that.
    pub async fn lineage(&self, who: &Principal, of: Option<&str>) -> Result<Lineage> {
        let mut whole = Whole::default();
        let mut filter = RunFilter {
            state: Some(RunState::Succeeded),
            limit: RUNS_LISTED_MAX,
            ..RunFilter::default()
        };
        let mut read = 0;
        while read < RUNS_READ_MAX {
            let records = self.list(who, filter.clone()).await?;
            records.iter().for_each(|record| whole.add(record));
            read += records.len();
            filter.before = records.last().map(|record| record.id);
            if records.len() < RUNS_LISTED_MAX {
                break;
            }
        }
        match of {
            Some(of) => whole.around(of),
            None => Ok(whole.finish()),
        }
    }
}

#[derive(Default)]
struct Whole {
    nodes: BTreeMap<String, LineageNode>,
    edges: BTreeMap<(String, String), Option<u64>>,
}

impl Whole {
    /// Adds a run that is older than all before.
    fn add(&mut self, record: &RunRecord) {
        // One that was done again as it was made nothing either.
        if record.repeated_of.is_some() || record.as_it_was.is_some() {
            return;
        }
        let outputs: BTreeSet<&str> = record.outputs.iter().map(|of| of.dataset.as_str()).collect();
        let outputs: Vec<&str> = outputs.into_iter().collect();
        let id = format!("job:{}:{}", record.job, outputs.join("+"));
        let job = self.node(id, LineageKind::Job, &record.job, Some(record));
        if let Some(node) = self.nodes.get_mut(&job) {
            node.runs += 1;
        }
        for input in &record.inputs {
            let from = self.dataset(input.dataset.as_str(), None);
            self.edge(from, job.clone(), Some(input.version.0));
        }
        for output in &record.outputs {
            let to = self.dataset(output.dataset.as_str(), Some(record));
            self.edge(job.clone(), to, Some(output.version.0));
        }
        let (made, used) = models(record);
        if let Some(model) = made {
            let to = self.node(format!("model:{model}"), LineageKind::Model, &model, Some(record));
            self.edge(job.clone(), to, None);
        }
        for model in used {
            let from = self.node(format!("model:{model}"), LineageKind::Model, &model, None);
            self.edge(from, job.clone(), None);
        }
    }

    fn dataset(&mut self, name: &str, made: Option<&RunRecord>) -> String {
        self.node(format!("dataset:{name}"), LineageKind::Dataset, name, made)
    }

    fn node(
        &mut self,
        id: String,
        kind: LineageKind,
        name: &str,
        made: Option<&RunRecord>,
    ) -> String {
        let node = self.nodes.entry(id.clone()).or_insert_with(|| LineageNode {
            id: id.clone(),
            kind,
            name: name.to_owned(),
            run: None,
            at: None,
            runs: 0,
        });
        if let (None, Some(record)) = (node.run, made) {
            node.run = Some(record.id);
            node.at = record.finished_at;
        }
        id
    }

    fn edge(&mut self, from: String, to: String, version: Option<u64>) {
        self.edges.entry((from, to)).or_insert(version);
    }

    /// What is before and behind `of`.
    fn around(self, of: &str) -> Result<Lineage> {
        let id = [of.to_owned(), format!("dataset:{of}"), format!("model:{of}")];
        let Some(id) = id.into_iter().find(|id| self.nodes.contains_key(id)) else {
            let names = self.nodes.values().map(|node| node.name.as_str());
            let near = engine::did_you_mean(of, names).map(|near| format!("; {near}"));
            let near = near.unwrap_or_default();
            let shown: String = of.chars().take(80).collect();
            return Err(Error::user(
                Code::NotFound,
                format!("lineage of {shown:?}: no run has read or made it{near}"),
            ));
        };
        let mut kept: HashSet<String> = HashSet::from([id.clone()]);
        for is_forward in [true, false] {
            let mut seen: HashSet<&str> = HashSet::from([id.as_str()]);
            let mut reached = vec![id.as_str()];
            while let Some(at) = reached.pop() {
                for (from, to) in self.edges.keys() {
                    let (here, next) = if is_forward { (from, to) } else { (to, from) };
                    if here == at && seen.insert(next) {
                        reached.push(next);
                    }
                }
            }
            kept.extend(seen.into_iter().map(str::to_owned));
        }
        let mut lineage = self.finish();
        lineage.nodes.retain(|node| kept.contains(&node.id));
        lineage.edges.retain(|edge| kept.contains(&edge.from) && kept.contains(&edge.to));
        Ok(lineage)
    }

    fn finish(self) -> Lineage {
        let edges = self.edges.into_iter();
        Lineage {
            nodes: self.nodes.into_values().collect(),
            edges: edges.map(|((from, to), version)| LineageEdge { from, to, version }).collect(),
        }
    }
}

/// The model that a run made, and those that it used, as kinds say them of their results.
fn models(record: &RunRecord) -> (Option<String>, Vec<String>) {
    let says = |name: &str| record.summary.get(name).and_then(serde_json::Value::as_str);
    let made = match (record.job.as_str(), says("model"), says("version")) {
        ("triage_train" | "embedder_train", Some(name), Some(version)) => {
            Some(format!("{name}@{version}"))
        }
        _ => None,
    };
    let used = match record.job.as_str() {
        "triage" => says("model"),
        _ => says("embedder"),
    };
    (made, used.map(str::to_owned).into_iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn run(job: &str, inputs: &[(&str, u64)], outputs: &[(&str, u64)]) -> RunRecord {
        let of = |all: &[(&str, u64)]| {
            let all = all
                .iter()
                .map(|(dataset, version)| json!({"dataset": dataset, "version": version}));
            all.collect::<Vec<_>>()
        };
        serde_json::from_value(json!({
            "id": RunId::new().to_string(), "job": job, "state": "succeeded", "params": {},
            "inputs": of(inputs), "outputs": of(outputs), "stages": [], "requested_by": "a",
            "requested_at": "2026-01-01T00:00:00Z", "started_at": null, "finished_at": null, "progress": 1.0,
            "repeated_of": null, "error": null, "summary": null, "key": "",
        }))
        .unwrap()
    }

    #[test]
    fn a_dataset_has_what_it_came_from_and_what_came_of_it() {
        let mut train =
            run("triage_train", &[("tickets", 3)], &[("models", 1), ("model_stages", 1)]);
        train.summary = json!({"model": "queue", "version": "0f"});
        let mut triage = run("triage", &[("tickets", 5), ("models", 1)], &[("triage", 2)]);
        triage.summary = json!({"model": "queue@0f"});
        let older = run("triage", &[("tickets", 4), ("models", 1)], &[("triage", 1)]);
        let other = run("anomalies", &[("metrics", 1)], &[("anomalies", 1)]);
        let mut whole = Whole::default();
        for record in [&triage, &older, &other, &train] {
            whole.add(record);
        }
        let lineage = whole.around("triage").unwrap();
        let ids: Vec<&str> = lineage.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "dataset:models",
                "dataset:tickets",
                "dataset:triage",
                "job:triage:triage",
                "job:triage_train:model_stages+models",
                "model:queue@0f",
            ]
        );
        let job = lineage.nodes.iter().find(|node| node.id == "job:triage:triage").unwrap();
        assert_eq!((job.runs, job.run), (2, Some(triage.id)));
        let edge = |from: &str, to: &str| {
            lineage.edges.iter().find(|edge| edge.from == from && edge.to == to).unwrap().version
        };
        // Of the last run.
        assert_eq!(edge("dataset:tickets", "job:triage:triage"), Some(5));
        assert_eq!(edge("job:triage_train:model_stages+models", "model:queue@0f"), None);
        assert_eq!(edge("model:queue@0f", "job:triage:triage"), None);
    }

    #[test]
    fn what_no_run_had_to_do_with_is_told_with_what_is_near() {
        let mut whole = Whole::default();
        whole.add(&run("sql", &[("metrics", 1)], &[("by_day", 1)]));
        whole.add(&RunRecord {
            as_it_was: Some(RunId::new()),
            ..run("sql", &[("metrics", 1)], &[])
        });
        let error = whole.around("by_dya").unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.to_string().contains("did you mean by_day?"), "{error}");
    }
}
