//! The parameters of `vector_index`.

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};

/// Which vectors to index, and how well the index must find.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset whose rows are searched. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Dataset that holds their vectors, as `embed` makes it. Default: embeddings.
    #[schemars(with = "String")]
    pub vectors: DatasetName,
    /// Lists that the vectors are cut into, 2 to 65536; null takes four times the square root of their number.
    /// Default: null.
    pub lists: Option<usize>,
    /// Part of the true `k` nearest rows that a search must find, above 0 and to 1; each search looks into as many
    /// lists as it takes for that. Default: 0.95.
    pub min_recall: f64,
    /// Rows that are searched for when recall is measured, 1 to 1000. Default: 10.
    pub k: usize,
    /// Rows, drawn at random, that recall is measured with, 10 to 10000. Default: 500.
    pub queries: usize,
    /// Iterations of k-means, 1 to 100. Default: 10.
    pub iterations: usize,
    /// What is drawn at random follows from it. Default: 0.
    pub seed: u64,
    /// Dataset that the index is committed to. Default: vector_index.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("tickets"),
            vectors: dataset_name("embeddings"),
            lists: None,
            min_recall: 0.95,
            k: 10,
            queries: 500,
            iterations: 10,
            seed: 0,
            output: dataset_name("vector_index"),
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if !(self.min_recall > 0.0 && self.min_recall <= 1.0) {
            let found = self.min_recall;
            let problem = format!("expected above 0 and at most 1, found {found}");
            return Err(bad(NAME, "min_recall", problem));
        }
        let ranges = [
            ("lists", self.lists.unwrap_or(2), 2, 65_536),
            ("k", self.k, 1, 1_000),
            ("queries", self.queries, 10, 10_000),
            ("iterations", self.iterations, 1, 100),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        Ok(())
    }
}
