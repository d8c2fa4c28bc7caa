//! Which named public format a file is in, told by what its columns are called.
//!
//! A trace in CSV is CSV to anyone, and a trace only to a dataset that takes traces: so a file is held against
//! the marks of those formats alone whose rows the dataset has, and is otherwise what it looks like.

use std::path::Path;

use super::{Format, ReadOptions, RowReader as _, Source, parquet};
use crate::error::Result;
use crate::name::DatasetName;

/// How much of a file is looked at.
const HEAD_BYTES: usize = 64 * 1024;

/// The format of `source`, whose rows are meant for `dataset`.
pub fn recognise(source: &Source, dataset: &DatasetName) -> Result<Format> {
    let head = source.head(HEAD_BYTES)?;
    let meant = |format: &Format| format.dataset() == Some(dataset.as_str());
    let text = String::from_utf8_lossy(&head);
    if let Some(named) = Format::ALL.into_iter().filter(meant).find(|format| marked(*format, &text))
    {
        return Ok(named);
    }
    let found = Format::detect(Path::new(source.name()), &head)?;
    if found == Format::Parquet && meant(&Format::EventLog) {
        // The columns of Parquet stand at its end.
        let reader = parquet::ParquetReader::open(source, &ReadOptions::default())?;
        if reader.schema().field_with_name(CASE_COLUMN).is_ok() {
            return Ok(Format::EventLog);
        }
    }
    Ok(found)
}

/// The column that every event log has.
const CASE_COLUMN: &str = "case:concept:name";

/// Whether `text` begins as files of `format` do.
fn marked(format: Format, text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let header: Vec<&str> =
        first.split([',', ';', '\t']).map(|c| c.trim().trim_matches('"')).collect();
    match format {
        Format::AzureLlm => header == ["TIMESTAMP", "ContextTokens", "GeneratedTokens"],
        Format::Nab => header == ["timestamp", "value"],
        Format::Banking77 => header == ["text", "category"],
        Format::Febrl => header.starts_with(&["rec_id", "given_name", "surname"]),
        Format::EventLog => header.contains(&CASE_COLUMN),
        Format::Mooncake => first.starts_with('{') && first.contains("\"hash_ids\""),
        Format::Clinc => ["train", "val", "test", "oos_train", "oos_val", "oos_test"]
            .iter()
            .any(|split| text.starts_with(&format!("{{\"{split}\": [["))),
        Format::LitellmPrices => text.starts_with('{') && text.contains("\"sample_spec\""),
        Format::ErMagellan => first.starts_with("COL ") && first.contains(" VAL "),
        Format::Xes => false, // its own mark is enough
        Format::Parquet
        | Format::Csv
        | Format::Ndjson
        | Format::ArrowFile
        | Format::ArrowStream
        | Format::Xlsx => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_mark_a_named_format_only_for_its_dataset() {
        let recognised = |name: &str, text: &'static str, dataset: &str| {
            let source = Source::Body { bytes: text.into(), name: name.into() };
            recognise(&source, &DatasetName::new(dataset).unwrap()).unwrap()
        };
        let series = "timestamp,value\n2014-01-01 00:00:00,1\n";
        assert_eq!(recognised("a.csv", series, "metrics"), Format::Nab);
        assert_eq!(recognised("a.csv", series, "readings"), Format::Csv);
        let trace = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";
        assert_eq!(recognised("a.csv", trace, "model_calls"), Format::AzureLlm);
        assert_eq!(recognised("a.csv", "id,at\n", "model_calls"), Format::Csv);
        assert_eq!(recognised("a", "{\"hash_ids\": [1]}\n", "model_calls"), Format::Mooncake);
        assert_eq!(recognised("a.json", "{\"train\": [[\"a\", \"b\"]]}", "tickets"), Format::Clinc);
        assert_eq!(
            recognised("a.csv", ",concept:name,case:concept:name\n", "workflow_steps"),
            Format::EventLog
        );
    }
}
