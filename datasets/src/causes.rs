//! Why rows were rejected, counted.

use serde::{Deserialize, Serialize};

use crate::rejected::RejectedRow;

/// Causes that are kept apart.
const CAUSES_MAX: usize = 20;
/// The longest text of one.
const CHARACTERS_MAX: usize = 200;

/// One cause, and how many rows it sent to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What was expected, without what was found in each row.
    pub cause: String,
    /// Rows.
    pub rows: u64,
    /// The first of them: where it stands, and what was wrong with it.
    pub first: String,
}

/// Rejected rows by cause, the most frequent first where they are taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    known: Vec<Cause>,
    others: u64,
}

impl Causes {
    /// Counts `row`.
    pub fn add(&mut self, row: &RejectedRow) {
        let cause = general(&row.reason);
        if let Some(known) = self.known.iter_mut().find(|known| known.cause == cause) {
            known.rows += 1;
        } else if self.known.len() < CAUSES_MAX {
            let first = shortened(&format!("{}: {}", row.position, row.reason));
            self.known.push(Cause { cause, rows: 1, first });
        } else {
            self.others += 1;
        }
    }

    /// Counts all of `rows`.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a RejectedRow>) -> Self {
        let mut causes = Self::default();
        rows.into_iter().for_each(|row| causes.add(row));
        causes
    }

    /// All that were counted, the most frequent first.
    pub fn into_sorted(mut self) -> Vec<Cause> {
        self.known.sort_by_key(|cause| std::cmp::Reverse(cause.rows));
        if self.others > 0 {
            let (cause, first) = ("other causes".to_owned(), String::new());
            self.known.push(Cause { cause, rows: self.others, first });
        }
        self.known
    }
}

/// A reason without what it says of one row alone: where in its line, and what was found.
fn general(reason: &str) -> String {
    let mut text = reason;
    if let Some(rest) = text.strip_prefix("column ")
        && let Some((at, rest)) = rest.split_once(": ")
        && at.bytes().all(|byte| byte.is_ascii_digit())
    {
        text = rest;
    }
    shortened(text.find(", found").map_or(text, |at| &text[..at]))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejected::Position;

    fn rejected(row: u64, reason: &str) -> RejectedRow {
        let position = Position { source: "a.csv".to_owned(), row, line: Some(row + 1) };
        RejectedRow { position, column: None, reason: reason.to_owned(), original: String::new() }
    }

    #[test]
    fn what_was_found_in_each_row_is_no_cause_of_its_own() {
        let rows = [
            rejected(1, "expected 3 fields, found 2"),
            rejected(2, "column 14: \"price\": expected a number, found \"x\""),
            rejected(5, "column 9: \"price\": expected a number, found \"y, found\""),
        ];
        let causes = Causes::of(&rows).into_sorted();
        let cause = |cause: &str, rows, first: &str| Cause {
            cause: cause.to_owned(),
            rows,
            first: first.to_owned(),
        };
        assert_eq!(
            causes,
            [
                cause(
                    "\"price\": expected a number",
                    2,
                    "a.csv:3 (row 2): column 14: \"price\": expected a number, found \"x\""
                ),
                cause("expected 3 fields", 1, "a.csv:2 (row 1): expected 3 fields, found 2"),
            ]
        );
    }

    #[test]
    fn however_many_there_are_few_are_kept() {
        let rows: Vec<_> =
            (0..50).map(|n| rejected(n, &format!("{n} {}", "ä".repeat(500)))).collect();
        let causes = Causes::of(&rows).into_sorted();
        assert_eq!((causes.len(), causes.last().map(|other| other.rows)), (21, Some(30)));
        assert!(causes.iter().all(|cause| cause.cause.chars().count() <= CHARACTERS_MAX + 1));
    }
}
