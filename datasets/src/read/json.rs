//! A JSON scanner that keeps the text of every value.
//!
//! A document model would turn numbers into floats and objects into maps before a column had a say; here a
//! value stays the slice of text that it is, so that 64-bit integers and decimals are exact, a JSON column
//! holds what the producer wrote, and a mistake has its column number. Strict RFC 8259, nesting bounded.

use std::borrow::Cow;

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
    #[inline]
    pub fn string(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Plain => Some(Cow::Borrowed(&self.text[1..self.text.len() - 1])),
            Kind::Escaped => serde_json::from_str::<String>(self.text).ok().map(Cow::Owned),
            _ => None,
        }
    }
}

/// What it does for each character and value can be inlined into its callers, which are compiled elsewhere because they are generic.
struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
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

    #[inline]
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

    #[inline]
    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(self.expected("a value"))
        }
    }

    /// Passes a string; true when it holds escapes.
    #[inline]
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

    #[inline]
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

    #[inline]
    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
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
}
