//! Scalars beyond GraphQL's own five, and which of all of them a column type is.

use async_graphql::dynamic::{Scalar, TypeRef};
use datasets::ColumnType;

/// 64-bit integer as a string.
pub(crate) const BIG_INT: &str = "BigInt";
/// Exact decimal as a string.
pub(crate) const DECIMAL: &str = "Decimal";
/// Instant.
pub(crate) const DATE_TIME: &str = "DateTime";
/// Calendar day.
pub(crate) const DATE: &str = "Date";
/// Length of time.
pub(crate) const DURATION: &str = "Duration";
/// JSON document.
pub(crate) const JSON: &str = "JSON";
/// Bytes.
pub(crate) const BYTES: &str = "Bytes";
/// Vector of floats.
pub(crate) const VECTOR: &str = "Vector";

/// The scalars to register.
pub(crate) fn scalars() -> [Scalar; 8] {
    let scalar = |name: &str, description: &str| Scalar::new(name).description(description);
    [
        scalar(
            BIG_INT,
            "An integer of up to 64 bits (a sum may have more), as a string. Taken as a number, too.",
        ),
        scalar(DECIMAL, "An exact decimal number, as a string. Taken as a number, too."),
        scalar(DATE_TIME, "An instant as RFC 3339 in UTC, to the microsecond.")
            .specified_by_url("https://www.rfc-editor.org/rfc/rfc3339"),
        scalar(DATE, "A calendar day, like `2026-01-31`."),
        scalar(
            DURATION,
            "A length of time: a count and one of s, m, h, d, w, mo, q, y, like `15m` or `1d`.",
        ),
        scalar(
            JSON,
            "Any JSON value. A column's documents are given as they stand, with all digits of their numbers; in what is sent, a number that a double can not hold is the nearest one that it can.",
        ),
        scalar(BYTES, "Bytes in base64."),
        scalar(VECTOR, "A list of 32-bit floats."),
    ]
}

/// The GraphQL type of one value of a column of this type.
pub(crate) fn scalar_of(kind: &ColumnType) -> &'static str {
    match kind {
        ColumnType::Bool => TypeRef::BOOLEAN,
        ColumnType::Int32 => TypeRef::INT,
        ColumnType::Int64 => BIG_INT,
        ColumnType::Float32 | ColumnType::Float64 => TypeRef::FLOAT,
        ColumnType::Text => TypeRef::STRING,
        ColumnType::Timestamp => DATE_TIME,
        ColumnType::Date => DATE,
        ColumnType::Decimal(..) => DECIMAL,
        ColumnType::Json => JSON,
        ColumnType::Bytes => BYTES,
        ColumnType::Vector(_) => VECTOR,
        ColumnType::List(item) => scalar_of(item),
        // What has fields has types of its own where it is shown; as a whole it is given as a document.
        ColumnType::Struct(_) | ColumnType::Map(_) => JSON,
    }
}

/// The GraphQL type that a column is given as.
pub(crate) fn input_type_of(kind: &ColumnType) -> TypeRef {
    match kind.is_nested() {
        true => TypeRef::named(JSON),
        false => type_of(kind, true),
    }
}

/// The GraphQL type of a column that is not nested. Floats are always nullable, because NaN becomes null. So are the items of a
/// list.
pub(crate) fn type_of(kind: &ColumnType, nullable: bool) -> TypeRef {
    match (kind, nullable) {
        (ColumnType::List(item), true) => TypeRef::named_list(scalar_of(item)),
        (ColumnType::List(item), false) => TypeRef::named_list_nn(scalar_of(item)),
        (ColumnType::Float32 | ColumnType::Float64, _) | (_, true) => {
            TypeRef::named(scalar_of(kind))
        }
        (kind, false) => TypeRef::named_nn(scalar_of(kind)),
    }
}
