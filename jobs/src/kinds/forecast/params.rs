//! The parameters of `forecast`.

use std::collections::BTreeMap;

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use super::hierarchy::Tree;
use crate::parameters::{bad, dataset_name};
use crate::series::{EmptyAs, check_count, series_params};

/// The most values that are forecast of a series.
const HORIZON_MAX: usize = 10_000;
/// The most columns of a hierarchy, and the most that is said of who is a part of what.
const COLUMNS_MAX: usize = 8;
const PARENTS_MAX: usize = 10_000;

series_params! {
    job: NAME,
    /// What to forecast, and how far.
    pub struct Params {
        /// Intervals that are forecast, 1 to 10000. Default: 24.
        pub horizon: usize = 24,
        /// Columns by whose values series are summed, such as ["team"]: a team's forecast is that of its agents, and "all" is the sum
        /// of all. All series are looked at together then. Default: [].
        pub hierarchy: Vec<String> = Vec::new(),
        /// The same where no column says it: the sum that each series, or sum, is a part of. Default: {}.
        pub parents: BTreeMap<String, String> = BTreeMap::new(),
        /// How forecasts of sums and of their parts are made to agree: "mint" by the errors of all of them, "bottom_up" by those of
        /// the parts alone. Default: mint.
        pub reconcile: Reconcile = Reconcile::MinT,
        /// Whether forecasts may be below 0 where no value was. Default: false.
        pub may_be_negative: bool = false,
        /// Whether forecasts are kept, to say how good they were when what they are of has come; those of named series alone are not.
        /// Default: true.
        pub accuracy: bool = true,
        /// Dataset that the forecasts are committed to. Default: forecasts.
        #[schemars(with = "String")]
        pub output: DatasetName = dataset_name("forecasts"),
        /// Dataset that all of them are kept in. Default: forecast_history.
        #[schemars(with = "String")]
        pub history_output: DatasetName = dataset_name("forecast_history"),
        /// Dataset that they go to beside what came. Default: forecast_accuracy.
        #[schemars(with = "String")]
        pub accuracy_output: DatasetName = dataset_name("forecast_accuracy"),
    }
}

/// How forecasts are made to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reconcile {
    /// Those of least variance, by the errors of all of them.
    #[default]
    #[serde(rename = "mint")]
    MinT,
    /// Sums of the parts' own.
    BottomUp,
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        self.check_series()?;
        check_count(NAME, "horizon", self.horizon, 1, HORIZON_MAX)?;
        if self.hierarchy.len() > COLUMNS_MAX {
            let says =
                format!("expected at most {COLUMNS_MAX} columns, found {}", self.hierarchy.len());
            return Err(bad(NAME, "hierarchy", says));
        }
        let twice = self.hierarchy.iter().enumerate();
        let mut twice = twice.filter(|(at, name)| self.hierarchy[..*at].contains(name));
        if let Some((_, name)) = twice.next() {
            return Err(bad(NAME, "hierarchy", format!("{name:?} is there twice")));
        }
        if self.parents.len() > PARENTS_MAX {
            let says = format!("expected at most {PARENTS_MAX}, found {}", self.parents.len());
            return Err(bad(NAME, "parents", says));
        }
        if !self.hierarchy.is_empty() && !self.parents.is_empty() {
            return Err(bad(NAME, "parents", "expected either these or `hierarchy`, found both"));
        }
        if self.is_summed() && !self.series.is_empty() {
            let says = "expected none where series are summed: a sum is of all its parts";
            return Err(bad(NAME, "series", says));
        }
        let outputs = [&self.output, &self.history_output, &self.accuracy_output];
        for (at, name) in ["history_output", "accuracy_output"].into_iter().enumerate() {
            if outputs[..=at].contains(&outputs[at + 1]) {
                let says = format!("expected a dataset of its own, found {}", outputs[at + 1]);
                return Err(bad(NAME, name, says));
            }
        }
        Tree::of_parents(&self.parents).map(drop)
    }

    /// Whether forecasts are kept: those of a part of the series could not be committed together with their history.
    pub(super) fn keeps(&self) -> bool {
        self.accuracy && self.series.is_empty()
    }

    /// What is forecast, beside of which dataset and series: forecasts of one question alone are held against what comes.
    pub(super) fn question(&self) -> String {
        let of = self.measure.as_ref().unwrap_or(&self.value_column);
        let by = self.series_column.as_deref().unwrap_or("all");
        let mut question = format!("{of} by {by}");
        if let Some(interval) = self.interval {
            question.push_str(&format!(" each {interval}"));
        }
        if let Some(condition) = &self.condition {
            question.push_str(&format!(" where {condition}"));
        }
        if self.empty != EmptyAs::Auto {
            question.push_str(&format!(", empty {:?}", self.empty).to_lowercase());
        }
        question
    }

    /// Whether series are parts of sums.
    pub(super) fn is_summed(&self) -> bool {
        !self.hierarchy.is_empty() || !self.parents.is_empty()
    }
}
