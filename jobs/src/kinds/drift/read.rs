//! Rows of a dataset, group by group and period by period, as samples.

use std::collections::BTreeMap;

use analysis::Noise;
use analysis::drift::{Drift, Features, Period, Rule, Sample, Score, Watch};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::{Expr, cast, ident, lit, try_cast};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use hashbrown::HashMap;

use super::NAME;
use super::params::{Params, USUAL};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::microseconds;
use crate::tables::columns::{texts, type_name};
use crate::tables::input::{
    Asked, INSTANTS, InputTable, NAMES, is_name, is_text, optional, time_or_at,
};
use crate::tables::period::Periods;

/// Rows of a period that are looked at, drawn where there are more; vectors cost more.
const ROWS_MAX: usize = 20_000;
const VECTORS_MAX: usize = 1_000;
/// Different texts of a period that are told apart, the most frequent ones, what the others are called, and how long a text may be.
const TEXTS_MAX: usize = 1_000;
const OTHERS: &str = "(others)";
const TEXT_MAX: usize = 200;
/// Texts of a period that are counted before the seldom ones are put together.
const TEXTS_COUNTED: usize = 10_000;
/// Groups, and rows of results, at most.
const GROUPS_MAX: u64 = 10_000;
const SCORES_MAX: usize = 2_000_000;
const SEED: u64 = 0x6472_6177;
/// Part of the run's memory that the samples of a group may take, of which each is held up to three times: by itself, with all of the reference,
/// and as one of the newest.
const SHARE: usize = 3;
const TIMES: usize = 3;

/// What a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Numbers,
    Texts,
    Vectors,
}

impl Form {
    fn of(data_type: &DataType) -> Option<Self> {
        let items = |field: &Field| field.data_type().is_numeric();
        match data_type {
            of if of.is_numeric() => Some(Self::Numbers),
            of if is_text(of) || *of == DataType::Boolean => Some(Self::Texts),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
                if items(field) =>
            {
                Some(Self::Vectors)
            }
            _ => None,
        }
    }

    /// How far apart samples of it are is measured so.
    pub(super) fn statistic(self) -> &'static str {
        match self {
            Self::Numbers => "ks",
            Self::Texts => "psi",
            Self::Vectors => "mmd",
        }
    }
}

/// Of a group, what came of one of its columns.
pub(super) struct Watched {
    pub(super) group: usize,
    pub(super) column: usize,
    pub(super) scores: Vec<Score>,
    pub(super) drifts: Vec<Drift>,
}

/// What was read.
pub(super) struct Found {
    pub(super) groups: Vec<String>,
    pub(super) forms: Vec<Form>,
    pub(super) rule: Rule,
    pub(super) watched: Vec<Watched>,
    pub(super) rows: u64,
    /// Rows without an instant.
    pub(super) left_out: u64,
    /// Periods of groups that had too few rows.
    pub(super) thin: u64,
    /// Groups whose past is shorter than the reference.
    pub(super) young: u64,
    /// Columns of groups whose reference is so mixed that nothing can be further away.
    pub(super) blind: u64,
    /// Columns of groups whose periods depend on each other for too long for any run to be more than chance.
    pub(super) undecided: u64,
}

/// What is asked, with the columns that there are where none are named.
pub(super) async fn asked(session: &Session, mut params: Params) -> Result<Params> {
    if params.columns.is_none() {
        let table = InputTable::open(session, NAME, &params.dataset).await?;
        let fields = table.frame.schema().fields();
        let has = |name: &&str| {
            let named = fields.iter().find(|field| field.name() == *name);
            named.is_some_and(|field| Form::of(field.data_type()).is_some())
        };
        let there: Vec<String> = USUAL.into_iter().filter(has).map(str::to_owned).collect();
        if there.is_empty() {
            let says = format!(
                "dataset {} has none of {}; expected what is to be watched",
                params.dataset,
                USUAL.join(", ")
            );
            return Err(bad(NAME, "columns", says));
        }
        params.columns = Some(there);
    }
    Ok(params)
}

/// Checks what is asked against the columns of the dataset, and says what these have.
pub(super) async fn check<'a>(
    session: &Session,
    params: &'a Params,
) -> Result<(InputTable<'a>, String, Vec<Form>)> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    let time = time_or_at(session, &params.dataset, params.time_column.as_deref());
    let mut named: Vec<Asked<'_>> = vec![("time_column", &time, INSTANTS, DataType::is_temporal)];
    named.extend(optional("group_column", &params.group_column, NAMES, is_name));
    table.check_all(&named)?;
    table.check_condition(session, "where", params.condition.as_deref()).await?;
    let mut forms = Vec::new();
    for column in params.watched() {
        let read = session.safe_expression(&params.dataset, column).await;
        let read = read.map_err(|error| bad(NAME, "columns", format!("{column:?}: {error}")))?;
        let found = table.frame.clone().select(vec![read.alias("value")])?;
        let found = found.schema().field(0).data_type().clone();
        forms.push(Form::of(&found).ok_or_else(|| {
            let says = format!(
                "{column:?}: expected a number, text, truth value or vector, found {}",
                type_name(&found)
            );
            bad(NAME, "columns", says)
        })?);
    }
    params.rule()?;
    Ok((table, time, forms))
}

fn vector() -> DataType {
    DataType::List(std::sync::Arc::new(Field::new_list_field(DataType::Float32, true)))
}

async fn frame(ctx: &RunContext, params: &Params) -> Result<(DataFrame, Vec<Form>)> {
    let session = ctx.session();
    let (table, time, forms) = check(session, params).await?;
    let frame = table.only_where(ctx, params.condition.as_deref()).await?;
    let group = match &params.group_column {
        Some(column) => nullif(cast(ident(column), DataType::Utf8), lit("")),
        None => lit(ScalarValue::Utf8(None)),
    };
    let at = cast(cast(ident(time), microseconds()), DataType::Int64);
    let mut wanted: Vec<Expr> = vec![group.alias("group"), at.alias("at")];
    let mut order = vec![ident("group").sort(true, true), ident("at").sort(true, true)];
    for (place, (column, form)) in params.watched().iter().zip(&forms).enumerate() {
        let value = session.safe_expression(&params.dataset, column).await?;
        let value = session.or_null(value, frame.schema(), ctx.uncomputed())?;
        let name = format!("column_{place}");
        wanted.push(match form {
            Form::Numbers => try_cast(value, DataType::Float64).alias(&name),
            Form::Texts => cast(value, DataType::Utf8).alias(&name),
            Form::Vectors => value.alias(&name),
        });
        // In an order of their own: which rows are drawn must not depend on who came first.
        order.push(ident(&name).sort(true, true));
    }
    Ok((frame.select(wanted)?.sort(order)?, forms))
}

/// Reads all of it.
pub(super) async fn read(ctx: &RunContext, params: &Params, stage: &mut Stage) -> Result<Found> {
    let (frame, forms) = frame(ctx, params).await?;
    let mut batches = ctx.session().stream(frame).await?;
    let mut reading = Reading::new(params, forms, ctx.memory_budget_bytes() / SHARE)?;
    while let Some(batch) = batches.next().await.transpose()? {
        ctx.check()?;
        stage.record.rows_in += batch.num_rows() as u64;
        stage.record.bytes_read += batch.get_array_memory_size() as u64;
        reading = ctx.compute(move || reading.add(&batch)).await?;
    }
    let found = ctx.compute(move || reading.finish()).await?;
    stage.record.rows_out = found.rows;
    Ok(found)
}

/// Rows of one column in one period.
enum Buffer {
    Numbers(Vec<Option<f64>>),
    /// And how many are null.
    Texts(HashMap<String, u64>, u64),
    Vectors(Vec<Vec<f32>>),
}

impl Buffer {
    fn new(form: Form) -> Self {
        match form {
            Form::Numbers => Self::Numbers(Vec::new()),
            Form::Texts => Self::Texts(HashMap::new(), 0),
            Form::Vectors => Self::Vectors(Vec::new()),
        }
    }
}

struct Reading {
    params: Params,
    found: Found,
    /// The group that rows are of now.
    group: Option<String>,
    is_begun: bool,
    watches: Vec<Watch>,
    features: Vec<Option<Features>>,
    /// The period that rows are of now, and what it has.
    period: i64,
    rows: u64,
    buffers: Vec<Drawn>,
    scores: Vec<Vec<Score>>,
    told: usize,
    /// Memory that the periods of a reference of the group take.
    bytes: usize,
    bytes_max: usize,
    /// Periods of the group that count.
    periods: u64,
    periods_of: Periods,
}

impl Reading {
    fn new(params: &Params, forms: Vec<Form>, bytes_max: usize) -> Result<Self> {
        let rule = params.rule()?;
        Ok(Self {
            params: params.clone(),
            periods_of: params.periods_of(),
            features: forms.iter().map(|_| None).collect(),
            buffers: Vec::new(),
            found: Found {
                groups: Vec::new(),
                forms,
                rule,
                watched: Vec::new(),
                rows: 0,
                left_out: 0,
                thin: 0,
                young: 0,
                blind: 0,
                undecided: 0,
            },
            group: None,
            is_begun: false,
            watches: Vec::new(),
            period: 0,
            rows: 0,
            scores: Vec::new(),
            told: 0,
            bytes: 0,
            bytes_max,
            periods: 0,
        })
    }

    fn add(mut self, batch: &RecordBatch) -> Result<Self> {
        let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
        let groups = texts(batch, 0)?;
        let at = batch.column(1).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .skip(2)
            .zip(&self.found.forms)
            .map(|(column, form)| match form {
                Form::Numbers => cast_array(column, &DataType::Float64),
                Form::Texts => cast_array(column, &DataType::Utf8),
                Form::Vectors => cast_array(column, &vector()),
            })
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            if at.is_null(row) {
                self.found.left_out += 1;
                continue;
            }
            let group = groups.is_valid(row).then(|| groups.value(row));
            let period = self.periods_of.of(at.value(row));
            if !self.is_begun || self.group.as_deref() != group {
                self.end_group()?;
                self.begin_group(group.map(str::to_owned), period)?;
            } else if self.period != period {
                self.end_period()?;
                self.begin_period(period);
            }
            self.rows += 1;
            self.found.rows += 1;
            for (column, buffer) in columns.iter().zip(&mut self.buffers) {
                buffer.push(column, row).ok_or_else(broken)?;
            }
        }
        Ok(self)
    }

    fn begin_group(&mut self, group: Option<String>, period: i64) -> Result<()> {
        if self.found.groups.len() as u64 >= GROUPS_MAX {
            let says = format!(
                "{NAME}: expected at most {GROUPS_MAX} groups, found more; take a narrower `where`"
            );
            return Err(Error::user(Code::LimitExceeded, says));
        }
        self.found.groups.push(group.clone().unwrap_or_default());
        self.group = group;
        self.is_begun = true;
        (self.bytes, self.periods) = (0, 0);
        let rule = self.found.rule;
        self.watches = self.found.forms.iter().map(|_| Watch::new(rule)).collect();
        self.features = self.found.forms.iter().map(|_| None).collect();
        self.scores = self.found.forms.iter().map(|_| Vec::new()).collect();
        self.begin_period(period);
        Ok(())
    }

    fn begin_period(&mut self, period: i64) {
        self.period = period;
        self.rows = 0;
        let forms = self.found.forms.iter().enumerate();
        let drawn = |(column, form): (usize, &Form)| Drawn {
            buffer: Buffer::new(*form),
            rows: 0,
            noise: Noise::new(SEED ^ period as u64 ^ ((column as u64) << 40)),
        };
        self.buffers = forms.map(drawn).collect();
    }

    fn end_period(&mut self) -> Result<()> {
        if self.rows < self.params.min_rows {
            self.found.thin += u64::from(self.rows > 0);
            return Ok(());
        }
        let buffers = std::mem::take(&mut self.buffers);
        let watched = self.watches.iter_mut().zip(&mut self.features).zip(&mut self.scores);
        for (((watch, features), scores), Drawn { buffer, .. }) in watched.zip(buffers) {
            let sample = match buffer {
                Buffer::Numbers(of) => Sample::of_numbers(of),
                Buffer::Texts(of, nulls) => Sample::Texts(frequent(of, nulls)),
                Buffer::Vectors(of) => {
                    if features.is_none() {
                        *features = Features::like(&of);
                    }
                    match features {
                        Some(features) => features.mean(&of),
                        None => Features::mean_of_broken(of.len()),
                    }
                }
            };
            self.bytes += sample.bytes();
            let more = watch.push(Period { at: self.period, sample });
            self.told += more.len();
            scores.extend(more);
        }
        self.periods += 1;
        // As much as the largest number of periods that are held takes, on the average.
        let held = self.periods.min(self.found.rule.reference as u64) as usize;
        let bytes = self.bytes / self.periods as usize * held * TIMES;
        if bytes > self.bytes_max {
            let says = format!(
                "{NAME}: expected references of a group that fit in {} bytes; take fewer `columns`, a shorter `reference`, or a larger budget",
                self.bytes_max
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
        self.check_told()
    }

    fn check_told(&self) -> Result<()> {
        if self.told <= SCORES_MAX {
            return Ok(());
        }
        let says = format!(
            "{NAME}: expected at most {SCORES_MAX} rows of groups, periods and columns, found more; take a longer `period`, fewer `columns` or a narrower `where`"
        );
        Err(Error::user(Code::LimitExceeded, says))
    }

    fn end_group(&mut self) -> Result<()> {
        if !self.is_begun {
            return Ok(());
        }
        self.end_period()?;
        let group = self.found.groups.len().saturating_sub(1);
        let (watches, scores) =
            (std::mem::take(&mut self.watches), std::mem::take(&mut self.scores));
        let mut is_young = false;
        for (column, (watch, mut scores)) in watches.into_iter().zip(scores).enumerate() {
            self.found.undecided += u64::from(watch.in_a_row().is_none());
            let (drifts, early) = watch.finish();
            is_young |= scores.is_empty();
            self.told += early.len();
            scores.extend(early);
            let is_share = self.found.forms.get(column) == Some(&Form::Numbers);
            self.found.blind += u64::from(scores.last().is_some_and(|of| of.is_blind(is_share)));
            self.found.watched.push(Watched { group, column, scores, drifts });
        }
        self.found.young += u64::from(is_young);
        self.check_told()
    }

    fn finish(mut self) -> Result<Found> {
        self.end_group()?;
        Ok(self.found)
    }
}

/// Rows of a column that are drawn as they come, so that each has the same chance (Vitter's algorithm R).
struct Drawn {
    buffer: Buffer,
    rows: u64,
    noise: Noise,
}

impl Drawn {
    /// Takes a row into it; none where the column is of another form.
    fn push(&mut self, column: &ArrayRef, row: usize) -> Option<()> {
        self.rows += 1;
        let (rows, noise) = (self.rows, &mut self.noise);
        let mut place = |len: usize, most: usize| match len < most {
            true => Some(len),
            false => Some((noise.uniform() * rows as f64) as usize).filter(|place| *place < most),
        };
        match &mut self.buffer {
            Buffer::Numbers(of) => {
                let column = column.as_primitive_opt::<Float64Type>()?;
                let value = column.is_valid(row).then(|| column.value(row));
                put(of, place(of.len(), ROWS_MAX), value);
            }
            Buffer::Texts(of, nulls) => {
                let column = column.as_string_opt::<i32>()?;
                if column.is_null(row) {
                    *nulls += 1;
                    return Some(());
                }
                let text = column.value(row);
                let end = text.char_indices().nth(TEXT_MAX).map_or(text.len(), |(end, _)| end);
                let text = text.get(..end).unwrap_or_default();
                let is_full = of.len() >= TEXTS_COUNTED && !of.contains_key(text);
                *of.entry_ref(if is_full { OTHERS } else { text }).or_default() += 1;
            }
            Buffer::Vectors(of) => {
                let column = column.as_list_opt::<i32>()?;
                if let Some(place) = place(of.len(), VECTORS_MAX) {
                    // What is null is no vector of any length.
                    let mut values = Vec::new();
                    if column.is_valid(row) {
                        let vector = column.value(row);
                        let vector = vector.as_primitive_opt::<Float32Type>()?;
                        let value =
                            |at| if vector.is_valid(at) { vector.value(at) } else { f32::NAN };
                        values.extend((0..vector.len()).map(value));
                    }
                    put(of, Some(place), values);
                }
            }
        }
        Some(())
    }
}

fn put<T>(of: &mut Vec<T>, place: Option<usize>, value: T) {
    match place.and_then(|place| of.get_mut(place)) {
        Some(old) => *old = value,
        None if place.is_some() => of.push(value),
        None => {}
    }
}

/// The most frequent texts, all others as one, and those that are null.
fn frequent(of: HashMap<String, u64>, nulls: u64) -> BTreeMap<Option<String>, u64> {
    let mut of: Vec<(String, u64)> = of.into_iter().collect();
    of.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let others: u64 = of.drain(TEXTS_MAX.min(of.len())..).map(|of| of.1).sum();
    let mut frequent: BTreeMap<Option<String>, u64> =
        of.into_iter().map(|(text, count)| (Some(text), count)).collect();
    if others > 0 {
        *frequent.entry(Some(OTHERS.to_owned())).or_default() += others;
    }
    if nulls > 0 {
        frequent.insert(None, nulls);
    }
    frequent
}
