//! Rows of a dataset as an event log, for every kind that reads one.

use analysis::process::{Builder, Log};
use arrow::array::{Array, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;

use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::{check_instant, microseconds};
use crate::tables::columns::texts;
use crate::tables::input::{INSTANTS, InputTable, NAMES, is_name};

/// Memory of an event in all steps together, beside the names that come for the first time.
const EVENT_BYTES: usize = 200;
/// Bytes of the name of a case, an activity or who did it, at most.
const NAME_MAX: usize = 1_000;

/// Which dataset is an event log, and by which columns, as the parameters of a kind say.
#[derive(Clone, Copy)]
pub(crate) struct EventColumns<'a> {
    /// The kind, for what it says of a parameter.
    pub(crate) job: &'static str,
    pub(crate) dataset: &'a DatasetName,
    pub(crate) case: &'a str,
    pub(crate) activity: &'a str,
    pub(crate) start: Option<&'a str>,
    pub(crate) end: Option<&'a str>,
    pub(crate) resource: Option<&'a str>,
    /// Which rows are events.
    pub(crate) condition: Option<&'a str>,
    /// Which events are marked.
    pub(crate) success: Option<&'a str>,
}

/// What was read.
pub(crate) struct Read {
    pub(crate) log: Log,
    /// Rows without a case, an activity or an instant, or with one that is too long or too far from today.
    pub(crate) left_out: u64,
    /// Events that began after they ended.
    pub(crate) turned: u64,
    /// Events without an end, where others have one.
    pub(crate) without_end: u64,
}

/// Checks what is asked against the columns of the dataset.
pub(crate) async fn check<'a>(
    session: &Session,
    asked: &EventColumns<'a>,
) -> Result<InputTable<'a>> {
    let table = InputTable::open(session, asked.job, asked.dataset).await?;
    let names = [
        ("case_column", Some(asked.case)),
        ("activity_column", Some(asked.activity)),
        ("resource_column", asked.resource),
    ];
    for (parameter, column) in names {
        if let Some(column) = column {
            table.check(parameter, column, NAMES, is_name)?;
        }
    }
    let times = [("start_column", asked.start), ("end_column", asked.end)];
    for (parameter, column) in times {
        if let Some(column) = column {
            table.check(parameter, column, INSTANTS, |t| t.is_temporal())?;
        }
    }
    table.check_condition(session, "where", asked.condition).await?;
    table.check_condition(session, "success", asked.success).await?;
    Ok(table)
}

/// Rows as (case, activity, resource, start, end, whether it has one, whether it is marked), each case's events in their order: by their ends, those of one instant by their
/// starts, and then by what was done.
async fn frame(ctx: &RunContext, asked: &EventColumns<'_>) -> Result<DataFrame> {
    let table = check(ctx.session(), asked).await?;
    let frame = table.only_where(ctx, asked.condition).await?;
    let text = |column: &str| cast(ident(column), DataType::Utf8);
    let time = |column: &str| cast(ident(column), microseconds());
    let none = || lit(ScalarValue::TimestampMicrosecond(None, Some("UTC".into())));
    let start = asked.start.map(time);
    let end = match (asked.end, &start) {
        (Some(end), Some(start)) => coalesce(vec![time(end), start.clone()]),
        (Some(end), None) => time(end),
        (None, start) => start.clone().unwrap_or_else(none),
    };
    let resource = asked.resource.map(text);
    let has_end = match asked.end {
        Some(end) => time(end).is_not_null(),
        None => lit(true),
    };
    let is_marked = match asked.success {
        Some(success) => table.condition(ctx, success).await?.is_true(),
        None => lit(false),
    };
    let wanted: Vec<Expr> = vec![
        text(asked.case).alias("case"),
        text(asked.activity).alias("activity"),
        resource.unwrap_or_else(|| lit(ScalarValue::Utf8(None))).alias("resource"),
        start.unwrap_or_else(none).alias("start"),
        end.alias("end"),
        has_end.alias("has_end"),
        is_marked.alias("is_marked"),
    ];
    let order = ["case", "end", "start", "activity", "resource"];
    let order = order.iter().map(|name| ident(*name).sort(true, false)).collect();
    Ok(frame.select(wanted)?.sort(order)?)
}

/// Reads all of it.
pub(crate) async fn read(
    ctx: &RunContext,
    asked: &EventColumns<'_>,
    stage: &mut Stage,
) -> Result<Read> {
    let mut rows = ctx.session().stream(frame(ctx, asked).await?).await?;
    let mut builder = Builder::default();
    let (mut left_out, mut without_end, mut events) = (0, 0, 0usize);
    let bytes_max = ctx.memory_budget_bytes();
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        stage.record.rows_in += batch.num_rows() as u64;
        stage.record.bytes_read += batch.get_array_memory_size() as u64;
        let of = Columns::of(asked.job, &batch)?;
        for row in 0..batch.num_rows() {
            let Some(event) = of.event(row) else {
                left_out += 1;
                continue;
            };
            events += 1;
            without_end += u64::from(!event.has_end);
            let Event { case, activity, resource, start, end, .. } = event;
            builder.push(case, activity, resource, start, end);
            if event.is_marked {
                builder.mark();
            }
        }
        if events * EVENT_BYTES + builder.names_bytes() > bytes_max {
            let says = format!(
                "{}: expected a log that fits the memory budget, about {} events; take a narrower `where`, or a larger budget",
                asked.job,
                bytes_max / EVENT_BYTES
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
    }
    let turned = builder.turned;
    Ok(Read { log: builder.finish(), left_out, turned, without_end })
}

/// The columns of some rows.
struct Columns {
    job: &'static str,
    case: StringArray,
    activity: StringArray,
    resource: StringArray,
    start: PrimitiveArray<TimestampMicrosecondType>,
    end: PrimitiveArray<TimestampMicrosecondType>,
    has_end: BooleanArray,
    is_marked: BooleanArray,
}

struct Event<'a> {
    case: &'a str,
    activity: &'a str,
    resource: Option<&'a str>,
    start: Option<i64>,
    end: i64,
    has_end: bool,
    is_marked: bool,
}

impl Columns {
    fn of(job: &'static str, batch: &RecordBatch) -> Result<Self> {
        let broken = || Error::internal(format!("{job}: other columns than were asked for"));
        let time = |at: usize| {
            let column = batch.column(at).as_primitive_opt::<TimestampMicrosecondType>();
            column.cloned().ok_or_else(broken)
        };
        let flag = |at: usize| batch.column(at).as_boolean_opt().cloned().ok_or_else(broken);
        Ok(Self {
            job,
            case: texts(batch, 0)?,
            activity: texts(batch, 1)?,
            resource: texts(batch, 2)?,
            start: time(3)?,
            end: time(4)?,
            has_end: flag(5)?,
            is_marked: flag(6)?,
        })
    }

    /// None of a row that says not what was done in which case, or when.
    fn event(&self, row: usize) -> Option<Event<'_>> {
        let name = |of: &'_ StringArray| of.is_valid(row).then(|| of.value(row).len());
        let is_name = |of| name(of).is_some_and(|bytes| (1..=NAME_MAX).contains(&bytes));
        let is_time = |of: &PrimitiveArray<TimestampMicrosecondType>| {
            of.is_valid(row) && check_instant(self.job, "", of.value(row)).is_ok()
        };
        let is_whole = is_name(&self.case)
            && is_name(&self.activity)
            && name(&self.resource).is_none_or(|bytes| bytes <= NAME_MAX)
            && is_time(&self.end)
            && (self.start.is_null(row) || is_time(&self.start));
        is_whole.then(|| Event {
            case: self.case.value(row),
            activity: self.activity.value(row),
            resource: self.resource.is_valid(row).then(|| self.resource.value(row)),
            start: self.start.is_valid(row).then(|| self.start.value(row)),
            end: self.end.value(row),
            has_end: self.has_end.value(row),
            is_marked: self.is_marked.value(row),
        })
    }
}
