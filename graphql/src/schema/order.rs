//! `orderBy`: a list of objects of one column each, `[{at: DESC}, {id: ASC}]`.

use async_graphql::dynamic::{Enum, EnumItem, InputObject, InputValue, TypeRef};

use crate::plan::order::DIRECTIONS;
use crate::shape::Shape;

/// The enum of directions.
pub(crate) const ORDER_DIRECTION: &str = "OrderDirection";

/// `OrderDirection`.
pub(crate) fn direction_type() -> Enum {
    let directions = Enum::new(ORDER_DIRECTION).description("A direction, and where nulls stand.");
    DIRECTIONS.iter().fold(directions, |directions, (name, description, _)| {
        directions.item(EnumItem::new(*name).description(*description))
    })
}

/// `ModelCallsOrderBy`; `None` for a dataset without a column that rows can be sorted by.
pub(crate) fn order_type(shape: &Shape) -> Option<InputObject> {
    let mut columns = shape.columns.iter().filter(|column| column.is_sortable()).peekable();
    columns.peek()?;
    let input = InputObject::new(shape.type_of("OrderBy"))
        .oneof()
        .description("One column and its direction.");
    Some(columns.fold(input, |input, column| {
        input.field(InputValue::new(&column.field, TypeRef::named(ORDER_DIRECTION)))
    }))
}
