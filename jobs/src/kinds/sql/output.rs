//! What a query makes: the dataset of its columns, and whether that is the one that is there.

use std::collections::HashSet;

use datafusion::dataframe::DataFrame;
use datasets::infer::{SpecHints, spec_from_schema};
use datasets::name::check_identifier;
use datasets::{ColumnSpec, DatasetName, DatasetSpec};
use engine::{Code, Error, Result, did_you_mean};

use super::{NAME, Params};
use crate::parameters::bad;

/// The dataset of a query's columns: names, types, units where a column is passed on as it is, and whether they may be null.
pub(super) fn spec(
    params: &Params,
    frame: &DataFrame,
    reads: &[&DatasetName],
) -> Result<DatasetSpec> {
    let schema = frame.schema().as_arrow();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut known = HashSet::new();
    for (at, name) in names.iter().copied().enumerate() {
        let column = at + 1;
        if let Err(error) = check_identifier("column", name) {
            let problem = format!("column {column}: {error}; give it a name with AS");
            return Err(bad(NAME, "query", problem));
        }
        if !known.insert(name) {
            let problem = format!(
                "column {column} is the second one called {name}; give it another name with AS"
            );
            return Err(bad(NAME, "query", problem));
        }
    }
    let of_key = params.key.iter().map(|name| ("key", name));
    for (parameter, name) in
        of_key.chain(params.time_column.iter().map(|name| ("time_column", name)))
    {
        if !known.contains(name.as_str()) {
            let near = did_you_mean(name, names.iter().copied());
            let meant = near.unwrap_or_else(|| format!("it gives {}", names.join(", ")));
            return Err(bad(
                NAME,
                parameter,
                format!("the query gives no column {name:?}; {meant}"),
            ));
        }
    }
    let hints = SpecHints {
        key: params.key.clone(),
        time_column: params.time_column.clone(),
        types: Vec::new(),
    };
    let found = spec_from_schema(&params.output, schema, &hints)?;
    let reads: Vec<&str> = reads.iter().map(|name| name.as_str()).collect();
    let mut columns = found.columns;
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        column.nullable = field.is_nullable() && !params.key.contains(&column.name);
    }
    let description = match reads.is_empty() {
        true => "What a query gives".to_owned(),
        false => format!("What a query makes of {}", reads.join(", ")),
    };
    let spec = DatasetSpec { description, columns, ..params.spec() };
    spec.check()?;
    Ok(spec)
}

/// `made` as it goes into the dataset that is there: what it has more may be null. CONFLICT where a column is another one there.
pub(super) fn beside(made: DatasetSpec, there: &DatasetSpec) -> Result<DatasetSpec> {
    let name = &there.name;
    let differs = |says: String| {
        let advice = "give another `output`, or drop that dataset first";
        Error::user(Code::Conflict, format!("{NAME}: dataset {name}: {says}; {advice}"))
    };
    for column in &there.columns {
        let Some(now) = made.column(&column.name) else {
            let says = format!(
                "column {:?} ({}) is there, and the query gives none",
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
                "column {:?} is {} there, and the query gives {}",
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
    use datasets::ColumnType;

    use super::*;
    use crate::tables::columns::{column, with_unit};

    fn of(columns: Vec<ColumnSpec>) -> DatasetSpec {
        DatasetSpec { columns, ..Params::default().spec() }
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
            let error = beside(made, &there).unwrap_err();
            assert_eq!(error.code(), Code::Conflict);
            assert!(error.to_string().contains(says), "{error}");
        }
        let more = of(vec![b(), a(), column("c", ColumnType::Text, false, "")]);
        assert!(beside(more, &there).unwrap().column("c").unwrap().nullable);
    }
}
