//! The rows that `reconcile` commits.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Array, RecordBatch, StringArray, StringBuilder,
};
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;

use super::params::Params;
use super::totals::{OfColumn, Totals};
use crate::tables::columns::{column, float, of_sources, some_text, text, whole, with_unit};
use crate::tables::rows::{Rows, Table};

fn source() -> ColumnSpec {
    text("source", "The two datasets, the left one first")
}

fn versions() -> [ColumnSpec; 2] {
    [
        with_unit(whole("right_version", "Version of the right dataset that was read"), "version"),
        with_unit(whole("left_version", "Version of the left dataset that was read"), "version"),
    ]
}

pub(super) fn spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![
        source(),
        text("key", "The row's key; of several columns a list in JSON"),
        text("kind", "differs, missing_left, missing_right, repeated_left, repeated_right"),
        text(
            "column_name",
            "The column as the left dataset has it; empty where it is about the whole row",
        ),
        some_text("left_value", "What the left dataset has; of a repeated key how often"),
        some_text("right_value", "What the right dataset has; of a repeated key how often"),
        float("difference", "By how much the right one is larger; of times in seconds"),
        some_text(
            "winner",
            "Which side is right: left, right, or neither, where someone answered otherwise",
        ),
        some_text("value", "What holds"),
        some_text("decided_by", "rule, or answer; none where nothing decides it"),
        column("is_open", ColumnType::Bool, false, "Whether it waits for an answer"),
    ];
    columns.extend(versions());
    let about = "Where two datasets differ";
    let key = ["source", "key", "kind", "column_name"];
    of_sources(params.output.clone(), about, key, None, columns)
}

pub(super) fn columns_spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![
        source(),
        text("column_name", "The column as the left dataset has it"),
        text("right_column", "The same in the right one"),
        whole("compared", "Rows that both have"),
        whole("equal", "Those of them in which it is equal"),
        whole("near", "Those in which it is apart by no more than it may be"),
        whole("differing", "Those in which it differs"),
        whole("open", "Those of these that wait for an answer"),
        float("agreement", "Part of the rows in which it is equal or near, 0 to 1"),
    ];
    columns.extend(versions());
    let about = "How far two datasets agree, column by column";
    of_sources(params.columns_output.clone(), about, ["source", "column_name"], None, columns)
}

pub(super) fn totals_spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![
        source(),
        whole("left_rows", "Rows of the left dataset"),
        whole("right_rows", "Rows of the right dataset"),
        whole("left_without_key", "Those of the left one that have no key"),
        whole("right_without_key", "Those of the right one that have no key"),
        whole("matched", "Keys that each of them has once"),
        whole("agreeing", "Those of them in which all columns are equal or near"),
        whole("differing", "Those in which a column differs"),
        whole("missing_left", "Keys that the right one has alone"),
        whole("missing_right", "Keys that the left one has alone"),
        whole("repeated", "Keys that one of them has more than once: they are not compared"),
        whole("open", "Differences that wait for an answer"),
        float("agreement", "Part of all keys that agree, 0 to 1"),
    ];
    columns.extend(versions());
    let about = "How far two datasets agree";
    of_sources(params.totals_output.clone(), about, ["source"], None, columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), columns_spec(params), totals_spec(params)]
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Differs,
    MissingLeft,
    MissingRight,
    RepeatedLeft,
    RepeatedRight,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::MissingLeft => "missing_left",
            Self::MissingRight => "missing_right",
            Self::RepeatedLeft => "repeated_left",
            Self::RepeatedRight => "repeated_right",
        }
    }
}

/// A row of what differs.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    pub(super) column: &'a str,
    pub(super) left: Option<String>,
    pub(super) right: Option<String>,
    pub(super) difference: Option<f64>,
    pub(super) winner: Option<&'static str>,
    pub(super) value: Option<String>,
    pub(super) decided_by: Option<&'static str>,
    pub(super) is_open: bool,
}

/// Rows of what differs, as they come.
pub(super) struct Differences {
    spec: DatasetSpec,
    source: String,
    versions: [i64; 2],
    texts: [StringBuilder; 8],
    difference: Float64Builder,
    is_open: BooleanBuilder,
    pub(super) rows: usize,
    /// Of their texts.
    pub(super) bytes: usize,
}

impl Differences {
    pub(super) fn new(params: &Params, versions: [i64; 2]) -> Self {
        Self {
            spec: spec(params),
            source: params.source(),
            versions,
            texts: Default::default(),
            difference: Float64Builder::new(),
            is_open: BooleanBuilder::new(),
            rows: 0,
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, key: &str, kind: Kind, told: Told<'_>) {
        let texts = [
            Some(key),
            Some(kind.as_str()),
            Some(told.column),
            told.left.as_deref(),
            told.right.as_deref(),
            told.winner,
            told.value.as_deref(),
            told.decided_by,
        ];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
            self.bytes += text.map_or(0, str::len);
        }
        self.difference.append_option(told.difference);
        self.is_open.append_value(told.is_open);
        self.rows += 1;
    }

    /// The rows since the last time.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let source = StringArray::from_iter_values((0..rows).map(|_| self.source.as_str()));
        let texts = self.texts.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let [key, kind, column, left, right, winner, value, decided_by] = texts;
        let [left_version, right_version] = self.versions;
        let version = |of: i64| Arc::new(Int64Array::from_value(of, rows)) as ArrayRef;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(source),
            key,
            kind,
            column,
            left,
            right,
            Arc::new(self.difference.finish()),
            winner,
            value,
            decided_by,
            Arc::new(self.is_open.finish()),
            version(right_version),
            version(left_version),
        ];
        Ok(RecordBatch::try_new(self.spec.arrow_schema(), columns)?)
    }
}

/// The rows of the other outputs.
pub(super) fn rows(params: &Params, versions: [i64; 2], totals: &Totals) -> Result<Vec<Rows>> {
    let source = params.source();
    let [left_version, right_version] = versions;
    let right_version = |_: &_| u64::try_from(right_version).unwrap_or(0);
    let columns = Table::<OfColumn>::new(&totals.columns, &source, left_version)
        .text(|of| of.name.clone())
        .text(|of| of.right_name.clone())
        .whole(|of| of.compared())
        .whole(|of| of.equal)
        .whole(|of| of.near)
        .whole(|of| of.differing)
        .whole(|of| of.open)
        .float(OfColumn::agreement)
        .whole(right_version)
        .finish(columns_spec(params))?;
    let right_version = |_: &_| u64::try_from(versions[1]).unwrap_or(0);
    let all = std::slice::from_ref(totals);
    let all = Table::<Totals>::new(all, &source, left_version)
        .whole(|of| of.left_rows)
        .whole(|of| of.right_rows)
        .whole(|of| of.left_without_key)
        .whole(|of| of.right_without_key)
        .whole(|of| of.matched)
        .whole(|of| of.matched - of.differing)
        .whole(|of| of.differing)
        .whole(|of| of.missing_left)
        .whole(|of| of.missing_right)
        .whole(|of| of.repeated)
        .whole(|of| of.open)
        .float(Totals::agreement)
        .whole(right_version)
        .finish(totals_spec(params))?;
    Ok(vec![columns, all])
}
