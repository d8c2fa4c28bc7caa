//! The files of a version as a scan needs them, made once for all who read that version.
//!
//! The library reads a table's log into a plan anew for each query: for one row by its key that costs several times what reading it
//! does. What it needs of the log, which files there are and between which values their columns lie, changes with a version and not
//! with a query. So it is kept here, for tables whose files have their rows as they are: without deletion vectors or columns under
//! other names, and split by texts or days if they are split. All others are the library's.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use deltalake_core::kernel::LogicalFileView;
use deltalake_core::table::state::DeltaTableState;
use object_store::ObjectMeta;
use object_store::path::Path;
use parking_lot::Mutex;
use url::Position;

use crate::storage::Root;

/// Instants that a log states as whole milliseconds were cut down to them.
const CUT_OFF_US: i64 = 999;

/// A file list that is made when it is first asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing(Arc<OnceLock<Option<Arc<FileList>>>>);

impl Listing {
    pub(super) fn get(
        &self,
        root: &Root,
        folder: &Path,
        state: &DeltaTableState,
    ) -> Option<Arc<FileList>> {
        let made = || FileList::of_state(root, folder, state).map(Arc::new);
        self.0.get_or_init(made).clone()
    }
}

/// The files of a table at one version.
pub(crate) struct FileList {
    /// What the store that they lie in is known by.
    pub(crate) store: ObjectStoreUrl,
    /// The table's columns.
    pub(crate) schema: SchemaRef,
    /// Those that its files have, and behind them those that it is split by.
    pub(crate) table: TableSchema,
    /// What the log calls the files, in the order of `files`.
    names: Vec<String>,
    files: Vec<ListedFile>,
    state: DeltaTableState,
    /// Between which values the columns lie that were asked for so far.
    ranges: Mutex<HashMap<String, Range>>,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct ListedFile {
    pub(crate) file: PartitionedFile,
    /// Rows in it, where the log says so.
    pub(crate) rows: Option<usize>,
}

/// Of a column: its least and greatest value in each file, and how many are null.
#[derive(Clone)]
struct Range {
    least: Option<ArrayRef>,
    greatest: Option<ArrayRef>,
    nulls: Option<ArrayRef>,
}

impl FileList {
    /// `None` for a table that takes more than its files to read.
    fn of_state(root: &Root, folder: &Path, state: &DeltaTableState) -> Option<Self> {
        let store = ObjectStoreUrl::parse(&root.location()[..Position::BeforePath]).ok()?;
        let schema = state.snapshot().arrow_schema();
        let is_plain = is_read_as_it_lies(state)
            && schema.fields().iter().all(|field| parts_may_be_null(field.data_type()));
        if !is_plain {
            return None;
        }
        let table = split(&schema, state.metadata().partition_columns())?;
        let (mut names, mut files) = (Vec::new(), Vec::new());
        for view in state.log_data().iter() {
            let name = view.path();
            if !is_plain_name(&name) || view.deletion_vector_descriptor().is_some() {
                return None;
            }
            let location = Path::parse(format!("{folder}/{name}")).ok()?;
            let meta = ObjectMeta {
                location,
                last_modified: view.modification_datetime().ok()?,
                size: u64::try_from(view.size()).ok()?,
                e_tag: None,
                version: None,
            };
            let mut file = PartitionedFile::from(meta);
            file.partition_values = values_of(&view, table.table_partition_cols())?;
            names.push(name.into_owned());
            files.push(ListedFile { file, rows: view.num_records() });
        }
        Some(Self {
            store,
            schema,
            table,
            names,
            files,
            state: state.clone(),
            ranges: Mutex::default(),
        })
    }

    /// Its files, or those among them that `names` has; `None` where it has one of another name.
    pub(crate) fn places(&self, names: Option<&[String]>) -> Option<Vec<usize>> {
        let Some(names) = names else { return Some((0..self.files.len()).collect()) };
        let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
        let is_wanted = |place: &usize| wanted.contains(self.names[*place].as_str());
        let places: Vec<usize> = (0..self.files.len()).filter(is_wanted).collect();
        (places.len() == wanted.len()).then_some(places)
    }

    /// What the log calls each file, and the rows in it where it says so.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, Option<usize>)> {
        let rows = self.files.iter().map(|file| file.rows);
        self.names.iter().cloned().zip(rows)
    }

    pub(crate) fn file(&self, place: usize) -> &ListedFile {
        &self.files[place]
    }

    /// Values between which a column lies in the file at `place`, so far as they are known.
    pub(crate) fn bounds(
        &self,
        column: &Column,
        place: usize,
    ) -> (Option<ScalarValue>, Option<ScalarValue>) {
        let range = self.range(column);
        let at = |values: Option<ArrayRef>| ScalarValue::try_from_array(&values?, place).ok();
        (at(range.least), at(range.greatest))
    }

    fn range(&self, column: &Column) -> Range {
        if let Some(range) = self.ranges.lock().get(&column.name) {
            return range.clone();
        }
        let log = self.state.log_data();
        let whole = |values: &ArrayRef| values.len() == self.files.len();
        let range = Range {
            least: log.min_values(column).filter(whole).filter(is_exact),
            greatest: log
                .max_values(column)
                .filter(whole)
                .filter(is_exact)
                .map(|values| rounded_up(&values)),
            nulls: log.null_counts(column).filter(whole),
        };
        self.ranges.lock().insert(column.name.clone(), range.clone());
        range
    }
}

impl PruningStatistics for FileList {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.range(column).least
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.range(column).greatest
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.range(column).nulls
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.files.iter().map(|file| file.rows.map(|rows| rows as u64));
        Some(Arc::new(rows.collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

impl fmt::Debug for FileList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileList({} files)", self.files.len())
    }
}

/// Whether the table's features leave the rows as they are in its files, under the names that they have there.
fn is_read_as_it_lies(state: &DeltaTableState) -> bool {
    let (protocol, metadata) = (state.protocol(), state.metadata());
    let mapping = metadata.configuration().get("delta.columnMapping.mode");
    protocol.min_reader_version() == 1 && mapping.is_none_or(|mode| mode == "none")
}

/// The columns that a table's files have, and those that it is split by; `None` where these are not its last, or of other types than
/// texts and days.
fn split(schema: &SchemaRef, by: &[String]) -> Option<TableSchema> {
    let of_files = schema.fields().len().checked_sub(by.len())?;
    let (of_files, of_parts) = schema.fields().split_at(of_files);
    let is_split = of_parts.iter().zip(by).all(|(field, name)| {
        field.name() == name && matches!(field.data_type(), DataType::Utf8 | DataType::Date32)
    });
    let files = Schema::new_with_metadata(of_files.to_vec(), schema.metadata().clone());
    is_split.then(|| {
        TableSchema::builder(Arc::new(files)).with_table_partition_cols(of_parts.to_vec()).build()
    })
}

/// What the columns that the table is split by are in a file.
fn values_of(view: &LogicalFileView, fields: &Fields) -> Option<Vec<ScalarValue>> {
    if fields.is_empty() {
        return Some(Vec::new());
    }
    let parts = view.partition_values_map();
    let values = fields.iter().map(|field| {
        // Delta has no empty text there: it is null.
        let text = parts.get(field.name())?.as_deref().filter(|text| !text.is_empty());
        match (text, field.data_type()) {
            (None, kind) => ScalarValue::try_from(kind).ok(),
            (Some(text), DataType::Utf8) => Some(ScalarValue::from(text)),
            (Some(text), kind) => ScalarValue::try_from_string(text.to_owned(), kind).ok(),
        }
    });
    values.collect()
}

/// Whether a name is of one file in the table's folder, and means the same encoded and not.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.=/".contains(&b);
    name.bytes().all(is_plain) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether a file in which all parts of a nested value may be null has values of this type.
fn parts_may_be_null(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => {
            fields.iter().all(|field| field.is_nullable() && parts_may_be_null(field.data_type()))
        }
        DataType::List(item) | DataType::LargeList(item) => {
            item.is_nullable() && parts_may_be_null(item.data_type())
        }
        kind => !kind.is_nested(),
    }
}

/// Whether the log has values of this type as they are: of decimals it has what a double makes of them.
fn is_exact(values: &ArrayRef) -> bool {
    !matches!(values.data_type(), DataType::Decimal128(..) | DataType::Decimal256(..))
}

fn rounded_up(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let instants = values.as_primitive::<TimestampMicrosecondType>();
            let later =
                instants.unary::<_, TimestampMicrosecondType>(|at| at.saturating_add(CUT_OFF_US));
            Arc::new(later.with_data_type(values.data_type().clone()))
        }
        _ => Arc::clone(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_mean_one_file_in_the_folder_are_plain() {
        for name in ["part-00000-0b7c.snappy.parquet", "a=1/part.parquet"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", "/part", "../part", "a/../b", "a//b", "a%20b", "s3:/x", "a b", "ä"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }
}
