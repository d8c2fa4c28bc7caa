//! The parameters of `embed`.

use datasets::DatasetName;
use engine::Result;
use models::ALL_MINILM_L6_V2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::registry::embedders::check_embedder;

/// Which texts to embed, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the texts, one row for each. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column that names the row. Default: id.
    pub id_column: String,
    /// Columns whose texts together are embedded, a line each; a null is left out. Default: ["subject", "body"].
    pub text_columns: Vec<String>,
    /// Who embeds: a model that was pulled, by its name; one that was trained here, as name@version or name@production;
    /// or "ngram", which hashes parts of words, needs no model and knows nothing of meaning. Default: all-MiniLM-L6-v2.
    pub embedder: String,
    /// Numbers of a vector, 16 to 4096: those of the model, or as many as "ngram" shall have. Default: 384.
    pub dimension: u32,
    /// Dataset that the vectors are committed to. Default: embeddings.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("tickets"),
            id_column: "id".into(),
            text_columns: vec!["subject".into(), "body".into()],
            embedder: ALL_MINILM_L6_V2.into(),
            dimension: 384,
            output: dataset_name("embeddings"),
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if !(16..=4096).contains(&self.dimension) {
            let found = self.dimension;
            return Err(bad(NAME, "dimension", format!("expected 16 to 4096, found {found}")));
        }
        if self.text_columns.is_empty() {
            return Err(bad(NAME, "text_columns", "expected at least one column, found none"));
        }
        check_embedder(&self.embedder).map_err(|problem| bad(NAME, "embedder", problem))
    }
}
