//! The Numenta Anomaly Benchmark: one CSV per series, and windows in which something was known to be wrong.
//!
//! A series is called by its file's name without folder and ending, in the rows as in the windows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::mapped::{self, MappedCsv};
use super::{ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::parse::{self, Slot};

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = mapped::columns_of("metrics", &["series", "at", "value"])?;
    let name = source.name().to_owned();
    MappedCsv::open(source, None, &columns, options, |header| {
        let [at, value] = mapped::find_columns(&name, header, ["timestamp", "value"])?;
        let series = mapped::stem(&name, ".csv");
        Ok(Box::new(move |_, fields| {
            Ok(vec![
                Slot::Text(series.clone().into()),
                mapped::value("at", &ColumnType::Timestamp, fields[at])?,
                mapped::value("value", &ColumnType::Float64, fields[value])?,
            ])
        }))
    })
}

/// Per series the windows in which something was wrong: start and end, both included.
pub type LabelWindows = BTreeMap<String, Vec<(DateTime<Utc>, DateTime<Utc>)>>;

/// Reads label windows (`combined_windows.json`).
pub fn nab_windows(json: &str) -> Result<LabelWindows> {
    let fail = |problem: String| Error::Unreadable {
        source_name: "label windows".into(),
        format: "nab",
        problem,
    };
    let files: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_str(json).map_err(|e| fail(e.to_string()))?;
    let instant = |file: &str, text: &str| {
        parse::timestamp_us(text).and_then(DateTime::from_timestamp_micros).ok_or_else(|| {
            fail(format!("{file}: expected a timestamp, found {}", parse::quoted(text)))
        })
    };
    let mut windows = BTreeMap::new();
    for (file, labels) in files {
        let series = mapped::stem(&file, ".csv");
        let mut of_series = Vec::with_capacity(labels.len());
        for (start, end) in &labels {
            of_series.push((instant(&file, start)?, instant(&file, end)?));
        }
        if windows.insert(series.clone(), of_series).is_some() {
            return Err(fail(format!("two files are called {series}")));
        }
    }
    Ok(windows)
}
