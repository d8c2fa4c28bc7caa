//! The parameters of `duplicates`.

use analysis::linkage::FIELDS_MAX;
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use super::records::{self, Field, Key, Method, Rule};
use crate::parameters::{bad, dataset_name};

/// Which texts or records to compare, and how alike they must be.
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
    /// 1; 1 finds texts that are the same but for case and white space. Default: null, the one with the best F1 of the
    /// labels, without labels 0.75.
    pub min_similarity: Option<f64>,
    /// Length of those runs, in characters, 1 to 256. Default: 5.
    pub shingle_characters: usize,
    /// Values of a MinHash signature, 8 to 1024: more find pairs close to `min_similarity` with fewer candidates
    /// to check, and take 4 bytes a row each. Default: 256.
    pub functions: usize,
    /// Dataset of vectors that `embed` made of the rows. Then texts whose vectors are alike are found, too, those that mean the
    /// same in other words; of records the cosine is one more similarity that is learned from. Default: null.
    #[schemars(with = "Option<String>")]
    pub vectors: Option<DatasetName>,
    /// Of texts: least cosine of the angle between two vectors, above 0 and to 1. Default: null, the one with the best F1 of the
    /// labels, without labels 0.9.
    pub min_cosine: Option<f64>,
    /// Columns of a record and how each is compared: then whole records are compared field by field, and not the
    /// texts of `text_columns`. 1 to 16 fields. Default: null, texts.
    pub fields: Option<Vec<Field>>,
    /// Of records: rules that say which pairs are compared at all, those that fulfil at least one. Default: [],
    /// chosen from `fields`.
    pub blocking: Vec<Rule>,
    /// Of records: all pairs of a block are compared up to so many rows, 2 to 10000; of a larger block each row with so many
    /// neighbours. Default: 500.
    pub block_rows_max: usize,
    /// Of records: fail rather than compare more pairs than this. Default: 100000000.
    pub candidates_max: u64,
    /// Dataset of pairs that somebody looked at, with columns id_a, id_b and is_duplicate, to choose by how alike rows must be;
    /// of pairs_by_hand those of `dataset`, the last word of each. Default: null.
    #[schemars(with = "Option<String>")]
    pub labels: Option<DatasetName>,
    /// Of records: what decides. Default: auto, which learns from labels where there are 30 of either kind.
    pub method: Method,
    /// Of records: least probability of a pair that is reported, above 0 and below 1. Null takes 0.9 without labels; many labels draw it
    /// to the one with their best F1. Default: null.
    pub min_probability: Option<f64>,
    /// Of records: fail if labels change the number of pairs by more than this factor, 1 or more. Default: null.
    pub labels_change_max: Option<f64>,
    /// Fail rather than report more pairs than this. Default: 10000000.
    pub pairs_max: usize,
    /// Dataset that the pairs are committed to. Default: duplicate_pairs.
    #[schemars(with = "String")]
    pub pairs_output: DatasetName,
    /// Of texts: dataset that keeps what the next run needs to look at new rows alone; null looks at all rows each time.
    /// Default: duplicate_index.
    #[schemars(with = "Option<String>")]
    pub index_output: Option<DatasetName>,
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
            min_similarity: None,
            shingle_characters: 5,
            functions: 256,
            vectors: None,
            min_cosine: None,
            fields: None,
            blocking: Vec::new(),
            block_rows_max: 500,
            candidates_max: 100_000_000,
            labels: None,
            method: Method::Auto,
            min_probability: None,
            labels_change_max: None,
            pairs_max: 10_000_000,
            index_output: Some(dataset_name("duplicate_index")),
            pairs_output: dataset_name("duplicate_pairs"),
            clusters_output: dataset_name("duplicate_clusters"),
        }
    }
}

impl Params {
    /// The least similarity of texts, where labels choose none.
    pub(super) fn min_similarity(&self) -> f64 {
        self.min_similarity.unwrap_or(0.75)
    }

    /// The least cosine of vectors, where labels choose none.
    pub(super) fn min_cosine(&self) -> f64 {
        self.min_cosine.unwrap_or(0.9)
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let thresholds = [("min_similarity", self.min_similarity), ("min_cosine", self.min_cosine)];
        for (name, found) in thresholds {
            if let Some(found) = found
                && !(found > 0.0 && found <= 1.0)
            {
                let problem = format!("expected above 0 and at most 1, found {found}");
                return Err(bad(NAME, name, problem));
            }
        }
        let ranges = [
            ("shingle_characters", self.shingle_characters, 1, 256),
            ("functions", self.functions, 8, 1024),
            ("block_rows_max", self.block_rows_max, 2, 10_000),
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
        self.check_records()?;
        let outputs = [&self.pairs_output, &self.clusters_output];
        if self.index_output.as_ref().is_some_and(|index| outputs.contains(&index)) {
            let problem = "expected another dataset than `pairs_output` and `clusters_output`";
            return Err(bad(NAME, "index_output", format!("{problem}, found one of these")));
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

impl Params {
    fn check_records(&self) -> Result<()> {
        let Some(fields) = &self.fields else {
            // What would be ignored is refused, so that nobody takes texts for records.
            let without_effect = [
                ("blocking", !self.blocking.is_empty()),
                ("min_probability", self.min_probability.is_some()),
                ("labels_change_max", self.labels_change_max.is_some()),
            ];
            if let Some((name, _)) = without_effect.iter().find(|parameter| parameter.1) {
                return Err(bad(NAME, name, "expected `fields` beside it, found none"));
            }
            if self.min_cosine.is_some() && self.vectors.is_none() {
                return Err(bad(NAME, "min_cosine", "expected `vectors` beside it, found none"));
            }
            return Ok(());
        };
        if self.min_cosine.is_some() {
            return Err(bad(NAME, "min_cosine", "expected no `fields` beside it, found some"));
        }
        if self.vectors.is_some() && (self.method == Method::FellegiSunter || self.labels.is_none())
        {
            return Err(bad(NAME, "vectors", records::VECTORS_ARE_LEARNED_FROM));
        }
        if !(1..=FIELDS_MAX).contains(&fields.len()) {
            let problem = format!("expected 1 to {FIELDS_MAX} fields, found {}", fields.len());
            return Err(bad(NAME, "fields", problem));
        }
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|earlier| earlier.column == field.column) {
                let problem = format!("expected each column once, found {:?} twice", field.column);
                return Err(bad(NAME, "fields", problem));
            }
        }
        if let Some(least) = self.min_probability
            && !(least > 0.0 && least < 1.0)
        {
            let problem = format!("expected above 0 and below 1, found {least}");
            return Err(bad(NAME, "min_probability", problem));
        }
        if let Some(most) = self.labels_change_max {
            if self.labels.is_none() {
                return Err(bad(NAME, "labels_change_max", "it requires `labels`, found none"));
            }
            if !(most.is_finite() && most >= 1.0) {
                let problem = format!("expected 1 or more, found {most}");
                return Err(bad(NAME, "labels_change_max", problem));
            }
        }
        self.blocking.iter().try_for_each(|rule| self.check_rule(fields, rule))
    }

    fn check_rule(&self, fields: &[Field], rule: &Rule) -> Result<()> {
        let columns: Vec<&str> = match rule {
            Rule::Equal { keys } | Rule::Sorted { keys, .. } => {
                keys.iter().map(|key| key.column.as_str()).collect()
            }
            Rule::Minhash { columns, .. } => columns.iter().map(String::as_str).collect(),
        };
        if columns.is_empty() {
            return Err(bad(NAME, "blocking", "expected a rule of one column or more, found none"));
        }
        for column in columns {
            if !fields.iter().any(|field| field.column == column) {
                let known: Vec<&str> = fields.iter().map(|field| field.column.as_str()).collect();
                let problem = format!("expected one of {}, found {column:?}", known.join(", "));
                return Err(bad(NAME, "blocking", problem));
            }
        }
        let characters = |key: &Key| ("characters", key.characters, 100);
        let ranges: Vec<(&str, usize, usize)> = match rule {
            Rule::Equal { keys } => keys.iter().map(characters).collect(),
            Rule::Sorted { keys, window } => {
                keys.iter().map(characters).chain([("window", *window, 1000)]).collect()
            }
            Rule::Minhash { bands, values, .. } => {
                vec![("bands", *bands, 64), ("values", *values, 16)]
            }
        };
        for (name, found, most) in ranges {
            if !(1..=most).contains(&found) {
                let problem = format!("{name}: expected 1 to {most}, found {found}");
                return Err(bad(NAME, "blocking", problem));
            }
        }
        Ok(())
    }
}
