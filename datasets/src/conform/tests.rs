#![allow(clippy::unwrap_used)]

use arrow::array::{
    Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type};

use super::*;

fn spec(columns: &str, more: &str) -> DatasetSpec {
    let text = format!("name = \"rows\"\n{more}\ncolumns = [{columns}]");
    DatasetSpec::from_toml(&text, "rows.toml").unwrap()
}

fn chunk(columns: Vec<(&str, ArrayRef)>) -> Chunk {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    Chunk { batch, first_row: 11, rows: None, lines: None, rejected: Vec::new() }
}

fn conform(spec: &DatasetSpec, chunk: &Chunk) -> Conformed {
    Conformer::new(spec, &chunk.batch.schema(), "a.parquet").unwrap().conform(chunk).unwrap()
}

#[test]
fn good_rows_pass_and_bad_rows_say_why() {
    let spec = spec(
        r#"{name="id",type="text"},{name="n",type="int32",nullable=true},{name="v",type="float64"}"#,
        r#"validations = [{check="finite",column="v"},{check="range",column="n",min=0.0}]"#,
    );
    let chunk = chunk(vec![
        ("v", Arc::new(Float64Array::from(vec![1.0, f64::NAN, 3.0, 4.0, 5.0]))),
        ("n", Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(1 << 40), Some(-1), None]))),
        ("id", Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), Some("d"), None]))),
    ]);
    let out = conform(&spec, &chunk);
    assert_eq!(out.accepted.schema(), spec.arrow_schema());
    assert_eq!(out.accepted.num_rows(), 1);
    let found: Vec<_> = out
        .rejected
        .iter()
        .map(|r| (r.position.row, r.column.clone().unwrap(), r.reason.clone()))
        .collect();
    let expected = [
        (12, "v", r#""v": expected a finite number, found NaN"#),
        (13, "n", r#""n": expected int32, found "1099511627776""#),
        (14, "n", r#""n": expected at least 0, found -1"#),
        (15, "id", r#""id": expected a value, found none"#),
    ];
    assert_eq!(found, expected.map(|(row, c, r)| (row, c.to_owned(), r.to_owned())));
    assert_eq!(out.rejected[2].original, r#"{"v":4.0,"n":-1,"id":"d"}"#);
}

#[test]
fn sources_that_can_not_fit_are_refused_whole() {
    let spec = spec(r#"{name="id",type="text"},{name="at",type="timestamp"}"#, "");
    let fails = |columns| {
        let chunk = chunk(columns);
        Conformer::new(&spec, &chunk.batch.schema(), "a.csv").unwrap_err().to_string()
    };
    let id: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let at: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert_eq!(
        fails(vec![("id", Arc::clone(&id))]),
        r#"a.csv: rows needs column "at" (timestamp); found "id""#
    );
    assert!(
        fails(vec![("id", Arc::clone(&id)), ("at", at)])
            .contains(r#"column "at" is Int64; timestamp is expected"#)
    );
    assert!(
        fails(vec![("id", Arc::clone(&id)), ("at", Arc::clone(&id)), ("x", Arc::clone(&id))])
            .contains(r#"column "x" (Utf8) is not a column of rows, whose columns are fixed"#)
    );
    assert!(
        fails(vec![("id", Arc::clone(&id)), ("ID", id)])
            .contains(r#"columns "id" and "ID" both stand for "id""#)
    );
}

#[test]
fn only_casts_without_loss_are_made() {
    let one = |data_type: &str, array: ArrayRef| {
        let spec = spec(&format!(r#"{{name="x",type="{data_type}",nullable=true}}"#), "");
        let chunk = chunk(vec![("x", array)]);
        let out = conform(&spec, &chunk);
        (out.accepted.num_rows(), out.rejected.len())
    };
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.5, -3.0]));
    assert_eq!(one("int64", Arc::clone(&floats)), (2, 1));
    assert_eq!(one("decimal(10,1)", floats), (3, 0));
    let big: ArrayRef = Arc::new(Int64Array::from(vec![1, (1 << 53) + 1]));
    assert_eq!(one("float64", big), (1, 1));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "x", "2.0"]));
    assert_eq!(one("int32", Arc::clone(&texts)), (2, 1));
    assert_eq!(one("json", texts), (2, 1));
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_500, -1]));
    assert_eq!(one("timestamp", nanos), (2, 0));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(1), None]),
        None,
    ]));
    assert_eq!(one("list(int64)", Arc::clone(&lists)), (2, 1));
    assert_eq!(one("list(int32)", Arc::clone(&lists)), (2, 1));
    assert_eq!(one("json", lists), (3, 0));
    let floats: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(1.0)]),
        ]));
    assert_eq!(one("vector(2)", floats), (1, 1));
}

#[test]
fn structs_become_json() {
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let array: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("a", DataType::Int32, true)),
        inner,
    )]));
    let spec = spec(r#"{name="x",type="json"}"#, "");
    let out = conform(&spec, &chunk(vec![("x", array)]));
    let texts: Vec<_> =
        out.accepted.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_owned()).collect();
    assert_eq!(texts, [r#"{"a":1}"#, r#"{"a":null}"#]);
}

#[test]
fn partitions_are_computed() {
    let spec = spec(
        r#"{name="at",type="timestamp",nullable=true}"#,
        r#"partition_by = [{column="at_month",from="at",transform="month"},{column="at_day",from="at",transform="day"}]"#,
    );
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some("2024-02-29T23:59:59Z"), Some("1969-12-31"), None]));
    let out = conform(&spec, &chunk(vec![("at", texts)]));
    let show = |column: usize, row: usize| {
        arrow::util::display::array_value_to_string(out.accepted.column(column), row).unwrap()
    };
    assert_eq!((show(1, 0), show(2, 0)), ("2024-02-01".into(), "2024-02-29".into()));
    assert_eq!((show(1, 1), show(2, 1)), ("1969-12-01".into(), "1969-12-31".into()));
    assert_eq!((show(1, 2), show(2, 2)), (String::new(), String::new()));
}

#[test]
fn new_columns_evolve_a_dataset_that_allows_them() {
    let open = spec(r#"{name="id",type="text"}"#, r#"evolution = "add_nullable""#);
    let id: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let wider = chunk(vec![("id", Arc::clone(&id)), ("Extra Count", n.clone())]);
    assert!(Conformer::new(&open, &wider.batch.schema(), "a").is_err());
    let evolved = evolve(&open, &wider.batch.schema(), "a").unwrap().unwrap();
    let added = evolved.column("extra_count").unwrap();
    assert!(added.nullable);
    assert_eq!(conform(&evolved, &wider).accepted.num_rows(), 1);
    assert_eq!(evolve(&evolved, &wider.batch.schema(), "a").unwrap(), None);

    let fixed = spec(r#"{name="id",type="text"}"#, "");
    assert!(evolve(&fixed, &wider.batch.schema(), "a").unwrap_err().to_string().contains("fixed"));
    let changed = chunk(vec![
        ("id", id),
        (
            "extra_count",
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("a", DataType::Int64, true)),
                n,
            )])),
        ),
    ]);
    let message = evolve(&evolved, &changed.batch.schema(), "a").unwrap_err().to_string();
    assert!(message.contains("\"extra_count\" is Struct") && message.contains("int64 is expected"));
}
