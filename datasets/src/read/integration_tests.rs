//! Arrow's integration files against the contents that their JSON files state
//! (<https://arrow.apache.org/docs/format/Integration.html>).
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};
use arrow::util::display::array_value_to_string;
use serde_json::{Value, json};

use super::conformance_tests::batches;
use super::public_tests::shared_data;
use super::*;

#[test]
fn arrow_files_and_streams_hold_what_their_json_says() {
    let Some(folder) = shared_data("arrow_files_and_streams_hold_what_their_json_says") else {
        return;
    };
    let folder = folder.join("arrow_testing/data/arrow-ipc-stream/integration");
    let mut cases = 0;
    for version in std::fs::read_dir(folder).unwrap() {
        for entry in std::fs::read_dir(version.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(case) = name.strip_suffix(".json.gz") else { continue };
            cases += 1;
            let content = content(&path);
            for extension in ["arrow_file", "stream"] {
                let file = path.with_file_name(format!("{case}.{extension}"));
                check(&file, &content);
            }
        }
    }
    assert_eq!(cases, 69);
}

fn content(path: &Path) -> Value {
    let source = Source::File { path: path.to_owned(), name: "content".into() };
    serde_json::from_reader(source.text().unwrap()).unwrap()
}

fn check(file: &Path, content: &Value) {
    let format =
        if file.extension().unwrap() == "stream" { Format::ArrowStream } else { Format::ArrowFile };
    let batches = batches(file, format);
    let mut rows = batches.iter().flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)));
    let dictionaries: HashMap<u64, &Value> = items(&content["dictionaries"])
        .map(|d| (d["id"].as_u64().unwrap(), &d["data"]["columns"][0]))
        .collect();
    let fields: Vec<&Value> = items(&content["schema"]["fields"]).collect();
    for batch in items(&content["batches"]) {
        for row in 0..count(batch) {
            let (found, found_row) = rows.next().unwrap_or_else(|| panic!("{}", file.display()));
            for (index, (field, column)) in fields.iter().zip(items(&batch["columns"])).enumerate()
            {
                let expected = Expected { dictionaries: &dictionaries }.value(field, column, row);
                let found = actual(found.column(index), found_row);
                assert_eq!(found, expected, "{} {} row {row}", file.display(), field["name"]);
            }
        }
    }
    assert!(rows.next().is_none(), "{}", file.display());
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn count(value: &Value) -> usize {
    value["count"].as_u64().unwrap() as usize
}

/// A number, which is written as text when it may exceed 53 bits.
fn integer(value: &Value) -> i128 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_i64().unwrap().into(),
    }
}

/// What the JSON says of a value: leaves as text, lists and structs as arrays.
struct Expected<'a> {
    dictionaries: &'a HashMap<u64, &'a Value>,
}

impl Expected<'_> {
    fn value(&self, field: &Value, column: &Value, row: usize) -> Value {
        let kind = field["type"]["name"].as_str().unwrap();
        let child = |at: usize, row: usize| {
            self.value(&field["children"][at], &column["children"][at], row)
        };
        if kind == "null" || column["VALIDITY"].get(row).is_some_and(|v| v == 0) {
            return Value::Null;
        }
        if let Some(id) = field["dictionary"]["id"].as_u64() {
            let mut plain = field.clone();
            plain.as_object_mut().unwrap().remove("dictionary");
            let index = integer(&column["DATA"][row]) as usize;
            return self.value(&plain, self.dictionaries[&id], index);
        }
        let data = &column["DATA"][row];
        match kind {
            "list" | "largelist" | "map" => {
                let from = integer(&column["OFFSET"][row]) as usize;
                let to = integer(&column["OFFSET"][row + 1]) as usize;
                (from..to).map(|index| child(0, index)).collect()
            }
            "listview" | "largelistview" => {
                let from = integer(&column["OFFSET"][row]) as usize;
                let to = from + integer(&column["SIZE"][row]) as usize;
                (from..to).map(|index| child(0, index)).collect()
            }
            "fixedsizelist" => {
                let size = field["type"]["listSize"].as_u64().unwrap() as usize;
                (row * size..(row + 1) * size).map(|index| child(0, index)).collect()
            }
            "struct" => {
                (0..field["children"].as_array().unwrap().len()).map(|at| child(at, row)).collect()
            }
            "union" => {
                let id = &column["TYPE_ID"][row];
                let ids = field["type"]["typeIds"].as_array().unwrap();
                let at = ids.iter().position(|other| other == id).unwrap();
                let dense = field["type"]["mode"] == "DENSE";
                child(at, if dense { integer(&column["OFFSET"][row]) as usize } else { row })
            }
            "runendencoded" => {
                let mut ends = items(&column["children"][0]["DATA"]);
                child(1, ends.position(|end| integer(end) > row as i128).unwrap())
            }
            "utf8view" | "binaryview" => {
                let view = &column["VIEWS"][row];
                let size = view["SIZE"].as_u64().unwrap() as usize;
                let hex = match view["BUFFER_INDEX"].as_u64() {
                    None if kind == "utf8view" => return view["INLINED"].clone(),
                    None => return json!(view["INLINED"].as_str().unwrap().to_lowercase()),
                    Some(buffer) => {
                        let from = 2 * view["OFFSET"].as_u64().unwrap() as usize;
                        let buffer = &column["VARIADIC_DATA_BUFFERS"][buffer as usize];
                        buffer.as_str().unwrap()[from..from + 2 * size].to_lowercase()
                    }
                };
                if kind == "binaryview" {
                    return json!(hex);
                }
                let bytes: Vec<u8> = (0..size)
                    .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                    .collect();
                json!(String::from_utf8(bytes).unwrap())
            }
            "binary" | "largebinary" | "fixedsizebinary" => {
                json!(data.as_str().unwrap().to_lowercase())
            }
            "floatingpoint" if field["type"]["precision"] == "SINGLE" => {
                json!((data.as_f64().unwrap() as f32).to_string())
            }
            "floatingpoint" => json!(data.as_f64().unwrap().to_string()),
            "interval" => match field["type"]["unit"].as_str().unwrap() {
                "YEAR_MONTH" => json!(integer(data).to_string()),
                "DAY_TIME" => json!(format!("{} {}", data["days"], data["milliseconds"])),
                _ => json!(format!("{} {} {}", data["months"], data["days"], data["nanoseconds"])),
            },
            "utf8" | "largeutf8" => data.clone(),
            "bool" => {
                json!(if data == &json!(true) || data == &json!(1) { "true" } else { "false" })
            }
            // Larger decimals than 128 bits are written as text, too.
            "decimal" => data.clone(),
            _ => json!(integer(data).to_string()),
        }
    }
}

/// The same of a value that was read.
fn actual(array: &ArrayRef, row: usize) -> Value {
    if array.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return Value::Null;
    }
    let all = |items: ArrayRef| (0..items.len()).map(|at| actual(&items, at)).collect();
    let as_integer =
        |to: DataType| json!(array_value_to_string(&cast(array, &to).unwrap(), row).unwrap());
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::List(_) => all(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => all(array.as_list::<i64>().value(row)),
        DataType::ListView(_) => all(array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => all(array.as_list_view::<i64>().value(row)),
        DataType::FixedSizeList(..) => all(array.as_fixed_size_list().value(row)),
        DataType::Map(..) => {
            let entries: ArrayRef = std::sync::Arc::new(array.as_map().value(row));
            all(entries)
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(|column| actual(column, row)).collect()
        }
        DataType::Union(_, _) => actual(&array.as_union().value(row), 0),
        DataType::Dictionary(_, values) => actual(&cast(array, values).unwrap(), row),
        DataType::Timestamp(..)
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Duration(_) => as_integer(DataType::Int64),
        DataType::Date32 | DataType::Time32(_) => as_integer(DataType::Int32),
        DataType::Interval(IntervalUnit::YearMonth) => {
            json!(array.as_primitive::<IntervalYearMonthType>().value(row).to_string())
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            json!(format!("{} {}", value.days, value.milliseconds))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            json!(format!("{} {} {}", value.months, value.days, value.nanoseconds))
        }
        DataType::Float32 => {
            json!(array.as_primitive::<arrow::datatypes::Float32Type>().value(row).to_string())
        }
        DataType::Float64 => {
            json!(array.as_primitive::<arrow::datatypes::Float64Type>().value(row).to_string())
        }
        // Not as text: old files hold values beyond their precision, which text would cut.
        DataType::Decimal32(..) => {
            json!(array.as_primitive::<Decimal32Type>().value(row).to_string())
        }
        DataType::Decimal64(..) => {
            json!(array.as_primitive::<Decimal64Type>().value(row).to_string())
        }
        DataType::Decimal128(..) => {
            json!(array.as_primitive::<Decimal128Type>().value(row).to_string())
        }
        DataType::Decimal256(..) => {
            json!(array.as_primitive::<Decimal256Type>().value(row).to_string())
        }
        _ => json!(array_value_to_string(array, row).unwrap()),
    }
}
