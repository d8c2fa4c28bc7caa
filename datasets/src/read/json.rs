//! A JSON scanner that keeps the text of every value.
//!
//! A document model would turn numbers into floats and objects into maps before a column had a say; here a
//! value stays the slice of text that it is, so that 64-bit integers and decimals are exact, a JSON column
//! holds what the producer wrote, and a mistake has its column number. Strict RFC 8259, nesting bounded.

use std::borrow::Cow;

use crate::parse::{self, Slot, quoted};
use crate::spec::ColumnType;

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 128;

/// What a value is, by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true`.
    True,
    /// `false`.
    False,
    /// A number.
    Number,
    /// A string without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A checked value: its text, quotes and brackets included.
#[derive(Clone, Copy, Debug)]
pub struct RawValue<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Where it begins, in bytes from the start of the document.
    pub at: usize,
}

/// Why a document is not JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Bytes from the start of the document.
    pub at: usize,
    /// What was expected and found.
    pub problem: String,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.problem, self.at + 1)
    }
}

/// Checks that `bytes` is one JSON document.
pub fn check_document(bytes: &[u8]) -> Result<(), JsonError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| JsonError { at: e.valid_up_to(), problem: "not UTF-8".into() })?;
    document(text).map(|_| ())
}

/// The one value of a document.
pub fn document(text: &str) -> Result<RawValue<'_>, JsonError> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    let value = scanner.value(0)?;
    scanner.end()?;
    Ok(value)
}

/// Visits the members of the object that `text` must be.
pub fn members<'a, E: From<JsonError>>(
    text: &'a str,
    mut visit: impl FnMut(Cow<'a, str>, RawValue<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.expected("an object").into());
    }
    scanner.members(0, &mut visit)?;
    scanner.end()?;
    Ok(())
}

/// Visits the elements of the array that `value` must be.
pub fn elements<'a, E: From<JsonError>>(
    text: &'a str,
    mut visit: impl FnMut(RawValue<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    if scanner.peek() != Some(b'[') {
        return Err(scanner.expected("an array").into());
    }
    scanner.elements(0, &mut visit)?;
    scanner.end()?;
    Ok(())
}

impl<'a> RawValue<'a> {
    /// The content of a string value, unescaped.
    pub fn string(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Plain => Some(Cow::Borrowed(&self.text[1..self.text.len() - 1])),
            Kind::Escaped => serde_json::from_str::<String>(self.text).ok().map(Cow::Owned),
            _ => None,
        }
    }

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

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at < self.bytes.len() {
            Err(self.expected("the end of the document"))
        } else {
            Ok(())
        }
    }

    fn expected(&self, what: &str) -> JsonError {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => "the end of the text".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        JsonError { at: self.at, problem: format!("expected {what}, found {found}") }
    }

    fn value(&mut self, depth: usize) -> Result<RawValue<'a>, JsonError> {
        let at = self.at;
        let kind = match self.peek() {
            Some(b'"') => {
                if self.string()? {
                    Kind::Escaped
                } else {
                    Kind::Plain
                }
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Kind::Number
            }
            Some(b't') => self.word("true", Kind::True)?,
            Some(b'f') => self.word("false", Kind::False)?,
            Some(b'n') => self.word("null", Kind::Null)?,
            Some(b'{') => {
                self.members::<JsonError>(depth, &mut |_, _| Ok(()))?;
                Kind::Object
            }
            Some(b'[') => {
                self.elements::<JsonError>(depth, &mut |_| Ok(()))?;
                Kind::Array
            }
            _ => return Err(self.expected("a value")),
        };
        Ok(RawValue { kind, text: &self.text[at..self.at], at })
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(self.expected("a value"))
        }
    }

    /// Passes a string; true when it holds escapes.
    fn string(&mut self) -> Result<bool, JsonError> {
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return Err(self.expected("no control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.expected("a closing '\"'")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let high = self.hex()?;
                match high {
                    0xD800..0xDC00 if self.bytes[self.at..].starts_with(b"\\u") => {
                        let start = self.at;
                        if !(0xDC00..0xE000).contains(&self.hex()?) {
                            self.at = start;
                            return Err(self.expected("the second half of a surrogate pair"));
                        }
                    }
                    0xD800..0xE000 => return Err(self.expected("a whole surrogate pair")),
                    _ => {}
                }
            }
            _ => return Err(self.expected("an escape that JSON knows")),
        }
        Ok(())
    }

    /// Passes `\uXXXX`.
    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
        let value = if digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit) {
            std::str::from_utf8(digits).ok().and_then(|d| u32::from_str_radix(d, 16).ok())
        } else {
            None
        };
        match value {
            Some(value) => {
                self.at += 6;
                Ok(value)
            }
            None => Err(self.expected("four hexadecimal digits after \\u")),
        }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.expected("a digit")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn members<E: From<JsonError>>(
        &mut self,
        depth: usize,
        visit: &mut impl FnMut(Cow<'a, str>, RawValue<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(depth)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a member name in quotes").into());
            }
            let at = self.at;
            let kind = if self.string()? { Kind::Escaped } else { Kind::Plain };
            let name = RawValue { kind, text: &self.text[at..self.at], at };
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.expected("':'").into());
            }
            self.at += 1;
            self.space();
            let value = self.value(depth + 1)?;
            visit(name.string().unwrap_or_default(), value)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.expected("',' or '}'").into()),
            }
            self.space();
        }
    }

    fn elements<E: From<JsonError>>(
        &mut self,
        depth: usize,
        visit: &mut impl FnMut(RawValue<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(depth)?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let value = self.value(depth + 1)?;
            visit(value)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.expected("',' or ']'").into()),
            }
            self.space();
        }
    }

    /// Passes the opening bracket.
    fn enter(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth >= DEPTH_MAX {
            return Err(JsonError {
                at: self.at,
                problem: format!("nested more than {DEPTH_MAX} deep"),
            });
        }
        self.at += 1;
        self.space();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every document of small alphabets, and mutations of a real row, against serde_json.
    #[test]
    fn accepts_exactly_what_serde_json_accepts() {
        let seed = br#"{"a":-1.5e+3,"b":[true,false,null,"x\u00e9\n"],"c":{"d":"\ud83d\ude00"}}"#;
        let alphabet = b"{}[]\",:0-.eE+1\\u ntfd";
        let mut documents: Vec<Vec<u8>> = Vec::new();
        for at in 0..seed.len() {
            documents.push(seed[..at].to_vec());
            for b in alphabet {
                let mut changed = seed.to_vec();
                changed[at] = *b;
                documents.push(changed.clone());
                changed.insert(at, *b);
                documents.push(changed);
            }
        }
        for a in alphabet {
            for b in alphabet {
                for c in alphabet {
                    documents.push(vec![*a, *b, *c]);
                }
            }
        }
        for bytes in documents {
            let text = std::str::from_utf8(&bytes).unwrap();
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            // serde_json refuses numbers beyond f64; here they are text.
            if theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range")) {
                continue;
            }
            assert_eq!(check_document(text.as_bytes()).is_ok(), theirs.is_ok(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(check_document(deep.as_bytes()).unwrap_err().problem.contains("deep"));
        let fits = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert_eq!(check_document(fits.as_bytes()), Ok(()));
    }

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
