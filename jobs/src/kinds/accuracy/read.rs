//! Answers beside what is so.

use std::collections::{BTreeMap, BTreeSet};

use analysis::answers::{Answers, BINS, Beside, OfLabel, macro_f1};
use analysis::sampling::{
    DifferenceOfAll, Stratum, label_sampling_p, rate_of_all, weighted_difference,
};
use analysis::trial::Rate;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::functions::math::expr_fn::floor;
use datafusion::functions_aggregate::expr_fn::{count, first_value};
use datafusion::logical_expr::{Expr, JoinType, cast, ident, lit, try_cast, when};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;

use super::NAME;
use super::params::Params;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::microseconds;
use crate::tables::columns::texts;
use crate::tables::input::{INSTANTS, InputTable, NAMES, declared_time, is_name};
use crate::tables::period::Periods;

/// Models, and labels of all of them together, at most.
const MODELS_MAX: usize = 1_000;
const LABELS_MAX: usize = 100_000;
/// Periods of all models together, at most.
const PERIODS_MAX: usize = 1_000_000;

/// Tenths of confidence, and answers without one.
const STRATA: usize = BINS + 1;
/// The chance of an even draw below which labels are of other answers than most.
pub(super) const UNEVEN: f64 = 0.01;

/// Columns of the rows on their way.
const MODEL: &str = "_model";
const LABEL: &str = "_label";
const CONFIDENCE: &str = "_confidence";
const TRUTH: &str = "_truth";
const PLACE: &str = "_place";
const AT: &str = "_at";

fn key(at: usize) -> String {
    format!("_key_{at}")
}

fn truth_key(at: usize) -> String {
    format!("_truth_key_{at}")
}

/// A model.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) name: String,
    /// Its answers, known or not.
    pub(super) answers: u64,
    /// The same by tenths of confidence; the last are those without one.
    by_confidence: [u64; STRATA],
    pub(super) known: Answers,
    /// The same by period.
    pub(super) periods: BTreeMap<i64, Answers>,
    labels: BTreeMap<String, OfLabel>,
}

impl Model {
    /// The mean over the labels that are true or answered of the harmonic mean of precision and recall,
    /// as scikit-learn defines it. A missing answer is of no label.
    pub(super) fn macro_f1(&self) -> Option<Rate> {
        macro_f1(self.labels.values().copied())
    }

    pub(super) fn labels(&self) -> usize {
        self.labels.len()
    }

    /// Its answers by confidence.
    fn strata(&self) -> Vec<Stratum> {
        let others = (self.known.answers - self.known.sure(), {
            let right: u64 = self.known.bins.iter().map(|bin| bin.right).sum();
            self.known.right - right
        });
        let bins = self.known.bins.iter().map(|bin| (bin.answers, bin.right));
        let stratum = |(answers, (labelled, right)): (&u64, (u64, u64))| Stratum {
            answers: *answers,
            labelled,
            right,
        };
        self.by_confidence.iter().zip(bins.chain([others])).map(stratum).collect()
    }

    /// The part of all its answers that is right, by their confidence; none if it has none.
    pub(super) fn weighted_accuracy(&self) -> Option<Rate> {
        (self.known.sure() > 0).then(|| rate_of_all(&self.strata())).flatten()
    }

    /// The chance that answers are labelled so unevenly by confidence if they are drawn evenly.
    pub(super) fn label_sampling_p(&self) -> Option<f64> {
        (self.known.sure() > 0).then(|| label_sampling_p(&self.strata())).flatten()
    }
}

/// Two models on the rows that both answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    pub(super) beside: Beside,
    /// The same by the confidence of each.
    by_confidence: [[Beside; STRATA]; 2],
}

impl Pair {
    fn add(&mut self, a: (bool, usize), b: (bool, usize)) {
        self.beside.add(a.0, b.0);
        for (strata, stratum) in self.by_confidence.iter_mut().zip([a.1, b.1]) {
            if let Some(beside) = strata.get_mut(stratum) {
                beside.add(a.0, b.0);
            }
        }
    }

    /// With the second first.
    pub(super) fn turned(&self) -> Self {
        let turned = |of: Beside| Beside { only_a: of.only_b, only_b: of.only_a, ..of };
        let [of_a, of_b] = self.by_confidence.map(|strata| strata.map(turned));
        Self { beside: turned(self.beside), by_confidence: [of_b, of_a] }
    }

    /// How they compare on all answers, by the confidence of each of the two whose labels are not drawn evenly.
    pub(super) fn weighted(&self, models: [&Model; 2]) -> Vec<DifferenceOfAll> {
        let of_models = self.by_confidence.iter().zip(models);
        let uneven =
            of_models.filter(|(_, model)| model.label_sampling_p().is_some_and(|p| p < UNEVEN));
        let differences = uneven.filter_map(|(strata, model)| {
            let strata = model.by_confidence.iter().copied().zip(strata.iter().copied());
            weighted_difference(&strata.collect::<Vec<_>>())
        });
        differences.collect()
    }
}

/// The stratum of a confidence.
fn stratum(confidence: Option<f64>) -> usize {
    match confidence.filter(|of| (0.0..=1.0).contains(of)) {
        Some(confidence) => ((confidence * BINS as f64) as usize).min(BINS - 1),
        None => BINS,
    }
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    /// By name.
    pub(super) models: Vec<Model>,
    /// Models by number, the first before the second.
    pub(super) pairs: BTreeMap<(usize, usize), Pair>,
    /// Keys of which it is known what is so, and that are answered.
    pub(super) rows: u64,
    /// Answers of a model beyond its first of a row.
    pub(super) repeated: u64,
    /// Answers that say how sure they are in no number of 0 to 1.
    pub(super) unsure: u64,
}

/// Where it was read of when something is known.
pub(super) struct Asked<'a> {
    params: &'a Params,
    predictions: Vec<InputTable<'a>>,
    truth: InputTable<'a>,
    time: Option<String>,
}

/// Checks what is asked against the columns of the datasets.
pub(super) async fn asked<'a>(session: &Session, params: &'a Params) -> Result<Asked<'a>> {
    let mut predictions = Vec::new();
    for dataset in &params.predictions {
        let table = InputTable::open(session, NAME, dataset).await?;
        for column in &params.key {
            table.check("key", column, NAMES, is_name)?;
        }
        table.check("model_column", &params.model_column, NAMES, is_name)?;
        table.check("label_column", &params.label_column, NAMES, is_name)?;
        if let Some(column) = &params.confidence_column {
            table.check("confidence_column", column, "a number", DataType::is_numeric)?;
        }
        predictions.push(table);
    }
    let truth = InputTable::open(session, NAME, &params.truth).await?;
    let parameter = if params.truth_key.is_some() { "truth_key" } else { "key" };
    for column in params.truth_key() {
        truth.check(parameter, column, NAMES, is_name)?;
    }
    truth.check("truth_column", &params.truth_column, NAMES, is_name)?;
    let declared = declared_time(session, &params.truth).map(str::to_owned);
    let time = params.truth_time_column.clone().or(declared);
    if let Some(column) = &time {
        truth.check("truth_time_column", column, INSTANTS, |of| of.is_temporal())?;
    }
    Ok(Asked { params, predictions, truth, time })
}

fn text(column: &str) -> Expr {
    cast(ident(column), DataType::Utf8)
}

impl Asked<'_> {
    /// All answers, in the order of the datasets.
    fn answers(&self) -> Result<DataFrame> {
        let params = self.params;
        let mut all: Option<DataFrame> = None;
        for (place, table) in self.predictions.iter().enumerate() {
            let mut wanted: Vec<Expr> =
                params.key.iter().enumerate().map(|(at, of)| text(of).alias(key(at))).collect();
            let confidence = match &params.confidence_column {
                Some(column) => try_cast(ident(column), DataType::Float64),
                None => lit(ScalarValue::Float64(None)),
            };
            wanted.extend([
                text(&params.model_column).alias(MODEL),
                text(&params.label_column).alias(LABEL),
                confidence.alias(CONFIDENCE),
                lit(place as i64).alias(PLACE),
            ]);
            let frame = table.frame.clone().select(wanted)?;
            all = Some(match all {
                Some(before) => before.union(frame)?,
                None => frame,
            });
        }
        all.ok_or_else(|| Error::internal(format!("{NAME}: no predictions")))
    }

    /// What was said to be so, and when.
    fn truths(&self) -> Result<DataFrame> {
        let params = self.params;
        let at = match &self.time {
            Some(column) => cast(cast(ident(column), microseconds()), DataType::Int64),
            None => lit(ScalarValue::Int64(None)),
        };
        let keys = params.truth_key().iter().enumerate();
        let mut wanted: Vec<Expr> = keys.map(|(at, of)| text(of).alias(truth_key(at))).collect();
        wanted.extend([text(&params.truth_column).alias(TRUTH), at.alias(AT)]);
        let frame = self.truth.frame.clone().select(wanted)?;
        let frame = frame.filter(ident(TRUTH).is_not_null())?;
        Ok(frame.distinct()?)
    }

    /// Reads all of it.
    pub(super) async fn read(&self, ctx: &RunContext, stage: &mut Stage) -> Result<Read> {
        let session = ctx.session();
        let mut reading = Reading::new(self.params.periods_of());
        let confidence = ident(CONFIDENCE);
        let is_part = confidence.clone().between(lit(0.0), lit(1.0));
        let tenth = cast(floor(confidence * lit(BINS as f64)), DataType::Int64);
        let tenth = when(is_part, tenth).otherwise(lit(-1_i64))?;
        let by = vec![ident(MODEL), tenth.alias("tenth")];
        let keys = self.params.key.len();
        // The first answer of a model to a row counts.
        let row = (0..keys).map(key).chain([MODEL.to_owned()]).map(ident).collect();
        let order = [PLACE, LABEL, CONFIDENCE].map(|name| ident(name).sort(true, true));
        let first = first_value(ident(CONFIDENCE), order.into()).alias(CONFIDENCE);
        let answers = self.answers()?.aggregate(row, vec![first])?;
        let frame = answers.aggregate(by, vec![count(lit(1)).alias("rows")])?;
        for batch in session.collect(frame).await? {
            let models = texts(&batch, 0)?;
            let [tenths, rows] = [1, 2].map(|at| batch.column(at).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let model =
                    reading.model(if models.is_valid(row) { models.value(row) } else { "" })?;
                let model = &mut reading.models[model];
                model.answers += rows.value(row) as u64;
                // A confidence of 1 is of the last tenth.
                let tenth = usize::try_from(tenths.value(row)).map(|tenth| tenth.min(BINS - 1));
                model.by_confidence[tenth.unwrap_or(BINS)] += rows.value(row) as u64;
                stage.record.rows_in += rows.value(row) as u64;
            }
        }
        reading.compare(self.params);
        let [own, theirs]: [Vec<String>; 2] =
            [(0..keys).map(key).collect(), (0..keys).map(truth_key).collect()];
        let own_names: Vec<&str> = own.iter().map(String::as_str).collect();
        let their_names: Vec<&str> = theirs.iter().map(String::as_str).collect();
        let frame = self.answers()?.join(
            self.truths()?,
            JoinType::Inner,
            &own_names,
            &their_names,
            None,
        )?;
        // Of each key what was said last comes first.
        let by_key = own.iter().map(|name| ident(name).sort(true, true));
        let newest = [AT, TRUTH].map(|name| ident(name).sort(false, false));
        let others = [MODEL, PLACE, LABEL, CONFIDENCE].map(|name| ident(name).sort(true, true));
        let order = by_key.chain(newest).chain(others).collect();
        let mut wanted: Vec<Expr> = own.iter().map(ident).collect();
        wanted.extend([MODEL, LABEL, TRUTH, CONFIDENCE, AT].map(ident));
        wanted.push(ident(PLACE));
        let mut batches = session.stream(frame.select(wanted)?.sort(order)?).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            ctx.check()?;
            reading.add(&batch, keys)?;
        }
        reading.end_row();
        stage.record.rows_out = reading.read.rows;
        Ok(reading.finish())
    }
}

struct Reading {
    read: Read,
    periods_of: Periods,
    models: Vec<Model>,
    numbers: BTreeMap<String, usize>,
    labels: usize,
    periods: usize,
    /// The key that answers are of now, when and what was last said of it, and which models were right.
    key: Vec<Option<String>>,
    newest: (Option<i64>, String),
    right: BTreeMap<usize, (bool, usize)>,
    /// Models that are held against each other, or against the champion.
    compared: BTreeSet<usize>,
    champion: Option<usize>,
}

impl Reading {
    fn new(periods_of: Periods) -> Self {
        Self {
            read: Read::default(),
            periods_of,
            models: Vec::new(),
            numbers: BTreeMap::new(),
            labels: 0,
            periods: 0,
            key: Vec::new(),
            newest: (None, String::new()),
            right: BTreeMap::new(),
            compared: BTreeSet::new(),
            champion: None,
        }
    }

    fn model(&mut self, name: &str) -> Result<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = self.models.len();
        if number >= MODELS_MAX {
            let says = format!("{NAME}: expected at most {MODELS_MAX} models, found more");
            return Err(Error::user(Code::LimitExceeded, says));
        }
        self.numbers.insert(name.to_owned(), number);
        self.models.push(Model { name: name.to_owned(), ..Model::default() });
        Ok(number)
    }

    fn add(&mut self, batch: &RecordBatch, keys: usize) -> Result<()> {
        let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
        let names = (0..keys).map(|at| texts(batch, at)).collect::<Result<Vec<_>>>()?;
        let (models, labels, truths) =
            (texts(batch, keys)?, texts(batch, keys + 1)?, texts(batch, keys + 2)?);
        let said = batch.column(keys + 3).as_primitive_opt::<Float64Type>().ok_or_else(broken)?;
        let at = batch.column(keys + 4).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        let time = |row: usize| at.is_valid(row).then(|| at.value(row));
        let text = |of: &StringArray, row: usize| match of.is_valid(row) {
            true => of.value(row).to_owned(),
            false => String::new(),
        };
        for row in 0..batch.num_rows() {
            let is_same = self.key.len() == keys
                && self
                    .key
                    .iter()
                    .zip(&names)
                    .all(|(own, of)| own.as_deref() == of.is_valid(row).then(|| of.value(row)));
            if !is_same {
                self.end_row();
                let named = |of: &StringArray| of.is_valid(row).then(|| of.value(row).to_owned());
                self.key = names.iter().map(named).collect();
                self.newest = (time(row), text(&truths, row));
                self.read.rows += 1;
            }
            let label = labels.is_valid(row).then(|| labels.value(row).to_owned());
            let truth = text(&truths, row);
            if self.newest.0 != time(row) || self.newest.1 != truth {
                continue;
            }
            let number = self.model(&text(&models, row))?;
            let is_right = label.as_ref() == Some(&truth);
            if self.right.contains_key(&number) {
                self.read.repeated += 1;
                continue;
            }
            let confidence = said.is_valid(row).then(|| said.value(row));
            self.right.insert(number, (is_right, stratum(confidence)));
            let period = time(row).map(|at| self.periods_of.of(at));
            self.count(number, (label, truth, is_right), confidence, period)?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        number: usize,
        (label, truth, is_right): (Option<String>, String, bool),
        confidence: Option<f64>,
        period: Option<i64>,
    ) -> Result<()> {
        let Some(model) = self.models.get_mut(number) else { return Ok(()) };
        let is_part = |of: f64| (0.0..=1.0).contains(&of);
        self.read.unsure += u64::from(confidence.is_some_and(|of| !is_part(of)));
        model.known.add(is_right, confidence);
        let before = (model.labels.len(), model.periods.len());
        if let Some(period) = period {
            model.periods.entry(period).or_default().add(is_right, confidence);
        }
        let so = model.labels.entry(truth).or_default();
        so.so += 1;
        so.right += u64::from(is_right);
        if let Some(label) = label {
            model.labels.entry(label).or_default().answered += 1;
        }
        self.labels += model.labels.len() - before.0;
        self.periods += model.periods.len() - before.1;
        for (what, found, most) in
            [("labels", self.labels, LABELS_MAX), ("periods", self.periods, PERIODS_MAX)]
        {
            if found > most {
                let says = format!(
                    "{NAME}: expected at most {most} {what} of all models together, found more"
                );
                return Err(Error::user(Code::LimitExceeded, says));
            }
        }
        Ok(())
    }

    /// Chooses whom to hold against whom, by their answers.
    fn compare(&mut self, params: &Params) {
        self.champion = params.champion.as_ref().and_then(|name| self.numbers.get(name).copied());
        let mut most: Vec<(usize, &Model)> = self.models.iter().enumerate().collect();
        most.sort_by(|(_, a), (_, b)| b.answers.cmp(&a.answers).then_with(|| a.name.cmp(&b.name)));
        let others = most.into_iter().map(|(number, _)| number).take(params.compared);
        self.compared = others.chain(self.champion).collect();
    }

    fn end_row(&mut self) {
        let mut right: Vec<(usize, (bool, usize))> =
            std::mem::take(&mut self.right).into_iter().collect();
        right.retain(|(number, _)| self.compared.contains(number));
        for (at, (a, of_a)) in right.iter().enumerate() {
            for (b, of_b) in right.iter().skip(at + 1) {
                if self.champion.is_none_or(|champion| champion == *a || champion == *b) {
                    self.read.pairs.entry((*a, *b)).or_default().add(*of_a, *of_b);
                }
            }
        }
    }

    /// With the models by name.
    fn finish(self) -> Read {
        let Self { mut read, models, numbers, .. } = self;
        let by_name: Vec<usize> = numbers.into_values().collect();
        let mut places = vec![0; models.len()];
        by_name.iter().enumerate().for_each(|(place, number)| places[*number] = place);
        let turned = |((a, b), of): ((usize, usize), Pair)| {
            let (a, b) = (places[a], places[b]);
            match a < b {
                true => ((a, b), of),
                false => ((b, a), of.turned()),
            }
        };
        read.pairs = read.pairs.into_iter().map(turned).collect();
        let mut models: Vec<Option<Model>> = models.into_iter().map(Some).collect();
        read.models = by_name.into_iter().filter_map(|number| models[number].take()).collect();
        read
    }
}
