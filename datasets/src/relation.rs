//! Relations: a column of one dataset that holds what names rows of another. They are declared, as keys are, and not enforced: a
//! value that names nothing is no error, and the other dataset may be made later.

use serde::{Deserialize, Serialize};

use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::name::{DatasetName, check_identifier};
use crate::near::did_you_mean;
use crate::spec::DatasetSpec;

/// Most relations of one dataset.
pub const RELATIONS_MAX: usize = 32;

/// What the name of a column ends with that names rows of another dataset, and the relation's does not.
const ID_ENDING: &str = "_id";

/// A column whose values name rows of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationSpec {
    /// What it is called; the column's name without `_id` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The column, of this dataset.
    pub column: String,
    /// The dataset whose rows it names; may be this one.
    pub to: DatasetName,
    /// The column of that dataset which has the same values; its key, of one column, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_column: Option<String>,
    /// One line of what it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl RelationSpec {
    /// What it is called.
    pub fn name(&self) -> &str {
        let of_column = || self.column.strip_suffix(ID_ENDING).unwrap_or(&self.column);
        self.name.as_deref().unwrap_or_else(of_column)
    }

    /// The column of the other dataset, whose spec is `to`. Says why there is none.
    pub fn target<'a>(&'a self, from: &DatasetSpec, to: &'a DatasetSpec) -> Result<&'a str> {
        let fail = |problem: String| {
            let problem = format!("relation {:?}: {problem}", self.name());
            Err(Error::Spec { dataset: from.name.to_string(), problem })
        };
        let target = match (&self.to_column, &to.key[..]) {
            (Some(column), _) => column,
            (None, [key]) => key,
            (None, []) => {
                return fail(format!("dataset {} has no key; say `to_column`", to.name));
            }
            (None, key) => {
                return fail(format!(
                    "dataset {} has a key of {} columns; say `to_column`",
                    to.name,
                    key.len()
                ));
            }
        };
        let Some(there) = to.column(target) else {
            let hint = hint(target, to);
            return fail(format!("dataset {} has no column {target:?}{hint}", to.name));
        };
        match from.column(&self.column) {
            Some(here) if here.data_type == there.data_type => Ok(target),
            Some(here) => fail(format!(
                "column {:?} is {}, and column {target:?} of dataset {} is {}; expected equal types",
                self.column, here.data_type, to.name, there.data_type
            )),
            None => fail(format!("{:?} is not a column", self.column)),
        }
    }

    /// Checks it against the dataset that has it.
    pub(crate) fn check(&self, spec: &DatasetSpec) -> Result<()> {
        check_identifier("relation name", self.name())?;
        let fail = |problem: String| {
            let problem = format!("relation {:?}: {problem}", self.name());
            Err(Error::Spec { dataset: spec.name.to_string(), problem })
        };
        let Some(column) = spec.column(&self.column) else {
            let hint = hint(&self.column, spec);
            return fail(format!("{:?} is not a column{hint}", self.column));
        };
        use ColumnType as T;
        match &column.data_type {
            T::Bool | T::Int32 | T::Int64 | T::Text | T::Date | T::Timestamp | T::Decimal(..) => {}
            other => {
                return fail(format!(
                    "column {:?} is {other}; expected whole numbers, decimals, texts or times",
                    self.column
                ));
            }
        }
        if let Some(column) = &self.to_column {
            check_identifier("column name", column)?;
        }
        match self.to == spec.name {
            true => self.target(spec, spec).map(drop),
            false => Ok(()),
        }
    }
}

/// What a column is called that was meant, where one is spelt alike.
fn hint(name: &str, spec: &DatasetSpec) -> String {
    let names = spec.columns.iter().map(|column| column.name.as_str());
    did_you_mean(name, names).map(|near| format!("; {near}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(name: &str, columns: &str, rest: &str) -> Result<DatasetSpec> {
        let text = format!("name = \"{name}\"\n{rest}\ncolumns = [{columns}]");
        DatasetSpec::from_toml(&text, name)
    }

    const COLUMNS: &str = r#"{name = "id", type = "text"}, {name = "ticket_id", type = "text", nullable = true},
        {name = "score", type = "float64"}"#;

    #[test]
    fn a_relation_is_called_as_its_column_without_an_ending() {
        let rest = "key = [\"id\"]\nrelations = [{column = \"ticket_id\", to = \"tickets\"}]";
        let calls = spec("calls", COLUMNS, rest).unwrap();
        assert_eq!(calls.relations[0].name(), "ticket");
        assert_eq!(DatasetSpec::from_json(&calls.to_json().unwrap()).unwrap(), calls);
        let named = rest.replace("{column", "{name = \"about\", column");
        assert_eq!(spec("calls", COLUMNS, &named).unwrap().relations[0].name(), "about");
    }

    #[test]
    fn a_bad_relation_names_its_column_and_dataset() {
        let twice =
            r#"{column = "ticket_id", to = "a"}, {name = "ticket", column = "id", to = "a"}"#;
        for (relation, says) in [
            (
                r#"{column = "tiket_id", to = "a"}"#,
                r#"relation "tiket": "tiket_id" is not a column; did you mean ticket_id"#,
            ),
            (
                r#"{column = "score", to = "a"}"#,
                r#"column "score" is float64; expected whole numbers"#,
            ),
            (r#"{name = "Bad", column = "id", to = "a"}"#, r#"relation name "Bad""#),
            (
                r#"{column = "id", to = "calls", to_column = "score"}"#,
                r#"column "id" is text, and column "score" of dataset calls is float64"#,
            ),
            (r#"{column = "ticket_id", to = "calls"}"#, "dataset calls has no key"),
            (twice, r#"relation "ticket" stands twice"#),
        ] {
            let rest = format!("relations = [{relation}]");
            let error = spec("calls", COLUMNS, &rest).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
        let many = [r#"{name = "NAME", column = "id", to = "a"}"#; RELATIONS_MAX + 1].join(", ");
        let error = spec("calls", COLUMNS, &format!("relations = [{}]", many.replace("NAME", "n")));
        assert!(error.unwrap_err().to_string().contains("33 relations; expected at most 32"));
    }

    #[test]
    fn the_other_dataset_says_what_it_has_not() {
        let rest = "relations = [{column = \"ticket_id\", to = \"tickets\"}]";
        let calls = spec("calls", COLUMNS, rest).unwrap();
        let of = |columns: &str, rest: &str| {
            let tickets = spec("tickets", columns, rest).unwrap();
            calls.relations[0]
                .target(&calls, &tickets)
                .map(str::to_owned)
                .map_err(|e| e.to_string())
        };
        assert_eq!(of(COLUMNS, "key = [\"id\"]"), Ok("id".to_owned()));
        assert!(of(COLUMNS, "").unwrap_err().contains("dataset tickets has no key"));
        let pair = of(COLUMNS, "key = [\"id\", \"score\"]").unwrap_err();
        assert!(pair.contains("a key of 2 columns"), "{pair}");
        let number = of(r#"{name = "id", type = "int64"}"#, "key = [\"id\"]").unwrap_err();
        assert!(number.contains("of dataset tickets is int64"), "{number}");
    }
}
