//! `date_bin` in the timestamp's own unit, in local time of its zone: a bin of one day is a day of the zone.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, IntervalUnit, TimeUnit};
use chrono::{Datelike as _, Months, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::{Clock, applied, out_of_range, per_second, refused};
use crate::error::type_in_words;

/// Nanoseconds in a day.
const DAY_NANOS: i128 = 86_400 * NANOS;
const NANOS: i128 = 1_000_000_000;
const WIDTH: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// `date_bin`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateBin {
    function: Arc<ScalarUDF>,
    signature: Signature,
}

/// The width of a bin.
#[derive(Clone, Copy)]
enum Width {
    Months(i64),
    Nanos(i128),
}

impl DateBin {
    /// Wraps DataFusion's function.
    pub(super) fn new(function: Arc<ScalarUDF>) -> Self {
        Self { function, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, of: &[DataType]) -> Result<Vec<DataType>> {
        let (width, value) = match of {
            [width, value] | [width, value, _] => (width, value),
            _ => {
                let count = of.len();
                let says = "expected a width, a timestamp and, if wanted, an origin, as in date_bin('1 hour', at)";
                return Err(refused(format!("date_bin: {says}; found {count} arguments")));
            }
        };
        match width {
            DataType::Interval(_) | DataType::Null => {}
            text if text.is_string() => {}
            other => {
                return Err(refused(format!(
                    "date_bin: expected an interval as the width, such as INTERVAL '1 hour', found {}",
                    type_in_words(other)
                )));
            }
        }
        let value = match value {
            DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) => value.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            text if text.is_string() => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => {
                return Err(refused(format!(
                    "date_bin: expected a timestamp or a time, found {}",
                    type_in_words(other)
                )));
            }
        };
        let mut types = vec![WIDTH, value.clone()];
        if let Some(origin) = of.get(2) {
            types.push(match (origin, &value) {
                // An origin with a zone is an instant in that zone; without one it is local time of the value's zone.
                (DataType::Timestamp(_, Some(zone)), DataType::Timestamp(unit, _)) => {
                    DataType::Timestamp(*unit, Some(Arc::clone(zone)))
                }
                _ => value.clone(),
            });
        }
        Ok(types)
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.function.return_type(of)
    }

    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.return_field_from_args(of)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (width, value, origin) = match arguments.args.as_slice() {
            [width, value] => (width, value, None),
            [width, value, origin] => (width, value, Some(origin)),
            _ => return self.function.invoke_with_args(arguments),
        };
        let kind = value.data_type();
        let DataType::Timestamp(unit, zone) = &kind else {
            return self.function.invoke_with_args(arguments);
        };
        let null = || Ok(ColumnarValue::Scalar(ScalarValue::try_from(&kind)?));
        let Some(width) = width_of(width)? else { return null() };
        let clock = Clock::of(zone.as_ref(), *unit)?;
        let origin = match origin {
            None => NaiveDateTime::new(NaiveDate::default(), NaiveTime::MIN),
            Some(origin) => match origin_of(origin)? {
                None => return null(),
                Some(origin) => clock.shown(origin).ok_or_else(|| out_of_range("date_bin"))?,
            },
        };
        if let (Width::Nanos(width), None) = (width, clock.zone)
            && let Some(bins) = Bins::of(width, origin, *unit)
        {
            return applied(value, &kind, |instant| {
                bins.start(instant).ok_or_else(|| out_of_range("date_bin"))
            });
        }
        applied(value, &kind, |instant| {
            binned(&clock, width, origin, instant).ok_or_else(|| out_of_range("date_bin"))
        })
    }

    fn output_ordering(&self, of: &[ExprProperties]) -> Result<SortProperties> {
        self.function.output_ordering(of)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

fn constant<'a>(value: &'a ColumnarValue, what: &str) -> Result<&'a ScalarValue> {
    match value {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(_) => {
            Err(refused(format!("date_bin: the {what} must be a constant, the same for all rows")))
        }
    }
}

fn width_of(value: &ColumnarValue) -> Result<Option<Width>> {
    let ScalarValue::IntervalMonthDayNano(width) = constant(value, "width")? else {
        return Err(refused("date_bin: expected an interval as the width, such as '1 hour'"));
    };
    let Some(width) = width else { return Ok(None) };
    let nanos = i128::from(width.days) * DAY_NANOS + i128::from(width.nanoseconds);
    match (width.months, nanos) {
        (1.., 0) => Ok(Some(Width::Months(width.months.into()))),
        (0, 1..) => Ok(Some(Width::Nanos(nanos))),
        (0, _) => Err(refused("date_bin: expected a width above zero, such as '1 hour'")),
        _ => Err(refused(
            "date_bin: expected a width of months, as '3 months', or of days and hours, as '2 days', not of both",
        )),
    }
}

/// The instant at which bins start, in the unit of the values.
fn origin_of(value: &ColumnarValue) -> Result<Option<i64>> {
    Ok(match constant(value, "origin")? {
        ScalarValue::TimestampSecond(origin, _)
        | ScalarValue::TimestampMillisecond(origin, _)
        | ScalarValue::TimestampMicrosecond(origin, _)
        | ScalarValue::TimestampNanosecond(origin, _) => *origin,
        other => {
            let found = other.data_type();
            return Err(refused(format!(
                "date_bin: expected a timestamp as the origin, found {}",
                type_in_words(&found)
            )));
        }
    })
}

/// Bins of equal length in UTC, as whole units of the values.
struct Bins {
    width: i64,
    origin: i64,
}

impl Bins {
    fn of(width: i128, origin: NaiveDateTime, unit: TimeUnit) -> Option<Self> {
        let nanos = NANOS / i128::from(per_second(unit));
        let origin = nanos_of(origin);
        let is_whole = width % nanos == 0 && origin % nanos == 0;
        is_whole.then_some(())?;
        Some(Self {
            width: i64::try_from(width / nanos).ok()?,
            origin: i64::try_from(origin / nanos).ok()?,
        })
    }

    fn start(&self, instant: i64) -> Option<i64> {
        let since = instant.checked_sub(self.origin)?;
        instant.checked_sub(since.rem_euclid(self.width))
    }
}

fn nanos_of(at: NaiveDateTime) -> i128 {
    let at = at.and_utc();
    i128::from(at.timestamp()) * NANOS + i128::from(at.timestamp_subsec_nanos())
}

fn at_nanos(nanos: i128) -> Option<NaiveDateTime> {
    let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
    let rest = u32::try_from(nanos.rem_euclid(NANOS)).ok()?;
    Some(chrono::DateTime::from_timestamp(seconds, rest)?.naive_utc())
}

/// The start of the bin that contains `instant`. `origin` is a local time of the clock.
fn binned(clock: &Clock, width: Width, origin: NaiveDateTime, instant: i64) -> Option<i64> {
    let shown = clock.shown(instant)?;
    let (start, has_days) = match width {
        Width::Nanos(width) => {
            let (shown, origin) = (nanos_of(shown), nanos_of(origin));
            (at_nanos(shown - (shown - origin).rem_euclid(width))?, width >= DAY_NANOS)
        }
        Width::Months(width) => (months_start(shown, width, origin)?, true),
    };
    clock.when(start, instant, has_days)
}

fn months_start(shown: NaiveDateTime, width: i64, origin: NaiveDateTime) -> Option<NaiveDateTime> {
    let month = |at: NaiveDateTime| i64::from(at.year()) * 12 + i64::from(at.month0());
    let apart = month(shown) - month(origin);
    let bins = apart.div_euclid(width);
    let start = plus_months(origin, bins.checked_mul(width)?)?;
    // If the origin is mid-month, the bin may start later in this month.
    match start > shown {
        true => plus_months(origin, (bins - 1).checked_mul(width)?),
        false => Some(start),
    }
}

fn plus_months(at: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 { at.checked_sub_months(count) } else { at.checked_add_months(count) }
}
