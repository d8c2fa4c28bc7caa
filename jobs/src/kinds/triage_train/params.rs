//! The parameters of `triage_train`.

use datasets::DatasetName;
use engine::Result;
use models::{
    ALL_MINILM_L6_V2, Aim, ClassWeights, ContrastiveOptions, FIELDS_MAX, FineTuneOptions,
    HeadOptions, Method as Weights, NUMBERS_MAX, Tables, TrainOptions, WINDOWS_MAX,
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
    /// A linear head on the embedder's vectors, which stay as they are: seconds, with any embedder.
    Head,
    /// The whole encoder with a head: minutes.
    Full,
    /// Low-rank adapters beside the encoder's products, with a head: minutes, and fewer weights to be trained.
    LowRank,
    /// The whole encoder so that texts of a class have vectors near each other, and then a head on these (SetFit: Tunstall et
    /// al. 2022): minutes; learns more from few rows, and reads long texts in windows.
    Contrastive,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Full => "full",
            Self::LowRank => "low_rank",
            Self::Contrastive => "contrastive",
        }
    }
}

/// The encoder's weights but for its tables of tokens, which few texts would move.
const WHOLE: Weights = Weights::Full { tables: Tables::Frozen };

/// How much the rows of a class count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// All rows the same.
    Equal,
    /// All classes the same.
    Balanced,
}

/// What to learn from, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the texts and their labels, one row for each. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column that names the row. Default: id.
    pub id_column: String,
    /// Columns whose texts together are learned from, a line each; a null is left out. Default: ["subject", "body"].
    pub text_columns: Vec<String>,
    /// Whether each of these columns has a vector of its own, so that a title weighs otherwise than a body; the vector of a row is
    /// theirs side by side. For head and contrastive. Default: false.
    pub apart: bool,
    /// Columns of numbers and truth values that are learned from beside the texts, such as features of who wrote them, 64 at most; what is
    /// null or no finite number is missing. For head and contrastive. Default: [].
    pub feature_columns: Vec<String>,
    /// Column that holds the label; rows where it is null are not learned from. Default: label.
    pub label_column: String,
    /// Column to split by: the newest rows are held out; null splits at random. Default: null.
    pub time_column: Option<String>,
    /// Dataset of labels by hand (source, id, label, at): of each row the last one stands for the label; null has
    /// none. Default: null.
    #[schemars(with = "Option<String>")]
    pub corrections: Option<DatasetName>,
    /// Label of rows that belong to no class; they are not learned from, and the threshold below which a text is out
    /// of scope is chosen with them. Null: there are none. Default: null.
    pub out_of_scope_label: Option<String>,
    /// With such rows: how much it is to find all of them, against answering all others rightly, above 0 and to 100. With 1 the
    /// threshold is the one with the highest mean of both; with less, fewer texts in scope are taken for out of scope.
    /// Default: 0.25.
    pub out_of_scope_cost: f64,
    /// The part of them that is to be found, above 0 and to 1, whatever it costs; then `out_of_scope_cost` says nothing.
    /// Default: null.
    pub out_of_scope_recall: Option<f64>,
    /// Without such rows: the part of the rows in scope that may be taken for out of scope, 0 to 0.5. Default: 0.02.
    pub rejected: f64,
    /// Fail if the new version answers a larger part of the held-out rows otherwise than the version in production, 0 to 1. Default: null.
    pub answers_change_max: Option<f64>,
    /// Name of the model; each training makes a version of it. Default: triage.
    pub model: String,
    /// Which weights are trained: head, full, low_rank or contrastive. Default: head.
    pub method: Method,
    /// Who turns texts into vectors: a model that was pulled, by its name; one that was trained here, as name@version or
    /// name@production; or "ngram". Default: all-MiniLM-L6-v2.
    pub embedder: String,
    /// Numbers of a vector of "ngram", 16 to 4096; a model has its own. Default: 384.
    pub dimension: u32,
    /// Windows of a text that head and contrastive read, one after the other, as many tokens each as the embedder reads at a time (256 of
    /// all-MiniLM-L6-v2, some 190 words), 1 to 64; their vectors' mean is the text's. The others, and "ngram", which reads all,
    /// have no use for it. Default: 4.
    pub windows: usize,
    /// Part of the rows that is held out and judged by, above 0 and to 0.5. Default: 0.2.
    pub held_out: f64,
    /// Part of the other rows that training ends by and that confidence is calibrated on, above 0 and to 0.5.
    /// Default: 0.1.
    pub validation: f64,
    /// Parts that label noise is looked for in, each by a head that learned from the others, 2 to 20; 0 does not look.
    /// Default: 3.
    pub noise_folds: usize,
    /// How much the rows of a class count: equal or balanced. Default: equal.
    pub class_weights: Weighting,
    /// Times that every text is seen at most, 1 to 1000; of no meaning for head. Default: 5.
    pub epochs: usize,
    /// Texts of a step, 2 to 4096; of no meaning for head. Default: 32.
    pub batch_texts: usize,
    /// Highest learning rate; null takes 1e-4 for full, 5e-4 for low_rank and 3e-5 for contrastive. Default: null.
    pub learning_rate: Option<f64>,
    /// Part of a label that is spread over all classes, at least 0 and below 1. Null takes 0.1 for full and low_rank and 0 for
    /// the others. Default: null.
    pub label_smoothing: Option<f32>,
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
            apart: false,
            feature_columns: Vec::new(),
            label_column: "label".into(),
            time_column: None,
            corrections: None,
            out_of_scope_label: None,
            out_of_scope_cost: 0.25,
            out_of_scope_recall: None,
            rejected: 0.02,
            answers_change_max: None,
            model: "triage".into(),
            method: Method::Head,
            embedder: ALL_MINILM_L6_V2.into(),
            dimension: 384,
            windows: 4,
            held_out: 0.2,
            validation: 0.1,
            noise_folds: 3,
            class_weights: Weighting::Equal,
            epochs: 5,
            batch_texts: 32,
            learning_rate: None,
            label_smoothing: None,
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
        if !(0.0..=0.5).contains(&self.rejected) {
            let problem = format!("expected 0 to 0.5, found {}", self.rejected);
            return Err(bad(NAME, "rejected", problem));
        }
        if let Some(most) = self.answers_change_max.filter(|part| !(0.0..=1.0).contains(part)) {
            let problem = format!("expected 0 to 1, found {most}");
            return Err(bad(NAME, "answers_change_max", problem));
        }
        if !(self.out_of_scope_cost > 0.0 && self.out_of_scope_cost <= 100.0) {
            let problem =
                format!("expected above 0 and at most 100, found {}", self.out_of_scope_cost);
            return Err(bad(NAME, "out_of_scope_cost", problem));
        }
        if let Some(recall) = self.out_of_scope_recall.filter(|part| !(*part > 0.0 && *part <= 1.0))
        {
            let problem = format!("expected above 0 and at most 1, found {recall}");
            return Err(bad(NAME, "out_of_scope_recall", problem));
        }
        if self.out_of_scope_recall.is_some() && self.out_of_scope_label.is_none() {
            let problem = "expected `out_of_scope_label` beside it: it is measured on those rows";
            return Err(bad(NAME, "out_of_scope_recall", problem));
        }
        let ranges = [
            ("dimension", self.dimension as usize, 16, 4096),
            ("windows", self.windows, 1, WINDOWS_MAX),
            ("epochs", self.epochs, 1, 1000),
            ("batch_texts", self.batch_texts, 2, 4096),
            ("rank", self.rank, 1, 1024),
            ("noise_folds", if self.noise_folds == 0 { 2 } else { self.noise_folds }, 2, 20),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        if self.text_columns.is_empty() {
            return Err(bad(NAME, "text_columns", "expected at least one column, found none"));
        }
        if self.apart && self.text_columns.len() > FIELDS_MAX {
            let found = self.text_columns.len();
            let problem = format!("expected at most {FIELDS_MAX} columns apart, found {found}");
            return Err(bad(NAME, "text_columns", problem));
        }
        for (parameter, is_set) in
            [("apart", self.apart), ("feature_columns", !self.feature_columns.is_empty())]
        {
            if is_set && matches!(self.method, Method::Full | Method::LowRank) {
                let problem = format!(
                    "expected method \"head\" or \"contrastive\" beside it, found {:?}: it learns from a row as one text",
                    self.method.as_str()
                );
                return Err(bad(NAME, parameter, problem));
            }
        }
        self.check_features()?;
        if self.method != Method::Head && self.embedder == models::NGRAM {
            let problem =
                "\"ngram\" has no weights to train; expected a model, or method = \"head\"";
            return Err(bad(NAME, "embedder", problem));
        }
        check_embedder(&self.embedder).map_err(|problem| bad(NAME, "embedder", problem))?;
        check_name(&self.model).map_err(|problem| bad(NAME, "model", problem))?;
        self.fine_tuning().check().map_err(|problem| bad(NAME, "method", problem))
    }

    fn check_features(&self) -> Result<()> {
        let columns = &self.feature_columns;
        if columns.len() > NUMBERS_MAX {
            let problem =
                format!("expected at most {NUMBERS_MAX} columns, found {}", columns.len());
            return Err(bad(NAME, "feature_columns", problem));
        }
        if let Some(at) = (1..columns.len()).find(|at| columns[..*at].contains(&columns[*at])) {
            let problem = format!("{:?} stands there twice", columns[at]);
            return Err(bad(NAME, "feature_columns", problem));
        }
        if columns.contains(&self.label_column) {
            let problem = format!("{:?} is the label itself", self.label_column);
            return Err(bad(NAME, "feature_columns", problem));
        }
        Ok(())
    }

    /// Windows of a text that are read: what was trained on beginnings judges beginnings.
    pub(super) fn windows_read(&self) -> usize {
        match self.method {
            Method::Head | Method::Contrastive => self.windows,
            Method::Full | Method::LowRank => 1,
        }
    }

    /// Texts of a row that have a vector of their own.
    pub(super) fn fields(&self) -> usize {
        if self.apart { self.text_columns.len() } else { 1 }
    }

    /// What the threshold of texts out of scope is to do.
    pub(super) fn aim(&self, are_there: bool) -> Aim {
        match self.out_of_scope_recall {
            _ if !are_there => Aim::Rejected(self.rejected),
            Some(recall) => Aim::Recall(recall),
            None => Aim::ProvenCost { cost: self.out_of_scope_cost, rejected: self.rejected },
        }
    }

    fn weighting(&self) -> ClassWeights {
        match self.class_weights {
            Weighting::Equal => ClassWeights::Equal,
            Weighting::Balanced => ClassWeights::Balanced,
        }
    }

    pub(super) fn head(&self) -> HeadOptions {
        HeadOptions {
            class_weights: self.weighting(),
            label_smoothing: self.label_smoothing.unwrap_or(0.0),
            ..HeadOptions::default()
        }
    }

    pub(super) fn fine_tuning(&self) -> FineTuneOptions {
        let usual = FineTuneOptions::default();
        let (method, rate) = match self.method {
            Method::LowRank => {
                (Weights::LowRank { rank: self.rank, alpha: 2.0 * self.rank as f64 }, 5e-4)
            }
            Method::Contrastive => (WHOLE, 3e-5),
            Method::Head | Method::Full => (WHOLE, 1e-4),
        };
        FineTuneOptions {
            training: TrainOptions {
                method,
                epochs: self.epochs,
                batch_rows: self.batch_texts,
                learning_rate: self.learning_rate.unwrap_or(rate),
                seed: self.seed,
                ..usual.training
            },
            class_weights: self.weighting(),
            label_smoothing: self.label_smoothing.unwrap_or(usual.label_smoothing),
            ..usual
        }
    }

    pub(super) fn contrasting(&self) -> ContrastiveOptions {
        ContrastiveOptions {
            training: self.fine_tuning().training,
            ..ContrastiveOptions::default()
        }
    }
}
