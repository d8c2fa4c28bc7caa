//! LiteLLM's table of model prices: one JSON object, an entry per model, prices in US dollars per token.
//!
//! Prices are read as text (`2.5e-06`) into exact decimals. The entry `sample_spec` documents the others, in
//! words where numbers belong, and is passed over. The entry's whole text is kept beside the columns.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::datatypes::SchemaRef;

use super::clinc::{document_text, malformed};
use super::json::{self, JsonError};
use super::mapped;
use super::rows::{Place, RowTable};
use super::{Chunk, ReadOptions, RowReader, Source};
use crate::error::Result;
use crate::parse::Slot;
use crate::spec::ColumnSpec;

const DOCUMENTATION_ENTRY: &str = "sample_spec";
/// Columns, and the members that they come from; the first and the last are made here.
const COLUMNS: [(&str, &str); 11] = [
    ("model", ""),
    ("provider", "litellm_provider"),
    ("mode", "mode"),
    ("input_cost_per_token", "input_cost_per_token"),
    ("output_cost_per_token", "output_cost_per_token"),
    ("cache_read_input_token_cost", "cache_read_input_token_cost"),
    ("cache_creation_input_token_cost", "cache_creation_input_token_cost"),
    ("max_input_tokens", "max_input_tokens"),
    ("max_output_tokens", "max_output_tokens"),
    ("deprecation_date", "deprecation_date"),
    ("details", ""),
];

struct PriceReader {
    text: String,
    entries: VecDeque<(String, Range<usize>)>,
    columns: Vec<ColumnSpec>,
    table: RowTable,
    row: u64,
    /// Where line counting stands: byte and line.
    counted: (usize, u64),
}

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = mapped::columns_of("llm_prices", &COLUMNS.map(|(column, _)| column))?;
    let text = document_text(source, options)?;
    let mut entries = VecDeque::new();
    json::members::<JsonError>(&text, |model, entry| {
        if model != DOCUMENTATION_ENTRY {
            entries.push_back((model.into_owned(), entry.at..entry.at + entry.text.len()));
        }
        Ok(())
    })
    .map_err(|e| malformed(source.name(), &text, &e))?;
    Ok(Box::new(PriceReader {
        table: RowTable::new(source.name(), &columns, options)?,
        text,
        entries,
        columns,
        row: 0,
        counted: (0, 1),
    }))
}

impl RowReader for PriceReader {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        while !self.table.is_full() {
            let Some((model, range)) = self.entries.pop_front() else { break };
            self.row += 1;
            let passed = &self.text.as_bytes()[self.counted.0..range.start];
            let line = self.counted.1 + passed.iter().filter(|b| **b == b'\n').count() as u64;
            self.counted = (range.start, line);
            let place = Place { row: self.row, line };
            let text = &self.text[range];
            match slots(&self.columns, model, text) {
                Ok(slots) => self.table.push(place, text.len(), &slots)?,
                Err((column, reason)) => {
                    self.table.reject(place, column, reason, text.to_owned());
                }
            }
        }
        self.table.take_chunk()
    }
}

type EntryFault = (Option<&'static str>, String);

struct Fault(EntryFault);

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Self {
        Self((None, format!("expected an object of the model's prices: {error}")))
    }
}

fn slots<'a>(
    columns: &[ColumnSpec],
    model: String,
    text: &'a str,
) -> Result<Vec<Slot<'a>>, EntryFault> {
    let mut slots = vec![Slot::Null; COLUMNS.len()];
    json::members::<Fault>(text, |member, value| {
        let Some(at) = COLUMNS.iter().position(|(_, from)| !from.is_empty() && *from == member)
        else {
            return Ok(());
        };
        let slot = value.slot(&columns[at].data_type);
        slots[at] = slot.map_err(|e| Fault((Some(COLUMNS[at].0), format!("{member:?}: {e}"))))?;
        Ok(())
    })
    .map_err(|Fault(fault)| fault)?;
    slots[0] = Slot::Text(model.into());
    slots[COLUMNS.len() - 1] = Slot::Text(text.into());
    Ok(slots)
}
