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

use datasets::DatasetName;
use engine::Result;
use serde_json::{Map, Value};

use crate::kept::{Kept, KeptParams, KeptState};
use crate::kinds::metric;

/// What is measured, and how often at most.
pub type MetricDefinition = Kept<metric::Params>;
/// A metric and how far it is.
pub type MetricState = KeptState<metric::Params>;

impl KeptParams for metric::Params {
    const KIND: &'static str = "metric";
    const JOB: &'static str = metric::NAME;
    const LISTED_BY: &'static str = "colonnade metrics";
    const MADE: &'static str = "values";
    const REFUSED: &'static [(&'static str, &'static str)] = &[
        ("metric", "its name is `name`"),
        ("full", "a run of the job metric takes it: `colonnade run metric --param full=true`"),
    ];

    fn named(name: &str, fields: &mut Map<String, Value>) {
        fields.insert("metric".to_owned(), name.into());
    }

    fn read(params: &Value) -> Result<Self> {
        metric::read(params)
    }

    fn check_new(&self) -> Result<()> {
        self.check_lengths()
    }

    fn dataset(&self) -> &DatasetName {
        &self.dataset
    }

    fn output(&self) -> &DatasetName {
        &self.output
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::{Error, Principal};
    use kernels::GpuPolicy;
    use serde_json::json;

    use super::*;
    use crate::pipelines::Applied;
    use crate::run::record::RunState;
    use crate::run::runner::{RunRequest, Runner, RunnerOptions};
    use crate::testing::{append, engine, rows, sampled};

    fn of(name: &str, fields: &Value) -> MetricDefinition {
        MetricDefinition::new(name, fields.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_is_no_number_in_json_is_refused_where_a_number_is_asked() {
        let long = format!("unit = {:?}", "x".repeat(101));
        for (field, says) in [
            (long.as_str(), "\"unit\": expected at most 100 bytes, found 101"),
            ("target = nan", "expected a number, found \"NaN\""),
            ("target = -inf", "expected a number, found \"-inf\""),
            ("every_seconds = nan", "NaN"),
        ] {
            let text = format!("[[metric]]\nname = \"m\"\ndataset = \"metrics\"\n{field}\n");
            let refused = MetricDefinition::from_toml(&text, "metrics.toml").unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
        }
    }

    #[tokio::test]
    async fn two_that_make_one_metric_at_one_time_both_succeed() {
        let (engine, who) = (engine().await, Principal::local());
        append(&engine, "metrics", &[sampled("a", 600, vec![2.0; 40])]).await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let asked = [of("samples", &json!({ "dataset": "metrics" }))];
        let both = futures::future::join_all((0..8).map(|_| runner.define(&who, &asked))).await;
        let added = both.into_iter().map(|made| made.unwrap()[0].1);
        let added = added.filter(|applied| *applied == Applied::Added).count();
        assert_eq!(
            (added, runner.definitions::<metric::Params>(&who).await.unwrap().len()),
            (1, 1)
        );
        runner.shutdown().await;
    }

    #[tokio::test]
    async fn values_are_those_of_the_definition_that_stands_whoever_was_first() {
        let (engine, who) = (engine().await, Principal::local());
        append(&engine, "metrics", &[sampled("a", 600, vec![2.0; 40])]).await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let measured = |measure: &str| {
            [of("m", &json!({ "dataset": "metrics", "measure": measure, "time_column": "at" }))]
        };
        let first = runner.define(&who, &measured("sum(value)")).await.unwrap().pop().unwrap();
        // The other one is done before the first is looked at, and the first comes to its end after it.
        let other = runner.define(&who, &measured("avg(value)")).await.unwrap().pop().unwrap();
        runner.computed(&who, other).await.unwrap();
        let params = first.0.schedule.schedule.params.clone();
        let request = RunRequest { job: metric::NAME.to_owned(), params, ..RunRequest::default() };
        let late = runner.submit(&who, request).await.unwrap();
        let values = "SELECT DISTINCT value FROM metric_values";
        let (state, _, run) = runner.computed(&who, (first.0, first.1, late)).await.unwrap();
        assert_eq!(
            (state.definition.measure.as_str(), run.state),
            ("avg(value)", RunState::Succeeded)
        );
        assert_eq!(rows(&engine, values).await, ["2.0"]);
        runner.shutdown().await;
    }

    #[tokio::test]
    async fn a_metric_is_made_changed_listed_and_removed_and_takes_no_other_schedules_place() {
        let (engine, who) = (engine().await, Principal::local());
        append(&engine, "metrics", &[sampled("a", 600, vec![2.0; 40])]).await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let define = async |asked: &[MetricDefinition]| {
            let mut all = Vec::new();
            for (_, applied, run) in runner.define(&who, asked).await? {
                assert_eq!(run.wait().await?.state, RunState::Succeeded);
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
            runner
                .definitions::<metric::Params>(&who)
                .await
                .unwrap()
                .into_iter()
                .map(|metric| metric.name)
                .collect()
        };
        assert_eq!(names().await, ["mean", "samples"]);
        runner.remove_definition::<metric::Params>(&who, "mean").await.unwrap();
        assert_eq!(names().await, ["samples"]);
        assert_eq!(rows(&engine, values).await.len(), 2);
        let unknown =
            runner.definition::<metric::Params>(&who, "sample").await.unwrap_err().to_string();
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
            for error in
                [runner.check_definitions(&who, &asked).await, define(&asked).await.map(drop)]
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
        assert_eq!((read[0].every_seconds, read[1].every_seconds), (10, 3));
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
