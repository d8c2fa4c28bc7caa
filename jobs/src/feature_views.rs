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
    const HAS_OWN_OUTPUT: bool = true;
    const REFUSED: &'static [(&'static str, &'static str)] = &[(
        "full",
        "a run of the job features takes it: `colonnade run features --param full=true`",
    )];

    fn named(name: &str, fields: &mut Map<String, Value>) {
        // The name of a schedule may have what that of a dataset has not.
        fields.entry("output").or_insert_with(|| name.replace('-', "_").into());
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

    #[tokio::test]
    async fn two_views_have_two_outputs() {
        let (engine, who) = (engine().await, Principal::local());
        append(&engine, "metrics", &[sampled("a", 600, vec![2.0; 40])]).await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let of = |name: &str, output: &str| {
            let fields = json!({
                "dataset": "metrics", "entity": ["series"], "features": { "newest": "value" }, "output": output,
            });
            FeatureView::new(name, fields.as_object().unwrap().clone()).unwrap()
        };
        let made = runner.define(&who, &[of("one", "loads")]).await.unwrap();
        assert_eq!(made[0].1, Applied::Added);
        for asked in [vec![of("two", "loads")], vec![of("two", "same"), of("three", "same")]] {
            let error = runner.check_definitions(&who, &asked).await.unwrap_err().to_string();
            assert!(error.contains("expected another `output`"), "{error}");
        }
        // Its own is none of another's.
        runner.check_definitions(&who, &[of("one", "loads")]).await.unwrap();
        runner.shutdown().await;
    }
}
