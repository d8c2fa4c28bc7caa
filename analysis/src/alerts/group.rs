//! What tells the alerts of a rule apart: the columns of `by` with their values, and the text of that, `host=a, disk=sda`.
//!
//! The text reads back as what it was: a value that could be taken for something else is written as a JSON string (`host="a, b"`,
//! `host="null"`), and null as `null`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::cut;

/// Longest value that is kept whole, in bytes; of a longer one its begin, and a hash of it.
const VALUE_MAX_BYTES: usize = 256;
/// No column: what the alert is called by that says that a rule has too many groups.
const TOO_MANY: (&str, &str) = ("*", "too many groups");

/// Columns and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Vec<(String, Option<String>)>);

impl Group {
    /// The group of a rule `by` these columns.
    pub(super) fn of(by: &[String], key: &Key) -> Self {
        Self(by.iter().cloned().zip(key.0.iter().cloned()).collect())
    }

    /// The one of the alert that says that there are too many.
    pub fn too_many() -> Self {
        Self(vec![(TOO_MANY.0.to_owned(), Some(TOO_MANY.1.to_owned()))])
    }

    /// The values by their columns; none for null.
    pub fn columns(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(column, value)| (column.as_str(), value.as_deref()))
    }

    /// The value of a column; none for null, and where there is no such column.
    pub fn value(&self, column: &str) -> Option<&str> {
        self.columns().find(|(name, _)| *name == column).and_then(|(_, value)| value)
    }

    /// The same with only these columns.
    pub(super) fn only(&self, columns: &[String]) -> Self {
        let kept = self.0.iter().filter(|(column, _)| columns.contains(column));
        Self(kept.cloned().collect())
    }

    /// Its values in the order of its columns.
    pub(super) fn key(&self) -> Key {
        Key(self.0.iter().map(|(_, value)| value.clone()).collect())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (column, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{column}=")?;
            match value {
                None => f.write_str("null")?,
                Some(value) if is_plain(value) => f.write_str(value)?,
                Some(value) => write!(f, "{}", serde_json::Value::from(value.as_str()))?,
            }
        }
        Ok(())
    }
}

/// Whether a value can stand for itself in a text of several.
fn is_plain(value: &str) -> bool {
    let may_mislead = |c: char| c.is_control() || ",=\"\\".contains(c);
    !value.is_empty() && value != "null" && value.trim() == value && !value.contains(may_mislead)
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("expected a group such as `host=a, disk=sda`, found {:?}", cut(text));
        let mut columns = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (column, after) = rest.split_once('=').ok_or_else(fail)?;
            let (value, after) = match after.starts_with('"') {
                true => {
                    let mut texts = serde_json::Deserializer::from_str(after).into_iter::<String>();
                    let value = texts.next().and_then(Result::ok).ok_or_else(fail)?;
                    (Some(value), after.get(texts.byte_offset()..).ok_or_else(fail)?)
                }
                false => {
                    let end = after.find(',').unwrap_or(after.len());
                    let (value, after) = after.split_at(end);
                    ((value != "null").then(|| value.to_owned()), after)
                }
            };
            columns.push((column.to_owned(), value));
            rest = match after.strip_prefix(", ") {
                Some(next) if !next.is_empty() => next,
                None if after.is_empty() => after,
                _ => return Err(fail()),
            };
        }
        Ok(Self(columns))
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The values alone, in the order of `by`: by them a rule's alerts are found. As JSON it is a text, since keys of a map are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<Option<String>>);

impl Key {
    pub(super) fn of(values: &[Option<String>]) -> Self {
        let short = |value: &Option<String>| value.as_deref().map(shortened);
        Self(values.iter().map(short).collect())
    }
}

fn shortened(value: &str) -> String {
    if value.len() <= VALUE_MAX_BYTES {
        return value.to_owned();
    }
    let hash = Sha256::digest(value.as_bytes());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // With its hash it is shorter than the bound.
    let end = (0..VALUE_MAX_BYTES - 32).rev().find(|end| value.is_char_boundary(*end));
    format!("{}… {hash}", value.get(..end.unwrap_or(0)).unwrap_or_default())
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
