//! `date_trunc` in the timestamp's own unit, in local time of its zone.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _};
use datafusion::common::types::{NativeType, logical_date, logical_string};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, TypeSignatureClass, Volatility,
};

use super::{Clock, applied, out_of_range, per_second, refused};

/// `date_trunc`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateTrunc {
    function: Arc<ScalarUDF>,
    signature: Signature,
}

/// The unit to truncate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

const PRECISIONS: [(&str, Precision); 10] = [
    ("microsecond", Precision::Microsecond),
    ("millisecond", Precision::Millisecond),
    ("second", Precision::Second),
    ("minute", Precision::Minute),
    ("hour", Precision::Hour),
    ("day", Precision::Day),
    ("week", Precision::Week),
    ("month", Precision::Month),
    ("quarter", Precision::Quarter),
    ("year", Precision::Year),
];

impl DateTrunc {
    /// Wraps DataFusion's function.
    pub(super) fn new(function: Arc<ScalarUDF>) -> Self {
        let text = || Coercion::new_exact(TypeSignatureClass::Native(logical_string()));
        let instant = Coercion::new_implicit(
            TypeSignatureClass::Timestamp,
            vec![
                TypeSignatureClass::Native(logical_string()),
                TypeSignatureClass::Native(logical_date()),
            ],
            NativeType::Timestamp(TimeUnit::Microsecond, None),
        );
        let signatures = vec![
            TypeSignature::Coercible(vec![text(), instant]),
            TypeSignature::Coercible(vec![text(), Coercion::new_exact(TypeSignatureClass::Time)]),
        ];
        Self { function, signature: Signature::one_of(signatures, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.function.return_type(of)
    }

    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.return_field_from_args(of)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [precision, value] = arguments.args.as_slice() else {
            return self.function.invoke_with_args(arguments);
        };
        let kind = value.data_type();
        let DataType::Timestamp(unit, zone) = &kind else {
            return self.function.invoke_with_args(arguments);
        };
        let precision = precision_of(precision)?;
        let clock = Clock::of(zone.as_ref(), *unit)?;
        applied(value, &kind, |instant| {
            truncated(&clock, precision, instant).ok_or_else(|| out_of_range("date_trunc"))
        })
    }

    fn output_ordering(&self, of: &[ExprProperties]) -> Result<SortProperties> {
        self.function.output_ordering(of)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

fn precision_of(value: &ColumnarValue) -> Result<Precision> {
    let expected = || {
        let names: Vec<&str> = PRECISIONS.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}", names.join(", "))
    };
    let ColumnarValue::Scalar(value) = value else {
        return Err(refused("date_trunc: the precision must be a constant, such as 'day'"));
    };
    let Some(text) = value.try_as_str().flatten() else {
        return Err(refused(format!("date_trunc: no precision was given; {}", expected())));
    };
    let found = PRECISIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found
        .map(|(_, precision)| *precision)
        .ok_or_else(|| refused(format!("date_trunc: unknown precision {text:?}; {}", expected())))
}

/// The latest start of a unit that is not after `instant`.
fn truncated(clock: &Clock, precision: Precision, instant: i64) -> Option<i64> {
    let per_second = per_second(clock.unit);
    // Units that no clock change makes longer or shorter. Offsets of present-day zones are whole
    // minutes.
    let fixed = match (precision, clock.zone) {
        (Precision::Microsecond, _) => Some(per_second / 1_000_000),
        (Precision::Millisecond, _) => Some(per_second / 1_000),
        (Precision::Second, _) => Some(per_second),
        (Precision::Minute, _) => Some(60 * per_second),
        (Precision::Hour, None) => Some(3_600 * per_second),
        (Precision::Day, None) => Some(86_400 * per_second),
        _ => None,
    };
    if let Some(width) = fixed {
        return instant.checked_sub(instant.rem_euclid(width.max(1)));
    }
    let shown = clock.shown(instant)?;
    let day = shown.date();
    let start = |date: NaiveDate| NaiveDateTime::new(date, NaiveTime::MIN);
    let start = match precision {
        Precision::Hour => day.and_hms_opt(shown.hour(), 0, 0)?,
        Precision::Week => {
            let since = TimeDelta::try_days(day.weekday().num_days_from_monday().into())?;
            start(day.checked_sub_signed(since)?)
        }
        Precision::Month => start(day.with_day(1)?),
        Precision::Quarter => {
            start(NaiveDate::from_ymd_opt(day.year(), 1 + day.month0() / 3 * 3, 1)?)
        }
        Precision::Year => start(NaiveDate::from_ymd_opt(day.year(), 1, 1)?),
        _ => start(day),
    };
    clock.when(start, instant, precision != Precision::Hour)
}
