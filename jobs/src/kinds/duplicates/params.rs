//! The parameters of `duplicates`.

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};

/// Which texts to compare, and how alike they must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the texts, one row for each. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column that names the row. Default: id.
    pub id_column: String,
    /// Columns whose texts together are compared; a null is left out. Default: ["subject", "body"].
    pub text_columns: Vec<String>,
    /// Column that says which row came first; the first of a cluster represents it. Null takes the id.
    /// Default: created_at.
    pub order_column: Option<String>,
    /// Least part of the runs of characters of two texts that both have (Jaccard similarity), above 0 and to
    /// 1; 1 finds texts that are the same but for case and white space. Default: 0.75.
    pub min_similarity: f64,
    /// Length of those runs, in characters, 1 to 256. Default: 5.
    pub shingle_characters: usize,
    /// Values of a MinHash signature, 8 to 1024: more find pairs close to `min_similarity` with fewer candidates
    /// to check, and take 4 bytes a row each. Default: 256.
    pub functions: usize,
    /// Fail rather than report more pairs than this. Default: 10000000.
    pub pairs_max: usize,
    /// Dataset that the pairs are committed to. Default: duplicate_pairs.
    #[schemars(with = "String")]
    pub pairs_output: DatasetName,
    /// Dataset that the clusters are committed to, one row for each member. Default: duplicate_clusters.
    #[schemars(with = "String")]
    pub clusters_output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("tickets"),
            id_column: "id".into(),
            text_columns: vec!["subject".into(), "body".into()],
            order_column: Some("created_at".into()),
            min_similarity: 0.75,
            shingle_characters: 5,
            functions: 256,
            pairs_max: 10_000_000,
            pairs_output: dataset_name("duplicate_pairs"),
            clusters_output: dataset_name("duplicate_clusters"),
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if !(self.min_similarity > 0.0 && self.min_similarity <= 1.0) {
            let found = self.min_similarity;
            return Err(bad(
                NAME,
                "min_similarity",
                format!("expected above 0 and at most 1, found {found}"),
            ));
        }
        let ranges = [
            ("shingle_characters", self.shingle_characters, 1, 256),
            ("functions", self.functions, 8, 1024),
            ("pairs_max", self.pairs_max, 1, 100_000_000),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        if self.text_columns.is_empty() {
            return Err(bad(NAME, "text_columns", "expected at least one column, found none"));
        }
        if self.pairs_output == self.clusters_output {
            return Err(bad(
                NAME,
                "clusters_output",
                format!(
                    "expected another dataset than `pairs_output`, found {}",
                    self.pairs_output
                ),
            ));
        }
        Ok(())
    }
}
