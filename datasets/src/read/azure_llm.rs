//! Azure's LLM inference traces (Patel et al., "Splitwise", ISCA 2024): `TIMESTAMP,ContextTokens,GeneratedTokens`.
//!
//! The traces name neither calls nor models: a call is named by its file and row, and what the source does
//! not say stays empty.

use super::mapped::{self, MappedCsv};
use super::{ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::error::Result;
use crate::parse::Slot;

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns =
        mapped::columns_of("model_calls", &["id", "at", "input_tokens", "output_tokens"])?;
    let name = source.name().to_owned();
    MappedCsv::open(source, None, &columns, options, |header| {
        let wanted = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];
        let [at, input, output] = mapped::find_columns(&name, header, wanted)?;
        let name = name.clone();
        Ok(Box::new(move |place, fields| {
            Ok(vec![
                Slot::Text(format!("{name}:{}", place.row).into()),
                mapped::value("at", &ColumnType::Timestamp, fields[at])?,
                mapped::value("input_tokens", &ColumnType::Int64, fields[input])?,
                mapped::value("output_tokens", &ColumnType::Int64, fields[output])?,
            ])
        }))
    })
}
