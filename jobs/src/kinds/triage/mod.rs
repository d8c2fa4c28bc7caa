//! Labels texts with a model that `triage_train` made: the label, how sure it is, the next likeliest, whether the text is
//! of no class at all, the team that it is for, and the rows that the model learned from that are most like it. The rows
//! of one source dataset are one partition of the output and are replaced together, so that no reader sees the answers of two
//! versions. What the same version has answered before to the same text and numbers stands.
//!
//! Cost: reads every text that has no label and embeds those that are new; each of these meets all rows that were learned
//! from. Memory: those texts, and the vectors of those rows, each at most a quarter of the budget.

mod answers;
mod output;
mod params;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use answers::Answer;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session};
use futures::future::BoxFuture;
use kernels::nearest::{Metric, NearestOptions, Neighbour, nearest};
use kernels::{Execution, MatrixView};
use models::{Classifier, ClassifierSettings, EmbedOptions, Inputs, Prediction};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::registry::embedders::{check_fields, check_numbers, model_error};
use crate::registry::training_rows::{self, Examples, training_rows_name};
use crate::registry::{History, files, models_name, stages_name};
use crate::run::context::RunContext;
use crate::run::stage::GpuUse;
use crate::tables::input::{InputTable, is_number, is_text};
use crate::tables::replacing::in_place_of;
use crate::texts::{RowText, TextSource};

/// The kind's name.
const NAME: &str = "triage";
/// The usual column of labels.
const LABEL: &str = "label";

/// Memory of one row: a guess for the estimate only.
const ROW_BYTES: usize = 2048;

/// Texts that are embedded and compared together.
const PART_ROWS: usize = 8192;

/// The job kind.
pub struct Triage;

/// Texts without a label.
#[derive(Default)]
struct Rows {
    ids: Vec<String>,
    /// Of each text and what is asked about it.
    keys: Vec<String>,
    texts: Vec<RowText>,
    /// Of the first row, then of the next.
    numbers: Vec<f64>,
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
        let examples = (params.reasons > 0).then(training_rows_name);
        Ok([params.dataset, models_name()].into_iter().chain(stages).chain(examples).collect())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![output::spec(Self::params(params)?.output)])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let of = Self::params(params)?;
            let texts = of.text_columns.clone().unwrap_or_default();
            let table = InputTable::open(session, NAME, &of.dataset).await?;
            for (parameter, column) in label_column(&of, &table)
                .into_iter()
                .map(|column| ("label_column", column))
                .chain(texts.iter().map(|column| ("text_columns", column)))
            {
                table.check(parameter, column, "a text", is_text)?;
            }
            for column in of.feature_columns.iter().flatten() {
                table.check("feature_columns", column, "a number or truth value", is_number)?;
            }
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn uses_gpu(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let version = version(ctx, &params).await?;
            let classifier = load(ctx, &params, &version).await?;
            let numbers = params.numbers(&classifier, &version)?;
            let rows = read(ctx, &params, classifier.settings(), &numbers).await?;
            let name = format!("{}@{version}", params.model);
            let earlier = answers::earlier(ctx, &params, &name).await?;
            let examples = match params.reasons {
                0 => Examples::default(),
                _ => {
                    let (model, bytes_max) =
                        ((&params.model[..], &version[..]), ctx.memory_budget_bytes() / 4);
                    let dimension = classifier.dimension();
                    training_rows::examples(ctx.session(), model, dimension, bytes_max).await?
                }
            };
            ctx.progress(0.1);
            let task = Task { params: params.clone(), classifier, rows, earlier, examples };
            let (rows, found) = classify(ctx, task).await?;
            let spec = output::spec(params.output.clone());
            let batches = output::batches(&spec, &params, &name, &rows, &found.answers)?;
            ctx.commit(spec, in_place_of(params.dataset.as_str()), batches).await?;
            Ok(Outcome { summary: summary(&params, &name, &rows, &found) })
        })
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

async fn load(ctx: &RunContext, params: &Params, version: &str) -> Result<Classifier> {
    let mut stage = ctx.stage("load");
    let files = files(ctx.session(), &params.model, version).await?;
    stage.record.bytes_read = files.weights.len() as u64;
    let classifier = ctx.embedders().classifier(ctx.session(), files).await?;
    let name = (NAME, &params.model[..], version);
    check_fields(name, &classifier, params.columns(classifier.settings()).len())?;
    if params.feature_columns.is_none() {
        let table = InputTable::open(ctx.session(), NAME, &params.dataset).await?;
        check_numbers((&params.model, version), &classifier, &table)?;
    }
    stage.finish();
    Ok(classifier)
}

/// The column of labels; none where it is the usual one and the dataset has none.
fn label_column<'a>(params: &'a Params, table: &InputTable<'_>) -> Option<&'a String> {
    let is_there = |column: &str| table.frame.schema().has_column_with_unqualified_name(column);
    params.label_column.as_ref().filter(|column| *column != LABEL || is_there(column))
}

/// Reads the rows without a label.
async fn read(
    ctx: &RunContext,
    params: &Params,
    model: &ClassifierSettings,
    numbers: &[String],
) -> Result<Rows> {
    let mut stage = ctx.stage("read");
    let mut columns = params.columns(model);
    let texts = columns.len();
    let table = InputTable::open(ctx.session(), NAME, &params.dataset).await?;
    let labels = label_column(params, &table);
    if let Some(label) = labels {
        table.check("label_column", label, "a text", is_text)?;
        columns.push(label.clone());
    }
    let source = TextSource {
        job: NAME,
        dataset: &params.dataset,
        id_column: &params.id_column,
        text_columns: &columns,
        number_columns: numbers,
        order_column: None,
        order_parameter: "order_column",
    };
    let mut reader = source.read(ctx).await?;
    let mut rows = Rows::default();
    let (mut bytes, bytes_max) = (0, ctx.memory_budget_bytes() / 4);
    while let Some(batch) = reader.next().await? {
        for row in 0..batch.len() {
            let label = labels.and_then(|_| batch.text(row, texts));
            if label.is_some_and(|label| !label.trim().is_empty()) {
                rows.labelled += 1;
                continue;
            }
            let Some(id) = batch.id(row) else {
                rows.without_id += 1;
                continue;
            };
            let text = batch.row_text(row, 0..texts);
            bytes += id.len() + text.bytes() + size_of::<String>() + size_of_val(numbers);
            if bytes > bytes_max {
                return Err(Error::user(
                    Code::ResourcesExhausted,
                    format!(
                        "{NAME}: the texts and numbers of {} take more than a quarter of the memory budget, {bytes_max} bytes: \
                         take a larger budget",
                        params.dataset
                    ),
                ));
            }
            rows.ids.push(id.to_owned());
            rows.keys.push(answers::key_of(params, &text, model.fields, batch.numbers(row)));
            rows.texts.push(text);
            rows.numbers.extend(batch.numbers(row));
        }
        ctx.check()?;
    }
    stage.record.rows_in = reader.rows_read;
    stage.record.bytes_read = reader.bytes_read;
    stage.record.rows_out = rows.ids.len() as u64;
    stage.finish();
    Ok(rows)
}

/// What is to be answered, and with what.
struct Task {
    params: Params,
    classifier: Classifier,
    rows: Rows,
    earlier: HashMap<String, Answer>,
    examples: Examples,
}

/// One answer for each row, and how they came about.
#[derive(Default)]
struct Found {
    answers: Vec<Answer>,
    kept: usize,
    cut_texts: usize,
    empty_texts: usize,
    tokens: u64,
    /// Of the search for what was learned from.
    gpu: GpuUse,
}

async fn classify(ctx: &RunContext, task: Task) -> Result<(Rows, Found)> {
    let mut stage = ctx.stage("classify");
    stage.record.rows_in = task.rows.ids.len() as u64;
    let (pool, tell, cancellation) =
        (ctx.pool().clone(), ctx.progress_sink(), ctx.cancellation().clone());
    let execution = ctx.execution(ctx.memory_budget_bytes() / 4);
    let work = move || {
        let found = pool.install(|| task.run(&execution, &*tell, &cancellation))?;
        Ok((task.rows, found))
    };
    let (rows, found) = ctx.compute(work).await?;
    stage.on_device("cpu", "classifiers answer on the CPU");
    stage.took(&found.gpu);
    stage.record.rows_out = found.answers.len() as u64;
    stage.facts(json!({
        "tokens": found.tokens,
        "texts_cut": found.cut_texts,
        "answers_kept": found.kept,
    }));
    stage.finish();
    Ok((rows, found))
}

impl Task {
    fn run(
        &self,
        execution: &Execution,
        tell: &(dyn Fn(f64) + Sync),
        cancellation: &CancellationToken,
    ) -> Result<Found> {
        let ClassifierSettings { fields, numbers, .. } = self.classifier.settings();
        let (mut found, fields, numbers) = (Found::default(), *fields, numbers.count());
        let mut answers: Vec<Option<Answer>> =
            self.rows.keys.iter().map(|key| self.earlier.get(key).cloned()).collect();
        let new = answers.iter().enumerate().filter(|(_, answer)| answer.is_none());
        let new: Vec<usize> = new.map(|(row, _)| row).collect();
        found.kept = answers.len() - new.len();
        for (part, rows) in new.chunks(PART_ROWS).enumerate() {
            let inputs = rows.iter().flat_map(|row| self.rows.texts[*row].inputs(fields));
            let texts: Vec<&str> = inputs.collect();
            let of_row = |row: &usize| &self.rows.numbers[row * numbers..(row + 1) * numbers];
            let numbers: Vec<f64> = rows.iter().flat_map(of_row).copied().collect();
            let inputs = Inputs { texts: &texts, numbers: &numbers };
            let report = |progress: models::Progress| {
                let done = part * PART_ROWS + progress.texts / fields;
                tell(0.1 + 0.85 * done as f64 / new.len() as f64);
                match cancellation.is_cancelled() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let options = EmbedOptions { progress: Some(&report), ..EmbedOptions::default() };
            let embeddings = self.classifier.embed(inputs, &options).map_err(model_error)?;
            let predictions = self.classifier.answer(&embeddings.values, self.params.top);
            let reasons =
                self.reasons(&embeddings.values, rows.len(), execution, &mut found.gpu)?;
            let mut predictions = predictions.map_err(model_error)?;
            for (row, prediction) in rows.iter().zip(&mut predictions) {
                // Nothing says what an empty text is about.
                prediction.is_out_of_scope |= self.rows.texts[*row].whole().trim().is_empty();
            }
            for ((row, prediction), reasons) in rows.iter().zip(&predictions).zip(reasons) {
                answers[*row] = Some(self.answer(prediction, reasons)?);
            }
            found.cut_texts += embeddings.cut_texts;
            found.empty_texts += embeddings.empty_texts;
            found.tokens += embeddings.tokens;
        }
        found.answers = answers.into_iter().flatten().collect();
        Ok(found)
    }

    /// For each row those that were learned from that are most like it, by text and numbers, as JSON.
    fn reasons(
        &self,
        vectors: &[f32],
        rows: usize,
        execution: &Execution,
        gpu: &mut GpuUse,
    ) -> Result<Vec<String>> {
        let (examples, k) = (&self.examples, self.params.reasons.min(self.examples.ids.len()));
        if k == 0 {
            return Ok(vec!["[]".to_owned(); rows]);
        }
        let dimension = self.classifier.dimension();
        let queries = MatrixView::new(vectors, rows, dimension)?;
        let base = MatrixView::new(&examples.vectors, examples.ids.len(), dimension)?;
        let options = NearestOptions::new(Metric::Cosine, k);
        let near = nearest(queries, base, &options, execution)?;
        gpu.add(&near.summary.stats);
        let reason = |neighbour: &Neighbour| {
            let row = neighbour.index;
            json!({
                "id": examples.ids[row],
                "label": examples.labels[row],
                // More digits than the vectors have would say too much.
                "similarity": (neighbour.score * 1e4).round() / 1e4,
            })
        };
        let row = |row| Value::Array(near.row(row).iter().map(reason).collect()).to_string();
        Ok((0..rows).map(row).collect())
    }

    fn answer(&self, prediction: &Prediction, reasons: String) -> Result<Answer> {
        let labels = &self.classifier.settings().labels;
        let name = |class: usize| {
            let name = labels.names().get(class).map(String::as_str);
            name.ok_or_else(|| Error::internal(format!("{NAME}: class {class}")))
        };
        let top = prediction.top.iter().map(|(class, share)| Ok((name(*class)?, *share)));
        let top: Vec<(&str, f32)> = top.collect::<Result<_>>()?;
        let (label, _) =
            top.first().copied().ok_or_else(|| Error::internal(format!("{NAME}: no class")))?;
        let shown = top.iter().map(|(label, share)| json!({ "label": label, "confidence": share }));
        Ok(Answer {
            label: label.to_owned(),
            confidence: prediction.confidence,
            is_out_of_scope: prediction.is_out_of_scope,
            top: Value::Array(shown.collect()).to_string(),
            reasons,
        })
    }
}

fn summary(params: &Params, model: &str, rows: &Rows, found: &Found) -> Value {
    let mut by_label: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in found.answers.iter().filter(|answer| !answer.is_out_of_scope) {
        *by_label.entry(&answer.label).or_default() += 1;
    }
    let mut most: Vec<(&str, usize)> = by_label.into_iter().collect();
    most.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let most: Vec<Value> =
        most.iter().take(10).map(|(label, rows)| json!({ "label": label, "rows": rows })).collect();
    json!({
        "source": params.dataset,
        "model": model,
        "rows": rows.ids.len(),
        "rows_labelled_before": rows.labelled,
        "rows_without_id": rows.without_id,
        "answers_kept": found.kept,
        "out_of_scope": found.answers.iter().filter(|answer| answer.is_out_of_scope).count(),
        "most_labels": most,
        "texts_cut": found.cut_texts,
        "texts_empty": found.empty_texts,
    })
}
