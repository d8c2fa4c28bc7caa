//! Records that describe the same thing, by [`analysis::linkage`]: which rows are read, which pairs of them are looked at,
//! what learns, and what is said of it.
//!
//! 1. [`read`]: the fields of a dataset's rows.
//! 2. [`plan`]: the rules that make pairs, those of the request or its own.
//! 3. [`link`]: the pairs that are one. [`pairs`] does it for pairs that are given.
//!
//! **Which method.** Fellegi–Sunter needs no labels, and its weights can be read; it is the default. Logistic regression
//! sees several similarities of each field and how they go together; it is taken where the labels are enough for it
//! ([`LABELS_MIN`] of either kind), and its curve is of labels that it did not learn from.

mod link;
pub mod pairs;
mod plan;
mod read;
#[cfg(test)]
mod tests;

use analysis::linkage::{Column, Records};
pub use analysis::linkage::{Compare, Field, Key, Part};
use engine::Result;
use kernels::Execution;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Params;
use super::find::Cluster;
use super::labels::Label;
use super::semantic::RecordVectors;
use link::{LinkOptions, Linked};
pub(super) use read::{RecordTable, check, read_records};

/// Labels of either kind from which on they are learnt from.
pub(super) const LABELS_MIN: usize = 30;

/// What is said where vectors would not be looked at.
pub(super) const VECTORS_ARE_LEARNED_FROM: &str = "expected `labels` beside it, 30 of either kind or more: of records, vectors are looked at by method logistic";

/// Finds the links among records. `check` fails when the work shall stop.
pub(super) fn find(
    records: &Records,
    vectors: Option<&RecordVectors>,
    labels: &[Label],
    params: &Params,
    execution: &Execution,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Linked> {
    if records.len() < 2 {
        return Ok(Linked { links: Vec::new(), candidates: 0, report: Value::Null });
    }
    let plan = plan::plan(records, &params.blocking, params.block_rows_max, execution)?;
    check()?;
    let options = LinkOptions {
        method: params.method,
        min_probability: params.min_probability,
        labels_change_max: params.labels_change_max,
        candidates_max: params.candidates_max,
        pairs_max: params.pairs_max,
    };
    link::link((records, vectors), &plan, labels, &options, check)
}

/// Rows of a cluster, and their part of all, above which the summary warns.
const LARGE_ROWS: usize = 20;
const LARGE_PART: f64 = 0.05;

/// What a run says of itself.
pub(super) fn summary(
    params: &Params,
    table: &RecordTable,
    vectors: Option<&RecordVectors>,
    linked: &Linked,
    clusters: &[Cluster],
) -> Value {
    let members: usize = clusters.iter().map(Vec::len).sum();
    let rows = table.records.len() as f64;
    let column = |column: &Column| {
        json!({
            "column": column.field.column,
            "values": column.values.len(),
            "missing": column.missing(),
            "unreadable": column.unreadable,
        })
    };
    let largest = clusters.iter().map(Vec::len).max().unwrap_or(0);
    let swallows = (largest >= LARGE_ROWS && largest as f64 > LARGE_PART * rows).then(|| {
        format!(
            "one cluster has {largest} of {rows} rows: check its pairs, or take a larger `min_probability`"
        )
    });
    let vectors = vectors.map(
        |vectors| json!({ "embedder": vectors.embedder(), "rows_without": vectors.missing() }),
    );
    json!({
        "source": params.dataset,
        "vectors": vectors,
        "rows_compared": table.records.len(),
        "rows_without_id": table.without_id,
        "rows_without_value": table.without_value,
        "fields": table.records.columns.iter().map(column).collect::<Vec<_>>(),
        "pairs_compared": linked.candidates,
        "reduction": 1.0 - linked.candidates as f64 / (rows * (rows - 1.0) / 2.0).max(1.0),
        "pairs_record": linked.links.len(),
        "clusters": clusters.len(),
        "rows_in_clusters": members,
        "rows_to_spare": members - clusters.len(),
        "largest_cluster": largest,
        "warnings": swallows.into_iter().collect::<Vec<_>>(),
        "model": linked.report,
    })
}

/// A rule that says which pairs of records are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "rule")]
pub enum Rule {
    /// Records whose keys are the same.
    Equal {
        /// What the key is made of; a record that misses one of these has none.
        keys: Vec<Key>,
    },
    /// Records that stand close to each other in the order of a key.
    Sorted {
        /// What the key is made of.
        keys: Vec<Key>,
        /// How many of the next records each is compared with, 1 to 1000.
        window: usize,
    },
    /// Records whose words are mostly the same, by MinHash.
    Minhash {
        /// Columns whose words are taken.
        columns: Vec<String>,
        /// Bands of the signature, 1 to 64: more find more pairs.
        bands: usize,
        /// Values of a band, 1 to 16: more find fewer pairs that are not alike.
        values: usize,
    },
}

/// What decides whether two records are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `logistic` where there are enough labels, else `fellegi_sunter`.
    #[default]
    Auto,
    /// Learnt without labels.
    FellegiSunter,
    /// Learnt from labels.
    Logistic,
}
