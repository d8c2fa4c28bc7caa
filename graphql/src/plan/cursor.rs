//! Cursors: where a page ended, so that the next one begins there and nowhere else.
//!
//! A cursor names the version that it was made at, the question that it belongs to, and the values of
//! its row in the order's columns. It needs no state on the server and survives a restart. It is no
//! secret and grants nothing; its checksum only catches damage, so that a mangled cursor is an error
//! and not a silent jump.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use datafusion::common::ScalarValue;
use datasets::ColumnType;
use engine::{Code, Error, Result, Version};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::bad_input;

/// Longest cursor in bytes. Only an order by a very long text comes near.
pub(crate) const CURSOR_BYTES_MAX: usize = 16 << 10;

const FORMAT: u64 = 1;
const CHECKSUM_BYTES: usize = 6;

/// Where a row stands in an ordered answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    /// The version that is paged through.
    pub version: Version,
    /// [`fingerprint`] of the question.
    pub question: String,
    /// The row's values in the columns of the order.
    pub values: Vec<ScalarValue>,
    /// Set when other rows are equal in all of `values`.
    pub tie: Option<Tie>,
}

/// Which of several rows that the order can not tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tie {
    /// The row's identity.
    pub identity: Vec<u8>,
    /// Of the rows with that identity, how many stand up to and with this one.
    pub seen: u64,
}

/// A short digest of what makes two questions differ for paging.
pub(crate) fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()[..6].iter().map(|b| format!("{b:02x}")).collect()
}

impl Cursor {
    /// The cursor as clients see it.
    pub(crate) fn encode(&self) -> Result<String> {
        let values = self.values.iter().map(encode_value).collect::<Result<Vec<_>>>()?;
        let mut body = json!([FORMAT, self.version.0, self.question, values]);
        if let (Some(tie), Value::Array(parts)) = (&self.tie, &mut body) {
            parts.push(Value::String(STANDARD.encode(&tie.identity)));
            parts.push(Value::from(tie.seen));
        }
        let body = body.to_string();
        let mut bytes = Sha256::digest(body.as_bytes())[..CHECKSUM_BYTES].to_vec();
        bytes.extend_from_slice(body.as_bytes());
        let text = URL_SAFE_NO_PAD.encode(bytes);
        if text.len() > CURSOR_BYTES_MAX {
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "a cursor of {} bytes: the limit is {CURSOR_BYTES_MAX}; order by a column with \
                     shorter values",
                    text.len()
                ),
            ));
        }
        Ok(text)
    }

    /// Reads what a client sent back, for an order by columns of these types.
    pub(crate) fn decode(text: &str, kinds: &[ColumnType]) -> Result<Self> {
        let damaged = || bad_input("not a cursor of this server, or damaged on its way");
        if text.len() > CURSOR_BYTES_MAX {
            return Err(damaged());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (checksum, body) = bytes.split_at_checked(CHECKSUM_BYTES).ok_or_else(damaged)?;
        if Sha256::digest(body)[..CHECKSUM_BYTES] != *checksum {
            return Err(damaged());
        }
        let body: Value = serde_json::from_slice(body).map_err(|_| damaged())?;
        let parts = body.as_array().ok_or_else(damaged)?;
        if parts.first().and_then(Value::as_u64) != Some(FORMAT) {
            return Err(bad_input("a cursor of another release; start from the first page"));
        }
        let (Some(version), Some(question), Some(values)) = (
            parts.get(1).and_then(Value::as_u64),
            parts.get(2).and_then(Value::as_str),
            parts.get(3).and_then(Value::as_array),
        ) else {
            return Err(damaged());
        };
        let tie = match (parts.get(4), parts.get(5)) {
            (None, None) => None,
            (Some(identity), Some(seen)) => Some(Tie {
                identity: identity
                    .as_str()
                    .and_then(|t| STANDARD.decode(t).ok())
                    .filter(|bytes| bytes.len() == super::functions::IDENTITY_BYTES as usize)
                    .ok_or_else(damaged)?,
                seen: seen.as_u64().ok_or_else(damaged)?,
            }),
            _ => return Err(damaged()),
        };
        if values.len() != kinds.len() {
            return Err(another_question());
        }
        let values = values
            .iter()
            .zip(kinds)
            .map(|(value, kind)| decode_value(value, kind).ok_or_else(another_question))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { version: Version(version), question: question.to_owned(), values, tie })
    }

    /// The cursor, if it belongs to the question with this fingerprint.
    pub(crate) fn of_question(self, fingerprint: &str) -> Result<Self> {
        match self.question == fingerprint {
            true => Ok(self),
            false => Err(another_question()),
        }
    }
}

fn another_question() -> Error {
    bad_input(
        "this cursor is from another dataset, `where` or `orderBy`; a cursor continues the \
         question that gave it",
    )
}

fn encode_value(value: &ScalarValue) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(match value {
        ScalarValue::Boolean(Some(v)) => Value::from(*v),
        ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => Value::from(*v),
        ScalarValue::Int64(Some(v)) | ScalarValue::TimestampMicrosecond(Some(v), _) => {
            Value::from(*v)
        }
        // Bits: a float's text loses NaN, and JSON knows none.
        ScalarValue::Float32(Some(v)) => Value::from(v.to_bits()),
        ScalarValue::Float64(Some(v)) => Value::from(v.to_bits()),
        ScalarValue::Utf8(Some(v)) => Value::from(v.as_str()),
        ScalarValue::Decimal128(Some(v), ..) => Value::from(v.to_string()),
        ScalarValue::Binary(Some(v)) => Value::from(STANDARD.encode(v)),
        other => {
            return Err(Error::internal(format!("no cursor for values of {}", other.data_type())));
        }
    })
}

fn decode_value(value: &Value, kind: &ColumnType) -> Option<ScalarValue> {
    if value.is_null() {
        return ScalarValue::try_from(&kind.arrow_type()).ok();
    }
    Some(match kind {
        ColumnType::Bool => ScalarValue::Boolean(Some(value.as_bool()?)),
        ColumnType::Int32 => ScalarValue::Int32(Some(i32::try_from(value.as_i64()?).ok()?)),
        ColumnType::Date => ScalarValue::Date32(Some(i32::try_from(value.as_i64()?).ok()?)),
        ColumnType::Int64 => ScalarValue::Int64(Some(value.as_i64()?)),
        ColumnType::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(value.as_i64()?), Some("UTC".into()))
        }
        ColumnType::Float32 => {
            ScalarValue::Float32(Some(f32::from_bits(u32::try_from(value.as_u64()?).ok()?)))
        }
        ColumnType::Float64 => ScalarValue::Float64(Some(f64::from_bits(value.as_u64()?))),
        ColumnType::Text => ScalarValue::Utf8(Some(value.as_str()?.to_owned())),
        ColumnType::Decimal(precision, scale) => ScalarValue::Decimal128(
            Some(value.as_str()?.parse().ok()?),
            *precision,
            i8::try_from(*scale).ok()?,
        ),
        ColumnType::Bytes => ScalarValue::Binary(Some(STANDARD.decode(value.as_str()?).ok()?)),
        ColumnType::Json
        | ColumnType::List(_)
        | ColumnType::Vector(_)
        | ColumnType::Struct(_)
        | ColumnType::Map(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cursor() -> (Cursor, Vec<ColumnType>) {
        let kinds = vec![
            ColumnType::Float64,
            ColumnType::Text,
            ColumnType::Timestamp,
            ColumnType::Decimal(18, 6),
            ColumnType::Int64,
        ];
        let values = vec![
            ScalarValue::Float64(Some(f64::NAN)),
            ScalarValue::Utf8(Some("a\"ü".into())),
            ScalarValue::TimestampMicrosecond(Some(-1), Some("UTC".into())),
            ScalarValue::Decimal128(Some(-123), 18, 6),
            ScalarValue::Int64(None),
        ];
        let tie = Some(Tie { identity: vec![7; 16], seen: 3 });
        (Cursor { version: Version(12), question: "q".into(), values, tie }, kinds)
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let (cursor, kinds) = cursor();
        let back = Cursor::decode(&cursor.encode().unwrap(), &kinds).unwrap();
        assert_eq!(format!("{back:?}"), format!("{cursor:?}"));
    }

    #[test]
    fn a_changed_letter_is_an_error_at_every_place() {
        let (cursor, kinds) = cursor();
        let text = cursor.encode().unwrap();
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last letter may hold bits that mean nothing.
            if let Ok(read) = Cursor::decode(&changed, &kinds) {
                assert_eq!(format!("{read:?}"), format!("{cursor:?}"));
            }
        }
        assert_eq!(Cursor::decode("", &kinds).unwrap_err().code(), Code::BadInput);
        assert_eq!(Cursor::decode("%%%", &kinds).unwrap_err().code(), Code::BadInput);
        assert!(Cursor::decode(&text, &kinds[1..]).is_err());
    }
}
