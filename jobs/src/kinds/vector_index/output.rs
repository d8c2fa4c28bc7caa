//! The rows that `vector_index` commits, one for each list, and their columns for who reads them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::{Error, Result};
use kernels::ivf::IvfIndex;

use super::params::Params;
use crate::similar::Vectors;
use crate::tables::columns::column;

/// Lists of one batch.
const BATCH_LISTS: usize = 1024;

/// How well an index finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// Lists that a search looks into.
    pub(crate) probes: usize,
    /// Part of the true nearest that it finds.
    pub(crate) recall: f64,
    /// Of how many nearest.
    pub(crate) k: usize,
    /// Over how many queries.
    pub(crate) queries: usize,
}

/// The names of the columns.
pub(crate) struct Columns;

impl Columns {
    pub(crate) const EMBEDDER: &str = "embedder";
    pub(crate) const CENTRE: &str = "centre";
    pub(crate) const IDS: &str = "ids";
    pub(crate) const PROBES: &str = "probes";
    pub(crate) const RECALL: &str = "recall";
    pub(crate) const SOURCE: &str = "source";
    pub(crate) const LIST: &str = "list";
}

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let list = |kind| ColumnType::List(Box::new(kind));
    DatasetSpec {
        name,
        description: "Vectors in lists of near ones, for searches that look into few of them"
            .into(),
        owner: None,
        derived: true,
        key: [Columns::SOURCE, Columns::LIST].map(String::from).into(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![PartitionSpec {
            column: Columns::SOURCE.into(),
            from: None,
            transform: PartitionTransform::Identity,
        }],
        columns: vec![
            column(Columns::SOURCE, ColumnType::Text, false, "The dataset that is searched"),
            column(Columns::LIST, ColumnType::Int64, false, "The list, from 0"),
            column(
                Columns::EMBEDDER,
                ColumnType::Text,
                false,
                "Who made the vectors, name@version",
            ),
            column(
                Columns::CENTRE,
                list(ColumnType::Float32),
                false,
                "The centre of the list: a vector belongs to the list with the nearest one",
            ),
            column(Columns::IDS, list(ColumnType::Text), false, "The rows of the list"),
            column(Columns::PROBES, ColumnType::Int64, false, "Lists that a search looks into"),
            column(
                Columns::RECALL,
                ColumnType::Float64,
                false,
                "Part of the true k nearest rows that such a search finds",
            ),
            column("k", ColumnType::Int64, false, "The k that recall was measured with"),
            column("queries", ColumnType::Int64, false, "Rows that recall was measured with"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The lists as rows.
pub(super) fn batches(
    spec: &DatasetSpec,
    params: &Params,
    vectors: &Vectors,
    index: &IvfIndex,
    measured: &Measured,
) -> Result<Vec<RecordBatch>> {
    let parts = index.parts();
    let lists = parts.offsets.len().saturating_sub(1);
    let batch = |first: usize| {
        let range = first..lists.min(first + BATCH_LISTS);
        let count = range.len();
        let text = |text: &str| {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
        };
        let whole = |number: usize| {
            let numbers = std::iter::repeat_n(number as i64, count);
            Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef
        };
        let numbers = range.start * parts.dimensions..range.end * parts.dimensions;
        let centres = Float32Array::from(parts.centres[numbers].to_vec());
        let rows = parts.offsets[range.start] as usize..parts.offsets[range.end] as usize;
        let ids = parts.rows[rows].iter().map(|row| vectors.id(*row as usize));
        let lengths =
            parts.offsets[range.start..=range.end].windows(2).map(|at| (at[1] - at[0]) as usize);
        let columns: Vec<ArrayRef> = vec![
            text(params.dataset.as_str()),
            Arc::new(Int64Array::from_iter_values(range.clone().map(|list| list as i64))),
            text(&vectors.embedder),
            lists_of(
                std::iter::repeat_n(parts.dimensions, count),
                Arc::new(centres),
                ColumnType::Float32,
            )?,
            lists_of(lengths, Arc::new(StringArray::from_iter_values(ids)), ColumnType::Text)?,
            whole(measured.probes),
            Arc::new(Float64Array::from(vec![measured.recall; count])),
            whole(measured.k),
            whole(measured.queries),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    (0..lists).step_by(BATCH_LISTS).map(batch).collect()
}

fn lists_of(
    lengths: impl IntoIterator<Item = usize>,
    values: ArrayRef,
    item: ColumnType,
) -> Result<ArrayRef> {
    let DataType::List(field) = ColumnType::List(Box::new(item)).arrow_type() else {
        return Err(Error::internal("vector_index: a list of another type"));
    };
    let field: Arc<Field> = field;
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?))
}
