//! Learns from labelled texts, and from numbers beside them, to label others, and registers what it learned as a candidate.
//!
//! The rows are read, corrected by hand-made labels where there are any, and split into three parts: to learn from, to
//! calibrate on, and to be judged by; copies of a row are on one side. The model is then a linear head on an embedder's
//! vectors, or a fine-tuned encoder with its head. It is judged on the last part alone, beside the version in production
//! on the same rows, and registered in `models`; the job `promote` takes it into use.
//!
//! The same rows, parameters and threads make the same model, bit for bit. Cost: `head` embeds every text once; `full`
//! and `low_rank` take about three times that for each epoch. Memory: the texts, and the vectors of the rows to learn from.

#[cfg(test)]
mod feature_tests;
mod fit;
mod judge;
mod output;
mod params;
mod prepare;
#[cfg(test)]
mod tests;

use analysis::trial::{Rate, wilson};
use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session, WriteMode};
use futures::future::BoxFuture;
use models::{Classifier, EncoderDevice};
use serde_json::{Value, json};

use fit::{Encoder, Fitted, Survey, Task};
use judge::{ScopeFigures, ends};
use params::Method;
pub use params::Params;
use prepare::{Dropped, Prepared, prepare, read};

use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::registry::embedders::{check_fields, check_numbers, inputs_of};
use crate::registry::evaluations;
use crate::registry::training;
use crate::registry::training_rows::training_rows_spec;
use crate::registry::{
    Change, Compared, History, ModelStage, Registration, files, model_batch, models_spec,
    stage_batch, stages_spec, version_of,
};
use crate::run::context::RunContext;
use crate::tables::input::InputTable;
use crate::tables::replacing::in_place_of;

/// The kind's name.
const NAME: &str = "triage_train";
/// What its models do.
const TASK: &str = "triage";

/// Memory of one row beside its vector: a guess for the estimate only.
const ROW_BYTES: usize = 4096;

/// The job kind.
pub struct TriageTrain;

impl TriageTrain {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for TriageTrain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "learns from labelled texts, and numbers beside them, to label others, and registers the model as a candidate"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        let own = std::iter::once(params.dataset).chain(params.corrections);
        Ok(own.chain(inputs_of(&params.embedder)).collect())
    }

    fn appends_to_inputs(&self) -> bool {
        true
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Self::params(params)?;
        Ok(vec![
            training_rows_spec(),
            evaluations::spec(),
            output::suspects_spec(),
            models_spec(),
            stages_spec(),
        ])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            prepare::check(session, &Self::params(params)?).await?;
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
            let now = ctx.present().await?;
            let history = training::history(now, NAME, &params.model, TASK).await?;
            let mut not_compared = None;
            let in_use = match history.production() {
                Some(version) => match in_use(ctx, now, &params, version).await? {
                    Ok(classifier) => Some((version.to_owned(), classifier)),
                    Err(because) => {
                        not_compared = Some(because);
                        None
                    }
                },
                None => None,
            };
            let other = in_use.as_ref().map(|(_, classifier)| &classifier.settings().numbers);
            let (rows, dropped, corrected) = read(ctx, &params, other).await?;
            ctx.progress(0.05);
            let counts = (dropped, corrected, rows.ids.len());
            let prepared = prepare(rows, &params)?;
            let encoder = encoder(ctx, &params).await?;
            let task = Task {
                trained_on: training::trained_on(ctx),
                checkpoints: ctx.checkpoints(),
                tell: ctx.progress_sink(),
                tell_more: ctx.activity_sink(),
                cancellation: ctx.cancellation().clone(),
                params: params.clone(),
                prepared,
                gpu: ctx.gpu(),
                encoder,
                in_use,
            };
            let (task, mut survey) = look_at(ctx, task).await?;
            let mut stage = ctx.stage("train");
            stage.record.rows_in = task.prepared.rows.ids.len() as u64;
            let (pool, vectors) = (ctx.pool().clone(), survey.take_vectors());
            match &survey.on_device {
                Some(on_device) => on_device.note(&mut stage),
                None => stage.on_device("cpu", "a head is trained on the CPU"),
            }
            let device = survey.on_device.as_ref().map_or(EncoderDevice::Cpu, |on| on.device);
            let work = move || pool.install(|| task.run(device, vectors));
            let (prepared, fitted) = ctx.compute(work).await?;
            stage.record.rows_out = fitted.scores.rows as u64;
            stage.facts(fitted.facts.clone());
            stage.finish();
            require_alike(&params, &fitted)?;
            let registration = registration(&params, &fitted);
            let trained = Trained { prepared, survey, fitted, registration };
            commit(ctx, &params, &trained, &history).await?;
            let mut summary = summary(&params, &trained, counts);
            if let Some(because) = not_compared {
                summary["not_compared_with_production"] = because.into();
            }
            Ok(Outcome { summary })
        })
    }
}

/// All that a training has left.
struct Trained {
    prepared: Prepared,
    survey: Survey,
    fitted: Fitted,
    registration: Registration,
}

/// Reports on the rows, and says what training will cost, to whoever watches.
async fn look_at(ctx: &RunContext, task: Task) -> Result<(Task, Survey)> {
    let mut stage = ctx.stage("prepare");
    stage.record.rows_in = task.prepared.rows.ids.len() as u64;
    let pool = ctx.pool().clone();
    let work = move || pool.install(|| task.survey().map(|survey| (task, survey)));
    let (task, survey) = ctx.compute(work).await?;
    let (report, cost) = (survey.facts(&task.prepared.labels), survey.cost());
    stage.record.rows_out = survey.quality.len() as u64;
    stage.facts(json!({ "data": report, "training_estimate": cost }));
    ctx.activity_sink()(json!({ "training_estimate": cost }));
    stage.finish();
    Ok((task, survey))
}

/// What the texts become vectors with.
async fn encoder(ctx: &RunContext, params: &Params) -> Result<Encoder> {
    let (embedders, session, name) = (ctx.embedders(), ctx.session(), &params.embedder);
    match params.method {
        Method::Head => {
            let embedder = embedders.get(session, name, params.dimension as usize).await?;
            Ok(Encoder::Frozen(embedder))
        }
        Method::Full | Method::LowRank | Method::Contrastive => {
            Ok(Encoder::Trained(embedders.model(session, name).await?))
        }
    }
}

/// The classifier in production, or why it can't answer for these rows.
async fn in_use(
    ctx: &RunContext,
    session: &Session,
    params: &Params,
    version: &str,
) -> Result<Result<Classifier, String>> {
    let files = files(session, &params.model, version).await?;
    let classifier = ctx.embedders().classifier(session, files).await?;
    let name = (NAME, &params.model[..], version);
    check_fields(name, &classifier, params.text_columns.len())?;
    let table = InputTable::open(ctx.session(), NAME, &params.dataset).await?;
    let has_numbers = check_numbers((&params.model, version), &classifier, &table);
    Ok(has_numbers.map(|()| classifier).map_err(|error| error.to_string()))
}

fn registration(params: &Params, fitted: &Fitted) -> Registration {
    let compared = fitted.comparison.as_ref().map(|(version, compared)| Compared {
        version: version.clone(),
        accuracy: (compared.both + compared.only_second) as f64 / fitted.scores.rows.max(1) as f64,
        p_value: compared.p_value,
    });
    Registration {
        name: params.model.clone(),
        version: version_of(&fitted.files),
        files: fitted.files.clone(),
        task: TASK,
        method: params.method.as_str().into(),
        held_out_rows: fitted.scores.rows as u64,
        accuracy: Some(fitted.scores.accuracy),
        macro_f1: Some(fitted.scores.macro_f1),
        compared,
    }
}

/// Commits the version, its stage, and what is said of it.
async fn commit(
    ctx: &RunContext,
    params: &Params,
    trained: &Trained,
    history: &History,
) -> Result<()> {
    let Trained { prepared, survey, fitted, registration: model } = trained;
    let rows = output::training_rows(params, &model.version, prepared, survey, fitted)?;
    let version = [("model", &params.model), ("version", &model.version)];
    let version =
        version.map(|(column, value)| (column.to_owned(), ScalarValue::from(value.as_str())));
    let mode = WriteMode::ReplacePartitions(version.to_vec());
    ctx.commit(training_rows_spec(), mode, rows).await?;
    let rows = output::evaluations(params, &model.version, prepared, fitted)?;
    ctx.commit(evaluations::spec(), WriteMode::Append, vec![rows]).await?;
    let rows = output::suspects(params, prepared, &survey.noise)?;
    let partition = in_place_of(params.dataset.as_str());
    ctx.commit(output::suspects_spec(), partition, vec![rows]).await?;
    ctx.commit(models_spec(), WriteMode::Append, vec![model_batch(ctx, model).await?]).await?;
    // A version that is in use stays so when it is trained again.
    let stage = history.stage(&model.version).unwrap_or(ModelStage::Candidate);
    let change =
        Change { version: model.version.clone(), stage, reason: "trained".into(), forced: false };
    let rows = stage_batch(ctx, &params.model, history.next_number(), &[change])?;
    ctx.commit(stages_spec(), WriteMode::Append, vec![rows]).await?;
    Ok(())
}

/// The part of the held-out rows that the version in production answers otherwise; none without one.
fn changed(fitted: &Fitted) -> Option<Rate> {
    fitted.comparison.as_ref().and_then(|_| wilson(fitted.changed, fitted.scores.rows as u64))
}

/// Fails if the new version and the one in production disagree on too many held-out rows.
fn require_alike(params: &Params, fitted: &Fitted) -> Result<()> {
    let (Some(most), Some(changed)) = (params.answers_change_max, changed(fitted)) else {
        return Ok(());
    };
    if changed.rate <= most {
        return Ok(());
    }
    let problem = format!(
        "the new version and the one in production disagree on {} of {} held-out rows; expected a part of {most} at most: \
         check the labels, or set a larger `answers_change_max`",
        fitted.changed, fitted.scores.rows
    );
    Err(bad(NAME, "answers_change_max", problem))
}

/// The part of the held-out rows answered otherwise above which there is a warning.
const CHANGE_WARNED: f64 = 0.2;
/// Held-out rows below which figures say little.
const HELD_OUT_FEW: usize = 50;

/// What makes the figures of a training doubtful.
fn warnings(validation: usize, fitted: &Fitted) -> Vec<String> {
    let mut found = Vec::new();
    let rows = fitted.scores.rows;
    if rows < HELD_OUT_FEW {
        found.push(format!(
            "accuracy and macro_f1 are of {rows} held-out rows; label more rows until they are {HELD_OUT_FEW} or more"
        ));
    }
    let by_hand = rows as u64 - fitted.not_by_hand[0];
    if by_hand > 0 {
        found.push(format!(
            "{by_hand} of {rows} held-out rows are labelled by hand: if people label rows that are hard, accuracy and macro_f1 are too low; \
             accuracy_not_by_hand is that of the others"
        ));
    }
    if let Some(changed) = changed(fitted).filter(|changed| changed.rate > CHANGE_WARNED) {
        found.push(format!(
            "the new version and the one in production disagree on {} of {rows} held-out rows, {:.0} %: check some of them, or set \
             `answers_change_max`",
            fitted.changed,
            100.0 * changed.rate
        ));
    }
    if !fitted.threshold.is_any {
        found.push(format!(
            "no text is out of scope: {validation} validation rows are too few to know below which score the least sure texts are"
        ));
    }
    if fitted.threshold.outside > 0 && !fitted.threshold.is_changed {
        found.push(format!(
            "{} out-of-scope validation rows are too few to improve the threshold; label more",
            fitted.threshold.outside
        ));
    }
    if fitted.calibration.temperature == 1.0 {
        found.push(format!(
            "confidences are not calibrated: on {validation} validation rows no temperature helped by more than chance"
        ));
    }
    found
}

fn summary(
    params: &Params,
    trained: &Trained,
    (dropped, corrected, rows): (Dropped, u64, usize),
) -> Value {
    let Trained { prepared, survey, fitted, registration: model } = trained;
    let sides = [prepare::Side::Train, prepare::Side::Validation, prepare::Side::HeldOut];
    let [train, validation, held_out] = sides.map(|side| prepared.of(side).len());
    let compared = model.compared.as_ref().map(|it| {
        let right = (it.accuracy * fitted.scores.rows as f64).round() as u64;
        json!({
            "version": it.version,
            "accuracy": it.accuracy,
            "accuracy_interval": wilson(right, fitted.scores.rows as u64).map(ends),
            "p_value": it.p_value,
            "changed": changed(fitted).map(|it| it.rate),
            "changed_interval": changed(fitted).map(ends),
        })
    });
    let scope = fitted.scope.as_ref().map(|scope| {
        let found = ScopeFigures::new(scope);
        let rate = |of: Option<Rate>| of.map(|of| of.rate);
        json!({
            "rows": scope.out_of_scope_rows,
            "auroc": rate(found.auroc),
            "auroc_interval": found.auroc.map(ends),
            "recall": rate(found.recall),
            "recall_interval": found.recall.map(ends),
            "precision": rate(found.precision),
            "precision_interval": found.precision.map(ends),
            "in_scope_accuracy": rate(found.in_scope_accuracy),
            "in_scope_accuracy_interval": found.in_scope_accuracy.map(ends),
        })
    });
    let not_by_hand = wilson(fitted.not_by_hand[1], fitted.not_by_hand[0]);
    let not_by_hand = not_by_hand.filter(|_| fitted.not_by_hand[0] < fitted.scores.rows as u64);
    json!({
        "source": params.dataset,
        "model": model.name,
        "version": model.version,
        "method": model.method,
        "rows": rows,
        "rows_without_id": dropped.without_id,
        "rows_without_label": dropped.without_label,
        "rows_corrected": corrected,
        "classes": prepared.labels.count(),
        "features": prepared.numbers.count(),
        "train_rows": train,
        "validation_rows": validation,
        "held_out_rows": held_out,
        "held_out_rows_seen": prepared.repeated.iter().filter(|it| **it).count(),
        "held_out_labels_unseen": prepared.unseen(),
        "data": survey.facts(&prepared.labels),
        "accuracy": fitted.scores.accuracy,
        "accuracy_interval": fitted.accuracy_interval,
        "accuracy_not_by_hand": not_by_hand.map(|it| it.rate),
        "accuracy_not_by_hand_interval": not_by_hand.map(ends),
        "macro_f1": fitted.scores.macro_f1,
        "macro_f1_interval": fitted.macro_f1_interval,
        "temperature": fitted.calibration.temperature,
        "calibration_error": {
            "before": fitted.calibration_error[0],
            "before_interval": fitted.calibration_error_interval[0],
            "after": fitted.calibration_error[1],
            "after_interval": fitted.calibration_error_interval[1],
        },
        "out_of_scope": scope,
        "in_production": compared,
        "training": fitted.facts,
        "training_estimate": survey.cost(),
        "warnings": warnings(validation, fitted),
    })
}
