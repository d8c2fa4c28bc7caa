//! Templates and answers become pages: what must be on them, and what must never be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attacks;
mod sections;
mod templates;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use reports::{Answer, Fonts, Origin, Report, Result, Rows, Template};

/// Rows of one text and one number.
pub fn rows(cells: &[(&str, i64)]) -> Answer {
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values(cells.iter().map(|(name, _)| name)));
    let numbers: ArrayRef =
        Arc::new(Int64Array::from_iter_values(cells.iter().map(|(_, number)| *number)));
    let batch = RecordBatch::try_from_iter([("name", names), ("number", numbers)]).unwrap();
    Answer::Rows(Rows::of(vec![batch]))
}

/// Rows of two numbers.
pub fn numbers(cells: impl IntoIterator<Item = (f64, f64)>) -> Answer {
    let (x, y): (Vec<f64>, Vec<f64>) = cells.into_iter().unzip();
    let columns: [(&str, ArrayRef); 2] =
        [("x", Arc::new(Float64Array::from(x))), ("y", Arc::new(Float64Array::from(y)))];
    Answer::Rows(Rows::of(vec![RecordBatch::try_from_iter(columns).unwrap()]))
}

/// What reports of tests say of themselves.
pub fn origin() -> Origin {
    Origin {
        made_at: "2026-02-01T06:00:00Z".parse().unwrap(),
        made_by: "Colonnade 0.1.0".to_owned(),
        asked_by: Some("ana".to_owned()),
        sources: vec![("model_calls".to_owned(), 7)],
        notes: Vec::new(),
    }
}

/// A report of one query `q`.
pub fn report(sections: &str, answer: Answer) -> Result<Report> {
    let text = format!("title = \"A report\"\n[queries.q]\nsql = \"SELECT 1\"\n{sections}");
    let template = Template::parse("test.toml", &text)?;
    let now = origin().made_at;
    let values = template.values(&BTreeMap::new(), &BTreeMap::new(), now)?;
    Report::make(&template, &values, &BTreeMap::from([("q".to_owned(), answer)]), &origin())
}

/// The whole page.
pub fn html(report: &Report) -> String {
    reports::html(report, &Fonts::builtin().unwrap()).unwrap()
}

/// The page without its style, in which the fonts are.
pub fn body(report: &Report) -> String {
    let page = html(report);
    let at = page.find("</style>").unwrap();
    page[at..].to_owned()
}

/// Pages of A4.
#[cfg(feature = "pdf")]
pub fn pdf(report: &Report) -> Vec<u8> {
    reports::pdf(report, reports::Paper::A4, &Fonts::builtin().unwrap()).unwrap()
}
