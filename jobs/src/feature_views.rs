//! Feature views that are defined once and kept up to date: a schedule of the job `features` on changes of its dataset, by the view's name,
//! which is also that of the dataset of its features.
//!
//! ```toml
//! [[feature]]
//! name = "user_load"
//! dataset = "model_calls"
//! entity = ["user_id"]
//! ttl = "30d"
//!
//! [feature.features]
//! last_model = "model"
//! calls_1d = { measure = "count(*)", window = "1d" }
//! ```

use datasets::DatasetName;
use engine::Result;
use serde_json::{Map, Value};

use crate::kept::{Kept, KeptParams, KeptState};
use crate::kinds::features::{self, Params};

/// A feature view, and how often it is computed at most.
pub type FeatureView = Kept<Params>;
/// A feature view and how far it is.
pub type FeatureViewState = KeptState<Params>;

impl KeptParams for Params {
    const KIND: &'static str = "feature";
    const JOB: &'static str = features::NAME;
    const LISTED_BY: &'static str = "colonnade features";
    const MADE: &'static str = "rows";
    const REFUSED: &'static [(&'static str, &'static str)] = &[
        ("full", "a run of the job features takes it: `colonnade run features --param full=true`"),
        ("output", "its features go to the dataset of its name"),
    ];

    fn named(name: &str, fields: &mut Map<String, Value>) {
        fields.insert("output".to_owned(), name.into());
    }

    fn read(params: &Value) -> Result<Self> {
        features::read(params)
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
    use engine::Principal;
    use kernels::GpuPolicy;
    use serde_json::json;

    use super::*;
    use crate::pipelines::Applied;
    use crate::run::runner::{Runner, RunnerOptions};
    use crate::testing::{append, engine, sampled};

    /// A view is read by its name, so that is what its dataset is called; and each time that it is asked for it takes in what came.
    #[tokio::test]
    async fn a_view_is_the_dataset_of_its_name() {
        let (engine, who) = (engine().await, Principal::local());
        append(&engine, "metrics", &[sampled("a", 600, vec![2.0; 40])]).await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let fields = json!({ "dataset": "metrics", "entity": ["series"], "features": { "newest": "value" } });
        let of = |name: &str, more: Value| {
            let mut fields = fields.as_object().unwrap().clone();
            fields.extend(more.as_object().unwrap().clone());
            FeatureView::new(name, fields)
        };
        let asked = [of("loads", json!({})).unwrap()];
        for applied in [Applied::Added, Applied::Same] {
            let (state, was, run) = runner.define(&who, &asked).await.unwrap().pop().unwrap();
            assert_eq!((state.definition.output.as_str(), was), ("loads", applied));
            let run = run.wait().await.unwrap();
            assert_eq!(run.summary["rows"], 40, "{run:?}");
            append(&engine, "metrics", &[sampled("b", 600, vec![3.0; 40])]).await;
        }
        let rows = crate::testing::rows(&engine, "SELECT count(*) FROM loads").await;
        assert_eq!(rows, ["80"]);
        for (name, more, says) in [
            (
                "loads",
                json!({ "output": "others" }),
                "output: its features go to the dataset of its name",
            ),
            ("our-loads", json!({}), "our-loads"),
        ] {
            let error = of(name, more).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        runner.shutdown().await;
    }
}
