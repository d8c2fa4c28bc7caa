//! The parameters of `reconcile`.

use std::collections::BTreeMap;

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Columns of a key, and columns that are compared, at most.
const KEY_MAX: usize = 16;
const COLUMNS_MAX: usize = 500;
/// What stands for every column that is not named by itself.
const EVERY: &str = "*";

/// What is held against what.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The one dataset. Default: left.
    #[schemars(with = "String")]
    pub left: DatasetName,
    /// The other one. Default: right.
    #[schemars(with = "String")]
    pub right: DatasetName,
    /// Columns that say which row it is; [] takes the key that `left` declares. Default: [].
    pub key: Vec<String>,
    /// The same in `right`, in that order, where they have other names there; null where they have not. Default: null.
    pub right_key: Option<Vec<String>>,
    /// Columns that are compared, as the name in `left` and the one in `right`, such as {"amount": "total"}; null compares all that both
    /// have by one name. Default: null.
    pub columns: Option<BTreeMap<String, String>>,
    /// How far values may be apart that count as equal, by their column in `left`, "*" for all others, such as
    /// {"amount": {"absolute": 0.01}, "*": {"relative": 1e-9}}. Of times `absolute` is in seconds. Default: {}.
    pub tolerances: BTreeMap<String, Tolerance>,
    /// Whether texts that differ in white space at their ends alone are equal. Default: false.
    pub trim: bool,
    /// Whether texts that differ in capitals alone are equal. Default: false.
    pub ignore_case: bool,
    /// Which side is right where they differ, by the column in `left`, "*" for all others: "left", "right", or "newest", which takes the
    /// side with the later instant; what no rule decides waits for an answer. Default: {}.
    pub wins: BTreeMap<String, Wins>,
    /// Column of the instant of a row of `left`, for "newest". Default: null.
    pub left_time_column: Option<String>,
    /// The same of `right`; null takes the same name. Default: null.
    pub right_time_column: Option<String>,
    /// Dataset of what people answered: `key` and `column_name` as in `reconciliations`, and `choice`: "left", "right", or "value", which
    /// takes what stands in `value`. Default: null.
    #[schemars(with = "Option<String>")]
    pub answers: Option<DatasetName>,
    /// Only rows of `left` of which this is true, as it stands in SQL behind WHERE. Default: null.
    pub left_where: Option<String>,
    /// The same of `right`. Default: null.
    pub right_where: Option<String>,
    /// Dataset of what differs or is missing. Default: reconciliations.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset with a row for each column. Default: reconciliation_columns.
    #[schemars(with = "String")]
    pub columns_output: DatasetName,
    /// Dataset with a row for each pair of datasets. Default: reconciliation_totals.
    #[schemars(with = "String")]
    pub totals_output: DatasetName,
}

/// How far two values may be apart.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// By so much. Default: 0.
    pub absolute: f64,
    /// By so much of the larger one of both. Default: 0.
    pub relative: f64,
}

/// Who is right.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wins {
    /// The one dataset.
    Left,
    /// The other one.
    Right,
    /// The one whose row is later.
    Newest,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            left: dataset_name("left"),
            right: dataset_name("right"),
            key: Vec::new(),
            right_key: None,
            columns: None,
            tolerances: BTreeMap::new(),
            trim: false,
            ignore_case: false,
            wins: BTreeMap::new(),
            left_time_column: None,
            right_time_column: None,
            answers: None,
            left_where: None,
            right_where: None,
            output: dataset_name("reconciliations"),
            columns_output: dataset_name("reconciliation_columns"),
            totals_output: dataset_name("reconciliation_totals"),
        }
    }
}

/// What is said of a column, or else of all.
fn of_column<T: Copy>(of: &BTreeMap<String, T>, column: &str) -> Option<T> {
    of.get(column).or_else(|| of.get(EVERY)).copied()
}

impl Params {
    /// What is read.
    pub(super) fn inputs(&self) -> Vec<DatasetName> {
        [&self.left, &self.right].into_iter().chain(&self.answers).cloned().collect()
    }

    /// By what its rows are told apart from those of other pairs.
    pub(super) fn source(&self) -> String {
        format!("{}, {}", self.left, self.right)
    }

    pub(super) fn tolerance(&self, column: &str) -> Tolerance {
        of_column(&self.tolerances, column).unwrap_or_default()
    }

    pub(super) fn wins(&self, column: &str) -> Option<Wins> {
        of_column(&self.wins, column)
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if self.left == self.right {
            let says = format!("{} is `left`, too; expected another dataset", self.right);
            return Err(bad(NAME, "right", says));
        }
        if let Some(answers) =
            self.answers.as_ref().filter(|of| [&self.left, &self.right].contains(of))
        {
            return Err(bad(NAME, "answers", format!("{answers} is what is compared")));
        }
        let right = self.right_key.as_ref();
        for (parameter, key) in [("key", Some(&self.key)), ("right_key", right)] {
            let Some(key) = key else { continue };
            if key.len() > KEY_MAX {
                let says = format!("expected at most {KEY_MAX} columns, found {}", key.len());
                return Err(bad(NAME, parameter, says));
            }
            if let Some(at) = (1..key.len()).find(|at| key[..*at].contains(&key[*at])) {
                return Err(bad(NAME, parameter, format!("{:?} stands there twice", key[at])));
            }
        }
        if let Some(columns) = self.columns.as_ref().filter(|columns| columns.len() > COLUMNS_MAX) {
            let says = format!("expected at most {COLUMNS_MAX} columns, found {}", columns.len());
            return Err(bad(NAME, "columns", says));
        }
        let is_bad = |of: f64| !(of.is_finite() && of >= 0.0);
        let mut tolerances = self.tolerances.iter();
        if let Some((column, of)) =
            tolerances.find(|(_, of)| is_bad(of.absolute) || is_bad(of.relative))
        {
            let says = format!(
                "{column:?}: expected numbers not below 0, found {} and {}",
                of.absolute, of.relative
            );
            return Err(bad(NAME, "tolerances", says));
        }
        if self.wins.values().any(|of| *of == Wins::Newest) && self.left_time_column.is_none() {
            let says = "expected a column: `wins` asks which row is the newest";
            return Err(bad(NAME, "left_time_column", says));
        }
        let outputs = [
            ("output", &self.output),
            ("columns_output", &self.columns_output),
            ("totals_output", &self.totals_output),
        ];
        check_outputs(NAME, &outputs, &self.inputs())
    }

    /// Fails where a rule is about a column that is not compared.
    pub(super) fn check_rules(&self, compared: &[String]) -> Result<()> {
        let is_none = |column: &&String| *column != EVERY && !compared.contains(column);
        for (parameter, missing) in [
            ("tolerances", self.tolerances.keys().find(is_none)),
            ("wins", self.wins.keys().find(is_none)),
        ] {
            if let Some(column) = missing {
                let says = format!(
                    "column {column:?} is not compared; expected one of {}",
                    compared.join(", ")
                );
                return Err(bad(NAME, parameter, says));
            }
        }
        Ok(())
    }
}
