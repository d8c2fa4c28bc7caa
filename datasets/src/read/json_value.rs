//! JSON values as values of a column: what fits passes exactly, what does not says what was expected.

use std::borrow::Cow;
use std::collections::HashSet;

use super::json::{JsonError, Kind, RawValue, document, elements, members};
use crate::column_type::{ColumnType, StructField};
use crate::parse::{self, Slot, quoted};

/// Fields that an error names at most.
const NAMES_SHOWN: usize = 12;

impl<'a> RawValue<'a> {
    /// The value as a slot of `data_type`; the error says what was expected and found.
    pub fn slot(&self, data_type: &ColumnType) -> Result<Slot<'a>, String> {
        let wrong = || Err(format!("expected {}, found {}", json_form(data_type), self.shown()));
        match (data_type, self.kind) {
            (_, Kind::Null) => Ok(Slot::Null),
            (ColumnType::Json, _) => Ok(Slot::Text(Cow::Borrowed(self.text))),
            (ColumnType::Bool, Kind::True) => Ok(Slot::Bool(true)),
            (ColumnType::Bool, Kind::False) => Ok(Slot::Bool(false)),
            (ColumnType::Bool, _) => wrong(),
            // Identifiers are often numbers at the producer; their text loses nothing.
            (ColumnType::Text, Kind::Number | Kind::True | Kind::False) => {
                Ok(Slot::Text(Cow::Borrowed(self.text)))
            }
            (ColumnType::List(item), Kind::Array) => self.list(item).map(Slot::List),
            (ColumnType::Vector(length), Kind::Array) => {
                self.vector(*length as usize).map(Slot::List)
            }
            (ColumnType::Struct(fields), Kind::Object) => self.structure(fields).map(Slot::Struct),
            (ColumnType::Map(value), Kind::Object) => self.map(value).map(Slot::Map),
            (several, _) if !several.is_scalar() => wrong(),
            (_, Kind::True | Kind::False | Kind::Array | Kind::Object) => wrong(),
            (ColumnType::Timestamp | ColumnType::Date | ColumnType::Bytes, Kind::Number) => wrong(),
            (_, Kind::Number) => parse::text_slot(data_type, self.text),
            (ColumnType::Text, Kind::Plain | Kind::Escaped) => match self.string() {
                Some(text) => Ok(Slot::Text(text)),
                None => wrong(),
            },
            (_, Kind::Plain) => parse::text_slot(data_type, &self.text[1..self.text.len() - 1]),
            (_, Kind::Escaped) => {
                let Some(text) = self.string() else { return wrong() };
                parse::text_slot(data_type, &text).map(into_owned)
            }
        }
    }

    fn list(&self, item: &ColumnType) -> Result<Vec<Slot<'a>>, String> {
        let mut items = Vec::new();
        elements::<Message>(self.text, |value| {
            items.push(value.slot(item).map_err(Message)?);
            Ok(())
        })
        .map_err(|m| m.0)?;
        Ok(items)
    }

    fn vector(&self, length: usize) -> Result<Vec<Slot<'a>>, String> {
        let mut numbers = Vec::new();
        elements::<Message>(self.text, |value| {
            if value.kind == Kind::Null {
                return Err(Message("expected no null inside a vector".into()));
            }
            if numbers.len() > length {
                return Err(Message(format!("expected {length} numbers, found more")));
            }
            numbers.push(value.slot(&ColumnType::Float32).map_err(Message)?);
            Ok(())
        })
        .map_err(|m| m.0)?;
        match numbers.len() == length {
            true => Ok(numbers),
            false => Err(format!("expected {length} numbers, found {}", numbers.len())),
        }
    }

    fn structure(&self, fields: &[StructField]) -> Result<Vec<Slot<'a>>, String> {
        let mut slots: Vec<Option<Slot<'a>>> = vec![None; fields.len()];
        members::<Message>(self.text, |name, value| {
            let Some(at) = StructField::position(fields, &name) else {
                let known = fields.iter().map(|field| field.name.as_str());
                let known = known.take(NAMES_SHOWN).collect::<Vec<_>>().join(", ");
                return Err(Message(format!("unknown field {}; there are {known}", quoted(&name))));
            };
            let field = &fields[at];
            let slot = value.slot(&field.data_type);
            let slot = slot.map_err(|problem| Message(format!("{:?}: {problem}", field.name)))?;
            match slots[at].replace(slot) {
                None => Ok(()),
                Some(_) => Err(Message(format!("{:?} stands twice", field.name))),
            }
        })
        .map_err(|m| m.0)?;
        Ok(slots.into_iter().map(|slot| slot.unwrap_or(Slot::Null)).collect())
    }

    fn map(&self, kind: &ColumnType) -> Result<Vec<(Cow<'a, str>, Slot<'a>)>, String> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        members::<Message>(self.text, |key, value| {
            let slot = value.slot(kind);
            let slot = slot.map_err(|problem| Message(format!("{}: {problem}", quoted(&key))))?;
            if !keys.insert(key.clone()) {
                return Err(Message(format!("{} stands twice", quoted(&key))));
            }
            entries.push((key, slot));
            Ok(())
        })
        .map_err(|m| m.0)?;
        Ok(entries)
    }

    fn shown(&self) -> String {
        match self.kind {
            Kind::Null | Kind::True | Kind::False => self.text.to_owned(),
            Kind::Number => format!("number {}", quoted(self.text).replace('"', "")),
            Kind::Plain | Kind::Escaped => quoted(&self.string().unwrap_or_default()),
            Kind::Array => "an array".into(),
            Kind::Object => "an object".into(),
        }
    }
}

/// Reads what is no scalar from the text of a JSON document.
pub(crate) fn document_slot<'a>(data_type: &ColumnType, text: &'a str) -> Result<Slot<'a>, String> {
    match document(text) {
        Ok(value) => value.slot(data_type).map(into_owned),
        Err(e) => Err(format!("expected {}, found {}: {e}", json_form(data_type), quoted(text))),
    }
}

struct Message(String);

impl From<JsonError> for Message {
    fn from(error: JsonError) -> Self {
        Self(error.to_string())
    }
}

fn json_form(data_type: &ColumnType) -> String {
    match data_type {
        ColumnType::Text => "text".into(),
        ColumnType::Timestamp => "a timestamp as text (RFC 3339)".into(),
        ColumnType::Date => "a date as text (YYYY-MM-DD)".into(),
        ColumnType::Bytes => "bytes as base64 text".into(),
        ColumnType::Bool => "true or false".into(),
        ColumnType::List(item) => format!("an array of {item}"),
        ColumnType::Vector(length) => format!("an array of {length} numbers"),
        ColumnType::Struct(_) => "an object".into(),
        ColumnType::Map(value) => format!("an object of {value}"),
        other => format!("a number ({other})"),
    }
}

fn into_owned<'b>(slot: Slot<'_>) -> Slot<'b> {
    match slot {
        Slot::Null => Slot::Null,
        Slot::Bool(v) => Slot::Bool(v),
        Slot::Int(v) => Slot::Int(v),
        Slot::Float(v) => Slot::Float(v),
        Slot::Decimal(v) => Slot::Decimal(v),
        Slot::Text(v) => Slot::Text(Cow::Owned(v.into_owned())),
        Slot::Bytes(v) => Slot::Bytes(v),
        Slot::List(items) => Slot::List(items.into_iter().map(into_owned).collect()),
        Slot::Struct(values) => Slot::Struct(values.into_iter().map(into_owned).collect()),
        Slot::Map(entries) => {
            let owned = |(key, value): (Cow<'_, str>, Slot<'_>)| {
                (Cow::Owned(key.into_owned()), into_owned(value))
            };
            Slot::Map(entries.into_iter().map(owned).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_fit_their_type_or_say_why_not() {
        let slot =
            |t: &str, text: &str| document(text).unwrap().slot(&t.parse().unwrap()).map(into_owned);
        assert_eq!(slot("int64", "9007199254740993"), Ok(Slot::Int(9_007_199_254_740_993)));
        assert_eq!(slot("int64", r#""5""#), Ok(Slot::Int(5)));
        assert_eq!(slot("int64", "5.5"), Err(r#"expected int64, found "5.5""#.into()));
        assert_eq!(slot("text", "7"), Ok(Slot::Text("7".into())));
        assert_eq!(slot("json", "{\"a\": 1}"), Ok(Slot::Text("{\"a\": 1}".into())));
        assert_eq!(slot("list(int64)", "[1,2]"), Ok(Slot::List(vec![Slot::Int(1), Slot::Int(2)])));
        assert_eq!(slot("list(int64)", "[1,null]"), Ok(Slot::List(vec![Slot::Int(1), Slot::Null])));
        assert_eq!(slot("vector(2)", "[1,null]"), Err("expected no null inside a vector".into()));
        assert!(slot("vector(3)", "[1,2]").unwrap_err().contains("expected 3 numbers, found 2"));
        assert!(slot("timestamp", "1700000000").unwrap_err().contains("found number 1700000000"));
        assert!(slot("float64", "1e999").is_err());
        assert_eq!(slot("text", r#""a\"\u00e9""#), Ok(Slot::Text("a\"é".into())));
        let address = "struct(city: text, sizes: map(text, int32))";
        let sizes = vec![(Cow::Borrowed("a"), Slot::Int(1)), (Cow::Borrowed("b"), Slot::Null)];
        assert_eq!(
            slot(address, r#"{"sizes": {"a": 1, "b": null}, "City": "Bonn"}"#),
            Ok(Slot::Struct(vec![Slot::Text("Bonn".into()), Slot::Map(sizes)]))
        );
        assert_eq!(
            slot("list(list(int64))", "[[1, null], null]"),
            Ok(Slot::List(vec![Slot::List(vec![Slot::Int(1), Slot::Null]), Slot::Null]))
        );
        assert_eq!(slot(address, "{}"), Ok(Slot::Struct(vec![Slot::Null, Slot::Null])));
        for (text, says) in [
            ("[]", "expected an object, found an array"),
            (r#"{"town": 1}"#, r#"unknown field "town"; there are city, sizes"#),
            (r#"{"city": [1]}"#, r#""city": expected text, found an array"#),
            (r#"{"city": 1, "City": 2}"#, r#""city" stands twice"#),
            (r#"{"sizes": {"a": 1.5}}"#, r#""sizes": "a": expected int32, found "1.5""#),
            (r#"{"sizes": {"a": 1, "a": 2}}"#, r#""sizes": "a" stands twice"#),
        ] {
            assert_eq!(slot(address, text), Err(says.to_owned()), "{text}");
        }
    }
}
