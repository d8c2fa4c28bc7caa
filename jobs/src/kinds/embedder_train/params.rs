//! The parameters of `embedder_train`.

use datasets::DatasetName;
use engine::Result;
use models::{
    ALL_MINILM_L6_V2, ContrastiveOptions, Method as Weights, NGRAM, Tables, TrainOptions,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::registry::embedders::{check_embedder, check_name};

/// Which weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The whole encoder but its tables of words and places.
    Full,
    /// Low-rank adapters beside the encoder's products.
    LowRank,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::LowRank => "low_rank",
        }
    }
}

/// What to learn from, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the texts, one row for each. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column that names the row. Default: id.
    pub id_column: String,
    /// Columns whose texts together are learned from, a line each; a null is left out. Default: ["subject", "body"].
    pub text_columns: Vec<String>,
    /// Dataset of pairs of rows that mean the same (source, id_a, id_b, similarity), as `duplicates` makes it; null has
    /// none. Default: duplicate_pairs.
    #[schemars(with = "Option<String>")]
    pub pairs: Option<DatasetName>,
    /// Pairs less similar than this are not learned from, 0 to 1. Default: 0.
    pub min_similarity: f64,
    /// Dataset of pairs that somebody looked at (source, id_a, id_b, is_duplicate, at), as the mutation `labelPairs` makes
    /// it: of each pair the last word counts, and overrules `pairs`; null has none. Default: null.
    #[schemars(with = "Option<String>")]
    pub labels: Option<DatasetName>,
    /// Name of the model; each training makes a version of it. Default: embedder.
    pub model: String,
    /// Which weights are trained: full or low_rank. Default: full.
    pub method: Method,
    /// What is trained further: a model that was pulled, by its name, or one that was trained here, as name@version or
    /// name@production. Default: all-MiniLM-L6-v2.
    pub embedder: String,
    /// Part of the groups of duplicates that is held out and judged by, above 0 and to 0.5. Default: 0.2.
    pub held_out: f64,
    /// Part of the other groups that training ends by, above 0 and to 0.5. Default: 0.1.
    pub validation: f64,
    /// Texts without a duplicate among which those of the held-out groups have to find each other, 0 to 100,000; a
    /// quarter of them serves validation. Default: 4000.
    pub others: usize,
    /// Times that every pair is seen at most, 1 to 1000. Default: 3.
    pub epochs: usize,
    /// Pairs of a step, 2 to 4096: the texts of a step's other pairs are the wrong answers. Default: 32.
    pub batch_pairs: usize,
    /// Highest learning rate; null takes 3e-5 for full and 2e-4 for low_rank. Default: null.
    pub learning_rate: Option<f64>,
    /// Cosines are divided by this, above 0: the lower, the more the nearest wrong answers count. Default: 0.05.
    pub temperature: f64,
    /// Rank of the adapters of low_rank, 1 to 1024. Default: 16.
    pub rank: usize,
    /// All that is drawn at random follows from it. Default: 0.
    pub seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("tickets"),
            id_column: "id".into(),
            text_columns: vec!["subject".into(), "body".into()],
            pairs: Some(dataset_name("duplicate_pairs")),
            min_similarity: 0.0,
            labels: None,
            model: "embedder".into(),
            method: Method::Full,
            embedder: ALL_MINILM_L6_V2.into(),
            held_out: 0.2,
            validation: 0.1,
            others: 4000,
            epochs: 3,
            batch_pairs: 32,
            learning_rate: None,
            temperature: 0.05,
            rank: 16,
            seed: 0,
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        for (name, found) in [("held_out", self.held_out), ("validation", self.validation)] {
            if !(found > 0.0 && found <= 0.5) {
                let problem = format!("expected above 0 and at most 0.5, found {found}");
                return Err(bad(NAME, name, problem));
            }
        }
        if !(0.0..=1.0).contains(&self.min_similarity) {
            let problem = format!("expected 0 to 1, found {}", self.min_similarity);
            return Err(bad(NAME, "min_similarity", problem));
        }
        let ranges = [
            ("epochs", self.epochs, 1, 1000),
            ("batch_pairs", self.batch_pairs, 2, 4096),
            ("rank", self.rank, 1, 1024),
            ("others", self.others, 0, 100_000),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        if self.text_columns.is_empty() {
            return Err(bad(NAME, "text_columns", "expected at least one column, found none"));
        }
        if self.pairs.is_none() && self.labels.is_none() {
            return Err(bad(NAME, "pairs", "expected a dataset here or in labels, found none"));
        }
        if self.embedder == NGRAM {
            let problem = "\"ngram\" has no weights to train; expected a model";
            return Err(bad(NAME, "embedder", problem));
        }
        check_embedder(&self.embedder).map_err(|problem| bad(NAME, "embedder", problem))?;
        check_name(&self.model).map_err(|problem| bad(NAME, "model", problem))?;
        self.options().check().map_err(|problem| bad(NAME, "method", problem))
    }

    pub(super) fn options(&self) -> ContrastiveOptions {
        let usual = ContrastiveOptions::default();
        let (method, rate) = match self.method {
            Method::LowRank => {
                (Weights::LowRank { rank: self.rank, alpha: 2.0 * self.rank as f64 }, 2e-4)
            }
            Method::Full => (Weights::Full { tables: Tables::Frozen }, 3e-5),
        };
        ContrastiveOptions {
            training: TrainOptions {
                method,
                epochs: self.epochs,
                batch_rows: self.batch_pairs,
                learning_rate: self.learning_rate.unwrap_or(rate),
                seed: self.seed,
                ..usual.training
            },
            temperature: self.temperature,
        }
    }
}
