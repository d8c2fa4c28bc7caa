//! Rows of several texts.

use crate::embedding::{EmbedOptions, Embeddings, TextEmbedder};
use crate::error::{Error, Result};

/// The vectors of rows of `fields` texts each, the fields of the first row first: `[rows, fields * dimension]`.
///
/// A row's vector is those of its fields side by side, 0 for a field without a character that says anything, made as long
/// as one of them: a row that has one field alone is as near to another such row as their texts are. Cost: that of embedding
/// all texts. Fails as embedding does, and for texts that are no whole rows.
pub fn embed_fields(
    encoder: &dyn TextEmbedder,
    texts: &[&str],
    fields: usize,
    options: &EmbedOptions<'_>,
) -> Result<Embeddings> {
    if fields == 0 || !texts.len().is_multiple_of(fields) {
        let problem = format!("texts: expected {fields} a row, found {} in all", texts.len());
        return Err(Error::Config { problem });
    }
    let mut found = encoder.embed(texts, options)?;
    if fields == 1 {
        return Ok(found);
    }
    let dimension = found.dimension;
    found.dimension *= fields;
    found.empty_texts = 0;
    let rows = found.values.chunks_exact_mut(found.dimension.max(1));
    for (texts, vector) in texts.chunks_exact(fields).zip(rows) {
        let says = texts.iter().filter(|text| !text.trim().is_empty()).count();
        found.empty_texts += usize::from(says == 0);
        // Of a row that says nothing the first field stands for all.
        let is_kept = |field: usize| match says {
            0 => field == 0,
            _ => !texts[field].trim().is_empty(),
        };
        let scale = 1.0 / (says.max(1) as f32).sqrt();
        for (field, part) in vector.chunks_exact_mut(dimension.max(1)).enumerate() {
            let scale = if is_kept(field) { scale } else { 0.0 };
            part.iter_mut().for_each(|value| *value *= scale);
        }
    }
    Ok(found)
}
