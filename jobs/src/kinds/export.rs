//! `export`: writes a dataset, or the rows of a query, to files that say what they hold. It commits nothing.
//!
//! What it does is the engine's ([`engine::export`]): an export that was ended goes on where it was, when the same is asked for again.
//! Where no place is named the files lie in the root itself, under the id of the run, for some days.

use datasets::{DatasetName, DatasetSpec};
use engine::{
    CsvOptions, EXPORT_FILE_ROWS, ExportOptions, ExportPlace, ExportRequest, ExportSource,
    ExportWatch, Form, Formulas, IfThere, Packing, Result, SqlQuery, Version,
};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::run::context::RunContext;

/// The kind's name.
pub(crate) const NAME: &str = "export";
/// Columns that are named at most.
const COLUMNS_MAX: usize = 4_096;
/// Longest condition, query and place.
const TEXT_MAX_BYTES: usize = 64 << 10;
/// Most rows of a file.
const FILE_ROWS_MAX: u32 = 100_000_000;
/// Longest that an export is kept in the root, in days.
const KEEP_DAYS_MAX: u32 = 3_650;

/// What to export, where to, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The dataset; this or `sql` must be said. Default: none.
    #[schemars(with = "Option<String>")]
    pub dataset: Option<DatasetName>,
    /// The query whose rows are exported. Default: none.
    pub sql: Option<String>,
    /// Which rows of the dataset: a condition in SQL. Default: none, which is all.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Which columns of the dataset, in this order; an empty list takes all. Default: [].
    pub columns: Vec<String>,
    /// What rows of the dataset are grouped by, in SQL: `model`, `CAST(at AS DATE) AS day`. Default: [], which groups none.
    pub group_by: Vec<String>,
    /// What is written of each group, or of all rows where nothing is grouped, in SQL: `count(*) AS calls`. Default: [].
    pub measures: Vec<String>,
    /// The version of the dataset since which changes are exported, instead of all rows: with a column `_change_type`, which is `insert`
    /// or `delete`. Default: none.
    pub since: Option<u64>,
    /// The folder that the files go to, or the URL of a place in an object store. Default: none, which is a place in the root itself,
    /// from which the server hands them out.
    pub to: Option<String>,
    /// For how many days an export in the root is kept; 1 to 3650. Default: 7.
    pub keep_days: u32,
    /// Columns whose values become folders (`model=a/`) instead of standing in the files; an empty list makes none. Default: [].
    pub partition_by: Vec<String>,
    /// What the files are: `parquet`, `csv`, `ndjson`, `json`, `arrow`, `arrow_stream`, `xlsx`. Default: parquet.
    pub format: Format,
    /// How they are packed: `none`, `gzip`, `zstd`; null packs Parquet with zstd and nothing else. Default: null.
    pub packing: Option<PackedAs>,
    /// Whether a text that spreadsheets would compute gets a `'` in CSV, so that they show it. Default: false.
    pub escape_formulas: bool,
    /// Most rows of one file; 1 to 100000000, and of a sheet 1048575. Default: 1000000.
    pub file_rows: u32,
    /// Whether an export that lies there is removed first. Default: false.
    pub overwrite: bool,
}

/// What the files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Parquet.
    #[default]
    Parquet,
    /// Comma-separated values.
    Csv,
    /// A JSON object in each line.
    Ndjson,
    /// One JSON array.
    Json,
    /// Arrow's file, also called Feather.
    Arrow,
    /// Arrow's stream.
    ArrowStream,
    /// A workbook.
    Xlsx,
}

/// How files are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackedAs {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: None,
            sql: None,
            condition: None,
            columns: Vec::new(),
            group_by: Vec::new(),
            measures: Vec::new(),
            since: None,
            to: None,
            keep_days: 7,
            partition_by: Vec::new(),
            format: Format::default(),
            packing: None,
            escape_formulas: false,
            file_rows: EXPORT_FILE_ROWS as u32,
            overwrite: false,
        }
    }
}

impl Params {
    fn check(&self) -> Result<()> {
        match (&self.dataset, &self.sql) {
            (Some(_), Some(_)) => {
                return Err(bad(NAME, "sql", "expected either `dataset` or `sql`, found both"));
            }
            (None, None) => {
                return Err(bad(NAME, "dataset", "expected a dataset, or a query in `sql`"));
            }
            (None, Some(_)) if self.condition.is_some() => {
                return Err(bad(NAME, "where", "it goes with `dataset`; a query has its own"));
            }
            (None, Some(_)) if !self.columns.is_empty() => {
                return Err(bad(NAME, "columns", "they go with `dataset`; a query has its own"));
            }
            (None, Some(_)) if self.is_of_groups() => {
                return Err(bad(NAME, "group_by", "it goes with `dataset`; a query has its own"));
            }
            (Some(_), None) if self.is_of_groups() && !self.columns.is_empty() => {
                let says = "groups have what `group_by` and `measures` say; expected no columns";
                return Err(bad(NAME, "columns", says));
            }
            (Some(_), None) if self.is_of_groups() && self.since.is_some() => {
                return Err(bad(NAME, "since", "groups have no changes"));
            }
            (None, Some(_)) if self.since.is_some() => {
                return Err(bad(NAME, "since", "it goes with `dataset`: a query has no changes"));
            }
            _ => {}
        }
        if self.to.as_ref().is_some_and(|to| to.trim().is_empty()) {
            return Err(bad(NAME, "to", "expected a folder, or a URL of an object store"));
        }
        // What is asked for is kept, and shown to others.
        let has_secret = |to: &String| {
            to.split_once("://").is_some_and(|(_, rest)| {
                rest.split('/').next().is_some_and(|place| place.contains('@'))
            })
        };
        if self.to.as_ref().is_some_and(has_secret) {
            return Err(bad(
                NAME,
                "to",
                "expected a URL without a name and a password, which are kept with the run; the environment has them",
            ));
        }
        require_keep_days(NAME, self.keep_days)?;
        if self.to.is_some() && self.keep_days != Self::default().keep_days {
            return Err(bad(
                NAME,
                "keep_days",
                "it is of exports in the root; those that go to a place of yours stay there",
            ));
        }
        let texts = [
            ("where", self.condition.as_deref()),
            ("sql", self.sql.as_deref()),
            ("to", self.to.as_deref()),
        ];
        for (name, text) in texts {
            let bytes = text.map_or(0, str::len);
            if bytes > TEXT_MAX_BYTES {
                let says = format!("expected at most {TEXT_MAX_BYTES} bytes, found {bytes}");
                return Err(bad(NAME, name, says));
            }
        }
        let lists = [
            ("columns", &self.columns),
            ("partition_by", &self.partition_by),
            ("group_by", &self.group_by),
            ("measures", &self.measures),
        ];
        for (name, columns) in lists {
            if columns.len() > COLUMNS_MAX {
                let says = format!("expected at most {COLUMNS_MAX}, found {}", columns.len());
                return Err(bad(NAME, name, says));
            }
        }
        if self.is_of_groups() {
            let expressions = [("group_by", &self.group_by), ("measures", &self.measures)];
            for (name, texts) in expressions {
                for text in listed(texts) {
                    SqlQuery::require_expression(text)
                        .map_err(|error| bad(NAME, name, error.to_string()))?;
                }
            }
            if let Some(condition) = &self.condition {
                SqlQuery::require_expression(condition)
                    .map_err(|error| bad(NAME, "where", error.to_string()))?;
            }
        }
        if !(1..=FILE_ROWS_MAX).contains(&self.file_rows) {
            let says = format!("expected 1 to {FILE_ROWS_MAX}, found {}", self.file_rows);
            return Err(bad(NAME, "file_rows", says));
        }
        if self.escape_formulas && self.format != Format::Csv {
            return Err(bad(
                NAME,
                "escape_formulas",
                "it is of CSV; the other forms keep what cells are",
            ));
        }
        match (self.form(), self.packing) {
            (Form::ArrowFile | Form::ArrowStream, Some(PackedAs::Gzip)) => {
                Err(bad(NAME, "packing", "expected none or zstd, which Arrow's readers know"))
            }
            (Form::Xlsx, Some(_)) => Err(bad(
                NAME,
                "packing",
                "expected none said: workbooks are packed as they always are",
            )),
            _ => Ok(()),
        }
    }

    fn form(&self) -> Form {
        match self.format {
            Format::Parquet => Form::Parquet,
            Format::Csv => Form::Csv,
            Format::Ndjson => Form::Ndjson,
            Format::Json => Form::Json,
            Format::Arrow => Form::ArrowFile,
            Format::ArrowStream => Form::ArrowStream,
            Format::Xlsx => Form::Xlsx,
        }
    }

    fn options(&self) -> ExportOptions {
        let form = self.form();
        let usual = ExportOptions::of(form);
        let packing = match self.packing {
            None => usual.packing,
            Some(PackedAs::None) => Packing::None,
            Some(PackedAs::Gzip) => Packing::Gzip,
            Some(PackedAs::Zstd) => Packing::Zstd,
        };
        let formulas = match self.escape_formulas {
            true => Formulas::Escaped,
            false => Formulas::Kept,
        };
        ExportOptions { packing, csv: CsvOptions { formulas, ..usual.csv }, ..usual }
    }

    fn is_of_groups(&self) -> bool {
        !self.group_by.is_empty() || !self.measures.is_empty()
    }

    /// The query whose groups of `dataset` are exported, in their order.
    fn groups_of(&self, dataset: &DatasetName) -> String {
        let (groups, measures) = (listed(&self.group_by), listed(&self.measures));
        let shown: Vec<&str> = groups.iter().chain(&measures).copied().collect();
        // A comment ends with its line.
        let mut sql = format!("SELECT {}\nFROM \"{dataset}\"", shown.join("\n, "));
        if let Some(condition) = &self.condition {
            sql.push_str(&format!("\nWHERE ({condition}\n)"));
        }
        if !groups.is_empty() {
            let places: Vec<String> = (1..=groups.len()).map(|at| at.to_string()).collect();
            let places = places.join(", ");
            sql.push_str(&format!("\nGROUP BY {places} ORDER BY {places}"));
        }
        sql
    }

    fn source(&self) -> ExportSource {
        match (&self.dataset, &self.sql) {
            (Some(dataset), _) if self.is_of_groups() => ExportSource::Sql(self.groups_of(dataset)),
            (Some(dataset), _) => ExportSource::Dataset {
                dataset: dataset.clone(),
                condition: self.condition.clone(),
                columns: self.columns.clone(),
                since: self.since.map(Version),
            },
            (None, sql) => ExportSource::Sql(sql.clone().unwrap_or_default()),
        }
    }
}

/// Fails where what `job` makes can not be kept for so many days.
pub(super) fn require_keep_days(job: &str, days: u32) -> Result<()> {
    match (1..=KEEP_DAYS_MAX).contains(&days) {
        true => Ok(()),
        false => Err(bad(job, "keep_days", format!("expected 1 to {KEEP_DAYS_MAX}, found {days}"))),
    }
}

/// Expressions of SQL, of which several may stand in one text: commas outside of brackets and quotes part them.
fn listed(texts: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    for text in texts {
        let (mut from, mut depth, mut quote) = (0, 0_usize, None);
        for (at, letter) in text.char_indices() {
            match (quote, letter) {
                (Some(open), letter) if open == letter => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(letter),
                (None, '(' | '[') => depth += 1,
                (None, ')' | ']') => depth = depth.saturating_sub(1),
                (None, ',') if depth == 0 => {
                    found.push(text[from..at].trim());
                    from = at + 1;
                }
                _ => {}
            }
        }
        found.push(text[from..].trim());
    }
    found
}

/// The job kind.
pub struct Export;

impl Export {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

/// Where a runner may export to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exports {
    /// Nowhere: who asks it may be anybody, and its disks are its own.
    #[default]
    Nowhere,
    /// Wherever it is told: who asks has this machine.
    Anywhere,
}

struct Watching<'a> {
    ctx: &'a RunContext,
    /// Rows of the dataset, where that is known.
    all: Option<u64>,
}

impl ExportWatch for Watching<'_> {
    fn check(&self) -> Result<()> {
        self.ctx.check()
    }

    fn rows(&self, rows: u64) {
        if let Some(all) = self.all.filter(|all| *all > 0) {
            self.ctx.progress((rows as f64 / all as f64).min(1.0));
        }
        (self.ctx.activity_sink())(json!({ "rows": rows }));
    }
}

impl Job for Export {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "writes a dataset, or the rows of a query, to files that say what they hold"
    }

    fn is_for_readers(&self) -> bool {
        true
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        match Self::params(params)?.source() {
            ExportSource::Dataset { dataset, .. } => Ok(vec![dataset]),
            ExportSource::Sql(sql) => {
                Ok(SqlQuery::parse(&sql)?.datasets().iter().cloned().collect())
            }
        }
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Self::params(params).map(|_| Vec::new())
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let to = match &params.to {
                None => ctx.own_export_place(params.keep_days),
                Some(_) if ctx.exports() == Exports::Nowhere => {
                    return Err(bad(
                        NAME,
                        "to",
                        "this process writes to no folder for others; expected nothing, for the root's own place. What `colonnade export` began, and \
                         was ended, goes on with the same command, on the machine where it was",
                    ));
                }
                Some(to) => ExportPlace::Elsewhere(to.clone()),
            };
            let request = ExportRequest {
                source: params.source(),
                to,
                options: params.options(),
                there: match params.overwrite {
                    true => IfThere::Overwrite,
                    false => IfThere::Refuse,
                },
                file_rows: params.file_rows as usize,
                partition_by: params.partition_by.clone(),
                run_id: Some(ctx.run_id().to_string()),
            };
            let all = match &params.condition {
                None if params.since.is_none() => ctx.inputs().first().and_then(|input| input.rows),
                _ => None,
            };
            let mut stage = ctx.stage("write");
            let is_rows = params.dataset.is_some() && !params.is_of_groups();
            let watch = Watching { ctx, all: all.filter(|_| is_rows) };
            let manifest =
                engine::export(ctx.engine(), ctx.principal(), ctx.session(), &request, &watch);
            let manifest = manifest.await?;
            (stage.record.rows_in, stage.record.rows_out) = (manifest.rows, manifest.rows);
            stage.record.bytes_written = manifest.bytes;
            stage.finish();
            Ok(Outcome {
                summary: json!({
                    "to": params.to,
                    "rows": manifest.rows,
                    "bytes": manifest.bytes,
                    "files": manifest.files.len(),
                }),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::run::record::RunState;
    use crate::run::runner::{RunRequest, Runner, RunnerOptions};
    use crate::testing::{append, engine, sampled};

    #[test]
    fn expressions_stand_alone_or_beside_each_other() {
        let texts = ["a, date_trunc('d,ay', at)".to_owned(), "\"b,c\" AS d".to_owned()];
        assert_eq!(listed(&texts), ["a", "date_trunc('d,ay', at)", "\"b,c\" AS d"]);
        let params = Params {
            group_by: texts.to_vec(),
            measures: vec!["count(*)".to_owned()],
            ..Params::default()
        };
        let sql = params.groups_of(&DatasetName::new("calls").unwrap());
        assert_eq!(
            sql,
            "SELECT a\n, date_trunc('d,ay', at)\n, \"b,c\" AS d\n, count(*)\nFROM \"calls\"\nGROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        );
    }

    #[test]
    fn what_is_wrong_with_its_parameters_is_told() {
        let of = |more: Value| {
            let mut params = json!({"dataset": "a", "to": "x"});
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            params
        };
        for (params, says) in [
            (json!({"to": "x"}), "expected a dataset, or a query"),
            (of(json!({"sql": "SELECT 1"})), "found both"),
            (of(json!({"to": " "})), "expected a folder"),
            (of(json!({"keep_days": 8})), "it is of exports in the root"),
            (json!({"dataset": "a", "keep_days": 0}), "expected 1 to 3650"),
            (json!({"sql": "SELECT 1", "since": 1}), "a query has no changes"),
            (of(json!({"format": "xlsx", "packing": "none"})), "as they always are"),
            (json!({"sql": "SELECT 1", "to": "x", "where": "a"}), "a query has its own"),
            (json!({"sql": "SELECT 1", "to": "x", "columns": ["a"]}), "a query has its own"),
            (of(json!({"measures": ["count(*)"], "columns": ["a"]})), "expected no columns"),
            (of(json!({"group_by": ["a"], "since": 1})), "groups have no changes"),
            (json!({"sql": "SELECT 1", "group_by": ["a"]}), "a query has its own"),
            (of(json!({"measures": ["count(*) AS n FROM b --"]})), "expected one expression"),
            (of(json!({"measures": ["count(*)) FROM (SELECT 1"]})), "SQL"),
            (of(json!({"measures": ["*"]})), "expected one expression"),
            (of(json!({"group_by": ["a ORDER BY 1"]})), "expected one expression"),
            (of(json!({"measures": ["count(*)"], "where": "true) OR (1=1"})), "SQL"),
            (of(json!({"format": "xls"})), "format"),
            (of(json!({"file_rows": 0})), "expected 1 to 100000000"),
            (of(json!({"escape_formulas": true})), "it is of CSV"),
            (of(json!({"format": "arrow", "packing": "gzip"})), "expected none or zstd"),
            (of(json!({"overwrit": true})), "did you mean overwrite"),
            (of(json!({"where": "a".repeat(TEXT_MAX_BYTES + 1)})), "expected at most"),
        ] {
            let error = Export.canonical(&params).unwrap_err();
            assert!(error.to_string().contains(says), "{error} does not say {says}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_writes_what_its_inputs_hold_where_that_is_allowed() {
        let engine = engine().await;
        append(&engine, "metrics", &[sampled("a", 60, vec![1.0; 10])]).await;
        let folder = tempfile::tempdir().unwrap();
        let (who, to) = (engine::Principal::local(), folder.path().join("out"));
        let request = || RunRequest {
            job: NAME.into(),
            params: json!({"dataset": "metrics", "to": to, "format": "csv"}),
            ..RunRequest::default()
        };
        let server = Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
        let run = server.submit(&who, request()).await.unwrap().wait().await.unwrap();
        assert_eq!(run.state, RunState::Failed);
        assert!(run.error.unwrap().message.contains("no folder for others") && !to.exists());
        server.shutdown().await;
        let options = RunnerOptions { exports: Exports::Anywhere, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let run = runner.submit(&who, request()).await.unwrap().wait().await.unwrap();
        assert_eq!(run.state, RunState::Succeeded, "{run:?}");
        assert_eq!((&run.summary["rows"], &run.summary["files"]), (&json!(10), &json!(1)));
        let manifest = engine::verify_export(to.to_str().unwrap()).await.unwrap();
        assert_eq!(manifest.run_id, Some(run.id.to_string()));
        assert_eq!(manifest.datasets[0].version, run.inputs[0].version);
        // It is done anew each time, and what lies there stays.
        let run = runner.submit(&who, request()).await.unwrap().wait().await.unwrap();
        assert_eq!((run.state, run.repeated_of), (RunState::Failed, None));
        assert!(run.error.unwrap().message.contains("an export lies there"));
    }
}
