//! Which column of one version is which of another.
//!
//! A column is known by the name that it came with. One that was renamed since, or came under a name that another had before, says
//! so in the table's configuration: with that, an older version is shown with the columns of today, and what changed between two
//! versions is told by what the columns hold, whatever they are called.

use std::collections::{BTreeMap, BTreeSet};

use datasets::DatasetSpec;
use deltalake_core::kernel::{Metadata, MetadataExt as _};
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// Key of this in a table's configuration.
const KEY: &str = "colonnade.columns";

/// What is not to be told from the names of the columns alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnIds {
    /// How often columns were renamed, dropped, or given another type: rows that were read for another number do not fit.
    #[serde(default)]
    pub(crate) reshaped: u64,
    /// What columns are known by that are called otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ids: BTreeMap<String, String>,
    /// What columns were known by that are gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    gone: BTreeSet<String>,
    /// Names that columns had in between, and what these are known by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    former: BTreeMap<String, String>,
    /// All names that columns had before they were renamed, by what these are known by, whoever has them now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    had: BTreeMap<String, BTreeSet<String>>,
}

impl ColumnIds {
    /// That of a table which takes the place of another, whose columns had been changed so often.
    pub(super) fn anew(reshaped: u64) -> Self {
        Self { reshaped, ..Self::default() }
    }

    /// As `metadata` has it.
    pub(super) fn of(metadata: &Metadata) -> Result<Self> {
        let Some(json) = metadata.configuration().get(KEY) else { return Ok(Self::default()) };
        serde_json::from_str(json).map_err(|e| {
            let doing = format!("the table's configuration has a broken {KEY:?}");
            Error::environment(Code::StorageUnavailable, doing, e)
        })
    }

    /// `metadata` with it.
    pub(super) fn within(&self, metadata: Metadata) -> Result<Metadata> {
        if *self == Self::default() {
            return Ok(metadata);
        }
        let json = serde_json::to_string(self).map_err(|e| Error::bug("columns as JSON", e))?;
        let metadata = metadata.add_config_key(KEY.to_owned(), json);
        metadata.map_err(|e| Error::bug("table metadata", e))
    }

    /// What it is after version `version`, which changes `before` to `after`, one column of which was called otherwise.
    pub(super) fn after(
        &self,
        version: u64,
        before: &DatasetSpec,
        after: &DatasetSpec,
        renamed: Option<&Renamed>,
    ) -> Self {
        let mut next = Self { ids: BTreeMap::new(), ..self.clone() };
        let was = |name: &str| match renamed {
            Some(Renamed { from, to }) if to == name => Some(from.clone()),
            Some(Renamed { from, .. }) if from == name => None,
            _ => before.column(name).map(|column| column.name.clone()),
        };
        let known: BTreeSet<&str> = before.columns.iter().map(|c| self.id(&c.name)).collect();
        let mut stays = BTreeSet::new();
        for column in &after.columns {
            let id = match was(&column.name) {
                Some(was) => self.id(&was).to_owned(),
                None if known.contains(&*column.name)
                    || self.gone.contains(&column.name)
                    || self.former.contains_key(&column.name) =>
                {
                    // No column can be called that.
                    format!("{}#{version}", column.name)
                }
                None => column.name.clone(),
            };
            stays.insert(id.clone());
            if id != column.name {
                next.ids.insert(column.name.clone(), id);
            }
        }
        // What it is known by is the first of them.
        if let Some(Renamed { from, .. }) = renamed.filter(|it| self.id(&it.from) != it.from) {
            next.had.entry(self.id(from).to_owned()).or_default().insert(from.clone());
        }
        // Names that are left behind; one that is taken again is of whoever has it now.
        for column in &before.columns {
            let id = self.id(&column.name);
            if id != column.name {
                next.former.insert(column.name.clone(), id.to_owned());
            }
        }
        next.former.retain(|name, _| after.column(name).is_none());
        next.gone.extend(known.into_iter().filter(|id| !stays.contains(*id)).map(str::to_owned));
        next
    }

    /// What the column of `then` is called that is known by the same as `name` is now.
    pub(crate) fn name_then<'a>(
        &self,
        name: &str,
        then: &'a DatasetSpec,
        ids_then: &Self,
    ) -> Option<&'a str> {
        let id = self.id(name);
        let mut columns = then.columns.iter().map(|column| column.name.as_str());
        columns.find(|column| ids_then.id(column) == id)
    }

    /// A column of `spec` that was called `name` once and is called otherwise now.
    pub(crate) fn renamed_from<'a>(&self, name: &str, spec: &'a DatasetSpec) -> Option<&'a str> {
        let was_called = |column: &str| {
            let id = self.id(column);
            id == name || self.had.get(id).is_some_and(|names| names.contains(name))
        };
        let mut columns = spec.columns.iter().map(|column| column.name.as_str());
        columns.find(|column| *column != name && was_called(column))
    }

    /// What became of the column that was called `name`, where none of `spec` is.
    pub(super) fn fate(&self, name: &str, spec: &DatasetSpec) -> Option<Fate> {
        let id = self.former.get(name).map_or(name, String::as_str);
        let mut columns = spec.columns.iter().map(|column| &column.name);
        match columns.find(|column| self.id(column) == id) {
            Some(now) => Some(Fate::Renamed(now.clone())),
            None => self.gone.contains(id).then_some(Fate::Dropped),
        }
    }

    fn id<'a>(&'a self, name: &'a str) -> &'a str {
        self.ids.get(name).map_or(name, String::as_str)
    }
}

/// What became of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is called so.
    Renamed(String),
    /// It is there no more.
    Dropped,
}

/// A column that is called otherwise from a version on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    pub(crate) from: String,
    pub(crate) to: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(columns: &[&str]) -> DatasetSpec {
        let columns: Vec<String> =
            columns.iter().map(|c| format!(r#"{{"name": "{c}", "type": "int64"}}"#)).collect();
        let json = format!(r#"{{"name": "a", "columns": [{}]}}"#, columns.join(", "));
        DatasetSpec::from_json(&json).unwrap()
    }

    fn renamed(from: &str, to: &str) -> Renamed {
        Renamed { from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn columns_are_known_through_changes_of_their_names() {
        let (first, swapping) = (spec(&["a", "b"]), spec(&["t", "b"]));
        let none = ColumnIds::default();
        assert_eq!(none.name_then("a", &first, &none), Some("a"));

        let one = none.after(1, &first, &swapping, Some(&renamed("a", "t")));
        assert_eq!(one.name_then("t", &first, &none), Some("a"));
        let next = spec(&["t", "a"]);
        let two = one.after(2, &swapping, &next, Some(&renamed("b", "a")));
        let last = spec(&["b", "a"]);
        let three = two.after(3, &next, &last, Some(&renamed("t", "b")));
        // They have changed their names with each other.
        assert_eq!(three.name_then("a", &first, &none), Some("b"));
        assert_eq!(three.name_then("b", &first, &none), Some("a"));
        assert_eq!(none.name_then("a", &last, &three), Some("b"));
        assert_eq!(three.name_then("a", &last, &three), Some("a"));
    }

    #[test]
    fn a_column_that_comes_under_the_name_of_another_is_another() {
        let (first, renamed_spec) = (spec(&["a"]), spec(&["b"]));
        let none = ColumnIds::default();
        let one = none.after(1, &first, &renamed_spec, Some(&renamed("a", "b")));
        let both = spec(&["b", "a"]);
        let two = one.after(2, &renamed_spec, &both, None);
        assert_eq!(two.name_then("a", &first, &none), None);
        assert_eq!(two.name_then("b", &first, &none), Some("a"));

        let dropped = two.after(3, &both, &renamed_spec, None);
        let again = dropped.after(4, &renamed_spec, &both, None);
        assert_eq!(again.name_then("a", &both, &two), None);
        assert_eq!(again.name_then("b", &both, &two), Some("b"));
        // What never was under another name needs no word.
        assert_eq!(none.after(1, &first, &spec(&["a", "c"]), None), none);
        let gone = none.after(1, &both, &renamed_spec, None);
        let back = gone.after(2, &renamed_spec, &both, None);
        assert_eq!(back.name_then("a", &both, &none), None);
    }

    #[test]
    fn every_name_that_a_column_had_is_known() {
        let names = |names: [&str; 3]| names.map(|name| spec(&[name]));
        let [a, b, c] = names(["a", "b", "c"]);
        let ids = ColumnIds::default().after(1, &a, &b, Some(&renamed("a", "b")));
        let ids = ids.after(2, &b, &c, Some(&renamed("b", "c")));
        let now = Some(Fate::Renamed("c".to_owned()));
        assert_eq!(
            (ids.fate("a", &c), ids.fate("b", &c), ids.fate("x", &c)),
            (now.clone(), now, None)
        );
        let other = spec(&["d"]);
        let dropped = ids.after(3, &c, &other, None);
        for name in ["a", "b", "c"] {
            assert_eq!(dropped.fate(name, &other), Some(Fate::Dropped), "{name}");
        }
        // Back to its first name.
        let back = ids.after(3, &c, &a, Some(&renamed("c", "a")));
        for name in ["b", "c"] {
            assert_eq!(back.fate(name, &a), Some(Fate::Renamed("a".to_owned())), "{name}");
        }
        // One that is added under a name of before is itself.
        let both = spec(&["c", "b"]);
        let added = ids.after(3, &c, &both, None);
        assert_eq!(added.name_then("b", &b, &ids), None);
        assert_eq!(added.name_then("c", &a, &ColumnIds::default()), Some("a"));
    }

    #[test]
    fn it_is_kept_as_json() {
        let one = ColumnIds { reshaped: 3, ..ColumnIds::default() };
        let one = one.after(1, &spec(&["a"]), &spec(&["b"]), Some(&renamed("a", "b")));
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(json, r#"{"reshaped":3,"ids":{"b":"a"}}"#);
        assert_eq!(serde_json::from_str::<ColumnIds>(&json).unwrap(), one);
    }
}
