//! CLINC150 (Larson et al., EMNLP-IJCNLP 2019): a JSON object of splits, each a list of `[text, intent]`, in
//! English; `oos` marks requests that belong to none of the intents.
//!
//! The file is one document, so it is held whole, bounded by the budget.

use std::collections::VecDeque;

use arrow::datatypes::SchemaRef;

use super::json::{self, JsonError, RawValue};
use super::mapped;
use super::rows::{Place, RowTable, check_encoding};
use super::{Chunk, ReadOptions, RowReader, Source};
use crate::error::{Error, Result};
use crate::parse::Slot;
use crate::rejected::Position;

struct ClincReader {
    source_name: String,
    text: String,
    /// Split name, its number, and where the pair stands in the text.
    pairs: VecDeque<(String, u64, std::ops::Range<usize>)>,
    table: RowTable,
    row: u64,
}

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = mapped::columns_of("tickets", &["id", "body", "language", "label"])?;
    let text = document_text(source, options)?;
    let mut pairs = VecDeque::new();
    json::members::<JsonError>(&text, |split, list| {
        let mut number = 0;
        json::elements::<JsonError>(list.text, |pair| {
            number += 1;
            let start = list.at + pair.at;
            pairs.push_back((split.to_string(), number, start..start + pair.text.len()));
            Ok(())
        })
        .map_err(|e| JsonError { at: list.at + e.at, problem: e.problem })
    })
    .map_err(|e| malformed(source.name(), &text, &e))?;
    Ok(Box::new(ClincReader {
        source_name: source.name().to_owned(),
        table: RowTable::new(source.name(), &columns, options)?,
        text,
        pairs,
        row: 0,
    }))
}

/// A JSON document as text, whole.
pub(super) fn document_text(source: &Source, options: &ReadOptions) -> Result<String> {
    let bytes = source.whole(options.decoded_budget_bytes)?;
    check_encoding(source.name(), &bytes)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&e.as_bytes()[..at]).into_owned();
        let error = JsonError { at, problem: "expected UTF-8 text".into() };
        malformed(source.name(), &text, &error)
    })
}

/// The error of a document, with line and column.
pub(super) fn malformed(source_name: &str, text: &str, error: &JsonError) -> Error {
    let before = &text.as_bytes()[..error.at.min(text.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    Error::Malformed {
        position: Position {
            source: source_name.to_owned(),
            row: 1,
            line: Some(1 + before.iter().filter(|b| **b == b'\n').count() as u64),
        },
        column: Some((before.len() - line_start) as u64 + 1),
        problem: error.problem.clone(),
    }
}

impl RowReader for ClincReader {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        while !self.table.is_full() {
            let Some((split, number, range)) = self.pairs.pop_front() else { break };
            self.row += 1;
            let place = Place { row: self.row, line: 0 };
            let text = &self.text[range];
            match pair(text) {
                Some((body, label)) => self.table.push(
                    place,
                    text.len(),
                    &[
                        Slot::Text(format!("{}:{split}:{number}", self.source_name).into()),
                        body,
                        Slot::Text("en".into()),
                        label,
                    ],
                )?,
                None => {
                    let reason = format!("split {split:?}: expected [text, intent]");
                    self.table.reject(place, None, reason, text.to_owned());
                }
            }
        }
        self.table.take_chunk()
    }
}

fn pair(text: &str) -> Option<(Slot<'_>, Slot<'_>)> {
    let mut items: Vec<RawValue<'_>> = Vec::new();
    json::elements::<JsonError>(text, |item| {
        items.push(item);
        Ok(())
    })
    .ok()?;
    match items[..] {
        [body, label] => Some((Slot::Text(body.string()?), Slot::Text(label.string()?))),
        _ => None,
    }
}
