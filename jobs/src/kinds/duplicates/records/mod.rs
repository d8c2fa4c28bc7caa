//! Records that describe the same thing: several fields each, written differently, partly missing.
//!
//! 1. [`standard`], [`column`]: what does not count is taken off each value; each different value is kept once.
//! 2. [`blocking`], [`plan`]: of all pairs, those that agree in at least one of several rules are looked at.
//! 3. [`similarity`], [`compare`]: each field of a pair is at a level between "different" and "the same", or missing.
//! 4. [`fellegi_sunter`]: what the levels say together, learnt without labels; or [`logistic`]: learnt from labels.
//! 5. [`curve`](super::curve): which probability is enough, where labels say what is right.
//!
//! [`link`] does all of it for the records of a dataset, [`pairs`] for pairs that are given.
//!
//! **Which method.** Fellegi–Sunter needs no labels, and its weights can be read; it is the default. Logistic regression
//! sees several similarities of each field and how they go together; it is taken where the labels are enough for it
//! ([`LABELS_MIN`] of either kind), and its curve is of labels that it did not learn from.

mod blocking;
mod candidates;
mod column;
mod compare;
mod features;
mod fellegi_sunter;
mod link;
mod logistic;
pub mod pairs;
mod plan;
mod read;
mod similarity;
mod standard;
#[cfg(test)]
mod tests;

use engine::Result;
use kernels::Execution;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Params;
use super::find::Cluster;
use super::labels::Label;
pub(super) use blocking::hash as fnv;
use compare::Records;
pub(super) use link::RecordLink;
use link::{LinkOptions, Linked};
pub(super) use read::{RecordTable, read_records};

/// Most fields: their levels are packed into 64 bits.
pub(super) const FIELDS_MAX: usize = 16;

/// Labels of either kind from which on they are learnt from.
pub(super) const LABELS_MIN: usize = 30;

/// Finds the links among records. `check` fails when the work shall stop.
pub(super) fn find(
    records: &Records,
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
        candidates_max: params.candidates_max,
        pairs_max: params.pairs_max,
    };
    link::link(records, &plan, labels, &options, check)
}

/// What a run says of itself.
pub(super) fn summary(
    params: &Params,
    table: &RecordTable,
    linked: &Linked,
    clusters: &[Cluster],
) -> Value {
    let members: usize = clusters.iter().map(Vec::len).sum();
    let rows = table.records.len() as f64;
    let column = |column: &column::Column| {
        json!({
            "column": column.field.column,
            "values": column.values.len(),
            "missing": column.missing(),
            "unreadable": column.unreadable,
        })
    };
    json!({
        "source": params.dataset,
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
        "model": linked.report,
    })
}

/// A column of a record and how its values are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The column.
    pub column: String,
    /// What its values are.
    pub compare: Compare,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// A name of one or a few words: Jaro–Winkler, and Monge–Elkan of its words.
    Name,
    /// Several words: SoftTFIDF, and Damerau–Levenshtein of the whole.
    Text,
    /// The same words or not.
    Exact,
    /// Digits, such as of a telephone number or postcode: Damerau–Levenshtein.
    Digits,
    /// A number, perhaps with a unit: relative difference.
    Number,
    /// A date: days apart, one digit wrong, day and month the other way round.
    Date,
}

impl Compare {
    /// Whether some values are far more frequent than others, so that it matters which value two records share.
    fn has_terms(self) -> bool {
        matches!(self, Self::Name | Self::Text | Self::Exact | Self::Digits)
    }
}

/// The similarities at which the levels of a field begin, between "different" and "the same".
trait FieldLevels {
    fn thresholds(self) -> &'static [f64];
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

/// A part of a blocking key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// One of the columns of `fields`.
    pub column: String,
    /// What is taken of its value in standard form. Default: whole.
    #[serde(default)]
    pub part: Part,
    /// How many characters `prefix` and `suffix` take. Default: 4.
    #[serde(default = "four")]
    pub characters: usize,
}

fn four() -> usize {
    4
}

/// A part of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Its first characters.
    Prefix,
    /// Its last characters.
    Suffix,
    /// Its digits.
    Digits,
    /// The American Soundex code of its letters A to Z.
    Soundex,
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
