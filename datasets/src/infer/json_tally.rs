//! Infers the type of a JSON member by counting how its values look.

use super::tally::{Because, Finding};
use crate::column_type::ColumnType;
use crate::parse;
use crate::read::Place;
use crate::read::json::{self, JsonError, Kind, RawValue};

/// The look of one value.
#[derive(Clone, Debug, PartialEq)]
enum Look {
    /// A single value of a type.
    Value(ColumnType),
    /// An array of single values of one type; `None` if it is empty or has only nulls.
    List(Option<ColumnType>),
    /// An object, or an array that is not a list of one type.
    Document,
}

/// Types that one column can hold without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Truth,
    Number,
    Time,
    /// Strings, including those that are times.
    Text,
}

impl Family {
    const ALL: [Self; 4] = [Self::Truth, Self::Number, Self::Time, Self::Text];

    fn has(self, data_type: &ColumnType) -> bool {
        match data_type {
            ColumnType::Bool => self == Self::Truth,
            ColumnType::Date | ColumnType::Timestamp => matches!(self, Self::Time | Self::Text),
            ColumnType::Text => self == Self::Text,
            _ => self == Self::Number,
        }
    }
}

/// A family of single values, or of lists of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    Value(Family),
    List(Family),
}

impl Candidate {
    fn has(self, look: &Look) -> bool {
        match (self, look) {
            (Self::Value(family), Look::Value(data_type)) => family.has(data_type),
            (Self::List(family), Look::List(item)) => {
                item.as_ref().is_none_or(|item| family.has(item))
            }
            _ => false,
        }
    }
}

/// The values with one look.
#[derive(Clone, Debug)]
struct Seen {
    look: Look,
    count: u64,
    /// The position and the text of the first one.
    row: u64,
    line: u64,
    text: String,
}

/// The values of a member. The number of looks is bounded: one for each scalar type, one for each
/// list of them, and documents.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonTally {
    seen: Vec<Seen>,
}

impl JsonTally {
    /// Counts one value.
    pub(crate) fn add(&mut self, value: &RawValue<'_>, at: Place) {
        let Some(look) = look_of(value) else { return };
        match self.seen.iter_mut().find(|seen| seen.look == look) {
            Some(seen) => seen.count += 1,
            None => {
                let text = value.string().unwrap_or_else(|| value.text.into());
                let text = text.chars().take(parse::BYTES_SHOWN).collect();
                self.seen.push(Seen { look, count: 1, row: at.row, line: at.line, text });
            }
        }
    }

    /// The type of the column: it fits all values, or at least the share `mostly` of them. Values without a common type are
    /// JSON.
    pub(crate) fn decide(&self, mostly: f64) -> Finding {
        let found = |data_type, because| Finding {
            data_type,
            because,
            otherwise: Vec::new(),
            is_grouped: false,
        };
        let of: u64 = self.seen.iter().map(|seen| seen.count).sum();
        if of == 0 {
            return found(ColumnType::Text, None);
        }
        let values = Family::ALL.map(Candidate::Value);
        let candidates = || values.into_iter().chain(Family::ALL.map(Candidate::List));
        // On a tie the first candidate wins, which is the narrowest.
        let most = candidates().rev().max_by_key(|candidate| self.count(*candidate));
        let Some(most) = most.filter(|most| self.count(*most) > 0) else {
            return found(ColumnType::Json, None);
        };
        let narrow = match most {
            Candidate::Value(Family::Text) => Candidate::Value(Family::Time),
            Candidate::List(Family::Text) => Candidate::List(Family::Time),
            other => other,
        };
        let is_enough = |candidate| self.count(candidate) as f64 >= mostly * of as f64;
        let all = if self.count(most) == of { self.type_of(most) } else { ColumnType::Json };
        if self.count(narrow) == of {
            return found(self.type_of(narrow), None);
        }
        if self.count(narrow) > 0 && is_enough(narrow) {
            return found(self.type_of(narrow), Some(self.because(narrow, of)));
        }
        if self.count(most) == of {
            let because = (self.count(narrow) * 2 >= of).then(|| self.because(narrow, of));
            return found(all, because);
        }
        let chosen = if is_enough(most) { self.type_of(most) } else { all };
        let because =
            (is_enough(most) || self.count(most) * 2 >= of).then(|| self.because(most, of));
        found(chosen, because)
    }

    fn count(&self, candidate: Candidate) -> u64 {
        self.seen.iter().filter(|seen| candidate.has(&seen.look)).map(|seen| seen.count).sum()
    }

    fn because(&self, candidate: Candidate, of: u64) -> Because {
        let others = self.seen.iter().filter(|seen| !candidate.has(&seen.look));
        let first = others.min_by_key(|seen| seen.row);
        let (row, line, text) =
            first.map(|seen| (seen.row, seen.line, seen.text.clone())).unwrap_or_default();
        let exceptions = of - self.count(candidate);
        Because { most: self.type_of(candidate), exceptions, of, row, line, text }
    }

    fn type_of(&self, candidate: Candidate) -> ColumnType {
        let looks = self.seen.iter().map(|seen| &seen.look).filter(|look| candidate.has(look));
        let types = looks.filter_map(|look| match look {
            Look::Value(data_type) => Some(data_type),
            Look::List(item) => item.as_ref(),
            Look::Document => None,
        });
        let joined = types.fold(None, |joined: Option<ColumnType>, data_type| match joined {
            None => Some(data_type.clone()),
            Some(joined) => Some(joined_type(joined, data_type).unwrap_or(ColumnType::Text)),
        });
        // Empty lists reveal no item type, and text accepts every later value.
        let joined = joined.unwrap_or(ColumnType::Text);
        match candidate {
            Candidate::Value(_) => joined,
            Candidate::List(_) => ColumnType::List(Box::new(joined)),
        }
    }
}

/// The look of a value; `None` for null.
fn look_of(value: &RawValue<'_>) -> Option<Look> {
    Some(match value.kind {
        Kind::Null => return None,
        Kind::Object => Look::Document,
        Kind::Array => array_look(value.text),
        _ => Look::Value(scalar_type(value)?),
    })
}

fn scalar_type(value: &RawValue<'_>) -> Option<ColumnType> {
    match value.kind {
        Kind::True | Kind::False => Some(ColumnType::Bool),
        Kind::Number => Some(number_type(value.text)),
        Kind::Plain => Some(string_type(&value.text[1..value.text.len() - 1])),
        Kind::Escaped => Some(ColumnType::Text),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

fn array_look(text: &str) -> Look {
    let mut item: Option<ColumnType> = None;
    let mut is_list = true;
    let scanned = json::elements::<JsonError>(text, |value| {
        if value.kind == Kind::Null {
            return Ok(());
        }
        let found = scalar_type(&value);
        let joined = match (item.take(), found) {
            (_, None) => None,
            (None, found) => found,
            (Some(item), Some(found)) => joined_type(item, &found),
        };
        is_list &= joined.is_some();
        item = joined;
        Ok(())
    });
    match is_list && scanned.is_ok() {
        true => Look::List(item),
        false => Look::Document,
    }
}

/// The type that holds values of both types without loss, if any.
fn joined_type(one: ColumnType, other: &ColumnType) -> Option<ColumnType> {
    use ColumnType::{Date, Decimal, Float64, Int64, Text, Timestamp};
    if one == *other {
        return Some(one);
    }
    Some(match (&one, other) {
        (Int64 | Decimal(..), Float64) | (Float64, Int64 | Decimal(..)) => Float64,
        (Int64, decimal @ Decimal(..)) => decimal.clone(),
        (Decimal(..), Int64) => one,
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        (Text | Date | Timestamp, Text | Date | Timestamp) => Text,
        _ => return None,
    })
}

fn number_type(text: &str) -> ColumnType {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return ColumnType::Float64;
    }
    if text.parse::<i64>().is_ok() {
        ColumnType::Int64
    } else if digits.len() <= 38 {
        ColumnType::Decimal(38, 0)
    } else {
        ColumnType::Text
    }
}

fn string_type(text: &str) -> ColumnType {
    if parse::date_days(text).is_some() {
        ColumnType::Date
    } else if parse::timestamp_us(text).is_some() {
        ColumnType::Timestamp
    } else {
        ColumnType::Text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The inferred type for the items of the array `text`, and its reason.
    fn found(text: &str, mostly: f64) -> (String, Option<String>) {
        let (mut tally, mut row) = (JsonTally::default(), 0);
        json::elements::<JsonError>(text, |value| {
            row += 1;
            tally.add(&value, Place { row, line: row });
            Ok(())
        })
        .unwrap();
        let Finding { data_type, because, .. } = tally.decide(mostly);
        (data_type.to_string(), because.map(|because| because.to_string()))
    }

    #[test]
    fn values_determine_the_type() {
        for (values, data_type) in [
            ("[]", "text"),
            ("[null]", "text"),
            ("[1, null, 2]", "int64"),
            ("[1, 2.5]", "float64"),
            ("[1, 18446744073709551615]", "decimal(38,0)"),
            ("[true, false]", "bool"),
            (r#"["2024-01-01"]"#, "date"),
            (r#"["2024-01-01", "2024-01-01T10:00:00Z"]"#, "timestamp"),
            (r#"["a", "b\n"]"#, "text"),
            (r#"[1, "a"]"#, "json"),
            (r#"[1, true]"#, "json"),
            (r#"[{"a": 1}]"#, "json"),
            (r#"[null, {"a": 1}]"#, "json"),
            ("[[1, 2], [2.5]]", "list(float64)"),
            ("[[1, null], [null], []]", "list(int64)"),
            (r#"[[], ["a"]]"#, "list(text)"),
            ("[[], []]", "list(text)"),
            (r#"[["2024-01-01"], ["a"]]"#, "list(text)"),
            (r#"[["a", 1]]"#, "json"),
            ("[[[1]]]", "json"),
            ("[1, [1]]", "json"),
        ] {
            assert_eq!(found(values, 1.0).0, data_type, "{values}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_named_and_a_share_decides() {
        let values = r#"[12, 15.5, null, "slow", 13]"#;
        let because = "1 of 4 values is not float64, the first in row 4 on line 4: \"slow\"";
        assert_eq!(found(values, 1.0), ("json".to_owned(), Some(because.to_owned())));
        assert_eq!(found(values, 0.75), ("float64".to_owned(), Some(because.to_owned())));
        assert_eq!(found(values, 0.76).0, "json");

        let values = r#"["2024-01-01", "2024-01-02", "soon"]"#;
        let because = "1 of 3 values is not date, the first in row 3 on line 3: \"soon\"";
        assert_eq!(found(values, 1.0), ("text".to_owned(), Some(because.to_owned())));
        assert_eq!(found(values, 0.6), ("date".to_owned(), Some(because.to_owned())));

        let values = r#"[["a"], ["b", null], [], ["c", 7], ["d"]]"#;
        let because =
            "1 of 5 values is not list(text), the first in row 4 on line 4: \"[\\\"c\\\", 7]\"";
        assert_eq!(found(values, 1.0), ("json".to_owned(), Some(because.to_owned())));
        assert_eq!(found(values, 0.8), ("list(text)".to_owned(), Some(because.to_owned())));
        // No reason is given when only few values have a type.
        assert_eq!(found(r#"[{}, {}, 1]"#, 1.0), ("json".to_owned(), None));
    }
}
