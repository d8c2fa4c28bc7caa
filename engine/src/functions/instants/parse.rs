//! `to_timestamp` and its variants, computed in microseconds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, PrimitiveArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Decimal128Type, FieldRef, Float64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::format::{Parsed, StrftimeItems, parse};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

use super::refused;
use crate::error::type_in_words;

/// Most digits of a 128-bit decimal.
const DIGITS_MAX: u8 = 38;
const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// Values that do not fit are an error, not NULL.
const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// `to_timestamp` or a variant of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToTimestamp {
    function: Arc<ScalarUDF>,
    /// The unit of its result.
    unit: TimeUnit,
}

impl ToTimestamp {
    /// Wraps DataFusion's function.
    pub(super) fn new(function: Arc<ScalarUDF>, unit: TimeUnit) -> Self {
        Self { function, unit }
    }

    /// The type of the result: an instant, so that `AT TIME ZONE` converts it.
    fn kind(&self) -> DataType {
        DataType::Timestamp(self.unit, Some("UTC".into()))
    }

    /// Whether numbers are seconds. Otherwise they have the unit of the result.
    fn takes_seconds(&self) -> bool {
        self.name() == "to_timestamp"
    }
}

impl ScalarUDFImpl for ToTimestamp {
    named_as_function!();

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind())
    }

    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.function.return_field_from_args(of)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(self.kind())))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((value, formats)) = arguments.args.split_first() else {
            let says = "expected a text or a number, as in to_timestamp('2026-01-31T12:00:00Z')";
            return Err(refused(format!("{}: {says}", self.name())));
        };
        let kind = value.data_type();
        let is_ours = kind.is_string()
            || (self.takes_seconds()
                && (kind.is_numeric() || matches!(kind, DataType::Timestamp(..) | DataType::Null)));
        if !is_ours {
            return self.function.invoke_with_args(arguments)?.cast_to(&self.kind(), None);
        }
        let rows = arguments.number_rows;
        let micros_of = |values: &ArrayRef| -> Result<ArrayRef> {
            match values.data_type() {
                kind if kind.is_string() && !formats.is_empty() => {
                    self.formatted(values, formats, rows)
                }
                DataType::Float16 | DataType::Float32 | DataType::Float64 => self.floats(values),
                kind if kind.is_decimal() => self.decimals(values),
                kind if kind.is_integer() => {
                    let seconds = DataType::Timestamp(TimeUnit::Second, None);
                    let values = cast_with_options(values, &DataType::Int64, &STRICT)?;
                    let values = cast_with_options(&values, &seconds, &STRICT)?;
                    Ok(cast_with_options(&values, &MICROS, &STRICT)?)
                }
                _ => Ok(cast_with_options(values, &MICROS, &STRICT)?),
            }
        };
        let target = self.kind();
        let finished = |values: &ArrayRef| -> Result<ArrayRef> {
            Ok(cast_with_options(&micros_of(values)?, &target, &STRICT)?)
        };
        let all_one = arguments.args.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)));
        Ok(match value {
            ColumnarValue::Scalar(value) if all_one => {
                let found = finished(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(found.as_ref(), 0)?)
            }
            value => ColumnarValue::Array(finished(&value.to_array(rows)?)?),
        })
    }
}

impl ToTimestamp {
    /// Converts floats, rounded to the nearest microsecond.
    fn floats(&self, values: &ArrayRef) -> Result<ArrayRef> {
        /// The first float above every 64-bit integer.
        const END: f64 = 9_223_372_036_854_775_808.0;
        let seconds = cast_with_options(values, &DataType::Float64, &STRICT)?;
        let micros: PrimitiveArray<TimestampMicrosecondType> =
            seconds.as_primitive::<Float64Type>().try_unary(|seconds| {
                let micros = (seconds * 1e6).round();
                if !(-END..END).contains(&micros) {
                    return Err(refused(format!(
                        "{}: expected seconds since 1970 within the range of timestamps, found {seconds}",
                        self.name()
                    )));
                }
                Ok(micros as i64)
            })?;
        Ok(Arc::new(micros))
    }

    /// Converts decimals.
    fn decimals(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let kind = DataType::Decimal128(DIGITS_MAX, 6);
        let micros = cast_with_options(values, &kind, &STRICT)?;
        let micros: PrimitiveArray<TimestampMicrosecondType> =
            micros.as_primitive::<Decimal128Type>().try_unary(|micros| {
                i64::try_from(micros).map_err(|_| {
                    let says = "expected seconds since 1970 within the range of timestamps";
                    refused(format!("{}: {says}", self.name()))
                })
            })?;
        Ok(Arc::new(micros))
    }

    /// Parses each text with the first format that matches it.
    fn formatted(
        &self,
        values: &ArrayRef,
        formats: &[ColumnarValue],
        rows: usize,
    ) -> Result<ArrayRef> {
        let texts = |values: &ArrayRef| cast_with_options(values, &DataType::Utf8, &STRICT);
        for format in formats {
            let kind = format.data_type();
            if !kind.is_string() {
                return Err(refused(format!(
                    "{}: expected formats as texts, such as '%d.%m.%Y', found {}",
                    self.name(),
                    type_in_words(&kind)
                )));
            }
        }
        let values = texts(values)?;
        let values = values.as_string::<i32>();
        let formats = formats.iter().map(|format| Ok(texts(&format.to_array(rows)?)?));
        let formats = formats.collect::<Result<Vec<ArrayRef>>>()?;
        let micros = (0..values.len()).map(|row| {
            if values.is_null(row) {
                return Ok(None);
            }
            let text = values.value(row);
            let mut failure = None;
            for format in &formats {
                let format = format.as_string::<i32>();
                // A constant text can meet formats with a different number of rows.
                let at = row.min(format.len().saturating_sub(1));
                if format.is_empty() || format.is_null(at) {
                    continue;
                }
                match instant(text, format.value(at)) {
                    Ok(at) => return Ok(Some(at.timestamp_micros())),
                    Err(problem) => failure = Some((format.value(at).to_owned(), problem)),
                }
            }
            match failure {
                None => Ok(None),
                Some((format, problem)) => Err(refused(format!(
                    "{}: {text:?} does not fit the format {format:?}: {problem}",
                    self.name()
                ))),
            }
        });
        let micros = micros.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
        Ok(Arc::new(micros))
    }
}

/// Parses a text with a `strftime` format; UTC if it names no zone. A zone name may follow at the end, after a space.
fn instant(text: &str, format: &str) -> Result<DateTime<Utc>, String> {
    let (mut text, mut format, mut zone) = (text, format, None::<arrow::array::timezone::Tz>);
    if let Some(before) = format.trim_end().strip_suffix(" %Z") {
        let (rest, name) = text.trim_end().rsplit_once(' ').ok_or("it names no time zone")?;
        (text, format) = (rest, before);
        zone = Some(name.parse().map_err(|_| format!("{name:?} is not a time zone"))?);
    } else if format.contains("%Z") {
        return Err("%Z may only be at the end, after a space".to_owned());
    }
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(format)).map_err(|e| e.to_string())?;
    if zone.is_none()
        && let Ok(at) = parsed.to_datetime()
    {
        return Ok(at.with_timezone(&Utc));
    }
    let local = parsed.to_naive_datetime_with_offset(0);
    let local = local.or_else(|_| parsed.to_naive_date().map(Into::into));
    let local = local.map_err(|e| e.to_string())?;
    match zone {
        None => Ok(local.and_utc()),
        Some(zone) => {
            let at = local.and_local_timezone(zone).single();
            at.map(|at| at.with_timezone(&Utc))
                .ok_or_else(|| "that local time exists twice in the zone, or never".to_owned())
        }
    }
}
