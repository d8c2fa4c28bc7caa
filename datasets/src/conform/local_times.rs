//! Local times of a source as instants: times without an offset are those of the zone that a dataset stores.
//!
//! Arrow and Parquet have timestamps without a zone, days and texts. What is an instant by itself stays as it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono_tz::Tz;

use super::cast::arrow_cast;
use super::leaves::{Leaves, walk};
use crate::column_type::ColumnType;
use crate::local_time::{instant_in, instant_of, shown_local};

/// The values with instants where local times are, and why one of them is no instant.
pub(super) struct Instants {
    pub(super) values: ArrayRef,
    pub(super) problem: Option<String>,
}

/// `array`, on its way to `target`, with its local times read in `zone`.
pub(super) fn instants_in(
    array: &ArrayRef,
    target: &ColumnType,
    zone: Tz,
) -> Result<Instants, ArrowError> {
    let mut times = LocalTimes { zone, problem: None };
    let values = walk(array, target, None, None, &mut times)?;
    Ok(Instants { values, problem: times.problem })
}

/// Whether a column has instants, or parts that are.
pub(super) fn has_instants(target: &ColumnType) -> bool {
    match target {
        ColumnType::Timestamp => true,
        ColumnType::List(item) | ColumnType::Map(item) => has_instants(item),
        ColumnType::Struct(fields) => fields.iter().any(|field| has_instants(&field.data_type)),
        _ => false,
    }
}

struct LocalTimes {
    zone: Tz,
    problem: Option<String>,
}

impl Leaves for LocalTimes {
    fn is_one(data_type: &DataType) -> bool {
        use DataType as D;
        matches!(
            data_type,
            D::Timestamp(_, None) | D::Date32 | D::Date64 | D::Utf8 | D::LargeUtf8 | D::Utf8View
        )
    }

    fn turn(
        &mut self,
        array: &ArrayRef,
        target: &ColumnType,
        _: Option<&str>,
        shown: Option<&NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        if target != &ColumnType::Timestamp {
            return Ok(Arc::clone(array));
        }
        let zone = self.zone;
        let found: Vec<Option<Result<i64, String>>> = match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let texts = arrow_cast(array, &DataType::LargeUtf8)?;
                let texts = texts.as_string::<i64>().iter();
                texts.map(|text| text.map(|text| instant_in(text.trim(), zone))).collect()
            }
            _ => {
                let local = arrow_cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                let local = local.as_primitive::<TimestampMicrosecondType>();
                let instant = |row: usize| match (array.is_valid(row), local.is_valid(row)) {
                    (false, _) => None,
                    (true, false) => Some(Err("expected a timestamp in range".to_owned())),
                    (true, true) => {
                        let at = local.value(row);
                        Some(instant_of(at, zone, || shown_local(at)))
                    }
                };
                (0..array.len()).map(instant).collect()
            }
        };
        let mut instants = TimestampMicrosecondArray::builder(array.len());
        for (row, found) in found.into_iter().enumerate() {
            let is_shown = shown.is_none_or(|shown| shown.is_valid(row));
            match found {
                Some(Ok(at)) => instants.append_value(at),
                Some(Err(problem)) if is_shown => {
                    self.problem.get_or_insert(problem);
                    instants.append_null();
                }
                _ => instants.append_null(),
            }
        }
        Ok(Arc::new(instants.finish().with_timezone("UTC")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use arrow::array::{Date32Array, ListArray, StringArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;

    use super::super::tests::{chunk, spec};
    use super::super::{Conformer, json_rows};
    use super::*;
    use crate::parse::timestamp_us;

    fn local(texts: &[Option<&str>]) -> ArrayRef {
        let local = texts.iter().map(|text| text.map(|text| timestamp_us(text).unwrap()));
        Arc::new(TimestampMicrosecondArray::from_iter(local))
    }

    #[test]
    fn local_times_of_every_arrow_type_are_those_of_the_zone() {
        let texts = [Some("2025-07-01 12:00"), Some("2025-03-30 02:30"), None];
        let at = local(&texts);
        let utc: ArrayRef =
            Arc::new(at.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"));
        let item = Arc::new(Field::new("item", at.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(vec![1; at.len()]);
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::clone(&at), None));
        let field = Arc::new(Field::new("part", at.data_type().clone(), true));
        let part: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&at))]));
        let text: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        for (kind, values, expected) in [
            ("timestamp", at, "\"2025-07-01T10:00:00Z\""),
            ("timestamp", text, "\"2025-07-01T10:00:00Z\""),
            ("list(timestamp)", list, "[\"2025-07-01T10:00:00Z\"]"),
            ("struct(part: timestamp)", part, "{\"part\":\"2025-07-01T10:00:00Z\"}"),
        ] {
            let spec = spec(&format!("{{name=\"v\",type=\"{kind}\",nullable=true}}"), "");
            let chunk = chunk(vec![("v", values)]);
            let conformer = Conformer::new(&spec, &chunk.batch.schema(), "f").unwrap();
            let conformed = conformer.in_zone(Some(Tz::Europe__Berlin)).conform(&chunk).unwrap();
            let rows = json_rows(&conformed.accepted, &[0]);
            assert_eq!(rows, [format!("{{\"v\":{expected}}}")], "{kind}");
            let [rejected] = &conformed.rejected[..] else { panic!("{kind}: {conformed:?}") };
            let skipped = "the local time \"2025-03-30 02:30";
            assert!(rejected.reason.contains(skipped), "{}", rejected.reason);
            assert!(rejected.reason.contains("does not exist in Europe/Berlin"), "{kind}");
        }
        // What is an instant by itself stays as it is.
        let spec = spec("{name=\"v\",type=\"timestamp\",nullable=true}", "");
        let chunk = chunk(vec![("v", utc)]);
        let conformer = Conformer::new(&spec, &chunk.batch.schema(), "f").unwrap();
        let conformed = conformer.in_zone(Some(Tz::Europe__Berlin)).conform(&chunk).unwrap();
        assert_eq!(json_rows(&conformed.accepted, &[1]), ["{\"v\":\"2025-03-30T02:30:00Z\"}"]);
    }

    #[test]
    fn a_day_is_an_instant_at_the_midnight_of_the_zone() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![20_270]));
        let spec = spec("{name=\"at\",type=\"timestamp\"},{name=\"day\",type=\"date\"}", "");
        let chunk = chunk(vec![("at", Arc::clone(&days)), ("day", days)]);
        let conformer = Conformer::new(&spec, &chunk.batch.schema(), "f").unwrap();
        let conformed = conformer.in_zone(Some(Tz::Europe__Berlin)).conform(&chunk).unwrap();
        let rows = json_rows(&conformed.accepted, &[0]);
        assert_eq!(rows, ["{\"at\":\"2025-06-30T22:00:00Z\",\"day\":\"2025-07-01\"}"]);
    }
}
