//! JSON values as values of a column: what fits passes exactly, what does not says what was expected.

use std::borrow::Cow;

use super::json::{JsonError, Kind, RawValue, document, elements};
use crate::column_type::ColumnType;
use crate::parse::{self, Slot, quoted};

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
            (ColumnType::List(item), Kind::Array) => self.list(item, usize::MAX).map(Slot::List),
            (ColumnType::Vector(length), Kind::Array) => {
                let items = self.list(&ColumnType::Float32, *length as usize)?;
                if items.len() == *length as usize {
                    Ok(Slot::List(items))
                } else {
                    Err(format!("expected {length} numbers, found {}", items.len()))
                }
            }
            (ColumnType::List(_) | ColumnType::Vector(_), _) => wrong(),
            (_, Kind::True | Kind::False | Kind::Array | Kind::Object) => wrong(),
            (ColumnType::Timestamp | ColumnType::Date | ColumnType::Bytes, Kind::Number) => wrong(),
            (_, Kind::Number) => match parse::text_slot(data_type, self.text)? {
                Slot::Float(v) if v.is_infinite() => wrong(),
                slot => Ok(slot),
            },
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

    fn list(&self, item: &ColumnType, most: usize) -> Result<Vec<Slot<'a>>, String> {
        let mut items = Vec::new();
        elements::<Message>(self.text, |value| {
            if value.kind == Kind::Null {
                return Err(Message("expected no null inside a list".into()));
            }
            if items.len() > most {
                return Err(Message(format!("expected {most} numbers, found more")));
            }
            items.push(value.slot(item).map_err(Message)?);
            Ok(())
        })
        .map_err(|m| m.0)?;
        Ok(items)
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

/// Reads a list or vector from the text of a JSON array.
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
        assert!(slot("list(int64)", "[1,null]").is_err());
        assert!(slot("vector(3)", "[1,2]").unwrap_err().contains("expected 3 numbers, found 2"));
        assert!(slot("timestamp", "1700000000").unwrap_err().contains("found number 1700000000"));
        assert!(slot("float64", "1e999").is_err());
        assert_eq!(slot("text", r#""a\"\u00e9""#), Ok(Slot::Text("a\"é".into())));
    }
}
