//! The rows that `embed` commits, and how earlier ones are read again.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float32Type};
use datafusion::logical_expr::{Expr, ident, lit};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::{Error, Result};
use futures::StreamExt;

use super::NAME;
use super::corpus::{Corpus, Places, TextHash};
use super::params::Params;
use crate::run::context::RunContext;
use crate::tables::columns::column;

/// Rows of one batch: some tens of megabytes.
const BATCH_ROWS: usize = 16_384;

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName, dimension: u32) -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name,
        description: "Vectors of texts: near each other where the texts mean alike".into(),
        owner: None,
        derived: true,
        key: ["source", "id"].map(String::from).into(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![PartitionSpec {
            column: "source".into(),
            from: None,
            transform: PartitionTransform::Identity,
        }],
        columns: vec![
            text("source", "The dataset that holds the texts"),
            text("id", "The row"),
            text("embedder", "Who made the vector, name@version: only vectors of one are compared"),
            text("text_hash", "The first 16 bytes of the text's SHA-256, in hexadecimal digits"),
            column("vector", ColumnType::Vector(dimension), false, "The vector, of length 1"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Vectors that an earlier run has committed.
pub(super) struct Earlier<'a> {
    ctx: &'a RunContext,
    params: &'a Params,
    embedder: String,
    hashes: HashSet<TextHash>,
}

impl<'a> Earlier<'a> {
    /// Learns for which texts of the same dataset the same embedder has made vectors.
    pub(super) async fn find(
        ctx: &'a RunContext,
        params: &'a Params,
        embedder: String,
    ) -> Result<Self> {
        let mut earlier = Self { ctx, params, embedder, hashes: HashSet::new() };
        let catalog = ctx.present().await?.catalog();
        if !catalog.has(&params.output)? {
            return Ok(earlier);
        }
        let mut hashes = HashSet::new();
        earlier
            .read(&["text_hash"], |batch| {
                hashes.extend(texts(batch, 0)?.iter().flatten().filter_map(hash_of_hex));
                Ok(())
            })
            .await?;
        earlier.hashes = hashes;
        Ok(earlier)
    }

    /// Whether there is a vector for a text.
    pub(super) fn has(&self, hash: &TextHash) -> bool {
        self.hashes.contains(hash)
    }

    /// Copies the vectors of the texts that have a place to `vectors`. Answers how many there were.
    pub(super) async fn copy(&self, places: &Places, vectors: &mut [f32]) -> Result<usize> {
        if !places.keys().any(|hash| self.has(hash)) {
            return Ok(0);
        }
        let dimension = self.params.dimension as usize;
        let mut copied = HashSet::new();
        self.read(&["text_hash", "vector"], |batch| {
            let lists = arrow::compute::cast(batch.column(1), &list_type())?;
            let lists = lists.as_list::<i32>();
            for (row, hash) in texts(batch, 0)?.iter().enumerate() {
                let Some(hash) = hash.and_then(hash_of_hex) else { continue };
                let Some(place) = places.get(&hash) else { continue };
                let vector = lists.value(row);
                let vector = vector.as_primitive::<Float32Type>().values();
                if vector.len() == dimension && copied.insert(hash) {
                    vectors[place * dimension..][..dimension].copy_from_slice(vector);
                }
            }
            Ok(())
        })
        .await?;
        Ok(copied.len())
    }

    async fn read(
        &self,
        columns: &[&str],
        mut take: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let session = self.ctx.present().await?;
        let of_this = ident("source")
            .eq(lit(self.params.dataset.as_str()))
            .and(ident("embedder").eq(lit(self.embedder.as_str())));
        let columns: Vec<Expr> = columns.iter().map(|&column| ident(column)).collect();
        let frame = session.table(&self.params.output).await?.filter(of_this)?.select(columns)?;
        let mut rows = session.stream(frame).await?;
        while let Some(batch) = rows.next().await {
            take(&batch?)?;
            self.ctx.check()?;
        }
        Ok(())
    }
}

/// The vectors as rows; `vectors` holds one for each place.
pub(super) fn batches(
    spec: &DatasetSpec,
    params: &Params,
    embedder: &str,
    corpus: &Corpus,
    vectors: &[f32],
) -> Result<Vec<RecordBatch>> {
    let dimension = params.dimension as usize;
    let DataType::List(item) = list_type() else {
        return Err(Error::internal("embed: a vector is a list"));
    };
    let batch = |first: usize| {
        let rows = first..corpus.hashes.len().min(first + BATCH_ROWS);
        let count = rows.len();
        let mut values = Vec::with_capacity(count * dimension);
        for hash in &corpus.hashes[rows.clone()] {
            let place = corpus.places[hash];
            values.extend_from_slice(&vectors[place * dimension..][..dimension]);
        }
        let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(dimension, count));
        let values = Arc::new(Float32Array::from(values));
        let repeated = |text: &str| {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
        };
        let ids = rows.clone().map(|row| corpus.ids.value(row));
        let hashes = corpus.hashes[rows.clone()].iter().map(hex_of_hash);
        let columns: Vec<ArrayRef> = vec![
            repeated(params.dataset.as_str()),
            Arc::new(StringArray::from_iter_values(ids)),
            repeated(embedder),
            Arc::new(StringArray::from_iter_values(hashes)),
            Arc::new(ListArray::try_new(item.clone(), lengths, values, None)?),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    (0..corpus.hashes.len()).step_by(BATCH_ROWS).map(batch).collect()
}

fn list_type() -> DataType {
    // The length is kept by the spec.
    ColumnType::Vector(1).arrow_type()
}

fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray> {
    let texts = arrow::compute::cast(batch.column(column), &DataType::Utf8)?;
    let texts = texts.as_string_opt::<i32>();
    texts.cloned().ok_or_else(|| Error::internal(format!("{NAME}: column {column} is not a text")))
}

fn hex_of_hash(hash: &TextHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_of_hex(text: &str) -> Option<TextHash> {
    let mut hash = TextHash::default();
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::embed::corpus::hash_of;

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let hash = hash_of("disk full on db1");
        assert_eq!(hash_of_hex(&hex_of_hash(&hash)), Some(hash));
        assert_eq!(hash_of_hex("00"), None);
        assert_eq!(hash_of_hex(&"g".repeat(32)), None);
    }
}
