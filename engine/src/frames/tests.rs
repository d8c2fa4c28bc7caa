//! What goes over comes back, and what is said to be shared is.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::{to_arrow, to_polars};
use crate::error::Code;

fn batch() -> RecordBatch {
    let floats =
        vec![Some(vec![Some(1.0_f32), Some(2.0)]), None, Some(vec![]), Some(vec![Some(3.0)])];
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(floats);
    let long = "longer than the twelve bytes that a view holds";
    let columns: [(&str, ArrayRef); 11] = [
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        ("i32", Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4)]))),
        ("i64", Arc::new(Int64Array::from(vec![1, -2, 3, i64::MIN]))),
        ("u64", Arc::new(UInt64Array::from(vec![1, 2, 3, u64::MAX]))),
        ("f32", Arc::new(Float32Array::from(vec![1.0, 2.5, 3.0, -0.0]))),
        (
            "f64",
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::INFINITY), None, Some(4.0)])),
        ),
        ("text", Arc::new(StringArray::from(vec![Some("a"), None, Some(long), Some("é")]))),
        (
            "bytes",
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff"), None, Some(b""), Some(b"x")])),
        ),
        ("day", Arc::new(Date32Array::from(vec![0, -1, 20_000, 3]))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(-5), Some(7)])
                    .with_timezone("UTC"),
            ),
        ),
        ("list", Arc::new(list)),
    ];
    RecordBatch::try_from_iter(columns.map(|(n, c)| (n, c))).unwrap()
}

fn assert_same(a: &RecordBatch, b: &RecordBatch) {
    assert_eq!(a.num_rows(), b.num_rows());
    for (i, field) in a.schema().fields().iter().enumerate() {
        let (a, b) = (a.column(i), b.column(i));
        // The item of a list is called otherwise; its values count.
        if let (Some(a), Some(b)) = (a.as_list_opt::<i32>(), b.as_list_opt::<i32>()) {
            assert_eq!(a.len(), b.len());
            for row in 0..a.len() {
                assert_eq!(a.is_null(row), b.is_null(row), "{}", field.name());
                assert_eq!(&a.value(row), &b.value(row), "{}", field.name());
            }
        } else {
            assert_eq!(a, b, "{}", field.name());
        }
    }
}

#[test]
fn every_type_comes_back_as_it_went() {
    let batch = batch();
    let back = to_arrow(&to_polars(std::slice::from_ref(&batch)).unwrap()).unwrap();
    assert_eq!(back.len(), 1);
    assert_same(&batch, &back[0]);
}

#[test]
fn slices_and_several_batches_come_back_too() {
    let batch = batch();
    let parts = [batch.slice(1, 2), batch.slice(3, 1), batch.slice(0, 1)];
    let frame = to_polars(&parts).unwrap();
    assert_eq!(frame.height(), 4);
    let back = to_arrow(&frame).unwrap();
    let back = arrow::compute::concat_batches(&back[0].schema(), &back).unwrap();
    let parts = arrow::compute::concat_batches(&batch.schema(), &parts).unwrap();
    assert_same(&parts, &back);
}

#[test]
fn numbers_and_instants_are_shared_and_not_copied() {
    let batch = batch();
    let frame = to_polars(std::slice::from_ref(&batch)).unwrap();
    let there =
        |name: &str| frame.column(name).unwrap().as_materialized_series().chunks()[0].clone();
    let back = to_arrow(&frame).unwrap();
    let pointer = |name: &str, batch: &RecordBatch| -> *const u8 {
        batch.column_by_name(name).unwrap().to_data().buffers()[0].as_ptr()
    };
    macro_rules! shared {
        ($name:literal, $native:ty, $arrow:ty) => {
            let values = there($name);
            let values =
                values.as_any().downcast_ref::<polars_arrow::array::PrimitiveArray<$native>>();
            let arrow = batch.column_by_name($name).unwrap().as_primitive::<$arrow>();
            assert_eq!(values.unwrap().values().as_slice().as_ptr(), arrow.values().as_ptr());
            assert_eq!(pointer($name, &batch), pointer($name, &back[0]), "{}", $name);
        };
    }
    shared!("i32", i32, Int32Type);
    shared!("i64", i64, Int64Type);
    shared!("f64", f64, Float64Type);
    shared!("at", i64, TimestampMicrosecondType);
    assert_eq!(pointer("day", &batch), pointer("day", &back[0]));
    let items = |batch: &RecordBatch| {
        batch.column_by_name("list").unwrap().as_list::<i32>().values().to_data().buffers()[0]
            .as_ptr()
    };
    assert_eq!(items(&batch), items(&back[0]));

    let texts = there("text");
    let texts = texts.as_any().downcast_ref::<polars_arrow::array::Utf8ViewArray>().unwrap();
    let data = batch.column_by_name("text").unwrap().as_string::<i32>().value_data().as_ptr();
    assert_eq!(texts.data_buffers()[0].as_slice().as_ptr(), data);
}

#[test]
fn a_frame_outlives_its_batches() {
    let frame = to_polars(&[batch()]).unwrap();
    let back = to_arrow(&frame).unwrap();
    drop(frame);
    assert_same(&batch(), &back[0]);
}

#[test]
fn what_frames_have_not_is_refused_by_name() {
    let column: ArrayRef = Arc::new(
        arrow::array::Decimal128Array::from(vec![1]).with_precision_and_scale(18, 6).unwrap(),
    );
    let batch = RecordBatch::try_from_iter([("price", column)]).unwrap();
    let error = to_polars(&[batch]).unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    assert!(error.to_string().contains("\"price\" is Decimal128(18, 6)"), "{error}");
}

#[test]
fn nothing_is_an_empty_frame() {
    assert_eq!(to_polars(&[]).unwrap().height(), 0);
    let empty = batch().slice(0, 0);
    assert_eq!(to_polars(std::slice::from_ref(&empty)).unwrap().width(), 11);
}
