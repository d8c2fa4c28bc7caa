//! Functions of instants, in microseconds.
//!
//! Timestamps of datasets have microseconds, so years 1 to 9999 fit. DataFusion's own functions compute in nanoseconds, which
//! cover 1677 to 2262, and return an error or NULL outside. The functions here compute in the unit of their argument, parse
//! text to microseconds, and truncate and bin in the local time of the argument's time zone. For other types they call
//! DataFusion's own.

mod bin;
mod now;
mod parse;
mod series;
mod trunc;

use std::str::FromStr as _;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, AsArray as _, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use crate::error::{Code, Error};

/// Registers these functions in place of DataFusion's own.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let own = |name: &str| state.udf(name);
    let functions = [
        ScalarUDF::new_from_impl(trunc::DateTrunc::new(own("date_trunc")?)),
        ScalarUDF::new_from_impl(bin::DateBin::new(own("date_bin")?)),
        ScalarUDF::new_from_impl(now::Now::new(own("now")?)),
        ScalarUDF::new_from_impl(parse::ToTimestamp::new(
            own("to_timestamp")?,
            TimeUnit::Microsecond,
        )),
        ScalarUDF::new_from_impl(parse::ToTimestamp::new(
            own("to_timestamp_micros")?,
            TimeUnit::Microsecond,
        )),
        ScalarUDF::new_from_impl(parse::ToTimestamp::new(
            own("to_timestamp_millis")?,
            TimeUnit::Millisecond,
        )),
        ScalarUDF::new_from_impl(parse::ToTimestamp::new(
            own("to_timestamp_seconds")?,
            TimeUnit::Second,
        )),
        ScalarUDF::new_from_impl(series::InstantSeries::including_stop(own("generate_series")?)),
        ScalarUDF::new_from_impl(series::InstantSeries::excluding_stop(own("range")?)),
    ];
    for function in functions {
        state.register_udf(Arc::new(function))?;
    }
    series::register_tables(state);
    Ok(())
}

/// Units of a timestamp in a second.
fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// An error that the query causes.
fn refused(says: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::user(Code::BadInput, says)))
}

/// The error for an instant out of the range of timestamps.
fn out_of_range(function: &str) -> DataFusionError {
    refused(format!("{function}: the result is out of the range of timestamps"))
}

/// Applies a function to values of one type: to a scalar, or to each row of an array.
fn applied(
    of: &ColumnarValue,
    kind: &DataType,
    apply: impl Fn(i64) -> Result<i64>,
) -> Result<ColumnarValue> {
    let apply_to = |values: &ArrayRef| -> Result<ArrayRef> {
        let values = cast(values, &DataType::Int64)?;
        let values: Int64Array = values.as_primitive::<Int64Type>().try_unary(&apply)?;
        Ok(cast(&values, kind)?)
    };
    Ok(match of {
        ColumnarValue::Array(values) => ColumnarValue::Array(apply_to(values)?),
        ColumnarValue::Scalar(value) => {
            let values = apply_to(&value.to_array()?)?;
            ColumnarValue::Scalar(ScalarValue::try_from_array(values.as_ref(), 0)?)
        }
    })
}

/// The clock of a time zone.
#[derive(Clone, Copy)]
struct Clock {
    /// `None` for UTC.
    zone: Option<Tz>,
    unit: TimeUnit,
}

impl Clock {
    fn of(zone: Option<&Arc<str>>, unit: TimeUnit) -> Result<Self> {
        let zone = zone.filter(|zone| !matches!(zone.as_ref(), "UTC" | "+00:00" | "Z"));
        let zone = zone.map(|zone| Tz::from_str(zone)).transpose()?;
        Ok(Self { zone, unit })
    }

    /// The local time at an instant; `None` if it is out of range.
    fn shown(&self, instant: i64) -> Option<NaiveDateTime> {
        let utc = self.utc(instant)?;
        Some(match &self.zone {
            None => utc.naive_utc(),
            Some(zone) => utc.with_timezone(zone).naive_local(),
        })
    }

    fn utc(&self, instant: i64) -> Option<DateTime<Utc>> {
        let per_second = per_second(self.unit);
        let nanos = instant.rem_euclid(per_second) * (1_000_000_000 / per_second);
        DateTime::from_timestamp(instant.div_euclid(per_second), u32::try_from(nanos).ok()?)
    }

    fn instant(&self, utc: NaiveDateTime) -> Option<i64> {
        let (per_second, utc) = (per_second(self.unit), utc.and_utc());
        let part = i64::from(utc.timestamp_subsec_nanos()) / (1_000_000_000 / per_second);
        utc.timestamp().checked_mul(per_second)?.checked_add(part)
    }

    /// The instant of the local time `shown`, which starts the bin of `instant`. If a clock change skips that local time: the
    /// instant of the change. If it exists twice: the first instant for bins of days or more. For shorter bins it is the
    /// instant with the offset that is valid at `instant`, so that both hours get their own bins.
    fn when(&self, shown: NaiveDateTime, instant: i64, has_days: bool) -> Option<i64> {
        let Some(zone) = &self.zone else { return self.instant(shown) };
        let utc = match zone.from_local_datetime(&shown) {
            LocalResult::Single(at) => at.naive_utc(),
            LocalResult::Ambiguous(first, _) if has_days => first.naive_utc(),
            LocalResult::Ambiguous(first, second) => {
                let offset = self.utc(instant)?.with_timezone(zone).offset().fix();
                if second.offset().fix() == offset { second.naive_utc() } else { first.naive_utc() }
            }
            // The offset before the gap applies.
            LocalResult::None => {
                let before = TimeDelta::try_hours(GAP_HOURS_MAX)?;
                let at = zone.from_local_datetime(&shown.checked_sub_signed(before)?);
                at.latest()?.naive_utc().checked_add_signed(before)?
            }
        };
        self.instant(utc)
    }
}

/// Most hours that a clock skips at once; zones that skipped a whole day skipped 24.
const GAP_HOURS_MAX: i64 = 24;
