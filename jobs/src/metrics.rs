//! Metrics that are defined once and kept up to date: a schedule of the job `metric` on changes of its dataset, by the metric's name.
//!
//! ```toml
//! [[metric]]
//! name = "error_rate"
//! dataset = "model_calls"
//! measure = "count(*) FILTER (WHERE status = 'error') / count(*)"
//! dimensions = ["model"]
//! interval = "1h"
//! ```

use chrono::DateTime;
use engine::{Code, Error, Principal, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::definitions;
use crate::kinds::metric;
use crate::parameters;
use crate::pipelines::Applied;
use crate::run::runner::{RunHandle, RunRequest, Runner};
use crate::schedules::{Schedule, ScheduleState, Trigger, check_name};

/// What the name of a metric's schedule begins with.
const SCHEDULE: &str = "metric-";
/// A metric is computed no more often than once in so many seconds, unless it is said.
const EVERY_SECONDS: u32 = 10;

/// What is measured, and how often at most.
#[derive(Clone, Debug)]
pub struct MetricDefinition {
    name: String,
    params: metric::Params,
    every_seconds: u32,
}

/// A metric and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct MetricState {
    /// Its name.
    pub name: String,
    /// What is measured.
    pub definition: metric::Params,
    /// What keeps it up to date.
    pub schedule: ScheduleState,
}

impl MetricDefinition {
    /// Reads a definition: `fields` are parameters of the job `metric`, beside `every_seconds`. BAD_INPUT names the metric and the field.
    pub fn new(name: &str, mut fields: Map<String, Value>) -> Result<Self> {
        check_name("metric", name)?;
        check_name("metric", &format!("{SCHEDULE}{name}"))?;
        let wrong = |says: String| Error::user(Code::BadInput, format!("metric {name}: {says}"));
        let every_seconds = match fields.remove("every_seconds") {
            None | Some(Value::Null) => EVERY_SECONDS,
            Some(value) => {
                value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(|| {
                    wrong(format!(
                        "every_seconds: expected a whole number of seconds, found {value}"
                    ))
                })?
            }
        };
        for (field, says) in [
            ("metric", "its name is `name`"),
            ("full", "a run of the job metric takes it: `colonnade run metric --param full=true`"),
        ] {
            if fields.contains_key(field) {
                return Err(wrong(format!("{field}: {says}")));
            }
        }
        if !fields.contains_key("dataset") {
            return Err(wrong("dataset: expected the dataset whose rows are measured".to_owned()));
        }
        fields.insert("metric".to_owned(), name.into());
        let params = metric::read(&Value::Object(fields))
            .map_err(|e| e.while_doing(format_args!("metric {name}")))?;
        Ok(Self { name: name.to_owned(), params, every_seconds })
    }

    /// Reads the definitions of a text in TOML, each a table `[[metric]]`. `source` is where it is from, for what is said of it.
    pub fn from_toml(text: &str, source: &str) -> Result<Vec<Self>> {
        let read = definitions::tables(text, source, "metric")?.into_iter();
        let one = |(name, fields): (String, _)| Self::new(&name, fields);
        read.map(one).collect::<Result<_>>().map_err(|e| e.while_doing(source))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn schedule(&self) -> Result<Schedule> {
        Ok(Schedule {
            name: format!("{SCHEDULE}{}", self.name),
            job: metric::NAME.to_owned(),
            params: parameters::canonical(&self.params)?,
            gpu: None,
            steps: Vec::new(),
            trigger: Trigger::Change {
                on_change: self.params.dataset.clone(),
                rows_min: 1,
                every_seconds: self.every_seconds,
            },
            priority: 0,
            created_by: String::new(),
            created_at: DateTime::UNIX_EPOCH,
        })
    }
}

impl Runner {
    /// Makes metrics what `asked` says, whether there were some of their names or not: all of them, or where something is wrong with one,
    /// none. What is new or changed is computed at once: answers with its run.
    pub async fn define_metrics(
        &self,
        who: &Principal,
        asked: &[MetricDefinition],
    ) -> Result<Vec<(MetricState, Applied, Option<RunHandle>)>> {
        let schedules = self.checked_metrics(who, asked).await?;
        let mut made = Vec::with_capacity(asked.len());
        for (one, schedule) in asked.iter().zip(&schedules) {
            let applied = self.upsert_schedule(who, schedule.clone(), &schedules).await?;
            let run = match applied {
                Applied::Same => None,
                Applied::Added | Applied::Changed => {
                    let (job, params) = (metric::NAME.to_owned(), schedule.params.clone());
                    Some(
                        self.submit(who, RunRequest { job, params, ..RunRequest::default() })
                            .await?,
                    )
                }
            };
            made.push((self.metric(who, &one.name).await?, applied, run));
        }
        Ok(made)
    }

    /// Fails with what is wrong with one of them, and makes nothing.
    pub async fn check_metrics(&self, who: &Principal, asked: &[MetricDefinition]) -> Result<()> {
        self.checked_metrics(who, asked).await.map(drop)
    }

    /// What would keep them up to date.
    async fn checked_metrics(
        &self,
        who: &Principal,
        asked: &[MetricDefinition],
    ) -> Result<Vec<Schedule>> {
        definitions::require_different("metric", asked.iter().map(MetricDefinition::name))?;
        let schedules = asked.iter().map(MetricDefinition::schedule).collect::<Result<Vec<_>>>()?;
        for (one, schedule) in asked.iter().zip(&schedules) {
            let there = self.entry_of(who, &schedule.name).await?;
            let there = there.as_ref().map(Schedule::of).transpose()?;
            if there.is_some_and(|there| there.job != metric::NAME) {
                let says = format!(
                    "metric {}: there is a schedule {}, which is no metric's; remove it first, or take another name",
                    one.name, schedule.name
                );
                return Err(Error::user(Code::Conflict, says));
            }
            let checked = self.checked(who, schedule.clone(), &schedules).await;
            checked.map_err(|e| e.while_doing(format_args!("metric {}", one.name)))?;
        }
        Ok(schedules)
    }

    /// The tenant's metrics, by name.
    pub async fn metrics(&self, who: &Principal) -> Result<Vec<MetricState>> {
        let all = self.schedules(who).await?.into_iter();
        all.filter_map(|schedule| state(schedule).transpose()).collect()
    }

    /// One of them; NOT_FOUND where there is none.
    pub async fn metric(&self, who: &Principal, name: &str) -> Result<MetricState> {
        let all = self.metrics(who).await?;
        if let Some(found) = all.iter().find(|metric| metric.name == name) {
            return Ok(found.clone());
        }
        let names = all.iter().map(|metric| metric.name.as_str());
        Err(definitions::unknown("metric", name, names, "colonnade metrics"))
    }

    /// Removes a metric: it is not kept up to date any more. Its values stay.
    pub async fn remove_metric(&self, who: &Principal, name: &str) -> Result<MetricState> {
        let last = self.metric(who, name).await?;
        self.remove_schedule(who, &format!("{SCHEDULE}{name}")).await?;
        Ok(last)
    }
}

/// The metric that a schedule keeps up to date, if it does.
fn state(schedule: ScheduleState) -> Result<Option<MetricState>> {
    let Some(name) = schedule.schedule.name.strip_prefix(SCHEDULE) else { return Ok(None) };
    if schedule.schedule.job != metric::NAME {
        return Ok(None);
    }
    let definition = metric::read(&schedule.schedule.params)?;
    Ok(Some(MetricState { name: name.to_owned(), definition, schedule }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kernels::GpuPolicy;
    use serde_json::json;

    use super::*;
    use crate::run::runner::RunnerOptions;
    use crate::testing::{append, engine, rows, sampled};

    fn of(name: &str, fields: &Value) -> MetricDefinition {
        MetricDefinition::new(name, fields.as_object().unwrap().clone()).unwrap()
    }

    #[tokio::test]
    async fn a_metric_is_made_changed_listed_and_removed_and_takes_no_other_schedules_place() {
        let (engine, who) = (engine().await, Principal::local());
        append(&engine, "metrics", &[sampled("a", 600, vec![2.0; 40])]).await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let define = async |asked: &[MetricDefinition]| {
            let mut all = Vec::new();
            for (_, applied, run) in runner.define_metrics(&who, asked).await? {
                if let Some(run) = run {
                    run.wait().await?;
                }
                all.push(applied);
            }
            Ok::<_, Error>(all)
        };
        let samples = of("samples", &json!({ "dataset": "metrics" }));
        let mean = of("mean", &json!({ "dataset": "metrics", "measure": "avg(value)" }));
        let both = [samples.clone(), mean];
        assert_eq!(define(&both).await.unwrap(), [Applied::Added, Applied::Added]);
        assert_eq!(define(&both).await.unwrap(), [Applied::Same, Applied::Same]);
        let changed = of("mean", &json!({ "dataset": "metrics", "measure": "max(value)" }));
        assert_eq!(define(&[changed]).await.unwrap(), [Applied::Changed]);
        let values = "SELECT metric, count(*), max(value) FROM metric_values GROUP BY metric ORDER BY metric";
        // Of seven hours the last is not over.
        assert_eq!(rows(&engine, values).await, ["mean 6 2.0", "samples 6 6.0"]);
        let names = async || -> Vec<String> {
            runner.metrics(&who).await.unwrap().into_iter().map(|metric| metric.name).collect()
        };
        assert_eq!(names().await, ["mean", "samples"]);
        runner.remove_metric(&who, "mean").await.unwrap();
        assert_eq!(names().await, ["samples"]);
        assert_eq!(rows(&engine, values).await.len(), 2);
        let unknown = runner.metric(&who, "sample").await.unwrap_err().to_string();
        assert!(unknown.contains("no such metric; did you mean samples"), "{unknown}");
        // Two of one name, a column that is not there, and the schedule of another job: each is told, also by a check, and none is made.
        let mut taken = of("taken", &json!({ "dataset": "metrics" })).schedule().unwrap();
        (taken.job, taken.params) = ("anomalies".to_owned(), json!({}));
        runner.add_schedule(&who, taken).await.unwrap();
        for (asked, says) in [
            (
                vec![samples.clone(), samples.clone()],
                "metric samples: there are two definitions of it",
            ),
            (
                vec![samples, of("bad", &json!({ "dataset": "metrics", "dimensions": ["host"] }))],
                "metric bad: ",
            ),
            (
                vec![of("taken", &json!({ "dataset": "metrics" }))],
                "there is a schedule metric-taken, which is no metric's",
            ),
        ] {
            for error in [runner.check_metrics(&who, &asked).await, define(&asked).await.map(drop)]
            {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(says), "{error}");
            }
        }
        assert_eq!(names().await, ["samples"]);
        runner.shutdown().await;
    }

    #[test]
    fn definitions_are_read_and_refused_by_name() {
        let good = "[[metric]]\nname = \"calls\"\ndataset = \"model_calls\"\n\n[[metric]]\nname = \"p95\"\n\
                    dataset = \"model_calls\"\nmeasure = \"approx_percentile_cont(latency_ms, 0.95)\"\n\
                    dimensions = [\"model\"]\ninterval = \"5m\"\nevery_seconds = 3\n";
        let read = MetricDefinition::from_toml(good, "m.toml").unwrap();
        let names: Vec<&str> = read.iter().map(MetricDefinition::name).collect();
        assert_eq!(names, ["calls", "p95"]);
        assert_eq!((read[0].every_seconds, read[1].every_seconds), (EVERY_SECONDS, 3));
        assert_eq!(read[1].params.interval.to_string(), "5m");
        assert_eq!(read[0].schedule().unwrap().name, "metric-calls");
        let long = "x".repeat(57);
        for (text, says) in [
            ("", "m.toml: expected 1 to 500 tables [[metric]], found 0"),
            ("[[metrics]]\n", "m.toml: "),
            ("[[metric]]\ndataset = \"a\"\n", "[[metric]] 1: expected a text as `name`"),
            ("[[metric]]\nname = \"a\"\n", "metric a: dataset: expected the dataset"),
            (
                "[[metric]]\nname = \"A\"\ndataset = \"b\"\n",
                "metric \"A\": expected a name of 1 to 63",
            ),
            (
                &format!("[[metric]]\nname = \"{long}\"\ndataset = \"b\"\n"),
                "expected a name of 1 to 63",
            ),
            (
                "[[metric]]\nname = \"a\"\ndataset = \"b\"\nmesure = \"count(*)\"\n",
                "did you mean measure",
            ),
            (
                "[[metric]]\nname = \"a\"\ndataset = \"b\"\nfull = true\n",
                "metric a: full: a run of the job",
            ),
            (
                "[[metric]]\nname = \"a\"\ndataset = \"b\"\nevery_seconds = -1\n",
                "every_seconds: expected a whole number",
            ),
            ("[[metric]]\nname = \"a\"\ndataset = \"b\"\ninterval = 5\n", "interval"),
        ] {
            let error =
                MetricDefinition::from_toml(text, "m.toml").map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
