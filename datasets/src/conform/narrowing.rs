//! Casts in which Arrow silently changes a value: instants before 1970 are truncated towards zero
//! instead of rounded down, and large numbers become infinite in 32 bits.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date64Type, Field, Float32Type, Float64Type, TimeUnit, TimestampNanosecondType,
};
use arrow::error::ArrowError;

use crate::column_type::item_of;

const NANOS_PER_MICRO: i64 = 1_000;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Whether instants of this type, or of its list items, are finer than a dataset stores.
pub(super) fn has_finer_times(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Date64 => true,
        DataType::Dictionary(_, values) => has_finer_times(values),
        DataType::RunEndEncoded(_, values) => has_finer_times(values.data_type()),
        other => item_of(other).is_some_and(|item| has_finer_times(item.data_type())),
    }
}

/// Rounds the instants of `array` down to the unit of `to`, so that the cast truncates nothing.
pub(super) fn floored(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if !has_finer_times(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let instants = array.as_primitive::<TimestampNanosecondType>();
            let down =
                instants.unary::<_, TimestampNanosecondType>(|at| floor(at, NANOS_PER_MICRO));
            Ok(Arc::new(down.with_timezone_opt(zone.clone())))
        }
        DataType::Date64 if to == &DataType::Date32 => {
            let instants = array.as_primitive::<Date64Type>();
            Ok(Arc::new(instants.unary::<_, Date64Type>(|at| floor(at, MILLIS_PER_DAY))))
        }
        DataType::Dictionary(_, values) => floored(&cast(array, values)?, to),
        DataType::RunEndEncoded(_, values) => floored(&cast(array, values.data_type())?, to),
        DataType::List(_) => list(array.as_list::<i32>(), to),
        DataType::LargeList(_) => list(array.as_list::<i64>(), to),
        DataType::FixedSizeList(item, length) => {
            let lists = array.as_fixed_size_list();
            let items = floored(lists.values(), item_type(to))?;
            let item = Arc::new(item.as_ref().clone().with_data_type(items.data_type().clone()));
            let nulls = lists.nulls().cloned();
            let lists =
                FixedSizeListArray::try_new_with_length(item, *length, items, nulls, lists.len())?;
            Ok(Arc::new(lists))
        }
        DataType::ListView(item) | DataType::LargeListView(item) => {
            let item = Field::new("element", item.data_type().clone(), true);
            floored(&cast(array, &DataType::LargeList(Arc::new(item)))?, to)
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn list<O: OffsetSizeTrait>(
    lists: &GenericListArray<O>,
    to: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let items = floored(lists.values(), item_type(to))?;
    let item = Field::new("element", items.data_type().clone(), true);
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    Ok(Arc::new(GenericListArray::<O>::try_new(Arc::new(item), offsets, items, nulls)?))
}

fn item_type(of: &DataType) -> &DataType {
    item_of(of).map_or(of, Field::data_type)
}

fn floor(value: i64, unit: i64) -> i64 {
    value.saturating_sub(value.rem_euclid(unit))
}

/// The rows in which a finite number became infinite in 32 bits, list items included.
pub(super) fn overflowed(before: &ArrayRef, after: &ArrayRef) -> Result<Vec<usize>, ArrowError> {
    match after.data_type() {
        DataType::Float32 => {
            let narrow = after.as_primitive::<Float32Type>();
            if !narrow.values().iter().any(|value| value.is_infinite()) {
                return Ok(Vec::new());
            }
            let wide = cast(before, &DataType::Float64)?;
            let wide = wide.as_primitive::<Float64Type>();
            let is_lost = |row: &usize| {
                narrow.is_valid(*row)
                    && narrow.value(*row).is_infinite()
                    && wide.value(*row).is_finite()
            };
            Ok((0..narrow.len()).filter(is_lost).collect())
        }
        DataType::List(item) if item.data_type() == &DataType::Float32 => {
            let narrow = after.as_list::<i32>();
            let items = narrow.values().as_primitive::<Float32Type>();
            if !items.values().iter().any(|value| value.is_infinite()) {
                return Ok(Vec::new());
            }
            let wide = Field::new("element", DataType::Float64, true);
            let wide = cast(before, &DataType::List(Arc::new(wide)))?;
            let wide = wide.as_list::<i32>();
            let mut rows = Vec::new();
            for row in (0..narrow.len()).filter(|row| narrow.is_valid(*row)) {
                if !overflowed(&wide.value(row), &narrow.value(row))?.is_empty() {
                    rows.push(row);
                }
            }
            Ok(rows)
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{
        Date64Array, DictionaryArray, Float64Array, Int32Array, ListArray, StructArray,
        TimestampNanosecondArray,
    };
    use arrow::buffer::OffsetBuffer;

    use super::super::json_rows;
    use super::super::tests::{chunk, conform, spec};
    use super::*;

    fn listed(items: ArrayRef) -> ArrayRef {
        let item = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(vec![1; items.len()]);
        Arc::new(ListArray::new(item, offsets, items, None))
    }

    fn structured(part: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("part", part.data_type().clone(), true));
        Arc::new(StructArray::from(vec![(field, part)]))
    }

    #[test]
    fn instants_before_1970_are_rounded_down_in_every_place() {
        let nanos = vec![Some(-1), Some(-1_000), Some(-1_001), None, Some(1_999)];
        let at: ArrayRef = Arc::new(TimestampNanosecondArray::from(nanos));
        let keys = Int32Array::from(vec![Some(0), Some(1), Some(2), None, Some(4)]);
        let packed: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::clone(&at)));
        let spec = spec(
            r#"{name="at",type="timestamp",nullable=true},{name="packed",type="timestamp",nullable=true},
               {name="lists",type="list(timestamp)",nullable=true},
               {name="parts",type="struct(part: timestamp)",nullable=true},
               {name="deep",type="list(struct(part: list(timestamp)))",nullable=true}"#,
            "",
        );
        let out = conform(
            &spec,
            &chunk(vec![
                ("at", Arc::clone(&at)),
                ("packed", packed),
                ("lists", listed(Arc::clone(&at))),
                ("parts", structured(Arc::clone(&at))),
                ("deep", listed(structured(listed(at)))),
            ]),
        );
        assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let expected = [
            r#""1969-12-31T23:59:59.999999Z""#,
            r#""1969-12-31T23:59:59.999999Z""#,
            r#""1969-12-31T23:59:59.999998Z""#,
            "null",
            r#""1970-01-01T00:00:00.000001Z""#,
        ];
        for (row, at) in (0_u32..).zip(expected) {
            let first =
                if at == "null" { String::new() } else { format!("\"at\":{at},\"packed\":{at},") };
            let rest =
                format!(r#""lists":[{at}],"parts":{{"part":{at}}},"deep":[{{"part":[{at}]}}]"#);
            assert_eq!(json_rows(&out.accepted, &[row]), [format!("{{{first}{rest}}}")]);
        }
    }

    #[test]
    fn an_instant_becomes_the_day_that_contains_it() {
        let days: ArrayRef = Arc::new(Date64Array::from(vec![-1, -86_400_000, 86_399_999]));
        let spec = spec(r#"{name="day",type="date"},{name="at",type="timestamp"}"#, "");
        let out = conform(&spec, &chunk(vec![("day", Arc::clone(&days)), ("at", days)]));
        let rows = json_rows(&out.accepted, &[0, 1, 2]);
        assert!(
            rows[0].contains(r#""day":"1969-12-31","at":"1969-12-31T23:59:59.999Z""#),
            "{rows:?}"
        );
        assert!(rows[1].contains(r#""day":"1969-12-31","at":"1969-12-31T00:00:00Z""#), "{rows:?}");
        assert!(rows[2].contains(r#""day":"1970-01-01""#), "{rows:?}");
    }

    #[test]
    fn a_row_with_a_number_beyond_32_bits_is_rejected() {
        let values = vec![Some(1.5), Some(1e39), None, Some(f64::INFINITY), Some(-1e300)];
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        let spec = |kind: &str| spec(&format!(r#"{{name="v",type="{kind}",nullable=true}}"#), "");
        for (kind, values) in [
            ("float32", Arc::clone(&values)),
            ("list(float32)", listed(Arc::clone(&values))),
            ("struct(part: float32)", structured(Arc::clone(&values))),
            ("struct(part: list(float32))", structured(listed(values))),
        ] {
            let out = conform(&spec(kind), &chunk(vec![("v", values)]));
            let rows: Vec<u64> = out.rejected.iter().map(|row| row.position.row).collect();
            assert_eq!(rows, [12, 15], "{kind}: {:?}", out.rejected);
            assert_eq!(out.accepted.num_rows(), 3, "{kind}");
        }
    }
}
