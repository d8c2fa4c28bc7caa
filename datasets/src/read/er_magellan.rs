//! ER-Magellan record pairs as Ditto carries them: left record, right record and label, tab separated, a
//! record being `COL name VAL value COL name VAL value …`.

use super::mapped::{self, Fault, MappedLines};
use super::{ReadOptions, RowReader, Source};
use crate::error::Result;
use crate::parse::{Slot, quoted};

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns =
        mapped::columns_of("record_pairs", &["id", "left_record", "right_record", "same"])?;
    let name = source.name().to_owned();
    MappedLines::open(
        source,
        &columns,
        options,
        Box::new(move |place, fields| {
            let parts: Vec<&str> = fields[0].split('\t').collect();
            let [left, right, label] = parts[..] else {
                return Err(Fault::row(format!("expected 3 fields, found {}", parts.len())));
            };
            let same = match label.trim() {
                "1" => Slot::Bool(true),
                "0" => Slot::Bool(false),
                other => {
                    return Err(Fault::of(
                        "same",
                        format!("expected 0 or 1, found {}", quoted(other)),
                    ));
                }
            };
            Ok(vec![
                Slot::Text(format!("{name}:{}", place.row).into()),
                record("left_record", left)?,
                record("right_record", right)?,
                same,
            ])
        }),
    )
}

fn record<'a>(column: &'static str, text: &str) -> Result<Slot<'a>, Fault> {
    let body = text.trim().strip_prefix("COL ").ok_or_else(|| {
        Fault::of(column, format!("expected a record that begins with COL, found {}", quoted(text)))
    })?;
    let mut fields = serde_json::Map::new();
    for field in body.split(" COL ") {
        // An empty value leaves `VAL` at the end of the field.
        let (name, value) = match field.split_once(" VAL ") {
            Some((name, value)) => (name, value),
            None => match field.trim_end().strip_suffix(" VAL") {
                Some(name) => (name, ""),
                None => {
                    let reason = format!("expected a name and VAL, found {}", quoted(field));
                    return Err(Fault::of(column, reason));
                }
            },
        };
        fields.insert(name.trim().to_owned(), value.trim().into());
    }
    Ok(Slot::Text(serde_json::Value::Object(fields).to_string().into()))
}
