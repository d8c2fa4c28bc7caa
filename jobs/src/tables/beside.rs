//! Whether rows of one spec go into a dataset that is there.

use datasets::{ColumnSpec, DatasetSpec};
use engine::{Code, Error, Result};

/// `made` by `gives` as it goes into the dataset that is there: what it has more may be null. CONFLICT where a column is another one there.
pub(crate) fn beside(
    job: &str,
    gives: &str,
    made: DatasetSpec,
    there: &DatasetSpec,
) -> Result<DatasetSpec> {
    let name = &there.name;
    let differs = |says: String| {
        let advice = "give another `output`, or drop that dataset first";
        Error::user(Code::Conflict, format!("{job}: dataset {name}: {says}; {advice}"))
    };
    for column in &there.columns {
        let Some(now) = made.column(&column.name) else {
            let says = format!(
                "column {:?} ({}) is there, and {gives} gives none",
                column.name, column.data_type
            );
            return Err(differs(says));
        };
        let shown = |of: &ColumnSpec| match &of.unit {
            Some(unit) => format!("{} in {unit}", of.data_type),
            None => of.data_type.to_string(),
        };
        let is_other_unit = column.unit.is_some() && now.unit.is_some() && column.unit != now.unit;
        if column.data_type != now.data_type || is_other_unit {
            let says = format!(
                "column {:?} is {} there, and {gives} gives {}",
                column.name,
                shown(column),
                shown(now)
            );
            return Err(differs(says));
        }
    }
    for (what, there, now) in [
        ("key", there.key.join(", "), made.key.join(", ")),
        (
            "time column",
            there.time_column.clone().unwrap_or_default(),
            made.time_column.clone().unwrap_or_default(),
        ),
    ] {
        if there != now {
            let shown = |text: String| if text.is_empty() { "none".to_owned() } else { text };
            let says =
                format!("its {what} is {}, and the parameters say {}", shown(there), shown(now));
            return Err(differs(says));
        }
    }
    let is_new = |column: &ColumnSpec| there.column(&column.name).is_none();
    let mut made = made;
    for column in made.columns.iter_mut().filter(|column| is_new(column)) {
        column.nullable = true;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datasets::{ColumnType, DatasetName};

    use super::*;
    use crate::tables::columns::{column, of_sources, with_unit};

    fn of(columns: Vec<ColumnSpec>) -> DatasetSpec {
        let name = DatasetName::new("made").unwrap();
        DatasetSpec {
            columns,
            partition_by: Vec::new(),
            ..of_sources(name, "", [], None, Vec::new())
        }
    }

    #[test]
    fn a_query_of_other_columns_is_told_which() {
        let a = || column("a", ColumnType::Int64, false, "");
        let there = of(vec![a(), with_unit(column("b", ColumnType::Float64, true, ""), "ms")]);
        let b = || with_unit(column("b", ColumnType::Float64, true, ""), "ms");
        for (made, says) in [
            (of(vec![a()]), "column \"b\" (float64) is there, and the query gives none"),
            (
                of(vec![column("a", ColumnType::Text, false, ""), b()]),
                "column \"a\" is int64 there, and the query gives text",
            ),
            (
                of(vec![a(), with_unit(b(), "s")]),
                "column \"b\" is float64 in ms there, and the query gives float64 in s",
            ),
            (
                DatasetSpec { key: vec!["a".into()], ..of(vec![a(), b()]) },
                "its key is none, and the parameters say a",
            ),
        ] {
            let error = beside("sql", "the query", made, &there).unwrap_err();
            assert_eq!(error.code(), Code::Conflict);
            assert!(error.to_string().contains(says), "{error}");
        }
        let more = of(vec![b(), a(), column("c", ColumnType::Text, false, "")]);
        assert!(beside("sql", "the query", more, &there).unwrap().column("c").unwrap().nullable);
    }
}
