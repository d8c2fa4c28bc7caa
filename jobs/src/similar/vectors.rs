//! The vectors of one dataset's rows in memory, as [`embed`](crate::kinds::embed) has committed them.
//!
//! ```text
//!   ids      t-1  t-2  t-4  …         each once, in order
//!   values   [rows, dimensions]       row i is the vector of ids[i]
//!   places   id ─▶ i
//! ```

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, AsArray, LargeStringArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float32Type};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datasets::{ColumnType, DatasetName};
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use hashbrown::{DefaultHashBuilder, HashTable};
use kernels::nearest::{Codes, Metric, Nearest, NearestOptions, Rows, nearest};
use kernels::{Execution, MatrixView};

use super::shelf::Shelved;
use crate::tables::columns::texts;

/// Vectors and the rows that they belong to.
pub(crate) struct Vectors {
    /// Who made them, `name@version`.
    pub(crate) embedder: String,
    pub(crate) dimensions: usize,
    ids: LargeStringArray,
    values: Vec<f32>,
    /// What a search reads first.
    codes: Option<Codes>,
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Shelved for Vectors {
    fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
            + self.codes.as_ref().map_or(0, Codes::bytes)
            + self.ids.get_array_memory_size()
            + self.places.capacity() * 2 * size_of::<u32>()
    }
}

impl Vectors {
    /// Reads the vectors of `source` out of the dataset `vectors`; none when it has none. `room` is asked whether
    /// so many bytes may be taken.
    pub(crate) async fn read(
        session: &Session,
        vectors: &DatasetName,
        source: &DatasetName,
        room: impl FnOnce(usize) -> Result<()>,
    ) -> Result<Option<Self>> {
        let of_source = ident("source").eq(lit(source.as_str()));
        let table = session.table(vectors).await?;
        let has = |column: &str| table.schema().has_column_with_unqualified_name(column);
        if !["source", "id", "embedder", "vector"].into_iter().all(has) {
            let says =
                format!("dataset {vectors} has no vectors; expected one that the job `embed` made");
            return Err(Error::user(Code::BadInput, says));
        }
        let table = table.filter(of_source)?;
        let mut read = Self::named(session, table.clone().select(vec![id()])?).await?;
        if read.ids.is_empty() {
            return Ok(None);
        }
        let all = vec![id(), cast(ident("embedder"), DataType::Utf8), ident("vector")];
        let mut rows = session.stream(table.select(all)?).await?;
        let mut room = Some(room);
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(Error::from)?;
            if batch.num_rows() > 0
                && let Some(room) = room.take()
            {
                read.begin(&batch, vectors, source, room)?;
            }
            read.take(&batch, vectors, source)?;
        }
        Ok(Some(read))
    }

    /// Makes the coarse form of the vectors, for searches.
    pub(super) fn code(&mut self, execution: &Execution) -> Result<()> {
        self.codes = Some(Codes::of(self.matrix()?, Metric::Cosine, execution)?);
        Ok(())
    }

    /// The `k` rows nearest to `query` by the cosine.
    pub(super) fn nearest(
        &self,
        query: &[f32],
        k: usize,
        allowed: Rows<'_>,
        execution: &Execution,
    ) -> Result<Nearest> {
        let query = MatrixView::new(query, 1, query.len())?;
        let options = NearestOptions { allowed, ..NearestOptions::new(Metric::Cosine, k) };
        Ok(match &self.codes {
            Some(codes) => codes.nearest(query, self.matrix()?, &options, execution)?,
            None => nearest(query, self.matrix()?, &options, execution)?,
        })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All vectors.
    pub(crate) fn matrix(&self) -> Result<MatrixView<'_, f32>> {
        Ok(MatrixView::new(&self.values, self.len(), self.dimensions)?)
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, place: usize) -> &[f32] {
        &self.values[place * self.dimensions..][..self.dimensions]
    }

    /// The name of a row.
    pub(crate) fn id(&self, place: usize) -> &str {
        self.ids.value(place)
    }

    /// Where a row stands; none where it has no vector.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        let found = self.places.find(self.hasher.hash_one(id), |place| self.is(*place, id))?;
        Some(*found as usize)
    }

    fn is(&self, place: u32, id: &str) -> bool {
        self.ids.value(place as usize) == id
    }
}

impl Vectors {
    /// All ids, each once and in order, so that equal scores are told apart the same way whatever files the rows
    /// are in; their vectors are still empty.
    async fn named(session: &Session, frame: DataFrame) -> Result<Self> {
        let mut batches: Vec<StringArray> = Vec::new();
        let mut rows = session.stream(frame).await?;
        while let Some(batch) = rows.next().await {
            batches.push(texts(&batch.map_err(Error::from)?, 0)?);
        }
        let mut ids: Vec<&str> = batches.iter().flat_map(|ids| ids.iter().flatten()).collect();
        ids.sort_unstable();
        ids.dedup();
        let ids = LargeStringArray::from_iter_values(ids);
        let count = u32::try_from(ids.len()).map_err(|_| {
            Error::user(
                Code::LimitExceeded,
                format!("{} vectors; at most {} can be searched", ids.len(), u32::MAX),
            )
        })?;
        let hasher = DefaultHashBuilder::default();
        let mut places = HashTable::with_capacity(ids.len());
        let hash = |place: &u32| hasher.hash_one(ids.value(*place as usize));
        for place in 0..count {
            places.insert_unique(hash(&place), place, hash);
        }
        let (embedder, values) = (String::new(), Vec::new());
        Ok(Self { embedder, dimensions: 0, ids, values, codes: None, places, hasher })
    }

    /// Learns from the first row who made the vectors and how long they are.
    fn begin(
        &mut self,
        batch: &RecordBatch,
        vectors: &DatasetName,
        source: &DatasetName,
        room: impl FnOnce(usize) -> Result<()>,
    ) -> Result<()> {
        let (_, embedders, lists) = columns(batch)?;
        let (embedder, dimensions) = (embedders.value(0).to_owned(), lists.value(0).len());
        if dimensions == 0 {
            return Err(bad(vectors, source, "a vector without numbers"));
        }
        let size = self.len() * dimensions;
        // The numbers, their codes, and what is kept of each row beside them.
        room(size * (size_of::<f32>() + 1) + self.len() * 28 + self.bytes())?;
        self.embedder = embedder;
        self.dimensions = dimensions;
        self.values = vec![0.0; size];
        Ok(())
    }

    fn take(
        &mut self,
        batch: &RecordBatch,
        vectors: &DatasetName,
        source: &DatasetName,
    ) -> Result<()> {
        let (ids, embedders, lists) = columns(batch)?;
        let lengths = lists.offsets().windows(2).map(|ends| (ends[1] - ends[0]) as usize);
        for (row, length) in lengths.enumerate() {
            if length != self.dimensions || embedders.value(row) != self.embedder {
                let problem = format!(
                    "{} numbers of {} beside {length} of {}; vectors of two embedders are not compared: run \
                     `embed` again",
                    self.dimensions,
                    self.embedder,
                    embedders.value(row)
                );
                return Err(bad(vectors, source, problem));
            }
        }
        let numbers = lists.values().as_primitive_opt::<Float32Type>();
        let numbers = numbers.ok_or_else(|| Error::internal("a vector of another type"))?.values();
        for (row, ends) in lists.offsets().windows(2).enumerate() {
            // A row that came between the two readings can't be: the session sees one version.
            let Some(place) = self.place(ids.value(row)) else { continue };
            let numbers = &numbers[ends[0] as usize..ends[1] as usize];
            self.values[place * self.dimensions..][..self.dimensions].copy_from_slice(numbers);
        }
        Ok(())
    }
}

fn bad(vectors: &DatasetName, source: &DatasetName, problem: impl std::fmt::Display) -> Error {
    Error::user(Code::BadInput, format!("vectors of {source} in {vectors}: {problem}"))
}

fn id() -> Expr {
    cast(ident("id"), DataType::Utf8).alias("id")
}

type Columns = (StringArray, StringArray, ListArray);

fn columns(batch: &RecordBatch) -> Result<Columns> {
    // The length is kept by the spec, not by the type.
    let lists = arrow::compute::cast(batch.column(2), &ColumnType::Vector(1).arrow_type())?;
    let lists = lists.as_list_opt::<i32>().cloned();
    let lists = lists.ok_or_else(|| Error::internal("a vector that is no list"))?;
    Ok((texts(batch, 0)?, texts(batch, 1)?, lists))
}

/// A set of places as bits.
pub(super) fn bits_of(vectors: &Vectors, ids: &[StringArray]) -> Arc<[u64]> {
    let mut bits = vec![0_u64; vectors.len().div_ceil(64)];
    for id in ids.iter().flat_map(|ids| ids.iter().flatten()) {
        if let Some(place) = vectors.place(id) {
            bits[place / 64] |= 1 << (place % 64);
        }
    }
    bits.into()
}
