//! What a run leaves behind for the next one: for each row the hash of its text, the keys of its bands and a sketch.
//!
//! Rows are added by each run; one that went is added again as gone, and all are written anew when too many runs have
//! added to them. Each row says to which version of the source it belongs and, by a checksum, with which pairs and clusters
//! it was written, and of how many rows the index had: where another run replaced one of them, the index is not used.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, LargeStringArray,
    LargeStringBuilder, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::{Expr, ident, lit};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::{Result, Version, WriteMode};
use futures::StreamExt;

use crate::kinds::duplicates::Params;
use crate::run::context::RunContext;
use crate::tables::columns::column;
use crate::tables::replacing::in_place_of;

/// Runs that add to an index before it is written anew: each adds a file.
const RUNS_MAX: usize = 32;

/// Rows of one batch: some megabytes.
const BATCH_ROWS: usize = 16_384;

/// The spec of the dataset of indexes.
pub(crate) fn spec(name: DatasetName) -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name,
        description: "What the next search for duplicates needs to look at new rows alone".into(),
        owner: None,
        derived: true,
        key: Vec::new(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![PartitionSpec {
            column: "source".into(),
            from: None,
            transform: PartitionTransform::Identity,
        }],
        columns: vec![
            text("source", "The dataset that was looked at"),
            text("params", "SHA-256 of the parameters, in hexadecimal digits"),
            text("id", "A row"),
            column(
                "entry",
                ColumnType::Bytes,
                false,
                "Hash of its text, keys of its bands and sketch",
            ),
            column("is_gone", ColumnType::Bool, false, "Whether the row was deleted"),
            column("version", ColumnType::Int64, false, "The version of the source"),
            column("checksum", ColumnType::Int64, false, "Of the pairs and clusters"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The rows of a source as the last run left them.
pub(crate) struct Index {
    pub(crate) ids: LargeStringArray,
    pub(crate) entries: Vec<u8>,
    pub(crate) entry_bytes: usize,
    pub(crate) version: Version,
    checksum: i64,
    /// Runs that added to it.
    runs: usize,
}

/// Rows for the index as they are committed.
pub(crate) struct IndexRows {
    pub(crate) spec: DatasetSpec,
    pub(crate) mode: WriteMode,
    pub(crate) batches: Vec<RecordBatch>,
}

/// Rows to be added.
pub(crate) struct Added<'a> {
    pub(crate) ids: Vec<&'a str>,
    pub(crate) entries: Vec<&'a [u8]>,
    pub(crate) gone: Vec<bool>,
}

impl Index {
    /// That of the same parameters, if the last run left one.
    pub(crate) async fn read(
        ctx: &RunContext,
        params: &Params,
        name: &DatasetName,
        key: &str,
        entry_bytes: usize,
    ) -> Result<Option<Self>> {
        let session = ctx.present().await?;
        if !session.catalog().has(name)? {
            return Ok(None);
        }
        let of_this =
            ident("source").eq(lit(params.dataset.as_str())).and(ident("params").eq(lit(key)));
        let columns: Vec<Expr> =
            ["id", "entry", "is_gone", "version", "checksum"].into_iter().map(ident).collect();
        let frame = session.table(name).await?.filter(of_this)?.select(columns)?;
        let mut rows = session.stream(frame).await?;
        let mut reading = Reading { entry_bytes, ..Reading::default() };
        while let Some(batch) = rows.next().await.transpose()? {
            reading.add(&batch)?;
            ctx.check()?;
        }
        Ok(reading.finish())
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it is all that was written with pairs and clusters of this checksum.
    pub(crate) fn belongs_to(&self, checksum: i64) -> bool {
        self.checksum == sealed(checksum, self.len())
    }

    pub(crate) fn entry(&self, row: usize) -> &[u8] {
        &self.entries[row * self.entry_bytes..(row + 1) * self.entry_bytes]
    }

    /// What is to be written so that it is that of a later version, with rows that came and without rows that went.
    pub(crate) fn with(
        &self,
        params: &Params,
        key: &str,
        added: &[(String, Vec<u8>)],
        removed: &HashSet<String>,
        version: Version,
        checksum: i64,
    ) -> Result<Option<IndexRows>> {
        let Some(name) = &params.index_output else { return Ok(None) };
        let mut rows = Added { ids: Vec::new(), entries: Vec::new(), gone: Vec::new() };
        let mut add = |id, entry, gone| {
            rows.ids.push(id);
            rows.entries.push(entry);
            rows.gone.push(gone);
        };
        // Each run adds a file, so that now and then all of it is written anew.
        let anew = self.runs >= RUNS_MAX;
        for (row, id) in self.ids.iter().flatten().enumerate() {
            match (anew, removed.contains(id)) {
                (true, false) => add(id, self.entry(row), false),
                (false, true) => add(id, &[], true),
                _ => {}
            }
        }
        added.iter().for_each(|(id, entry)| add(id, entry, false));
        let spec = spec(name.clone());
        let batches = batches(&spec, &params.dataset, key, &rows, version, checksum)?;
        let mode = match anew {
            true => in_place_of(params.dataset.as_str()),
            false => WriteMode::Append,
        };
        Ok(Some(IndexRows { spec, mode, batches }))
    }
}

/// A checksum of pairs and clusters together with the number of rows that the index has then.
pub(crate) fn sealed(checksum: i64, rows: usize) -> i64 {
    checksum ^ (rows as i64).wrapping_mul(0x2127_599b_f432_5c37)
}

/// An index that is being read.
#[derive(Default)]
struct Reading {
    entry_bytes: usize,
    ids: LargeStringBuilder,
    entries: Vec<u8>,
    versions: Vec<i64>,
    gone: HashMap<String, i64>,
    /// Version and checksum of each run.
    runs: HashSet<(i64, i64)>,
    /// Whether there is an entry of another length.
    is_broken: bool,
}

impl Reading {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.is_broken {
            return Ok(());
        }
        let ids = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let entries = arrow::compute::cast(batch.column(1), &DataType::Binary)?;
        let (ids, entries) = (ids.as_string::<i32>(), entries.as_binary::<i32>());
        let gone = batch.column(2).as_boolean();
        let versions = batch.column(3).as_primitive::<Int64Type>();
        let checksums = batch.column(4).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let (id, entry, version) = (ids.value(row), entries.value(row), versions.value(row));
            if self.runs.len() <= RUNS_MAX {
                self.runs.insert((version, checksums.value(row)));
            }
            if gone.value(row) {
                let last = self.gone.entry(id.to_owned()).or_insert(version);
                *last = version.max(*last);
                continue;
            }
            if entry.len() != self.entry_bytes {
                self.is_broken = true;
                return Ok(());
            }
            self.ids.append_value(id);
            self.entries.extend_from_slice(entry);
            self.versions.push(version);
        }
        Ok(())
    }

    fn finish(mut self) -> Option<Index> {
        let &(version, checksum) = self.runs.iter().max()?;
        let one_of_a_version = self.runs.iter().filter(|run| run.0 == version).count() == 1;
        if self.is_broken || !one_of_a_version {
            return None;
        }
        let mut ids = self.ids.finish();
        if !self.gone.is_empty() {
            let stays = |row: &usize| {
                let gone = self.gone.get(ids.value(*row));
                gone.is_none_or(|gone| self.versions[*row] >= *gone)
            };
            let stay: Vec<usize> = (0..ids.len()).filter(stays).collect();
            let width = self.entry_bytes;
            let entry = |row: &usize| &self.entries[row * width..(row + 1) * width];
            self.entries = stay.iter().flat_map(entry).copied().collect();
            ids = LargeStringArray::from_iter_values(stay.iter().map(|row| ids.value(*row)));
        }
        Some(Index {
            ids,
            entries: self.entries,
            entry_bytes: self.entry_bytes,
            version: Version(version as u64),
            checksum,
            runs: self.runs.len(),
        })
    }
}

/// Rows as they are committed.
pub(crate) fn batches(
    spec: &DatasetSpec,
    source: &DatasetName,
    key: &str,
    added: &Added<'_>,
    version: Version,
    checksum: i64,
) -> Result<Vec<RecordBatch>> {
    let batch = |first: usize| {
        let rows = first..added.ids.len().min(first + BATCH_ROWS);
        let count = rows.len();
        let repeated = |text: &str| {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
        };
        let number = |number: i64| {
            Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(number, count))) as ArrayRef
        };
        let columns: Vec<ArrayRef> = vec![
            repeated(source.as_str()),
            repeated(key),
            Arc::new(StringArray::from_iter_values(&added.ids[rows.clone()])),
            Arc::new(BinaryArray::from_iter_values(&added.entries[rows.clone()])),
            Arc::new(BooleanArray::from(added.gone[rows].to_vec())),
            number(version.0 as i64),
            number(checksum),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    (0..added.ids.len()).step_by(BATCH_ROWS).map(batch).collect()
}
