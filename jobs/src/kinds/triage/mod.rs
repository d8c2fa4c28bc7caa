//! Labels texts with a model that `triage_train` made: the label, how sure it is, the next likeliest, whether the text is
//! of no class at all, and the team that it is for. The rows of one source dataset are one partition of the output and
//! are replaced together, so that no reader sees the answers of two versions.
//!
//! Cost: reads and embeds every text that has no label. Memory: those texts, at most a quarter of the budget.

mod output;
mod params;

use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, WriteMode};
use models::{Classified, Classifier, ClassifyOptions, Cpu, EmbedOptions, Labels};
use serde_json::{Value, json};
use std::ops::ControlFlow;

pub use params::Params;

use crate::context::RunContext;
use crate::embedders::model_error;
use crate::job::{Estimate, Job, Outcome};
use crate::kinds::estimate_input;
use crate::parameters;
use crate::registry::{History, files, models_name, stages_name};
use crate::table::{InputTable, is_text};
use crate::texts::TextSource;

/// The kind's name.
const NAME: &str = "triage";

/// Memory of one row: a guess for the estimate only.
const ROW_BYTES: usize = 2048;

/// The job kind.
pub struct Triage;

/// Texts without a label.
#[derive(Default)]
struct Rows {
    ids: Vec<String>,
    texts: Vec<String>,
    labelled: u64,
    without_id: u64,
}

impl Triage {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

#[async_trait]
impl Job for Triage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "labels texts with a trained model: label, confidence, what is out of scope, and the team"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        let stages = params.version.is_none().then(stages_name);
        Ok([params.dataset, models_name()].into_iter().chain(stages).collect())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![output::spec(Self::params(params)?.output)])
    }

    async fn estimate(&self, ctx: &RunContext, params: &Value) -> Result<Estimate> {
        estimate_input(ctx, &Self::params(params)?.dataset, ROW_BYTES).await
    }

    async fn run(&self, ctx: &RunContext, params: &Value) -> Result<Outcome> {
        let params = Self::params(params)?;
        let version = version(ctx, &params).await?;
        let classifier = load(ctx, &params, &version).await?;
        let labels = classifier.settings().labels.clone();
        let rows = read(ctx, &params).await?;
        ctx.progress(0.1);
        let (rows, answers) = classify(ctx, &params, classifier, rows).await?;
        let spec = output::spec(params.output.clone());
        let name = format!("{}@{version}", params.model);
        let batches =
            output::batches(&spec, &params, &name, &labels, &rows.ids, &answers.predictions)?;
        let source = ScalarValue::from(params.dataset.as_str());
        let partition = vec![("source".to_owned(), source)];
        ctx.commit(spec, WriteMode::ReplacePartitions(partition), batches).await?;
        Ok(Outcome { summary: summary(&params, &name, &labels, &rows, &answers) })
    }
}

/// The version to label with.
async fn version(ctx: &RunContext, params: &Params) -> Result<String> {
    if let Some(version) = &params.version {
        return Ok(version.clone());
    }
    let history = History::read(ctx.session(), &params.model).await?;
    history.production().map(str::to_owned).ok_or_else(|| {
        Error::user(
            Code::NotFound,
            format!(
                "{NAME}: no version of model {:?} is in production; the job `promote` takes one into use",
                params.model
            ),
        )
    })
}

async fn load(ctx: &RunContext, params: &Params, version: &str) -> Result<Classifier<Cpu>> {
    let mut stage = ctx.stage("load");
    let files = files(ctx.session(), &params.model, version).await?;
    stage.record.bytes_read = files.weights.len() as u64;
    let embedders = ctx.embedders().clone();
    let classifier = ctx.compute(move || embedders.classifier(&files)).await?;
    stage.finish();
    Ok(classifier)
}

/// Reads the rows without a label.
async fn read(ctx: &RunContext, params: &Params) -> Result<Rows> {
    let mut stage = ctx.stage("read");
    let mut columns = params.text_columns.clone();
    if let Some(label) = &params.label_column {
        let table = InputTable::open(ctx, NAME, &params.dataset).await?;
        table.check("label_column", label, "a text", is_text)?;
        columns.push(label.clone());
    }
    let source = TextSource {
        job: NAME,
        dataset: &params.dataset,
        id_column: &params.id_column,
        text_columns: &columns,
        order_column: None,
    };
    let mut reader = source.read(ctx).await?;
    let (texts, mut rows) = (params.text_columns.len(), Rows::default());
    let (mut bytes, bytes_max) = (0, ctx.memory_budget_bytes() / 4);
    while let Some(batch) = reader.next().await? {
        for row in 0..batch.len() {
            let label = params.label_column.as_ref().and_then(|_| batch.text(row, texts));
            if label.is_some_and(|label| !label.trim().is_empty()) {
                rows.labelled += 1;
                continue;
            }
            let Some(id) = batch.id(row) else {
                rows.without_id += 1;
                continue;
            };
            let parts: Vec<&str> = (0..texts).filter_map(|at| batch.text(row, at)).collect();
            let text = parts.join("\n");
            bytes += id.len() + text.len() + 2 * size_of::<String>();
            if bytes > bytes_max {
                return Err(Error::user(
                    Code::ResourcesExhausted,
                    format!(
                        "{NAME}: the texts of {} take more than a quarter of the memory budget, {bytes_max} bytes: \
                         take a larger budget",
                        params.dataset
                    ),
                ));
            }
            rows.ids.push(id.to_owned());
            rows.texts.push(text);
        }
        ctx.check()?;
    }
    stage.record.rows_in = reader.rows_read;
    stage.record.bytes_read = reader.bytes_read;
    stage.record.rows_out = rows.ids.len() as u64;
    stage.finish();
    Ok(rows)
}

async fn classify(
    ctx: &RunContext,
    params: &Params,
    classifier: Classifier<Cpu>,
    rows: Rows,
) -> Result<(Rows, Classified)> {
    let mut stage = ctx.stage("classify");
    stage.record.rows_in = rows.ids.len() as u64;
    let (pool, tell, cancellation) =
        (ctx.pool().clone(), ctx.progress_sink(), ctx.cancellation().clone());
    let top = params.top;
    let work = move || {
        let texts: Vec<&str> = rows.texts.iter().map(String::as_str).collect();
        let report = |progress: models::Progress| {
            tell(0.1 + 0.85 * progress.texts as f64 / texts.len().max(1) as f64);
            match cancellation.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let embed = EmbedOptions { progress: Some(&report), ..EmbedOptions::default() };
        let options = ClassifyOptions { top, embed };
        let found = pool.install(|| classifier.classify(&texts, &options)).map_err(model_error)?;
        Ok((rows, found))
    };
    let (rows, found) = ctx.compute(work).await?;
    stage.on_device("cpu", "encoders run on the CPU");
    stage.record.rows_out = found.predictions.len() as u64;
    stage.facts(json!({ "tokens": found.tokens, "texts_cut": found.cut_texts }));
    stage.finish();
    Ok((rows, found))
}

fn summary(
    params: &Params,
    model: &str,
    labels: &Labels,
    rows: &Rows,
    answers: &Classified,
) -> Value {
    let outside = answers.predictions.iter().filter(|answer| answer.is_out_of_scope).count();
    let mut by_label = vec![0_usize; labels.count()];
    for answer in answers.predictions.iter().filter(|answer| !answer.is_out_of_scope) {
        if let Some((class, _)) = answer.top.first() {
            by_label[*class] += 1;
        }
    }
    let mut most: Vec<(usize, &String)> = by_label.into_iter().zip(labels.names()).collect();
    most.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let most: Vec<Value> =
        most.iter().take(10).map(|(rows, label)| json!({ "label": label, "rows": rows })).collect();
    json!({
        "source": params.dataset,
        "model": model,
        "rows": rows.ids.len(),
        "rows_labelled_before": rows.labelled,
        "rows_without_id": rows.without_id,
        "out_of_scope": outside,
        "most_labels": most,
        "texts_cut": answers.cut_texts,
        "texts_empty": answers.empty_texts,
    })
}
