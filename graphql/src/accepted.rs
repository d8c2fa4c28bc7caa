//! Completes validation errors with the names that the schema accepts: the values of an enum, or the fields of an input.
//!
//! The library only reports what it found. The accepted names are read from the schema by introspection. So a server that hides
//! its schema names nothing of it.

use std::fmt::Write as _;

use async_graphql::dynamic::Schema;
use async_graphql::{Request, ServerError, Value};
use datasets::near_names;

use crate::limits::Limits;

/// Most names in one error.
const NAMES_MAX: usize = 24;
/// Most errors of one answer that are completed, since each reads the schema.
const COMPLETED_MAX: usize = 8;
/// Longest name, in bytes, that is compared with those of the schema.
const FOUND_BYTES_MAX: usize = 64;
/// Start of the library's suggestions of similar names.
const SUGGESTION: &str = " Did you mean";

impl Limits {
    /// Whether errors may name parts of the schema that the request does not name.
    pub(crate) fn names_are_shown(&self) -> bool {
        self.introspection && self.suggestions
    }
}

/// Completes the validation errors in `errors`, or removes names that the caller may not see.
pub(crate) async fn complete(schema: &Schema, limits: &Limits, errors: &mut [ServerError]) {
    // Errors during execution have a code.
    let plain = errors.iter_mut().filter(|error| error.extensions.is_none());
    if !limits.names_are_shown() {
        for error in plain {
            if let Some(at) = error.message.find(SUGGESTION) {
                error.message.truncate(at);
            }
        }
        return;
    }
    for error in plain.take(COMPLETED_MAX) {
        let Some(wrong) = Wrong::of(&error.message) else { continue };
        let names = names_of(schema, wrong.kind, wrong.in_type).await;
        if let Some(more) = wrong.expected(&names) {
            error.message.push_str(&more);
        }
    }
}

/// Which names of a type are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Values,
    Fields,
}

/// A value or field that a type does not have.
#[derive(Debug, PartialEq, Eq)]
struct Wrong<'a> {
    kind: Names,
    in_type: &'a str,
    /// The value or field that was found, if the error names it.
    found: &'a str,
}

impl<'a> Wrong<'a> {
    fn of(message: &'a str) -> Option<Self> {
        let between = |text: &'a str, begin: &str, end: &str| {
            let (_, text) = text.split_once(begin)?;
            text.split_once(end)
        };
        let message = message.strip_prefix("Invalid value for argument ")?;
        let (kind, in_type, found) = if message.contains(", enumeration type \"") {
            let (in_type, rest) = between(message, ", enumeration type \"", "\"")?;
            let found = rest.strip_prefix(" does not contain the value \"")?;
            (Names::Values, in_type, found.strip_suffix('"')?)
        } else if message.contains(", unknown field \"") {
            let (found, rest) = between(message, ", unknown field \"", "\"")?;
            let in_type = rest.strip_prefix(" of type \"")?;
            (Names::Fields, in_type.strip_suffix('"')?, found)
        } else {
            let (in_type, rest) = between(message, ", expected type \"", "\"")?;
            if !rest.is_empty() {
                return None;
            }
            (Names::Values, in_type, "")
        };
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (!in_type.is_empty() && is_name(in_type)).then_some(Self { kind, in_type, found })
    }

    fn expected(&self, names: &[String]) -> Option<String> {
        if names.is_empty() {
            return None;
        }
        let what = match self.kind {
            Names::Values => "one of",
            Names::Fields => "fields among",
        };
        let shown = names.get(..NAMES_MAX).unwrap_or(names);
        let mut text = format!("; expected {what} {}", shown.join(", "));
        if names.len() > shown.len() {
            let _ = write!(text, " and {} more", names.len() - shown.len());
        }
        let all = || names.iter().map(String::as_str);
        let same = all().find(|name| name.eq_ignore_ascii_case(self.found));
        let near = match (same, self.found.len()) {
            (Some(same), _) => Some(same),
            (None, 1..=FOUND_BYTES_MAX) => near_names(self.found, all()).into_iter().next(),
            _ => None,
        };
        if let Some(near) = near {
            let _ = write!(text, "; did you mean {near}?");
        }
        Some(text)
    }
}

/// The names of a type's values or fields; empty if it has none or does not exist.
async fn names_of(schema: &Schema, kind: Names, in_type: &str) -> Vec<String> {
    let list = match kind {
        Names::Values => "enumValues",
        Names::Fields => "inputFields",
    };
    let query = format!("{{ __type(name: \"{in_type}\") {{ {list} {{ name }} }} }}");
    let data = schema.execute(Request::new(query)).await.data;
    let Value::Object(mut data) = data else { return Vec::new() };
    let Some(Value::Object(mut found)) = data.swap_remove("__type") else { return Vec::new() };
    let Some(Value::List(items)) = found.swap_remove(list) else { return Vec::new() };
    let name = |item: Value| match item {
        Value::Object(mut item) => match item.swap_remove("name") {
            Some(Value::String(name)) => Some(name),
            _ => None,
        },
        _ => None,
    };
    items.into_iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn errors_about_values_and_fields_are_parsed() {
        let read = |text| Wrong::of(text).map(|wrong| (wrong.kind, wrong.in_type, wrong.found));
        assert_eq!(
            read(
                "Invalid value for argument \"orderBy.0.ms\", enumeration type \"OrderDirection\" does not contain the value \"desc\""
            ),
            Some((Names::Values, "OrderDirection", "desc"))
        );
        assert_eq!(
            read(
                "Invalid value for argument \"where\", unknown field \"modl\" of type \"CallsWhere\""
            ),
            Some((Names::Fields, "CallsWhere", "modl"))
        );
        assert_eq!(
            read("Invalid value for argument \"first\", expected type \"Int\""),
            Some((Names::Values, "Int", ""))
        );
        for other in [
            "Unknown field \"a\" on type \"B\".",
            "Invalid value for argument \"a\", expected type \"[B]\"",
            "Invalid value for argument \"a\", Oneof input objects requires have exactly one field",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn a_long_list_is_cut_and_the_nearest_name_is_last() {
        let names: Vec<String> = (0..40).map(|n| format!("column{n}")).collect();
        let wrong = Wrong { kind: Names::Fields, in_type: "T", found: "COLUMN7" };
        let text = wrong.expected(&names).unwrap();
        assert!(text.starts_with("; expected fields among column0, column1,"), "{text}");
        assert!(text.ends_with("column23 and 16 more; did you mean column7?"), "{text}");
        assert_eq!(wrong.expected(&[]), None);
    }
}
