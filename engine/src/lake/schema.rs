//! A dataset's spec inside its table's metadata, and what a table without one is taken for.
//!
//! The spec is kept whole, as JSON in the table's configuration, so that a dataset describes itself
//! wherever its files go; the Delta schema beside it is what other readers see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datasets::spec::TYPE_METADATA_KEY;
use datasets::{ColumnType, DatasetName, DatasetSpec};
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake_core::kernel::{Metadata, MetadataExt, Protocol, StructType, new_metadata};

use crate::error::{Code, Error, Result};

/// Key of the spec in a table's configuration.
const SPEC_KEY: &str = "colonnade.spec";

/// Key of the versions that repairs set aside in a table's configuration: `5-7,12-12`.
const SET_ASIDE_KEY: &str = "colonnade.setAside";
/// Key of the first version whose files are kept.
const KEPT_FROM_KEY: &str = "colonnade.keptFrom";

/// Versions between two checkpoints. A commit is a small JSON, so that reading a hundred is quick,
/// and a checkpoint rewrites the whole file list.
pub(super) const CHECKPOINT_INTERVAL: u64 = 100;

/// How long a table knows under which number a run committed ([`CommitLabel::idempotency`]), as Delta says it: as long as runs
/// themselves are known. Numbers of producers have no such end.
///
/// [`CommitLabel::idempotency`]: super::CommitLabel::idempotency
const RUNS_KEPT: &str = "interval 90 days";

/// The metadata of a new table.
pub(super) fn metadata_of(spec: &DatasetSpec) -> Result<Metadata> {
    let partitions = spec.partition_by.iter().map(|p| p.column.clone());
    let configuration = [
        (SPEC_KEY.to_owned(), spec.to_json()?),
        ("delta.checkpointInterval".to_owned(), CHECKPOINT_INTERVAL.to_string()),
        ("delta.setTransactionRetentionDuration".to_owned(), RUNS_KEPT.to_owned()),
    ];
    let metadata = new_metadata(&delta_schema(spec)?, partitions, configuration)
        .map_err(|e| Error::bug("table metadata", e))?;
    let metadata =
        metadata.with_name(spec.name.to_string()).map_err(|e| Error::bug("table metadata", e))?;
    Ok(metadata)
}

/// `metadata` with another spec.
pub(super) fn with_spec(metadata: &Metadata, spec: &DatasetSpec) -> Result<Metadata> {
    metadata
        .clone()
        .with_schema(&delta_schema(spec)?)
        .and_then(|m| m.add_config_key(SPEC_KEY.to_owned(), spec.to_json().unwrap_or_default()))
        .map_err(|e| Error::bug("table metadata", e))
}

/// `metadata` where the versions from `first` to `last` can not be asked for any more.
pub(super) fn with_set_aside(metadata: &Metadata, first: u64, last: u64) -> Result<Metadata> {
    let said = metadata.configuration().get(SET_ASIDE_KEY).map(|said| format!("{said},"));
    let ranges = format!("{}{first}-{last}", said.unwrap_or_default());
    let metadata = metadata.clone().add_config_key(SET_ASIDE_KEY.to_owned(), ranges);
    metadata.map_err(|e| Error::bug("table metadata", e))
}

/// Whether a repair set `version` aside, so that what is there now is not what was there once.
pub(super) fn is_set_aside(metadata: &Metadata, version: u64) -> bool {
    let Some(ranges) = metadata.configuration().get(SET_ASIDE_KEY) else { return false };
    ranges.split(',').filter_map(|range| range.split_once('-')).any(|(first, last)| {
        let bound = |text: &str| text.parse::<u64>().ok();
        bound(first).zip(bound(last)).is_some_and(|(a, b)| (a..=b).contains(&version))
    })
}

/// `metadata` where versions before `version` can not be asked for any more, because their files go.
pub(super) fn with_kept_from(metadata: &Metadata, version: u64) -> Result<Metadata> {
    let metadata = metadata.clone().add_config_key(KEPT_FROM_KEY.to_owned(), version.to_string());
    metadata.map_err(|e| Error::bug("table metadata", e))
}

/// The first version whose files are kept.
pub(super) fn kept_from(metadata: &Metadata) -> u64 {
    let said = metadata.configuration().get(KEPT_FROM_KEY);
    said.and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// The protocol of a new table: the oldest, which every reader knows.
pub(super) fn protocol() -> Result<Protocol> {
    serde_json::from_value(serde_json::json!({"minReaderVersion": 1, "minWriterVersion": 2}))
        .map_err(|e| Error::bug("table protocol", e))
}

/// The spec in `metadata`; when it has none, one made from the table's schema.
pub(super) fn spec_of(name: &DatasetName, metadata: &Metadata) -> Result<DatasetSpec> {
    if let Some(json) = metadata.configuration().get(SPEC_KEY) {
        let mut spec = DatasetSpec::from_json(json)?;
        // A table that was copied or renamed is called what its folder is called.
        spec.name = name.clone();
        return Ok(spec);
    }
    let hints = datasets::infer::SpecHints::default();
    let schema = arrow_schema_of(metadata)?;
    let fields: Vec<Field> = schema.fields().iter().map(|field| typed(field)).collect();
    Ok(datasets::infer::spec_from_schema(name, &Schema::new(fields), &hints)?)
}

/// `field` with its column type stated, where its Arrow type alone says it: an exact decimal.
fn typed(field: &Field) -> Field {
    let mut field = field.clone();
    let stated = ColumnType::from_arrow(field.data_type());
    if let Some(stated @ ColumnType::Decimal(..)) = stated {
        field.metadata_mut().insert(TYPE_METADATA_KEY.to_owned(), stated.to_string());
    }
    field
}

/// The Arrow schema that the Delta schema of `metadata` stands for.
pub(super) fn arrow_schema_of(metadata: &Metadata) -> Result<SchemaRef> {
    let schema = metadata.parse_schema().map_err(|e| {
        Error::environment(Code::StorageUnavailable, "the table's schema is not readable", e)
    })?;
    let arrow: Schema = (&schema).try_into_arrow().map_err(|e| {
        Error::environment(Code::BadInput, "the table has a column type that Arrow has not", e)
    })?;
    Ok(Arc::new(arrow))
}

fn delta_schema(spec: &DatasetSpec) -> Result<StructType> {
    spec.arrow_schema()
        .as_ref()
        .try_into_kernel()
        .map_err(|e| Error::bug(format!("dataset {}: its schema as a Delta schema", spec.name), e))
}

/// Why this engine may only read a table, when that is so.
pub(super) fn read_only_reason(metadata: &Metadata, protocol: &Protocol) -> Option<String> {
    // What every table of writer version 2 may ask for. More means duties that we don't fulfil:
    // constraints, generated columns, change data, column mapping, row tracking.
    const WRITER_VERSION_MAX: i32 = 2;
    if protocol.min_writer_version() > WRITER_VERSION_MAX {
        let features: BTreeSet<String> =
            protocol.writer_features().unwrap_or_default().iter().map(|f| f.to_string()).collect();
        let features: Vec<_> = features.into_iter().collect();
        return Some(if features.is_empty() {
            format!("its Delta writer version is {}", protocol.min_writer_version())
        } else {
            format!("its Delta writer features are {}", features.join(", "))
        });
    }
    let invariants = metadata.parse_schema().is_ok_and(|schema| {
        schema.fields().any(|field| field.metadata().contains_key("delta.invariants"))
    });
    invariants.then(|| "its columns have Delta invariants".to_owned())
}

/// Whether rows of the table may not be removed.
pub(super) fn append_only(metadata: &Metadata) -> bool {
    metadata.configuration().get("delta.appendOnly").is_some_and(|v| v == "true")
}

/// What differs between two specs, in words, for an error. Empty when they are equal.
pub(super) fn differences(old: &DatasetSpec, new: &DatasetSpec) -> Vec<String> {
    let mut found = Vec::new();
    let by_name = |spec: &DatasetSpec| -> BTreeMap<String, (String, bool)> {
        let column = |c: &datasets::ColumnSpec| (c.data_type.to_string(), c.nullable);
        spec.columns.iter().map(|c| (c.name.clone(), column(c))).collect()
    };
    let nullable = |nullable: bool| if nullable { "nullable" } else { "not nullable" };
    let (olds, news) = (by_name(old), by_name(new));
    for (name, (data_type, may_null)) in &news {
        match olds.get(name) {
            None => found.push(format!("column {name:?} is new")),
            Some((was, _)) if was != data_type => {
                found.push(format!("column {name:?} is {was}, and {data_type} was given"));
            }
            Some((_, was)) if was != may_null => found.push(format!(
                "column {name:?} is {}, and {} was given",
                nullable(*was),
                nullable(*may_null)
            )),
            Some(_) => {}
        }
    }
    found.extend(
        olds.keys().filter(|n| !news.contains_key(*n)).map(|n| format!("column {n:?} is missing")),
    );
    for (what, differs) in [
        ("the key", old.key != new.key),
        ("the time column", old.time_column != new.time_column),
        ("the partitioning", old.partition_by != new.partition_by),
        ("the validations", old.validations != new.validations),
        ("the relations", old.relations != new.relations),
        ("the dimensions", old.dimensions != new.dimensions),
        ("the measures", old.measures != new.measures),
        ("the rule for new columns", old.evolution != new.evolution),
        ("how rows are loaded", old.load != new.load),
        ("the owner", old.owner != new.owner),
        ("who writes its rows", old.derived != new.derived),
    ] {
        if differs {
            found.push(format!("{what} differs"));
        }
    }
    if found.is_empty() && old != new {
        found.push("descriptions, units or the columns' order differ".to_owned());
    }
    found
}
