//! From the columns of a source to exactly the columns of a dataset, row by row where it matters.
//!
//! A source that can't fit at all (a missing column, a type with no way across) is refused whole, before
//! its first row; a value that does not fit sets its row aside and no other.

mod carry;
mod cast;
mod leaves;
mod local_times;
mod narrowing;
mod nested;
mod partition_values;
pub(crate) mod units;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, RecordBatch, RecordBatchOptions,
    new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono_tz::Tz;

use crate::column_type::ColumnType;
use crate::encode::JsonEncoder;
use crate::error::{Error, Result};
use crate::infer::{column_of_field, shown_type, to_identifier};
use crate::parse::{month_start_days, quoted};
use crate::read::{Chunk, DELIMITERS, numbered_column};
use crate::rejected::RejectedRow;
use crate::spec::{ColumnSpec, DatasetSpec, Evolution, PartitionTransform, shown_mark};
use crate::validate::{Checks, Failures};

pub use carry::Carry;
use cast::{Cast, Unfit};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Makes the chunks of one source fit one dataset.
#[derive(Debug)]
pub struct Conformer {
    schema: SchemaRef,
    columns: Vec<Column>,
    partitions: Vec<(usize, PartitionTransform)>,
    checks: Checks,
    spec: DatasetSpec,
    source_name: String,
}

#[derive(Debug)]
struct Column {
    name: String,
    nullable: bool,
    /// Index in the source, and the way from its type; `None` when the source has no such column.
    from: Option<(usize, Cast)>,
}

/// What became of a chunk.
#[derive(Clone, Debug)]
pub struct Conformed {
    /// The rows that fit: exactly the dataset's columns, computed partition columns included.
    pub accepted: RecordBatch,
    /// The rows that do not, those that the reader rejected first.
    pub rejected: Vec<RejectedRow>,
}

impl Conformer {
    /// Plans the way from `source_schema` to the columns of `spec`.
    pub fn new(spec: &DatasetSpec, source_schema: &Schema, source_name: &str) -> Result<Self> {
        let matched = Matched::new(spec, source_schema, source_name)?;
        if !matched.unknown.is_empty() {
            return Err(Error::Mismatch {
                source_name: source_name.into(),
                problem: unknown_columns(
                    spec,
                    source_schema,
                    &matched.unknown,
                    DatasetState::Existing,
                ),
            });
        }
        let mut columns = Vec::with_capacity(spec.columns.len());
        for (column, index) in spec.columns.iter().zip(&matched.by_column) {
            columns.push(Column {
                name: column.name.clone(),
                nullable: column.nullable,
                from: match index {
                    Some(index) => {
                        Some((*index, plan(column, source_schema, *index, source_name)?))
                    }
                    None if column.nullable => None,
                    None => {
                        return Err(missing(spec, column, source_schema, source_name));
                    }
                },
            });
        }
        let partitions = spec
            .computed_partitions()
            .map(|p| {
                let from = p.from.as_deref().unwrap_or(&p.column);
                spec.columns
                    .iter()
                    .position(|c| c.name == from)
                    .map(|at| (at, p.transform))
                    .ok_or_else(|| Error::Internal(format!("partition of {from:?}, not a column")))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            schema: spec.arrow_schema(),
            columns,
            partitions,
            checks: Checks::new(spec)?,
            spec: spec.clone(),
            source_name: source_name.into(),
        })
    }

    /// The same for a dataset that may grow by it, with the spec that it grows to, if it does.
    pub fn growing(
        spec: &DatasetSpec,
        source_schema: &Schema,
        source_name: &str,
    ) -> Result<(Self, Option<DatasetSpec>)> {
        let grown = evolve(spec, source_schema, source_name)?;
        let conformer = Self::new(grown.as_ref().unwrap_or(spec), source_schema, source_name)?;
        Ok((conformer, grown))
    }

    /// Fails if the rows of a source do not fit a dataset that they are to create with `spec`.
    pub fn require_fit_of_new(
        spec: &DatasetSpec,
        source_schema: &Schema,
        source_name: &str,
    ) -> Result<()> {
        let unknown = Matched::new(spec, source_schema, source_name)?.unknown;
        if !unknown.is_empty() && spec.evolution == Evolution::Fixed {
            let problem = unknown_columns(spec, source_schema, &unknown, DatasetState::New);
            return Err(Error::Mismatch { source_name: source_name.into(), problem });
        }
        Self::growing(spec, source_schema, source_name).map(drop)
    }

    /// Reads times without an offset as local times of `zone`; without one they are UTC.
    pub fn in_zone(mut self, zone: Option<Tz>) -> Self {
        let casts = self.columns.iter_mut().filter_map(|column| column.from.as_mut());
        casts.for_each(|(_, cast)| cast.set_zone(zone.unwrap_or(Tz::UTC)));
        self
    }

    /// Sorts the rows of `chunk` into those that fit and those that do not.
    pub fn conform(&self, chunk: &Chunk) -> Result<Conformed> {
        crate::contain::contain(|| self.sort(chunk))
            .unwrap_or_else(|panic| Err(self.unreadable(chunk, panic)))
    }

    fn unreadable(&self, chunk: &Chunk, problem: String) -> Error {
        Error::Unreadable {
            source_name: chunk.position(&self.source_name, 0).to_string(),
            format: "rows of the dataset",
            problem,
        }
    }

    fn sort(&self, chunk: &Chunk) -> Result<Conformed> {
        let rows = chunk.batch.num_rows();
        let mut failures = Failures::none(rows);
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for (column, field) in self.columns.iter().zip(self.schema.fields()) {
            let array = match &column.from {
                Some((index, cast)) => {
                    let source = chunk.batch.columns().get(*index).ok_or_else(|| {
                        Error::Internal(format!("chunk of {} lost a column", self.source_name))
                    })?;
                    cast.apply(source, &column.name, &mut failures)
                        .map_err(|Unfit(problem)| self.unreadable(chunk, problem))?
                }
                None => new_null_array(field.data_type(), rows),
            };
            if !column.nullable && array.null_count() > 0 {
                for row in 0..rows {
                    if array.is_null(row) {
                        failures.note(row, &column.name, || {
                            format!("{:?}: expected a value, found none", column.name)
                        });
                    }
                }
            }
            arrays.push(array);
        }
        for (from, transform) in &self.partitions {
            arrays.push(partition(&arrays[*from], *transform)?);
        }
        // Nulls of rows that fail stand in columns that allow none until those rows are taken out.
        let relaxed: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|f| Arc::new(f.as_ref().clone().with_nullable(true)))
            .collect();
        let count = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut batch =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(relaxed)), arrays, &count)
                .map_err(|e| Error::Internal(format!("columns of {}: {e}", self.source_name)))?;
        self.checks.run(&batch, &mut failures)?;
        partition_values::note_unwritable(&self.spec, &batch, &mut failures);
        let mut rejected = chunk.rejected.clone();
        if failures.count() > 0 {
            let keep: BooleanArray =
                (0..rows).map(|row| Some(failures.get(row).is_none())).collect();
            batch = filter_record_batch(&batch, &keep)
                .map_err(|e| Error::Internal(format!("rows of {}: {e}", self.source_name)))?;
            self.set_aside(chunk, &failures, &mut rejected);
        }
        let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let accepted = RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            batch.columns().to_vec(),
            &count,
        )
        .map_err(|e| Error::Internal(format!("rows of {}: {e}", self.source_name)))?;
        Ok(Conformed { accepted, rejected })
    }

    fn set_aside(&self, chunk: &Chunk, failures: &Failures, rejected: &mut Vec<RejectedRow>) {
        let failed: Vec<u32> = (0..chunk.batch.num_rows())
            .filter(|row| failures.get(*row).is_some())
            .map(|row| row as u32)
            .collect();
        let mut originals = json_rows(&chunk.batch, &failed).into_iter();
        for row in failed {
            let Some(failure) = failures.get(row as usize) else { continue };
            rejected.push(RejectedRow {
                position: chunk.position(&self.source_name, row as usize),
                column: failure.column.clone(),
                reason: failure.reason.clone(),
                original: originals.next().unwrap_or_default(),
            });
        }
    }
}

/// Converts instants of any unit to the unit of a column, rounded down.
pub(crate) fn instants(array: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    cast::arrow_cast(array, &ColumnType::Timestamp.arrow_type())
}

/// The spec with the columns of `source_schema` that it lacks, as nullable ones; `None` when it lacks none.
/// Fails when the dataset's columns are fixed, or when a column that it has comes with a type that can't
/// become the dataset's.
pub fn evolve(
    spec: &DatasetSpec,
    source_schema: &Schema,
    source_name: &str,
) -> Result<Option<DatasetSpec>> {
    let matched = Matched::new(spec, source_schema, source_name)?;
    for (column, index) in spec.columns.iter().zip(&matched.by_column) {
        if let Some(index) = index {
            plan(column, source_schema, *index, source_name)?;
        }
    }
    if matched.unknown.is_empty() {
        return Ok(None);
    }
    if spec.evolution == Evolution::Fixed {
        Conformer::new(spec, source_schema, source_name)?;
    }
    let mut evolved = spec.clone();
    for index in matched.unknown {
        evolved.columns.push(column_of_field(source_name, source_schema.field(index))?);
    }
    evolved.check()?;
    // Columns are not added for rows that would be refused all the same.
    Conformer::new(&evolved, source_schema, source_name)?;
    Ok(Some(evolved))
}

/// Which source column belongs to which column of the spec.
struct Matched {
    by_column: Vec<Option<usize>>,
    unknown: Vec<usize>,
}

impl Matched {
    fn new(spec: &DatasetSpec, schema: &Schema, source_name: &str) -> Result<Self> {
        let mut by_column: Vec<Option<usize>> = vec![None; spec.columns.len()];
        let mut unknown = Vec::new();
        let mut take = |at: usize, index: usize| match by_column[at].replace(index) {
            None => Ok(()),
            Some(other) => Err(Error::Mismatch {
                source_name: source_name.into(),
                problem: format!(
                    "columns {:?} and {:?} are both {:?}; rename one of them",
                    schema.field(other).name(),
                    schema.field(index).name(),
                    spec.columns[at].name
                ),
            }),
        };
        for (index, field) in schema.fields().iter().enumerate() {
            let identifier = to_identifier(field.name());
            let position = |name: &str| spec.columns.iter().position(|column| column.name == name);
            if let Some(at) = position(field.name()).or_else(|| position(&identifier)) {
                take(at, index)?;
            } else if !is_computed(spec, &identifier) {
                unknown.push(index);
            }
        }
        Ok(Self { by_column, unknown })
    }
}

/// Whether a dataset has values of this name that it computes: rows that were read from it may bring them along.
fn is_computed(spec: &DatasetSpec, name: &str) -> bool {
    spec.computed_partitions().any(|partition| partition.column == name)
        || spec.dimensions.iter().any(|dimension| dimension.name == name)
}

fn plan(column: &ColumnSpec, schema: &Schema, index: usize, source_name: &str) -> Result<Cast> {
    let field = schema.field(index);
    let cast = Cast::plan(field, &column.data_type);
    let cast = cast.map(|cast| cast.counted_in(column.unit.as_deref()));
    cast.ok_or_else(|| Error::Mismatch {
        source_name: source_name.into(),
        problem: format!(
            "column {:?} is {}; {} is expected, and there is no way from one to the other without loss",
            column.name,
            shown_type(field),
            column.data_type
        ),
    })
}

/// Whether a dataset exists, or is to be created by the rows.
#[derive(Clone, Copy, PartialEq)]
enum DatasetState {
    Existing,
    New,
}

/// The error for columns that a dataset lacks, with the ways to add them.
fn unknown_columns(
    spec: &DatasetSpec,
    schema: &Schema,
    unknown: &[usize],
    state: DatasetState,
) -> String {
    let name = &spec.name;
    let (rule, advice) = match spec.evolution {
        Evolution::Fixed if state == DatasetState::New => (
            "by its spec",
            "; add what is missing to the spec, or load the file with add_columns (`--add-columns`)"
                .to_owned(),
        ),
        Evolution::Fixed => (
            "whose columns are fixed",
            format!(
                "; if the file is for this dataset, load it with add_columns (`--add-columns`), or add \
                 a column with `colonnade alter {name} --add COLUMN=TYPE`"
            ),
        ),
        Evolution::AddNullable => ("which must be evolved first", String::new()),
    };
    let given = unknown.iter().map(|at| schema.field(*at));
    let given: Vec<String> =
        given.map(|field| format!("{} ({})", quoted(field.name()), shown_type(field))).collect();
    let what = match given.as_slice() {
        [one] => format!("column {one} is not a column"),
        several => format!("columns {} are not columns", few(several)),
    };
    let there = listed(spec.columns.iter().map(|c| c.name.as_str()));
    let advice = other_delimiter(spec, schema)
        .or_else(|| first_row_as_values(spec, schema))
        .unwrap_or(advice);
    format!("{what} of {name}, {rule} ({there}){advice}")
}

/// Advice for a file that seems to use a delimiter other than the stored one. Such a file is read
/// as a single column, whose name contains the delimiter of the file.
fn other_delimiter(spec: &DatasetSpec, schema: &Schema) -> Option<String> {
    let stored = spec.load.delimiter?;
    let [only] = schema.fields().as_ref() else { return None };
    let is_other = |mark: &char| *mark != stored && only.name().contains(*mark);
    let found = DELIMITERS.into_iter().map(char::from).find(is_other)?;
    let (dataset, value) = (&spec.name, shown_mark(found));
    Some(format!(
        "; the file seems to use the delimiter {found:?}, but the dataset's `delimiter` setting is {stored:?}; \
         rewrite the file with {stored:?}, or change the setting with `colonnade alter {dataset} --set 'delimiter={value}'`"
    ))
}

/// Advice for a file whose header was read as a data row, so that its columns are named `column_1`, `column_2` and so on.
fn first_row_as_values(spec: &DatasetSpec, schema: &Schema) -> Option<String> {
    let names = || schema.fields().iter().map(|field| field.name());
    let is_numbered = (1..).zip(names()).all(|(at, name)| *name == numbered_column(at));
    if !is_numbered || names().any(|name| spec.column(name).is_some()) {
        return None;
    }
    let dataset = &spec.name;
    let (why, header) = match spec.load.header {
        Some(false) => (
            " by the dataset's setting header=false",
            format!("change the setting with `colonnade alter {dataset} --set header=true`"),
        ),
        _ => ("", "state header=true for this load (`--header true`)".to_owned()),
    };
    Some(format!(
        "; the first row was read as values{why}; if it names the columns, {header}; if it does not, name them \
         with `--rename \"#1=NAME\"`"
    ))
}

fn missing(spec: &DatasetSpec, column: &ColumnSpec, schema: &Schema, source_name: &str) -> Error {
    let needed = format!("{} needs column {:?} ({})", spec.name, column.name, column.data_type);
    let found = || listed(schema.fields().iter().map(|f| f.name().as_str()));
    let problem = match schema.fields().is_empty() {
        true => format!("the file is empty; {needed}"),
        false => {
            let advice = first_row_as_values(spec, schema).unwrap_or_default();
            format!("{needed}; found {}{advice}", found())
        }
    };
    Error::Mismatch { source_name: source_name.into(), problem }
}

/// Names for a message; a few of them where there are many.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(quoted).collect();
    if names.is_empty() { "no columns".into() } else { few(&names) }
}

/// The first words, and the number of the remaining ones.
fn few(words: &[String]) -> String {
    const SHOWN: usize = 24;
    match words.len() {
        count if count > SHOWN => {
            format!("{} and {} more", words[..SHOWN].join(", "), count - SHOWN)
        }
        _ => words.join(", "),
    }
}

/// The day or month in which each instant falls, in UTC.
fn partition(array: &ArrayRef, transform: PartitionTransform) -> Result<ArrayRef> {
    let instants = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
        Error::Internal("a partition made from a column that is no timestamp".into())
    })?;
    let days: Date32Array = instants.unary(|us| {
        let day = us.div_euclid(MICROS_PER_DAY) as i32;
        match transform {
            PartitionTransform::Month => month_start_days(day),
            PartitionTransform::Day | PartitionTransform::Identity => day,
        }
    });
    Ok(Arc::new(days))
}

/// Rows of a batch as JSON objects, nulls left out.
fn json_rows(batch: &RecordBatch, rows: &[u32]) -> Vec<String> {
    let schema = batch.schema();
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .filter_map(|(field, array)| {
            let name = serde_json::Value::from(field.name().as_str()).to_string();
            Some((name, JsonEncoder::new(array.as_ref()).ok()?))
        })
        .collect();
    let object = |row: &u32| {
        let row = *row as usize;
        let mut text = String::from("{");
        for (name, column) in columns.iter().filter(|(_, column)| !column.is_null(row)) {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(name);
            text.push(':');
            column.write_or_reason(row, &mut text);
        }
        text.push('}');
        text
    };
    rows.iter().map(object).collect()
}

#[cfg(test)]
mod tests;
