//! What a query makes: the dataset of its columns.

use std::collections::HashSet;

use datafusion::dataframe::DataFrame;
use datasets::infer::{SpecHints, spec_from_schema};
use datasets::name::check_identifier;
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, did_you_mean};

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
