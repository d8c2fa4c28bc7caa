//! Parts of values: a field of each item of a list, and what lies at a path in a JSON document.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use datafusion::scalar::ScalarValue;
use datafusion_functions_json::udfs;

/// The field `name` of each item of a list of structures.
pub fn list_part(list: Expr, name: &str) -> Expr {
    ScalarUDF::new_from_impl(ListPart::default()).call(vec![list, lit(name)])
}

/// What a value in a JSON document is taken as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonAs {
    /// A text.
    Text,
    /// A number, as a float.
    Number,
    /// An integer.
    Integer,
    /// True or false.
    Boolean,
}

/// The value at a path in a JSON document, null where there is none or it is another kind: a part of the path is the name of a
/// member, or, in a list, a position, from 0.
pub fn json_at(document: Expr, path: &[String], kind: JsonAs) -> Expr {
    let function = match kind {
        JsonAs::Text => udfs::json_get_str_udf(),
        JsonAs::Number => udfs::json_get_float_udf(),
        JsonAs::Integer => udfs::json_get_int_udf(),
        JsonAs::Boolean => udfs::json_get_bool_udf(),
    };
    // A list has no members, and nothing else positions: one of them is there at most.
    let found = paths(path).map(|path| function.call(with_path(&document, path)));
    coalesce(found.collect())
}

/// Whether there is something at a path in a JSON document, if only `null`.
pub fn json_has(document: Expr, path: &[String]) -> Expr {
    let found = paths(path).map(|path| udfs::json_contains_udf().call(with_path(&document, path)));
    found.reduce(Expr::or).unwrap_or_else(|| lit(false))
}

/// Parts of a path that may be positions as well as names, at most; of more the later ones are positions.
const NUMBERS_MAX: u32 = 4;

/// What a path may mean: a number is a position in a list, or the name of a member.
fn paths(path: &[String]) -> impl Iterator<Item = Vec<Expr>> {
    let position = |part: &String| {
        let position: i64 = part.parse().ok()?;
        (position >= 0 && position.to_string() == *part).then_some(position)
    };
    let numbers = path.iter().filter(|part| position(part).is_some()).count() as u32;
    (0..1_u32 << numbers.min(NUMBERS_MAX)).map(move |names| {
        let mut number = 0;
        let parts = path.iter().map(|part| {
            let Some(position) = position(part) else { return lit(part.as_str()) };
            number += 1;
            match number <= NUMBERS_MAX && names & (1 << (number - 1)) != 0 {
                true => lit(part.as_str()),
                false => lit(position),
            }
        });
        parts.collect()
    })
}

fn with_path(document: &Expr, path: Vec<Expr>) -> Vec<Expr> {
    std::iter::once(document.clone()).chain(path).collect()
}

/// `list_part(list, 'field')`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ListPart {
    signature: Signature,
}

impl Default for ListPart {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ListPart {
    fn name(&self) -> &str {
        "list_part"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        exec_err!("list_part: its type depends on the name of the field")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [list, _] = arguments.arg_fields else {
            return plan_err!("list_part: expected a list and the name of a field");
        };
        let name = match arguments.scalar_arguments.get(1).copied().flatten() {
            Some(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name))) => name,
            _ => return plan_err!("list_part: expected the name of a field as a text"),
        };
        let fields = fields_of(list.data_type())?;
        let Some(part) = fields.iter().find(|field| field.name() == name) else {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            return plan_err!("list_part: there is no field {name:?}; found {}", names.join(", "));
        };
        let item = Arc::new(Field::new("element", part.data_type().clone(), true));
        let kind = match list.data_type() {
            DataType::LargeList(_) => DataType::LargeList(item),
            _ => DataType::List(item),
        };
        Ok(Arc::new(Field::new(self.name(), kind, true)))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list, ColumnarValue::Scalar(name)] = call.args.as_slice() else {
            return exec_err!("list_part: expected a list and the name of a field");
        };
        let (list, name) = (list.to_array(call.number_rows)?, name.to_string());
        let item = match call.return_field.data_type() {
            DataType::List(item) | DataType::LargeList(item) => Arc::clone(item),
            other => return exec_err!("list_part: a list can not be {other}"),
        };
        let part = match (list.as_list_opt::<i32>(), list.as_list_opt::<i64>()) {
            (Some(lists), _) => part_of_lists(lists, &name, item)?,
            (_, Some(lists)) => part_of_lists(lists, &name, item)?,
            _ => return exec_err!("list_part: expected a list, found {}", list.data_type()),
        };
        Ok(ColumnarValue::Array(part))
    }
}

fn fields_of(list: &DataType) -> Result<&Fields> {
    match list {
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::Struct(fields) => Ok(fields),
            other => plan_err!("list_part: expected a list of structures, found one of {other}"),
        },
        other => plan_err!("list_part: expected a list of structures, found {other}"),
    }
}

/// A field of the structures in each of `lists`, as items of field `item`.
fn part_of_lists<O: OffsetSizeTrait>(
    lists: &GenericListArray<O>,
    name: &str,
    item: FieldRef,
) -> Result<ArrayRef> {
    let items = part_of(lists.values(), name)?;
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    Ok(Arc::new(GenericListArray::try_new(item, offsets, items, nulls)?))
}

/// A field of structures; null where there is no structure.
fn part_of(items: &ArrayRef, name: &str) -> Result<ArrayRef> {
    let part = items.as_struct_opt().and_then(|items| Some((items, items.column_by_name(name)?)));
    let Some((items, part)) = part else {
        return exec_err!("list_part: there is no field {name:?} in {}", items.data_type());
    };
    let Some(outer) = items.nulls() else { return Ok(Arc::clone(part)) };
    let nulls = NullBuffer::union(Some(outer), part.nulls());
    Ok(make_array(part.to_data().into_builder().nulls(nulls).build()?))
}
