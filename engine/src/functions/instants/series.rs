//! `generate_series` and `range` over instants, in microseconds: as rows and as lists.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array as _, ArrayRef, AsArray as _, ListBuilder, RecordBatch, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::memory::{LazyBatchGenerator, LazyMemoryExec};
use parking_lot::RwLock;

use super::super::slices::RESULT_BYTES_MAX;
use super::refused;
use crate::error::{Code, Error};

/// Most instants in the lists of one call, over all its rows.
const LISTED_MAX: u64 = RESULT_BYTES_MAX / 8;

fn micros(zone: Option<Arc<str>>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone)
}

/// Whether a series of this type is computed in microseconds.
fn is_ours(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(unit, _) if *unit != TimeUnit::Nanosecond)
}

/// Whether a series includes its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// With its stop.
    Included,
    /// Before its stop.
    Excluded,
}

/// The instants of a series.
#[derive(Clone, Debug)]
struct Steps {
    zone: Tz,
    start: i64,
    next: Option<i64>,
    stop: i64,
    step: IntervalMonthDayNano,
    falls: bool,
    end: End,
}

impl Steps {
    fn new(
        function: &str,
        zone: Option<&Arc<str>>,
        (start, stop): (i64, i64),
        step: IntervalMonthDayNano,
        end: End,
    ) -> Result<Self> {
        let zone = Tz::from_str(zone.map_or("+00:00", |zone| zone.as_ref()))?;
        let second = TimestampMicrosecondType::add_month_day_nano(start, step, zone);
        let falls = match second.map(|second| second.cmp(&start)) {
            Some(Ordering::Equal) => {
                let says = "expected a step of at least a microsecond, such as INTERVAL '1 day'";
                return Err(refused(format!(
                    "{function}: {says}, found one that does not advance"
                )));
            }
            Some(order) => order == Ordering::Less,
            None => step.months < 0 || step.days < 0 || step.nanoseconds < 0,
        };
        Ok(Self { zone, start, next: Some(start), stop, step, falls, end })
    }
}

impl Steps {
    /// The least number of instants: no month is longer than 31 days, and no day longer than 25 hours.
    fn count_min(&self) -> u64 {
        const HOUR_MICROS: i128 = 3_600_000_000;
        let IntervalMonthDayNano { months, days, nanoseconds } = self.step;
        let days = i128::from(months).abs() * 31 + i128::from(days).abs();
        let longest = days * 25 * HOUR_MICROS + i128::from(nanoseconds).abs() / 1_000 + 1;
        let (start, stop) = (i128::from(self.start), i128::from(self.stop));
        let apart = if self.falls { start - stop } else { stop - start };
        u64::try_from(apart.max(0) / longest).unwrap_or(u64::MAX)
    }
}

impl Iterator for Steps {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let next = self.next?;
        let is_within = match (next.cmp(&self.stop), self.falls) {
            (Ordering::Equal, _) => self.end == End::Included,
            (order, falls) => (order == Ordering::Greater) == falls,
        };
        let after = TimestampMicrosecondType::add_month_day_nano(next, self.step, self.zone);
        // A step that does not advance ends the series.
        self.next =
            after.filter(|after| is_within && (*after < next) == self.falls && *after != next);
        is_within.then_some(next)
    }
}

/// The function that returns a list.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct InstantSeries {
    function: Arc<ScalarUDF>,
    end: End,
}

impl InstantSeries {
    /// Wraps DataFusion's function.
    pub(super) fn including_stop(function: Arc<ScalarUDF>) -> Self {
        Self { function, end: End::Included }
    }

    /// Wraps DataFusion's function.
    pub(super) fn excluding_stop(function: Arc<ScalarUDF>) -> Self {
        Self { function, end: End::Excluded }
    }
}

impl ScalarUDFImpl for InstantSeries {
    named_as_function!();

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        match of.first() {
            Some(DataType::Timestamp(unit, zone))
                if *unit != TimeUnit::Nanosecond && !of.iter().any(DataType::is_null) =>
            {
                let item = Field::new_list_field(micros(zone.clone()), true);
                Ok(DataType::List(Arc::new(item)))
            }
            _ => self.function.return_type(of),
        }
    }

    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> =
            of.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        match kinds.first().is_some_and(is_ours) {
            true => Ok(Arc::new(Field::new(self.name(), self.return_type(&kinds)?, true))),
            false => self.function.return_field_from_args(of),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [start, stop, step] = arguments.args.as_slice() else {
            return self.function.invoke_with_args(arguments);
        };
        let kind = start.data_type();
        let is_null = [start, stop, step].iter().any(|of| of.data_type().is_null());
        let DataType::Timestamp(_, zone) = &kind else {
            return self.function.invoke_with_args(arguments);
        };
        if !is_ours(&kind) || is_null {
            return self.function.invoke_with_args(arguments);
        }
        let is_one = arguments.args.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { arguments.number_rows };
        let columns = [start, stop, step].map(|of| of.to_array(rows));
        let [start, stop, step] = columns;
        let lists = self.lists(zone.as_ref(), &start?, &stop?, &step?)?;
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(lists.as_ref(), 0)?),
            false => ColumnarValue::Array(lists),
        })
    }
}

impl InstantSeries {
    fn lists(
        &self,
        zone: Option<&Arc<str>>,
        start: &ArrayRef,
        stop: &ArrayRef,
        step: &ArrayRef,
    ) -> Result<ArrayRef> {
        let kind = micros(zone.cloned());
        let (start, stop) = (cast(start, &kind)?, cast(stop, &kind)?);
        let step = cast(step, &DataType::Interval(IntervalUnit::MonthDayNano))?;
        let start = start.as_primitive::<TimestampMicrosecondType>();
        let stop = stop.as_primitive::<TimestampMicrosecondType>();
        let step = step.as_primitive::<IntervalMonthDayNanoType>();
        let items = TimestampMicrosecondBuilder::new().with_timezone_opt(zone.cloned());
        let mut lists = ListBuilder::new(items);
        let mut listed = 0_u64;
        for row in 0..start.len() {
            if start.is_null(row) || stop.is_null(row) || step.is_null(row) {
                lists.append_null();
                continue;
            }
            let ends = (start.value(row), stop.value(row));
            let steps = Steps::new(self.name(), zone, ends, step.value(row), self.end)?;
            let expected = listed.saturating_add(steps.count_min());
            for instant in steps {
                listed += 1;
                if listed.max(expected) > LISTED_MAX {
                    let says = format!(
                        "{}: expected at most {LISTED_MAX} instants for some thousand rows, found more; take a longer step",
                        self.name()
                    );
                    let error = Error::user(Code::LimitExceeded, says);
                    return Err(datafusion::error::DataFusionError::External(Box::new(error)));
                }
                lists.values().append_value(instant);
            }
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    }
}

/// Registers the table functions in place of DataFusion's own.
pub(super) fn register_tables(state: &mut SessionState) {
    for (name, end) in [("generate_series", End::Included), ("range", End::Excluded)] {
        if let Some(function) = state.table_functions().get(name) {
            let function = Arc::clone(function.function());
            state.register_udtf(name, Arc::new(SeriesOfRows { name, function, end }));
        }
    }
}

#[derive(Debug)]
struct SeriesOfRows {
    name: &'static str,
    function: Arc<dyn TableFunctionImpl>,
    end: End,
}

impl TableFunctionImpl for SeriesOfRows {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(start, _), rest @ ..] = arguments.exprs() else {
            return self.function.call_with_args(arguments);
        };
        let zone = match start.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                return self.function.call_with_args(arguments);
            }
            DataType::Timestamp(_, zone) => zone,
            DataType::Date32 => None,
            _ => return self.function.call_with_args(arguments),
        };
        let expected = |what: &str| {
            refused(format!(
                "{}: {what}; expected a start, a stop and a step, as in {}(TIMESTAMP '2026-01-01', TIMESTAMP '2026-02-01', INTERVAL '1 day')",
                self.name, self.name
            ))
        };
        let [Expr::Literal(stop, _), Expr::Literal(step, _)] = rest else {
            let what = match rest.len() {
                2 => "arguments must be constants".to_owned(),
                count => format!("{} arguments were given", count + 1),
            };
            return Err(expected(&what));
        };
        let kind = micros(zone.clone());
        let instant = |value: &ScalarValue| match value.cast_to(&kind)? {
            ScalarValue::TimestampMicrosecond(instant, _) => Ok(instant),
            other => Err(expected(&format!("{other} is not an instant"))),
        };
        let steps = match step {
            ScalarValue::Null => None,
            ScalarValue::IntervalMonthDayNano(step) => *step,
            other => return Err(expected(&format!("the step {other} is not an interval"))),
        };
        let steps = match (instant(start)?, instant(stop)?, steps) {
            (Some(start), Some(stop), Some(step)) => {
                Some(Steps::new(self.name, zone.as_ref(), (start, stop), step, self.end)?)
            }
            _ => None,
        };
        let schema = Arc::new(Schema::new(vec![Field::new("value", kind, false)]));
        Ok(Arc::new(SeriesTable { schema, steps, zone }))
    }
}

#[derive(Debug)]
struct SeriesTable {
    schema: SchemaRef,
    /// `None` if an argument is NULL; then there are no rows.
    steps: Option<Steps>,
    zone: Option<Arc<str>>,
}

#[async_trait]
impl TableProvider for SeriesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = Rows {
            schema: Arc::clone(&self.schema),
            steps: self.steps.clone(),
            zone: self.zone.clone(),
            batch_rows: state.config_options().execution.batch_size.get(),
        };
        let rows: Arc<RwLock<dyn LazyBatchGenerator>> = Arc::new(RwLock::new(rows));
        let plan = LazyMemoryExec::try_new(self.schema(), vec![rows])?;
        Ok(Arc::new(plan.with_projection(projection.cloned())))
    }
}

/// The remaining rows of a series.
#[derive(Clone, Debug)]
struct Rows {
    schema: SchemaRef,
    steps: Option<Steps>,
    zone: Option<Arc<str>>,
    batch_rows: usize,
}

impl LazyBatchGenerator for Rows {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn generate_next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(steps) = &mut self.steps else { return Ok(None) };
        let instants: Vec<i64> = steps.take(self.batch_rows).collect();
        if instants.is_empty() {
            return Ok(None);
        }
        let instants =
            TimestampMicrosecondArray::from(instants).with_timezone_opt(self.zone.clone());
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(instants)])?))
    }

    fn reset_state(&self) -> Arc<RwLock<dyn LazyBatchGenerator>> {
        let mut rows = self.clone();
        if let Some(steps) = &mut rows.steps {
            steps.next = Some(steps.start);
        }
        Arc::new(RwLock::new(rows))
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series of instants")
    }
}
