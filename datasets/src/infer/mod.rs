//! Specs for datasets that nobody wrote a spec for: names and types from what the data shows.

mod fixed_lists;
mod guess;
mod json_tally;
mod tally;

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field, Schema};

use crate::column_type::{ColumnType, item_of};
use crate::conform::units::name_of;
use crate::error::{Error, Result};
use crate::name::{DatasetName, NAME_MAX_BYTES};
use crate::parse::quoted;
use crate::spec::{
    ColumnSpec, DatasetSpec, Evolution, LoadSettings, TYPE_METADATA_KEY, UNIT_METADATA_KEY,
};

pub use guess::{Guess, GuessOptions, Hint, Note, guess};
pub(crate) use json_tally::JsonTally;
pub(crate) use tally::{Finding, Look, Tally};

/// What a user says of a dataset whose columns are found in its first file. Columns are called as in the file, or as in the
/// dataset.
#[derive(Clone, Debug, Default)]
pub struct SpecHints {
    /// The columns that name a row.
    pub key: Vec<String>,
    /// The column that says when a row happened; when absent, the only timestamp column, if it is one.
    pub time_column: Option<String>,
    /// Types of columns, whatever is found.
    pub types: Vec<(String, ColumnType)>,
}

/// Makes a spec for rows of `schema`. Column names become `snake_case`, and those of fields in
/// structures; every column is nullable but the key's.
pub fn spec_from_schema(
    name: &DatasetName,
    schema: &Schema,
    hints: &SpecHints,
) -> Result<DatasetSpec> {
    let mut columns: Vec<ColumnSpec> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = column_of_field(name.as_str(), field)?;
        if let Some(at) = columns.iter().position(|other| other.name == column.name) {
            return Err(Error::Mismatch {
                source_name: name.to_string(),
                problem: format!(
                    "columns {} and {} are both {}; rename one of them",
                    quoted(schema.field(at).name()),
                    quoted(field.name()),
                    column.name
                ),
            });
        }
        columns.push(column);
    }
    let find = |asked: &String, what: &str| {
        let position = (schema.fields().iter().zip(&columns))
            .position(|(field, column)| field.name() == asked || column.name == *asked);
        position.ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let (asked, names) = (quoted(asked), names.join(", "));
            let problem = format!("{what}: there is no column {asked}; there are {names}");
            Error::Spec { dataset: name.to_string(), problem }
        })
    };
    let key = hints.key.iter().map(|of| find(of, "key")).collect::<Result<Vec<_>>>()?;
    let time = hints.time_column.as_ref().map(|of| find(of, "time")).transpose()?;
    let types = hints.types.iter().map(|(of, data_type)| Ok((find(of, "type")?, data_type)));
    for (at, data_type) in types.collect::<Result<Vec<_>>>()? {
        columns[at].data_type = data_type.clone();
    }
    for at in &key {
        columns[*at].nullable = false;
    }
    let mut times = columns.iter().filter(|c| c.data_type == ColumnType::Timestamp);
    let only_time = match (times.next(), times.next()) {
        (Some(column), None) => Some(column.name.clone()),
        _ => None,
    };
    let spec = DatasetSpec {
        name: name.clone(),
        description: String::new(),
        owner: None,
        derived: false,
        key: key.iter().map(|at| columns[*at].name.clone()).collect(),
        time_column: time.map(|at| columns[at].name.clone()).or(only_time),
        evolution: Evolution::AddNullable,
        load: LoadSettings::default(),
        partition_by: Vec::new(),
        columns,
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    };
    spec.check_new()?;
    Ok(spec)
}

/// The column that rows of `field` need.
pub(crate) fn column_of_field(source_name: &str, field: &Field) -> Result<ColumnSpec> {
    let data_type = type_of_field(field).ok_or_else(|| Error::Mismatch {
        source_name: source_name.to_owned(),
        problem: format!(
            "column {:?} is {}, for which there is no column type",
            field.name(),
            shown_type(field)
        ),
    })?;
    Ok(ColumnSpec {
        name: to_identifier(field.name()),
        data_type,
        nullable: true,
        unit: unit_of(field),
        description: String::new(),
    })
}

/// The column type for `field`: what its metadata says, or what fits its Arrow type.
pub(crate) fn type_of_field(field: &Field) -> Option<ColumnType> {
    if let Some(stated) = field.metadata().get(TYPE_METADATA_KEY)
        && let Ok(stated) = stated.parse::<ColumnType>()
        && &stated.arrow_type() == field.data_type()
    {
        return Some(stated);
    }
    let is_nested = matches!(
        field.data_type(),
        DataType::Struct(_)
            | DataType::Map(..)
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
            | DataType::Union(..)
    );
    // What has no type of its own is kept as a document: a union within it, fields of one name, too many of them.
    ColumnType::from_arrow(field.data_type()).or(is_nested.then_some(ColumnType::Json))
}

/// The type of a source's column as messages show it.
pub(crate) fn shown_type(field: &Field) -> String {
    match field.data_type() {
        // These become texts or numbers, and are neither.
        DataType::Time32(_) | DataType::Time64(_) => "a time of day".to_owned(),
        DataType::Interval(_) => "an interval".to_owned(),
        DataType::Duration(_) => "a length of time".to_owned(),
        DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        other => type_of_field(field).map_or_else(|| other.to_string(), |known| known.to_string()),
    }
}

/// The unit of the numbers that a length of time becomes, and those within lists and maps. A structure's fields have their own.
pub(crate) fn unit_of(field: &Field) -> Option<String> {
    let stated = field.metadata().get(UNIT_METADATA_KEY).cloned();
    stated.or_else(|| unit_of_type(field.data_type()).map(str::to_owned))
}

fn unit_of_type(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Duration(unit) => Some(name_of(*unit)),
        DataType::Dictionary(_, values) => unit_of_type(values),
        DataType::RunEndEncoded(_, values) => unit_of_type(values.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) => unit_of_type(parts.get(1)?.data_type()),
            _ => None,
        },
        other => unit_of_type(item_of(other)?.data_type()),
    }
}

/// A column name for a source's name: `Input Tokens`, `inputTokens` and `INPUT_TOKENS` are `input_tokens`, and `Größe` is
/// `groesse`.
pub fn to_identifier(name: &str) -> String {
    let name = in_ascii(name.trim());
    let mut out = String::with_capacity(name.len());
    let mut before = ' ';
    let mut letters = name.chars().peekable();
    while let Some(c) = letters.next() {
        let starts_word = c.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase()
                    && letters.peek().is_some_and(char::is_ascii_lowercase)));
        if c.is_ascii_alphanumeric() {
            if starts_word && !out.ends_with('_') {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('_') {
            out.push('_');
        }
        before = c;
    }
    let trimmed = out.trim_matches('_');
    let mut identifier = match trimmed.chars().next() {
        Some(c) if c.is_ascii_lowercase() => trimmed.to_owned(),
        Some(_) => format!("c{trimmed}"),
        None => "column".to_owned(),
    };
    identifier.truncate(NAME_MAX_BYTES);
    identifier.truncate(identifier.trim_end_matches('_').len());
    identifier
}

/// A name in letters of ASCII, as somebody writes it who has no others.
fn in_ascii(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_in_capitals = letters.peek().is_some_and(|next| next.is_uppercase());
        out.push_str(match letter {
            'ä' => "ae",
            'ö' => "oe",
            'ü' => "ue",
            'Ä' if is_in_capitals => "AE",
            'Ö' if is_in_capitals => "OE",
            'Ü' if is_in_capitals => "UE",
            'Ä' => "Ae",
            'Ö' => "Oe",
            'Ü' => "Ue",
            other => deunicode::deunicode_char(other).unwrap_or("_"),
        });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn any_name_becomes_an_identifier() {
        for (name, identifier) in [
            ("Input Tokens", "input_tokens"),
            ("inputTokens", "input_tokens"),
            ("INPUT_TOKENS", "input_tokens"),
            ("HTTPStatus", "http_status"),
            ("time:timestamp", "time_timestamp"),
            ("case:concept:name", "case_concept_name"),
            ("2nd", "c2nd"),
            ("", "column"),
            ("__é__", "e"),
            ("Größe", "groesse"),
            ("GRÖSSE", "groesse"),
            ("Übergröße (cm)", "uebergroesse_cm"),
            ("prénom", "prenom"),
            ("Ημερομηνία", "emeromenia"),
            ("价格", "jia_ge"),
            ("🙂", "slight_smile"),
            ("__\u{301}__", "column"),
            ("_a__b_", "a_b"),
        ] {
            assert_eq!(to_identifier(name), identifier, "{name:?}");
        }
        let long = to_identifier(&"ab_".repeat(40));
        assert!(crate::name::check_identifier("column name", &long).is_ok(), "{long}");
    }
}
