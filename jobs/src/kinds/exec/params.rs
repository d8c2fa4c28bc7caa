//! The parameters of `exec`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use datasets::{ColumnSpec, DatasetName, DatasetSpec, Evolution};
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::partition::{Partition, shown};

/// Longest name of a program, most arguments, and most bytes of them.
const NAME_MAX_BYTES: usize = 128;
const ARGUMENTS_MAX: usize = 64;
const ARGUMENTS_MAX_BYTES: usize = 32 << 10;
const SECONDS_MAX: u64 = 24 * 3600;
/// Most datasets in addition to the one on stdin.
const DATASETS_MAX: usize = 16;

/// Which program reads which rows, and what it writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Name of a file in the folder that the setting `programs` names; it is run as it is. Default: none, it must be said.
    pub program: String,
    /// What follows its name. Default: [].
    pub arguments: Vec<String>,
    /// Dataset whose rows it reads. Default: events.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Further datasets to read, at most 16. The rows of each are in the file `inputs/NAME.arrow` of the working folder, as an
    /// Arrow IPC stream. Without `dataset`, the first of them is also on stdin. Default: [].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub datasets: Vec<DatasetName>,
    /// Columns of `dataset` to read; [] reads all. Default: [].
    pub columns: Vec<String>,
    /// Dataset that its rows are committed to. Default: program_results.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Columns of that dataset, each with name and type, as in a spec. Default: [], they must be said.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub output_columns: Vec<ColumnSpec>,
    /// Columns of it that name a row. Default: [].
    pub output_key: Vec<String>,
    /// Whether its rows take the place of all that are there (replace), are added (append), or take the place of those whose
    /// `output_time_column` is from `from` until before `to` (partition). Default: replace.
    pub mode: Mode,
    /// Column of it that says when a row happened. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_time_column: Option<String>,
    /// Read only rows at or after this instant, by the time column of the dataset; the program has it as COLONNADE_FROM. Default: null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<DateTime<Utc>>,
    /// Read only rows before this instant; the program has it as COLONNADE_TO. Default: null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub to: Option<DateTime<Utc>>,
    /// Whether the output must end with the end marker of an Arrow stream (required), or may end without one (optional).
    /// Without the marker, an output that was cut off between two batches cannot be recognized. Default: required.
    #[serde(skip_serializing_if = "EndMarker::is_default")]
    pub end_marker: EndMarker,
    /// Most seconds from start to end, 1 to 86400. Default: 3600.
    pub wall_seconds: u64,
    /// Most seconds of CPU time, 1 to 86400. Default: 3600.
    pub cpu_seconds: u64,
    /// Most MiB of memory of each of its processes, 16 to 1048576. Default: 2048.
    pub memory_mib: u64,
}

/// Where rows go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In the place of all that are there.
    #[default]
    Replace,
    /// To them.
    Append,
    /// In the place of those of a stretch of time.
    Partition,
}

/// Whether a stream must end with its end marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndMarker {
    /// A stream without it fails the run.
    #[default]
    Required,
    /// The end of stdout is sufficient.
    Optional,
}

impl EndMarker {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            program: String::new(),
            arguments: Vec::new(),
            dataset: dataset_name("events"),
            datasets: Vec::new(),
            columns: Vec::new(),
            output: dataset_name("program_results"),
            output_columns: Vec::new(),
            output_key: Vec::new(),
            mode: Mode::Replace,
            output_time_column: None,
            from: None,
            to: None,
            end_marker: EndMarker::default(),
            wall_seconds: 3_600,
            cpu_seconds: 3_600,
            memory_mib: 2_048,
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let is_name = (1..=NAME_MAX_BYTES).contains(&self.program.len())
            && !self.program.starts_with(['.', '-'])
            && self.program.bytes().all(letters);
        if !is_name {
            let shown: String = self.program.chars().take(80).collect();
            let problem = format!(
                "expected the name of a file in the folder of programs: letters, digits, `.`, `_` and `-`, found {shown:?}"
            );
            return Err(bad(NAME, "program", problem));
        }
        let bytes: usize = self.arguments.iter().map(String::len).sum();
        if self.arguments.len() > ARGUMENTS_MAX || bytes > ARGUMENTS_MAX_BYTES {
            let problem = format!(
                "expected at most {ARGUMENTS_MAX} of {ARGUMENTS_MAX_BYTES} bytes in all, found {} of {bytes}",
                self.arguments.len()
            );
            return Err(bad(NAME, "arguments", problem));
        }
        if self.datasets.len() > DATASETS_MAX {
            let found = self.datasets.len();
            return Err(bad(
                NAME,
                "datasets",
                format!("expected at most {DATASETS_MAX}, found {found}"),
            ));
        }
        let mut named = BTreeSet::new();
        if let Some(twice) = self.datasets.iter().find(|dataset| !named.insert(*dataset)) {
            return Err(bad(
                NAME,
                "datasets",
                format!("expected each dataset once, found {twice} twice"),
            ));
        }
        if self.output_columns.is_empty() {
            let problem = "expected at least one, such as [{\"name\": \"id\", \"type\": \"text\"}]";
            return Err(bad(NAME, "output_columns", problem));
        }
        for (name, found, least, most) in [
            ("wall_seconds", self.wall_seconds, 1, SECONDS_MAX),
            ("cpu_seconds", self.cpu_seconds, 1, SECONDS_MAX),
            ("memory_mib", self.memory_mib, 16, 1 << 20),
        ] {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            let (from, to) = (shown(from), shown(to));
            return Err(bad(
                NAME,
                "from",
                format!("expected an instant before {to}, found {from}"),
            ));
        }
        if self.mode == Mode::Partition && self.partition().is_none() {
            let problem = "partition puts rows in the place of those of a stretch of time; expected `output_time_column`, `from` and `to`";
            return Err(bad(NAME, "mode", problem));
        }
        self.spec().check().map_err(|e| bad(NAME, "output_columns", e))
    }

    /// The stretch of time whose rows it makes; none in other modes.
    pub(super) fn partition(&self) -> Option<(&str, Partition)> {
        let column = self.output_time_column.as_deref().filter(|_| self.mode == Mode::Partition)?;
        Some((column, Partition { from: self.from?, to: self.to? }))
    }

    /// The same for one partition of a backfill.
    pub(super) fn with_partition(self, partition: Partition) -> Result<Self> {
        if self.mode != Mode::Partition {
            let problem = "each partition would touch the others; expected \"partition\", with `output_time_column`";
            return Err(bad(NAME, "mode", problem));
        }
        if self.from.is_some() || self.to.is_some() {
            let problem = "it is the partition's, and differs from run to run; leave it out";
            return Err(bad(NAME, "from", problem));
        }
        Ok(Self { from: Some(partition.from), to: Some(partition.to), ..self })
    }

    /// What the program is told beside its arguments.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let told = [("COLONNADE_FROM", self.from), ("COLONNADE_TO", self.to)];
        told.into_iter().filter_map(|(name, at)| Some((name.to_owned(), shown(at?)))).collect()
    }

    /// The datasets that the program reads; the one on stdin comes first.
    pub(super) fn reads(&self) -> Vec<DatasetName> {
        let others = self.datasets.iter().filter(|other| **other != self.dataset);
        std::iter::once(&self.dataset).chain(others).cloned().collect()
    }

    /// The dataset that it writes.
    pub(super) fn spec(&self) -> DatasetSpec {
        DatasetSpec {
            name: self.output.clone(),
            description: {
                let reads = self.reads();
                let names: Vec<&str> = reads.iter().map(DatasetName::as_str).collect();
                format!("What the program {} made of {}", self.program, names.join(", "))
            },
            owner: None,
            derived: true,
            key: self.output_key.clone(),
            time_column: self.output_time_column.clone(),
            evolution: Evolution::AddNullable,
            load: datasets::LoadSettings::default(),
            partition_by: Vec::new(),
            columns: self.output_columns.clone(),
            validations: Vec::new(),
            relations: Vec::new(),
            dimensions: Vec::new(),
            measures: Vec::new(),
        }
    }
}
