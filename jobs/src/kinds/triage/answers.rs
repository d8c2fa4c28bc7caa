//! Answers, and those of an earlier run that still stand: the same version answered the same text and numbers.

use std::collections::HashMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type};
use datafusion::logical_expr::{cast, ident, lit};
use engine::Result;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::params::Params;
use crate::run::context::RunContext;
use crate::texts::RowText;

/// What a text is, as it is committed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) label: String,
    pub(super) confidence: f32,
    pub(super) is_out_of_scope: bool,
    /// The likeliest labels as JSON.
    pub(super) top: String,
    /// The rows that are most like this one as JSON.
    pub(super) reasons: String,
}

/// Half of the SHA-256, in hexadecimal digits, of a text, of so many fields each of which counts, of the numbers
/// beside it, and of what is asked about it.
pub(super) fn key_of(
    params: &Params,
    text: &RowText,
    fields: usize,
    numbers: impl Iterator<Item = f64>,
) -> String {
    let mut hash = Sha256::new();
    hash.update(params.top.to_le_bytes());
    hash.update(params.reasons.to_le_bytes());
    hash.update(text.whole());
    if fields > 1 {
        // The same lines in other columns are another row.
        text.fields().for_each(|field| hash.update((field.len() as u64).to_le_bytes()));
    }
    numbers.for_each(|number| hash.update(number.to_le_bytes()));
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The answers that `model` has given to texts of the same dataset, by the key of the text.
pub(super) async fn earlier(
    ctx: &RunContext,
    params: &Params,
    model: &str,
) -> Result<HashMap<String, Answer>> {
    let mut found = HashMap::new();
    let session = ctx.present().await?;
    let Some(there) = session.catalog().datasets.get(&params.output) else { return Ok(found) };
    // Written before answers had a key.
    if !there.spec.columns.iter().any(|column| column.name == "text_key") {
        return Ok(found);
    }
    let of_this = ident("source")
        .eq(lit(params.dataset.as_str()))
        .and(ident("model").eq(lit(model)))
        .and(ident("text_key").is_not_null());
    let text = |name: &str| cast(ident(name), DataType::Utf8);
    let columns = vec![
        text("text_key"),
        text("label"),
        cast(ident("confidence"), DataType::Float32),
        cast(ident("out_of_scope"), DataType::Boolean),
        text("top"),
        text("reasons"),
    ];
    let frame = session.table(&params.output).await?.filter(of_this)?.select(columns)?;
    let mut rows = session.stream(frame).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        let (keys, labels, tops, reasons) = (text(0), text(1), text(4), text(5));
        let confidences = batch.column(2).as_primitive::<Float32Type>();
        let outside = batch.column(3).as_boolean();
        for row in 0..batch.num_rows() {
            let answer = Answer {
                label: labels.value(row).to_owned(),
                confidence: confidences.value(row),
                is_out_of_scope: outside.value(row),
                top: tops.value(row).to_owned(),
                reasons: if reasons.is_valid(row) { reasons.value(row) } else { "[]" }.to_owned(),
            };
            found.insert(keys.value(row).to_owned(), answer);
        }
        ctx.check()?;
    }
    Ok(found)
}
