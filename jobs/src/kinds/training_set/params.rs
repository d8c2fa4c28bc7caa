//! The parameters of `training_set`.

use std::collections::BTreeMap;

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Views and features that are asked for, at most.
const FEATURES_MAX: usize = 200;

/// Which rows get which features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset with a row for each thing that is learned from: its entities, an instant, and what is to be told. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column of the instant at which features are asked for; null takes the one that the dataset declares. Default: null.
    pub time_column: Option<String>,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Feature views by name, each with all its features, or single ones as "view.feature". Default: ["features"].
    pub features: Vec<String>,
    /// Columns of the dataset that name an entity otherwise than the views do, as {"user_id": "author"}: by the view's name for it.
    /// Default: {}.
    pub entity: BTreeMap<String, String>,
    /// Whether features that became known at the very instant of a row count for it. A row's own are among them where a view is made of the
    /// same dataset. Default: false.
    pub same_instant: bool,
    /// Whether features are called by their view, too, as view_feature. Default: false.
    pub prefix: bool,
    /// Dataset that the rows are committed to. Default: training_set.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("tickets"),
            time_column: None,
            condition: None,
            features: vec!["features".into()],
            entity: BTreeMap::new(),
            same_instant: false,
            prefix: false,
            output: dataset_name("training_set"),
        }
    }
}

/// A view, and which of its features are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) view: DatasetName,
    /// None: all.
    pub(super) features: Option<Vec<String>>,
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let inputs: Vec<DatasetName> = self.asked()?.into_iter().map(|of| of.view).collect();
        if inputs.contains(&self.dataset) {
            let says = format!("{} is the dataset whose rows get features", self.dataset);
            return Err(bad(NAME, "features", says));
        }
        let inputs: Vec<DatasetName> = inputs.into_iter().chain([self.dataset.clone()]).collect();
        check_outputs(NAME, &[("output", &self.output)], &inputs)
    }

    /// The views that are asked for, each once, in the order in which they come first.
    pub(super) fn asked(&self) -> Result<Vec<Asked>> {
        if !(1..=FEATURES_MAX).contains(&self.features.len()) {
            let found = self.features.len();
            let says = format!("expected 1 to {FEATURES_MAX} of them, found {found}");
            return Err(bad(NAME, "features", says));
        }
        let mut all: Vec<Asked> = Vec::new();
        for text in &self.features {
            let (view, feature) = match text.split_once('.') {
                Some((view, feature)) => (view, Some(feature.to_owned())),
                None => (text.as_str(), None),
            };
            let view = DatasetName::new(view)
                .map_err(|error| bad(NAME, "features", format!("{text:?}: {error}")))?;
            let asked = match all.iter_mut().position(|of| of.view == view) {
                Some(at) => all.get_mut(at),
                None => {
                    all.push(Asked { view, features: Some(Vec::new()) });
                    all.last_mut()
                }
            };
            let Some(asked) = asked else { continue };
            match (&mut asked.features, feature) {
                (Some(features), Some(feature)) if features.contains(&feature) => {
                    return Err(bad(NAME, "features", format!("{text:?} stands there twice")));
                }
                (Some(features), Some(feature)) => features.push(feature),
                (features, None) => *features = None,
                (None, Some(_)) => {}
            }
        }
        Ok(all)
    }
}
