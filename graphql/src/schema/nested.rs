//! Types of columns that have parts: objects in rows, and conditions in `where`.
//!
//! ```text
//!  column                              in a row                        in where
//!  address: struct(city: text)         Orders_Address {city}           OrdersWhere__Address {city: StringFilter}
//!  items: list(struct(sku: text))      [Orders_Items]                  OrdersWhere__Items {sku: StringListFilter
//!                                                                        some: OrdersWhere__Items__Item {sku: StringFilter}}
//!  sizes: map(text, int64)             [Orders_Sizes!] {key value}     BigIntMapFilter {hasKey entry}
//!  grid: list(list(int64))             JSON                            PresenceFilter
//! ```

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldFuture, InputObject, InputValue, Object, Type, TypeRef};
use datasets::{ColumnType, StructField};

use super::filter::{with_is_null, with_quantifiers};
use super::scalars::{JSON, scalar_of, type_of};
use crate::names::{camel, camel_beside, pascal};
use crate::shape::Shape;

/// Conditions on what can only be there or not.
pub(crate) const PRESENCE_FILTER: &str = "PresenceFilter";
/// Words of conditions on a structure beside its fields.
const STRUCT_WORDS: [&str; 1] = ["isNull"];
/// The same for a list of structures.
const LIST_WORDS: [&str; 4] = ["isNull", "some", "every", "none"];

/// Names of conditions on a structure, or on a list of them, that are not fields.
pub(crate) fn words_beside(kind: &ColumnType, in_list: bool) -> &'static [&'static str] {
    match kind {
        ColumnType::List(_) if !in_list => &LIST_WORDS,
        _ => &STRUCT_WORDS,
    }
}

/// The name of the objects that a column holds, and what those of its parts begin with.
pub(crate) fn object_name(shape: &Shape, column: &str) -> String {
    format!("{}_{}", shape.type_name, pascal(column))
}

/// The same for conditions on it.
pub(crate) fn where_name(shape: &Shape, column: &str) -> String {
    format!("{}__{}", shape.type_of("Where"), pascal(column))
}

fn part_name(of: &str, field: &str) -> String {
    format!("{of}_{}", pascal(field))
}

/// The types that columns with parts have.
pub(crate) fn types(shape: &Shape) -> Vec<Type> {
    let (mut objects, mut conditions) = (Vec::new(), Vec::new());
    for column in &shape.columns {
        take_objects(&object_name(shape, &column.name), &column.kind, &mut objects);
        take_conditions(&where_name(shape, &column.name), &column.kind, false, &mut conditions);
    }
    objects.into_iter().map(Type::from).chain(conditions.into_iter().map(Type::from)).collect()
}

/// The type of a value in a row; `name` is that of its objects.
pub(crate) fn shown_type(name: &str, kind: &ColumnType, nullable: bool) -> TypeRef {
    let or_null = |kind: TypeRef| match nullable {
        true => kind,
        false => TypeRef::NonNull(Box::new(kind)),
    };
    match kind {
        ColumnType::Struct(_) => or_null(TypeRef::named(name)),
        ColumnType::Map(_) => or_null(TypeRef::named_nn_list(name)),
        ColumnType::List(item) if matches!(**item, ColumnType::Struct(_)) => {
            or_null(TypeRef::named_list(name))
        }
        // Lists of lists and of maps may have nulls in between, which the library has no place for.
        ColumnType::List(item) if !item.is_scalar() => or_null(TypeRef::named(JSON)),
        kind => type_of(kind, nullable),
    }
}

fn take_objects(name: &str, kind: &ColumnType, objects: &mut Vec<Object>) {
    match kind {
        ColumnType::List(item) if matches!(**item, ColumnType::Struct(_)) => {
            take_objects(name, item, objects);
        }
        ColumnType::Struct(fields) => {
            let about =
                "A part of a row; all its fields are null where it is an item of a list that is.";
            let mut object = Object::new(name).description(about);
            for StructField { name: field, data_type, unit } in fields {
                let name = part_name(name, field);
                let mut part = shown_part(camel(field), shown_type(&name, data_type, true));
                if let Some(unit) = unit {
                    part = part.description(format!("{data_type}, in {unit}."));
                }
                object = object.field(part);
                take_objects(&name, data_type, objects);
            }
            objects.push(object);
        }
        ColumnType::Map(value) => {
            let of_value = part_name(name, "value");
            let object = Object::new(name)
                .description("A key and its value.")
                .field(shown_part("key".to_owned(), TypeRef::named_nn(TypeRef::STRING)))
                .field(shown_part("value".to_owned(), shown_type(&of_value, value, true)));
            take_objects(&of_value, value, objects);
            objects.push(object);
        }
        _ => {}
    }
}

/// A field of an object that is a value already.
fn shown_part(field: String, kind: TypeRef) -> Field {
    let name = field.clone();
    Field::new(field, kind, move |context| {
        let part = match context.parent_value.as_value() {
            Some(Value::Object(parts)) => parts.get(name.as_str()).cloned(),
            _ => None,
        };
        match part {
            None | Some(Value::Null) => FieldFuture::Value(None),
            value => FieldFuture::from_value(value),
        }
    })
}

/// The fields that conditions can be on, and whether they are those of a list's items; within a list's items there is no list.
pub(crate) fn fields_asked(kind: &ColumnType, in_list: bool) -> Option<(&[StructField], bool)> {
    match kind {
        ColumnType::Struct(fields) => Some((fields, in_list)),
        ColumnType::List(item) if !in_list => match item.as_ref() {
            ColumnType::Struct(fields) => Some((fields, true)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether values can be compared: one value, and no document.
fn is_plain(kind: &ColumnType) -> bool {
    kind.is_scalar() && *kind != ColumnType::Json
}

/// The input type of conditions on a value; `name` is that of conditions on its structure.
pub(crate) fn filter_of(name: &str, kind: &ColumnType) -> String {
    filter_within(name, kind, false)
}

/// The same, of a field of a list's items where `in_list` says so.
fn filter_within(name: &str, kind: &ColumnType, in_list: bool) -> String {
    match (kind, in_list) {
        _ if fields_asked(kind, in_list).is_some() => name.to_owned(),
        (kind, true) if is_plain(kind) => format!("{}ListFilter", scalar_of(kind)),
        (ColumnType::List(item), false) if is_plain(item) => {
            format!("{}ListFilter", scalar_of(item))
        }
        (ColumnType::Map(value), false) if is_plain(value) => {
            format!("{}MapFilter", scalar_of(value))
        }
        (ColumnType::List(_) | ColumnType::Map(_), _) | (_, true) => PRESENCE_FILTER.to_owned(),
        (kind, _) => format!("{}Filter", scalar_of(kind)),
    }
}

fn take_conditions(name: &str, kind: &ColumnType, in_list: bool, inputs: &mut Vec<InputObject>) {
    let words = words_beside(kind, in_list);
    let Some((fields, in_list)) = fields_asked(kind, in_list) else { return };
    let about = match in_list {
        true => {
            "Conditions on the items of a list. Each must hold for some item; `some` requires one item that meets all."
        }
        false => "Conditions on parts of a value; all must hold.",
    };
    let mut input = with_is_null(InputObject::new(name)).description(about);
    for StructField { name: field, data_type, .. } in fields {
        let of = part_name(name, field);
        let filter = filter_within(&of, data_type, in_list);
        input = input.field(InputValue::new(camel_beside(field, words), TypeRef::named(filter)));
        take_conditions(&of, data_type, in_list, inputs);
    }
    if let ColumnType::List(item) = kind {
        // No field name begins with `_`.
        let of_item = format!("{name}__Item");
        input = with_quantifiers(input, &of_item);
        take_conditions(&of_item, item, false, inputs);
    }
    inputs.push(input);
}
