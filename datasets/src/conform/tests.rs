#![allow(clippy::unwrap_used, clippy::panic)]

use arrow::array::{
    Decimal128Array, DurationMicrosecondBuilder, DurationMillisecondArray, DurationNanosecondArray,
    DurationSecondArray, Float64Array, Int32Array, Int64Array, ListArray, MapBuilder, StringArray,
    StringBuilder, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Int64Type};

use super::*;

pub(super) fn spec(columns: &str, more: &str) -> DatasetSpec {
    let text = format!("name = \"rows\"\n{more}\ncolumns = [{columns}]");
    DatasetSpec::from_toml(&text, "rows.toml").unwrap()
}

pub(super) fn chunk(columns: Vec<(&str, ArrayRef)>) -> Chunk {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    Chunk { batch, first_row: 11, rows: None, lines: None, rejected: Vec::new() }
}

pub(super) fn conform(spec: &DatasetSpec, chunk: &Chunk) -> Conformed {
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
            .contains(r#"column "at" is int64; timestamp is expected"#)
    );
    assert!(
        fails(vec![("id", Arc::clone(&id)), ("at", Arc::clone(&id)), ("x", Arc::clone(&id))])
            .contains(r#"column "x" (text) is not a column of rows, whose columns are fixed"#)
    );
    assert!(
        fails(vec![("id", Arc::clone(&id)), ("ID", id)])
            .contains(r#"columns "id" and "ID" are both "id"; rename one of them"#)
    );
}

#[test]
fn columns_without_names_are_reported_with_the_setting_that_reads_them() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let unnamed = chunk(vec![("column_1", Arc::clone(&text)), ("column_2", text)]).batch.schema();
    let of = |columns: &str, header: Option<bool>| {
        let mut spec = spec(columns, "");
        spec.load.header = header;
        Conformer::new(&spec, &unnamed, "a.csv").unwrap_err().to_string()
    };
    let named = r#"{name="id",type="text",nullable=true}"#;
    let error = of(named, Some(false));
    let expected = "; the first row was read as values by the dataset's setting header=false; if it names the columns, \
                    change the setting with `colonnade alter rows --set header=true`";
    assert!(error.contains(expected) && !error.contains("add-columns"), "{error}");
    let error = of(named, None);
    assert!(error.contains("values; if it names the columns, state header=true"), "{error}");
    // One of the dataset's columns has no name in its files either.
    let error = of(r#"{name="column_1",type="text"}"#, Some(false));
    assert!(error.contains("`--add-columns`"), "{error}");
}

#[test]
fn a_new_dataset_is_not_to_be_altered() {
    let spec = spec(r#"{name="id",type="text"}"#, "");
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let more = chunk(vec![("id", Arc::clone(&text)), ("price", text)]).batch.schema();
    let error = Conformer::require_fit_of_new(&spec, &more, "a.csv").unwrap_err().to_string();
    let expected = "column \"price\" (text) is not a column of rows, by its spec (\"id\"); add what is missing to the spec";
    assert!(error.contains(expected) && !error.contains("alter"), "{error}");
}

#[test]
fn types_have_the_names_of_specs_in_messages() {
    let spec = spec(r#"{name="x",type="bool",nullable=true}"#, "");
    let field = |kind: DataType| Field::new("x", kind, true);
    use arrow::datatypes::{IntervalUnit, TimeUnit};
    for (kind, shown) in [
        (DataType::UInt64, "decimal(20,0)"),
        (DataType::Float64, "float64"),
        (DataType::Timestamp(TimeUnit::Second, None), "timestamp"),
        (DataType::Time64(TimeUnit::Nanosecond), "a time of day"),
        (DataType::Interval(IntervalUnit::DayTime), "an interval"),
        (DataType::Duration(TimeUnit::Second), "a length of time"),
        (DataType::Decimal256(50, 2), "decimal(50,2)"),
        (DataType::new_list(DataType::Int64, true), "list(int64)"),
    ] {
        let schema = Schema::new(vec![field(kind)]);
        let error = Conformer::new(&spec, &schema, "a").unwrap_err().to_string();
        assert!(error.contains(&format!("\"x\" is {shown}; bool is expected")), "{error}");
    }
}

#[test]
fn a_delimiter_other_than_the_stored_one_is_reported() {
    let mut spec = spec(r#"{name="id",type="text"},{name="x",type="float64"}"#, "");
    spec.load.set("delimiter", ";").unwrap();
    let refused = |header: &str| {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a,1.5"]));
        let chunk = chunk(vec![(header, text)]);
        Conformer::new(&spec, &chunk.batch.schema(), "a.csv").unwrap_err().to_string()
    };
    let expected =
        "the file seems to use the delimiter ',', but the dataset's `delimiter` setting is ';'";
    let error = refused("id,x");
    assert!(error.contains(expected), "{error}");
    let error = refused("id;x");
    assert!(!error.contains("seems to use the delimiter"), "{error}");
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
    assert_eq!(one("decimal(10,1)", Arc::clone(&floats)), (3, 0));
    assert_eq!(one("decimal(10,0)", floats), (2, 1));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.1, 1.005, f64::NAN, 1e20]));
    assert_eq!(one("decimal(12,2)", Arc::clone(&floats)), (1, 3));
    assert_eq!(one("decimal(38,17)", floats), (3, 1));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["0.0125", "1.005", "1.500", "-2"]));
    assert_eq!(one("decimal(18,2)", texts), (2, 2));
    let exact = Decimal128Array::from(vec![1_000, 1_005, 1_010]);
    let exact: ArrayRef = Arc::new(exact.with_precision_and_scale(20, 3).unwrap());
    assert_eq!(one("decimal(12,2)", Arc::clone(&exact)), (2, 1));
    assert_eq!(one("decimal(30,5)", exact), (3, 0));
    let decimals: ArrayRef = Arc::new(Int64Array::from(vec![1, 1_000]));
    assert_eq!(one("decimal(4,2)", decimals), (1, 1));
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
    assert_eq!(one("list(int64)", Arc::clone(&lists)), (3, 0));
    assert_eq!(one("list(int32)", Arc::clone(&lists)), (3, 0));
    assert_eq!(one("list(decimal(4,2))", Arc::clone(&lists)), (3, 0));
    assert_eq!(one("json", lists), (3, 0));
    let floats: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(1.0)]),
        ]));
    assert_eq!(one("vector(2)", Arc::clone(&floats)), (1, 1));
    assert_eq!(one("list(decimal(4,2))", floats), (2, 0));
    let lossy: ArrayRef = Arc::new(ListArray::from_iter_primitive::<
        arrow::datatypes::Float64Type,
        _,
        _,
    >(vec![Some(vec![Some(1.5)]), Some(vec![Some(1.005)])]));
    assert_eq!(one("list(decimal(4,2))", lossy), (1, 1));
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
fn a_time_that_cannot_be_formatted_rejects_its_row() {
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(i64::MAX)]));
    let field = Arc::new(Field::new("t", times.data_type().clone(), true));
    let array: ArrayRef = Arc::new(StructArray::from(vec![(field, times)]));
    let out = conform(&spec(r#"{name="x",type="json"}"#, ""), &chunk(vec![("x", array)]));
    let texts = out.accepted.column(0).as_string::<i32>();
    assert_eq!(texts.iter().collect::<Vec<_>>(), [Some(r#"{"t":"1970-01-01T00:00:00"}"#)]);
    let rejected = &out.rejected[0];
    assert!(rejected.reason.contains("9223372036854775807"), "{}", rejected.reason);
    assert!(rejected.original.contains("9223372036854775807"), "{}", rejected.original);
}

#[test]
fn parts_of_values_go_their_own_ways() {
    let field =
        |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let column = |cities: Vec<Option<&str>>, numbers: Vec<Option<f64>>, is_there: Vec<bool>| {
        let cities: ArrayRef = Arc::new(arrow::array::LargeStringArray::from(cities));
        let numbers: ArrayRef = Arc::new(Float64Array::from(numbers));
        let fields = vec![field("houseNumber", &numbers), field("City", &cities)];
        let nulls = Some(is_there.into());
        Arc::new(StructArray::new(fields.into(), vec![numbers, cities], nulls)) as ArrayRef
    };
    let spec = spec(
        r#"{name="x",type="struct(city: text, house_number: int32, zip: text)",nullable=true}"#,
        "",
    );
    let shown = |out: &Conformed| -> Vec<String> {
        let shown = |row| arrow::util::display::array_value_to_string(out.accepted.column(0), row);
        (0..out.accepted.num_rows()).map(|row| shown(row).unwrap()).collect()
    };
    let array = column(
        vec![Some("Bonn"), None, Some("Jena")],
        vec![Some(7.0), Some(8.0), None],
        vec![true, true, false],
    );
    let out = conform(&spec, &chunk(vec![("x", array)]));
    assert_eq!(out.accepted.schema(), spec.arrow_schema());
    assert_eq!(
        shown(&out),
        ["{city: Bonn, house_number: 7, zip: }", "{city: , house_number: 8, zip: }", ""]
    );
    // One that does not fit is told with its row, and the others are carried as documents.
    let array = column(vec![Some("Bonn"), Some("Ulm")], vec![Some(7.5), None], vec![true, true]);
    let out = conform(&spec, &chunk(vec![("x", array)]));
    assert_eq!(shown(&out), ["{city: Ulm, house_number: , zip: }"]);
    assert_eq!(out.rejected[0].reason, r#""x": "house_number": expected int32, found "7.5""#);
    assert_eq!(out.rejected[0].original, r#"{"x":{"houseNumber":7.5,"City":"Bonn"}}"#);
    // A field that is none of them, and one that can not be read as what it is to be.
    for (name, array) in [
        ("town", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
        ("city", Arc::new(StructArray::from(vec![(field("a", &id()), id())]))),
    ] {
        let array: ArrayRef = Arc::new(StructArray::from(vec![(field(name, &array), array)]));
        let schema = chunk(vec![("x", array)]).batch.schema();
        let error = Conformer::new(&spec, &schema, "a.parquet").unwrap_err().to_string();
        assert!(error.contains("column \"x\" is struct("), "{error}");
    }
}

fn id() -> ArrayRef {
    Arc::new(Int32Array::from(vec![1]))
}

#[test]
fn lists_of_structures_and_maps_are_carried() {
    let items: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("sku", DataType::Int32, true)),
        Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
    )]));
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
    let lists: ArrayRef =
        Arc::new(arrow::array::LargeListArray::new(item, widened(&offsets), items, None));
    let mut maps = MapBuilder::new(
        None,
        arrow::array::Int64Builder::new(),
        arrow::array::Float32Builder::new(),
    );
    for entries in [&[(1, 0.5), (2, 1.5)][..], &[], &[(3, 2.5)]] {
        for (key, value) in entries {
            maps.keys().append_value(*key);
            maps.values().append_value(*value);
        }
        maps.append(true).unwrap();
    }
    let maps: ArrayRef = Arc::new(maps.finish());
    let chunk = chunk(vec![("items", lists), ("sizes", maps)]);
    let name = crate::DatasetName::new("rows").unwrap();
    let spec = crate::infer::spec_from_schema(&name, &chunk.batch.schema(), &Default::default());
    let spec = spec.unwrap();
    let types: Vec<String> = spec.columns.iter().map(|c| c.data_type.to_string()).collect();
    assert_eq!(types, ["list(struct(sku: int32))", "map(text, float32)"]);
    let out = conform(&spec, &chunk);
    let shown = |column: usize, row| {
        arrow::util::display::array_value_to_string(out.accepted.column(column), row).unwrap()
    };
    assert_eq!([shown(0, 0), shown(0, 1)], ["[{sku: 1}, {sku: }]", "[]"]);
    assert_eq!([shown(1, 0), shown(1, 2)], ["{1: 0.5, 2: 1.5}", "{3: 2.5}"]);
    // What was written is read back as it was.
    let again = Chunk { batch: out.accepted.clone(), ..chunk };
    assert_eq!(conform(&spec, &again).accepted, out.accepted);
}

fn widened(offsets: &OffsetBuffer<i32>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(offsets.iter().map(|at| i64::from(*at)).collect())
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
    assert!(message.contains("\"extra_count\" is struct(a: int64); int64 is expected"));
}

/// Four rows: lengths of time as such, in a structure (null in the third), in its list, in a map, and in a column without a unit.
fn lengths(wait: i64, a: i64, b: i64, item: i64) -> Chunk {
    let list = |lengths: [usize; 4], items: ArrayRef| {
        let field = Field::new("item", items.data_type().clone(), true);
        let offsets = OffsetBuffer::from_lengths(lengths);
        Arc::new(ListArray::new(Arc::new(field), offsets, items, None)) as ArrayRef
    };
    let structure = |parts: Vec<(&str, ArrayRef)>, valid: Option<NullBuffer>| {
        let field =
            |(name, part): &(&str, ArrayRef)| Field::new(*name, part.data_type().clone(), true);
        let fields = parts.iter().map(field).collect();
        let columns = parts.into_iter().map(|(_, part)| part).collect();
        Arc::new(StructArray::new(fields, columns, valid)) as ArrayRef
    };
    let wait = DurationNanosecondArray::from(vec![Some(5_000_000), Some(wait), None, Some(0)]);
    let raw = Arc::new(wait.clone()) as ArrayRef;
    let a = DurationMillisecondArray::from(vec![7_000, a, 1, -3_000]);
    let b = list([2, 1, 0, 0], Arc::new(DurationSecondArray::from(vec![1, 2, b])));
    let valid = vec![true, true, false, true].into();
    let items = vec![Some(60_000_000_000), None, Some(item), Some(0)];
    let items = list([1, 2, 0, 1], Arc::new(DurationNanosecondArray::from(items)));
    let mut by = MapBuilder::new(None, StringBuilder::new(), DurationMicrosecondBuilder::new());
    for value in [Some(3), None, Some(4), Some(5)] {
        by.keys().append_value("k");
        by.values().append_option(value);
        by.append(true).unwrap();
    }
    chunk(vec![
        ("wait", Arc::new(wait)),
        ("of", structure(vec![("a", Arc::new(a)), ("b", b)], Some(valid))),
        ("waits", structure(vec![("of", items)], None)),
        ("by", Arc::new(by.finish())),
        ("raw", raw),
    ])
}

#[test]
fn lengths_of_time_are_counted_in_the_units_that_are_stated() {
    let spec = spec(
        r#"{name="wait",type="int64",nullable=true,unit="ms"},
           {name="of",type="struct(a: int64 [s], b: list(int32) [us])",nullable=true},
           {name="waits",type="struct(of: list(int64) [min])",nullable=true},
           {name="by",type="map(text, int64)",nullable=true,unit="ns"},
           {name="raw",type="int64",nullable=true}"#,
        "",
    );
    let text = |batch: &RecordBatch| {
        let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        json_rows(batch, &rows)
    };
    let expected = [
        r#"{"wait":5,"of":{"a":7,"b":[1000000,2000000]},"waits":{"of":[1]},"by":{"k":3000},"raw":5000000}"#,
        r#"{"wait":-2,"of":{"a":0,"b":[3000000]},"waits":{"of":[null,2]},"by":{"k":null},"raw":-2000000}"#,
        r#"{"waits":{"of":[]},"by":{"k":4000}}"#,
        r#"{"wait":0,"of":{"a":-3,"b":[]},"waits":{"of":[0]},"by":{"k":5000},"raw":0}"#,
    ];
    let good = lengths(-2_000_000, 0, 3, 120_000_000_000);
    let out = conform(&spec, &good);
    assert_eq!(text(&out.accepted), expected);
    assert!(out.rejected.is_empty());
    // A part of all rows is read like all of them.
    let out = conform(&spec, &Chunk { batch: good.batch.slice(1, 3), ..good });
    assert_eq!(text(&out.accepted), expected[1..]);
    // What is no whole number of the unit sets its own row aside.
    for (bad, column, reason) in [
        (lengths(1, 0, 3, 0), "wait", "in ms, as a whole number"),
        (lengths(0, 1, 3, 0), "of", "as a whole number"),
        (lengths(0, 0, i64::MAX, 0), "of", "as a whole number"),
        (lengths(0, 0, 2_148, 0), "of", "2148000000"),
        (lengths(0, 0, 3, 1), "waits", "as a whole number"),
    ] {
        let out = conform(&spec, &bad);
        assert_eq!(text(&out.accepted).len(), 3, "{column}");
        let [row] = &out.rejected[..] else { panic!("{column}: {:?}", out.rejected) };
        assert_eq!((row.position.row, row.column.as_deref()), (12, Some(column)));
        assert!(row.reason.contains(reason), "{}", row.reason);
    }
}

#[test]
fn lengths_of_time_bring_their_units() {
    let rows = lengths(0, 0, 0, 0).batch;
    let name = "rows".parse().unwrap();
    let spec = crate::infer::spec_from_schema(&name, &rows.schema(), &Default::default()).unwrap();
    let found: Vec<_> =
        spec.columns.iter().map(|c| (c.data_type.to_string(), c.unit.clone())).collect();
    let found: Vec<_> = found.iter().map(|(kind, unit)| (kind.as_str(), unit.as_deref())).collect();
    let expected = [
        ("int64", Some("ns")),
        ("struct(a: int64 [ms], b: list(int64) [s])", None),
        ("struct(of: list(int64) [ns])", None),
        ("map(text, int64)", Some("us")),
        ("int64", Some("ns")),
    ];
    assert_eq!(found, expected);
    assert_eq!(DatasetSpec::from_toml(&spec.to_toml().unwrap(), "rows.toml").unwrap(), spec);
}

#[test]
fn what_a_dataset_computes_may_come_with_its_rows_and_is_left_out() {
    for evolution in ["fixed", "add_nullable"] {
        let more = format!(
            "evolution = \"{evolution}\"\ndimensions = [{{name = \"size\", expression = \"length(id)\"}}]"
        );
        let spec = spec(r#"{name="id",type="text"}"#, &more);
        let chunk = chunk(vec![
            ("id", Arc::new(StringArray::from(vec!["a"]))),
            ("size", Arc::new(Int64Array::from(vec![7]))),
        ]);
        let out = conform(&spec, &chunk);
        assert_eq!(out.accepted.schema(), spec.arrow_schema());
        assert_eq!((out.accepted.num_rows(), out.rejected.len()), (1, 0), "{evolution}");
        assert_eq!(evolve(&spec, &chunk.batch.schema(), "a.parquet").unwrap(), None);
    }
}

#[test]
fn lists_may_contain_nulls_and_vectors_may_not() {
    let spec = spec(
        r#"{name="tags",type="list(text)",nullable=true},{name="at",type="vector(2)",nullable=true}"#,
        "",
    );
    let mut tags = arrow::array::LargeListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a")]);
    tags.append_value([Some("b"), None]);
    tags.append_value([None::<&str>]);
    let mut at = arrow::array::ListBuilder::new(arrow::array::Float64Builder::new());
    at.append_value([Some(1.0), Some(2.0)]);
    at.append_null();
    at.append_value([Some(1.0), None]);
    let chunk = chunk(vec![("tags", Arc::new(tags.finish())), ("at", Arc::new(at.finish()))]);
    let out = conform(&spec, &chunk);
    let expected = [r#"{"tags":["a"],"at":[1.0,2.0]}"#, r#"{"tags":["b",null]}"#];
    assert_eq!(json_rows(&out.accepted, &[0, 1]), expected);
    let reasons: Vec<_> = out.rejected.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, [r#""at": expected vector(2) without a null inside"#]);
}
