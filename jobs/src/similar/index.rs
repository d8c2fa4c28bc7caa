//! An index over the vectors of a dataset, made of the lists that the job `vector_index` has committed.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use datafusion::logical_expr::{Expr, ident, lit};
use datasets::{ColumnType, DatasetName};
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use kernels::ivf::{IvfIndex, IvfParts, Metric as IvfMetric};
use kernels::nearest::{Metric, NearestOptions, nearest};
use kernels::{Execution, GpuPolicy, MatrixView};

use super::shelf::Shelved;
use super::vectors::Vectors;
use crate::kinds::vector_index::Columns;
use crate::tables::columns::texts;

/// The lists as they were committed.
#[derive(Debug)]
pub(super) struct Lists {
    /// Who made the vectors.
    pub(super) embedder: String,
    probes: usize,
    recall: f64,
    /// By number: the centre, and the rows that were in it.
    lists: BTreeMap<i64, (Vec<f32>, Vec<String>)>,
}

/// The index in memory.
pub(super) struct Indexed {
    pub(super) index: IvfIndex,
    /// Lists that a search looks into.
    pub(super) probes: usize,
    /// Part of the true nearest that it then finds, as it was measured.
    pub(super) recall: f64,
    bytes: usize,
}

impl Shelved for Indexed {
    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Lists {
    /// Reads the lists of `source`; none when it has no index.
    pub(super) async fn read(
        session: &Session,
        index: &DatasetName,
        source: &DatasetName,
    ) -> Result<Option<Self>> {
        let columns = [
            Columns::LIST,
            Columns::EMBEDDER,
            Columns::CENTRE,
            Columns::IDS,
            Columns::PROBES,
            Columns::RECALL,
        ];
        let columns: Vec<Expr> = columns.map(ident).into();
        let table = session.table(index).await?;
        let table = table.filter(ident(Columns::SOURCE).eq(lit(source.as_str())))?;
        let mut rows = session.stream(table.select(columns)?).await?;
        let mut read: Option<Self> = None;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(Error::from)?;
            if batch.num_rows() == 0 {
                continue;
            }
            let lists = match &mut read {
                Some(lists) => lists,
                None => read.insert(Self {
                    embedder: texts(&batch, 1)?.value(0).to_owned(),
                    probes: whole(&batch, 4)?.value(0).max(1) as usize,
                    recall: floats(&batch, 5)?,
                    lists: BTreeMap::new(),
                }),
            };
            lists.take(&batch)?;
        }
        Ok(read)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let numbers = whole(batch, 0)?;
        let list_of = |column: usize, item| -> Result<arrow::array::ListArray> {
            let kind = ColumnType::List(Box::new(item)).arrow_type();
            let lists = cast(batch.column(column), &kind)?;
            let lists = lists.as_list_opt::<i32>().cloned();
            lists.ok_or_else(|| Error::internal("an index whose column is no list"))
        };
        let (centres, ids) = (list_of(2, ColumnType::Float32)?, list_of(3, ColumnType::Text)?);
        for row in 0..batch.num_rows() {
            let centre = centres.value(row);
            let centre = centre.as_primitive::<Float32Type>().values().to_vec();
            let ids = ids.value(row);
            let ids = ids.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            self.lists.insert(numbers.value(row), (centre, ids));
        }
        Ok(())
    }

    /// The index over `vectors`: those that are in a list stay there, all others go to the list of the nearest
    /// centre.
    pub(super) fn over(self, vectors: &Vectors, execution: &Execution) -> Result<Indexed> {
        let dimensions = vectors.dimensions;
        if let Some((list, (centre, _))) =
            self.lists.iter().find(|(_, (centre, _))| centre.len() != dimensions)
        {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "index: expected centres of {dimensions} numbers, as the vectors are, found {} in list {list}",
                    centre.len()
                ),
            ));
        }
        let mut is_listed = vec![false; vectors.len()];
        let mut centres = Vec::with_capacity(self.lists.len() * dimensions);
        let mut lists: Vec<Vec<u64>> = Vec::with_capacity(self.lists.len());
        for (centre, ids) in self.lists.values() {
            centres.extend_from_slice(centre);
            let mut rows = Vec::with_capacity(ids.len());
            for place in ids.iter().filter_map(|id| vectors.place(id)) {
                if !std::mem::replace(&mut is_listed[place], true) {
                    rows.push(place as u64);
                }
            }
            lists.push(rows);
        }
        // A vector without a direction has no cosine, and no place in a list.
        let has_direction = |place: &usize| analysis::has_direction(vectors.vector(*place));
        let others = (0..vectors.len()).filter(|place| !is_listed[*place]);
        let others: Vec<usize> = others.filter(has_direction).collect();
        if !others.is_empty() {
            let values: Vec<f32> =
                others.iter().flat_map(|place| vectors.vector(*place)).copied().collect();
            let queries = MatrixView::new(&values, others.len(), dimensions)?;
            let base = MatrixView::new(&centres, lists.len(), dimensions)?;
            let options = NearestOptions::new(Metric::SquaredL2, 1);
            let found = nearest(queries, base, &options, execution)?;
            for (at, place) in others.iter().enumerate() {
                if let Some(list) = found.row(at).first() {
                    lists[list.index].push(*place as u64);
                }
            }
        }
        let mut offsets = vec![0];
        let mut rows = Vec::with_capacity(vectors.len());
        for mut list in lists {
            list.sort_unstable();
            rows.append(&mut list);
            offsets.push(rows.len() as u64);
        }
        let parts = IvfParts {
            metric: IvfMetric::Cosine,
            dimensions,
            centres,
            offsets,
            rows,
            added: vectors.len() as u64,
        };
        let bytes = (4 * dimensions + 24) * vectors.len() + parts.centres.len() * 8;
        // The index is on the processor, whatever else is not.
        let execution = Execution { gpu: GpuPolicy::Off, ..execution.clone() };
        let index = IvfIndex::from_parts(&parts, vectors.matrix()?, &execution)?;
        Ok(Indexed { index, probes: self.probes, recall: self.recall, bytes })
    }
}

fn whole(batch: &RecordBatch, column: usize) -> Result<arrow::array::Int64Array> {
    let numbers = cast(batch.column(column), &DataType::Int64)?;
    let numbers = numbers.as_primitive_opt::<Int64Type>().cloned();
    numbers.ok_or_else(|| Error::internal("an index whose column is no whole number"))
}

fn floats(batch: &RecordBatch, column: usize) -> Result<f64> {
    let numbers = cast(batch.column(column), &DataType::Float64)?;
    let numbers = numbers.as_primitive_opt::<Float64Type>().cloned();
    let numbers = numbers.ok_or_else(|| Error::internal("an index whose column is no number"))?;
    Ok(numbers.value(0))
}
