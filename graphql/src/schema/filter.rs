//! `where`: an input with a field for each column, and for each type the operators that it has.

use super::nested::{self, filter_of};
use super::scalars;
use crate::names::{WHERE_WORDS, camel_beside};
use crate::plan::items::Quantifier;
use crate::shape::Shape;
use async_graphql::dynamic::{InputObject, InputValue, TypeRef};

/// The operators of one scalar: their names, and whether they take a list.
struct Filter {
    scalar: &'static str,
    operators: &'static [Operators],
}

#[derive(Clone, Copy)]
enum Operators {
    Equality,
    Order,
    Text,
    Contains,
}

const FILTERS: [Filter; 9] = [
    Filter { scalar: TypeRef::BOOLEAN, operators: &[Operators::Equality] },
    Filter { scalar: TypeRef::INT, operators: &[Operators::Equality, Operators::Order] },
    Filter { scalar: TypeRef::FLOAT, operators: &[Operators::Equality, Operators::Order] },
    Filter {
        scalar: TypeRef::STRING,
        operators: &[Operators::Equality, Operators::Order, Operators::Contains, Operators::Text],
    },
    Filter { scalar: scalars::BIG_INT, operators: &[Operators::Equality, Operators::Order] },
    Filter { scalar: scalars::DECIMAL, operators: &[Operators::Equality, Operators::Order] },
    Filter { scalar: scalars::DATE_TIME, operators: &[Operators::Equality, Operators::Order] },
    Filter { scalar: scalars::DATE, operators: &[Operators::Equality, Operators::Order] },
    Filter { scalar: scalars::BYTES, operators: &[Operators::Equality] },
];

const LIKE: &str = "A pattern for the whole text, as in SQL: `%` is any letters, `_` is one; `\\` before one of them makes it itself.";

/// `StringFilter`, `IntFilter`, …: what all datasets share.
pub(crate) fn filter_types() -> Vec<InputObject> {
    let mut types = Vec::new();
    for filter in &FILTERS {
        let mut input = with_is_null(InputObject::new(format!("{}Filter", filter.scalar)))
            .description("Conditions on a value; all must hold. A null meets none but `isNull`.");
        for operators in filter.operators {
            let (single, list): (&[&str], &[&str]) = match operators {
                Operators::Equality => (&["eq", "ne"], &["in", "notIn"]),
                Operators::Order => (&["gt", "gte", "lt", "lte"], &["between"]),
                Operators::Contains => (&["contains"], &[]),
                Operators::Text => (&["startsWith", "endsWith", "like", "ilike", "regex"], &[]),
            };
            let singles = single.iter().map(|name| (*name, TypeRef::named(filter.scalar)));
            let lists = list.iter().map(|name| (*name, TypeRef::named_nn_list(filter.scalar)));
            for (name, kind) in singles.chain(lists) {
                let value = InputValue::new(name, kind);
                input = input.field(match name {
                    "ne" | "notIn" => value.description(
                        "Rows without a value are not among them: `or: [{…}, {column: {isNull: true}}]` has those, too.",
                    ),
                    "between" => value.description("Two values: from the first to the second, both included."),
                    "like" => value.description(LIKE),
                    "ilike" => value.description("As `like`, whatever the case of letters."),
                    "regex" => value.description(
                        "A regular expression, in the syntax of Rust's crate `regex`, which some part of the text matches.",
                    ),
                    _ => value,
                });
            }
        }
        types.push(input);
        let entry = format!("{}EntryFilter", filter.scalar);
        types.push(
            with_is_null(InputObject::new(format!("{}MapFilter", filter.scalar)))
                .description("Conditions on a map.")
                .field(
                    InputValue::new("hasKey", TypeRef::named(TypeRef::STRING))
                        .description("The map has this key."),
                )
                .field(
                    InputValue::new("entry", TypeRef::named(&entry))
                        .description("Conditions on the value of one key."),
                ),
        );
        types.push(
            InputObject::new(entry)
                .description("A key, and conditions on its value.")
                .field(InputValue::new("key", TypeRef::named_nn(TypeRef::STRING)))
                .field(InputValue::new(
                    "value",
                    TypeRef::named_nn(format!("{}Filter", filter.scalar)),
                )),
        );
        let list = with_is_null(InputObject::new(format!("{}ListFilter", filter.scalar)))
            .description("Conditions on a list.")
            .field(
                InputValue::new("has", TypeRef::named(filter.scalar))
                    .description("The list has this value."),
            );
        types.push(with_quantifiers(list, &format!("{}Filter", filter.scalar)));
    }
    types.push(
        with_is_null(InputObject::new("JSONFilter"))
            .description("Conditions on a JSON document.")
            .field(
                InputValue::new("contains", TypeRef::named(TypeRef::STRING))
                    .description("The document's text, as it was given, has this in it."),
            )
            .field(
                InputValue::new("at", TypeRef::named_nn_list("JSONPathFilter")).description(
                    "Conditions on what lies at paths in the document; all must hold.",
                ),
            ),
    );
    types.push(
        InputObject::new("JSONPathFilter")
            .description("A path in a JSON document, and conditions on what lies there; a value of another kind meets none.")
            .field(
                InputValue::new("path", TypeRef::named_nn_list_nn(TypeRef::STRING)).description(
                    "Names of members, outermost first; a number is a position in a list, from 0.",
                ),
            )
            .field(
                InputValue::new("exists", TypeRef::named(TypeRef::BOOLEAN))
                    .description("Whether there is something, if only null."),
            )
            .field(InputValue::new("text", TypeRef::named("StringFilter")))
            .field(InputValue::new("number", TypeRef::named("FloatFilter")))
            .field(InputValue::new("integer", TypeRef::named("BigIntFilter")))
            .field(InputValue::new("boolean", TypeRef::named("BooleanFilter"))),
    );
    types.push(
        with_is_null(InputObject::new(nested::PRESENCE_FILTER))
            .description("Whether there is a value."),
    );
    types.push(
        with_is_null(InputObject::new("VectorFilter")).description("Conditions on a vector."),
    );
    types
}

pub(super) fn with_is_null(input: InputObject) -> InputObject {
    input.field(InputValue::new("isNull", TypeRef::named(TypeRef::BOOLEAN)))
}

/// Adds conditions on the items of a list. `of` is the filter type of an item.
pub(super) fn with_quantifiers(input: InputObject, of: &str) -> InputObject {
    let about = |word: &str| match Quantifier::of(word) {
        Some(Quantifier::Some) => "At least one item meets all of these.",
        Some(Quantifier::Every) => "Each item meets all of these, or the list is empty.",
        _ => "No item meets all of these.",
    };
    Quantifier::WORDS.into_iter().fold(input, |input, word| {
        input.field(InputValue::new(word, TypeRef::named(of)).description(about(word)))
    })
}

/// `ModelCallsWhere`.
pub(crate) fn where_type(shape: &Shape) -> InputObject {
    let name = shape.type_of("Where");
    let list = || TypeRef::named_nn_list(&name);
    let mut input = InputObject::new(&name)
        .description(format!("Conditions on rows of {}; all must hold.", shape.name))
        .field(InputValue::new("and", list()).description("All of these hold."))
        .field(InputValue::new("or", list()).description("At least one of these holds."))
        .field(InputValue::new("not", TypeRef::named(&name)).description("This does not hold."));
    for column in shape.conditional() {
        let filter = filter_of(&nested::where_name(shape, &column.name), &column.kind);
        let field = camel_beside(&column.name, &WHERE_WORDS);
        input = input
            .field(InputValue::new(field, TypeRef::named(filter)).description(&column.description));
    }
    input
}
